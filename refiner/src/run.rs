//! One run: what is new in bronze is taken up, the groups that it touches are made again, then the days of gold above them,
//! then the state is swapped. Invariant: see [`crate::state`]; a group that could not be made stays pending, with what
//! touched it, what cannot be read holds its chain, and the rest goes on. What a group of silver was made of is asked for
//! once more before the state is swapped: bronze that was made again meanwhile leaves the group pending, since its note may
//! have been closed before this group listed it. Must never happen here: a cost that grows with the lake and not with what
//! changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::civil::Date;
use pipeline::store::StoreError;

use crate::discover::{self, discover};
use crate::disk::Disk;
use crate::gaps;
use crate::notes;
use crate::refiner::{Done, Mode, Refiner, Wanted};
use crate::refused::{self, Corrected};
use crate::state::State;
use crate::tables::{Group, Layer, OF_A_DAY, Table, partition_value};
use crate::touched::{Touched, day_of, touched};

/// Bronze objects that are taken up before the state is stored: a first run over a large lake is many such steps.
const STEP: usize = 2_000;
/// Bronze objects looked into at once.
const LOOKS: usize = 8;
/// HEADs under way at once.
const HEADS: usize = 16;
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
    /// Objects that could not be read: their chains, or notes, wait.
    pub held: Vec<(String, anyhow::Error)>,
    /// Groups that wait for their time.
    pub waiting: usize,
}

impl Report {
    /// Why groups could not be made: of a disk that fails the first one tells all.
    pub fn reasons(&self) -> impl Iterator<Item = &(Group, anyhow::Error)> {
        let mut disk_told = false;
        self.failed.iter().filter(move |(_, error)| !(error.is::<Disk>() && std::mem::replace(&mut disk_told, true)))
    }

    fn add(&mut self, other: Self) {
        self.bronze += other.bronze;
        self.done.add(other.done);
        self.failed = other.failed;
        self.held = other.held;
        self.waiting = other.waiting;
    }
}

/// Runs until nothing is new. `due` says whether a pending group is to be made now.
///
/// # Errors
/// When the store does not answer, or nothing can be written to the local disk. A group that fails by itself is in the report.
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
    let (mut state, mut etag) = State::read(objects.store(), &key).await?;
    let before = state.clone();
    let found = discover(objects, &state.cursors, STEP).await?;
    let mut held = found.held;
    let notes = notes::read(refiner, &mut held).await?;
    let mut fresh: BTreeSet<String> = found.bronze.into_iter().collect();
    fresh.extend(notes.iter().map(|note| note.bronze.clone()));
    let listed = notes::listed(refiner, &notes, &mut state, &mut held).await?;
    let looked = take_up(refiner, &mut state, &fresh).await?;
    state.cursors.extend(short_of(found.cursors, &looked.held, &before.cursors));
    held.extend(looked.held);
    let more = found.more && state.cursors != before.cursors;

    let ready: Vec<Group> = state.pending.keys().filter(|group| due(group, &state)).cloned().collect();
    let made = make(refiner, &mut state, ready, &looked.etags, Mode::WhereTouched).await?;
    let mut report = Report { bronze: looked.etags.len(), ..made };
    let stuck: BTreeSet<&Group> = report.failed.iter().map(|(group, _)| group).collect();
    report.waiting = state.pending.keys().filter(|group| !stuck.contains(group)).count();
    let mut still: BTreeSet<String> = state.pending.values().flatten().cloned().collect();
    still.extend(held.iter().map(|(key, _)| key.clone()));
    report.held = held;
    if state != before {
        state.write(objects, &key, &mut etag).await?;
    }
    for note in notes.iter().filter(|note| listed && !still.contains(&note.bronze)) {
        objects.store().delete(&note.key).await?;
    }
    Ok((report, more))
}

/// The cursors, none of them beyond bronze that could not be read.
fn short_of(
    mut cursors: BTreeMap<String, i64>,
    held: &[(String, anyhow::Error)],
    before: &BTreeMap<String, i64>,
) -> BTreeMap<String, i64> {
    for (chain, start) in held.iter().filter_map(|(key, _)| discover::chain_of(key)) {
        // What a note names may lie behind the cursor: the note remains.
        if before.get(&chain).is_none_or(|cursor| start >= *cursor)
            && let Some(cursor) = cursors.get_mut(&chain)
        {
            *cursor = start.min(*cursor);
        }
    }
    cursors
}

