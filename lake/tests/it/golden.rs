//! The golden lakes of the repository (`tests/golden_lake/`), read and continued by today's code. What is expected was written
//! by hand. A test that fails here says that lakes in use can no longer be read: mend the code, never the lake.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use lake::chain::{Batch, Chain};
use lake::{bronze, raw};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::consume::Fault;
use pipeline::lake::{Link, LinkKind, LinkRows, note_key};
use pipeline::records::{Record, RecordBuffer};
use pipeline::topics;

use crate::make_golden::{BROKER_MS, given, topic_id};
use crate::shelf::Shelf;

fn golden() -> Shelf {
    Shelf::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden_lake/decoder-2"))
}

/// As the broker would have it on which `topic` was created for the `epoch`th time.
fn golden_at(topic: &str, epoch: u32) -> Shelf {
    let mut lake = golden();
    lake.topic_id = topic_id(topic, epoch);
    lake
}

const TICKS_0: &str = "raw/market.ticks.v1/epoch=0000/partition=00000/00000000000000000000.parquet";
const TICKS_3: &str = "raw/market.ticks.v1/epoch=0000/partition=00000/00000000000000000003.parquet";

#[test]
fn every_raw_object_says_what_it_holds() {
    let lake = golden();
    let mut checked = Vec::new();
    let mut check = |key: &str, kind: LinkKind, range: (i64, i64), offsets: &[i64]| {
        let key = format!("raw/{key}.parquet");
        let (link, records) = raw::decode(lake.bytes(&key)).expect("a raw object");
        assert_eq!(Link::from_pairs(&lake.metadata(&key)), Some(link), "{key}: metadata and footer");
        assert_eq!((link.kind, link.start, link.next_offset), (kind, range.0, range.1), "{key}");
        assert_eq!(records.offsets().values(), offsets, "{key}");
        let times: Vec<i64> = offsets.iter().map(|offset| BROKER_MS + offset * 250).collect();
        assert_eq!(records.timestamps_ms().values(), &times[..], "{key}");
        let rows = offsets.first().zip(offsets.last()).map(|(first, last)| LinkRows {
            first: *first,
            last: *last,
            count: offsets.len() as u64,
            first_time_ms: times[0],
        });
        assert_eq!(link.rows, rows, "{key}");
        checked.push(key);
    };
    use LinkKind::{Data, End, Hole};
    check("market.ticks.v1/epoch=0000/partition=00000/00000000000000000000", Data, (0, 3), &[0, 1, 2]);
    check("market.ticks.v1/epoch=0000/partition=00000/00000000000000000003", Data, (3, 8), &[3, 4, 6]);
    check("market.ticks.v1/epoch=0000/partition=00001/00000000000000000000", Data, (0, 1), &[0]);
    check("market.ticks.v1/epoch=0000/partition=00001/00000000000000000001", Hole, (1, 5), &[]);
    check("market.ticks.v1/epoch=0000/partition=00001/00000000000000000005", Data, (5, 6), &[5]);
    check("market.ticks.v1.dlq/epoch=0000/partition=00000/00000000000000000000", Data, (0, 2), &[1]);
    check("market.ticks.v1.dlq/epoch=0000/partition=00000/00000000000000000002", Data, (2, 4), &[]);
    check("market.gaps.v1/epoch=0000/partition=00000/00000000000000000000", Data, (0, 2), &[0, 1]);
    check("market.gaps.v1/epoch=0000/partition=00000/00000000000000000002", End, (2, 2), &[]);
    check("market.gaps.v1/epoch=0001/partition=00000/00000000000000000000", Data, (0, 1), &[0]);
    check("market.index.v1/epoch=0000/partition=00000/00000000000000000000", Data, (0, 1), &[0]);
    checked.sort();
    let mut all = lake.keys("raw/");
    all.retain(|key| key.ends_with(".parquet"));
    assert_eq!(checked, all);
}

