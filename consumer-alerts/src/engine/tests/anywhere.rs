//! Logs made at random over few names and a small clock, so that windows fill, ties and duplicates are common and rules
//! fire: wherever batches are cut and the service restarts, the alerts are the same, ids and messages included.

use std::collections::HashMap;

use pipeline::decimal::Decimal38;
use pipeline::events::{Gap, GapReason, Kind, PriceTick, SourceHealth, event_id};
use pipeline::example;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use super::log::{Record, What, micros};
use super::run;
use crate::rules::Rules;

const RULES: &str = r#"
    [[rule]]
    name = "mean of 5"
    kind = "moving_average"
    window = 5
    within = "40s"
    share = 2
    rearm = 1
    cooldown = "5s"
    notify_resolved = true
    group = "moves"
    [[rule]]
    name = "mean of 10 s"
    kind = "moving_average"
    window = "10s"
    min_ticks = 3
    share = 2.5
    direction = "down"
    cooldown = "0s"
    across_gaps = true
    [[rule]]
    name = "cross"
    kind = "threshold"
    above = 101
    rearm = 100
    cooldown = "3s"
    [[rule]]
    name = "under"
    kind = "threshold"
    symbols = ["BTC-*"]
    below = 99.5
    notify_resolved = true
    [[rule]]
    name = "change"
    kind = "percent_change"
    window = "8s"
    share = 3
    severity = "critical"
    group = "moves"
    cooldown = "6s"
    [[rule]]
    name = "rough"
    kind = "volatility"
    short = "5s"
    long = "20s"
    factor = 1.5
    min_ticks = 3
    cooldown = "2s"
    [[rule]]
    name = "rough by ticks"
    kind = "volatility"
    short = 3
    long = 8
    within = "30s"
    factor = 2
    cooldown = "2s"
    [[rule]]
    name = "off"
    kind = "off_median"
    share = 2
    fresh = "6s"
    min_sources = 2
    cooldown = "4s"
    [[rule]]
    name = "silent"
    kind = "stale_feed"
    silent_for = "4s"
    cooldown = "10s"
    [[rule]]
    name = "gap"
    kind = "open_gap"
    open_for = "2s"
    cooldown = "5s"
    group = "gaps"
"#;

/// One record, before it has its place: how long after the one before, in tenths of a second, and what.
fn any_record() -> impl Strategy<Value = (u16, What)> {
    // Now and then so long that what was before is beyond what a restart reads again.
    let step = prop_oneof![30 => Just(0_u16), 80 => 1_u16..15, 8 => 30_u16..90, 2 => 3_000_u16..25_000];
    let what = prop_oneof![
        20 => any_tick(),
        1 => (0_u128..4, select(&["coinbase", "kraken", "b"][..]), any::<bool>(), 0_u8..60, any::<bool>())
            .prop_map(|(id, source, all, length, closed)| {
                let symbols = if all { Vec::new() } else { vec!["BTC-USD".to_owned()] };
                // Relative to the record; `placed` makes it a time.
                let ended_at = closed.then_some(0);
                let (started_at, reason) = (-i64::from(length) * 100_000, GapReason::ALL[id as usize]);
                // Ids of gaps are of one source.
                let id = Uuid::from_u128(id + 10_000_000 * source.len() as u128);
                let source = source.to_owned();
                What::Gap(Gap { id, source, symbols, reason, started_at, ended_at, ..example::gap() })
            }),
        1 => (select(&["coinbase", "kraken"][..]), proptest::option::of(0_i64..50), select(&["OK", "STOPPED"][..]))
            .prop_map(|(source, ago, state)| What::Health(SourceHealth {
                source: source.to_owned(),
                state: state.to_owned(),
                last_answer_at: ago.map(|ago| -ago * 100_000),
                ..example::health()
            })),
        3 => Just(What::Clock),
    ];
    (step, what)
}

