//! A rule's identity: what it says, in one canonical text, hashed. Comments, order, spacing and the file's name are not
//! part of it, nor is whether the rule is switched on. Alert ids and the states of rules hang on it, so the text of what is
//! there may never change; a new parameter is written only where it is not at its default.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::{Condition, Filter, Rule, Window};

/// 64 bits of SHA-1 over the rule's canonical text; 16 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleHash(pub u64);

impl RuleHash {
    pub(super) fn of(rule: &Rule) -> Self {
        Self::of_text(&canonical(rule))
    }

    /// Of a group's name; no rule's text begins so.
    pub(crate) fn of_group(name: &str) -> Self {
        Self::of_text(&format!("group\n{name}"))
    }

    /// Of the group of that name that rules about gaps are in.
    pub(crate) fn of_gap_group(name: &str) -> Self {
        Self::of_text(&format!("gap group\n{name}"))
    }

    fn of_text(text: &str) -> Self {
        let digest = Sha1::digest(text.as_bytes());
        Self(u64::from_be_bytes(digest[..8].try_into().expect("a digest has twenty bytes")))
    }
}

/// A line a thing, names as Rust has them quoted, so that no name can pass for another line.
fn canonical(rule: &Rule) -> String {
    let Rule { name, hash: _, condition, severity, filter, cooldown, notify_resolved, group, enabled: _ } = rule;
    let Filter { symbols, sources, price_kinds } = filter;
    let patterns = |patterns: &[glob::Pattern]| {
        let mut texts: Vec<&str> = patterns.iter().map(glob::Pattern::as_str).collect();
        texts.sort_unstable();
        texts.dedup();
        format!("{texts:?}")
    };
    let mut kinds: Vec<&str> = price_kinds.iter().map(|kind| kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    format!(
        "rule {name:?}\n{}\nseverity {severity}\nsymbols {}\nsources {}\nprice_kinds {kinds:?}\ncooldown {}\nnotify_resolved {notify_resolved}\ngroup {group:?}\n",
        condition_text(condition),
        patterns(symbols),
        patterns(sources),
        cooldown.0,
    )
}

fn condition_text(condition: &Condition) -> String {
    let kind = condition.kind();
    match condition {
        Condition::MovingAverage { window, share, rearm, direction, min_ticks, across_gaps } => format!(
            "{kind} {} share {} rearm {} {direction:?} min_ticks {min_ticks} across_gaps {across_gaps}",
            window_text(*window),
            share.0,
            rearm.0,
        ),
        Condition::Threshold { side, level, rearm } => format!("{kind} {side:?} {level} rearm {rearm}"),
        Condition::PercentChange { window, share, rearm, direction, across_gaps } => format!(
            "{kind} {} share {} rearm {} {direction:?} across_gaps {across_gaps}",
            window_text(*window),
            share.0,
            rearm.0,
        ),
        Condition::Volatility { short, long, factor, rearm, min_ticks, across_gaps } => format!(
            "{kind} {} against {} factor {factor} rearm {rearm} min_ticks {min_ticks} across_gaps {across_gaps}",
            window_text(*short),
            window_text(*long),
        ),
        Condition::StaleFeed { silent_for, unchanged_counts } => {
            format!("{kind} {} unchanged_counts {unchanged_counts}", silent_for.0)
        }
        Condition::OpenGap { open_for, reasons } => {
            let mut reasons: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
            reasons.sort_unstable();
            reasons.dedup();
            format!("{kind} {} reasons {reasons:?}", open_for.0)
        }
        Condition::OffMedian { share, rearm, direction, fresh, min_sources } => {
            format!(
                "{kind} share {} rearm {} {direction:?} fresh {} min_sources {min_sources}",
                share.0, rearm.0, fresh.0
            )
        }
    }
}

fn window_text(window: Window) -> String {
    match window {
        Window::Ticks { count, within } => format!("window {count} ticks within {}", within.0),
        Window::Time(span) => format!("window {}", span.0),
    }
}

impl fmt::Display for RuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RuleHash {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for RuleHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RuleHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
