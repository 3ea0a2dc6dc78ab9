//! The audit before a redrive, after it, and after all else that is done about dead letters: topic = lake = database.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use arrow::array::BinaryArray;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::decode::{Decoder, Ticks};
use pipeline::events::{PriceTick, event_id};
use pipeline::example;
use pipeline::topics::TICKS;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::dlq::{Broker, Placed};
use crate::lake::Lake;
use crate::market::Sent;
use crate::{Answer, database, rows, run};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// What the consumers would have made of the topic, by hand.
struct World {
    broker: &'static Broker,
    lake: Lake,
    rows: PgConnection,
    database_url: String,
    /// Where each partition's chain goes on.
    next: BTreeMap<i32, i64>,
    encoder: Encoder,
    now: i64,
}

impl World {
    async fn new(broker: &'static Broker) -> Self {
        let cluster_id = broker.ids.cluster_id().await.expect("a cluster id");
        let topic_id = broker.ids.topic_id(TICKS, 0).await.expect("a topic id");
        let lake = Lake::new(broker.stack, "cli-dlq-audit", cluster_id, topic_id).await;
        let (rows, database_url) = database(broker.stack, "cli_dlq_audit").await;
        let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
        let now = jiff::Timestamp::now().as_microsecond();
        Self { broker, lake, rows, database_url, next: BTreeMap::new(), encoder, now }
    }

    fn tick(&self, n: u64) -> PriceTick {
        let (event_time, received_at) = (self.now, self.now);
        let event_id = event_id("test", "trades", "BTC-USD", &n.to_string());
        PriceTick { event_id, event_time, received_at, ..example::tick() }
    }

    async fn send(&self, tick: &PriceTick) -> (Placed, Uuid) {
        (self.broker.send(TICKS, 0, self.encoder.tick(tick)).await, tick.event_id)
    }

    /// consumer-lake has read the partition to its end, and found these records there.
    async fn archive(&mut self, partition: i32, sent: &[(Placed, Option<Uuid>)]) {
        let consumer: BaseConsumer = self.broker.args.consumer(None).create().expect("consumer");
        let end = consumer.fetch_watermarks(TICKS, partition, Duration::from_secs(10)).expect("watermarks").1;
        let start = match self.next.insert(partition, end) {
            Some(start) => start,
            None => {
                self.lake.origin(partition, 0).await;
                0
            }
        };
        let sent = sent.iter().map(|(placed, event_id)| {
            let Placed { partition, offset, value, .. } = placed.clone();
            Sent { partition, offset, value, event_id: *event_id, event: None }
        });
        self.lake.object(partition, start, end, &sent.collect::<Vec<_>>()).await;
    }

    /// consumer-db has read it.
    async fn insert(&mut self, placed: &Placed) {
        let values = BinaryArray::from_vec(vec![&placed.value[..]]);
        let decoded = Decoder::new(RecordType::PriceTick, None).decode(&values).await.expect("no registry");
        let tick = Ticks::new(&decoded.batch).get(0);
        rows::insert(&mut self.rows, &tick, placed.partition, placed.offset).await;
    }

    /// What was sent again of `of` is in the lake and in the database.
    async fn take_again(&mut self, of: &Placed, event_id: Uuid) {
        let again = self.broker.redriven(TICKS).await;
        let [copy] = &again[&format!("{}:{}", of.partition, of.offset)][..] else {
            panic!("sent again once: {again:?}")
        };
        let placed = Placed { topic: TICKS, partition: copy.partition, offset: copy.offset, value: copy.value.clone() };
        self.archive(copy.partition, &[(placed.clone(), Some(event_id))]).await;
        self.insert(&placed).await;
    }

    async fn audit(&self) -> Answer {
        let mut audit = self.broker.command(&["audit", "--topic", TICKS, "-o", "json"]);
        audit.env("DATABASE_URL", &self.database_url).env("S3_PREFIX", &self.lake.prefix);
        run(audit).await
    }

