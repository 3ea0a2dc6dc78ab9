//! What is made of the topics' records once they are in lake and Postgres: silver and gold, candles, latest prices. All of it,
//! or what is new and one hour of the past in its turn. Must never happen here: an hour in which something was wrong that is
//! not looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pipeline::store::Store;
use pipeline::topics::{self, Topic};

use super::AuditArgs;
use super::database;
use super::derived::{self, DAY_US};
use super::refined::hours::Between;
use super::refined::{Refined, Scope, hour_of, ticks_key};
use super::report::{RefinedReport, Report};
use super::topic::Auditor;

const HOUR_US: i64 = 3_600_000_000;
const MINUTE_US: i64 = 60_000_000;
/// Of what is new, the newest hours and stretches of minutes that are looked at; older ones have their turn.
const NEW_HOURS: usize = 3;
const NEW_SPANS: usize = 30;

/// `--only refined`.
pub async fn refined_alone(args: &AuditArgs) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let Some(store) = report.part("lake", Store::connect(&args.store).await) else { return Ok(report) };
    let refined = Refined { store: &store, opens: args.deep, remakes: args.deep, within: args.refined_within };
    let found = refined.look(&Scope::All).await?;
    if found.is_none() {
        report.not_audited.push("silver and gold: no refiner has been at work on this lake".to_owned());
    }
    take(&mut report, found);
    Ok(report)
}

pub async fn audit(auditor: &mut Auditor<'_>, audited: &[Topic]) -> anyhow::Result<()> {
    let has = |name: &str| audited.iter().any(|topic| topic.name == name);
    if !has(topics::TICKS) {
        return Ok(());
    }
    let hours = turns(auditor).await?;
    let before = auditor.report.differences.len();
    if let Some(connection) = &mut auditor.connection {
        let lines = derived::latest(connection).await?;
        auditor.report.differ_all("latest", lines);
        if has(topics::GAPS) {
            let lines = derived::open_gaps(connection, auditor.args.open_gap_within).await?;
            auditor.report.differ_all("gaps", lines);
        }
        let spans = match &hours {
            None => derived::days(connection).await?,
            Some(hours) => spans(&auditor.ticks.minutes, hours),
        };
        for span in spans {
            let lines = derived::candles(connection, &span).await?;
            auditor.report.differ_all("candles", lines);
        }
    }
    if auditor.store.is_some() {
        refined(auditor, hours.as_ref()).await?;
    }
    if let (Some(state), Some(hours)) = (&mut auditor.state, hours) {
        // What is wrong with one of them may be wrong with any.
        let is_right = auditor.report.differences.len() == before;
        state.again_us = if is_right { BTreeSet::new() } else { hours };
    }
    Ok(())
}

/// The hours that are looked at; `None`: all.
async fn turns(auditor: &mut Auditor<'_>) -> anyhow::Result<Option<BTreeSet<i64>>> {
    let is_first = auditor.state.as_ref().is_some_and(|state| state.turn_us.is_none());
    if auditor.state.is_none() && auditor.args.since.is_none() {
        return Ok(None);
    }
    let Some(state) = &mut auditor.state else { return Ok(Some(auditor.ticks.hours.clone())) };
    let mut hours: BTreeSet<i64> = auditor.ticks.hours.iter().rev().take(NEW_HOURS).copied().collect();
    if let Some(store) = &auditor.store {
        let after = state.turn_us.map(ticks_key);
        let first = async |after: Option<&str>| {
            let listed = store.list("silver/ticks/", after).await?;
            anyhow::Ok(listed.iter().find_map(|listed| hour_of(&listed.key)))
        };
        let turn = match first(after.as_deref()).await? {
            Some(turn) => Some(turn),
            None => first(None).await?,
        };
        state.turn_us = turn.or(Some(0));
        hours.extend(turn);
    }
    hours.extend(&state.again_us);
    // The first one begins with all that there is.
    Ok(if is_first { None } else { Some(hours) })
}

/// New minutes in stretches, and the hours as a whole; at midnight's turn the day.
fn spans(minutes: &BTreeSet<i64>, hours: &BTreeSet<i64>) -> Vec<Range<i64>> {
    let mut spans: Vec<Range<i64>> = Vec::new();
    for minute in minutes {
        match spans.last_mut() {
            Some(last) if last.end == *minute => last.end += MINUTE_US,
            _ => spans.push(*minute..minute + MINUTE_US),
        }
    }
    let mut spans = spans.split_off(spans.len().saturating_sub(NEW_SPANS));
    spans.extend(hours.iter().map(|hour| {
        let width = if hour % DAY_US == 0 { DAY_US } else { HOUR_US };
        *hour..hour + width
    }));
    spans
}

