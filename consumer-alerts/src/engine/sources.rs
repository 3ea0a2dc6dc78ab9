//! Gaps that are open, and sources that no producer reads. A gap's age counts from the broker time of the record that told
//! of it: what it says of its beginning may lie long before. Three missed health records of a source that was not stopped
//! are such a gap too, which nobody is there to tell of.

use std::collections::{BTreeMap, VecDeque};

use pipeline::events::{Alert, AlertState, Gap, GapReason, SourceHealth, alert_id};
use uuid::Uuid;

use super::groups::Groups;
use super::message::{gap_subject, lasting, plain, time};
use super::state::{Phase, State, StateKey};
use super::{Outcome, PRODUCER_DOWN_AFTER, Place};
use crate::rules::{Condition, Micros, Rule, Rules};

/// The part of a state that is about the producer of a source.
const PRODUCER: &str = "producer";
/// So many closed gaps are remembered.
const REMEMBERED: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Sources {
    open: BTreeMap<Uuid, OpenGap>,
    /// The gaps that were closed last: one whose opening comes again is not open again.
    closed: VecDeque<Uuid>,
    health: BTreeMap<String, Health>,
    /// Of rules about gaps: by gap id and producer what fired, and by source alone until when a rule is silent.
    states: BTreeMap<StateKey, State>,
}

#[derive(Clone, Debug)]
struct OpenGap {
    gap: Gap,
    /// Broker time of the first record of it.
    told_at: i64,
}

#[derive(Clone, Copy, Debug)]
struct Health {
    last_at: i64,
    is_stopped: bool,
}

/// What judging gaps needs beside them.
pub(super) struct Watch<'a> {
    pub rules: &'a Rules,
    pub groups: &'a mut Groups,
    pub place: Place<'a>,
    pub outcome: &'a mut Outcome,
}

/// What one alert about a source says.
struct Told<'a> {
    symbol: Option<&'a str>,
    source: &'a str,
    part: String,
    trigger: String,
    event_time: i64,
    event_id: Option<Uuid>,
    message: String,
}

impl Sources {
    pub fn restore(&mut self, key: StateKey, state: State) {
        self.states.insert(key, state);
    }

    pub fn note_gap(&mut self, gap: &Gap, at: i64) {
        if gap.ended_at.is_some() {
            self.open.remove(&gap.id);
            if !self.closed.contains(&gap.id) {
                self.closed.push_back(gap.id);
            }
            if self.closed.len() > REMEMBERED {
                self.closed.pop_front();
            }
        } else if !self.closed.contains(&gap.id) {
            let open = self.open.entry(gap.id).or_insert_with(|| OpenGap { gap: gap.clone(), told_at: at });
            open.gap.clone_from(gap);
        }
    }

    pub fn note_health(&mut self, health: &SourceHealth, at: i64) {
        // What comes a second time says nothing of what came after it.
        if self.health.get(&health.source).is_none_or(|known| known.last_at <= at) {
            let is_stopped = health.state == "STOPPED";
            self.health.insert(health.source.clone(), Health { last_at: at, is_stopped });
        }
    }

    pub fn gap(&mut self, gap: &Gap, watch: &mut Watch<'_>) {
        self.note_gap(gap, watch.place.at);
        if gap.ended_at.is_none() {
            if let Some(open) = self.open.get(&gap.id).cloned() {
                self.judge_gap(&open, watch);
            }
            return;
        }
        let (part, symbol) = (gap.id.to_string(), only_symbol(gap));
        for (rule, _) in about_gaps(watch.rules) {
            let lasted = lasting(gap.ended_at.unwrap_or(gap.started_at).saturating_sub(gap.started_at));
            let told = Told {
                symbol,
                source: &gap.source,
                part: part.clone(),
                trigger: String::new(),
                event_time: gap.ended_at.unwrap_or(gap.started_at),
                event_id: Some(gap.id),
                message: format!("{}: the gap is over, it lasted {lasted} ({})", gap_subject(gap), gap.reason),
            };
            self.resolve(rule, told, watch);
        }
    }

    pub fn health(&mut self, health: &SourceHealth, watch: &mut Watch<'_>) {
        self.note_health(health, watch.place.at);
        self.has_producer(&health.source, watch.place.at, watch);
    }

