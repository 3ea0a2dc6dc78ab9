//! Silver and gold against what they list: each object says in its footer which objects it was made of, with their ETags, and
//! those must be what stands there now. What the refiner has not come to yet is pending, and a difference only once it is
//! older than a bound. Must never happen here: work that is under way called a fault, or a fault called work that is under way.

pub mod hours;
pub mod object;
mod remade;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use pipeline::lake::{Link, raw_key};
use pipeline::store::Store;
use serde::Deserialize;

use super::report::RefinedReport;
use object::Made;

/// Requests under way at once.
const AT_ONCE: usize = 8;
/// Objects that are looked at again one by one, because of something that is not what they list.
const JUDGED: usize = 100;
const STATE: &str = "silver/_refiner/state.json";
const NOTES: &str = "bronze/_notes/";
/// What is made of a day's ticks in any case.
const OF_A_DAY: [&str; 5] = [
    "gold/candles/timeframe=1m",
    "gold/candles/timeframe=5m",
    "gold/candles/timeframe=1h",
    "gold/candles/timeframe=1d",
    "gold/daily_stats",
];
const OTHERS_OF_A_DAY: [&str; 3] = ["gold/cross_rates", "gold/data_quality", "gold/forecasts"];
pub const HOUR_US: i64 = 3_600_000_000;

/// How far the refiner says that it is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct State {
    /// By `topic/epoch/partition`: the raw offset below which all bronze has been taken up.
    #[serde(default)]
    cursors: BTreeMap<String, i64>,
    /// Parts of silver and gold that are still to be made, and the bronze that touches them.
    #[serde(default)]
    pending: BTreeMap<String, BTreeSet<String>>,
}

impl State {
    pub async fn read(store: &Store) -> anyhow::Result<Option<Self>> {
        let Some(object) = store.get(STATE).await? else { return Ok(None) };
        Ok(serde_json::from_slice(&object.bytes).ok())
    }

    /// Whether the bronze of this record has been taken up.
    pub fn has_taken(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.cursor(topic, partition).is_some_and(|cursor| offset < cursor)
    }

    /// The offset below which all bronze of a partition has been taken up.
    pub fn cursor(&self, topic: &str, partition: i32) -> Option<i64> {
        // Of several epochs the newest is the one that is still written.
        let of = |name: &&String| {
            let mut parts = name.rsplit('/');
            parts.next().and_then(|text| text.parse().ok()) == Some(partition)
                && parts.next().is_some()
                && parts.next() == Some(topic)
        };
        self.cursors.iter().rev().find(|(name, _)| of(name)).map(|(_, cursor)| *cursor)
    }

    pub fn waits_for(&self, group: &str) -> bool {
        self.pending.contains_key(group)
    }

    /// Whether it knows that this object is to be made again.
    pub fn waits_for_object(&self, key: &str) -> bool {
        group_of(key).is_some_and(|group| self.waits_for(&group))
    }
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// Of ticks these hours, of everything else their days; as microseconds from 1970.
    Hours(BTreeSet<i64>),
}

/// `2026-11-22` and `13`.
pub fn day_and_hour(hour_us: i64) -> (String, String) {
    let text = Timestamp::from_microsecond(hour_us).map_or_else(|_| String::new(), |time| time.to_string());
    let (day, time) = text.split_once('T').unwrap_or((&text, "00"));
    (day.to_owned(), time.get(..2).unwrap_or("00").to_owned())
}

/// The object of silver that has the ticks of an hour.
pub fn ticks_key(hour_us: i64) -> String {
    let (day, hour) = day_and_hour(hour_us);
    format!("silver/ticks/dt={day}/hour={hour}/part.parquet")
}

/// The hour of an object of silver's ticks.
pub fn hour_of(key: &str) -> Option<i64> {
    let hour: i64 = value(key, "hour")?.parse().ok()?;
    let day: jiff::civil::Date = value(key, "dt")?.parse().ok()?;
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond();
    key.starts_with("silver/ticks/").then_some(midnight + hour * HOUR_US)
}

