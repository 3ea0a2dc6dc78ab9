//! OpenTelemetry spans of single records, off unless a collector is named: one tick's way from the fetch to each sink is one
//! trace, carried from service to service by W3C's `traceparent` in the record's headers. The producer samples payloads; whoever
//! reads a sampled record adds a span that ends when the record is durable.
//!
//! Invariants: with tracing off nothing is written and nothing is asked but whether it is on; a record that is not sampled is
//! byte for byte what it is with tracing off; spans wait in a queue with a bound, and what does not fit is dropped and counted.
//! Must never happen here: a record that waits for a span, fails because of one, or is read otherwise because of its headers.

mod args;
mod context;
mod export;
mod produced;
mod sampled;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::future::Future;
use std::hash::RandomState;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SpanData, SpanEvents, SpanLinks};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use crate::records::Records;

pub use args::TraceArgs;
pub use context::{TRACEPARENT, trace_id_of};
pub use produced::{Sending, received, sending};

/// The process's tracer: as with its log and its metrics there is one.
static TRACER: OnceLock<Tracer> = OnceLock::new();

#[derive(Debug)]
struct Tracer {
    spans: Sender<SpanData>,
    sampler: Sampler,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    /// Other in each process: a payload that is read again is another trace.
    payload_ids: RandomState,
    dropped: metrics::Counter,
}

fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

#[must_use]
pub fn is_on() -> bool {
    tracer().is_some()
}

/// What the clock says, when tracing is on.
#[must_use]
pub fn clock() -> Option<SystemTime> {
    is_on().then(SystemTime::now)
}

/// Runs a service with tracing, if it is on; afterwards sends what spans there are, for two seconds at most.
///
/// # Errors
/// [`crate::Misconfigured`] for arguments that cannot be meant; and those of `work`.
pub fn around(
    program: &'static str,
    args: TraceArgs,
    work: impl Future<Output = anyhow::Result<()>>,
) -> impl Future<Output = anyhow::Result<()>> {
    let work = Box::pin(work);
    async move {
        let ending = CancellationToken::new();
        let Some((tracer, sending)) = export::start(program, &args, ending.clone())? else { return work.await };
        drop(TRACER.set(tracer));
        let result = work.await;
        ending.cancel();
        drop(tokio::time::timeout(export::LAST_WORD, sending).await);
        result
    }
}

/// Tells of records that are durable, or shown, by now: of each that is sampled. `begun` is when that was begun with.
pub fn processed(group: Option<&str>, topic: &str, partition: i32, records: &Records, begun: SystemTime) {
    if let Some(tracer) = tracer() {
        tracer.processed(group, topic, partition, records, begun);
    }
}

impl Tracer {
    /// The span of each sampled record, whose parent is the one that sent it.
    fn processed(&self, group: Option<&str>, topic: &str, partition: i32, records: &Records, begun: SystemTime) {
        let now = SystemTime::now();
        for row in records.with_headers() {
            let Some(parent) = context::parent(records.headers_of(row)) else { continue };
            if !sampled::follows(&self.sampler, &parent) {
                continue;
            }
            // A stranger may have marked every record: what would be dropped is not made first.
            if self.spans.capacity() == 0 {
                self.dropped.increment(1);
                continue;
            }
            let mut attributes = vec![
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", topic.to_owned()),
                KeyValue::new("messaging.destination.partition.id", partition.to_string()),
                KeyValue::new("messaging.kafka.offset", records.offsets().value(row)),
                KeyValue::new("tickstream.batch_records", i64::try_from(records.len()).unwrap_or(i64::MAX)),
            ];
            attributes.extend(group.map(|group| KeyValue::new("messaging.consumer.group.name", group.to_owned())));
            self.tell(Span {
                trace_id: parent.trace_id(),
                span_id: self.ids.new_span_id(),
                parent: parent.span_id(),
                is_remote: true,
                state: parent.trace_state().clone(),
                kind: SpanKind::Consumer,
                name: format!("process {topic}").into(),
                time: (begun, now),
                attributes,
            });
        }
    }

    /// Into the queue, or counted as dropped.
    fn tell(&self, span: Span) {
        let data = SpanData {
            span_context: SpanContext::new(span.trace_id, span.span_id, TraceFlags::SAMPLED, false, span.state),
            parent_span_id: span.parent,
            parent_span_is_remote: span.is_remote,
            span_kind: span.kind,
            name: span.name,
            start_time: span.time.0,
            end_time: span.time.1,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        };
        if self.spans.try_send(data).is_err() {
            self.dropped.increment(1);
        }
    }
}

/// A span that is over.
struct Span {
    trace_id: TraceId,
    span_id: SpanId,
    /// [`SpanId::INVALID`] for a root.
    parent: SpanId,
    is_remote: bool,
    state: TraceState,
    kind: SpanKind,
    name: Cow<'static, str>,
    time: (SystemTime, SystemTime),
    attributes: Vec<KeyValue>,
}
