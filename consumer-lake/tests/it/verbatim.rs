//! What goes in comes out, whatever it is, in objects of the asked size, and the same again after a rewind.

use pipeline::codec::{Encoder, Framing};
use pipeline::events::{Gap, GapReason};
use pipeline::headers::{UNREADABLE, insert};
use pipeline::topics;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use std::time::Duration;
use uuid::Uuid;

use crate::broker::Broker;
use crate::lake::Lake;
use crate::service::{Service, command, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn keys_values_and_headers_come_back_as_they_were() {
    let stack = stack::shared().await;
    let (broker, lake, topic) = (Broker::of(stack), Lake::of(stack, "verbatim"), "lake.verbatim");
    broker.create(topic, 1).await;
    let large = vec![0xA5; 900_000];
    let values: Vec<Option<&[u8]>> = vec![Some(b""), None, Some(b"\x00\xff\xc3\x01"), Some(&large), Some(b"last")];
    let producer = broker.producer();
    for (index, value) in values.iter().enumerate() {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(0);
        record.payload = *value;
        if index == 2 {
            let headers = OwnedHeaders::new().insert(Header { key: "a", value: Some("1") });
            record = record.key(b"\xfe").headers(headers.insert(Header { key: "a", value: None::<&str> }));
        }
        producer.send(record).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(Duration::from_secs(20)).expect("flushed");

    let service = Service::start(&mut command(stack, &lake, topic, "verbatim"));
    wait_for("five records", || lake.tail(topic, 0) == 5);
    wait_for("the commit", || broker.committed("verbatim", topic, 0) == Some((5, "epoch=0000".to_owned())));
    service.terminate();
    let expected: Vec<Option<Vec<u8>>> = values.iter().map(|value| value.map(<[u8]>::to_vec)).collect();
    assert_eq!(lake.values(topic, 0), expected);
    let chain = lake.chain(topic, 0);
    let (link, records) = chain.iter().find(|(link, _)| link.next_offset > 2).expect("offset 2");
    let row = records.position(2).expect("offset 2");
    assert_eq!(records.keys().value(row), b"\xfe");
    assert_eq!(records.headers(row), [("a".to_owned(), Some(b"1".to_vec())), ("a".to_owned(), None)]);
    assert!(link.rows.is_some_and(|rows| rows.first_time_ms > 1_700_000_000_000), "the broker's time");
    assert!(lake.files("bronze").is_empty(), "a topic without a table stays raw");
}

/// Two records that rdkafka's own reading of headers panics at, or is silent about.
#[tokio::test(flavor = "multi_thread")]
async fn no_header_stops_the_lake() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "headers"), topics::ALERTS, "headers");
    broker.create(topic, 1).await;
    broker.create(&topics::dlq(topic), 1).await;
    let one = [(&b"caf\xe9"[..], Some(&b"1"[..])), (b"plain", None)];
    let one = one.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| insert(headers, key, value));
    let many = (0..100_001).fold(OwnedHeaders::new(), |headers, _| insert(headers, b"k", None));
    let producer = broker.producer();
    for headers in [one, many] {
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(b"garbage").headers(headers);
        producer.send(record).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(Duration::from_secs(20)).expect("flushed");

    let both = format!("{topic},{}", topics::dlq(topic));
    let service = Service::start(&mut command(stack, &lake, &both, group));
    wait_for("the commit", || broker.committed(group, topic, 0) == Some((2, "epoch=0000".to_owned())));
    wait_for("the letters in the lake", || lake.tail(&topics::dlq(topic), 0) == 2);
    service.terminate();
    let headers = |topic: &str, offset: i64| {
        let chain = lake.chain(topic, 0);
        let found = chain.iter().find_map(|(_, records)| Some(records.headers(records.position(offset)?)));
        found.expect("a record")
    };
    let expected = [("\0caf%E9".to_owned(), Some(b"1".to_vec())), ("plain".to_owned(), None)];
    assert_eq!(headers(topic, 0), expected);
    assert_eq!(headers(topic, 1), [(UNREADABLE.to_owned(), None)]);
    assert_eq!(headers(&topics::dlq(topic), 0)[..2], expected, "a dead letter has the record's own headers");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_have_the_asked_size_and_a_rewind_makes_the_same_ones() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "rotation"), "lake.rotation", "rotation");
    broker.create(topic, 1).await;
    let values: Vec<Vec<u8>> = (0..100u8).map(|index| vec![index; 100]).collect();
    broker.send(topic, 1, &values);
    let start = |rows: &str, bytes: &str| {
        Service::start(command(stack, &lake, topic, group).args(["--max-rows", rows, "--max-bytes", bytes]))
    };
    let by_rows = start("7", "1000000");
    wait_for("a hundred records", || broker.committed(group, topic, 0).is_some_and(|(offset, _)| offset == 100));
    by_rows.terminate();
    let chain = lake.whole_chain(topic, 0);
    assert_eq!(chain.len(), 15, "a hundred records, seven an object");
    assert!(chain[..14].iter().all(|(_, records)| records.len() == 7));

    broker.send(topic, 1, &values);
    let by_bytes = start("1000000", "1000");
    wait_for("another hundred", || broker.committed(group, topic, 0).is_some_and(|(offset, _)| offset == 200));
    by_bytes.terminate();
    let chain = lake.whole_chain(topic, 0);
    assert!(chain[15..].iter().all(|(_, records)| records.len() <= 10), "1,000 bytes an object");

    let before = lake.files("");
    broker.rewind(group, topic, 37);
    let again = start("1000000", "1000000");
    let end = Some((200, "epoch=0000".to_owned()));
    wait_for("the commit to follow, though nothing new came", || broker.committed(group, topic, 0) == end);
    broker.send(topic, 1, &values[..3]);
    wait_for("what came after the rewind", || {
        broker.committed(group, topic, 0).is_some_and(|(offset, _)| offset == 203)
    });
    again.terminate();
    let mut after = lake.files("");
    after.retain(|path, _| before.contains_key(path));
    let same = after.iter().all(|(path, now)| path.ends_with("conditional-writes") || before.get(path) == Some(now));
    assert!(same && after.len() == before.len(), "raw is found and skipped, byte for byte and not written again");
    let expected: Vec<_> = values.iter().chain(&values).chain(&values[..3]).cloned().map(Some).collect();
    assert_eq!(lake.values(topic, 0), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_records_and_markers_leave_no_trace_and_no_hole() {
    let stack = stack::shared().await;
    let (broker, lake, topic) = (Broker::of(stack), Lake::of(stack, "transactions"), "lake.transactions");
    broker.create(topic, 1).await;
    let service = Service::start(command(stack, &lake, topic, "transactions").args(["--max-rows", "4"]));
    let mut expected = Vec::new();
    for round in 0..6u8 {
        let values: Vec<Vec<u8>> = (0..5u8).map(|index| vec![round, index]).collect();
        broker.transaction(topic, "lake-transactions", &values, round % 2 == 0);
        if round % 2 == 0 {
            expected.extend(values.into_iter().map(Some));
        }
    }
    broker.send(topic, 1, &[b"end".to_vec()]);
    expected.push(Some(b"end".to_vec()));
    wait_for("the last record", || lake.tail(topic, 0) == 37);
    service.terminate();
    assert_eq!(lake.values(topic, 0), expected, "31 offsets of 37 were delivered or aborted, 6 are markers");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_garbage_record_in_a_thousand_is_one_dead_letter() {
    let stack = stack::shared().await;
    let (broker, lake, topic) = (Broker::of(stack), Lake::of(stack, "garbage"), topics::GAPS);
    broker.create(topic, 1).await;
    broker.create(&topics::dlq(topic), 1).await;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    let mut values: Vec<Vec<u8>> = (0..1000).map(|index| encoder.gap(&gap(index))).collect();
    values[500] = b"garbage".to_vec();
    broker.send(topic, 1, &values);
    let both = format!("{topic},{}", topics::dlq(topic));
    let service = Service::start(command(stack, &lake, &both, "garbage").args(["--max-rows", "300"]));
    wait_for("the commit", || broker.committed("garbage", topic, 0) == Some((1000, "epoch=0000".to_owned())));
    wait_for("the letter in the lake", || lake.tail(&topics::dlq(topic), 0) == 1);
    service.terminate();
    let bronze = lake.bronze("gaps", topic, 0);
    let sums = bronze.iter().fold((0, 0), |sum, (rows, bad)| (sum.0 + rows, sum.1 + bad));
    assert_eq!(sums, (999, 1));
    assert_eq!(broker.read(&topics::dlq(topic)), [b"garbage"]);
    assert_eq!(lake.values(&topics::dlq(topic), 0), [Some(b"garbage".to_vec())], "a dead letter is kept raw");
    assert_eq!(lake.values(topic, 0), values.into_iter().map(Some).collect::<Vec<_>>(), "raw keeps the garbage too");
}

fn gap(index: u128) -> Gap {
    Gap {
        id: Uuid::from_u128(index),
        source: "simulated".to_owned(),
        symbols: vec!["BTC-USD".to_owned()],
        reason: GapReason::Stale,
        started_at: 1_700_000_000_000_000,
        ended_at: None,
        detail: String::new(),
    }
}
