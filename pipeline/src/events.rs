//! The event types, as every service sees them, and their identity. Field meanings and units are those of schemas/*.avsc,
//! which are the contract. An event's id is made of the source's own words alone: nothing that a normalizer may later
//! correct (price as a number, canonical symbol, interpreted time) may ever go into it, or a correction would be a second
//! event beside the first.

mod symbols;

use std::fmt;

use bytes::Bytes;
use jiff::civil::Date;
use serde::{Deserialize, Serialize, Serializer};
use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid};

use crate::decimal::Decimal38;
use crate::epoch_day;

pub use symbols::{AlertKind, AlertState, EventTimeOrigin, GapReason, Kind, Severity, UnknownSymbol};

/// The namespace of every UUIDv5 made here. It is part of each event's identity, so it never changes.
pub const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0xb8d9e85f_cfe7_4541_9531_8649f69eaeee);

/// The id of one event of one source: UUIDv5 over the four parts as netstrings (`8:coinbase,7:matches,7:BTC-USD,9:861234567,`),
/// so that no two different quadruples share a text, and any language can make it again.
///
/// `id_space` keeps number ranges apart (trades, aggregate trades, spot, futures); `source_key` is the trade id, else the
/// product's sequence, else the source's time with its price fields as received text.
pub fn event_id(source: &str, id_space: &str, source_symbol: &str, source_key: &str) -> Uuid {
    id_of(&[source, id_space, source_symbol, source_key])
}

/// The id of one alert: UUIDv5 over `alert` and the four parts as netstrings, an absent symbol or source as an empty one.
///
/// `trigger` tells apart what a rule fired on for one symbol and source: event id and revision of a tick, a gap's id, the
/// last-seen time of a timer. An alert that resolves another must not have that one's trigger.
pub fn alert_id(rule_hash: &str, symbol: Option<&str>, source: Option<&str>, trigger: &str) -> Uuid {
    id_of(&["alert", rule_hash, symbol.unwrap_or_default(), source.unwrap_or_default(), trigger])
}

fn id_of(parts: &[&str]) -> Uuid {
    let mut hasher = Sha1::new();
    hasher.update(EVENT_NAMESPACE.as_bytes());
    let mut name = String::with_capacity(128);
    for part in parts {
        // Netstrings are short but for hostile ones: numbers are written without the formatting machinery.
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut length = part.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (length % 10) as u8;
            length /= 10;
            if length == 0 {
                break;
            }
        }
        name.extend(digits[at..].iter().map(|digit| char::from(*digit)));
        name.push(':');
        name.push_str(part);
        name.push(',');
    }
    hasher.update(name.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize()[..16]);
    Builder::from_sha1_bytes(id).into_uuid()
}

/// One price as one source told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceTick {
    pub event_id: Uuid,
    /// 0 at first; a correction of the same `event_id` is one higher.
    pub revision: i32,
    pub source: String,
    /// Canonical, `BTC-USD`.
    pub symbol: String,
    pub base: String,
    pub quote: String,
    pub kind: Kind,
    pub price: Decimal38,
    pub quantity: Option<Decimal38>,
    pub bid: Option<Decimal38>,
    pub ask: Option<Decimal38>,
    /// In units of base.
    pub volume_24h: Option<Decimal38>,
    /// In units of quote.
    pub quote_volume_24h: Option<Decimal38>,
    pub market_cap: Option<Decimal38>,
    pub change_24h_pct: Option<Decimal38>,
    /// Microseconds UTC.
    pub event_time: i64,
    pub event_time_origin: EventTimeOrigin,
    /// Microseconds UTC.
    pub received_at: i64,
    pub sequence: Option<i64>,
    pub trade_id: Option<String>,
    pub source_symbol: String,
    pub payload_id: Uuid,
    /// Microseconds UTC.
    pub previous_event_time: Option<i64>,
    pub previous_symbol: Option<String>,
    pub retracted: bool,
    /// For [`Kind::FxImplied`]: how old the exchange rate was when the price was computed, milliseconds.
    pub fx_age_ms: Option<i64>,
}

/// A time in which a source may have said something that is not in the log. Published at opening and, with the same id, at closing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub id: Uuid,
    pub source: String,
    /// Empty: all of the source's.
    pub symbols: Vec<String>,
    pub reason: GapReason,
    /// Microseconds UTC.
    pub started_at: i64,
    /// Microseconds UTC; `None` while the gap is open.
    pub ended_at: Option<i64>,
    pub detail: String,
}

/// The producer's word on one source, every ten seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceHealth {
    pub source: String,
    /// Microseconds UTC.
    pub at: i64,
    /// Microseconds UTC.
    pub last_answer_at: Option<i64>,
    /// `OK`, `FAILING`, `CONNECTING` or `STOPPED`.
    pub state: String,
    /// Requests left before the source's limit.
    pub budget_left: Option<i64>,
    /// Calls, or credits, spent of the source's plan since midnight UTC.
    pub used_today: Option<i64>,
    /// Calls, or credits, spent of the source's plan since the first of the month UTC.
    pub used_this_month: Option<i64>,
    /// Which producer says so.
    pub producer: Option<String>,
}

