//! Gaps, index weights and alerts on their way into their tables: a few records a minute, so each is a JSON document and a
//! table's documents go in by one statement, which also chooses among several of one key. Numbers and times are text in
//! them, digit for digit. Must never happen here: a value that jsonb would change or refuse.

pub mod merge;

use std::collections::HashSet;

use pipeline::decode::{Alerts, Gaps, IndexWeights};
use pipeline::events::{Alert, Gap, IndexWeight};
use pipeline::fits;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::rows::Origin;
use crate::timestamptz::Timestamptz;

const MERGE_GAPS: &str = include_str!("sql/merge_gaps.sql");
const MERGE_INDEX_WEIGHTS: &str = include_str!("sql/merge_index_weights.sql");
const MERGE_ALERTS: &str = include_str!("sql/merge_alerts.sql");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Gaps,
    IndexWeights,
    Alerts,
}

impl Table {
    pub const ALL: [Self; 3] = [Self::Gaps, Self::IndexWeights, Self::Alerts];

    pub fn name(self) -> &'static str {
        match self {
            Self::Gaps => "gaps",
            Self::IndexWeights => "index_weights",
            Self::Alerts => "alerts",
        }
    }

    /// Takes an array of documents.
    pub fn merge_statement(self) -> &'static str {
        match self {
            Self::Gaps => MERGE_GAPS,
            Self::IndexWeights => MERGE_INDEX_WEIGHTS,
            Self::Alerts => MERGE_ALERTS,
        }
    }
}

/// One good record.
#[derive(Clone, Debug)]
pub struct Document {
    pub table: Table,
    pub origin: Origin,
    fields: Map<String, Value>,
}

/// The documents of one transaction.
#[derive(Default)]
pub struct Documents(Vec<Document>);

impl Documents {
    /// Adds decoded gaps; `origin` tells where each row of them came from. Gives the rows refused, with the reason.
    pub fn add_gaps(&mut self, gaps: Gaps<'_>, origin: impl Fn(usize) -> Origin) -> Vec<(usize, String)> {
        self.add(Table::Gaps, gaps.iter(), origin, gap)
    }

    /// As [`Self::add_gaps`].
    pub fn add_index_weights(
        &mut self,
        weights: IndexWeights<'_>,
        origin: impl Fn(usize) -> Origin,
    ) -> Vec<(usize, String)> {
        self.add(Table::IndexWeights, weights.iter(), origin, index_weight)
    }

    /// As [`Self::add_gaps`].
    pub fn add_alerts(&mut self, alerts: Alerts<'_>, origin: impl Fn(usize) -> Origin) -> Vec<(usize, String)> {
        self.add(Table::Alerts, alerts.iter(), origin, alert)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, table: Table) -> Vec<&Document> {
        self.0.iter().filter(|document| document.table == table).collect()
    }

    pub fn remove(&mut self, refused: &HashSet<Origin>) {
        self.0.retain(|document| !refused.contains(&document.origin));
    }

    fn add<T>(
        &mut self,
        table: Table,
        events: impl Iterator<Item = T>,
        origin: impl Fn(usize) -> Origin,
        fields: impl Fn(&T, Timestamptz) -> Made,
    ) -> Vec<(usize, String)> {
        let mut refused = Vec::new();
        for (row, event) in events.enumerate() {
            let origin = origin(row);
            let broker_time = Timestamptz(origin.broker_time_ms.saturating_mul(1000));
            let made = fields(&event, broker_time).and_then(|mut fields| {
                fields.insert("broker_time".to_owned(), time("broker_time", Some(broker_time.0))?);
                fields.insert("kafka_partition".to_owned(), origin.partition.into());
                fields.insert("kafka_offset".to_owned(), origin.offset.into());
                Ok(Document { table, origin, fields })
            });
            match made {
                Ok(document) => self.0.push(document),
                Err(reason) => refused.push((row, reason)),
            }
        }
        refused
    }
}

/// The fields of a row, or why there is none.
type Made = Result<Map<String, Value>, String>;

/// The array that a merge statement takes.
pub fn array(documents: &[&Document]) -> String {
    let fields: Vec<&Map<String, Value>> = documents.iter().map(|document| &document.fields).collect();
    serde_json::to_string(&fields).expect("a map of texts and numbers is JSON")
}

fn gap(gap: &Gap, broker_time: Timestamptz) -> Made {
    fits::gap(gap, broker_time.0)?;
    fields(gap, &[("started_at", Some(gap.started_at)), ("ended_at", gap.ended_at)])
}

fn index_weight(weight: &IndexWeight, broker_time: Timestamptz) -> Made {
    fits::index_weight(weight, broker_time.0)?;
    fields(weight, &[("received_at", Some(weight.received_at))])
}

fn alert(alert: &Alert, broker_time: Timestamptz) -> Made {
    fits::alert(alert, broker_time.0)?;
    fields(alert, &[("event_time", Some(alert.event_time)), ("fired_at", Some(alert.fired_at))])
}

/// An event's fields by name, with these times as text.
fn fields(event: &impl Serialize, times: &[(&str, Option<i64>)]) -> Made {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else {
        return Err("not to be written as JSON".to_owned());
    };
    for (name, micros) in times {
        fields.insert((*name).to_owned(), time(name, *micros)?);
    }
    Ok(fields)
}

fn time(name: &str, micros: Option<i64>) -> Result<Value, String> {
    let Some(micros) = micros else { return Ok(Value::Null) };
    fits::time(name, micros)?;
    Ok(Timestamptz(micros).to_string().into())
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    const TAKEN: Timestamptz = Timestamptz(1_772_500_000_000_000);

    #[test]
    fn times_are_exact_text_and_what_cannot_be_held_is_refused() {
        let held = Gap { ended_at: Some(253_402_300_799_999_999), ..example::gap() };
        let fields = gap(&held, TAKEN).expect("the last moment of the year 9999");
        assert_eq!(fields["ended_at"], "9999-12-31T23:59:59.999999Z");
        assert_eq!(gap(&example::gap(), TAKEN).expect("held")["ended_at"], Value::Null);
        let refused = gap(&Gap { started_at: 0, ..example::gap() }, TAKEN).expect_err("there was no market");
        assert!(refused.starts_with("started_at out of range"), "{refused}");
    }

    #[test]
    fn numbers_keep_their_digits() {
        let part = "99999999999999999999.999999999999999999".parse().expect("a decimal");
        let fields = index_weight(&IndexWeight { part, ..example::index_weight() }, TAKEN).expect("held");
        assert_eq!(fields["part"], "99999999999999999999.999999999999999999");
        assert_eq!((&fields["pregao_date"], &fields["type"]), (&"2026-03-02".into(), &"PN      N2".into()));
    }
}
