//! The source `recorded` over folders written here by hand: through the same drivers as live, in their own time or faster,
//! and never under a live source's name.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use pipeline::events::{EventTimeOrigin, GapReason};
use producer::drive::Way;
use producer::sources::recorded::RecordedArgs;
use producer::symbols::Symbols;
use tempfile::TempDir;

use crate::heard::{Heard, hear};

#[derive(Parser)]
struct Replay {
    #[command(flatten)]
    args: RecordedArgs,
}

fn args(dir: &Path, more: &[&str]) -> RecordedArgs {
    let dir = dir.to_str().expect("UTF-8");
    Replay::parse_from(["replay", "--recorded-dir", dir].iter().chain(more)).args
}

/// Plays to the end.
async fn play(dir: &Path, more: &[&str]) -> Heard {
    let driven = args(dir, more).driven(&Arc::new(Symbols::built_in())).expect("there is something to play");
    let ended = Arc::new(AtomicBool::new(false));
    let driver_ended = ended.clone();
    let driver = |way: Way| async move {
        let (_outbox, shutdown) = (way.outbox.clone(), way.shutdown.clone());
        driven.drive(way).await?;
        driver_ended.store(true, Ordering::SeqCst);
        shutdown.cancelled().await;
        Ok(())
    };
    hear("recorded", driver, |_| ended.load(Ordering::SeqCst)).await
}

fn write(dir: &TempDir, path: &str, lines: &[&str]) {
    let path = dir.path().join(path);
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
    std::fs::write(path, lines.join("\n")).expect("written");
}

fn trade(id: u32, time: &str) -> String {
    format!(
        r#"{{"type":"match","trade_id":{id},"side":"buy","size":"0.5","price":"{id}.25","product_id":"BTC-USD","sequence":{id},"time":"2026-03-04T{time}Z"}}"#
    )
}

