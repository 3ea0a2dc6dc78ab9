//! What became of the letters that `redrive` and `drop` looked at, or would become: counted by topic, group, reason and outcome,
//! in as many lines as there are kinds of it. Must never happen here: a letter counted as done before it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::letter::Letter;
use super::reason::shape;
use crate::output::{self, Align, Format};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Done, or would be in a preview.
    Done,
    /// Left alone: it would fail again, or may not be sent.
    Refused(String),
    /// Settled before.
    Skipped(&'static str),
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub topic: String,
    pub group: String,
    pub reason: String,
    pub letters: u64,
    pub outcome: &'static str,
    pub why: Option<String>,
}

pub const HEADINGS: [&str; 6] = ["topic", "group", "reason", "letters", "outcome", "why"];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    topic: Arc<str>,
    group: String,
    reason: String,
    outcome: Outcome,
}

impl Kind {
    pub fn new(topic: &Arc<str>, letter: &Letter, outcome: Outcome) -> Self {
        let outcome = match outcome {
            Outcome::Refused(why) => Outcome::Refused(shape(&why)),
            other => other,
        };
        Self { topic: topic.clone(), group: letter.group.clone(), reason: shape(&letter.reason), outcome }
    }
}

#[derive(Debug, Default)]
pub struct Tally(BTreeMap<Kind, u64>);

impl Tally {
    pub fn add(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub fn count(&self, is_it: impl Fn(&Outcome) -> bool) -> u64 {
        self.0.iter().filter(|(kind, _)| is_it(&kind.outcome)).map(|(_, count)| count).sum()
    }

    pub fn done(&self) -> u64 {
        self.count(|outcome| *outcome == Outcome::Done)
    }

    pub fn refused(&self) -> u64 {
        self.count(|outcome| matches!(outcome, Outcome::Refused(_)))
    }

    pub fn skipped(&self) -> u64 {
        self.count(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    /// `done` is the word for what is done: "redriven".
    pub fn print(self, format: Format, done: &'static str) -> anyhow::Result<()> {
        let line = |(kind, letters): (Kind, u64)| {
            let (outcome, why) = match kind.outcome {
                Outcome::Done => (done, None),
                Outcome::Refused(why) => ("refused", Some(why)),
                Outcome::Skipped(why) => ("skipped", Some(why.to_owned())),
            };
            Line { topic: kind.topic.to_string(), group: kind.group, reason: kind.reason, letters, outcome, why }
        };
        let lines: Vec<Line> = self.0.into_iter().map(line).collect();
        output::print_rows(format, &HEADINGS, &lines, as_table)
    }
}

fn as_table(lines: &[Line]) -> String {
    let columns = [
        ("TOPIC", Align::Left),
        ("GROUP", Align::Left),
        ("LETTERS", Align::Right),
        ("OUTCOME", Align::Left),
        ("REASON", Align::Left),
    ];
    let row = |line: &Line| {
        let outcome = match &line.why {
            Some(why) => format!("{}: {why}", line.outcome),
            None => line.outcome.to_owned(),
        };
        vec![line.topic.clone(), line.group.clone(), line.letters.to_string(), outcome, line.reason.clone()]
    };
    output::table(&columns, &lines.iter().map(row).collect::<Vec<_>>())
}

/// `1 letter`, `2 letters`.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::letter::Place;
    use super::*;

    #[test]
    fn letters_of_one_fault_and_one_outcome_are_one_line() {
        let topic: Arc<str> = "market.ticks.v1".into();
        let letter = |reason: &str| Letter {
            place: Place { topic_id: Uuid::nil(), partition: 0, offset: 1 },
            group: "db".to_owned(),
            reason: reason.to_owned(),
            at_ms: 0,
            record_ms: None,
            headers: Vec::new(),
            row: 0,
        };
        let mut tally = Tally::default();
        for (reason, outcome) in [
            ("bytes 1", Outcome::Done),
            ("bytes 2", Outcome::Done),
            ("bytes 3", Outcome::Refused("ends at 7".to_owned())),
            ("bytes 4", Outcome::Refused("ends at 9".to_owned())),
            ("bytes 5", Outcome::Skipped("redriven before")),
        ] {
            tally.add(Kind::new(&topic, &letter(reason), outcome));
        }
        assert_eq!((tally.done(), tally.refused(), tally.skipped()), (2, 2, 1));
        let counts: Vec<(u64, &Outcome)> = tally.0.iter().map(|(kind, count)| (*count, &kind.outcome)).collect();
        let refused = Outcome::Refused("ends at …".to_owned());
        assert_eq!(counts, [(2, &Outcome::Done), (2, &refused), (1, &Outcome::Skipped("redriven before"))]);
    }
}
