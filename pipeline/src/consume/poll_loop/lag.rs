//! How far behind the loop is, whether the broker is back, whether nothing moves though there is something. An assigned
//! consumer with lag that sits still must say so.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::super::context::LoopContext;
use super::super::partition::Partition;
use super::PollLoop;

/// How often a broker is asked that gave trouble, or gives nothing.
const ASK_BROKER: Duration = Duration::from_secs(5);
/// An assigned consumer with lag that has seen no record for this long says so.
const NO_PROGRESS: Duration = Duration::from_secs(30);

impl PollLoop<'_> {
    /// Once a second tells the lag; asks the broker itself where reading says nothing.
    pub(super) fn look_around(&mut self) {
        if self.last_look.elapsed() < Duration::from_secs(1) {
            return;
        }
        let asks = self.broker_trouble || self.last_record.elapsed() > NO_PROGRESS;
        if asks && self.last_look.elapsed() < ASK_BROKER {
            return;
        }
        self.last_look = Instant::now();
        for held in &mut self.partitions {
            let heard = if asks {
                self.consumer
                    .fetch_watermarks(&held.topic, held.partition, Duration::from_secs(2))
                    .map(|(_, end)| Some(end))
            } else {
                Ok(cached_end(self.consumer, held))
            };
            match heard {
                Ok(Some(end)) => held.heard_log_end(end),
                Ok(None) => {}
                Err(error) => {
                    let reason = format!("{} is not reached: {error}", held.topic);
                    self.broker_trouble(reason);
                    return;
                }
            }
        }
        self.tell_lag();
        if self.broker_trouble && (!self.partitions.is_empty() || self.broker_answers()) {
            self.broker_works();
        }
        let stuck = self.partitions.iter().find(|held| asks && self.paused.is_none() && held.has_unread());
        let progress = stuck.map_or(Ok(()), |held| {
            let (topic, partition, waited) = (&held.topic, held.partition, self.last_record.elapsed());
            Err(format!("no record of {topic}[{partition}] for {waited:.0?} though {} wait", held.lag()))
        });
        self.health.set("progress", progress);
    }

    /// Asked where no partition is held of which the end could be asked.
    fn broker_answers(&self) -> bool {
        let topic = self.config.topics.first().map(String::as_str);
        self.consumer.fetch_metadata(topic, Duration::from_secs(2)).is_ok()
    }

    /// Of partitions that are given up: a gauge keeps what it was told last.
    pub(super) fn forget_lag(&self) {
        self.partitions.iter().for_each(|held| self.lag_gauge(held).set(0.0));
    }

    /// Tells how many records of each partition are not durable yet, and how many bytes of them are held.
    pub(super) fn tell_lag(&self) {
        for held in &self.partitions {
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            self.lag_gauge(held).set(held.lag() as f64);
        }
        let held: usize = self.partitions.iter().map(|held| held.held_bytes() + held.handed_over_bytes()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("tickstream_consumer_held_bytes").set(held as f64);
    }

    /// Several groups read one topic, and one Prometheus asks all of them.
    fn lag_gauge(&self, held: &Partition) -> metrics::Gauge {
        let group = ("group", self.config.group.clone());
        let labels = [("topic", held.topic.to_string()), ("partition", held.partition.to_string()), group];
        metrics::gauge!("tickstream_consumer_lag", &labels)
    }
}

/// The end of the log as the last fetch told it.
fn cached_end(consumer: &BaseConsumer<LoopContext>, held: &Partition) -> Option<i64> {
    let name = std::ffi::CString::new(held.topic.as_bytes()).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client outlives the call, the name ends with a zero byte, both results are ours.
    let code = unsafe {
        rdkafka::bindings::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            name.as_ptr(),
            held.partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (code == rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}
