//! `tickstream trace`: one tick's way, from the payload that it was read from to the candles that it counts in, with the time
//! at each hop. A record is found by its place, or its event by its id; either way it is asked for where it must be, and what
//! was searched is said. It reads only. Must never happen here: a hop that was not looked at told as empty.

mod hops;
mod lake;
mod objects;
mod postgres;
mod search;
mod target;
mod topic;
mod way;
mod world;

use std::ops::Range;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Ticks};
use pipeline::events::PriceTick;
use pipeline::kafka::KafkaArgs;
use pipeline::records::Records;
use pipeline::registry::RegistryArgs;
use pipeline::store::StoreArgs;
use pipeline::trace::trace_id_of;
use pipeline::{misconfigured, topics};
use serde::Serialize;
use uuid::Uuid;

use crate::database::DatabaseArgs;
use crate::dlq::{Coordinates, Letter};
use crate::moment;
use crate::nearest::not_known;
use crate::output::{self, Format, OutputArgs};
use lake::RawTold;
use target::Target;
use topic::Told;
use way::{HEADINGS, Way};
use world::{Part, World};

/// How far from `--around` an event is looked for.
const AROUND: SignedDuration = SignedDuration::from_hours(1);

#[derive(Args, Debug)]
pub struct TraceArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// An event's id, or a record of market.ticks.v1 as TOPIC:PARTITION:OFFSET. A dead letter's own place is that of its record.
    #[arg(value_name = "EVENT_ID|TOPIC:PARTITION:OFFSET")]
    of: Target,
    /// About when the event was: it is looked for an hour before and after, in the lake and the topic as well as in Postgres.
    #[arg(long, env = "TRACE_AROUND", value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME", conflicts_with = "since")]
    around: Option<Timestamp>,
    /// Look for the event from then until now: a duration (2h, 7d) or a time.
    #[arg(long, env = "TRACE_SINCE", value_parser = moment::parse_since, value_name = "DURATION|TIME")]
    since: Option<Timestamp>,
    /// Leave these out, separated by commas. Default: all that are named are asked.
    #[arg(long, env = "TRACE_SKIP", value_enum, value_delimiter = ',', value_name = "PART")]
    skip: Vec<Part>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The record that is traced.
struct Subject {
    place: Coordinates,
    topic_id: Option<Uuid>,
    broker_ms: i64,
    /// Or why it is none.
    tick: Result<PriceTick, String>,
    /// The OpenTelemetry trace that its headers name.
    trace_id: Option<String>,
    /// Where the topic's log begins now, where that is behind the record.
    removed_before: Option<i64>,
    raw: Option<RawTold>,
    letters: Vec<Letter>,
}

/// The answer of `-o json`.
#[derive(Serialize)]
struct Answer<'a> {
    /// TOPIC:PARTITION:OFFSET.
    record: String,
    event_id: Option<Uuid>,
    revision: Option<i32>,
    source: Option<&'a str>,
    symbol: Option<&'a str>,
    kind: Option<&'static str>,
    price: Option<String>,
    searched: &'a [String],
    hops: &'a [way::Hop],
}

pub async fn run(args: TraceArgs) -> anyhow::Result<()> {
    let times = times(&args)?;
    let mut world = World::connect(&args).await?;
    let mut way = Way::default();
    let place = match &args.of {
        Target::Record(place) => checked(&world, place).await?,
        Target::Event(id) => search::event(&mut world, *id, times.as_ref(), &mut way).await?,
    };
    let subject = subject(&world, place).await?;
    hops::follow(&mut world, &subject, times.as_ref(), &mut way).await?;
    print(&args, &subject, &way)?;
    let missing = way.missing();
    if !missing.is_empty() {
        bail!("not there, and should be: {}; `tickstream audit` says what to do about it", missing.join(", "));
    }
    match world.unreachable.first() {
        None => Ok(()),
        Some(part) => Err(misconfigured(format!("not asked: {part} (--skip leaves a part out)"))),
    }
}

