//! One run: what is new in bronze is taken up, the groups that it touches are made again, then the days of gold above them,
//! then the state is swapped. Invariant: see [`crate::state`]; a group that could not be made stays pending, with what
//! touched it, and the others go on. Must never happen here: a cost that grows with the lake and not with what changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::civil::Date;

use crate::discover::{self, discover};
use crate::gaps;
use crate::notes;
use crate::refiner::{Done, Mode, Refiner, Wanted};
use crate::state::State;
use crate::tables::{Group, Layer, OF_A_DAY, Table, partition_value};
use crate::touched::{day_of, touched};

/// Bronze objects that are taken up before the state is stored: a first run over a large lake is many such steps.
const STEP: usize = 2_000;
/// Bronze objects looked into at once.
const LOOKS: usize = 8;
/// Days before a forecast that it is made from.
pub const HISTORY_DAYS: i64 = 28;

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Bronze objects that were taken up.
    pub bronze: usize,
    pub done: Done,
    /// What could not be made, and stays pending.
    pub failed: Vec<(Group, anyhow::Error)>,
    /// Groups that wait for their time.
    pub waiting: usize,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.bronze += other.bronze;
        self.done.add(other.done);
        self.failed = other.failed;
        self.waiting = other.waiting;
    }
}

/// Runs until nothing is new. `due` says whether a pending group is to be made now.
///
/// # Errors
/// When the store does not answer. A group that fails by itself is in the report.
pub async fn run(refiner: &Arc<Refiner>, due: impl Fn(&Group, &State) -> bool) -> anyhow::Result<Report> {
    let mut report = Report::default();
    loop {
        let (step, more) = step(refiner, &due).await?;
        report.add(step);
        if !more {
            return Ok(report);
        }
    }
}

async fn step(refiner: &Arc<Refiner>, due: impl Fn(&Group, &State) -> bool) -> anyhow::Result<(Report, bool)> {
    let objects = &refiner.objects;
    let key = refiner.prefixes.state("state");
    let (mut state, etag) = State::read(objects.store(), &key).await?;
    let before = state.clone();
    let found = discover(objects, &state.cursors, STEP).await?;
    let more = found.bronze.len() >= STEP;
    let notes = notes::read(refiner).await?;
    let mut fresh: BTreeSet<String> = found.bronze.iter().cloned().collect();
    fresh.extend(notes.iter().map(|note| note.bronze.clone()));
    for (group, bronze) in notes::listed(refiner, &notes).await? {
        state.pending.entry(group).or_default().insert(bronze);
    }
    let etags = take_up(refiner, &mut state, &fresh).await?;
    state.cursors.extend(found.cursors);

    let ready: Vec<Group> = state.pending.keys().filter(|group| due(group, &state)).cloned().collect();
    let failed = make(refiner, &mut state, ready, &etags, Mode::WhereTouched).await?;
    let mut report = Report { bronze: fresh.len(), ..failed };
    let stuck: BTreeSet<&Group> = report.failed.iter().map(|(group, _)| group).collect();
    report.waiting = state.pending.keys().filter(|group| !stuck.contains(group)).count();
    let still: BTreeSet<String> = state.pending.values().flatten().cloned().collect();
    if state != before {
        state.write(objects.store(), &key, etag).await?;
    }
    for note in notes.iter().filter(|note| !still.contains(&note.bronze)) {
        objects.store().delete(&note.key).await?;
    }
    Ok((report, more))
}

/// Takes up single bronze objects, as a notification names them. The cursors stay: a run finds them again, and nothing to do.
///
/// # Errors
/// When the store does not answer.
pub async fn take(refiner: &Arc<Refiner>, bronze: &BTreeSet<String>) -> anyhow::Result<Report> {
    let key = refiner.prefixes.state("state");
    let (mut state, etag) = State::read(refiner.objects.store(), &key).await?;
    let before = state.clone();
    let etags = take_up(refiner, &mut state, bronze).await?;
    let ready: Vec<Group> = state
        .pending
        .iter()
        .filter(|(_, keys)| keys.iter().any(|key| bronze.contains(key)))
        .map(|(group, _)| group.clone())
        .collect();
    let report = make(refiner, &mut state, ready, &etags, Mode::WhereTouched).await?;
    if state != before {
        state.write(refiner.objects.store(), &key, etag).await?;
    }
    Ok(Report { bronze: bronze.len(), ..report })
}

