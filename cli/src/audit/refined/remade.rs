//! `--deep`: silver's ticks and gold's candles made again, from what each object lists, by the rules of `refiner/sql` written a
//! second time, and held against what stands there. Silver is made of its bronze, candles of silver's ticks and gaps; an
//! hour of the one and a day's candles of the other are in memory at a time. Decimals must be the same, floats within 1e-9 of
//! each other. Must never happen here: an object that is to be made again by the refiner anyway called wrong.

mod candles;
mod ticks;

use std::collections::BTreeSet;

use anyhow::Context;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::store::Store;

use super::object::{self, Made};
use super::rules::TIMEFRAMES;
use super::{Refined, Standing, State, again, hour_of, value};
use crate::audit::report::RefinedReport;
use crate::output::Progress;
use candles::Day;

/// Objects that are fetched at once.
const AT_ONCE: usize = 4;

impl Refined<'_> {
    /// Every hour of silver and every day of candles.
    pub(super) async fn remade(&self, standing: &Standing, report: &mut RefinedReport) -> anyhow::Result<()> {
        let mut progress = Progress::default();
        for key in standing.made.keys().filter(|key| hour_of(key).is_some()) {
            if let Some(line) =
                twice(async || self.silver(key).await, report, |report| &mut report.hours_remade).await?
            {
                report.differences.push(format!("{key}: {line}; {}", again(key)));
            }
            progress.tell(|| format!("{} hours of silver made again; at {key}", report.hours_remade));
        }
        let days: BTreeSet<&str> = standing
            .made
            .keys()
            .filter(|key| key.starts_with("gold/candles/"))
            .filter_map(|key| value(key, "dt"))
            .collect();
        for day in days {
            for (timeframe, width) in TIMEFRAMES {
                let key = format!("gold/candles/timeframe={timeframe}/dt={day}/part.parquet");
                let made = async || self.gold(&key, width).await;
                if let Some(line) = twice(made, report, |report| &mut report.candles_remade).await? {
                    report.differences.push(format!("{key}: {line}; {}", again(&key)));
                }
            }
            progress.tell(|| format!("{} candles made again; at {day}", report.candles_remade));
        }
        Ok(())
    }

    /// One hour: how much of it was made again, and what is another.
    async fn silver(&self, key: &str) -> anyhow::Result<Compared> {
        let Some((stands, made)) = self.object(key).await? else { return Ok(Compared::default()) };
        let inputs: Vec<String> = made.inputs.keys().filter(|key| key.starts_with("bronze/ticks/")).cloned().collect();
        let Some(bronze) = self.inputs(&made, &inputs).await? else { return Ok(Compared::default()) };
        let hour = hour_of(key).context("an hour")?;
        let line = tokio::task::spawn_blocking(move || ticks::difference(&stands, bronze, hour)).await??;
        Ok(Compared { count: 1, line })
    }

    async fn gold(&self, key: &str, width: i64) -> anyhow::Result<Compared> {
        let Some((stands, made)) = self.object(key).await? else { return Ok(Compared::default()) };
        let mut day = Day::new(width);
        for (prefix, is_gaps) in [("silver/gaps/", true), ("silver/ticks/", false)] {
            for key in made.inputs.keys().filter(|key| key.starts_with(prefix)) {
                let Some(bytes) = self.inputs(&made, std::slice::from_ref(key)).await? else {
                    return Ok(Compared::default());
                };
                day = tokio::task::spawn_blocking(move || {
                    for bytes in bytes {
                        if is_gaps { day.take_gaps(bytes)? } else { day.take_ticks(bytes)? }
                    }
                    anyhow::Ok(day)
                })
                .await??;
            }
        }
        let (count, line) = tokio::task::spawn_blocking(move || day.compare(stands)).await??;
        Ok(Compared { count, line })
    }

    /// The bytes of an object and what it says that it was made of; `None` where that is told of elsewhere.
    async fn object(&self, key: &str) -> anyhow::Result<Option<(Bytes, Made)>> {
        if State::read(self.store).await?.is_some_and(|state| state.waits_for_object(key)) {
            return Ok(None);
        }
        let Some(object) = self.store.get(key).await? else { return Ok(None) };
        if object.is_as_written() != Some(true) {
            return Ok(None);
        }
        Ok(object::of_whole(&object.bytes).ok().map(|made| (object.bytes, made)))
    }

    /// The inputs as they are listed; `None` when one is not there any more as it was: then the object is stale.
    async fn inputs(&self, made: &Made, keys: &[String]) -> anyhow::Result<Option<Vec<Bytes>>> {
        let store: &Store = self.store;
        let get = async |key: &String| {
            let object = store.get(key).await?;
            let is_listed = |etag: &String| made.inputs.get(key) == Some(etag);
            anyhow::Ok(object.filter(|object| is_listed(&object.head.etag)).map(|object| object.bytes))
        };
        let found: Vec<Option<Bytes>> = stream::iter(keys).map(get).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().collect())
    }
}

#[derive(Default)]
struct Compared {
    /// What was made again.
    count: u64,
    line: Option<String>,
}

/// A difference counts when it is there again: the refiner may have put another object there between two requests.
async fn twice(
    compare: impl AsyncFn() -> anyhow::Result<Compared>,
    report: &mut RefinedReport,
    counter: impl Fn(&mut RefinedReport) -> &mut u64,
) -> anyhow::Result<Option<String>> {
    let mut compared = compare().await?;
    if compared.line.is_some() {
        compared = compare().await?;
    }
    *counter(report) += compared.count;
    Ok(compared.line)
}
