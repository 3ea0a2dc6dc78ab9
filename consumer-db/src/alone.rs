//! A writer beside which nobody writes: for records that are to be in the database all at once, where the running consumer
//! would take them a batch at a time. It holds the lock of correcting batches for its connection, so that between two moments
//! of its caller's choice no other writer's transaction goes on; what it writes is one transaction.
//!
//! Invariant: positions stay. The consumer reads the same records when it comes to them, and they change nothing then.
//!
//! Crash points: with the lock held the server lets go of it as the connection ends, and the consumer goes on; before the
//! commit nothing is written, after it everything. Must never happen here: a lock that outlives its holder.

use pipeline::codec::RecordType;
use pipeline::consume::PartitionBatch;
use pipeline::decode::Decoder;
use pipeline::registry::Registry;
use pipeline::topics;

use crate::database::Database;
use crate::round::Round;
use crate::writer::Writer;

pub struct Alone {
    writer: Writer,
    decoder: Decoder,
    oldest_event_days: u32,
}

impl Alone {
    /// Waits until every other writer's transaction has ended. Those that begin from now on wait.
    ///
    /// # Errors
    /// When the database is not reached, or another does not let go of it in time.
    pub async fn begin(database: Database, registry: Option<Registry>, oldest_event_days: u32) -> anyhow::Result<Self> {
        let mut writer = Writer::new(database);
        writer.hold().await?;
        Ok(Self { writer, decoder: Decoder::new(RecordType::PriceTick, registry), oldest_event_days })
    }

    /// Writes these records of [`topics::TICKS`] in one transaction. Gives how many are dead letters: the consumer tells of
    /// them when it comes to them.
    ///
    /// # Errors
    /// An outage: nothing was written, or the commit's answer was lost. The lock is gone.
    pub async fn write(&mut self, batches: &[PartitionBatch]) -> anyhow::Result<u64> {
        let mut decoded = Vec::with_capacity(batches.len());
        for batch in batches {
            anyhow::ensure!(&*batch.topic == topics::TICKS, "{} is not the topic of ticks", batch.topic);
            decoded.push((RecordType::PriceTick, self.decoder.decode(batch.records.values()).await?));
        }
        let (mut round, letters) = Round::new(batches, &decoded, self.oldest_event_days);
        let refused = self.writer.write(&mut round).await?.unwrap_or_default();
        Ok((letters.len() + refused.len()) as u64)
    }
}
