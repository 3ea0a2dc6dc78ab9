//! `tickstream replay plan`: what is asked for is looked up, shown, and written into a file; nothing else is written. Must never
//! happen here: records that were asked for and are gone, and a plan that says nothing of it.

mod bounds;
mod log;
mod raw_log;
mod rewinding;
pub mod shown;
mod span;
mod symbols;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use pipeline::store::StoreArgs;
use pipeline::topic_id::TopicIds;
use pipeline::{misconfigured, topics};
use producer::config::SourceName;
use uuid::Uuid;

use super::generation;
use super::plan::{Mode, Name, Plan, Source, Stretch, Target, VERSION, text_of};
use crate::groups::Place;
use crate::kafka::{Cluster, Metadata};
use crate::nearest::not_known;
use crate::output::{OutputArgs, file};
use bounds::{Begin, BoundsArgs, End};
use log::{Log, TopicLog};
use raw_log::RawLog;

#[derive(Args, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// What the replay is called, and the generation that it makes; unset, after the time.
    #[arg(long, env = "REPLAY_NAME", value_name = "NAME")]
    name: Option<Name>,
    /// Whether stopped groups read again, or a generation is written beside the live one.
    #[arg(long, env = "REPLAY_MODE", value_enum, default_value = "side-by-side", value_name = "MODE")]
    mode: Mode,
    /// These topics, separated by commas; unset, market.ticks.v1.
    #[arg(long = "topic", env = "REPLAY_TOPICS", value_delimiter = ',', value_name = "TOPIC")]
    topics: Vec<String>,
    /// These partitions only, separated by commas.
    #[arg(long = "partition", env = "REPLAY_PARTITIONS", value_delimiter = ',', value_name = "PARTITION")]
    partitions: Vec<i32>,
    /// Ticks of these symbols only, separated by commas. Side by side.
    #[arg(long = "symbol", env = "REPLAY_SYMBOLS", value_delimiter = ',', value_name = "SYMBOL")]
    symbols: Vec<String>,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// Where records are read from. Side by side.
    #[arg(long, env = "REPLAY_SOURCE", value_enum, default_value = "topic", value_name = "SOURCE")]
    source: ReadFrom,
    /// Read what the sources said with today's parsers, in place of the ticks that were published: what mends a wrong price.
    #[arg(long, env = "REPLAY_RENORMALIZE")]
    renormalize: bool,
    /// Payloads of these sources only, separated by commas. With --renormalize.
    #[arg(
        long = "payloads-of",
        env = "REPLAY_PAYLOADS_OF",
        value_enum,
        value_delimiter = ',',
        value_name = "SOURCE",
        requires = "renormalize"
    )]
    payloads_of: Vec<SourceName>,
    /// What is written, separated by commas: lake, db, alerts or topic:NAME. Unset, lake and db; db alone where the ticks are
    /// those that were published and a generation is written.
    #[arg(long = "target", env = "REPLAY_TARGETS", value_delimiter = ',', value_name = "TARGET")]
    targets: Vec<Target>,
    #[command(flatten)]
    groups: rewinding::GroupArgs,
    /// The file of the plan; unset, replay-NAME.json.
    #[arg(long, env = "REPLAY_OUT", value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A log to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReadFrom {
    /// The broker's.
    Topic,
    /// The raw objects of the lake, for what the topic no longer has.
    #[value(alias = "lake:raw", alias = "lake_raw")]
    LakeRaw,
}

/// What planning asks.
struct World {
    kafka: KafkaArgs,
    metadata: Metadata,
    cluster_id: String,
    topic_ids: HashMap<String, Uuid>,
    log: Log,
    topic_log: TopicLog,
    now: Timestamp,
}

pub async fn run(args: PlanArgs) -> anyhow::Result<()> {
    let (begin, end) = (args.bounds.begin()?, args.bounds.end()?);
    check(&args, &begin, &end)?;
    let asked = asked_topics(&args, &begin)?;
    let world = World::ask(&args, &asked).await?;
    let places = places(&args, &begin, &asked, &world.metadata)?;
    check_ends(&end, &places)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => world.now.strftime("replay_%Y%m%d_%H%M%S").to_string().parse().expect("digits and letters"),
    };
    let draft = Plan {
        version: VERSION,
        name,
        made_at: world.now,
        cluster_id: world.cluster_id.clone(),
        mode: args.mode,
        source: source(&args),
        symbols: args.symbols.clone(),
        sources: args.payloads_of.iter().filter_map(|of| Some(of.to_possible_value()?.get_name().to_owned())).collect(),
        targets: targets(&args),
        from_time: if let Begin::At(at) = begin { Some(at) } else { None },
        to_time: match end {
            End::At(at) => Some(at),
            End::Now if args.renormalize => Some(world.now),
            End::Now | End::Offsets(_) => None,
        },
        groups: Vec::new(),
        partitions: Vec::new(),
        digest: String::new(),
    };
    let (plan, remarks) = match args.mode {
        Mode::Rewind => rewinding::plan(&world, &args.groups, &begin, &places, draft).await?,
        Mode::SideBySide => side_by_side(&world, &args.store, &begin, &end, &places, draft).await?,
    };
    let plan = plan.seal();
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("replay-{}.json", plan.name)));
    write(&path, &plan)?;
    shown::print(&plan, &remarks, &path, args.output.format)
}

