//! Ticks in the binary format of COPY, in the column order of sql/copy_into_ticks.sql. Numbers go over digit for digit.

use pipeline::decimal::Decimal38;
use pipeline::decode::Ticks;
use uuid::Uuid;

use crate::numeric::Numeric;
use crate::rows::Row;
use crate::timestamptz::Timestamptz;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COLUMNS: [&str; 28] = [
    "event_time",
    "received_at",
    "broker_time",
    "kafka_offset",
    "sequence",
    "previous_event_time",
    "event_id",
    "payload_id",
    "revision",
    "kafka_partition",
    "retracted",
    "price",
    "quantity",
    "bid",
    "ask",
    "volume_24h",
    "quote_volume_24h",
    "market_cap",
    "change_24h_pct",
    "source",
    "symbol",
    "base",
    "quote",
    "kind",
    "event_time_origin",
    "source_symbol",
    "trade_id",
    "previous_symbol",
];
const NULL: i32 = -1;

/// Some of the columns: a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns(u32);

impl Columns {
    pub const ALL: Self = Self(u32::MAX);

    /// The key and, of `names`, those that are columns here.
    pub fn key_and(names: &[String]) -> Self {
        let wanted =
            |column: &str| matches!(column, "event_time" | "event_id") || names.iter().any(|name| name == column);
        let bits = COLUMNS.iter().enumerate().filter(|(_, column)| wanted(column)).map(|(i, _)| 1 << i);
        Self(bits.fold(0, |all, bit| all | bit))
    }

    fn has(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    /// In COPY's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..COLUMNS.len()).filter(move |index| self.has(*index)).map(|index| COLUMNS[index])
    }
}

/// Rows being written in COPY's format: the header, rows as they are pushed, at last [`CopyData::END`].
pub struct CopyData {
    bytes: Vec<u8>,
    columns: Columns,
    /// How many they are.
    count: i16,
    /// Which column of the row comes next.
    next: usize,
}

impl CopyData {
    pub const END: &[u8] = &(-1_i16).to_be_bytes();

    /// Rows of these columns only.
    pub fn new(columns: Columns) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "there are 28")]
        let count = columns.names().count() as i16;
        Self { bytes: HEADER.to_vec(), columns, count, next: 0 }
    }

    /// Appends the tick that `row` points to.
    pub fn push(&mut self, row: &Row, ticks: &Ticks<'_>) {
        let i = row.index;
        self.bytes.extend_from_slice(&self.count.to_be_bytes());
        self.next = 0;
        self.time(Some(row.place.event_time.0));
        self.time(Some(ticks.received_at(i)));
        self.time(Some(row.broker_time.0));
        self.field(&row.offset.to_be_bytes());
        self.optional(ticks.sequence(i), |data, sequence| data.field(&sequence.to_be_bytes()));
        self.time(ticks.previous_event_time(i));
        self.uuid(row.place.event_id);
        self.uuid(ticks.payload_id(i));
        self.field(&row.revision.to_be_bytes());
        self.field(&row.partition.to_be_bytes());
        self.field(&[u8::from(row.retracted)]);
        self.numeric(Some(ticks.price(i)));
        self.numeric(ticks.quantity(i));
        self.numeric(ticks.bid(i));
        self.numeric(ticks.ask(i));
        self.numeric(ticks.volume_24h(i));
        self.numeric(ticks.quote_volume_24h(i));
        self.numeric(ticks.market_cap(i));
        self.numeric(ticks.change_24h_pct(i));
        self.field(ticks.source(i).as_bytes());
        self.field(ticks.symbol(i).as_bytes());
        self.field(ticks.base(i).as_bytes());
        self.field(ticks.quote(i).as_bytes());
        self.field(ticks.kind(i).as_str().as_bytes());
        self.field(ticks.event_time_origin(i).as_str().as_bytes());
        self.field(ticks.source_symbol(i).as_bytes());
        self.optional(ticks.trade_id(i), |data, text| data.field(text.as_bytes()));
        self.optional(ticks.previous_symbol(i), |data, text| data.field(text.as_bytes()));
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was sent, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Whether the next column is written; goes on to the one after it.
    fn wants_next(&mut self) -> bool {
        self.next += 1;
        self.columns.has(self.next - 1)
    }

    fn field(&mut self, bytes: &[u8]) {
        if !self.wants_next() {
            return;
        }
        // A record is at most 1 MiB, so no field comes near 2 GiB.
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "bounded by the record size")]
        self.bytes.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    fn null(&mut self) {
        if self.wants_next() {
            self.bytes.extend_from_slice(&NULL.to_be_bytes());
        }
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    fn time(&mut self, micros: Option<i64>) {
        self.optional(micros, |data, micros| data.field(&Timestamptz(micros).to_wire().to_be_bytes()));
    }

    fn uuid(&mut self, id: Uuid) {
        self.field(id.as_bytes());
    }

    fn numeric(&mut self, value: Option<Decimal38>) {
        self.optional(value, |data, value| data.field(Numeric::from(value).as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_those_that_copy_names() {
        let statement = include_str!("sql/copy_into_ticks.sql");
        let (_, list) = statement.split_once('(').expect("a list");
        let (list, _) = list.split_once(')').expect("its end");
        assert_eq!(list.split(',').map(str::trim).collect::<Vec<_>>(), COLUMNS);
    }

    #[test]
    fn some_columns_are_the_key_and_those_named() {
        let some = Columns::key_and(&["price".to_owned(), "inserted_at".to_owned()]);
        assert_eq!(some.names().collect::<Vec<_>>(), ["event_time", "event_id", "price"]);
        assert_eq!(Columns::ALL.names().collect::<Vec<_>>(), COLUMNS);
    }
}
