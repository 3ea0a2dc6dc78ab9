//! Corrected ticks for `dlq redrive --renormalize`, as `producer renormalize --dry-run` prints them: a JSON line a change, with
//! the tick of today's parsers under `new`. The producer's parsers are the producer's own; what they say comes over a pipe.
//! Must never happen here: a line that is not understood and is passed over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use pipeline::events::PriceTick;
use pipeline::misconfigured;
use serde::Deserialize;
use uuid::Uuid;

/// A line is shorter by far.
const LONGEST_LINE: usize = 1 << 20;
/// Ticks that are held, about 500 bytes each.
const MOST: usize = 2_000_000;

#[derive(Deserialize)]
struct Change {
    new: PriceTick,
}

/// By event id, the highest revision.
#[derive(Debug, Default)]
pub struct Corrections(HashMap<Uuid, PriceTick>);

impl Corrections {
    /// Of a file, or of standard input where it is `-`.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        if path.as_os_str() == "-" {
            return Self::of(std::io::stdin().lock(), "standard input");
        }
        let file = std::fs::File::open(path).map_err(|error| {
            misconfigured(format!(
                "cannot read {shown}, set by --renormalize (DLQ_RENORMALIZE): {error}; name a file that `producer renormalize \
                 --dry-run` wrote, or - for standard input"
            ))
        })?;
        Self::of(BufReader::new(file), &shown.to_string())
    }

    fn of(mut lines: impl BufRead, name: &str) -> anyhow::Result<Self> {
        let (mut corrections, mut line, mut number) = (HashMap::new(), Vec::new(), 0_u64);
        loop {
            line.clear();
            let read = std::io::Read::take(&mut lines, LONGEST_LINE as u64).read_until(b'\n', &mut line);
            if read.with_context(|| format!("reading {name}"))? == 0 {
                return Ok(Self(corrections));
            }
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Change { new } = serde_json::from_slice(&line).map_err(|error| {
                misconfigured(format!(
                    "line {number} of {name} is no change as `producer renormalize --dry-run` prints it: {error}"
                ))
            })?;
            match corrections.entry(new.event_id) {
                Entry::Vacant(vacant) => drop(vacant.insert(new)),
                Entry::Occupied(mut known) if known.get().revision <= new.revision => drop(known.insert(new)),
                Entry::Occupied(_) => {}
            }
            if corrections.len() > MOST {
                return Err(misconfigured(format!(
                    "{name} has more than {MOST} ticks: take a shorter range at a time"
                )));
            }
        }
    }

    pub fn of_event(&self, event_id: Uuid) -> Option<&PriceTick> {
        self.0.get(&event_id)
    }
}

#[cfg(test)]
mod tests {
    use pipeline::example;
    use serde_json::json;

    use super::*;

    fn line(revision: i32) -> String {
        let new = PriceTick { revision, ..example::tick() };
        json!({"change": "changed", "old": example::tick(), "new": new}).to_string()
    }

    #[test]
    fn the_highest_revision_of_an_event_counts() {
        let text = format!("{}\n\n{}\n{}", line(1), line(3), line(2));
        let corrections = Corrections::of(text.as_bytes(), "a file").expect("good lines");
        let tick = corrections.of_event(example::tick().event_id).expect("corrected");
        assert_eq!((tick.revision, tick.price), (3, example::tick().price));
        assert!(corrections.of_event(Uuid::nil()).is_none());
    }

    #[test]
    fn a_line_that_is_no_change_is_named() {
        let text = format!("{}\nprice,1", line(1));
        let said = Corrections::of(text.as_bytes(), "fix.jsonl").expect_err("a bad line");
        assert_eq!(pipeline::exit_code(&said), 2);
        assert!(said.to_string().starts_with("line 2 of fix.jsonl is no change"), "{said}");
        let endless = "x".repeat(LONGEST_LINE + 1);
        assert!(Corrections::of(endless.as_bytes(), "a file").is_err());
        let said = Corrections::read(Path::new("no/such/file")).expect_err("no file").to_string();
        assert!(said.contains("--renormalize (DLQ_RENORMALIZE)"), "{said}");
    }
}
