//! The dead letters of a topic: those of what was read, and those of records that nobody knows.

use super::*;

impl Auditor<'_> {
    /// Letters of records that nobody knows.
    pub(super) async fn orphans(
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

    /// The letters of what was read; where that is a part of the topic, those that may be of it, and new ones.
    pub(super) async fn letters(&self, topic: &str, topic_id: Uuid, oldest_ms: Option<i64>) -> anyhow::Result<Letters> {
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

    pub(super) fn count_letters(&mut self, topic_id: Uuid, letters: &Letters, stretches: &[Stretch]) {
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
}
