//! The topic's events against the rows of `ticks`, as sets: not only as many, but the same ones.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use pipeline::stretches::Stretch;
use sqlx::PgConnection;
use uuid::Uuid;

use super::events::{Events, Gathering, Seen};
use super::letters::{Coordinates, Letters};
use super::report::DatabaseReport;
use super::retired::Retired;
use crate::database::{DatabaseArgs, explain};

const TICK_PLACES: &str = include_str!("../sql/tick_places.sql");
const HAS_TICKS: &str = include_str!("../sql/has_ticks.sql");
const HORIZON: &str = include_str!("../sql/horizon.sql");
/// Differences of one kind that are named one by one; the others are only counted.
const NAMED: usize = 10;

/// Connects, and sees that there is something to compare with.
pub async fn connect(args: &DatabaseArgs) -> anyhow::Result<PgConnection> {
    let mut connection = args.connect().await?;
    sqlx::query(HAS_TICKS).execute(&mut connection).await.map_err(explain)?;
    Ok(connection)
}

/// From when on ticks are kept, in microseconds from 1970; `None` where all are.
pub async fn horizon(connection: &mut PgConnection) -> anyhow::Result<Option<i64>> {
    sqlx::query_scalar(HORIZON).fetch_one(connection).await.map_err(explain)
}

/// What was read of the topic.
pub struct Ticks {
    pub events: Gathering,
    pub retired: Retired,
    /// Records that do not decode.
    pub undecodable: Vec<Coordinates>,
}

/// Something that there should not be: how often, and the first ones by name.
#[derive(Default)]
struct Tally {
    count: u64,
    named: Vec<String>,
}

impl Tally {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(name());
        }
    }

    /// "3 WHAT: a, b, c", or nothing.
    fn line(self, what: &str) -> Option<String> {
        let more = if self.count > self.named.len() as u64 { ", …" } else { "" };
        (self.count > 0).then(|| format!("{} {what}: {}{more}", self.count, self.named.join(", ")))
    }
}

pub async fn compare(
    connection: &mut PgConnection,
    topic: &str,
    ticks: Ticks,
    letters: &Letters,
    group: &str,
    stretches: &[Stretch],
) -> anyhow::Result<DatabaseReport> {
    let dead = letters.of(group);
    let (decoded, undecodable) = (ticks.events.len(), ticks.undecodable.len() as u64);
    let mut unaccounted = Tally::default();
    for place in ticks.undecodable.iter().filter(|place| !dead.contains(place)) {
        unaccounted.add(|| at(*place));
    }
    let mut events = ticks.events.distinct(|place| !dead.contains(&place));
    let distinct_event_ids = events.len();
    let rows = compare_rows(connection, &mut events, dead, stretches).await?;
    let (mut missing, mut retired_events) = (Tally::default(), 0);
    for (id, place) in events.unseen() {
        if ticks.retired.has(id, |place| !dead.contains(&place)) {
            retired_events += 1;
        } else {
            missing.add(|| format!("{id} at {}", at(place)));
        }
    }
    if missing.count > 0 && horizon(connection).await? != ticks.retired.horizon() {
        missing.named.insert(0, "(days were dropped while this audit ran: run it again)".to_owned());
    }
    let group_name = format!("undecodable records are no dead letters of group {group}");
    let differences = [
        missing.line("events of the topic have no row in Postgres"),
        rows.extra.line("rows in Postgres are of no event of the topic"),
        rows.twice.line("rows in Postgres repeat an event that has a row already"),
        unaccounted.line(&group_name),
    ];
    Ok(DatabaseReport {
        topic: topic.to_owned(),
        decoded,
        undecodable,
        dead_letters_db: stretches.iter().map(|s| letters.count(group, s.partition, s.start, s.end)).sum(),
        distinct_event_ids: distinct_event_ids - retired_events,
        retired_events,
        postgres_rows: rows.matched,
        rows_older: rows.older,
        rows_newer: rows.newer,
        rows_taken_since: rows.taken_since,
        differences: differences.into_iter().flatten().collect(),
    })
}

#[derive(Default)]
struct Rows {
    matched: u64,
    older: u64,
    newer: u64,
    taken_since: u64,
    extra: Tally,
    twice: Tally,
}

async fn compare_rows(
    connection: &mut PgConnection,
    events: &mut Events,
    dead: &BTreeSet<Coordinates>,
    stretches: &[Stretch],
) -> anyhow::Result<Rows> {
    let mut rows = Rows::default();
    let mut stream = sqlx::query_as::<_, (Uuid, i32, i64)>(TICK_PLACES).fetch(connection);
    while let Some((id, partition, offset)) = stream.try_next().await.map_err(explain)? {
        let name = || format!("{id} from {}", at((partition, offset)));
        match events.see(id) {
            Seen::First => {}
            Seen::Again => rows.twice.add(name),
            Seen::Unknown => match stretches.iter().find(|stretch| stretch.partition == partition) {
                Some(stretch) if offset < stretch.start => {
                    rows.older += 1;
                    continue;
                }
                Some(stretch) if offset >= stretch.end => {
                    rows.newer += 1;
                    continue;
                }
                // The consumer has read its record again, and could take it: the letter is out of date, the row is right.
                Some(_) if dead.contains(&(partition, offset)) => {
                    rows.taken_since += 1;
                    continue;
                }
                Some(_) | None => rows.extra.add(name),
            },
        }
        rows.matched += 1;
    }
    Ok(rows)
}

/// `[partition] offset`.
fn at((partition, offset): Coordinates) -> String {
    format!("partition {partition} offset {offset}")
}
