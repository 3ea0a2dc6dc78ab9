//! Kafka away, made anew or grown: the page says so and goes on by itself.

use std::time::Duration;

use dashboard::Config;
use rdkafka::admin::{AdminOptions, NewPartitions};
use serde_json::json;
use stack::{Options, Stack};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Topics, get, start, start_on, tick};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_outage_shows_and_ends_by_itself() {
    if std::env::var_os("KAFKA_BOOTSTRAP_SERVERS").is_some() {
        eprintln!("skipped: KAFKA_BOOTSTRAP_SERVERS names a broker that this test may not stop");
        return;
    }
    // A broker of its own: others use the shared one.
    let stack = Stack::start(Options { fsync: false, ..Options::default() }).await.expect("a stack");
    let running = start_on(Topics::create(&stack.kafka_bootstrap_servers).await, &[]).await;
    running.topics.publish(&[tick("BTC-USD", "1")]);
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    page.until_price("BTC-USD", "1").await;
    page.until(|message| message["feed"]["state"] == "live").await;
    running.ready_is(200).await;

    let kafka = stack.kafka().expect("the stack's own broker");
    tokio::task::block_in_place(|| kafka.stop()).expect("stopped");
    let outage = page.until(|message| message["feed"]["state"] == "outage").await;
    assert!(outage["feed"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{outage}");
    assert!(running.ready_is(503).await.starts_with("kafka: "));
    assert_eq!(get(&format!("{}/livez", running.admin)).await.status(), 200);

    tokio::task::block_in_place(|| kafka.restart()).expect("restarted");
    running.topics.publish(&[tick("BTC-USD", "2")]);
    page.until_price("BTC-USD", "2").await;
    page.until(|message| message["feed"]["state"] == "live").await;
    running.ready_is(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn added_partitions_are_read() {
    let running = start(&[]).await;
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    let grown = NewPartitions::new(&running.topics.ticks, 3);
    let results = running.topics.admin().create_partitions([&grown], &AdminOptions::new()).await.expect("an answer");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    running.topics.publish_to(2, &tick("NEW-USD", "12.5"));
    page.until_price("NEW-USD", "12.5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_read_from_its_look_back() {
    let running = start(&[]).await;
    let mut page = running.connect().await;
    page.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    running.topics.publish(&[tick("BTC-USD", "1")]);
    page.until_price("BTC-USD", "1").await;
    let name = running.topics.ticks.clone();
    running.topics.admin().delete_topics(&[&name], &AdminOptions::new()).await.expect("deleted");
    running.topics.create_again(&name, 2).await;
    running.topics.publish(&[tick("BTC-USD", "2"), tick("ETH-USD", "3")]);
    page.until_price("BTC-USD", "2").await;
    running.ready_is(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_start_is_one_plain_line() {
    let stack = stack::shared().await;
    let topics = Topics::create(&stack.kafka_bootstrap_servers).await;
    let refused = async |config: Config| {
        let error = dashboard::start(config, CancellationToken::new()).await.err().expect("refused");
        assert_eq!(pipeline::exit_code(&error), 2);
        format!("{error:#}")
    };

    let mut config = topics.config(&[]);
    config.ticks_topic = "no-such-topic".to_owned();
    let line = refused(config).await;
    assert!(line.contains("no-such-topic does not exist") && line.contains("tickstream topics apply"), "{line}");

    let mut config = topics.config(&[]);
    config.kafka.kafka_bootstrap_servers = "127.0.0.1:1".to_owned();
    let line = refused(config).await;
    assert!(line.contains("127.0.0.1:1") && line.contains("KAFKA_BOOTSTRAP_SERVERS"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_looks_back() {
    let first = start(&[]).await;
    first.topics.publish(&[tick("BTC-USD", "1.5"), tick("ETH-USD", "2.5")]);
    let mut config = first.topics.config(&[]);
    let shown = async |config: Config| {
        let shutdown = CancellationToken::new();
        let second = dashboard::start(config, shutdown.clone()).await.expect("the dashboard starts");
        let _ends_with_this = shutdown.drop_guard();
        let latest = format!("http://{}/api/v1/latest", second.addr);
        loop {
            let text = get(&latest).await.text().await.expect("text");
            if text.contains("\"state\":\"live\"") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let text = shown(config.clone()).await;
    assert!(text.contains("\"price\":\"1.5\"") && text.contains("\"price\":\"2.5\""), "{text}");

    config.look_back = "1s".parse().expect("a duration");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let text = shown(config).await;
    assert!(text.contains("\"ticks\":[]"), "older than the look-back: {text}");
}