/// Takes up single bronze objects, as a notification names them. The cursors stay: a run finds them again, and nothing to do.
///
/// # Errors
/// As [`run`].
pub async fn take(refiner: &Arc<Refiner>, bronze: &BTreeSet<String>) -> anyhow::Result<Report> {
    let key = refiner.prefixes.state("state");
    let (mut state, mut etag) = State::read(refiner.objects.store(), &key).await?;
    let before = state.clone();
    let looked = take_up(refiner, &mut state, bronze).await?;
    let ready: Vec<Group> = state
        .pending
        .iter()
        .filter(|(_, keys)| keys.iter().any(|key| bronze.contains(key)))
        .map(|(group, _)| group.clone())
        .collect();
    let report = make(refiner, &mut state, ready, &looked.etags, Mode::WhereTouched).await?;
    if state != before {
        state.write(&refiner.objects, &key, &mut etag).await?;
    }
    Ok(Report { bronze: looked.etags.len(), held: looked.held, ..report })
}

/// What became of bronze objects that were looked into.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The ETags that they were read with.
    pub etags: HashMap<String, String>,
    /// Those that could not be read, and why.
    pub held: Vec<(String, anyhow::Error)>,
}

/// Looks into bronze objects and adds what they touch to what is pending.
pub(crate) async fn take_up(
    refiner: &Arc<Refiner>,
    state: &mut State,
    bronze: &BTreeSet<String>,
) -> anyhow::Result<Looked> {
    let look = async |key: String| {
        let looked = look(refiner, &key).await;
        (key, looked)
    };
    let (mut all, mut corrected) = (Looked::default(), Corrected::default());
    let mut looked = stream::iter(bronze.iter().cloned()).map(look).buffer_unordered(LOOKS);
    while let Some((key, result)) = looked.next().await {
        match result {
            Ok((etag, touched)) => {
                for group in touched.groups {
                    state.pending.entry(group).or_default().insert(key.clone());
                }
                state.meet(touched.newest_us);
                corrected.moves.extend(touched.moves.then(|| key.clone()));
                corrected.refused.extend(touched.refused.then(|| key.clone()));
                all.etags.insert(key, etag);
            }
            Err(error) if error.is::<StoreError>() || error.is::<Disk>() => return Err(error),
            Err(error) => all.held.push((key, error)),
        }
    }
    refused::follow(refiner, state, &all.etags, corrected).await?;
    Ok(all)
}

async fn look(refiner: &Refiner, key: &str) -> anyhow::Result<(String, Touched)> {
    let view = refiner.prefixes.view(key).with_context(|| format!("{key} is not bronze"))?;
    let read = refiner.spool.read(&refiner.objects, key, None).await?;
    let (etag, bytes) =
        read.with_context(|| format!("{key} was there and is gone: {} makes it again", bronze_again(key)))?;
    let touched = tokio::task::spawn_blocking(move || touched(view, bytes)).await?;
    let touched = touched.with_context(|| {
        format!("{key} is damaged: `tickstream audit --deep` tells more, {} makes it again", bronze_again(key))
    })?;
    Ok((etag, touched))
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
    let mut made_of: BTreeMap<String, Vec<(Group, String)>> = BTreeMap::new();
    for (group, result) in refresh_all(refiner, work.collect(), mode).await {
        let done = match result {
            Ok(done) => done,
            Err(error) => {
                report.failed.push((group, error));
                continue;
            }
        };
        match gold_days(refiner, state, &group).await {
            Ok(above) => days.extend(above),
            Err(error) => {
                report.failed.push((group, error));
                continue;
            }
        }
        for key in state.pending.remove(&group).into_iter().flatten() {
            if let Some(etag) = done.inputs.get(&key) {
                made_of.entry(key).or_default().push((group.clone(), etag.clone()));
            }
        }
        report.done.add(done);
    }
    let mut failed = make_days(refiner, state, &days, mode, &mut report).await;
    failed.extend(make_forecasts(refiner, state, &days, mode, &mut report).await);
    // Whatever of a day failed, the whole day is looked at again.
    state.pending.extend(failed.into_iter().map(|day| (Group::day(Table::Candles, day), BTreeSet::new())));
    if state.newest_us > 0 {
        state.last_day = state.last_day.max(Some(day_of(state.newest_us)?));
    }
    leave_pending_what_changed(refiner, state, made_of).await?;
    Ok(report)
}

