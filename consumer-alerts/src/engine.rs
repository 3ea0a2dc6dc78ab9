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

mod absent;
mod arm;
mod change;
mod corrections;
mod feed;
mod groups;
mod intake;
mod judge;
mod known_gaps;
mod message;
mod series;
mod silence;
mod sources;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use pipeline::decimal::Decimal38;
use pipeline::decode::Ticks;
use pipeline::events::{Alert, Gap, Kind, SourceHealth};
use uuid::Uuid;

use crate::rules::{Condition, Micros, Rule, RuleHash, Rules};
use absent::Absent;
use feed::{Board, NEVER, States};
use groups::Groups;
use known_gaps::KnownGaps;
use silence::Listener;
use sources::{Sources, Watch};
pub use state::{Phase, State, StateKey};

/// A tick whose `event_time` is further behind its broker time is history (a backfill, a price of last Friday): it takes no
/// part in windows and fires nothing. So windows can be made again from a bounded part of the log.
pub const LATE: Micros = Micros(30 * 60 * 1_000_000);
/// A tick whose `event_time` is further ahead of its broker time takes no part: it would be the newest for that long.
pub const AHEAD: Micros = Micros(60 * 1_000_000);
/// A source that has said nothing for so long has missed three health records, which come every ten seconds.
pub const PRODUCER_DOWN_AFTER: Micros = Micros(35 * 1_000_000);

/// Rules by their hashes.
type InForce = HashMap<RuleHash, usize>;

