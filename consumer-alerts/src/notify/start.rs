//! Where a channel begins to read. The commit's metadata names the topic id, because a recreated topic has the same name and
//! offsets from 0 again. Reading too early costs nothing: the ledger knows what was delivered. Must never happen here: a new
//! channel that is sent a month of old alerts.

use jiff::SignedDuration;
use pipeline::consume::Assigned;

/// A channel that was never read for begins with the alerts of so long ago.
pub const NEW_CHANNEL_BEGINS: SignedDuration = SignedDuration::from_hours(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    At(i64),
    /// With what is not older than [`NEW_CHANNEL_BEGINS`].
    Recent,
}

pub fn start_of(assigned: &Assigned, topic_id: &str) -> Start {
    let Assigned { topic, partition, committed, metadata, log_start, log_end } = assigned;
    let Some(committed) = *committed else { return Start::Recent };
    if !metadata.is_empty() && metadata != topic_id {
        tracing::warn!(
            topic = &**topic,
            partition,
            committed,
            log_start,
            "{topic}[{partition}] was made again since offset {committed} was committed: reading it from its start, {log_start}"
        );
        return Start::At(*log_start);
    }
    if committed > *log_end {
        tracing::warn!(
            topic = &**topic,
            partition,
            committed,
            log_end,
            "{topic}[{partition}] ends at {log_end}, before the committed {committed}: the broker lost records; reading from {log_start}"
        );
        return Start::At(*log_start);
    }
    if committed < *log_start {
        tracing::error!(
            topic = &**topic,
            partition,
            committed,
            log_start,
            "{topic}[{partition}]: retention deleted {} offsets before they were read; alerts among them are not delivered",
            log_start - committed
        );
        return Start::At(*log_start);
    }
    Start::At(committed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_channel_goes_on_where_it_was_and_a_new_one_begins_with_what_is_recent() {
        let start = |committed, metadata: &str| {
            let assigned = Assigned {
                topic: Arc::from("alerts"),
                partition: 0,
                committed,
                metadata: metadata.to_owned(),
                log_start: 100,
                log_end: 200,
            };
            start_of(&assigned, "id")
        };
        assert_eq!(start(None, ""), Start::Recent);
        assert_eq!(start(Some(150), "id"), Start::At(150));
        assert_eq!(start(Some(200), "id"), Start::At(200));
        assert_eq!(start(Some(150), ""), Start::At(150), "a commit by Kafka's own tools is believed");
        assert_eq!(start(Some(150), "another id"), Start::At(100));
        assert_eq!(start(Some(201), "id"), Start::At(100));
        assert_eq!(start(Some(40), "id"), Start::At(100));
    }
}
