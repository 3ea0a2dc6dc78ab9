//! A tick as it is kept, without the texts that all ticks of its series share, and how ticks of a series are ordered.

use pipeline::decimal::Decimal38;
use pipeline::decode::Ticks;
#[cfg(test)]
use pipeline::events::PriceTick;
use pipeline::events::{EventTimeOrigin, Kind};
use uuid::Uuid;

use super::candle::Place;

/// Where a record stands in its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub partition: i32,
    pub offset: i64,
}

impl Position {
    /// Whether it lies behind what `known` has of its partition; a partition that is not named is not known at all.
    pub fn is_after(self, known: &[Self]) -> bool {
        known.iter().find(|other| other.partition == self.partition).is_none_or(|other| self.offset > other.offset)
    }

    /// Raises the position of its partition to this one.
    pub fn raise(self, known: &mut Vec<Self>) {
        match known.iter_mut().find(|other| other.partition == self.partition) {
            Some(other) => other.offset = other.offset.max(self.offset),
            None => known.push(self),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    pub event_id: Uuid,
    pub revision: i32,
    pub kind: Kind,
    pub price: Decimal38,
    pub quantity: Option<Decimal38>,
    pub bid: Option<Decimal38>,
    pub ask: Option<Decimal38>,
    pub volume_24h: Option<Decimal38>,
    pub quote_volume_24h: Option<Decimal38>,
    pub market_cap: Option<Decimal38>,
    pub change_24h_pct: Option<Decimal38>,
    pub event_time: i64,
    pub event_time_origin: EventTimeOrigin,
    pub received_at: i64,
    pub sequence: Option<i64>,
    /// Microseconds UTC.
    pub broker_time: i64,
    pub at: Position,
}

/// By what the latest tick is found, as in Postgres' `latest_prices`.
pub type Order = (i64, Option<i64>, Uuid, i32);

impl Tick {
    pub fn order(&self) -> Order {
        (self.event_time, self.sequence, self.event_id, self.revision)
    }

    pub fn place(&self) -> Place {
        Place { event_time: self.event_time, event_id: self.event_id }
    }
}

/// A tick as a record tells it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub symbol: &'a str,
    pub source: &'a str,
    pub previous_symbol: Option<&'a str>,
    pub previous_event_time: Option<i64>,
    pub retracted: bool,
    pub tick: Tick,
}

impl<'a> Told<'a> {
    pub fn new(ticks: &Ticks<'a>, row: usize, broker_time: i64, at: Position) -> Self {
        Self {
            symbol: ticks.symbol(row),
            source: ticks.source(row),
            previous_symbol: ticks.previous_symbol(row),
            previous_event_time: ticks.previous_event_time(row),
            retracted: ticks.retracted(row),
            tick: Tick {
                event_id: ticks.event_id(row),
                revision: ticks.revision(row),
                kind: ticks.kind(row),
                price: ticks.price(row),
                quantity: ticks.quantity(row),
                bid: ticks.bid(row),
                ask: ticks.ask(row),
                volume_24h: ticks.volume_24h(row),
                quote_volume_24h: ticks.quote_volume_24h(row),
                market_cap: ticks.market_cap(row),
                change_24h_pct: ticks.change_24h_pct(row),
                event_time: ticks.event_time(row),
                event_time_origin: ticks.event_time_origin(row),
                received_at: ticks.received_at(row),
                sequence: ticks.sequence(row),
                broker_time,
                at,
            },
        }
    }

    #[cfg(test)]
    pub fn of(tick: &'a PriceTick, broker_time: i64, at: Position) -> Self {
        Self {
            symbol: &tick.symbol,
            source: &tick.source,
            previous_symbol: tick.previous_symbol.as_deref(),
            previous_event_time: tick.previous_event_time,
            retracted: tick.retracted,
            tick: Tick {
                event_id: tick.event_id,
                revision: tick.revision,
                kind: tick.kind,
                price: tick.price,
                quantity: tick.quantity,
                bid: tick.bid,
                ask: tick.ask,
                volume_24h: tick.volume_24h,
                quote_volume_24h: tick.quote_volume_24h,
                market_cap: tick.market_cap,
                change_24h_pct: tick.change_24h_pct,
                event_time: tick.event_time,
                event_time_origin: tick.event_time_origin,
                received_at: tick.received_at,
                sequence: tick.sequence,
                broker_time,
                at,
            },
        }
    }

    pub fn is_correction(&self) -> bool {
        self.retracted || self.tick.revision > 0
    }

    /// Where a revision before this one may stand.
    pub fn earlier_places(&self) -> impl Iterator<Item = (&'a str, i64)> {
        let symbols = [Some(self.symbol), self.previous_symbol.filter(|symbol| *symbol != self.symbol)];
        let now = self.tick.event_time;
        let times = [Some(now), self.previous_event_time.filter(|time| *time != now)];
        symbols
            .into_iter()
            .flatten()
            .flat_map(move |symbol| times.into_iter().flatten().map(move |time| (symbol, time)))
    }
}