fn print(args: &TraceArgs, subject: &Subject, way: &Way) -> anyhow::Result<()> {
    let tick = subject.tick.as_ref().ok();
    match args.output.format {
        Format::Table => {
            let what = tick.map_or_else(
                || "no tick".to_owned(),
                |tick| {
                    let PriceTick { event_id, revision, source, symbol, kind, price, .. } = tick;
                    format!("event {event_id}, revision {revision}: {symbol} of {source}, {} {price}", kind.as_str())
                },
            );
            let searched: String = way.searched.iter().map(|line| format!("searched: {line}\n")).collect();
            output::print(&format!("{}: {what}\n{searched}\n{}", subject.place, way.as_text()))
        }
        Format::Json => output::print_json(&Answer {
            record: subject.place.to_string(),
            event_id: tick.map(|tick| tick.event_id),
            revision: tick.map(|tick| tick.revision),
            source: tick.map(|tick| tick.source.as_str()),
            symbol: tick.map(|tick| tick.symbol.as_str()),
            kind: tick.map(|tick| tick.kind.as_str()),
            price: tick.map(|tick| tick.price.to_string()),
            searched: &way.searched,
            hops: &way.hops,
        }),
        Format::Csv => output::print(&output::csv(&HEADINGS, true, &way.hops)?),
    }
}

/// From when to when an event is looked for, as microseconds from 1970.
fn times(args: &TraceArgs) -> anyhow::Result<Option<Range<i64>>> {
    let range = match (args.around, args.since) {
        (Some(around), _) => (around.checked_sub(AROUND)?, around.checked_add(AROUND)?),
        (None, Some(since)) => (since, Timestamp::now()),
        (None, None) => return Ok(None),
    };
    let (from, until) = (range.0.as_microsecond(), range.1.as_microsecond());
    if from >= until {
        return Err(misconfigured(format!("--since (TRACE_SINCE) {} lies ahead: nothing can be there yet", range.0)));
    }
    Ok(Some(from..until))
}

/// The record meant, when there can be such a one.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a topic or partition that there is not.
async fn checked(world: &World, place: &Coordinates) -> anyhow::Result<Coordinates> {
    let Coordinates { topic, partition, .. } = place;
    let is_letter = *topic == topics::dlq(topics::TICKS);
    if topic != topics::TICKS && !is_letter {
        let declared = topics::declared();
        if !declared.iter().any(|declared| declared.name == *topic) {
            return Err(misconfigured(not_known("topic", topic, declared.iter().map(|topic| topic.name.as_str()))));
        }
        return Err(misconfigured(format!(
            "{topic} holds no ticks, and it is a tick that is traced: a place in {} or an event id",
            topics::TICKS
        )));
    }
    let Ok(broker) = &world.broker else {
        if is_letter {
            return Err(misconfigured(format!("{place} is a dead letter, and the topic is left out: name its record")));
        }
        return Ok(place.clone());
    };
    let Some(found) = broker.metadata.topics.get(topic) else {
        return Err(misconfigured(format!(
            "topic {topic} does not exist at this broker; `tickstream topics apply` creates the declared topics"
        )));
    };
    if !found.partitions.contains(partition) {
        let (first, last) = (found.partitions.first().unwrap_or(&0), found.partitions.last().unwrap_or(&0));
        return Err(misconfigured(format!("{topic} has no partition {partition}: it has {first} to {last}")));
    }
    if !is_letter {
        return Ok(place.clone());
    }
    let letter = record(&broker.record(place).await?, place)?.and_then(|records| Letter::read(&records, 0));
    let letter = letter.with_context(|| format!("{place} does not say whose dead letter it is"))?;
    let of =
        Coordinates { topic: topics::TICKS.to_owned(), partition: letter.place.partition, offset: letter.place.offset };
    output::note(&format!("{place} is a dead letter of {of}, which is traced"));
    Ok(of)
}

