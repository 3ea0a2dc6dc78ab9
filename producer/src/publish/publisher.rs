//! From the sources to the broker, in order for each symbol, with nothing lost in silence. Records wait in the client's
//! memory; when the broker stops acknowledging they go to the spill, and as long as the spill has any, new ones queue behind
//! them there. When the spill is full, records are dropped, counted, and told of by an OVERFLOW gap that stays open until
//! there is room again. Payloads, which are longer than the prices in them, may fill half of it: they never cost a price.
//!
//! A record that fails is sent again before anything newer; one that the broker perhaps has already is harmless twice, since
//! its event id is the same. A record that the broker will never take (too large, refused by policy) is counted, logged and
//! told of, and not tried again. Must never happen here: waiting for the broker without a bound while a source is not read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pipeline::admin::Health;
use pipeline::codec::Encoder;
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::drive::backoff::Backoff;
use crate::drive::clock::now_micros;
use crate::gaps::overflow::{Lost, Overflows};
use crate::publish::broker::{Broker, Delivery, NotTaken, Ticket, is_refusal};
use crate::publish::meters::{Meters, Summary};
use crate::publish::outbox::{Outgoing, Target};
use crate::publish::spill::{Appended, SegmentId, Spill};

/// Without an acknowledgement for this long the memory is no longer waited for.
const NO_PROGRESS: Duration = Duration::from_secs(1);
/// The longest that a source is held up by a broker that is slow but acknowledges.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Without an acknowledgement for this long the broker counts as out.
const OUT_AFTER: Duration = Duration::from_secs(5);
/// After the disk refused, it is left alone this long.
const DISK_PAUSE: Duration = Duration::from_secs(5);
/// Records that are replayed for each batch that is taken: more than a batch has, so that the spill shrinks.
const REPLAY: usize = 4_000;
/// How long the end may take.
const DRAIN: Duration = Duration::from_secs(10);

pub struct Publisher {
    broker: Broker,
    spill: Spill,
    health: Health,
    meters: Meters,
    next_sequence: u64,
    /// Failed records by the order in which they were first sent.
    returned: BTreeMap<u64, (Ticket, Outgoing)>,
    retry_at: Instant,
    retry_backoff: Backoff,
    /// Read from the spill and not taken yet.
    held: Option<(SegmentId, Outgoing)>,
    /// Gaps: they go first, and are never spilled or dropped while the process lives.
    urgent: VecDeque<Outgoing>,
    overflows: Overflows,
    disk_pause_until: Option<Instant>,
    /// Why the broker counts as out, while it does.
    outage: Option<String>,
    shown_at: Instant,
    summary: Summary,
}

