//! `producer renormalize` against a real broker and a real S3 API: what an older parser got wrong is put right as corrections
//! of the same events, nothing else is touched, and a second run finds nothing to do.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use pipeline::codec::{Encoder, Framing};
use pipeline::decimal::Decimal38;
use pipeline::events::{Kind, PriceTick};
use pipeline::kafka::KafkaArgs;
use pipeline::lake::{Link, LinkKind, LinkRows, raw_key};
use pipeline::payload::{Payload, split};
use pipeline::records::{Record, RecordBuffer};
use pipeline::topics;
use producer::config::SourceName;
use producer::drive::clock::now_micros;
use producer::parse;
use producer::sources;
use producer::symbols::Symbols;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;
use stack::Stack;
use uuid::Uuid;

use crate::heard;
use crate::outages::{broker, read};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const SUBSCRIBED: &str =
    r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches","heartbeat"]}"#;
const POLL: &str = "/api/v3/simple/price?ids=bitcoin,solana&vs_currencies=usd&include_last_updated_at=true";

/// A key and a value.
type Keyed = (Vec<u8>, Vec<u8>);

/// An hour of its own, long past, and what was received and published in it.
struct World {
    from: i64,
    first_trade: u32,
    payloads: Vec<Payload>,
    published: Vec<PriceTick>,
    /// What a run has to publish.
    expected: Vec<PriceTick>,
    same: u64,
}

impl World {
    fn new() -> Self {
        let from = 1_420_070_400 * SECOND + i64::from(fastrand::u32(..30_000)) * HOUR;
        let first_trade = fastrand::u32(..1 << 30);
        Self { from, first_trade, payloads: Vec::new(), published: Vec::new(), expected: Vec::new(), same: 0 }
    }

    /// The frame of one trade; what today's parser makes of it.
    fn trade(&mut self, number: u32, product: &str, price: &str, at: i64) -> PriceTick {
        let id = self.first_trade + number;
        let time = jiff::Timestamp::from_microsecond(at - 250_000).expect("a time");
        let frame = format!(
            r#"{{"type":"match","trade_id":{id},"side":"buy","size":"0.25","price":"{price}","product_id":"{product}","sequence":{id},"time":"{time}"}}"#
        );
        let mut ticks = self.payload(SourceName::Coinbase, SUBSCRIBED, None, at, frame);
        assert_eq!(ticks.len(), 1);
        ticks.remove(0)
    }

    fn poll(&mut self, at: i64, status: i32, body: impl Into<Bytes>) -> Vec<PriceTick> {
        self.payload(SourceName::Coingecko, POLL, Some(status), at, body)
    }

    fn payload(
        &mut self,
        name: SourceName,
        request: &str,
        status: Option<i32>,
        received_at: i64,
        body: impl Into<Bytes>,
    ) -> Vec<PriceTick> {
        let body = body.into();
        let source = sources::reader(name, &Arc::new(Symbols::built_in())).expect("it has a parser");
        let payload = parse::payload::Payload::new(name.as_str(), &body, received_at, request);
        let ticks = source.parse(&payload).ticks;
        let (payload_id, request) = (payload.id, request.to_owned());
        self.payloads.push(Payload {
            payload_id,
            source: name.as_str().to_owned(),
            request,
            status,
            received_at,
            body: body.clone(),
        });
        ticks
    }

    fn was_right(&mut self, tick: PriceTick) {
        self.same += 1;
        self.published.push(tick);
    }

    /// `wrong` was published, and `right` has to be.
    fn was_wrong(&mut self, wrong: PriceTick, right: PriceTick) {
        self.published.push(wrong);
        self.expected.push(right);
    }

    /// Everything that an older parser can have got wrong, and everything that may not be touched.
    fn with_every_mistake() -> Self {
        let mut world = Self::new();
        let from = world.from;
        let at = |seconds: i64| from + seconds * SECOND;
        let (t1, t2, t3, t4, t5, t6, t7, t8, t9) = (at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9));
        let t12 = at(12);
        let (before, after) = (at(-5), at(3_600));
        let (poll1, poll2, poll3, poll4, poll5) = (at(60), at(120), at(180), at(240), at(300));
        let lead = at(-60);

