//! One topic, audited: its ends, its chains in the lake, its records, its dead letters, its bronze, its rows. In that order:
//! the chain is listed before the topic is read, so each record can be counted into the object that should hold it.

use std::collections::BTreeSet;

use anyhow::Context;
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
use super::coverage::Coverage;
use super::database::{self, Ticks};
use super::deep::{Deep, Digests, Told, Walk};
use super::events::Gathering;
use super::lake::{self, AcceptedHole, Bronze, Place};
use super::letters::Letters;
use super::older;
use super::report::{PartitionReport, Report, TopicReport, sum};
use super::retired::Retired;
use crate::dlq::{Marks, Place as RecordPlace};
use crate::kafka::{Cluster, Metadata};

const WHEN_CUT: &str = "run the audit again";

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
    pub report: Report,
}

/// One partition while it is audited.
struct Partition {
    stretch: Stretch,
    chain: Chain,
    holes: Vec<AcceptedHole>,
    coverage: Coverage,
    /// What the topic has of each link, for a deep audit.
    digests: Option<Digests>,
}

impl Auditor<'_> {
    pub async fn audit(&mut self, topic: &Topic) -> anyhow::Result<()> {
        let topic_id = self.topic_ids.topic_id(&topic.name, 0).await?;
        let epochs = self.epochs(topic, topic_id).await?;
        let mut partitions = Vec::new();
        for partition in self.metadata.topics.get(&topic.name).map(|found| found.partitions.clone()).unwrap_or_default()
        {
            partitions.push(self.open(&topic.name, &epochs, partition).await?);
        }
        let stretches: Vec<Stretch> = partitions.iter().map(|partition| partition.stretch).collect();
        let ticks = self.read(topic, &mut partitions, &stretches).await?;
        let letters = self.letters(&topic.name, topic_id).await?;

        let first = self.report.partitions.len();
        for partition in &mut partitions {
            let faulty = self.deep(topic, topic_id, partition).await?;
            let audited = self.partition(topic, topic_id, partition, &letters, &faulty).await?;
            let name = format!("{}[{}]", audited.topic, audited.partition);
            self.report.differences.extend(audited.differences.iter().map(|line| format!("{name}: {line}")));
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
            self.report
                .differences
                .push(format!("{dlq}: {} records do not say whose dead letters they are", letters.unreadable));
        }
        if let (Some(connection), Some(ticks)) = (&mut self.connection, ticks) {
            let group = &self.args.db_group;
            let compared = database::compare(connection, &topic.name, ticks, &letters, group, &stretches).await?;
            self.report.differences.extend(compared.differences.iter().map(|line| format!("{}: {line}", topic.name)));
            self.report.database = Some(compared);
        }
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
        if self.deep.is_none() {
            let older: Vec<_> = older.into_iter().filter(|(number, _)| *number < newest).collect();
            let older = older::check(store, topic, &older, self.args.from_earliest).await?;
            self.report.older_chains += older.chains;
            self.report.differences.extend(older.differences);
        }
        if bound == here {
            return Ok(of_topic.into_iter().map(|(number, _)| number).collect());
        }
        let name = &topic.name;
        self.report.differences.push(format!(
            "{name}: the lake's newest epoch {newest:04} is of topic id {} in cluster {}, the broker has topic id {topic_id} in cluster \
             {}: the topic was made anew, and nothing of the new one is in the lake; `tickstream lake new-epoch --topic {name}` goes \
             on with it",
            bound.topic_id, bound.cluster_id, here.cluster_id
        ));
        Ok(Vec::new())
    }

    /// Reads the ends and lists the chain. An object across the end is read to its own end, so that its count can be compared.
    async fn open(&self, topic: &str, epochs: &[u32], partition: i32) -> anyhow::Result<Partition> {
        let ends = self.cluster.ends(topic, partition).await?;
        let mut end = ends.end;
        let (mut chain, mut holes) = (Chain::default(), Vec::new());
        if let Some(store) = &self.store {
            let from = (!self.args.from_earliest && self.deep.is_none()).then_some(ends.start);
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
        Ok(Partition { stretch: Stretch { partition, start: ends.start, end }, chain, holes, coverage, digests })
    }

    /// Counts every record; gives the events when they are to be compared.
    async fn read(
        &mut self,
        topic: &Topic,
        partitions: &mut [Partition],
        stretches: &[Stretch],
    ) -> anyhow::Result<Option<Ticks>> {
        let compares = self.connection.is_some() && topic.name == topics::TICKS;
        let most: i64 = stretches.iter().map(|stretch| (stretch.end - stretch.start).max(0)).sum();
        let limit = self.args.max_ticks;
        if compares && u64::try_from(most).is_ok_and(|most| most > limit) {
            return Err(misconfigured(format!(
                "{} spans {most} offsets, more than --max-ticks (AUDIT_MAX_TICKS) {limit}: each tick takes 24 bytes of memory \
                 while it is compared with Postgres; raise it, or audit --only lake",
                topic.name
            )));
        }
        let mut decoder = match topic.record() {
            Some(record) if compares => Some(Decoder::new(record, self.registry.clone())),
            Some(_) | None => None,
        };
        let horizon = match &mut self.connection {
            Some(connection) if compares => database::horizon(connection).await?,
            Some(_) | None => None,
        };
        let retired = Retired::new(horizon);
        let mut ticks = Ticks { events: Gathering::default(), retired, undecodable: Vec::new() };
        stretches::read(&self.args.kafka, &topic.name, stretches, WHEN_CUT, async |partition, records| {
            let offsets = records.offsets().values();
            if let Some(open) = partitions.iter_mut().find(|open| open.stretch.partition == partition) {
                for (row, offset) in offsets.iter().enumerate() {
                    let link = open.coverage.count(&open.chain.links, *offset);
                    if let (Some(digests), Some(link)) = (&mut open.digests, link) {
                        digests.take(link, &records, row);
                    }
                }
            }
            let Some(decoder) = &mut decoder else { return Ok(()) };
            let decoded = decoder.decode(records.values()).await?;
            let columns = TickColumns::new(&decoded.batch);
            for (row, index) in decoded.rows.iter().enumerate() {
                let (id, place) = (columns.event_id(row), (partition, offsets[*index as usize]));
                ticks.events.push(id, place);
                ticks.retired.take(id, columns.revision(row), columns.event_time(row), place);
            }
            ticks.undecodable.extend(decoded.bad.iter().map(|(index, _)| (partition, offsets[*index as usize])));
            Ok(())
        })
        .await?;
        Ok(compares.then_some(ticks))
    }

    async fn letters(&self, topic: &str, topic_id: Uuid) -> anyhow::Result<Letters> {
        let mut letters = Letters::default();
        let dlq = topics::dlq(topic);
        let Some(found) = self.metadata.topics.get(&dlq) else { return Ok(letters) };
        let mut stretches = Vec::new();
        for &partition in &found.partitions {
            let ends = self.cluster.ends(&dlq, partition).await?;
            stretches.push(Stretch { partition, start: ends.start, end: ends.end });
        }
        let read = stretches::read(&self.args.kafka, &dlq, &stretches, WHEN_CUT, async |_, records| {
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
            let told = Some(Told { digests: &digests[range], log_start: stretch.start, log_end: stretch.end });
            let walk = Walk { place, record: topic.record(), topic_id, told };
            faulty.append(&mut deep.chain(&walk, links).await?);
        }
        Ok(faulty)
    }

    async fn partition(
        &self,
        topic: &Topic,
        topic_id: Uuid,
        partition: &Partition,
        letters: &Letters,
        faulty: &BTreeSet<i64>,
    ) -> anyhow::Result<PartitionReport> {
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
        let Some(store) = &self.store else { return Ok(report) };
        for hole in holes.iter().filter(|hole| !hole.told) {
            report.differences.push(format!(
                "the gap event of the accepted hole at offset {} was not published: `tickstream lake accept-hole --topic {} --yes` \
                 publishes it",
                hole.start, topic.name
            ));
        }
        report.differences.extend(chain.breaks(topic_id, |index| Some(coverage.before[index])));
        report.differences.extend(chain.ends(stretch.start, stretch.end, coverage.beyond));

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
        report.lake_records_older = Some(all - held);
        report.lake_objects = Some(chain.links.len() as u64);
        if topic.record().is_some() {
            let rows = bronze.iter().map(|bronze| if let Bronze::Rows(rows) = bronze { *rows } else { 0 });
            report.bronze_rows = Some(rows.sum());
            report.differences.extend(self.bronze_differences(partition, &bronze, letters, faulty));
        }
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
