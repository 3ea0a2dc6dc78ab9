//! A candle that a late correction has spoilt in memory is told as not complete, and mended from where all ticks are.

use std::time::Duration;

use clap::Parser;
use dashboard::Config;
use pipeline::events::{PriceTick, event_id};
use pipeline::topic_id::TopicIds;
use serde_json::{Value, json};

use crate::database::TestDatabase;
use crate::fixture::{Client, PATIENCE, Running, is, now_us, start, tick};

const MINUTE_US: i64 = 60_000_000;
const FRESH: &str = "--cache-ttl=candles=0s,history=0s";

/// In the minute so many ago.
fn past(now: i64, key: &str, price: &str, minutes: i64) -> PriceTick {
    let later: i64 = key.parse().expect("a number");
    let event_time = now - now.rem_euclid(MINUTE_US) - minutes * MINUTE_US + later * 1_000_000;
    let event_id = event_id("test", "trades", "BTC-USD", key);
    PriceTick { event_id, event_time, received_at: event_time, quantity: None, ..tick("BTC-USD", price) }
}

fn corrected(tick: &PriceTick, price: &str) -> PriceTick {
    PriceTick { revision: 1, price: price.parse().expect("a price"), ..tick.clone() }
}

fn minute(tick: &PriceTick) -> i64 {
    tick.event_time - tick.event_time.rem_euclid(MINUTE_US)
}

/// The candle of the minute as memory has it; nothing while memory has none.
async fn candle(running: &Running, of: &PriceTick) -> Option<Value> {
    let (from, to) = (minute(of), minute(of) + MINUTE_US);
    let path = format!("/api/v1/candles?symbol=BTC-USD&tf=1m&from={from}&to={to}");
    let answer: Value = running.get(&path).await.json().await.expect("JSON");
    (answer["origin"] == "memory").then(|| answer["candles"][0].clone())
}

async fn until(running: &Running, of: &PriceTick, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            if let Some(candle) = candle(running, of).await
                && wanted(&candle)
            {
                return candle;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, found).await.unwrap_or_else(|_| panic!("{what}"))
}

async fn watch(running: &Running) -> Client {
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "candles", "tf": "1m", "symbols": ["BTC-USD"]})).await;
    page.until(is("snapshot")).await;
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_topic() {
    let running = start(&["--database-url=", FRESH]).await;
    let now = now_us();
    let (first, second, alone) = (past(now, "1", "9", 20), past(now, "2", "10", 20), past(now, "3", "7", 25));
    running.topics.publish(&[first.clone(), second.clone(), alone.clone(), tick("BTC-USD", "100")]);
    until(&running, &first, "memory is whole", |candle| candle["complete"] == true && candle["trades"] == 2).await;
    let mut page = watch(&running).await;
    let right = corrected(&first, "8.000000000000000001");
    let moved = PriceTick { previous_event_time: Some(second.event_time), ..corrected(&past(now, "2", "1", 22), "11") };
    running.topics.publish(&[right, moved.clone()]);
    let told = page.until(|message| message["candles"][0]["start_us"] == minute(&first)).await;
    assert_eq!(told["candles"][0]["complete"], false, "spoilt: {told}");
    let is_mended = |candle: &Value| candle["complete"] == true && candle["trades"] == 1;
    let mended = until(&running, &first, "it is mended", is_mended).await;
    assert_eq!((&mended["open"], &mended["high"]), (&json!("8.000000000000000001"), &json!("8.000000000000000001")));
    let there = until(&running, &moved, "where it was moved", |candle| candle["complete"] == true).await;
    assert_eq!(there["close"], "11");
    page.until(|message| {
        let candle = &message["candles"][0];
        candle["start_us"] == minute(&first) && candle["complete"] == true && candle["trades"] == 1
    })
    .await;

    running.topics.publish(&[PriceTick { retracted: true, ..corrected(&alone, "7") }]);
    let gone = page.until(|message| message["gone"][0]["start_us"] == minute(&alone)).await;
    assert_eq!((&gone["gone"][0]["symbol"], &gone["candles"]), (&json!("BTC-USD"), &json!([])), "{gone}");
    assert!(running.metric("tickstream_dashboard_candles_mended_total").await >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_database_once_that_has_read_as_much() {
    let mut database = TestDatabase::new().await;
    let url = format!("--database-url={}", database.reader());
    let running = start(&[&url, FRESH]).await;
    let topic = running.topics.ticks.clone();
    let servers = &running.topics.servers;
    let kafka = Config::parse_from(["dashboard", "--kafka-bootstrap-servers", servers]).kafka;
    let topic_id = TopicIds::new(&kafka).expect("a client").topic_id(&topic, 0).await.expect("an id");
    let now = now_us();
    let (first, second) = (past(now, "1", "9", 20), past(now, "2", "10", 20));
    let right = corrected(&first, "8");
    running.topics.publish(&[first.clone(), second.clone()]);
    until(&running, &first, "memory is whole", |candle| candle["complete"] == true).await;
    database.insert(&first, 0, 0).await;
    database.insert(&second, 0, 1).await;
    database.set_position(topic_id, &topic, 0, 2).await;

    running.topics.publish(std::slice::from_ref(&right));
    until(&running, &first, "it is spoilt", |candle| candle["complete"] == false).await;
    // The database has not read the correction: what it says is not taken, however often it is asked.
    for _ in 0..30 {
        let candle = candle(&running, &first).await.expect("memory has it");
        assert_eq!(candle["complete"], false, "{candle}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    database.insert(&right, 0, 2).await;
    database.set_position(topic_id, &topic, 0, 3).await;
    let mended = until(&running, &first, "it is mended", |candle| candle["complete"] == true).await;
    assert_eq!((&mended["open"], &mended["close"], &mended["trades"]), (&json!("8"), &json!("10"), &json!(2)));
}