    /// A producer has told of the source at this broker time.
    fn has_producer(&mut self, source: &str, at: i64, watch: &mut Watch<'_>) {
        for (rule, _) in about_gaps(watch.rules) {
            let fired = self.states.get(&key(rule, source, Some(PRODUCER)));
            // Of a record from before it the alert knew, though it may be said again.
            if fired.is_none_or(|fired| at < fired.quiet_until.saturating_sub(rule.cooldown.0)) {
                continue;
            }
            let told = Told {
                symbol: None,
                source,
                part: PRODUCER.to_owned(),
                trigger: String::new(),
                event_time: at,
                event_id: None,
                message: format!("{}: a producer reads the source again", plain(source)),
            };
            self.resolve(rule, told, watch);
        }
    }

    /// Tells the end of what these rules had told, for no reason that lies in the sources.
    pub fn end(&mut self, ends: impl Fn(&Rule) -> bool, why: &str, watch: &mut Watch<'_>) {
        for (rule, _) in about_gaps(watch.rules).filter(|(rule, _)| ends(rule)) {
            let of_rule = self.states.iter().filter(|(key, state)| key.rule == rule.hash && state.phase == Phase::Up);
            let told: Vec<(StateKey, State)> = of_rule.map(|(key, state)| (key.clone(), *state)).collect();
            for (key, state) in told {
                let (Some(source), Some(part), Some(fired)) = (key.source.clone(), key.part.clone(), state.alert_id)
                else {
                    continue;
                };
                self.keep(key, Some(State { alert_id: None, ..state }), watch);
                let gap = part.parse().ok().and_then(|id: Uuid| self.open.get(&id)).map(|open| open.gap.clone());
                let subject = gap.as_ref().map_or_else(|| plain(&source), gap_subject);
                let told = Told {
                    symbol: gap.as_ref().and_then(only_symbol),
                    source: &source,
                    part,
                    trigger: String::new(),
                    event_time: watch.place.at,
                    event_id: gap.as_ref().map(|gap| gap.id),
                    message: format!("{subject}: {why}"),
                };
                watch.tell_end(rule, told, fired);
            }
        }
    }

    pub fn clock(&mut self, watch: &mut Watch<'_>) {
        let open: Vec<OpenGap> = self.open.values().cloned().collect();
        for gap in &open {
            self.judge_gap(gap, watch);
        }
        let sources: Vec<(String, Health)> =
            self.health.iter().map(|(source, health)| (source.clone(), *health)).collect();
        for (source, health) in &sources {
            // What was said while nobody judged was only noted.
            self.has_producer(source, health.last_at, watch);
            if !health.is_stopped {
                self.judge_producer(source, *health, watch);
            }
        }
    }

    fn judge_gap(&mut self, open: &OpenGap, watch: &mut Watch<'_>) {
        let OpenGap { gap, told_at } = open;
        for (rule, (open_for, reasons)) in about_gaps(watch.rules) {
            let filter = &rule.filter;
            let symbols = gap.symbols.is_empty() || gap.symbols.iter().any(|symbol| filter.symbol(symbol));
            let reason = reasons.is_empty() || reasons.contains(&gap.reason);
            let due = watch.place.at.saturating_sub(*told_at) >= open_for.0;
            // Whoever was told that no producer is there need not be told the same by the next one.
            let known = gap.reason == GapReason::ProducerDown && self.has_fired(rule, &gap.source, PRODUCER);
            if !(due && symbols && reason && filter.source(&gap.source)) || known {
                continue;
            }
            let told = Told {
                symbol: only_symbol(gap),
                source: &gap.source,
                part: gap.id.to_string(),
                trigger: gap.id.to_string(),
                event_time: gap.started_at,
                event_id: Some(gap.id),
                message: format!(
                    "{}: prices are missing since {} ({}: {})",
                    gap_subject(gap),
                    time(gap.started_at),
                    gap.reason,
                    plain(&gap.detail)
                ),
            };
            self.fire(rule, told, watch);
        }
    }

    fn judge_producer(&mut self, source: &str, health: Health, watch: &mut Watch<'_>) {
        let silent = watch.place.at.saturating_sub(health.last_at);
        for (rule, (open_for, reasons)) in about_gaps(watch.rules) {
            let reason = reasons.is_empty() || reasons.contains(&GapReason::ProducerDown);
            let due = silent >= PRODUCER_DOWN_AFTER.0.max(open_for.0);
            if !(due && reason && rule.filter.source(source)) {
                continue;
            }
            let told = Told {
                symbol: None,
                source,
                part: PRODUCER.to_owned(),
                trigger: format!("{PRODUCER} {}", health.last_at),
                event_time: health.last_at,
                event_id: None,
                message: format!(
                    "{}: no producer has told of the source for {}, last at {} ({})",
                    plain(source),
                    lasting(silent),
                    time(health.last_at),
                    GapReason::ProducerDown
                ),
            };
            self.fire(rule, told, watch);
        }
    }

