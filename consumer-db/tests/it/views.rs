//! What people and their tools read: the views, and LISTEN.

use pipeline::events::{Kind, PriceTick};
use sqlx::postgres::PgListener;

use crate::database::{TestDatabase, write};
use crate::log::{decimal, one_batch, retracted, tick};

fn bitcoin_in_reais(key: &str, seconds: i64, price: &str) -> PriceTick {
    PriceTick {
        symbol: "BTC-BRL".to_owned(),
        base: "BTC".to_owned(),
        quote: "BRL".to_owned(),
        source: "coingecko".to_owned(),
        kind: Kind::Reference,
        quantity: None,
        quote_volume_24h: Some(decimal("123456789012.345")),
        market_cap: Some(decimal("99999999999999999999.999999999999999999")),
        ..tick(key, seconds, price)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bitcoin_in_reais_with_volume_and_market_cap() {
    let database = TestDatabase::new().await;
    let good = bitcoin_in_reais("good", 1, "345678.125");
    let enormous = bitcoin_in_reais("enormous", 2, "99999999999999999999.999999999999999999");
    let taken_back = bitcoin_in_reais("taken back", 3, "1");
    let without = PriceTick { quote_volume_24h: None, market_cap: None, ..bitcoin_in_reais("without", 4, "2") };
    let dollars = PriceTick { symbol: "BTC-USD".to_owned(), ..bitcoin_in_reais("dollars", 5, "3") };
    let ticks = [good, enormous, taken_back.clone(), retracted(&taken_back), without, dollars];
    assert!(write(&mut database.sink(), &[one_batch(&ticks).await]).await.is_empty());
    let rows = "select concat_ws(' ', coalesce(price::text, 'null'), volume_24h, market_cap, last_updated at time zone 'UTC') \
                from bitcoin_precos where price is null or price > 0 order by last_updated";
    let expected = [
        "345678.13 123456789012.35 100000000000000000000.00 2026-03-01 12:00:01",
        "null 123456789012.35 100000000000000000000.00 2026-03-01 12:00:02",
    ];
    assert_eq!(database.column(rows).await, expected);
    let types = "select concat_ws(' ', attname, format_type(atttypid, atttypmod)) from pg_attribute \
                 where attrelid = 'bitcoin_precos'::regclass order by attnum";
    let expected = [
        "id uuid",
        "price numeric(18,2)",
        "volume_24h numeric(24,2)",
        "market_cap numeric(24,2)",
        "last_updated timestamp with time zone",
        "inserted_at timestamp with time zone",
    ];
    assert_eq!(database.column(types).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_answers_and_says_what_it_is() {
    let database = TestDatabase::new().await;
    let ticks = [tick("a", 1, "100"), tick("b", 2, "103.50")];
    write(&mut database.sink(), &[one_batch(&ticks).await]).await;
    let daily = "select concat_ws(' ', day, symbol, open, high, low, close, change_pct) from daily_prices";
    assert_eq!(database.value(daily).await, "2026-03-01 BTC-USD 100 103.5 100 103.5 3.50");
    let candles = "select concat_ws(' ', timeframe, to_char(time at time zone 'UTC', 'HH24:MI'), close) from price_candles \
                   order by timeframe";
    assert_eq!(
        database.column(candles).await,
        ["1d 00:00 103.5", "1h 12:00 103.5", "1m 12:00 103.5", "5m 12:00 103.5"]
    );
    let fresh = "select concat_ws(' ', source, symbols, age > interval '1 day') from source_freshness";
    assert_eq!(database.value(fresh).await, "coinbase 1 t");
    assert_eq!(database.value("select count(*)::text from open_gaps").await, "0");
    let silent = "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v') \
                  and not relispartition and obj_description(oid, 'pg_class') is null and relname <> '_sqlx_migrations'";
    assert_eq!(database.column(silent).await, Vec::<String>::new(), "each table and view says what it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_is_told_of_each_price_that_is_shown_anew() {
    let database = TestDatabase::new().await;
    let mut listener = PgListener::connect(&database.url).await.expect("connected");
    listener.listen("latest_prices").await.expect("listens");
    let mut sink = database.sink();
    let quoted = PriceTick { symbol: "\"\\\u{1}\u{e9}".repeat(50), ..tick("odd", 3, "0.000000000000000001") };
    let ticks = [tick("a", 1, "100"), tick("b", 2, "101.5"), quoted.clone()];
    write(&mut sink, &[one_batch(&ticks).await]).await;
    // The old one again, which shows nothing new; then one that takes the newest back.
    write(&mut sink, &[one_batch(&ticks[..1]).await]).await;
    write(&mut sink, &[one_batch(&[retracted(&ticks[1])]).await]).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let message = listener.recv().await.expect("a message");
        assert!(message.payload().len() < 8000);
        told.push(message.payload().to_owned());
    }
    let field = |payload: &String, name: &str| {
        let value: serde_json::Value = serde_json::from_str(payload).expect("JSON");
        value[name].as_str().expect("text").to_owned()
    };
    told[..2].sort_by_key(|payload| field(payload, "symbol").len());
    let prices: Vec<String> = told.iter().map(|payload| field(payload, "price")).collect();
    assert_eq!(prices, ["101.5", "0.000000000000000001", "100"]);
    assert_eq!(field(&told[1], "symbol"), quoted.symbol);
    assert_eq!(field(&told[2], "event_time"), "2026-03-01T12:00:01.000000Z");
    assert_eq!(field(&told[2], "source"), "coinbase");
}
