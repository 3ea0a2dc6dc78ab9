//! Rules that are silent together: after an alert of one, its group says nothing about the same symbol (or source, where
//! there is no symbol) for that rule's cooldown, but for what is more severe. Rules about gaps are grouped among themselves:
//! they are judged by another engine than prices, and neither knows at once what the other has told.

use std::collections::{HashMap, HashSet};

use pipeline::events::Severity;

use super::Outcome;
use super::state::{Phase, State, StateKey};
use crate::rules::{Condition, Rule, RuleHash, Rules};

#[derive(Debug, Default)]
pub(super) struct Groups {
    names: HashSet<RuleHash>,
    states: HashMap<StateKey, State>,
}

impl Groups {
    pub fn change_rules(&mut self, rules: &Rules) {
        self.names = rules.enabled().filter_map(|(_, rule)| group(rule)).collect();
    }

    /// Whether the state is a group's, which it then has again.
    pub fn restore(&mut self, key: &StateKey, state: State) -> bool {
        let ours = self.names.contains(&key.rule);
        if ours {
            self.states.insert(key.clone(), state);
        }
        ours
    }

    /// Until when the rule's group holds it back.
    pub fn held_until(&self, rule: &Rule, symbol: Option<&str>, source: Option<&str>, at: i64) -> Option<i64> {
        let state = self.states.get(&key(group(rule)?, symbol, source))?;
        let less_severe = state.severity.is_none_or(|severity| rule.severity <= severity);
        (less_severe && at < state.quiet_until).then_some(state.quiet_until)
    }

    /// The rule has fired.
    pub fn fired(&mut self, rule: &Rule, symbol: Option<&str>, source: Option<&str>, at: i64, outcome: &mut Outcome) {
        let Some(group) = group(rule) else { return };
        let key = key(group, symbol, source);
        let before = self.states.get(&key).filter(|state| at < state.quiet_until);
        let quiet_until = at.saturating_add(rule.cooldown.0).max(before.map_or(i64::MIN, |state| state.quiet_until));
        let severity: Option<Severity> = Some(rule.severity).max(before.and_then(|state| state.severity));
        let state = State { phase: Phase::Armed, quiet_until, alert_id: None, severity };
        outcome.states.push((key.clone(), Some(state)));
        self.states.insert(key, state);
    }
}

/// The group that a rule is in.
fn group(rule: &Rule) -> Option<RuleHash> {
    let name = rule.group.as_deref()?;
    Some(match rule.condition {
        Condition::OpenGap { .. } => RuleHash::of_gap_group(name),
        Condition::MovingAverage { .. }
        | Condition::Threshold { .. }
        | Condition::PercentChange { .. }
        | Condition::Volatility { .. }
        | Condition::StaleFeed { .. }
        | Condition::OffMedian { .. } => RuleHash::of_group(name),
    })
}

fn key(group: RuleHash, symbol: Option<&str>, source: Option<&str>) -> StateKey {
    let source = if symbol.is_some() { None } else { source };
    StateKey { rule: group, symbol: symbol.map(str::to_owned), source: source.map(str::to_owned), part: None }
}
