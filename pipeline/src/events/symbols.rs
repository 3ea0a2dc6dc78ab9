//! The enumerations of the events, and their one spelling: JSON, Avro, Postgres and text have the Avro symbols. Must never
//! happen here: an order of `ALL` that is not that of the schema's symbols, or a symbol that is taken away.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What kind of price a tick is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    Trade,
    Quote,
    Ticker,
    Reference,
    Fx,
    FxImplied,
}

/// Whose clock `event_time` was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventTimeOrigin {
    Source,
    Received,
}

/// Why something may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GapReason {
    Disconnected,
    PollFailed,
    RateLimited,
    Sequence,
    Stale,
    ProducerDown,
    Overflow,
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertKind {
    MovingAverage,
    Threshold,
    PercentChange,
    Volatility,
    StaleFeed,
    OpenGap,
    OffMedian,
}

/// Whether a rule's condition came true or is true no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertState {
    Firing,
    Resolved,
}

/// How much an alert matters, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Kind {
    /// In the order of the Avro symbols.
    pub const ALL: &'static [Self] =
        &[Self::Trade, Self::Quote, Self::Ticker, Self::Reference, Self::Fx, Self::FxImplied];

    /// The Avro symbol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trade => "TRADE",
            Self::Quote => "QUOTE",
            Self::Ticker => "TICKER",
            Self::Reference => "REFERENCE",
            Self::Fx => "FX",
            Self::FxImplied => "FX_IMPLIED",
        }
    }
}

impl EventTimeOrigin {
    /// In the order of the Avro symbols.
    pub const ALL: &'static [Self] = &[Self::Source, Self::Received];

    /// The Avro symbol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "SOURCE",
            Self::Received => "RECEIVED",
        }
    }
}

impl GapReason {
    /// In the order of the Avro symbols.
    pub const ALL: &'static [Self] = &[
        Self::Disconnected,
        Self::PollFailed,
        Self::RateLimited,
        Self::Sequence,
        Self::Stale,
        Self::ProducerDown,
        Self::Overflow,
    ];

    /// The Avro symbol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "DISCONNECTED",
            Self::PollFailed => "POLL_FAILED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Sequence => "SEQUENCE",
            Self::Stale => "STALE",
            Self::ProducerDown => "PRODUCER_DOWN",
            Self::Overflow => "OVERFLOW",
        }
    }
}

impl AlertKind {
    /// In the order of the Avro symbols.
    pub const ALL: &'static [Self] = &[
        Self::MovingAverage,
        Self::Threshold,
        Self::PercentChange,
        Self::Volatility,
        Self::StaleFeed,
        Self::OpenGap,
        Self::OffMedian,
    ];

    /// The Avro symbol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MovingAverage => "MOVING_AVERAGE",
            Self::Threshold => "THRESHOLD",
            Self::PercentChange => "PERCENT_CHANGE",
            Self::Volatility => "VOLATILITY",
            Self::StaleFeed => "STALE_FEED",
            Self::OpenGap => "OPEN_GAP",
            Self::OffMedian => "OFF_MEDIAN",
        }
    }
}

impl AlertState {
    /// In the order of the Avro symbols.
    pub const ALL: &'static [Self] = &[Self::Firing, Self::Resolved];

    /// The Avro symbol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "FIRING",
            Self::Resolved => "RESOLVED",
        }
    }
}

impl Severity {
    /// In the order of the Avro symbols.
    pub const ALL: &'static [Self] = &[Self::Info, Self::Warning, Self::Critical];

    /// The Avro symbol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

/// A text that is none of an enumeration's symbols.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no known symbol")]
pub struct UnknownSymbol(pub String);

/// The Avro symbol as the enumeration's text, both ways.
macro_rules! as_text {
    ($($of:ty),*) => {$(
        impl FromStr for $of {
            type Err = UnknownSymbol;

            fn from_str(symbol: &str) -> Result<Self, UnknownSymbol> {
                let known = Self::ALL.iter().copied().find(|known| known.as_str() == symbol);
                known.ok_or_else(|| UnknownSymbol(symbol.to_owned()))
            }
        }

        impl fmt::Display for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    )*};
}

as_text!(Kind, EventTimeOrigin, GapReason, AlertKind, AlertState, Severity);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::codec::RecordType;

    #[test]
    fn json_and_avro_use_one_spelling() {
        macro_rules! check {
            ($of:ty, $record:expr, $field:literal) => {
                let spelled: Vec<&str> = <$of>::ALL.iter().map(|known| known.as_str()).collect();
                assert_eq!(spelled, in_schema($record, $field), "{}", $field);
                for known in <$of>::ALL {
                    assert_eq!(serde_json::to_value(known).unwrap(), known.as_str());
                    assert_eq!(known.as_str().parse(), Ok(*known));
                }
            };
        }
        check!(Kind, RecordType::PriceTick, "kind");
        check!(EventTimeOrigin, RecordType::PriceTick, "event_time_origin");
        check!(GapReason, RecordType::Gap, "reason");
        check!(AlertKind, RecordType::Alert, "kind");
        check!(AlertState, RecordType::Alert, "state");
        check!(Severity, RecordType::Alert, "severity");
        assert_eq!("BARTER".parse::<Kind>(), Err(UnknownSymbol("BARTER".into())));
    }

    /// The symbols of a field of the newest schema.
    fn in_schema(record: RecordType, field: &str) -> Vec<String> {
        let schema: Value = serde_json::from_str(record.newest().json).unwrap();
        let field = schema["fields"].as_array().unwrap().iter().find(|has| has["name"] == field).unwrap();
        serde_json::from_value(field["type"]["symbols"].clone()).unwrap()
    }
}
