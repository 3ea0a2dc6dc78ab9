//! The rows that clients see, as JSON and as its schema.

use pipeline::decimal::Decimal38;
use pipeline::events::{AlertKind, AlertState, EventTimeOrigin, GapReason, Kind, Severity};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::hops::HopQuantiles;
use super::tick::Tick;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub enum ChangeBasis {
    /// The source's own, or over a whole day in memory.
    #[serde(rename = "24h")]
    Day,
    /// Against the first price in memory.
    #[serde(rename = "look_back")]
    LookBack,
}

/// The latest of a symbol and source. Field meanings are those of docs/websocket.md.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TickRow {
    pub symbol: String,
    pub source: String,
    #[schema(value_type = Option<String>, required)]
    pub kind: Option<Kind>,
    /// Null: every tick of this row was taken back.
    #[schema(value_type = Option<String>, required)]
    pub price: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub bid: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub ask: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub quantity: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub volume_24h: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub quote_volume_24h: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub market_cap: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub change_pct: Option<Decimal38>,
    #[schema(required)]
    pub change_basis: Option<ChangeBasis>,
    #[schema(value_type = Option<String>, required)]
    pub high: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub low: Option<Decimal38>,
    #[schema(required)]
    pub stats_from_us: Option<i64>,
    #[schema(value_type = Option<String>, required)]
    pub tick_size: Option<Decimal38>,
    #[schema(required)]
    pub event_time_us: Option<i64>,
    #[schema(value_type = Option<String>, required)]
    pub event_time_origin: Option<EventTimeOrigin>,
    #[schema(required)]
    pub received_at_us: Option<i64>,
    #[schema(required)]
    pub broker_time_us: Option<i64>,
    #[schema(required)]
    pub event_id: Option<Uuid>,
    #[schema(required)]
    pub revision: Option<i32>,
    #[schema(required)]
    pub partition: Option<i32>,
    #[schema(required)]
    pub offset: Option<i64>,
    /// Last, so that each connection can put its own number there.
    pub skipped: u64,
}

impl TickRow {
    pub fn empty(symbol: &str, source: &str) -> Self {
        Self {
            symbol: symbol.to_owned(),
            source: source.to_owned(),
            kind: None,
            price: None,
            bid: None,
            ask: None,
            quantity: None,
            volume_24h: None,
            quote_volume_24h: None,
            market_cap: None,
            change_pct: None,
            change_basis: None,
            high: None,
            low: None,
            stats_from_us: None,
            tick_size: None,
            event_time_us: None,
            event_time_origin: None,
            received_at_us: None,
            broker_time_us: None,
            event_id: None,
            revision: None,
            partition: None,
            offset: None,
            skipped: 0,
        }
    }

    pub fn tell(&mut self, tick: &Tick) {
        self.kind = Some(tick.kind);
        self.price = Some(tick.price);
        (self.bid, self.ask, self.quantity) = (tick.bid, tick.ask, tick.quantity);
        (self.volume_24h, self.quote_volume_24h) = (tick.volume_24h, tick.quote_volume_24h);
        self.market_cap = tick.market_cap;
        self.change_pct = tick.change_24h_pct;
        self.change_basis = tick.change_24h_pct.map(|_| ChangeBasis::Day);
        self.event_time_us = Some(tick.event_time);
        self.event_time_origin = Some(tick.event_time_origin);
        self.received_at_us = Some(tick.received_at);
        self.broker_time_us = Some(tick.broker_time);
        (self.event_id, self.revision) = (Some(tick.event_id), Some(tick.revision));
        (self.partition, self.offset) = (Some(tick.at.partition), Some(tick.at.offset));
    }
}

/// A time in which a source may have said something that is not here.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct GapRow {
    pub id: Uuid,
    pub source: String,
    /// Empty: all of the source's.
    pub symbols: Vec<String>,
    #[schema(value_type = String)]
    pub reason: GapReason,
    pub started_at_us: i64,
    /// Null while it is open.
    #[schema(required)]
    pub ended_at_us: Option<i64>,
    pub detail: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertRow {
    pub alert_id: Uuid,
    pub rule: String,
    #[schema(value_type = String)]
    pub kind: AlertKind,
    #[schema(value_type = String)]
    pub state: AlertState,
    #[schema(value_type = String)]
    pub severity: Severity,
    #[schema(required)]
    pub symbol: Option<String>,
    #[schema(required)]
    pub source: Option<String>,
    #[schema(value_type = Option<String>, required)]
    pub price: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub reference: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub change_pct: Option<Decimal38>,
    pub event_time_us: i64,
    pub fired_at_us: i64,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SourceRow {
    pub source: String,
    /// `OK`, `FAILING`, `CONNECTING`, `STOPPED`, or `SILENT`: its health records have stopped coming.
    pub state: String,
    pub at_us: i64,
    #[schema(required)]
    pub last_answer_at_us: Option<i64>,
    pub hops: HopQuantiles,
}
