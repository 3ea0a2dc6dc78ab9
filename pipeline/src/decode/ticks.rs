//! The columns of price_tick with names and types, each field to be had by itself: sinks read a few of them of millions of
//! rows. [`super::rows`] has the other types.

use arrow::array::{
    Array, AsArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use uuid::Uuid;

use super::rows::{column, decimal, optional, symbol, uuid};
use crate::decimal::Decimal38;
use crate::events::{EventTimeOrigin, Kind, PriceTick};

/// The columns of price_tick.
#[derive(Clone, Copy, Debug)]
pub struct Ticks<'a> {
    pub event_ids: &'a FixedSizeBinaryArray,
    pub revisions: &'a Int32Array,
    pub sources: &'a StringArray,
    pub symbols: &'a StringArray,
    pub bases: &'a StringArray,
    pub quotes: &'a StringArray,
    /// As Avro symbols, `TRADE`.
    pub kinds: &'a StringArray,
    pub prices: &'a Decimal128Array,
    pub quantities: &'a Decimal128Array,
    pub bids: &'a Decimal128Array,
    pub asks: &'a Decimal128Array,
    pub volumes_24h: &'a Decimal128Array,
    pub quote_volumes_24h: &'a Decimal128Array,
    pub market_caps: &'a Decimal128Array,
    pub changes_24h_pct: &'a Decimal128Array,
    pub event_times: &'a TimestampMicrosecondArray,
    /// As Avro symbols, `SOURCE`.
    pub event_time_origins: &'a StringArray,
    pub received_ats: &'a TimestampMicrosecondArray,
    pub sequences: &'a Int64Array,
    pub trade_ids: &'a StringArray,
    pub source_symbols: &'a StringArray,
    pub payload_ids: &'a FixedSizeBinaryArray,
    pub previous_event_times: &'a TimestampMicrosecondArray,
    pub previous_symbols: &'a StringArray,
    pub retracteds: &'a BooleanArray,
    pub fx_ages_ms: &'a Int64Array,
}

impl<'a> Ticks<'a> {
    /// # Panics
    /// When `batch` has not the columns of [`super::Decoder::schema`] for price_tick.
    pub fn new(batch: &'a RecordBatch) -> Self {
        let decimals = |name| column(batch, name).as_primitive::<Decimal128Type>();
        let times = |name| column(batch, name).as_primitive::<TimestampMicrosecondType>();
        let texts = |name| column(batch, name).as_string::<i32>();
        Self {
            event_ids: column(batch, "event_id").as_fixed_size_binary(),
            revisions: column(batch, "revision").as_primitive::<Int32Type>(),
            sources: texts("source"),
            symbols: texts("symbol"),
            bases: texts("base"),
            quotes: texts("quote"),
            kinds: texts("kind"),
            prices: decimals("price"),
            quantities: decimals("quantity"),
            bids: decimals("bid"),
            asks: decimals("ask"),
            volumes_24h: decimals("volume_24h"),
            quote_volumes_24h: decimals("quote_volume_24h"),
            market_caps: decimals("market_cap"),
            changes_24h_pct: decimals("change_24h_pct"),
            event_times: times("event_time"),
            event_time_origins: texts("event_time_origin"),
            received_ats: times("received_at"),
            sequences: column(batch, "sequence").as_primitive::<Int64Type>(),
            trade_ids: texts("trade_id"),
            source_symbols: texts("source_symbol"),
            payload_ids: column(batch, "payload_id").as_fixed_size_binary(),
            previous_event_times: times("previous_event_time"),
            previous_symbols: texts("previous_symbol"),
            retracteds: column(batch, "retracted").as_boolean(),
            fx_ages_ms: column(batch, "fx_age_ms").as_primitive::<Int64Type>(),
        }
    }

    pub fn len(&self) -> usize {
        self.event_ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn event_id(&self, row: usize) -> Uuid {
        uuid(self.event_ids, row)
    }

    pub fn revision(&self, row: usize) -> i32 {
        self.revisions.value(row)
    }

    pub fn source(&self, row: usize) -> &'a str {
        self.sources.value(row)
    }

