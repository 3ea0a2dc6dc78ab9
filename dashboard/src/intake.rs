//! Decodes a batch of one partition and takes it into the live state. A bad record is counted by topic and left out; only a
//! schema registry that does not answer holds a batch up.

use std::ops::Range;
use std::time::Duration;

use pipeline::codec::RecordType;
use pipeline::decode::{Alerts, Decoded, Decoder, Gaps, Healths, Ticks};
use pipeline::records::Records;
use pipeline::registry::Registry;

use crate::clock::now_us;
use crate::positions::ReadTopic;
use crate::serve::{Hub, Showing};
use crate::state::tick::{Position, Told};

/// Ticks taken in at once: the state's lock is held for about a millisecond.
const AT_ONCE: usize = 512;
/// What history that is filled in leaves others between two of these: who waits for a lock is woken, and does not have it yet.
const REST: Duration = Duration::from_micros(50);

pub struct Intake {
    topics: Vec<TopicIntake>,
}

struct TopicIntake {
    record: RecordType,
    decoder: Decoder,
    records: metrics::Counter,
    bad_records: metrics::Counter,
    name: String,
}

/// Records of one partition, decoded.
pub struct Batch {
    record: RecordType,
    partition: i32,
    records: Records,
    decoded: Decoded,
}

impl Intake {
    pub fn new(topics: &[ReadTopic], registry: Option<&Registry>) -> Self {
        let topics = topics
            .iter()
            .map(|topic| {
                let name = topic.name.to_string();
                TopicIntake {
                    record: topic.record,
                    decoder: Decoder::new(topic.record, registry.cloned()),
                    records: metrics::counter!("tickstream_dashboard_records_total", "topic" => name.clone()),
                    bad_records: metrics::counter!("tickstream_dashboard_bad_records_total", "topic" => name.clone()),
                    name,
                }
            })
            .collect();
        Self { topics }
    }

    /// Decodes `records` of a partition of the topic at `index`.
    ///
    /// # Errors
    /// Why the batch has to wait.
    pub async fn decode(&mut self, index: usize, partition: i32, records: &Records) -> Result<Batch, String> {
        let topic = &mut self.topics[index];
        let decoded = topic.decoder.decode(records.values()).await.map_err(|error| error.to_string())?;
        topic.records.increment(records.len() as u64);
        if let Some((row, reason)) = decoded.bad.first() {
            let (name, count) = (&topic.name, decoded.bad.len());
            let offset = records.offsets().value(*row as usize);
            topic.bad_records.increment(count as u64);
            tracing::debug!(
                topic = name,
                partition,
                offset,
                count,
                "{count} bad records of {name} left out, the first: {reason}"
            );
        }
        Ok(Batch { record: topic.record, partition, records: records.clone(), decoded })
    }
}

impl Batch {
    fn broker_time(&self, row: usize) -> i64 {
        self.records.timestamps_ms().value(self.decoded.rows[row] as usize).saturating_mul(1000)
    }

    fn at(&self, row: usize) -> Position {
        Position { partition: self.partition, offset: self.records.offsets().value(self.decoded.rows[row] as usize) }
    }

    fn last(&self) -> Option<Position> {
        self.records.last_offset().map(|offset| Position { partition: self.partition, offset })
    }

    fn ticks(&self, rows: Range<usize>) -> impl ExactSizeIterator<Item = Told<'_>> + Clone {
        let ticks = Ticks::new(&self.decoded.batch);
        rows.map(move |row| Told::new(&ticks, row, self.broker_time(row), self.at(row)))
    }

    /// Looks ahead at what this batch corrects.
    pub fn announce(&self, hub: &Hub) {
        if self.record == RecordType::PriceTick {
            hub.announce(self.ticks(0..self.decoded.rows.len()));
        }
    }

    /// Takes the batch in.
    pub fn put(&self, hub: &Hub, showing: Showing) {
        let last = self.last();
        let read = last.as_slice();
        match self.record {
            RecordType::PriceTick => {
                let (rows, mut from) = (self.decoded.rows.len(), 0);
                while from < rows {
                    let to = rows.min(from + AT_ONCE);
                    let read = if to == rows { last } else { Some(self.at(to - 1)) };
                    hub.put_ticks(self.ticks(from..to), showing, read.as_slice());
                    from = to;
                    if showing == Showing::Older {
                        std::thread::sleep(REST);
                    }
                }
                hub.put_ticks(std::iter::empty::<Told<'_>>(), showing, read);
                if showing == Showing::Each {
                    self.measure();
                }
            }
            RecordType::Gap => {
                let gaps = Gaps::new(&self.decoded.batch);
                hub.put_gaps(gaps.iter().enumerate().map(|(row, gap)| (gap, self.at(row))), read);
            }
            RecordType::Alert => {
                let alerts = Alerts::new(&self.decoded.batch);
                hub.put_alerts(alerts.iter().enumerate().map(|(row, alert)| (alert, self.at(row))), read);
            }
            RecordType::SourceHealth => {
                let healths = Healths::new(&self.decoded.batch);
                hub.put_healths(healths.iter().enumerate().map(|(row, health)| (health, self.broker_time(row))), read);
            }
            // No page shows them, and no topic that is read here carries them.
            RecordType::IndexWeight | RecordType::Payload => {}
        }
    }

    fn measure(&self) {
        let lag_seconds = metrics::histogram!("tickstream_dashboard_broker_lag_seconds");
        let now = now_us();
        for row in 0..self.decoded.rows.len() {
            lag_seconds.record((now - self.broker_time(row)).max(0) as f64 / 1e6);
        }
    }

    /// The broker's time of its oldest record, microseconds.
    pub fn oldest_us(&self) -> Option<i64> {
        self.records.timestamps_ms().values().iter().min().map(|ms| ms.saturating_mul(1000))
    }
}
