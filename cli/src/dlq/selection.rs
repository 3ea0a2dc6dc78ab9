//! Which letters are meant: by the coordinates of their records, or by topic, group, reason and time.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use clap::Args;
use jiff::Timestamp;

use super::letter::Letter;
use super::reading::Source;
use crate::moment;

/// The filters that every subcommand but `show` has.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Of these topics only, separated by commas: the record's topic, such as market.ticks.v1. Default: all that have any.
    #[arg(long = "topic", env = "DLQ_TOPICS", value_delimiter = ',', value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Refused by these consumer groups only, separated by commas.
    #[arg(long = "group", env = "DLQ_GROUPS", value_delimiter = ',', value_name = "GROUP")]
    groups: Vec<String>,
    /// Refused for a reason that holds this text, in any case of its letters.
    #[arg(long, env = "DLQ_REASON", value_name = "TEXT")]
    reason: Option<String>,
    /// Written to the dead letters at this time or later: 2026-11-22T13:00:00Z, 2026-11-22, -24h, today (UTC).
    #[arg(long, env = "DLQ_SINCE", value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Written to the dead letters before this time.
    #[arg(long, env = "DLQ_UNTIL", value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    until: Option<Timestamp>,
}

impl Selection {
    /// # Errors
    /// When it ends before it begins.
    pub fn check(&self) -> anyhow::Result<()> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since >= until => Err(pipeline::misconfigured(format!(
                "--since {since} (DLQ_SINCE) is not before --until {until} (DLQ_UNTIL): nothing lies between them"
            ))),
            _ => Ok(()),
        }
    }

    pub fn takes(&self, letter: &Letter) -> bool {
        let has_reason = |text: &String| letter.reason.to_lowercase().contains(&text.to_lowercase());
        (self.groups.is_empty() || self.groups.contains(&letter.group))
            && self.reason.as_ref().is_none_or(has_reason)
            && self.since.is_none_or(|since| letter.at_ms >= since.as_millisecond())
            && self.until.is_none_or(|until| letter.at_ms < until.as_millisecond())
    }
}

/// `TOPIC:PARTITION:OFFSET`: where a record stood that is a dead letter now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coordinates {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl FromStr for Coordinates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (rest, offset) = text.trim().rsplit_once(':')?;
            let (topic, partition) = rest.rsplit_once(':')?;
            let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
            (!topic.is_empty() && partition >= 0 && offset >= 0).then(|| Self {
                topic: topic.to_owned(),
                partition,
                offset,
            })
        };
        read().ok_or_else(|| "expected TOPIC:PARTITION:OFFSET of the record, such as market.ticks.v1:2:1234".to_owned())
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

/// Coordinates on the command line, all of which must be found.
#[derive(Debug)]
pub struct Named {
    all: Vec<Coordinates>,
    missing: BTreeSet<Coordinates>,
}

impl Named {
    pub fn new(all: &[Coordinates]) -> Self {
        Self { all: all.to_vec(), missing: all.iter().cloned().collect() }
    }

    /// The topics to read: those named, or those of the selection where none is.
    pub fn topics(&self, selection: &Selection) -> Vec<String> {
        if self.all.is_empty() {
            return selection.topics.clone();
        }
        let topics: BTreeSet<&String> = self.all.iter().map(|coordinates| &coordinates.topic).collect();
        topics
            .into_iter()
            .filter(|topic| selection.topics.is_empty() || selection.topics.contains(topic))
            .cloned()
            .collect()
    }

    /// Whether the letter is named, or nothing is.
    pub fn takes(&mut self, source: &Source, letter: &Letter) -> bool {
        if self.all.is_empty() {
            return true;
        }
        let is_it = |coordinates: &&Coordinates| {
            (coordinates.partition, coordinates.offset) == (letter.place.partition, letter.place.offset)
                && coordinates.topic == *source.topic
        };
        let Some(found) = self.all.iter().find(is_it) else { return false };
        self.missing.remove(found);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// # Errors
    /// When one was named that is no dead letter.
    pub fn expect_found(&self) -> anyhow::Result<()> {
        let Some(first) = self.missing.first() else { return Ok(()) };
        let others = match self.missing.len() - 1 {
            0 => String::new(),
            others => format!(" (nor are {others} more)"),
        };
        Err(pipeline::misconfigured(format!(
            "{first} is no dead letter that is kept{others}: `tickstream dlq list --each` shows those that are"
        )))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::letter::Place;
    use super::*;

    #[test]
    fn coordinates_are_read_and_shown() {
        let good = "market.ticks.v1:2:1234";
        assert_eq!(good.parse::<Coordinates>().expect("good").to_string(), good);
        for bad in ["", "market.ticks.v1", "market.ticks.v1:2", ":1:2", "t:-1:2", "t:1:x", "t:1:-2"] {
            assert!(bad.parse::<Coordinates>().is_err_and(|error| error.contains("market.ticks.v1:2:1234")), "{bad}");
        }
    }

    #[test]
    fn a_letter_is_taken_when_every_filter_takes_it() {
        let letter = Letter {
            place: Place { topic_id: Uuid::nil(), partition: 0, offset: 1 },
            group: "consumer-db".to_owned(),
            reason: "event_time out of range".to_owned(),
            at_ms: 1_772_500_000_000,
            record_ms: None,
            headers: Vec::new(),
            row: 0,
        };
        let at = |ms| Some(Timestamp::from_millisecond(ms).expect("a time"));
        let all = Selection::default();
        let (since, until) = (at(letter.at_ms), at(letter.at_ms + 1));
        for (takes, selection) in [
            (true, all.clone()),
            (true, Selection { groups: vec!["x".to_owned(), "consumer-db".to_owned()], ..all.clone() }),
            (false, Selection { groups: vec!["consumer".to_owned()], ..all.clone() }),
            (true, Selection { reason: Some("OUT of range".to_owned()), ..all.clone() }),
            (false, Selection { reason: Some("no value".to_owned()), ..all.clone() }),
            (true, Selection { since, until, ..all.clone() }),
            (false, Selection { since: until, ..all.clone() }),
            (false, Selection { until: since, ..all.clone() }),
        ] {
            assert_eq!(selection.takes(&letter), takes, "{selection:?}");
        }
        assert!(Selection { since: until, until: since, ..all }.check().is_err());
    }
}
