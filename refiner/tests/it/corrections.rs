//! What silver and gold make of what may come: twice, late, corrected, moved, taken back, impossible; and of gaps.

use pipeline::events::{Gap, PriceTick};
use pipeline::example;
use uuid::Uuid;

use crate::bronze::{DAY, HOUR, Lake, MONDAY, SECOND, refine, trade};

fn ids(rows: &[std::collections::BTreeMap<String, String>], column: &str) -> Vec<String> {
    rows.iter().map(|row| row[column].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_stands_once_at_its_own_time() {
    let lake = Lake::new(stack::shared().await, "refine-once").await;
    let at = MONDAY + 7 * HOUR;
    let ticks: Vec<PriceTick> =
        (0..4).map(|n| trade("kraken", "BTC-USD", n, &format!("{}.5", 100 + n), at + i64::from(n) * SECOND)).collect();
    lake.ticks(0, at, &ticks).await;
    // The same again, as a reconnect or a replay brings it; one corrected; one moved to another hour; one taken back.
    lake.ticks(1, at + SECOND, &ticks).await;
    let corrected = PriceTick { revision: 1, price: "107".parse().expect("a decimal"), ..ticks[1].clone() };
    let moved = PriceTick {
        revision: 1,
        event_time: ticks[2].event_time + HOUR,
        previous_event_time: Some(ticks[2].event_time),
        ..ticks[2].clone()
    };
    let taken_back = PriceTick { revision: 1, retracted: true, ..ticks[3].clone() };
    lake.ticks(0, at + 2 * SECOND, &[corrected, moved, taken_back]).await;
    let refiner = lake.refiner().await;
    refine(&refiner).await;

    let seven = lake.partition("silver/ticks/dt=2026-03-02/hour=07").await;
    assert_eq!(ids(&seven, "price"), ["100.500000000000000000", "107.000000000000000000"]);
    assert_eq!(ids(&seven, "copies"), ["2", "3"]);
    let eight = lake.partition("silver/ticks/dt=2026-03-02/hour=08").await;
    assert_eq!(ids(&eight, "price"), ["102.500000000000000000"]);

    let hours = lake.partition("gold/candles/timeframe=1h/dt=2026-03-02").await;
    assert_eq!(ids(&hours, "open"), ["100.500000000000000000", "102.500000000000000000"]);
    assert_eq!(ids(&hours, "high"), ["107.000000000000000000", "102.500000000000000000"]);
    assert_eq!(ids(&hours, "volume"), ["1.000000000000000000", "0.500000000000000000"]);
    assert_eq!(ids(&hours, "complete"), ["true", "true"]);
    let day = lake.partition("gold/daily_stats/dt=2026-03-02").await;
    assert_eq!(
        (ids(&day, "open"), ids(&day, "close")),
        (vec!["100.500000000000000000".to_owned()], vec!["102.500000000000000000".to_owned()])
    );
    assert_eq!(
        (ids(&day, "max"), ids(&day, "ticks")),
        (vec!["107.000000000000000000".to_owned()], vec!["3".to_owned()])
    );
    let quality = lake.partition("gold/data_quality/dt=2026-03-02").await;
    assert_eq!(ids(&quality, "source"), ["kraken"]);
    assert_eq!(ids(&quality, "ticks"), ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_that_comes_before_its_event_wins_all_the_same() {
    let lake = Lake::new(stack::shared().await, "refine-before").await;
    let at = MONDAY + 3 * HOUR;
    let (kept, gone) = (trade("okx", "BTC-USD", 1, "10", at), trade("okx", "BTC-USD", 2, "11", at));
    lake.ticks(0, at, &[PriceTick { revision: 1, retracted: true, ..gone.clone() }]).await;
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    assert!(lake.partition("silver/ticks/dt=2026-03-02/hour=03").await.is_empty());
    lake.ticks(1, at + HOUR, &[kept, gone]).await;
    refine(&refiner).await;
    let rows = lake.partition("silver/ticks/dt=2026-03-02/hour=03").await;
    assert_eq!(ids(&rows, "price"), ["10.000000000000000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_times_are_quarantined_and_make_no_partitions() {
    let lake = Lake::new(stack::shared().await, "refine-quarantine").await;
    let at = MONDAY + 5 * HOUR;
    let of_1970 = trade("b3", "BTC-BRL", 1, "1", 0);
    let of_2100 = trade("b3", "BTC-BRL", 2, "1", 4_102_444_800_000_000);
    let good = trade("b3", "BTC-BRL", 3, "1", at);
    lake.ticks(0, at, &[of_1970, of_2100, good]).await;
    refine(&lake.refiner().await).await;
    let rows = lake.partition("silver/quarantined_ticks/dt=2026-03-02").await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| !row["reason"].is_empty()), "{rows:?}");
    let ticks = lake.etags("silver/ticks/").await;
    assert_eq!(ticks.keys().collect::<Vec<_>>(), ["silver/ticks/dt=2026-03-02/hour=05/part.parquet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_lasts_into_the_next_day_touches_both_until_it_is_closed() {
    let lake = Lake::new(stack::shared().await, "refine-gap").await;
    let (evening, morning) = (MONDAY + 23 * HOUR, MONDAY + DAY + HOUR);
    let noon = MONDAY + DAY + 12 * HOUR;
    lake.ticks(0, evening, &[trade("coinbase", "BTC-USD", 1, "1", evening)]).await;
    lake.ticks(
        0,
        morning,
        &[trade("coinbase", "BTC-USD", 2, "2", morning), trade("kraken", "BTC-USD", 3, "2", morning)],
    )
    .await;
    lake.ticks(0, noon, &[trade("coinbase", "BTC-USD", 4, "3", noon)]).await;
    let open = Gap { id: Uuid::from_u128(1), symbols: Vec::new(), started_at: evening + 60 * SECOND, ..example::gap() };
    lake.gaps(noon, std::slice::from_ref(&open)).await;
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    let complete = async |day: &str, source: &str| -> Vec<bool> {
        let rows = lake.partition(&format!("gold/candles/timeframe=1h/dt={day}")).await;
        rows.iter().filter(|row| row["source"] == source).map(|row| row["complete"] == "true").collect()
    };
    assert_eq!(complete("2026-03-02", "coinbase").await, [false]);
    assert_eq!(complete("2026-03-03", "coinbase").await, [false, false]);
    assert_eq!(complete("2026-03-03", "kraken").await, [true], "another source's gap is its own");

    let closed = Gap { ended_at: Some(morning + 30 * SECOND), ..open };
    lake.gaps(noon + HOUR, &[closed]).await;
    refine(&refiner).await;
    assert_eq!(complete("2026-03-02", "coinbase").await, [false]);
    assert_eq!(complete("2026-03-03", "coinbase").await, [false, true], "noon is complete again");

    // What retention took before the lake had it may be of any source.
    let lost = Gap {
        id: Uuid::from_u128(2),
        source: "*".to_owned(),
        symbols: Vec::new(),
        started_at: morning,
        ended_at: Some(morning + SECOND),
        ..example::gap()
    };
    lake.gaps(noon + HOUR, &[lost]).await;
    refine(&refiner).await;
    assert_eq!(complete("2026-03-03", "kraken").await, [false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_many_years_costs_the_days_that_there_are_and_one_of_no_time_nothing() {
    let lake = Lake::new(stack::shared().await, "refine-years").await;
    let at = MONDAY + 5 * HOUR;
    lake.ticks(0, at, &[trade("coinbase", "BTC-USD", 1, "1", at), trade("kraken", "BTC-USD", 2, "1", at)]).await;
    let open = |id: u128, source: &str, started_at: i64| Gap {
        id: Uuid::from_u128(id),
        source: source.to_owned(),
        symbols: Vec::new(),
        started_at,
        ended_at: None,
        ..example::gap()
    };
    let (of_2010, of_2100) = (1_262_304_000 * SECOND, 4_102_444_800 * SECOND);
    lake.gaps(at, &[open(1, "coinbase", of_2010), open(2, "kraken", 0), open(3, "kraken", of_2100)]).await;
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    let gaps = lake.etags("silver/gaps/").await;
    assert_eq!(gaps.keys().collect::<Vec<_>>(), ["silver/gaps/dt=2010-01-01/part.parquet"]);
    let days = lake.etags("gold/").await;
    assert!(days.keys().all(|key| key.contains("dt=2026-03-02")), "{days:?}");
    let candles = lake.partition("gold/candles/timeframe=1h/dt=2026-03-02").await;
    assert_eq!(
        (ids(&candles, "source"), ids(&candles, "complete")),
        (texts(&["coinbase", "kraken"]), texts(&["false", "true"]))
    );
    assert!(refiner.objects.requests() < 400, "{} requests", refiner.objects.requests());
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn index_weights_stand_by_day_and_paper() {
    let lake = Lake::new(stack::shared().await, "refine-weights").await;
    let weight = example::index_weight();
    let day = weight.pregao_date;
    let other =
        pipeline::events::IndexWeight { event_id: Uuid::from_u128(5), code: "VALE3".to_owned(), ..weight.clone() };
    lake.weights(weight.received_at + SECOND, &[weight.clone(), other.clone()]).await;
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    let at = |code: &str| format!("silver/index_weights/pregao_date={day}/action={code}");
    let rows = lake.partition(&at(&weight.code)).await;
    assert_eq!(rows.len(), 1);
    assert!(rows[0]["theoretical_quantity"].starts_with(&weight.theoretical_quantity.to_string()), "{rows:?}");
    assert!(rows[0].contains_key("days_since_pregao"), "{rows:?}");
    let gone = pipeline::events::IndexWeight { revision: 1, retracted: true, ..other };
    lake.weights(weight.received_at + 2 * SECOND, &[gone]).await;
    refine(&refiner).await;
    assert!(lake.partition(&at("VALE3")).await.is_empty(), "what was taken back is gone");
    assert_eq!(lake.partition(&at(&weight.code)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_of_nothing_is_no_price_in_a_rate() {
    let lake = Lake::new(stack::shared().await, "refine-zero").await;
    let at = MONDAY + 3 * HOUR;
    let prices = [("kraken", "BTC-USD", "100"), ("foreign", "BTC-USD", "0"), ("mercado", "BTC-BRL", "500")];
    let ticks = (0..).zip(prices).map(|(number, (source, symbol, price))| trade(source, symbol, number, price, at));
    lake.ticks(0, at, &ticks.collect::<Vec<_>>()).await;
    refine(&lake.refiner().await).await;
    let rates = lake.partition("gold/cross_rates/dt=2026-03-02").await;
    assert_eq!((ids(&rates, "price_b"), ids(&rates, "implied_rate")), (texts(&["100.0"]), texts(&["5.0"])));
}

/// Revisions of one event, a row each: after how many hours of Monday it stands then, by its source; and where it stands.
const MOVES: [(&str, &[i64], &[i64]); 6] = [
    ("a refused move alone changes nothing", &[1, NEVER], &[1]),
    ("a sound move counts for the refused one before it", &[2, NEVER, 10], &[10]),
    ("and for two of them", &[3, NEVER, NEVER + 1, 11], &[11]),
    ("back to where it stood", &[4, NEVER, 4], &[4]),
    ("refused by the clock of its own day, possible by that of the next", &[5, 50, 12], &[12]),
    ("moved, then refused, then moved", &[6, 13, NEVER, 14], &[14]),
];
const NEVER: i64 = 24 * 365 * 80;

/// The revision `number` of each event that has so many, as it is told `number` hours and a day after the one before.
fn told(number: usize) -> Vec<PriceTick> {
    let ticks = (0..).zip(MOVES).filter_map(|(event, (_, hours, _))| {
        let at = |hours: i64| MONDAY + hours * HOUR;
        Some(PriceTick {
            revision: i32::try_from(number).expect("few"),
            event_time: at(*hours.get(number)?),
            previous_event_time: number.checked_sub(1).map(|before| at(hours[before])),
            ..trade("kraken", "BTC-USD", event, "1", MONDAY)
        })
    });
    ticks.collect()
}

async fn standing(lake: &Lake) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for key in lake.etags("silver/ticks/").await.into_keys() {
        let part = |name: &str| refiner::tables::partition_value(&key, name).expect("a partition").to_owned();
        let hour: i64 = part("hour").parse().expect("an hour");
        let day = if part("dt") == "2026-03-02" { 0 } else { 24 };
        found.extend(lake.rows(&key).await.into_iter().map(|row| (row["event_id"].clone(), day + hour)));
    }
    found.sort();
    found
}

/// One object a revision; gives their keys.
async fn publish(lake: &Lake, number: usize) -> String {
    let broker = MONDAY + 15 * HOUR + i64::try_from(number).expect("few") * 7 * HOUR;
    lake.ticks(0, broker, &told(number)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_move_counts_once_a_sound_one_follows_in_whatever_order_they_come() {
    let stack = stack::shared().await;
    let at_once = Lake::new(stack, "refused-at-once").await;
    let mut keys = Vec::new();
    for number in 0..4 {
        keys.push(publish(&at_once, number).await);
    }
    refine(&at_once.refiner().await).await;
    let mut expected: Vec<(String, i64)> = Vec::new();
    for (tick, (_, _, hours)) in told(0).iter().zip(MOVES) {
        expected.extend(hours.iter().map(|hour| (tick.event_id.simple().to_string(), *hour)));
    }
    expected.sort();
    assert_eq!(standing(&at_once).await, expected, "{MOVES:?}");

    let one_by_one = Lake::new(stack, "refused-one-by-one").await;
    let refiner = one_by_one.refiner().await;
    for number in 0..4 {
        publish(&one_by_one, number).await;
        refine(&refiner).await;
    }
    assert_eq!(one_by_one.layers().await, at_once.layers().await, "the same bytes");

    // By notifications, the last one first.
    let backwards = Lake::new(stack, "refused-backwards").await;
    for number in 0..4 {
        publish(&backwards, number).await;
    }
    let refiner = backwards.refiner().await;
    for key in keys.iter().rev() {
        let report = refiner::run::take(&refiner, &std::iter::once(key.clone()).collect()).await.expect("taken");
        assert!(report.failed.is_empty(), "{:#?}", report.failed);
    }
    assert_eq!(standing(&backwards).await, expected);
}