fn check(args: &PlanArgs, begin: &Begin, end: &End) -> anyhow::Result<()> {
    let of_a_group = matches!(begin, Begin::Latest | Begin::Current | Begin::Shift(_) | Begin::OfGroups(_));
    let refuse = |why: &str| Err(misconfigured(why));
    if args.symbols.iter().any(|symbol| symbol.trim().is_empty()) {
        return refuse("--symbol (REPLAY_SYMBOLS) names a symbol that is empty: leave it out for all of them");
    }
    match args.mode {
        Mode::Rewind if !args.symbols.is_empty() => {
            refuse("--symbol needs --mode side-by-side: an offset belongs to a partition, and each holds many symbols")
        }
        Mode::Rewind if args.renormalize => refuse(
            "--renormalize needs --mode side-by-side: a group that reads again is given the same ticks, not what their payloads say today",
        ),
        Mode::Rewind if args.source == ReadFrom::LakeRaw => {
            refuse("--source lake-raw needs --mode side-by-side: a group reads the topic and nothing else")
        }
        Mode::Rewind if *end != End::Now => refuse(
            "--to-datetime and --to-offset need --mode side-by-side: a group that reads again goes on behind what it had read",
        ),
        Mode::SideBySide if of_a_group => refuse(
            "--to-latest, --to-current, --shift-by and a file that names groups need --mode rewind: they say where a group is set to",
        ),
        Mode::SideBySide if args.groups.are_named() => {
            refuse("--group needs --mode rewind: a generation is written without any group")
        }
        Mode::SideBySide if args.renormalize && !matches!(begin, Begin::At(_)) => refuse(
            "--renormalize needs --from-datetime or --by-duration: payloads are chosen by when they were received",
        ),
        Mode::SideBySide if args.renormalize && matches!(end, End::Offsets(_)) => {
            refuse("--renormalize needs --to-datetime: payloads are chosen by when they were received")
        }
        Mode::Rewind | Mode::SideBySide => Ok(()),
    }
}

fn source(args: &PlanArgs) -> Source {
    match (args.source, args.renormalize) {
        (ReadFrom::Topic, false) => Source::Topic,
        (ReadFrom::LakeRaw, false) => Source::LakeRaw,
        (ReadFrom::Topic, true) => Source::Payloads,
        (ReadFrom::LakeRaw, true) => Source::PayloadsLake,
    }
}

