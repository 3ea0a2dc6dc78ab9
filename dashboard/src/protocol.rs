//! The messages as docs/websocket.md has them, as JSON. A server message is made once as a body and numbered for each
//! connection: the number comes first, so a body is never parsed again. Prices are decimal strings, exact to the last digit;
//! times are microseconds UTC. Must never happen here: a price that went through a float.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::state::Timeframe;

/// The largest message a client may send.
pub const MAX_CLIENT_MESSAGE_BYTES: usize = 16 * 1024;
/// Names that a connection may be subscribed to.
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

    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Ticks,
    Candles,
    Gaps,
    Alerts,
    Health,
}

impl Channel {
    pub const ALL: [Self; 5] = [Self::Ticks, Self::Candles, Self::Gaps, Self::Alerts, Self::Health];

    /// As messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ticks => "ticks",
            Self::Candles => "candles",
            Self::Gaps => "gaps",
            Self::Alerts => "alerts",
            Self::Health => "health",
        }
    }

    /// Where a snapshot has the channel's rows.
    pub fn rows(self) -> &'static str {
        match self {
            Self::Health => "sources",
            other => other.name(),
        }
    }
}

/// What a client may say.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    Subscribe(Subscription),
    Unsubscribe(Subscription),
    Ping {
        #[serde(default)]
        id: Option<i64>,
        #[serde(default)]
        sent_us: Option<i64>,
    },
    Replay(ReplayCommand),
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
pub struct Subscription {
    #[serde(default)]
    pub id: Option<i64>,
    pub channel: Channel,
    /// Absent, empty or `*`: all.
    #[serde(default)]
    pub symbols: Vec<String>,
    #[serde(default)]
    pub tf: Option<Timeframe>,
    #[serde(default)]
    pub cursor: Option<String>,
}

/// On a replay socket.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
pub struct ReplayCommand {
    #[serde(default)]
    pub id: Option<i64>,
    pub action: ReplayAction,
    /// A number, or `max`.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub speed: Option<serde_json::Value>,
    #[serde(default)]
    pub to_us: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayAction {
    Pause,
    Resume,
    Step,
    Speed,
    Seek,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a message of this protocol.
    BadMessage,
    /// A type that this server does not know; nothing was changed.
    UnknownType,
    /// More names than a connection may have, or one that is too long.
    TooMuch,
    /// Messages come too fast; the connection is closed.
    RateLimited,
    /// Nothing was subscribed to for too long; the connection is closed.
    Idle,
    /// A message for another kind of connection.
    NotHere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotReason {
    Subscribed,
    Resumed,
    /// The connection was too slow and has missed something.
    Lagged,
    /// A replay is at another time.
    Seek,
}

/// How the data comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FeedState {
    /// Reading the newest records at start; prices may be old.
    #[default]
    CatchingUp,
    Live,
    /// Prices may be old until it resumes, which it does by itself.
    Outage {
        reason: String,
        since_us: i64,
    },
    /// As it was then.
    Replay,
}

/// What the server answers a connection of itself, without its number.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    Subscribed {
        id: Option<i64>,
        channel: Channel,
        symbols: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        tf: Option<Timeframe>,
    },
    Unsubscribed {
        id: Option<i64>,
        channel: Channel,
        symbols: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        tf: Option<Timeframe>,
    },
    Heartbeat {
        now_us: i64,
        feed: &'a FeedState,
    },
    Pong {
        id: Option<i64>,
        sent_us: Option<i64>,
        now_us: i64,
    },
    Error {
        id: Option<i64>,
        code: ErrorCode,
        message: &'a str,
    },
    Shutdown {
        message: &'static str,
        retry_after_ms: u64,
    },
}

impl ServerMessage<'_> {
    /// The `type` as it stands in the JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Pong { .. } => "pong",
            Self::Error { .. } => "error",
            Self::Shutdown { .. } => "shutdown",
        }
    }

    /// The message without its number.
    pub fn body(&self) -> String {
        serde_json::to_string(self).expect("plain structs of text and numbers")
    }
}

/// Numbers a body for one connection. A body is a JSON object that is not empty.
pub fn numbered(seq: u64, body: &str) -> String {
    format!("{{\"seq\":{seq},{}", &body[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: ClientMessage) {
        assert_eq!(serde_json::from_str::<ClientMessage>(text).expect(text), expected);
    }

    #[test]
    fn clients_are_understood_and_unknown_types_told_apart() {
        let all = Subscription { id: Some(1), channel: Channel::Ticks, symbols: vec![], tf: None, cursor: None };
        check(r#"{"type":"subscribe","id":1,"channel":"ticks"}"#, ClientMessage::Subscribe(all.clone()));
        let one = Subscription { id: None, channel: Channel::Candles, tf: Some(Timeframe::FiveMinutes), ..all };
        check(r#"{"type":"unsubscribe","channel":"candles","tf":"5m","x":1}"#, ClientMessage::Unsubscribe(one));
        check(r#"{"type":"ping","id":7}"#, ClientMessage::Ping { id: Some(7), sent_us: None });
        check(r#"{"type":"resume","cursor":"0:12"}"#, ClientMessage::Unknown);
        assert!(serde_json::from_str::<ClientMessage>(r#"{"type":"subscribe","channel":"weather"}"#).is_err());
    }

    #[test]
    fn a_numbered_body_is_one_object() {
        let body = ServerMessage::Pong { id: None, sent_us: Some(1), now_us: 2 }.body();
        assert_eq!(numbered(3, &body), r#"{"seq":3,"type":"pong","id":null,"sent_us":1,"now_us":2}"#);
    }
}
