//! What a partition holds, held against its chain, its bronze and the database.

use std::ops::Range;

use super::*;

impl Auditor<'_> {
    /// Opens the objects of a chain. Gives the starts of those with a fault, each named already.
    pub(super) async fn deep(
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

    pub(super) async fn partition(
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
            let rows = bronze.iter().map(|bronze| if let Bronze::Rows { rows, .. } = bronze { *rows } else { 0 });
            report.bronze_rows = Some(rows.sum());
            // It is written behind its raw object.
            if let (Some(Bronze::Missing(key)), Some(link)) = (bronze.last(), chain.links.last())
                && self.may_wait(link.rows.map(|rows| rows.first_time_ms))
            {
                self.report.pending.push(format!("{name}: {key} is not there yet"));
                bronze.pop();
                bronze_waits = Some(link.start);
            }
            report.differences.extend(self.bronze_differences(partition, topic_id, &bronze, letters, faulty));
        }
        partition.bronze_waits = bronze_waits;
        Ok(report)
    }

    /// Each record of a raw object is a row of its bronze or a dead letter.
    fn bronze_differences(
        &self,
        partition: &Partition,
        topic_id: Uuid,
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
                Bronze::Rows { .. } if link.next_offset <= stretch.start => {}
                // Nor were those looked for that are of what was not read.
                Bronze::Rows { .. } if link.start < stretch.start && stretch.start > partition.log_start => {}
                Bronze::Rows { rows, left_out } => {
                    let range = link.start..link.next_offset;
                    let dead = letters.count(group, stretch.partition, range.start, range.end);
                    let is_whole = left_out.is_some_and(|left_out| rows + left_out == records);
                    // Of a record whose letter is settled bronze may have a row by now, since its schema became known.
                    let taken_since = || self.settled(topic_id, letters, stretch.partition, range);
                    let surplus = (rows + dead).checked_sub(records);
                    let differs =
                        surplus != Some(0) && !(is_whole && surplus.is_some_and(|surplus| surplus <= taken_since()));
                    if differs {
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

    /// Letters of the lake's group in a range of offsets that were redriven or dropped.
    fn settled(&self, topic_id: Uuid, letters: &Letters, partition: i32, range: Range<i64>) -> u64 {
        let group = &self.args.lake_group;
        let of = letters.of(group).range((partition, range.start)..(partition, range.end));
        let is_settled = |&&(partition, offset): &&Coordinates| {
            let place = RecordPlace { topic_id, partition, offset };
            self.marks.redriven(place).is_some() || self.marks.dropped(place, group).is_some()
        };
        of.filter(is_settled).count() as u64
    }
}

impl Partition {
    /// How far everything is right: in the lake with its bronze, and in the database as far as that was held against the topic.
    pub(super) fn reached(&self, database_end: i64) -> Reached {
        let ends = [Some(database_end), self.chain.tail(), self.bronze_waits];
        let offset = ends.into_iter().flatten().min().unwrap_or(database_end).max(self.stretch.start);
        let link = self.chain.links.iter().rev().find(|link| link.start <= offset).map(|link| link.start).or(self.link);
        Reached { offset, link }
    }
}