#[test]
fn raw_bytes_are_those_that_were_sent() {
    let lake = golden();
    let (_, first) = raw::decode(lake.bytes(TICKS_0)).expect("a raw object");
    assert_eq!(first.keys().iter().flatten().collect::<Vec<_>>(), [b"BTC-USD", b"ETH-USD", b"BTC-EUR"]);
    assert_eq!(first.headers(0), []);
    let headers = [("source".to_owned(), Some(b"by hand".to_vec())), ("none".to_owned(), None)];
    assert_eq!(first.headers(1), headers);
    // CRC-64-AVRO of schemas/price_tick-v1.avsc, of a record that is older than the others.
    assert_eq!(first.values().value(2)[..10], [0xc3, 0x01, 0x29, 0x41, 0xfb, 0xa9, 0x49, 0xb8, 0xf2, 0xc7]);
    let (_, second) = raw::decode(lake.bytes(TICKS_3)).expect("a raw object");
    assert!(second.keys().is_null(0) && second.values().is_null(1));
    assert_eq!(second.values().value(0), b"\xc3\x01 is not ours");
}

/// The text of these columns, a row after the other.
fn cells(object: Bytes, columns: &[&str]) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(object).expect("parquet");
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().expect("a reader").map(|batch| batch.expect("rows")).collect();
    let all = concat_batches(&schema, &batches).expect("one schema");
    let text = |column: &str, row: usize| {
        let array = all.column_by_name(column).unwrap_or_else(|| panic!("no column {column}"));
        let array = match array.data_type() {
            DataType::Timestamp(..) => cast(array, &DataType::Int64).expect("a number"),
            _ => array.clone(),
        };
        array_value_to_string(&array, row).expect("text")
    };
    (0..all.num_rows())
        .map(|row| columns.iter().map(|column| text(column, row)).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Every bronze object: its columns of interest, its rows, what it leaves out.
fn check_bronze(lake: &Shelf) {
    let mut checked = Vec::new();
    let mut check = |key: &str, columns: &[&str], rows: &[&str], left_out: &[i64]| {
        let key = format!("bronze/{key}.parquet");
        assert_eq!(cells(lake.bytes(&key), columns), rows, "{key}");
        let bad = bronze::bad(lake.bytes(&key)).expect("a footer");
        assert_eq!(bad.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), left_out, "{key}");
        checked.push(key);
    };
    let tick =
        ["kafka_partition", "kafka_offset", "broker_time", "symbol", "price", "event_time", "revision", "retracted"];
    let at = "dt=2026-01-01/hour=00";
    check(
        &format!("ticks/{at}/market.ticks.v1+0000+00000+00000000000000000000"),
        &tick,
        &[
            "0 0 1767225600000000 BTC-USD 67187.340000000000000000 1760000000001000 0 false",
            "0 1 1767225600250000 ETH-USD 3480.123456789012345678 1760000000001000 0 false",
            "0 2 1767225600500000 BTC-EUR 58000.100000000000000000 1767225601500000 0 false",
        ],
        &[],
    );
    check(
        &format!("ticks/{at}/market.ticks.v1+0000+00000+00000000000000000003"),
        &tick,
        &["0 6 1767225601500000 SHIB-USD 0.000000000000000001 1760000000001000 0 false"],
        &[3, 4],
    );
    check(
        &format!("ticks/{at}/market.ticks.v1+0000+00001+00000000000000000000"),
        &tick,
        &["1 0 1767225600000000 BTC-USD 1.000000000000000000 1760000000001000 0 false"],
        &[],
    );
    check(
        &format!("ticks/{at}/market.ticks.v1+0000+00001+00000000000000000005"),
        &tick,
        &["1 5 1767225601250000 BTC-USD 67187.340000000000000000 1760000000001000 1 true"],
        &[],
    );
    let gap = ["kafka_offset", "source", "symbols", "reason", "started_at", "ended_at"];
    let (open, closed) = (
        "coinbase [BTC-USD] DISCONNECTED 1760000000000000 ",
        "coinbase [BTC-USD] DISCONNECTED 1760000000000000 1760000060000000",
    );
    let rows = [&*format!("0 {open}"), &*format!("1 {closed}")];
    check(&format!("gaps/{at}/market.gaps.v1+0000+00000+00000000000000000000"), &gap, &rows, &[]);
    let rows = [&*format!("0 {closed}")];
    check(&format!("gaps/{at}/market.gaps.v1+0001+00000+00000000000000000000"), &gap, &rows, &[]);
    check(
        &format!("index_weights/{at}/market.index.v1+0000+00000+00000000000000000000"),
        &["index_name", "code", "part", "theoretical_quantity", "pregao_date"],
        &["IBOV PETR4 6.127000000000000000 4493165233.000000000000000000 2026-03-02"],
        &[],
    );
    checked.sort();
    let mut all = lake.keys("bronze/");
    all.retain(|key| !key.starts_with("bronze/_notes/"));
    assert_eq!(checked, all);
}