/// Looks into bronze objects and adds what they touch to what is pending. Gives the ETags that they were read with.
pub(crate) async fn take_up(
    refiner: &Arc<Refiner>,
    state: &mut State,
    bronze: &BTreeSet<String>,
) -> anyhow::Result<HashMap<String, String>> {
    let look = async |key: String| {
        let view = refiner.prefixes.view(&key).with_context(|| format!("{key} is not bronze"))?;
        let folder = refiner.spool.query_folder()?;
        let place = folder.path().join("bronze.parquet");
        let etag = refiner.spool.fetch(&refiner.objects, &key, None, &place).await?;
        let etag = etag
            .with_context(|| format!("{key} was there and is gone: `refiner rebuild --layer bronze` makes it again"))?;
        let bytes = Bytes::from(tokio::fs::read(&place).await.with_context(|| format!("a local copy of {key}"))?);
        let touched = tokio::task::spawn_blocking(move || touched(view, bytes)).await?;
        let touched = touched.with_context(|| {
            format!("{key} is damaged: `tickstream audit --deep` tells more, `refiner rebuild --layer bronze` makes it again")
        })?;
        anyhow::Ok((key, etag, touched))
    };
    let mut etags = HashMap::new();
    let mut looked = stream::iter(bronze.iter().cloned()).map(look).buffer_unordered(LOOKS);
    while let Some(result) = looked.next().await {
        let (key, etag, touched) = result?;
        for group in touched.groups {
            state.pending.entry(group).or_default().insert(key.clone());
        }
        state.newest_us = state.newest_us.max(touched.newest_us.unwrap_or(0));
        etags.insert(key, etag);
    }
    Ok(etags)
}

/// Makes pending groups of silver and then the days of gold above them. What succeeds is no longer pending.
pub(crate) async fn make(
    refiner: &Arc<Refiner>,
    state: &mut State,
    ready: Vec<Group>,
    etags: &HashMap<String, String>,
    mode: Mode,
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let (silver, gold): (Vec<Group>, Vec<Group>) =
        ready.into_iter().partition(|group| group.table.layer() == Layer::Silver);
    let mut days: BTreeSet<Date> = gold.iter().map(|group| group.day).collect();
    days.extend(new_days(state)?);
    for group in &gold {
        state.pending.remove(group);
    }
    let work = silver.iter().map(|group| {
        let keys = state.pending.get(group).into_iter().flatten();
        let new: Wanted = keys.map(|key| (key.clone(), etags.get(key).cloned())).collect();
        (group.clone(), new)
    });
    for (group, result) in refresh_all(refiner, work.collect(), mode).await {
        match result {
            Ok(done) => {
                report.done.add(done);
                days.extend(gold_days(refiner, state, &group).await?);
                state.pending.remove(&group);
            }
            Err(error) => report.failed.push((group, error)),
        }
    }
    let failed = make_days(refiner, state, &days, mode, &mut report).await;
    // Whatever of a day failed, the whole day is looked at again.
    state.pending.extend(failed.into_iter().map(|day| (Group::day(Table::Candles, day), BTreeSet::new())));
    if state.newest_us > 0 {
        state.last_day = state.last_day.max(Some(day_of(state.newest_us)?));
    }
    Ok(report)
}

