//! An hour of silver's ticks, made of bronze by the rule of `refiner/sql/silver/ticks.sql`: at a place (event_time, event_id)
//! stands the highest revision, of equal ones the first in (broker_time, partition, offset), unless it is retracted or a
//! higher revision has left the place.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Ticks};
use uuid::Uuid;

use super::super::HOUR_US;
use super::super::hours::{as_decoded, column};
use super::super::rules::is_sound;
use crate::audit::content;
use crate::audit::database::{Tally, at};

/// Of a row what decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    id: Uuid,
    event_us: i64,
    revision: i32,
    broker_us: i64,
    partition: i32,
    offset: i64,
    previous_us: Option<i64>,
    retracted: bool,
    content: u64,
}

impl Row {
    /// The least stands.
    fn rank(&self) -> (i64, i64, i32, i64) {
        (-i64::from(self.revision), self.broker_us, self.partition, self.offset)
    }

    fn is_sound(&self) -> bool {
        is_sound(self.event_us, self.broker_us)
    }
}

/// What stands at a place: its record, what that says, how many records and revisions were told there.
type Places = BTreeMap<(i64, Uuid), Stands>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stands {
    partition: i32,
    offset: i64,
    content: u64,
    copies: i64,
    revisions: i64,
}

/// One line on what is another in silver than bronze comes to.
pub fn difference(silver: &Bytes, bronze: Vec<Bytes>, hour_us: i64) -> anyhow::Result<Option<String>> {
    let mut rows = Vec::new();
    for bytes in bronze {
        read(bytes, |batch| {
            rows.extend(of_bronze(batch)?);
            Ok(())
        })?;
    }
    let made = made(&rows, hour_us);
    let mut stands = Places::new();
    read(silver.clone(), |batch| {
        stands.extend(of_silver(batch)?);
        Ok(())
    })?;
    let (mut other, mut missing, mut extra) = (Tally::default(), Tally::default(), Tally::default());
    for (place, row) in &made {
        let name = || format!("{} from {}", place.1, at((row.partition, row.offset)));
        match stands.get(place) {
            Some(held) if held == row => {}
            Some(_) => other.add(name),
            None => missing.add(name),
        }
    }
    for ((_, id), row) in stands.iter().filter(|(place, _)| !made.contains_key(*place)) {
        extra.add(|| format!("{id} from {}", at((row.partition, row.offset))));
    }
    let lines = [
        other.line("rows are not what its bronze comes to"),
        missing.line("rows that its bronze comes to are not in it"),
        extra.line("of its rows are none that its bronze comes to"),
    ];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    Ok((!lines.is_empty()).then(|| lines.join("; ")))
}

fn made(rows: &[Row], hour_us: i64) -> Places {
    let is_here = |micros: i64| (hour_us..hour_us + HOUR_US).contains(&micros);
    let mut best: BTreeMap<(i64, Uuid), (Row, i64, Vec<i32>)> = BTreeMap::new();
    let mut newest_move: HashMap<Uuid, i32> = HashMap::new();
    let mut left: HashMap<(i64, Uuid), i32> = HashMap::new();
    let leave = |left: &mut HashMap<(i64, Uuid), i32>, place: i64, row: &Row| {
        let by = left.entry((place, row.id)).or_insert(row.revision);
        *by = row.revision.max(*by);
    };
    for row in rows.iter().filter(|row| row.is_sound()) {
        if is_here(row.event_us) {
            let told = best.entry((row.event_us, row.id)).or_insert_with(|| (*row, 0, Vec::new()));
            if row.rank() < told.0.rank() {
                told.0 = *row;
            }
            told.1 += 1;
            if !told.2.contains(&row.revision) {
                told.2.push(row.revision);
            }
        }
        if let Some(previous) = row.previous_us {
            let newest = newest_move.entry(row.id).or_insert(row.revision);
            *newest = row.revision.max(*newest);
            if is_here(previous) && previous != row.event_us {
                leave(&mut left, previous, row);
            }
        }
    }
    // A move whose own time is refused counts once a higher revision has moved the event to a sound one.
    for row in rows.iter().filter(|row| !row.is_sound()) {
        let previous = row.previous_us.filter(|us| is_here(*us) && is_sound(*us, row.broker_us));
        if let Some(previous) = previous.filter(|_| newest_move.get(&row.id).is_some_and(|by| *by > row.revision)) {
            leave(&mut left, previous, row);
        }
    }
    best.retain(|place, (row, ..)| !row.retracted && left.get(place).is_none_or(|by| *by <= row.revision));
    let stands = |(row, copies, revisions): (Row, i64, Vec<i32>)| Stands {
        partition: row.partition,
        offset: row.offset,
        content: row.content,
        copies,
        revisions: revisions.len() as i64,
    };
    best.into_iter().map(|(place, told)| (place, stands(told))).collect()
}

