//! Traces through the real programs: one id from the source to every sink, a collector that dies and costs no tick, and
//! records that say nothing of traces where nobody traces.

mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use pipeline::kafka::KafkaArgs;
use pipeline::stretches::{self, Stretch};
use pipeline::{topics, trace};
use rdkafka::consumer::{BaseConsumer, Consumer};
use stack::{Options, Process, Stack};

use collector::{Collector, Received};

const PATIENCE: Duration = Duration::from_secs(120);
const SINKS: [&str; 3] = ["consumer-lake", "consumer-db", "dashboard"];

struct World {
    stack: Stack,
    kafka: KafkaArgs,
    /// Where the dashboard and consumer-db show their metrics.
    ports: [u16; 2],
}

impl World {
    async fn new() -> Self {
        let stack = Stack::start(Options { fsync: false, ..Options::default() }).await.unwrap();
        let kafka =
            KafkaArgs { kafka_bootstrap_servers: stack.kafka_bootstrap_servers.clone(), kafka_properties: Vec::new() };
        Self { stack, kafka, ports: stack::free_ports().unwrap() }
    }

    fn command(&self, program: &str) -> Command {
        let path = Path::new(env!("CARGO_BIN_EXE_stack")).with_file_name(program);
        assert!(path.exists(), "{} is missing: build the workspace first (make build)", path.display());
        let mut command = Command::new(path);
        command.envs(self.stack.env()).env("RUST_LOG", "info").env("LAKE_MAX_AGE_MS", "200");
        command.env("PRODUCER_SPILL_DIR", self.stack.data_dir().join("spill")).env("PRODUCER_PAYLOADS", "simulated");
        command
    }

    fn tickstream(&self, words: &[&str]) -> Output {
        self.command("tickstream").args(words).output().unwrap()
    }

    /// Publishes so many trades and ends.
    fn produce(&self, trades: usize, traced: &[(&str, &str)]) {
        let trades = trades.to_string();
        let arguments =
            ["run", "--simulated-trades", &trades, "--simulated-rate", "100", "--admin-addr", "127.0.0.1:0"];
        let said = self.command("producer").args(arguments).envs(traced.iter().copied()).output().unwrap();
        assert!(said.status.success(), "{said:?}");
    }

    fn start(&self, sink: &str, traced: &[(&str, &str)]) -> Process {
        let mut command = self.command(sink);
        command.envs(traced.iter().copied());
        let [dashboard, database] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        match sink {
            "dashboard" => command.args(["--listen-addr", "127.0.0.1:0", "--admin-addr", &dashboard]),
            "consumer-db" => command.args(["--admin-addr", &database]),
            _ => &mut command,
        };
        Process::spawn(sink, &mut command, &self.stack.logs(), self.stack.watchdog()).unwrap()
    }

