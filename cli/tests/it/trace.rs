//! Ticks followed on their way through a world that the real services have filled: an ordinary one, a corrected one, a moved
//! one, a dead letter, one whose record is past retention, one that nobody has taken yet; and what is said of places and ids
//! that there are not.

use std::time::{Duration, Instant};

use pipeline::events::{Alert, PayloadRecord, PriceTick};
use pipeline::example;
use pipeline::topics::{ALERTS, PAYLOADS, TICKS};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use uuid::Uuid;

use crate::Answer;
use crate::audit_world::{World, id};

const PATIENCE: Timeout = Timeout::After(Duration::from_secs(30));

/// The states of the hops of this name, in order.
fn states(answer: &Value, hop: &str) -> Vec<String> {
    hops(answer, hop).iter().map(|hop| hop["state"].as_str().expect("a state").to_owned()).collect()
}

fn hops(answer: &Value, hop: &str) -> Vec<Value> {
    answer["hops"].as_array().expect("hops").iter().filter(|of| of["hop"] == hop).cloned().collect()
}

fn says(answer: &Value, hop: &str) -> String {
    hops(answer, hop).iter().filter_map(|hop| hop["says"].as_str()).collect::<Vec<_>>().join(" | ")
}

impl World {
    async fn trace(&self, of: &str, more: &[&str]) -> Answer {
        self.run(&[&["trace", of, "-o", "json"], more].concat()).await
    }

    /// Found, with nothing missing.
    async fn traced(&self, of: &str, more: &[&str]) -> Value {
        let answer = self.trace(of, more).await;
        assert_eq!(answer.code, 0, "{of} {more:?}\n{}\n{}", answer.stdout, answer.stderr);
        answer.json()
    }