        let tick = world.trade(1, "BTC-USD", "67000.10", t1);
        world.was_right(tick);
        let tick = world.trade(2, "BTC-USD", "67000.20", t2);
        world.was_wrong(PriceTick { price: decimal("67.0002"), ..tick.clone() }, PriceTick { revision: 1, ..tick });
        let tick = world.trade(3, "ETH-USD", "3000.30", t3);
        let wrong = PriceTick { symbol: "ETC-USD".to_owned(), base: "ETC".to_owned(), ..tick.clone() };
        let previous_symbol = Some("ETC-USD".to_owned());
        world.was_wrong(wrong, PriceTick { revision: 1, previous_symbol, ..tick });
        let tick = world.trade(4, "BTC-USD", "67000.40", t4);
        let event_time = tick.event_time - 3 * HOUR;
        let right = PriceTick { revision: 1, previous_event_time: Some(event_time), ..tick.clone() };
        world.was_wrong(PriceTick { event_time, ..tick }, right);
        // Never published.
        let tick = world.trade(5, "BTC-USD", "67000.50", t5);
        world.expected.push(tick.clone());
        // From the same frame there came a tick that is none, and one that is not the parser's.
        let ghost = PriceTick { event_id: Uuid::new_v4(), ..tick.clone() };
        world.was_wrong(ghost.clone(), PriceTick { revision: 1, retracted: true, ..ghost.clone() });
        world.published.push(PriceTick {
            event_id: Uuid::new_v4(),
            source: "implied".to_owned(),
            kind: Kind::FxImplied,
            ..ghost.clone()
        });
        // Of payloads that were not kept.
        world.published.push(PriceTick { event_id: Uuid::new_v4(), payload_id: Uuid::new_v4(), ..ghost.clone() });
        // Corrected before, rightly; corrected wrongly; taken back wrongly; taken back rightly.
        let tick = world.trade(6, "BTC-USD", "67000.60", t6);
        world.published.push(PriceTick { price: decimal("1"), ..tick.clone() });
        world.was_right(PriceTick { revision: 1, ..tick });
        let tick = world.trade(7, "BTC-USD", "67000.70", t7);
        world.published.push(tick.clone());
        world.was_wrong(
            PriceTick { revision: 1, price: decimal("2"), ..tick.clone() },
            PriceTick { revision: 2, ..tick },
        );
        let tick = world.trade(8, "BTC-USD", "67000.80", t8);
        world.published.push(tick.clone());
        world.was_wrong(
            PriceTick { revision: 1, retracted: true, ..tick.clone() },
            PriceTick { revision: 2, ..tick.clone() },
        );
        let gone = PriceTick { event_id: Uuid::new_v4(), ..tick };
        world.published.push(gone.clone());
        world.was_right(PriceTick { revision: 1, retracted: true, ..gone });
        // Corrected to a time that every sink refused: it stands where it stood before.
        let tick = world.trade(12, "BTC-USD", "67001.20", t12);
        let first = PriceTick { price: decimal("4"), event_time: tick.event_time - HOUR, ..tick.clone() };
        world.published.push(first.clone());
        let previous_event_time = Some(first.event_time);
        let refused = PriceTick { revision: 1, event_time: 4_102_444_800 * SECOND, previous_event_time, ..first };
        world.was_wrong(refused, PriceTick { revision: 2, previous_event_time, ..tick });
        // The same of a tick that its frame does not tell: it is taken back where it stands.
        let ghost = PriceTick { event_id: Uuid::new_v4(), ..ghost.clone() };
        world.published.push(ghost.clone());
        let refused = PriceTick { revision: 1, event_time: 4_102_444_800 * SECOND, ..ghost.clone() };
        world.was_wrong(refused, PriceTick { revision: 2, retracted: true, ..ghost });
        // Told twice, as after a reconnection: the later telling is no other trade.
        let tick = world.trade(9, "BTC-USD", "67000.90", t9);
        world.was_right(tick.clone());
        let again = world.trade(9, "BTC-USD", "67000.90", t9 + SECOND);
        assert_eq!(again.event_id, tick.event_id);
        world.published.push(again);
        // Outside.
        for (number, at) in [(10, before), (11, after)] {
            let tick = world.trade(number, "BTC-USD", "67001", at);
            world.published.push(PriceTick { price: decimal("3"), ..tick });
        }

