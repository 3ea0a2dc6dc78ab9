//! Reading the ticks, and asking for the lag. The ticks are read by assignment from some minutes back, yet never more than so
//! many records of a partition, so that it is up to date at once however busy the market is. What goes wrong is told and tried
//! again.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Ticks};
use pipeline::headers::ClientHeaders;
use pipeline::kafka::{KafkaArgs, ask_leader, create};
use pipeline::misconfigured;
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::registry::Registry;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::sleep;

use super::WatchArgs;
use super::shared::Shared;
use crate::groups::{Asker, Total, Wanted, totals};
use crate::kafka::Cluster;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Records of a partition that are read from before the beginning.
const MOST_BACK: i64 = 50_000;
const BATCH_ROWS: usize = 5_000;
const BATCH_EVERY: Duration = Duration::from_millis(100);
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const LAG_EVERY: Duration = Duration::from_secs(2);

/// Says nothing by itself: a line would stand in the middle of the table.
struct Silent(Sender<Heard>);

impl ClientContext for Silent {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, setting: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        pipeline::kafka::token(setting)
    }

    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let is_away = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::Authentication
            )
        );
        if is_away {
            // When nobody takes it, there is as much to be told already.
            drop(self.0.try_send(Heard::Trouble(reason.to_owned())));
        }
    }
}

impl ConsumerContext for Silent {}

enum Heard {
    Records(Records),
    /// Everything is read that was there at the beginning.
    CaughtUp,
    Trouble(String),
}

pub struct Reader {
    kafka: KafkaArgs,
    topic: String,
    look_back: SignedDuration,
    cluster: Cluster,
    registry: Option<Registry>,
}

impl Reader {
    /// # Errors
    /// [`pipeline::Misconfigured`] when no broker answers, or there is no such topic.
    pub async fn new(args: &WatchArgs) -> anyhow::Result<Self> {
        let cluster = Cluster::new(&args.kafka)?;
        if !cluster.metadata().await?.topics.contains_key(&args.topic) {
            let servers = &args.kafka.kafka_bootstrap_servers;
            return Err(misconfigured(format!(
                "topic {} does not exist at {servers}; `tickstream topics apply` creates the declared topics",
                args.topic
            )));
        }
        Ok(Self {
            kafka: args.kafka.clone(),
            topic: args.topic.clone(),
            look_back: args.look_back,
            cluster,
            registry: args.registry.registry()?,
        })
    }

