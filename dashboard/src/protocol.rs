//! The messages of the WebSocket, as JSON. A server message is made once as a body and numbered for each connection: the
//! number comes first, so a body is never parsed again. Prices are decimal strings, exact to the last digit; times are
//! microseconds UTC. Must never happen here: a price that went through a float.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// The largest message a client may send.
pub const MAX_CLIENT_MESSAGE_BYTES: usize = 16 * 1024;
/// Symbols in one subscribe.
pub const MAX_SYMBOLS: usize = 512;
/// Characters of a symbol or of a source; longer ones are refused wherever they come from.
pub const MAX_NAME_CHARS: usize = 64;

/// One thing to show, serialised once and shared by every connection that shows it.
#[derive(Clone, Debug)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// Serialises a value that is known to be serialisable.
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::value::to_raw_value(value).expect("plain structs of text and numbers").into())
    }

    #[cfg(test)]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Latest prices: a snapshot, then updates.
    Ticks,
    /// What is missing: open gaps, then each opening and closing.
    Gaps,
}

/// What a client may say. A type that is not known is ignored, so that newer pages can talk to older servers.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    Subscribe(Subscription),
    Unsubscribe(Subscription),
    Ping {
        #[serde(default)]
        id: Option<i64>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, PartialEq, Deserialize)]
pub struct Subscription {
    #[serde(default)]
    pub id: Option<i64>,
    pub channel: Channel,
    /// Absent, or `*`: all.
    #[serde(default)]
    pub symbols: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a message of this protocol.
    BadMessage,
    /// More symbols than [`MAX_SYMBOLS`], or a name that is too long.
    TooMuch,
    /// Messages come too fast; the connection is closed.
    RateLimited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotReason {
    Subscribed,
    /// The connection was too slow and has missed updates.
    Lagged,
}

/// What the server says, without its sequence number.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    Subscribed {
        id: Option<i64>,
        channel: Channel,
        symbols: &'a [String],
    },
    Unsubscribed {
        id: Option<i64>,
        channel: Channel,
        symbols: &'a [String],
    },
    #[serde(rename = "snapshot")]
    TicksSnapshot {
        channel: Channel,
        reason: SnapshotReason,
        ticks: &'a [Json],
    },
    #[serde(rename = "snapshot")]
    GapsSnapshot {
        channel: Channel,
        reason: SnapshotReason,
        gaps: &'a [Json],
    },
    Update {
        channel: Channel,
        ticks: &'a [Json],
    },
    Gap {
        channel: Channel,
        gap: &'a Json,
    },
    Heartbeat {
        now_us: i64,
        feed: &'a FeedState,
        sources: &'a [Json],
    },
    Pong {
        id: Option<i64>,
    },
    Error {
        id: Option<i64>,
        code: ErrorCode,
        message: &'a str,
    },
    Shutdown {
        message: &'static str,
    },
}

impl ServerMessage<'_> {
    /// The `type` as it stands in the JSON, for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::TicksSnapshot { .. } | Self::GapsSnapshot { .. } => "snapshot",
            Self::Update { .. } => "update",
            Self::Gap { .. } => "gap",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Pong { .. } => "pong",
            Self::Error { .. } => "error",
            Self::Shutdown { .. } => "shutdown",
        }
    }

    /// The message without its number: what one connection says and what many share.
    pub fn body(&self) -> String {
        serde_json::to_string(self).expect("plain structs of text and numbers")
    }
}

/// Numbers a body for one connection. A body is a JSON object that is not empty.
pub fn numbered(seq: u64, body: &str) -> String {
    format!("{{\"seq\":{seq},{}", &body[1..])
}

/// How reading Kafka goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FeedState {
    /// Reading what the look-back covers; prices may be old.
    #[default]
    CatchingUp,
    Live,
    /// Prices may be old until it resumes, which it does by itself.
    Outage {
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: ClientMessage) {
        assert_eq!(serde_json::from_str::<ClientMessage>(text).expect(text), expected);
    }

    #[test]
    fn clients_are_understood_and_unknown_types_ignored() {
        let all = Subscription { id: Some(1), channel: Channel::Ticks, symbols: vec![] };
        check(r#"{"type":"subscribe","id":1,"channel":"ticks"}"#, ClientMessage::Subscribe(all));
        let one = Subscription { id: None, channel: Channel::Gaps, symbols: vec!["BTC-USD".to_owned()] };
        check(
            r#"{"type":"unsubscribe","channel":"gaps","symbols":["BTC-USD"],"x":1}"#,
            ClientMessage::Unsubscribe(one),
        );
        check(r#"{"type":"ping","id":7}"#, ClientMessage::Ping { id: Some(7) });
        check(r#"{"type":"resume","cursor":"0:12"}"#, ClientMessage::Unknown);
        assert!(serde_json::from_str::<ClientMessage>(r#"{"type":"subscribe","channel":"weather"}"#).is_err());
    }

    #[test]
    fn a_numbered_body_is_one_object() {
        let tick = Json::of(&serde_json::json!({"price": "0.000000000000000001"}));
        let body = ServerMessage::Update { channel: Channel::Ticks, ticks: &[tick] }.body();
        assert_eq!(
            numbered(3, &body),
            r#"{"seq":3,"type":"update","channel":"ticks","ticks":[{"price":"0.000000000000000001"}]}"#
        );
    }
}
