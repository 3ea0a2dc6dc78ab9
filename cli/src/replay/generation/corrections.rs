//! The corrections of a generation: what today's parsers make of the payloads where that is not what was published, as
//! records that a promotion publishes byte for byte. Invariant: the topic holds all of them, in one committed transaction, or
//! none. Must never happen here: corrections of two comparisons side by side.

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use futures::future::try_join_all;
use pipeline::codec::Encoder;
use pipeline::kafka::{KafkaArgs, create};
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::stretches::{self, Stretch};
use producer::config::SourceName;
use producer::renormalize::{Change, Comparison, Counted, Found, Kind, RenormalizeArgs, read_and_compare};
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{CHANGE, GenerationArgs, OLD, own_topic, topic};
use crate::output;
use crate::replay::plan::{Name, Plan, Source};
use crate::transactions::Transactions;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody waits for what is open in this topic, and it may take long to write.
const LASTS: Duration = Duration::from_secs(600);

/// Makes the corrections, unless they are there. Gives how many there are.
///
/// # Errors
/// [`pipeline::Misconfigured`] for what the user can mend; else what failed: then there are none.
pub async fn make(plan: &Plan, kafka: &KafkaArgs, args: &GenerationArgs) -> anyhow::Result<u64> {
    let topic = topic(&plan.name);
    // One partition, so that they have one order.
    own_topic::create(kafka, &topic, 1, own_topic::Clock::Broker).await?;
    // Whoever had it open is shut out by this; what is committed stays so.
    let id = format!("tickstream-generation-{}", plan.name);
    let transactions = Transactions::open(kafka, &id, LASTS, "tickstream replay execute").await?;
    let there = count(kafka, &plan.name).await?;
    if there > 0 {
        return Ok(there);
    }
    let (found, comparison) = read_and_compare(&compared(plan, kafka, args)?).await?;
    tell(found, comparison.counts());
    let encoder = Encoder::new(args.registry.framing()?).await?;
    let written = send_all(transactions.begin()?, &topic, comparison, &plan.symbols, &encoder).await;
    transactions.end(written).await
}

fn compared(plan: &Plan, kafka: &KafkaArgs, args: &GenerationArgs) -> anyhow::Result<RenormalizeArgs> {
    let span = plan.from_time.zip(plan.to_time);
    let (from, to) = span.ok_or_else(|| misconfigured("a plan from payloads needs a span in times"))?;
    let source = |name: &String| {
        SourceName::from_str(name, false).map_err(|_| misconfigured(format!("{name} is no source with payloads")))
    };
    Ok(RenormalizeArgs {
        kafka: kafka.clone(),
        registry: args.registry.clone(),
        store: args.store.clone(),
        from,
        to,
        sources: plan.sources.iter().map(source).collect::<anyhow::Result<_>>()?,
        dry_run: true,
        lake: plan.source == Source::PayloadsLake,
        max_ticks: args.max_ticks,
        symbols_file: args.symbols_file.clone(),
    })
}

fn tell(found: Found, counted: Counted) {
    let Counted { same, changed, new, retracted, left_alone } = counted;
    output::note(&format!(
        "{} payloads read, {} could not be read; {same} ticks the same, {changed} changed, {new} new, {retracted} retracted, \
         {left_alone} left alone, since their payloads were not read",
        found.payloads, found.unreadable
    ));
}

/// Gives all corrections to `take`, in their order: offset, key, value and headers as they stand in the generation's topic.
///
/// # Errors
/// When they cannot be read to their end.
pub async fn read(
    kafka: &KafkaArgs,
    name: &Name,
    mut take: impl AsyncFnMut(Records) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let topic = topic(name);
    let settings = kafka.consumer(None);
    let asked = topic.clone();
    let ends = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = create(&settings, DefaultConsumerContext)?;
        consumer.fetch_watermarks(&asked, 0, TIMEOUT).with_context(|| format!("reading the ends of {asked}"))
    });
    let (start, end) = ends.await??;
    let stretch = Stretch { partition: 0, start, end };
    stretches::read(kafka, &topic, &[stretch], "the generation is gone", async |_, records| take(records).await).await
}

async fn count(kafka: &KafkaArgs, name: &Name) -> anyhow::Result<u64> {
    let mut count = 0;
    read(kafka, name, async |records| {
        count += records.len() as u64;
        Ok(())
    })
    .await?;
    Ok(count)
}

async fn send_all(
    producer: &FutureProducer,
    topic: &str,
    mut comparison: Comparison,
    symbols: &[String],
    encoder: &Encoder,
) -> anyhow::Result<u64> {
    let mut count = 0;
    while let Some(changes) = comparison.next_changes().await? {
        let mut sent = Vec::with_capacity(changes.len());
        for change in changes.iter().filter(|change| is_of(change, symbols)) {
            let value = encoder.tick(&change.new);
            let mut headers = OwnedHeaders::new().insert(Header { key: CHANGE, value: Some(said(change.change)) });
            if let Some(old) = &change.old {
                headers = headers.insert(Header { key: OLD, value: Some(&encoder.tick(old)) });
            }
            let record = FutureRecord::<str, [u8]>::to(topic).key(&change.new.symbol).payload(&value).headers(headers);
            let sending = producer.send_result(record);
            sent.push(sending.map_err(|(error, _)| anyhow!(error).context(format!("writing to {topic}")))?);
        }
        count += sent.len() as u64;
        for delivered in try_join_all(sent).await.context("waiting for the corrections")? {
            delivered.map_err(|(error, _)| anyhow!(error).context(format!("writing to {topic}")))?;
        }
    }
    Ok(count)
}

fn is_of(change: &Change, symbols: &[String]) -> bool {
    let is =
        |symbol: &String| *symbol == change.new.symbol || change.old.as_ref().is_some_and(|old| *symbol == old.symbol);
    symbols.is_empty() || symbols.iter().any(is)
}

fn said(kind: Kind) -> &'static str {
    match kind {
        Kind::Changed => "changed",
        Kind::New => "new",
        Kind::Retracted => "retracted",
    }
}
