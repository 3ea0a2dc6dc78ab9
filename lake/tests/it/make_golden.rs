//! Makes a golden lake: `TICKSTREAM_GOLDEN_LAKE=<new folder>`. The records, times and ids are fixed, so the same code makes
//! the same bytes. A golden lake that is in the repository is never made again: a later one gets a folder beside it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use lake::chain::{Batch, Chain, Given};
use lake::world::World;
use pipeline::codec::{Encoder, Framing};
use pipeline::events::{Gap, PriceTick};
use pipeline::lake::{Epoch, Link, LinkKind, epoch_key, raw_key, table};
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::store::{Condition, Put};
use pipeline::{example, topics};
use uuid::Uuid;

use crate::shelf::{CLUSTER, Shelf};

/// The broker's time of the first record of each partition: 2026-01-01T00:00:00Z.
pub const BROKER_MS: i64 = 1_767_225_600_000;

/// A tick as fastavro 1.13 wrote it with schemas/price_tick-v1.avsc, which is not the newest.
const OLD_TICK: &str = "2941fba949b8f2c700000000000000000000000000000003000c6b72616b656e0e4254432d4555520642544306455552\
                        04140c483114a44ccdca000000000000000000c08db9e388d2a306008092f6e388d2a30600000e5842542f4555520000\
                        0000000000000000000000000007000000";

/// What the broker would say: another id for each topic and each time that it was created.
pub fn topic_id(topic: &str, epoch: u32) -> Uuid {
    Uuid::from_u128(topic.bytes().fold(u128::from(epoch) + 1, |number, byte| (number << 5) ^ u128::from(byte)))
}

/// What a record is made of: offset, key, value.
type Row<'a> = (i64, Option<&'a str>, Option<&'a [u8]>);

