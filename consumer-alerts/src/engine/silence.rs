//! Feeds that have fallen silent: told when the clock says so, and over with the next sign of life.

use pipeline::events::{Alert, AlertState, alert_id};

use super::arm::Arm;
use super::feed::{Feed, NEVER, key};
use super::groups::Groups;
use super::message::{lasting, plain, time};
use super::state::{Phase, State, StateKey};
use super::{Outcome, Place, Tick};
use crate::rules::{Rule, Rules};

/// That a feed is polled, as it is kept.
pub(super) const POLLED: State = State { phase: Phase::Armed, quiet_until: NEVER, alert_id: None, severity: None };

/// What judging silence needs beside the feed.
pub(super) struct Listener<'a> {
    pub rules: &'a Rules,
    pub groups: &'a mut Groups,
    /// Of the record that it is judged at, or of the last one read, with the clock's time.
    pub place: Place<'a>,
    pub outcome: &'a mut Outcome,
}

impl Listener<'_> {
    /// Whether the feed has been silent for too long, by each rule that is armed: what the clock has to fire.
    pub fn overdue<'f>(&self, feed: &'f Feed) -> impl Iterator<Item = usize> + 'f {
        let (at, rules) = (self.place.at, self.rules.clone());
        let overdue = move |stale: &super::feed::Stale| {
            let alive_at = feed.alive_at(rules.at(stale.rule), stale);
            let is_silent = alive_at != NEVER && at.saturating_sub(alive_at) >= stale.silent_for.0;
            stale.arm.phase == Phase::Armed && is_silent && !stale.arm.is_silent(at)
        };
        feed.stale.iter().enumerate().filter(move |(_, stale)| overdue(stale)).map(|(index, _)| index)
    }

    /// The feed is silent.
    pub fn fire(&mut self, symbol: &str, feed: &mut Feed, index: usize) {
        let (at, rules) = (self.place.at, self.rules);
        let rule = rules.at(feed.stale[index].rule);
        let alive_at = feed.alive_at(rule, &feed.stale[index]);
        let source = feed.source.clone();
        let stale = &mut feed.stale[index];
        if let Some(held_until) = self.groups.held_until(rule, Some(symbol), Some(&source), at) {
            stale.arm.held_until = held_until;
            return;
        }
        let id = alert_id(&rule.hash.to_string(), Some(symbol), Some(&source), &alive_at.to_string());
        let quiet_until = at.saturating_add(rule.cooldown.0);
        stale.arm = Arm { phase: Phase::Up, quiet_until, alert_id: Some(id), held_until: NEVER };
        self.outcome.states.push((key(rule, symbol, &source, None), Some(stale.arm.state())));
        self.groups.fired(rule, Some(symbol), Some(&source), at, self.outcome);
        let message = format!(
            "{} at {}: no price for {}, the last sign of life was at {}",
            plain(symbol),
            plain(&source),
            lasting(at - alive_at),
            time(alive_at)
        );
        let alert = Alert {
            alert_id: id,
            event_time: alive_at,
            message,
            ..self.alert(rule, symbol, &source, AlertState::Firing)
        };
        self.outcome.alerts.push(alert);
    }

    /// The feed has given a sign of life: a tick, or an answer to a poll.
    pub fn heard(&mut self, symbol: &str, feed: &mut Feed, tick: Option<&Tick<'_>>) {
        let (at, rules) = (self.place.at, self.rules);
        for index in 0..feed.stale.len() {
            let stale = &feed.stale[index];
            if stale.arm.phase != Phase::Up {
                continue;
            }
            let rule = rules.at(stale.rule);
            let alive_at = feed.alive_at(rule, stale);
            if alive_at == NEVER || at.saturating_sub(alive_at) >= stale.silent_for.0 {
                continue;
            }
            let source = feed.source.clone();
            let arm = &mut feed.stale[index].arm;
            let fired = arm.alert_id.take();
            arm.phase = Phase::Armed;
            let forget = at >= arm.quiet_until;
            if forget {
                arm.quiet_until = NEVER;
            }
            let state = (!forget).then(|| arm.state());
            self.outcome.states.push((key(rule, symbol, &source, None), state));
            let Some(fired) = fired else { continue };
            let sign = if tick.is_some() { "prices again" } else { "the source answers again, with no new price" };
            let id = alert_id(&rule.hash.to_string(), Some(symbol), Some(&source), &format!("resolved {fired}"));
            let alert = Alert {
                alert_id: id,
                price: tick.map(|tick| tick.price),
                event_time: tick.map_or(alive_at, |tick| tick.event_time),
                event_id: tick.map(|tick| tick.event_id),
                message: format!("{} at {}: {sign}", plain(symbol), plain(&source)),
                ..self.alert(rule, symbol, &source, AlertState::Resolved)
            };
            self.outcome.alerts.push(alert);
        }
    }

    /// Has it kept which feeds are polled: their prices may stay the same for longer than a restart reads back.
    pub fn keep_polled(&mut self, symbol: &str, feed: &mut Feed, part: &str) {
        for stale in feed.stale.iter_mut().filter(|stale| stale.is_polled && !stale.is_kept) {
            let rule = self.rules.at(stale.rule);
            let key = StateKey { part: Some(part.to_owned()), ..key(rule, symbol, &feed.source, None) };
            self.outcome.states.push((key, Some(POLLED)));
            stale.is_kept = true;
        }
    }

    fn alert(&self, rule: &Rule, symbol: &str, source: &str, state: AlertState) -> Alert {
        let Place { topic, partition, offset, at } = self.place;
        super::sources::blank(rule, Some(symbol), Some(source), state, (topic, partition, offset), at)
    }
}
