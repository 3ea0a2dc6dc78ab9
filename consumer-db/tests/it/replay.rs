//! The same records in any batches, in any order of partitions, once or thrice, by one writer or several, come to the same
//! tables: those that the rules say.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use consumer_db::DbSink;
use fastrand::Rng;
use pipeline::codec::Encoder;
use pipeline::events::{Gap, Kind, PriceTick};
use pipeline::topics;
use uuid::Uuid;

use crate::database::{TestDatabase, assert_candles, write};
use crate::log::{DAY, Log, NOON, SECOND, decimal, encoder, gap, tick};

const PARTITIONS: usize = 4;

/// A log with repeats, corrections, moves in time and symbol, and retractions, scattered over partitions; its ticks; and
/// gaps that open and close.
#[derive(Clone)]
struct Market {
    log: Log,
    gaps: Log,
    /// With (broker time, partition, offset).
    ticks: Vec<(PriceTick, (i64, usize, usize))>,
}

fn market(rng: &mut Rng, encoder: &Encoder, events: usize) -> Market {
    let mut pending: Vec<PriceTick> = Vec::new();
    for i in 0..events {
        let symbol = format!("S{}-USD", rng.u32(..5));
        let mut at = PriceTick {
            symbol: symbol.clone(),
            sequence: rng.bool().then(|| rng.i64(0..3)),
            // Few instants, over two days, so that many ticks share one.
            event_time: instant(rng) - if rng.u32(..4) == 0 { DAY } else { 0 },
            quantity: (rng.u32(..5) > 0).then(|| decimal(&format!("0.{:018}", rng.u64(..1_000_000_000_000_000_000)))),
            kind: [Kind::Trade, Kind::Ticker, Kind::FxImplied][rng.usize(..3)],
            price: decimal(&format!("{}.{}", rng.u32(1..1000), rng.u32(1..1000))),
            ..tick(&format!("e{i}"), 0, "1")
        };
        pending.push(at.clone());
        while rng.u32(..3) == 0 {
            let before = at.clone();
            at.revision += 1;
            at.previous_event_time = None;
            at.previous_symbol = None;
            match rng.u32(..4) {
                0 => {
                    at.event_time = instant(rng);
                    at.previous_event_time = Some(before.event_time).filter(|previous| *previous != at.event_time);
                }
                1 => {
                    at.symbol = format!("S{}-USD", rng.u32(..5));
                    at.previous_symbol = Some(before.symbol);
                }
                2 => at.retracted = !at.retracted,
                _ => at.price = decimal(&format!("{}", rng.u32(1..1000))),
            }
            pending.push(at.clone());
        }
    }
    for _ in 0..events {
        let again = rng.usize(..pending.len());
        let mut repeat = pending[again].clone();
        repeat.received_at += 1;
        pending.push(repeat);
    }
    rng.shuffle(&mut pending);

    let mut log = Log::partitions(PARTITIONS);
    let mut ticks = Vec::new();
    for tick in pending {
        let partition = rng.usize(..PARTITIONS);
        let broker_ms = NOON / 1000 + rng.i64(0..20);
        ticks.push((tick.clone(), (broker_ms, partition, log.0[partition].len())));
        log.0[partition].push((broker_ms, encoder.tick(&tick)));
    }
    Market { log, gaps: gaps(rng, encoder), ticks }
}

/// One of a few, some on the edge of a bucket of any width, some beside it.
fn instant(rng: &mut Rng) -> i64 {
    NOON + rng.i64(-10..30) * 150 * SECOND - rng.i64(0..2)
}

/// Openings and closings in any order, some told again with other words, of one source, of another, of all.
fn gaps(rng: &mut Rng, encoder: &Encoder) -> Log {
    let mut told = Vec::new();
    for n in 0..20 {
        let opening = Gap {
            source: ["coinbase", "coinbase", "other", "*"][rng.usize(..4)].to_owned(),
            symbols: [vec![], vec!["S1-USD".to_owned(), "S2-USD".to_owned()]][rng.usize(..2)].clone(),
            started_at: instant(rng),
            ..gap(n, 0, None)
        };
        let ended_at = Some(opening.started_at + rng.i64(0..400) * SECOND);
        told.push(opening.clone());
        if rng.u32(..5) > 0 {
            told.push(Gap { ended_at, ..opening.clone() });
        }
        if rng.u32(..3) == 0 {
            told.push(Gap { started_at: opening.started_at + 300 * SECOND, ended_at, ..opening });
        }
    }
    rng.shuffle(&mut told);
    Log(vec![told.iter().map(|gap| (NOON / 1000 + rng.i64(0..20), encoder.gap(gap))).collect()])
}

