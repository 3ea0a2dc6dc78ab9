use tokio::sync::mpsc::{Receiver, channel};

use super::args::SamplerName;
use super::*;
use crate::records::{Record, RecordBuffer};

const TOPIC: &str = "market.ticks.v1";

pub(super) fn tracer_into(spans: Sender<SpanData>) -> Tracer {
    tracer(spans, SamplerName::AlwaysOn, 1.0)
}

/// One more span.
pub(super) fn spans_of(tracer: &Tracer) {
    let sending =
        tracer.sending(uuid::Uuid::from_u128(1), TOPIC, uuid::Uuid::nil(), b"BTC-USD").expect("all are sampled");
    tracer.acknowledged(*sending, 0, 0);
}

fn tracer(spans: Sender<SpanData>, name: SamplerName, ratio: f64) -> Tracer {
    Tracer {
        spans,
        sampler: sampled::sampler(name, ratio),
        ids: RandomIdGenerator::default(),
        scope: InstrumentationScope::builder("test").build(),
        payload_ids: RandomState::new(),
        dropped: metrics::counter!("tickstream_trace_spans_dropped_total", "reason" => "queue_full"),
    }
}

fn told(queue: &mut Receiver<SpanData>) -> Vec<SpanData> {
    std::iter::from_fn(|| queue.try_recv().ok()).collect()
}

fn attribute(span: &SpanData, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}

/// Records with these traceparents; the first has no headers, the last one has another header alone.
fn records(traceparents: &[&str]) -> Records {
    let mut buffer = RecordBuffer::new();
    let record = |offset| Record { offset, timestamp_ms: 0, key: None, value: Some(b"value") };
    buffer.push_owned(record(7), &[]);
    for (offset, traceparent) in (8..).zip(traceparents) {
        buffer.push_owned(record(offset), &[(TRACEPARENT.to_owned(), Some(traceparent.as_bytes().to_vec()))]);
    }
    buffer.push_owned(record(99), &[("other".to_owned(), None)]);
    buffer.finish()
}

#[test]
fn a_tick_is_followed_from_the_fetch_to_the_sink() {
    let (spans, mut queue) = channel(100);
    let tracer = tracer_into(spans);
    let payload_id = uuid::Uuid::from_u128(5);
    let asked = SystemTime::now();
    tracer.received("kraken", payload_id, Some(asked), SystemTime::now(), 2);
    let sending = tracer.sending(payload_id, TOPIC, uuid::Uuid::from_u128(6), b"BTC-USD").expect("sampled");
    let records = records(&[&sending.traceparent()]);
    tracer.acknowledged(*sending, 3, 8);
    tracer.processed(Some("consumer-db"), TOPIC, 3, &records, SystemTime::now());

    let told = told(&mut queue);
    let names: Vec<&str> = told.iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        ["receive kraken", "fetch kraken", "normalize kraken", "send market.ticks.v1", "process market.ticks.v1"]
    );
    let (root, send, process) = (&told[0], &told[3], &told[4]);
    assert!(told.iter().all(|span| span.span_context.trace_id() == root.span_context.trace_id()));
    assert!(told.iter().all(|span| span.span_context.is_sampled() && span.start_time <= span.end_time));
    assert_eq!(root.parent_span_id, SpanId::INVALID);
    assert!(told[1..4].iter().all(|span| span.parent_span_id == root.span_context.span_id()));
    assert_eq!(process.parent_span_id, send.span_context.span_id());
    assert!(process.parent_span_is_remote && !send.parent_span_is_remote);
    assert_eq!((&send.span_kind, &process.span_kind), (&SpanKind::Producer, &SpanKind::Consumer));
    for name in ["messaging.destination.partition.id", "messaging.kafka.offset", "messaging.destination.name"] {
        assert_eq!(attribute(send, name), attribute(process, name), "{name}");
    }
    assert_eq!(attribute(process, "messaging.kafka.offset"), "8");
    assert_eq!(attribute(process, "messaging.consumer.group.name"), "consumer-db");
    assert_eq!(attribute(send, "messaging.kafka.message.key"), "BTC-USD");
    let mut ids: Vec<SpanId> = told.iter().map(|span| span.span_context.span_id()).collect();
    ids.sort_by_key(|id| id.to_bytes());
    ids.dedup();
    assert_eq!(ids.len(), told.len(), "each span has an id of its own");
}

