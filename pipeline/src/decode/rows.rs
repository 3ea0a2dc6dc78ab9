//! Decoded columns with names and types: what sinks and pages read instead of looking columns up. The views borrow; a
//! getter is an index into an array. They take batches that [`super::Decoder`] made of the same record type, nothing else.

use std::str::FromStr;

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use bytes::Bytes;
use uuid::Uuid;

use crate::decimal::Decimal38;
use crate::epoch_day;
use crate::events::{Alert, AlertKind, AlertState, Gap, GapReason, IndexWeight, PayloadRecord, Severity, SourceHealth};

/// The columns of gap.
#[derive(Clone, Copy, Debug)]
pub struct Gaps<'a> {
    pub ids: &'a FixedSizeBinaryArray,
    pub sources: &'a StringArray,
    pub symbols: &'a ListArray,
    /// As Avro symbols, `POLL_FAILED`.
    pub reasons: &'a StringArray,
    pub started_ats: &'a TimestampMicrosecondArray,
    pub ended_ats: &'a TimestampMicrosecondArray,
    pub details: &'a StringArray,
}

impl<'a> Gaps<'a> {
    /// # Panics
    /// When `batch` has not the columns of [`super::Decoder::schema`] for gap.
    pub fn new(batch: &'a RecordBatch) -> Self {
        Self {
            ids: column(batch, "id").as_fixed_size_binary(),
            sources: column(batch, "source").as_string(),
            symbols: column(batch, "symbols").as_list(),
            reasons: column(batch, "reason").as_string(),
            started_ats: column(batch, "started_at").as_primitive(),
            ended_ats: column(batch, "ended_at").as_primitive(),
            details: column(batch, "detail").as_string(),
        }
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, row: usize) -> Gap {
        let symbols = self.symbols.value(row);
        Gap {
            id: uuid(self.ids, row),
            source: self.sources.value(row).to_owned(),
            symbols: symbols.as_string::<i32>().iter().flatten().map(str::to_owned).collect(),
            reason: symbol::<GapReason>(self.reasons, row),
            started_at: self.started_ats.value(row),
            ended_at: self.ended_ats.is_valid(row).then(|| self.ended_ats.value(row)),
            detail: self.details.value(row).to_owned(),
        }
    }

    pub fn iter(self) -> impl Iterator<Item = Gap> + 'a {
        (0..self.len()).map(move |row| self.get(row))
    }
}

/// The columns of source_health.
#[derive(Clone, Copy, Debug)]
pub struct Healths<'a> {
    pub sources: &'a StringArray,
    pub ats: &'a TimestampMicrosecondArray,
    pub last_answer_ats: &'a TimestampMicrosecondArray,
    pub states: &'a StringArray,
    pub budgets_left: &'a Int64Array,
    pub used_todays: &'a Int64Array,
    pub used_this_months: &'a Int64Array,
    pub producers: &'a StringArray,
}

impl<'a> Healths<'a> {
    /// # Panics
    /// When `batch` has not the columns of [`super::Decoder::schema`] for source_health.
    pub fn new(batch: &'a RecordBatch) -> Self {
        Self {
            sources: column(batch, "source").as_string(),
            ats: column(batch, "at").as_primitive(),
            last_answer_ats: column(batch, "last_answer_at").as_primitive(),
            states: column(batch, "state").as_string(),
            budgets_left: column(batch, "budget_left").as_primitive(),
            used_todays: column(batch, "used_today").as_primitive(),
            used_this_months: column(batch, "used_this_month").as_primitive(),
            producers: column(batch, "producer").as_string(),
        }
    }

    pub fn len(&self) -> usize {
        self.sources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, row: usize) -> SourceHealth {
        SourceHealth {
            source: self.sources.value(row).to_owned(),
            at: self.ats.value(row),
            last_answer_at: self.last_answer_ats.is_valid(row).then(|| self.last_answer_ats.value(row)),
            state: self.states.value(row).to_owned(),
            budget_left: self.budgets_left.is_valid(row).then(|| self.budgets_left.value(row)),
            used_today: self.used_todays.is_valid(row).then(|| self.used_todays.value(row)),
            used_this_month: self.used_this_months.is_valid(row).then(|| self.used_this_months.value(row)),
            producer: self.producers.is_valid(row).then(|| self.producers.value(row).to_owned()),
        }
    }

    pub fn iter(self) -> impl Iterator<Item = SourceHealth> + 'a {
        (0..self.len()).map(move |row| self.get(row))
    }
}

