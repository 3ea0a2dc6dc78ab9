//! What was received is kept as it was received: before its ticks, without our keys, within bounded memory; and when there
//! is no room for it, prices come first and the loss is told.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::BinaryArray;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Payloads};
use pipeline::events::{Gap, GapReason, PriceTick};
use pipeline::kafka::KafkaArgs;
use pipeline::payload::{Joiner, Payload};
use pipeline::topics;
use producer::config::SourceName;
use producer::drive::clock::now_micros;
use producer::parse;
use producer::sources;
use producer::symbols::Symbols;
use uuid::Uuid;

use crate::fake_http::{Answer, FakeHttp, ok};
use crate::fake_ws::{FakeWs, Step};
use crate::heard;
use crate::outages::{broker, read, say};
use crate::sharing::market;

const KEY: &str = "hush-4567-89ab-cdef";

/// The real binary, with what it logs.
struct Running {
    child: Child,
    admin: String,
    log: PathBuf,
}

impl Running {
    fn start(kafka: &KafkaArgs, spill: &Path, args: &[&str]) -> Self {
        let [port] = stack::free_ports().expect("a free port");
        let admin = format!("127.0.0.1:{port}");
        std::fs::create_dir_all(spill).expect("made");
        // A file takes everything; a pipe that nobody reads would hold the producer up.
        let log = spill.join("log.txt");
        let child = Command::new(env!("CARGO_BIN_EXE_producer"))
            .args(["run", "--kafka-bootstrap-servers", &kafka.kafka_bootstrap_servers, "--admin-addr", &admin])
            .args(["--log", "debug,hyper=info,h2=info"])
            .arg("--spill-dir")
            .arg(spill)
            .args(args)
            .stderr(File::create(&log).expect("made"))
            .spawn()
            .expect("the binary is built");
        Self { child, admin, log }
    }

    async fn get(&self, path: &str) -> Option<String> {
        reqwest::get(format!("http://{}{path}", self.admin)).await.ok()?.text().await.ok()
    }

