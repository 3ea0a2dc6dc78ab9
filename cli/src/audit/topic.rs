//! One topic, audited: its ends, its chains in the lake, its records, its dead letters, its bronze, its rows. In that order:
//! the chain is listed before the topic is read, so each record can be counted into the object that should hold it.

mod letters;
mod partition;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use pipeline::decode::{Decoder, Ticks as TickColumns};
use pipeline::lake::{Epoch, table};
use pipeline::misconfigured;
use pipeline::registry::Registry;
use pipeline::store::Store;
use pipeline::stretches::{self, Stretch};
use pipeline::topic_id::TopicIds;
use pipeline::topics::{self, Topic};
use sqlx::PgConnection;
use uuid::Uuid;

use super::AuditArgs;
use super::chain::Chain;
use super::content;
use super::coverage::Coverage;
use super::database::{self, Of, Table, Told};
use super::deep::{self, Deep, Digests, Walk};
use super::lake::{self, AcceptedHole, Bronze, From, Place};
use super::letters::{Coordinates, Letters, orphans};
use super::older;
use super::report::{PartitionReport, Report, TopicReport, sum};
use super::retired::Retired;
use super::window::{Reached, State};
use crate::dlq::{Marks, Place as RecordPlace};
use crate::kafka::{Cluster, Ends, Metadata};

const WHEN_CUT: &str = "run the audit again";
/// How much earlier than its record a letter may seem to have come, by the clocks of two brokers.
const CLOCKS_MS: i64 = 3_600_000;
const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;

pub struct Auditor<'a> {
    pub args: &'a AuditArgs,
    pub cluster: Cluster,
    pub metadata: Metadata,
    pub topic_ids: TopicIds,
    pub registry: Option<Registry>,
    /// Which dead letters are settled: they count as before, and are told apart.
    pub marks: Marks,
    pub store: Option<Store>,
    pub connection: Option<PgConnection>,
    /// Opens the lake's objects, where that was asked for.
    pub deep: Option<Deep>,
    /// What audits before have found right, and what this one does; where it goes on from there.
    pub state: Option<State>,
    /// How old what a consumer has not taken yet may be; `None` where all must be there.
    pub taken_within: Option<SignedDuration>,
    /// Of market.ticks.v1: the records that the database's group could not take, how far it is, the hours of the ticks read.
    pub ticks: TicksRead,
    pub report: Report,
}

/// What the audit of market.ticks.v1 tells the comparisons after it.
#[derive(Debug, Default)]
pub struct TicksRead {
    pub dead: BTreeSet<Coordinates>,
    pub positions: BTreeMap<i32, i64>,
    /// By event_time, microseconds from 1970, in order.
    pub hours: BTreeSet<i64>,
    pub minutes: BTreeSet<i64>,
    pub topic_id: Uuid,
}

/// One partition while it is audited.
struct Partition {
    /// What is read: from the log's start, or from where the audit begins.
    stretch: Stretch,
    log_start: i64,
    /// Where the newest raw object began, as it was known before.
    link: Option<i64>,
    chain: Chain,
    holes: Vec<AcceptedHole>,
    coverage: Coverage,
    /// What the topic has of each link, for a deep audit.
    digests: Option<Digests>,
    /// The first offset that the database has not come to, and when the broker took its record.
    position: Option<i64>,
    beyond_position_ms: Option<i64>,
    /// Where the raw object begins whose bronze is still to come.
    bronze_waits: Option<i64>,
}

/// What was read of a topic besides.
#[derive(Default)]
struct Read {
    told: Option<Told>,
    /// When the broker took the oldest record.
    oldest_ms: Option<i64>,
}

