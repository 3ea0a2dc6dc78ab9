//! The spans of whoever writes records: what was received, how it was read, and each record on its way to the broker. A payload
//! and its ticks are one trace: its ids are made of the payload's id, so nothing has to be carried from one to the other.

use std::hash::BuildHasher;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, SpanKind, TraceId, TraceState};
use opentelemetry_sdk::trace::IdGenerator;
use uuid::Uuid;

use super::{Span, Tracer, context, sampled, tracer};

/// Begins to send a record of this payload, when it is sampled. `id` names the record, `key` is its key.
#[must_use]
pub fn sending(payload_id: Uuid, topic: &'static str, id: Uuid, key: &[u8]) -> Option<Box<Sending>> {
    tracer()?.sending(payload_id, topic, id, key)
}

/// Tells of a payload that was read, when it is sampled. `asked` is when it was asked for, if it was, and `arrived` what
/// [`super::clock`] said when it was there; `ticks` were in it.
pub fn received(
    source: &'static str,
    payload_id: Uuid,
    asked: Option<SystemTime>,
    arrived: Option<SystemTime>,
    ticks: usize,
) {
    if let (Some(tracer), Some(arrived)) = (tracer(), arrived) {
        tracer.received(source, payload_id, asked, arrived, ticks);
    }
}

/// A sampled record on its way to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    trace_id: TraceId,
    span_id: SpanId,
    parent: SpanId,
    topic: &'static str,
    id: Uuid,
    key: String,
    begun: SystemTime,
}

impl Sending {
    /// What the record's header says: [`super::TRACEPARENT`].
    #[must_use]
    pub fn traceparent(&self) -> String {
        context::traceparent(self.trace_id, self.span_id)
    }

    /// The broker has the record.
    pub fn acknowledged(self, partition: i32, offset: i64) {
        if let Some(tracer) = tracer() {
            tracer.acknowledged(self, partition, offset);
        }
    }
}

impl Tracer {
    /// The trace of a payload and its root, when it is sampled.
    fn root(&self, payload_id: Uuid) -> Option<(TraceId, SpanId)> {
        let part = |part: u8| self.payload_ids.hash_one((payload_id, part));
        let trace_id = TraceId::from(u128::from(part(0)) << 64 | u128::from(part(1)));
        sampled::begins(&self.sampler, trace_id).then(|| (trace_id, SpanId::from(part(2))))
    }

    pub(super) fn received(
        &self,
        source: &'static str,
        payload_id: Uuid,
        asked: Option<SystemTime>,
        arrived: SystemTime,
        ticks: usize,
    ) {
        let Some((trace_id, root)) = self.root(payload_id) else { return };
        let now = SystemTime::now();
        let tell = |parent, name, time, attributes| {
            let is_root = parent == SpanId::INVALID;
            let span_id = if is_root { root } else { self.ids.new_span_id() };
            let (is_remote, state, kind) = (false, TraceState::NONE, SpanKind::Internal);
            let name = format!("{name} {source}").into();
            self.tell(Span { trace_id, span_id, parent, is_remote, state, kind, name, time, attributes });
        };
        let attributes = vec![
            KeyValue::new("tickstream.source", source),
            KeyValue::new("tickstream.payload_id", payload_id.to_string()),
        ];
        tell(SpanId::INVALID, "receive", (asked.unwrap_or(arrived), now), attributes);
        if let Some(asked) = asked {
            tell(root, "fetch", (asked, arrived), Vec::new());
        }
        let ticks = KeyValue::new("tickstream.ticks", i64::try_from(ticks).unwrap_or(i64::MAX));
        tell(root, "normalize", (arrived, now), vec![ticks]);
    }

    pub(super) fn sending(&self, payload_id: Uuid, topic: &'static str, id: Uuid, key: &[u8]) -> Option<Box<Sending>> {
        let (trace_id, parent) = self.root(payload_id)?;
        let span_id = self.ids.new_span_id();
        let key = String::from_utf8_lossy(key).into_owned();
        Some(Box::new(Sending { trace_id, span_id, parent, topic, id, key, begun: SystemTime::now() }))
    }

    pub(super) fn acknowledged(&self, sending: Sending, partition: i32, offset: i64) {
        let Sending { trace_id, span_id, parent, topic, id, key, begun } = sending;
        let attributes = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", topic),
            KeyValue::new("messaging.destination.partition.id", partition.to_string()),
            KeyValue::new("messaging.kafka.offset", offset),
            KeyValue::new("messaging.kafka.message.key", key),
            KeyValue::new("messaging.message.id", id.to_string()),
        ];
        self.tell(Span {
            trace_id,
            span_id,
            parent,
            is_remote: false,
            state: TraceState::NONE,
            kind: SpanKind::Producer,
            name: format!("send {topic}").into(),
            time: (begun, SystemTime::now()),
            attributes,
        });
    }
}
