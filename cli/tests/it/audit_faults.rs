//! Faults planted into a market that is right everywhere, each found under its place and mended; and audits of what is right,
//! as many as TICKSTREAM_AUDITS says, that print none.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch};
use arrow::datatypes::Decimal128Type;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use pipeline::lake::{Origin, epoch_key, origin_key, parse_raw_key};
use pipeline::topics::{INDEX, TICKS};
use serde_json::Value;
use uuid::Uuid;

use crate::audit_planted::{of_postgres, words};
use crate::audit_world::{HOUR, MINUTE, World, id};
use crate::lake::Taken;

/// Each line of the answer says all the words of one entry, and each entry is said.
fn says(found: &[String], expected: &[Vec<String>], what: &str) {
    let has = |line: &String, words: &Vec<String>| words.iter().all(|word| line.contains(word));
    for words in expected {
        assert!(found.iter().any(|line| has(line, words)), "{what}: nothing says {words:?}: {found:#?}");
    }
    for line in found {
        assert!(expected.iter().any(|words| has(line, words)), "{what}: {line:?} was not expected: {expected:#?}");
    }
}

impl World {
    /// These differences are found, and no others.
    async fn finds(&self, what: &str, more: &[&str], expected: &[Vec<String>]) {
        let answer = self.audit(more).await;
        assert_eq!(answer.code, 1, "{what}: {}\n{}", answer.stdout, answer.stderr);
        let report = answer.json();
        let lines = |of: &Value| -> Vec<String> {
            of.as_array().expect("lines").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let found = lines(&report["differences"]);
        says(&found, expected, what);
        let counted: u64 = report["kinds"].as_object().expect("kinds").values().filter_map(Value::as_u64).sum();
        assert_eq!(counted, found.len() as u64, "{report:#}");
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        self.lake.keys(prefix).await
    }
}

/// The market is the same everywhere, however often and in whatever way it is asked.
async fn clean_however_it_is_asked(world: &World) {
    let audits = std::env::var("TICKSTREAM_AUDITS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    let metrics = world.metrics.path().join("audit.prom");
    let metrics = metrics.to_str().expect("text");
    for _ in 0..audits {
        let report = world.clean(&["--metrics-file", metrics]).await;
        let told = |path: &str| report.pointer(path).and_then(Value::as_u64);
        assert_eq!(told("/totals/postgres_rows"), Some(70), "{report:#}");
        assert_eq!(told("/refined/silver_rows"), Some(70), "{report:#}");
        assert!(told("/refined/gold_objects") >= Some(6), "{report:#}");
    }
    eprintln!("{audits} audits of what is right found nothing");
    let text = std::fs::read_to_string(metrics).expect("metrics");
    for line in [
        "tickstream_audit_equal 1",
        "tickstream_audit_differences{kind=\"silver\"} 0",
        "tickstream_audit_records{in=\"silver\"} 70",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
    let deep = world.clean(&["--deep"]).await;
    assert_eq!(deep["refined"]["rows_compared"], 70, "{deep:#}");
    let refined = world.clean(&["--only", "refined"]).await;
    assert_eq!((&refined["totals"]["delivered"], &refined["refined"]["silver_rows"]), (&0.into(), &70.into()));
    let since = world.clean(&["--since", "1h"]).await;
    assert_eq!(since["totals"]["delivered"], world.clean(&[]).await["totals"]["delivered"]);
    assert_eq!(world.clean(&["--since", "now"]).await["totals"]["delivered"], 0);
}

/// The first looks at all, those after it at what is new and at one hour of the past each.
async fn each_minute(world: &mut World) {
    let first = world.clean(&["--incremental"]).await;
    assert_eq!(first["totals"]["postgres_rows"], 70, "{first:#}");
    let second = world.clean(&["--incremental"]).await;
    assert_eq!(
        (&second["totals"]["delivered"], &second["refined"]["hours_compared"]),
        (&0.into(), &1.into()),
        "{second:#}"
    );

    // What nobody has taken yet is no difference, and is told.
    world.send_tick(&world.tick(80), 0).await;
    let waiting = world.clean(&["--incremental"]).await;
    let pending = waiting["pending"].to_string();
    assert!(
        pending.contains("1 records are not in the lake yet") && pending.contains("not in Postgres yet"),
        "{waiting:#}"
    );
    world
        .finds(
            "late",
            &["--incremental", "--taken-within", "0s"],
            &[
                words(&["market.ticks.v1[0]", "not in the lake yet"]),
                words(&["1 events of the topic have no row in Postgres", &id(80).to_string()]),
            ],
        )
        .await;
    world.settle().await;
    let taken = world.clean(&["--incremental"]).await;
    assert_eq!((&taken["totals"]["delivered"], &taken["totals"]["postgres_rows"]), (&1.into(), &1.into()), "{taken:#}");
    assert_eq!(world.clean(&["--incremental"]).await["totals"]["delivered"], 0);

    // A fault of the past is found when its hour has its turn, and again until it is mended.
    let altered = format!("update ticks set price = price + 1 where event_id = '{}'", id(15));
    world.sql(&altered).await;
    let mut audits = 0;
    while world.audit(&["--incremental"]).await.code == 0 {
        audits += 1;
        assert!(audits <= 3, "there are three hours at most");
    }
    for _ in 0..2 {
        let answer = world.audit(&["--incremental"]).await;
        assert!(answer.code == 1 && answer.stdout.contains(&id(15).to_string()), "{}", answer.stdout);
    }
    world.sql(&altered.replace('+', "-")).await;
    world.clean(&["--incremental"]).await;

    // A raw object that was there is missed.
    let newest = world.keys("raw/market.ticks.v1/epoch=0000/partition=00000/0").await.pop().expect("an object");
    let taken = world.lake.take(&newest).await;
    let (.., start) = parse_raw_key(&newest).expect("a raw key");
    let answer = world.audit(&["--incremental"]).await;
    let gone = format!("market.ticks.v1[0]: the raw object at {start} was there when an audit looked before");
    assert!(answer.code == 1 && answer.stdout.contains(&gone), "{gone}: {}", answer.stdout);
    world.lake.put_back(&taken).await;
    world.clean(&["--incremental"]).await;
}

/// Each fault of Postgres by itself says what it should, all of them together as well.
async fn faults_of_postgres(world: &mut World) -> usize {
    let planted = of_postgres(world);
    let mut all = Vec::new();
    for (what, plant, _, expected) in &planted {
        eprintln!("planted: {what}");
        world.sql(plant).await;
        all.extend(expected.clone());
    }
    // What stands above a candle that is wrong is not what it comes to, either.
    all.push(words(&["the candle", "narrower candles"]));
    world.finds("Postgres", &[], &all).await;
    for (_, _, mend, _) in &planted {
        world.sql(mend).await;
    }
    world.clean(&[]).await;
    planted.len()
}

async fn faults_of_the_lake(world: &World) -> usize {
    let raw = world.keys("raw/market.ticks.v1/epoch=0000/partition=00000/0").await;
    let bronze_of = async |raw: &str| {
        let (topic, epoch, partition, start) = parse_raw_key(raw).expect("a raw key");
        let name = format!("{topic}+{epoch:04}+{partition:05}+{start:020}.parquet");
        world.keys("bronze/ticks/").await.into_iter().find(|key| key.ends_with(&name)).expect("its bronze")
    };
    let start = |raw: &str| parse_raw_key(raw).expect("a raw key").3;
    assert!(raw.len() >= 4, "{raw:?}");

    // Deleted, from the middle and from the end; its bronze gone; the bronze of another in its place; another topic's epoch.
    let deleted = world.lake.take(&raw[1]).await;
    let no_bronze = world.lake.take(&bronze_of(&raw[2]).await).await;
    let [last, other] = [bronze_of(&raw[3]).await, bronze_of(&raw[0]).await];
    let of_other = world.lake.take(&last).await;
    let first = world.lake.take(&other).await;
    world.lake.put_back(&first).await;
    world.lake.put_back(&Taken { key: last.clone(), ..first }).await;
    let weights = epoch_key(INDEX, 0);
    let bound = world.lake.take(&weights).await;
    let elsewhere = String::from_utf8(bound.bytes.clone()).expect("JSON");
    let topic_id = world.ids.topic_id(INDEX, 0).await.expect("a topic id").to_string();
    let elsewhere = elsewhere.replace(&topic_id, &Uuid::from_u128(5).to_string());
    world.lake.put(&weights, elsewhere.into_bytes(), HashMap::new()).await;
    world
        .finds(
            "the lake",
            &[],
            &[
                words(&[
                    "market.ticks.v1[0]: a hole in the lake",
                    &format!("no raw object covers offsets {}", start(&raw[1])),
                ]),
                words(&[&no_bronze.key, "is missing: the bronze of"]),
                words(&["silver/ticks/", "is made of", &no_bronze.key, "which is not there"]),
                words(&["silver/ticks/", "is stale", &last]),
                words(&[
                    "market.index.v1: the lake's newest epoch 0000 is of topic id 00000000-0000-0000-0000-000000000005",
                ]),
                words(&["market.index.v1[0]: 3 records are not in the lake yet"]),
            ],
        )
        .await;
    for taken in [&deleted, &no_bronze, &of_other, &bound] {
        world.lake.put_back(taken).await;
    }
    world.clean(&[]).await;

    // Cut off, overwritten with another's bytes, a chain that begins elsewhere; to see the first two they must be opened.
    let [cut, over] = [world.lake.take(&raw[1]).await, world.lake.take(&raw[2]).await];
    let half = cut.bytes[..cut.bytes.len() / 2].to_vec();
    world.lake.put(&cut.key, half, cut.metadata.clone()).await;
    world.lake.put(&over.key, cut.bytes.clone(), over.metadata.clone()).await;
    let origin = origin_key(TICKS, 0, 1);
    let began = world.lake.take(&origin).await;
    let other = serde_json::to_vec(&Origin { offset: 1 }).expect("JSON");
    world.lake.put(&origin, other, HashMap::new()).await;
    world
        .finds(
            "opened",
            &["--deep"],
            &[
                words(&[&cut.key, "cut off"]),
                words(&[&over.key, "are not those that were written"]),
                words(&["market.ticks.v1[1]: an overlap in the lake: the raw object at 0"]),
            ],
        )
        .await;
    for taken in [&cut, &over, &began] {
        world.lake.put_back(taken).await;
    }
    world.clean(&["--deep"]).await;
    7
}

async fn faults_of_silver_and_gold(world: &World) -> usize {
    // Silver as it was once; gold whose bytes are others; gold that is gone.
    let silver = world.lake.take(&world.silver()).await;
    world.lake.write(&silver.key, &world.old_silver, HashMap::new()).await;
    let candles = world.lake.take(&world.gold("candles/timeframe=5m")).await;
    let mut bytes = candles.bytes.clone();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x55;
    world.lake.put(&candles.key, bytes, candles.metadata.clone()).await;
    let stats = world.lake.take(&world.gold("daily_stats")).await;
    let expected = [
        words(&["gold/", "is stale", &silver.key]),
        words(&["bronze/ticks/", "was taken up, and nothing in silver is made of it"]),
        words(&[&stats.key, "is missing above silver/ticks/"]),
    ];
    world.finds("silver and gold", &[], &expected).await;
    let opened = words(&[&candles.key, "are not those that were written"]);
    let beside = words(&[&silver.key, "rows of Postgres are not in it", &id(60).to_string()]);
    let moved = words(&[&silver.key, "rows say other than Postgres", &id(6).to_string()]);
    world.finds("opened", &["--deep"], &[&expected[..], &[opened, beside, moved]].concat()).await;
    for taken in [&silver, &candles, &stats] {
        world.lake.put_back(taken).await;
    }
    world.clean(&["--deep"]).await;

    // A row of silver altered by somebody who knows how; silver that is gone.
    let silver = world.lake.take(&world.silver()).await;
    world.lake.write(&silver.key, &with_another(&silver.bytes, "price"), HashMap::new()).await;
    let stale = words(&["gold/", "is stale", &silver.key]);
    let made = words(&[&silver.key, "1 rows are not what its bronze comes to", "partition 0 offset"]);
    let beside = words(&[&silver.key, "1 rows say other than Postgres"]);
    world.finds("altered", &["--deep"], &[stale.clone(), made.clone(), beside]).await;
    world.finds("altered, without Postgres", &["--deep", "--only", "refined"], &[stale, made]).await;
    world.lake.take(&silver.key).await;
    let expected = [
        words(&["gold/", "is made of", &silver.key, "which is not there"]),
        words(&["bronze/ticks/", "nothing in silver is made of it"]),
    ];
    world.finds("gone", &[], &expected).await;
    world.lake.put_back(&silver).await;
    world.clean(&[]).await;

    // A candle of gold altered in the same way: one that says what it was made of, and says it wrongly.
    let hours = world.lake.take(&world.gold("candles/timeframe=1h")).await;
    world.lake.write(&hours.key, &with_another(&hours.bytes, "high"), HashMap::new()).await;
    let wrong =
        words(&[&hours.key, "1 candles are not what silver's ticks come to", "test TRADE", "(high)", "--layer gold"]);
    world.finds("candle", &["--deep"], std::slice::from_ref(&wrong)).await;
    world.finds("candle", &["--deep", "--only", "refined"], std::slice::from_ref(&wrong)).await;
    world.lake.put_back(&hours).await;
    let deep = world.clean(&["--deep"]).await;
    assert_eq!(deep["refined"]["hours_remade"], 2, "{deep:#}");
    assert!(deep["refined"]["candles_remade"].as_u64() > Some(10), "{deep:#}");
    6
}

/// The same object with the lowest value of a column raised by the least that there is.
fn with_another(bytes: &[u8], column: &str) -> Vec<u8> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes)).expect("Parquet");
    let pairs = builder.metadata().file_metadata().key_value_metadata().cloned();
    let pairs = pairs.map(|pairs| pairs.into_iter().filter(|pair| pair.key != "ARROW:schema").collect());
    let properties = WriterProperties::builder().set_key_value_metadata(pairs).build();
    let schema = builder.schema().clone();
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, schema.clone(), Some(properties)).expect("a writer");
    for batch in builder.build().expect("a reader") {
        let batch = batch.expect("rows");
        let place = schema.index_of(column).expect("a column");
        let prices = batch.column(place).as_primitive::<Decimal128Type>();
        let lowest = prices.values().iter().min().copied();
        let raised: Decimal128Array = prices.unary(|price| price + i128::from(Some(price) == lowest));
        let raised = raised.with_data_type(prices.data_type().clone());
        let mut columns = batch.columns().to_vec();
        columns[place] = std::sync::Arc::new(raised) as ArrayRef;
        writer.write(&RecordBatch::try_new(schema.clone(), columns).expect("rows")).expect("written");
    }
    writer.close().expect("closed");
    out
}