/// Makes gold of these days. Gives the days that failed.
pub(crate) async fn make_days(
    refiner: &Arc<Refiner>,
    state: &State,
    days: &BTreeSet<Date>,
    mode: Mode,
    report: &mut Report,
) -> BTreeSet<Date> {
    let mut failed = BTreeSet::new();
    for table in OF_A_DAY {
        let work = days.iter().filter(|day| !failed.contains(*day)).map(|day| {
            let gaps = if matches!(table, Table::Candles | Table::DataQuality) {
                gaps::reaching(&state.reach, *day)
                    .map(|from| refiner.prefixes.key(Table::Gaps, &[from.to_string()]))
                    .collect()
            } else {
                Vec::new()
            };
            (Group::day(table, *day), gaps.into_iter().map(|key| (key, None)).collect::<Wanted>())
        });
        let work: Vec<_> = work.collect();
        collect(refresh_all(refiner, work, mode).await, report, &mut failed);
    }
    let newest = day_of(state.newest_us).unwrap_or(Date::MIN);
    let mut forecast: BTreeSet<Date> = BTreeSet::new();
    for day in days {
        forecast.extend((0..=HISTORY_DAYS).filter_map(|ahead| later(*day, ahead)).filter(|day| *day <= newest));
    }
    let work = forecast.into_iter().map(|day| (Group::day(Table::Forecasts, day), history(refiner, day))).collect();
    collect(refresh_all(refiner, work, mode).await, report, &mut failed);
    failed
}

fn collect(results: Vec<(Group, anyhow::Result<Done>)>, report: &mut Report, failed: &mut BTreeSet<Date>) {
    for (group, result) in results {
        match result {
            Ok(done) => report.done.add(done),
            Err(error) => {
                failed.insert(group.day);
                report.failed.push((group, error));
            }
        }
    }
}

/// The hourly candles before `day`.
fn history(refiner: &Refiner, day: Date) -> Wanted {
    let days = (1..=HISTORY_DAYS).filter_map(|back| later(day, -back));
    days.map(|day| (refiner.prefixes.key(Table::Candles, &["1h".to_owned(), day.to_string()]), None)).collect()
}

pub(crate) fn later(day: Date, days: i64) -> Option<Date> {
    day.checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// The days that have begun since the last run, by the broker's clock: the first time only the newest one.
fn new_days(state: &State) -> anyhow::Result<Vec<Date>> {
    if state.newest_us == 0 {
        return Ok(Vec::new());
    }
    let newest = day_of(state.newest_us)?;
    let Some(last) = state.last_day else { return Ok(vec![newest]) };
    let begun = std::iter::successors(later(last, 1), |day| later(*day, 1)).take_while(|day| *day <= newest);
    Ok(begun.collect())
}

/// The days of gold above a group of silver that has just been made.
async fn gold_days(refiner: &Refiner, state: &mut State, group: &Group) -> anyhow::Result<Vec<Date>> {
    match group.table {
        Table::Ticks => Ok(vec![group.day]),
        Table::Gaps => gaps::spanned(refiner, state, group.day).await,
        _ => Ok(Vec::new()),
    }
}

/// Makes groups side by side, each on a thread of its own, as many as there are processors.
pub(crate) async fn refresh_all(
    refiner: &Arc<Refiner>,
    work: Vec<(Group, Wanted)>,
    mode: Mode,
) -> Vec<(Group, anyhow::Result<Done>)> {
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Handle::current();
    let started = work.into_iter().map(|(group, new)| {
        let (refiner, runtime) = (refiner.clone(), runtime.clone());
        async move {
            let of = group.clone();
            let made = tokio::task::spawn_blocking(move || runtime.block_on(refiner.refresh(&of, &new, mode))).await;
            (group, made.unwrap_or_else(|error| Err(error.into())))
        }
    });
    stream::iter(started).buffer_unordered(lanes).collect().await
}

/// The day in a key of silver or gold.
pub(crate) fn day_in(key: &str) -> Option<Date> {
    partition_value(key, "dt").or_else(|| partition_value(key, "pregao_date"))?.parse().ok()
}

/// Whether a key is one that a run takes up.
#[must_use]
pub fn is_bronze(key: &str) -> bool {
    discover::TOPICS.iter().filter_map(|topic| pipeline::topics::record_type(topic)).any(|record| {
        key.starts_with(&format!("bronze/{}/", pipeline::lake::table(record))) && key.ends_with(".parquet")
    })
}
