//! Which groups of silver the rows of one bronze object belong to. Invariant: never too few: a row touches the hour that it
//! is in and the hour that it was moved from, even where its own time is refused. Must never happen here: an hour of its own for a time that no market had; such
//! rows go to the quarantine of their broker's day.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::fits::is_possible;

use crate::engine::{DAY_US, HOUR_US};
use crate::tables::{Group, Table, View};

/// What one bronze object touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    pub groups: BTreeSet<Group>,
    /// The newest broker time of its rows, micros UTC.
    pub newest_us: Option<i64>,
    /// Whether some row says where its event stood before.
    pub moves: bool,
    /// Whether one of these moves leads to an impossible time, or comes from one: see [`crate::refused`].
    pub refused: bool,
}

/// # Errors
/// When the bytes are not a bronze object of that view.
pub fn touched(view: View, bronze: Bytes) -> anyhow::Result<Touched> {
    let wanted: &[&str] = match view {
        View::BronzeTicks => &["event_time", "previous_event_time", "broker_time"],
        View::BronzeGaps => &["started_at", "broker_time"],
        View::BronzeIndexWeights => &["pregao_date", "broker_time"],
        View::SilverTicks | View::SilverGaps | View::GoldCandles => return Err(anyhow!("not bronze")),
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(bronze)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted.iter().copied());
    let mut touched = Touched::default();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let brokers = times(&batch, "broker_time")?;
        touched.newest_us = touched.newest_us.max(brokers.iter().flatten().max().copied());
        match view {
            View::BronzeTicks => ticks(&batch, &brokers, &mut touched)?,
            View::BronzeGaps => {
                for (start, broker) in times(&batch, "started_at")?.into_iter().zip(brokers) {
                    // One that began when there was no market tells of no time: silver/gaps.sql leaves it out.
                    if let Some(start) = start
                        && is_possible(start, broker.context("a row without broker_time")?)
                    {
                        touched.groups.insert(Group::day(Table::Gaps, day_of(start)?));
                    }
                }
            }
            _ => {
                let days = batch.column_by_name("pregao_date").context("no pregao_date")?;
                let days = days.as_primitive_opt::<Date32Type>().context("pregao_date is not a date")?;
                for day in days.iter().flatten() {
                    touched.groups.insert(Group::day(Table::IndexWeights, day_of(i64::from(day) * DAY_US)?));
                }
            }
        }
    }
    Ok(touched)
}

fn ticks(batch: &RecordBatch, brokers: &[Option<i64>], touched: &mut Touched) -> anyhow::Result<()> {
    let (events, previous) = (times(batch, "event_time")?, times(batch, "previous_event_time")?);
    let mut hours = BTreeSet::new();
    for (row, broker) in brokers.iter().enumerate() {
        let broker = broker.context("a row without broker_time")?;
        let event = events.get(row).copied().flatten().context("a row without event_time")?;
        let possible = |time: i64| is_possible(time, broker);
        if possible(event) {
            hours.insert(event.div_euclid(HOUR_US));
        } else {
            touched.groups.insert(Group::day(Table::QuarantinedTicks, day_of(broker)?));
        }
        let Some(left) = previous[row] else { continue };
        touched.moves = true;
        touched.refused |= !possible(event) || !possible(left);
        // A previous time that was refused has no hour to leave.
        hours.extend(possible(left).then(|| left.div_euclid(HOUR_US)));
    }
    for hour in hours {
        touched.groups.insert(hour_of(hour * HOUR_US)?);
    }
    Ok(())
}

/// The hour of ticks that a time lies in.
///
/// # Errors
/// For a time outside the calendar.
pub(crate) fn hour_of(us: i64) -> anyhow::Result<Group> {
    let time = civil(us)?;
    Ok(Group::hour(time.date(), time.hour()))
}

pub(crate) fn times(batch: &RecordBatch, column: &str) -> anyhow::Result<Vec<Option<i64>>> {
    let Some(array) = batch.column_by_name(column) else {
        // An object of an older schema has no such column; one that must be there is missed by its reader.
        return Ok(vec![None; batch.num_rows()]);
    };
    let array = array.as_primitive_opt::<TimestampMicrosecondType>();
    let array = array.with_context(|| format!("{column} is not a time in microseconds"))?;
    Ok(array.iter().collect())
}

fn civil(us: i64) -> anyhow::Result<jiff::civil::DateTime> {
    Ok(Timestamp::from_microsecond(us)?.to_zoned(TimeZone::UTC).datetime())
}

/// The day of a time in UTC; a time outside the calendar counts to its edge.
///
/// # Errors
/// Never for a time that a bronze object can hold.
pub fn day_of(us: i64) -> anyhow::Result<Date> {
    let edge = if us < 0 { date(-9999, 1, 2) } else { date(9999, 12, 30) };
    Ok(civil(us).map_or(edge, |time| time.date()))
}