async fn refined(auditor: &mut Auditor<'_>, hours: Option<&BTreeSet<i64>>) -> anyhow::Result<()> {
    let Some(store) = auditor.store.clone() else { return Ok(()) };
    let args = auditor.args;
    let opens = args.deep || hours.is_some();
    let scope = hours.map_or(Scope::All, |hours| Scope::Hours(hours.clone()));
    let refined = Refined { store: &store, opens, remakes: args.deep, within: args.refined_within };
    let Some(mut found) = refined.look(&scope).await? else { return Ok(()) };
    if opens && auditor.connection.is_some() {
        let hours = match hours {
            Some(hours) => hours.clone(),
            None => all_hours(&store).await?,
        };
        compare(auditor, &store, &hours, &mut found).await?;
    }
    take(&mut auditor.report, Some(found));
    Ok(())
}

/// Silver's ticks beside Postgres, hour by hour.
async fn compare(
    auditor: &mut Auditor<'_>,
    store: &Store,
    hours: &BTreeSet<i64>,
    found: &mut RefinedReport,
) -> anyhow::Result<()> {
    let Some(connection) = &mut auditor.connection else { return Ok(()) };
    let kept_from = database::horizon(connection).await?.unwrap_or(i64::MIN);
    let topic_id = auditor.ticks.topic_id;
    let mut all_dead = None;
    for hour in hours.iter().filter(|hour| **hour >= kept_from) {
        let Some(connection) = &mut auditor.connection else { return Ok(()) };
        let positions: BTreeMap<i32, i64> = database::positions(connection, topic_id).await?;
        let between = Between { store, dead: &auditor.ticks.dead, positions: &positions };
        let (mut same, mut lines) = between.compare(connection, *hour).await?;
        if !lines.is_empty() {
            // A record may have come between the two, and an old letter may not have been read.
            if all_dead.is_none() {
                let letters = auditor.all_letters(topics::TICKS, topic_id).await?;
                all_dead = Some(letters.of(&auditor.args.db_group).clone());
            }
            let (Some(connection), Some(dead)) = (&mut auditor.connection, &all_dead) else { return Ok(()) };
            let positions = database::positions(connection, topic_id).await?;
            let between = Between { store, dead, positions: &positions };
            (same, lines) = between.compare(connection, *hour).await?;
        }
        found.hours_compared += 1;
        found.rows_compared += same;
        found.differences.extend(lines);
    }
    Ok(())
}

async fn all_hours(store: &Store) -> anyhow::Result<BTreeSet<i64>> {
    let (mut hours, mut after) = (BTreeSet::new(), None::<String>);
    loop {
        let listed = store.list("silver/ticks/", after.as_deref()).await?;
        let Some(last) = listed.last() else { return Ok(hours) };
        after = Some(last.key.clone());
        hours.extend(listed.iter().filter_map(|listed| hour_of(&listed.key)));
    }
}

fn take(report: &mut Report, found: Option<RefinedReport>) {
    let Some(found) = found else { return };
    for line in &found.differences {
        report.differ(if line.starts_with("gold/") { "gold" } else { "silver" }, line.clone());
    }
    report.pending.extend(found.pending.iter().cloned());
    report.refined = Some(found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_minutes_are_joined_and_hours_are_whole() {
        let minutes = BTreeSet::from([5, 6, 9].map(|minute| minute * MINUTE_US));
        let hours = BTreeSet::from([DAY_US, DAY_US + HOUR_US]);
        let spans = spans(&minutes, &hours);
        let expected = [
            5 * MINUTE_US..7 * MINUTE_US,
            9 * MINUTE_US..10 * MINUTE_US,
            DAY_US..2 * DAY_US,
            DAY_US + HOUR_US..DAY_US + 2 * HOUR_US,
        ];
        assert_eq!(spans, expected);
        let scattered: BTreeSet<i64> = (0..100).map(|minute| 2 * minute * MINUTE_US).collect();
        assert_eq!(super::spans(&scattered, &BTreeSet::new()).len(), NEW_SPANS);
    }
}
