//! One run over the same ticks that prints, side by side, what the machine can do and what our services do with it.
//! Rates vary with the machine and its neighbours; the shares are what to look at.

mod alerts;
mod audit;
mod dashboard;
mod database;
mod incremental;
mod lake;
mod limits;
mod parse;
mod postgres;
mod replay;
mod report;
mod service;
mod ticks;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::decode::{Decoder, Ticks};
use pipeline::events::PriceTick;
use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use report::Row;
use service::Service;
use stack::{Options, Stack};

#[derive(Parser)]
struct Args {
    /// How many ticks go through.
    #[arg(long, default_value_t = 1_000_000)]
    ticks: usize,
    /// Only measure the sources' parsers: no broker, no database, a minute in all.
    #[arg(long)]
    parse: bool,
    /// Only measure the rules of consumer-alerts over decoded ticks: no broker, seconds in all.
    #[arg(long)]
    alerts: bool,
    /// Only measure the dashboard under many clients, its start and its answers.
    #[arg(long)]
    dashboard: bool,
    /// Only measure the refiner over a lake that grows a hundredfold while as much is new each time.
    #[arg(long)]
    incremental: bool,
    /// Only measure `tickstream audit`: all of it over the ticks, and each minute's.
    #[arg(long)]
    audit: bool,
    /// Only measure `tickstream replay` into a new generation beside the live services.
    #[arg(long)]
    replay: bool,
    /// Be the WebSocket server that the dashboard is measured against.
    #[arg(long, hide = true)]
    bare_websockets: bool,
    #[command(flatten)]
    log: pipeline::telemetry::LogArgs,
}

/// Partitions of the run that shows how memory grows with them, and ticks of each of the first ones that it sends again.
const MANY: usize = 12;
const DISTINCT: usize = 25_000;

