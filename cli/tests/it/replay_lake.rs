//! The lake of a generation: beside the live one, made of the topic and of the raw lake, compared layer by layer, interrupted and
//! dropped. Nothing live is touched.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Decimal128Type;
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::events::PriceTick;
use pipeline::store::{Condition, Put, Store};
use serde_json::{Value, json};

use crate::replay_exchange::apart;
use crate::replay_generation::bulk;
use crate::replay_installation::Installation;
use crate::replay_story::told;

const HOUR: i64 = 3_600_000_000;
const COUNT: u32 = 300;
const KILLS: u32 = 3;

/// ETags of everything that is live.
pub async fn live(store: &Store) -> BTreeMap<String, String> {
    let (mut found, mut after) = (BTreeMap::new(), None::<String>);
    loop {
        let listed = store.list("", after.as_deref()).await.expect("a listing");
        let Some(last) = listed.last() else { return found };
        after = Some(last.key.clone());
        let is_live =
            |key: &str| !key.starts_with("generations/") && !key.contains("/_refiner/") && !key.starts_with("_probe");
        found.extend(listed.into_iter().filter(|object| is_live(&object.key)).map(|object| (object.key, object.etag)));
    }
}

pub async fn plan(installation: &Installation, name: &str, more: &[&str]) -> PathBuf {
    let file = installation.stack.data_dir().join(&installation.prefix).join(format!("{name}.json"));
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    let out = ["replay", "plan", "--name", name, "--target", "lake", "--out", file.to_str().expect("UTF-8")];
    installation.ends(0, &[&out[..], more].concat()).await;
    file
}

/// The counts of each layer.
pub async fn counts(installation: &Installation, code: i32, name: &str) -> BTreeMap<String, Value> {
    let diff = installation.ends(code, &["replay", "diff", name, "-o", "json"]).await;
    let of = |line: Value| Some((line["layer"].as_str()?.to_owned(), line.get("counts")?.clone()));
    diff.json_lines().into_iter().filter_map(of).collect()
}

/// With another price in this row.
pub fn raised(rows: &RecordBatch, row: usize) -> RecordBatch {
    let schema = rows.schema();
    let price = schema.index_of("price").expect("a price");
    let prices = rows.column(price).as_primitive::<Decimal128Type>();
    let changed = prices.iter().enumerate().map(|(at, value)| value.map(|value| value + i128::from(at == row)));
    let changed: Decimal128Array = changed.collect();
    let changed = changed.with_precision_and_scale(prices.precision(), prices.scale()).expect("the same type");
    let mut columns = rows.columns().to_vec();
    columns[price] = Arc::new(changed) as ArrayRef;
    RecordBatch::try_new(schema, columns).expect("a batch")
}

