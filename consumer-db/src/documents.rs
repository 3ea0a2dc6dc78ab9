//! Gaps, index weights and alerts on their way into their tables: a few records a minute, so each is a JSON document and a
//! table's documents go in by one statement, which also chooses among several of one key. Numbers and times are text in
//! them, digit for digit. Must never happen here: a value that jsonb would change or refuse.

pub mod merge;

use std::collections::HashSet;

use pipeline::decode::{Alerts, Gaps, IndexWeights};
use pipeline::events::{Alert, Gap, IndexWeight};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::fits::{self, NAME_BYTES};
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

fn gap(gap: &Gap, broker_time: Timestamptz) -> Result<Map<String, Value>, String> {
    fits::past("started_at", Timestamptz(gap.started_at), broker_time)?;
    fits::text("source", &gap.source, NAME_BYTES)?;
    gap.symbols.iter().try_for_each(|symbol| fits::text("symbols", symbol, NAME_BYTES))?;
    fits::text("detail", &gap.detail, usize::MAX)?;
    fields(gap, &[("started_at", Some(gap.started_at)), ("ended_at", gap.ended_at)])
}

fn index_weight(weight: &IndexWeight, _: Timestamptz) -> Result<Map<String, Value>, String> {
    let IndexWeight { source, index_name, code, asset, asset_type, segment, .. } = weight;
    for (name, text) in [("source", source), ("index_name", index_name), ("code", code)] {
        fits::text(name, text, NAME_BYTES)?;
    }
    let others = [("asset", Some(asset)), ("type", Some(asset_type)), ("segment", segment.as_ref())];
    for (name, text) in others {
        text.map_or(Ok(()), |text| fits::text(name, text, usize::MAX))?;
    }
    if weight.pregao_date.year() < 1 {
        return Err(format!("pregao_date out of range: {}", weight.pregao_date));
    }
    fields(weight, &[("received_at", Some(weight.received_at))])
}

fn alert(alert: &Alert, _: Timestamptz) -> Result<Map<String, Value>, String> {
    let Alert { rule, rule_hash, symbol, source, trigger_topic, message, .. } = alert;
    let texts = [
        ("rule", Some(rule), NAME_BYTES),
        ("rule_hash", Some(rule_hash), NAME_BYTES),
        ("symbol", symbol.as_ref(), NAME_BYTES),
        ("source", source.as_ref(), NAME_BYTES),
        ("trigger_topic", Some(trigger_topic), NAME_BYTES),
        ("message", Some(message), usize::MAX),
    ];
    for (name, text, most_bytes) in texts {
        text.map_or(Ok(()), |text| fits::text(name, text, most_bytes))?;
    }
    fields(alert, &[("event_time", Some(alert.event_time)), ("fired_at", Some(alert.fired_at))])
}

/// An event's fields by name, with these times as text.
fn fields(event: &impl Serialize, times: &[(&str, Option<i64>)]) -> Result<Map<String, Value>, String> {
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
    fits::time(name, Timestamptz(micros))?;
    Ok(Timestamptz(micros).to_string().into())
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    const TAKEN: Timestamptz = Timestamptz(1_772_500_000_000_000);

    #[test]
    fn times_are_exact_text_and_what_cannot_be_held_has_a_reason() {
        let held = Gap { ended_at: Some(253_402_300_799_999_999), ..example::gap() };
        let fields = gap(&held, TAKEN).expect("the last moment of the year 9999");
        assert_eq!(fields["ended_at"], "9999-12-31T23:59:59.999999Z");
        assert_eq!(gap(&example::gap(), TAKEN).expect("held")["ended_at"], Value::Null);

        let cases = [
            (Gap { started_at: TAKEN.0 + 25 * 3_600_000_000, ..example::gap() }, "started_at out of range: 2026-03-04"),
            (Gap { started_at: 0, ..example::gap() }, "started_at out of range: 1970-01-01T00:00:00Z is before 2009"),
            (Gap { ended_at: Some(i64::MAX), ..example::gap() }, "ended_at out of range"),
            (Gap { detail: "a\0b".to_owned(), ..example::gap() }, "detail contains a zero byte"),
            (Gap { symbols: vec!["X".repeat(257)], ..example::gap() }, "symbols has 257 bytes"),
        ];
        for (refused, reason) in cases {
            let found = gap(&refused, TAKEN).expect_err(reason);
            assert!(found.starts_with(reason), "{found} instead of {reason}");
        }
        let long = Alert { rule: "r".repeat(300), ..example::alert() };
        assert!(alert(&long, TAKEN).expect_err("a long name").starts_with("rule has 300 bytes"));
        let weight = IndexWeight { pregao_date: jiff::civil::date(-1, 1, 1), ..example::index_weight() };
        assert!(index_weight(&weight, TAKEN).expect_err("no such year").starts_with("pregao_date out of range"));
    }

    #[test]
    fn numbers_keep_their_digits() {
        let part = "99999999999999999999.999999999999999999".parse().expect("a decimal");
        let fields = index_weight(&IndexWeight { part, ..example::index_weight() }, TAKEN).expect("held");
        assert_eq!(fields["part"], "99999999999999999999.999999999999999999");
        assert_eq!((&fields["pregao_date"], &fields["type"]), (&"2026-03-02".into(), &"PN      N2".into()));
    }
}