fn read(bytes: Bytes, mut take: impl FnMut(&RecordBatch) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        take(&batch?)?;
    }
    Ok(())
}

/// Columns of whole numbers or times.
fn numbers<const N: usize>(batch: &RecordBatch, names: [&str; N]) -> anyhow::Result<[Vec<i64>; N]> {
    let mut columns = [const { Vec::new() }; N];
    for (values, name) in columns.iter_mut().zip(names) {
        let numbers = cast(column(batch, name)?, &DataType::Int64)?;
        *values = numbers.as_primitive::<Int64Type>().values().to_vec();
    }
    Ok(columns)
}

fn of_bronze(batch: &RecordBatch) -> anyhow::Result<Vec<Row>> {
    let [partitions, offsets, times] = numbers(batch, ["kafka_partition", "kafka_offset", "broker_time"])?;
    let decoded = as_decoded(batch, &Decoder::new(RecordType::PriceTick, None).schema())?;
    let ticks = Ticks::new(&decoded);
    let row = |row: usize| Row {
        id: ticks.event_id(row),
        event_us: ticks.event_time(row),
        revision: ticks.revision(row),
        broker_us: times[row],
        partition: partitions[row] as i32,
        offset: offsets[row],
        previous_us: ticks.previous_event_time(row),
        retracted: ticks.retracted(row),
        content: content::of_tick(&ticks, row),
    };
    Ok((0..ticks.len()).map(row).collect())
}

fn of_silver(batch: &RecordBatch) -> anyhow::Result<Vec<((i64, Uuid), Stands)>> {
    let names = ["kafka_partition", "kafka_offset", "copies", "revisions"];
    let [partitions, offsets, copies, revisions] = numbers(batch, names)?;
    let decoded = as_decoded(batch, &Decoder::new(RecordType::PriceTick, None).schema())?;
    let ticks = Ticks::new(&decoded);
    let row = |row: usize| {
        let stands = Stands {
            partition: partitions[row] as i32,
            offset: offsets[row],
            content: content::of_tick(&ticks, row),
            copies: copies[row],
            revisions: revisions[row],
        };
        ((ticks.event_time(row), ticks.event_id(row)), stands)
    };
    Ok((0..ticks.len()).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 1_772_409_600_000_000;

    fn row(id: u128, minute: i64, revision: i32, offset: i64) -> Row {
        Row {
            id: Uuid::from_u128(id),
            event_us: HOUR + minute * 60_000_000,
            revision,
            broker_us: HOUR + HOUR_US,
            partition: 0,
            offset,
            previous_us: None,
            retracted: false,
            content: offset as u64,
        }
    }

    /// Minute, event, offset.
    fn stands(rows: &[Row]) -> Vec<(i64, u128, i64)> {
        let place =
            |(place, row): ((i64, Uuid), Stands)| ((place.0 - HOUR) / 60_000_000, place.1.as_u128(), row.offset);
        made(rows, HOUR).into_iter().map(place).collect()
    }

    #[test]
    fn the_highest_revision_stands_and_of_equal_ones_the_first() {
        let earlier = Row { broker_us: HOUR, ..row(1, 3, 0, 9) };
        assert_eq!(stands(&[row(1, 3, 0, 2), earlier, row(2, 4, 0, 3), row(2, 4, 1, 4)]), [(3, 1, 9), (4, 2, 4)]);
        let told = made(&[row(2, 4, 0, 3), row(2, 4, 1, 4), row(2, 4, 1, 5)], HOUR);
        let told = told.values().next().expect("one");
        assert_eq!((told.offset, told.copies, told.revisions), (4, 3, 2));
        let retracted = Row { retracted: true, ..row(1, 3, 1, 5) };
        assert_eq!(stands(&[row(1, 3, 0, 2), retracted]), []);
    }

    #[test]
    fn what_moved_away_leaves_its_place() {
        let moved = Row { previous_us: Some(HOUR + 180_000_000), ..row(1, 8, 1, 5) };
        assert_eq!(stands(&[row(1, 3, 0, 2), moved]), [(8, 1, 5)]);
        let away = Row { event_us: HOUR - 1, ..moved };
        assert_eq!(stands(&[row(1, 3, 0, 2), away]), []);
        assert_eq!(stands(&[row(1, 3, 2, 2), away]), [(3, 1, 2)], "it came back");
        // A time that no market had, until a higher revision has a sound one.
        let refused = Row { event_us: 5, ..moved };
        assert_eq!(stands(&[row(1, 3, 0, 2), refused]), [(3, 1, 2)]);
        let again = Row { previous_us: Some(5), ..row(1, 9, 2, 6) };
        assert_eq!(stands(&[row(1, 3, 0, 2), refused, again]), [(9, 1, 6)]);
    }
}
