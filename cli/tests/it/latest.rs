use std::process::Stdio;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::{command, database, run, tickstream};

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_shown_to_the_last_digit() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_latest").await;
    let empty = tickstream(stack, &["latest", "--database-url", &url]).await;
    assert_eq!((empty.code, empty.line()), (0, "tickstream: there are no prices yet"));
    sqlx::query(
        "insert into latest_prices (symbol, source, base, quote, kind, price, bid, event_time, received_at, event_id, revision) values
         ('BTC-USD', 'coinbase', 'BTC', 'USD', 'TRADE', 67187.335893656612345678, null, now() - interval '90 seconds', now(), gen_random_uuid(), 0),
         ('BTC-USD', 'coingecko', 'BTC', 'USD', 'REFERENCE', 67187, 0.000000000000000001, now(), now(), gen_random_uuid(), 0),
         ('BTC-EUR', 'coinbase', 'BTC', 'EUR', 'TRADE', 1, null, now(), now(), gen_random_uuid(), 0)",
    )
    .execute(&mut connection)
    .await
    .expect("prices");

    let found = tickstream(stack, &["latest", "--database-url", &url, "btc-usd", "-o", "json"]).await;
    let prices = found.json_lines();
    assert_eq!(prices.len(), 2);
    assert_eq!((&prices[0]["source"], &prices[0]["price"]), (&"coinbase".into(), &"67187.335893656612345678".into()));
    assert!((85.0..120.0).contains(&prices[0]["age_seconds"].as_f64().expect("an age")));
    assert_eq!((&prices[1]["price"], &prices[1]["bid"]), (&"67187".into(), &"0.000000000000000001".into()));
    let event_time = prices[1]["event_time"].as_str().expect("a time");
    assert!(event_time.len() == 27 && event_time.ends_with('Z'), "{event_time}");

    // CSV has the same values under the same names; the age alone has gone on.
    let table = tickstream(stack, &["latest", "--database-url", &url, "btc-usd", "-o", "csv"]).await.stdout;
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let names = reader.headers().expect("headings").clone();
    assert_eq!(names.len(), prices[0].as_object().map_or(0, serde_json::Map::len));
    for (record, price) in reader.records().map(|record| record.expect("a line")).zip(&prices) {
        for (name, cell) in names.iter().zip(&record).filter(|(name, _)| *name != "age_seconds") {
            assert_eq!(cell, price[name].as_str().unwrap_or_default(), "{name}");
        }
    }

    let all = tickstream(stack, &["latest", "--database-url", &url]).await;
    assert_eq!(all.stdout.lines().count(), 4, "{}", all.stdout);
    let one = tickstream(stack, &["latest", "--database-url", &url, "--source", "CoinGecko", "-o", "json"]).await;
    assert_eq!(one.json_lines().iter().map(|price| price["symbol"].clone()).collect::<Vec<_>>(), ["BTC-USD"]);

    for (arguments, says) in [
        (&["BTC-USDT"][..], "no price of BTC-USDT is known; the nearest names are BTC-USD, BTC-EUR"),
        (&["BTC-USD", "XBT-EUR"], "no price of XBT-EUR is known; the nearest names are BTC-EUR, BTC-USD"),
        (&["--source", "coinbas"], "no price from coinbas is known; the nearest names are coinbase, coingecko"),
        (&["BTC-EUR", "--source", "coingecko"], "no price of BTC-EUR is known from there; it is from coinbase"),
    ] {
        let unknown = tickstream(stack, &[&["latest", "--database-url", &url], arguments].concat()).await;
        assert_eq!((unknown.code, unknown.stdout.as_str()), (1, ""));
        assert_eq!(unknown.line(), format!("tickstream: {says}"));
    }

    // `tickstream latest | head -0`: a reader that went away is no error.
    let mut child = command(stack, &["latest", "--database-url", &url]).stdout(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("ends").success());
}

/// Every relation and every kind of node in a plan.
fn nodes(plan: &Value, relations: &mut Vec<String>, kinds: &mut Vec<String>) {
    let text = |name: &str| plan[name].as_str().map(str::to_owned);
    relations.extend(text("Relation Name"));
    kinds.extend(text("Node Type"));
    for child in plan["Plans"].as_array().into_iter().flatten() {
        nodes(child, relations, kinds);
    }
}

/// The plan of `execute`, once the server has had cause to make a general one.
async fn plan(connection: &mut PgConnection, execute: &str) -> Value {
    for _ in 0..8 {
        sqlx::raw_sql(AssertSqlSafe(execute.to_owned())).execute(&mut *connection).await.expect(execute);
    }
    let explain = AssertSqlSafe(format!("explain (analyze, format json) {execute}"));
    let rows = sqlx::raw_sql(explain).fetch_one(connection).await.expect(execute);
    let text: String = rows.try_get_unchecked(0).expect("text");
    serde_json::from_str(&text).expect("a plan")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_statement_looks_at_the_latest_prices_alone_beside_a_year_of_ticks() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_latest_year").await;
    sqlx::raw_sql(
        "select ensure_ticks_day(date '2025-11-22' + day) from generate_series(0, 364) as day;
         insert into latest_prices (symbol, source, base, quote, kind, price, event_time, received_at, event_id, revision)
         select format('C%s-USD', symbol), source, format('C%s', symbol), 'USD', 'TRADE', symbol, now(), now(), gen_random_uuid(), 0
         from generate_series(1, 2000) as symbol, unnest(array['binance', 'coinbase', 'kraken']) as source;
         analyze latest_prices",
    )
    .execute(&mut connection)
    .await
    .expect("a year");
    let days: i64 = sqlx::query_scalar("select count(*) from pg_inherits where inhparent = 'ticks'::regclass")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert!(days >= 365, "{days}");

    let statement = format!("prepare latest(text[], text[]) as {}", include_str!("../../src/sql/latest.sql"));
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect("prepared");
    let found = plan(&mut connection, "execute latest('{C7-USD,C1999-USD}', null)").await;
    let (mut relations, mut kinds) = (Vec::new(), Vec::new());
    nodes(&found[0]["Plan"], &mut relations, &mut kinds);
    assert_eq!(relations, ["latest_prices"], "{found}");
    assert!(kinds.iter().any(|kind| kind.contains("Index")) && !kinds.contains(&"Seq Scan".to_owned()), "{kinds:?}");
    eprintln!("one symbol beside {days} days: {} ms", found[0]["Execution Time"]);

    let explained = tickstream(stack, &["latest", "--database-url", &url, "c7-usd", "--explain"]).await;
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    assert!(explained.stdout.contains("latest_prices") && explained.stdout.contains("Execution Time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_had_is_one_line_without_the_password() {
    let stack = stack::shared().await;
    for (url, says) in [
        ("postgres://me:hunter2@127.0.0.1:1/x", "no database answers at 127.0.0.1:1"),
        ("hunter2", "is no Postgres URL"),
        (stack.database_url.as_str(), "start consumer-db once"),
        ("", "set --database-url or DATABASE_URL"),
    ] {
        for arguments in [&["latest"][..], &["latest", "--watch"], &["history", "BTC-USD"]] {
            let mut latest = command(stack, arguments);
            latest.env("DATABASE_URL", url);
            let answer = run(latest).await;
            assert_eq!(answer.code, 2, "{}", answer.stderr);
            assert!(answer.line().contains(says), "{}", answer.stderr);
            assert!(!answer.stderr.contains("hunter2"), "{}", answer.stderr);
        }
    }
}
