//! What a person does when the lake has stopped, as commands: the broken cluster and the way back, and the hole that retention
//! left. Beside the stack's broker runs a second one, another cluster.

use std::path::Path;
use std::process::{Command, Stdio};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::decode::{Decoder, Gaps};
use pipeline::events::{Gap, GapReason, IndexWeight, SourceHealth};
use pipeline::kafka::KafkaArgs;
use pipeline::lake::{Link, LinkKind, Origin, bronze_key, origin_key, raw_key, table};
use pipeline::records::{Record, RecordBuffer};
use pipeline::{example, topics};
use stack::{Kafka, Stack};
use tokio::sync::OnceCell;

use crate::broker::Broker;
use crate::lake::Lake;
use crate::service::{Service, command, run_to_end, wait_for};

/// A cluster of this file's own; it ends with the process.
async fn cluster(stack: &Stack, name: &'static str, started: &'static OnceCell<Kafka>) -> Broker {
    let kafka = started.get_or_init(async || stack.another_kafka(name).await.expect("another broker")).await;
    let kafka_bootstrap_servers = kafka.bootstrap_servers();
    Broker { args: KafkaArgs { kafka_bootstrap_servers, kafka_properties: Vec::new() } }
}

static OLD: OnceCell<Kafka> = OnceCell::const_new();
static NEW: OnceCell<Kafka> = OnceCell::const_new();

/// Both tests need market.gaps.v1 in the new cluster.
async fn create_gaps(new: &Broker) {
    static CREATED: OnceCell<()> = OnceCell::const_new();
    CREATED.get_or_init(async || new.create(topics::GAPS, 1).await).await;
}

/// What each program is told, besides the cluster.
struct Setting<'a> {
    stack: &'a Stack,
    lake: &'a Lake,
    topic: &'a str,
    group: &'a str,
}