        // Without a clock of its own a source that says the same again says nothing, also at the beginning of the hour.
        let quiet = r#"{"solana":{"usd":150.5}}"#;
        let [told] = &world.poll(lead, 200, quiet)[..] else { panic!("one price") };
        world.published.push(told.clone());
        drop(world.poll(poll1, 200, quiet));
        let updated_at = poll2 / SECOND;
        let both =
            format!(r#"{{"solana":{{"usd":151.5}},"bitcoin":{{"usd":67000.5,"last_updated_at":{updated_at}}}}}"#);
        let [solana, bitcoin] = &world.poll(poll2, 200, both.clone())[..] else { panic!("two prices") };
        world.was_right(solana.clone());
        world.was_wrong(
            PriceTick { price: decimal("67.0005"), ..bitcoin.clone() },
            PriceTick { revision: 1, ..bitcoin.clone() },
        );
        drop(world.poll(poll3, 200, both));
        // What was not served is no price, whatever is in it; a long answer comes in parts.
        drop(world.poll(poll4, 500, r#"{"solana":{"usd":1}}"#));
        let noise: String =
            std::iter::repeat_with(|| fastrand::char('0'..='~')).filter(|c| *c != '\\').take(1 << 20).collect();
        let long = format!(r#"{{"junk":"{noise}","solana":{{"usd":152.5}}}}"#);
        let [solana] = &world.poll(poll5, 200, long)[..] else { panic!("one price") };
        world.expected.push(solana.clone());
        assert!(split(world.payloads.last().expect("the long one")).len() > 1);
        world
    }

    async fn tick_records(&self) -> Vec<Keyed> {
        let encoder = encoder().await;
        self.published.iter().map(|tick| (tick.symbol.clone().into_bytes(), encoder.tick(tick))).collect()
    }

    async fn payload_records(&self) -> Vec<Keyed> {
        let encoder = encoder().await;
        let of = |payload: &Payload| split(payload).iter().map(|part| encoder.payload(part)).collect::<Vec<_>>();
        let keyed = |payload: &Payload| {
            of(payload).into_iter().map(|value| (payload.source.clone().into_bytes(), value)).collect::<Vec<_>>()
        };
        self.payloads.iter().flat_map(keyed).collect()
    }

    /// The ticks of this world in the topic.
    async fn in_topic(&self, kafka: &KafkaArgs) -> Vec<PriceTick> {
        let mut ticks = heard::ticks(&read(kafka, topics::TICKS)).await;
        ticks.retain(|tick| (self.from - HOUR..self.from + 2 * HOUR).contains(&tick.received_at));
        ticks
    }

    async fn run(&self, kafka: &KafkaArgs, more: &[&str], env: &HashMap<String, String>) -> Ran {
        let time = |micros| jiff::Timestamp::from_microsecond(micros).expect("a time").to_string();
        let servers = ["--kafka-bootstrap-servers", &kafka.kafka_bootstrap_servers];
        renormalize(&time(self.from), &time(self.from + HOUR), &[&servers, more].concat(), env).await
    }

    /// Dry run, run, run again.
    async fn check(&self, kafka: &KafkaArgs, more: &[&str], env: &HashMap<String, String>) {
        let before = self.in_topic(kafka).await;
        let dry = self.run(kafka, &[more, &["--dry-run"]].concat(), env).await;
        assert_eq!(dry.code, Some(0), "{}", dry.errors);
        assert!(dry.errors.contains("a dry run: nothing was published"), "{}", dry.errors);
        assert!(dry.errors.contains("0 could not be read"), "{}", dry.errors);
        assert_eq!(self.in_topic(kafka).await.len(), before.len());
        let told: Vec<Value> = dry.said.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
        let of_line = |line: &Value| serde_json::from_value::<PriceTick>(line["new"].clone()).expect("a tick");
        assert_eq!(by_id(told.iter().map(of_line)), by_id(self.expected.iter().cloned()));
        let changes = told.iter().fold(BTreeMap::<&str, u32>::new(), |mut counts, line| {
            *counts.entry(line["change"].as_str().expect("a kind")).or_default() += 1;
            assert_eq!(line["change"] == "new", line.get("old").is_none());
            counts
        });
        let (changed, new, retracted) = (changes["changed"], changes["new"], changes["retracted"]);
        assert_eq!((new, retracted, changed + new + retracted), (2, 2, self.expected.len() as u32));

        let ran = self.run(kafka, more, env).await;
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        let same = self.same;
        let counts =
            format!("{same} ticks the same, {changed} changed, {new} new, {retracted} retracted; 1 left alone");
        assert!(ran.said.contains(&counts), "{counts} is not in {}", ran.said);
        let all = self.expected.len();
        assert!(ran.said.contains(&format!("{all} of {all} published ticks were acknowledged")), "{}", ran.said);
        let after = self.in_topic(kafka).await;
        let mut published = after.clone();
        for tick in &before {
            let at = published.iter().position(|other| other == tick).expect("nothing leaves the topic");
            published.remove(at);
        }
        assert_eq!(by_id(published), by_id(self.expected.iter().cloned()));

        let again = self.run(kafka, more, env).await;
        assert_eq!(again.code, Some(0), "{}", again.errors);
        let same = self.same + self.expected.len() as u64;
        let nothing = format!("{same} ticks the same, 0 changed, 0 new, 0 retracted; 1 left alone");
        assert!(again.said.contains(&nothing) && again.said.contains("nothing to publish"), "{}", again.said);
        assert_eq!(self.in_topic(kafka).await.len(), after.len());
    }
}

async fn renormalize(from: &str, to: &str, more: &[&str], env: &HashMap<String, String>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
    command.args(["renormalize", "--log", "warn", "--from", from, "--to", to]).args(more).envs(env);
    let ended = tokio::task::spawn_blocking(move || command.output().expect("the binary is built"));
    let ended = ended.await.expect("no panic");
    Ran {
        code: ended.status.code(),
        said: String::from_utf8(ended.stdout).expect("text"),
        errors: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

struct Ran {
    code: Option<i32>,
    said: String,
    errors: String,
}

fn by_id(ticks: impl IntoIterator<Item = PriceTick>) -> BTreeMap<Uuid, PriceTick> {
    let mut all = BTreeMap::new();
    for tick in ticks {
        assert!(all.insert(tick.event_id, tick).is_none(), "an event was published twice");
    }
    all
}

fn decimal(text: &str) -> Decimal38 {
    text.parse().expect("a number")
}

async fn encoder() -> Encoder {
    Encoder::new(Framing::SingleObject).await.expect("an encoder")
}

fn send(kafka: &KafkaArgs, topic: &str, records: &[Keyed]) {
    let producer: BaseProducer = kafka.producer().create().expect("a producer");
    for (key, value) in records {
        producer.send(BaseRecord::to(topic).key(key).payload(value)).expect("queued");
    }
    producer.flush(Duration::from_secs(20)).expect("flushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_wrongly_is_corrected_once_and_nothing_else_is_touched() {
    let (_guard, _stack, kafka) = broker().await;
    let world = World::with_every_mistake();
    send(&kafka, topics::TICKS, &world.tick_records().await);
    send(&kafka, topics::PAYLOADS, &world.payload_records().await);

    // Of another source there is nothing to do.
    let other = world.run(&kafka, &["--source", "kraken"], &HashMap::new()).await;
    assert_eq!(other.code, Some(0), "{}", other.errors);
    assert!(other.said.starts_with("0 payloads read"), "{}", other.said);
    // Too much is refused before anything is published.
    let small = world.run(&kafka, &["--max-ticks", "5"], &HashMap::new()).await;
    assert_eq!(small.code, Some(2));
    assert!(small.errors.contains("more than 5 ticks (--max-ticks"), "{}", small.errors);

    world.check(&kafka, &["--source", "coinbase", "--source", "coingecko"], &HashMap::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_removed_is_corrected_from_the_raw_lake_over_every_epoch() {
    let (_guard, stack, kafka) = broker().await;
    let world = World::with_every_mistake();
    let prefix = format!("renormalize-{:08x}", fastrand::u32(..));
    let env: HashMap<String, String> = stack
        .env()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .chain([("S3_PREFIX".to_owned(), prefix.clone())])
        .collect();
    let nothing = world.run(&kafka, &["--lake"], &env).await;
    assert_eq!(nothing.code, Some(2), "{}", nothing.errors);
    assert!(nothing.errors.contains("has no raw objects of market.payloads.v1"), "{}", nothing.errors);

    let lake = Lake::of(stack, &prefix);
    let ticks = world.tick_records().await;
    lake.write(topics::TICKS, 0, 2, 0, &ticks[..3]);
    lake.write(topics::TICKS, 0, 2, 3, &ticks[3..]);
    // The long payload's parts lie in two epochs.
    let payloads = world.payload_records().await;
    let last = payloads.len() - 1;
    lake.write(topics::PAYLOADS, 0, 1, 0, &payloads[..5]);
    lake.write(topics::PAYLOADS, 0, 1, 5, &payloads[5..last]);
    lake.write(topics::PAYLOADS, 1, 1, 0, &payloads[last..]);
    world.check(&kafka, &["--lake"], &env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_one_plain_line() {
    let (_guard, _stack, kafka) = broker().await;
    let (first, second) = ("2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z");
    for (from, to, more, said) in [
        (second, first, &[][..], "is not before --to 2001-01-01T00:00:00Z"),
        (first, second, &["--symbols-file", "/nowhere.toml"], "/nowhere.toml"),
        (first, second, &["--kafka-bootstrap-servers", "127.0.0.1:1"], "no Kafka broker answers at 127.0.0.1:1"),
    ] {
        let servers = &["--kafka-bootstrap-servers", &kafka.kafka_bootstrap_servers][..];
        let servers = if more.contains(&servers[0]) { &[] } else { servers };
        let ran = renormalize(from, to, &[servers, more].concat(), &HashMap::new()).await;
        assert_eq!(ran.code, Some(2), "{}", ran.errors);
        let line = ran.errors.lines().last().expect("a line");
        assert!(line.starts_with("producer: ") && line.contains(said), "{}", ran.errors);
    }
    let ran = renormalize("yesterday", second, &[], &HashMap::new()).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.errors.contains("2026-03-02T09:00:00Z"), "{}", ran.errors);
}

/// A raw lake, written by hand as files of the store. The objects have no metadata, as after a copy by a tool.
struct Lake(PathBuf);

impl Lake {
    fn of(stack: &Stack, prefix: &str) -> Self {
        Self(stack.data_dir().join("s3").join(&stack.s3.bucket).join(prefix))
    }

    fn write(&self, topic: &str, epoch: u32, partition: i32, start: i64, records: &[Keyed]) {
        let mut buffer = RecordBuffer::new();
        let now_ms = now_micros() / 1_000;
        for (offset, (key, value)) in (start..).zip(records) {
            buffer.push_owned(Record { offset, timestamp_ms: now_ms, key: Some(key), value: Some(value) }, &[]);
        }
        let records = buffer.finish();
        let last = records.last_offset().expect("records");
        let rows = LinkRows { first: start, last, count: records.len() as u64, first_time_ms: now_ms };
        let topic_id = Uuid::from_u128(7);
        let link = Link { kind: LinkKind::Data, topic_id, start, next_offset: last + 1, rows: Some(rows) };
        let footer = link.pairs().into_iter().map(|(name, value)| KeyValue::new(name.to_owned(), value)).collect();
        let properties = WriterProperties::builder().set_key_value_metadata(Some(footer)).build();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), records.batch().schema(), Some(properties)).expect("a writer");
        writer.write(records.batch()).expect("written");
        let path = self.0.join(raw_key(topic, epoch, partition, start));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, writer.into_inner().expect("an object")).expect("written");
    }
}
