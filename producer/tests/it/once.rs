//! `producer once` as cron runs it: the real binary, a real broker, one cycle a run.

use std::process::Command;
use std::time::Duration;

use pipeline::events::{Gap, GapReason, PriceTick};
use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use producer::drive::clock::now_micros;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake_http::{Answer, FakeHttp};
use crate::fake_ws::{FakeWs, send};
use crate::heard;
use crate::outages::{broker, read, say};
use crate::sharing::{market, prices};

struct Ended {
    code: Option<i32>,
    lines: Vec<Value>,
    errors: String,
}

async fn once(kafka: &KafkaArgs, spill: &TempDir, args: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
    command.args(["once", "--kafka-bootstrap-servers", &kafka.kafka_bootstrap_servers, "--log", "error"]);
    command.arg("--spill-dir").arg(spill.path()).args(args);
    let ended = tokio::task::spawn_blocking(move || command.output().expect("the binary is built"));
    let ended = ended.await.expect("no panic");
    let lines = String::from_utf8(ended.stdout).expect("text");
    Ended {
        code: ended.status.code(),
        lines: lines.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect(),
        errors: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

async fn since(kafka: &KafkaArgs, source: &str, at: i64) -> (Vec<PriceTick>, Vec<Gap>) {
    let mut ticks = heard::ticks(&read(kafka, topics::TICKS)).await;
    ticks.retain(|tick| tick.source == source && tick.received_at >= at);
    let mut gaps = heard::gaps(&read(kafka, topics::GAPS)).await;
    gaps.retain(|gap| gap.source == source && (gap.started_at >= at || gap.ended_at >= Some(at)));
    (ticks, gaps)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_asks_each_source_once_and_says_how_it_went() {
    let (_guard, _stack, kafka) = broker().await;
    let (http, ws) = (FakeHttp::start(vec![prices()]).await, FakeWs::market(market()).await);
    let (spill, began) = (tempfile::tempdir().expect("a folder"), now_micros());
    let args = [
        "--source=coingecko,coinbase",
        "--coingecko-symbols=BTC-USD",
        &format!("--coingecko-base-url={}", http.url),
        "--coinbase-symbols=BTC-USD",
        &format!("--coinbase-ws-url={}", ws.url),
    ];
    let ended = once(&kafka, &spill, &args).await;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let [coinbase, coingecko] = &ended.lines[..] else { panic!("a line a source: {:?}", ended.lines) };
    let whole = json!({"source": "coingecko", "outcome": "fresh", "ticks": 1, "problems": 0, "missing": []});
    assert_eq!(*coingecko, whole);
    assert_eq!((&coinbase["source"], &coinbase["outcome"]), (&json!("coinbase"), &json!("fresh")));
    assert_eq!(http.requests().len(), 1);
    let (polled, gaps) = since(&kafka, "coingecko", began).await;
    assert_eq!((polled.len(), gaps.len()), (1, 0), "{gaps:?}");
    let (pushed, gaps) = since(&kafka, "coinbase", began).await;
    assert_eq!((pushed.len() as u64, gaps.len()), (coinbase["ticks"].as_u64().expect("a count"), 0), "{gaps:?}");
    assert!(!pushed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_leaves_its_gap_to_the_next_and_the_time_between_runs_is_none() {
    let (_guard, _stack, kafka) = broker().await;
    let down = Answer::Status(503, Vec::new(), b"away".to_vec());
    let http = FakeHttp::start(vec![prices(), down.clone(), down, prices()]).await;
    let (spill, began) = (tempfile::tempdir().expect("a folder"), now_micros());
    let base_url = format!("--coingecko-base-url={}", http.url);
    let args = ["--source", "coingecko", "--coingecko-symbols=BTC-USD", "--coingecko-budget=unlimited", &base_url];
    let mut codes = Vec::new();
    for _ in 0..4 {
        let ended = once(&kafka, &spill, &args).await;
        if ended.code == Some(1) {
            assert_eq!(ended.lines[0]["outcome"], "failed");
            assert!(ended.errors.contains("coingecko: HTTP 503"), "{}", ended.errors);
        }
        codes.push(ended.code);
        let (_, gaps) = since(&kafka, "coingecko", began).await;
        let expected = [0, 1, 1, 2][codes.len() - 1];
        assert_eq!(gaps.len(), expected, "after run {}: {gaps:?}", codes.len());
    }
    assert_eq!(codes, [Some(0), Some(1), Some(1), Some(0)]);
    let (_, gaps) = since(&kafka, "coingecko", began).await;
    let [opening, closing] = &gaps[..] else { panic!("one gap: {gaps:?}") };
    assert_eq!((opening.id, opening.reason, opening.ended_at), (closing.id, GapReason::PollFailed, None));
    assert!(closing.ended_at > Some(opening.started_at), "the fourth run closes what the second one opened");
    say(&format!(
        "once: four runs, one gap of {:.1} s over three",
        (closing.ended_at.unwrap_or(0) - closing.started_at) as f64 / 1e6
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_in_time_whatever_the_source_does() {
    let (_guard, _stack, kafka) = broker().await;
    let spill = tempfile::tempdir().expect("a folder");
    // A market that never trades one of its products.
    let ws = FakeWs::market(market()).await;
    let ws_url = format!("--coinbase-ws-url={}", ws.url);
    let args = ["--source=coinbase", "--coinbase-symbols=BTC-USD,ETH-USD", &ws_url, "--wait-seconds=2"];
    let ended = once(&kafka, &spill, &args).await;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!((&ended.lines[0]["outcome"], &ended.lines[0]["missing"]), (&json!("partial"), &json!(["ETH-USD"])));
    // One that says that it is there, and no more.
    let acknowledged = r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#;
    let ws = FakeWs::start(vec![vec![send(acknowledged)]]).await;
    let ws_url = format!("--coinbase-ws-url={}", ws.url);
    let ended =
        once(&kafka, &spill, &["--source=coinbase", "--coinbase-symbols=BTC-USD", &ws_url, "--wait-seconds=1"]).await;
    assert_eq!((ended.code, &ended.lines[0]["outcome"]), (Some(1), &json!("failed")));
    // A key that is refused is a person's to mend.
    let refused =
        Answer::Status(401, Vec::new(), br#"{"status":{"error_code":10002,"error_message":"wrong key"}}"#.to_vec());
    let http = FakeHttp::start(vec![refused]).await;
    let base_url = format!("--coingecko-base-url={}", http.url);
    let ended = once(&kafka, &spill, &["--source=coingecko", "--coingecko-symbols=BTC-USD", &base_url]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    // A plan is kept from run to run.
    let spill = tempfile::tempdir().expect("a folder");
    let http = FakeHttp::start(vec![prices()]).await;
    let base_url = format!("--coingecko-base-url={}", http.url);
    let args = ["--source=coingecko", "--coingecko-symbols=BTC-USD", "--coingecko-budget=day=1", &base_url];
    assert_eq!(once(&kafka, &spill, &args).await.code, Some(0));
    let began = std::time::Instant::now();
    let ended = once(&kafka, &spill, &args).await;
    assert_eq!((ended.code, http.requests().len()), (Some(1), 1));
    assert!(ended.errors.contains("the budget allows no call before"), "{}", ended.errors);
    assert!(began.elapsed() < Duration::from_secs(20));
}
