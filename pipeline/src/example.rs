//! One event of each type that reads like a real one. A test of any crate takes it and names only the fields that it is
//! about (`PriceTick { price, ..example::tick() }`), so that a new field is added here and not in thirty tests. Must never
//! happen: a service that publishes one.

use bytes::Bytes;
use jiff::civil::date;
use uuid::Uuid;

use crate::decimal::Decimal38;
use crate::events::{
    Alert, AlertKind, AlertState, EventTimeOrigin, Gap, GapReason, IndexWeight, Kind, PayloadRecord, PriceTick,
    Severity, SourceHealth, alert_id, event_id,
};
use crate::topics;

/// One trade as an exchange tells it.
#[must_use]
pub fn tick() -> PriceTick {
    let trade_id = "861234568";
    PriceTick {
        event_id: event_id("coinbase", "matches", "BTC-USD", trade_id),
        revision: 0,
        source: "coinbase".to_owned(),
        symbol: "BTC-USD".to_owned(),
        base: "BTC".to_owned(),
        quote: "USD".to_owned(),
        kind: Kind::Trade,
        price: decimal("67187.34"),
        quantity: Some(decimal("0.00041205")),
        bid: None,
        ask: None,
        volume_24h: None,
        quote_volume_24h: None,
        market_cap: None,
        change_24h_pct: None,
        event_time: 1_760_000_000_001_000,
        event_time_origin: EventTimeOrigin::Source,
        received_at: 1_760_000_000_051_000,
        sequence: Some(51_234_567_891),
        trade_id: Some(trade_id.to_owned()),
        source_symbol: "BTC-USD".to_owned(),
        payload_id: Uuid::from_u128(7),
        previous_event_time: None,
        previous_symbol: None,
        retracted: false,
        fx_age_ms: None,
    }
}

/// A connection that was lost and is not back yet.
#[must_use]
pub fn gap() -> Gap {
    Gap {
        id: Uuid::from_u128(9),
        source: "coinbase".to_owned(),
        symbols: vec!["BTC-USD".to_owned()],
        reason: GapReason::Disconnected,
        started_at: 1_760_000_000_000_000,
        ended_at: None,
        detail: "the exchange closed the connection".to_owned(),
    }
}

/// A source that answers.
#[must_use]
pub fn health() -> SourceHealth {
    SourceHealth {
        source: "coinbase".to_owned(),
        at: 1_760_000_000_000_000,
        last_answer_at: Some(1_760_000_000_000_000),
        state: "OK".to_owned(),
        budget_left: None,
        used_today: None,
        used_this_month: None,
        producer: None,
    }
}

/// One paper of an index.
#[must_use]
pub fn index_weight() -> IndexWeight {
    IndexWeight {
        event_id: event_id("b3", "portfolio", "IBOV", "2026-03-02 PETR4"),
        revision: 0,
        source: "b3".to_owned(),
        index_name: "IBOV".to_owned(),
        code: "PETR4".to_owned(),
        asset: "PETROBRAS".to_owned(),
        asset_type: "PN      N2".to_owned(),
        segment: None,
        part: decimal("6.127"),
        theoretical_quantity: decimal("4493165233"),
        pregao_date: date(2026, 3, 2),
        received_at: 1_772_500_000_000_000,
        payload_id: Uuid::from_u128(7),
        retracted: false,
    }
}

/// A short answer, whole.
#[must_use]
pub fn payload() -> PayloadRecord {
    PayloadRecord {
        payload_id: Uuid::from_u128(7),
        source: "coingecko".to_owned(),
        request: "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd".to_owned(),
        status: Some(200),
        received_at: 1_772_500_000_000_000,
        content_encoding: "identity".to_owned(),
        part: 0,
        parts: 1,
        content: Bytes::from_static(br#"{"bitcoin":{"usd":67187}}"#),
    }
}

/// A trade that is away from the mean of those before it.
#[must_use]
pub fn alert() -> Alert {
    let (rule_hash, tick) = ("5f0c9d4e2b7a1836", tick());
    Alert {
        alert_id: alert_id(rule_hash, Some(&tick.symbol), Some(&tick.source), &format!("{} 0", tick.event_id)),
        rule: "away-from-mean".to_owned(),
        rule_hash: rule_hash.to_owned(),
        kind: AlertKind::MovingAverage,
        state: AlertState::Firing,
        severity: Severity::Warning,
        symbol: Some(tick.symbol),
        source: Some(tick.source),
        price: Some(tick.price),
        reference: Some(decimal("65000")),
        change_pct: Some(decimal("3.365138461538461538")),
        event_time: tick.event_time,
        fired_at: tick.received_at,
        event_id: Some(tick.event_id),
        trigger_topic: topics::TICKS.to_owned(),
        trigger_partition: 2,
        trigger_offset: 123_456,
        message: "BTC-USD at 67187.34 is 3.37 % above the mean of the last 20 ticks".to_owned(),
    }
}

fn decimal(text: &str) -> Decimal38 {
    text.parse().expect("the texts above are decimals")
}
