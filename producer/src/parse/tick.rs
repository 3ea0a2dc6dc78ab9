//! A tick from a source's own words. What every tick needs is asked for at once, so that no parser can forget a part of the
//! identity; the rest is set where the source tells it.

use pipeline::decimal::Decimal38;
use pipeline::events::{EventTimeOrigin, Kind, PriceTick, event_id};

use crate::parse::payload::Payload;
use crate::symbols::Pair;

/// What makes an event the same event however often it is told: never anything that a normalizer may later correct.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub source: &'static str,
    /// Keeps number ranges apart: trades, aggregate trades, spot, futures, one endpoint's references and another's.
    pub id_space: &'static str,
    pub source_symbol: &'a str,
    /// The trade id; else a sequence of the product; else the source's time with the price fields as received text; else the
    /// time of receipt with them.
    pub source_key: &'a str,
}

/// When it happened, micros UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTime {
    Source(i64),
    /// The source gives no time.
    Received,
}

/// A tick with all that is not optional.
#[must_use]
pub fn tick(
    identity: Identity<'_>,
    pair: &Pair,
    kind: Kind,
    price: Decimal38,
    time: EventTime,
    payload: &Payload<'_>,
) -> PriceTick {
    let Identity { source, id_space, source_symbol, source_key } = identity;
    let (event_time, event_time_origin) = match time {
        EventTime::Source(at) => (at, EventTimeOrigin::Source),
        EventTime::Received => (payload.received_at, EventTimeOrigin::Received),
    };
    PriceTick {
        event_id: event_id(source, id_space, source_symbol, source_key),
        revision: 0,
        source: source.to_owned(),
        symbol: pair.symbol(),
        base: pair.base.clone(),
        quote: pair.quote.clone(),
        kind,
        price,
        quantity: None,
        bid: None,
        ask: None,
        volume_24h: None,
        quote_volume_24h: None,
        market_cap: None,
        change_24h_pct: None,
        event_time,
        event_time_origin,
        received_at: payload.received_at,
        sequence: None,
        trade_id: None,
        source_symbol: source_symbol.to_owned(),
        payload_id: payload.id,
        previous_event_time: None,
        previous_symbol: None,
        retracted: false,
        fx_age_ms: None,
    }
}
