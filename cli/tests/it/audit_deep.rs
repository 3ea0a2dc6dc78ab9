//! A lake of real objects that is whole, then each way in which a hand can spoil one, found and mended again.

use std::collections::HashMap;
use std::time::Duration;

use ::lake::Encodings;
use bytes::Bytes;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::dead_letter::{DeadLetter, DeadLetters};
use pipeline::events::IndexWeight;
use pipeline::example;
use pipeline::lake::{Epoch, Link, LinkKind, Origin, bronze_key, epoch_key, origin_key, raw_key};
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::stretches::{self, Stretch};
use pipeline::topic_id::TopicIds;
use pipeline::topics::INDEX;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde_json::Value;
use stack::Stack;
use uuid::Uuid;

use crate::lake::{Lake, Taken};
use crate::market::kafka;
use crate::{Answer, command, run, topics};

/// Records a raw object.
const ROWS: i64 = 6;
const OBJECTS: i64 = 6;
/// Which of them does not decode.
const GARBAGE: i64 = 3;
/// The first is of the topic as it was before it was made anew.
const EPOCH: u32 = 1;
const EARLIER: Uuid = Uuid::from_u128(1);

struct Deep {
    stack: &'static Stack,
    lake: Lake,
    encodings: Encodings,
    topic_id: Uuid,
    /// Where the chain begins.
    origin: i64,
    records: Records,
}

impl Deep {
    /// The whole topic in a lake, as consumer-lake would have it.
    async fn new(prefix: &str) -> Self {
        let stack = stack::shared().await;
        topics::applied(stack).await;
        let ids = TopicIds::new(&kafka(stack)).expect("client");
        let topic_id = ids.topic_id(INDEX, 0).await.expect("a topic id");
        let origin = fill(stack).await;
        let lake = Lake::empty(stack, prefix, topic_id);
        let cluster_id = ids.cluster_id().await.expect("a cluster id");
        for (number, topic_id) in [(0, EARLIER), (EPOCH, topic_id)] {
            let epoch = Epoch { cluster_id: cluster_id.clone(), topic_id };
            lake.put(&epoch_key(INDEX, number), serde_json::to_vec(&epoch).expect("JSON"), HashMap::new()).await;
            let first = serde_json::to_vec(&Origin { offset: origin }).expect("JSON");
            lake.put(&origin_key(INDEX, number, 0), first, HashMap::new()).await;
        }

        let mut records = Vec::new();
        let whole = Stretch { partition: 0, start: origin, end: origin + ROWS * OBJECTS };
        stretches::read(&kafka(stack), INDEX, &[whole], "", async |_, some| {
            records.push(some.batch().clone());
            Ok(())
        })
        .await
        .expect("the records");
        let records = arrow::compute::concat_batches(&Records::schema(), &records).expect("one batch");
        let records = Records::from_batch(records).expect("records");
        let deep = Self { stack, lake, encodings: Encodings::new(None), topic_id, origin, records };
        deep.write_earlier().await;
        let letters = DeadLetters::new(&kafka(stack), "consumer-lake").expect("producer");
        for object in 0..OBJECTS {
            deep.write(object, &deep.of(object)).await;
            let offset = deep.start(object) + GARBAGE;
            let letter = DeadLetter { topic: INDEX.to_owned(), partition: 0, offset, reason: "test".to_owned() };
            letters.send(&deep.of(object), Some(topic_id), &[&letter]).await.expect("sent");
        }
        deep
    }

    fn start(&self, object: i64) -> i64 {
        self.origin + object * ROWS
    }

    /// The records of an object.
    fn of(&self, object: i64) -> Records {
        self.records.slice((object * ROWS) as usize, ROWS as usize)
    }

    fn raw(&self, object: i64) -> String {
        raw_key(INDEX, EPOCH, 0, self.start(object))
    }

    fn bronze(&self, object: i64) -> String {
        let time = self.of(object).timestamps_ms().value(0);
        bronze_key("index_weights", time, INDEX, EPOCH, 0, self.start(object))
    }