/// A payload with the time of its receipt.
fn received(at: &str, more: &str, body: &str) -> String {
    let body = serde_json::to_string(body).expect("text");
    format!(r#"{{"received_at":"2026-03-04T{at}Z",{more}"body":{body}}}"#)
}

/// Source, symbol, price and trade id or key of each tick.
fn told(heard: &Heard) -> Vec<String> {
    let told = |tick: &pipeline::events::PriceTick| {
        format!("{} {} {} {}", tick.source, tick.symbol, tick.price, tick.trade_id.as_deref().unwrap_or("-"))
    };
    heard.ticks.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_keep_their_pauses_or_come_faster() {
    let dir = tempfile::tempdir().expect("a folder");
    let trades = [trade(1, "05:06:07.000000"), trade(2, "05:06:07.600000"), trade(3, "05:16:08.500000")];
    let trades: Vec<&str> = trades.iter().map(String::as_str).collect();
    write(&dir, "short/coinbase/session.jsonl", &trades[..2]);
    write(&dir, "long/coinbase/session.jsonl", &trades);
    // The pause of ten minutes is cut to one: nothing says that it was one recording.
    for (folder, speed, millis) in [("short", "1", 600), ("short", "3", 200), ("long", "100", 606), ("long", "max", 0)]
    {
        let began = std::time::Instant::now();
        let heard = play(&dir.path().join(folder), &["--recorded-speed", speed]).await;
        let took = began.elapsed().as_millis();
        let expected: Vec<String> =
            (1..=heard.ticks.len()).map(|id| format!("recorded:coinbase BTC-USD {id}.25 {id}")).collect();
        assert_eq!(told(&heard), expected);
        assert_eq!(heard.ticks.len(), if folder == "short" { 2 } else { 3 });
        assert!((millis..millis + 350).contains(&took), "{took} ms at speed {speed}");
        assert_eq!(heard.gaps, []);
        let first = &heard.ticks[0];
        assert_eq!((first.event_time, first.event_time_origin), (1_772_600_767_000_000, EventTimeOrigin::Source));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_says_when_it_was_received_keeps_every_pause() {
    let dir = tempfile::tempdir().expect("a folder");
    let lines = [
        received("05:06:07", "", &trade(1, "05:06:06.9")),
        received("05:06:09.5", "", &trade(2, "05:06:07")),
        received("05:11:09.5", "", &trade(3, "05:06:08")),
    ];
    write(&dir, "a.jsonl", &[&lines[0], &lines[1], &lines[2]]);
    let heard = play(dir.path(), &["--recorded-source", "coinbase", "--recorded-speed", "500"]).await;
    let at: Vec<i64> = heard.ticks.iter().map(|tick| (tick.received_at - heard.ticks[0].received_at) / 1_000).collect();
    assert_eq!(at.len(), 3);
    assert!((3..150).contains(&at[1]) && (603..800).contains(&at[2]), "{at:?} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_file_of_frames_is_a_connection_and_the_same_replay_is_the_same_events() {
    let dir = tempfile::tempdir().expect("a folder");
    let trades = [1, 2, 5, 90, 91].map(|id| trade(id, &format!("05:06:{id:02}").replace("05:06:9", "05:07:0")));
    write(&dir, "coinbase/1.jsonl", &[&trades[0], &trades[1], &trades[2]]);
    write(&dir, "coinbase/2.jsonl", &["<html>busy</html>", &trades[3], &trades[4]]);
    write(&dir, "coinbase/notes.txt", &["not a payload"]);
    write(&dir, "unheard-of/1.jsonl", &[&trades[0]]);
    let heard = play(dir.path(), &["--recorded-speed", "max"]).await;
    let again = play(dir.path(), &["--recorded-speed", "0"]).await;
    assert_eq!(told(&heard), [1, 2, 5, 90, 91].map(|id| format!("recorded:coinbase BTC-USD {id}.25 {id}")));
    let ids = |heard: &Heard| heard.ticks.iter().map(|tick| tick.event_id).collect::<Vec<_>>();
    assert_eq!(ids(&heard), ids(&again));
    let live = pipeline::events::event_id("coinbase", "trade", "BTC-USD", "1");
    assert!(!ids(&heard).contains(&live), "a replay is never the live event");

    // What is missing within a file is a loss; between two files nothing is known.
    let closed = heard.closed();
    let told: Vec<(GapReason, &str, &str)> =
        closed.iter().map(|gap| (gap.reason, gap.source.as_str(), gap.detail.as_str())).collect();
    assert_eq!(
        told,
        [
            (GapReason::Sequence, "recorded:coinbase", "trades 3 to 4 of BTC-USD did not come"),
            (GapReason::Disconnected, "recorded:coinbase", "the server closed the connection"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_through_the_polling_driver_refusals_included() {
    const SIMPLE: &str = "/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd&include_last_updated_at=true";
    let dir = tempfile::tempdir().expect("a folder");
    let asked = |status: u16| format!(r#""request":"{SIMPLE}","status":{status},"#);
    let price = |price: &str, at: i64| {
        format!(
            r#"{{"bitcoin":{{"usd":{price},"last_updated_at":{at}}},"ethereum":{{"usd":2000.5,"last_updated_at":{at}}}}}"#
        )
    };
    let lines = [
        received("05:06:07", &asked(200), &price("64000.1", 1_772_600_760)),
        received("05:07:07", &asked(200), &price("64000.1", 1_772_600_760)),
        received("05:08:07", &asked(429), r#"{"status":{"error_code":429,"error_message":"Too many"}}"#),
        received("05:09:07", &asked(401), r#"{"status":{"error_code":10002,"error_message":"No key"}}"#),
        received("05:10:07", &asked(200), &price("64000.2", 1_772_601_000)),
    ];
    write(&dir, "coingecko/a.jsonl", &lines.each_ref().map(String::as_str));
    write(&dir, "coingecko/b.json", &["{\n \"bitcoin\": {\"usd\": 64000.3, \"last_updated_at\": 1772601060}\n}"]);
    let heard = play(dir.path(), &["--recorded-speed", "max"]).await;
    let expected = ["BTC-USD 64000.1", "ETH-USD 2000.5", "BTC-USD 64000.2", "ETH-USD 2000.5", "BTC-USD 64000.3"];
    assert_eq!(told(&heard), expected.map(|price| format!("recorded:coingecko {price} -")));
    // One gap, from the refusal to the next good answer; nothing is waited for and nothing stops.
    let closed = heard.closed();
    let [gap] = closed[..] else { panic!("one gap: {closed:?}") };
    assert_eq!((gap.reason, gap.source.as_str()), (GapReason::RateLimited, "recorded:coingecko"));
    assert!(gap.detail.contains("HTTP 429") && gap.detail.contains("HTTP 401"), "{}", gap.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_play_at_once_and_a_loop_begins_again() {
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir, "coinbase/1.jsonl", &[&trade(1, "05:06:07"), &trade(2, "05:06:08")]);
    write(&dir, "coingecko/1.json", &[r#"{"bitcoin":{"usd":64000.3,"last_updated_at":1772601060}}"#]);
    let driven = args(dir.path(), &["--recorded-speed", "max", "--recorded-loop"]);
    let driven = driven.driven(&Arc::new(Symbols::built_in())).expect("there is something to play");
    let heard = hear("recorded", |way| driven.drive(way), |heard| heard.ticks.len() >= 8).await;
    let of = |source: &str| heard.ticks.iter().filter(|tick| tick.source == source).collect::<Vec<_>>();
    let (pushed, polled) = (of("recorded:coinbase"), of("recorded:coingecko"));
    assert!(pushed.len() >= 4, "it begins again");
    assert_eq!(pushed[0].event_id, pushed[2].event_id, "and is the same events");
    assert_eq!(polled.len(), 1, "the same answer again is no news");
}

#[test]
fn what_cannot_be_played_is_refused() {
    let symbols = Arc::new(Symbols::built_in());
    let empty = tempfile::tempdir().expect("a folder");
    write(&empty, "unheard-of/1.jsonl", &["{}"]);
    let refused = |args: RecordedArgs, said: &str| {
        let error = args.driven(&symbols).err().expect("refused");
        assert_eq!(pipeline::exit_code(&error), 2);
        assert!(error.to_string().contains(said) && error.to_string().contains("RECORDED_"), "{error}");
    };
    refused(Replay::parse_from(["replay"]).args, "needs --recorded-dir");
    refused(args(&empty.path().join("nowhere"), &[]), "cannot read the folder");
    refused(args(empty.path(), &[]), "nothing to play");
    refused(args(&empty.path().join("unheard-of"), &["--recorded-source", "recorded"]), "has no payloads");
}
