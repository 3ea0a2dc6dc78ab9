//! Other rules in the place of those that hold. Rules that say the same keep their states, and series their ticks. What a rule
//! had told that is not in force any more, and whose end it would have told, is over: nobody watches it. Its state stays, so
//! that the same rule, when it is back, tells nothing twice.

use pipeline::events::{Alert, AlertState, alert_id};

use super::feed;
use super::message::plain;
use super::sources::{Watch, blank};
use super::state::{Phase, StateKey};
use super::{Duty, Engine, InForce, Outcome, last_place};
use crate::rules::{Condition, Rule, Rules};

const NOT_IN_FORCE: &str = "the rule that told of it is not in force any more";

impl Engine {
    /// Puts other rules in the place of these, at a broker time. A window that reaches further back than any before it fills
    /// as ticks come, unless the caller begins anew and warms.
    pub fn change_rules(&mut self, rules: Rules, at: i64, outcome: &mut Outcome) {
        let in_force = in_force(&rules);
        self.end_what_goes(&in_force, at, outcome);
        self.collect_states();
        self.rules = rules;
        self.in_force = in_force;
        self.groups.change_rules(&self.rules);
        for (key, state) in self.absent.take() {
            self.restore(key, state);
        }
        for board in &mut self.boards {
            for feed in &mut board.feeds {
                feed.resolve(&board.symbol, &self.rules, &mut self.states);
                for prices in &mut feed.prices {
                    prices.resolve(&board.symbol, &feed.source, &self.rules, &mut self.states);
                }
            }
        }
        let gone: Vec<StateKey> =
            self.states.keys().filter(|key| !self.in_force.contains_key(&key.rule)).cloned().collect();
        for key in gone {
            if let Some(state) = self.states.remove(&key) {
                self.absent.keep(key, state);
            }
        }
    }

    /// Takes the states out of the series, from which the next rules get them.
    fn collect_states(&mut self) {
        let part = self.polled_part();
        for board in &self.boards {
            for feed in &board.feeds {
                let series = feed.prices.iter().flat_map(|prices| {
                    prices.slots.iter().map(|slot| (slot.rule, Some(prices.kind), slot.arm.state()))
                });
                let stale = feed.stale.iter().map(|stale| (stale.rule, None, stale.arm.state()));
                for (rule, kind, state) in series.chain(stale) {
                    self.states.insert(feed::key(self.rules.at(rule), &board.symbol, &feed.source, kind), state);
                }
                for stale in feed.stale.iter().filter(|stale| stale.is_kept) {
                    let key = feed::key(self.rules.at(stale.rule), &board.symbol, &feed.source, None);
                    self.polled.push(StateKey { part: part.clone(), ..key });
                }
            }
        }
    }

    /// Tells the end of what rules had told that are not in force any more.
    fn end_what_goes(&mut self, in_force: &InForce, at: i64, outcome: &mut Outcome) {
        let last = self.last.clone();
        let place = last_place(last.as_ref(), at);
        let ends = |rule: &Rule| !in_force.contains_key(&rule.hash) && tells_its_end(rule);
        for index in self.in_order() {
            let board = &mut self.boards[index];
            let symbol = &board.symbol;
            board.feeds.sort_by(|a, b| a.source.cmp(&b.source));
            for feed in &mut board.feeds {
                let source = &feed.source;
                let series = feed.prices.iter_mut().flat_map(|prices| {
                    let kind = Some(prices.kind);
                    prices.slots.iter_mut().map(move |slot| (slot.rule, kind, &mut slot.arm))
                });
                let stale = feed.stale.iter_mut().map(|stale| (stale.rule, None, &mut stale.arm));
                for (rule, kind, arm) in series.chain(stale) {
                    let rule = self.rules.at(rule);
                    let has_fired = matches!(arm.phase, Phase::Up | Phase::Down);
                    let Some(fired) = arm.alert_id.filter(|_| has_fired && ends(rule)) else { continue };
                    arm.alert_id = None;
                    outcome.states.push((feed::key(rule, symbol, source, kind), Some(arm.state())));
                    let id = alert_id(&rule.hash.to_string(), Some(symbol), Some(source), &format!("resolved {fired}"));
                    let told = (place.topic, place.partition, place.offset);
                    let blank = blank(rule, Some(symbol), Some(source), AlertState::Resolved, told, at);
                    let message = format!("{} at {}: {NOT_IN_FORCE}", plain(symbol), plain(source));
                    outcome.alerts.push(Alert { alert_id: id, message, ..blank });
                }
            }
        }
        if self.duty != Duty::Ticks {
            let mut watch = Watch { rules: &self.rules, groups: &mut self.groups, place, outcome };
            self.sources.end(ends, NOT_IN_FORCE, &mut watch);
        }
    }
}

/// Where each rule stands that is in force.
pub(super) fn in_force(rules: &Rules) -> InForce {
    rules.enabled().map(|(index, rule)| (rule.hash, index)).collect()
}

/// Whether what the rule tells has an end that is told too.
fn tells_its_end(rule: &Rule) -> bool {
    match rule.condition {
        Condition::StaleFeed { .. } | Condition::OpenGap { .. } => true,
        Condition::MovingAverage { .. }
        | Condition::Threshold { .. }
        | Condition::PercentChange { .. }
        | Condition::Volatility { .. }
        | Condition::OffMedian { .. } => rule.notify_resolved,
    }
}
