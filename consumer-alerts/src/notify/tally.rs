//! What a channel counts: deliveries by result, how long they took, what is held and how long the oldest waits. Must never
//! happen here: an alert that was passed over counted again when its batch is tried again after an outage.

use jiff::Timestamp;

use super::ledger::Status;

#[derive(Debug)]
pub struct Tally {
    channel: String,
    /// Of the batch that is tried: in the ledger before, …
    pub known: u64,
    /// … not for this channel, …
    pub filtered: u64,
    /// … older than the ledger's memory.
    pub expired: u64,
}

impl Tally {
    pub fn new(channel: &str) -> Self {
        let tally = Self { channel: channel.to_owned(), known: 0, filtered: 0, expired: 0 };
        // There from the start: of a counter that appears with its first alert nobody sees that it has grown.
        tally.count(Status::GivenUp.as_str(), 0);
        tally
    }

    /// A batch is tried, perhaps again.
    pub fn begin(&mut self) {
        (self.known, self.filtered, self.expired) = (0, 0, 0);
    }

    /// It is done.
    pub fn end(&mut self, held: usize) {
        for (result, count) in [("known", self.known), ("filtered", self.filtered), ("expired", self.expired)] {
            self.count(result, count);
        }
        if self.expired > 0 {
            let (channel, expired) = (&self.channel, self.expired);
            tracing::warn!(channel, expired, "{expired} alerts are too old to be sent to {channel}");
        }
        self.oldest_waits(0.0);
        self.holds(held);
    }

    pub fn holds(&self, held: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("tickstream_notify_held", "channel" => self.channel.clone()).set(held as f64);
    }

    pub fn settled(&self, status: Status, fired: Option<Timestamp>, now: Timestamp) {
        self.count(status.as_str(), 1);
        if let Some(fired) = fired.filter(|_| status != Status::GivenUp) {
            let seconds = now.duration_since(fired).as_secs_f64().max(0.0);
            metrics::histogram!("tickstream_notify_fired_to_delivered_seconds", "channel" => self.channel.clone())
                .record(seconds);
        }
    }

    /// A try failed that is made again.
    pub fn waits(&self, oldest_fired: Option<Timestamp>, now: Timestamp) {
        self.count("failed_try", 1);
        self.oldest_waits(oldest_fired.map_or(0.0, |fired| now.duration_since(fired).as_secs_f64()));
    }

    fn oldest_waits(&self, seconds: f64) {
        metrics::gauge!("tickstream_notify_oldest_waiting_seconds", "channel" => self.channel.clone()).set(seconds);
    }

    fn count(&self, result: &'static str, count: u64) {
        metrics::counter!("tickstream_notify_deliveries_total", "channel" => self.channel.clone(), "result" => result)
            .increment(count);
    }
}
