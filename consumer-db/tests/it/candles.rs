//! What the candles show, case by case; that they are what ticks and gaps say is asserted in each, by another query.

use consumer_db::DbSink;
use fastrand::Rng;
use pipeline::events::{Gap, Kind, PriceTick, event_id};
use pipeline::topics;

use crate::database::{TestDatabase, assert_candles, write};
use crate::log::{DAY, Log, NOON, decimal, encoder, gap, moved, one_batch, retracted, tick};

const SHOWN: &str = "select concat_ws(' ', symbol, timeframe, to_char(bucket at time zone 'UTC', 'DD HH24:MI'), \
     trim_scale(open), trim_scale(high), trim_scale(low), trim_scale(close), trim_scale(volume), ticks, \
     case when not complete then 'incomplete' end) \
     from candles where timeframe in ('1m', '1d') order by symbol, timeframe, bucket";

/// The record at `offset` of the gaps.
async fn tell(sink: &mut DbSink, gap: &Gap, offset: usize) {
    let entries = vec![(NOON / 1000, encoder().await.gap(gap)); offset + 1];
    let batch = Log(vec![entries]).batch_of(topics::GAPS, 0, offset, offset + 1);
    assert!(write(sink, &[batch]).await.is_empty());
}

async fn ticks(sink: &mut DbSink, ticks: &[PriceTick]) {
    assert!(write(sink, &[one_batch(ticks).await]).await.is_empty());
}

