//! Which objects hold the rows of a range of days, in the order of their keys, which is the order of the rows. A silver object
//! is of one day. A bronze object stands under the hour of its first record, and its rows may go on into the next days: so the
//! last object of each chain before the range is read too. Broker clocks may be put back at a change of leader: an hour of
//! slack on both sides. Must never happen here: a range that gives other rows for a day than the whole lake gives.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use pipeline::misconfigured;
use pipeline::store::Store;

use super::Layer;
use super::rows::Table;

/// Days, both included; `None` for no limit.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    from: Option<Date>,
    until: Option<Date>,
}

impl Range {
    /// # Errors
    /// [`pipeline::Misconfigured`] when no day lies between them.
    pub fn new(from: Option<Date>, until: Option<Date>) -> anyhow::Result<Self> {
        match (from, until) {
            (Some(from), Some(until)) if from > until => {
                Err(misconfigured(format!("--from {from} is after --until {until}: no day lies between them")))
            }
            (from, until) => Ok(Self { from, until }),
        }
    }

    pub fn has(&self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }

    /// Objects of an earlier hour begin before the range, slack included.
    fn first_hour(&self) -> Option<DateTime> {
        let from = self.from?.at(0, 0, 0, 0);
        Some(from.checked_sub(1.hour()).unwrap_or(DateTime::MIN))
    }

    /// Objects of a later hour have no row of the range, slack included.
    fn last_hour(&self) -> Option<DateTime> {
        let until = self.until?.at(23, 0, 0, 0);
        Some(until.checked_add(1.hour()).unwrap_or(DateTime::MAX))
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.from, self.until) {
            (None, None) => f.write_str("on any day"),
            (Some(from), None) => write!(f, "from {from} on"),
            (None, Some(until)) => write!(f, "up to {until}"),
            (Some(from), Some(until)) => write!(f, "from {from} to {until}"),
        }
    }
}

/// The keys of the objects, in order. A silver table learns its columns on the way.
///
/// # Errors
/// When the store does not answer.
pub async fn objects(
    store: &Store,
    table: &mut Table,
    range: Range,
) -> anyhow::Result<BoxStream<'static, anyhow::Result<Arc<str>>>> {
    match table.layer() {
        Layer::Silver => {
            let keys = silver(store, table, range).await?;
            if let Some(newest) = keys.last() {
                table.learn_columns(store, newest).await?;
            }
            Ok(stream::iter(keys.into_iter().map(Ok)).boxed())
        }
        Layer::Bronze => {
            let state = Bronze {
                store: store.clone(),
                prefix: table.prefix(),
                range,
                last_before: BTreeMap::new(),
                ready: VecDeque::new(),
                after: None,
                ended: false,
            };
            let next = |mut state: Bronze| async move { anyhow::Ok(state.next().await?.map(|key| (key, state))) };
            Ok(stream::try_unfold(state, next).boxed())
        }
    }
}

async fn silver(store: &Store, table: &Table, range: Range) -> anyhow::Result<Vec<Arc<str>>> {
    let (prefix, mut after, mut keys) = (table.prefix(), None, Vec::new());
    loop {
        let listed = store.list(&prefix, after.as_deref()).await?;
        let Some(last) = listed.last() else { return Ok(keys) };
        after = Some(last.key.clone());
        let wanted = listed.into_iter().filter(|object| day_of(&object.key).is_some_and(|day| range.has(day)));
        keys.extend(wanted.map(|object| Arc::from(object.key)));
    }
}

/// A listing of bronze, a page at a time.
struct Bronze {
    store: Store,
    prefix: String,
    range: Range,
    /// Of each chain the last object before the range: its start and its key.
    last_before: BTreeMap<String, (String, Arc<str>)>,
    ready: VecDeque<Arc<str>>,
    after: Option<String>,
    ended: bool,
}

impl Bronze {
    async fn next(&mut self) -> anyhow::Result<Option<Arc<str>>> {
        while self.ready.is_empty() && !self.ended {
            let listed = self.store.list(&self.prefix, self.after.as_deref()).await?;
            self.ended = listed.is_empty();
            self.after = listed.last().map(|object| object.key.clone()).or(self.after.take());
            for object in listed {
                self.take(&object.key);
            }
            if self.ended {
                self.release();
            }
        }
        Ok(self.ready.pop_front())
    }

    fn take(&mut self, key: &str) {
        let Some(hour) = hour_of(key) else { return };
        if self.range.last_hour().is_some_and(|last| hour > last) {
            self.ended = true;
            return;
        }
        if self.range.first_hour().is_some_and(|first| hour < first) {
            let Some((chain, start)) = key.rsplit('/').next().and_then(|name| name.rsplit_once('+')) else { return };
            let last = self.last_before.entry(chain.to_owned()).or_insert_with(|| (start.to_owned(), key.into()));
            if *last.0 < *start {
                *last = (start.to_owned(), key.into());
            }
            return;
        }
        self.release();
        self.ready.push_back(key.into());
    }

    /// The objects before the range come first, in the order of their keys.
    fn release(&mut self) {
        let mut keys: Vec<Arc<str>> = std::mem::take(&mut self.last_before).into_values().map(|(_, key)| key).collect();
        keys.sort_unstable();
        self.ready.extend(keys);
    }
}

/// The day that the first dated part of a key names: `silver/ticks/dt=2026-11-22/…`.
pub fn day_of(key: &str) -> Option<Date> {
    key.split('/').find_map(|part| part.split_once('=')?.1.parse().ok())
}

/// The hour that a bronze key is filed under.
pub fn hour_of(key: &str) -> Option<DateTime> {
    let hour: i8 = key.split('/').find_map(|part| part.strip_prefix("hour="))?.parse().ok()?;
    Some(day_of(key)?.at(hour.clamp(0, 23), 0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Option<Date> {
        Some(text.parse().expect("a date"))
    }

    #[test]
    fn keys_tell_their_day_and_hour() {
        let bronze = "bronze/ticks/dt=2026-11-22/hour=07/market.ticks.v1+0000+00001+00000000000000000042.parquet";
        assert_eq!(hour_of(bronze).map(|hour| hour.to_string()).as_deref(), Some("2026-11-22T07:00:00"));
        assert_eq!(hour_of("bronze/ticks/stray.parquet"), None);
        let weights = "silver/index_weights/pregao_date=2026-03-02/action=PETR4/part.parquet";
        assert_eq!(day_of(weights), date("2026-03-02"));
    }

    #[test]
    fn a_range_ends_with_its_last_day() {
        let range = Range::new(date("2026-11-22"), date("2026-11-23")).expect("a range");
        let has = |day: &str| range.has(day.parse().expect("a date"));
        assert_eq!(
            [has("2026-11-21"), has("2026-11-22"), has("2026-11-23"), has("2026-11-24")],
            [false, true, true, false]
        );
        assert_eq!(range.first_hour().map(|hour| hour.to_string()).as_deref(), Some("2026-11-21T23:00:00"));
        assert_eq!(range.last_hour().map(|hour| hour.to_string()).as_deref(), Some("2026-11-24T00:00:00"));
        assert!(Range::new(date("2026-11-23"), date("2026-11-22")).is_err());
        let edges = Range::new(Some(Date::MIN), Some(Date::MAX)).expect("a range");
        assert!(edges.first_hour().is_some() && edges.last_hour().is_some() && edges.has(Date::MAX));
    }
}