async fn faults_of_the_topics(world: &World) -> usize {
    // A gap that nobody has closed for two days, and a letter of a record that never was.
    let began = world.hour - 46 * HOUR;
    let open = world.gap(3, began, None);
    let offset = world.send_gap(&open).await;
    world.letter("consumer-db", TICKS, 1, 1_000_000).await;
    world.settle().await;
    world
        .finds(
            "the topics",
            &[],
            &[
                words(&[
                    &format!("the gap {}", open.id),
                    &format!("partition 0 offset {offset}"),
                    "nobody has closed it",
                ]),
                words(&[
                    "market.ticks.v1.dlq: 1 dead letters are of offsets at which no record is",
                    "partition 1 offset 1000000 of group consumer-db",
                ]),
            ],
        )
        .await;
    world.send_gap(&world.gap(3, began, Some(began + MINUTE))).await;
    world.ok(&["dlq", "drop", &format!("{TICKS}:1:1000000"), "--why", "a test", "--execute"]).await;
    world.settle().await;
    world.clean(&[]).await;

    // A letter of a record that is in bronze as well. Nothing takes a letter back, so it is the last one.
    world.letter("consumer-lake", TICKS, 0, 1).await;
    world.settle().await;
    let both = words(&[
        "the raw object at 0 holds 8 records, its bronze 8 rows, and 1 are dead letters of group consumer-lake",
    ]);
    world.finds("both", &[], &[both]).await;
    3
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_found_under_their_places() {
    let mut world = World::new("cli-audit-world").await;
    Box::pin(clean_however_it_is_asked(&world)).await;
    let mut faults = Box::pin(faults_of_postgres(&mut world)).await;
    faults += Box::pin(faults_of_the_lake(&world)).await;
    faults += Box::pin(faults_of_silver_and_gold(&world)).await;
    Box::pin(each_minute(&mut world)).await;
    faults += Box::pin(faults_of_the_topics(&world)).await;
    assert!(faults >= 20);
    eprintln!("{faults} faults were planted, each was found under its place, and what was mended is clean");
}
