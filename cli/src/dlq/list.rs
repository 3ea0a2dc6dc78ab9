//! `tickstream dlq list`: the letters in groups, each with its count and its time; or one by one, printed while they are read.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use serde::Serialize;

use super::letter::Letter;
use super::marks::{Marks, State};
use super::reading::{Known, Source};
use super::reason::shape;
use super::selection::{Coordinates, Selection};
use crate::output::{self, Align, Format, OutputArgs, Pages};

/// Rows that are printed at once.
const PAGE: usize = 500;

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    selection: Selection,
    /// Only those that stand so, separated by commas.
    #[arg(long = "state", env = "DLQ_STATE", value_enum, value_delimiter = ',', value_name = "STATE")]
    states: Vec<State>,
    /// A line for each letter, in the order in which they were written.
    #[arg(long, env = "DLQ_EACH")]
    each: bool,
    /// So many lines at most.
    #[arg(long, env = "DLQ_LIMIT", value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(args: ListArgs) -> anyhow::Result<()> {
    args.selection.check()?;
    let known = Known::ask(&args.kafka, &args.selection.topics).await?;
    let marks = known.marks().await?;
    if marks.unreadable > 0 {
        output::note(&format!("{} marks of what is settled cannot be read by this version", marks.unreadable));
    }
    let limit = args.limit.unwrap_or(u64::MAX);
    if args.each { each(&args, &known, &marks, limit).await } else { groups(&args, &known, &marks, limit).await }
}

impl ListArgs {
    /// How the letter stands, where it is meant.
    fn takes(&self, source: &Source, letter: &Letter, marks: &Marks) -> Option<State> {
        let state = marks.state(letter, source.topic_id);
        (self.selection.takes(letter) && (self.states.is_empty() || self.states.contains(&state))).then_some(state)
    }
}

/// Letters of one fault. Times are of the letters.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Group {
    topic: String,
    group: String,
    state: State,
    letters: u64,
    first: Timestamp,
    last: Timestamp,
    /// As it stands in each of them, or with `…` for what differs.
    reason: String,
}

const GROUP_FIELDS: [&str; 7] = ["topic", "group", "state", "letters", "first", "last", "reason"];

#[derive(Default)]
struct Groups(BTreeMap<(String, String, State, String), Group>);

impl Groups {
    fn add(&mut self, topic: &str, state: State, letter: &Letter) {
        let shape = shape(&letter.reason);
        let at = time(letter.at_ms);
        let key = (topic.to_owned(), letter.group.clone(), state, shape);
        if let Some(group) = self.0.get_mut(&key) {
            group.letters += 1;
            (group.first, group.last) = (group.first.min(at), group.last.max(at));
            if group.reason != letter.reason {
                group.reason = key.3;
            }
            return;
        }
        let group = Group {
            topic: topic.to_owned(),
            group: letter.group.clone(),
            state,
            letters: 1,
            first: at,
            last: at,
            reason: letter.reason.clone(),
        };
        self.0.insert(key, group);
    }
}

async fn groups(args: &ListArgs, known: &Known, marks: &Marks, limit: u64) -> anyhow::Result<()> {
    let mut groups = Groups::default();
    for source in &known.sources {
        let read = source.read(&known.kafka, async |letters, _| {
            for letter in &letters {
                if let Some(state) = args.takes(source, letter, marks) {
                    groups.add(&source.topic, state, letter);
                }
            }
            Ok(())
        });
        let unreadable = read.await?;
        source.unreadable(unreadable).iter().for_each(|line| output::note(line));
    }
    let rows: Vec<Group> = groups.0.into_values().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
    output::print_rows(args.output.format, &GROUP_FIELDS, &rows, |rows| {
        let columns = [
            ("TOPIC", Align::Left),
            ("GROUP", Align::Left),
            ("STATE", Align::Left),
            ("LETTERS", Align::Right),
            ("FIRST", Align::Left),
            ("LAST", Align::Left),
            ("REASON", Align::Left),
        ];
        let row = |group: &Group| {
            vec![
                group.topic.clone(),
                group.group.clone(),
                group.state.as_str().to_owned(),
                group.letters.to_string(),
                group.first.to_string(),
                group.last.to_string(),
                group.reason.clone(),
            ]
        };
        output::table(&columns, &rows.iter().map(row).collect::<Vec<_>>())
    })
}

/// One letter of `--each`.
#[derive(Debug, Serialize)]
struct Each {
    /// Of the record.
    coordinates: String,
    group: String,
    state: State,
    /// When the letter was written.
    at: Timestamp,
    /// When the record was.
    record_at: Option<Timestamp>,
    reason: String,
}

const EACH_FIELDS: [&str; 6] = ["coordinates", "group", "state", "at", "record_at", "reason"];

