//! A JSON Schema of every message, made from the types of its rows and answers. The messages that are put together from
//! shared rows are declared here once more; tests hold real traffic against it.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::protocol::{Channel, ClientMessage, ErrorCode, FeedState, SnapshotReason};
use crate::state::candle::GoneCandle;
use crate::state::row::{AlertRow, GapRow, SourceRow, TickRow};
use crate::state::{Candle, Timeframe};

/// Declares a message: its name, its `type`, and its fields.
macro_rules! message {
    ($name:ident, $type:literal, { $($(#[$meta:meta])* $field:ident: $of:ty),* $(,)? }) => {
        #[derive(Serialize, ToSchema)]
        struct $name { $($(#[$meta])* $field: $of),* }

        impl $name {
            const TYPE: &'static str = $type;
        }
    };
}

message!(Subscribed, "subscribed", { #[schema(required)] id: Option<i64>, channel: Channel, symbols: Vec<String>, tf: Option<Timeframe> });
message!(Unsubscribed, "unsubscribed", { #[schema(required)] id: Option<i64>, channel: Channel, symbols: Vec<String>, tf: Option<Timeframe> });
message!(Snapshot, "snapshot", {
    channel: Channel,
    reason: SnapshotReason,
    full: bool,
    cursor: String,
    tf: Option<Timeframe>,
    ticks: Option<Vec<TickRow>>,
    candles: Option<Vec<Candle>>,
    gaps: Option<Vec<GapRow>>,
    alerts: Option<Vec<AlertRow>>,
    sources: Option<Vec<SourceRow>>,
});
message!(Update, "update", {
    channel: Channel,
    cursor: String,
    tf: Option<Timeframe>,
    ticks: Option<Vec<TickRow>>,
    candles: Option<Vec<Candle>>,
    gone: Option<Vec<GoneCandle>>,
    sources: Option<Vec<SourceRow>>,
});
message!(GapTold, "gap", { channel: Channel, cursor: String, gap: GapRow });
message!(AlertTold, "alert", { channel: Channel, cursor: String, alert: AlertRow });
message!(Heartbeat, "heartbeat", { now_us: i64, feed: FeedState });
message!(Pong, "pong", { #[schema(required)] id: Option<i64>, #[schema(required)] sent_us: Option<i64>, now_us: i64 });
message!(Replay, "replay", { state: String, speed: Value, at_us: i64, from_us: i64, live_us: i64 });
message!(Error, "error", { #[schema(required)] id: Option<i64>, code: ErrorCode, message: String });
message!(Shutdown, "shutdown", { message: String, retry_after_ms: u64 });

/// The schema of a server message is the document itself; those of a client's are below `$defs`.
pub fn document() -> Value {
    let mut defs = Map::new();
    let mut of_server = Vec::new();
    macro_rules! add {
        ($($message:ty),*) => {
            $({
                let mut schema = collect::<$message>(&mut defs);
                complete(&mut schema, <$message>::TYPE);
                let name = <$message as ToSchema>::name().into_owned();
                of_server.push(json!({ "$ref": format!("#/$defs/{name}") }));
                defs.insert(name, schema);
            })*
        };
    }
    add!(Subscribed, Unsubscribed, Snapshot, Update, GapTold, AlertTold, Heartbeat, Pong, Replay, Error, Shutdown);
    let client = collect::<ClientMessage>(&mut defs);
    defs.insert("ClientMessage".to_owned(), client);
    let document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What the server says; what a client says is ClientMessage",
        "oneOf": of_server,
        "$defs": defs,
    });
    let text = document.to_string().replace("#/components/schemas/", "#/$defs/");
    serde_json::from_str(&text).expect("only a path was replaced")
}

fn collect<T: ToSchema + PartialSchema>(defs: &mut Map<String, Value>) -> Value {
    let mut found: Vec<(String, RefOr<Schema>)> = Vec::new();
    T::schemas(&mut found);
    for (name, schema) in found {
        defs.insert(name, serde_json::to_value(schema).expect("schemas are JSON"));
    }
    serde_json::to_value(T::schema()).expect("schemas are JSON")
}

/// Each message has its number and its type.
fn complete(schema: &mut Value, name: &str) {
    schema["properties"]["seq"] = json!({ "type": "integer", "minimum": 1 });
    schema["properties"]["type"] = json!({ "const": name });
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend([json!("seq"), json!("type")]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/$defs/").skip(1) {
            let name = reference.split('"').next().expect("a name");
            assert!(document["$defs"][name].is_object(), "{name}");
        }
        let row = &document["$defs"]["TickRow"];
        assert_eq!(row["properties"]["skipped"]["type"], "integer");
        assert!(row["required"].as_array().is_some_and(|required| required.contains(&json!("market_cap"))), "{row}");
    }
}
