//! Three bad records in a hundred, of every kind: rows and distinct dead letters are the input, each letter says why, and the
//! rest does not wait for them. 20,000 records in `make test`; with TICKSTREAM_POISON=1000000 also a run without poison, and
//! how the two compare.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use pipeline::codec::Encoder;
use pipeline::events::PriceTick;
use stack::{Options, Stack};

use crate::broker;
use crate::database::TestDatabase;
use crate::log::{decimal, encoder, tick};

/// Of 400 records, the ones that are bad, and what their dead letter says.
const BAD: [(usize, &str); 12] = [
    (17, UNDECODABLE),
    (50, ZERO_BYTE),
    (83, ANCIENT),
    (116, REFUSED),
    (150, UNDECODABLE),
    (183, ZERO_BYTE),
    (216, ANCIENT),
    (250, REFUSED),
    (283, UNDECODABLE),
    (316, ZERO_BYTE),
    (350, ANCIENT),
    (383, REFUSED),
];
const UNDECODABLE: &str = "framing";
const ZERO_BYTE: &str = "zero byte";
const ANCIENT: &str = "event_time out of range";
const REFUSED: &str = "no_prices_of_the_beast";

fn record(encoder: &Encoder, i: usize, now: i64, poison: bool) -> (Vec<u8>, Option<&'static str>) {
    let symbol = format!("S{}-USD", i % 20);
    let good = PriceTick { symbol, event_time: now + i as i64, ..tick(&format!("t{i}"), 0, &format!("{i}.25")) };
    let bad = BAD.iter().find(|(at, _)| poison && *at == i % 400).map(|(_, reason)| *reason);
    let value = match bad {
        Some(UNDECODABLE) => format!("garbage {i}").into_bytes(),
        Some(ZERO_BYTE) => encoder.tick(&PriceTick { trade_id: Some(format!("{i}\0")), ..good }),
        Some(ANCIENT) => encoder.tick(&PriceTick { event_time: 0, ..good }),
        Some(REFUSED) => encoder.tick(&PriceTick { price: decimal("666"), ..good }),
        Some(_) | None => encoder.tick(&good),
    };
    (value, bad)
}

/// Writes `count` records to a topic and has the service read them. Gives rows a second, from the first to the last one
/// written, and how many bad records of each kind there were.
async fn run(count: usize, poison: bool) -> f64 {
    let stack = Stack::start(Options::default()).await.expect("a stack of its own");
    let database = TestDatabase::on(&stack).await;
    database.database().migrate().await.expect("migrated");
    database.execute("alter table ticks add constraint no_prices_of_the_beast check (price <> 666)").await;
    broker::create_topics(&database.kafka).await;
    let encoder = encoder().await;
    let now = jiff::Timestamp::now().as_microsecond();
    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for from in (0..count).step_by(50_000) {
        let records = (from..count.min(from + 50_000)).map(|i| record(&encoder, i, now, poison));
        let (values, bad): (Vec<_>, Vec<_>) = records.unzip();
        bad.into_iter().flatten().for_each(|reason| *expected.entry(reason).or_default() += 1);
        let kafka = database.kafka.clone();
        tokio::task::spawn_blocking(move || broker::send(&kafka, &values)).await.expect("sent");
    }
    let mut service = Command::new(env!("CARGO_BIN_EXE_consumer-db"));
    service.arg("--until-caught-up").env("DATABASE_URL", &database.url).env("RUST_LOG", "error");
    service.env("KAFKA_BOOTSTRAP_SERVERS", &database.kafka.kafka_bootstrap_servers);
    let status = tokio::task::spawn_blocking(move || service.status()).await.expect("no panic").expect("started");
    assert!(status.success());

    let bad: usize = expected.values().sum();
    assert_eq!(bad, if poison { BAD.len() * count / 400 } else { 0 });
    assert_eq!(database.value("select count(*)::text from ticks").await, (count - bad).to_string());
    assert_eq!(database.value("select count(distinct event_id)::text from ticks").await, (count - bad).to_string());
    let letters = broker::dead_letters(&database.kafka);
    let mut found: BTreeMap<&str, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (value, reason) in letters {
        let kind = [UNDECODABLE, ZERO_BYTE, ANCIENT, REFUSED].into_iter().find(|kind| reason.contains(kind));
        found.entry(kind.unwrap_or_else(|| panic!("{reason}"))).or_default().insert(value);
    }
    let found: BTreeMap<&str, usize> = found.into_iter().map(|(kind, values)| (kind, values.len())).collect();
    assert_eq!(found, expected, "distinct dead letters by reason");
    let seconds = "select extract(epoch from max(inserted_at) - min(inserted_at))::text from ticks";
    let seconds: f64 = database.value(seconds).await.parse().expect("seconds");
    drop(stack.stop().await);
    count as f64 / seconds
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_distinct_dead_letters_are_the_input() {
    let whole = std::env::var("TICKSTREAM_POISON").ok().and_then(|text| text.parse().ok());
    let Some(count) = whole else {
        run(20_000, true).await;
        return;
    };
    let (mut clean, mut poisoned) = (0.0_f64, 0.0_f64);
    for _ in 0..2 {
        clean = clean.max(run(count, false).await);
        poisoned = poisoned.max(run(count, true).await);
    }
    eprintln!("{count} records: {clean:.0} a second, with 3 % poison {poisoned:.0}: {:.2}", poisoned / clean);
    assert!(poisoned > 0.8 * clean, "bad records hold up the good ones");
}