    fn has_fired(&self, rule: &Rule, source: &str, part: &str) -> bool {
        self.states.get(&key(rule, source, Some(part))).is_some_and(|state| state.phase == Phase::Up)
    }

    fn fire(&mut self, rule: &Rule, told: Told<'_>, watch: &mut Watch<'_>) {
        let at = watch.place.at;
        if self.has_fired(rule, told.source, &told.part) {
            return;
        }
        let silence = key(rule, told.source, None);
        let is_silent = self.states.get(&silence).is_some_and(|state| at < state.quiet_until);
        let is_held = watch.groups.held_until(rule, told.symbol, Some(told.source), at).is_some();
        if is_silent || is_held {
            return;
        }
        let id = alert_id(&rule.hash.to_string(), told.symbol, Some(told.source), &told.trigger);
        let quiet_until = at.saturating_add(rule.cooldown.0);
        let fired = State { phase: Phase::Up, quiet_until, alert_id: Some(id), severity: None };
        let quiet = State { phase: Phase::Armed, quiet_until, alert_id: None, severity: None };
        self.keep(key(rule, told.source, Some(&told.part)), Some(fired), watch);
        self.keep(silence, Some(quiet), watch);
        watch.groups.fired(rule, told.symbol, Some(told.source), at, watch.outcome);
        watch.tell(rule, told, id, AlertState::Firing);
    }

    fn resolve(&mut self, rule: &Rule, told: Told<'_>, watch: &mut Watch<'_>) {
        let part = key(rule, told.source, Some(&told.part));
        let Some(fired) = self.states.get(&part).map(|state| state.alert_id) else { return };
        self.keep(part, None, watch);
        let Some(fired) = fired else { return };
        watch.tell_end(rule, told, fired);
    }

    fn keep(&mut self, key: StateKey, state: Option<State>, watch: &mut Watch<'_>) {
        match state {
            Some(state) => self.states.insert(key.clone(), state),
            None => self.states.remove(&key),
        };
        watch.outcome.states.push((key, state));
    }
}

impl Watch<'_> {
    fn tell_end(&mut self, rule: &Rule, told: Told<'_>, fired: Uuid) {
        let trigger = format!("resolved {fired}");
        let id = alert_id(&rule.hash.to_string(), told.symbol, Some(told.source), &trigger);
        self.tell(rule, told, id, AlertState::Resolved);
    }

    fn tell(&mut self, rule: &Rule, told: Told<'_>, alert_id: Uuid, state: AlertState) {
        let Place { topic, partition, offset, at } = self.place;
        let Told { symbol, source, event_time, event_id, message, .. } = told;
        let blank = blank(rule, symbol, Some(source), state, (topic, partition, offset), at);
        self.outcome.alerts.push(Alert { alert_id, event_time, event_id, message, ..blank });
    }
}

fn about_gaps(rules: &Rules) -> impl Iterator<Item = (&Rule, (Micros, &[GapReason]))> {
    rules.enabled().filter_map(|(_, rule)| match &rule.condition {
        Condition::OpenGap { open_for, reasons } => Some((rule, (*open_for, reasons.as_slice()))),
        _ => None,
    })
}

fn only_symbol(gap: &Gap) -> Option<&str> {
    match gap.symbols.as_slice() {
        [symbol] => Some(symbol),
        _ => None,
    }
}

fn key(rule: &Rule, source: &str, part: Option<&str>) -> StateKey {
    StateKey { rule: rule.hash, symbol: None, source: Some(source.to_owned()), part: part.map(str::to_owned) }
}

/// An alert without what it is about: no price, no event, no message.
pub(super) fn blank(
    rule: &Rule,
    symbol: Option<&str>,
    source: Option<&str>,
    state: AlertState,
    (topic, partition, offset): (&str, i32, i64),
    at: i64,
) -> Alert {
    Alert {
        alert_id: Uuid::nil(),
        rule: rule.name.clone(),
        rule_hash: rule.hash.to_string(),
        kind: rule.condition.kind(),
        state,
        severity: rule.severity,
        symbol: symbol.map(str::to_owned),
        source: source.map(str::to_owned),
        price: None,
        reference: None,
        change_pct: None,
        event_time: at,
        fired_at: at,
        event_id: None,
        trigger_topic: topic.to_owned(),
        trigger_partition: partition,
        trigger_offset: offset,
        message: String::new(),
    }
}
