//! Who may connect, how much, and what a slow one gets.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, http};

use crate::fixture::{Client, PATIENCE, Running, is, start, tick};

async fn connect_from(running: &Running, origin: &str) -> Result<(), http::StatusCode> {
    let mut request = format!("ws://{}/ws", running.addr).into_client_request().expect("a request");
    request.headers_mut().insert("Origin", HeaderValue::from_str(origin).expect("a header"));
    match tokio_tungstenite::connect_async(request).await {
        Ok(_) => Ok(()),
        Err(Error::Http(response)) => Err(response.status()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_are_refused() {
    let running = start(&["--allowed-origins=https://prices.example"]).await;
    let own = running.url("");
    assert_eq!(connect_from(&running, &own).await, Ok(()));
    assert_eq!(connect_from(&running, "https://prices.example").await, Ok(()));
    assert_eq!(connect_from(&running, "https://evil.example").await, Err(http::StatusCode::FORBIDDEN));
    assert_eq!(connect_from(&running, "null").await, Err(http::StatusCode::FORBIDDEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_capped_and_given_back() {
    let running = start(&["--max-connections=2"]).await;
    let (first, _second) = (running.connect().await, running.connect().await);
    let own = running.url("");
    assert_eq!(connect_from(&running, &own).await, Err(http::StatusCode::SERVICE_UNAVAILABLE));
    drop(first);
    let given_back = async {
        while connect_from(&running, &own).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, given_back).await.expect("a place is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_and_a_giant_end_only_their_own_connection() {
    let running = start(&[]).await;
    let mut quiet = running.connect().await;
    let mut flood = running.connect().await;
    for i in 0..60 {
        // The server may have hung up by now.
        drop(
            futures::SinkExt::send(&mut flood.socket, Message::text(json!({"type": "ping", "id": i}).to_string()))
                .await,
        );
    }
    flood.until(|message| message["code"] == "rate_limited").await;

    let mut giant = running.connect().await;
    drop(futures::SinkExt::send(&mut giant.socket, Message::text("x".repeat(1 << 20))).await);
    let ended = async { while matches!(giant.socket.next().await, Some(Ok(_))) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("closed");

    let many: Vec<String> = (0..600).map(|i| format!("S{i}")).collect();
    quiet.send(json!({"type": "subscribe", "id": 4, "channel": "ticks", "symbols": many})).await;
    let error = quiet.until(is("error")).await;
    assert_eq!((&error["code"], &error["id"]), (&json!("too_much"), &json!(4)));
    quiet.send(json!({"type": "ping"})).await;
    quiet.until(is("pong")).await;
}

/// A client that reads nothing for a while: the server keeps no queue for it, and what it reads in the end is a snapshot and
/// then the newest prices.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_gets_a_snapshot_and_the_latest() {
    const SYMBOLS: usize = 400;
    const ROUNDS: usize = 60;
    let running = start(&[]).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(running.addr).await.expect("connected");
    let (socket, _) =
        tokio_tungstenite::client_async(format!("ws://{}/ws", running.addr), stream).await.expect("upgraded");
    let mut slow = Client { socket, seq: 0 };
    slow.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    slow.until(is("snapshot")).await;

    // Frames of 170 kB, ten a second: what the sockets buffer (4 MB and more) is full after some seconds, then the queue
    // overflows. The names are long to make the frames large.
    let symbols: Vec<String> = (0..SYMBOLS).map(|i| format!("{i:X>56}-USD")).collect();
    for round in 0..ROUNDS {
        let ticks: Vec<_> = symbols.iter().map(|symbol| tick(symbol, &format!("{round}.5"))).collect();
        running.topics.publish(&ticks);
        tokio::time::sleep(Duration::from_millis(80)).await;
    }

    let mut updates = 0;
    let snapshot = slow
        .until(|message| {
            updates += usize::from(message["type"] == "update");
            message["reason"] == "lagged"
        })
        .await;
    assert_eq!(snapshot["ticks"].as_array().expect("rows").len(), SYMBOLS);
    assert!(updates < ROUNDS, "{updates} updates of {ROUNDS} rounds were kept for a client that read nothing");
    assert!(running.metric("tickstream_dashboard_lagged_total").await >= 1.0);
    running.topics.publish(&[tick(&symbols[7], "777.000000000000000007")]);
    slow.until_price(&symbols[7], "777.000000000000000007").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_says_so_and_ends_in_time() {
    let mut running = start(&[]).await;
    let mut page = running.connect().await;
    page.until(is("heartbeat")).await;
    running.shutdown.cancel();
    page.until(is("shutdown")).await;
    match tokio::time::timeout(PATIENCE, page.socket.next()).await.expect("in time") {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    let ended = tokio::time::timeout(Duration::from_secs(8), &mut running.ended).await.expect("in time");
    ended.expect("no panic").expect("no error");
}
