//! The same events in three ways, channel by channel, and going on after a loss.

use std::time::Duration;

use futures::StreamExt;
use pipeline::events::{Alert, PriceTick};
use pipeline::example;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{PATIENCE, get, is, now_us, row, start, tick};

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_goes_on_after_a_reconnect_with_nothing_lost() {
    let running = start(&[]).await;
    running.ready_is(200).await;
    running.topics.publish(&[tick("BTC-USD", "1"), tick("ETH-USD", "2")]);
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    page.until_price("BTC-USD", "1").await;
    let mut cursor = String::new();
    running.topics.publish(&[tick("BTC-USD", "3")]);
    page.until(|message| {
        cursor = message["cursor"].as_str().unwrap_or(&cursor).to_owned();
        // Every row comes once more when history has been read; before that no cursor is gone on from.
        row(message, "BTC-USD").is_some_and(|row| row["price"] == "3") && !cursor.contains('~')
    })
    .await;
    drop(page);
    running.topics.publish(&[tick("BTC-USD", "4")]);
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks", "cursor": cursor})).await;
    let snapshot = page.until(is("snapshot")).await;
    assert_eq!((&snapshot["reason"], &snapshot["full"]), (&json!("resumed"), &json!(false)), "{snapshot}");
    if row(&snapshot, "BTC-USD").is_none_or(|row| row["price"] != "4") {
        page.until_price("BTC-USD", "4").await;
    }
    // Another topic's cursor is none.
    page.send(json!({"type": "subscribe", "channel": "ticks", "cursor": "ffffffff@0:1"})).await;
    let whole = page.until(is("snapshot")).await;
    assert_eq!((&whole["full"], whole["ticks"].as_array().map(Vec::len)), (&json!(true), Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_are_corrected_by_late_ticks_revisions_and_retractions() {
    let running = start(&[]).await;
    running.ready_is(200).await;
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "candles", "tf": "1d", "symbols": ["BTC-USD"]})).await;
    page.until(is("snapshot")).await;
    let day = |message: &Value| message["candles"][0].clone();
    let first = PriceTick { quantity: "2".parse().ok(), ..tick("BTC-USD", "100") };
    running.topics.publish(std::slice::from_ref(&first));
    page.until(|message| day(message)["close"] == "100").await;
    let second = PriceTick { quantity: "3".parse().ok(), event_time: first.event_time + 1, ..tick("BTC-USD", "110") };
    running.topics.publish(&[second.clone(), second.clone()]);
    let both = page.until(|message| day(message)["close"] == "110").await;
    assert_eq!(
        (&day(&both)["volume"], &day(&both)["vwap"], &day(&both)["trades"]),
        (&json!("5"), &json!("106"), &json!(2))
    );
    let late = PriceTick { event_time: first.event_time - 1, quantity: None, ..tick("BTC-USD", "90") };
    running.topics.publish(std::slice::from_ref(&late));
    page.until(|message| day(message)["open"] == "90" && day(message)["low"] == "90").await;
    running.topics.publish(&[PriceTick { revision: 1, price: "120".parse().expect("a price"), ..second.clone() }]);
    page.until(|message| day(message)["close"] == "120" && day(message)["high"] == "120").await;
    running.topics.publish(&[PriceTick { revision: 2, retracted: true, ..second }]);
    let back = page.until(|message| day(message)["close"] == "100").await;
    assert_eq!(
        (&day(&back)["volume"], &day(&back)["trades"], &day(&back)["complete"]),
        (&json!("2"), &json!(2), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_come_once_and_by_symbol() {
    let running = start(&[]).await;
    let alert = |id, symbol: &str| Alert {
        alert_id: Uuid::from_u128(id),
        symbol: Some(symbol.to_owned()),
        fired_at: now_us(),
        ..example::alert()
    };
    running.topics.publish_alert(&alert(1, "BTC-USD"));
    running.ready_is(200).await;
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "alerts", "symbols": ["BTC-USD"]})).await;
    let has_one = |message: &Value| message["alerts"][0]["alert_id"] == Uuid::from_u128(1).to_string();
    let is_told = |message: &Value| message["alert"]["alert_id"] == Uuid::from_u128(1).to_string();
    page.until(|message| has_one(message) || is_told(message)).await;
    running.topics.publish_alert(&alert(1, "BTC-USD"));
    running.topics.publish_alert(&alert(2, "ETH-USD"));
    running.topics.publish_alert(&alert(3, "BTC-USD"));
    let told = page.until(is("alert")).await;
    assert_eq!(told["alert"]["alert_id"], Uuid::from_u128(3).to_string(), "neither a repeat nor another symbol's");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_carry_the_same_and_go_on_by_their_id() {
    let running = start(&[]).await;
    running.ready_is(200).await;
    running.topics.publish(&[tick("BTC-USD", "1.5"), tick("ETH-USD", "2")]);
    let url = running.url("/api/v1/stream?channels=ticks,gaps&symbols=BTC-USD");
    let events = async |last: Option<&str>, until: &str| {
        drop(rustls::crypto::ring::default_provider().install_default());
        let request = reqwest::Client::new().get(&url).header("last-event-id", last.unwrap_or(""));
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (mut body, mut text) = (response.bytes_stream(), String::new());
        while !text.contains(until) {
            let chunk = tokio::time::timeout(PATIENCE, body.next()).await.expect("in time").expect("goes on");
            text.push_str(std::str::from_utf8(&chunk.expect("good")).expect("text"));
        }
        text
    };
    let text = events(None, "\"price\":\"1.5\"").await;
    assert!(text.starts_with("event: subscribed\n") && text.contains("\nevent: snapshot\nid: ticks="), "{text}");
    assert!(!text.contains("ETH-USD"), "{text}");
    running.topics.publish(&[tick("BTC-USD", "1.75")]);
    // Behind the first heartbeat both channels have told where they are.
    let filled = async {
        loop {
            let text = events(None, "event: heartbeat").await;
            let last = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().expect("an id");
            if !last.contains('~') {
                return last.to_owned();
            }
        }
    };
    let last = tokio::time::timeout(3 * PATIENCE, filled).await.expect("history is read");
    let text = events(Some(&last), "\"channel\":\"gaps\",\"reason\":\"resumed\"").await;
    assert!(text.contains("\"channel\":\"ticks\",\"reason\":\"resumed\",\"full\":false"), "{text}");
    assert_eq!(running.get("/api/v1/stream?channels=weather").await.status(), 400);
    assert_eq!(running.get("/api/v1/stream?channels=candles").await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_has_an_etag_and_a_cursor() {
    // Each answer is made anew: a poll may otherwise be given the one of a moment before.
    let running = start(&["--cache-ttl", "latest=0s"]).await;
    running.ready_is(200).await;
    running.topics.publish(&[tick("BTC-USD", "1.5"), tick("ETH-USD", "2")]);
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    // Every row comes once more when history has been read; before that no cursor is gone on from.
    let is_filled = |message: &Value| message["cursor"].as_str().is_some_and(|cursor| !cursor.contains('~'));
    page.until(|message| is_filled(message) && row(message, "BTC-USD").is_some_and(|row| row["price"] == "1.5")).await;
    drop(rustls::crypto::ring::default_provider().install_default());
    let url = running.url("/api/v1/latest?symbols=BTC-USD");
    let first = get(&url).await;
    let etag = first.headers()["etag"].to_str().expect("text").to_owned();
    let again = reqwest::Client::new().get(&url).header("if-none-match", &etag).send().await.expect("an answer");
    assert_eq!(again.status(), 304);
    let first: Value = first.json().await.expect("JSON");
    assert_eq!(first["ticks"].as_array().map(Vec::len), Some(1));
    let newer = format!("{url}&cursor={}", first["cursor"].as_str().expect("a cursor"));
    let none: Value = get(&newer).await.json().await.expect("JSON");
    assert_eq!(none["ticks"], json!([]), "nothing is newer");
    running.topics.publish(&[tick("BTC-USD", "1.75")]);
    page.until_price("BTC-USD", "1.75").await;
    let changed = reqwest::Client::new().get(&newer).header("if-none-match", &etag).send().await.expect("an answer");
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.json::<Value>().await.expect("JSON")["ticks"][0]["price"], "1.75");
    let with_candles: Value = get(&format!("{newer}&tf=1m")).await.json().await.expect("JSON");
    let candle = with_candles["candles"].as_array().and_then(|candles| candles.last()).expect("a candle");
    assert_eq!((&candle["symbol"], &candle["tf"], &candle["close"]), (&json!("BTC-USD"), &json!("1m"), &json!("1.75")));
    assert!(first.get("candles").is_none(), "they were not asked for");
    assert_eq!(get(&format!("{url}&tf=7m")).await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_fills_in_behind_the_newest() {
    // More than a chunk of a partition, so that it is read in several; event times a second apart.
    let running = start(&[]).await;
    let now = now_us();
    let ticks: Vec<PriceTick> = (0..20_000)
        .map(|i| PriceTick {
            event_id: Uuid::from_u128(i as u128 * 0x1_0000_0001_0000_0001_0000_0001),
            event_time: now - i * 1_000_000,
            price: format!("{}", 100 + i).parse().expect("a price"),
            ..tick("BTC-USD", "1")
        })
        .collect();
    ticks.chunks(5000).for_each(|chunk| running.topics.publish(chunk));
    let count = async |addr: std::net::SocketAddr| {
        let text =
            get(&format!("http://{addr}/api/v1/candles?symbol=BTC-USD&source=test&tf=1h&limit=100")).await.text().await;
        let answer: Value = serde_json::from_str(&text.expect("text")).unwrap_or_default();
        let hours = answer["candles"].as_array().cloned().unwrap_or_default();
        hours.iter().map(|hour| hour["trades"].as_u64().unwrap_or(0)).sum::<u64>()
    };
    let all = async {
        while count(running.addr).await != 20_000 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, all).await.expect("each tick once");
    // Broker times are all new here, so a second one reads them all forward again; a look at the same state.
    let second = dashboard::start(running.topics.config(&[]), running.shutdown.child_token()).await.expect("starts");
    let again = async {
        while count(second.addr).await != 20_000 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, again).await.expect("the same after a restart");
}
