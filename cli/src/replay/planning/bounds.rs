//! Where a replay begins and ends, as a person says it: times, offsets, a shift, or the file that Kafka's own tool exports.
//! Pure, but for reading that file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{ArgGroup, Args};
use jiff::{Span, SpanRelativeTo, Timestamp};
use pipeline::misconfigured;

use crate::groups::Place;
use crate::moment;

#[derive(Args, Clone, Debug, Default)]
#[command(group = ArgGroup::new("begin").required(true).multiple(false))]
pub struct BoundsArgs {
    /// Begin with the first record that the broker took at this time or later, such as 2026-11-22T13:00:00Z, -2h or yesterday.
    #[arg(long, group = "begin", env = "REPLAY_FROM_DATETIME", value_name = "TIME", allow_hyphen_values = true, value_parser = moment::parse)]
    pub from_datetime: Option<Timestamp>,
    /// Begin so long ago, such as 2h, 90m or P1DT12H.
    #[arg(long, group = "begin", env = "REPLAY_BY_DURATION", value_name = "DURATION", value_parser = before_now)]
    pub by_duration: Option<Timestamp>,
    /// Begin at these offsets, separated by commas; partitions that are not named are left alone.
    #[arg(
        long,
        group = "begin",
        env = "REPLAY_FROM_OFFSET",
        value_delimiter = ',',
        value_name = "TOPIC:PARTITION=OFFSET"
    )]
    pub from_offset: Vec<PlacedOffset>,
    /// Begin with the first record that the topic still has.
    #[arg(long, group = "begin", env = "REPLAY_FROM_EARLIEST")]
    pub from_earliest: bool,
    /// Set a group behind the last record: what it has not read is passed over.
    #[arg(long, group = "begin", env = "REPLAY_TO_LATEST")]
    pub to_latest: bool,
    /// Set a group where it is: behind the last record where it has committed nothing.
    #[arg(long, group = "begin", env = "REPLAY_TO_CURRENT")]
    pub to_current: bool,
    /// Set a group so many offsets before (-1000) or behind (1000) where it is, within what the topic has.
    #[arg(long, group = "begin", env = "REPLAY_SHIFT_BY", value_name = "OFFSETS", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
    /// Begin at the offsets in this file: `topic,partition,offset` or `group,topic,partition,offset` a line, as
    /// `kafka-consumer-groups --export` writes it.
    #[arg(long, group = "begin", env = "REPLAY_FROM_FILE", value_name = "CSV")]
    pub from_file: Option<PathBuf>,
    /// End before the first record that the broker took at this time or later. Unset, the end is that of the topic now.
    #[arg(long, env = "REPLAY_TO_DATETIME", value_name = "TIME", allow_hyphen_values = true, value_parser = moment::parse, conflicts_with = "to_offset")]
    pub to_datetime: Option<Timestamp>,
    /// End before these offsets, separated by commas.
    #[arg(long, env = "REPLAY_TO_OFFSET", value_delimiter = ',', value_name = "TOPIC:PARTITION=OFFSET")]
    pub to_offset: Vec<PlacedOffset>,
}

/// Where each partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    At(Timestamp),
    Offsets(Offsets),
    Earliest,
    Latest,
    Current,
    Shift(i64),
    /// Of each group its own.
    OfGroups(BTreeMap<String, Offsets>),
}

/// And where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Now,
    At(Timestamp),
    Offsets(Offsets),
}

pub type Offsets = BTreeMap<Place, i64>;

/// `market.ticks.v1:0=42`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedOffset {
    place: Place,
    offset: i64,
}

impl FromStr for PlacedOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "expected TOPIC:PARTITION=OFFSET, such as market.ticks.v1:0=42".to_owned();
        let (place, offset) = text.trim().rsplit_once('=').ok_or_else(wanted)?;
        let (topic, partition) = place.rsplit_once(':').ok_or_else(wanted)?;
        let partition: i32 = partition.parse().map_err(|_| wanted())?;
        let offset: i64 = offset.parse().map_err(|_| wanted())?;
        if topic.is_empty() || partition < 0 || offset < 0 {
            return Err(wanted());
        }
        Ok(Self { place: (topic.to_owned(), partition), offset })
    }
}

