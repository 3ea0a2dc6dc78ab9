//! What is handed over, and when. Memory is bounded over all partitions, not for each: when more is gathered than may be, the
//! largest buffer goes first, whatever its age; a buffer that is not large goes when it is old. Invariant: what a partition
//! hands over is its oldest, and at most [`AHEAD`] of its batches are not written yet. Must never happen here: a batch cut
//! that cannot be handed over now, which would only make smaller objects.

use std::time::Instant;

use super::super::PartitionBatch;
use super::super::around::{Command, Handed};
use super::super::partition::{Limits, Partition};
use super::PollLoop;

/// Batches of a partition that may be handed over at once: one is written, the next one prepared.
const AHEAD: usize = 2;

/// How batches are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Handing {
    /// One batch of each partition that has one, all in one call, and nothing more before it is done.
    Rounds {
        /// The sink commits with what it writes.
        sink_commits: bool,
    },
    /// Each partition by itself.
    Lanes,
}

impl PollLoop<'_> {
    /// Hands over what is due, or everything.
    pub(super) fn hand_over(&mut self, everything: bool) {
        if self.partitions.is_empty() {
            return;
        }
        // Of the partitions' own generation: a rebalance that came with the last poll is taken up at the next turn.
        let generation = self.generation;
        let given = match self.handing {
            Handing::Rounds { .. } => {
                let round = self.take_round(everything);
                let given = !round.is_empty();
                if given {
                    self.send(Command::Write { generation, batches: round });
                }
                given
            }
            Handing::Lanes => {
                let handed = take_lanes(&mut self.partitions, &self.limits, self.config.buffer_bytes, everything);
                let given = !handed.is_empty();
                if given {
                    self.send(Command::Write { generation, batches: handed });
                }
                given
            }
        };
        let quiet = !given && self.partitions.iter().all(|held| held.handed_over() == 0);
        if quiet && self.last_idle.elapsed() >= self.config.idle_every {
            self.last_idle = Instant::now();
            self.send(Command::Idle { generation });
        }
    }

    fn take_round(&mut self, everything: bool) -> Vec<Handed> {
        if self.partitions.iter().any(|held| held.handed_over() > 0) {
            return Vec::new();
        }
        self.partitions.iter_mut().for_each(|held| held.cut_undelivered(&self.limits));
        let due = self.partitions.iter().any(|held| held.is_due(&self.limits));
        for held in &mut self.partitions {
            let its_turn = everything || (due && self.config.together) || held.is_due(&self.limits);
            if its_turn && !held.has_ready() {
                held.cut_now();
            }
        }
        let held: usize = self.partitions.iter().map(Partition::held_bytes).sum();
        if held > self.config.buffer_bytes && !self.partitions.iter().any(Partition::has_ready) {
            cut_largest(&mut self.partitions);
        }
        self.partitions.iter_mut().filter_map(Partition::take_ready).map(handed).collect()
    }
}

/// Batches for the lanes: what is due, the largest first, while no more than `most` bytes are gathered and `most` are handed
/// over; then, while too much is gathered, the largest buffer.
fn take_lanes(partitions: &mut [Partition], limits: &Limits, most: usize, everything: bool) -> Vec<Handed> {
    for held in partitions.iter_mut() {
        held.cut_undelivered(limits);
        if may_hand_over(held) && !held.has_ready() && (everything || held.is_due(limits)) {
            held.cut_now();
        }
    }
    let mut taken = Vec::new();
    loop {
        let under_way: usize = partitions.iter().map(Partition::handed_over_bytes).sum();
        let fits = |bytes: usize| under_way == 0 || under_way + bytes <= most;
        let ready = partitions
            .iter_mut()
            .filter(|held| may_hand_over(held))
            .filter_map(|held| Some((held.first_ready_bytes()?, held)))
            .max_by_key(|(bytes, _)| *bytes);
        if let Some((bytes, held)) = ready {
            if !fits(bytes) {
                return taken;
            }
            taken.extend(held.take_ready().map(handed));
            continue;
        }
        let gathered: usize = partitions.iter().map(Partition::held_bytes).sum();
        let largest = partitions.iter().filter(|held| may_hand_over(held)).map(Partition::gathered_bytes).max();
        if gathered <= most || !largest.is_some_and(|bytes| bytes > 0 && fits(bytes)) {
            return taken;
        }
        cut_largest(partitions);
    }
}