fn value<'a>(key: &'a str, column: &str) -> Option<&'a str> {
    key.split('/').find_map(|part| part.strip_prefix(column)?.strip_prefix('='))
}

pub struct Refined<'a> {
    pub store: &'a Store,
    /// Open the objects as a whole: the checksum of their bytes.
    pub opens: bool,
    /// Make silver's ticks and gold's candles again, and compare.
    pub remakes: bool,
    /// How old what is not refined may be.
    pub within: SignedDuration,
}

/// What stands where.
#[derive(Default)]
struct Standing {
    made: BTreeMap<String, Made>,
    /// Keys and ETags of bronze, silver and gold, as far as they were listed.
    etags: BTreeMap<String, String>,
}

impl Refined<'_> {
    /// `None`: no refiner has ever been at work on this lake.
    pub async fn look(&self, scope: &Scope) -> anyhow::Result<Option<RefinedReport>> {
        let Some(before) = State::read(self.store).await? else { return Ok(None) };
        let mut report = RefinedReport::default();
        self.behind(&before, &mut report).await?;
        let standing = self.standing(scope, &mut report).await?;
        let mut suspects = Vec::new();
        for (key, made) in &standing.made {
            for (input, etag) in &made.inputs {
                if standing.etags.get(input) != Some(etag) {
                    suspects.push((key.as_str(), input.as_str()));
                }
            }
        }
        let (judged, more) = suspects.split_at(suspects.len().min(JUDGED));
        for (index, (key, input)) in judged.iter().enumerate() {
            // Whoever is at work has moved on by the second one.
            let pauses = if index == 0 { &[0, 300, 1_000][..] } else { &[0] };
            self.judge(key, input, pauses, &before, &mut report).await?;
        }
        if !more.is_empty() {
            let more = more.len();
            report
                .differences
                .push(format!("{more} more objects of silver and gold are of others than stand there now"));
        }
        self.missing(&standing, &before, scope, &mut report).await?;
        if self.remakes {
            Box::pin(self.remade(&standing, &mut report)).await?;
        }
        report.differences.sort();
        report.differences.dedup();
        Ok(Some(report))
    }

    /// What the refiner has not taken up: of each chain the object at its cursor is the oldest.
    async fn behind(&self, state: &State, report: &mut RefinedReport) -> anyhow::Result<()> {
        for (chain, cursor) in &state.cursors {
            let mut parts = chain.rsplitn(3, '/');
            let (partition, epoch, topic) = (parts.next(), parts.next(), parts.next());
            let (Some(Ok(partition)), Some(Ok(epoch)), Some(topic)) =
                (partition.map(str::parse), epoch.map(str::parse), topic)
            else {
                continue;
            };
            let key = raw_key(topic, epoch, partition, *cursor);
            let what = format!("{key} and what comes after it has not been taken up into silver");
            self.waits(&key, what, report).await?;
        }
        for (group, keys) in &state.pending {
            let Some(oldest) = keys.iter().min() else {
                report.pending.push(format!("{group} is to be made again"));
                continue;
            };
            let raw = super::deep::raw_key_of(oldest).unwrap_or_default();
            self.waits(&raw, format!("{group} has not been made with {oldest}"), report).await?;
        }
        Ok(())
    }

    /// Something waits for the refiner, since the records of this raw object came.
    async fn waits(&self, raw: &str, what: String, report: &mut RefinedReport) -> anyhow::Result<()> {
        let Some(head) = self.store.head(raw).await? else { return Ok(()) };
        let rows = Link::from_pairs(&head.metadata).and_then(|link| link.rows);
        let Some(since) = rows.and_then(|rows| Timestamp::from_millisecond(rows.first_time_ms).ok()) else {
            return Ok(());
        };
        if Timestamp::now().duration_since(since) > self.within {
            let within = self.within;
            report.differences.push(format!(
                "{what}, since {since}: longer than {within:#} (--refined-within); is the refiner at work?"
            ));
        } else {
            report.pending.push(format!("{what}, since {since}"));
        }
        Ok(())
    }

    async fn standing(&self, scope: &Scope, report: &mut RefinedReport) -> anyhow::Result<Standing> {
        let mut prefixes: BTreeSet<String> = BTreeSet::new();
        match scope {
            Scope::All => prefixes.extend(["silver/".to_owned(), "gold/".to_owned()]),
            Scope::Hours(hours) => {
                for hour in hours {
                    let (day, _) = day_and_hour(*hour);
                    prefixes.insert(format!("silver/ticks/dt={day}/"));
                    prefixes.insert(format!("silver/index_weights/pregao_date={day}/"));
                    for table in
                        ["silver/gaps", "silver/quarantined_ticks"].iter().chain(&OF_A_DAY).chain(&OTHERS_OF_A_DAY)
                    {
                        prefixes.insert(format!("{table}/dt={day}/"));
                    }
                }
            }
        }
        let mut standing = Standing::default();
        let listed: Vec<_> = stream::iter(prefixes)
            .map(async |prefix| self.list(&prefix, None, None).await)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        standing.etags = listed.into_iter().flatten().collect();
        standing.etags.retain(|key, _| key.ends_with(".parquet"));
        let opened = |key: &&String| match (scope, hour_of(key)) {
            (Scope::Hours(hours), Some(hour)) => hours.contains(&hour),
            _ => true,
        };
        let read = async |key: String| (key.clone(), object::read(self.store, &key, self.opens).await);
        let keys: Vec<String> = standing.etags.keys().filter(opened).cloned().collect();
        let mut reads = stream::iter(keys).map(read).buffer_unordered(AT_ONCE);
        while let Some((key, read)) = reads.next().await {
            match read? {
                // It was listed and has been replaced or taken away since: the next audit sees it.
                None => {}
                Some(Ok(made)) => {
                    report.add(&key, made.rows);
                    standing.made.insert(key, made);
                }
                Some(Err(wrong)) => report.differences.push(format!("{key}: {wrong}; {}", again(&key))),
            }
        }
        self.list_inputs(&mut standing, scope, report).await?;
        Ok(standing)
    }

    /// The ETags of what the objects were made of.
    async fn list_inputs(
        &self,
        standing: &mut Standing,
        scope: &Scope,
        report: &mut RefinedReport,
    ) -> anyhow::Result<()> {
        let inputs: BTreeSet<&String> = standing.made.values().flat_map(|made| made.inputs.keys()).collect();
        let mut found = Vec::new();
        for table in ["bronze/ticks/", "bronze/gaps/", "bronze/index_weights/"] {
            let of_table = || inputs.iter().filter(|key| key.starts_with(table));
            let listed = match (scope, of_table().next(), of_table().next_back()) {
                (Scope::All, ..) => self.list(table, None, None).await?,
                (Scope::Hours(_), Some(first), Some(last)) => self.list(table, Some(first), Some(last)).await?,
                (Scope::Hours(_), ..) => Vec::new(),
            };
            found.extend(listed);
        }
        // Of other days: gaps that reach over, the closes that forecasts are made from.
        let elsewhere: Vec<String> = inputs
            .iter()
            .filter(|key| !key.starts_with("bronze/") && !standing.etags.contains_key(**key))
            .map(|key| (*key).clone())
            .collect();
        let head = async |key: String| anyhow::Ok(self.store.head(&key).await?.map(|head| (key, head.etag)));
        let heads: Vec<Option<(String, String)>> =
            stream::iter(elsewhere).map(head).buffer_unordered(AT_ONCE).try_collect().await?;
        found.extend(heads.into_iter().flatten());
        report.bronze_objects = found.iter().filter(|(key, _)| key.starts_with("bronze/")).count() as u64;
        standing.etags.extend(found);
        Ok(())
    }

    /// Keys and ETags under a prefix, from the first to the last one, where that is said.
    async fn list(
        &self,
        prefix: &str,
        first: Option<&str>,
        last: Option<&str>,
    ) -> anyhow::Result<Vec<(String, String)>> {
        // A key that is just before the first one.
        let mut after = first.map(|first| first[..first.len() - 1].to_owned());
        let mut found = Vec::new();
        loop {
            let listed = self.store.list(prefix, after.as_deref()).await?;
            let Some(end) = listed.last() else { return Ok(found) };
            let is_beyond = last.is_some_and(|last| end.key.as_str() > last);
            after = Some(end.key.clone());
            found.extend(listed.into_iter().map(|listed| (listed.key, listed.etag)));
            if is_beyond {
                return Ok(found);
            }
        }
    }

    /// What was made of something that does not stand there as it was when it was listed: asked again, since the refiner works
    /// meanwhile.
    async fn judge(
        &self,
        key: &str,
        input: &str,
        pauses: &[u64],
        before: &State,
        report: &mut RefinedReport,
    ) -> anyhow::Result<()> {
        for (index, pause_ms) in pauses.iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
            let head = self.store.head(input).await?;
            let Some(Ok(made)) = object::read(self.store, key, false).await? else { return Ok(()) };
            let Some(listed) = made.inputs.get(input) else { return Ok(()) };
            match &head {
                Some(head) if head.etag == *listed => return Ok(()),
                Some(_) | None => {}
            }
            let state = State::read(self.store).await?.unwrap_or_default();
            if state != *before || self.is_under_way(key, input, &made, &state).await? {
                report.pending.push(format!("{key} is to be made again, with {input} as it is now"));
                return Ok(());
            }
            if index + 1 < pauses.len() {
                continue;
            }
            let again = again(key);
            report.differences.push(if head.is_none() {
                format!("{key} is made of {input}, which is not there; {}", self::again(input))
            } else if let Some(wrong) = object::read(self.store, input, true).await?.and_then(Result::err) {
                format!("{input}: {wrong}; {} ({key} was made of it as it was)", self::again(input))
            } else {
                format!("{key} is stale: {input} is another than it was made of; {again}")
            });
        }
        Ok(())
    }

    /// Whether the refiner knows that this is to be made again.
    async fn is_under_way(&self, key: &str, input: &str, made: &Made, state: &State) -> anyhow::Result<bool> {
        if state.waits_for_object(key) {
            return Ok(true);
        }
        if input.starts_with("bronze/") {
            let name = input.rsplit('/').next().unwrap_or_default().trim_end_matches(".parquet");
            let notes = self.list(NOTES, None, None).await?;
            let (topic, rest) = name.split_once('+').unwrap_or((name, ""));
            return Ok(notes.iter().any(|(note, _)| note.contains(topic) && note.contains(rest)));
        }
        // Gold above silver that was made of bronze behind the cursors: a run is in its middle.
        let silver = if input.starts_with("silver/") { object::read(self.store, input, false).await? } else { None };
        let inputs = silver.and_then(Result::ok).map_or_else(|| made.inputs.clone(), |made| made.inputs);
        Ok(inputs.keys().any(|bronze| bronze.starts_with("bronze/") && !is_taken(state, bronze)))
    }

    /// What should stand there and does not, and bronze that nothing was made of.
    async fn missing(
        &self,
        standing: &Standing,
        before: &State,
        scope: &Scope,
        report: &mut RefinedReport,
    ) -> anyhow::Result<()> {
        let with_ticks = |(key, made): &(&String, &Made)| key.starts_with("silver/ticks/") && made.rows > 0;
        for (key, made) in standing.made.iter().filter(with_ticks) {
            let Some(day) = value(key, "dt") else { continue };
            for table in OF_A_DAY {
                let above = format!("{table}/dt={day}/part.parquet");
                let what = match standing.made.get(&above) {
                    Some(gold) if gold.inputs.contains_key(key) || !table.contains("candles") => continue,
                    Some(_) => "is made without",
                    None if standing.etags.contains_key(&above) => continue,
                    None => "is missing above",
                };
                let is_under_way = made.inputs.keys().any(|bronze| !is_taken(before, bronze))
                    || before.waits_for(&format!("candles/{day}"))
                    || State::read(self.store).await?.is_none_or(|now| now != *before);
                if is_under_way {
                    report.pending.push(format!("{above} {what} {key}"));
                } else {
                    report.differences.push(format!("{above} {what} {key}; {}", again(&above)));
                }
            }
        }
        if *scope != Scope::All {
            return Ok(());
        }
        let taken: BTreeSet<&String> = standing
            .made
            .values()
            .flat_map(|made| made.inputs.keys())
            .chain(before.pending.values().flatten())
            .collect();
        for bronze in standing.etags.keys().filter(|key| key.starts_with("bronze/ticks/")) {
            if taken.contains(bronze) || !is_taken(before, bronze) {
                continue;
            }
            let head = self.store.head(bronze).await?;
            let rows: Option<u64> = head.and_then(|head| head.metadata.get(super::lake::BRONZE_ROWS)?.parse().ok());
            if rows.is_some_and(|rows| rows > 0) {
                report
                    .differences
                    .push(format!("{bronze} was taken up, and nothing in silver is made of it; {}", again("silver/")));
            }
        }
        Ok(())
    }
}