fn before_now(text: &str) -> Result<Timestamp, String> {
    let wanted = || "expected a length of time, such as 2h, 90m or P1DT12H".to_owned();
    let span: Span = text.trim().parse().map_err(|_| wanted())?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wanted())?;
    if span.is_negative() {
        return Err(format!("{text} lies ahead: it is counted back from now, so write it without the minus"));
    }
    Timestamp::now().checked_sub(span).map_err(|_| wanted())
}

impl BoundsArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] for a file that cannot be used, a place that is named twice, an end before the beginning.
    pub fn begin(&self) -> anyhow::Result<Begin> {
        let at = self.from_datetime.or(self.by_duration);
        if let (Some(from), Some(to)) = (at, self.to_datetime)
            && to <= from
        {
            return Err(misconfigured(format!(
                "the end, {to} (--to-datetime), is not after the beginning, {from}: nothing lies between them"
            )));
        }
        if let Some(at) = at {
            return Ok(Begin::At(at));
        }
        if let Some(path) = &self.from_file {
            return from_file(path);
        }
        Ok(match self.shift_by {
            Some(by) => Begin::Shift(by),
            None if self.from_earliest => Begin::Earliest,
            None if self.to_latest => Begin::Latest,
            None if self.to_current => Begin::Current,
            None => Begin::Offsets(once("--from-offset", &self.from_offset)?),
        })
    }

    /// # Errors
    /// [`pipeline::Misconfigured`] for a place that is named twice.
    pub fn end(&self) -> anyhow::Result<End> {
        Ok(match self.to_datetime {
            Some(at) => End::At(at),
            None if self.to_offset.is_empty() => End::Now,
            None => End::Offsets(once("--to-offset", &self.to_offset)?),
        })
    }
}

fn once(flag: &str, placed: &[PlacedOffset]) -> anyhow::Result<Offsets> {
    let mut offsets = Offsets::new();
    for PlacedOffset { place, offset } in placed {
        if offsets.insert(place.clone(), *offset).is_some() {
            return Err(misconfigured(format!("{flag} names {}[{}] twice", place.0, place.1)));
        }
    }
    Ok(offsets)
}

fn from_file(path: &Path) -> anyhow::Result<Begin> {
    let bytes = std::fs::read(path)
        .map_err(|error| misconfigured(format!("--from-file {} cannot be read: {error}", path.display())))?;
    read(&bytes).map_err(|why| misconfigured(format!("--from-file {}: {why}", path.display())))
}

