//! What a rule knows beyond its windows, and what it is known by. Both are what the state topic's records hold, as JSON; a
//! field is never renamed there.

use pipeline::events::Severity;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::rules::RuleHash;

/// What a state is of. As JSON it is one line without spaces, always the same: a key of a compacted topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateKey {
    /// The rule's hash, or that of a group's name.
    pub rule: RuleHash,
    pub symbol: Option<String>,
    pub source: Option<String>,
    /// What else there is one of: a kind of price, a gap's id, `producer`.
    pub part: Option<String>,
}

/// One rule's state about one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub phase: Phase,
    /// No alert before this broker time, microseconds UTC.
    pub quiet_until: i64,
    /// The last alert that fired.
    pub alert_id: Option<Uuid>,
    /// Of a group: how severe that alert was; one that is more severe is not held back by it.
    pub severity: Option<Severity>,
}

/// Whether a rule can fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A price that is to be crossed was not seen on its near side yet.
    Unknown,
    #[default]
    Armed,
    /// Fired on the upper side, or without a side; not back yet.
    Up,
    /// Fired on the lower side, and not back yet.
    Down,
}