#[test]
fn a_payload_is_sampled_with_all_that_is_in_it_or_not_at_all() {
    let (spans, mut queue) = channel(10_000);
    let tracer = tracer(spans, SamplerName::ParentbasedTraceidratio, 0.1);
    let mut sampled = 0;
    for number in 0..2000 {
        let payload_id = uuid::Uuid::from_u128(number);
        let of_ticks: Vec<bool> = (0..3_u128)
            .map(|tick| tracer.sending(payload_id, TOPIC, uuid::Uuid::from_u128(tick), b"k").is_some())
            .collect();
        tracer.received("kraken", payload_id, None, SystemTime::now(), 3);
        let spans = told(&mut queue).len();
        assert_eq!(spans, if of_ticks[0] { 2 } else { 0 }, "without a fetch there is none to tell of");
        assert!(of_ticks.iter().all(|one| *one == of_ticks[0]));
        sampled += usize::from(of_ticks[0]);
    }
    assert!((100..300).contains(&sampled), "{sampled} of 2000 at a tenth");
}

#[test]
fn only_what_another_sampled_is_followed() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let unsampled = good.replace("-01", "-00");
    let records = records(&[good, &unsampled, "nonsense", "", &"0".repeat(1 << 16)]);
    for (sampler, followed) in [
        (SamplerName::AlwaysOn, 1),
        (SamplerName::ParentbasedAlwaysOff, 1),
        (SamplerName::ParentbasedTraceidratio, 1),
        (SamplerName::AlwaysOff, 0),
        (SamplerName::Traceidratio, 0),
    ] {
        let (spans, mut queue) = channel(100);
        tracer(spans, sampler, 0.0).processed(None, TOPIC, 0, &records, SystemTime::now());
        let offsets: Vec<String> =
            told(&mut queue).iter().map(|span| attribute(span, "messaging.kafka.offset")).collect();
        assert_eq!(offsets, vec!["8"; followed], "{sampler:?}");
    }
}

#[test]
fn tracing_is_off_without_an_endpoint() {
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        trace: TraceArgs,
    }
    let parse = |args: &[&str]| Cli::try_parse_from(["program"].iter().chain(args)).expect("it starts").trace;
    let is_on = |args: &[&str]| parse(args).endpoint().is_some();
    let collector = ["--otel-exporter-otlp-endpoint", "http://collector:4318"];
    let with = |more: &[&'static str]| [collector.as_slice(), more].concat();
    assert_eq!(parse(&collector).endpoint(), Some(collector[1]));
    assert!(!is_on(&[]) && !is_on(&[collector[0], ""]));
    for (disabled, expected) in [("TRUE", false), ("true", false), ("", true), ("false", true), ("0", true)] {
        assert_eq!(is_on(&with(&["--otel-sdk-disabled", disabled])), expected, "{disabled:?}");
    }
    assert!(!is_on(&with(&["--otel-sdk-disabled"])));
    let default = (SamplerName::ParentbasedTraceidratio, 0.001);
    for unset in [vec![], vec!["--otel-traces-sampler", "", "--otel-traces-sampler-arg", " "]] {
        assert_eq!(parse(&unset).sampler().expect("the defaults"), default);
    }
    for bad in [["--otel-traces-sampler-arg", "2"], ["--otel-traces-sampler", "sometimes"]] {
        assert!(!is_on(&bad), "it starts without tracing");
        let error = parse(&with(&bad)).sampler().expect_err("tracing is on");
        assert_eq!(crate::exit_code(&error), 2, "{error}");
    }
    assert_eq!((super::is_on(), super::clock()), (false, None), "no test turns it on for the process");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_being_told() {
    for bad in ["collector:4318", "ftp://user:hunter2@collector", "http://", "https://user:hunter2@:80"] {
        let args = TraceArgs {
            otel_exporter_otlp_endpoint: Some(bad.to_owned()),
            otel_service_name: None,
            otel_traces_sampler: "always_on".to_owned(),
            otel_traces_sampler_arg: "1".to_owned(),
            otel_sdk_disabled: String::new(),
        };
        let error = around("program", args, async { panic!("it does not begin") }).await.expect_err(bad);
        assert_eq!(crate::exit_code(&error), 2);
        assert!(error.to_string().contains("OTEL_EXPORTER_OTLP_ENDPOINT") && !error.to_string().contains("hunter2"));
    }
}
