//! The topics' events against the rows of their tables, as sets: not only as many, but the same ones, saying the same. Must never happen here: a row that is called right because nobody had its record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context;
use futures::TryStreamExt;
use jiff::Timestamp;
use pipeline::stretches::Stretch;
use pipeline::topics;
use sqlx::PgConnection;
use uuid::Uuid;

use super::events::{Events, Gathering, Said, Seen};
use super::letters::{Coordinates, Letters};
use super::report::DatabaseReport;
use super::retired::Retired;
use crate::database::{DatabaseArgs, explain};

const HAS_TICKS: &str = include_str!("../sql/has_ticks.sql");
const HORIZON: &str = include_str!("../sql/horizon.sql");
const POSITIONS: &str = include_str!("../sql/topic_positions.sql");
const PLACES_OF_TICKS: &str = include_str!("../sql/places_of_ticks.sql");
/// Differences of one kind that are named one by one; the others are only counted.
const NAMED: usize = 10;

/// A table whose rows are a topic's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Ticks,
    Gaps,
    IndexWeights,
    Alerts,
}

impl Table {
    pub fn of(topic: &str) -> Option<Self> {
        match topic {
            topics::TICKS => Some(Self::Ticks),
            topics::GAPS => Some(Self::Gaps),
            topics::INDEX => Some(Self::IndexWeights),
            topics::ALERTS => Some(Self::Alerts),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ticks => "ticks",
            Self::Gaps => "gaps",
            Self::IndexWeights => "index_weights",
            Self::Alerts => "alerts",
        }
    }

    /// Of several closings of a gap the last stands; of everything else the first.
    pub fn gathering(self) -> Gathering {
        if self == Self::Gaps { Gathering::where_later_wins() } else { Gathering::default() }
    }

    fn places(self) -> &'static str {
        match self {
            Self::Ticks => include_str!("../sql/tick_places.sql"),
            Self::Gaps => include_str!("../sql/gap_places.sql"),
            Self::IndexWeights => include_str!("../sql/index_weight_places.sql"),
            Self::Alerts => include_str!("../sql/alert_places.sql"),
        }
    }
}

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

/// How far each partition of the topic is in the database, where it says so.
pub async fn positions(connection: &mut PgConnection, topic_id: Uuid) -> anyhow::Result<BTreeMap<i32, i64>> {
    let positions: Vec<(i32, i64)> =
        sqlx::query_as(POSITIONS).bind(topic_id).fetch_all(connection).await.map_err(explain)?;
    Ok(positions.into_iter().collect())
}

/// What was read of the topic.
pub struct Told {
    pub table: Table,
    pub events: Gathering,
    pub retired: Retired,
    /// Records that do not decode.
    pub undecodable: Vec<Coordinates>,
    /// When the broker took the oldest of them.
    pub oldest_ms: Option<i64>,
    /// Only a part of the topic was read: the times of its events, to ask for their rows by.
    pub times: Option<HashMap<Uuid, i64>>,
}

/// Something that there should not be: how often, and the first ones by name.
#[derive(Default)]
pub struct Tally {
    pub count: u64,
    named: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(name());
        }
    }

    /// "3 WHAT: a, b, c", or nothing.
    pub fn line(self, what: &str) -> Option<String> {
        let more = if self.count > self.named.len() as u64 { ", …" } else { "" };
        (self.count > 0).then(|| format!("{} {what}: {}{more}", self.count, self.named.join(", ")))
    }
}

/// What a topic is compared by.
pub struct Of<'a> {
    pub topic: &'a str,
    pub letters: &'a Letters,
    pub group: &'a str,
    /// What was read, as far as the database is.
    pub stretches: &'a [Stretch],
}