    /// A raw object of these records and its bronze.
    async fn write(&self, object: i64, records: &Records) {
        self.write_raw(object, records).await;
        let bronze = self.encodings.bronze_of(RecordType::IndexWeight, 0, records).await.expect("bronze");
        self.write_bronze(object, &bronze.bytes, bronze.rows, bronze.bad.len()).await;
    }

    async fn write_raw(&self, object: i64, records: &Records) {
        let (start, rows) = (self.start(object), ::lake::raw::rows(records));
        let link = Link { kind: LinkKind::Data, topic_id: self.topic_id, start, next_offset: start + ROWS, rows };
        self.write_link(EPOCH, &link, records).await;
    }

    async fn write_link(&self, epoch: u32, link: &Link, records: &Records) {
        let bytes = self.encodings.raw(link, records).await.expect("raw");
        let metadata = link.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.lake.write(&raw_key(INDEX, epoch, 0, link.start), &bytes, metadata).await;
    }

    /// The earlier epoch: one object, its bronze, and the end.
    async fn write_earlier(&self) {
        let (records, start) = (self.of(0), self.start(0));
        let rows = ::lake::raw::rows(&records);
        let link = Link { kind: LinkKind::Data, topic_id: EARLIER, start, next_offset: start + ROWS, rows };
        self.write_link(0, &link, &records).await;
        let end = Link { kind: LinkKind::End, start: link.next_offset, rows: None, ..link };
        self.write_link(0, &end, &Records::empty()).await;
        let key = bronze_key("index_weights", records.timestamps_ms().value(0), INDEX, 0, 0, start);
        let bronze = self.encodings.bronze_of(RecordType::IndexWeight, 0, &records).await.expect("bronze");
        let metadata = HashMap::from([("tickstream-rows".to_owned(), bronze.rows.to_string())]);
        self.lake.write(&key, &bronze.bytes, metadata).await;
    }

    async fn write_bronze(&self, object: i64, bytes: &Bytes, rows: usize, bad: usize) {
        let version = ::lake::bronze::VERSION.to_string();
        let metadata = [
            ("tickstream-decoder-version", version),
            ("tickstream-rows", rows.to_string()),
            ("tickstream-bad", bad.to_string()),
        ];
        let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.lake.write(&self.bronze(object), bytes, metadata).await;
    }

    async fn audit(&self, more: &[&str]) -> Answer {
        let mut audit = command(self.stack, &["audit", "--deep", "--topic", INDEX, "-o", "json"]);
        audit.args(more).env("S3_PREFIX", &self.lake.prefix);
        run(audit).await
    }

    /// The lake alone: no broker is there.
    async fn objects(&self, more: &[&str]) -> Answer {
        let mut audit = command(self.stack, &["audit", "--only", "objects", "-o", "json"]);
        audit.args(more).env("S3_PREFIX", &self.lake.prefix).env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
        run(audit).await
    }

    async fn restore(&self, key: &str) -> Answer {
        let mut restore = command(self.stack, &["lake", "restore", key]);
        restore.env("S3_PREFIX", &self.lake.prefix);
        run(restore).await
    }

    /// Puts an object back as it is, but for its bytes.
    async fn spoil(&self, key: &str, spoil: impl FnOnce(&mut Vec<u8>)) -> Taken {
        let taken = self.lake.take(key).await;
        let mut spoilt = taken.clone();
        spoil(&mut spoilt.bytes);
        self.lake.put_back(&spoilt).await;
        taken
    }
}

/// Gives the offset of the first record.
async fn fill(stack: &Stack) -> i64 {
    let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
    let producer: FutureProducer = kafka(stack).producer().create().expect("producer");
    let mut first = None;
    for n in 0..ROWS * OBJECTS {
        let weight =
            IndexWeight { event_id: Uuid::from_u128(n as u128), code: format!("C{n}"), ..example::index_weight() };
        let value = if n % ROWS == GARBAGE { b"garbage".to_vec() } else { encoder.index_weight(&weight) };
        let record = FutureRecord::<[u8], [u8]>::to(INDEX).partition(0).key(b"IBOV").payload(&value);
        let sent = producer.send(record, Timeout::After(Duration::from_secs(20))).await.expect("delivered");
        first.get_or_insert(sent.offset);
    }
    first.expect("a record")
}

