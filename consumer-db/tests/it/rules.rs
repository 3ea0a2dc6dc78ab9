//! Which row stands, and which price is shown.

use pipeline::consume::PartitionBatch;
use pipeline::events::{Kind, PriceTick};
use pipeline::records::Records;

use crate::database::{TestDatabase, assert_candles, write};
use crate::log::{decimal, moved, one_batch, retracted, tick};

const TICKS: &str = "select concat_ws(' ', trade_id, to_char(event_time at time zone 'UTC', 'HH24:MI:SS'), revision, \
                     case when retracted then 'retracted' end, trim_scale(price)) from ticks order by event_time, event_id";
const LATEST: &str = "select concat_ws(' ', symbol, source, trade_id, trim_scale(latest_prices.price), latest_prices.revision) \
     from latest_prices join ticks using (event_id, event_time, symbol, source) order by symbol, source";

/// Writes the ticks in one batch, and once more one by one into another database: rows and latest prices are as expected
/// in both.
async fn check(ticks: &[PriceTick], rows: &[&str], latest: &[&str]) {
    let (together, apart) = (TestDatabase::new().await, TestDatabase::new().await);
    let batch = one_batch(ticks).await;
    assert!(write(&mut together.sink(), std::slice::from_ref(&batch)).await.is_empty());
    let mut sink = apart.sink();
    for i in 0..ticks.len() {
        assert!(write(&mut sink, &[part(&batch, i)]).await.is_empty());
    }
    for (database, how) in [(&together, "in one batch"), (&apart, "one by one")] {
        assert_eq!(database.column(TICKS).await, rows, "{how}");
        assert_eq!(database.column(LATEST).await, latest, "{how}");
    }
    assert_eq!(together.dump().await, apart.dump().await);
}

