//! Who may connect, how much, and what a slow one gets.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, http};

use crate::fixture::{Client, PATIENCE, Running, is, row, start, tick};

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

/// A client that reads nothing for a while: the server keeps no queue for it; what it reads in the end are the newest prices,
/// and how many were left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_gets_the_latest_and_how_much_was_left_out() {
    const SYMBOLS: usize = 400;
    const ROUNDS: usize = 6;
    let running = start(&[]).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(running.addr).await.expect("connected");
    let (socket, _) =
        tokio_tungstenite::client_async(format!("ws://{}/ws", running.addr), stream).await.expect("upgraded");
    let mut slow = Client { socket, seq: 0 };
    running.ready_is(200).await;
    slow.send(json!({"type": "subscribe", "channel": "ticks"})).await;
    slow.until(is("snapshot")).await;

    // 2 MB, which the kernel alone would hold for it: the names are long to make the rows large.
    let symbols: Vec<String> = (0..SYMBOLS).map(|i| format!("{i:X>56}-USD")).collect();
    for round in 0..ROUNDS {
        let ticks: Vec<_> = symbols.iter().map(|symbol| tick(symbol, &format!("{round}.5"))).collect();
        running.topics.publish(&ticks);
    }
    let last = tick(&symbols[7], "777.000000000000000007");
    running.topics.publish(std::slice::from_ref(&last));

    let (mut sent, mut skipped) = (0, 0);
    slow.until(|message| {
        for row in message["ticks"].as_array().into_iter().flatten().filter(|row| row["symbol"] == last.symbol) {
            sent += 1;
            skipped += row["skipped"].as_u64().expect("a number");
        }
        row(message, &last.symbol).is_some_and(|row| row["price"] == "777.000000000000000007")
    })
    .await;
    assert_eq!(sent + skipped, ROUNDS as u64 + 1, "{sent} sent, {skipped} left out");
    assert!(skipped > 0, "all {sent} were kept for a client that read nothing");
    assert!(running.metric("tickstream_dashboard_conflated_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections() {
    let running = start(&["--max-connections-per-address=1"]).await;
    let _first = running.connect().await;
    let own = running.url("");
    assert_eq!(connect_from(&running, &own).await, Err(http::StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(running.get("/api/v1/stream").await.status(), 429);
    assert_eq!(running.get("/api/v1/latest").await.status(), 200, "polling holds nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_guess_counts_also_those_that_nobody_looks_at() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "0123456789abcdef-token").expect("written");
    let running = start(&[&format!("--auth-token-file={}", file.path().display())]).await;
    let client = reqwest::Client::new();
    let mut braked = 0;
    for _ in 0..15 {
        let guess = client.get(running.url("/api/v1/latest")).bearer_auth("fedcba9876543210-guess");
        let status = guess.send().await.expect("an answer").status();
        assert!(!status.is_success());
        braked += u32::from(status == http::StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(braked, 5);
    assert_eq!(running.metric("tickstream_dashboard_unauthorized_total").await, 15.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_never_arrives_is_not_waited_for() {
    let running = start(&[]).await;
    let mut stream = TcpStream::connect(running.addr).await.expect("connected");
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\n";
    stream.write_all(format!("{head}token=").as_bytes()).await.expect("sent");
    let mut answer = String::new();
    tokio::time::timeout(3 * PATIENCE, stream.read_to_string(&mut answer)).await.expect("closed").expect("text");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_says_so_and_ends_in_time() {
    let mut running = start(&[]).await;
    let mut page = running.connect().await;
    page.until(is("heartbeat")).await;
    running.shutdown.cancel();
    let shutdown = page.until(is("shutdown")).await;
    assert!(shutdown["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{shutdown}");
    match tokio::time::timeout(PATIENCE, page.socket.next()).await.expect("in time") {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    let ended = tokio::time::timeout(Duration::from_secs(8), &mut running.ended).await.expect("in time");
    ended.expect("no panic").expect("no error");
}
