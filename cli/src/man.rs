//! `tickstream man`: the manual page of the command, or of one of its subcommands, made from the command line's own definition;
//! and the exit codes, which every help text and every page ends with.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use pipeline::misconfigured;

use crate::output;

/// What every command ends with.
const EXIT_CODES: [(&str, &str); 3] = [
    ("0", "done, and all is as it should be"),
    ("1", "failed, was interrupted, or found a difference: standard error says which in one line"),
    ("2", "a mistake of the user's: a wrong argument, or a server that is not where it was said to be"),
];

#[derive(Args, Debug)]
pub struct ManArgs {
    /// The subcommand, such as: topics apply. Default: the command itself.
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write the page, and those of all commands below it, into this folder, such as ~/.local/share/man/man1.
    #[arg(long, env = "MAN_DIR", value_name = "DIR")]
    to: Option<PathBuf>,
}

/// The same command, with the exit codes below its help and below that of each subcommand.
pub fn with_exit_codes(command: Command) -> Command {
    let codes: Vec<String> = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code}  {meaning}")).collect();
    let mut text = format!("Exit codes:\n{}", codes.join("\n"));
    let long = command.get_after_long_help().map(|own| format!("{own}\n\n{text}"));
    if let Some(own) = command.get_after_help() {
        text = format!("{own}\n\n{text}");
    }
    let command = command.after_help(text).mut_subcommands(with_exit_codes);
    match long {
        Some(long) => command.after_long_help(long),
        None => command,
    }
}

/// `command` is without the exit codes: the page has a section for them.
pub fn run(args: &ManArgs, mut command: Command) -> anyhow::Result<()> {
    command.build();
    let mut found = &command;
    for name in &args.command {
        let names = || found.get_subcommands().map(Command::get_name).collect::<Vec<_>>().join(", ");
        found = found.find_subcommand(name).ok_or_else(|| {
            misconfigured(format!("{} has no subcommand {name}: one of {}", page_name(found), names()))
        })?;
    }
    if let Some(folder) = &args.to {
        let wrong = |error| misconfigured(format!("--to (MAN_DIR) {}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let mut files = 0;
        for command in every(found) {
            let name = format!("{}.1", page_name(command));
            std::fs::write(folder.join(&name), page(command)?).with_context(|| format!("writing {name}"))?;
            files += 1;
        }
        return output::print(&format!("{files} pages: {}\n", folder.display()));
    }
    output::print(&String::from_utf8(page(found)?)?)
}

/// The command and everything below it.
fn every(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|command| command.get_name() != "help");
    std::iter::once(command).chain(below.flat_map(every)).collect()
}

/// `tickstream-topics-apply`.
fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let man = Man::new(command.clone()).title(page_name(command));
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut codes = Roff::new();
    codes.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        codes.control("TP", []).text([roman(code)]).text([roman(meaning)]);
    }
    codes.to_writer(&mut text)?;
    if command.get_after_help().is_some() || command.get_after_long_help().is_some() {
        man.render_extra_section(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn command() -> Command {
        let apply =
            Command::new("apply").about("Makes them").arg(Arg::new("dry").long("dry-run").env("DRY").help("Says it"));
        Command::new("tool").about("A tool").subcommand(Command::new("topics").about("Topics").subcommand(apply))
    }

    #[test]
    fn a_page_has_flags_their_twins_and_the_exit_codes() {
        let mut command = command();
        command.build();
        let pages = every(&command);
        let names: Vec<String> = pages.iter().map(|command| page_name(command)).collect();
        assert_eq!(names, ["tool", "tool-topics", "tool-topics-apply"]);
        let page = String::from_utf8(page(pages[2]).expect("a page")).expect("text");
        for part in ["tool\\-topics\\-apply", "\\-\\-dry\\-run", "DRY", ".SH \"EXIT STATUS\"", "found a difference"] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
    }

    #[test]
    fn every_help_ends_with_the_exit_codes() {
        let mut command = with_exit_codes(command());
        command.build();
        for command in every(&command) {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Exit codes:\n  0  done"), "{help}");
        }
    }
}
