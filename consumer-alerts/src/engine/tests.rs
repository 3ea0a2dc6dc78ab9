//! Cases computed by hand, in `tests/cases`, each run straight through and once more with a restart before every record;
//! and logs made at random, cut and restarted anywhere.

mod anywhere;
mod changes;
mod log;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Duty, Engine, Outcome, State, StateKey};
use crate::rules::Rules;
use log::{Record, second};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The rule, without `[[rule]]` and its name; or whole rules.
    rules: String,
    log: String,
    /// `second STATE message`, with the rule's name before the message where there are several.
    alerts: Vec<String>,
}

fn check_file(text: &str) {
    let File { case: cases } = toml::from_str(text).unwrap();
    for Case { name, rules, log, alerts } in cases {
        let several = rules.contains("[[rule]]");
        let rules = if several { rules } else { format!("[[rule]]\nname = \"it\"\ncooldown = \"0s\"\n{rules}") };
        let rules = Rules::parse(&rules).unwrap_or_else(|error| panic!("{name}: {error}"));
        let records = log::parse(&log).unwrap_or_else(|error| panic!("{name}: {error}"));
        let outcome = run(&rules, &records, |_| false);
        let told: Vec<String> = outcome
            .alerts
            .iter()
            .map(|alert| {
                let rule = if several { format!("[{}] ", alert.rule) } else { String::new() };
                format!("{} {} {rule}{}", second(alert.fired_at), alert.state, alert.message)
            })
            .collect();
        assert_eq!(told, alerts, "{name}");
        for restart in 0..records.len() {
            let restarted = run(&rules, &records, |index| index == restart);
            assert_eq!(restarted.alerts, outcome.alerts, "{name}, restarted before record {restart}");
        }
        let restarted = run(&rules, &records, |_| true);
        assert_eq!(restarted.alerts, outcome.alerts, "{name}, restarted before every record");
    }
}

/// Runs the log through engines, a new one wherever `restart` says so, which knows nothing but what a service would have
/// kept: the states that changed and the records from as far back as the rules look.
fn run(rules: &Rules, records: &[Record], restart: impl Fn(usize) -> bool) -> Outcome {
    let mut engine = Engine::new(rules.clone(), Duty::Both).for_partition(3);
    let mut all = Outcome::default();
    for (index, record) in records.iter().enumerate() {
        if restart(index) {
            engine = Engine::new(rules.clone(), Duty::Both).for_partition(3);
            for (key, state) in kept(&all.states) {
                engine.restore(key, state);
            }
            let from = record.at - engine.looks_back().0;
            for before in records[..index].iter().filter(|before| before.at >= from) {
                engine.warm(before.place(), before.event());
            }
        }
        let mut outcome = Outcome::default();
        engine.take(record.place(), record.event(), &mut outcome);
        all.alerts.append(&mut outcome.alerts);
        all.states.append(&mut outcome.states);
    }
    all
}

/// What a compacted topic keeps of the states, through its JSON.
fn kept(states: &[(StateKey, Option<State>)]) -> BTreeMap<StateKey, State> {
    let mut kept = BTreeMap::new();
    for (key, state) in states {
        let json = (serde_json::to_string(key).unwrap(), serde_json::to_string(state).unwrap());
        let (key, state): (StateKey, Option<State>) =
            (serde_json::from_str(&json.0).unwrap(), serde_json::from_str(&json.1).unwrap());
        match state {
            Some(state) => kept.insert(key, state),
            None => kept.remove(&key),
        };
    }
    kept
}

#[test]
fn moving_averages() {
    check_file(include_str!("../../tests/cases/moving_average.toml"));
}

#[test]
fn thresholds() {
    check_file(include_str!("../../tests/cases/threshold.toml"));
}

#[test]
fn percent_changes() {
    check_file(include_str!("../../tests/cases/percent_change.toml"));
}

#[test]
fn volatility() {
    check_file(include_str!("../../tests/cases/volatility.toml"));
}

#[test]
fn stale_feeds() {
    check_file(include_str!("../../tests/cases/stale_feed.toml"));
}

#[test]
fn open_gaps() {
    check_file(include_str!("../../tests/cases/open_gap.toml"));
}

#[test]
fn medians() {
    check_file(include_str!("../../tests/cases/off_median.toml"));
}

#[test]
fn corrections_duplicates_and_late_ticks() {
    check_file(include_str!("../../tests/cases/order.toml"));
}

#[test]
fn cooldown_and_groups() {
    check_file(include_str!("../../tests/cases/cooldown.toml"));
}
