//! Which days a gap touches. A gap stands in silver on the day that it began; one that lasts reaches into later days, and an
//! open one into all of them. Invariant: the state's reach of a day is that of the gaps that stand in its object, or longer.
//! Must never happen here: a candle that is called complete because its gap began the day before.

use std::collections::BTreeMap;

use anyhow::Context;
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use jiff::civil::Date;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::fits::AHEAD_US;

use crate::refiner::Refiner;
use crate::run::{day_in, later};
use crate::state::{OPEN, State};
use crate::tables::Table;
use crate::touched::day_of;

/// Days that are not worth asking which of them there are.
const FEW: usize = 7;

/// The earlier days on which a gap began that reaches `day`.
pub fn reaching(reach: &BTreeMap<Date, Date>, day: Date) -> impl Iterator<Item = Date> {
    reach.range(..day).filter(move |(_, last)| **last >= day).map(|(from, _)| *from)
}

/// Reads how far the gaps of `day` reach now, remembers it, and gives the days that they touch or touched before.
///
/// # Errors
/// When the store does not answer, or the object is damaged.
pub async fn spanned(refiner: &Refiner, state: &mut State, day: Date) -> anyhow::Result<Vec<Date>> {
    let key = refiner.prefixes.key(Table::Gaps, &[day.to_string()]);
    let before = state.reach.get(&day).copied().unwrap_or(day);
    let now = match refiner.objects.get(&key).await? {
        Some(object) => reach(object.bytes).with_context(|| format!("{key} is damaged"))?.unwrap_or(day),
        None => day,
    };
    if now > day {
        state.reach.insert(day, now);
    } else {
        state.reach.remove(&day);
    }
    // A tick may be a day ahead of the broker's clock, so gold may be too.
    let newest = day_of(state.newest_us.saturating_add(AHEAD_US))?;
    let last = before.max(now).min(newest.max(day));
    let days: Vec<Date> =
        std::iter::successors(Some(day), |day| later(*day, 1)).take_while(|day| *day <= last).collect();
    if days.len() <= FEW {
        return Ok(days);
    }
    // One that lasts for years touches no more days than there are.
    let mut found = Vec::new();
    let mut at = day;
    while at <= last {
        let Some(next) = refiner.objects.first(&refiner.prefixes.table(Table::Ticks), &format!("dt={at}")).await?
        else {
            break;
        };
        let Some(next) = day_in(&next).filter(|next| (at..=last).contains(next)) else { break };
        found.push(next);
        let Some(after) = later(next, 1) else { break };
        at = after;
    }
    Ok(found)
}

/// The last day that any of the gaps touches.
fn reach(gaps: Bytes) -> anyhow::Result<Option<Date>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(gaps)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["ended_at"]);
    let mut last: Option<Date> = None;
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let ends = batch.column_by_name("ended_at").context("no ended_at")?;
        let ends = ends.as_primitive_opt::<TimestampMicrosecondType>().context("ended_at is not a time")?;
        for row in 0..ends.len() {
            let end = if ends.is_null(row) { OPEN } else { day_of(ends.value(row))? };
            last = last.max(Some(end));
        }
    }
    Ok(last)
}