    async fn equal(&self) -> Value {
        let answer = self.audit().await;
        assert_eq!(answer.code, 0, "{}\n{}", answer.stdout, answer.stderr);
        answer.json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_clean_before_and_after_letters_are_settled() {
    let broker = Broker::shared().await;
    let _writing = Broker::writing().await;
    let mut world = World::new(broker).await;
    // A good one; one that an older consumer-db could not take; one with a wrong time; garbage.
    let (good, good_id) = world.send(&world.tick(1)).await;
    let (mended, mended_id) = world.send(&world.tick(2)).await;
    let wrong_tick = PriceTick { event_time: world.now + 9 * DAY, ..world.tick(3) };
    let (wrong, wrong_id) = world.send(&wrong_tick).await;
    let garbage = broker.send(TICKS, 0, b"garbage".to_vec()).await;
    broker.letter("consumer-db", &mended, "what was wrong is mended").await;
    broker.letter("consumer-db", &wrong, "event_time out of range: in nine days").await;
    broker.letter("consumer-db", &garbage, "no Avro framing").await;
    broker.letter("consumer-lake", &garbage, "no Avro framing").await;
    let all = [
        (good.clone(), Some(good_id)),
        (mended.clone(), Some(mended_id)),
        (wrong.clone(), Some(wrong_id)),
        (garbage.clone(), None),
    ];
    world.archive(0, &all).await;
    world.insert(&good).await;
    let totals = |report: &Value| {
        ["delivered", "bronze_rows", "dead_letters", "postgres_rows"].map(|name| report["totals"][name].as_u64())
    };
    assert_eq!(totals(&world.equal().await), [Some(4), Some(3), Some(3), Some(1)]);

    // The one that would be taken now is sent again; the two that would not are left.
    let redrive = ["dlq", "redrive", "--topic", TICKS, "--execute"];
    let left = broker.ends(1, &redrive).await;
    assert!(left.stderr.contains("1 letter redriven (1 record), 3 refused"), "{}", left.stderr);
    assert_eq!(world.audit().await.code, 1, "it is in the topic and nowhere else yet");
    world.take_again(&mended, mended_id).await;
    assert_eq!(totals(&world.equal().await), [Some(5), Some(4), Some(3), Some(2)]);
    let left = broker.ends(1, &redrive).await;
    assert!(left.stderr.contains("0 letters redriven (0 records), 3 refused, 1 settled before"), "{}", left.stderr);
    assert_eq!(totals(&world.equal().await), [Some(5), Some(4), Some(3), Some(2)]);

    // The wrong one is corrected by what today's parser says of its payload.
    let right = PriceTick { revision: 1, previous_event_time: Some(wrong_tick.event_time), ..world.tick(3) };
    let other = PriceTick { revision: 1, ..world.tick(4) };
    let mut changes = tempfile::NamedTempFile::new().expect("a file");
    for new in [&other, &right] {
        writeln!(changes, "{}", json!({"change": "changed", "old": wrong_tick, "new": new})).expect("written");
    }
    let path = changes.path().to_str().expect("a name");
    let corrected = broker.ends(1, &[&redrive[..], &["--renormalize", path]].concat()).await;
    assert!(
        corrected.stderr.contains("1 letter redriven (1 record), 2 refused, 1 settled before"),
        "{}",
        corrected.stderr
    );
    world.take_again(&wrong, wrong_id).await;
    assert_eq!(totals(&world.equal().await), [Some(6), Some(5), Some(3), Some(3)]);
    let mark = &broker.marks(TICKS).await[&format!("{}:{}", wrong.partition, wrong.offset)][0];
    assert_eq!(mark["corrected"], true);

    // The garbage is dropped: the audit counts its letters as before, and says that they are settled.
    broker.ends(0, &["dlq", "drop", "--topic", TICKS, "--why", "a test", "--execute"]).await;
    broker.ends(0, &redrive).await;
    let report = world.equal().await;
    assert_eq!(totals(&report), [Some(6), Some(5), Some(3), Some(3)]);
    assert_eq!(report["dead_letters"], json!({"open": 0, "redriven": 2, "dropped": 1}));

    // A consumer that has read a record again, and can take it now, has made its letter out of date, and nothing wrong.
    let (read_again, read_again_id) = world.send(&world.tick(5)).await;
    broker.letter("consumer-db", &read_again, "what was wrong is mended").await;
    world.archive(0, &[(read_again.clone(), Some(read_again_id))]).await;
    world.insert(&read_again).await;
    let report = world.equal().await;
    assert_eq!(totals(&report), [Some(7), Some(6), Some(4), Some(3)]);
    assert_eq!(report["database"]["rows_taken_since"], 1);
}
