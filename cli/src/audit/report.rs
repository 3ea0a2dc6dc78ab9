//! What an audit found, as JSON for programs and as text for people. `None` (JSON null) means "not looked at", never zero.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::output::{Align, csv, size, table};

/// The answer of `tickstream audit -o json`:
///
/// ```json
/// {
///   "equal": true,
///   "not_audited": [],
///   "pending": [],
///   "differences": ["market.ticks.v1[0]: 12 records from offset 88 on are not in the lake yet"],
///   "totals": {"delivered": 9, "lake_records": 9, "lake_objects": 2, "bronze_rows": 8, "dead_letters": 1,
///              "distinct_event_ids": 8, "postgres_rows": 8, "differences": 0},
///   "kinds": {"lake": 1, "letters": 0, "deep": 0, "silver": 0, "gold": 0, "database": 0, "candles": 0, "latest": 0, "gaps": 0},
///   "dead_letters": {"open": 1, "redriven": 0, "dropped": 0},
///   "topics": [{"topic": "market.ticks.v1", "delivered": 9, "lake_records": 9, "lake_objects": 2, "bronze_rows": 8,
///               "dead_letters_lake": 1}],
///   "partitions": [{"topic": "market.ticks.v1", "partition": 0, "log_start": 0, "log_end": 10, "delivered": 9,
///                   "lake_records": 9, "lake_records_older": 0, "lake_objects": 2, "bronze_rows": 8,
///                   "dead_letters_lake": 1, "accepted_holes": [], "differences": []}],
///   "older_chains": 0,
///   "database": {"topic": "market.ticks.v1", "decoded": 8, "undecodable": 1, "dead_letters_db": 1,
///                "distinct_event_ids": 8, "retired_events": 0, "postgres_rows": 8, "rows_older": 0, "rows_newer": 0,
///                "rows_taken_since": 0, "differences": []},
///   "tables": [{"topic": "market.gaps.v1", "decoded": 2, …}],
///   "refined": {"bronze_objects": 2, "silver_objects": 1, "silver_rows": 8, "gold_objects": 7, "hours_compared": 0,
///               "rows_compared": 0, "hours_remade": 0, "candles_remade": 0, "pending": [], "differences": []},
///   "deep": {"raw_objects": 2, "raw_bytes": 9313, "bronze_objects": 2, "bronze_bytes": 12409, "compared_with_topic": 9,
///            "without_checksum": 0, "older_versions": 0, "newer_versions": 0, "faults": 0}
/// }
/// ```
///
/// Exit codes: 0 equal; 1 at least one difference; 2 a part could not be audited (`not_audited` says which and why), or a
/// mistake in the arguments, and then nothing is printed. Totals cover all audited topics, dead-letter topics included
/// (those have no bronze). Fields of a part that was not looked at are null.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// No difference, and nothing left out but by `--only` or `--topic`.
    pub equal: bool,
    /// Parts that were asked for and could not be reached, with the reason.
    pub not_audited: Vec<String>,
    /// What is under way and not late: no differences.
    pub pending: Vec<String>,
    /// Every difference, one plain line each.
    pub differences: Vec<String>,
    /// How many of them there are of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    pub totals: Totals,
    /// The dead letters of the totals, by what was done about them.
    pub dead_letters: DeadLetters,
    pub topics: Vec<TopicReport>,
    pub partitions: Vec<PartitionReport>,
    /// Chains of topics as they once were, by an earlier id or in another cluster: looked at for being whole and closed.
    pub older_chains: u64,
    /// The comparison of market.ticks.v1 with the table `ticks`.
    pub database: Option<DatabaseReport>,
    /// The comparisons of the other topics whose events are rows of a table.
    pub tables: Vec<DatabaseReport>,
    /// Silver and gold beside what they list. Null, too, where no refiner has ever been at work.
    pub refined: Option<RefinedReport>,
    /// The objects of the lake, opened (`--deep`). Its faults are among the differences.
    pub deep: Option<DeepReport>,
}

#[derive(Debug, Default, Serialize)]
pub struct Totals {
    pub delivered: u64,
    pub lake_records: Option<u64>,
    pub lake_objects: Option<u64>,
    pub bronze_rows: Option<u64>,
    /// Records of the audited topics that are a dead letter of either consumer, each counted once.
    pub dead_letters: u64,
    pub distinct_event_ids: Option<u64>,
    pub postgres_rows: Option<u64>,
    pub differences: usize,
}