/// Kafka's tool leaves the group out where it was told one group only.
fn read(bytes: &[u8]) -> Result<Begin, String> {
    let wanted = "topic,partition,offset or group,topic,partition,offset is expected";
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut groups: BTreeMap<Option<String>, Offsets> = BTreeMap::new();
    for (line, row) in (1..).zip(reader.records()) {
        let row = row.map_err(|error| format!("line {line}: {error}"))?;
        let fields: Vec<&str> = row.iter().map(str::trim).collect();
        let (group, topic, partition, offset) = match *fields {
            [topic, partition, offset] => (None, topic, partition, offset),
            [group, topic, partition, offset] => (Some(group.to_owned()), topic, partition, offset),
            _ => return Err(format!("line {line} has {} fields: {wanted}", fields.len())),
        };
        let placed: PlacedOffset = format!("{topic}:{partition}={offset}")
            .parse()
            .map_err(|_| format!("line {line} is {}: {wanted}", fields.join(",")))?;
        if groups.entry(group).or_default().insert(placed.place, placed.offset).is_some() {
            return Err(format!("line {line} names {topic}[{partition}] again"));
        }
    }
    let of_all = groups.remove(&None);
    match (of_all, groups.is_empty()) {
        (None, true) => Err("it has no line".to_owned()),
        (Some(offsets), true) => Ok(Begin::Offsets(offsets)),
        (None, false) => {
            Ok(Begin::OfGroups(groups.into_iter().filter_map(|(group, offsets)| Some((group?, offsets))).collect()))
        }
        (Some(_), false) => Err(format!("some lines name a group, and some do not: {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bounds: BoundsArgs,
    }

    fn begin(arguments: &[&str]) -> Result<Begin, String> {
        let cli = Cli::try_parse_from([&["x"], arguments].concat()).map_err(|error| error.to_string())?;
        cli.bounds.begin().map_err(|error| error.to_string())
    }

    fn offsets(of: &[(&str, i32, i64)]) -> Offsets {
        of.iter().map(|(topic, partition, offset)| (((*topic).to_owned(), *partition), *offset)).collect()
    }

    #[test]
    fn a_beginning_is_said_once() {
        assert_eq!(begin(&["--shift-by", "-5"]), Ok(Begin::Shift(-5)));
        assert_eq!(begin(&["--from-earliest"]), Ok(Begin::Earliest));
        let named = begin(&["--from-offset", "a:b:0=5,a:b:1=7"]);
        assert_eq!(named, Ok(Begin::Offsets(offsets(&[("a:b", 0, 5), ("a:b", 1, 7)]))));
        let duration = |text| match begin(&["--by-duration", text]) {
            Ok(Begin::At(at)) => Timestamp::now().duration_since(at).as_secs(),
            other => panic!("{other:?}"),
        };
        assert!((7200..7300).contains(&duration("2h")) && (129_600..129_700).contains(&duration("P1DT12H")));
        for (arguments, says) in [
            (&["--from-offset", "t:0=5,t:0=6"][..], "--from-offset names t[0] twice"),
            (&["--from-offset", "t=5"], "expected TOPIC:PARTITION=OFFSET"),
            (&["--from-offset", "t:0=-5"], "expected TOPIC:PARTITION=OFFSET"),
            (&["--by-duration=-2h"], "lies ahead"),
            (&["--by-duration", "soon"], "expected a length of time"),
            (&[], "required"),
            (&["--from-earliest", "--to-latest"], "cannot be used with"),
            (
                &["--from-datetime", "2026-11-22T13:00Z", "--to-datetime", "2026-11-22T13:00Z"],
                "is not after the beginning, 2026-11-22T13:00:00Z: nothing lies between them",
            ),
            (&["--from-file", "/nowhere.csv"], "--from-file /nowhere.csv cannot be read"),
        ] {
            let error = begin(arguments).expect_err("refused");
            assert!(error.contains(says), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn the_file_of_kafka_s_tool_is_read() {
        assert_eq!(read(b"t,0,5\n\"t\",1,7\n"), Ok(Begin::Offsets(offsets(&[("t", 0, 5), ("t", 1, 7)]))));
        let of_groups =
            BTreeMap::from([("a".to_owned(), offsets(&[("t", 0, 5)])), ("b,c".to_owned(), offsets(&[("t", 0, 6)]))]);
        assert_eq!(read(b"a,t,0,5\r\n\"b,c\",t,0,6"), Ok(Begin::OfGroups(of_groups)));
        for (text, says) in [
            ("", "it has no line"),
            ("t,0\n", "line 1 has 2 fields"),
            ("t,0,5\nt,zero,5\n", "line 2 is t,zero,5: topic,partition,offset or"),
            ("t,0,5\nt,0,6\n", "line 2 names t[0] again"),
            ("t,0,5\ng,t,0,6\n", "some lines name a group, and some do not"),
        ] {
            let why = read(text.as_bytes()).expect_err("refused");
            assert!(why.starts_with(says), "{text:?}: {why}");
        }
    }
}
