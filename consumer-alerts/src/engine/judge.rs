//! One tick against the rules of its series: what each of them sees, and the alert where one fires.

use pipeline::decimal::Decimal38;
use pipeline::events::{Alert, AlertState, alert_id};
use uuid::Uuid;

use super::arm::Reading;
use super::feed::{Board, Look, NEVER, Prices, Slot, key};
use super::groups::Groups;
use super::known_gaps::KnownGaps;
use super::message::Seen;
use super::state::Phase;
use super::{Outcome, Place, Tick};
use crate::rules::{Condition, Rule, Rules, Side};

/// What judging a tick needs beside the series.
pub(super) struct Judge<'a> {
    pub rules: &'a Rules,
    pub gaps: &'a KnownGaps,
    pub groups: &'a mut Groups,
    pub place: Place<'a>,
    pub outcome: &'a mut Outcome,
    /// Room for the other sources' prices.
    pub others: &'a mut Vec<i128>,
}

/// A tick in its series.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub board: &'a Board,
    pub feed: usize,
    pub prices: usize,
    pub tick: &'a Tick<'a>,
}

impl<'a> Scene<'a> {
    fn series(&self) -> &'a Prices {
        &self.board.feeds[self.feed].prices[self.prices]
    }
}

impl Judge<'_> {
    pub fn judge(&mut self, scene: Scene<'_>, slot: &mut Slot) {
        let at = self.place.at;
        // Nearly every tick meets an armed rule, and nearly none is beyond its limit.
        let Some(reading) = self.read(scene, &slot.look, slot.arm.phase, slot.rule) else { return };
        let rules = self.rules;
        let rule = rules.at(slot.rule);
        let back = match slot.arm.phase {
            Phase::Up => reading.back_from_up,
            Phase::Down => reading.back_from_down,
            Phase::Unknown => reading.near,
            Phase::Armed => false,
        };
        if back {
            self.arm(scene, slot, rule);
        }
        let Some(side) = reading.beyond.filter(|_| slot.arm.phase == Phase::Armed) else { return };
        if slot.arm.is_silent(at) || self.is_torn(scene, &slot.look) {
            return;
        }
        let Tick { symbol, source, event_id, revision, .. } = *scene.tick;
        if let Some(held_until) = self.groups.held_until(rule, Some(symbol), Some(source), at) {
            slot.arm.held_until = held_until;
            return;
        }
        let trigger = format!("{event_id} {revision}");
        let id = alert_id(&rule.hash.to_string(), Some(symbol), Some(source), &trigger);
        slot.arm.phase = side;
        slot.arm.quiet_until = at.saturating_add(rule.cooldown.0);
        slot.arm.alert_id = Some(id);
        let state = slot.arm.state();
        self.outcome.states.push((key(rule, symbol, source, Some(scene.tick.kind)), Some(state)));
        self.groups.fired(rule, Some(symbol), Some(source), at, self.outcome);
        let alert = self.alert(scene, slot, rule, id, AlertState::Firing);
        self.outcome.alerts.push(alert);
    }

    /// The rule can fire again.
    fn arm(&mut self, scene: Scene<'_>, slot: &mut Slot, rule: &Rule) {
        let Tick { symbol, source, kind, .. } = *scene.tick;
        let fired = slot.arm.alert_id.filter(|_| slot.arm.phase != Phase::Unknown);
        if let Some(fired) = fired.filter(|_| rule.notify_resolved) {
            let trigger = format!("resolved {fired}");
            let id = alert_id(&rule.hash.to_string(), Some(symbol), Some(source), &trigger);
            let alert = self.alert(scene, slot, rule, id, AlertState::Resolved);
            self.outcome.alerts.push(alert);
        }
        slot.arm.phase = Phase::Armed;
        slot.arm.alert_id = None;
        let is_threshold = matches!(slot.look, Look::Threshold { .. });
        // A rule that is as it was at first has no state; a threshold is only armed by a price on its near side.
        let forget = !is_threshold && self.place.at >= slot.arm.quiet_until;
        if forget {
            slot.arm.quiet_until = NEVER;
        }
        let state = (!forget).then(|| slot.arm.state());
        self.outcome.states.push((key(rule, symbol, source, Some(kind)), state));
    }

    /// Whether a gap is in what the rule would compare.
    fn is_torn(&self, scene: Scene<'_>, look: &Look) -> bool {
        let view = match *look {
            Look::Mean { view, across_gaps: false, .. } | Look::Change { view, across_gaps: false, .. } => view,
            Look::Volatility { short, across_gaps: false, .. } => short,
            Look::Mean { .. }
            | Look::Change { .. }
            | Look::Volatility { .. }
            | Look::Threshold { .. }
            | Look::OffMedian { .. } => return false,
        };
        let Some(oldest) = scene.series().series.oldest(view) else { return false };
        let Tick { symbol, source, event_time, .. } = *scene.tick;
        self.gaps.between(source, symbol, (oldest.time, event_time), self.place.at)
    }

    /// What a rule sees; `None` where there is not enough to see.
    fn read(&mut self, scene: Scene<'_>, look: &Look, phase: Phase, rule: usize) -> Option<Reading> {
        let price = scene.tick.price.unscaled();
        let series = &scene.series().series;
        match *look {
            Look::Mean { view, limits, least, .. } => {
                let view = &series.views[view];
                (view.len >= least).then(|| limits.read(price * view.len as i128 - view.sum, view.sum, phase))
            }
            Look::Change { view, limits, least, .. } => {
                let before = series.oldest(view).filter(|_| series.views[view].len >= least)?.price;
                Some(limits.read(price - before, before, phase))
            }
            Look::Threshold { side: Side::Above, level, rearm } => Some(Reading {
                beyond: (price > level).then_some(Phase::Up),
                back_from_up: price < rearm,
                back_from_down: true,
                near: price < level,
            }),
            Look::Threshold { side: Side::Below, level, rearm } => Some(Reading {
                beyond: (price < level).then_some(Phase::Down),
                back_from_up: true,
                back_from_down: price > rearm,
                near: price > level,
            }),
            Look::Volatility { factor, rearm, .. } => {
                let (now, before) = deviations(scene, look)?;
                let times = now / before;
                Some(Reading {
                    beyond: (times > factor).then_some(Phase::Up),
                    back_from_up: times < rearm,
                    back_from_down: true,
                    near: true,
                })
            }
            Look::OffMedian { limits, .. } => {
                let twice = self.twice_the_median(scene, look, rule)?;
                Some(limits.read(2 * price - twice, twice, phase))
            }
        }
    }

    /// Two times the median of the other sources' last prices: whole also where it lies between two of them.
    fn twice_the_median(&mut self, scene: Scene<'_>, look: &Look, rule: usize) -> Option<i128> {
        let Look::OffMedian { fresh, least, .. } = *look else { return None };
        let filter = &self.rules.at(rule).filter;
        self.others.clear();
        for (_, feed) in scene.board.feeds.iter().enumerate().filter(|(index, _)| *index != scene.feed) {
            let counted = feed.prices.iter().filter(|prices| filter.price_kind(prices.kind));
            let Some(newest) = counted.max_by_key(|prices| (prices.priced_at, prices.kind)) else { continue };
            self.others.extend(newest.fresh_price(self.place.at, fresh, feed.answered_at));
        }
        if self.others.len() < least {
            return None;
        }
        self.others.sort_unstable();
        let middle = self.others.len() / 2;
        let upper = self.others[middle];
        Some(if self.others.len() % 2 == 1 { 2 * upper } else { self.others[middle - 1] + upper })
    }

    fn alert(&mut self, scene: Scene<'_>, slot: &Slot, rule: &Rule, id: Uuid, state: AlertState) -> Alert {
        let seen = self.seen(scene, slot);
        let Tick { symbol, source, event_id, event_time, price, .. } = *scene.tick;
        let over = state == AlertState::Resolved;
        let window = match rule.condition {
            Condition::MovingAverage { window, .. } | Condition::PercentChange { window, .. } => Some(window),
            Condition::Volatility { short, .. } => Some(short),
            _ => None,
        };
        Alert {
            alert_id: id,
            rule: rule.name.clone(),
            rule_hash: rule.hash.to_string(),
            kind: rule.condition.kind(),
            state,
            severity: rule.severity,
            symbol: Some(symbol.to_owned()),
            source: Some(source.to_owned()),
            price: Some(price),
            reference: seen.reference,
            change_pct: Decimal38::parse(&format!("{:.6}", seen.change_pct)).ok(),
            event_time,
            fired_at: self.place.at,
            event_id: Some(event_id),
            trigger_topic: self.place.topic.to_owned(),
            trigger_partition: self.place.partition,
            trigger_offset: self.place.offset,
            message: seen.sentence(symbol, source, &slot.look, window, over),
        }
    }

    /// The figures of an alert, once there is one.
    #[expect(clippy::cast_precision_loss, reason = "figures for a person; the decision was exact")]
    fn seen(&mut self, scene: Scene<'_>, slot: &Slot) -> Seen {
        let price = scene.tick.price;
        let series = &scene.series().series;
        let off = |reference: i128| (price.unscaled() - reference) as f64 / reference as f64 * 100.0;
        let mut seen = Seen { price, reference: None, change_pct: 0.0, reach: 0, sources: 0, deviations: (0.0, 0.0) };
        let reference = match slot.look {
            Look::Mean { view, .. } => {
                let view = &series.views[view];
                let n = view.len.max(1) as i128;
                Some((view.sum + n / 2) / n)
            }
            Look::Change { view, .. } => series.oldest(view).map(|oldest| {
                seen.reach = scene.tick.event_time - oldest.time;
                oldest.price
            }),
            Look::Threshold { level, .. } => Some(level),
            Look::OffMedian { .. } => {
                let twice = self.twice_the_median(scene, &slot.look, slot.rule);
                seen.sources = self.others.len();
                twice.map(|twice| twice / 2)
            }
            Look::Volatility { .. } => {
                if let Some((now, before)) = deviations(scene, &slot.look) {
                    seen.deviations = (now, before);
                    seen.change_pct = (now / before - 1.0) * 100.0;
                }
                None
            }
        };
        if let Some(reference) = reference {
            seen.reference = Decimal38::from_unscaled(reference);
            seen.change_pct = if reference == 0 { 0.0 } else { off(reference) };
        }
        seen
    }
}

/// How much the log returns vary in the short window, and in the part of the long one before it.
fn deviations(scene: Scene<'_>, look: &Look) -> Option<(f64, f64)> {
    let Look::Volatility { short, long, least, .. } = *look else { return None };
    let series = &scene.series().series;
    let (short, long) = (&series.views[short], &series.views[long]);
    let before = long.moments.without(short.moments);
    let enough = short.len >= least.0 && usize::try_from(before.n).is_ok_and(|n| n >= least.1);
    let (now, before) = (enough.then(|| short.moments.deviation())??, before.deviation()?);
    // Prices that stood still are no measure.
    (before > 0.0).then_some((now, before))
}
