//! What one poll of the client can give: one closed enum, so that each state the loop can meet is a named arm.

use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

use super::super::context::LoopContext;

/// What one poll can give.
pub(super) enum Event<'a> {
    Record(BorrowedMessage<'a>),
    /// Reading has come to the end of some topic's partition of this number.
    EndOfPartition(i32),
    /// The position is not in the log any more, or the topic is another one.
    OutOfRange(String),
    /// The client copes, and tells.
    Trouble(String),
    Fatal(KafkaError),
    Nothing,
}

pub(super) fn next_event(consumer: &BaseConsumer<LoopContext>, wait: Duration) -> Event<'_> {
    match consumer.poll(wait) {
        None => Event::Nothing,
        Some(Ok(message)) => Event::Record(message),
        Some(Err(KafkaError::PartitionEOF(partition))) => Event::EndOfPartition(partition),
        Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => Event::Fatal(error),
        Some(Err(KafkaError::MessageConsumption(
            code @ (RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::NoOffset
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition),
        ))) => Event::OutOfRange(code.to_string()),
        Some(Err(error)) => Event::Trouble(error.to_string()),
    }
}
