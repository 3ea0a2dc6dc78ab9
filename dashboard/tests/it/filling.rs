//! What is older than the newest minutes comes in behind them, chunk by chunk, from a log whose records keep the time that they
//! were given and which ends with what is never delivered.

use std::time::Duration;

use clap::Parser;
use dashboard::Config;
use pipeline::events::PriceTick;
use rdkafka::producer::{BaseProducer, Producer};
use serde_json::Value;
use uuid::Uuid;

use crate::fixture::{PATIENCE, Topics, now_us, start_on, tick};

const TICKS: i64 = 20_000;
const APART_US: i64 = 540_000;

fn transactional(servers: &str) -> BaseProducer {
    let kafka = Config::parse_from(["dashboard", "--kafka-bootstrap-servers", servers]).kafka;
    let mut settings = kafka.producer();
    settings.set("transactional.id", Uuid::new_v4().to_string());
    let producer: BaseProducer = settings.create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("transactions");
    producer
}

/// Ticks in minutes that are whole, and in all.
fn trades(answer: &Value) -> (u64, u64) {
    let candles = answer["candles"].as_array().expect("candles");
    let count = |candle: &Value| candle["trades"].as_u64().expect("a count");
    let whole = candles.iter().filter(|candle| candle["complete"] == true);
    (whole.map(count).sum(), candles.iter().map(count).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_of_history_come_in_behind_the_newest() {
    let stack = stack::shared().await;
    let topics = Topics::create_with_time(&stack.kafka_bootstrap_servers, "CreateTime").await;
    let now = now_us();
    let at = |i: i64| {
        let event_time = now - (TICKS - i) * APART_US;
        let event_id = pipeline::events::event_id("test", "trades", "BTC-USD", &i.to_string());
        PriceTick { event_id, event_time, received_at: event_time, ..tick("BTC-USD", &(i + 1).to_string()) }
    };
    let ticks: Vec<PriceTick> = (0..TICKS).map(at).collect();
    let producer = transactional(&stack.kafka_bootstrap_servers);
    producer.begin_transaction().expect("begun");
    topics.publish_as_of_then(&producer, &ticks);
    producer.commit_transaction(PATIENCE).expect("committed");

    let running = start_on(topics, &["--database-url="]).await;
    let (from, to) = (now - TICKS * APART_US - 60_000_000, now + 60_000_000);
    let path = format!("/api/v1/candles?symbol=BTC-USD&tf=1m&from={from}&to={to}&limit=1000");
    let filled = async {
        loop {
            let answer: Value = running.get(&path).await.json().await.expect("JSON");
            if answer["origin"] == "memory" && trades(&answer).1 >= TICKS.unsigned_abs() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let answer = tokio::time::timeout(3 * PATIENCE, filled).await.expect("all of it comes in");
    let (whole, all) = trades(&answer);
    assert_eq!(all, TICKS.unsigned_abs(), "each once");
    assert!(whole > all - 500, "all but the minute that goes on is whole: {whole} of {all}");
    let candles = answer["candles"].as_array().expect("candles");
    assert_eq!((&candles[0]["open"], &candles[candles.len() - 1]["close"]), (&"1".into(), &"20000".into()));
}