    /// Ends with this code and one line that says all the words.
    async fn refuses(&self, of: &str, more: &[&str], code: i32, words: &[&str]) {
        let answer = self.trace(of, more).await;
        assert_eq!((answer.code, answer.stdout.as_str()), (code, ""), "{of}: {}", answer.stderr);
        let missing: Vec<_> = words.iter().filter(|word| !answer.stderr.contains(**word)).collect();
        assert!(missing.is_empty(), "{of}: {:?} does not say {missing:?}", answer.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_are_followed_from_hop_to_hop() {
    let world = World::new("cli-trace").await;
    let payload = PayloadRecord { payload_id: Uuid::from_u128(7), parts: 1, part: 0, ..example::payload() };
    let sent = world.send(PAYLOADS, 2, world.encoder.payload(&payload)).await;
    let alert = Alert { alert_id: Uuid::from_u128(77), event_id: Some(id(10)), ..example::alert() };
    world.send(ALERTS, 0, world.encoder.alert(&alert)).await;
    world.settle().await;

    Box::pin(crate::export_rows::out_of_silver(&world)).await;
    Box::pin(an_ordinary_tick(&world, &payload, sent)).await;
    Box::pin(corrections(&world)).await;
    Box::pin(a_dead_letter(&world)).await;
    Box::pin(what_there_is_not(&world)).await;
    Box::pin(what_is_missing(&world)).await;
    Box::pin(past_retention(&world)).await;
    Box::pin(not_taken_yet(&world)).await;
}

async fn an_ordinary_tick(world: &World, payload: &PayloadRecord, sent: i64) {
    let answer = world.traced(&id(10).to_string(), &[]).await;
    assert_eq!(answer["record"], format!("{TICKS}:0:5"), "{answer:#}");
    assert_eq!((&answer["symbol"], &answer["price"]), (&"BTC-USD".into(), &"67010.25".into()));
    for hop in ["source", "payload", "tick", "raw", "bronze", "silver", "postgres", "alert"] {
        assert_eq!(states(&answer, hop), ["found"], "{hop}: {answer:#}");
    }
    assert_eq!(states(&answer, "gold"), ["found"; 4], "{answer:#}");
    assert_eq!(states(&answer, "candle"), ["found"; 4], "{answer:#}");
    for hop in ["latest", "dead_letter", "correction"] {
        assert_eq!(states(&answer, hop), ["none"], "{hop}: {answer:#}");
    }
    let place = |hop: &str| hops(&answer, hop)[0]["place"].as_str().expect("a place").to_owned();
    assert_eq!(place("payload"), format!("{PAYLOADS}:2:{sent}"));
    assert!(says(&answer, "payload").contains(&payload.request), "{answer:#}");
    // Objects of eight records.
    assert_eq!(place("raw"), format!("raw/{TICKS}/epoch=0000/partition=00000/{:020}.parquet", 0));
    assert!(says(&answer, "raw").starts_with("row 5 of row group 0, of 8 records from offset 0"), "{answer:#}");
    assert!(place("bronze").starts_with("bronze/ticks/dt=") && says(&answer, "bronze") == "row 5 of row group 0");
    assert_eq!(place("silver"), world.silver());
    let gold = [place("gold"), world.gold("candles/timeframe=1m")];
    assert_eq!(gold[0], gold[1]);
    // The same candle in both, in the same words.
    let candle = |hop: &str| {
        let says = hops(&answer, hop)[2]["says"].as_str().expect("a candle").to_owned();
        says[says.find("open").expect("prices")..].to_owned()
    };
    assert_eq!(candle("gold"), candle("candle"));
    let delay = |hop: &str| {
        let hop = hops(&answer, hop)[0].clone();
        (
            hop["delay_seconds"].as_f64(),
            hop["after"].as_str().map(str::to_owned),
            hop["clock"].as_str().map(str::to_owned),
        )
    };
    let tick = world.tick(10);
    let after = (payload.received_at - tick.event_time) as f64 / 1e6;
    assert_eq!(delay("payload"), (Some(after), Some("source".to_owned()), Some("received_at".to_owned())));
    assert_eq!(delay("postgres").1.as_deref(), Some("tick"));
    assert!(delay("postgres").0.is_some_and(|seconds| (-1.0..3600.0).contains(&seconds)), "{answer:#}");
    assert_eq!(delay("raw").2.as_deref(), Some("last_modified"));

    // What is not there to be asked is said; nothing else changes.
    let alone = world.traced(&format!("{TICKS}:0:5"), &["--skip", "db"]).await;
    assert_eq!(states(&alone, "postgres"), ["not_asked"]);
    assert_eq!([states(&alone, "silver"), states(&alone, "alert")], [["found"], ["found"]]);
    let lake = world.traced(&format!("{TICKS}:0:5"), &["--skip", "db,topic"]).await;
    assert_eq!((states(&lake, "tick"), states(&lake, "gold").len()), (vec!["not_asked".to_owned()], 4));
    let topic = world.traced(&format!("{TICKS}:0:5"), &["--skip", "lake", "--skip", "db"]).await;
    assert_eq!([states(&topic, "raw"), states(&topic, "payload")], [["not_asked"], ["found"]]);
    // By its id without Postgres: silver, and without that the topic, of the time that is named.
    let around = jiff::Timestamp::from_microsecond(tick.event_time).expect("a time").to_string();
    let found = world.traced(&id(10).to_string(), &["--skip", "db", "--around", &around]).await;
    assert_eq!(found["record"], answer["record"]);
    assert!(found["searched"].to_string().contains("silver:"), "{found:#}");
    let found = world.traced(&id(10).to_string(), &["--skip", "db,lake", "--since", "1h"]).await;
    assert_eq!(found["record"], answer["record"]);
    assert!(found["searched"].to_string().contains("offsets that the broker took"), "{found:#}");

    let text = world.ok(&["trace", &id(10).to_string()]).await.stdout;
    assert!(
        text.starts_with(&format!("{TICKS}:0:5: event {}, revision 0: BTC-USD of test, TRADE 67010.25\n", id(10))),
        "{text}"
    );
    let csv = world.ok(&["trace", &id(10).to_string(), "-o", "csv"]).await.stdout;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let headings = ["hop", "state", "place", "says", "clock", "at", "delay_seconds", "after"];
    assert_eq!(reader.headers().expect("headings"), &headings[..]);
    assert_eq!(reader.records().count(), answer["hops"].as_array().expect("hops").len());
}

async fn corrections(world: &World) {
    // Event 4 was corrected: its id leads to the correction, its first record is replaced everywhere.
    let standing = world.traced(&id(4).to_string(), &[]).await;
    assert_eq!((&standing["revision"], &standing["price"]), (&1.into(), &"70001".into()));
    assert_eq!([states(&standing, "silver"), states(&standing, "postgres")], [["found"], ["found"]]);
    assert_eq!(hops(&standing, "correction")[0]["place"], format!("{TICKS}:0:2"));
    let first = world.traced(&format!("{TICKS}:0:2"), &[]).await;
    assert_eq!([states(&first, "raw"), states(&first, "bronze")], [["found"], ["found"]]);
    for hop in ["silver", "postgres"] {
        assert_eq!(states(&first, hop), ["replaced"], "{first:#}");
        assert!(says(&first, hop).contains("revision 1"), "{first:#}");
    }
    assert_eq!(hops(&first, "correction")[0]["place"], standing["record"]);
    assert!(says(&first, "correction").contains("revision 1: BTC-USD 70001"), "{first:#}");

    // Event 6 was moved, event 2 was told twice.
    let moved = world.traced(&format!("{TICKS}:0:3"), &[]).await;
    assert_eq!([states(&moved, "silver"), states(&moved, "postgres")], [["replaced"], ["replaced"]]);
    assert!(says(&moved, "correction").contains(", at "), "{moved:#}");
    let twice = world.traced(&id(2).to_string(), &[]).await;
    assert_eq!(
        (&twice["record"], states(&twice, "repetition")),
        (&format!("{TICKS}:0:1").into(), vec!["found".to_owned()])
    );
    // Without the lake the topic tells of them.
    let without = world.traced(&format!("{TICKS}:0:2"), &["--skip", "lake"]).await;
    assert_eq!(hops(&without, "correction")[0]["place"], standing["record"], "{without:#}");
}

async fn a_dead_letter(world: &World) {
    let garbage = format!("{TICKS}:1:30");
    let answer = world.traced(&garbage, &[]).await;
    assert_eq!((&answer["event_id"], states(&answer, "raw")), (&Value::Null, vec!["found".to_owned()]));
    assert!(says(&answer, "tick").starts_with("it does not decode: "), "{answer:#}");
    assert_eq!(states(&answer, "bronze"), ["none"]);
    assert!(says(&answer, "bronze").contains("left out"), "{answer:#}");
    assert_eq!(states(&answer, "dead_letter"), ["found", "found"]);
    let letters = says(&answer, "dead_letter");
    assert!(
        letters.contains("refused by consumer-db: ") && letters.contains("refused by consumer-lake: "),
        "{letters}"
    );
    assert!(letters.contains("; open"), "{letters}");
    let by_letter = world.trace(&format!("{TICKS}.dlq:0:0"), &[]).await;
    assert_eq!(by_letter.json()["record"], garbage);
    assert!(by_letter.line().contains(&format!("is a dead letter of {garbage}")), "{}", by_letter.stderr);
}

async fn what_there_is_not(world: &World) {
    world.refuses("fc147fe3", &[], 2, &["expected an event id"]).await;
    world.refuses(&format!("{TICKS}:0"), &[], 2, &["TOPIC:PARTITION:OFFSET"]).await;
    world.refuses("market.tick.v1:0:1", &[], 2, &["no topic market.tick.v1 is known", TICKS]).await;
    world.refuses(&format!("{PAYLOADS}:0:1"), &[], 2, &["holds no ticks", TICKS]).await;
    world.refuses(&format!("{TICKS}:9:1"), &[], 2, &["has no partition 9: it has 0 to 3"]).await;
    world.refuses(&format!("{TICKS}:0:5000"), &[], 1, &["no record at offset 5000", "its last offset is"]).await;
    world.refuses(&format!("{TICKS}:3:0"), &[], 1, &["no record at offset 0", "it has none yet"]).await;
    let unknown = Uuid::from_u128(99).to_string();
    world
        .refuses(
            &unknown,
            &[],
            1,
            &[&unknown, "searched: Postgres", "not searched: the lake and the topic", "--around"],
        )
        .await;
    let words = [&unknown, "searched: Postgres", "silver: ", "offsets that the broker took"];
    world.refuses(&unknown, &["--since", "3h"], 1, &words).await;
    // It may be there, were anybody asked.
    world.refuses(&unknown, &["--skip", "db"], 2, &["searched: nothing", "Postgres (left out by --skip)"]).await;
    world.refuses(&unknown, &["--since", "1h", "--around", "now"], 2, &["cannot be used with"]).await;
    // A place that is not named right is said; what does not answer is said once the rest is printed.
    let mut away = crate::command(world.stack, &["trace", &format!("{TICKS}:0:5"), "-o", "json"]);
    away.env("KAFKA_BOOTSTRAP_SERVERS", &world.args.kafka_bootstrap_servers);
    away.env("S3_PREFIX", "cli-trace").env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    let answer = crate::run(away).await;
    assert_eq!(
        (answer.code, states(&answer.json(), "postgres")),
        (2, vec!["not_asked".to_owned()]),
        "{}",
        answer.stderr
    );
    assert!(answer.line().contains("not asked: db: no database answers"), "{}", answer.stderr);
    let mut away = crate::command(world.stack, &["trace", &unknown, "--since", "1h"]);
    away.env("KAFKA_BOOTSTRAP_SERVERS", &world.args.kafka_bootstrap_servers);
    away.env("S3_PREFIX", "cli-trace").env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    let answer = crate::run(away).await;
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    assert!(answer.line().contains("not searched: Postgres (no database answers"), "{}", answer.stderr);

    // The marker behind a transaction.
    let mut settings = world.args.producer();
    settings.set("transactional.id", "cli-trace");
    let producer: FutureProducer = settings.create().expect("producer");
    producer.init_transactions(PATIENCE).expect("init transactions");
    producer.begin_transaction().expect("begin");
    let value = world.encoder.tick(&world.tick(70));
    let record = FutureRecord::<[u8], [u8]>::to(TICKS).partition(2).payload(&value);
    let offset = producer.send(record, PATIENCE).await.expect("delivered").offset;
    producer.commit_transaction(PATIENCE).expect("committed");
    // The coordinator writes the marker when it comes to it.
    let consumer: BaseConsumer = world.args.consumer(None).create().expect("consumer");
    let end = || consumer.fetch_watermarks(TICKS, 2, Duration::from_secs(10)).expect("watermarks").1;
    let deadline = Instant::now() + Duration::from_secs(30);
    while end() < offset + 2 {
        assert!(Instant::now() < deadline, "no marker");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.send_tick(&world.tick(72), 2).await;
    world
        .refuses(&format!("{TICKS}:2:{}", offset + 1), &[], 1, &["is no record", "the marker that ends a transaction"])
        .await;
}

async fn what_is_missing(world: &World) {
    let of = format!("{TICKS}:0:5");
    let answer = world.traced(&of, &[]).await;
    let place = hops(&answer, "bronze")[0]["place"].as_str().expect("a key").to_owned();
    let taken = world.lake.take(&place).await;
    let silver = world.lake.take(&world.silver()).await;
    let found = world.trace(&of, &[]).await;
    assert_eq!(found.code, 1, "{}", found.stderr);
    assert_eq!([states(&found.json(), "bronze"), states(&found.json(), "silver")], [["not_there"], ["not_there"]]);
    assert!(found.line().contains("not there, and should be: bronze, silver"), "{}", found.stderr);
    world.lake.put_back(&taken).await;
    world.lake.put_back(&silver).await;
    world.traced(&of, &[]).await;
}

async fn past_retention(world: &World) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TICKS, 0, Offset::Offset(8)).expect("an offset");
    let admin: AdminClient<DefaultClientContext> = world.args.admin().create().expect("client");
    admin.delete_records(&list, &AdminOptions::new()).await.expect("delete records");

    let answer = world.traced(&id(10).to_string(), &[]).await;
    assert_eq!((states(&answer, "tick"), &answer["price"]), (vec!["beyond_retention".to_owned()], &"67010.25".into()));
    assert!(says(&answer, "tick").contains("the log begins at offset 8 now"), "{answer:#}");
    for hop in ["raw", "bronze", "silver", "postgres"] {
        assert_eq!(states(&answer, hop), ["found"], "{hop}: {answer:#}");
    }
    assert!(hops(&answer, "postgres")[0]["delay_seconds"].is_number(), "raw keeps the broker's time: {answer:#}");
    let words = [
        "retention has removed it",
        "begins at offset 8 now",
        "the lake, whose raw objects keep every record, was not asked",
    ];
    world.refuses(&format!("{TICKS}:0:5"), &["--skip", "lake"], 1, &words).await;
}

async fn not_taken_yet(world: &World) {
    let tick = PriceTick { payload_id: Uuid::from_u128(8), ..world.tick(80) };
    let offset = world.send_tick(&tick, 0).await;
    let answer = world.traced(&format!("{TICKS}:0:{offset}"), &[]).await;
    for hop in ["raw", "bronze", "silver", "postgres"] {
        assert_eq!(states(&answer, hop), ["not_yet"], "{hop}: {answer:#}");
    }
    assert_eq!(states(&answer, "payload"), ["not_there"], "not every source's are kept: {answer:#}");
    world.settle().await;
    world.traced(&id(70).to_string(), &[]).await;
    let answer = world.traced(&id(80).to_string(), &[]).await;
    assert_eq!([states(&answer, "postgres"), states(&answer, "latest")], [["found"], ["found"]]);
}
