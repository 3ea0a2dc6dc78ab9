//! The socket driver and the trades that heartbeats tell of; single faults are in `faults/`.

use std::sync::Arc;
use std::time::Duration;

use pipeline::events::GapReason;
use producer::drive::backoff::Backoff;
use producer::drive::feed::WebSocket;
use producer::drive::socket::{QUIET, Socketed, listen};
use producer::sources::coinbase::Coinbase;
use producer::symbols::Symbols;

use crate::fake_ws::{FakeWs, Step, send};
use crate::heard::{Heard, hear};

const SILENCE: Duration = Duration::from_millis(300);

fn socketed(url: &str) -> Socketed {
    Socketed {
        source: Arc::new(Coinbase { symbols: Arc::new(Symbols::built_in()) }),
        url: url.to_owned(),
        subscribe: vec![
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","heartbeat"]}"#.to_owned(),
        ],
        asked: vec!["BTC-USD".to_owned()],
        silence: SILENCE,
        quiet: QUIET,
        ping: None,
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(40)),
        backfill: None,
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

async fn play(script: Vec<Step>, enough: impl Fn(&Heard) -> bool) -> Heard {
    let fake = FakeWs::start(vec![script]).await;
    let socketed = socketed(&fake.url);
    let feed = Box::new(WebSocket { url: fake.url.clone() });
    hear("coinbase", |way| listen(socketed, feed, way), enough).await
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
    let heard = play(script, |heard| heard.closed().len() >= 2).await;
    let closed = heard.closed();
    let losses: Vec<&str> =
        closed.iter().filter(|gap| gap.reason == GapReason::Sequence).map(|gap| gap.detail.as_str()).collect();
    assert_eq!(losses, ["trades 3 to 4 of BTC-USD did not come", "trades 7 to 8 of BTC-USD did not come"]);
    // Between the neighbours that did come, by the source's clock: 05:06:02 and 05:06:05.
    assert_eq!((closed[0].started_at, closed[0].ended_at), (1_772_600_762_000_000, Some(1_772_600_765_000_000)));
}

#[tokio::test]
async fn a_symbol_that_dies_among_living_ones_is_a_gap_until_it_speaks() {
    let ether = |id: u32| {
        send(format!(
            r#"{{"type":"match","trade_id":{id},"size":"0.5","price":"7.5","product_id":"ETH-USD","sequence":1,"time":"2026-03-04T05:06:07Z"}}"#
        ))
    };
    let mut script = vec![acknowledged(), ether(1)];
    for id in 1..=30 {
        script.extend([trade("match", id), Step::Wait(Duration::from_millis(20))]);
    }
    script.extend([ether(2), Step::Silence]);
    let fake = FakeWs::start(vec![script]).await;
    let mut socketed = socketed(&fake.url);
    socketed.asked.push("ETH-USD".to_owned());
    socketed.quiet = Duration::from_millis(200);
    let feed = Box::new(WebSocket { url: fake.url.clone() });
    let heard = hear("coinbase", |way| listen(socketed, feed, way), |heard| heard.closed().len() == 1).await;
    let closed = heard.closed();
    assert_eq!((closed[0].reason, &closed[0].symbols[..]), (GapReason::Stale, &["ETH-USD".to_owned()][..]));
    let ether: Vec<i64> =
        heard.ticks.iter().filter(|tick| tick.symbol == "ETH-USD").map(|tick| tick.received_at).collect();
    assert_eq!(
        (closed[0].started_at, closed[0].ended_at),
        (ether[0], Some(ether[1])),
        "from its last price to its next"
    );
}