    /// The headers of each record of a topic, by partition and offset.
    async fn headers(&self, topic: &str) -> BTreeMap<(i32, i64), Vec<(String, Option<Vec<u8>>)>> {
        let consumer: BaseConsumer = self.kafka.consumer(None).create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let stretch = |partition: i32| {
            let (start, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
            Stretch { partition, start, end }
        };
        let all: Vec<Stretch> = metadata.topics()[0].partitions().iter().map(|found| stretch(found.id())).collect();
        let mut headers = BTreeMap::new();
        stretches::read(&self.kafka, topic, &all, "", async |partition, records| {
            let rows = (0..records.len()).map(|row| ((partition, records.offsets().value(row)), records.headers(row)));
            headers.extend(rows);
            Ok(())
        })
        .await
        .unwrap();
        headers
    }
}

fn text(span: &Span, name: &str) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Where the record of a span stands.
fn place(span: &Span) -> (i32, i64) {
    let number = |name: &str| text(span, name).parse::<i64>().unwrap();
    (number("messaging.destination.partition.id").try_into().unwrap(), number("messaging.kafka.offset"))
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The spans of one kind, by the records that they are of.
fn by_place<'a>(spans: &'a [Received], service: &str, name: &str) -> BTreeMap<(i32, i64), &'a Span> {
    let of = spans.iter().filter(|received| received.service == service && received.span.name == name);
    of.map(|received| (place(&received.span), &received.span)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_source_to_every_sink_and_a_dead_collector_costs_no_tick() {
    let world = World::new().await;
    assert!(world.tickstream(&["topics", "apply"]).status.success());
    // Without a collector, and with one and a share of nothing, records are what they always were.
    let collector = Collector::start();
    let address = collector.endpoint.clone();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str());
    world.produce(30, &[]);
    world.produce(30, &[endpoint, ("OTEL_TRACES_SAMPLER_ARG", "0")]);
    world.produce(30, &[endpoint, ("OTEL_TRACES_SAMPLER_ARG", "1"), ("OTEL_SDK_DISABLED", "true")]);
    let before = world.headers(topics::TICKS).await;
    assert_eq!(before.len(), 90);
    assert!(before.values().all(Vec::is_empty) && world.headers(topics::PAYLOADS).await.values().all(Vec::is_empty));
    assert!(collector.spans().is_empty());

    let traced = [endpoint, ("OTEL_TRACES_SAMPLER_ARG", "1"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "500")];
    let mut sinks: Vec<Process> = SINKS.map(|sink| world.start(sink, &traced)).into();
    wait_for("the page to be live", || collector::get(world.ports[0], "/readyz").contains("200 OK"));
    world.produce(40, &traced);
    let process = format!("process {}", topics::TICKS);
    wait_for("spans of every sink", || {
        let spans = collector.spans();
        SINKS.iter().all(|sink| by_place(&spans, sink, &process).len() == 40)
    });
    let spans = collector.spans();
    let root_of: BTreeMap<&[u8], &Span> = spans
        .iter()
        .filter(|received| received.span.parent_span_id.is_empty())
        .map(|received| (&received.span.trace_id[..], &received.span))
        .collect();
    assert!(root_of.values().all(|root| root.name == "receive simulated"));
    let sent = by_place(&spans, "producer", &format!("send {}", topics::TICKS));
    let headers = world.headers(topics::TICKS).await;
    assert_eq!(sent.len(), 40);
    for (place, sent) in &sent {
        let root = root_of[&sent.trace_id[..]];
        assert_eq!((&sent.parent_span_id, sent.kind()), (&root.span_id, SpanKind::Producer));
        assert!(
            root.start_time_unix_nano <= sent.start_time_unix_nano && !text(sent, "messaging.message.id").is_empty()
        );
        for sink in SINKS {
            let process = by_place(&spans, sink, &process)[place];
            assert_eq!((&process.trace_id, &process.parent_span_id), (&sent.trace_id, &sent.span_id), "{sink}");
            assert_eq!(process.kind(), SpanKind::Consumer);
            assert!(process.end_time_unix_nano >= sent.start_time_unix_nano, "{sink}: durable before it was sent");
        }
        let [(key, Some(traceparent))] = &headers[place][..] else { panic!("{:?}", headers[place]) };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let expected = format!("00-{}-{}-01", hex(&sent.trace_id), hex(&sent.span_id));
        assert_eq!((key.as_str(), std::str::from_utf8(traceparent).unwrap()), (trace::TRACEPARENT, &*expected));
    }
    // The payload is in the trace of the ticks that were read from it.
    let payloads = by_place(&spans, "producer", &format!("send {}", topics::PAYLOADS));
    let ids = |spans: &BTreeMap<_, &Span>| spans.values().map(|span| span.trace_id.clone()).collect::<BTreeSet<_>>();
    assert!(ids(&sent).is_subset(&ids(&payloads)) && !payloads.is_empty());
    // The command tells the trace to look for.
    let (partition, offset) = sent.keys().next().unwrap();
    let told = world.tickstream(&["trace", &format!("{}:{partition}:{offset}", topics::TICKS)]);
    let trace_id: String = sent[&(*partition, *offset)].trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&format!("; trace {trace_id}")), "{told}");

    // From here on nobody listens.
    let known = collector.stop();
    world.produce(200, &traced);
    let metrics = || collector::get(world.ports[1], "/metrics");
    wait_for("spans that are given up", || {
        metrics().contains("tickstream_trace_spans_dropped_total{reason=\"not_sent\"} ")
    });
    let ticks = world.headers(topics::TICKS).await;
    assert_eq!(ticks.len(), 90 + 40 + 200, "every tick is with the broker");
    let mut said = None;
    wait_for("the lake and the database to have all that the topic has", || {
        let answer = world.tickstream(&["audit"]);
        let is_equal = answer.status.success();
        said = Some(answer);
        is_equal
    });
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    assert!(said.contains("330"), "{said}");
    for sink in sinks.drain(..) {
        assert!(sink.stop(Signal::SIGTERM, Duration::from_secs(60)), "{} ends when it is asked to", sink.name());
        let log = std::fs::read_to_string(sink.log()).unwrap();
        assert!(log.contains("tracing is on") && log.contains("the collector does not take spans"), "{log}");
    }
    println!("{} spans of {} traces; then none, and {} ticks in all", known.len(), root_of.len(), ticks.len());
    println!("{}", told_as_lines(&known, &sent.values().next_back().unwrap().trace_id));
}

/// One trace, span by span: when it began after the first one, how long it took, whose it is.
fn told_as_lines(spans: &[Received], trace_id: &[u8]) -> String {
    let mut of: Vec<&Received> = spans.iter().filter(|received| received.span.trace_id == trace_id).collect();
    of.sort_by_key(|received| (received.span.start_time_unix_nano, received.span.end_time_unix_nano));
    let first = of[0].span.start_time_unix_nano;
    let line = |Received { service, span }: &Received| {
        let [after, took] = [(first, span.start_time_unix_nano), (span.start_time_unix_nano, span.end_time_unix_nano)]
            .map(|(from, to)| to.saturating_sub(from) as f64 / 1e6);
        format!("{after:>9.3} ms {took:>9.3} ms  {service:<13}  {}", span.name)
    };
    of.into_iter().map(line).collect::<Vec<_>>().join("\n")
}