/// The columns of index_weight.
#[derive(Clone, Copy, Debug)]
pub struct IndexWeights<'a> {
    pub event_ids: &'a FixedSizeBinaryArray,
    pub revisions: &'a Int32Array,
    pub sources: &'a StringArray,
    pub index_names: &'a StringArray,
    pub codes: &'a StringArray,
    pub assets: &'a StringArray,
    pub asset_types: &'a StringArray,
    pub segments: &'a StringArray,
    pub parts: &'a Decimal128Array,
    pub theoretical_quantities: &'a Decimal128Array,
    pub pregao_dates: &'a Date32Array,
    pub received_ats: &'a TimestampMicrosecondArray,
    pub payload_ids: &'a FixedSizeBinaryArray,
    pub retracteds: &'a BooleanArray,
}

impl<'a> IndexWeights<'a> {
    /// # Panics
    /// When `batch` has not the columns of [`super::Decoder::schema`] for index_weight.
    pub fn new(batch: &'a RecordBatch) -> Self {
        Self {
            event_ids: column(batch, "event_id").as_fixed_size_binary(),
            revisions: column(batch, "revision").as_primitive(),
            sources: column(batch, "source").as_string(),
            index_names: column(batch, "index_name").as_string(),
            codes: column(batch, "code").as_string(),
            assets: column(batch, "asset").as_string(),
            asset_types: column(batch, "type").as_string(),
            segments: column(batch, "segment").as_string(),
            parts: column(batch, "part").as_primitive(),
            theoretical_quantities: column(batch, "theoretical_quantity").as_primitive(),
            pregao_dates: column(batch, "pregao_date").as_primitive(),
            received_ats: column(batch, "received_at").as_primitive(),
            payload_ids: column(batch, "payload_id").as_fixed_size_binary(),
            retracteds: column(batch, "retracted").as_boolean(),
        }
    }

    pub fn len(&self) -> usize {
        self.event_ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, row: usize) -> IndexWeight {
        let day = epoch_day::from_days(self.pregao_dates.value(row));
        IndexWeight {
            event_id: uuid(self.event_ids, row),
            revision: self.revisions.value(row),
            source: self.sources.value(row).to_owned(),
            index_name: self.index_names.value(row).to_owned(),
            code: self.codes.value(row).to_owned(),
            asset: self.assets.value(row).to_owned(),
            asset_type: self.asset_types.value(row).to_owned(),
            segment: self.segments.is_valid(row).then(|| self.segments.value(row).to_owned()),
            part: decimal(self.parts, row),
            theoretical_quantity: decimal(self.theoretical_quantities, row),
            pregao_date: day.expect("no day that the calendar does not have is decoded"),
            received_at: self.received_ats.value(row),
            payload_id: uuid(self.payload_ids, row),
            retracted: self.retracteds.value(row),
        }
    }

    pub fn iter(self) -> impl Iterator<Item = IndexWeight> + 'a {
        (0..self.len()).map(move |row| self.get(row))
    }
}

/// The columns of payload.
#[derive(Clone, Copy, Debug)]
pub struct Payloads<'a> {
    pub payload_ids: &'a FixedSizeBinaryArray,
    pub sources: &'a StringArray,
    pub requests: &'a StringArray,
    pub statuses: &'a Int32Array,
    pub received_ats: &'a TimestampMicrosecondArray,
    pub content_encodings: &'a StringArray,
    pub parts: &'a Int32Array,
    pub parts_counts: &'a Int32Array,
    pub contents: &'a BinaryArray,
}

impl<'a> Payloads<'a> {
    /// # Panics
    /// When `batch` has not the columns of [`super::Decoder::schema`] for payload.
    pub fn new(batch: &'a RecordBatch) -> Self {
        Self {
            payload_ids: column(batch, "payload_id").as_fixed_size_binary(),
            sources: column(batch, "source").as_string(),
            requests: column(batch, "request").as_string(),
            statuses: column(batch, "status").as_primitive(),
            received_ats: column(batch, "received_at").as_primitive(),
            content_encodings: column(batch, "content_encoding").as_string(),
            parts: column(batch, "part").as_primitive(),
            parts_counts: column(batch, "parts").as_primitive(),
            contents: column(batch, "content").as_binary(),
        }
    }

    pub fn len(&self) -> usize {
        self.payload_ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole record; its content is a copy, so that it does not keep the batch.
    pub fn get(&self, row: usize) -> PayloadRecord {
        PayloadRecord {
            payload_id: uuid(self.payload_ids, row),
            source: self.sources.value(row).to_owned(),
            request: self.requests.value(row).to_owned(),
            status: self.statuses.is_valid(row).then(|| self.statuses.value(row)),
            received_at: self.received_ats.value(row),
            content_encoding: self.content_encodings.value(row).to_owned(),
            part: self.parts.value(row),
            parts: self.parts_counts.value(row),
            content: Bytes::copy_from_slice(self.contents.value(row)),
        }
    }

    pub fn iter(self) -> impl Iterator<Item = PayloadRecord> + 'a {
        (0..self.len()).map(move |row| self.get(row))
    }
}