    pub fn symbol(&self, row: usize) -> &'a str {
        self.symbols.value(row)
    }

    pub fn base(&self, row: usize) -> &'a str {
        self.bases.value(row)
    }

    pub fn quote(&self, row: usize) -> &'a str {
        self.quotes.value(row)
    }

    pub fn kind(&self, row: usize) -> Kind {
        symbol(self.kinds, row)
    }

    pub fn price(&self, row: usize) -> Decimal38 {
        decimal(self.prices, row)
    }

    pub fn quantity(&self, row: usize) -> Option<Decimal38> {
        optional(self.quantities, row, decimal)
    }

    pub fn bid(&self, row: usize) -> Option<Decimal38> {
        optional(self.bids, row, decimal)
    }

    pub fn ask(&self, row: usize) -> Option<Decimal38> {
        optional(self.asks, row, decimal)
    }

    pub fn volume_24h(&self, row: usize) -> Option<Decimal38> {
        optional(self.volumes_24h, row, decimal)
    }

    pub fn quote_volume_24h(&self, row: usize) -> Option<Decimal38> {
        optional(self.quote_volumes_24h, row, decimal)
    }

    pub fn market_cap(&self, row: usize) -> Option<Decimal38> {
        optional(self.market_caps, row, decimal)
    }

    pub fn change_24h_pct(&self, row: usize) -> Option<Decimal38> {
        optional(self.changes_24h_pct, row, decimal)
    }

    /// Microseconds UTC.
    pub fn event_time(&self, row: usize) -> i64 {
        self.event_times.value(row)
    }

    pub fn event_time_origin(&self, row: usize) -> EventTimeOrigin {
        symbol(self.event_time_origins, row)
    }

    /// Microseconds UTC.
    pub fn received_at(&self, row: usize) -> i64 {
        self.received_ats.value(row)
    }

    pub fn sequence(&self, row: usize) -> Option<i64> {
        self.sequences.is_valid(row).then(|| self.sequences.value(row))
    }

    pub fn trade_id(&self, row: usize) -> Option<&'a str> {
        self.trade_ids.is_valid(row).then(|| self.trade_ids.value(row))
    }

    pub fn source_symbol(&self, row: usize) -> &'a str {
        self.source_symbols.value(row)
    }

    pub fn payload_id(&self, row: usize) -> Uuid {
        uuid(self.payload_ids, row)
    }

    /// Microseconds UTC.
    pub fn previous_event_time(&self, row: usize) -> Option<i64> {
        self.previous_event_times.is_valid(row).then(|| self.previous_event_times.value(row))
    }

    pub fn previous_symbol(&self, row: usize) -> Option<&'a str> {
        self.previous_symbols.is_valid(row).then(|| self.previous_symbols.value(row))
    }

    pub fn retracted(&self, row: usize) -> bool {
        self.retracteds.value(row)
    }

    pub fn fx_age_ms(&self, row: usize) -> Option<i64> {
        self.fx_ages_ms.is_valid(row).then(|| self.fx_ages_ms.value(row))
    }

    /// The whole tick, owned.
    pub fn get(&self, row: usize) -> PriceTick {
        PriceTick {
            event_id: self.event_id(row),
            revision: self.revision(row),
            source: self.source(row).to_owned(),
            symbol: self.symbol(row).to_owned(),
            base: self.base(row).to_owned(),
            quote: self.quote(row).to_owned(),
            kind: self.kind(row),
            price: self.price(row),
            quantity: self.quantity(row),
            bid: self.bid(row),
            ask: self.ask(row),
            volume_24h: self.volume_24h(row),
            quote_volume_24h: self.quote_volume_24h(row),
            market_cap: self.market_cap(row),
            change_24h_pct: self.change_24h_pct(row),
            event_time: self.event_time(row),
            event_time_origin: self.event_time_origin(row),
            received_at: self.received_at(row),
            sequence: self.sequence(row),
            trade_id: self.trade_id(row).map(str::to_owned),
            source_symbol: self.source_symbol(row).to_owned(),
            payload_id: self.payload_id(row),
            previous_event_time: self.previous_event_time(row),
            previous_symbol: self.previous_symbol(row).map(str::to_owned),
            retracted: self.retracted(row),
            fx_age_ms: self.fx_age_ms(row),
        }
    }

    pub fn iter(self) -> impl Iterator<Item = PriceTick> + 'a {
        (0..self.len()).map(move |row| self.get(row))
    }
}