#[derive(Parser)]
struct Kafka {
    #[command(flatten)]
    args: KafkaArgs,
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let log = args.log.clone();
    pipeline::main("bench", &log, |_| run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    if args.bare_websockets {
        return dashboard::bare::serve().await;
    }
    let services = !args.dashboard && !args.incremental && !args.audit && !args.replay;
    if !args.alerts && services {
        blocking(|| parse::print(&mut std::io::stdout().lock())).await?;
    }
    if args.parse {
        return Ok(());
    }
    if services {
        let alerts = alerts::measure(args.ticks).await?;
        #[expect(clippy::print_stdout, reason = "the measurement is what this program is for")]
        {
            println!("{alerts}");
        }
    }
    if args.alerts {
        return Ok(());
    }
    let binaries = binaries()?;
    let stack = Stack::start(Options::default()).await?;
    let kafka = Kafka::parse_from(["bench", "--kafka-bootstrap-servers", &stack.kafka_bootstrap_servers]).args;
    let applied = std::process::Command::new(binaries.join("tickstream"))
        .args(["topics", "apply"])
        .envs(stack.env())
        .output()
        .context("tickstream topics apply")?;
    anyhow::ensure!(applied.status.success(), "topics apply: {}", String::from_utf8_lossy(&applied.stderr));
    if args.dashboard {
        dashboard::measure(&stack, &kafka, &binaries).await?;
        return stack.stop().await;
    }
    if args.incremental {
        incremental::measure(&stack, &kafka, &binaries).await?;
        return stack.stop().await;
    }
    if args.audit {
        audit::measure(&stack, &kafka, &binaries, args.ticks).await?;
        return stack.stop().await;
    }
    if args.replay {
        replay::measure(&stack, &kafka, &binaries, args.ticks).await?;
        return stack.stop().await;
    }
    let partitions =
        topics::declared().into_iter().find(|topic| topic.name == topics::TICKS).context("declared")?.partitions;
    let count = args.ticks;
    let mut rows = Vec::new();

    // Ours first: the producer, as fast as it can, fills the topic that everything after it reads.
    let spill = stack.data_dir().join("spill").display().to_string();
    let arguments = ["--sources", "simulated", "--simulated-rate", "0", "--spill-dir", &spill];
    let producer = Service::start(&stack, &binaries, "producer", &arguments)?;
    let begun = producer.ready().await?;
    let ended = producer.reaches("tickstream_producer_acknowledged_total", count).await?;
    let (produced, used) = (rate(count, begun, ended), producer.used()?);
    producer.stop()?;

    let (consumed, records) = blocking({
        let kafka = kafka.clone();
        move || {
            let (_, records) = limits::consume_only(&kafka, topics::TICKS, partitions, true)?;
            let (rate, _) = limits::consume_only(&kafka, topics::TICKS, partitions, false)?;
            Ok((rate, records))
        }
    })
    .await?;
    // A little more than was asked for: the producer was not stopped at the very record.
    let count: usize = records.iter().map(pipeline::records::Records::len).sum();
    let values: Vec<Vec<u8>> =
        records.iter().flat_map(|records| records.values().iter().flatten().take(1000)).map(<[u8]>::to_vec).collect();
    // Some for the run over many partitions: more than an object holds, so that no object repeats itself.
    let some: Vec<Vec<u8>> = records
        .iter()
        .flat_map(|records| records.values().iter().flatten().take(DISTINCT))
        .map(<[u8]>::to_vec)
        .collect();
    let produce_limit = blocking({
        let kafka = kafka.clone();
        move || limits::produce_only(&kafka, &topics::dlq(topics::HEALTH), 1, &values, count)
    })
    .await?;
    rows.push(Row { what: "limit: produce only", rate: produce_limit, limit: None, used: None });
    rows.push(Row {
        what: "producer (simulated)",
        rate: produced,
        limit: Some(("produce only", produce_limit)),
        used: Some(used),
    });
    rows.push(Row { what: "limit: consume only", rate: consumed, limit: None, used: None });

    let mut decoder = Decoder::new(RecordType::PriceTick, None);
    let mut batches = Vec::new();
    let begun = Instant::now();
    for records in &records {
        batches.push(decoder.decode(records.values()).await?.batch);
    }
    rows.push(Row {
        what: "decode, one thread, in memory",
        rate: rate(count, begun, Instant::now()),
        limit: None,
        used: None,
    });
    drop(records);
    let encoder = Encoder::new(Framing::SingleObject).await?;
    let largest = batches.iter().max_by_key(|batch| batch.num_rows()).context("the topic is empty")?;
    let ticks: Vec<PriceTick> = Ticks::new(largest).iter().collect();
    let begun = Instant::now();
    let bytes: usize = ticks.iter().map(|tick| encoder.tick(tick).len()).sum();
    std::hint::black_box(bytes);
    rows.push(Row {
        what: "encode, one thread, in memory",
        rate: rate(ticks.len(), begun, Instant::now()),
        limit: None,
        used: None,
    });
    drop(ticks);
    let (written, bytes) = blocking(move || limits::parquet_write(&batches)).await?;
    rows.push(Row { what: "limit: Parquet from memory", rate: written, limit: None, used: None });

    let (archived, used) = lake::archive(&stack, &binaries, "lake", count).await?;
    rows.push(Row {
        what: "consumer-lake, raw + bronze",
        rate: archived,
        limit: Some(("consume only", consumed)),
        used: Some(used),
    });
    let sizes = lake::sizes(&stack, "lake", count)?;

    let written = database::write(&stack, &binaries, "new", count).await?;
    let again = database::write(&stack, &binaries, "again", count).await?;
    let limits = postgres::limits(&stack.database_url).await?;
    let (heap, indexes) = postgres::sizes(&stack.database_url).await?;
    rows.push(Row { what: "limit: COPY, no index", rate: limits.copied, limit: None, used: None });
    rows.push(Row { what: "limit: INSERT SELECT ON CONFLICT", rate: limits.inserted, limit: None, used: None });
    rows.push(Row { what: "limit: UNNEST ON CONFLICT", rate: limits.unnested, limit: None, used: None });
    rows.push(Row { what: "limit: INSERT SELECT, all known", rate: limits.known, limit: None, used: None });
    for (what, written, limits) in [
        ("consumer-db", &written, [("COPY", limits.copied), ("INSERT SELECT", limits.inserted)]),
        ("consumer-db, all known", &again, [("INSERT SELECT", limits.inserted), ("all known", limits.known)]),
    ] {
        for limit in limits {
            rows.push(Row { what, rate: written.rate, limit: Some(limit), used: Some(written.used) });
        }
    }

    lake::grow(&kafka, MANY).await?;
    blocking({
        let (kafka, many) = (kafka.clone(), i32::try_from(MANY)?);
        move || limits::produce_only(&kafka, topics::TICKS, many, &some, count)
    })
    .await?;
    let (archived, used) = lake::archive(&stack, &binaries, "many", 2 * count).await?;
    rows.push(Row {
        what: "consumer-lake, 12 partitions",
        rate: archived,
        limit: Some(("consume only", consumed)),
        used: Some(used),
    });

    #[expect(clippy::print_stdout, reason = "the table is what this program is for")]
    {
        println!("{count} ticks, {partitions} partitions, {} cores, Parquet {bytes:.1} bytes a tick", cores());
        let lake::Sizes { log, raw, bronze } = sizes;
        println!("bytes a tick: {log:.1} in the topic's log, {raw:.1} in raw, {bronze:.1} in bronze");
        println!("Postgres: {heap:.0} MiB of rows, {indexes:.0} MiB of indexes");
        let shares = [written.candles_share, again.candles_share].map(|share| 100.0 * share);
        println!("candles: {:.0} % of a transaction's time, {:.0} % when all ticks are known", shares[0], shares[1]);
    }
    report::print(&rows, &mut std::io::stdout().lock())?;
    dashboard::measure(&stack, &kafka, &binaries).await?;
    stack.stop().await
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The binaries beside this one: built with the same profile.
fn binaries() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().context("this program stands in no folder")?.to_path_buf())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Microseconds UTC.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(count: usize, begun: Instant, ended: Instant) -> f64 {
    count as f64 / ended.duration_since(begun).max(Duration::from_millis(1)).as_secs_f64()
}