/// The columns of alert.
#[derive(Clone, Copy, Debug)]
pub struct Alerts<'a> {
    pub alert_ids: &'a FixedSizeBinaryArray,
    pub rules: &'a StringArray,
    pub rule_hashes: &'a StringArray,
    /// As Avro symbols, `MOVING_AVERAGE`.
    pub kinds: &'a StringArray,
    /// As Avro symbols, `FIRING`.
    pub states: &'a StringArray,
    /// As Avro symbols, `WARNING`.
    pub severities: &'a StringArray,
    pub symbols: &'a StringArray,
    pub sources: &'a StringArray,
    pub prices: &'a Decimal128Array,
    pub references: &'a Decimal128Array,
    pub change_pcts: &'a Decimal128Array,
    pub event_times: &'a TimestampMicrosecondArray,
    pub fired_ats: &'a TimestampMicrosecondArray,
    pub event_ids: &'a FixedSizeBinaryArray,
    pub trigger_topics: &'a StringArray,
    pub trigger_partitions: &'a Int32Array,
    pub trigger_offsets: &'a Int64Array,
    pub messages: &'a StringArray,
}

impl<'a> Alerts<'a> {
    /// # Panics
    /// When `batch` has not the columns of [`super::Decoder::schema`] for alert.
    pub fn new(batch: &'a RecordBatch) -> Self {
        Self {
            alert_ids: column(batch, "alert_id").as_fixed_size_binary(),
            rules: column(batch, "rule").as_string(),
            rule_hashes: column(batch, "rule_hash").as_string(),
            kinds: column(batch, "kind").as_string(),
            states: column(batch, "state").as_string(),
            severities: column(batch, "severity").as_string(),
            symbols: column(batch, "symbol").as_string(),
            sources: column(batch, "source").as_string(),
            prices: column(batch, "price").as_primitive(),
            references: column(batch, "reference").as_primitive(),
            change_pcts: column(batch, "change_pct").as_primitive(),
            event_times: column(batch, "event_time").as_primitive(),
            fired_ats: column(batch, "fired_at").as_primitive(),
            event_ids: column(batch, "event_id").as_fixed_size_binary(),
            trigger_topics: column(batch, "trigger_topic").as_string(),
            trigger_partitions: column(batch, "trigger_partition").as_primitive(),
            trigger_offsets: column(batch, "trigger_offset").as_primitive(),
            messages: column(batch, "message").as_string(),
        }
    }

    pub fn len(&self) -> usize {
        self.alert_ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, row: usize) -> Alert {
        Alert {
            alert_id: uuid(self.alert_ids, row),
            rule: self.rules.value(row).to_owned(),
            rule_hash: self.rule_hashes.value(row).to_owned(),
            kind: symbol::<AlertKind>(self.kinds, row),
            state: symbol::<AlertState>(self.states, row),
            severity: symbol::<Severity>(self.severities, row),
            symbol: self.symbols.is_valid(row).then(|| self.symbols.value(row).to_owned()),
            source: self.sources.is_valid(row).then(|| self.sources.value(row).to_owned()),
            price: optional(self.prices, row, decimal),
            reference: optional(self.references, row, decimal),
            change_pct: optional(self.change_pcts, row, decimal),
            event_time: self.event_times.value(row),
            fired_at: self.fired_ats.value(row),
            event_id: self.event_ids.is_valid(row).then(|| uuid(self.event_ids, row)),
            trigger_topic: self.trigger_topics.value(row).to_owned(),
            trigger_partition: self.trigger_partitions.value(row),
            trigger_offset: self.trigger_offsets.value(row),
            message: self.messages.value(row).to_owned(),
        }
    }

    pub fn iter(self) -> impl Iterator<Item = Alert> + 'a {
        (0..self.len()).map(move |row| self.get(row))
    }
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).unwrap_or_else(|| panic!("the batch has no column {name}")).as_ref()
}

pub(super) fn uuid(ids: &FixedSizeBinaryArray, row: usize) -> Uuid {
    Uuid::from_slice(ids.value(row)).expect("the column's values have sixteen bytes")
}

pub(super) fn decimal(values: &Decimal128Array, row: usize) -> Decimal38 {
    Decimal38::from_unscaled(values.value(row)).expect("no value of more than 38 digits is decoded")
}

pub(super) fn optional(
    values: &Decimal128Array,
    row: usize,
    get: fn(&Decimal128Array, usize) -> Decimal38,
) -> Option<Decimal38> {
    values.is_valid(row).then(|| get(values, row))
}

pub(super) fn symbol<T: FromStr>(values: &StringArray, row: usize) -> T {
    let symbol = values.value(row);
    symbol.parse().unwrap_or_else(|_| panic!("{symbol} was decoded, so the schema has it and the enumeration must too"))
}