const EACH_COLUMNS: [(&str, Align); 5] = [
    ("COORDINATES", Align::Left),
    ("GROUP", Align::Left),
    ("STATE", Align::Left),
    ("AT", Align::Left),
    ("REASON", Align::Left),
];

struct Printer {
    format: Format,
    page: Vec<Each>,
    table: Pages<'static>,
    begun: bool,
    left: u64,
    /// Nobody reads any more.
    is_over: bool,
}

impl Printer {
    fn print(&mut self, each: Each) -> anyhow::Result<()> {
        if self.left > 0 {
            self.left -= 1;
            self.page.push(each);
        }
        if self.page.len() < PAGE { Ok(()) } else { self.print_page() }
    }

    fn print_page(&mut self) -> anyhow::Result<()> {
        let is_first = !std::mem::replace(&mut self.begun, true);
        let text = match self.format {
            Format::Table => self.table.page(&self.page.iter().map(row).collect::<Vec<_>>()),
            Format::Json => {
                let objects: Result<Vec<String>, _> = self.page.iter().map(serde_json::to_string).collect();
                objects?.into_iter().map(|object| object + "\n").collect()
            }
            Format::Csv => output::csv(&EACH_FIELDS, is_first, &self.page)?,
        };
        self.page.clear();
        self.is_over = !output::print_piece(&text)?;
        Ok(())
    }
}

fn row(each: &Each) -> Vec<String> {
    let Each { coordinates, group, state, at, reason, .. } = each;
    vec![coordinates.clone(), group.clone(), state.as_str().to_owned(), at.to_string(), reason.clone()]
}

async fn each(args: &ListArgs, known: &Known, marks: &Marks, left: u64) -> anyhow::Result<()> {
    let (format, table) = (args.output.format, Pages::new(&EACH_COLUMNS));
    let mut printer = Printer { format, page: Vec::new(), table, begun: false, left, is_over: false };
    for source in &known.sources {
        if printer.is_over || printer.left == 0 {
            break;
        }
        let read = source.read(&known.kafka, async |letters, _| {
            for letter in letters {
                let Some(state) = args.takes(source, &letter, marks) else { continue };
                let Letter { place, group, reason, at_ms, record_ms, .. } = letter;
                let (topic, at, record_at) = (source.topic.to_string(), time(at_ms), record_ms.map(time));
                let coordinates = Coordinates { topic, partition: place.partition, offset: place.offset }.to_string();
                printer.print(Each { coordinates, group, state, at, record_at, reason })?;
            }
            // Page by page as they come: a person waits, and a closed pipe is seen early.
            if printer.page.is_empty() { Ok(()) } else { printer.print_page() }
        });
        let unreadable = read.await?;
        source.unreadable(unreadable).iter().for_each(|line| output::note(line));
    }
    if printer.begun { Ok(()) } else { printer.print_page() }
}

/// Milliseconds from 1970; a time that none is, is the nearest.
pub fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::letter::Place;
    use super::*;

    fn letter(at_ms: i64, reason: &str) -> Letter {
        Letter {
            place: Place { topic_id: Uuid::nil(), partition: 0, offset: at_ms },
            group: "db".to_owned(),
            reason: reason.to_owned(),
            at_ms,
            record_ms: None,
            headers: Vec::new(),
            row: 0,
        }
    }

    #[test]
    fn a_group_has_its_reason_in_full_while_there_is_only_one() {
        let mut groups = Groups::default();
        for letter in [letter(5000, "has 257 bytes"), letter(3000, "has 257 bytes"), letter(4000, "no value")] {
            groups.add("t", State::Open, &letter);
        }
        let told = |groups: &Groups| {
            let line =
                |group: &Group| (group.letters, group.first.to_string(), group.last.to_string(), group.reason.clone());
            groups.0.values().map(line).collect::<Vec<_>>()
        };
        let [three, four, five] = [3, 4, 5].map(|second| format!("1970-01-01T00:00:0{second}Z"));
        let no_value = (1, four.clone(), four.clone(), "no value".to_owned());
        assert_eq!(told(&groups), [(2, three.clone(), five.clone(), "has 257 bytes".to_owned()), no_value.clone()]);
        groups.add("t", State::Open, &letter(4500, "has 300 bytes"));
        assert_eq!(told(&groups), [(3, three, five, "has … bytes".to_owned()), no_value]);
        groups.add("t", State::Dropped, &letter(4500, "has 300 bytes"));
        assert_eq!(groups.0.len(), 3);
    }

    #[test]
    fn a_time_that_is_none_is_no_panic() {
        assert_eq!([time(i64::MIN), time(i64::MAX)], [Timestamp::MIN, Timestamp::MAX]);
    }
}
