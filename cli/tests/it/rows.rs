//! Rows of Postgres put there by hand, with the candles and latest prices that they come to.

use pipeline::decimal::Decimal38;
use pipeline::events::PriceTick;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const INSERT: &str = "insert into ticks (event_time, received_at, broker_time, kafka_offset, sequence, previous_event_time, \
    event_id, payload_id, revision, kafka_partition, retracted, price, quantity, bid, ask, volume_24h, quote_volume_24h, \
    market_cap, change_24h_pct, source, symbol, base, quote, kind, event_time_origin, source_symbol, trade_id, previous_symbol) \
    values (timestamptz 'epoch' + $1 * interval '1 microsecond', timestamptz 'epoch' + $2 * interval '1 microsecond', now(), $3, \
    $4, timestamptz 'epoch' + $5 * interval '1 microsecond', $6, $7, $8, $9, $10, $11::text::numeric, $12::text::numeric, \
    $13::text::numeric, $14::text::numeric, $15::text::numeric, $16::text::numeric, $17::text::numeric, $18::text::numeric, \
    $19, $20, $21, $22, $23, $24, $25, $26, $27)";
const LATEST: &str = "truncate latest_prices; insert into latest_prices select distinct on (symbol, source) symbol, source, base, \
    quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct, event_time, received_at, \
    sequence, event_id, revision from ticks where not retracted order by symbol, source, event_time desc, \
    sequence desc nulls last, event_id desc";
/// The migration that makes the candles of what is there already.
const CANDLES: &str = include_str!("../../../consumer-db/migrations/0005_candles.sql");

/// As consumer-db writes a tick that it has from there.
pub async fn insert(connection: &mut PgConnection, tick: &PriceTick, partition: i32, offset: i64) {
    sqlx::query("select ensure_ticks_day((timestamptz 'epoch' + $1 * interval '1 microsecond')::date)")
        .bind(tick.event_time)
        .execute(&mut *connection)
        .await
        .expect("a day");
    let text = |decimal: Option<Decimal38>| decimal.map(|decimal| decimal.to_string());
    sqlx::query(INSERT)
        .bind(tick.event_time)
        .bind(tick.received_at)
        .bind(offset)
        .bind(tick.sequence)
        .bind(tick.previous_event_time)
        .bind(tick.event_id)
        .bind(tick.payload_id)
        .bind(tick.revision)
        .bind(partition)
        .bind(tick.retracted)
        .bind(tick.price.to_string())
        .bind(text(tick.quantity))
        .bind(text(tick.bid))
        .bind(text(tick.ask))
        .bind(text(tick.volume_24h))
        .bind(text(tick.quote_volume_24h))
        .bind(text(tick.market_cap))
        .bind(text(tick.change_24h_pct))
        .bind(&tick.source)
        .bind(&tick.symbol)
        .bind(&tick.base)
        .bind(&tick.quote)
        .bind(tick.kind.as_str())
        .bind(tick.event_time_origin.as_str())
        .bind(&tick.source_symbol)
        .bind(&tick.trade_id)
        .bind(&tick.previous_symbol)
        .execute(&mut *connection)
        .await
        .expect("a row");
    settle(connection).await;
}

/// Candles and latest prices are what the ticks come to.
pub async fn settle(connection: &mut PgConnection) {
    let made = &CANDLES[CANDLES.find("insert into candles").expect("the statement")..];
    let mut transaction = connection.begin().await.expect("a transaction");
    let all = format!("truncate candles; {made}; {LATEST}");
    sqlx::raw_sql(AssertSqlSafe(all)).execute(&mut *transaction).await.expect("made again");
    transaction.commit().await.expect("committed");
}