/// Takes the first row away and adds one to the price of the next.
async fn spoil(store: &Store, key: &str) {
    let object = store.get(key).await.expect("an answer").expect("it is there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(object.bytes).expect("Parquet").build().expect("a reader");
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.expect("a batch")).collect();
    let whole = concat_batches(&batches[0].schema(), &batches).expect("one batch");
    let spoilt = raised(&whole.slice(1, whole.num_rows() - 1), 0);
    let mut writer = ArrowWriter::try_new(Vec::new(), spoilt.schema(), None).expect("a writer");
    writer.write(&spoilt).expect("written");
    let bytes = writer.into_inner().expect("Parquet").into();
    let put = store.put(key, bytes, object.head.metadata, Condition::IfMatch(&object.head.etag)).await;
    assert!(matches!(put, Ok(Put::Done { .. })), "{put:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_beside_the_live_one_is_as_that_is_and_what_is_altered_is_named() {
    let mut installation = Installation::without_services("replay-lake").await;
    installation.serve("consumer-lake");
    installation.serve("refiner");
    installation.right_trades(1, 20).await;
    let begin = apart().await;
    // All in one minute of an hour that is over.
    let at = (Timestamp::now().as_microsecond() / HOUR - 2) * HOUR;
    let ticks = bulk(COUNT, at);
    installation.publish(&ticks).await;
    installation.publish(&ticks[..5]).await;
    let end = apart().await;
    let corrected = PriceTick { revision: 1, price: "5".parse().expect("a price"), ..ticks[10].clone() };
    let moved = PriceTick {
        revision: 1,
        event_time: at - HOUR,
        previous_event_time: Some(ticks[11].event_time),
        ..ticks[11].clone()
    };
    let retracted = PriceTick { revision: 1, retracted: true, ..ticks[12].clone() };
    installation.publish(&[corrected, moved, retracted]).await;
    let store = installation.store().await;

    let span = ["--from-datetime", &begin, "--to-datetime", &end];
    let of_topic = plan(&installation, "beside", &span).await;
    let execute = ["replay", "execute", of_topic.to_str().expect("UTF-8")];
    for round in 0..KILLS {
        let mut command = installation.command(&execute);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
        tokio::time::sleep(Duration::from_millis(400 + u64::from(round) * 500)).await;
        running.kill().expect("killed or ended");
        running.wait().expect("a child");
    }
    told("tickstream replay execute beside.json", &installation.ends(0, &execute).await);
    installation
        .wait_for("the live lake has it, too", async || installation.run(&["replay", "diff", "beside"]).await.code == 0)
        .await;
    let same = |same: u32, left_alone: u32| json!({"different": 0, "only_generation": 0, "only_live": 0, "left_alone": left_alone, "same": same});
    let found = counts(&installation, 0, "beside").await;
    assert_eq!(found["bronze"], same(COUNT + 5, 0));
    assert_eq!(found["silver"], same(COUNT - 3, 3));
    // Of seven symbols those of the three that were corrected since are not compared.
    assert_eq!(found["gold candles"], same(4 * 4, 0));

    let of_raw = [&span[..], &["--source", "lake-raw", "--symbol", "S1-USD,S2-USD"]].concat();
    let of_raw = plan(&installation, "raw", &of_raw).await;
    let before = live(&store).await;
    let written = installation.ends(0, &["replay", "execute", of_raw.to_str().expect("UTF-8")]).await;
    assert!(written.stdout.starts_with("the generation raw is written: 0 rows, 0 corrections, "), "{}", written.stdout);
    let found = counts(&installation, 0, "raw").await;
    let of_two = u32::try_from(ticks.iter().filter(|tick| ["S1-USD", "S2-USD"].contains(&&*tick.symbol)).count());
    assert_eq!(found["silver"], same(of_two.expect("few"), 0));
    assert_eq!(live(&store).await, before, "nothing live is written");

    let hour = before.keys().find(|key| key.starts_with("silver/ticks/") && key.contains(&hour_of(at)));
    let hour = hour.expect("the hour's object").clone();
    spoil(&store, &hour).await;
    let found = counts(&installation, 1, "beside").await;
    assert_eq!(found["bronze"], same(COUNT + 5, 0));
    assert_eq!((&found["silver"]["different"], &found["silver"]["only_generation"]), (&json!(1), &json!(1)));
    let differs = installation.ends(1, &["replay", "diff", "beside"]).await;
    told("tickstream replay diff beside", &differs);
    let is_named = |line: &str| line.starts_with("silver") && line.contains("different") && line.contains("price");
    assert!(differs.stdout.lines().any(is_named), "{}", differs.stdout);

    // What no replay wrote is neither written to nor deleted.
    let foreign = store.put("generations/other/mine", "x".into(), [].into(), Condition::IfNoneMatch).await;
    assert!(matches!(foreign, Ok(Put::Done { .. })), "{foreign:?}");
    let other = plan(&installation, "other", &span).await;
    let refused = installation.ends(2, &["replay", "execute", other.to_str().expect("UTF-8")]).await;
    assert!(refused.line().contains("generations/other holds objects that no replay wrote"), "{}", refused.stderr);
    let refused = installation.ends(2, &["replay", "drop", "other"]).await;
    assert!(refused.line().contains("they are not deleted"), "{}", refused.stderr);

    let before = live(&store).await;
    for name in ["beside", "raw"] {
        let dropped = installation.ends(0, &["replay", "drop", name]).await;
        told(&format!("tickstream replay drop {name}"), &dropped);
        assert!(dropped.stdout.contains(&format!(" objects below generations/{name}/")), "{}", dropped.stdout);
    }
    let left = store.list("generations/", None).await.expect("a listing");
    assert_eq!(left.iter().map(|object| &*object.key).collect::<Vec<_>>(), ["generations/other/mine"]);
    assert_eq!(live(&store).await, before);
}

/// As it stands in a key of silver.
pub fn hour_of(at: i64) -> String {
    let time = Timestamp::from_microsecond(at).expect("a time");
    time.strftime("dt=%Y-%m-%d/hour=%H/").to_string()
}
