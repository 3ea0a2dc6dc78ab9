//! Where reading a partition begins: at what the group has committed or at what the database has, whichever is lower. Must
//! never happen here: records passed over in silence.

use anyhow::anyhow;
use pipeline::consume::{Assigned, Fault};

use crate::positions::Known;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub offset: i64,
    /// The database is to say so too: what lies between its own position and this offset does not come any more.
    pub is_set: bool,
}

/// The start of a partition of which the database knows `known`.
///
/// # Errors
/// [`Fault::Stop`] where retention has deleted records that were not read, unless `accept_hole`.
pub fn start_of(assigned: &Assigned, topic_id: &str, known: Known, accept_hole: bool) -> Result<Start, Fault> {
    let Assigned { topic, partition, log_start, log_end, .. } = assigned;
    let wanted = wanted(assigned, topic_id, known);
    if wanted < *log_start && !accept_hole {
        let missing = log_start - wanted;
        return Err(Fault::Stop(anyhow!(
            "{topic}[{partition}]: {missing} offsets from {wanted} to {} were deleted by retention before they were read; \
             --accept-hole goes on at {log_start} without them",
            log_start - 1
        )));
    }
    if wanted < *log_start {
        tracing::warn!(
            topic = &**topic,
            partition,
            wanted,
            log_start,
            "{topic}[{partition}]: going on at {log_start} without {} offsets that retention deleted",
            log_start - wanted
        );
    }
    let offset = wanted.max(*log_start);
    let is_set = matches!(known, Known::Here(position) if position < offset || position > *log_end);
    Ok(Start { offset, is_set })
}

/// The offset to begin at, if the log still has it.
fn wanted(assigned: &Assigned, topic_id: &str, known: Known) -> i64 {
    let Assigned { topic, partition, committed, metadata, log_start, log_end } = assigned;
    let topic = &**topic;
    let Some(committed) = *committed else {
        // A new group reads everything. What retention deleted before it was in the database is a hole all the same.
        return match known {
            Known::Here(position) => position.min(*log_start),
            Known::Nothing | Known::Unsaid => *log_start,
        };
    };
    if !metadata.is_empty() && metadata != topic_id {
        tracing::warn!(
            topic,
            partition,
            committed,
            log_start,
            "{topic}[{partition}] was made again since offset {committed} was committed: reading it from its start, {log_start}"
        );
        return *log_start;
    }
    if committed > *log_end {
        // The broker lost the log's tail, and new records may stand at offsets that were read before: all are read again.
        tracing::warn!(
            topic,
            partition,
            committed,
            log_end,
            "{topic}[{partition}] ends at {log_end}, before the committed {committed}: the broker lost records; reading from {log_start}"
        );
        return *log_start;
    }
    match known {
        // Somebody set it by Kafka's own tools, which leave no metadata.
        _ if metadata.is_empty() => committed,
        Known::Here(position) if position < committed => {
            tracing::warn!(
                topic,
                partition,
                committed,
                position,
                "{topic}[{partition}] is in the database only up to {position}, though {committed} was committed (a failover, or a \
                 restored backup): reading from {position}"
            );
            position
        }
        Known::Nothing if committed > *log_start => {
            tracing::warn!(
                topic,
                partition,
                committed,
                log_start,
                "nothing of {topic}[{partition}] is in the database, though {committed} was committed: reading from {log_start}"
            );
            *log_start
        }
        Known::Here(_) | Known::Nothing | Known::Unsaid => committed,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn start(committed: Option<i64>, metadata: &str, known: Known, accept_hole: bool) -> Result<(i64, bool), String> {
        let assigned = Assigned {
            topic: Arc::from("market.ticks.v1"),
            partition: 3,
            committed,
            metadata: metadata.to_owned(),
            log_start: 100,
            log_end: 200,
        };
        match start_of(&assigned, "id", known, accept_hole) {
            Ok(Start { offset, is_set }) => Ok((offset, is_set)),
            Err(Fault::Stop(error)) => Err(error.to_string()),
            Err(Fault::Outage(error)) => panic!("an outage: {error}"),
        }
    }

    #[test]
    fn starts_at_the_commit_or_says_why_not() {
        let filled_before = |committed, metadata| start(committed, metadata, Known::Unsaid, false);
        assert_eq!(filled_before(None, ""), Ok((100, false)));
        assert_eq!(filled_before(Some(150), "id"), Ok((150, false)));
        assert_eq!(filled_before(Some(200), "id"), Ok((200, false)));
        assert_eq!(filled_before(Some(150), ""), Ok((150, false)), "a commit by Kafka's own tools is believed");
        assert_eq!(filled_before(Some(150), "another id"), Ok((100, false)));
        assert_eq!(filled_before(Some(201), "id"), Ok((100, false)));
        assert_eq!(filled_before(Some(40), "another id"), Ok((100, false)), "another topic's offset is no hole");
    }

    #[test]
    fn what_the_database_lacks_is_read_again() {
        let at = |committed, metadata, known| start(committed, metadata, known, false);
        assert_eq!(at(Some(150), "id", Known::Here(150)), Ok((150, false)));
        assert_eq!(at(Some(150), "id", Known::Here(170)), Ok((150, false)), "written, and not committed yet");
        assert_eq!(at(Some(150), "id", Known::Here(120)), Ok((120, false)), "a failover");
        assert_eq!(at(Some(150), "id", Known::Nothing), Ok((100, false)), "a database made anew");
        assert_eq!(at(None, "", Known::Here(170)), Ok((100, false)), "a new group");
        assert_eq!(at(Some(150), "", Known::Here(120)), Ok((150, true)), "somebody wants it so");
        assert_eq!(at(Some(201), "id", Known::Here(201)), Ok((100, true)), "the log has lost its tail");
    }

    #[test]
    fn a_hole_stops_until_it_is_accepted() {
        let message = start(Some(40), "id", Known::Unsaid, false).expect_err("a hole");
        for part in ["market.ticks.v1[3]", "60 offsets", "from 40 to 99", "--accept-hole"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert_eq!(start(Some(40), "id", Known::Unsaid, true), Ok((100, false)));
        let message = start(Some(150), "id", Known::Here(40), false).expect_err("a hole in an old backup");
        assert!(message.contains("from 40 to 99"), "{message}");
        assert_eq!(start(Some(150), "id", Known::Here(40), true), Ok((100, true)));
        assert!(start(None, "", Known::Here(40), false).is_err(), "for a new group, too");
    }
}
