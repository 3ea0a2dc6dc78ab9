//! The export as a person runs it, read back by a CSV reader.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ::lake::Encodings;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::events::{Alert, PriceTick};
use pipeline::example;
use pipeline::lake::{bronze_key, table};
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::topics::TICKS;
use stack::Stack;
use tempfile::TempDir;
use uuid::Uuid;

use crate::lake::Lake;
use crate::{Answer, command, run};

/// 2026-11-21T22:30:00Z.
const EVENING: i64 = 1_795_300_200_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

struct Export {
    stack: &'static Stack,
    lake: Lake,
    encoder: Encoder,
    folder: TempDir,
}

impl Export {
    async fn new(prefix: &str) -> Self {
        let stack = stack::shared().await;
        let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
        let lake = Lake::empty(stack, prefix, Uuid::nil());
        Self { stack, lake, encoder, folder: tempfile::tempdir().expect("a folder") }
    }

    async fn run(&self, arguments: &[&str]) -> Answer {
        let mut export = command(self.stack, &["lake", "export", "--csv", "--to"]);
        export.arg(self.folder.path()).args(arguments).env("S3_PREFIX", &self.lake.prefix);
        run(export).await
    }

    async fn done(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments).await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer.stdout
    }

    /// A bronze object of ticks at these broker times.
    async fn bronze(&self, partition: i32, start: i64, ticks: &[(i64, PriceTick)]) -> RecordBatch {
        let values: Vec<_> =
            ticks.iter().map(|(timestamp_ms, tick)| (*timestamp_ms, self.encoder.tick(tick))).collect();
        self.bronze_of(RecordType::PriceTick, partition, start, &values).await
    }

    /// A bronze object of records at these broker times.
    async fn bronze_of(&self, of: RecordType, partition: i32, start: i64, values: &[(i64, Vec<u8>)]) -> RecordBatch {
        let mut buffer = RecordBuffer::new();
        for (offset, (timestamp_ms, value)) in (start..).zip(values) {
            let record = Record { offset, timestamp_ms: *timestamp_ms, key: None, value: Some(value) };
            buffer.push_owned(record, &[]);
        }
        let records: Records = buffer.finish();
        let made = Encodings::new(None).bronze_of(of, partition, &records).await.expect("bronze");
        let key = bronze_key(table(of), values[0].0, of.topic(), 0, partition, start);
        self.lake.write(&key, &made.bytes, HashMap::new()).await;
        let reader = ParquetRecordBatchReaderBuilder::try_new(made.bytes).expect("parquet");
        let schema = reader.schema().clone();
        let batches: Vec<RecordBatch> = reader.build().expect("a reader").map(|batch| batch.expect("rows")).collect();
        concat_batches(&schema, &batches).expect("one batch")
    }

    /// Every file under the folder, by its path.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let (mut files, mut folders) = (BTreeMap::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.folder.path()).expect("below").display().to_string();
                    files.insert(name, fs::read(&path).expect("a file"));
                }
            }
        }
        files
    }

    /// One column of a file.
    fn column(&self, file: &str, column: &str) -> Vec<String> {
        let path = self.folder.path().join(file);
        let mut reader = csv::Reader::from_path(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let headers = reader.headers().expect("a header").clone();
        let index = headers.iter().position(|name| name == column).unwrap_or_else(|| panic!("{column} in {headers:?}"));
        reader.records().map(|record| record.expect("as many cells as columns")[index].to_owned()).collect()
    }
}

fn tick(symbol: &str, price: &str, sequence: i64) -> PriceTick {
    PriceTick {
        symbol: symbol.to_owned(),
        price: price.parse().expect("a decimal"),
        sequence: Some(sequence),
        ..example::tick()
    }
}

