//! Judges rules on the log. An [`Engine`] takes the records of one partition in their order and says which alerts fire and
//! which states change; it does no I/O and has no clock, so the same records give the same alerts, ids included, whatever
//! the batches that they come in. Windows are not kept anywhere: they are made again by [`Engine::warm`] from the records
//! before the committed offset. What windows cannot tell (whether a rule is armed, until when it is silent) is a [`State`],
//! handed out when it changes and given back by [`Engine::restore`].
//!
//! Crash points: an alert, the changed states and the offset are committed together by whoever runs this; before that
//! commit nothing has happened, and the records come again and say the same.
//!
//! Must never happen here: two sources or two kinds of price in one window, an alert for a record that corrects, or a
//! decision that the wall clock had a part in.

mod state;

use pipeline::decimal::Decimal38;
use pipeline::decode::Ticks;
use pipeline::events::{Alert, Gap, Kind, SourceHealth};
use uuid::Uuid;

use crate::rules::{Micros, Rules};
pub use state::{Phase, State, StateKey};

/// A tick whose `event_time` is further behind its broker time is history (a backfill, a price of last Friday): it takes no
/// part in windows and fires nothing. So windows can be made again from a bounded part of the log.
pub const LATE: Micros = Micros(30 * 60 * 1_000_000);
/// A tick whose `event_time` is further ahead of its broker time takes no part: it would be the newest for that long.
pub const AHEAD: Micros = Micros(60 * 1_000_000);
/// A source that has said nothing for so long has missed three health records, which come every ten seconds.
pub const PRODUCER_DOWN_AFTER: Micros = Micros(35 * 1_000_000);

/// Judges the enabled rules on the records of one ticks partition, or of the gaps and health topics, or of all.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    duty: Duty,
}

/// Which rules an engine judges. Gaps and health records are of use to all: a window is not compared across a gap, and an
/// unchanged poll is a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// All but open gaps: one engine a ticks partition.
    Ticks,
    /// Open gaps and producers that are gone: one engine in all.
    Sources,
    /// Everything, over one log: a backtest.
    Both,
}

/// One record, or the clock.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Tick(Tick<'a>),
    Gap(&'a Gap),
    Health(&'a SourceHealth),
    /// Nothing but that it is now [`Place::at`]: what timers run by. Takes no other part of the place.
    Clock,
}

/// Where a record stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Broker time, microseconds UTC.
    pub at: i64,
}

/// What of a tick matters to rules, borrowed from its columns.
#[derive(Clone, Copy, Debug)]
pub struct Tick<'a> {
    pub event_id: Uuid,
    pub revision: i32,
    pub source: &'a str,
    pub symbol: &'a str,
    pub kind: Kind,
    pub price: Decimal38,
    /// Microseconds UTC.
    pub event_time: i64,
    /// Microseconds UTC.
    pub previous_event_time: Option<i64>,
    pub previous_symbol: Option<&'a str>,
    pub retracted: bool,
}

impl<'a> Tick<'a> {
    #[must_use]
    pub fn of(ticks: &Ticks<'a>, row: usize) -> Self {
        Self {
            event_id: ticks.event_id(row),
            revision: ticks.revision(row),
            source: ticks.source(row),
            symbol: ticks.symbol(row),
            kind: ticks.kind(row),
            price: ticks.price(row),
            event_time: ticks.event_time(row),
            previous_event_time: ticks.previous_event_time(row),
            previous_symbol: ticks.previous_symbol(row),
            retracted: ticks.retracted(row),
        }
    }
}

/// What the records given since it was last emptied lead to: to be committed with the offset behind them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// In the order in which they fired.
    pub alerts: Vec<Alert>,
    /// In the order in which they changed: of two with one key the later holds. `None`: forget what is kept.
    pub states: Vec<(StateKey, Option<State>)>,
}

impl Outcome {
    pub fn clear(&mut self) {
        self.alerts.clear();
        self.states.clear();
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty() && self.states.is_empty()
    }
}

impl Engine {
    #[must_use]
    pub fn new(rules: Rules, duty: Duty) -> Self {
        Self { rules, duty }
    }

    /// Puts other rules in the place of these. Rules that say the same keep their states, and windows what they hold; a
    /// window that reaches further back than any before it fills as ticks come, unless the caller begins anew and warms.
    pub fn change_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// How far before the broker time of the next record [`Engine::warm`] has to begin, for everything to be as it was.
    #[must_use]
    pub fn looks_back(&self) -> Micros {
        let longest = self.rules.enabled().map(|(_, rule)| rule.condition.looks_back()).max().unwrap_or_default();
        Micros(longest.0 + LATE.0 + AHEAD.0)
    }

    /// Gives back a state that an earlier engine handed out; before any record. One of a rule that is not here is ignored.
    pub fn restore(&mut self, key: StateKey, state: State) {
        let _ = (key, state);
    }

    /// Takes a record that was judged before: it fills windows, tells of gaps and of life, and fires nothing.
    pub fn warm(&mut self, place: Place<'_>, event: Event<'_>) {
        let _ = (place, event);
    }

    /// Takes the next record, or the time, and adds to `outcome` what it leads to.
    pub fn take(&mut self, place: Place<'_>, event: Event<'_>, outcome: &mut Outcome) {
        let _ = (place, event, outcome, self.duty);
    }
}
