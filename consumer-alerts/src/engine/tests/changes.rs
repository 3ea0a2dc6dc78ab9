//! Rules that change under an engine, and what a source said while nobody judged.

use super::super::{Duty, Engine, Outcome};
use super::log::{Record, micros, parse};
use super::{kept, second};
use crate::rules::Rules;

const CROSS: &str =
    "[[rule]]\nname = 'cross'\nkind = 'threshold'\nabove = 100\ncooldown = '1h'\nnotify_resolved = true\n";
const SILENT: &str = "[[rule]]\nname = 'silent'\nkind = 'stale_feed'\nsilent_for = '1m'\ncooldown = '0s'\n";
const GAP: &str = "[[rule]]\nname = 'gap'\nkind = 'open_gap'\nopen_for = '0s'\ncooldown = '0s'\n";

fn rules(text: &[&str]) -> Rules {
    Rules::parse(&text.concat()).expect("good rules")
}

fn records(log: &str) -> Vec<Record> {
    parse(log).expect("a good log")
}

fn engine(text: &[&str]) -> Engine {
    Engine::new(rules(text), Duty::Both).for_partition(3)
}

/// What the records lead to: `second STATE rule`.
fn told(engine: &mut Engine, log: &str, all: &mut Outcome) -> Vec<String> {
    let mut outcome = Outcome::default();
    for record in records(log) {
        engine.take(record.place(), record.event(), &mut outcome);
    }
    said(outcome, all)
}

fn change(engine: &mut Engine, text: &[&str], at: f64, all: &mut Outcome) -> Vec<String> {
    let mut outcome = Outcome::default();
    engine.change_rules(rules(text), micros(at), &mut outcome);
    said(outcome, all)
}

fn said(mut outcome: Outcome, all: &mut Outcome) -> Vec<String> {
    let line = |alert: &pipeline::events::Alert| format!("{} {} {}", second(alert.fired_at), alert.state, alert.rule);
    let said = outcome.alerts.iter().map(line).collect();
    all.alerts.append(&mut outcome.alerts);
    all.states.append(&mut outcome.states);
    said
}

#[test]
fn a_rule_that_is_gone_for_a_while_remembers() {
    let (mut engine, mut all) = (engine(&[CROSS]), Outcome::default());
    assert_eq!(told(&mut engine, "1 99\n2 101\n3 99", &mut all), ["2 FIRING cross", "3 RESOLVED cross"]);
    assert_eq!(change(&mut engine, &[SILENT], 4.0, &mut all), [""; 0]);
    assert_eq!(told(&mut engine, "5 102\n6 99", &mut all), [""; 0]);
    assert_eq!(change(&mut engine, &[SILENT, CROSS], 7.0, &mut all), [""; 0]);
    assert_eq!(told(&mut engine, "8 99\n9 103", &mut all), [""; 0], "an hour's silence is not over");
    assert_eq!(told(&mut engine, "3602 104", &mut all), ["3602 FIRING cross"]);
    // Switched off is gone too.
    let off = CROSS.to_owned() + "enabled = false\n";
    assert_eq!(told(&mut engine, "3603 99", &mut all), ["3603 RESOLVED cross"]);
    assert_eq!(change(&mut engine, &[&off], 3604.0, &mut all), [""; 0]);
    assert_eq!(change(&mut engine, &[CROSS], 3605.0, &mut all), [""; 0]);
    assert_eq!(told(&mut engine, "3606 99\n3607 103", &mut all), [""; 0]);
}

#[test]
fn a_rule_that_was_not_there_at_the_start_remembers_when_it_is_back() {
    let (mut before, mut all) = (engine(&[CROSS]), Outcome::default());
    told(&mut before, "1 99\n2 101\n3 99", &mut all);
    let mut engine = engine(&[SILENT]);
    for (key, state) in kept(&all.states) {
        engine.restore(key, state);
    }
    assert_eq!(told(&mut engine, "4 99", &mut all), [""; 0]);
    assert_eq!(change(&mut engine, &[CROSS], 5.0, &mut all), [""; 0]);
    assert_eq!(told(&mut engine, "6 99\n7 103", &mut all), [""; 0], "an hour's silence is not over");
}

#[test]
fn what_a_rule_told_that_goes_is_over_and_told_once_when_it_is_back() {
    for (rule, other, fires, more, ends) in [
        (SILENT, CROSS, "0 99\n60 clock", "70 clock", "80 99"),
        (GAP, SILENT, "60 gap id=1", "70 clock", "80 gap id=1 from=60 to=80"),
        (CROSS, GAP, "0 99\n60 101", "70 102", "80 99"),
    ] {
        let (mut engine, mut all) = (engine(&[rule]), Outcome::default());
        let name = rules(&[rule]).iter().next().map(|rule| rule.name.clone()).expect("a rule");
        assert_eq!(told(&mut engine, fires, &mut all), [format!("60 FIRING {name}")]);
        assert_eq!(change(&mut engine, &[other], 61.0, &mut all), [format!("61 RESOLVED {name}")]);
        assert_eq!(change(&mut engine, &[rule], 62.0, &mut all), [""; 0], "{name}");
        assert_eq!(told(&mut engine, more, &mut all), [""; 0], "{name}: told before");
        assert_eq!(told(&mut engine, ends, &mut all), [""; 0], "{name}: its end, too");
        let resolved = all.alerts.last().expect("two alerts");
        assert!(resolved.message.ends_with("not in force any more"), "{}", resolved.message);
        // A restart is no other way to be told of it.
        let mut restarted = Engine::new(rules(&[rule]), Duty::Both).for_partition(3);
        for (key, state) in kept(&all.states) {
            restarted.restore(key, state);
        }
        for record in records(&format!("{fires}\n{more}\n{ends}")) {
            restarted.warm(record.place(), record.event());
        }
        assert_eq!(told(&mut restarted, "81 clock", &mut all), [""; 0], "{name}");
    }
}

#[test]
fn what_a_source_said_while_nobody_judged_ends_what_was_told_before_and_nothing_that_was_told_after() {
    let text = [SILENT, GAP];
    let fires = "0 99 kind=REFERENCE source=coingecko\n0 health source=coingecko answered=0\n60 clock";
    let mut all = Outcome::default();
    let fired = told(&mut engine(&text), fires, &mut all);
    assert_eq!(fired, ["60 FIRING silent", "60 FIRING gap"]);
    let states = kept(&all.states);
    for (last_word, expected) in [
        ("0 health source=coingecko answered=0", &[][..]),
        ("70 health source=coingecko answered=69", &["75 RESOLVED silent", "75 RESOLVED gap"]),
        ("70 health source=coingecko answered=0", &["75 RESOLVED gap"]),
        ("70 health source=coingecko answered=69 state=STOPPED", &["75 RESOLVED silent", "75 RESOLVED gap"]),
    ] {
        let mut engine = engine(&text);
        for (key, state) in states.clone() {
            engine.restore(key, state);
        }
        let before = records(&format!("0 99 kind=REFERENCE source=coingecko\n{last_word}"));
        before.iter().for_each(|record| engine.warm(record.place(), record.event()));
        assert_eq!(told(&mut engine, "75 clock", &mut Outcome::default()), expected, "{last_word}");
        assert_eq!(told(&mut engine, "76 clock", &mut Outcome::default()), [""; 0], "{last_word}");
    }
}