/// Groups whose new bronze is no longer what they were made of.
async fn leave_pending_what_changed(
    refiner: &Refiner,
    state: &mut State,
    made_of: BTreeMap<String, Vec<(Group, String)>>,
) -> anyhow::Result<()> {
    let ask = async |(key, groups): (String, Vec<(Group, String)>)| {
        let head = refiner.objects.head(&key).await?;
        anyhow::Ok((key, groups, head.map(|head| head.etag)))
    };
    let mut asked = stream::iter(made_of).map(ask).buffer_unordered(HEADS);
    while let Some((key, groups, now)) = asked.try_next().await? {
        for (group, etag) in groups {
            if now.as_ref() != Some(&etag) {
                tracing::debug!(key, %group, "{key} was made again meanwhile: {group} stays pending");
                state.pending.entry(group).or_default().insert(key.clone());
            }
        }
    }
    Ok(())
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
    for tables in OF_A_DAY {
        let work = tables.iter().flat_map(|table| work_of(refiner, state, *table, days, mode));
        let work: Vec<_> = work.filter(|(group, _)| !failed.contains(&group.day)).collect();
        collect(refresh_all(refiner, work, mode).await, report, &mut failed);
    }
    failed
}

fn work_of(refiner: &Refiner, state: &State, table: Table, days: &BTreeSet<Date>, mode: Mode) -> Vec<(Group, Wanted)> {
    let mut of_table = days.clone();
    if table == Table::CrossRates && mode == Mode::WhereTouched {
        // Its rates reach back into the day before.
        of_table.extend(days.iter().filter_map(|day| later(*day, 1)));
    }
    let work = of_table.into_iter().map(|day| {
        let reaching: BTreeSet<Date> = match table {
            Table::Candles | Table::DataQuality => gaps::reaching(&state.reach, day).collect(),
            Table::CrossRates => {
                let before = later(day, -1).unwrap_or(day);
                gaps::reaching(&state.reach, before).chain(gaps::reaching(&state.reach, day)).collect()
            }
            _ => BTreeSet::new(),
        };
        let gaps = reaching.into_iter().map(|from| refiner.prefixes.key(Table::Gaps, &[from.to_string()]));
        (Group::day(table, day), gaps.map(|key| (key, None)).collect::<Wanted>())
    });
    work.collect()
}

/// Makes the forecasts that read candles of these days. Gives the days that failed.
pub(crate) async fn make_forecasts(
    refiner: &Arc<Refiner>,
    state: &State,
    days: &BTreeSet<Date>,
    mode: Mode,
    report: &mut Report,
) -> BTreeSet<Date> {
    let mut failed = BTreeSet::new();
    let newest = day_of(state.newest_us).unwrap_or(Date::MIN);
    let mut forecast: BTreeSet<Date> = BTreeSet::new();
    for day in days {
        forecast.extend((0..=HISTORY_DAYS).filter_map(|ahead| later(*day, ahead)).filter(|day| *day <= newest));
    }
    let work = forecast.into_iter().map(|day| (Group::day(Table::Forecasts, day), history(refiner, day))).collect();
    collect(refresh_all(refiner, work, mode).await, report, &mut failed);
    failed
}

