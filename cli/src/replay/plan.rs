//! What a replay is going to do, as a file: which records of which partitions, out of where, into what. `replay plan` makes it,
//! a person reads it, `replay execute` does it, and the record of the replay keeps it. Invariant: a plan that is read is one
//! that was made here, unchanged: its digest is over everything else in it. Must never happen here: a plan whose offsets were
//! changed by hand and that is carried out.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use clap::ValueEnum;
use jiff::Timestamp;
use pipeline::misconfigured;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Of plans that this version makes and reads.
pub const VERSION: u32 = 1;
/// A schema, a prefix, a topic and a transactional id are called by it.
const LONGEST_NAME: usize = 31;
/// No plan comes near to it: a partition takes some 500 bytes.
const LARGEST: u64 = 64 << 20;
/// As the broker has it.
const LONGEST_TOPIC: usize = 249;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub version: u32,
    /// Of the replay, and of the generation that it makes.
    pub name: Name,
    pub made_at: Timestamp,
    pub cluster_id: String,
    pub mode: Mode,
    pub source: Source,
    /// Empty: all.
    pub symbols: Vec<String>,
    /// Whose payloads are read. Empty: everybody's.
    pub sources: Vec<String>,
    pub targets: Vec<Target>,
    /// The span that was asked for, where it was asked for in times; the end exclusive.
    pub from_time: Option<Timestamp>,
    pub to_time: Option<Timestamp>,
    /// For a rewind: what becomes of each group's offsets.
    pub groups: Vec<GroupOffsets>,
    /// By topic and partition.
    pub partitions: Vec<Stretch>,
    /// SHA-256 over all of the above, in hexadecimal digits.
    pub digest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "kebab-case")]
pub enum Mode {
    /// Set the offsets of stopped groups; the services read again and write what they lack.
    Rewind,
    /// Write a new generation beside the live one.
    SideBySide,
}

/// Where the records come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Topic,
    /// The raw objects, for what the topic no longer has.
    LakeRaw,
    /// What the sources said, read by today's parsers.
    Payloads,
    /// As `Payloads`, out of the raw objects.
    PayloadsLake,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::LakeRaw => "lake_raw",
            Self::Payloads => "payloads",
            Self::PayloadsLake => "payloads_lake",
        }
    }

    pub fn is_payloads(self) -> bool {
        matches!(self, Self::Payloads | Self::PayloadsLake)
    }
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Target {
    Lake,
    Db,
    Alerts,
    Topic(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lake" => Ok(Self::Lake),
            "db" => Ok(Self::Db),
            "alerts" => Ok(Self::Alerts),
            _ => match text.strip_prefix("topic:") {
                Some(name) if is_topic(name) => Ok(Self::Topic(name.to_owned())),
                Some(name) if !name.is_empty() => Err(format!(
                    "{name:?} is no name of a topic: letters, digits, '.', '_' and '-' are, at most {LONGEST_TOPIC} of them"
                )),
                _ => Err(format!("{text} is no target: lake, db, alerts or topic:NAME")),
            },
        }
    }
}

fn is_topic(name: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    (1..=LONGEST_TOPIC).contains(&name.len()) && name.chars().all(letter) && name != "." && name != ".."
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lake => f.write_str("lake"),
            Self::Db => f.write_str("db"),
            Self::Alerts => f.write_str("alerts"),
            Self::Topic(name) => write!(f, "topic:{name}"),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// `[a-z][a-z0-9_]{0,30}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let begins = text.starts_with(|letter: char| letter.is_ascii_lowercase());
        let goes_on = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        if !begins || text.len() > LONGEST_NAME || !text.chars().all(goes_on) {
            return Err(format!(
                "expected at most {LONGEST_NAME} lower-case letters, digits and _, a letter first, such as fix_kraken"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{text:?} is no name: {error}"))
    }
}

/// A group whose offsets are set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupOffsets {
    pub group: String,
    /// By topic and partition.
    pub offsets: Vec<GroupOffset>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupOffset {
    pub topic: String,
    pub partition: i32,
    /// When the plan was made; null where the group had committed nothing.
    pub committed: Option<i64>,
    pub new: i64,
}

/// Records of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    pub topic: String,
    pub topic_id: Uuid,
    pub partition: i32,
    pub from: i64,
    /// Exclusive.
    pub to: i64,
    /// The broker's time of the first record, and of the first one behind the last.
    pub from_time: Option<Timestamp>,
    pub to_time: Option<Timestamp>,
    /// Offsets from `from` to `to`: at least as many as records, since transaction markers take offsets too.
    pub records: u64,
    /// An estimate from the first records.
    pub bytes: u64,
    /// Where the log began and where its last stable offset was when the plan was made.
    pub log_start: i64,
    pub log_end: i64,
    /// How long until retention takes the record at `from`; null where none does, or where the topic no longer has it.
    pub margin_ms: Option<i64>,
}

impl Plan {
    /// With the digest of what is in it.
    #[must_use]
    pub fn seal(mut self) -> Self {
        self.digest = self.digest_of_the_rest();
        self
    }

    fn digest_of_the_rest(&self) -> String {
        let rest = Self { digest: String::new(), ..self.clone() };
        let json = serde_json::to_vec(&rest).expect("plain fields always serialize");
        Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// # Errors
    /// [`pipeline::Misconfigured`] for a file that is not there, is no plan, or was changed after it was made.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = text_of(path)
            .map_err(|error| misconfigured(format!("the plan {} cannot be read: {error}", path.display())))?;
        Self::parse(&text).map_err(|why| misconfigured(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let again = "make a new one with `tickstream replay plan`";
        let no_plan = |error| format!("this is no plan, or it was edited: {error}; {again}");
        let Versioned { version } = serde_json::from_str(text).map_err(no_plan)?;
        if version != VERSION {
            return Err(format!(
                "the plan is of version {version}, and this program carries out version {VERSION}; {again}"
            ));
        }
        let plan: Self = serde_json::from_str(text).map_err(no_plan)?;
        if plan.digest != plan.digest_of_the_rest() {
            return Err(format!("the plan was edited after it was made: its digest is of something else; {again}"));
        }
        Ok(plan)
    }

    /// As it is written into a file.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("plain fields always serialize");
        format!("{json}\n")
    }

    /// The stretches of one topic.
    pub fn of_topic<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Stretch> {
        self.partitions.iter().filter(move |stretch| stretch.topic == topic)
    }

    /// The topics that its records are copied into.
    pub fn copies(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|target| match target {
            Target::Topic(into) => Some(&**into),
            Target::Lake | Target::Db | Target::Alerts => None,
        })
    }

    /// Whether it copies and does nothing else.
    pub fn is_copy(&self) -> bool {
        self.copies().count() == self.targets.len()
    }

    /// All offsets.
    pub fn records(&self) -> u64 {
        self.partitions.iter().map(|stretch| stretch.records).sum()
    }

    pub fn has(&self, target: &Target) -> bool {
        self.targets.contains(target)
    }
}

/// What a file says that may be a plan. A pipe may be one, and so may be a device that has no end.
///
/// # Errors
/// When it cannot be read, is no text, or is larger than any plan.
pub fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than any plan"));
    }
    Ok(text)
}

