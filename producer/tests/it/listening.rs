//! The socket driver against an exchange with faults.

use std::time::Duration;

use pipeline::events::GapReason;
use producer::backoff::Backoff;
use producer::socket::{Socketed, listen};
use producer::sources::coinbase;

use crate::fake_ws::{FakeWs, Step, send};
use crate::heard::{Heard, hear};

const SILENCE: Duration = Duration::from_millis(300);

fn socketed(url: &str) -> Socketed {
    let products = vec!["BTC-USD".to_owned()];
    Socketed {
        source: "coinbase",
        url: url.to_owned(),
        subscribe: vec![coinbase::subscribe(&products)],
        asked: products.clone(),
        silence: SILENCE,
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(40)),
        parse: Box::new(move |frame, received_at| coinbase::parse(frame, received_at, &products)),
    }
}

fn acknowledged() -> Step {
    send(r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#)
}

fn trade(kind: &str, id: u32) -> Step {
    send(format!(
        r#"{{"type":"{kind}","trade_id":{id},"side":"buy","size":"0.5","price":"{id}.25","product_id":"BTC-USD","sequence":{id},"time":"2026-03-04T05:06:{id:02}Z"}}"#
    ))
}

fn heartbeat(last_trade_id: u32, second: u32) -> Step {
    send(format!(
        r#"{{"type":"heartbeat","last_trade_id":{last_trade_id},"product_id":"BTC-USD","sequence":1,"time":"2026-03-04T05:07:{second:02}Z"}}"#
    ))
}

async fn play(scripts: Vec<Vec<Step>>, enough: impl Fn(&Heard) -> bool) -> (Heard, FakeWs) {
    let fake = FakeWs::start(scripts).await;
    let socketed = socketed(&fake.url);
    let heard = hear("coinbase", |outbox, status, shutdown| listen(socketed, outbox, status, shutdown), enough).await;
    (heard, fake)
}

fn ids(heard: &Heard) -> Vec<&str> {
    heard.ticks.iter().filter_map(|tick| tick.trade_id.as_deref()).collect()
}

#[tokio::test]
async fn each_way_to_lose_a_connection_is_one_gap_from_the_last_message_to_the_next() {
    let refused = send(r#"{"type":"error","message":"Failed to subscribe","reason":"ticker is not a valid channel"}"#);
    for (fault, said) in [
        (Step::Close, "closed"),
        (Step::CutMidFrame, ""),
        (Step::Silence, "no message for 0.3 s"),
        (Step::SendBytes(vec![b' '; 5 * 1024 * 1024]), "too long"),
        (refused, "ticker is not a valid channel"),
    ] {
        let scripts = vec![
            vec![acknowledged(), trade("last_match", 1), trade("match", 2), fault.clone()],
            vec![acknowledged(), trade("last_match", 2), trade("match", 3), Step::Silence],
        ];
        let (heard, fake) = play(scripts, |heard| heard.ticks.len() >= 4).await;
        let shown = format!("{fault:?}").chars().take(60).collect::<String>();
        assert_eq!(ids(&heard)[..4], ["1", "2", "2", "3"], "{shown}");
        assert_eq!(heard.ticks[1].event_id, heard.ticks[2].event_id, "a repeated trade has one identity");
        let gap = heard.closed()[0];
        assert_eq!(
            (gap.reason, gap.symbols.as_slice()),
            (GapReason::Disconnected, ["BTC-USD".to_owned()].as_slice()),
            "{shown}"
        );
        assert!(gap.detail.contains(said), "{shown}: {}", gap.detail);
        assert_eq!(gap.started_at, heard.ticks[1].received_at, "{shown}: a loss begins at the last message");
        assert!(gap.ended_at <= Some(heard.ticks[2].received_at), "{shown}");
        let subscribed = fake.subscribed.lock().expect("no panic").clone();
        assert!(
            subscribed.iter().all(|text| text.contains("\"matches\"") && !text.contains("ticker")),
            "{subscribed:?}"
        );
    }
}

#[tokio::test]
async fn pings_do_not_keep_a_silent_socket_alive() {
    let pings: Vec<Step> = (0..40).flat_map(|_| [Step::Ping, Step::Wait(Duration::from_millis(50))]).collect();
    let scripts =
        vec![[vec![acknowledged(), trade("match", 1)], pings].concat(), vec![acknowledged(), trade("match", 2)]];
    let (heard, fake) = play(scripts, |heard| heard.ticks.len() >= 2).await;
    let connected = fake.connected.lock().expect("no panic").clone();
    assert!(connected[1] - connected[0] < Duration::from_millis(1500), "{connected:?}");
    assert!(heard.closed()[0].detail.contains("no message for"));
}

#[tokio::test]
async fn a_refused_handshake_is_obeyed() {
    let scripts =
        vec![vec![Step::Refuse(429, "retry-after: 1\r\n")], vec![acknowledged(), trade("match", 1), Step::Silence]];
    let (heard, fake) = play(scripts, |heard| heard.ticks.len() == 1).await;
    let connected = fake.connected.lock().expect("no panic").clone();
    assert!(connected[1] - connected[0] >= Duration::from_secs(1), "{connected:?}");
    let gap = heard.closed()[0];
    assert_eq!(gap.reason, GapReason::RateLimited);
    assert!(gap.detail.contains("HTTP 429"), "{}", gap.detail);
}

#[tokio::test]
async fn trades_that_did_not_come_are_a_gap() {
    let script = vec![
        acknowledged(),
        trade("last_match", 1),
        trade("match", 2),
        trade("match", 5),
        heartbeat(6, 10),
        trade("match", 6),
        heartbeat(8, 11),
        heartbeat(8, 12),
        Step::Silence,
    ];
    let (heard, _) = play(vec![script], |heard| heard.closed().len() >= 2).await;
    let closed = heard.closed();
    let losses: Vec<&str> =
        closed.iter().filter(|gap| gap.reason == GapReason::Sequence).map(|gap| gap.detail.as_str()).collect();
    assert_eq!(losses, ["trades 3 to 4 of BTC-USD did not come", "trades 7 to 8 of BTC-USD did not come"]);
    // Between the neighbours that did come, by the source's clock: 05:06:02 and 05:06:05.
    assert_eq!((closed[0].started_at, closed[0].ended_at), (1_772_600_762_000_000, Some(1_772_600_765_000_000)));
}

#[tokio::test]
async fn bad_frames_cost_only_themselves() {
    let script = vec![
        acknowledged(),
        trade("match", 1),
        send("<html>busy</html>"),
        send("{}"),
        send(r#"{"type":"match","trade_id":2"#),
        send(r#"{"type":"news","text":"a new message"}"#),
        send(
            r#"{"type":"match","trade_id":2,"size":"1","price":"NaN","product_id":"BTC-USD","time":"2026-03-04T05:06:02Z"}"#,
        ),
        Step::SendBytes(vec![0xff; 300]),
        trade("match", 2),
        Step::Silence,
    ];
    let (heard, fake) = play(vec![script], |heard| heard.ticks.len() == 2).await;
    assert_eq!(ids(&heard), ["1", "2"]);
    assert_eq!(fake.connected.lock().expect("no panic").len(), 1, "none of them ends the connection");
    assert!(heard.gaps.is_empty(), "{:?}", heard.gaps);
}

#[tokio::test]
async fn a_burst_arrives_whole_and_in_order() {
    const TRADES: u32 = 20_000;
    let burst: Vec<Step> = (1..=TRADES)
        .map(|id| {
            send(format!(
                r#"{{"type":"match","trade_id":{id},"size":"0.5","price":"{id}","product_id":"BTC-USD","sequence":{id},"time":"2026-03-04T05:06:07Z"}}"#
            ))
        })
        .collect();
    let (heard, _) = play(vec![burst], |heard| heard.ticks.len() == TRADES as usize).await;
    let expected: Vec<String> = (1..=TRADES).map(|id| id.to_string()).collect();
    assert_eq!(ids(&heard), expected);
}
