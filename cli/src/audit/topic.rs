//! One topic, audited: its ends, its chains in the lake, its records, its dead letters, its bronze, its rows. In that order:
//! the chain is listed before the topic is read, so each record can be counted into the object that should hold it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context;
use arrow::array::AsArray;
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
use super::events::Gathering;
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

    /// Letters of records that nobody knows.
    async fn orphans(
        &mut self,
        topic: &Topic,
        topic_id: Uuid,
        partitions: &[Partition],
        letters: &Letters,
    ) -> anyhow::Result<()> {
        let mut known = BTreeSet::from([topic_id]);
        let mut ends = BTreeMap::new();
        for partition in partitions {
            let number = partition.stretch.partition;
            ends.insert(number, self.cluster.ends(&topic.name, number).await?.end);
        }
        if !letters.elsewhere.is_empty()
            && let Some(store) = &self.store
        {
            known.extend(lake::epochs(store, &topic.name).await?.into_iter().map(|(_, epoch)| epoch.topic_id));
        } else {
            known.extend(letters.elsewhere.iter().map(|(id, ..)| *id));
        }
        let is_settled = |id: Uuid, group: &str, (partition, offset): Coordinates| {
            self.marks.dropped(RecordPlace { topic_id: id, partition, offset }, group).is_some()
        };
        let has = |(partition, offset): Coordinates| {
            let Some(open) = partitions.iter().find(|open| open.stretch.partition == partition) else { return false };
            let is_read = (open.stretch.start..open.stretch.end).contains(&offset);
            offset < *ends.get(&partition).unwrap_or(&0) && (!is_read || open.coverage.was_delivered(offset))
        };
        let dlq = topics::dlq(&topic.name);
        let lines = orphans(letters, topic_id, &known, has, is_settled);
        self.report.differ_all("letters", lines.into_iter().map(|line| format!("{dlq}: {line}")));
        Ok(())
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
            events: Gathering::default(),
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
            } else if let Some(ids) = decoded.batch.column_by_name(told.table.id()) {
                let ids = ids.as_fixed_size_binary();
                for (row, index) in decoded.rows.iter().enumerate() {
                    let id = Uuid::from_slice(ids.value(row)).context("an id has 16 bytes")?;
                    told.events.push(id, (partition, offsets[*index as usize]), 0, 0);
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

    /// The letters of what was read; where that is a part of the topic, those that may be of it, and new ones.
    async fn letters(&self, topic: &str, topic_id: Uuid, oldest_ms: Option<i64>) -> anyhow::Result<Letters> {
        let is_part = self.state.is_some() || self.args.since.is_some();
        let dlq = topics::dlq(topic);
        let Some(found) = self.metadata.topics.get(&dlq) else { return Ok(Letters::default()) };
        let mut stretches = Vec::new();
        for &partition in &found.partitions {
            let ends = self.cluster.ends(&dlq, partition).await?;
            let mut start = ends.start;
            if is_part {
                let dlq_id = self.topic_ids.topic_id(&dlq, 0).await?;
                (start, _) = self.begin(&dlq, dlq_id, partition, ends).await?;
                if let Some(oldest_ms) = oldest_ms {
                    start = start.min(self.cluster.offset_at(&dlq, partition, (oldest_ms - CLOCKS_MS).max(0)).await?);
                }
            }
            stretches.push(Stretch { partition, start, end: ends.end });
        }
        self.read_letters(topic, topic_id, &stretches).await
    }

    /// All letters of a topic.
    pub async fn all_letters(&self, topic: &str, topic_id: Uuid) -> anyhow::Result<Letters> {
        let dlq = topics::dlq(topic);
        let mut stretches = Vec::new();
        for &partition in self.metadata.topics.get(&dlq).iter().flat_map(|found| &found.partitions) {
            let ends = self.cluster.ends(&dlq, partition).await?;
            stretches.push(Stretch { partition, start: ends.start, end: ends.end });
        }
        self.read_letters(topic, topic_id, &stretches).await
    }

    async fn read_letters(&self, topic: &str, topic_id: Uuid, stretches: &[Stretch]) -> anyhow::Result<Letters> {
        let dlq = topics::dlq(topic);
        let mut letters = Letters::default();
        let read = stretches::read(&self.args.kafka, &dlq, stretches, WHEN_CUT, async |_, records| {
            letters.take(topic_id, &records);
            Ok(())
        });
        read.await.with_context(|| format!("reading the dead letters in {dlq}"))?;
        Ok(letters)
    }

    fn count_letters(&mut self, topic_id: Uuid, letters: &Letters, stretches: &[Stretch]) {
        let groups = [&self.args.lake_group, &self.args.db_group].map(|group| (group, letters.of(group)));
        for &(partition, offset) in groups[0].1.union(groups[1].1) {
            let is_in =
                |stretch: &Stretch| stretch.partition == partition && (stretch.start..stretch.end).contains(&offset);
            if !stretches.iter().any(is_in) {
                continue;
            }
            let place = RecordPlace { topic_id, partition, offset };
            let mut refused_by = groups.iter().filter(|(_, places)| places.contains(&(partition, offset)));
            let told = &mut self.report.dead_letters;
            if self.marks.redriven(place).is_some() {
                told.redriven += 1;
            } else if refused_by.all(|(group, _)| self.marks.dropped(place, group).is_some()) {
                told.dropped += 1;
            } else {
                told.open += 1;
            }
            self.report.totals.dead_letters += 1;
        }
    }

    /// Opens the objects of a chain. Gives the starts of those with a fault, each named already.
    async fn deep(
        &mut self,
        topic: &Topic,
        topic_id: Uuid,
        partition: &mut Partition,
    ) -> anyhow::Result<BTreeSet<i64>> {
        let Partition { stretch, chain, digests, .. } = partition;
        let mut faulty = BTreeSet::new();
        let (Some(deep), Some(digests)) = (&mut self.deep, digests.take()) else { return Ok(faulty) };
        let digests = digests.finish(chain.links.len());
        for (epoch, range, links) in chain.by_epoch() {
            let place = Place { topic: &topic.name, epoch, partition: stretch.partition };
            let told = Some(deep::Told { digests: &digests[range], log_start: stretch.start, log_end: stretch.end });
            let walk = Walk { place, record: topic.record(), topic_id, told };
            faulty.append(&mut deep.chain(&walk, links).await?);
        }
        Ok(faulty)
    }

    async fn partition(
        &mut self,
        topic: &Topic,
        topic_id: Uuid,
        partition: &mut Partition,
        letters: &Letters,
        faulty: &BTreeSet<i64>,
    ) -> anyhow::Result<PartitionReport> {
        let mut bronze_waits = None;
        let Partition { stretch, chain, holes, coverage, .. } = partition;
        let mut report = PartitionReport {
            topic: topic.name.clone(),
            partition: stretch.partition,
            log_start: stretch.start,
            log_end: stretch.end,
            delivered: coverage.delivered,
            lake_records: None,
            lake_records_older: None,
            lake_objects: None,
            bronze_rows: None,
            dead_letters_lake: letters.count(&self.args.lake_group, stretch.partition, stretch.start, stretch.end),
            accepted_holes: holes.iter().map(|hole| [hole.start, hole.next_offset - 1]).collect(),
            begins_above: chain.origin.filter(|origin| *origin > 0),
            differences: Vec::new(),
        };
        let Some(store) = self.store.clone() else { return Ok(report) };
        let store = &store;
        for hole in holes.iter().filter(|hole| !hole.told) {
            report.differences.push(format!(
                "the gap event of the accepted hole at offset {} was not published: `tickstream lake accept-hole --topic {} --yes` \
                 publishes it",
                hole.start, topic.name
            ));
        }
        report.differences.extend(chain.breaks(topic_id, |index| Some(coverage.before[index])));
        let name = format!("{}[{}]", topic.name, stretch.partition);
        let waits = coverage.beyond > 0 && chain.origin.is_some() && self.may_wait(coverage.beyond_since_ms);
        if waits {
            self.report.pending.push(format!("{name}: {} records are not in the lake yet", coverage.beyond));
        }
        let beyond = if waits { 0 } else { coverage.beyond };
        report.differences.extend(chain.ends(partition.log_start, stretch.end, beyond));

        let (mut counts, mut bronze) = (Vec::new(), Vec::new());
        for (epoch, _, links) in chain.by_epoch() {
            let place = Place { topic: &topic.name, epoch, partition: stretch.partition };
            counts.append(&mut lake::counts_from(store, place, links, stretch.start, faulty).await?);
            if let Some(record) = topic.record() {
                bronze.append(&mut lake::bronze(store, place, table(record), links).await?);
            }
        }
        for ((link, count), delivered) in chain.links.iter().zip(&counts).zip(&coverage.inside) {
            if count != delivered && !faulty.contains(&link.start) {
                let (from, last) = (link.start.max(stretch.start), link.next_offset - 1);
                report.differences.push(format!(
                    "the raw object at {} holds {count} records from offset {from} to {last}, the topic delivered {delivered}",
                    link.start
                ));
            }
        }
        let all: u64 = chain.links.iter().filter_map(|link| link.rows).map(|rows| rows.count).sum();
        let held: u64 = counts.iter().sum();
        report.lake_records = Some(held);
        // What an audit that begins later leaves out is not older than the topic.
        report.lake_records_older = (stretch.start == partition.log_start).then(|| all - held);
        report.lake_objects = Some(chain.links.len() as u64);
        if topic.record().is_some() {
            let rows = bronze.iter().map(|bronze| if let Bronze::Rows(rows) = bronze { *rows } else { 0 });
            report.bronze_rows = Some(rows.sum());
            // It is written behind its raw object.
            if let (Some(Bronze::Missing(key)), Some(link)) = (bronze.last(), chain.links.last())
                && self.may_wait(link.rows.map(|rows| rows.first_time_ms))
            {
                self.report.pending.push(format!("{name}: {key} is not there yet"));
                bronze.pop();
                bronze_waits = Some(link.start);
            }
            report.differences.extend(self.bronze_differences(partition, &bronze, letters, faulty));
        }
        partition.bronze_waits = bronze_waits;
        Ok(report)
    }

    /// Each record of a raw object is a row of its bronze or a dead letter.
    fn bronze_differences(
        &self,
        partition: &Partition,
        bronze: &[Bronze],
        letters: &Letters,
        faulty: &BTreeSet<i64>,
    ) -> Vec<String> {
        let group = &self.args.lake_group;
        let stretch = partition.stretch;
        let mut lines = Vec::new();
        for (link, bronze) in partition.chain.links.iter().zip(bronze) {
            if faulty.contains(&link.start) {
                continue;
            }
            let records = link.rows.map_or(0, |rows| rows.count);
            match bronze {
                Bronze::None => {}
                Bronze::Missing(key) => lines.push(format!("{key} is missing: the bronze of {records} records")),
                Bronze::Silent(key) => lines.push(format!("{key} does not say in its metadata how many rows it has")),
                // Dead letters are kept for a time, and are gone for objects that the topic itself no longer holds.
                Bronze::Rows(_) if link.next_offset <= stretch.start => {}
                // Nor were those looked for that are of what was not read.
                Bronze::Rows(_) if link.start < stretch.start && stretch.start > partition.log_start => {}
                Bronze::Rows(rows) => {
                    let dead = letters.count(group, stretch.partition, link.start, link.next_offset);
                    if rows + dead != records {
                        lines.push(format!(
                            "the raw object at {} holds {records} records, its bronze {rows} rows, and {dead} are dead letters of group {group}",
                            link.start
                        ));
                    }
                }
            }
        }
        lines
    }
}

impl Partition {
    /// How far everything is right: in the lake with its bronze, and in the database as far as that was held against the topic.
    fn reached(&self, database_end: i64) -> Reached {
        let ends = [Some(database_end), self.chain.tail(), self.bronze_waits];
        let offset = ends.into_iter().flatten().min().unwrap_or(database_end).max(self.stretch.start);
        let link = self.chain.links.iter().rev().find(|link| link.start <= offset).map(|link| link.start).or(self.link);
        Reached { offset, link }
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