/// The record of the topic; `None` where retention has removed it.
fn record(told: &Told, place: &Coordinates) -> anyhow::Result<Option<Records>> {
    let Coordinates { topic, partition, offset } = place;
    match told {
        Told::Record(records) => Ok(Some(records.clone())),
        Told::BeforeLog(_) => Ok(None),
        Told::BeyondEnd(end) => {
            let least =
                if *end == 0 { "it has none yet".to_owned() } else { format!("its last offset is {}", end - 1) };
            bail!("{topic}[{partition}] has no record at offset {offset}: {least}")
        }
        Told::NeverDelivered => bail!(
            "offset {offset} of {topic}[{partition}] is no record: the marker that ends a transaction, or a record of one that \
             was aborted; no reader is given it"
        ),
    }
}

async fn subject(world: &World, place: Coordinates) -> anyhow::Result<Subject> {
    let (mut told, mut topic_id) = (None, None);
    if let Ok(broker) = &world.broker {
        told = Some(broker.record(&place).await?);
        topic_id = Some(broker.ids.topic_id(&place.topic, 0).await?);
    }
    let from_topic = told.as_ref().map(|told| record(told, &place)).transpose()?.flatten();
    let raw = match &world.store {
        Ok(store) => Some(lake::raw(store, &place, topic_id).await?),
        Err(_) => None,
    };
    let removed_before = match told {
        Some(Told::BeforeLog(start)) => Some(start),
        Some(Told::Record(_) | Told::BeyondEnd(_) | Told::NeverDelivered) | None => None,
    };
    let from_raw = match &raw {
        Some(RawTold::There(raw)) => {
            topic_id = topic_id.or(Some(raw.topic_id));
            Some(raw.record.clone())
        }
        Some(RawTold::NotYet(_) | RawTold::Lost(_) | RawTold::Missing(_)) | None => None,
    };
    let Some(records) = from_topic.or(from_raw) else {
        return Err(nowhere(world, &place, removed_before, raw.as_ref()));
    };
    let broker_ms = records.timestamps_ms().value(0);
    let trace_id = trace_id_of(records.headers_of(0));
    let letters = match (&world.broker, topic_id) {
        (Ok(broker), Some(topic_id)) => broker.letters(&place, topic_id, broker_ms).await?,
        _ => Vec::new(),
    };
    let mut decoder = Decoder::new(RecordType::PriceTick, world.registry.clone());
    let decoded = decoder.decode(records.values()).await?;
    let tick = match decoded.bad.into_iter().next() {
        Some((_, reason)) => Err(reason),
        None => Ok(Ticks::new(&decoded.batch).get(0)),
    };
    Ok(Subject { place, topic_id, broker_ms, tick, trace_id, removed_before, raw, letters })
}

fn nowhere(world: &World, place: &Coordinates, removed_before: Option<i64>, raw: Option<&RawTold>) -> anyhow::Error {
    let Coordinates { topic, partition, offset } = place;
    let in_topic = match (&world.broker, removed_before) {
        (Err(reason), _) => format!("the topic was not asked ({reason})"),
        (Ok(_), Some(start)) => format!("retention has removed it from the topic, which begins at offset {start} now"),
        (Ok(_), None) => "the topic does not have it".to_owned(),
    };
    let in_lake = match (&world.store, raw) {
        (Err(reason), _) => format!("the lake, whose raw objects keep every record, was not asked ({reason})"),
        (Ok(_), Some(RawTold::NotYet(why) | RawTold::Lost(why) | RawTold::Missing(why))) => {
            format!("in the lake: {why}")
        }
        (Ok(_), Some(RawTold::There(_)) | None) => "the lake does not have it".to_owned(),
    };
    let said = format!("{topic}[{partition}] offset {offset}: {in_topic}; {in_lake}");
    // It may be there, were all asked that were named.
    if world.unreachable.is_empty() { anyhow!(said) } else { misconfigured(said) }
}
