//! The four ways to run: again and again, once, over a range of days, or for one notification.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::admin::{self, Health};
use pipeline::misconfigured;
use pipeline::store::Store;
use tokio_util::sync::CancellationToken;

use crate::config::{Command, Config, HandleEventArgs, RunArgs};
use crate::engine::{Engine, HOUR_US, day_start_us};
use crate::notifications;
use crate::objects::Objects;
use crate::rebuild::rebuild;
use crate::refiner::Refiner;
use crate::run::{Report, is_bronze, run, take};
use crate::spool::Spool;
use crate::state::State;
use crate::tables::{Group, Table};

/// A notification is a few kilobytes; a batch of ten SQS messages at most some megabytes.
const MAX_EVENT_BYTES: u64 = 16 << 20;

/// Does what `command` says.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a mistake of the user's; else why the work could not be done.
pub async fn serve(command: Command, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let work = async {
        match command {
            Command::Run(args) => return every(&config, &args, shutdown.clone()).await,
            Command::Once => {
                let refiner = open(&config, false).await?;
                finish(&run(&refiner, |_, _| true).await?)
            }
            Command::Rebuild(args) => {
                args.check()?;
                let refiner = open(&config, args.dry_run).await?;
                rebuild(&refiner, &config, &args).await
            }
            Command::HandleEvent(args) => handle_event(&config, &args).await,
        }
    };
    tokio::select! {
        done = work => done,
        // Whatever is under way is a conditional PUT that lands or does not: nothing needs to be waited for.
        () = stopped(&shutdown) => Err(anyhow::anyhow!("stopped before the end; what was written stands, run it again to go on")),
    }
}

/// The loop looks at the token by itself.
async fn stopped(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
}

async fn open(config: &Config, dry: bool) -> anyhow::Result<Arc<Refiner>> {
    let store = Store::connect(&config.store).await?;
    if !dry {
        store.probe().await?;
    }
    let spool = Spool::new(config.temp_dir.as_deref(), u64::from(config.cache_mb) << 20)?;
    let memory = usize::try_from(config.memory_mb).context("memory")? << 20;
    let engine = Engine::new(memory, spool.folder(), config.compression).await?;
    let objects = if dry { Objects::dry(store, spool.folder())? } else { Objects::new(store) };
    Ok(Arc::new(Refiner { objects, prefixes: config.prefixes(), spool, engine }))
}

async fn every(config: &Config, args: &RunArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let health = Health::new();
    admin::serve(args.admin.admin_addr, health.clone(), None, shutdown.clone()).await?;
    let refiner = open(config, false).await?;
    let mut open_made: Option<Instant> = None;
    loop {
        health.beat();
        let open_is_due = open_made.is_none_or(|at| at.elapsed() >= args.open_every);
        let begun = Instant::now();
        let looked = {
            let work = run(&refiner, |group, state| open_is_due || !is_open(group, state));
            tokio::pin!(work);
            // A long run is not a stuck one.
            let mut beat = tokio::time::interval(Duration::from_secs(10));
            loop {
                tokio::select! {
                    looked = &mut work => break looked,
                    _ = beat.tick() => health.beat(),
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        };
        metrics::histogram!("tickstream_refiner_run_seconds").record(begun.elapsed());
        match looked.and_then(|report| finish(&report)) {
            Ok(()) => {
                health.set("refiner", Ok(()));
                if open_is_due {
                    open_made = Some(begun);
                }
            }
            Err(error) => health.set("refiner", Err(format!("{error:#}").replace('\n', " "))),
        }
        let rest = async {
            let until = Instant::now() + args.every;
            while Instant::now() < until {
                health.beat();
                tokio::time::sleep((until - Instant::now()).min(Duration::from_secs(10))).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = rest => {}
        }
    }
}

/// Whether it is the hour that the broker's clock stands in, or a later one.
fn is_open(group: &Group, state: &State) -> bool {
    let hour = group.hour.map_or(i64::MIN, |hour| day_start_us(group.day) + i64::from(hour) * HOUR_US);
    group.table == Table::Ticks && hour + HOUR_US > state.newest_us
}

/// Says what was done; an error when something could not be.
fn finish(report: &Report) -> anyhow::Result<()> {
    let (bronze, written, unchanged) = (report.bronze, report.done.written.len(), report.done.unchanged);
    let waiting = report.waiting;
    metrics::counter!("tickstream_refiner_bronze_total").increment(bronze as u64);
    metrics::gauge!("tickstream_refiner_waiting").set(waiting as f64);
    metrics::gauge!("tickstream_refiner_failed").set(report.failed.len() as f64);
    metrics::gauge!("tickstream_refiner_held").set(report.held.len() as f64);
    if bronze > 0 || written > 0 {
        tracing::info!(
            bronze,
            written,
            unchanged,
            waiting,
            "{bronze} new bronze objects: {written} objects of silver and gold written, {unchanged} were so already"
        );
    }
    for (group, error) in report.reasons() {
        tracing::warn!(%group, "{group} could not be made and stays pending: {error:#}");
    }
    for (key, error) in &report.held {
        tracing::error!(key, "{key} cannot be taken up, and what comes after it waits: {error:#}");
    }
    match (report.held.first(), report.failed.first()) {
        (None, None) => Ok(()),
        (Some((key, error)), _) => Err(anyhow::anyhow!("{key} cannot be taken up: {error:#}")),
        (None, Some((_, error))) => {
            Err(anyhow::anyhow!("{} could not be made, the first one because: {error:#}", report.failed.len()))
        }
    }
}

async fn handle_event(config: &Config, args: &HandleEventArgs) -> anyhow::Result<()> {
    let text = read(args)?;
    let keys = notifications::keys(&text, &config.store.s3_bucket)
        .map_err(|error| misconfigured(format!("{}: {error:#}", args.file.display())))?;
    let named = keys.len();
    let prefix = match config.store.s3_prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let bronze = keys.iter().filter_map(|key| key.strip_prefix(&prefix)).filter(|key| is_bronze(key));
    let bronze: std::collections::BTreeSet<String> = bronze.map(str::to_owned).collect();
    if !bronze.is_empty() {
        let refiner = open(config, false).await?;
        finish(&take(&refiner, &bronze).await?)?;
    }
    say(&format!("{} of {named} objects are bronze of this lake and were taken up", bronze.len()))
}

fn read(args: &HandleEventArgs) -> anyhow::Result<String> {
    let name = args.file.display();
    let source: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(&args.file).map_err(|error| misconfigured(format!("{name}: {error}")))?;
        Box::new(file)
    };
    let mut text = String::new();
    let read = source.take(MAX_EVENT_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| misconfigured(format!("{name}: {error}")))?;
    if text.len() as u64 > MAX_EVENT_BYTES {
        return Err(misconfigured(format!("{name} is larger than any notification ({} MiB)", MAX_EVENT_BYTES >> 20)));
    }
    Ok(text)
}

/// One line on standard output.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("standard output")
}