fn day(folder: &str, day: &str) -> String {
    format!("bronze/{folder}/year=2026/month=11/day={day}/ticks.csv")
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_goes_to_a_file_a_day_and_symbol() {
    let export = Export::new("cli-export").await;
    let btc = |price, sequence| tick("BTC-USD", price, sequence);
    // Partition 1 begins at 22:30 and goes on into the next two days; partition 0 begins after midnight.
    let spanning = [
        (EVENING, btc("67187.3358936566", 1)),
        (EVENING + HOUR, tick("ETH-USD", "3000.10", 2)),
        (EVENING + 2 * HOUR, btc("-0.000000000000000001", 3)),
        (EVENING + 30 * HOUR, btc("34664", 4)),
    ];
    export.bronze(1, 40, &spanning).await;
    let mut odd = tick("=CMD|'/C calc'!A0", "1", 5);
    odd.trade_id = Some("-7,\"x\"\r\ny".to_owned());
    export.bronze(0, 7, &[(EVENING + 3 * HOUR, btc("5", 6)), (EVENING + 3 * HOUR, odd)]).await;
    export.bronze(1, 44, &[(EVENING + 30 * HOUR + 1, btc("6", 7))]).await;

    let answer = export.done(&[]).await;
    assert!(answer.starts_with("7 rows of ticks in 5 files, "), "{answer}");
    assert!(answer.contains("2026-11-21 to 2026-11-23"), "{answer}");
    let files = export.files();
    let odd_folder = "%3dcmd%7c%27%2fc%20calc%27%21a0";
    let mut expected = vec![day("btc-usd", "21"), day("btc-usd", "22"), day("btc-usd", "23"), day("eth-usd", "21")];
    expected.insert(0, day(odd_folder, "22"));
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), expected);

    assert_eq!(export.column(&day("btc-usd", "21"), "price"), ["67187.3358936566"]);
    assert_eq!(export.column(&day("btc-usd", "22"), "price"), ["-0.000000000000000001", "5"]);
    assert_eq!(export.column(&day("btc-usd", "23"), "sequence"), ["4", "7"]);
    assert_eq!(export.column(&day("btc-usd", "22"), "kafka_offset"), ["42", "7"]);
    assert_eq!(export.column(&day("btc-usd", "22"), "broker_time")[0], "2026-11-22T00:30:00.000000Z");
    assert_eq!(export.column(&day("btc-usd", "21"), "event_id"), [example::tick().event_id.to_string()]);
    assert_eq!(export.column(&day(odd_folder, "22"), "symbol"), ["'=CMD|'/C calc'!A0"]);
    assert_eq!(export.column(&day(odd_folder, "22"), "trade_id"), ["'-7,\"x\"\r\ny"]);
    let text = String::from_utf8(files[&day("eth-usd", "21")].clone()).expect("text");
    assert!(text.starts_with("event_id,revision,source,symbol,") && text.contains(",3000.1,"), "{text}");
    assert!(text.ends_with("\r\n") && text.lines().count() == 2, "{text}");

    // Again: the same bytes, whatever an interrupted export left behind.
    let left = export.folder.path().join(day("btc-usd", "22") + ".partial");
    fs::write(&left, b"half a li").expect("written");
    export.done(&[]).await;
    assert_eq!(export.files(), files);

    // A part is the same part, though its first row stands in an object of the day before.
    for (folder, arguments, same) in [
        ("from", &["--from", "2026-11-23"][..], vec![day("btc-usd", "23")]),
        ("day", &["--from", "2026-11-22", "--until", "2026-11-22", "--symbol", "btc-usd"], vec![day("btc-usd", "22")]),
        ("until", &["--until", "2026-11-21"], vec![day("btc-usd", "21"), day("eth-usd", "21")]),
    ] {
        let part = Export { folder: tempfile::tempdir().expect("a folder"), ..Export::new("cli-export").await };
        part.done(arguments).await;
        let found = part.files();
        assert_eq!(found.keys().cloned().collect::<Vec<_>>(), same, "{folder}");
        assert!(found.iter().all(|(name, bytes)| files[name] == *bytes), "{folder}");
    }

    nothing_and_trouble(&export).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_nobody_wrote_are_not_exported() {
    let export = Export::new("cli-export-spoilt").await;
    export.bronze(0, 0, &[(EVENING, tick("BTC-USD", "1", 1))]).await;
    let key = bronze_key("ticks", EVENING, TICKS, 0, 0, 0);
    let mut taken = export.lake.take(&key).await;
    let middle = taken.bytes.len() / 2;
    taken.bytes[middle] ^= 1;
    export.lake.put_back(&taken).await;
    let answer = export.run(&[]).await;
    assert_eq!(answer.code, 1, "{}", answer.stdout);
    let told = answer.stderr.contains(&key) && answer.stderr.contains("`refiner rebuild --layer bronze`");
    assert!(told, "{}", answer.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_go_to_one_file_a_day_whether_they_have_a_symbol_or_not() {
    let export = Export::new("cli-export-alerts").await;
    let of_source = Alert { symbol: None, price: None, event_id: None, ..example::alert() };
    let values = [example::alert(), of_source].map(|alert| (EVENING, export.encoder.alert(&alert)));
    export.bronze_of(RecordType::Alert, 0, 3, &values).await;
    export.done(&["--table", "alerts"]).await;
    let file = "bronze/alerts/year=2026/month=11/day=21/alerts.csv";
    assert_eq!(export.files().into_keys().collect::<Vec<_>>(), [file]);
    assert_eq!(export.column(file, "symbol"), ["BTC-USD", ""]);
    assert_eq!(export.column(file, "price"), ["67187.34", ""]);
    assert_eq!(export.column(file, "event_id"), [example::tick().event_id.to_string(), String::new()]);
    assert_eq!(export.column(file, "kafka_offset"), ["3", "4"]);
}

async fn nothing_and_trouble(export: &Export) {
    let before = export.files();
    for (arguments, code, words) in [
        (&["--from", "2027-01-01"][..], 1, "nothing to export: bronze/ticks has no rows from 2027-01-01 on"),
        (&["--symbol", "BTC-USDX"], 1, "bronze/ticks has no rows of BTC-USDX on any day"),
        (&["--table", "gaps"], 1, "bronze/gaps has no rows"),
        (&["--layer", "silver"], 1, "the refiner makes silver"),
        (&["--from", "2026-11-23", "--until", "2026-11-22"], 2, "no day lies between them"),
        (&["--table", "quarantined_ticks"], 2, "--layer silver has it"),
        (&["--table", "gaps", "--symbol", "BTC-USD"], 2, "leave it out"),
    ] {
        let answer = export.run(arguments).await;
        assert_eq!((answer.code, answer.line().contains(words)), (code, true), "{arguments:?}: {}", answer.stderr);
    }
    assert_eq!(export.files(), before);

    // A disk that takes no more: one line says so, and whatever has its final name is whole.
    let full = export.folder.path().join(day("btc-usd", "22") + ".partial");
    std::os::unix::fs::symlink("/dev/full", &full).expect("a link");
    let answer = export.run(&["--until", "2026-11-22"]).await;
    assert_eq!(answer.code, 1);
    assert!(answer.line().contains("the disk is full") && answer.line().contains("btc-usd"), "{}", answer.stderr);
    fs::remove_file(&full).expect("removed");
    let named: BTreeMap<_, _> = export.files().into_iter().filter(|(name, _)| !name.ends_with(".partial")).collect();
    assert_eq!(named, before);

    // An object that a hand spoilt stops the export by its name.
    let key = bronze_key("ticks", EVENING + HOUR, TICKS, 0, 3, 0);
    export.lake.write(&key, b"PAR1 spoilt", HashMap::new()).await;
    let answer = export.run(&[]).await;
    assert_eq!(answer.code, 1);
    assert!(answer.line().contains(&key) && answer.line().contains("tickstream audit --deep"), "{}", answer.stderr);
    export.lake.take(&key).await;
}

fn parquet(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let columns = columns.iter().map(|(name, column)| (*name, column.clone()));
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.into_inner().expect("an object")
}

#[tokio::test(flavor = "multi_thread")]
async fn silver_is_of_the_day_that_its_key_names() {
    let export = Export::new("cli-export-silver").await;
    // Events of the 20th whose records came on the 21st. The older object has a column less.
    let batch = export.bronze(0, 0, &[(EVENING, tick("BTC-USD", "1.50", 1)), (EVENING, tick("ETH-USD", "2", 2))]).await;
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let all: Vec<(&str, ArrayRef)> = names.iter().map(String::as_str).zip(batch.columns().iter().cloned()).collect();
    let older: Vec<_> = all.iter().filter(|(name, _)| *name != "fx_age_ms").cloned().collect();
    let part = |day: &str, hour: &str| format!("silver/ticks/dt=2026-11-{day}/hour={hour}/part.parquet");
    export.lake.write(&part("19", "23"), &parquet(&older), HashMap::new()).await;
    export.lake.write(&part("20", "00"), &parquet(&all), HashMap::new()).await;
    export.lake.write(&part("20", "13"), &parquet(&all), HashMap::new()).await;

    let answer = export.done(&["--layer", "silver", "--symbol", "BTC-USD", "--bom"]).await;
    assert!(answer.starts_with("3 rows of ticks in 2 files, "), "{answer}");
    let file = |day: &str| format!("silver/btc-usd/year=2026/month=11/day={day}/ticks.csv");
    let files = export.files();
    assert!(files.values().all(|bytes| bytes.starts_with(b"\xef\xbb\xbfevent_id,")));
    assert_eq!(export.column(&file("20"), "price"), ["1.5", "1.5"]);
    assert_eq!(export.column(&file("19"), "fx_age_ms"), [""]);
    let header = |file: &str| String::from_utf8_lossy(&files[file]).lines().next().map(str::to_owned);
    assert_eq!(header(&file("19")), header(&file("20")));

    // Columns that only the key names; a float is digits too.
    let weights = |quantity: f64| {
        parquet(&[
            ("code", Arc::new(StringArray::from(vec!["A/B"])) as ArrayRef),
            ("quantity", Arc::new(Float64Array::from(vec![quantity]))),
        ])
    };
    for (action, quantity) in [("A%2FB", 1e-7), ("C", 2e21)] {
        let key = format!("silver/index_weights/pregao_date=2026-03-02/action={action}/part.parquet");
        export.lake.write(&key, &weights(quantity), HashMap::new()).await;
    }
    export.done(&["--layer", "silver", "--table", "index_weights"]).await;
    let file = "silver/index_weights/year=2026/month=03/day=02/index_weights.csv";
    assert_eq!(
        String::from_utf8_lossy(&export.files()[file]),
        "code,quantity,pregao_date,action\r\nA/B,0.0000001,2026-03-02,A/B\r\nA/B,2000000000000000000000,2026-03-02,C\r\n"
    );

    // A column that the newest object does not know is not dropped in silence.
    export.lake.write(&part("18", "00"), &parquet(&[("new", all[0].1.clone())]), HashMap::new()).await;
    let answer = export.run(&["--layer", "silver"]).await;
    assert_eq!(answer.code, 1);
    assert!(answer.line().contains("has a column new"), "{}", answer.stderr);
    assert!(Path::new(&export.folder.path().join("silver")).exists());
}
