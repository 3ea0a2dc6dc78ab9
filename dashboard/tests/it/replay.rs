//! Time travel over the same protocol: what was known then, then what came, as fast as it is told to.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::connect_async;

use crate::fixture::{Client, Running, is, now_us, row, start, tick};

const APART: Duration = Duration::from_millis(1200);

/// Three prices, and a time between the first and the second by the broker's clock.
async fn history(running: &Running) -> i64 {
    running.topics.publish(&[tick("BTC-USD", "1")]);
    tokio::time::sleep(APART).await;
    let between = now_us();
    tokio::time::sleep(APART).await;
    running.topics.publish(&[tick("ETH-USD", "7"), tick("BTC-USD", "2")]);
    tokio::time::sleep(APART).await;
    running.topics.publish(&[tick("BTC-USD", "3")]);
    between
}

async fn replay(running: &Running, query: &str) -> Client {
    let url = format!("ws://{}/ws/replay?{query}", running.addr);
    let (socket, _) = connect_async(url).await.expect("connected");
    Client { socket, seq: 0 }
}

fn state(name: &'static str) -> impl Fn(&Value) -> bool {
    move |message| message["type"] == "replay" && message["state"] == name
}

fn price(message: &Value) -> Option<&Value> {
    row(message, "BTC-USD").map(|row| &row["price"])
}

/// Whether one of the rows, of which an update may have several of one series, says so.
fn shows(message: &Value, price: &str) -> bool {
    let rows = message["ticks"].as_array().into_iter().flatten();
    rows.filter(|row| row["symbol"] == "BTC-USD").any(|row| row["price"] == price)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_with_what_was_known_and_ends_with_the_log() {
    let running = start(&[]).await;
    let from = history(&running).await;
    let mut page = replay(&running, &format!("from={from}&speed=1")).await;
    page.send(json!({"type": "subscribe", "id": 1, "channel": "ticks", "symbols": ["BTC-USD"]})).await;
    let snapshot = page.until(is("snapshot")).await;
    assert_eq!((price(&snapshot), &snapshot["reason"]), (Some(&json!("1")), &json!("subscribed")), "{snapshot}");
    page.until(|message| shows(message, "2")).await;
    let heartbeat = page.until(is("heartbeat")).await;
    assert_eq!(heartbeat["feed"]["state"], "replay");
    let replayed = heartbeat["now_us"].as_i64().expect("a time");
    assert!(replayed > from && replayed < now_us() - 1_000_000, "{replayed} is not between {from} and now");
    page.send(json!({"type": "replay", "id": 2, "action": "speed", "speed": "max"})).await;
    page.until(|message| shows(message, "3")).await;
    let ended = page.until(state("ended")).await;
    assert_eq!((&ended["speed"], &ended["from_us"]), (&json!("max"), &json!(from)), "{ended}");
    assert!(ended["at_us"].as_i64().is_some_and(|at| at <= now_us()), "{ended}");
    // The live page knows nothing of it.
    let latest: Value = running.get("/api/v1/latest").await.json().await.expect("JSON");
    assert_eq!(latest["feed"]["state"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_paused_stepped_and_sought() {
    let running = start(&[]).await;
    let from = history(&running).await;
    let mut page = replay(&running, &format!("from={from}&speed=0.1")).await;
    page.send(json!({"type": "subscribe", "channel": "ticks", "symbols": ["BTC-USD"]})).await;
    page.until(is("snapshot")).await;
    page.send(json!({"type": "replay", "action": "pause"})).await;
    let paused = page.until(state("paused")).await;
    for expected in ["2", "3"] {
        page.send(json!({"type": "replay", "action": "step"})).await;
        let stepped = page.until(|message| price(message).is_some()).await;
        assert_eq!(price(&stepped), Some(&json!(expected)), "a step is one record of BTC-USD: {stepped}");
    }
    let later = page.until(is("replay")).await;
    assert!(later["at_us"].as_i64() > paused["at_us"].as_i64(), "{later}");
    page.send(json!({"type": "replay", "action": "seek", "to_us": from})).await;
    let sought = page.until(is("snapshot")).await;
    assert_eq!((price(&sought), &sought["reason"]), (Some(&json!("1")), &json!("seek")), "{sought}");
    page.send(json!({"type": "replay", "id": 5, "action": "speed", "speed": 5000})).await;
    let refused = page.until(is("error")).await;
    assert_eq!((&refused["id"], &refused["code"]), (&json!(5), &json!("bad_message")));
    page.send(json!({"type": "replay", "action": "speed", "speed": "max"})).await;
    page.send(json!({"type": "replay", "action": "resume"})).await;
    page.until(|message| shows(message, "3")).await;
    page.until(state("ended")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_and_one_too_many_are_told() {
    let running = start(&["--max-replays=1"]).await;
    running.topics.publish(&[tick("BTC-USD", "1")]);
    let told = async |query: &str| {
        let answer = running.get(&format!("/ws/replay?{query}")).await;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.expect("JSON");
        (status, body["error"].as_str().expect("a sentence").to_owned())
    };
    for (query, says) in [
        ("", "from is missing"),
        ("from=then", "expected a time"),
        ("from=2999-01-01", "lies ahead"),
        ("from=-1h&speed=0", "0.1 to 1000, or max"),
    ] {
        let (status, sentence) = told(query).await;
        assert!(status == 400 && sentence.contains(says), "{query}: {status} {sentence}");
    }
    assert_eq!(told("from=-1h").await.0, 426);
    // Before the oldest record it starts at that one.
    let mut first = replay(&running, "from=-2h&speed=max").await;
    let playing = first.until(is("replay")).await;
    assert!(playing["from_us"].as_i64().is_some_and(|from| from > now_us() - 600_000_000), "{playing}");
    let (status, sentence) = told("from=-1h").await;
    assert!(status == 503 && sentence.contains("as many as there may be"), "{status} {sentence}");
    drop(first);
    let free = async {
        while told("from=-1h").await.0 != 426 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), free).await.expect("its place is given back");
}
