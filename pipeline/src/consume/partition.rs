//! What is held of one assigned partition: records that are still gathered, batches that wait, batches that were handed over
//! and are not written yet, in order. Invariant: batches of a partition meet end to end, `start` of one is `next_offset` of the one before, whatever
//! was delivered in between; offsets that are never delivered are in a batch too, at last in one without rows, so that
//! retention never removes what no batch covers from a log that was read to its end. Must never happen: an offset that no
//! batch covers, or two.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PartitionBatch;
use crate::headers::ClientHeaders;
use crate::records::{Record, RecordBuffer};

/// When a batch is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub rows: usize,
    pub bytes: usize,
    pub age: Duration,
    /// The most offsets that a batch may span.
    pub span: Option<i64>,
    /// Where a batch may span only so many, offsets that are never delivered and that no record follows go into one without rows
    /// after so long.
    pub undelivered: Duration,
}

pub(super) struct Partition {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The first offset that the batch being gathered owes.
    start: i64,
    /// The next offset that may be delivered: all below were delivered, or never will be.
    next: i64,
    /// Where the log ended when last heard.
    log_end: i64,
    /// The first offset that is not to be read.
    until: i64,
    /// Everything below is durable.
    durable: i64,
    /// What is to be committed: offset and metadata.
    commit: Option<(i64, String)>,
    /// The client was told to commit it.
    commit_sent: bool,
    buffer: RecordBuffer,
    since: Option<Instant>,
    /// Nothing is gathered, and offsets that were never delivered have waited for a batch since then.
    undelivered_since: Option<Instant>,
    /// Batches with their size.
    ready: VecDeque<(PartitionBatch, usize)>,
    /// What was handed over and is not written yet: `next_offset` and size of each.
    writing: VecDeque<(i64, usize)>,
    /// Goes up when the writer goes on elsewhere: what was handed over before is of another run.
    run: u64,
}

impl Partition {
    pub fn new(topic: Arc<str>, partition: i32, start: i64, log_end: i64) -> Self {
        Self {
            topic,
            partition,
            start,
            next: start,
            log_end,
            until: i64::MAX,
            durable: start,
            commit: None,
            commit_sent: true,
            buffer: RecordBuffer::new(),
            since: None,
            undelivered_since: None,
            ready: VecDeque::new(),
            writing: VecDeque::new(),
            run: 0,
        }
    }

    /// Reads no further than `until`.
    pub fn until(self, until: i64) -> Self {
        Self { until, ..self }
    }

    /// Makes room for a record at `offset`; false when it was taken before or is not to be read, and must be passed over.
    fn admit(&mut self, offset: i64, limits: &Limits) -> bool {
        if offset >= self.until {
            // What is below was delivered before, or never will be.
            self.reached(self.until, limits);
            return false;
        }
        if offset < self.next {
            return false;
        }
        self.cut_spans(offset + 1, limits);
        true
    }

    /// Takes one record. Gives whether it was new.
    pub fn push(&mut self, record: Record<'_>, headers: ClientHeaders<'_>, limits: &Limits) -> bool {
        if !self.admit(record.offset, limits) {
            return false;
        }
        self.buffer.push(record, headers);
        self.pushed(record.offset, limits);
        true
    }

    fn pushed(&mut self, offset: i64, limits: &Limits) {
        self.next = offset + 1;
        if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        if self.buffer.len() >= limits.rows || self.buffer.bytes() >= limits.bytes {
            self.cut(self.next);
        }
    }