/// One record of a batch.
fn part(batch: &PartitionBatch, i: usize) -> PartitionBatch {
    PartitionBatch {
        start: i as i64,
        next_offset: i as i64 + 1,
        records: Records::from_batch(batch.records.batch().slice(i, 1)).expect("a slice"),
        ..batch.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_tick_changes_nothing_and_the_first_stays() {
    let first = tick("a", 1, "100");
    let other_words = PriceTick { price: decimal("101"), ..first.clone() };
    check(&[first.clone(), first, other_words], &["a 12:00:01 0 100"], &["BTC-USD coinbase a 100 0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_revision_replaces_and_a_lower_one_does_not_come_back() {
    let first = tick("a", 1, "100");
    let better = PriceTick { revision: 2, price: decimal("102"), ..first.clone() };
    let between = PriceTick { revision: 1, price: decimal("101"), ..first.clone() };
    check(&[first.clone(), better, between, first], &["a 12:00:01 2 102"], &["BTC-USD coinbase a 102 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tick_leaves_its_old_place_in_any_order() {
    let (first, other) = (tick("a", 5, "100"), tick("b", 3, "90"));
    let second = moved(&first, 1);
    let rows = ["a 12:00:01 1 100", "b 12:00:03 0 90"];
    let latest = ["BTC-USD coinbase b 90 0"];
    check(&[first.clone(), other.clone(), second.clone()], &rows, &latest).await;
    check(&[second.clone(), other.clone(), first.clone()], &rows, &latest).await;
    let third = moved(&second, 9);
    check(
        &[third.clone(), first.clone(), other.clone(), second.clone(), first.clone()],
        &[rows[1], "a 12:00:09 2 100"],
        &["BTC-USD coinbase a 100 2"],
    )
    .await;
    let back = moved(&second, 5);
    check(&[first, second, back, other], &[rows[1], "a 12:00:05 2 100"], &["BTC-USD coinbase a 100 2"]).await;
}

/// A correction follows one that is a dead letter: the event has left both places, in whatever order the records come.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_correction_does_not_leave_a_second_row() {
    let first = tick("a", 5, "100");
    // Refused for its time, by what no column can hold, and by a rule of the database.
    let to_1970 = PriceTick { event_time: 0, ..moved(&first, 0) };
    let zero_byte = PriceTick { trade_id: Some("\0".to_owned()), ..moved(&first, 7) };
    let by_rule = PriceTick { price: decimal("666"), ..moved(&first, 7) };
    for (refused, whatever_comes) in [(to_1970, true), (zero_byte, true), (by_rule, false)] {
        let again = PriceTick { trade_id: first.trade_id.clone(), price: decimal("101"), ..refused.clone() };
        let again = PriceTick { revision: 2, previous_event_time: Some(refused.event_time), ..again };
        let last = PriceTick { event_time: first.event_time + 4_000_000, ..again };
        let records = [first.clone(), refused.clone(), last];
        let mut dumps = Vec::new();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let together = TestDatabase::new().await;
            let apart = TestDatabase::new().await;
            for database in [&together, &apart] {
                database.execute("alter table ticks add constraint no_beast check (price <> 666)").await;
            }
            let batch = one_batch(&order.map(|which| records[which].clone())).await;
            // A rule of the database is not asked of what does not stand anyway.
            let expected = |letters: usize, is_it: bool| {
                letters <= usize::from(is_it) && (!whatever_comes || is_it == (letters == 1))
            };
            assert!(expected(write(&mut together.sink(), std::slice::from_ref(&batch)).await.len(), true), "{order:?}");
            let mut sink = apart.sink();
            for i in 0..3 {
                let letters = write(&mut sink, &[part(&batch, i)]).await;
                assert!(expected(letters.len(), order[i] == 1), "{order:?}: {letters:?}");
            }
            for database in [&together, &apart] {
                assert_eq!(database.column(TICKS).await, ["a 12:00:09 2 101"], "{order:?} of {refused:?}");
                assert_eq!(database.column(LATEST).await, ["BTC-USD coinbase a 101 2"]);
                assert_candles(database).await;
                dumps.push(
                    database.column("select concat_ws(' ', event_time, event_id) from moved_ticks order by 1").await,
                );
            }
        }
        assert!(dumps.iter().all(|dump| *dump == dumps[0]), "{dumps:#?}");
    }
}

/// What is shown is taken back: the newest one before it is found without walking over the others' ticks.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_instead_is_found_at_once() {
    let database = TestDatabase::new().await;
    let mut sink = database.sink();
    let of = |source: &str, key: &str, seconds: i64, kind: Kind| PriceTick {
        source: source.to_owned(),
        kind,
        ..tick(key, seconds, "100")
    };
    let old = of("quiet", "old", -7 * 24 * 3600, Kind::Trade);
    let quoted = of("quiet", "quoted", -3600, Kind::Quote);
    let newest = of("quiet", "newest", 10, Kind::Trade);
    let alone = of("alone", "alone", 10, Kind::Trade);
    let others = (0..20_000).map(|i| of("busy", &format!("b{i}"), -i, Kind::Trade));
    let market: Vec<PriceTick> =
        [old.clone(), quoted.clone(), newest.clone(), alone.clone()].into_iter().chain(others).collect();
    write(&mut sink, &[one_batch(&market).await]).await;
    drop(sink);
    let fetched = "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::text from pg_stat_user_tables where relname ~ '^ticks_2'";
    let quiet = async || {
        // A connection that has ended has told what it read; the server needs a moment.
        let mut before = database.value(fetched).await;
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let now = database.value(fetched).await;
            if now == before {
                return now.parse::<i64>().expect("a number");
            }
            before = now;
        }
    };
    let before = quiet().await;
    let mut sink = database.sink();
    for (gone, shown) in [
        (vec![alone, newest], vec!["BTC-USD busy b0 100 0", "BTC-USD quiet quoted 100 0"]),
        (vec![quoted], vec!["BTC-USD busy b0 100 0", "BTC-USD quiet old 100 0"]),
        (vec![old], vec!["BTC-USD busy b0 100 0"]),
    ] {
        let gone: Vec<PriceTick> = gone.iter().map(retracted).collect();
        write(&mut sink, &[one_batch(&gone).await]).await;
        // Looks at latest prices only.
        let query = "select concat_ws(' ', symbol, source, case source when 'busy' then 'b0' else \
                     case event_time when '2026-02-22 12:00:00+00' then 'old' else 'quoted' end end, trim_scale(price), revision) \
                     from latest_prices order by symbol, source";
        assert_eq!(database.column(query).await, shown);
    }
    drop(sink);
    let read = quiet().await - before;
    assert!(read < 1000, "{read} ticks were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_moves_across_midnight() {
    let first = tick("a", 1, "100");
    let second = moved(&first, 13 * 3600);
    check(&[first, second], &["a 01:00:00 1 100"], &["BTC-USD coinbase a 100 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retracted_tick_keeps_its_row_and_is_shown_no_more() {
    let (first, second) = (tick("a", 1, "100"), tick("b", 2, "200"));
    let rows = ["a 12:00:01 0 100", "b 12:00:02 1 retracted 200"];
    check(&[first.clone(), second.clone(), retracted(&second)], &rows, &["BTC-USD coinbase a 100 0"]).await;
    check(&[retracted(&second), second.clone(), first], &rows, &["BTC-USD coinbase a 100 0"]).await;
    check(&[second.clone(), retracted(&second)], &rows[1..], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_symbol_leaves_the_wrong_one() {
    let wrong = PriceTick { symbol: "XBT-USD".to_owned(), ..tick("a", 1, "100") };
    let right = PriceTick { revision: 1, previous_symbol: Some("XBT-USD".to_owned()), ..tick("a", 1, "100") };
    check(&[wrong, right], &["a 12:00:01 1 100"], &["BTC-USD coinbase a 100 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_tick_that_comes_late_is_not_shown() {
    let (new, old) = (tick("new", 9, "200"), tick("old", 1, "100"));
    check(&[new, old], &["old 12:00:01 0 100", "new 12:00:09 0 200"], &["BTC-USD coinbase new 200 0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fills_at_one_instant_the_last_in_sequence_is_the_price() {
    let fills: Vec<PriceTick> = (0..20)
        .map(|i| PriceTick { sequence: Some(i), ..tick(&format!("fill{i}"), 1, &format!("{}", 100 + i)) })
        .collect();
    for order in [fills.clone(), fills.into_iter().rev().collect()] {
        let database = TestDatabase::new().await;
        write(&mut database.sink(), &[one_batch(&order).await]).await;
        assert_eq!(database.column(LATEST).await, ["BTC-USD coinbase fill19 119 0"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_price_is_kept() {
    let kinds = Kind::ALL.iter().map(|kind| kind.as_str());
    let of = |(seconds, kind): (i64, &Kind)| PriceTick { kind: *kind, ..tick(kind.as_str(), seconds, "100") };
    let ticks: Vec<PriceTick> = (0..).zip(Kind::ALL).map(of).collect();
    let database = TestDatabase::new().await;
    assert!(write(&mut database.sink(), &[one_batch(&ticks).await]).await.is_empty());
    assert_eq!(database.column("select kind from ticks order by event_time").await, kinds.collect::<Vec<_>>());
    assert_eq!(database.value("select kind from prices").await, "FX_IMPLIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_times_are_exact() {
    let extremes = [
        "99999999999999999999.999999999999999999",
        "-99999999999999999999.999999999999999999",
        "0.000000000000000001",
        "0",
        "67187.3358936566",
        "10000",
        "0.00005617",
        "12345678901234567890.123456789012345678",
    ];
    let database = TestDatabase::new().await;
    let ticks: Vec<PriceTick> = extremes
        .iter()
        .enumerate()
        .map(|(i, text)| {
            let number = Some(decimal(text));
            PriceTick {
                price: decimal(text),
                quantity: number,
                bid: number,
                ask: number,
                volume_24h: number,
                quote_volume_24h: number,
                market_cap: number,
                change_24h_pct: number,
                event_time: crate::log::NOON + 123_457 + i as i64,
                sequence: Some(i64::MAX),
                ..tick(text, 0, "1")
            }
        })
        .collect();
    write(&mut database.sink(), &[one_batch(&ticks).await]).await;
    for column in ["price", "quantity", "bid", "ask", "volume_24h", "quote_volume_24h", "market_cap", "change_24h_pct"]
    {
        let query = format!("select trim_scale({column})::text from ticks order by event_time");
        assert_eq!(database.column(&query).await, extremes, "{column}");
    }
    let query = "select event_time::text || ' ' || sequence from ticks order by event_time limit 1";
    assert_eq!(database.value(query).await, "2026-03-01 12:00:00.123457+00 9223372036854775807");
    let shown = database.value("select price::text from prices").await;
    assert_eq!(shown, *extremes.last().expect("one"));
}