/// What the rules say, told another way than the code does: over all records at once.
fn expected(market: &Market) -> (BTreeMap<(i64, Uuid), PriceTick>, BTreeMap<String, Uuid>) {
    let mut left: HashMap<(i64, Uuid), i32> = HashMap::new();
    for (tick, _) in &market.ticks {
        if let Some(previous) = tick.previous_event_time {
            let revision = left.entry((previous, tick.event_id)).or_default();
            *revision = tick.revision.max(*revision);
        }
    }
    let mut by_rank: Vec<_> = market.ticks.iter().collect();
    by_rank.sort_by_key(|(tick, coordinates)| (tick.revision, std::cmp::Reverse(*coordinates)));
    let mut rows = BTreeMap::new();
    for (tick, _) in by_rank {
        rows.insert((tick.event_time, tick.event_id), tick.clone());
    }
    rows.retain(|place, tick| left.get(place).is_none_or(|revision| tick.revision >= *revision));

    let mut latest: BTreeMap<String, (i64, Option<i64>, Uuid)> = BTreeMap::new();
    for tick in rows.values().filter(|tick| !tick.retracted) {
        let order = (tick.event_time, tick.sequence, tick.event_id);
        let entry = latest.entry(tick.symbol.clone()).or_insert(order);
        *entry = order.max(*entry);
    }
    (rows, latest.into_iter().map(|(symbol, (_, _, id))| (symbol, id)).collect())
}

/// Reads the whole log from the start, in random rounds.
async fn replay(sink: &mut DbSink, market: &Market, rng: &mut Rng, largest: usize) {
    let log = &market.log;
    let mut at = [0; PARTITIONS];
    let mut gaps_at = 0;
    loop {
        let mut batches = Vec::new();
        for (partition, from) in at.iter_mut().enumerate() {
            let end = log.0[partition].len();
            if *from < end && rng.u32(..3) > 0 {
                let to = end.min(*from + rng.usize(1..=largest));
                batches.push(log.batch(partition, *from, to));
                *from = to;
            }
        }
        let gaps_end = market.gaps.0[0].len();
        if gaps_at < gaps_end && rng.u32(..3) == 0 {
            let to = gaps_end.min(gaps_at + rng.usize(1..=largest.min(8)));
            batches.push(market.gaps.batch_of(topics::GAPS, 0, gaps_at, to));
            gaps_at = to;
        }
        if !batches.is_empty() {
            assert!(write(sink, &batches).await.is_empty());
        }
        if gaps_at == gaps_end && at.iter().enumerate().all(|(partition, at)| *at == log.0[partition].len()) {
            return;
        }
    }
}

async fn assert_as_expected(database: &TestDatabase, market: &Market) {
    let (rows, latest) = expected(market);
    let events: BTreeSet<Uuid> = market.ticks.iter().map(|(tick, _)| tick.event_id).collect();
    assert_eq!(rows.len(), events.len(), "an event stands at one place");
    let query = "select concat_ws(' ', (extract(epoch from event_time) * 1000000)::bigint, event_id, revision, symbol, \
                 trim_scale(price), received_at at time zone 'UTC', retracted) from ticks order by event_time, event_id";
    let expected: Vec<String> = rows
        .values()
        .map(|tick| {
            let received = jiff::Timestamp::from_microsecond(tick.received_at).expect("in range");
            let received = received.strftime("%Y-%m-%d %H:%M:%S%.f").to_string();
            let retracted = if tick.retracted { "t" } else { "f" };
            let PriceTick { event_time, event_id, revision, symbol, price, .. } = tick;
            format!("{event_time} {event_id} {revision} {symbol} {price} {received} {retracted}")
        })
        .collect();
    assert_eq!(database.column(query).await, expected);
    let shown = database.column("select symbol || ' ' || event_id from latest_prices order by symbol").await;
    let expected: Vec<String> = latest.iter().map(|(symbol, id)| format!("{symbol} {id}")).collect();
    assert_eq!(shown, expected);
    assert_candles(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_batches_give_the_same_tables() {
    let mut rng = Rng::with_seed(7);
    let encoder = encoder().await;
    let market = market(&mut rng, &encoder, 400);
    let database = TestDatabase::new().await;
    let mut dumps = Vec::new();
    for largest in [1000, 3, 40] {
        replay(&mut database.sink(), &market, &mut rng, largest).await;
        dumps.push(database.dump().await);
        assert_candles(&database).await;
    }
    assert_as_expected(&database, &market).await;
    assert!(dumps.iter().all(|dump| *dump == dumps[0]), "a replay changed something");
    for largest in [1, 500] {
        let fresh = TestDatabase::new().await;
        replay(&mut fresh.sink(), &market, &mut rng, largest).await;
        assert!(fresh.dump().await == dumps[0], "batches of up to {largest} give other tables");
    }
}

/// A zombie and its successor, or two members that read the partitions of one corrected event.
#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_give_the_same_tables() {
    let mut rng = Rng::with_seed(11);
    let encoder = encoder().await;
    let market = market(&mut rng, &encoder, 300);
    let database = TestDatabase::new().await;
    let writers: Vec<_> = (0..4)
        .map(|seed| {
            let (mut sink, market) = (database.sink(), market.clone());
            tokio::spawn(async move { replay(&mut sink, &market, &mut Rng::with_seed(seed), 60).await })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_as_expected(&database, &market).await;
}