/// Each fault is said in one line that has all the words of one entry, and there are no other lines.
fn named(answer: &Answer, expected: &[&[&str]]) {
    assert_eq!(answer.code, 1, "{}\n{}", answer.stdout, answer.stderr);
    let report = answer.json();
    let lines: Vec<&str> = report["differences"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    for words in expected {
        let found = lines.iter().filter(|line| words.iter().all(|words| line.contains(words))).count();
        assert_eq!(found, 1, "{words:?} in {lines:#?}");
    }
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
}

fn whole(answer: &Answer) -> Value {
    assert_eq!(answer.code, 0, "{}\n{}", answer.stdout, answer.stderr);
    answer.json()["deep"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hand_did_to_an_object_is_named_with_what_to_do() {
    let deep = Deep::new("cli-audit-deep").await;
    let (raw, bronze) = (|object| deep.raw(object), |object| deep.bronze(object));

    // A clean lake: every object opened, every record the topic's.
    let lake_only = ["--only", "lake"];
    let answer = deep.audit(&lake_only).await;
    let found = whole(&answer);
    assert_eq!((&found["raw_objects"], &found["bronze_objects"]), (&8.into(), &7.into()), "{found}");
    assert_eq!(answer.json()["older_chains"], 1);
    assert_eq!((&found["compared_with_topic"], &found["without_checksum"]), (&(ROWS * OBJECTS).into(), &0.into()));
    assert_eq!(whole(&deep.objects(&[]).await)["compared_with_topic"], 0);

    // The object of the earlier epoch with another byte, 0 cut off, 1 with one other byte, 2 replaced by another valid object of the same range, bronze of 3 deleted, bronze of
    // 4 replaced by that of other records, and four objects that nobody asked for.
    let before = [0, 1, 2].map(raw);
    let first = deep.spoil(&raw(0), |bytes| bytes.truncate(bytes.len() / 2)).await;
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let second = deep.spoil(&raw(1), flip).await;
    let third = deep.lake.take(&raw(2)).await;
    let other = with_other_value(&deep.of(2));
    deep.write_raw(2, &other).await;
    let earlier = deep.spoil(&raw_key(INDEX, 0, 0, deep.start(0)), flip).await;
    let fourth = deep.lake.take(&bronze(3)).await;
    let fifth = deep.lake.take(&bronze(4)).await;
    let others =
        deep.encodings.bronze_of(RecordType::IndexWeight, 0, &with_other_value(&deep.of(4))).await.expect("bronze");
    deep.write_bronze(4, &others.bytes, others.rows, others.bad.len()).await;
    let strays = [
        format!("raw/{INDEX}/epoch=0001/partition=00000/notes.txt"),
        format!("raw/{INDEX}/epoch=0007/partition=00000/{:020}.parquet", 0),
        "bronze/index_weights/dt=2026-01-01/hour=00/copy.parquet".to_owned(),
        bronze_key("index_weights", 0, INDEX, EPOCH, 0, 999_999),
        bronze(5).replace("/hour=", "/hour=0"),
        "raw/forgotten/x".to_owned(),
    ];
    for key in &strays {
        deep.lake.write(key, b"stray", HashMap::new()).await;
    }

    let restore = |object: i64| format!("`tickstream lake restore {}`", raw(object));
    let rebuild = |object: i64| {
        let key = bronze(object);
        let day = key.split("dt=").nth(1).expect("a day")[..10].to_owned();
        format!("`refiner rebuild --layer bronze --from {day} --to {day}`")
    };
    let other_value = format!("the record at offset {} is not the topic's: other value", deep.start(2) + 1);
    let in_both: [&[&str]; 8] = [
        &[&earlier.key, "not those that were written", "; put back a version or a backup"],
        &[&raw(0), "not those that were written", "cut off"],
        &[&raw(1), "not those that were written", "checksum"],
        &[&bronze(3), "it is missing: the bronze of 6 records", &rebuild(3)],
        &[&bronze(4), "it is not what its raw object decodes to", &rebuild(4)],
        &[&strays[0], "does not belong to the chain"],
        &[strays[1].rsplit_once("partition").expect("a folder").0, "no _epoch.json"],
        &[&strays[3], "its raw object", "is not there"],
    ];
    let with_topic: [&[&str]; 2] = [&[&raw(2), &other_value, &restore(2)], &[&strays[4], "belongs at", &bronze(5)]];
    let answer = deep.audit(&lake_only).await;
    named(&answer, &[&in_both[..], &with_topic[..]].concat());
    let lines = answer.json()["differences"].to_string();
    assert!(lines.contains(&restore(0)) && lines.contains(&restore(1)), "{lines}");
    // Without the topic the replaced object is told by its bronze; all topics together leave no stray out.
    let alone: [&[&str]; 4] = [
        &[&bronze(2), "it is not what its raw object decodes to"],
        &[&strays[4], "belongs at", &bronze(5)],
        &[&strays[2], "its name is not one of ours"],
        &["raw/forgotten/", "no declared topic has this name"],
    ];
    named(&deep.objects(&[]).await, &[&in_both[..], &alone[..]].concat());

    // Raw is made again from the topic, to the byte; bronze is put back.
    for (object, taken) in [(0, &first), (1, &second)] {
        let answer = deep.restore(&before[object]).await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        assert!(answer.stdout.contains("6 records from the topic") && answer.stdout.contains("written first"));
        assert!(!answer.stdout.contains("rebuild"), "bronze is of these records: {}", answer.stdout);
        assert_eq!(deep.lake.take(&taken.key).await.bytes, taken.bytes);
        deep.lake.put_back(taken).await;
    }
    assert_eq!(deep.restore(&raw(2)).await.code, 0);
    assert_eq!(deep.lake.take(&raw(2)).await.bytes, third.bytes);
    // A deleted one: the next object says where it ended.
    assert_eq!(deep.restore(&raw(2)).await.code, 0);
    // Of two neighbours that were deleted, the first takes the place of both, and its bronze is of the first alone.
    let neighbours = [deep.lake.take(&raw(2)).await, deep.lake.take(&raw(3)).await];
    let answer = deep.restore(&raw(2)).await;
    assert!(
        answer.stdout.contains("12 records from the topic") && answer.stdout.contains(&rebuild(2)),
        "{}",
        answer.stdout
    );
    deep.lake.take(&raw(2)).await;
    for taken in &neighbours {
        deep.lake.put_back(taken).await;
    }
    for taken in [&earlier, &fourth, &fifth] {
        deep.lake.put_back(taken).await;
    }
    for key in &strays {
        deep.lake.take(key).await;
    }
    assert_eq!(whole(&deep.audit(&lake_only).await)["compared_with_topic"], ROWS * OBJECTS);
    assert!(deep.restore(&raw(5)).await.stdout.contains("nothing to restore"));

    // Copies without metadata are whole, and say less.
    let bare = deep.lake.take(&raw(1)).await;
    deep.lake.put_back_bare(&bare).await;
    assert_eq!(whole(&deep.audit(&lake_only).await)["without_checksum"], 1);

    let refused = deep.restore("raw/x").await;
    assert_eq!((refused.code, refused.line().contains("raw/x is not the key of a raw object")), (2, true));
    let refused = deep.audit(&["--only", "db"]).await;
    assert_eq!((refused.code, refused.line().contains("--only db")), (2, true));
}

/// The same records, but for the value of the second.
fn with_other_value(records: &Records) -> Records {
    let mut buffer = RecordBuffer::new();
    let (keys, values) = (records.keys(), records.values());
    for row in 0..records.len() {
        let value = if row == 1 { values.value(0) } else { values.value(row) };
        let (offset, timestamp_ms) = (records.offsets().value(row), records.timestamps_ms().value(row));
        let record = Record { offset, timestamp_ms, key: Some(keys.value(row)), value: Some(value) };
        buffer.push_owned(record, &records.headers(row));
    }
    buffer.finish()
}
