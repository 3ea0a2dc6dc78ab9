//! What stands of the events that a generation corrects, as the topic of ticks tells it now: the highest revision of each, who
//! published it, and at which place the tick stands. Invariant: what the sinks show. Of equal revisions the first one counts,
//! and one whose time no sink took has moved nothing. Must never happen here: an event that was corrected by somebody else
//! since, and that is taken for the generation's own.

use std::cmp::Reverse;
use std::collections::HashMap;

use pipeline::decode::{Decoded, Ticks};
use pipeline::fits;
use pipeline::records::Records;
use uuid::Uuid;

use super::mark::{Mark, Step};

/// Who published a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This generation: when it was promoted, or when that was rolled back.
    Us(Step),
    Others,
}

/// The newest of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stood {
    pub revision: i32,
    pub by: By,
    /// Broker time, partition, offset.
    place: (i64, i32, i64),
    /// Where the highest revision that sinks took has put the tick: that revision, its time and symbol.
    pub taken: Option<(i32, i64, String)>,
}

impl Stood {
    fn rank(&self) -> (i32, Reverse<(i64, i32, i64)>) {
        (self.revision, Reverse(self.place))
    }
}

/// What stands of chosen events.
pub struct Standing<'a> {
    mark: &'a Mark,
    oldest_event_days: u32,
    /// `None` until something of the event is met.
    events: HashMap<Uuid, Option<Stood>>,
}

impl<'a> Standing<'a> {
    pub fn of(events: impl Iterator<Item = Uuid>, mark: &'a Mark, oldest_event_days: u32) -> Self {
        Self { mark, oldest_event_days, events: events.map(|id| (id, None)).collect() }
    }

    /// Takes records of the topic of ticks, decoded.
    pub fn take(&mut self, partition: i32, records: &Records, decoded: &Decoded) {
        let ticks = Ticks::new(&decoded.batch);
        for (row, index) in decoded.rows.iter().enumerate() {
            let Some(known) = self.events.get_mut(&ticks.event_id(row)) else { continue };
            let index = *index as usize;
            let (at_ms, offset) = (records.timestamps_ms().value(index), records.offsets().value(index));
            let revision = ticks.revision(row);
            let is_taken = fits::tick(&ticks, row, at_ms.saturating_mul(1000), self.oldest_event_days).is_ok();
            let taken = is_taken.then(|| (revision, ticks.event_time(row), ticks.symbol(row).to_owned()));
            let by = self.mark.of_record(records, index).map_or(By::Others, By::Us);
            let now = Stood { revision, by, place: (at_ms, partition, offset), taken };
            *known = Some(match known.take() {
                Some(known) => joined(known, now),
                None => now,
            });
        }
    }

    pub fn of_event(&self, id: Uuid) -> Option<&Stood> {
        self.events.get(&id)?.as_ref()
    }
}

fn joined(one: Stood, other: Stood) -> Stood {
    let (higher, lower) = if one.rank() >= other.rank() { (one, other) } else { (other, one) };
    let taken = match (higher.taken, lower.taken) {
        (Some(one), Some(other)) if other.0 > one.0 => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    };
    Stood { taken, ..higher }
}

#[cfg(test)]
impl Stood {
    pub fn example(revision: i32, by: By, taken: Option<(i32, i64, String)>) -> Self {
        Self { revision, by, place: (0, 0, 0), taken }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::codec::{Encoder, Framing, RecordType};
    use pipeline::decode::Decoder;
    use pipeline::events::PriceTick;
    use pipeline::example;
    use pipeline::records::{Record, RecordBuffer};

    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;
    const NOW: i64 = NOW_MS * 1000;

    fn tick(revision: i32, event_time: i64) -> PriceTick {
        PriceTick { revision, event_time, received_at: NOW, ..example::tick() }
    }

    /// What stands after these, one offset each.
    async fn stands(mark: &Mark, given: &[(PriceTick, Option<Step>)]) -> Option<Stood> {
        let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
        let mut buffer = RecordBuffer::new();
        for (offset, (tick, step)) in (0..).zip(given) {
            let value = encoder.tick(tick);
            let headers: Vec<_> = step.iter().map(|step| mark.header(*step)).collect();
            let record = Record { offset, timestamp_ms: NOW_MS + offset, key: None, value: Some(&value) };
            buffer.push_owned(record, &headers);
        }
        let records = buffer.finish();
        let decoded = Decoder::new(RecordType::PriceTick, None).decode(records.values()).await.expect("decoded");
        let id = example::tick().event_id;
        let mut standing = Standing::of([id, Uuid::nil()].into_iter(), mark, 400);
        standing.take(3, &records, &decoded);
        assert_eq!(standing.of_event(Uuid::nil()), None);
        standing.of_event(id).cloned()
    }

    #[tokio::test]
    async fn the_highest_revision_stands_and_of_equal_ones_the_first() {
        let mark = Mark::new("fix", "abc");
        assert_eq!(stands(&mark, &[]).await, None);
        let two = [(tick(0, NOW), None), (tick(0, NOW), Some(Step::Promoted))];
        assert_eq!(stands(&mark, &two).await.map(|stood| stood.by), Some(By::Others));
        let ours = [(tick(1, NOW), Some(Step::Promoted)), (tick(0, NOW), None), (tick(1, NOW), None)];
        let stood = stands(&mark, &ours).await.expect("something");
        assert_eq!((stood.revision, stood.by), (1, By::Us(Step::Promoted)));
        let again = [(tick(2, NOW), Some(Step::RolledBack)), (tick(1, NOW), Some(Step::Promoted))];
        assert_eq!(stands(&mark, &again).await.map(|stood| stood.by), Some(By::Us(Step::RolledBack)));
    }

    #[tokio::test]
    async fn a_revision_that_no_sink_took_has_moved_nothing() {
        let day = 24 * 60 * 60 * 1_000_000;
        let impossible = NOW + 9 * day;
        let mark = Mark::new("fix", "abc");
        for order in [[0, 1], [1, 0]] {
            let given = [(tick(0, NOW - 5), None), (tick(1, impossible), None)];
            let stood = stands(&mark, &order.map(|index| given[index].clone())).await.expect("something");
            assert_eq!((stood.revision, stood.taken.map(|taken| taken.1)), (1, Some(NOW - 5)));
        }
    }
}
