//! One topic, audited: its ends, its chains in the lake, its records, its dead letters, its bronze, its rows. In that order:
//! the chain is listed before the topic is read, so each record can be counted into the object that should hold it.

use std::collections::BTreeSet;

use anyhow::Context;
use pipeline::decode::{Decoder, Ticks as TickColumns};
use pipeline::lake::table;
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
use super::lake::{self, Bronze, Place};
use super::letters::Letters;
use super::report::{PartitionReport, Report, TopicReport, sum};
use crate::kafka::{Cluster, Metadata};

const WHEN_CUT: &str = "run the audit again";

pub struct Auditor<'a> {
    pub args: &'a AuditArgs,
    pub cluster: Cluster,
    pub metadata: Metadata,
    pub topic_ids: TopicIds,
    pub registry: Option<Registry>,
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
    coverage: Coverage,
    /// What the topic has of each link, for a deep audit.
    digests: Option<Digests>,
}

impl Auditor<'_> {
    pub async fn audit(&mut self, topic: &Topic) -> anyhow::Result<()> {
        let topic_id = self.topic_ids.topic_id(&topic.name, 0).await?;
        let epoch = self.epoch(&topic.name, topic_id).await?;
        let mut partitions = Vec::new();
        for partition in self.metadata.topics.get(&topic.name).map(|found| found.partitions.clone()).unwrap_or_default()
        {
            partitions.push(self.open(&topic.name, epoch, partition).await?);
        }
        let stretches: Vec<Stretch> = partitions.iter().map(|partition| partition.stretch).collect();
        let ticks = self.read(topic, &mut partitions, &stretches).await?;
        let letters = self.letters(&topic.name, topic_id).await?;

        let first = self.report.partitions.len();
        for partition in &mut partitions {
            let faulty = self.deep(topic, topic_id, epoch, partition).await?;
            let audited = self.partition(topic, topic_id, epoch, partition, &letters, &faulty).await?;
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
        self.count_letters(&letters, &stretches);
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

    /// The lake's epoch that is bound to the topic as it is now.
    async fn epoch(&mut self, topic: &str, topic_id: Uuid) -> anyhow::Result<Option<u32>> {
        let Some(store) = &self.store else { return Ok(None) };
        let Some(newest) = lake::newest_epoch(store, topic).await? else { return Ok(None) };
        let cluster_id = self.topic_ids.cluster_id().await?;
        let bound = &newest.bound_to;
        if bound.topic_id == topic_id && bound.cluster_id == cluster_id {
            return Ok(Some(newest.number));
        }
        self.report.differences.push(format!(
            "{topic}: the lake's newest epoch {:04} is of topic id {} in cluster {}, the broker has topic id {topic_id} in cluster \
             {cluster_id}: the topic was made anew, and nothing of the new one is in the lake",
            newest.number, bound.topic_id, bound.cluster_id
        ));
        Ok(None)
    }

    /// Reads the ends and lists the chain. An object across the end is read to its own end, so that its count can be compared.
    async fn open(&self, topic: &str, epoch: Option<u32>, partition: i32) -> anyhow::Result<Partition> {
        let ends = self.cluster.ends(topic, partition).await?;
        let mut end = ends.end;
        let mut chain = Chain::default();
        if let (Some(store), Some(epoch)) = (&self.store, epoch) {
            let from = (!self.args.from_earliest && self.deep.is_none()).then_some(ends.start);
            chain = lake::chain(store, Place { topic, epoch, partition }, from, end).await?;
            if let Some(tail) = chain.tail().filter(|tail| *tail > end) {
                end = tail.min(self.cluster.ends(topic, partition).await?.end);
            }
        }
        let coverage = Coverage::new(&chain.links);
        let digests = self.deep.is_some().then(Digests::default);
        Ok(Partition { stretch: Stretch { partition, start: ends.start, end }, chain, coverage, digests })
    }

    /// Counts every record; gives the events when they are to be compared.
    async fn read(
        &self,
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
        let mut ticks = Ticks { events: Gathering::default(), undecodable: Vec::new() };
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
                ticks.events.push(columns.event_id(row), (partition, offsets[*index as usize]));
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

    fn count_letters(&mut self, letters: &Letters, stretches: &[Stretch]) {
        let lake = letters.of(&self.args.lake_group);
        let either = lake.union(letters.of(&self.args.db_group));
        let in_range = |place: &&(i32, i64)| {
            stretches
                .iter()
                .any(|stretch| stretch.partition == place.0 && (stretch.start..stretch.end).contains(&place.1))
        };
        self.report.totals.dead_letters += either.filter(in_range).count() as u64;
    }

    /// Opens the objects of a chain. Gives the starts of those with a fault, each named already.
    async fn deep(
        &mut self,
        topic: &Topic,
        topic_id: Uuid,
        epoch: Option<u32>,
        partition: &mut Partition,
    ) -> anyhow::Result<BTreeSet<i64>> {
        let Partition { stretch, chain, digests, .. } = partition;
        let (Some(deep), Some(epoch), Some(digests)) = (&mut self.deep, epoch, digests.take()) else {
            return Ok(BTreeSet::new());
        };
        let place = Place { topic: &topic.name, epoch, partition: stretch.partition };
        let digests = digests.finish(chain.links.len());
        let told = Some(Told { digests: &digests, log_start: stretch.start, log_end: stretch.end });
        deep.chain(&Walk { place, record: topic.record(), topic_id, told }, &chain.links).await
    }

    async fn partition(
        &self,
        topic: &Topic,
        topic_id: Uuid,
        epoch: Option<u32>,
        partition: &Partition,
        letters: &Letters,
        faulty: &BTreeSet<i64>,
    ) -> anyhow::Result<PartitionReport> {
        let Partition { stretch, chain, coverage, .. } = partition;
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
            differences: Vec::new(),
        };
        let Some(store) = &self.store else { return Ok(report) };
        let place = Place { topic: &topic.name, epoch: epoch.unwrap_or(0), partition: stretch.partition };
        report.differences.extend(chain.breaks(topic_id, |index| Some(coverage.before[index])));
        report.differences.extend(chain.ends(stretch.start, stretch.end, coverage.beyond));

        let counts = lake::counts_from(store, place, &chain.links, stretch.start, faulty).await?;
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
        if let Some(record) = topic.record() {
            let bronze = lake::bronze(store, place, table(record), &chain.links).await?;
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
