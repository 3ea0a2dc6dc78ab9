//! The limit that the dashboard is measured against: a WebSocket server of tokio-tungstenite and nothing else. It sends the same frames to the
//! same subscribers, but reads no Kafka, keeps no state, checks nothing and lets a queue grow without end. It is a process
//! of its own, as the dashboard is.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use crate::now_us;
use crate::ticks::{SYMBOLS, symbol};

type Subscribers = Arc<Mutex<HashMap<String, Vec<UnboundedSender<Utf8Bytes>>>>>;

/// Serves until standard input ends. Each line of it is a symbol, a tab and a frame without its number.
pub async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    #[expect(clippy::print_stdout, reason = "who started it waits for the address")]
    {
        println!("{addr}");
    }
    let subscribers = Subscribers::default();
    tokio::spawn({
        let subscribers = subscribers.clone();
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, subscribers.clone()));
            }
        }
    });
    let work = move || {
        for line in std::io::stdin().lines() {
            let line = line?;
            let (symbol, frame) = line.split_once('\t').context("a symbol, a tab and a frame")?;
            let frame = Utf8Bytes::from(frame);
            let subscribers = subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            for subscriber in subscribers.get(symbol).into_iter().flatten() {
                // Closed ones are those of a client that has gone.
                drop(subscriber.send(frame.clone()));
            }
        }
        Ok(())
    };
    crate::blocking(work).await
}

async fn connection(stream: TcpStream, subscribers: Subscribers) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    let wanted = socket.next().await.context("closed")??;
    let wanted: serde_json::Value = serde_json::from_str(wanted.to_text()?)?;
    let (sender, mut frames) = unbounded_channel::<Utf8Bytes>();
    for symbol in wanted["symbols"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str) {
        let mut subscribers = subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.entry(symbol.to_owned()).or_default().push(sender.clone());
    }
    drop(sender);
    socket.send(Message::text(r#"{"type":"subscribed"}"#)).await?;
    let mut seq = 0_u64;
    while let Some(frame) = frames.recv().await {
        seq += 1;
        socket.send(Message::text(format!("{{\"seq\":{seq},{}", &frame[1..]))).await?;
    }
    Ok(())
}

/// The server in a process of its own.
pub struct Bare {
    child: Child,
    pub host: String,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Bare {
    pub async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--bare-websockets")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("piped")?).lines();
        let host = stdout.next_line().await?.context("the bare server has not started")?;
        Ok(Self { child, host, _stdout: stdout })
    }

    /// Sends `frame`, with the moment in it, for each symbol in turn at a steady rate until `done`.
    pub async fn load(&mut self, frame: &str, per_second: usize, done: &CancellationToken) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("piped")?;
        let body = format!("{{{}", frame.split_once(',').context("a numbered frame")?.1);
        let begun = Instant::now();
        let mut number = 0;
        while !done.is_cancelled() {
            let due = begun + Duration::from_nanos((1_000_000_000 * number / per_second) as u64);
            // The runtime's timer turns each millisecond.
            tokio::time::sleep_until(due.into()).await;
            let symbol = symbol(number % SYMBOLS);
            let line = stamped(&body, &symbol, now_us())?;
            stdin.write_all(format!("{symbol}\t{line}\n").as_bytes()).await?;
            number += 1;
        }
        Ok(())
    }
}

/// A frame of one tick as if it were of `symbol`, sent at `at`.
fn stamped(frame: &str, symbol: &str, at: i64) -> anyhow::Result<String> {
    let (before, rest) = frame.split_once(r#""symbol":"S"#).context("a frame of a tick")?;
    let (_, rest) = rest.split_once('"').context("a frame of a tick")?;
    let (between, rest) = rest.split_once(r#""received_at_us":"#).context("a frame of a tick")?;
    let after = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    Ok(format!(r#"{before}"symbol":"{symbol}"{between}"received_at_us":{at}{after}"#))
}
