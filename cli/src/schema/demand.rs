//! What a comparison must hold to, and what it found.

use serde::Serialize;

use super::Compatibility;
use super::compatibility::{End, problems};
use crate::output::{self, Align};

/// Which directions must hold, and against which versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    backward: bool,
    forward: bool,
    /// Against every version, not the newest alone.
    pub every_version: bool,
}

impl From<Compatibility> for Demand {
    fn from(compatibility: Compatibility) -> Self {
        let (backward, forward) = match compatibility {
            Compatibility::Backward => (true, false),
            Compatibility::Forward => (false, true),
            Compatibility::Full => (true, true),
            Compatibility::None => (false, false),
        };
        Self { backward, forward, every_version: true }
    }
}

impl Demand {
    /// A registry's level, such as `FULL_TRANSITIVE`; nothing for a word that is none.
    pub fn of_level(level: &str) -> Option<Self> {
        let (direction, every_version) = match level.strip_suffix("_TRANSITIVE") {
            Some(direction) => (direction, true),
            None => (level, false),
        };
        let compatibility = match direction {
            "BACKWARD" => Compatibility::Backward,
            "FORWARD" => Compatibility::Forward,
            "FULL" => Compatibility::Full,
            "NONE" => Compatibility::None,
            _ => return None,
        };
        Some(Self { every_version, ..compatibility.into() })
    }

    pub fn nothing(self) -> Self {
        Self { backward: false, forward: false, ..self }
    }

    fn demands(self, direction: Direction) -> bool {
        match direction {
            Direction::Backward => self.backward,
            Direction::Forward => self.forward,
            Direction::Version | Direction::Registry => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The new schema reads what the old one wrote.
    Backward,
    /// The old schema reads what the new one writes.
    Forward,
    /// A version that was written stays as it is.
    Version,
    /// The registry's own word.
    Registry,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Backward => "backward",
            Self::Forward => "forward",
            Self::Version => "version",
            Self::Registry => "registry",
        }
    }
}

/// One line of the answer: a direction that holds, or one thing that is in its way.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub schema: String,
    pub against: String,
    pub direction: Direction,
    pub compatible: bool,
    pub demanded: bool,
    pub field: Option<String>,
    pub reason: Option<String>,
}

pub const HEADINGS: [&str; 7] = ["schema", "against", "direction", "compatible", "demanded", "field", "reason"];

impl Finding {
    pub fn breaks(&self) -> bool {
        self.demanded && !self.compatible
    }

    pub fn as_line(&self) -> String {
        let field = self.field.as_ref().map(|field| format!("field {field}: ")).unwrap_or_default();
        let reason = self.reason.as_deref().unwrap_or("no reason was given");
        format!("{} against {}, {}: {field}{reason}", self.schema, self.against, self.direction.name())
    }
}

/// Both directions between a schema and an older one. The ends' names stand in the reasons.
pub fn findings(
    schema: &str,
    against: &str,
    new: End<'_>,
    old: End<'_>,
    demand: Demand,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (direction, found) in [(Direction::Backward, problems(old, new)?), (Direction::Forward, problems(new, old)?)] {
        let finding = |field: Option<String>, reason: Option<String>| Finding {
            schema: schema.to_owned(),
            against: against.to_owned(),
            direction,
            compatible: reason.is_none(),
            demanded: demand.demands(direction),
            field,
            reason,
        };
        if found.is_empty() {
            findings.push(finding(None, None));
        }
        findings.extend(found.into_iter().map(|problem| {
            let field = Some(problem.field).filter(|field| !field.is_empty());
            finding(field, Some(problem.reason))
        }));
    }
    Ok(findings)
}

pub fn as_table(findings: &[Finding]) -> String {
    let row = |finding: &Finding| {
        let result = match (finding.compatible, finding.demanded) {
            (true, _) => "ok",
            (false, true) => "BREAKS",
            (false, false) => "breaks, allowed",
        };
        vec![
            finding.schema.clone(),
            finding.against.clone(),
            finding.direction.name().to_owned(),
            result.to_owned(),
            finding.field.clone().unwrap_or_default(),
            finding.reason.clone().unwrap_or_default(),
        ]
    };
    let columns = ["SCHEMA", "AGAINST", "DIRECTION", "RESULT", "FIELD", "REASON"].map(|name| (name, Align::Left));
    output::table(&columns, &findings.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use apache_avro::Schema;

    use super::*;

    #[test]
    fn a_level_says_directions_and_versions() {
        let level = |text| Demand::of_level(text).map(|demand| (demand.backward, demand.forward, demand.every_version));
        assert_eq!(level("BACKWARD"), Some((true, false, false)));
        assert_eq!(level("FORWARD_TRANSITIVE"), Some((false, true, true)));
        assert_eq!(level("FULL"), Some((true, true, false)));
        assert_eq!(level("NONE"), Some((false, false, false)));
        assert_eq!(level("SIDEWAYS"), None);
    }

    #[test]
    fn only_what_is_demanded_breaks() {
        let schema = |symbols: &str| {
            let json = format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]}}"#);
            Schema::parse_str(&json).expect("a schema")
        };
        let (old, new) = (schema(r#""A""#), schema(r#""A","B""#));
        let check = |compatibility: Compatibility| {
            let ends = (End { name: "v2", schema: &new }, End { name: "v1", schema: &old });
            findings("e v2", "v1", ends.0, ends.1, compatibility.into()).expect("resolves")
        };
        let found = check(Compatibility::Backward);
        assert_eq!(
            found.iter().map(|one| (one.compatible, one.demanded)).collect::<Vec<_>>(),
            [(true, true), (false, false)]
        );
        assert!(!found.iter().any(Finding::breaks) && check(Compatibility::Full)[1].breaks());
        assert!(!check(Compatibility::None).iter().any(Finding::breaks));
        assert_eq!(
            found[1].as_line(),
            "e v2 against v1, forward: v2 may write B, which v1 does not know and has no default for"
        );
        assert!(as_table(&found).contains("breaks, allowed"), "{}", as_table(&found));
    }
}