/// The record at offset 1 has headers.
fn records(rows: &[Row<'_>]) -> Records {
    let headers = [("source".to_owned(), Some(b"by hand".to_vec())), ("none".to_owned(), None)];
    let mut buffer = RecordBuffer::new();
    for &(offset, key, value) in rows {
        let record = Record { offset, timestamp_ms: BROKER_MS + offset * 250, key: key.map(str::as_bytes), value };
        buffer.push_owned(record, if offset == 1 { &headers } else { &[] });
    }
    buffer.finish()
}

pub fn given(topic: &str, partition: i32, committed: Option<(i64, String)>) -> Given {
    let table = topics::record_type(topic).map(table);
    Given { topic: topic.into(), partition, table, committed, log_start: 0, log_end: i64::MAX }
}

/// The shelf as a broker would have it on which `topic` was created for the `epoch`th time.
fn at(mut shelf: Shelf, topic: &str, epoch: u32) -> Shelf {
    shelf.topic_id = topic_id(topic, epoch);
    shelf
}

/// Continues a chain with one object.
async fn write(shelf: Shelf, topic: &str, partition: i32, next_offset: i64, rows: &[Row<'_>]) -> Shelf {
    let world = Arc::new(shelf);
    let mut chain = Chain::open(world.clone(), &given(topic, partition, None)).await.expect("a chain");
    let batch = Batch { start: chain.tail(), next_offset, records: records(rows) };
    chain.write(&batch).await.expect("written");
    drop(chain);
    Arc::into_inner(world).expect("nobody else holds it")
}

/// A link without records, as an operator's command puts it.
async fn put_link(shelf: &Shelf, topic: &str, partition: i32, kind: LinkKind, start: i64, next_offset: i64) {
    let link = Link { kind, topic_id: shelf.topic_id, start, next_offset, rows: None };
    let bytes = shelf.raw(&link, &Records::empty()).await.expect("encoded");
    let metadata = link.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let put = shelf.put(&raw_key(topic, 0, partition, start), bytes, metadata, Condition::IfNoneMatch).await;
    assert!(matches!(put, Ok(Put::Done { .. })));
}

#[tokio::test]
async fn make() {
    let Some(folder) = std::env::var_os("TICKSTREAM_GOLDEN_LAKE").map(PathBuf::from) else { return };
    let folder =
        std::path::absolute(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(folder)).expect("a path");
    assert!(!folder.exists(), "{} is there: a golden lake is never made again", folder.display());
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    let tick = |number: u128, symbol: &str, price: &str| PriceTick {
        event_id: Uuid::from_u128(number),
        symbol: symbol.to_owned(),
        price: price.parse().expect("a decimal"),
        ..example::tick()
    };
    let tick = |number, symbol, price| encoder.tick(&tick(number, symbol, price));
    let old: Vec<u8> = (0..OLD_TICK.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&OLD_TICK[at..at + 2], 16))
        .collect::<Result<_, _>>()
        .expect("hexadecimal");
    let old = [&[0xc3, 0x01], &old[..]].concat();

    let shelf = at(Shelf::empty(), topics::TICKS, 0);
    let (one, two) = (tick(1, "BTC-USD", "67187.34"), tick(2, "ETH-USD", "3480.123456789012345678"));
    let rows: [Row<'_>; 3] =
        [(0, Some("BTC-USD"), Some(&one)), (1, Some("ETH-USD"), Some(&two)), (2, Some("BTC-EUR"), Some(&old))];
    let shelf = write(shelf, topics::TICKS, 0, 3, &rows).await;
    // A transaction's marker is at 5 and at 7; a record that is none, and one without a value.
    let small = tick(6, "SHIB-USD", "0.000000000000000001");
    let rows: [Row<'_>; 3] =
        [(3, None, Some(b"\xc3\x01 is not ours")), (4, Some("BTC-USD"), None), (6, Some("SHIB-USD"), Some(&small))];
    let shelf = write(shelf, topics::TICKS, 0, 8, &rows).await;

    let first = tick(10, "BTC-USD", "1");
    let shelf = write(shelf, topics::TICKS, 1, 1, &[(0, Some("BTC-USD"), Some(&first))]).await;
    put_link(&shelf, topics::TICKS, 1, LinkKind::Hole, 1, 5).await;
    let taken_back = encoder.tick(&PriceTick {
        event_id: Uuid::from_u128(10),
        revision: 1,
        retracted: true,
        previous_symbol: Some("BTC-USD".to_owned()),
        ..example::tick()
    });
    let shelf = write(shelf, topics::TICKS, 1, 6, &[(5, Some("BTC-USD"), Some(&taken_back))]).await;

    // An epoch that was closed, and the one after it.
    let shelf = at(shelf, topics::GAPS, 0);
    let (open, closed) = (example::gap(), Gap { ended_at: Some(1_760_000_060_000_000), ..example::gap() });
    let (open, closed) = (encoder.gap(&open), encoder.gap(&closed));
    let rows: [Row<'_>; 2] = [(0, Some("coinbase"), Some(&open)), (1, Some("coinbase"), Some(&closed))];
    let shelf = write(shelf, topics::GAPS, 0, 2, &rows).await;
    put_link(&shelf, topics::GAPS, 0, LinkKind::End, 2, 2).await;
    let shelf = at(shelf, topics::GAPS, 1);
    let epoch = Epoch { cluster_id: CLUSTER.to_owned(), topic_id: shelf.topic_id };
    let epoch = serde_json::to_vec(&epoch).expect("plain text").into();
    let put = shelf.put(&epoch_key(topics::GAPS, 1), epoch, HashMap::new(), Condition::IfNoneMatch).await;
    assert!(matches!(put, Ok(Put::Done { .. })));
    let shelf = write(shelf, topics::GAPS, 0, 1, &[(0, Some("coinbase"), Some(&closed))]).await;

    let shelf = at(shelf, topics::INDEX, 0);
    let weight = encoder.index_weight(&example::index_weight());
    let shelf = write(shelf, topics::INDEX, 0, 1, &[(0, Some("IBOV"), Some(&weight))]).await;

    // A topic that stays raw, with a stretch of offsets that were never delivered.
    let letters = topics::dlq(topics::TICKS);
    let shelf = at(shelf, &letters, 0);
    let shelf = write(shelf, &letters, 0, 2, &[(1, Some("BTC-USD"), Some(b"garbage"))]).await;
    let shelf = write(shelf, &letters, 0, 4, &[]).await;
    shelf.save(&folder);
}
