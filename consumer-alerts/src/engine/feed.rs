//! One symbol's prices by source, and the rules that look at each, found once when a series first appears: a flat list, so
//! that a tick costs what its rules cost and nothing is looked up by name.

use std::collections::HashMap;

use pipeline::events::Kind;

use super::LATE;
use super::arm::{Arm, Limits};
use super::series::Series;
use super::state::{Phase, State, StateKey};
use crate::rules::{Condition, Micros, Rule, Rules, Side, Window};

/// What the part of a state that keeps a polled feed known begins with; its partition follows.
pub(super) const POLLED: &str = "polled";
/// Before any time.
pub(super) const NEVER: i64 = i64::MIN;

/// One symbol.
#[derive(Debug)]
pub(super) struct Board {
    pub symbol: String,
    pub feeds: Vec<Feed>,
}

/// One symbol at one source.
#[derive(Debug)]
pub(super) struct Feed {
    pub source: String,
    /// When a poll was last answered, changed or not: broker time at the latest.
    pub answered_at: i64,
    pub prices: Vec<Prices>,
    pub stale: Vec<Stale>,
}

/// One symbol at one source in one kind of price: what windows are over.
#[derive(Debug)]
pub(super) struct Prices {
    pub kind: Kind,
    /// Broker time of its last sign of life.
    pub last_at: i64,
    /// Broker time of the tick that was its newest last.
    pub priced_at: i64,
    pub series: Series,
    pub slots: Vec<Slot>,
    /// Whether a rule looks at windows that end with the tick itself.
    pub varies: bool,
}

/// A rule about a series.
#[derive(Debug)]
pub(super) struct Slot {
    pub rule: usize,
    pub look: Look,
    pub arm: Arm,
}

/// A rule's condition as it is judged: windows by their place in the series.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    Mean { view: usize, limits: Limits, least: usize, across_gaps: bool },
    Threshold { side: Side, level: i128, rearm: i128 },
    Change { view: usize, limits: Limits, least: usize, across_gaps: bool },
    Volatility { short: usize, long: usize, factor: f64, rearm: f64, least: (usize, usize), across_gaps: bool },
    OffMedian { limits: Limits, fresh: Micros, least: usize },
}

/// A rule about a feed's silence.
#[derive(Debug)]
pub(super) struct Stale {
    pub rule: usize,
    pub silent_for: Micros,
    pub unchanged_counts: bool,
    /// A kind of price that is polled, and that the rule is about, was seen.
    pub is_polled: bool,
    /// That it was is kept.
    pub is_kept: bool,
    pub arm: Arm,
}

pub(super) type States = HashMap<StateKey, State>;

impl Board {
    pub fn feed(&mut self, source: &str, answered_at: i64, rules: &Rules, states: &mut States) -> usize {
        if let Some(known) = self.feeds.iter().position(|feed| feed.source == source) {
            return known;
        }
        let mut feed = Feed { source: source.to_owned(), answered_at, prices: Vec::new(), stale: Vec::new() };
        feed.resolve(&self.symbol, rules, states);
        self.feeds.push(feed);
        self.feeds.len() - 1
    }
}

impl Feed {
    /// Finds the rules about the feed's silence.
    pub fn resolve(&mut self, symbol: &str, rules: &Rules, states: &mut States) {
        self.stale = about(rules, symbol, &self.source)
            .filter_map(|(rule, found)| match found.condition {
                Condition::StaleFeed { silent_for, unchanged_counts } => {
                    let arm = restored(states, found, symbol, &self.source, None, Phase::Armed);
                    let kinds = self.prices.iter().map(|prices| prices.kind);
                    let is_polled = kinds.filter(|kind| found.filter.price_kind(*kind)).any(is_polled);
                    Some(Stale { rule, silent_for, unchanged_counts, is_polled, is_kept: false, arm })
                }
                _ => None,
            })
            .collect();
    }

    pub fn prices(&mut self, kind: Kind, symbol: &str, rules: &Rules, states: &mut States) -> usize {
        if let Some(known) = self.prices.iter().position(|prices| prices.kind == kind) {
            return known;
        }
        let mut prices = Prices {
            kind,
            last_at: NEVER,
            priced_at: NEVER,
            series: Series::default(),
            slots: Vec::new(),
            varies: false,
        };
        prices.resolve(symbol, &self.source, rules, states);
        self.prices.push(prices);
        for stale in &mut self.stale {
            stale.is_polled |= is_polled(kind) && rules.at(stale.rule).filter.price_kind(kind);
        }
        self.prices.len() - 1
    }

    /// The last sign of life that counts for a rule.
    pub fn alive_at(&self, rule: &Rule, stale: &Stale) -> i64 {
        let counted = self.prices.iter().filter(|prices| rule.filter.price_kind(prices.kind));
        let ticked_at = counted.map(|prices| prices.last_at).max().unwrap_or(NEVER);
        if stale.is_polled && stale.unchanged_counts { ticked_at.max(self.answered_at) } else { ticked_at }
    }
}