/// One row of an index portfolio: how much one paper weighs in an index on one trading day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexWeight {
    pub event_id: Uuid,
    /// 0 at first; a correction of the same `event_id` is one higher.
    pub revision: i32,
    pub source: String,
    /// `IBOV`.
    pub index_name: String,
    /// `PETR4`.
    pub code: String,
    pub asset: String,
    /// Share class and event marks as received: padded with spaces, nothing cut off.
    #[serde(rename = "type")]
    pub asset_type: String,
    pub segment: Option<String>,
    /// Percent of the index.
    pub part: Decimal38,
    pub theoretical_quantity: Decimal38,
    /// The trading day that the portfolio is of.
    #[serde(with = "epoch_day")]
    pub pregao_date: Date,
    /// Microseconds UTC.
    pub received_at: i64,
    pub payload_id: Uuid,
    pub retracted: bool,
}

/// A rule of consumer-alerts that fired, or came to rest again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// By [`alert_id`].
    pub alert_id: Uuid,
    /// The rule's name.
    pub rule: String,
    /// 16 hexadecimal digits.
    pub rule_hash: String,
    pub kind: AlertKind,
    pub state: AlertState,
    pub severity: Severity,
    pub symbol: Option<String>,
    pub source: Option<String>,
    pub price: Option<Decimal38>,
    /// The mean, the threshold, the price before, the median.
    pub reference: Option<Decimal38>,
    /// From `reference` to `price`, percent, signed.
    pub change_pct: Option<Decimal38>,
    /// Microseconds UTC.
    pub event_time: i64,
    /// The broker's time, microseconds UTC.
    pub fired_at: i64,
    /// Of the tick or the gap; `None` for a timer.
    pub event_id: Option<Uuid>,
    pub trigger_topic: String,
    pub trigger_partition: i32,
    pub trigger_offset: i64,
    /// One plain sentence.
    pub message: String,
}

/// One part of what a source sent, byte for byte; [`crate::payload`] makes and joins them.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct PayloadRecord {
    pub payload_id: Uuid,
    pub source: String,
    /// Path and query, or what was sent after connecting. Never a secret.
    pub request: String,
    /// HTTP status; `None` for a frame.
    pub status: Option<i32>,
    /// Microseconds UTC.
    pub received_at: i64,
    /// `identity` or `zstd`.
    pub content_encoding: String,
    /// From 0.
    pub part: i32,
    /// At least 1.
    pub parts: i32,
    #[serde(serialize_with = "as_bytes")]
    pub content: Bytes,
}

/// Serde takes bytes for a list of numbers unless told.
fn as_bytes<S: Serializer>(content: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(content)
}

/// Without the content, which may be half a megabyte.
impl fmt::Debug for PayloadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadRecord")
            .field("payload_id", &self.payload_id)
            .field("source", &self.source)
            .field("request", &self.request)
            .field("status", &self.status)
            .field("received_at", &self.received_at)
            .field("content_encoding", &self.content_encoding)
            .field("part", &self.part)
            .field("parts", &self.parts)
            .field("content_bytes", &self.content.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_never_change() {
        // Python: uuid.uuid5(uuid.UUID("b8d9e85f-cfe7-4541-9531-8649f69eaeee"), "8:coinbase,7:matches,7:BTC-USD,9:861234567,")
        let expected = "fc147fe3-a206-5b8f-80cc-d42b32b5df84";
        assert_eq!(event_id("coinbase", "matches", "BTC-USD", "861234567").to_string(), expected);
    }

    #[test]
    fn no_two_quadruples_share_an_id() {
        let one = event_id("a", "b", "c", "d");
        for other in [
            event_id("a", "b", "cd", ""),
            event_id("ab", "", "c", "d"),
            event_id("a", "b,1:c", "", "d"),
            event_id("b", "a", "c", "d"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn alert_ids_never_change_and_are_no_event_s() {
        // Python: uuid.uuid5(uuid.UUID("b8d9e85f-cfe7-4541-9531-8649f69eaeee"), "5:alert,1:f,7:BTC-USD,0:,3:a 0,")
        let one = alert_id("f", Some("BTC-USD"), None, "a 0");
        assert_eq!(one.to_string(), "eeef0778-b43c-549e-8056-8e33e55d2b50");
        for other in [
            alert_id("f", None, Some("BTC-USD"), "a 0"),
            alert_id("f", Some("BTC-USD"), None, "a 1"),
            alert_id("f,7:BTC-USD", None, None, "a 0"),
            event_id("alert", "f", "BTC-USD", "0:,3:a 0"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_day_is_text_for_people() {
        let weight = crate::example::index_weight();
        let json = serde_json::to_value(&weight).unwrap();
        assert_eq!((&json["pregao_date"], &json["type"]), (&"2026-03-02".into(), &"PN      N2".into()));
        assert_eq!(serde_json::from_value::<IndexWeight>(json).unwrap(), weight);
    }
}