#[derive(Debug, Default, Serialize)]
pub struct DeadLetters {
    /// Nothing: `tickstream dlq` has what can be.
    pub open: u64,
    /// The record stands again in its topic, as another record.
    pub redriven: u64,
    /// A person has dealt with them.
    pub dropped: u64,
}

#[derive(Debug, Serialize)]
pub struct TopicReport {
    pub topic: String,
    pub delivered: u64,
    pub lake_records: Option<u64>,
    pub lake_objects: Option<u64>,
    pub bronze_rows: Option<u64>,
    pub dead_letters_lake: u64,
}

#[derive(Debug, Serialize)]
pub struct PartitionReport {
    pub topic: String,
    pub partition: i32,
    /// First offset that the topic still holds.
    pub log_start: i64,
    /// Read up to here, exclusive: the last stable offset when the audit began, or the end of the lake object across it.
    pub log_end: i64,
    /// Records that a read-committed consumer is given in that range: no transaction markers, nothing aborted.
    pub delivered: u64,
    /// Records in the lake's chain within that range.
    pub lake_records: Option<u64>,
    /// Records in the walked part of the chain that the topic no longer holds.
    pub lake_records_older: Option<u64>,
    /// Raw objects walked.
    pub lake_objects: Option<u64>,
    /// Rows in the bronze objects of the walked raw objects; null for a topic without bronze.
    pub bronze_rows: Option<u64>,
    /// Distinct records in the range that are dead letters of the lake's group.
    pub dead_letters_lake: u64,
    /// First and last offset of each stretch that retention removed before the lake had it, and that a person accepted as lost.
    pub accepted_holes: Vec<[i64; 2]>,
    /// Where the lake begins with this partition, if that is above 0: what is below was gone by then.
    pub begins_above: Option<i64>,
    pub differences: Vec<String>,
}

/// A partition as CSV has it.
#[derive(Debug, Serialize)]
struct PartitionRow<'a> {
    topic: &'a str,
    partition: i32,
    log_start: i64,
    log_end: i64,
    delivered: u64,
    lake_records: Option<u64>,
    lake_records_older: Option<u64>,
    lake_objects: Option<u64>,
    bronze_rows: Option<u64>,
    dead_letters_lake: u64,
    differences: usize,
}

impl<'a> PartitionRow<'a> {
    const HEADINGS: [&'static str; 11] = [
        "topic",
        "partition",
        "log_start",
        "log_end",
        "delivered",
        "lake_records",
        "lake_records_older",
        "lake_objects",
        "bronze_rows",
        "dead_letters_lake",
        "differences",
    ];