fn targets(args: &PlanArgs) -> Vec<Target> {
    let mut targets = args.targets.clone();
    if targets.is_empty() {
        targets = match args.mode {
            Mode::SideBySide if !args.renormalize => vec![Target::Db],
            Mode::Rewind | Mode::SideBySide => vec![Target::Lake, Target::Db],
        };
    }
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// The topics that are looked at.
fn asked_topics(args: &PlanArgs, begin: &Begin) -> anyhow::Result<Vec<String>> {
    let mut asked: Vec<String> = match begin {
        Begin::Offsets(offsets) => offsets.keys().map(|(topic, _)| topic.clone()).collect(),
        Begin::OfGroups(groups) => groups.values().flatten().map(|((topic, _), _)| topic.clone()).collect(),
        _ if args.renormalize => vec![topics::PAYLOADS.to_owned(), topics::TICKS.to_owned()],
        _ if args.topics.is_empty() => vec![topics::TICKS.to_owned()],
        _ => args.topics.clone(),
    };
    let names_them = matches!(begin, Begin::Offsets(_) | Begin::OfGroups(_));
    if names_them && !(args.topics.is_empty() && args.partitions.is_empty()) {
        return Err(misconfigured(
            "--topic and --partition go with a beginning in time: offsets name their topics and partitions themselves",
        ));
    }
    if args.renormalize && !(args.topics.is_empty() && args.partitions.is_empty()) {
        return Err(misconfigured(
            "--topic and --partition do not go with --renormalize: a source's payloads are in one partition, its ticks in all; --payloads-of and --symbol narrow it",
        ));
    }
    asked.sort_unstable();
    asked.dedup();
    Ok(asked)
}

/// By topic and partition.
fn places(args: &PlanArgs, begin: &Begin, asked: &[String], metadata: &Metadata) -> anyhow::Result<Vec<Place>> {
    let of = |topic: &String| metadata.topics.get(topic).map_or(&[][..], |found| &found.partitions);
    let mut places: Vec<Place> = match begin {
        Begin::Offsets(offsets) => offsets.keys().cloned().collect(),
        Begin::OfGroups(groups) => groups.values().flatten().map(|(place, _)| place.clone()).collect(),
        _ => {
            let partitions = |topic| if args.partitions.is_empty() { of(topic) } else { &args.partitions };
            let places = |topic| partitions(topic).iter().map(move |&partition| (topic.clone(), partition));
            asked.iter().flat_map(places).collect()
        }
    };
    places.sort_unstable();
    places.dedup();
    for (topic, partition) in &places {
        if !of(topic).contains(partition) {
            return Err(misconfigured(format!(
                "{topic} has no partition {partition}: it has {} of them, from 0",
                of(topic).len()
            )));
        }
    }
    Ok(places)
}

/// An end that is of nothing would leave the partition that was meant without one.
fn check_ends(end: &End, places: &[Place]) -> anyhow::Result<()> {
    let End::Offsets(offsets) = end else { return Ok(()) };
    match offsets.keys().find(|place| !places.contains(place)) {
        None => Ok(()),
        Some((topic, partition)) => {
            Err(misconfigured(format!("--to-offset names {topic}[{partition}], of which nothing is to be read")))
        }
    }
}

impl World {
    async fn ask(args: &PlanArgs, asked: &[String]) -> anyhow::Result<Self> {
        let kafka = args.kafka.clone();
        let metadata = Cluster::new(&kafka)?.metadata().await?;
        if let Some(unknown) = asked.iter().find(|topic| !metadata.topics.contains_key(*topic)) {
            let known = metadata.topics.keys().map(String::as_str).filter(|name| !name.starts_with("__"));
            return Err(misconfigured(not_known("topic", unknown, known)));
        }
        let ids = TopicIds::new(&kafka)?;
        let mut topic_ids = HashMap::new();
        for topic in asked {
            topic_ids.insert(topic.clone(), ids.topic_id(topic, 0).await?);
        }
        let log = match args.source {
            ReadFrom::Topic => Log::Topic(TopicLog::new(&kafka)?),
            ReadFrom::LakeRaw => Log::Raw(RawLog::connect(&args.store, topic_ids.clone()).await?),
        };
        let (cluster_id, topic_log, now) = (ids.cluster_id().await?, TopicLog::new(&kafka)?, Timestamp::now());
        Ok(Self { kafka, metadata, cluster_id, topic_ids, log, topic_log, now })
    }
}

async fn side_by_side(
    world: &World,
    store: &StoreArgs,
    begin: &Begin,
    end: &End,
    places: &[Place],
    draft: Plan,
) -> anyhow::Result<(Plan, Vec<String>)> {
    let source = draft.source;
    let partitions = span::stretches(world, source, begin, end, places).await?;
    let plan = Plan { partitions, ..draft };
    generation::check(&plan)?;
    let read = match (source.is_payloads(), plan.is_copy()) {
        (true, _) => Some(topics::PAYLOADS),
        (false, true) => None,
        (false, false) => Some(topics::TICKS),
    };
    let mut stretches = plan.partitions.iter().filter(|stretch| read.is_none_or(|read| stretch.topic == read));
    if stretches.all(|stretch| stretch.records == 0) {
        let of = read.map_or_else(String::new, |read| format!(" of {read}"));
        return Err(misconfigured(format!("no record{of} lies in what was asked for: there is nothing to replay")));
    }
    let mut remarks = Vec::new();
    if !plan.symbols.is_empty() {
        let found = symbols::check(&plan, &world.kafka, store).await?;
        remarks.push(format!("{found} of the ticks are of {}", plan.symbols.join(", ")));
    }
    remarks.extend(shown::of_generation(&plan));
    Ok((plan, remarks))
}

/// A plan may take the place of one of the same name, were it edited, and of nothing else.
fn write(path: &Path, plan: &Plan) -> anyhow::Result<()> {
    let is_of_it = |text: String| {
        let before: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        before["name"] == plan.name.as_str() && before["digest"].is_string()
    };
    // A device or a pipe is written into, and so not read before.
    if !path.is_dir() && !path.is_file() || text_of(path).is_ok_and(is_of_it) {
        return file::replace(path, plan.to_json().as_bytes())
            .map_err(|error| misconfigured(format!("the plan cannot be written to {}: {error}", path.display())));
    }
    let path = path.display();
    Err(misconfigured(format!("{path} exists and is not a plan of {}: --out names another file", plan.name)))
}

/// The partitions of each topic.
fn by_topic(places: &[Place]) -> BTreeMap<&str, Vec<i32>> {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        by_topic.entry(topic).or_default().push(*partition);
    }
    by_topic
}

/// For how long the broker keeps the record at the beginning of each stretch.
async fn tell_margins(world: &World, stretches: &mut [Stretch]) -> anyhow::Result<()> {
    let mut retentions: HashMap<String, Option<i64>> = HashMap::new();
    for stretch in stretches {
        let retention = match retentions.get(&stretch.topic) {
            Some(known) => *known,
            None => {
                let retention = world.topic_log.retention_ms(&stretch.topic).await?;
                retentions.insert(stretch.topic.clone(), retention);
                retention
            }
        };
        let goes_at = retention.zip(stretch.from_time).map(|(keeps, from)| from.as_millisecond() + keeps);
        stretch.margin_ms = goes_at.map(|at| (at - world.now.as_millisecond()).max(0));
    }
    Ok(())
}