/// Whether an answer to a poll is about all that was asked for, as a socket's message is not.
fn is_polled(kind: Kind) -> bool {
    matches!(kind, Kind::Reference | Kind::Fx)
}

impl Prices {
    /// Its last price where that is fresh: a tick of the last `fresh`, or an unchanged answer to a poll, for as long as
    /// ticks are no history. `answered_at`: of the polls of its source.
    pub fn fresh_price(&self, at: i64, fresh: Micros, answered_at: i64) -> Option<i128> {
        let since = at.saturating_sub(fresh.0);
        let is_same = is_polled(self.kind) && answered_at >= since && self.priced_at >= at.saturating_sub(LATE.0);
        // Where the newest was taken back, what stood before it may be of any age.
        let oldest = at.saturating_sub(fresh.0.max(LATE.0) + LATE.0);
        self.series.last_since(oldest).filter(|_| self.priced_at >= since || is_same)
    }

    /// Finds the rules about the series, and makes the windows that they look at.
    pub fn resolve(&mut self, symbol: &str, source: &str, rules: &Rules, states: &mut States) {
        self.series.forget_views();
        self.slots.clear();
        self.varies = false;
        let kind = self.kind;
        for (rule, found) in about(rules, symbol, source).filter(|(_, rule)| rule.filter.price_kind(kind)) {
            let Some(look) = self.look(&found.condition) else { continue };
            let first = if matches!(look, Look::Threshold { .. }) { Phase::Unknown } else { Phase::Armed };
            let arm = restored(states, found, symbol, source, Some(kind), first);
            self.varies |= matches!(look, Look::Volatility { .. });
            self.slots.push(Slot { rule, look, arm });
        }
        self.series.rebuild();
    }

    fn look(&mut self, condition: &Condition) -> Option<Look> {
        let full = |window: Window, least: usize| match window {
            Window::Ticks { count, .. } => count,
            Window::Time(_) => least,
        };
        Some(match *condition {
            Condition::MovingAverage { window, share, rearm, direction, min_ticks, across_gaps } => Look::Mean {
                view: self.series.view(window, false),
                limits: Limits::new(share, rearm, direction),
                least: full(window, min_ticks),
                across_gaps,
            },
            Condition::Threshold { side, level, rearm } => {
                Look::Threshold { side, level: level.unscaled(), rearm: rearm.unscaled() }
            }
            Condition::PercentChange { window, share, rearm, direction, across_gaps } => Look::Change {
                view: self.series.view(window, false),
                limits: Limits::new(share, rearm, direction),
                least: full(window, 1),
                across_gaps,
            },
            Condition::Volatility { short, long, factor, rearm, min_ticks, across_gaps } => {
                let before = match (short, long) {
                    (Window::Ticks { count: short, .. }, Window::Ticks { count: long, .. }) => long - short,
                    _ => min_ticks,
                };
                #[expect(clippy::cast_precision_loss, reason = "what it is compared with is a statistic")]
                let float = |decimal: pipeline::decimal::Decimal38| decimal.unscaled() as f64 / 1e18;
                Look::Volatility {
                    short: self.series.view(short, true),
                    long: self.series.view(long, true),
                    factor: float(factor),
                    rearm: float(rearm),
                    least: (full(short, min_ticks), before),
                    across_gaps,
                }
            }
            Condition::OffMedian { share, rearm, direction, fresh, min_sources } => {
                Look::OffMedian { limits: Limits::new(share, rearm, direction), fresh, least: min_sources }
            }
            Condition::StaleFeed { .. } | Condition::OpenGap { .. } => return None,
        })
    }
}

fn about<'r>(rules: &'r Rules, symbol: &str, source: &str) -> impl Iterator<Item = (usize, &'r Rule)> {
    rules.enabled().filter(move |(_, rule)| rule.filter.symbol(symbol) && rule.filter.source(source))
}

pub(super) fn key(rule: &Rule, symbol: &str, source: &str, kind: Option<Kind>) -> StateKey {
    StateKey {
        rule: rule.hash,
        symbol: Some(symbol.to_owned()),
        source: Some(source.to_owned()),
        part: kind.map(|kind| kind.as_str().to_owned()),
    }
}

fn restored(states: &mut States, rule: &Rule, symbol: &str, source: &str, kind: Option<Kind>, first: Phase) -> Arm {
    let fresh = Arm { phase: first, quiet_until: NEVER, alert_id: None, held_until: NEVER };
    if states.is_empty() {
        return fresh;
    }
    states.remove(&key(rule, symbol, source, kind)).map_or(fresh, Arm::restored)
}