    /// Reads until it is dropped.
    pub async fn run(self, shared: Arc<Shared>) {
        loop {
            if let Err(error) = self.read(&shared).await {
                shared.state().reading_trouble = Some(format!("prices: {error:#}"));
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn read(&self, shared: &Shared) -> anyhow::Result<()> {
        let (sender, mut heard) = channel(4);
        let starts = self.starts().await?;
        let consumer: BaseConsumer<Silent> = create(&self.kafka.consumer(None), Silent(sender.clone()))?;
        let topic = self.topic.clone();
        let reading = tokio::task::spawn_blocking(move || poll(&consumer, &topic, &starts, &sender));
        let mut decoder = Decoder::new(RecordType::PriceTick, self.registry.clone());
        while let Some(heard) = heard.recv().await {
            match heard {
                Heard::CaughtUp => shared.state().caught_up = true,
                Heard::Trouble(reason) => shared.state().broker_away = Some(reason),
                Heard::Records(records) => {
                    let decoded = decoder.decode(records.values()).await?;
                    let ticks = Ticks::new(&decoded.batch);
                    shared.add((0..ticks.len()).map(|row| ticks.get(row)), decoded.bad.len());
                    let mut state = shared.state();
                    (state.reading_trouble, state.broker_away) = (None, None);
                }
            }
        }
        reading.await?
    }

    /// Where each partition is read from, and where it ends now.
    async fn starts(&self) -> anyhow::Result<Vec<(i32, i64, i64)>> {
        let metadata = self.cluster.metadata().await?;
        let found = metadata.topics.get(&self.topic).ok_or_else(|| anyhow!("topic {} is gone", self.topic))?;
        let since = Timestamp::now().checked_sub(self.look_back).context("--look-back")?.as_millisecond();
        let at_time = self.offsets_at(&found.partitions, since).await?;
        let mut starts = Vec::new();
        for &partition in &found.partitions {
            let ends = self.cluster.ends(&self.topic, partition).await?;
            let at_time = at_time.get(&partition).copied().unwrap_or(ends.end);
            starts.push((partition, at_time.max(ends.end - MOST_BACK).clamp(ends.start, ends.end), ends.end));
        }
        Ok(starts)
    }

    /// The first offset at or after a time, where there is one.
    async fn offsets_at(&self, partitions: &[i32], time_ms: i64) -> anyhow::Result<HashMap<i32, i64>> {
        let consumer: BaseConsumer = create(&self.kafka.consumer(None), DefaultConsumerContext)?;
        let mut times = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            times.add_partition_offset(&self.topic, *partition, Offset::Offset(time_ms))?;
        }
        let topic = self.topic.clone();
        tokio::task::spawn_blocking(move || {
            let offsets = ask_leader(TIMEOUT, || consumer.offsets_for_times(times.clone(), TIMEOUT))
                .with_context(|| format!("looking for a time in {topic}"))?;
            let offset = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            };
            Ok(offsets.elements().into_iter().filter_map(offset).collect())
        })
        .await?
    }
}

/// Polls until nobody takes what it reads.
fn poll(
    consumer: &BaseConsumer<Silent>,
    topic: &str,
    starts: &[(i32, i64, i64)],
    to: &Sender<Heard>,
) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::with_capacity(starts.len());
    for (partition, start, _) in starts {
        list.add_partition_offset(topic, *partition, Offset::Offset(*start))?;
    }
    consumer.assign(&list).context("assign")?;
    let mut behind: Vec<(i32, i64)> =
        starts.iter().filter(|(_, start, end)| start < end).map(|(partition, _, end)| (*partition, *end)).collect();
    let (mut buffer, mut told, mut flushed) = (RecordBuffer::new(), false, std::time::Instant::now());
    loop {
        match consumer.poll(BATCH_EVERY) {
            None => {}
            Some(Ok(message)) => {
                let record = Record {
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                    key: message.key(),
                    value: message.payload(),
                };
                buffer.push(record, ClientHeaders::of(&message));
                behind.retain(|(partition, end)| *partition != message.partition() || message.offset() + 1 < *end);
            }
            Some(Err(KafkaError::PartitionEOF(ended))) => behind.retain(|(partition, _)| *partition != ended),
            Some(Err(KafkaError::MessageConsumption(
                code @ (RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::NoOffset),
            ))) => return Err(anyhow!("the log of {topic} was cut while it was read ({code})")),
            // The client goes on by itself; what it says of its brokers is heard.
            Some(Err(_)) => {}
        }
        if to.is_closed() {
            return Ok(());
        }
        if buffer.len() >= BATCH_ROWS || (!buffer.is_empty() && flushed.elapsed() >= BATCH_EVERY) {
            flushed = std::time::Instant::now();
            if to.blocking_send(Heard::Records(buffer.finish())).is_err() {
                return Ok(());
            }
        }
        if !told && behind.is_empty() && buffer.is_empty() {
            told = true;
            if to.blocking_send(Heard::CaughtUp).is_err() {
                return Ok(());
            }
        }
    }
}

/// Asks for the lag every few seconds, until it is dropped.
pub async fn follow_lags(kafka: KafkaArgs, groups: Vec<String>, shared: Arc<Shared>) {
    let wanted = Wanted { groups, topics: Vec::new() };
    let mut asker = None;
    loop {
        match lags(&kafka, &mut asker, &wanted).await {
            Ok(lags) => {
                let mut state = shared.state();
                state.lags = Some(lags);
                (state.lag_trouble, state.broker_away) = (None, None);
            }
            Err(error) => {
                asker = None;
                shared.state().lag_trouble = Some(format!("lag: {error:#}"));
            }
        }
        sleep(LAG_EVERY).await;
    }
}

async fn lags(kafka: &KafkaArgs, asker: &mut Option<Asker>, wanted: &Wanted) -> anyhow::Result<Vec<Total>> {
    let asker = match asker {
        Some(asker) => asker,
        None => asker.insert(Asker::new(kafka)?),
    };
    Ok(totals(&asker.ask(wanted).await?.lags))
}
