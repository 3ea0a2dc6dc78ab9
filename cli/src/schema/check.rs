//! `tickstream schema check`.

use anyhow::anyhow;
use apache_avro::Schema;
use pipeline::misconfigured;
use pipeline::registry::{Registry, Stored};

use super::compatibility::End;
use super::demand::{Demand, Direction, Finding, HEADINGS, as_table, findings};
use super::history::{Kept, Text, history};
use super::{Against, CheckArgs, Compatibility};
use crate::output;

pub async fn run(args: CheckArgs) -> anyhow::Result<()> {
    let kept = history(args.history.folder.as_deref())?;
    let candidates = candidates(&args, &kept)?;
    let registry = match args.against {
        Some(Against::History) => None,
        None => args.registry.registry()?,
        Some(Against::Registry) => Some(args.registry.registry()?.ok_or_else(no_registry)?),
    };
    let mut found = Vec::new();
    for candidate in &candidates {
        if args.against != Some(Against::Registry) {
            found.extend(candidate.against_history(args.compatibility.unwrap_or(Compatibility::Backward).into())?);
        }
        if let Some(registry) = &registry {
            let subject = candidate.subject.as_deref().ok_or_else(|| {
                misconfigured(format!("{}: no record type of that name is known; --subject (SCHEMA_SUBJECT) says what it is called in the registry", candidate.text.label))
            })?;
            found.extend(
                against_registry(&candidate.text, subject, registry, args.compatibility.map(Demand::from)).await?,
            );
        }
    }
    output::print_rows(args.output.format, &HEADINGS, &found, as_table)?;
    match found.iter().filter(|finding| finding.breaks()).count() {
        0 => Ok(()),
        1 => Err(anyhow!("1 incompatibility")),
        count => Err(anyhow!("{count} incompatibilities")),
    }
}

pub fn no_registry() -> anyhow::Error {
    misconfigured(
        "no schema registry is named: set --schema-registry-url or SCHEMA_REGISTRY_URL, such as http://localhost:8081",
    )
}

/// A schema that is checked.
struct Candidate<'a> {
    text: Text,
    kept: Option<&'a Kept>,
    subject: Option<String>,
}

fn candidates<'a>(args: &CheckArgs, kept: &'a [Kept]) -> anyhow::Result<Vec<Candidate<'a>>> {
    if args.files.is_empty() {
        if args.subject.is_some() {
            return Err(misconfigured("--subject (SCHEMA_SUBJECT) is for one file: name the file"));
        }
        let newest = kept.iter().filter_map(|kept| kept.newest().map(|text| (kept, text.clone())));
        return Ok(newest.map(|(kept, text)| Candidate { text, kept: Some(kept), subject: kept.subject() }).collect());
    }
    if args.subject.is_some() && args.files.len() > 1 {
        return Err(misconfigured("--subject (SCHEMA_SUBJECT) is for one file, and several are named"));
    }
    let candidate = |path| {
        let text = Text::read(path)?;
        let by_file = |kept: &&Kept| text.place.as_ref().is_some_and(|(name, _)| *name == kept.name);
        let by_record = |kept: &&Kept| {
            let newest = kept.newest().and_then(Text::record_name);
            newest.is_some() && newest == text.record_name()
        };
        let kept = kept.iter().find(by_file).or_else(|| kept.iter().find(by_record));
        let subject = args.subject.clone().or_else(|| kept.and_then(Kept::subject));
        Ok(Candidate { text, kept, subject })
    };
    args.files.iter().map(|path| candidate(path)).collect()
}

/// What a text is called beside another of its type.
fn short(text: &Text) -> String {
    text.place.as_ref().map_or_else(|| text.label.clone(), |(_, version)| format!("v{version}"))
}

impl Candidate<'_> {
    fn against_history(&self, demand: Demand) -> anyhow::Result<Vec<Finding>> {
        let text = &self.text;
        let Some(kept) = self.kept else {
            output::note(&format!(
                "{}: the history has no record type of that name, so there is nothing to compare",
                text.label
            ));
            return Ok(Vec::new());
        };
        let own = text.place.as_ref().filter(|(name, _)| *name == kept.name).map(|(_, version)| *version);
        let mut found = Vec::new();
        for old in &kept.versions {
            let version = old.place.as_ref().map(|(_, version)| *version);
            if own.is_some() && own == version {
                found.extend(changed(text, old));
            } else if own.is_none_or(|own| version.is_some_and(|version| version < own)) {
                let (new_name, old_name) = (short(text), short(old));
                let ends =
                    (End { name: &new_name, schema: &text.schema }, End { name: &old_name, schema: &old.schema });
                found.extend(findings(&text.label, &old_name, ends.0, ends.1, demand)?);
            }
        }
        Ok(found)
    }
}

/// A file that says it is a version of the history, and is another schema.
fn changed(text: &Text, old: &Text) -> Option<Finding> {
    if text.schema.canonical_form() == old.schema.canonical_form() {
        return None;
    }
    Some(Finding {
        schema: text.label.clone(),
        against: short(old),
        direction: Direction::Version,
        compatible: false,
        demanded: true,
        field: None,
        reason: Some(
            "the history has another schema of this version, which records were written with: add a version".to_owned(),
        ),
    })
}

/// Against the subject's versions: `demand`, or what the registry demands of the subject. Then the registry's own word.
pub async fn against_registry(
    text: &Text,
    subject: &str,
    registry: &Registry,
    demand: Option<Demand>,
) -> anyhow::Result<Vec<Finding>> {
    let versions = registry.versions(subject).await?;
    if versions.is_empty() {
        output::note(&format!("{}: the registry has no version of {subject} yet", text.label));
        return Ok(Vec::new());
    }
    let demand = match demand {
        Some(demand) => demand,
        None => {
            let level = registry.level(subject).await?;
            Demand::of_level(&level).ok_or_else(|| {
                anyhow!("the registry's level of {subject} is {level}, which is not known here; --compatibility says what must hold")
            })?
        }
    };
    let newest = versions.last().map(|version| version.version);
    let mut found = Vec::new();
    for version in &versions {
        let name = format!("registry v{}", version.version);
        let json = match &version.schema {
            Stored::Avro(json) => json,
            Stored::Unusable(reason) => return Err(anyhow!("version {} of {subject}: {reason}", version.version)),
        };
        let schema = Schema::parse_str(json)
            .map_err(|error| anyhow!("version {} of {subject} is no Avro schema: {error}", version.version))?;
        let demand = if demand.every_version || newest == Some(version.version) { demand } else { demand.nothing() };
        let new_name = short(text);
        let ends = (End { name: &new_name, schema: &text.schema }, End { name: &name, schema: &schema });
        found.extend(findings(&text.label, &name, ends.0, ends.1, demand)?);
    }
    if let Some(verdict) = registry.judge(subject, &text.json).await? {
        found.push(Finding {
            schema: text.label.clone(),
            against: subject.to_owned(),
            direction: Direction::Registry,
            compatible: verdict.is_compatible,
            demanded: true,
            field: None,
            reason: (!verdict.is_compatible).then(|| match verdict.messages.as_slice() {
                [] => "the registry would refuse it, and does not say why".to_owned(),
                messages => messages.join("; "),
            }),
        });
    }
    Ok(found)
}