fn may_hand_over(held: &Partition) -> bool {
    held.handed_over() < AHEAD
}

fn cut_largest(partitions: &mut [Partition]) {
    let largest = partitions.iter_mut().filter(|held| may_hand_over(held)).max_by_key(|held| held.gathered_bytes());
    if let Some(largest) = largest {
        largest.cut_now();
    }
}

fn handed((batch, run): (PartitionBatch, u64)) -> Handed {
    Handed { batch, run }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::headers::ClientHeaders;
    use crate::records::Record;

    const HOUR: Duration = Duration::from_secs(3600);
    const LIMITS: Limits = Limits { rows: 100, bytes: 1 << 20, age: HOUR, span: None, undelivered: HOUR };
    /// What a record of ten bytes counts as.
    const BYTES: usize = 42;

    /// One partition for each number, with so many records.
    fn partitions(records: &[i64]) -> Vec<Partition> {
        (0..).zip(records).map(|(number, count)| filled(number, *count, &LIMITS)).collect()
    }

    fn filled(number: i32, count: i64, limits: &Limits) -> Partition {
        let mut held = Partition::new("t".into(), number, 0, count);
        for offset in 0..count {
            held.push(
                Record { offset, timestamp_ms: 0, key: None, value: Some(&[7; 10]) },
                ClientHeaders::None,
                limits,
            );
        }
        held
    }

    /// Partition and records of what was taken.
    fn taken(partitions: &mut [Partition], most: usize, everything: bool) -> Vec<(i32, usize)> {
        let taken = take_lanes(partitions, &LIMITS, most, everything);
        taken.into_iter().map(|handed| (handed.batch.partition, handed.batch.records.len())).collect()
    }

    #[test]
    fn when_too_much_is_gathered_the_largest_buffer_goes_first() {
        let mut held = partitions(&[3, 9, 5]);
        assert_eq!(taken(&mut held, 17 * BYTES, false), [], "as much as may be gathered");
        assert_eq!(taken(&mut held, 16 * BYTES, false), [(1, 9)], "and then eight are left");
        let mut held = partitions(&[3, 9, 5]);
        assert_eq!(taken(&mut held, 7 * BYTES, false), [(1, 9)], "too much still, and too much under way");
    }

    #[test]
    fn what_is_under_way_is_bounded_over_all_partitions() {
        let mut held = partitions(&[50, 60, 40]);
        assert_eq!(taken(&mut held, 100 * BYTES, true), [(1, 60)], "fifty more do not fit");
        assert!(!held[1].written(60, "", 60));
        assert_eq!(taken(&mut held, 100 * BYTES, true), [(0, 50), (2, 40)]);
        let mut large = partitions(&[90]);
        assert_eq!(taken(&mut large, 10 * BYTES, true), [(0, 90)], "one always fits");
    }

    #[test]
    fn of_one_partition_two_batches_are_under_way_and_a_third_waits_uncut() {
        let mut held = partitions(&[250]);
        assert_eq!(taken(&mut held, usize::MAX, false), [(0, 100), (0, 100)]);
        assert_eq!(taken(&mut held, usize::MAX, true), [], "fifty go on growing");
        assert!(!held[0].written(100, "", 100));
        assert_eq!(taken(&mut held, usize::MAX, true), [(0, 50)]);
    }

    #[test]
    fn a_quiet_partition_goes_when_it_is_old() {
        let mut held = partitions(&[1, 2]);
        assert_eq!(taken(&mut held, usize::MAX, false), []);
        let old = Limits { age: Duration::ZERO, ..LIMITS };
        let handed = take_lanes(&mut held, &old, usize::MAX, false);
        assert_eq!(handed.iter().map(|handed| handed.batch.partition).collect::<Vec<_>>(), [1, 0]);
    }
}
