//! A range of days made again, from the raw lake up, without Kafka. Invariant: the same inputs and code give the same bytes,
//! so what would be the same is not written, and each swap is one conditional PUT: a reader sees the old object or the new
//! one. Killed, it is run again and goes on after the last day of the last layer that was done. Must never happen here: a
//! layer begun before the one below it is done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::ready;
use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::civil::Date;
use lake::encodings::Encodings;
use lake::remake::{Remade, bronze_of_raw};
use pipeline::lake::{Link, bronze_key, epoch_key, parse_raw_key, partition_prefix, table};
use pipeline::store::Object;
use pipeline::topics;
use serde::{Deserialize, Serialize};

use crate::config::{Config, RebuildArgs, RebuildLayer};
use crate::discover::partitions;
use crate::engine::{DAY_US, day_start_us};
use crate::gaps;
use crate::objects::New;
use crate::refiner::{Done, Mode, Refiner, Wanted};
use crate::run::{
    Looked, Report, day_in, is_bronze, later, make_days, make_forecasts, make_rates, refresh_all, take_up,
};
use crate::service::say;
use crate::state::State;
use crate::tables::{Group, Table};

/// Requests under way at once.
const AT_ONCE: usize = 16;
/// Raw objects decoded at once.
const DECODED: usize = 4;
/// Days of gold that are made side by side.
const DAYS: usize = 4;
/// A tick is at most a day ahead of the broker's clock, a portfolio some days: what is older cannot belong to a day.
const AHEAD_DAYS: i64 = 8;

/// How far a rebuild is: the days that were begun and those that are done, by layer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    what: String,
    #[serde(default)]
    begun: BTreeSet<String>,
    done: BTreeSet<String>,
}

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

/// The refiner's state, as it stands in the store and as it is to be.
struct Stored {
    state: State,
    standing: State,
    etag: Option<String>,
}

impl Stored {
    async fn read(refiner: &Refiner) -> anyhow::Result<Self> {
        let (state, etag) = State::read(refiner.objects.store(), &refiner.prefixes.state("state")).await?;
        Ok(Self { standing: state.clone(), state, etag })
    }