/// Makes the cross rates of `day` again, whatever else stands there: they reach back into the day before.
pub(crate) async fn make_rates(refiner: &Arc<Refiner>, state: &State, day: Date, report: &mut Report) {
    let work = work_of(refiner, state, Table::CrossRates, &BTreeSet::from([day]), Mode::Again);
    collect(refresh_all(refiner, work, Mode::Again).await, report, &mut BTreeSet::new());
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

/// Makes groups side by side, each on a thread of its own, as many as there are processors; hours of one day together.
pub(crate) async fn refresh_all(
    refiner: &Arc<Refiner>,
    work: Vec<(Group, Wanted)>,
    mode: Mode,
) -> Vec<(Group, anyhow::Result<Done>)> {
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Handle::current();
    let started = together(work, lanes).into_iter().map(|work| {
        let (refiner, runtime) = (refiner.clone(), runtime.clone());
        async move {
            let groups: Vec<Group> = work.iter().map(|(group, _)| group.clone()).collect();
            let make = async move {
                if work.len() > 1 {
                    return refiner.refresh_hours(work, mode).await;
                }
                let mut made = Vec::new();
                for (group, new) in work {
                    let done = refiner.refresh(&group, &new, mode).await;
                    made.push((group, done));
                }
                made
            };
            match tokio::task::spawn_blocking(move || runtime.block_on(make)).await {
                Ok(made) => made,
                Err(error) => groups.into_iter().map(|group| (group, Err(anyhow::anyhow!("{error}")))).collect(),
            }
        }
    });
    stream::iter(started).buffer_unordered(lanes).concat().await
}

/// The groups as they are made: each by itself, hours of one day in as many parts as there are lanes.
fn together(work: Vec<(Group, Wanted)>, lanes: usize) -> Vec<Vec<(Group, Wanted)>> {
    let mut days: BTreeMap<Date, Vec<(Group, Wanted)>> = BTreeMap::new();
    let mut units = Vec::new();
    for (group, new) in work {
        if group.hour.is_some() {
            days.entry(group.day).or_default().push((group, new));
        } else {
            units.push(vec![(group, new)]);
        }
    }
    for mut hours in days.into_values() {
        hours.sort_by(|(a, _), (b, _)| a.cmp(b));
        let size = hours.len().div_ceil(lanes);
        while !hours.is_empty() {
            let rest = hours.split_off(size.min(hours.len()));
            units.push(std::mem::replace(&mut hours, rest));
        }
    }
    units
}

/// The day in a key of silver or gold.
pub(crate) fn day_in(key: &str) -> Option<Date> {
    partition_value(key, "dt").or_else(|| partition_value(key, "pregao_date"))?.parse().ok()
}

/// The command that makes the bronze under `key` again.
pub(crate) fn bronze_again(key: &str) -> String {
    again(key, "bronze")
}

/// The command that makes what stands under `key` in this layer again.
pub(crate) fn again(key: &str, layer: &str) -> String {
    let day = day_in(key).map_or_else(|| "DATE".to_owned(), |day| day.to_string());
    format!("`refiner rebuild --layer {layer} --from {day} --to {day}`")
}

/// Whether a key is one that a run takes up.
#[must_use]
pub fn is_bronze(key: &str) -> bool {
    discover::TOPICS.iter().filter_map(|topic| pipeline::topics::record_type(topic)).any(|record| {
        key.starts_with(&format!("bronze/{}/", pipeline::lake::table(record))) && key.ends_with(".parquet")
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn hours_of_a_day_are_made_together_in_as_many_parts_as_there_are_lanes() {
        let (monday, tuesday) = (date(2026, 3, 2), date(2026, 3, 3));
        let mut work: Vec<Group> = (0..5).rev().map(|hour| Group::hour(monday, hour)).collect();
        work.push(Group::hour(tuesday, 0));
        work.push(Group::day(Table::Gaps, monday));
        let parts = together(work.into_iter().map(|group| (group, Wanted::new())).collect(), 2);
        let names: Vec<Vec<String>> =
            parts.iter().map(|part| part.iter().map(|(group, _)| group.to_string()).collect()).collect();
        let expected = [
            &["gaps/2026-03-02"][..],
            &["ticks/2026-03-02/00", "ticks/2026-03-02/01", "ticks/2026-03-02/02"],
            &["ticks/2026-03-02/03", "ticks/2026-03-02/04"],
            &["ticks/2026-03-03/00"],
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_cannot_be_read_holds_its_own_chain_alone() {
        let bronze =
            |partition: i32, start: i64| pipeline::lake::bronze_key("ticks", 0, "market.ticks.v1", 0, partition, start);
        let chain = |partition: i32| format!("market.ticks.v1/0000/{partition:05}");
        let before = BTreeMap::from([(chain(0), 10), (chain(1), 10)]);
        let found = BTreeMap::from([(chain(0), 50), (chain(1), 60), (chain(2), 70)]);
        let held = [bronze(0, 30), bronze(0, 20), bronze(1, 5), "bronze/_notes/ticks/note.json".to_owned()];
        let held: Vec<_> = held.into_iter().map(|key| (key, anyhow::anyhow!("damaged"))).collect();
        let short = short_of(found, &held, &before);
        assert_eq!(short, BTreeMap::from([(chain(0), 20), (chain(1), 60), (chain(2), 70)]));
    }
}
