use std::process::Stdio;

use crate::{command, database, run, tickstream};

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_shown_to_the_last_digit() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_latest").await;
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
    let prices = found.json();
    assert_eq!(prices.as_array().map(Vec::len), Some(2));
    assert_eq!((&prices[0]["source"], &prices[0]["price"]), (&"coinbase".into(), &"67187.335893656612345678".into()));
    assert!((85.0..120.0).contains(&prices[0]["age_seconds"].as_f64().expect("an age")));
    assert_eq!((&prices[1]["price"], &prices[1]["bid"]), (&"67187".into(), &"0.000000000000000001".into()));
    let event_time = prices[1]["event_time"].as_str().expect("a time");
    assert!(event_time.len() == 27 && event_time.ends_with('Z'), "{event_time}");

    let all = tickstream(stack, &["latest", "--database-url", &url]).await;
    assert_eq!(all.stdout.lines().count(), 4, "{}", all.stdout);

    let unknown = tickstream(stack, &["latest", "--database-url", &url, "BTC-USDT"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert_eq!(unknown.line(), "tickstream: no price of BTC-USDT is known; the nearest names are BTC-USD, BTC-EUR");

    // `tickstream latest | head -0`: a reader that went away is no error.
    let mut child = command(stack, &["latest", "--database-url", &url]).stdout(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("ends").success());
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
        let mut latest = command(stack, &["latest"]);
        latest.env("DATABASE_URL", url);
        let answer = run(latest).await;
        assert_eq!(answer.code, 2, "{}", answer.stderr);
        assert!(answer.line().contains(says), "{}", answer.stderr);
        assert!(!answer.stderr.contains("hunter2"), "{}", answer.stderr);
    }
}