    async fn write(&mut self, refiner: &Refiner) -> anyhow::Result<()> {
        if self.state == self.standing || refiner.objects.is_dry() {
            return Ok(());
        }
        self.state.write(&refiner.objects, &refiner.prefixes.state("state"), &mut self.etag).await?;
        self.standing = self.state.clone();
        Ok(())
    }
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

/// Keys of the raw objects that have bronze in the range, by the day of that bronze.
async fn raw_by_day(refiner: &Refiner, args: &RebuildArgs) -> anyhow::Result<BTreeMap<Date, Vec<String>>> {
    let objects = &refiner.objects;
    let mut days: BTreeMap<Date, Vec<String>> = BTreeMap::new();
    for topic in topics::archived() {
        let Some(record) = topic.record() else { continue };
        for epoch in 0.. {
            if objects.head(&epoch_key(&topic.name, epoch)).await?.is_none() {
                break;
            }
            for partition in partitions(objects, &topic.name, epoch).await? {
                let listed = objects.list(&partition_prefix(&topic.name, epoch, partition), None).await?;
                let look = async |key: String| {
                    let Some((.., start)) = parse_raw_key(&key) else { return anyhow::Ok(None) };
                    let head = objects.head(&key).await?.with_context(|| format!("{key} was listed and is gone"))?;
                    let link = Link::from_pairs(&head.metadata);
                    let time = link.map(|link| link.rows.map(|rows| rows.first_time_ms));
                    let day = match time {
                        Some(None) => return Ok(None),
                        Some(Some(time)) => day_in(&bronze_key(table(record), time, "", 0, 0, start)),
                        // Without its metadata it is looked into, whatever day it is of.
                        None => Some(args.from),
                    };
                    Ok(day.map(|day| (day, key)))
                };
                let keys = listed.into_iter().map(|listed| listed.key);
                let looked: Vec<_> = stream::iter(keys).map(look).buffered(AT_ONCE).try_collect().await?;
                for (day, key) in looked.into_iter().flatten().filter(|(day, _)| (args.from..=args.to).contains(day)) {
                    days.entry(day).or_default().push(key);
                }
            }
        }
    }
    Ok(days)
}

async fn bronze(refiner: &Refiner, encodings: &Encodings, raw: &[String]) -> anyhow::Result<Done> {
    let make = async |key: &String| {
        let object = refiner.objects.get(key).await?.with_context(|| format!("{key} was listed and is gone"))?;
        anyhow::ensure!(
            object.is_as_written() != Some(false),
            "{key} is damaged: its bytes are not those that were written, so no bronze is made of it; put an older version \
             or a copy back"
        );
        let Some(remade) = bronze_of_raw(encodings, key, object.bytes).await? else { return anyhow::Ok(None) };
        let written = swap(refiner, &remade).await?;
        Ok(Some((remade.key, written)))
    };
    let made: Vec<_> = stream::iter(raw).map(make).buffer_unordered(DECODED).try_collect().await?;
    let mut done = Done::default();
    for (key, written) in made.into_iter().flatten() {
        if written {
            done.written.push(key);
        } else {
            done.unchanged += 1;
        }
    }
    Ok(done)
}

/// Whether the object was written.
async fn swap(refiner: &Refiner, remade: &Remade) -> anyhow::Result<bool> {
    let make = |stored: Option<Object>| async move {
        if stored.is_some_and(|stored| remade.is_settled_by(&stored)) {
            return anyhow::Ok(None);
        }
        // Where nothing stands, what an older decoder made may have stood: silver may hold its rows. Of other tables nobody
        // reads notes.
        if is_bronze(&remade.key) {
            let (key, note) = &remade.note;
            let new = || New { bytes: note.clone(), metadata: HashMap::new() };
            refiner.objects.update(key, |stored| ready(Ok(stored.is_none().then(new)))).await?;
        }
        Ok(Some(New { bytes: remade.bytes.clone(), metadata: remade.metadata.clone() }))
    };
    Ok(refiner.objects.update(&remade.key, make).await?.is_some())
}

fn tell(layer: &str, day: Date, done: &Done) {
    let (written, unchanged) = (done.written.len(), done.unchanged);
    tracing::info!(%day, written, unchanged, "{layer} up to {day}: {written} objects written, {unchanged} were so already");
}

fn end(refiner: &Refiner, layer: &str, mut report: Report) -> anyhow::Result<()> {
    summary(refiner, layer, &report.done)?;
    for (group, error) in &report.failed {
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

impl Progress {
    fn key(refiner: &Refiner) -> String {
        refiner.prefixes.state("rebuild")
    }

    async fn read(refiner: &Refiner, args: &RebuildArgs) -> anyhow::Result<Self> {
        let layer = args.layer.map_or_else(|| "all".to_owned(), |layer| format!("{layer:?}").to_lowercase());
        let versions: Vec<String> = Table::ALL.iter().map(|table| table.version().to_string()).collect();
        let what = format!(
            "{} to {}, {layer} in {} and {}, decoder {}, tables {}",
            args.from,
            args.to,
            refiner.prefixes.silver,
            refiner.prefixes.gold,
            lake::bronze::VERSION,
            versions.join(" ")
        );
        let stored = if args.dry_run { None } else { refiner.objects.get(&Self::key(refiner)).await? };
        let stored: Option<Self> = stored.and_then(|object| serde_json::from_slice(&object.bytes).ok());
        match stored.filter(|stored| stored.what == what) {
            Some(stored) => {
                let days = stored.done.len();
                let key = Self::key(refiner);
                say(&format!(
                    "going on with a rebuild that was ended: {days} days of layers were done by it and are left out; to make them \
                     again too, delete {key} first"
                ))?;
                Ok(stored)
            }
            None => Ok(Self { what, ..Self::default() }),
        }
    }

    fn has(&self, layer: &str, day: Date) -> bool {
        self.done.contains(&format!("{layer}/{day}"))
    }

    /// Whether it was begun before, and not done.
    async fn begin(&mut self, refiner: &Refiner, layer: &str, day: Date) -> anyhow::Result<bool> {
        let new = self.begun.insert(format!("{layer}/{day}"));
        if new {
            self.write(refiner).await?;
        }
        Ok(!new)
    }

    async fn finish(&mut self, refiner: &Refiner, layer: &str, day: Date) -> anyhow::Result<()> {
        let name = format!("{layer}/{day}");
        self.begun.remove(&name);
        self.done.insert(name);
        self.write(refiner).await
    }

    async fn write(&self, refiner: &Refiner) -> anyhow::Result<()> {
        if refiner.objects.is_dry() {
            return Ok(());
        }
        // Two rebuilds at once only repeat each other's work: whose progress is remembered does not matter.
        refiner.objects.update(&Self::key(refiner), |_| ready(New::json(self).map(Some))).await.map(drop)
    }

    async fn end(self, refiner: &Refiner) -> anyhow::Result<()> {
        if refiner.objects.is_dry() {
            return Ok(());
        }
        Ok(refiner.objects.store().delete(&Self::key(refiner)).await?)
    }
}