    /// A metric of one topic.
    async fn metric(&self, name: &str, topic: &str) -> f64 {
        let Some(text) = self.get("/metrics").await else { return 0.0 };
        let of = format!("topic=\"{topic}\"");
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(&of));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    async fn wait_for(&self, name: &str, topic: &str, enough: impl Fn(f64) -> bool) -> f64 {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let value = self.metric(name, topic).await;
            if enough(value) {
                return value;
            }
            assert!(Instant::now() < until, "{name} of {topic} is {value}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn most_memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let kib =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("a number") / 1024
    }

    /// Ends it in order and gives what it logged.
    async fn stop(mut self) -> String {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("it runs");
        let until = Instant::now() + Duration::from_secs(60);
        let ended = loop {
            match self.child.try_wait().expect("ours") {
                Some(ended) => break ended,
                None => assert!(Instant::now() < until, "it does not end"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let log = String::from_utf8_lossy(&std::fs::read(&self.log).expect("written")).into_owned();
        assert!(ended.success(), "{log}");
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The records of the topic of payloads, and the payloads that they make.
async fn kept(kafka: &KafkaArgs, since: i64, sources: &[&str]) -> (usize, BTreeMap<Uuid, Payload>) {
    let values = read(kafka, topics::PAYLOADS);
    let mut decoder = Decoder::new(RecordType::Payload, None);
    let (mut joiner, mut records, mut whole) = (Joiner::new(), 0, BTreeMap::new());
    for values in values.chunks(100) {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let decoded = decoder.decode(&BinaryArray::from_vec(values)).await.expect("no registry");
        assert_eq!(decoded.bad, []);
        for record in Payloads::new(&decoded.batch).iter() {
            if record.received_at < since || !sources.contains(&record.source.as_str()) {
                continue;
            }
            records += 1;
            if let Some(payload) = joiner.push(record).expect("parts that belong together") {
                whole.insert(payload.payload_id, payload);
            }
        }
    }
    (records, whole)
}

async fn ticks_since(kafka: &KafkaArgs, since: i64, sources: &[&str]) -> Vec<PriceTick> {
    let mut ticks = heard::ticks(&read(kafka, topics::TICKS)).await;
    ticks.retain(|tick| tick.received_at >= since && sources.contains(&tick.source.as_str()));
    ticks
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tick_names_a_payload_that_gives_it_again_and_no_key_is_kept_anywhere() {
    let (_guard, _stack, kafka) = broker().await;
    let price = |price: u32| ok(&format!(r#"{{"bitcoin":{{"usd":{price}}}}}"#));
    let echo = Answer::Status(401, Vec::new(), format!("your key {KEY} is not known").into_bytes());
    let busy = Answer::Status(500, Vec::new(), format!("{{\"you sent\":\"{KEY}\"}}").into_bytes());
    let http = FakeHttp::start(vec![price(1), price(1), busy, price(2), price(3), echo]).await;
    let ws = FakeWs::market(market()).await;
    for (switch, with_payloads) in [("all", &["coinbase", "coingecko"][..]), ("coinbase", &["coinbase"])] {
        let (spill, since) = (tempfile::tempdir().expect("a folder"), now_micros());
        let args = [
            ("--sources", "coingecko,coinbase"),
            ("--payloads", switch),
            ("--coingecko-symbols", "BTC-USD"),
            ("--coingecko-base-url", &http.url),
            ("--coingecko-api-key", KEY),
            ("--coingecko-poll-seconds", "0.2"),
            ("--coingecko-budget", "unlimited"),
            ("--coinbase-symbols", "BTC-USD"),
            ("--coinbase-ws-url", &ws.url),
        ];
        let args: Vec<&str> = args.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
        let running = Running::start(&kafka, spill.path(), &args);
        running.wait_for("tickstream_producer_acknowledged_total", topics::TICKS, |count| count > 30.0).await;
        let until = Instant::now() + Duration::from_secs(30);
        while !running.get("/sources").await.is_some_and(|sources| sources.contains("HTTP 401")) {
            assert!(Instant::now() < until, "the key was not refused");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let told = [running.get("/metrics").await, running.get("/sources").await, running.get("/readyz").await];
        let log = running.stop().await;

        let both = ["coinbase", "coingecko"];
        let (_, payloads) = kept(&kafka, since, &both).await;
        let ticks = ticks_since(&kafka, since, &both).await;
        let named: HashSet<&str> = payloads.values().map(|payload| payload.source.as_str()).collect();
        assert_eq!(named, with_payloads.iter().copied().collect::<HashSet<&str>>(), "{switch}");
        let symbols = Arc::new(Symbols::built_in());
        for tick in ticks.iter().filter(|tick| named.contains(tick.source.as_str())) {
            let payload = payloads.get(&tick.payload_id).expect("its payload is kept");
            let name = if tick.source == "coinbase" { SourceName::Coinbase } else { SourceName::Coingecko };
            let read = parse::payload::Payload {
                id: payload.payload_id,
                bytes: &payload.body,
                received_at: payload.received_at,
                request: &payload.request,
            };
            let again = sources::reader(name, &symbols).expect("it has a parser").parse(&read).ticks;
            assert!(again.contains(tick), "{tick:?} is not in {payload:?}");
            assert_eq!(payload.status, (tick.source == "coingecko").then_some(200));
            let asked = if tick.source == "coingecko" { "/api/v3/simple/price?ids=bitcoin" } else { "\"subscribe\"" };
            assert!(payload.request.contains(asked), "{}", payload.request);
        }
        if switch == "all" {
            let bodies: Vec<String> = payloads
                .values()
                .filter(|payload| payload.source == "coingecko")
                .map(|payload| String::from_utf8_lossy(&payload.body).into_owned())
                .collect();
            assert!(bodies.iter().any(|body| body.contains("you sent")), "a failed answer is kept too: {bodies:?}");
        }
        let gaps = heard::gaps(&read(&kafka, topics::GAPS)).await;
        let places =
            told.into_iter().flatten().chain([log, format!("{gaps:?}{ticks:?}")]).chain(
                payloads.values().map(|payload| format!("{payload:?}{}", String::from_utf8_lossy(&payload.body))),
            );
        for place in places {
            assert!(!place.contains(KEY), "{place}");
        }
        assert!(http.requests().iter().any(|request| request.head.contains(KEY)), "the key was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_there_is_no_room_for_payloads_no_price_is_lost_and_the_loss_is_told() {
    let (_guard, stack, kafka) = broker().await;
    let Some(server) = stack.kafka() else { return };
    let (spill, since) = (tempfile::tempdir().expect("a folder"), now_micros());
    let script = vec![
        Step::Burst(FIRST, trade),
        Step::Wait(Duration::from_secs(5)),
        Step::Burst(ALL - FIRST, |number| trade(FIRST + number)),
        Step::Silence,
    ];
    let ws = FakeWs::start(vec![script]).await;
    let args = [
        ("--sources", "coinbase"),
        ("--coinbase-symbols", "BTC-USD"),
        ("--coinbase-ws-url", &ws.url),
        ("--coinbase-silence-seconds", "600"),
        ("--spill-bytes", "20000000"),
    ];
    let args: Vec<&str> = args.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    let running = Running::start(&kafka, spill.path(), &args);
    let acknowledged = "tickstream_producer_acknowledged_total";
    running.wait_for(acknowledged, topics::TICKS, |count| count >= FIRST as f64).await;
    let stalled = Stalled::new(server);
    let dropped =
        running.wait_for("tickstream_producer_dropped_total", topics::PAYLOADS, |count| count > 1_000.0).await;
    drop(stalled);
    running.wait_for(acknowledged, topics::TICKS, |count| count >= ALL as f64).await;
    let log = running.stop().await;

    let ticks = ticks_since(&kafka, since, &["coinbase"]).await;
    let named: HashSet<Uuid> = ticks.iter().map(|tick| tick.payload_id).collect();
    let trades: HashSet<Uuid> = ticks.iter().map(|tick| tick.event_id).collect();
    let (_, payloads) = kept(&kafka, since, &["coinbase"]).await;
    let missing = named.iter().filter(|id| !payloads.contains_key(id)).count() as u64;
    let mut gaps = heard::gaps(&read(&kafka, topics::GAPS)).await;
    gaps.retain(|gap| gap.reason == GapReason::Overflow && gap.source == "coinbase" && gap.started_at >= since);
    let closed: Vec<&Gap> = gaps.iter().filter(|gap| gap.ended_at.is_some()).collect();
    assert!(!closed.is_empty() && gaps.len() == 2 * closed.len(), "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap.symbols == [topics::PAYLOADS]), "prices were dropped: {gaps:?}");
    let count = |gap: &&Gap| -> u64 {
        let (_, count) = gap.detail.rsplit_once("; ").expect("a count");
        count.strip_suffix(" records").and_then(|count| count.parse().ok()).expect("a count")
    };
    let told: u64 = closed.iter().map(count).sum();
    say(&format!(
        "payloads overflow: {} trades, {missing} payloads missing, {told} told of ({dropped} when it was seen)",
        trades.len()
    ));
    assert_eq!((trades.len() as u64, missing), (ALL, told));
    assert!(told >= dropped as u64);
    assert!(log.contains("dropped_ticks=0"), "{}", &log[log.len() - 500..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_answer_is_kept_whole_in_bounded_memory() {
    let (_guard, _stack, kafka) = broker().await;
    let (spill, since) = (tempfile::tempdir().expect("a folder"), now_micros());
    let noise: String = std::iter::repeat_with(|| fastrand::char('0'..='[')).take(19 << 20).collect();
    let body = format!(r#"{{"bitcoin":{{"usd":1}},"junk":"{noise}"}}"#);
    let http = FakeHttp::start(vec![ok(&body)]).await;
    let args = [
        ("--sources", "coingecko"),
        ("--coingecko-symbols", "BTC-USD"),
        ("--coingecko-base-url", &http.url),
        ("--coingecko-poll-seconds", "0.5"),
        ("--coingecko-budget", "unlimited"),
    ];
    let args: Vec<&str> = args.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    let running = Running::start(&kafka, spill.path(), &args);
    let of_one = split_count(&body);
    running
        .wait_for("tickstream_producer_acknowledged_total", topics::PAYLOADS, |count| count >= 3.0 * of_one as f64)
        .await;
    let memory = running.most_memory_mib();
    drop(running.stop().await);
    let (records, payloads) = kept(&kafka, since, &["coingecko"]).await;
    say(&format!(
        "{} answers of {} bytes in {records} records, {memory} MiB of memory at most",
        payloads.len(),
        body.len()
    ));
    assert!(payloads.len() >= 3 && records >= 3 * of_one && of_one > 20);
    assert!(payloads.values().all(|payload| payload.body == body.as_bytes()));
    assert!(memory < 200, "{memory} MiB");
}

/// Trades of the flood, and those before the broker stalls.
const ALL: u64 = 60_000;
const FIRST: u64 = 3_000;

fn trade(number: u64) -> String {
    format!(
        r#"{{"type":"match","trade_id":{number},"side":"buy","size":"0.5","price":"{number}.25","product_id":"BTC-USD","sequence":{number},"time":"2026-03-02T09:00:00.000001Z"}}"#
    )
}

/// A broker that answers nobody, until this is dropped.
struct Stalled<'a>(&'a stack::Kafka);

impl<'a> Stalled<'a> {
    fn new(server: &'a stack::Kafka) -> Self {
        server.signal(Signal::SIGSTOP);
        Self(server)
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

/// How many records an answer takes.
fn split_count(body: &str) -> usize {
    pipeline::payload::split(&Payload {
        payload_id: Uuid::nil(),
        source: String::new(),
        request: String::new(),
        status: None,
        received_at: 0,
        body: body.to_owned().into(),
    })
    .len()
}
