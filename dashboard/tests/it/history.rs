//! What lies before memory: the topic says what memory would say, and a database that is away is told and hurts nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use pipeline::events::{Gap, GapReason, PriceTick};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixture::{get, now_us, start, tick};

async fn json_of(addr: SocketAddr, path: &str) -> Value {
    let answer = get(&format!("http://{addr}{path}")).await;
    let status = answer.status();
    let text = answer.text().await.expect("text");
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).expect("JSON")
}

async fn live(addr: SocketAddr) {
    let seen = async {
        while json_of(addr, "/api/health").await["status"] != "healthy" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the feed is live");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_says_what_memory_says() {
    let memory = start(&["--database-url="]).await;
    let first = tick("BTC-USD", "100.5");
    let wrong = tick("BTC-USD", "9");
    let moved = tick("BTC-USD", "101");
    let taken_back = tick("BTC-USD", "7");
    memory.topics.publish(&[first.clone(), wrong.clone(), moved.clone(), taken_back.clone()]);
    let right = PriceTick { revision: 1, price: "99.000000000000000001".parse().expect("a price"), ..wrong };
    let elsewhere = PriceTick {
        revision: 1,
        symbol: "BTC-BRL".to_owned(),
        previous_symbol: Some("BTC-USD".to_owned()),
        ..moved.clone()
    };
    memory.topics.publish(&[first, right, elsewhere, PriceTick { revision: 1, retracted: true, ..taken_back }]);
    let gap = Gap {
        id: Uuid::new_v4(),
        source: "test".to_owned(),
        symbols: vec!["BTC-USD".to_owned()],
        reason: GapReason::Disconnected,
        started_at: now_us() - 1_000_000,
        ended_at: Some(now_us()),
        detail: "for a moment".to_owned(),
    };
    memory.topics.publish_gap(&gap);
    memory.topics.publish(&[tick("ETH-USD", "1")]);

    let mut page = memory.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    page.until_price("ETH-USD", "1").await;
    live(memory.addr).await;
    let shutdown = CancellationToken::new();
    let config = memory.topics.config(&["--look-back=1s", "--database-url="]);
    let topic = dashboard::start(config, shutdown.clone()).await.expect("the dashboard starts");
    let _ends_with_this = shutdown.drop_guard();
    live(topic.addr).await;

    let (from, to) = (now_us() - 120_000_000, now_us() + 1_000_000);
    for symbol in ["BTC-USD", "BTC-BRL"] {
        for tf in ["1s", "1m"] {
            let path = format!("/api/v1/candles?symbol={symbol}&tf={tf}&from={from}&to={to}");
            let (ours, theirs) = (json_of(memory.addr, &path).await, json_of(topic.addr, &path).await);
            assert_eq!((&ours["origin"], &theirs["origin"]), (&json!("memory"), &json!("topic")), "{path}");
            assert_eq!(ours["candles"], theirs["candles"], "{path}");
            let trades = |answer: &Value| -> u64 {
                let candles = answer["candles"].as_array().expect("candles");
                candles.iter().map(|candle| candle["trades"].as_u64().expect("a count")).sum()
            };
            assert_eq!(trades(&ours), if symbol == "BTC-USD" { 2 } else { 1 }, "{path}: {ours}");
        }
        let path = format!("/api/v1/ticks?symbol={symbol}&before_us={to}");
        let (ours, theirs) = (json_of(memory.addr, &path).await, json_of(topic.addr, &path).await);
        assert_eq!(ours["ticks"], theirs["ticks"], "{path}");
    }
    let low = json_of(memory.addr, "/api/v1/candles?symbol=BTC-USD&tf=1m&limit=2").await["candles"][0]["low"].clone();
    assert_eq!(low, "99.000000000000000001");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_says_why_and_the_live_data_goes_on() {
    let running = start(&["--database-url=postgres://reader:hunter2@127.0.0.1:1/prices"]).await;
    running.topics.publish(&[tick("BTC-USD", "64000.1")]);
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    page.until_price("BTC-USD", "64000.1").await;
    live(running.addr).await;
    let candles = json_of(running.addr, "/api/v1/candles?symbol=BTC-USD&tf=1m&limit=2").await;
    assert_eq!((&candles["origin"], &candles["candles"][0]["close"]), (&json!("memory"), &json!("64000.1")));
    let says_why =
        |told: &str| told.contains("database prices at 127.0.0.1:1 does not answer") && !told.contains("hunter2");
    let partly = json_of(running.addr, "/api/v1/candles?symbol=BTC-USD&tf=1m&from=-13d").await;
    assert_eq!((&partly["origin"], &partly["candles"][0]["close"]), (&json!("memory"), &json!("64000.1")));
    assert!(partly["complete_from_us"].as_i64() > partly["from_us"].as_i64(), "{partly}");
    assert!(partly["history_problem"].as_str().is_some_and(says_why), "{partly}");
    let away = running.get("/api/v1/candles?symbol=BTC-USD&tf=1h&from=-3d&to=-2d").await;
    assert_eq!(away.status(), 503);
    let told = away.text().await.expect("text");
    assert!(says_why(&told), "{told}");
    let status = running.get("/status").await.text().await.expect("text");
    assert!(status.contains("does not answer") && !status.contains("hunter2"), "{status}");
    running.topics.publish(&[tick("BTC-USD", "64000.2")]);
    page.until_price("BTC-USD", "64000.2").await;
}
