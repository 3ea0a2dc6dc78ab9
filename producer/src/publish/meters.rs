//! What the publisher counts, for its metrics and for its last word. Ticks and payloads are told apart everywhere: who
//! checks what is in the log against what was acknowledged counts ticks. Must never happen here: a payload counted as a tick.

use metrics::{Counter, Histogram};

use crate::publish::outbox::Target;

/// What became of the records, told at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub acknowledged_ticks: u64,
    /// Records of market.payloads.v1: a long payload has several.
    pub acknowledged_payloads: u64,
    /// And what was lost on disk, of which nobody knows what it was.
    pub dropped_ticks: u64,
    pub dropped_payloads: u64,
    pub refused: u64,
    /// Records that wait on disk for the next start.
    pub left_in_spill: u64,
}

/// The same while it runs.
pub struct Meters {
    pub published: PerTopic,
    pub acknowledged: PerTopic,
    pub dropped: PerTopic,
    pub spilled: PerTopic,
    pub failed: Counter,
    pub latency: Histogram,
}

/// One counter a topic, in the order of [`Target::ALL`].
pub struct PerTopic([Counter; Target::ALL.len()]);

impl PerTopic {
    fn new(name: &'static str) -> Self {
        Self(Target::ALL.map(|target| metrics::counter!(name, "topic" => target.topic())))
    }

    pub fn of(&self, target: Target) -> &Counter {
        // Targets are numbered from 1.
        &self.0[target as usize - 1]
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            published: PerTopic::new("tickstream_producer_published_total"),
            acknowledged: PerTopic::new("tickstream_producer_acknowledged_total"),
            dropped: PerTopic::new("tickstream_producer_dropped_total"),
            spilled: PerTopic::new("tickstream_producer_spilled_total"),
            failed: metrics::counter!("tickstream_producer_failed_total"),
            latency: metrics::histogram!("tickstream_producer_receive_to_ack_seconds"),
        }
    }
}
