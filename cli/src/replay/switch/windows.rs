//! How long after the one commit each target had switched. Nothing ties the targets together, so this is measured and said:
//! between the first and the last of these times their readers see different states.

use jiff::Timestamp;
use serde::Serialize;

use super::rows::Applied;
use crate::output::{self, Align, Format};
use crate::replay::plan::Target;
use crate::replay::record::{Record, TargetState};

const HEADINGS: [&str; 4] = ["target", "records", "refused", "after_seconds"];

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Window {
    target: &'static str,
    records: Option<u64>,
    refused: Option<u64>,
    /// Since the commit of the topic.
    after_seconds: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Windows(Vec<Window>);

impl Windows {
    pub fn topic(&mut self, published: &TargetState) {
        self.push("topic", Some(published.rows), None, 0.0);
    }

    pub fn rows(&mut self, committed_us: i64, applied: Applied) {
        self.push("postgres", Some(applied.records), Some(applied.refused), since(committed_us));
    }

    /// Of a switch in which nothing is published: its commit, where it has one, is the moment from which is counted.
    pub fn exchanged(&mut self, rows: u64) {
        self.push("postgres", Some(rows), None, 0.0);
    }

    /// Of such a switch, after the objects of bronze.
    pub fn bronze(&mut self, committed_us: i64, rows: Option<u64>) {
        self.push("lake bronze", rows, None, since(committed_us));
    }

    pub fn raw(&mut self, committed_us: i64) {
        self.push("lake raw and bronze", None, None, since(committed_us));
    }

    pub fn refined(&mut self, committed_us: i64) {
        self.push("lake silver and gold", None, None, since(committed_us));
    }

    fn push(&mut self, target: &'static str, records: Option<u64>, refused: Option<u64>, after_seconds: f64) {
        self.0.push(Window { target, records, refused, after_seconds });
    }

    /// Puts into the record when database and lake had switched.
    pub fn note(&self, record: &mut Record) {
        let now_us = Timestamp::now().as_microsecond();
        for window in &self.0 {
            let target = match window.target {
                "postgres" => Target::Db,
                "lake silver and gold" => Target::Lake,
                _ => continue,
            };
            let state = record.state.as_str().to_owned();
            let rows = window.records.unwrap_or(0);
            let target_state = TargetState { state, began_us: None, ended_us: Some(now_us), fence: Vec::new(), rows };
            record.targets.insert(target, target_state);
        }
    }

    pub fn print(&self, format: Format) -> anyhow::Result<()> {
        output::print_rows(format, &HEADINGS, &self.0, |windows| {
            let columns = [
                ("TARGET", Align::Left),
                ("RECORDS", Align::Right),
                ("REFUSED", Align::Right),
                ("AFTER THE COMMIT", Align::Right),
            ];
            let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
            let rows: Vec<Vec<String>> = windows
                .iter()
                .map(|window| {
                    let after = output::age(window.after_seconds);
                    vec![window.target.to_owned(), count(window.records), count(window.refused), after]
                })
                .collect();
            output::table(&columns, &rows)
        })
    }
}

fn since(committed_us: i64) -> f64 {
    (Timestamp::now().as_microsecond() - committed_us) as f64 / 1e6
}