/// A raw object.
struct Object {
    link: Link,
    values: Vec<Vec<u8>>,
}

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Setting<'_> {
    fn consumer(&self, broker: &Broker) -> Command {
        let mut command = command(self.stack, self.lake, self.topic, self.group);
        command.env("KAFKA_BOOTSTRAP_SERVERS", &broker.args.kafka_bootstrap_servers).args(["--max-rows", "3"]);
        command
    }

    /// The command as a user runs it.
    fn tickstream(&self, broker: &Broker, arguments: &[&str]) -> Answer {
        // Built beside the service by whoever builds the workspace.
        let program = Path::new(env!("CARGO_BIN_EXE_consumer-lake")).with_file_name("tickstream");
        let mut command = Command::new(&program);
        command.args(arguments).args(["--topic", self.topic]).stdin(Stdio::null());
        command.env_clear().envs(self.stack.env()).env("S3_PREFIX", &self.lake.prefix).env("LAKE_GROUP", self.group);
        command.env("KAFKA_BOOTSTRAP_SERVERS", &broker.args.kafka_bootstrap_servers);
        let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("it ended by itself");
        Answer { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs the consumer until every one of `partitions` is committed up to `end`, in `epoch`.
    fn consume(&self, broker: &Broker, partitions: i32, end: i64, epoch: u32) {
        let service = Service::start(&mut self.consumer(broker));
        let expected = Some((end, format!("epoch={epoch:04}")));
        for partition in 0..partitions {
            wait_for("the commit", || broker.committed(self.group, self.topic, partition) == expected);
        }
        service.terminate();
    }

    /// The consumer ends by itself: its last line.
    fn stops(&self, broker: &Broker) -> String {
        let (code, said) = run_to_end(&mut self.consumer(broker));
        assert!(code == 1 && !said.contains("panicked"), "{said}");
        said.lines().last().unwrap_or_default().to_owned()
    }

    /// The links of a chain: kind, start, next offset.
    fn chain(&self, epoch: u32, partition: i32) -> Vec<(LinkKind, i64, i64)> {
        let of = |object: &Object| (object.link.kind, object.link.start, object.link.next_offset);
        self.objects(epoch, partition).iter().map(of).collect()
    }

    /// The values of a chain, and how many rows its bronze has; panics where one is missing.
    fn values(&self, epoch: u32, partition: i32) -> (Vec<Vec<u8>>, usize) {
        let objects = self.objects(epoch, partition);
        let rows =
            objects.iter().filter_map(|object| object.link.rows.map(|_| self.bronze_rows(epoch, partition, object)));
        let rows = rows.sum();
        (objects.into_iter().flat_map(|object| object.values).collect(), rows)
    }

    fn objects(&self, epoch: u32, partition: i32) -> Vec<Object> {
        let origin = self.lake.read(&origin_key(self.topic, epoch, partition)).expect("an origin");
        let mut next = serde_json::from_slice::<Origin>(&origin).expect("an origin").offset;
        let mut objects = Vec::new();
        while let Some(bytes) = self.lake.read(&raw_key(self.topic, epoch, partition, next)) {
            let (link, records) = lake::raw::decode(bytes).expect("a raw object");
            let values = records.values().iter().map(|value| value.expect("a value").to_vec()).collect();
            objects.push(Object { link, values });
            if link.kind == LinkKind::End {
                break;
            }
            next = link.next_offset;
        }
        objects
    }

    fn bronze_key(&self, epoch: u32, partition: i32, link: &Link) -> String {
        let table = table(topics::record_type(self.topic).expect("a declared topic"));
        let time = link.rows.expect("records").first_time_ms;
        bronze_key(table, time, self.topic, epoch, partition, link.start)
    }

    fn bronze_rows(&self, epoch: u32, partition: i32, object: &Object) -> usize {
        let key = self.bronze_key(epoch, partition, &object.link);
        let bronze = self.lake.read(&key).unwrap_or_else(|| panic!("{key} is missing"));
        let bronze = ParquetRecordBatchReaderBuilder::try_new(bronze).expect("parquet");
        usize::try_from(bronze.metadata().file_metadata().num_rows()).expect("rows")
    }

    fn audit_is_equal(&self, broker: &Broker) -> String {
        let answer = self
            .tickstream(broker, &["audit", "--only", "lake", "--lake-group", self.group, "--from-earliest", "--deep"]);
        assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
        answer.stdout
    }
}

async fn healths(numbers: std::ops::Range<i64>) -> Vec<Vec<u8>> {
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    numbers.map(|at| encoder.health(&SourceHealth { at, ..example::health() })).collect()
}

async fn weights(numbers: std::ops::Range<i64>) -> Vec<Vec<u8>> {
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    let weight = |number: i64| IndexWeight { code: format!("CODE{number}"), ..example::index_weight() };
    numbers.map(|number| encoder.index_weight(&weight(number))).collect()
}

/// Of records sent over `partitions` in turn, those of one.
fn sent_to(all: &[Vec<u8>], partitions: usize, partition: usize) -> Vec<Vec<u8>> {
    all.iter().skip(partition).step_by(partitions).cloned().collect()
}

/// The gap events in market.gaps.v1 of `broker`.
async fn gaps(broker: &Broker) -> Vec<Gap> {
    let mut buffer = RecordBuffer::new();
    for (offset, value) in (0..).zip(broker.read(topics::GAPS)) {
        buffer.push_owned(Record { offset, timestamp_ms: 0, key: None, value: Some(&value) }, &[]);
    }
    let decoded = Decoder::new(RecordType::Gap, None).decode(buffer.finish().values()).await.expect("no registry");
    Gaps::new(&decoded.batch).iter().collect()
}

fn one_line(answer: &Answer) -> &str {
    assert_eq!(answer.stderr.trim_end().lines().count(), 1, "{}", answer.stderr);
    answer.stderr.trim_end()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_goes_on_in_a_new_cluster_and_back_in_the_old_one_with_each_record_once() {
    let stack = stack::shared().await;
    let (old, new) = tokio::join!(cluster(stack, "old", &OLD), cluster(stack, "new", &NEW));
    let lake = Lake::of(stack, "disaster");
    let setting = Setting { stack, lake: &lake, topic: topics::HEALTH, group: "disaster" };
    old.create(setting.topic, 2).await;
    let in_old = healths(0..20).await;
    old.send(setting.topic, 2, &in_old);
    setting.consume(&old, 2, 10, 0);

    // The writer died between the last raw object and its bronze; then the cluster broke, and another one took its place.
    let objects = setting.objects(0, 1);
    lake.remove(&setting.bronze_key(0, 1, &objects.last().expect("an object").link));
    create_gaps(&new).await;
    new.create(&topics::dlq(setting.topic), 1).await;
    new.create(setting.topic, 3).await;
    let in_new = healths(100..115).await;
    new.send(setting.topic, 3, &in_new);
    let said = setting.stops(&new);
    assert!(
        said.contains("`tickstream lake new-epoch --topic market.health.v1`") && said.contains("S3_PREFIX"),
        "{said}"
    );
    let wrong = setting.tickstream(&new, &["lake", "accept-hole", "--yes"]);
    assert!(wrong.code == 2 && one_line(&wrong).contains("new-epoch"), "{}", wrong.stderr);

    let shown = setting.tickstream(&new, &["lake", "new-epoch"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        shown.stdout.contains("[1] of epoch 0000 would be closed") && shown.stdout.contains("--yes"),
        "{}",
        shown.stdout
    );
    assert_eq!(setting.chain(0, 0).last().map(|last| last.0), Some(LinkKind::Data), "nothing was done");
    let done = setting.tickstream(&new, &["lake", "new-epoch", "--yes"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.contains("[1] of epoch 0000 is closed at offset 10"), "{}", done.stdout);
    assert!(done.stdout.contains("epoch 0001 begins"), "{}", done.stdout);
    let lost: Vec<Gap> =
        gaps(&new).await.into_iter().filter(|gap| gap.detail.contains("the lake has market.health.v1")).collect();
    assert_eq!(lost.len(), 2, "what came behind each of the two chains: {lost:?}");
    assert!(lost.iter().all(|gap| gap.source == "lake" && gap.detail.contains("up to offset 10")), "{lost:?}");
    assert!(lost.iter().all(|gap| gap.ended_at.is_some_and(|end| end > gap.started_at)), "{lost:?}");
    let again = setting.tickstream(&new, &["lake", "new-epoch", "--yes"]);
    assert!(again.code == 2 && one_line(&again).contains("there is no new epoch to begin"), "{}", again.stderr);

    setting.consume(&new, 3, 5, 1);
    for partition in 0..2 {
        assert_eq!(setting.chain(0, partition).last(), Some(&(LinkKind::End, 10, 10)));
        let number = usize::try_from(partition).expect("small");
        assert_eq!(
            setting.values(0, partition),
            (sent_to(&in_old, 2, number), 10),
            "every bronze of the old epoch is there"
        );
    }
    for partition in 0..3 {
        let number = usize::try_from(partition).expect("small");
        assert_eq!(setting.values(1, partition), (sent_to(&in_new, 3, number), 5));
    }
    let audited = setting.audit_is_equal(&new);
    assert!(audited.contains("2 chains of earlier epochs"), "{audited}");

    // The old cluster comes back to life, and into use, with what it held and more.
    old.create(topics::GAPS, 1).await;
    let said = setting.stops(&old);
    assert!(said.contains("new-epoch --topic market.health.v1"), "{said}");
    let later = healths(20..24).await;
    old.send(setting.topic, 2, &later);
    let done = setting.tickstream(&old, &["lake", "new-epoch", "--yes"]);
    assert!(done.code == 0 && done.stdout.contains("epoch 0002 begins"), "{}{}", done.stdout, done.stderr);
    setting.consume(&old, 2, 12, 2);
    for partition in 0..2 {
        let number = usize::try_from(partition).expect("small");
        assert_eq!(
            setting.values(2, partition),
            (sent_to(&later, 2, number), 2),
            "what epoch 0000 has is not written again"
        );
    }
    setting.audit_is_equal(&old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_accepted_once_and_told_once() {
    let stack = stack::shared().await;
    let (broker, lake) = (cluster(stack, "new", &NEW).await, Lake::of(stack, "accepted"));
    let setting = Setting { stack, lake: &lake, topic: topics::INDEX, group: "accepted" };
    create_gaps(&broker).await;
    broker.create(setting.topic, 1).await;
    let sent = weights(0..9).await;
    broker.send(setting.topic, 1, &sent[..2]);
    setting.consume(&broker, 1, 2, 0);
    broker.send(setting.topic, 1, &sent[2..]);
    broker.delete_below(setting.topic, 6).await;
    let said = setting.stops(&broker);
    assert!(said.contains("offsets 2 to 5 of market.index.v1[0]"), "{said}");
    assert!(said.contains("`tickstream lake accept-hole --topic market.index.v1 --partition 0`"), "{said}");
    let wrong = setting.tickstream(&broker, &["lake", "new-epoch", "--yes"]);
    assert!(wrong.code == 2 && one_line(&wrong).contains("bound to the topic as it is now"), "{}", wrong.stderr);

    // The gap events' topic is the other test's too.
    let of_hole = async || {
        let all = gaps(&broker).await;
        all.into_iter().filter(|gap| gap.detail.contains("market.index.v1[0]")).collect::<Vec<_>>()
    };
    let shown = setting.tickstream(&broker, &["lake", "accept-hole"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("offsets 2 to 5 of market.index.v1[0] were removed"), "{}", shown.stdout);
    assert!(shown.stdout.contains("Nothing was changed"), "{}", shown.stdout);
    assert_eq!((setting.chain(0, 0).len(), of_hole().await.len()), (1, 0), "nothing was done");
    let done = setting.tickstream(&broker, &["lake", "accept-hole", "--yes", "-o", "json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let answer: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    let expected = serde_json::json!([
        {"topic": "market.index.v1", "partition": 0, "start": 2, "next_offset": 6, "state": "accepted"}
    ]);
    assert_eq!(answer, expected);
    for arguments in [&["lake", "accept-hole", "--yes"][..], &["lake", "accept-hole", "--partition", "0"]] {
        let again = setting.tickstream(&broker, arguments);
        assert!(again.code == 2 && one_line(&again).contains("there is no hole to accept"), "{}", again.stderr);
    }
    let nowhere = setting.tickstream(&broker, &["lake", "accept-hole", "--partition", "7"]);
    assert!(nowhere.code == 2 && one_line(&nowhere).contains("has 1 partitions"), "{}", nowhere.stderr);

    setting.consume(&broker, 1, 9, 0);
    let kinds: Vec<_> = setting.chain(0, 0).into_iter().take(2).collect();
    assert_eq!(kinds, [(LinkKind::Data, 0, 2), (LinkKind::Hole, 2, 6)]);
    let expected: Vec<_> = sent[..2].iter().chain(&sent[6..]).cloned().collect();
    assert_eq!(setting.values(0, 0), (expected, 5));
    let told = of_hole().await;
    let [gap] = &told[..] else { panic!("{told:?}") };
    assert_eq!((gap.reason, gap.source.as_str()), (GapReason::Overflow, "lake"));
    assert!(gap.ended_at.is_some_and(|end| gap.started_at > 1_700_000_000_000_000 && end >= gap.started_at), "{gap:?}");
    assert!(gap.detail.contains("offsets 2 to 5"), "{gap:?}");
    let audited = setting.audit_is_equal(&broker);
    assert!(audited.contains("KNOWN LOST  market.index.v1[0]: offsets 2 to 5"), "{audited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_gone_before_the_lake_began_is_named() {
    let stack = stack::shared().await;
    let (broker, lake) = (cluster(stack, "new", &NEW).await, Lake::of(stack, "begun-late"));
    let setting = Setting { stack, lake: &lake, topic: topics::PAYLOADS, group: "begun-late" };
    broker.create(setting.topic, 1).await;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    broker.send(setting.topic, 1, &vec![encoder.payload(&example::payload()); 5]);
    broker.delete_below(setting.topic, 2).await;
    setting.consume(&broker, 1, 5, 0);
    let audited = setting.audit_is_equal(&broker);
    assert!(audited.contains("KNOWN LOST  market.payloads.v1[0]: offsets 0 to 1, removed by retention"), "{audited}");
}