fn any_tick() -> impl Strategy<Value = What> {
    let name = (select(&["BTC-USD", "ETH-USD"][..]), select(&["coinbase", "kraken", "b"][..]));
    let kind = prop_oneof![6 => Just(Kind::Trade), 1 => Just(Kind::Reference)];
    let behind =
        prop_oneof![80 => Just(0_i64), 20 => 0_i64..30, 10 => 60_i64..120, 1 => 17_000_i64..20_000, 1 => -610_i64..0];
    let corrects =
        prop_oneof![12 => Just((0, false)), 1 => Just((1, false)), 1 => Just((2, false)), 1 => Just((1, true))];
    let price = prop_oneof![6 => 98_i32..103, 1 => 90_i32..110];
    // Few ids: a second one of the same is a duplicate, or what a correction corrects.
    (name, kind, behind, corrects, price, 0_u16..200, proptest::option::weighted(0.1, 0_i64..20)).prop_map(
        |((symbol, source), kind, behind, (revision, retracted), price, id, was)| {
            What::Tick(Box::new(PriceTick {
                event_id: event_id(source, symbol, kind.as_str(), &id.to_string()),
                source: source.to_owned(),
                symbol: symbol.to_owned(),
                kind,
                price: Decimal38::parse(&price.to_string()).expect("a number"),
                event_time: -behind * 100_000,
                previous_event_time: was.filter(|_| revision > 0).map(|was| -was * 100_000),
                revision,
                retracted,
                ..example::tick()
            }))
        },
    )
}

/// Tenths of a second after a record.
const CLOCKS: [u16; 8] = [41, 60, 101, 142, 200, 360, 420, 600];

fn placed(records: Vec<(u16, What)>) -> Vec<Record> {
    let mut at = micros(0.0);
    let mut placed = Vec::new();
    let mut first = HashMap::new();
    let mut closings = HashMap::new();
    let mut era = 0;
    for (step, mut what) in records {
        // The clock goes on while no record comes.
        for tenths in CLOCKS.iter().filter(|tenths| **tenths < step) {
            let at = at + i64::from(*tenths) * 100_000;
            placed.push(Record { at, offset: placed.len() as i64, what: What::Clock });
        }
        at += i64::from(step) * 100_000;
        era += u128::from(step >= 3_000);
        match &mut what {
            What::Tick(tick) => {
                tick.event_time += at;
                tick.previous_event_time = tick.previous_event_time.map(|was| was + at);
                // What comes twice says the same twice.
                if tick.revision == 0 && !tick.retracted {
                    let said = *first.entry(tick.event_id).or_insert((tick.price, tick.event_time));
                    (tick.price, tick.event_time) = said;
                }
            }
            What::Gap(gap) => {
                // What is closed is not told of again, or not after a long time: the next gap of that number is another.
                let closed: &mut u128 = closings.entry((gap.source.clone(), gap.id)).or_default();
                gap.id = Uuid::from_u128(gap.id.as_u128() + 100 * era + 100_000 * *closed);
                *closed += u128::from(gap.ended_at.is_some());
                gap.started_at += at;
                gap.ended_at = gap.ended_at.map(|_| at);
            }
            What::Health(health) => health.last_answer_at = health.last_answer_at.map(|answered| answered + at),
            What::Clock => {}
        }
        placed.push(Record { at, offset: placed.len() as i64, what });
    }
    placed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn restarts_change_nothing(records in vec(any_record(), 1..250), restarts in btree_set(0_usize..250, 1..12)) {
        let rules = Rules::parse(RULES).unwrap();
        let records = placed(records);
        let straight = run(&rules, &records, |_| false);
        let restarted = run(&rules, &records, |index| restarts.contains(&index));
        prop_assert_eq!(&restarted.alerts, &straight.alerts);
        prop_assert_eq!(super::kept(&restarted.states), super::kept(&straight.states));
        let mut ids: Vec<Uuid> = straight.alerts.iter().map(|alert| alert.alert_id).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), straight.alerts.len(), "two alerts with one id");
    }
}
