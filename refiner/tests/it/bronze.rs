//! A lake of one test: raw and bronze objects of its own, and the refiner over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;
use lake::encodings::Encodings;
use lake::raw;
use lake::remake::{Remade, bronze_of_raw};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::events::{Gap, IndexWeight, PriceTick, event_id};
use pipeline::example;
use pipeline::lake::{Epoch, Link, LinkKind, Origin, epoch_key, origin_key, raw_key};
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::store::{Condition, Put, Store, StoreArgs};
use pipeline::topics;
use refiner::engine::Engine;
use refiner::objects::Objects;
use refiner::refiner::Refiner;
use refiner::run::{Report, run};
use refiner::spool::Spool;
use refiner::tables::Prefixes;
use stack::Stack;
use uuid::Uuid;

/// 2026-03-02T00:00:00Z, a Monday.
pub const MONDAY: i64 = 1_772_409_600_000_000;
pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

const TOPIC_ID: Uuid = Uuid::from_u128(11);

pub struct Lake {
    pub store: Store,
    encoder: Encoder,
    encodings: Encodings,
    /// Where each chain goes on.
    next: std::sync::Mutex<BTreeMap<(String, i32), i64>>,
}

/// A lake's part of the bucket, asked for at `url`.
pub async fn store_at(stack: &Stack, url: &str, prefix: &str) -> Store {
    let args = StoreArgs {
        s3_bucket: stack.s3.bucket.clone(),
        s3_endpoint_url: Some(url.to_owned()),
        s3_prefix: prefix.to_owned(),
        aws_region: "us-east-1".to_owned(),
    };
    drop(rustls::crypto::ring::default_provider().install_default());
    let (id, secret) = (&stack.s3.access_key_id, &stack.s3.secret_access_key);
    Store::connect_as(&args, id, secret).await.expect("a bucket")
}

impl Lake {
    pub async fn new(stack: &Stack, prefix: &str) -> Self {
        let store = store_at(stack, &stack.s3.endpoint_url, prefix).await;
        let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
        Self { store, encoder, encodings: Encodings::new(None), next: std::sync::Mutex::default() }
    }

    pub async fn refiner(&self) -> Arc<Refiner> {
        self.refiner_over(Objects::new(self.store.clone())).await
    }

    pub async fn refiner_over(&self, objects: Objects) -> Arc<Refiner> {
        self.refiner_of(objects, Prefixes::default()).await
    }

    pub async fn refiner_of(&self, objects: Objects, prefixes: Prefixes) -> Arc<Refiner> {
        let spool = Spool::new(None, 64 << 20).expect("a folder");
        let engine = Engine::new(256 << 20, spool.folder(), Default::default()).await.expect("sound SQL");
        Arc::new(Refiner { objects, prefixes, spool, engine })
    }

    /// One raw object and its bronze; gives the bronze key.
    pub async fn ticks(&self, partition: i32, broker_us: i64, ticks: &[PriceTick]) -> String {
        let values = ticks.iter().map(|tick| self.encoder.tick(tick)).collect();
        self.append(topics::TICKS, partition, broker_us, values).await
    }

    /// As [`Lake::ticks`], with the bronze that an older decoder made: it read `misread`.
    pub async fn older(&self, partition: i32, broker_us: i64, ticks: &[PriceTick], misread: &[PriceTick]) -> String {
        let values = |ticks: &[PriceTick]| ticks.iter().map(|tick| self.encoder.tick(tick)).collect::<Vec<_>>();
        let Remade { key, mut metadata, .. } =
            self.append_raw(topics::TICKS, partition, broker_us, values(ticks)).await;
        let start =
            key.trim_end_matches(".parquet").rsplit_once('+').expect("a bronze key").1.parse().expect("an offset");
        metadata.insert("tickstream-decoder-version".to_owned(), "1".to_owned());
        let records = records(start, broker_us / 1000, &values(misread));
        let bytes = self.encodings.bronze_of(RecordType::PriceTick, partition, &records).await.expect("decoded").bytes;
        self.put(&key, bytes, metadata).await;
        key
    }

    pub async fn gaps(&self, broker_us: i64, gaps: &[Gap]) -> String {
        let values = gaps.iter().map(|gap| self.encoder.gap(gap)).collect();
        self.append(topics::GAPS, 0, broker_us, values).await
    }

    pub async fn weights(&self, broker_us: i64, weights: &[IndexWeight]) -> String {
        let values = weights.iter().map(|weight| self.encoder.index_weight(weight)).collect();
        self.append(topics::INDEX, 0, broker_us, values).await
    }

