//! From decoded ticks to the rows of one transaction: what no database would take is set aside as a dead letter before
//! anything is sent, and of several records for one place the winner comes first. The order of rows is that of the primary
//! key, so that writers lock in the same order. Must never happen here: a decision that depends on how records were batched.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use pipeline::decode::Ticks;
use pipeline::fits;
use uuid::Uuid;

use crate::candles::Series;
use crate::timestamptz::Timestamptz;

const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// Where a tick stands: the primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub event_time: Timestamptz,
    pub event_id: Uuid,
}

/// One good tick: its key and rank here, everything else where it was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub place: Place,
    pub revision: i32,
    pub broker_time: Timestamptz,
    pub partition: i32,
    pub offset: i64,
    pub previous_event_time: Option<Timestamptz>,
    pub retracted: bool,
    /// Which of [`Batch`]'s ticks, and which row of it.
    pub batch: usize,
    pub index: usize,
}

impl Row {
    /// Orders by place, and rows of one place from the winner down: the higher revision, then the earlier record.
    fn rank(&self) -> impl Ord + use<> {
        (self.place, Reverse(self.revision), self.broker_time, self.partition, self.offset)
    }

    /// A tick that changes what was written before, or may.
    fn corrects(&self) -> bool {
        self.revision > 0 || self.retracted || self.previous_event_time.is_some()
    }

    /// The place that this row's event has left.
    pub fn left(&self) -> Option<Place> {
        let event_time = self.previous_event_time.filter(|previous| *previous != self.place.event_time)?;
        Some(Place { event_time, event_id: self.place.event_id })
    }

    /// What is to be remembered of this row if it is refused. A correction that can follow it names its place.
    fn refused_move(&self) -> Option<RefusedMove> {
        let previous_event_time = self.left()?.event_time;
        let held = self.place.event_time.is_held() && previous_event_time.is_held();
        held.then_some(RefusedMove { place: self.place, previous_event_time, revision: self.revision })
    }
}

/// A correction in time that is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedMove {
    /// Where the event would stand, and from where it would have been moved.
    pub place: Place,
    pub previous_event_time: Timestamptz,
    pub revision: i32,
}

/// Where a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Which of the batches that were handed over.
    pub batch: usize,
    pub partition: i32,
    pub offset: i64,
    pub broker_time_ms: i64,
}

/// The rows of one transaction.
pub struct Batch<'a> {
    /// And which of the batches handed over each is of.
    ticks: Vec<(usize, Ticks<'a>)>,
    /// Sorted by rank.
    rows: Vec<Row>,
    /// Of what is not among the rows.
    refused_moves: Vec<RefusedMove>,
}

impl<'a> Batch<'a> {
    pub fn new() -> Self {
        Self { ticks: Vec::new(), rows: Vec::new(), refused_moves: Vec::new() }
    }

    /// Adds the decoded ticks of the batch `handed_over`; `origin` tells where each row of them came from. Gives the rows
    /// refused, with the reason.
    pub fn add(
        &mut self,
        handed_over: usize,
        ticks: Ticks<'a>,
        oldest_days: u32,
        origin: impl Fn(usize) -> Origin,
    ) -> Vec<(usize, String)> {
        let mut refused = Vec::new();
        self.rows.reserve(ticks.len());
        for index in 0..ticks.len() {
            let Origin { partition, offset, broker_time_ms, .. } = origin(index);
            let broker_time = Timestamptz(broker_time_ms.saturating_mul(1000));
            let row = Row {
                place: Place { event_time: Timestamptz(ticks.event_time(index)), event_id: ticks.event_id(index) },
                revision: ticks.revision(index),
                broker_time,
                partition,
                offset,
                previous_event_time: ticks.previous_event_time(index).map(Timestamptz),
                retracted: ticks.retracted(index),
                batch: self.ticks.len(),
                index,
            };
            match fits::tick(&ticks, index, broker_time.0, oldest_days) {
                Ok(()) => self.rows.push(row),
                Err(reason) => {
                    self.refused_moves.extend(row.refused_move());
                    refused.push((index, reason));
                }
            }
        }
        self.ticks.push((handed_over, ticks));
        refused
    }

    /// Call once, after the last `add`. Stable, because that takes up the runs which the partitions are.
    pub fn sort(&mut self) {
        self.rows.sort_by_key(Row::rank);
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn ticks(&self, row: &Row) -> &Ticks<'a> {
        &self.ticks[row.batch].1
    }

    pub fn origin(&self, row: &Row) -> Origin {
        let Row { partition, offset, broker_time, .. } = *row;
        Origin { batch: self.ticks[row.batch].0, partition, offset, broker_time_ms: broker_time.0 / 1000 }
    }

    /// Whose candles the tick is in.
    pub fn series(&self, row: &Row) -> Series<'a> {
        let ticks = self.ticks(row);
        Series {
            symbol: ticks.symbol(row.index),
            source: ticks.source(row.index),
            price_basis: ticks.kinds.value(row.index),
        }
    }

    pub fn refused_moves(&self) -> &[RefusedMove] {
        &self.refused_moves
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.refused_moves.is_empty()
    }

    pub fn corrects(&self) -> bool {
        self.rows.iter().any(Row::corrects) || !self.refused_moves.is_empty()
    }

    /// The winner of each place, in key order.
    pub fn winners(&self) -> Vec<Row> {
        let mut winners = self.rows.clone();
        winners.dedup_by_key(|row| row.place);
        winners
    }

    /// Takes rows out: whoever came second at their place comes first then.
    pub fn remove(&mut self, refused: &HashSet<Origin>) {
        let rows = std::mem::take(&mut self.rows);
        let (gone, kept): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| refused.contains(&self.origin(row)));
        self.refused_moves.extend(gone.iter().filter_map(Row::refused_move));
        self.rows = kept;
    }

    /// The days that the rows fall on, as days since 1970-01-01.
    pub fn days(&self) -> Vec<i32> {
        let mut days: Vec<i32> = self
            .rows
            .iter()
            // Checked by `fits::tick`: within a few years of the broker's clock.
            .map(|row| i32::try_from(row.place.event_time.0.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX))
            .collect();
        days.dedup();
        days
    }

    /// Of rows in key order that are all in the table now: those that may be a latest price, by symbol and source.
    pub fn newest<'b>(&self, rows: impl Iterator<Item = &'b Row>) -> Vec<((&str, &str), Place)> {
        let mut newest: HashMap<(&str, &str), (Timestamptz, Option<i64>, Uuid)> = HashMap::new();
        for row in rows.filter(|row| !row.retracted) {
            let ticks = self.ticks(row);
            let order = (row.place.event_time, ticks.sequence(row.index), row.place.event_id);
            let entry = newest.entry((ticks.symbol(row.index), ticks.source(row.index))).or_insert(order);
            *entry = order.max(*entry);
        }
        let place = |(event_time, _, event_id)| Place { event_time, event_id };
        newest.into_iter().map(|(pair, order)| (pair, place(order))).collect()
    }
}
