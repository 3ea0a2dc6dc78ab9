//! A range of days made again, from the raw lake up, without Kafka. Invariant: the same inputs and code give the same bytes,
//! so what would be the same is not written, and each swap is one conditional PUT: a reader sees the old object or the new
//! one. Killed, it is run again and goes on after the last day of the last layer that was done. Must never happen here: a
//! layer begun before the one below it is done.

mod bronze;
mod progress;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::Context;
use jiff::civil::Date;
use lake::encodings::Encodings;
use pipeline::lake::table;
use pipeline::topics;

use self::bronze::{bronze, raw_by_day};
use self::progress::{Progress, Stored};
use crate::config::{Config, RebuildArgs, RebuildLayer};
use crate::engine::{DAY_US, day_start_us};
use crate::gaps;
use crate::refiner::{Done, Mode, Refiner, Wanted};
use crate::run::{Looked, Report, day_in, later, make_days, make_forecasts, make_rates, refresh_all, take_up};
use crate::service::say;
use crate::state::State;
use crate::tables::{Group, Table};

/// Days of gold that are made side by side.
const DAYS: usize = 4;
/// A tick is at most a day ahead of the broker's clock, a portfolio some days: what is older cannot belong to a day.
const AHEAD_DAYS: i64 = 8;

/// # Errors
/// When the store does not answer, or something cannot be made.
pub async fn rebuild(refiner: &Arc<Refiner>, config: &Config, args: &RebuildArgs) -> anyhow::Result<()> {
    let mut progress = Progress::read(refiner, args).await?;
    let wants = |layer: RebuildLayer| args.layer.is_none_or(|wanted| wanted == layer);
    let days = || std::iter::successors(Some(args.from), |day| later(*day, 1)).take_while(|day| *day <= args.to);
    if wants(RebuildLayer::Bronze) {
        let raw = raw_by_day(refiner, args).await?;
        let encodings = Encodings::new(config.registry.registry()?).compressed(config.compression);
        let mut done = Done::default();
        for day in days() {
            if progress.has("bronze", day) {
                continue;
            }
            let of_day = raw.get(&day).map_or(&[][..], Vec::as_slice);
            let made = bronze(refiner, &encodings, of_day).await?;
            tell("bronze", day, &made);
            done.add(made);
            progress.finish(refiner, "bronze", day).await?;
        }
        summary(refiner, "bronze", &done)?;
    }
    let mut stored = Stored::read(refiner).await?;
    if wants(RebuildLayer::Silver) {
        let listed = bronze_since(refiner, args.from).await?;
        let mut looked = State::default();
        let Looked { etags, held } = take_up(refiner, &mut looked, &listed).await?;
        stored.state.learn(std::mem::take(&mut looked.refused));
        stored.state.newest_us = stored.state.newest_us.max(looked.newest_us);
        let mut report = Report { held, ..Report::default() };
        for day in days() {
            if progress.has("silver", day) {
                continue;
            }
            // What a run that was killed wrote is so already and counts as changed all the same.
            let again = progress.begin(refiner, "silver", day).await?;
            let failed = report.failed.len();
            let mut touched = BTreeSet::from_iter(again.then_some(day));
            silver(refiner, &mut stored.state, &looked, &etags, day, &mut report, &mut touched).await?;
            // Gold that is not made here the next run makes: of other days that gaps reach, or all of it.
            let here = |day: &Date| wants(RebuildLayer::Gold) && (args.from..=args.to).contains(day);
            let left = touched.into_iter().filter(|day| !here(day));
            stored.state.pending.extend(left.map(|day| (Group::day(Table::Candles, day), BTreeSet::new())));
            stored.write(refiner).await?;
            if report.failed.len() == failed && report.held.is_empty() {
                progress.finish(refiner, "silver", day).await?;
            }
        }
        end(refiner, "silver", report)?;
    }
    if wants(RebuildLayer::Gold) {
        let state = &mut stored.state;
        read_reaches(refiner, state).await?;
        if state.newest_us == 0 {
            state.newest_us = day_start_us(args.to) + DAY_US - 1;
        }
        let mut report = Report::default();
        let left: Vec<Date> = days().filter(|day| !progress.has("gold", *day)).collect();
        for days in left.chunks(DAYS) {
            let mut made = Report::default();
            let failed = make_days(refiner, state, &days.iter().copied().collect(), Mode::Again, &mut made).await;
            for day in days.iter().filter(|day| !failed.contains(day)) {
                progress.finish(refiner, "gold", *day).await?;
            }
            tell("gold", days[days.len() - 1], &made.done);
            report.done.add(made.done);
            report.failed.extend(made.failed);
        }
        // Each reads the candles of the days before it, which all stand now.
        make_forecasts(refiner, state, &days().collect(), Mode::Again, &mut report).await;
        if let Some(after) = later(args.to, 1) {
            make_rates(refiner, state, after, &mut report).await;
        }
        end(refiner, "gold", report)?;
    }
    stored.write(refiner).await?;
    progress.end(refiner).await
}

