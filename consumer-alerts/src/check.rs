//! `consumer-alerts check`: what a file of rules says, in sentences.

use std::io::Write;

use crate::config::{self, CheckArgs};

/// Writes a line a rule.
///
/// # Errors
/// [`pipeline::Misconfigured`]: the file, and where in it what is wrong.
pub fn check(args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let rules = args.file.as_deref().map_or_else(|| args.rules.load(), config::read)?;
    for rule in rules.iter() {
        writeln!(out, "{}: {}", rule.name, rule.sentence())?;
    }
    Ok(())
}