    pub async fn append(&self, topic: &str, partition: i32, broker_us: i64, values: Vec<Vec<u8>>) -> String {
        let made = self.append_raw(topic, partition, broker_us, values).await;
        self.put(&made.key, made.bytes, made.metadata).await;
        made.key
    }

    /// A raw object without its bronze, which is given.
    pub async fn append_raw(&self, topic: &str, partition: i32, broker_us: i64, values: Vec<Vec<u8>>) -> Remade {
        let start = self.next.lock().expect("no panic").get(&(topic.to_owned(), partition)).copied().unwrap_or(0);
        if start == 0 {
            let epoch = Epoch { cluster_id: "cluster".to_owned(), topic_id: TOPIC_ID };
            self.put(&epoch_key(topic, 0), json(&epoch), Default::default()).await;
            for partition in 0..=partition {
                self.put(&origin_key(topic, 0, partition), json(&Origin { offset: 0 }), Default::default()).await;
            }
        }
        let records = records(start, broker_us / 1000, &values);
        let next_offset = start + i64::try_from(values.len()).expect("few");
        let link = Link { kind: LinkKind::Data, topic_id: TOPIC_ID, start, next_offset, rows: raw::rows(&records) };
        let bytes = raw::encode(&link, &records, Default::default()).expect("encoded");
        let metadata = link.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let key = raw_key(topic, 0, partition, start);
        self.put(&key, bytes.clone(), metadata).await;
        let made = bronze_of_raw(&self.encodings, &key, bytes).await.expect("decoded").expect("a table");
        self.next.lock().expect("no panic").insert((topic.to_owned(), partition), next_offset);
        made
    }

    async fn put(&self, key: &str, bytes: Bytes, metadata: std::collections::HashMap<String, String>) {
        drop::<Put>(self.store.put(key, bytes, metadata, Condition::IfNoneMatch).await.expect("a store"));
    }

    /// Every key under a prefix with its ETag.
    pub async fn etags(&self, prefix: &str) -> BTreeMap<String, String> {
        let objects = Objects::new(self.store.clone());
        let listed = objects.list(prefix, None).await.expect("a listing");
        listed.into_iter().map(|listed| (listed.key, listed.etag)).collect()
    }

    /// Silver and gold, the refiner's own notes left out.
    pub async fn layers(&self) -> BTreeMap<String, String> {
        let mut all = self.etags("silver/").await;
        all.extend(self.etags("gold/").await);
        all.retain(|key, _| !key.contains("/_refiner/"));
        all
    }

    /// The rows of an object as readers see them: column names and values as text.
    pub async fn rows(&self, key: &str) -> Vec<BTreeMap<String, String>> {
        let object = self.store.get(key).await.expect("a store").unwrap_or_else(|| panic!("{key} is there"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(object.bytes).expect("parquet");
        let schema = builder.schema().clone();
        let batches: Vec<RecordBatch> = builder.build().expect("a reader").collect::<Result<_, _>>().expect("rows");
        let batch = concat_batches(&schema, &batches).expect("one batch");
        let row = |row: usize| {
            let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
                let text = arrow::util::display::array_value_to_string(column, row).expect("text");
                (field.name().clone(), text)
            });
            columns.collect()
        };
        (0..batch.num_rows()).map(row).collect()
    }

    /// Rows of a partition of a table, if it is there.
    pub async fn partition(&self, path: &str) -> Vec<BTreeMap<String, String>> {
        self.rows(&format!("{path}/part.parquet")).await
    }
}

/// A run over everything; panics where anything could not be made.
pub async fn refine(refiner: &Arc<Refiner>) -> Report {
    let report = run(refiner, |_, _| true).await.expect("a run");
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    report
}

fn json(value: &impl serde::Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("plain fields"))
}

fn records(start: i64, timestamp_ms: i64, values: &[Vec<u8>]) -> Records {
    let mut buffer = RecordBuffer::new();
    for (offset, value) in (start..).zip(values) {
        buffer.push_owned(Record { offset, timestamp_ms, key: None, value: Some(value) }, &[]);
    }
    buffer.finish()
}

/// A trade of `source` at `event_us`, with an id of its own.
pub fn trade(source: &str, symbol: &str, number: u32, price: &str, event_us: i64) -> PriceTick {
    let (base, quote) = symbol.split_once('-').expect("a pair");
    PriceTick {
        event_id: event_id(source, "trades", symbol, &number.to_string()),
        source: source.to_owned(),
        symbol: symbol.to_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        price: price.parse().expect("a decimal"),
        quantity: Some("0.5".parse().expect("a decimal")),
        event_time: event_us,
        received_at: event_us + 50_000,
        source_symbol: symbol.to_owned(),
        ..example::tick()
    }
}
