//! Silver: events, by the hour in which they stand on either side, then those that stand in different hours. Must never happen
//! here: an event told as lacking that stands in another hour.

use std::collections::{BTreeSet, HashMap};

use pipeline::codec::RecordType;
use pipeline::decode::Decoder;
use pipeline::store::Store;
use pipeline::stretches;
use pipeline::topics::TICKS;
use uuid::Uuid;

use super::object::{self, Row};
use super::{Compared, Foreign, Sides, is_in};
use crate::audit::refined::rules::TIMEFRAMES;
use crate::replay::generation::lake::{self as own_lake, CORRECTIONS};
use crate::replay::switch::{Mark, Standing, outside};

const PREFIX: &str = "silver/ticks/";
/// What counts repetitions: those that lie outside the plan, too.
const COUNTED: [&str; 2] = ["copies", "revisions"];
/// How a correction came: it is judged by what it says.
const OF_THE_RECORD: [&str; 8] = [
    "copies",
    "revisions",
    "revision",
    "previous_event_time",
    "previous_symbol",
    "broker_time",
    "kafka_partition",
    "kafka_offset",
];
/// Whatever the age of a tick: a revision counts when any sink may have taken it.
const ANY_DAYS: u32 = 36_500;

/// Also gives the buckets whose candles are not the plan's alone.
pub async fn compare(sides: &Sides<'_>) -> anyhow::Result<(Compared, Foreign)> {
    let mut silver = Silver { found: Compared::new("silver", sides.args), foreign: Foreign::new() };
    let (mut lone_own, mut lone_live) = (HashMap::<String, Row>::new(), HashMap::<String, Row>::new());
    for key in keys(sides).await? {
        let own = object::read(&sides.own, &key, &["event_id"]).await?;
        let mut live = object::read(&sides.live, &key, &["event_id"]).await?;
        for (event, own) in sorted(own) {
            match live.remove(&event) {
                Some(live) => silver.pair(sides, &own, &live),
                None => drop(lone_own.insert(event, own)),
            }
        }
        for (event, live) in live {
            if !is_in(&sides.scope, &live) {
                silver.note_foreign(&live);
            }
            // One that was never corrected stands where it always stood.
            if is_in(&sides.scope, &live) || live.number("revision") != Some(0) {
                lone_live.insert(event, live);
            }
        }
    }
    let mut unknown = Vec::new();
    for (event, own) in sorted(lone_own) {
        match lone_live.remove(&event) {
            Some(live) => silver.pair(sides, &own, &live),
            None => unknown.push(own),
        }
    }
    let decided = decided_outside(sides, &unknown).await?;
    for own in unknown {
        if decided.contains(own.key()) {
            silver.note_foreign(&own);
            silver.found.left_alone();
        } else {
            silver.found.only_generation(&own, "price");
        }
    }
    for (_, live) in sorted(lone_live).into_iter().filter(|(_, live)| is_in(&sides.scope, live)) {
        silver.found.only_live(&live, "price");
    }
    Ok((silver.found, silver.foreign))
}

/// The hours of either side, on the days that the generation has.
async fn keys(sides: &Sides<'_>) -> anyhow::Result<BTreeSet<String>> {
    let own = listed(&sides.own, PREFIX).await?;
    let day = |key: &String| key.strip_prefix(PREFIX).and_then(|rest| rest.split('/').next()).map(str::to_owned);
    let days: BTreeSet<String> = own.iter().filter_map(day).collect();
    let mut keys: BTreeSet<String> = own.into_iter().collect();
    for day in days {
        keys.extend(listed(&sides.live, &format!("{PREFIX}{day}/")).await?);
    }
    Ok(keys)
}

/// The Parquet objects below a prefix.
pub async fn listed(store: &Store, prefix: &str) -> anyhow::Result<Vec<String>> {
    own_lake::keys(store, prefix, ".parquet").await
}

fn sorted(rows: HashMap<String, Row>) -> Vec<(String, Row)> {
    let mut rows: Vec<(String, Row)> = rows.into_iter().collect();
    rows.sort_by_cached_key(|(event, row)| (row.get("event_time"), event.clone()));
    rows
}

struct Silver {
    found: Compared,
    foreign: Foreign,
}

impl Silver {
    fn pair(&mut self, sides: &Sides<'_>, own: &Row, live: &Row) {
        let is_correction = own.number("kafka_partition") == Some(i64::from(CORRECTIONS));
        let is_outranked = if is_correction {
            live.number("revision") > own.number("revision")
        } else {
            !is_in(&sides.scope, live) && outranks(live, own)
        };
        if is_outranked {
            self.note_foreign(own);
            self.note_foreign(live);
            return self.found.left_alone();
        }
        let ignored: &[&str] = if is_correction { &OF_THE_RECORD } else { &COUNTED };
        let columns = own.differs_from(live, ignored);
        if columns.is_empty() { self.found.same() } else { self.found.different(own, columns) }
    }

    fn note_foreign(&mut self, row: &Row) {
        let text = |name: &str| row.get(name).unwrap_or_default();
        let Some(time) = row.micros("event_time") else { return };
        for (timeframe, width) in TIMEFRAMES {
            let bucket = time - time.rem_euclid(width);
            self.foreign.insert((timeframe, text("source"), text("symbol"), text("kind"), bucket));
        }
    }
}

/// By the rule of every sink.
fn outranks(one: &Row, other: &Row) -> bool {
    let place = |row: &Row| (row.get("broker_time"), row.number("kafka_partition"), row.number("kafka_offset"));
    let (revision, others) = (one.number("revision"), other.number("revision"));
    revision > others || (revision == others && place(one) < place(other))
}

/// Of events that are nowhere live, those that a record outside the plan took away or to another day.
async fn decided_outside(sides: &Sides<'_>, unknown: &[Row]) -> anyhow::Result<BTreeSet<String>> {
    if unknown.is_empty() {
        return Ok(BTreeSet::new());
    }
    let plan = sides.plan;
    let mark = Mark::new(plan.name.as_str(), &plan.digest);
    let ids = unknown.iter().filter_map(|row| row.key().parse::<Uuid>().ok());
    let mut standing = Standing::of(ids, &mark, ANY_DAYS);
    let mut decoder = Decoder::new(RecordType::PriceTick, sides.args.lake.registry.registry()?);
    let (_, of_topic) = outside(&sides.args.kafka, plan).await?;
    stretches::read(&sides.args.kafka, TICKS, &of_topic, "run it again", async |partition, records| {
        let decoded = decoder.decode(records.values()).await?;
        standing.take(partition, &records, &decoded);
        Ok(())
    })
    .await?;
    let is_decided = |row: &&Row| {
        let stood = row.key().parse::<Uuid>().ok().and_then(|id| standing.of_event(id));
        stood.is_some_and(|stood| Some(i64::from(stood.revision)) > row.number("revision"))
    };
    Ok(unknown.iter().filter(is_decided).map(|row| row.key().to_owned()).collect())
}
