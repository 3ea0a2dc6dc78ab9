//! What the batches of one transaction hold, by where it goes: ticks, and documents of the other tables. What does not
//! decode and what no database would take is set aside here, each record with its reason.

use std::collections::HashSet;

use pipeline::codec::RecordType;
use pipeline::consume::{DeadLetter, PartitionBatch};
use pipeline::decode::{Alerts, Decoded, Gaps, IndexWeights, Ticks};

use crate::documents::{Documents, Table};
use crate::positions::Position;
use crate::rows::{Batch, Origin};

pub struct Round<'a> {
    pub ticks: Batch<'a>,
    pub documents: Documents,
    /// Where each partition of this member's goes on, or began to be read in this round.
    pub due: Vec<Position>,
    /// How far the round's partitions are when it is written.
    pub read: Vec<Position>,
}

impl<'a> Round<'a> {
    /// Each of `batches` decoded as its topic's record type.
    pub fn new(
        batches: &[PartitionBatch],
        decoded: &'a [(RecordType, Decoded)],
        oldest_event_days: u32,
    ) -> (Self, Vec<DeadLetter>) {
        let mut round =
            Self { ticks: Batch::new(), documents: Documents::default(), due: Vec::new(), read: Vec::new() };
        let mut letters = Vec::new();
        for (number, (batch, (record, decoded))) in batches.iter().zip(decoded).enumerate() {
            let offsets = batch.records.offsets();
            let origin = |row: usize| {
                let record = decoded.rows[row] as usize;
                Origin {
                    batch: number,
                    partition: batch.partition,
                    offset: offsets.value(record),
                    broker_time_ms: batch.records.timestamps_ms().value(record),
                }
            };
            for (record, reason) in &decoded.bad {
                let offset = offsets.value(*record as usize);
                letters.push(letter(batch, offset, reason.clone()));
            }
            let columns = &decoded.batch;
            let refused = match record {
                RecordType::PriceTick => round.ticks.add(number, Ticks::new(columns), oldest_event_days, origin),
                RecordType::Gap => round.documents.add_gaps(Gaps::new(columns), origin),
                RecordType::IndexWeight => round.documents.add_index_weights(IndexWeights::new(columns), origin),
                RecordType::Alert => round.documents.add_alerts(Alerts::new(columns), origin),
                RecordType::SourceHealth | RecordType::Payload => Vec::new(),
            };
            letters.extend(refused.into_iter().map(|(row, reason)| letter(batch, origin(row).offset, reason)));
        }
        round.ticks.sort();
        (round, letters)
    }

    pub fn is_empty(&self) -> bool {
        self.ticks.is_empty() && self.documents.is_empty() && self.read.is_empty()
    }

    /// Takes records out.
    pub fn remove(&mut self, refused: &HashSet<Origin>) {
        self.ticks.remove(refused);
        self.documents.remove(refused);
    }

    /// Whether no other writer may write meanwhile.
    pub fn runs_alone(&self) -> bool {
        self.ticks.corrects() || !self.documents.of(Table::Gaps).is_empty()
    }
}

fn letter(batch: &PartitionBatch, offset: i64, reason: String) -> DeadLetter {
    DeadLetter { topic: batch.topic.to_string(), partition: batch.partition, offset, reason }
}