    fn new(partition: &'a PartitionReport) -> Self {
        Self {
            topic: &partition.topic,
            partition: partition.partition,
            log_start: partition.log_start,
            log_end: partition.log_end,
            delivered: partition.delivered,
            lake_records: partition.lake_records,
            lake_records_older: partition.lake_records_older,
            lake_objects: partition.lake_objects,
            bronze_rows: partition.bronze_rows,
            dead_letters_lake: partition.dead_letters_lake,
            differences: partition.differences.len(),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct DatabaseReport {
    pub topic: String,
    /// Records that decode, repetitions and revisions counted each.
    pub decoded: u64,
    pub undecodable: u64,
    /// Distinct records in the range that are dead letters of the database's group.
    pub dead_letters_db: u64,
    /// Distinct event ids of decoded records that are not dead letters, without those of dropped days: the rows that there
    /// should be.
    pub distinct_event_ids: u64,
    /// Further events, of days that retention has dropped.
    pub retired_events: u64,
    /// Rows of events that the topic holds, and rows that claim to come from the range and do not.
    pub postgres_rows: u64,
    /// Rows of events that the topic no longer holds.
    pub rows_older: u64,
    /// Rows of records beyond `log_end`.
    pub rows_newer: u64,
    /// Rows of records that are dead letters of the database's group, and that it could take when it read them again.
    pub rows_taken_since: u64,
    pub differences: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct RefinedReport {
    /// That silver and gold can be made of.
    pub bronze_objects: u64,
    pub silver_objects: u64,
    /// Rows of silver's ticks.
    pub silver_rows: u64,
    pub gold_objects: u64,
    /// Hours of silver's ticks that were held against Postgres row by row, and the rows that are the same in both.
    pub hours_compared: u64,
    pub rows_compared: u64,
    /// Hours of silver's ticks that were made again from their bronze, and candles of gold that were from silver (`--deep`).
    pub hours_remade: u64,
    pub candles_remade: u64,
    /// What the refiner has not come to yet.
    pub pending: Vec<String>,
    pub differences: Vec<String>,
}

impl RefinedReport {
    pub fn add(&mut self, key: &str, rows: u64) {
        if key.starts_with("gold/") {
            self.gold_objects += 1;
        } else {
            self.silver_objects += 1;
        }
        if key.starts_with("silver/ticks/") {
            self.silver_rows += rows;
        }
    }

    fn as_text(&self) -> String {
        let mut text = format!(
            "{} objects of silver ({} ticks) and {} of gold beside {} of bronze",
            self.silver_objects, self.silver_rows, self.gold_objects, self.bronze_objects
        );
        if self.hours_compared > 0 {
            text.push_str(&format!(
                "; {} hours beside Postgres, {} rows the same in both",
                self.hours_compared, self.rows_compared
            ));
        }
        if self.hours_remade + self.candles_remade > 0 {
            text.push_str(&format!(
                "; {} hours of ticks and {} candles made again",
                self.hours_remade, self.candles_remade
            ));
        }
        text
    }
}

#[derive(Debug, Default, Serialize)]
pub struct DeepReport {
    pub raw_objects: u64,
    pub raw_bytes: u64,
    pub bronze_objects: u64,
    pub bronze_bytes: u64,
    /// Records of raw objects that are, byte for byte, those that the topic has.
    pub compared_with_topic: u64,
    /// Raw objects whose metadata has no checksum: copies that lost it. What they hold was looked at all the same.
    pub without_checksum: u64,
    /// Bronze objects of another decoder version, which this one cannot make again to compare.
    pub older_versions: u64,
    pub newer_versions: u64,
    pub faults: u64,
}

impl DeepReport {
    fn as_text(&self) -> String {
        let mut text = format!(
            "{} raw objects ({}) and {} bronze objects ({}) opened, {} records beside the topic's, {} faults",
            self.raw_objects,
            size(self.raw_bytes),
            self.bronze_objects,
            size(self.bronze_bytes),
            self.compared_with_topic,
            self.faults
        );
        for (count, what) in [
            (self.without_checksum, "raw objects have no checksum in their metadata"),
            (self.older_versions, "bronze objects are of an older decoder"),
            (self.newer_versions, "bronze objects are of a newer decoder"),
        ] {
            if count > 0 {
                text.push_str(&format!("; {count} {what}"));
            }
        }
        text
    }
}

/// What a difference is of.
pub const KINDS: [&str; 9] = ["lake", "letters", "deep", "silver", "gold", "database", "candles", "latest", "gaps"];

impl Report {
    /// Keeps a part that could be reached, notes one that could not.
    pub fn part<T>(&mut self, name: &str, result: anyhow::Result<T>) -> Option<T> {
        result.map_err(|error| self.not_audited.push(format!("{name}: {error:#}"))).ok()
    }

    /// Something that should not be so.
    pub fn differ(&mut self, kind: &'static str, line: String) {
        *self.kinds.entry(kind).or_default() += 1;
        self.differences.push(line);
    }

    pub fn differ_all(&mut self, kind: &'static str, lines: impl IntoIterator<Item = String>) {
        lines.into_iter().for_each(|line| self.differ(kind, line));
    }

    /// Adds up. Call once, last.
    pub fn finish(mut self) -> Self {
        for kind in KINDS {
            self.kinds.entry(kind).or_default();
        }
        let totals = &mut self.totals;
        totals.delivered = self.topics.iter().map(|topic| topic.delivered).sum();
        totals.lake_records = sum(self.topics.iter().map(|topic| topic.lake_records));
        totals.lake_objects = sum(self.topics.iter().map(|topic| topic.lake_objects));
        totals.bronze_rows = sum(self.topics.iter().map(|topic| topic.bronze_rows));
        totals.distinct_event_ids = self.database.as_ref().map(|database| database.distinct_event_ids);
        totals.postgres_rows = self.database.as_ref().map(|database| database.postgres_rows);
        totals.differences = self.differences.len();
        self.equal = self.differences.is_empty() && self.not_audited.is_empty();
        self
    }

    /// A line a partition. The differences themselves are lines of text, and not in it.
    pub fn as_csv(&self) -> anyhow::Result<String> {
        let rows: Vec<PartitionRow<'_>> = self.partitions.iter().map(PartitionRow::new).collect();
        csv(&PartitionRow::HEADINGS, true, &rows)
    }

    pub fn as_text(&self) -> String {
        let mut text = if self.partitions.is_empty() { String::new() } else { self.partition_table() };
        if let Some(database) = &self.database {
            text.push_str(&format!(
                "\n{}: {} decoded, {} undecodable, {} dead letters of the database, {} distinct events; {} rows in Postgres",
                database.topic,
                database.decoded,
                database.undecodable,
                database.dead_letters_db,
                database.distinct_event_ids,
                database.postgres_rows
            ));
            if database.retired_events > 0 {
                text.push_str(&format!(" ({} more events are of days that were dropped)", database.retired_events));
            }
            if database.rows_older + database.rows_newer > 0 {
                text.push_str(&format!(
                    " ({} older than the topic, {} newer)",
                    database.rows_older, database.rows_newer
                ));
            }
            if database.rows_taken_since > 0 {
                text.push_str(&format!(" ({} besides that were dead letters once)", database.rows_taken_since));
            }
            text.push('\n');
        }
        let DeadLetters { open, redriven, dropped } = &self.dead_letters;
        if open + redriven + dropped > 0 {
            text.push_str(&format!(
                "Dead letters: {open} open, {redriven} redriven, {dropped} dropped (`tickstream dlq list`).\n"
            ));
        }
        let older: u64 = self.partitions.iter().filter_map(|partition| partition.lake_records_older).sum();
        if older > 0 {
            text.push_str(&format!("The lake holds {older} records besides that the topics no longer hold.\n"));
        }
        if self.older_chains > 0 {
            text.push_str(&format!("Besides, {} chains of earlier epochs were looked at.\n", self.older_chains));
        }
        for partition in &self.partitions {
            let (topic, number) = (&partition.topic, partition.partition);
            if let Some(first) = partition.begins_above {
                let last = first - 1;
                text.push_str(&format!(
                    "KNOWN LOST  {topic}[{number}]: offsets 0 to {last}, removed by retention before the lake began with them\n"
                ));
            }
            for [first, last] in &partition.accepted_holes {
                text.push_str(&format!(
                    "KNOWN LOST  {topic}[{number}]: offsets {first} to {last}, removed by retention before the lake had them, accepted\n"
                ));
            }
        }
        if let Some(refined) = &self.refined {
            text.push_str(&format!("REFINED  {}\n", refined.as_text()));
        }
        if let Some(deep) = &self.deep {
            text.push_str(&format!("DEEP  {}\n", deep.as_text()));
        }
        for line in &self.pending {
            text.push_str(&format!("PENDING  {line}\n"));
        }
        for part in &self.not_audited {
            text.push_str(&format!("NOT AUDITED  {part}\n"));
        }
        for line in &self.differences {
            text.push_str(&format!("DIFFERENCE  {line}\n"));
        }
        if self.equal {
            text.push_str(&format!("EQUAL  {}\n", self.what_is_equal()));
        }
        text
    }

    fn what_is_equal(&self) -> String {
        let totals = &self.totals;
        if self.topics.is_empty() && self.deep.is_none() {
            return "silver and gold are of what they list; no topic was read".to_owned();
        }
        if self.topics.is_empty() {
            return "the lake's objects are whole and agree with each other; no topic was read".to_owned();
        }
        let mut parts = vec![format!("{} records in the topics", totals.delivered)];
        if let Some(records) = totals.lake_records {
            parts[0].push_str(&format!(" = {records} in the lake"));
        }
        if let (Some(ids), Some(rows)) = (totals.distinct_event_ids, totals.postgres_rows) {
            parts.push(format!("{ids} distinct events = {rows} rows in Postgres"));
        }
        parts.join("; ")
    }

    fn partition_table(&self) -> String {
        let cell = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let row = |partition: &PartitionReport| {
            vec![
                partition.topic.clone(),
                partition.partition.to_string(),
                partition.log_start.to_string(),
                partition.log_end.to_string(),
                partition.delivered.to_string(),
                cell(partition.lake_records),
                cell(partition.lake_objects),
                cell(partition.bronze_rows),
                partition.dead_letters_lake.to_string(),
                if partition.differences.is_empty() { "ok".to_owned() } else { "DIFFERS".to_owned() },
            ]
        };
        let columns = [
            ("TOPIC", Align::Left),
            ("PARTITION", Align::Right),
            ("START", Align::Right),
            ("END", Align::Right),
            ("DELIVERED", Align::Right),
            ("LAKE", Align::Right),
            ("OBJECTS", Align::Right),
            ("BRONZE", Align::Right),
            ("DEAD", Align::Right),
            ("", Align::Left),
        ];
        table(&columns, &self.partitions.iter().map(row).collect::<Vec<_>>())
    }
}

/// The sum of what was looked at; `None` when nothing was.
pub fn sum(numbers: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    numbers.flatten().reduce(|a, b| a + b)
}