/// Whether the refiner's cursor is behind this bronze object.
fn is_taken(state: &State, bronze: &str) -> bool {
    let mut parts = bronze.rsplit('/').next().unwrap_or_default().trim_end_matches(".parquet").rsplitn(4, '+');
    let (start, partition, epoch, topic) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(start), Some(partition), Some(epoch), Some(topic)) = (start, partition, epoch, topic) else {
        return true;
    };
    let cursor = state.cursors.get(&format!("{topic}/{epoch}/{partition}"));
    let start: Option<i64> = start.parse().ok();
    start.zip(cursor).is_some_and(|(start, cursor)| start < *cursor)
}

/// The refiner's name for what is made at once, of which this object is a part.
fn group_of(key: &str) -> Option<String> {
    let mut parts = key.split('/');
    let (_, table) = (parts.next()?, parts.next()?);
    let day = value(key, "dt").or_else(|| value(key, "pregao_date"))?;
    Some(match value(key, "hour") {
        Some(hour) => format!("{table}/{day}/{hour}"),
        None => format!("{table}/{day}"),
    })
}

/// The command that makes it again.
fn again(key: &str) -> String {
    let layer = key.split('/').next().unwrap_or_default();
    let day = value(key, "dt").or_else(|| value(key, "pregao_date")).unwrap_or("DATE");
    format!("`refiner rebuild --layer {layer} --from {day} --to {day}` makes it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_hours_are_the_refiners() {
        let hour = 1_772_409_600_000_000 + 7 * HOUR_US;
        assert_eq!(ticks_key(hour), "silver/ticks/dt=2026-03-02/hour=07/part.parquet");
        assert_eq!(hour_of(&ticks_key(hour)), Some(hour));
        assert_eq!(hour_of("silver/gaps/dt=2026-03-02/part.parquet"), None);
        assert_eq!(group_of(&ticks_key(hour)).as_deref(), Some("ticks/2026-03-02/07"));
        assert_eq!(
            group_of("gold/candles/timeframe=1h/dt=2026-03-02/part.parquet").as_deref(),
            Some("candles/2026-03-02")
        );
        assert!(
            again("silver/index_weights/pregao_date=2026-03-02/action=X/part.parquet")
                .contains("--layer silver --from 2026-03-02")
        );
    }

    #[test]
    fn a_cursor_tells_what_was_taken_up() {
        let cursors = BTreeMap::from([("t/0000/00001".to_owned(), 90), ("t/0001/00001".to_owned(), 50)]);
        let state = State { cursors, pending: BTreeMap::new() };
        let bronze = |epoch: u32, start: i64| {
            format!("bronze/ticks/dt=2026-03-02/hour=07/t+{epoch:04}+00001+{start:020}.parquet")
        };
        assert!(is_taken(&state, &bronze(0, 80)) && is_taken(&state, &bronze(1, 49)));
        assert!(!is_taken(&state, &bronze(1, 50)) && !is_taken(&state, &bronze(2, 0)));
        assert!(state.has_taken("t", 1, 49) && !state.has_taken("t", 1, 50), "the newest epoch counts");
        assert!(!state.has_taken("t", 0, 1) && !state.has_taken("other", 1, 1));
    }
}