#[test]
fn every_bronze_object_holds_what_was_told() {
    check_bronze(&golden());
}

#[tokio::test]
async fn a_writer_finds_each_tail_and_goes_on() {
    for (topic, epoch, partition, tail) in [
        (topics::TICKS, 0, 0, 8),
        (topics::TICKS, 0, 1, 6),
        (topics::GAPS, 1, 0, 1),
        (topics::INDEX, 0, 0, 1),
        ("market.ticks.v1.dlq", 0, 0, 4),
    ] {
        // From nothing, from the middle of an object or a hole, from the tail.
        for committed in [None, Some(2), Some(tail)] {
            let committed = committed.map(|offset| (offset, format!("epoch={epoch:04}")));
            let world = Arc::new(golden_at(topic, epoch));
            let opened = Chain::open(world.clone(), &given(topic, partition, committed.clone())).await;
            let mut chain = opened.expect("the golden chain");
            assert_eq!(chain.tail(), tail, "{topic}[{partition}] from {committed:?}");
            let mut buffer = RecordBuffer::new();
            buffer.push_owned(Record { offset: tail, timestamp_ms: BROKER_MS, key: None, value: Some(b"more") }, &[]);
            let batch = Batch { start: tail, next_offset: tail + 1, records: buffer.finish() };
            let step = chain.write(&batch).await.expect("written");
            assert_eq!((step.commit, step.resume_at), (tail + 1, tail + 1));
            let again = Chain::open(world, &given(topic, partition, None)).await.expect("the chain, longer by one");
            assert_eq!(again.tail(), tail + 1);
        }
    }
}

#[tokio::test]
async fn what_was_closed_or_is_another_topic_stops() {
    let stopped = async |lake: Shelf| match Chain::open(Arc::new(lake), &given(topics::GAPS, 0, None)).await {
        Err(Fault::Stop(error)) => format!("{error:#}"),
        Err(Fault::Outage(error)) => panic!("an outage: {error:#}"),
        Ok(chain) => panic!("opened at {}", chain.tail()),
    };
    let said = stopped(golden_at(topics::GAPS, 0)).await;
    assert!(said.contains("market.gaps.v1") && said.contains("epoch 0001"), "{said}");
}

#[tokio::test]
async fn a_newer_decoder_makes_bronze_again_and_leaves_notes() {
    let (topic, partition) = (topics::TICKS, 0);
    let newer = bronze::VERSION + 1;
    let mut lake = golden_at(topic, 0);
    lake.version = newer;
    let world = Arc::new(lake);
    Chain::open(world.clone(), &given(topic, partition, None)).await.expect("the golden chain");
    let notes: Vec<String> =
        [0, 3].map(|start| note_key("ticks", topic, 0, partition, start, newer)).into_iter().collect();
    assert_eq!(world.keys("bronze/_notes/"), notes);
    check_bronze(&world);
    for (key, version) in world.keys("bronze/ticks/").iter().zip([newer, newer, 2, 2]) {
        assert_eq!(world.metadata(key)["tickstream-decoder-version"], version.to_string(), "{key}");
    }
    let left_out: Vec<i64> = world.letters().iter().map(|(offset, _)| *offset).collect();
    assert_eq!(left_out, [3, 4], "what is left out is told");
}

#[tokio::test]
async fn bronze_that_was_deleted_is_made_again_and_leaves_a_note_where_the_chain_goes_on() {
    let lake = golden_at(topics::TICKS, 0);
    let made =
        |start: i64| format!("bronze/ticks/dt=2026-01-01/hour=00/market.ticks.v1+0000+00000+{start:020}.parquet");
    // The first was there when the second raw object was put; of the second nobody knows whether it ever was.
    for start in [0, 3] {
        lake.remove(&made(start));
    }
    let world = Arc::new(lake);
    Chain::open(world.clone(), &given(topics::TICKS, 0, None)).await.expect("the golden chain");
    assert_eq!(world.keys("bronze/_notes/"), [note_key("ticks", topics::TICKS, 0, 0, 0, bronze::VERSION)]);
    check_bronze(&world);
}
