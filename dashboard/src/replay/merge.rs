//! Records of several partitions in the order of the broker's time. A record goes out when every other partition has either told
//! of a later one or come to its end: none can come that belongs before it. Bounded: a partition that is far ahead of the others
//! is to be paused. Must never happen here: a record out of its partition's order.

use std::collections::VecDeque;

/// A partition that holds so many records, or so many bytes of them, has enough.
const ENOUGH_RECORDS: usize = 2000;
const ENOUGH_BYTES: usize = 1024 * 1024;

/// Of which topic (its place among those that are read) and partition.
pub type Lane = (usize, i32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Broker time, milliseconds UTC.
    pub time_ms: i64,
    pub offset: i64,
    pub value: Option<Vec<u8>>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Vec::len)
    }
}

#[derive(Debug)]
struct Queue {
    lane: Lane,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Time of the last record that came; nothing that comes is older.
    told_ms: i64,
    has_ended: bool,
}

#[derive(Debug, Default)]
pub struct Merge {
    queues: Vec<Queue>,
}

impl Merge {
    pub fn new(lanes: impl IntoIterator<Item = Lane>) -> Self {
        let queue = |lane| Queue { lane, waiting: VecDeque::new(), bytes: 0, told_ms: i64::MIN, has_ended: false };
        Self { queues: lanes.into_iter().map(queue).collect() }
    }

    fn queue(&mut self, lane: Lane) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.lane == lane)
    }

    /// Takes a record in; gives whether the partition has enough now.
    pub fn push(&mut self, lane: Lane, record: Waiting) -> bool {
        let Some(queue) = self.queue(lane) else { return false };
        queue.told_ms = queue.told_ms.max(record.time_ms);
        queue.has_ended = false;
        queue.bytes += record.bytes();
        queue.waiting.push_back(record);
        queue.has_enough()
    }

    /// The partition is read to its end; a record that comes later opens it again.
    pub fn end(&mut self, lane: Lane) {
        if let Some(queue) = self.queue(lane) {
            queue.has_ended = true;
        }
    }

    /// Whether all partitions have come to their end, and nothing waits.
    pub fn has_ended(&self) -> bool {
        self.queues.iter().all(|queue| queue.has_ended && queue.waiting.is_empty())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.waiting.is_empty())
    }

    /// Up to when every record is known: none can come that is older.
    pub fn known_until_ms(&self) -> i64 {
        let open = self.queues.iter().filter(|queue| !queue.has_ended);
        open.map(|queue| queue.told_ms).min().unwrap_or(i64::MAX)
    }

    /// Whether every record up to a time has come.
    pub fn is_known_until(&self, time_ms: i64) -> bool {
        self.queues.iter().all(|queue| queue.has_ended || queue.told_ms > time_ms)
    }

    /// The next record up to `until_ms`, where it is known.
    pub fn pop(&mut self, until_ms: i64) -> Option<(Lane, Waiting)> {
        let open = self.queues.iter().filter(|queue| queue.waiting.is_empty() && !queue.has_ended);
        let horizon_ms = open.map(|queue| queue.told_ms).min().unwrap_or(i64::MAX);
        let heads = self.queues.iter_mut().filter(|queue| !queue.waiting.is_empty());
        let first = heads.min_by_key(|queue| (queue.waiting.front().map(|record| record.time_ms), queue.lane))?;
        let time_ms = first.waiting.front()?.time_ms;
        if time_ms > until_ms || time_ms > horizon_ms {
            return None;
        }
        let record = first.waiting.pop_front()?;
        first.bytes -= record.bytes();
        Some((first.lane, record))
    }

    /// Whether a partition has so much that it is to be paused.
    pub fn has_enough(&self, lane: Lane) -> bool {
        self.queues.iter().any(|queue| queue.lane == lane && queue.has_enough())
    }
}

impl Queue {
    fn has_enough(&self) -> bool {
        self.waiting.len() >= ENOUGH_RECORDS || self.bytes >= ENOUGH_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Lane = (0, 0);
    const B: Lane = (0, 1);

    fn record(time_ms: i64) -> Waiting {
        Waiting { time_ms, offset: time_ms, value: Some(vec![0; 10]) }
    }

    fn popped(merge: &mut Merge, until_ms: i64) -> Vec<(Lane, i64)> {
        std::iter::from_fn(|| merge.pop(until_ms)).map(|(lane, record)| (lane, record.time_ms)).collect()
    }

    #[test]
    fn nothing_goes_out_that_something_older_could_follow() {
        let mut merge = Merge::new([A, B]);
        merge.push(A, record(10));
        merge.push(A, record(20));
        assert_eq!(popped(&mut merge, 100), [], "nothing is known of the other");
        merge.push(B, record(15));
        assert_eq!(popped(&mut merge, 100), [(A, 10), (B, 15)]);
        merge.push(B, record(30));
        assert_eq!(popped(&mut merge, 25), [(A, 20)]);
        assert_eq!(popped(&mut merge, 30), []);
        merge.end(A);
        assert!(!merge.has_ended());
        assert_eq!(popped(&mut merge, 30), [(B, 30)]);
        merge.end(B);
        assert!(merge.has_ended());
        merge.push(A, record(40));
        assert!(!merge.has_ended(), "it has grown");
        assert_eq!(popped(&mut merge, 40), [(A, 40)]);
        merge.push(B, record(50));
        assert_eq!(popped(&mut merge, 50), [], "the one that has grown may have more from before");
        assert_eq!((merge.known_until_ms(), merge.is_empty()), (40, false));
    }

    #[test]
    fn a_partition_that_is_ahead_has_enough() {
        let mut merge = Merge::new([A, B]);
        let enough = (0..5000).position(|i| merge.push(A, record(i)));
        assert_eq!(enough, Some(ENOUGH_RECORDS - 1));
        assert!(merge.has_enough(A) && !merge.has_enough(B));
        merge.end(B);
        assert_eq!(popped(&mut merge, 10_000).len(), ENOUGH_RECORDS);
        assert!(!merge.has_enough(A));
        let large = Waiting { time_ms: 6000, offset: 6000, value: Some(vec![0; ENOUGH_BYTES]) };
        assert!(merge.push(B, large));
    }
}