impl Auditor<'_> {
    pub async fn audit(&mut self, topic: &Topic) -> anyhow::Result<()> {
        let topic_id = self.topic_ids.topic_id(&topic.name, 0).await?;
        let epochs = self.epochs(topic, topic_id).await?;
        let table = Table::of(&topic.name).filter(|_| self.connection.is_some());
        let positions = match (&mut self.connection, table) {
            (Some(connection), Some(_)) => database::positions(connection, topic_id).await?,
            _ => BTreeMap::new(),
        };
        let mut partitions = Vec::new();
        for partition in self.metadata.topics.get(&topic.name).map(|found| found.partitions.clone()).unwrap_or_default()
        {
            let position = positions.get(&partition).copied();
            partitions.push(self.open(&topic.name, topic_id, &epochs, partition, position).await?);
        }
        let mut stretches: Vec<Stretch> = partitions.iter().map(|partition| partition.stretch).collect();
        let Read { told, oldest_ms } = self.read(topic, table, &mut partitions, &stretches).await?;
        let letters = self.letters(&topic.name, topic_id, oldest_ms).await?;
        self.orphans(topic, topic_id, &partitions, &letters).await?;

        let first = self.report.partitions.len();
        for partition in &mut partitions {
            let faulty = self.deep(topic, topic_id, partition).await?;
            let audited = self.partition(topic, topic_id, partition, &letters, &faulty).await?;
            let name = format!("{}[{}]", audited.topic, audited.partition);
            self.report.differ_all("lake", audited.differences.iter().map(|line| format!("{name}: {line}")));
            self.report.partitions.push(audited);
        }
        let audited = &self.report.partitions[first..];
        self.report.topics.push(TopicReport {
            topic: topic.name.clone(),
            delivered: audited.iter().map(|partition| partition.delivered).sum(),
            lake_records: sum(audited.iter().map(|partition| partition.lake_records)),
            lake_objects: sum(audited.iter().map(|partition| partition.lake_objects)),
            bronze_rows: sum(audited.iter().map(|partition| partition.bronze_rows)),
            dead_letters_lake: audited.iter().map(|partition| partition.dead_letters_lake).sum(),
        });
        self.count_letters(topic_id, &letters, &stretches);
        if letters.unreadable > 0 {
            let dlq = topics::dlq(&topic.name);
            let line = format!("{dlq}: {} records do not say whose dead letters they are", letters.unreadable);
            self.report.differ("letters", line);
        }
        let mut is_right = self.report.partitions[first..].iter().all(|audited| audited.differences.is_empty());
        for (partition, stretch) in partitions.iter().zip(&mut stretches) {
            self.end_at_position(&topic.name, partition, stretch);
        }
        if let (Some(connection), Some(told)) = (&mut self.connection, told) {
            let of = Of { topic: &topic.name, letters: &letters, group: &self.args.db_group, stretches: &stretches };
            let is_of_ticks = told.table == Table::Ticks;
            let compared = database::compare(connection, told, &of).await?;
            is_right &= compared.differences.is_empty();
            self.report
                .differ_all("database", compared.differences.iter().map(|line| format!("{}: {line}", topic.name)));
            if is_of_ticks {
                self.report.database = Some(compared);
                self.ticks.dead.clone_from(letters.of(&self.args.db_group));
                self.ticks.positions = positions;
                self.ticks.topic_id = topic_id;
            } else {
                self.report.tables.push(compared);
            }
        }
        if let Some(state) = self.state.as_mut().filter(|_| is_right) {
            for (partition, stretch) in partitions.iter().zip(&stretches) {
                state.reach(&topic.name, topic_id, stretch.partition, partition.reached(stretch.end));
            }
        }
        Ok(())
    }

    /// Whether a record that no consumer has taken yet may still wait, and is told as that.
    fn may_wait(&self, since_ms: Option<i64>) -> bool {
        let (Some(within), Some(since_ms)) = (self.taken_within, since_ms) else { return false };
        let since = Timestamp::from_millisecond(since_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        Timestamp::now().duration_since(since) <= within
    }

    /// What the database has not come to yet is not held against it, while it is not late.
    fn end_at_position(&mut self, topic: &str, partition: &Partition, stretch: &mut Stretch) {
        let Some(position) = partition.position.filter(|position| *position < stretch.end) else { return };
        if self.may_wait(partition.beyond_position_ms) {
            let number = stretch.partition;
            self.report.pending.push(format!("{topic}[{number}]: offsets from {position} on are not in Postgres yet"));
            stretch.end = position.max(stretch.start);
        }
    }

    /// The lake's epochs that are bound to the topic as it is now, the newest last. The others are looked at here.
    async fn epochs(&mut self, topic: &Topic, topic_id: Uuid) -> anyhow::Result<Vec<u32>> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let all = lake::epochs(store, &topic.name).await?;
        let Some((newest, bound)) = all.last().cloned() else { return Ok(Vec::new()) };
        let here = Epoch { cluster_id: self.topic_ids.cluster_id().await?, topic_id };
        let (of_topic, older): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, bound)| *bound == here);
        // A deep audit opens them anyway, after the topics.
        if self.deep.is_none() && self.state.is_none() {
            let older: Vec<_> = older.into_iter().filter(|(number, _)| *number < newest).collect();
            let older = older::check(store, topic, &older, self.args.from_earliest).await?;
            self.report.older_chains += older.chains;
            self.report.differ_all("lake", older.differences);
        }
        if bound == here {
            return Ok(of_topic.into_iter().map(|(number, _)| number).collect());
        }
        let name = &topic.name;
        self.report.differ("lake", format!(
            "{name}: the lake's newest epoch {newest:04} is of topic id {} in cluster {}, the broker has topic id {topic_id} in cluster \
             {}: the topic was made anew, and nothing of the new one is in the lake; `tickstream lake new-epoch --topic {name}` goes \
             on with it",
            bound.topic_id, bound.cluster_id, here.cluster_id
        ));
        Ok(Vec::new())
    }

    /// Reads the ends and lists the chain. An object across the end is read to its own end, so that its count can be compared.
    async fn open(
        &self,
        topic: &str,
        topic_id: Uuid,
        epochs: &[u32],
        partition: i32,
        position: Option<i64>,
    ) -> anyhow::Result<Partition> {
        let ends = self.cluster.ends(topic, partition).await?;
        let (start, link) = self.begin(topic, topic_id, partition, ends).await?;
        let mut end = ends.end;
        let (mut chain, mut holes) = (Chain::default(), Vec::new());
        if let Some(store) = &self.store {
            let from = match link {
                Some(link) => From::Link { link },
                None if self.args.from_earliest || self.deep.is_some() => From::Origin,
                None => From::Offset(start),
            };
            // What was found right of the epochs before the newest one stays so.
            let epochs = if link.is_some() { &epochs[epochs.len().saturating_sub(1)..] } else { epochs };
            for &epoch in epochs {
                let place = Place { topic, epoch, partition };
                // A closed chain is listed to its end object, even where that stands at the log's end.
                let until = if Some(&epoch) == epochs.last() { end } else { i64::MAX };
                chain.append(epoch, lake::chain(store, place, from, until).await?);
                holes.extend(lake::accepted_holes(store, place).await?);
            }
            if let Some(tail) = chain.tail().filter(|tail| *tail > end) {
                end = tail.min(self.cluster.ends(topic, partition).await?.end);
            }
        }
        let coverage = Coverage::new(&chain.links);
        let digests = self.deep.is_some().then(Digests::default);
        let stretch = Stretch { partition, start, end };
        let log_start = ends.start;
        Ok(Partition {
            stretch,
            log_start,
            link,
            chain,
            holes,
            coverage,
            digests,
            position,
            beyond_position_ms: None,
            bronze_waits: None,
        })
    }

    /// Where reading begins, and the raw object that was the newest then.
    async fn begin(
        &self,
        topic: &str,
        topic_id: Uuid,
        partition: i32,
        ends: Ends,
    ) -> anyhow::Result<(i64, Option<i64>)> {
        let reached = self.state.as_ref().and_then(|state| state.reached(topic, topic_id, partition));
        let (start, link) = match (reached, self.args.since) {
            // A log that was cut back is looked at as a whole.
            (Some(reached), _) if reached.offset <= ends.end => (reached.offset, reached.link),
            (None, Some(since)) => (self.cluster.offset_at(topic, partition, since.as_millisecond()).await?, None),
            (Some(_) | None, _) => (ends.start, None),
        };
        Ok((start.clamp(ends.start, ends.end.max(ends.start)), link))
    }

    /// Counts every record; gives the events when they are to be compared.
    async fn read(
        &mut self,
        topic: &Topic,
        table: Option<Table>,
        partitions: &mut [Partition],
        stretches: &[Stretch],
    ) -> anyhow::Result<Read> {
        let most: i64 = stretches.iter().map(|stretch| (stretch.end - stretch.start).max(0)).sum();
        let limit = self.args.max_ticks;
        if table.is_some() && u64::try_from(most).is_ok_and(|most| most > limit) {
            return Err(misconfigured(format!(
                "{} spans {most} offsets, more than --max-ticks (AUDIT_MAX_TICKS) {limit}: each tick takes 32 bytes of memory \
                 while it is compared with Postgres; raise it, or audit --only lake, or --since a later time",
                topic.name
            )));
        }
        let mut decoder =
            topic.record().filter(|_| table.is_some()).map(|record| Decoder::new(record, self.registry.clone()));
        let horizon = match &mut self.connection {
            Some(connection) if table == Some(Table::Ticks) => database::horizon(connection).await?,
            Some(_) | None => None,
        };
        let is_part = partitions.iter().any(|open| open.stretch.start > open.log_start);
        let mut told = table.map(|table| Told {
            table,
            events: table.gathering(),
            retired: Retired::new(horizon),
            undecodable: Vec::new(),
            oldest_ms: None,
            times: (is_part && table == Table::Ticks).then(HashMap::new),
        });
        let mut oldest = None::<i64>;
        let ticks = &mut self.ticks;
        stretches::read(&self.args.kafka, &topic.name, stretches, WHEN_CUT, async |partition, records| {
            let (offsets, times) = (records.offsets().values(), records.timestamps_ms().values());
            oldest = times.iter().copied().chain(oldest).min();
            if let Some(open) = partitions.iter_mut().find(|open| open.stretch.partition == partition) {
                for (row, (offset, time)) in offsets.iter().zip(times).enumerate() {
                    let link = open.coverage.count(&open.chain.links, *offset, *time);
                    if let (Some(digests), Some(link)) = (&mut open.digests, link) {
                        digests.take(link, &records, row);
                    }
                    if open.beyond_position_ms.is_none() && open.position.is_some_and(|position| *offset >= position) {
                        open.beyond_position_ms = Some(*time);
                    }
                }
            }
            let (Some(decoder), Some(told)) = (&mut decoder, &mut told) else { return Ok(()) };
            let decoded = decoder.decode(records.values()).await?;
            if told.table == Table::Ticks {
                take_ticks(told, ticks, &decoded.batch, |row| (partition, offsets[decoded.rows[row] as usize]));
            } else {
                let events = content::of_others(told.table, &decoded.batch);
                for ((id, rank, content), index) in events.into_iter().zip(&decoded.rows) {
                    told.events.push(id, (partition, offsets[*index as usize]), rank, content);
                }
            }
            told.undecodable.extend(decoded.bad.iter().map(|(index, _)| (partition, offsets[*index as usize])));
            Ok(())
        })
        .await?;
        if let Some(told) = &mut told {
            told.oldest_ms = oldest;
        }
        Ok(Read { told, oldest_ms: oldest })
    }
}

/// Ticks as they are compared with Postgres, and when they were.
fn take_ticks(
    told: &mut Told,
    read: &mut TicksRead,
    batch: &arrow::array::RecordBatch,
    place: impl Fn(usize) -> Coordinates,
) {
    let columns = TickColumns::new(batch);
    for row in 0..columns.len() {
        let (id, place, revision, time) =
            (columns.event_id(row), place(row), columns.revision(row), columns.event_time(row));
        told.events.push(id, place, revision, content::of_tick(&columns, row));
        told.retired.take(id, revision, time, place);
        if let Some(times) = &mut told.times {
            times.insert(id, time);
            read.minutes.insert(time.div_euclid(MINUTE_US) * MINUTE_US);
        }
        read.hours.insert(time.div_euclid(HOUR_US) * HOUR_US);
    }
}
