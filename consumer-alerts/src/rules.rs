//! What a file of rules says, checked: whoever holds a [`Rules`] need not doubt a bound of it. Reading is pure, text in,
//! rules or the first mistake out, with its line and column and what would be right. Must never happen here: a price or a
//! share that passed through a float, or a default that the documentation does not name.

mod fields;
mod hash;
mod parse;
mod sentence;
#[cfg(test)]
mod tests;
mod units;

use std::sync::Arc;

use glob::Pattern;
use pipeline::decimal::Decimal38;
use pipeline::events::{AlertKind, GapReason, Kind, Severity};

pub use fields::RulesError;
pub use hash::RuleHash;
pub use units::{Micros, Percent};

/// A larger file is refused unread.
pub const MAX_FILE_BYTES: usize = 4 << 20;
pub const MAX_RULES: usize = 10_000;
/// The longest window, cooldown and silence.
pub const MAX_SPAN: Micros = Micros(24 * 3600 * 1_000_000);
/// The most ticks that a window holds, counted or timed: of a longer time the newest ones.
pub const MAX_WINDOW_TICKS: usize = 10_000;

/// The rules that hold where no file is named; also the example that the documentation shows.
pub const BUILT_IN: &str = include_str!("../rules/default.toml");

/// The rules of one file, those that are switched off included.
#[derive(Clone, Debug)]
pub struct Rules(Arc<[Rule]>);

impl Rules {
    /// The rules that come with the program.
    ///
    /// # Panics
    /// Never: a test reads them.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("the rules that are compiled in are read by a test")
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first mistake in it: its line and column, what is wrong, what is allowed.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        Ok(Self(parse::rules(text)?.into()))
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Rule> {
        self.iter().find(|rule| rule.name == name)
    }

    /// Only the rule of that name, switched on: what a backtest runs.
    #[must_use]
    pub fn only(&self, name: &str) -> Option<Self> {
        let rule = self.get(name)?.clone();
        Some(Self([Rule { enabled: true, ..rule }].into()))
    }

    pub(crate) fn at(&self, index: usize) -> &Rule {
        &self.0[index]
    }

    pub(crate) fn enabled(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.iter().enumerate().filter(|(_, rule)| rule.enabled)
    }
}

/// One rule, all defaults filled in.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    /// Of everything below but `enabled`, and of the name: a rule that says something else is another rule.
    pub hash: RuleHash,
    pub condition: Condition,
    pub severity: Severity,
    pub filter: Filter,
    /// After an alert, so long no other of this rule about the same symbol, source and price kind.
    pub cooldown: Micros,
    /// Whether the end of what a price rule told is told too; feeds and gaps always tell theirs.
    pub notify_resolved: bool,
    /// Rules of one group are silent together about a symbol: after an alert of one, for its cooldown.
    pub group: Option<String>,
    pub enabled: bool,
}

/// What a rule looks at: all of it where a list is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub symbols: Vec<Pattern>,
    pub sources: Vec<Pattern>,
    pub price_kinds: Vec<Kind>,
}

impl Filter {
    #[must_use]
    pub fn symbol(&self, symbol: &str) -> bool {
        matches(&self.symbols, symbol)
    }

    #[must_use]
    pub fn source(&self, source: &str) -> bool {
        matches(&self.sources, source)
    }

    #[must_use]
    pub fn price_kind(&self, kind: Kind) -> bool {
        self.price_kinds.is_empty() || self.price_kinds.contains(&kind)
    }
}

fn matches(patterns: &[Pattern], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
}

/// When a rule fires. Every bound is exclusive: at it, a rule neither fires nor is armed again.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A price is more than `share` off the mean of the window before it.
    MovingAverage {
        window: Window,
        share: Percent,
        rearm: Percent,
        direction: Direction,
        min_ticks: usize,
        across_gaps: bool,
    },
    /// A price comes from below `level` to above it, or the other way round.
    Threshold { side: Side, level: Decimal38, rearm: Decimal38 },
    /// A price is more than `share` off the oldest one of the window before it.
    PercentChange { window: Window, share: Percent, rearm: Percent, direction: Direction, across_gaps: bool },
    /// The log returns of the short window vary more than `factor` times as much as those of the long window before it.
    Volatility { short: Window, long: Window, factor: Decimal38, rearm: Decimal38, min_ticks: usize, across_gaps: bool },
    /// A source has given no price of a symbol for so long.
    StaleFeed { silent_for: Micros, unchanged_counts: bool },
    /// A gap has been open for so long, or no producer has read a source.
    OpenGap { open_for: Micros, reasons: Vec<GapReason> },
    /// A source's price is more than `share` off the median of the other sources' last ones, of which `min_sources` are
    /// not older than `fresh`.
    OffMedian { share: Percent, rearm: Percent, direction: Direction, fresh: Micros, min_sources: usize },
}

impl Condition {
    /// As alerts name it.
    #[must_use]
    pub fn kind(&self) -> AlertKind {
        match self {
            Self::MovingAverage { .. } => AlertKind::MovingAverage,
            Self::Threshold { .. } => AlertKind::Threshold,
            Self::PercentChange { .. } => AlertKind::PercentChange,
            Self::Volatility { .. } => AlertKind::Volatility,
            Self::StaleFeed { .. } => AlertKind::StaleFeed,
            Self::OpenGap { .. } => AlertKind::OpenGap,
            Self::OffMedian { .. } => AlertKind::OffMedian,
        }
    }

    /// How far back the condition looks.
    #[must_use]
    pub fn looks_back(&self) -> Micros {
        match self {
            Self::MovingAverage { window, .. } | Self::PercentChange { window, .. } => window.span(),
            Self::Threshold { .. } => Micros(0),
            Self::Volatility { long, .. } => long.span(),
            Self::StaleFeed { silent_for, .. } => *silent_for,
            Self::OpenGap { open_for, .. } => *open_for,
            Self::OffMedian { fresh, .. } => *fresh,
        }
    }
}

/// The ticks of one symbol, source and price kind before a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// The last `count`, none of them older than `within`; compared when it is full.
    Ticks { count: usize, within: Micros },
    /// Those that are not older than this.
    Time(Micros),
}

impl Window {
    #[must_use]
    pub fn span(self) -> Micros {
        match self {
            Self::Ticks { within, .. } => within,
            Self::Time(span) => span,
        }
    }
}

/// Which way a price has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Both,
    Up,
    Down,
}

/// Which side of a level is the one that is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Above,
    Below,
}
