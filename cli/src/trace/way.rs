//! A tick's way as it is told: hop by hop, each with its state, its place, its time, and how long after another hop that was.
//! Must never happen here: a hop that was not looked at and looks as if it were.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::output::{Align, age, table};

/// How a hop stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Found,
    /// Whoever brings it there has not come to it.
    NotYet,
    /// It should be there and is not.
    NotThere,
    /// It was there once, for as long as things are kept there.
    BeyondRetention,
    /// Another record of the same event stands there, which wins over this one.
    Replaced,
    /// Nothing is there, and nothing is to be.
    None,
    /// It could not be looked at, or was not to be.
    NotAsked,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotYet => "not yet",
            Self::NotThere => "not there",
            Self::BeyondRetention => "beyond retention",
            Self::Replaced => "replaced",
            Self::None => "none",
            Self::NotAsked => "not asked",
        }
    }
}

/// The columns of `-o csv`, named as JSON names them.
pub const HEADINGS: [&str; 8] = ["hop", "state", "place", "says", "clock", "at", "delay_seconds", "after"];

#[derive(Clone, Debug, Serialize)]
pub struct Hop {
    pub hop: &'static str,
    pub state: State,
    /// A key, coordinates, a table.
    pub place: String,
    pub says: String,
    /// Which clock `at` is of.
    pub clock: Option<&'static str>,
    /// RFC 3339, UTC.
    pub at: Option<String>,
    /// Seconds after the hop that `after` names.
    pub delay_seconds: Option<f64>,
    pub after: Option<&'static str>,
}

impl Hop {
    pub fn new(hop: &'static str, state: State, place: impl Into<String>, says: impl Into<String>) -> Self {
        let (place, says) = (place.into(), says.into());
        Self { hop, state, place, says, clock: None, at: None, delay_seconds: None, after: None }
    }
}

/// All hops, in the order in which a tick comes to them.
#[derive(Debug, Default)]
pub struct Way {
    pub hops: Vec<Hop>,
    /// What was looked through to find something, for people.
    pub searched: Vec<String>,
    /// When each hop was, microseconds UTC.
    times: BTreeMap<&'static str, i64>,
}

impl Way {
    pub fn add(&mut self, hop: Hop) {
        self.hops.push(hop);
    }

    /// With its time, microseconds UTC, by a clock, and how long after the hop `after` that is.
    pub fn add_at(&mut self, hop: Hop, clock: &'static str, micros: i64, after: Option<&'static str>) {
        let before = after.and_then(|after| self.times.get(after));
        let delay_seconds = before.map(|before| (micros - before) as f64 / 1e6);
        let at = Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string());
        self.times.entry(hop.hop).or_insert(micros);
        let after = after.filter(|_| delay_seconds.is_some());
        self.hops.push(Hop { clock: Some(clock), at: Some(at), delay_seconds, after, ..hop });
    }

    /// The hops that should be there and are not. Payloads are kept of some sources only.
    pub fn missing(&self) -> Vec<&'static str> {
        let is_missing = |hop: &&Hop| hop.state == State::NotThere && hop.hop != "payload";
        self.hops.iter().filter(is_missing).map(|hop| hop.hop).collect()
    }

    pub fn as_text(&self) -> String {
        let columns = [
            ("HOP", Align::Left),
            ("STATE", Align::Left),
            ("TIME", Align::Left),
            ("DELAY", Align::Right),
            ("AFTER", Align::Left),
            ("PLACE", Align::Left),
            ("SAYS", Align::Left),
        ];
        let row = |hop: &Hop| {
            let delay = hop.delay_seconds.map(age).unwrap_or_default();
            let after = hop.after.unwrap_or_default().to_owned();
            let at = hop.at.clone().unwrap_or_default();
            let state = hop.state.as_str().to_owned();
            vec![hop.hop.to_owned(), state, at, delay, after, hop.place.clone(), hop.says.clone()]
        };
        table(&columns, &self.hops.iter().map(row).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_counted_from_the_hop_that_is_named() {
        let mut way = Way::default();
        way.add_at(Hop::new("source", State::Found, "coinbase", ""), "event_time", 1_000_000, None);
        way.add_at(Hop::new("tick", State::Found, "t:0:1", ""), "broker_time", 1_250_000, Some("source"));
        way.add(Hop::new("raw", State::NotYet, "", ""));
        way.add_at(Hop::new("bronze", State::NotThere, "", ""), "last_modified", 9_000_000, Some("raw"));
        let delays: Vec<_> = way.hops.iter().map(|hop| (hop.delay_seconds, hop.after)).collect();
        assert_eq!(delays, [(None, None), (Some(0.25), Some("source")), (None, None), (None, None)]);
        assert_eq!(way.hops[1].at.as_deref(), Some("1970-01-01T00:00:01.25Z"));
        assert_eq!(way.missing(), ["bronze"]);
        let text = way.as_text();
        assert!(text.lines().nth(2).is_some_and(|line| line.contains("250 ms  source")), "{text}");
    }
}