async fn shown(database: &TestDatabase, expected: &[&str]) {
    assert_eq!(database.column(SHOWN).await, expected);
    assert_candles(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_or_many_in_any_order() {
    let market = [tick("a", 1, "100"), tick("b", 59, "90"), tick("c", 60, "110"), tick("d", -1, "95.5")];
    let expected = [
        "BTC-USD 1d 01 00:00 95.5 110 90 110 2 4",
        "BTC-USD 1m 01 11:59 95.5 95.5 95.5 95.5 0.5 1",
        "BTC-USD 1m 01 12:00 100 100 90 90 1 2",
        "BTC-USD 1m 01 12:01 110 110 110 110 0.5 1",
    ];
    let mut dumps = Vec::new();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        for together in [true, false] {
            let database = TestDatabase::new().await;
            let mut sink = database.sink();
            let in_order: Vec<PriceTick> = order.iter().map(|&i| market[i].clone()).collect();
            if together {
                ticks(&mut sink, &in_order).await;
            } else {
                for one in &in_order {
                    ticks(&mut sink, std::slice::from_ref(one)).await;
                }
            }
            shown(&database, &expected).await;
            dumps
                .push(database.column("select (to_jsonb(candles) - 'updated_at')::text from candles order by 1").await);
        }
    }
    assert!(dumps.iter().all(|dump| *dump == dumps[0]), "not one digit depends on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_one_instant_the_event_id_decides() {
    let database = TestDatabase::new().await;
    let mut fills: Vec<PriceTick> = (0..9).map(|i| tick(&format!("f{i}"), 5, &format!("{}", 100 + i))).collect();
    for fill in &fills {
        ticks(&mut database.sink(), std::slice::from_ref(fill)).await;
    }
    fills.sort_by_key(|fill| fill.event_id);
    let (open, close) = (fills[0].price, fills[8].price);
    let line = |timeframe| format!("BTC-USD {timeframe} {open} 108 100 {close} 4.5 9");
    shown(&database, &[&line("1d 01 00:00"), &line("1m 01 12:00")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_make_both_places_again() {
    let database = TestDatabase::new().await;
    let mut sink = database.sink();
    let (a, b) = (tick("a", 10, "100"), tick("b", 20, "200"));
    ticks(&mut sink, &[a.clone(), b.clone()]).await;
    let dearer = PriceTick { revision: 1, price: decimal("300"), quantity: None, ..a };
    ticks(&mut sink, std::slice::from_ref(&dearer)).await;
    shown(&database, &["BTC-USD 1d 01 00:00 300 300 200 200 0.5 2", "BTC-USD 1m 01 12:00 300 300 200 200 0.5 2"]).await;

    let later = moved(&dearer, 13 * 3600);
    ticks(&mut sink, std::slice::from_ref(&later)).await;
    let second = "BTC-USD 1m 01 12:00 200 200 200 200 0.5 1";
    shown(
        &database,
        &[
            "BTC-USD 1d 01 00:00 200 200 200 200 0.5 1",
            "BTC-USD 1d 02 00:00 300 300 300 300 1",
            second,
            "BTC-USD 1m 02 01:00 300 300 300 300 1",
        ],
    )
    .await;

    let other =
        PriceTick { revision: 3, symbol: "XBT-USD".to_owned(), previous_symbol: Some(later.symbol.clone()), ..later };
    let other = PriceTick { previous_event_time: None, ..other };
    ticks(&mut sink, std::slice::from_ref(&other)).await;
    let first = "BTC-USD 1d 01 00:00 200 200 200 200 0.5 1";
    let moved_to = ["XBT-USD 1d 02 00:00 300 300 300 300 1", "XBT-USD 1m 02 01:00 300 300 300 300 1"];
    shown(&database, &[first, second, moved_to[0], moved_to[1]]).await;

    ticks(&mut sink, &[retracted(&b)]).await;
    shown(&database, &moved_to).await;
    let back = PriceTick { revision: 2, retracted: false, ..b };
    ticks(&mut sink, &[back, retracted(&other)]).await;
    shown(&database, &[first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_basis_and_a_source_have_candles_of_their_own() {
    let database = TestDatabase::new().await;
    let quoted = PriceTick { kind: Kind::Quote, quantity: None, ..tick("quote", 1, "101") };
    let told = PriceTick { source: "kraken".to_owned(), ..tick("kraken", 1, "102") };
    ticks(&mut database.sink(), &[tick("trade", 1, "100"), quoted, told]).await;
    let query = "select concat_ws(' ', source, price_basis, trim_scale(close), volume is null, vwap is null) \
                 from candles where timeframe = '1h' order by 1";
    assert_eq!(
        database.column(query).await,
        ["coinbase QUOTE 101 t t", "coinbase TRADE 100 f f", "kraken TRADE 102 f f"]
    );
    assert_candles(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_marks_the_candles_that_it_overlaps_and_no_others() {
    let complete = "select string_agg(case when complete then '+' else '-' end, '' order by bucket) \
                    from candles where timeframe = '1m'";
    let other_source = Gap { source: "kraken".to_owned(), ..gap(1, 60, Some(180)) };
    let other_symbol = Gap { symbols: vec!["ETH-USD".to_owned()], ..gap(1, 60, Some(180)) };
    let everybody = Gap { source: "*".to_owned(), symbols: Vec::new(), ..gap(1, 61, Some(119)) };
    let cases = [
        (vec![gap(1, 60, Some(180))], "+--+++"),
        (vec![gap(1, 60, Some(181))], "+---++"),
        (vec![gap(1, 59, Some(61))], "--++++"),
        (vec![gap(1, 120, Some(120))], "++++++"),
        (vec![gap(1, 121, Some(121))], "++-+++"),
        (vec![gap(1, 200, None)], "+++---"),
        (vec![gap(1, 200, None), gap(1, 200, Some(241))], "+++--+"),
        (vec![gap(1, 200, Some(241)), gap(1, 200, None)], "+++--+"),
        (vec![gap(1, 60, Some(180)), gap(1, 240, Some(300))], "++++-+"),
        (vec![gap(1, 0, Some(10)), gap(2, 300, None)], "-++++-"),
        (vec![other_source], "++++++"),
        (vec![other_symbol], "++++++"),
        (vec![everybody], "+-++++"),
    ];
    let minutes: Vec<PriceTick> = (0..6).map(|i| tick(&format!("m{i}"), i * 60, "100")).collect();
    for (told, expected) in cases {
        for ticks_first in [true, false] {
            let database = TestDatabase::new().await;
            let mut sink = database.sink();
            if ticks_first {
                ticks(&mut sink, &minutes).await;
            }
            for (offset, gap) in told.iter().enumerate() {
                tell(&mut sink, gap, offset).await;
                assert_candles(&database).await;
            }
            if !ticks_first {
                ticks(&mut sink, &minutes).await;
            }
            assert_eq!(database.value(complete).await, expected, "{told:?}, ticks first: {ticks_first}");
            assert_candles(&database).await;
        }
    }
}

/// A price computed from what others said is as incomplete as what it is computed from.
#[tokio::test(flavor = "multi_thread")]
async fn an_implied_price_is_concerned_by_gaps_of_others() {
    let implied = |i: i64| PriceTick {
        symbol: "BTC-BRL".to_owned(),
        source: "implied".to_owned(),
        kind: Kind::FxImplied,
        ..tick(&format!("i{i}"), i * 60, "1")
    };
    let minutes: Vec<PriceTick> = (0..6).map(implied).collect();
    let of = |n, symbols: &[&str], minute: i64| Gap {
        source: "other".to_owned(),
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        ..gap(n, minute * 60, Some(minute * 60 + 60))
    };
    let told = [
        of(1, &["BTC-USD"], 0),
        of(2, &["ETH-USD", "USD-BRL"], 1),
        of(3, &["BTC-EUR"], 2),
        of(4, &[], 3),
        of(5, &["BTC-BRL"], 4),
    ];
    for ticks_first in [true, false] {
        let database = TestDatabase::new().await;
        let mut sink = database.sink();
        if ticks_first {
            ticks(&mut sink, &minutes).await;
        }
        for gap in &told {
            tell(&mut sink, gap, 0).await;
        }
        if !ticks_first {
            ticks(&mut sink, &minutes).await;
        }
        let complete = "select string_agg(case when complete then '+' else '-' end, '' order by bucket) \
                        from candles where timeframe = '1m'";
        assert_eq!(database.value(complete).await, "--+--+");
        assert_candles(&database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_that_no_market_has_are_exact_and_their_volume_is_null() {
    let most = decimal("99999999999999999999.999999999999999999");
    let database = TestDatabase::new().await;
    let mut sink = database.sink();
    let huge = |key: &str, seconds| PriceTick { quantity: Some(most), price: most, ..tick(key, seconds, "1") };
    let negative = PriceTick { quantity: Some(decimal("-0.5")), ..tick("negative", 70, "3") };
    ticks(&mut sink, &[huge("a", 1), huge("b", 2), tick("small", 61, "2"), negative]).await;
    ticks(&mut sink, &[huge("c", 3)]).await;
    let query = "select concat_ws(' ', timeframe, coalesce(volume::text, 'null'), trim_scale(quote_volume), \
                 coalesce(vwap::text, 'null'), trim_scale(price_sum)) from candles where timeframe <> '1d' order by bucket, timeframe";
    let rows = database.column(query).await;
    assert!(rows[0].starts_with("1h null ") && rows[1].starts_with("1m null "), "{rows:?}");
    assert_eq!(rows[3], "1m 0.000000000000000000 -0.5 null 5");
    assert_candles(&database).await;

    // Made again from ticks they are the same to the last digit.
    let dump = "select (to_jsonb(candles) - 'updated_at')::text from candles order by 1";
    let before = database.column(dump).await;
    let there = PriceTick { revision: 1, ..huge("a", 1) };
    ticks(&mut sink, &[PriceTick { price: decimal("7"), ..there.clone() }]).await;
    assert_ne!(database.column(dump).await, before);
    ticks(&mut sink, &[PriceTick { revision: 2, ..there }]).await;
    assert_eq!(database.column(dump).await, before);
}

/// Writers that are given the same instants, and here and there the same events, must not miss each other's ticks.
#[tokio::test(flavor = "multi_thread")]
async fn two_writers_on_the_same_candles() {
    let database = TestDatabase::new().await;
    let shared: Vec<PriceTick> =
        (0..40).map(|i| tick(&format!("shared {i}"), i * 10, &format!("{}", 50 + i))).collect();
    let writers: Vec<_> = (0..3_u64)
        .map(|writer| {
            let (mut sink, shared) = (database.sink(), shared.clone());
            tokio::spawn(async move {
                let mut rng = Rng::with_seed(writer);
                for round in 0..40 {
                    let mut batch: Vec<PriceTick> = (0..rng.usize(1..30))
                        .map(|i| {
                            tick(&format!("{writer} {round} {i}"), rng.i64(0..400), &format!("{}", rng.u32(1..999)))
                        })
                        .collect();
                    batch.push(shared[round].clone());
                    if rng.u32(..4) == 0 {
                        let which = rng.usize(..=round);
                        batch.push(moved(&shared[which], which as i64 * 37 % 400));
                    }
                    ticks(&mut sink, &batch).await;
                    if rng.u32(..8) == 0 {
                        let started = rng.i64(0..400);
                        let told = gap(rng.u128(..4), started, rng.bool().then_some(started + 60));
                        tell(&mut sink, &told, round).await;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_candles(&database).await;
    assert_eq!(database.value("select (count(*) - count(distinct event_id))::text from ticks").await, "0");
}

/// Events that stand in two partitions: of equal revisions the one that the broker took first stays, so that a writer
/// replaces what another has written, while both write new ticks. They wait for each other in one order.
#[tokio::test(flavor = "multi_thread")]
async fn writers_that_replace_do_not_block_each_other_for_good() {
    let database = TestDatabase::new().await;
    let symbols = ["A-USD", "B-USD", "C-USD", "D-USD"];
    let writers: Vec<_> = (0..3_u64)
        .map(|writer| {
            let mut sink = database.sink();
            tokio::spawn(async move {
                let mut rng = Rng::with_seed(writer);
                let encoder = encoder().await;
                for round in 0..60_i64 {
                    let mut entries = Vec::new();
                    for i in 0..40_i64 {
                        let symbol = symbols[rng.usize(..4)].to_owned();
                        let new = tick(&format!("{writer} {round} {i}"), rng.i64(0..240), "10");
                        entries.push((NOON / 1000 + 100, encoder.tick(&PriceTick { symbol, ..new })));
                        let shared = rng.usize(..200);
                        let told = PriceTick {
                            symbol: symbols[shared % 4].to_owned(),
                            price: decimal(&format!("{}", 100 + writer)),
                            ..tick(&format!("shared {shared}"), shared as i64, "10")
                        };
                        entries.push((NOON / 1000 + 99 - round, encoder.tick(&told)));
                    }
                    let count = entries.len();
                    assert!(write(&mut sink, &[Log(vec![entries]).batch(0, 0, count)]).await.is_empty());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_candles(&database).await;
    let replaced = "select count(*)::text from ticks where broker_time < '2026-03-01T12:00:00.100Z'";
    assert_eq!(database.value(replaced).await, "200");
    assert_eq!(
        database.value("select deadlocks::text from pg_stat_database where datname = current_database()").await,
        "0"
    );
}

/// A schema that had ticks before it had candles has both after the migration.
#[tokio::test(flavor = "multi_thread")]
async fn the_migration_makes_candles_of_the_ticks_that_are_there() {
    let database = TestDatabase::new().await;
    let mut rng = Rng::with_seed(3);
    let market: Vec<PriceTick> = (0..300)
        .map(|i| PriceTick {
            event_id: event_id("coinbase", "matches", "BTC-USD", &i.to_string()),
            symbol: format!("S{}-USD", rng.u32(..3)),
            event_time: NOON - DAY / 2 + rng.i64(0..DAY),
            quantity: rng.bool().then(|| decimal(&format!("{}", rng.u32(1..9)))),
            ..tick(&i.to_string(), 0, &format!("{}", rng.u32(1..999)))
        })
        .collect();
    ticks(&mut database.sink(), &market).await;
    ticks(&mut database.sink(), &[retracted(&market[7])]).await;
    let dump = "select (to_jsonb(candles) - 'updated_at')::text from candles order by 1";
    let kept = database.column(dump).await;
    assert!(kept.len() > 300, "{} candles", kept.len());
    assert_candles(&database).await;
    database.execute("drop table candles cascade; drop function candle_width, gap_concerns").await;
    database.execute(include_str!("../../migrations/0005_candles.sql")).await;
    assert_eq!(database.column(dump).await, kept);
}
