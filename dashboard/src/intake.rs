//! Decodes a batch of one topic and takes it into the live state. A bad record is counted by topic and left out; only a
//! schema registry that does not answer holds a batch up.

use pipeline::codec::RecordType;
use pipeline::decode::{Decoded, Decoder, Gaps, Healths, Ticks};
use pipeline::records::Records;
use pipeline::registry::Registry;

use crate::clock::now_us;
use crate::hub::Hub;
use crate::positions::ReadTopic;

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

    /// Takes in `records` of the topic at `index`; `live` when they are not part of the look-back.
    ///
    /// # Errors
    /// Why the batch has to wait; nothing of it was taken in.
    pub async fn take_in(&mut self, index: usize, records: &Records, hub: &Hub, live: bool) -> Result<(), String> {
        let topic = &mut self.topics[index];
        let decoded = topic.decoder.decode(records.values()).await.map_err(|error| error.to_string())?;
        topic.records.increment(records.len() as u64);
        if let Some((row, reason)) = decoded.bad.first() {
            let (name, count) = (&topic.name, decoded.bad.len());
            let offset = records.offsets().value(*row as usize);
            topic.bad_records.increment(count as u64);
            tracing::debug!(topic = name, offset, count, "{count} bad records of {name} left out, the first: {reason}");
        }
        match topic.record {
            RecordType::PriceTick => put_ticks(&decoded, records, hub, live),
            RecordType::Gap => {
                let mut state = hub.live();
                Gaps::new(&decoded.batch).iter().for_each(|gap| state.put_gap(&gap));
            }
            RecordType::SourceHealth => {
                let mut state = hub.live();
                Healths::new(&decoded.batch).iter().for_each(|health| state.put_health(&health));
            }
            // No page shows them, and no topic that is read here carries them.
            RecordType::IndexWeight | RecordType::Payload | RecordType::Alert => {}
        }
        Ok(())
    }
}

fn put_ticks(decoded: &Decoded, records: &Records, hub: &Hub, live: bool) {
    let broker_times: Vec<i64> =
        decoded.rows.iter().map(|row| records.timestamps_ms().value(*row as usize).saturating_mul(1000)).collect();
    {
        let mut state = hub.live();
        for (tick, broker_time) in Ticks::new(&decoded.batch).iter().zip(&broker_times) {
            state.put_tick(&tick, *broker_time);
        }
    }
    if live {
        let lag_seconds = metrics::histogram!("tickstream_dashboard_broker_lag_seconds");
        let now = now_us();
        for broker_time in broker_times {
            lag_seconds.record((now - broker_time).max(0) as f64 / 1e6);
        }
    }
}