#[cfg(test)]
impl Plan {
    /// Offsets 10 to 20 of each partition of market.ticks.v1, side by side into lake and database.
    pub fn example(name: &str) -> Self {
        let at: Timestamp = "2026-11-22T13:00:00Z".parse().expect("a time");
        let stretch = |partition| Stretch {
            topic: pipeline::topics::TICKS.to_owned(),
            topic_id: Uuid::from_u128(7),
            partition,
            from: 10,
            to: 20,
            from_time: Some(at),
            to_time: None,
            records: 10,
            bytes: 2000,
            log_start: 0,
            log_end: 100,
            margin_ms: Some(86_400_000),
        };
        let plan = Self {
            version: VERSION,
            name: name.parse().expect("a name"),
            made_at: at,
            cluster_id: "cluster".to_owned(),
            mode: Mode::SideBySide,
            source: Source::Topic,
            symbols: Vec::new(),
            sources: Vec::new(),
            targets: vec![Target::Lake, Target::Db],
            from_time: Some(at),
            to_time: None,
            groups: Vec::new(),
            partitions: (0..4).map(stretch).collect(),
            digest: String::new(),
        };
        plan.seal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_made_and_not_when_it_was_edited() {
        let plan = Plan { groups: vec![offsets()], ..Plan::example("fix_kraken") }.seal();
        let text = plan.to_json();
        assert_eq!(Plan::parse(&text), Ok(plan));
        let loose: String = text.lines().map(str::trim).collect();
        assert!(Plan::parse(&loose).is_ok(), "white space means nothing");
        for (from, to, says) in [
            ("\"from\": 10", "\"from\": 9", "edited after it was made"),
            ("\"new\": 7", "\"new\": 6", "edited after it was made"),
            ("\"fix_kraken\"", "\"fix_coinbase\"", "edited after it was made"),
            ("\"made_at\"", "\"made\"", "unknown field `made`"),
            ("\"fix_kraken\"", "\"Fix\"", "\"Fix\" is no name"),
            ("\"db\"", "\"database\"", "database is no target: lake, db"),
            ("\"version\": 1", "\"version\": 2", "version 2, and this program carries out version 1"),
            ("{", "", "this is no plan"),
        ] {
            let why = Plan::parse(&text.replacen(from, to, 1)).expect_err("refused");
            assert!(why.contains(says) && why.ends_with("`tickstream replay plan`"), "{why}");
        }
        assert!(Plan::parse("").is_err());
    }

    fn offsets() -> GroupOffsets {
        let offset = GroupOffset { topic: "t".to_owned(), partition: 0, committed: None, new: 7 };
        GroupOffsets { group: "consumer-db".to_owned(), offsets: vec![offset] }
    }

    #[test]
    fn a_plan_that_is_no_file_is_the_user_s_mistake() {
        let error = Plan::read(Path::new("/nowhere/plan.json")).expect_err("no file");
        assert_eq!(pipeline::exit_code(&error), 2);
        assert!(error.to_string().starts_with("the plan /nowhere/plan.json cannot be read: "), "{error}");
        let endless = Plan::read(Path::new("/dev/zero")).expect_err("it has no end").to_string();
        assert_eq!(endless, "the plan /dev/zero cannot be read: it is larger than any plan");
    }

    #[test]
    fn names_are_good_for_a_schema_a_prefix_and_a_topic() {
        assert!(["a", "fix_kraken", "g2", &"a".repeat(31)].iter().all(|name| name.parse::<Name>().is_ok()));
        assert!(
            ["", "A", "2g", "_a", "a-b", "a.b", "é", &"a".repeat(32)].iter().all(|name| name.parse::<Name>().is_err())
        );
        assert_eq!("topic:a.b".parse(), Ok(Target::Topic("a.b".to_owned())));
        for (name, says) in [
            ("", "is no target"),
            ("a/b", "\"a/b\" is no name of a topic"),
            ("..", "is no name of a topic"),
            ("a\n", "\"a\\n\" is no name"),
            ("a".repeat(250).as_str(), "at most 249"),
        ] {
            let why = format!("topic:{name}").parse::<Target>().expect_err("refused");
            assert!(why.contains(says), "{why}");
        }
    }
}
