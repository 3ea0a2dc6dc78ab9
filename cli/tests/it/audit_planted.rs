//! Faults of Postgres, each with what plants it, what mends it, and what an audit says of it.

use uuid::Uuid;

use crate::audit_world::{MINUTE, World, id};

/// A fault of Postgres: what plants it, what mends it, and what is said.
pub type Planted = (&'static str, String, String, Vec<Vec<String>>);

pub fn of_postgres(world: &World) -> Vec<Planted> {
    let tick = |n: u64| format!("event_id = '{}'", id(n));
    let minute = |n: u64| {
        let micros = world.tick(n).event_time / MINUTE * MINUTE;
        jiff::Timestamp::from_microsecond(micros).expect("a time").to_string()
    };
    let candle = |n: u64| words(&["the candle", &world.tick(n).symbol, "1m", &minute(n)]);
    let copy = "event_time, received_at, broker_time, kafka_offset, sequence, event_id, payload_id, revision, kafka_partition, \
                retracted, price, source, symbol, base, quote, kind, event_time_origin, source_symbol";
    let keep = |n: u64| format!("create table kept_{n} as select * from ticks where {}", tick(n));
    let back = |n: u64| format!("insert into ticks select * from kept_{n}");
    let other = Uuid::from_u128(77);
    let far = World::time(world.hour + 55 * MINUTE);
    let far_minute = jiff::Timestamp::from_microsecond(world.hour + 55 * MINUTE).expect("a time").to_string();
    vec![
        (
            "row deleted",
            format!("{}; delete from ticks where {}", keep(10), tick(10)),
            back(10),
            vec![words(&["1 events of the topic have no row", &id(10).to_string(), "partition 0 offset"]), candle(10)],
        ),
        (
            "row altered",
            format!("{}; update ticks set price = price + 0.000000000000000001 where {}", keep(13), tick(13)),
            format!("delete from ticks where {}; {}", tick(13), back(13)),
            vec![words(&["not what their records say", &id(13).to_string(), "partition 1 offset"]), candle(13)],
        ),
        (
            "text of a row altered, sign of a change turned",
            format!("update ticks set change_24h_pct = -change_24h_pct where {}", tick(9)),
            format!("update ticks set change_24h_pct = -change_24h_pct where {}", tick(9)),
            vec![words(&["not what their records say", &id(9).to_string()])],
        ),
        (
            "correction undone",
            format!("{}; update ticks set revision = 0, kafka_offset = 2, price = 67004.25 where {}", keep(4), tick(4)),
            format!("delete from ticks where {}; {}", tick(4), back(4)),
            vec![words(&["that others win over", &id(4).to_string(), "by partition 0 offset"]), candle(4)],
        ),
        (
            "duplicate row",
            format!("insert into ticks ({copy}) select {} from ticks where {}", copy.replacen("event_time", &far, 1), tick(20)),
            format!("delete from ticks where {} and event_time = {far}", tick(20)),
            vec![
                words(&["repeat an event", &id(20).to_string()]),
                words(&["the candle BTC-USD", &far_minute, "is missing"]),
                words(&["the latest price of BTC-USD at test is of", &format!("the newest tick is {}", id(20))]),
            ],
        ),
        (
            "extra row",
            format!(
                "insert into ticks ({copy}) select {} from ticks where {}",
                copy.replacen("event_time", &far, 1).replacen("event_id", &format!("'{other}'"), 1),
                tick(21)
            ),
            format!("delete from ticks where event_id = '{other}'"),
            vec![words(&["of no event of the topic", &other.to_string()]), words(&["the candle ETH-USD", &far_minute, "is missing"])],
        ),
        (
            "wrong candle",
            format!("update candles set high = high + 1 where timeframe = '1h' and symbol = 'ETH-USD' and bucket = {}", World::time(world.hour)),
            format!("update candles set high = high - 1 where timeframe = '1h' and symbol = 'ETH-USD' and bucket = {}", World::time(world.hour)),
            // What the day comes to is asked of its hours.
            vec![
                words(&["the candle ETH-USD test TRADE 1h", "is not what its narrower candles come to"]),
                words(&["the candle ETH-USD test TRADE 1d", "is not what its narrower candles come to"]),
            ],
        ),
        (
            "candle that opens at another tick",
            "update candles set open = open + 1 where timeframe = '1m' and symbol = 'BTC-USD' and first_event_id = '".to_owned()
                + &id(0).to_string()
                + "'",
            "update candles set open = open - 1 where timeframe = '1m' and symbol = 'BTC-USD' and first_event_id = '".to_owned()
                + &id(0).to_string()
                + "'",
            vec![
                words(&["the candle BTC-USD test TRADE 1m", &minute(0), "does not open at the price of its first tick"]),
                words(&["the candle BTC-USD test TRADE 5m", &minute(0), "is not what its narrower"]),
            ],
        ),
        (
            "candle that hides a gap",
            format!("update candles set complete = true where timeframe = '5m' and symbol = 'BTC-USD' and bucket = {}", World::time(world.hour + 10 * MINUTE)),
            format!("update candles set complete = false where timeframe = '5m' and symbol = 'BTC-USD' and bucket = {}", World::time(world.hour + 10 * MINUTE)),
            vec![words(&["the candle BTC-USD test TRADE 5m", "claims to be complete"])],
        ),
        (
            "stale latest price",
            "create table kept_latest as select * from latest_prices where symbol = 'ETH-USD'; update latest_prices set event_time = \
             t.event_time, price = t.price, event_id = t.event_id, sequence = t.sequence, received_at = t.received_at from ticks t \
             where latest_prices.symbol = 'ETH-USD' and t.event_id = '".to_owned() + &id(1).to_string() + "'",
            "delete from latest_prices where symbol = 'ETH-USD'; insert into latest_prices select * from kept_latest".to_owned(),
            vec![words(&["the latest price of ETH-USD at test is of", &id(1).to_string()])],
        ),
        (
            "index weight missing",
            "create table kept_weight as select * from index_weights where code = 'CODE1'; delete from index_weights where code = 'CODE1'".to_owned(),
            "insert into index_weights select * from kept_weight".to_owned(),
            vec![words(&["market.index.v1: 1 events", "no row in Postgres, table index_weights", "partition 0 offset 1"])],
        ),
        (
            "index weight altered",
            "update index_weights set part = part + 0.000000000000000001 where code = 'CODE2'".to_owned(),
            "update index_weights set part = part - 0.000000000000000001 where code = 'CODE2'".to_owned(),
            vec![words(&["market.index.v1: 1 rows in Postgres, table index_weights are not what their records say", "partition 0 offset 2"])],
        ),
        (
            "alert altered",
            "update alerts set message = message || '!'".to_owned(),
            "update alerts set message = rtrim(message, '!')".to_owned(),
            vec![words(&["market.alerts.v1: 1 rows in Postgres, table alerts are not what their records say", "partition 0 offset 0"])],
        ),
        (
            "gap altered",
            format!("update gaps set detail = detail || '!' where id = '{}'", Uuid::from_u128(2)),
            format!("update gaps set detail = rtrim(detail, '!') where id = '{}'", Uuid::from_u128(2)),
            vec![words(&["market.gaps.v1: 1 rows in Postgres, table gaps are not what their records say", "partition 0 offset 2"])],
        ),
        (
            "gap that is not the topic's",
            "insert into gaps (id, source, symbols, reason, started_at, ended_at, detail, broker_time, kafka_partition, kafka_offset) \
             select '00000000-0000-0000-0000-000000000063', source, '{NO-ONE}', reason, started_at, ended_at, detail, broker_time, \
             kafka_partition, kafka_offset from gaps where ended_at is not null".to_owned(),
            "delete from gaps where id = '00000000-0000-0000-0000-000000000063'".to_owned(),
            vec![words(&["table gaps are of no event", "00000000-0000-0000-0000-000000000063"])],
        ),
        (
            "closing of a gap undone",
            format!("update gaps set ended_at = null, kafka_offset = 0 where id = '{}'", Uuid::from_u128(1)),
            format!(
                "update gaps set ended_at = {}, kafka_offset = 1 where id = '{}'",
                World::time(world.hour + 12 * MINUTE),
                Uuid::from_u128(1)
            ),
            vec![
                words(&["market.gaps.v1: 1 rows in Postgres, table gaps are of records that others win over", "by partition 0 offset 1"]),
                words(&["the candle BTC-USD", "claims to be complete"]),
                words(&["more candles between", "are like these"]),
            ],
        ),
    ]
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