/// Makes a day of silver; `touched` gets the days of gold above what changed.
async fn silver(
    refiner: &Arc<Refiner>,
    state: &mut State,
    looked: &State,
    etags: &HashMap<String, String>,
    day: Date,
    report: &mut Report,
    touched: &mut BTreeSet<Date>,
) -> anyhow::Result<()> {
    let mut groups: BTreeSet<Group> = looked.pending.keys().filter(|group| group.day == day).cloned().collect();
    groups.extend(standing(refiner, day).await?);
    let work = groups.into_iter().map(|group| {
        let keys = looked.pending.get(&group).into_iter().flatten();
        let new: Wanted = keys.map(|key| (key.clone(), etags.get(key).cloned())).collect();
        (group, new)
    });
    let mut made = Done::default();
    for (group, result) in refresh_all(refiner, work.collect(), Mode::Again).await {
        match result {
            Ok(done) => {
                touched.extend((group.table == Table::Ticks && !done.written.is_empty()).then_some(day));
                made.add(done);
            }
            Err(error) => report.failed.push((group.clone(), error)),
        }
        if group.table == Table::Gaps {
            touched.extend(gaps::spanned(refiner, state, day).await?);
        }
    }
    tell("silver", day, &made);
    report.done.add(made);
    Ok(())
}

/// Groups of silver whose objects stand there, though no bronze may touch them any more.
async fn standing(refiner: &Refiner, day: Date) -> anyhow::Result<Vec<Group>> {
    let mut groups = Vec::new();
    let hours = refiner.objects.list(&refiner.prefixes.first(Table::Ticks, &day.to_string()), None).await?;
    let hour = |key: &str| crate::tables::partition_value(key, "hour")?.parse().ok();
    groups.extend(hours.iter().filter_map(|listed| Some(Group::hour(day, hour(&listed.key)?))));
    for table in [Table::QuarantinedTicks, Table::Gaps, Table::IndexWeights] {
        if !refiner.objects.list(&refiner.prefixes.first(table, &day.to_string()), None).await?.is_empty() {
            groups.push(Group::day(table, day));
        }
    }
    Ok(groups)
}

/// How far the gaps of every day reach: a gap from before the range may reach into it.
async fn read_reaches(refiner: &Refiner, state: &mut State) -> anyhow::Result<()> {
    let listed = refiner.objects.list(&refiner.prefixes.table(Table::Gaps), None).await?;
    for day in listed.iter().filter_map(|listed| day_in(&listed.key)) {
        gaps::spanned(refiner, state, day).await?;
    }
    Ok(())
}

/// Bronze that may hold rows of `from` or later.
async fn bronze_since(refiner: &Refiner, from: Date) -> anyhow::Result<BTreeSet<String>> {
    let from = later(from, -AHEAD_DAYS).unwrap_or(Date::MIN);
    let mut keys = BTreeSet::new();
    for topic in crate::discover::TOPICS {
        let record = topics::record_type(topic).context("a topic without a table")?;
        let prefix = format!("bronze/{}/", table(record));
        let listed = refiner.objects.list(&prefix, Some(&format!("{prefix}dt={from}"))).await?;
        keys.extend(listed.into_iter().map(|listed| listed.key).filter(|key| key.ends_with(".parquet")));
    }
    Ok(keys)
}

fn tell(layer: &str, day: Date, done: &Done) {
    let (written, unchanged) = (done.written.len(), done.unchanged);
    tracing::info!(%day, written, unchanged, "{layer} up to {day}: {written} objects written, {unchanged} were so already");
}

fn end(refiner: &Refiner, layer: &str, mut report: Report) -> anyhow::Result<()> {
    summary(refiner, layer, &report.done)?;
    for (group, error) in report.reasons() {
        tracing::error!(%group, "{group} could not be made: {error:#}");
    }
    for (key, error) in &report.held {
        tracing::error!(key, "{key} could not be read: {error:#}");
    }
    match (report.failed.pop(), report.held.pop()) {
        (None, None) => Ok(()),
        (Some((group, error)), _) => Err(error.context(format!("{group} could not be made"))),
        (None, Some((key, error))) => Err(error.context(format!("{key} could not be read"))),
    }
}

fn summary(refiner: &Refiner, layer: &str, done: &Done) -> anyhow::Result<()> {
    let verb = if refiner.objects.is_dry() { "would be written" } else { "written" };
    say(&format!("{layer}: {} objects {verb}, {} are so already", done.written.len(), done.unchanged))
}