/// Judges the enabled rules on the records of one ticks partition, or of the gaps and health topics, or of all.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    in_force: InForce,
    duty: Duty,
    partition: Option<i32>,
    boards: Vec<Board>,
    by_symbol: HashMap<String, usize>,
    /// When each source last answered, as its health records say.
    answered: HashMap<String, i64>,
    gaps: KnownGaps,
    groups: Groups,
    sources: Sources,
    /// States that were given back and not claimed yet by a series.
    states: States,
    /// Of rules that are not in force.
    absent: Absent,
    /// Polled feeds that were given back and are not there yet.
    polled: Vec<StateKey>,
    /// Topic, partition and offset of the last record.
    last: Option<(String, i32, i64)>,
    others: Vec<i128>,
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
    /// Nothing but that it is now [`Place::at`]: what timers run by, every ten seconds or so. The rest of its place is not
    /// looked at.
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
        let mut engine = Self {
            in_force: change::in_force(&rules),
            rules: rules.clone(),
            duty,
            partition: None,
            boards: Vec::new(),
            by_symbol: HashMap::new(),
            answered: HashMap::new(),
            gaps: KnownGaps::default(),
            groups: Groups::default(),
            sources: Sources::default(),
            states: States::new(),
            absent: Absent::default(),
            polled: Vec::new(),
            last: None,
            others: Vec::new(),
        };
        engine.groups.change_rules(&rules);
        engine
    }

    /// Says which partition's ticks these are. Then polled feeds are kept among the states too, so that one whose price has
    /// not changed for longer than [`Engine::looks_back`] is watched on after a restart.
    #[must_use]
    pub fn for_partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// How far before the broker time of the last record that was judged, or of the next one where that is earlier,
    /// [`Engine::warm`] has to begin, for everything to be as it was.
    #[must_use]
    pub fn looks_back(&self) -> Micros {
        let longest = self.rules.enabled().map(|(_, rule)| self.reaches_back(rule).0).max().unwrap_or_default();
        Micros(longest + LATE.0 + AHEAD.0)
    }

    /// What a timer would have told in a cooldown it tells at its end, by what it heard before.
    fn reaches_back(&self, rule: &Rule) -> Micros {
        let reach = rule.condition.looks_back().0;
        let of_group = |other: &&Rule| other.group.is_some() && other.group == rule.group;
        let others = self.rules.enabled().map(|(_, other)| other).filter(of_group);
        let cooldown = others.chain([rule]).map(|rule| rule.cooldown.0).max().unwrap_or_default();
        match rule.condition {
            Condition::StaleFeed { .. } => Micros(reach + cooldown),
            Condition::OpenGap { .. } => Micros(reach.max(PRODUCER_DOWN_AFTER.0) + cooldown),
            // A polled price that stays the same counts for that long.
            Condition::OffMedian { .. } => Micros(reach.max(LATE.0)),
            Condition::MovingAverage { .. }
            | Condition::Threshold { .. }
            | Condition::PercentChange { .. }
            | Condition::Volatility { .. } => Micros(reach),
        }
    }

    /// Gives back a state that an earlier engine handed out; before any record.
    pub fn restore(&mut self, key: StateKey, state: State) {
        if self.groups.restore(&key, state) {
            return;
        }
        match self.in_force.get(&key.rule).map(|rule| &self.rules.at(*rule).condition) {
            Some(Condition::OpenGap { .. }) => self.sources.restore(key, state),
            // The states of all partitions are in one topic.
            Some(_) if key.part.as_deref().is_some_and(|part| part.starts_with(feed::POLLED)) => {
                let ours = key.part == self.polled_part();
                self.polled.extend(ours.then_some(key));
            }
            Some(_) => drop(self.states.insert(key, state)),
            None => self.absent.keep(key, state),
        }
    }

    /// Takes a record that was judged before: it fills windows, tells of gaps and of life, and fires nothing.
    pub fn warm(&mut self, place: Place<'_>, event: Event<'_>) {
        self.take_polled_back();
        self.note_place(place, event);
        match event {
            Event::Tick(tick) => self.tick(place, &tick, None),
            Event::Gap(gap) => {
                self.note_gap(place, gap);
                self.sources.note_gap(gap, place.at);
            }
            Event::Health(health) => {
                self.note_answer(place, health);
                self.sources.note_health(health, place.at);
            }
            Event::Clock => {}
        }
    }

    /// Takes the next record, or the time, and adds to `outcome` what it leads to.
    pub fn take(&mut self, place: Place<'_>, event: Event<'_>, outcome: &mut Outcome) {
        self.take_polled_back();
        self.note_place(place, event);
        match event {
            Event::Tick(tick) => self.tick(place, &tick, Some(outcome)),
            Event::Gap(gap) => self.note_gap(place, gap),
            Event::Health(health) => {
                if self.note_answer(place, health) && self.duty != Duty::Sources {
                    self.heard_from(&health.source, place, outcome);
                }
            }
            Event::Clock if self.duty != Duty::Sources => self.listen(place.at, outcome),
            Event::Clock => {}
        }
        if self.duty != Duty::Ticks {
            self.watch(place, event, outcome);
        }
    }

    fn polled_part(&self) -> Option<String> {
        self.partition.map(|partition| format!("{} {partition}", feed::POLLED))
    }

    /// A polled feed is watched also when its price has not changed for longer than a restart reads back.
    fn take_polled_back(&mut self) {
        for key in std::mem::take(&mut self.polled) {
            let (Some(symbol), Some(source)) = (&key.symbol, &key.source) else { continue };
            if !self.in_force.contains_key(&key.rule) {
                self.absent.keep(key, silence::POLLED);
                continue;
            }
            let index = self.board(symbol);
            let board = &mut self.boards[index];
            let feed = board.feed(source, NEVER, &self.rules, &mut self.states);
            for stale in &mut board.feeds[feed].stale {
                if self.rules.at(stale.rule).hash == key.rule {
                    (stale.is_polled, stale.is_kept) = (true, true);
                }
            }
            board.feeds[feed].answered_at = self.answered.get(source).copied().unwrap_or(NEVER);
        }
    }

    /// A timer's alert names the last record that was read.
    fn note_place(&mut self, place: Place<'_>, event: Event<'_>) {
        if matches!(event, Event::Clock) {
            return;
        }
        match &mut self.last {
            Some((topic, partition, offset)) if topic == place.topic => {
                (*partition, *offset) = (place.partition, place.offset);
            }
            Some(_) | None => self.last = Some((place.topic.to_owned(), place.partition, place.offset)),
        }
    }

    fn note_gap(&mut self, place: Place<'_>, gap: &Gap) {
        self.gaps.add(gap, place.at);
    }

    /// Whether the record tells of an answer that was not known.
    fn note_answer(&mut self, place: Place<'_>, health: &SourceHealth) -> bool {
        let Some(answered_at) = health.last_answer_at.map(|answered_at| answered_at.min(place.at)) else {
            return false;
        };
        let known = self.answered.entry(health.source.clone()).or_insert(NEVER);
        let is_news = answered_at > *known;
        *known = answered_at.max(*known);
        for feed in self.boards.iter_mut().flat_map(|board| &mut board.feeds) {
            if feed.source == health.source {
                feed.answered_at = *known;
            }
        }
        is_news
    }

    fn heard_from(&mut self, source: &str, place: Place<'_>, outcome: &mut Outcome) {
        for index in self.in_order() {
            let board = &mut self.boards[index];
            for feed in board.feeds.iter_mut().filter(|feed| feed.source == source) {
                let mut listener = Listener { rules: &self.rules, groups: &mut self.groups, place, outcome };
                listener.heard(&board.symbol, feed, None);
            }
        }
    }

    /// Boards by symbol: what many of them say at once is said in one order, whichever came first.
    fn in_order(&self) -> Vec<usize> {
        let mut boards: Vec<usize> = (0..self.boards.len()).collect();
        boards.sort_unstable_by(|a, b| self.boards[*a].symbol.cmp(&self.boards[*b].symbol));
        boards
    }

    fn listen(&mut self, at: i64, outcome: &mut Outcome) {
        let last = self.last.clone();
        let place = last_place(last.as_ref(), at);
        let polled_part = self.polled_part();
        for index in self.in_order() {
            let board = &mut self.boards[index];
            board.feeds.sort_by(|a, b| a.source.cmp(&b.source));
            for feed in &mut board.feeds {
                let mut listener = Listener { rules: &self.rules, groups: &mut self.groups, place, outcome };
                // What was said while windows were made again was only noted then.
                listener.heard(&board.symbol, feed, None);
                let overdue: Vec<usize> = listener.overdue(feed).collect();
                for stale in overdue {
                    listener.fire(&board.symbol, feed, stale);
                }
                if let Some(part) = &polled_part {
                    listener.keep_polled(&board.symbol, feed, part);
                }
            }
        }
    }

    fn watch(&mut self, place: Place<'_>, event: Event<'_>, outcome: &mut Outcome) {
        let last = self.last.clone();
        let mut watch = Watch { rules: &self.rules, groups: &mut self.groups, place, outcome };
        match event {
            Event::Tick(_) => {}
            Event::Gap(gap) => self.sources.gap(gap, &mut watch),
            Event::Health(health) => self.sources.health(health, &mut watch),
            Event::Clock => {
                watch.place = last_place(last.as_ref(), place.at);
                self.sources.clock(&mut watch);
            }
        }
    }
}

fn last_place(last: Option<&(String, i32, i64)>, at: i64) -> Place<'_> {
    match last {
        Some((topic, partition, offset)) => Place { topic, partition: *partition, offset: *offset, at },
        None => Place { topic: "", partition: 0, offset: 0, at },
    }
}