pub async fn compare(connection: &mut PgConnection, told: Told, of: &Of<'_>) -> anyhow::Result<DatabaseReport> {
    let Of { topic, letters, group, stretches } = *of;
    let table = told.table;
    let dead = letters.of(group);
    let is_in = |place: Coordinates| stretches.iter().any(|stretch| holds(stretch, place));
    let decoded = told.events.len();
    let undecodable: Vec<_> = told.undecodable.into_iter().filter(|place| is_in(*place)).collect();
    let mut unaccounted = Tally::default();
    for place in undecodable.iter().filter(|place| !dead.contains(place)) {
        unaccounted.add(|| at(*place));
    }
    let mut events = told.events.distinct(|place| is_in(place) && !dead.contains(&place));
    let distinct_event_ids = events.len();
    let since = match (&told.times, told.oldest_ms) {
        (Some(_), Some(oldest_ms)) => Timestamp::from_millisecond(oldest_ms).context("a broker's time")?.to_string(),
        (Some(_), None) => "infinity".to_owned(),
        (None, _) => "-infinity".to_owned(),
    };
    let mut rows = compare_rows(connection, table, &since, &mut events, dead, stretches).await?;
    let mut unseen: Vec<(Uuid, Coordinates)> = events.unseen().collect();
    if let Some(times) = &told.times {
        unseen = elsewhere(connection, unseen, times, &events, &mut rows).await?;
    }
    let (mut missing, mut retired_events) = (Tally::default(), 0);
    for (id, place) in unseen {
        if told.retired.has(id, |place| !dead.contains(&place)) {
            retired_events += 1;
        } else {
            missing.add(|| format!("{id} at {}", at(place)));
        }
    }
    if missing.count > 0 && horizon(connection).await? != told.retired.horizon() && table == Table::Ticks {
        missing.named.insert(0, "(days were dropped while this audit ran: run it again)".to_owned());
    }
    let group_name = format!("undecodable records are no dead letters of group {group}");
    let place = if table == Table::Ticks { "Postgres".to_owned() } else { format!("Postgres, table {}", table.name()) };
    let differences = [
        missing.line(&format!("events of the topic have no row in {place}")),
        rows.extra.line(&format!("rows in {place} are of no event of the topic")),
        rows.twice.line(&format!("rows in {place} repeat an event that has a row already")),
        rows.altered.line(&format!("rows in {place} are not what their records say")),
        rows.outranked.line(&format!("rows in {place} are of records that others win over")),
        rows.displaced.line(&format!("rows in {place} name records of other events as theirs")),
        unaccounted.line(&group_name),
    ];
    Ok(DatabaseReport {
        topic: topic.to_owned(),
        decoded,
        undecodable: undecodable.len() as u64,
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
    altered: Tally,
    outranked: Tally,
    displaced: Tally,
}

fn holds(stretch: &Stretch, (partition, offset): Coordinates) -> bool {
    stretch.partition == partition && (stretch.start..stretch.end).contains(&offset)
}

async fn compare_rows(
    connection: &mut PgConnection,
    table: Table,
    since: &str,
    events: &mut Events,
    dead: &BTreeSet<Coordinates>,
    stretches: &[Stretch],
) -> anyhow::Result<Rows> {
    let mut rows = Rows::default();
    if since == "infinity" {
        return Ok(rows);
    }
    let query = sqlx::query_as::<_, (Uuid, i32, i64, i64)>(table.places()).bind(since);
    let mut stream = query.fetch(connection);
    while let Some((id, partition, offset, content)) = stream.try_next().await.map_err(explain)? {
        let place = (partition, offset);
        let name = || format!("{id} from {}", at(place));
        let content = content.cast_unsigned();
        let stretch = stretches.iter().find(|stretch| stretch.partition == partition);
        match events.see(id, place, content) {
            Seen::First(Said::Same) => {}
            Seen::First(Said::Altered) => rows.altered.add(name),
            Seen::First(Said::Outranked(by)) => rows.outranked.add(|| format!("{} (by {})", name(), at(by))),
            // Of a repetition that the topic no longer has, or of a correction that came while this audit ran.
            Seen::First(Said::NotThere) if stretch.is_some_and(|stretch| !holds(stretch, place)) => {}
            Seen::First(Said::NotThere) if dead.contains(&place) => {}
            Seen::First(Said::NotThere) => rows.displaced.add(name),
            Seen::Again => rows.twice.add(name),
            Seen::Unknown => match stretch {
                Some(stretch) if offset < stretch.start => {
                    rows.older += 1;
                    continue;
                }
                Some(stretch) if offset >= stretch.end => {
                    rows.newer += 1;
                    continue;
                }
                // The consumer has read its record again, and could take it: the letter is out of date, the row is right.
                Some(_) if dead.contains(&place) => {
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

/// Which of these have no row either at the time that their record tells: a repetition leaves the older record's row.
async fn elsewhere(
    connection: &mut PgConnection,
    unseen: Vec<(Uuid, Coordinates)>,
    times: &HashMap<Uuid, i64>,
    events: &Events,
    rows: &mut Rows,
) -> anyhow::Result<Vec<(Uuid, Coordinates)>> {
    let mut missing = Vec::new();
    for some in unseen.chunks(10_000) {
        let ids: Vec<Uuid> = some.iter().map(|(id, _)| *id).collect();
        let micros: Vec<i64> = ids.iter().map(|id| times.get(id).copied().unwrap_or_default()).collect();
        let query = sqlx::query_as::<_, (Uuid, i32, i64, i32)>(PLACES_OF_TICKS).bind(ids).bind(micros);
        let found = query.fetch_all(&mut *connection).await.map_err(explain)?;
        let found: HashMap<Uuid, (Coordinates, i32)> =
            found.into_iter().map(|(id, partition, offset, revision)| (id, ((partition, offset), revision))).collect();
        for (id, place) in some {
            match found.get(id) {
                None => missing.push((*id, *place)),
                Some((row, revision)) if events.highest_revision(*id) > *revision => {
                    rows.outranked.add(|| format!("{id} from {} (by {})", at(*row), at(*place)));
                }
                Some(_) => rows.matched += 1,
            }
        }
    }
    Ok(missing)
}

/// `partition P offset O`.
pub fn at((partition, offset): Coordinates) -> String {
    format!("partition {partition} offset {offset}")
}