impl Publisher {
    #[must_use]
    pub fn new(broker: Broker, spill: Spill, encoder: Arc<Encoder>, health: Health) -> Self {
        let now = Instant::now();
        Self {
            broker,
            spill,
            health,
            meters: Meters::default(),
            next_sequence: 0,
            returned: BTreeMap::new(),
            retry_at: now,
            retry_backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(10)),
            held: None,
            urgent: VecDeque::new(),
            overflows: Overflows::new(encoder),
            disk_pause_until: None,
            outage: None,
            shown_at: now,
            summary: Summary::default(),
        }
    }

    /// Publishes on a thread of its own (the disk and the client may block it) until every sender is gone.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        self,
        batches: Receiver<Vec<Outgoing>>,
        runtime: Handle,
    ) -> std::io::Result<JoinHandle<anyhow::Result<Summary>>> {
        std::thread::Builder::new().name("publisher".to_owned()).spawn(move || self.run(batches, &runtime))
    }

    fn run(mut self, mut batches: Receiver<Vec<Outgoing>>, runtime: &Handle) -> anyhow::Result<Summary> {
        self.show();
        loop {
            self.turn()?;
            let idle = self.broker.outstanding() == 0 && !self.is_behind() && self.urgent.is_empty();
            let patience = Duration::from_millis(if idle { 100 } else { 2 });
            match runtime.block_on(async { timeout(patience, batches.recv()).await }) {
                Ok(Some(batch)) => self.accept(batch),
                Ok(None) => return self.finish(),
                Err(_) => {}
            }
        }
    }

    /// Whether something older waits, so that new records must queue behind it.
    fn is_behind(&self) -> bool {
        !self.returned.is_empty() || self.held.is_some() || !self.spill.is_drained()
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        self.collect(Duration::ZERO);
        for delivery in self.broker.renew_if_fatal()? {
            self.settle(delivery);
        }
        self.resend();
        self.send_urgent();
        self.replay();
        self.close_overflows();
        if self.shown_at.elapsed() >= Duration::from_secs(1) {
            self.show();
        }
        Ok(())
    }

    fn accept(&mut self, batch: Vec<Outgoing>) {
        for record in batch {
            match record.target {
                Target::Ticks | Target::Payloads | Target::Index => self.accept_kept(record),
                Target::Gaps => self.urgent.push_back(record),
                Target::Health => {
                    // A word on now: late it has no use, so it neither waits nor spills.
                    if self.offer(&record, None) == Err(NotTaken::QueueFull) {
                        skip_health();
                    }
                }
            }
        }
        if let Err(error) = self.spill.flush() {
            self.disk_refused(&error);
        }
    }

    fn accept_kept(&mut self, record: Outgoing) {
        if self.is_behind() || self.overflows.any(Lost::of(record.target)) {
            return self.store(record);
        }
        match self.offer(&record, None) {
            Err(NotTaken::QueueFull) => self.wait_for_room(record),
            Ok(()) | Err(NotTaken::Failed(_)) => {}
        }
    }

    /// The memory is full: waits while the broker acknowledges, and spills when it does not.
    fn wait_for_room(&mut self, record: Outgoing) {
        let began = Instant::now();
        while self.broker.owed_for() < NO_PROGRESS && began.elapsed() < LONGEST_WAIT {
            self.health.beat();
            self.collect(Duration::from_millis(5));
            if !self.returned.is_empty() {
                break;
            }
            match self.offer(&record, None) {
                Err(NotTaken::QueueFull) => {}
                Ok(()) | Err(NotTaken::Failed(_)) => return,
            }
        }
        if self.spill.is_drained() {
            tracing::warn!(
                outstanding = self.broker.outstanding(),
                "the broker does not acknowledge and the memory is full: records go to disk"
            );
        }
        self.store(record);
    }

    /// Hands one record to the client. A failure that will not pass is settled here; only a full queue is the caller's.
    fn offer(&mut self, record: &Outgoing, segment: Option<SegmentId>) -> Result<(), NotTaken> {
        let ticket = Ticket {
            sequence: self.next_sequence,
            target: record.target,
            source: record.source,
            received_at: record.received_at,
            off_median: record.off_median,
            trace: record.trace.clone(),
            segment,
        };
        match self.broker.send(ticket, record) {
            Ok(()) => {
                self.next_sequence += 1;
                self.meters.published.of(record.target).increment(1);
                Ok(())
            }
            Err((NotTaken::QueueFull, _)) => Err(NotTaken::QueueFull),
            Err((NotTaken::Failed(code), ticket)) => {
                self.next_sequence += 1;
                self.settle(Delivery::Returned(ticket, record.clone(), code));
                Err(NotTaken::Failed(code))
            }
        }
    }

    fn collect(&mut self, patience: Duration) {
        let deliveries = self.broker.deliveries(patience);
        let now = now_micros();
        let mut slowest = None;
        for delivery in deliveries {
            if let Delivery::Acknowledged(Ticket { target: Target::Ticks, segment: None, received_at, .. }) = &delivery
            {
                slowest = slowest.max(Some(now - received_at));
            }
            self.settle(delivery);
        }
        // The slowest of each round: one sample for many records keeps the histogram cheap and its tail true.
        if let Some(micros) = slowest {
            self.meters.latency.record(micros as f64 / 1e6);
        }
    }

    fn settle(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Acknowledged(ticket) => {
                self.meters.acknowledged.of(ticket.target).increment(1);
                match ticket.target {
                    Target::Ticks => self.summary.acknowledged_ticks += 1,
                    Target::Payloads => self.summary.acknowledged_payloads += 1,
                    Target::Gaps | Target::Health | Target::Index => {}
                }
                self.retry_backoff.reset();
                if let Some(segment) = ticket.segment {
                    self.spill.acknowledge(segment);
                }
            }
            Delivery::Returned(ticket, record, code) if is_refusal(code) => self.refused(&ticket, &record, code),
            Delivery::Returned(Ticket { target: Target::Health, .. }, ..) => skip_health(),
            Delivery::Returned(ticket, record, code) => {
                self.meters.failed.increment(1);
                if self.returned.is_empty() {
                    let wait = self.retry_backoff.next_wait();
                    self.retry_at = Instant::now() + wait;
                    tracing::warn!(
                        ?code,
                        topic = record.target.topic(),
                        "a record was not acknowledged; it is sent again"
                    );
                }
                self.returned.insert(ticket.sequence, (ticket, record));
            }
        }
    }

    fn refused(&mut self, ticket: &Ticket, record: &Outgoing, code: RDKafkaErrorCode) {
        self.summary.refused += 1;
        metrics::counter!("tickstream_producer_refused_total", "code" => format!("{code:?}")).increment(1);
        let key = String::from_utf8_lossy(&record.key).into_owned();
        let size = record.payload.len();
        tracing::error!(
            ?code,
            topic = record.target.topic(),
            key,
            size,
            "the broker refuses a record for good; it is left out"
        );
        if let Some(segment) = ticket.segment {
            self.spill.acknowledge(segment);
        }
        let names = match record.target {
            Target::Ticks | Target::Index => key,
            Target::Payloads => Target::Payloads.topic().to_owned(),
            Target::Gaps | Target::Health => return,
        };
        let detail = format!("the broker refused a record of {size} bytes: {code:?}");
        self.urgent.extend(self.overflows.lost(record.source, vec![names], record.received_at, detail));
    }

    fn resend(&mut self) {
        if Instant::now() < self.retry_at {
            return;
        }
        while let Some((sequence, (ticket, record))) = self.returned.pop_first() {
            match self.broker.send(ticket, &record) {
                Ok(()) => {}
                Err((NotTaken::QueueFull, ticket)) => {
                    self.returned.insert(sequence, (ticket, record));
                    return;
                }
                Err((NotTaken::Failed(code), ticket)) => {
                    self.settle(Delivery::Returned(ticket, record, code));
                    let wait = self.retry_backoff.next_wait();
                    self.retry_at = Instant::now() + wait;
                    return;
                }
            }
        }
    }

    fn send_urgent(&mut self) {
        while let Some(record) = self.urgent.pop_front() {
            if self.offer(&record, None) == Err(NotTaken::QueueFull) {
                self.urgent.push_front(record);
                return;
            }
        }
    }

    /// From the spill to the client, as far as there is room. A broker that acknowledges is waited for a little, so that
    /// the sources wait too and the spill shrinks rather than grows.
    fn replay(&mut self) {
        if !self.returned.is_empty() {
            return;
        }
        let began = Instant::now();
        let mut sent = 0;
        while sent < REPLAY {
            let Some((segment, record)) = self.held.take().or_else(|| self.read_spill()) else { return };
            match self.offer(&record, Some(segment)) {
                Ok(()) | Err(NotTaken::Failed(_)) => sent += 1,
                Err(NotTaken::QueueFull) => {
                    self.held = Some((segment, record));
                    if self.broker.owed_for() > NO_PROGRESS / 10 || began.elapsed() > Duration::from_millis(50) {
                        return;
                    }
                    self.collect(Duration::from_millis(5));
                }
            }
        }
    }

    fn read_spill(&mut self) -> Option<(SegmentId, Outgoing)> {
        match self.spill.read_next() {
            Ok(record) => record,
            Err(error) => {
                let lost = self.spill.abandon();
                self.lost_on_disk(lost, &error.to_string());
                None
            }
        }
    }

    /// Spilled records that cannot be read back: counted and told of.
    pub fn lost_on_disk(&mut self, lost: u64, why: &str) {
        self.summary.dropped_ticks += lost;
        self.meters.dropped.of(Target::Ticks).increment(lost);
        tracing::error!(why, lost, "records on disk cannot be read back; they are lost");
        let detail = format!("{lost} records on disk could not be read back: {why}");
        self.urgent.extend(self.overflows.lost(None, Vec::new(), now_micros(), detail));
    }

    fn store(&mut self, record: Outgoing) {
        let lost = Lost::of(record.target);
        let (most, why) = self.room(lost);
        if self.overflows.any(lost) || self.spill.bytes() >= most {
            return self.drop_record(&record, why);
        }
        match self.spill.append(&record) {
            Ok(Appended::Stored) => self.meters.spilled.of(record.target).increment(1),
            Ok(Appended::Full) => self.drop_record(&record, why),
            Err(error) => {
                self.disk_refused(&error);
                self.drop_record(&record, &format!("the spill cannot be written: {error}"));
            }
        }
    }

    /// Up to how many bytes in the spill a record of this kind is stored, and what is wrong beyond that.
    fn room(&self, lost: Lost) -> (u64, &'static str) {
        match lost {
            Lost::Prices => (self.spill.max_bytes(), "the spill is full"),
            Lost::Payloads => (self.spill.max_bytes() / 2, "half of the spill is kept for prices"),
        }
    }

    fn disk_refused(&mut self, error: &std::io::Error) {
        if self.disk_pause_until.is_none() {
            tracing::error!(%error, "the spill cannot be written");
        }
        self.disk_pause_until = Some(Instant::now() + DISK_PAUSE);
    }

    fn drop_record(&mut self, record: &Outgoing, why: &str) {
        self.meters.dropped.of(record.target).increment(1);
        match record.target {
            Target::Ticks => self.summary.dropped_ticks += 1,
            Target::Payloads => self.summary.dropped_payloads += 1,
            Target::Gaps | Target::Health | Target::Index => {}
        }
        self.urgent.extend(self.overflows.dropped(record, why));
    }

    /// There is room again, with some to spare: says how many records were dropped until now.
    fn close_overflows(&mut self) {
        let disk_rests = self.disk_pause_until.is_some_and(|until| Instant::now() < until);
        for lost in [Lost::Prices, Lost::Payloads] {
            if self.overflows.any(lost) && !disk_rests && self.spill.bytes() <= self.room(lost).0 / 10 * 9 {
                self.disk_pause_until = None;
                self.urgent.extend(self.overflows.end(lost));
            }
        }
    }

    fn show(&mut self) {
        self.shown_at = Instant::now();
        self.health.beat();
        if let Err(error) = self.spill.sync() {
            self.disk_refused(&error);
        }
        metrics::gauge!("tickstream_producer_waiting_records")
            .set((self.broker.outstanding() + self.returned.len()) as f64);
        metrics::gauge!("tickstream_producer_spill_bytes").set(self.spill.bytes() as f64);
        let state = if self.broker.owed_for() > OUT_AFTER || !self.returned.is_empty() {
            let since = Timestamp::now() - self.broker.owed_for();
            // The same words for the whole outage: each change is logged.
            let outage = self.outage.get_or_insert_with(|| {
                format!("no acknowledgement since {since:.0}; what comes waits in memory, then on disk")
            });
            Err(outage.clone())
        } else if self.overflows.any(Lost::Prices) {
            Err("the spill is full: records are dropped".to_owned())
        } else {
            Ok(())
        };
        if state.is_ok() {
            self.outage = None;
        }
        self.health.set("broker", state);
    }

    /// Every source has ended: sends what waits, and leaves on disk what the broker does not take in time.
    fn finish(mut self) -> anyhow::Result<Summary> {
        for lost in [Lost::Prices, Lost::Payloads] {
            self.urgent.extend(self.overflows.end(lost));
        }
        let until = Instant::now() + DRAIN;
        while Instant::now() < until && (self.broker.outstanding() > 0 || self.is_behind() || !self.urgent.is_empty()) {
            self.turn()?;
            self.collect(Duration::from_millis(5));
        }
        for delivery in self.broker.give_up() {
            self.settle(delivery);
        }
        // What the spill has is older than some of these and newer than others; what came from it stays in it.
        let oldest_spilled = self.returned.iter().find(|(_, (ticket, _))| ticket.segment.is_some()).map(|(at, _)| *at);
        let (mut older, mut newer) = (Vec::new(), Vec::new());
        for (sequence, (ticket, record)) in std::mem::take(&mut self.returned) {
            match (ticket.segment, oldest_spilled) {
                (Some(_), _) => {}
                (None, Some(spilled)) if sequence > spilled => newer.push(record),
                (None, _) => older.push(record),
            }
        }
        newer.extend(self.urgent.drain(..));
        self.spill.prepend(&older)?;
        self.spill.keep(&newer)?;
        self.summary.left_in_spill = self.spill.waiting();
        let Summary {
            acknowledged_ticks,
            acknowledged_payloads,
            dropped_ticks,
            dropped_payloads,
            refused,
            left_in_spill,
        } = self.summary;
        tracing::info!(
            acknowledged_ticks,
            acknowledged_payloads,
            dropped_ticks,
            dropped_payloads,
            refused,
            left_in_spill,
            "publisher ended"
        );
        Ok(self.summary)
    }
}

fn skip_health() {
    metrics::counter!("tickstream_producer_health_skipped_total").increment(1);
}
