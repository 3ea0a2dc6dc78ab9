//! What a page gets: prices exact to the last digit, gaps, heartbeats, and the page itself.

use pipeline::events::{Gap, GapReason, PriceTick, SourceHealth};
use pipeline::example;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::fixture::{is, now_us, row, start, tick};

#[tokio::test(flavor = "multi_thread")]
async fn prices_reach_the_socket_to_the_last_digit() {
    let running = start(&[]).await;
    running.topics.publish(&[tick("BTC-USD", "67187.335893656600000001"), tick("PEPE-USD", "5.617e-06")]);
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "id": 1, "channel": "ticks"})).await;
    assert_eq!(page.until(is("subscribed")).await["id"], 1);
    page.until_price("BTC-USD", "67187.335893656600000001").await;
    let pepe = {
        let mut other = running.connect().await;
        other.send(json!({"type": "subscribe", "channel": "ticks", "symbols": ["PEPE-USD"]})).await;
        other.until_price("PEPE-USD", "0.000005617").await
    };
    assert_eq!((&pepe["source"], &pepe["change_pct"]), (&json!("test"), &Value::Null));

    // An update, and what the source says of the change wins over what the chart knows.
    let given = PriceTick { change_24h_pct: "-2.5".parse().ok(), ..tick("BTC-USD", "67000") };
    running.topics.publish(std::slice::from_ref(&given));
    let shown = page.until_price("BTC-USD", "67000").await;
    assert_eq!((&shown["change_pct"], &shown["change_basis"]), (&json!("-2.5"), &json!("24h")));
    assert_eq!(shown["event_id"], given.event_id.to_string());

    // A correction of it wins, and the first version cannot come back.
    running
        .topics
        .publish(&[PriceTick { revision: 1, price: "67000.5".parse().expect("a price"), ..given.clone() }, given]);
    page.until_price("BTC-USD", "67000.5").await;
    running.topics.publish(&[tick("ETH-USD", "3500")]);
    let after = page.until(|message| row(message, "ETH-USD").is_some()).await;
    assert!(row(&after, "BTC-USD").is_none_or(|row| row["price"] == "67000.5"));

    let latest: Value = running.get("/api/v1/latest?symbol=BTC-USD").await.json().await.expect("JSON");
    assert_eq!(row(&latest, "BTC-USD").expect("a row")["price"], "67000.5");
    let history: Value = running.get("/api/v1/candles?symbol=BTC-USD&source=test").await.json().await.expect("JSON");
    let candles = history["candles"].as_array().expect("candles");
    assert_eq!(candles.last().expect("a candle")["close"], "67000.5");
    assert_eq!(running.get("/api/v1/latest?symbol=NONE-USD").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_kept_to_and_ended() {
    let running = start(&[]).await;
    let mut page = running.connect().await;
    page.send(json!({"type": "resume", "cursor": "0:1"})).await;
    page.send(json!({"type": "ping", "id": 9})).await;
    let unknown = page.until(|message| message["type"] != "heartbeat").await;
    assert_eq!(unknown["code"], "unknown_type", "and nothing else happens");
    page.until(is("pong")).await;
    page.send(json!({"type": "subscribe", "id": 1, "channel": "ticks", "symbols": ["ETH-USD"]})).await;
    assert_eq!(page.until(is("snapshot")).await["reason"], "subscribed");
    running.topics.publish(&[tick("BTC-USD", "1"), tick("ETH-USD", "2")]);
    page.until(|message| {
        assert!(row(message, "BTC-USD").is_none(), "not subscribed: {message}");
        row(message, "ETH-USD").is_some()
    })
    .await;
    page.send(json!({"type": "unsubscribe", "id": 2, "channel": "ticks", "symbols": ["ETH-USD"]})).await;
    page.until(is("unsubscribed")).await;
    running.topics.publish(&[tick("ETH-USD", "3")]);
    for _ in 0..3 {
        assert_eq!(page.next().await["type"], "heartbeat");
    }
    page.socket.send_text("{\"type\":\"subscribe\"").await;
    let error = page.until(is("error")).await;
    assert_eq!(error["code"], "bad_message", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_and_health_are_told() {
    let running = start(&[]).await;
    let gap = Gap {
        id: Uuid::new_v4(),
        source: "test".to_owned(),
        symbols: vec!["BTC-USD".to_owned()],
        reason: GapReason::Disconnected,
        started_at: now_us(),
        ended_at: None,
        detail: "the exchange hung up".to_owned(),
    };
    running.topics.publish_gap(&gap);
    let now = now_us();
    let health = SourceHealth { source: "test".to_owned(), at: now, last_answer_at: Some(now), ..example::health() };
    running.topics.publish_health(&health);
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "health"})).await;
    page.until(|message| message["sources"][0]["source"] == "test" && message["sources"][0]["state"] == health.state)
        .await;
    page.send(json!({"type": "subscribe", "id": 1, "channel": "gaps"})).await;
    let snapshot = page.until(|message| message["channel"] == "gaps" && message["type"] == "snapshot").await;
    assert_eq!(snapshot["gaps"][0]["reason"], "DISCONNECTED");
    running.topics.publish_gap(&Gap { ended_at: Some(now_us()), ..gap });
    let closed = page.until(is("gap")).await;
    assert!(closed["gap"]["ended_at_us"].is_number(), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_counted_and_nothing_good_is_lost() {
    let running = start(&[]).await;
    for bad in [&b"garbage"[..], b"", b"\xc3\x01", b"\xc3\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08", &[0xff; 900_000]] {
        running.topics.raw(1, bad);
        running.topics.raw(0, bad);
    }
    running.topics.publish(&[tick("BTC-USD", "64000.1"), tick("ETH-USD", "3500.2")]);
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    page.until(|message| {
        let shown = |symbol| row(message, symbol).is_some();
        shown("BTC-USD") || shown("ETH-USD")
    })
    .await;
    running.topics.publish(&[tick("BTC-USD", "64000.2")]);
    page.until_price("BTC-USD", "64000.2").await;
    let topic = &running.topics.ticks;
    let bad = running.metric(&format!("tickstream_dashboard_bad_records_total{{topic=\"{topic}\"}}")).await;
    assert_eq!(bad, 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_whole_and_guarded() {
    let running = start(&[]).await;
    let page = running.get("/").await;
    let header = |name: &str| page.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let policy = header("content-security-policy").expect("a policy");
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
    let html = page.text().await.expect("text");
    assert!(!html.contains("<script>") && !html.contains(" style="), "inline code would need an exception");
    for (path, kind) in
        [("/app.js", "javascript"), ("/style/ground.css", "css"), ("/vendor/lightweight-charts.mjs", "javascript")]
    {
        let response = running.get(path).await;
        assert!(response.status().is_success(), "{path}");
        let found = response.headers()["content-type"].to_str().expect("text").to_owned();
        assert!(found.contains(kind), "{path} is {found}");
    }
    for path in ["/package.json", "/../Cargo.toml", "/node_modules/typescript/package.json", "/nothing"] {
        assert_eq!(running.get(path).await.status(), 404, "{path}");
    }
}

trait SendText {
    async fn send_text(&mut self, text: &str);
}

impl<S: futures::Sink<Message, Error: std::fmt::Debug> + Unpin> SendText for S {
    async fn send_text(&mut self, text: &str) {
        futures::SinkExt::send(self, Message::text(text)).await.expect("sent");
    }
}
