//! `tickstream schema register`. Everything is checked before anything is registered, and what is there already is left alone,
//! so it may be run again at any time.

use anyhow::anyhow;
use pipeline::registry::Registry;
use serde::Serialize;

use super::RegisterArgs;
use super::check::{against_registry, no_registry};
use super::demand::Finding;
use super::history::{Kept, Text, history};
use crate::nearest::not_known;
use crate::output::{self, Align};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Registered,
    /// It was there already.
    Unchanged,
    WouldBeRegistered,
}

#[derive(Debug, Serialize)]
struct Line {
    subject: String,
    schema: String,
    /// The registry's number of the version, and the id that records carry.
    version: Option<u32>,
    id: Option<u32>,
    state: State,
}

const HEADINGS: [&str; 5] = ["subject", "schema", "version", "id", "state"];

pub async fn run(args: RegisterArgs) -> anyhow::Result<()> {
    let registry = args.registry.registry()?.ok_or_else(no_registry)?;
    let kept = history(args.history.folder.as_deref())?;
    let wanted = wanted(&args, &kept)?;

    let mut lines = Vec::new();
    for (subject, text) in &wanted {
        let there = registry.find(subject, &text.json).await?;
        if there.is_none() {
            refuse_what_breaks(text, subject, &registry).await?;
        }
        let state = if there.is_some() { State::Unchanged } else { State::WouldBeRegistered };
        let (version, id) = there.unzip();
        lines.push(Line { subject: subject.clone(), schema: text.label.clone(), version, id, state });
    }
    if !args.dry_run {
        for (line, (subject, text)) in lines.iter_mut().zip(&wanted) {
            if line.state == State::WouldBeRegistered {
                line.id = Some(registry.register(subject, &text.json).await?);
                line.version = registry.find(subject, &text.json).await?.map(|(version, _)| version);
                line.state = State::Registered;
            }
        }
    }
    output::print_rows(args.output.format, &HEADINGS, &lines, as_table)
}

/// Subjects and what is to be registered under them, oldest first.
fn wanted<'a>(args: &RegisterArgs, kept: &'a [Kept]) -> anyhow::Result<Vec<(String, &'a Text)>> {
    let with_topic: Vec<(&Kept, String)> =
        kept.iter().filter_map(|kept| kept.subject().map(|subject| (kept, subject))).collect();
    let names = || with_topic.iter().map(|(kept, _)| kept.name.as_str());
    if let Some(unknown) = args.records.iter().find(|record| !names().any(|name| name == *record)) {
        return Err(pipeline::misconfigured(not_known("record type", unknown, names())));
    }
    let asked = with_topic.iter().filter(|(kept, _)| args.records.is_empty() || args.records.contains(&kept.name));
    let versions = asked.flat_map(|(kept, subject)| {
        let from = if args.all_versions { 0 } else { kept.versions.len().saturating_sub(1) };
        kept.versions[from..].iter().map(move |text| (subject.clone(), text))
    });
    Ok(versions.collect())
}

async fn refuse_what_breaks(text: &Text, subject: &str, registry: &Registry) -> anyhow::Result<()> {
    let found = against_registry(text, subject, registry, None).await?;
    let lines: Vec<String> = found.iter().filter(|finding| finding.breaks()).map(Finding::as_line).collect();
    if lines.is_empty() { Ok(()) } else { Err(anyhow!("nothing was registered: {}", lines.join("; "))) }
}

fn as_table(lines: &[Line]) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let row = |line: &Line| {
        let state = match line.state {
            State::Registered => "registered",
            State::Unchanged => "unchanged",
            State::WouldBeRegistered => "would be registered",
        };
        vec![line.subject.clone(), line.schema.clone(), number(line.version), number(line.id), state.to_owned()]
    };
    let columns = [
        ("SUBJECT", Align::Left),
        ("SCHEMA", Align::Left),
        ("VERSION", Align::Right),
        ("ID", Align::Right),
        ("STATE", Align::Left),
    ];
    output::table(&columns, &lines.iter().map(row).collect::<Vec<_>>())
}