    /// The log was read up to `position`: offsets below that were not delivered never will be.
    pub fn reached(&mut self, position: i64, limits: &Limits) {
        let position = position.min(self.until);
        if position > self.next {
            self.cut_spans(position, limits);
            self.next = position;
            if self.buffer.is_empty() {
                self.undelivered_since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Cuts while the batch that would end at `end` spans too many offsets.
    fn cut_spans(&mut self, end: i64, limits: &Limits) {
        while let Some(span) = limits.span.filter(|span| end - self.start > *span) {
            self.cut(self.start + span);
        }
    }

    fn cut(&mut self, next_offset: i64) {
        let bytes = self.buffer.bytes();
        let batch = PartitionBatch {
            topic: self.topic.clone(),
            partition: self.partition,
            start: self.start,
            next_offset,
            records: self.buffer.finish(),
        };
        self.ready.push_back((batch, bytes));
        self.start = next_offset;
        (self.since, self.undelivered_since) = (None, None);
    }

    /// Cuts what has been gathered, if anything.
    pub fn cut_now(&mut self) {
        if !self.buffer.is_empty() {
            self.cut(self.next);
        }
    }

    /// Cuts offsets that were never delivered, where they have waited long and nothing else waits.
    pub fn cut_undelivered(&mut self, limits: &Limits) {
        let waited = self.undelivered_since.is_some_and(|since| since.elapsed() >= limits.undelivered);
        if waited && limits.span.is_some() && self.buffer.is_empty() && self.ready.is_empty() {
            self.cut(self.next);
        }
    }

    pub fn is_due(&self, limits: &Limits) -> bool {
        !self.ready.is_empty() || self.since.is_some_and(|since| since.elapsed() >= limits.age)
    }

    /// The oldest batch that waits, now handed over, and the run it belongs to.
    pub fn take_ready(&mut self) -> Option<(PartitionBatch, u64)> {
        let (batch, bytes) = self.ready.pop_front()?;
        self.writing.push_back((batch.next_offset, bytes));
        Some((batch, self.run))
    }

    /// The oldest batch that was handed over is durable up to `durable`. `resume_at` says where the writer wants to go on: at
    /// the batch's own end, or elsewhere, and then true is given: everything held was dropped and the client must seek there.
    pub fn written(&mut self, durable: i64, metadata: &str, resume_at: i64) -> bool {
        let expected = self.writing.pop_front().map(|(next_offset, _)| next_offset);
        let elsewhere = expected != Some(resume_at);
        if elsewhere {
            let run = self.run + 1;
            *self = Self::new(self.topic.clone(), self.partition, resume_at, self.log_end).until(self.until);
            self.run = run;
        }
        self.durable = durable;
        self.commit = Some((durable, metadata.to_owned()));
        self.commit_sent = false;
        elsewhere
    }

    /// Everything below the start is durable and may be committed; `committed` is.
    pub fn started_durable(&mut self, metadata: &str, committed: Option<i64>) {
        self.commit = Some((self.start, metadata.to_owned()));
        self.commit_sent = committed == Some(self.start);
    }

    /// What to commit: offset and metadata, once something is known to be durable.
    pub fn commit(&self) -> Option<(i64, &str)> {
        self.commit.as_ref().map(|(offset, metadata)| (*offset, metadata.as_str()))
    }

    /// As [`Partition::commit`], and only once.
    pub fn take_commit(&mut self) -> Option<(i64, &str)> {
        if std::mem::replace(&mut self.commit_sent, true) { None } else { self.commit() }
    }

    /// A commit was refused: whatever is durable is committed once more.
    pub fn commit_again(&mut self) {
        self.commit_sent = false;
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.ready.is_empty() && self.writing.is_empty()
    }

    /// Batches that were handed over and are not written yet.
    pub fn handed_over(&self) -> usize {
        self.writing.len()
    }

    pub fn handed_over_bytes(&self) -> usize {
        self.writing.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The size of the batch that [`Partition::take_ready`] gives.
    pub fn first_ready_bytes(&self) -> Option<usize> {
        self.ready.front().map(|(_, bytes)| *bytes)
    }

    pub fn gathered_bytes(&self) -> usize {
        self.buffer.bytes()
    }

    /// Bytes held, without those handed over.
    pub fn held_bytes(&self) -> usize {
        self.buffer.bytes() + self.ready.iter().map(|(_, bytes)| bytes).sum::<usize>()
    }

    /// Records that are not durable yet, by what was last heard of the log's end.
    pub fn lag(&self) -> i64 {
        (self.log_end - self.settled()).max(0)
    }

    /// The client's memory of the end may be older than what was heard at the start.
    pub fn heard_log_end(&mut self, log_end: i64) {
        self.log_end = self.log_end.max(log_end);
    }

    /// Whether the log is known to hold records that were not read.
    pub fn has_unread(&self) -> bool {
        self.log_end > self.next
    }

    /// Everything that is to be read was gathered.
    pub fn is_read(&self) -> bool {
        self.next >= self.until
    }

    /// Everything that is to be read is durable.
    pub fn is_caught_up(&self) -> bool {
        self.is_read() && self.is_idle()
    }

    /// How far the log is durable, trailing undelivered offsets counted in once nothing is held.
    fn settled(&self) -> i64 {
        if self.is_idle() { self.next } else { self.durable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const LIMITS: Limits = Limits { rows: 3, bytes: 1 << 20, age: HOUR, span: Some(10), undelivered: HOUR };

    fn push(partition: &mut Partition, offset: i64) -> bool {
        if !partition.admit(offset, &LIMITS) {
            return false;
        }
        partition.buffer.push_owned(Record { offset, timestamp_ms: 0, key: None, value: Some(b"v") }, &[]);
        partition.pushed(offset, &LIMITS);
        true
    }

    /// What has been cut: (start, next_offset, offsets).
    fn taken(partition: &mut Partition) -> Vec<(i64, i64, Vec<i64>)> {
        std::iter::from_fn(|| partition.ready.pop_front())
            .map(|(batch, _)| (batch.start, batch.next_offset, batch.records.offsets().values().to_vec()))
            .collect()
    }

    fn partition(start: i64) -> Partition {
        Partition::new("t".into(), 0, start, start)
    }

    #[test]
    fn batches_meet_end_to_end_over_undelivered_offsets() {
        let mut p = partition(5);
        for offset in [5, 6, 8, 12] {
            assert!(push(&mut p, offset));
        }
        p.reached(14, &LIMITS);
        p.cut_now();
        assert_eq!(taken(&mut p), [(5, 9, vec![5, 6, 8]), (9, 14, vec![12])]);
        assert_eq!((p.next, p.is_idle()), (14, true));
    }

    #[test]
    fn a_record_that_comes_again_is_passed_over() {
        let mut p = partition(0);
        assert!(push(&mut p, 0) && push(&mut p, 1) && !push(&mut p, 1) && !push(&mut p, 0));
        p.cut_now();
        assert_eq!(taken(&mut p), [(0, 2, vec![0, 1])]);
    }

    #[test]
    fn no_batch_spans_too_much_and_long_runs_become_batches_without_rows() {
        let mut p = partition(0);
        push(&mut p, 2);
        push(&mut p, 35);
        p.reached(60, &LIMITS);
        p.cut_now();
        let cut = taken(&mut p);
        assert_eq!(cut, [(0, 10, vec![2]), (10, 20, vec![]), (20, 30, vec![]), (30, 40, vec![35]), (40, 50, vec![])]);
        push(&mut p, 60);
        p.cut_now();
        assert_eq!(taken(&mut p), [(50, 60, vec![]), (60, 61, vec![60])]);
    }

    #[test]
    fn undelivered_offsets_that_no_record_follows_go_into_a_batch_in_the_end() {
        let long_ago = Limits { undelivered: Duration::ZERO, ..LIMITS };
        let mut p = partition(0);
        push(&mut p, 0);
        p.reached(2, &LIMITS);
        p.cut_undelivered(&long_ago);
        assert!(!p.has_ready(), "they go with the record");
        p.cut_now();
        p.reached(4, &LIMITS);
        assert_eq!(taken(&mut p), [(0, 2, vec![0])]);
        p.cut_undelivered(&LIMITS);
        assert!(!p.has_ready(), "a record may follow");
        p.cut_undelivered(&Limits { span: None, ..long_ago });
        assert!(!p.has_ready(), "nobody asks for them");
        p.cut_undelivered(&long_ago);
        assert!(p.is_due(&LIMITS));
        assert_eq!(taken(&mut p), [(2, 4, vec![])]);
        p.cut_undelivered(&long_ago);
        assert!(!p.has_ready(), "once");
    }

    #[test]
    fn headers_are_held_too() {
        let mut p = partition(0);
        let headers = [("key".to_owned(), Some(vec![0; 1000]))];
        p.buffer.push_owned(Record { offset: 0, timestamp_ms: 0, key: None, value: Some(b"v") }, &headers);
        let gathered = p.gathered_bytes();
        assert!(gathered > 1000);
        p.pushed(0, &LIMITS);
        p.cut_now();
        assert_eq!((p.held_bytes(), p.first_ready_bytes()), (gathered, Some(gathered)));
        p.take_ready();
        assert_eq!((p.held_bytes(), p.handed_over_bytes()), (0, gathered));
    }

    #[test]
    fn nothing_is_gathered_from_beyond_the_end_of_the_run() {
        let mut p = partition(0).until(5);
        assert!(push(&mut p, 1) && !p.is_read());
        assert!(!push(&mut p, 7), "5 and 6 were never delivered: the run has read all");
        assert!(p.is_read() && !p.is_caught_up());
        p.cut_now();
        assert_eq!(taken(&mut p), [(0, 5, vec![1])]);
        assert!(p.is_caught_up());

        let mut p = partition(0).until(5);
        p.reached(9, &LIMITS);
        assert_eq!((p.next, p.is_caught_up()), (5, true), "the end of the log is past the end of the run");
        let mut p = partition(8).until(5);
        assert!(p.is_caught_up(), "what is committed is past it");
        assert!(!push(&mut p, 8));
        assert_eq!((p.next, p.is_caught_up()), (8, true));
    }

    #[test]
    fn a_sink_that_goes_on_elsewhere_drops_what_is_held() {
        let mut p = partition(0);
        for offset in 0..4 {
            push(&mut p, offset);
        }
        assert_eq!(p.take_ready().map(|(_, run)| run), Some(0));
        assert!(p.written(9, "", 9), "the winner reached further: seek");
        assert_eq!((p.next, p.settled(), p.is_idle()), (9, 9, true));
        assert!(!push(&mut p, 8) && push(&mut p, 9));
        p.cut_now();
        assert_eq!(p.take_ready().map(|(_, run)| run), Some(1), "what was handed over before is of another run");
    }

    #[test]
    fn what_was_handed_over_is_written_in_order_and_each_commit_is_sent_once() {
        let mut p = partition(0);
        for offset in 0..7 {
            push(&mut p, offset);
        }
        while p.take_ready().is_some() {}
        let owned = |commit: Option<(i64, &str)>| commit.map(|(offset, metadata)| (offset, metadata.to_owned()));
        assert_eq!((p.handed_over(), p.gathered_bytes() > 0, owned(p.take_commit())), (2, true, None));
        assert!(!p.written(3, "m", 3));
        assert_eq!(owned(p.take_commit()), Some((3, "m".to_owned())));
        assert_eq!((p.handed_over(), owned(p.take_commit())), (1, None));
        assert!(!p.written(6, "m", 6));
        assert_eq!((p.handed_over_bytes(), owned(p.take_commit())), (0, Some((6, "m".to_owned()))));
        assert_eq!(p.commit(), Some((6, "m")), "what a shutdown commits once more");
    }
}
