//! What holds for every command, whoever writes the next one.

use std::collections::BTreeMap;

use clap::{Arg, Command, CommandFactory};

use crate::{Cli, man};

const SAMPLE: &str = include_str!("../../.env.sample");

/// Every command with its words, the first one apart: `topics apply`.
fn commands() -> BTreeMap<String, Command> {
    fn walk(command: &Command, words: &str, found: &mut BTreeMap<String, Command>) {
        found.insert(words.to_owned(), command.clone());
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            walk(below, &format!("{words} {}", below.get_name()), found);
        }
    }
    let mut command = man::with_exit_codes(Cli::command());
    command.build();
    let mut found = BTreeMap::new();
    walk(&command, "tickstream", &mut found);
    found
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let told = |arg: &&Arg| !arg.is_positional() && !["help", "version"].contains(&arg.get_id().as_str());
    command.get_arguments().filter(told)
}

fn twin(flag: &Arg) -> Option<&str> {
    flag.get_env().and_then(|name| name.to_str())
}

#[test]
fn every_flag_has_a_twin_in_the_environment_which_the_sample_names() {
    let named = |twin: &str| {
        SAMPLE
            .lines()
            .any(|line| line.trim_start_matches("# ").strip_prefix(twin).is_some_and(|rest| rest.starts_with('=')))
    };
    let (mut without, mut not_named, mut count) = (Vec::new(), Vec::new(), 0);
    for (words, command) in commands() {
        for flag in flags(&command) {
            count += 1;
            match twin(flag) {
                None => without.push(format!("{words} {flag}")),
                Some(twin) if !named(twin) => not_named.push(format!("{words} {flag}: {twin}")),
                Some(_) => {}
            }
        }
    }
    assert!(count > 50, "{count} flags were looked at");
    assert!(without.is_empty(), "flags without a twin: {without:#?}");
    assert!(not_named.is_empty(), "twins that .env.sample does not name: {not_named:#?}");
}

#[test]
fn one_variable_means_one_thing() {
    let mut meanings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (words, command) in commands() {
        for flag in flags(&command) {
            let Some(twin) = twin(flag) else { continue };
            let meaning = flag.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
            let known = meanings.entry(twin.to_owned()).or_default();
            if !known.iter().any(|known| known.ends_with(&format!(" <{meaning}>"))) {
                known.push(format!("{words} {} <{meaning}>", flag.get_id()));
            }
        }
    }
    let twice: Vec<_> = meanings.into_iter().filter(|(_, meanings)| meanings.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

#[test]
fn every_o_takes_the_same_forms() {
    let mut with_output = 0;
    for (words, command) in commands() {
        let Some(output) = flags(&command).find(|flag| flag.get_long() == Some("output")) else { continue };
        with_output += 1;
        let forms: Vec<String> = output.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        assert_eq!((forms.join("|").as_str(), output.get_short()), ("table|json|csv", Some('o')), "{words}");
        assert_eq!(twin(output), Some("TICKSTREAM_OUTPUT"), "{words}");
    }
    assert!(with_output >= 12, "{with_output}");
}

#[test]
fn every_command_and_flag_says_what_it_does_and_every_help_ends_with_the_exit_codes() {
    for (words, command) in commands() {
        assert!(command.get_about().is_some(), "{words}");
        for flag in flags(&command) {
            assert!(flag.get_help().is_some(), "{words} {flag}");
        }
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains("Exit codes:"), "{words}: {help}");
    }
}
