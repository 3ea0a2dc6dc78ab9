//! Many WebSocket clients in this process, each on a connection of its own, that note when each tick came. They read a message
//! with a search for two fields and nothing else: what they cost is part of what the machine has to give.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::{SinkExt, StreamExt};
use memchr::memmem;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;

use crate::now_us;
use crate::ticks::{SYMBOLS, symbol};

/// Symbols that each client subscribes to.
pub const SUBSCRIBED: usize = 5;
/// Connections that are being opened at once.
const OPENING: usize = 64;
/// What the kernel holds for a client that never reads: so little that the server meets it, and not megabytes of buffers.
const DEAF_BYTES: u32 = 4096;

/// What some clients saw while they were measured.
#[derive(Debug, Default)]
pub struct Seen {
    pub messages: usize,
    /// Ticks, of which a message may hold several.
    pub values: usize,
    /// From sending a tick to its arrival, microseconds.
    pub delays: Vec<u32>,
    /// The oldest value that a client held: when the next of the same symbol came, that one's arrival less the held one's time; in
    /// the end, how long ago the held one was sent, so that a client that gets nothing any more counts.
    pub oldest_us: i64,
    /// One message of one tick as it came.
    pub example: Option<String>,
}

pub struct Clients {
    tasks: JoinSet<anyhow::Result<Seen>>,
    /// Open connections that never read; held so that they stay open.
    never_read: Vec<WebSocketStream<TcpStream>>,
    measuring: Arc<AtomicBool>,
    done: CancellationToken,
}

impl Clients {
    /// Connects `count` clients to `ws://{host}{path}`, the last `never_read` of which read nothing after subscribing.
    pub async fn connect(host: &str, path: &str, count: usize, never_read: usize) -> anyhow::Result<Self> {
        let (measuring, done) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let opening = Arc::new(Semaphore::new(OPENING));
        let ready = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let mut silent = Vec::new();
        for index in 0..count {
            if index >= count - never_read {
                silent.push(open(host, path, index, true).await?);
                continue;
            }
            let permit = opening.clone().acquire_owned().await?;
            let (host, path) = (host.to_owned(), path.to_owned());
            let (measuring, done, ready) = (measuring.clone(), done.clone(), ready.clone());
            tasks.spawn(async move {
                let mut socket = open(&host, &path, index, false).await?;
                // The next may connect when this one has its snapshot.
                socket.next().await.context("closed at once")??;
                ready.fetch_add(1, Ordering::Relaxed);
                drop(permit);
                read(socket, index, &measuring, &done).await
            });
        }
        while ready.load(Ordering::Relaxed) < count - never_read {
            if let Some(ended) = tasks.try_join_next() {
                ended??;
                anyhow::bail!("a client ended before all were connected");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { tasks, never_read: silent, measuring, done })
    }

    /// Measures for `duration`, then closes all.
    pub async fn measure(mut self, duration: Duration) -> anyhow::Result<Seen> {
        self.measuring.store(true, Ordering::Relaxed);
        tokio::time::sleep(duration).await;
        self.measuring.store(false, Ordering::Relaxed);
        self.done.cancel();
        let mut all = Seen::default();
        while let Some(seen) = self.tasks.join_next().await {
            let seen = seen??;
            all.messages += seen.messages;
            all.values += seen.values;
            all.delays.extend(seen.delays);
            all.oldest_us = all.oldest_us.max(seen.oldest_us);
            all.example = all.example.or(seen.example);
        }
        drop(self.never_read);
        Ok(all)
    }
}

/// `deaf`: it will read nothing, of every symbol.
async fn open(host: &str, path: &str, index: usize, deaf: bool) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let address = lookup_host(host).await?.next().context("an address")?;
    let socket = TcpSocket::new_v4()?;
    if deaf {
        socket.set_recv_buffer_size(DEAF_BYTES)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(format!("ws://{host}{path}"), stream, Some(config)).await?;
    let symbols: Vec<String> = if deaf { Vec::new() } else { subscribed(index).map(symbol).collect() };
    let subscribe = serde_json::json!({ "type": "subscribe", "channel": "ticks", "symbols": symbols });
    socket.send(Message::text(subscribe.to_string())).await?;
    Ok(socket)
}

fn subscribed(index: usize) -> impl Iterator<Item = usize> {
    (0..SUBSCRIBED).map(move |k| (index * SUBSCRIBED + k) % SYMBOLS)
}

async fn read(
    mut socket: WebSocketStream<TcpStream>,
    index: usize,
    measuring: &AtomicBool,
    done: &CancellationToken,
) -> anyhow::Result<Seen> {
    let finders = (memmem::Finder::new(br#""symbol":"S"#), memmem::Finder::new(br#""received_at_us":"#));
    let mut seen = Seen::default();
    // By symbol: the time of the tick that is held. 0: not one of this client's.
    let mut held = [0_i64; SYMBOLS];
    let joined = now_us();
    while let Some(message) = done.run_until_cancelled(socket.next()).await {
        let message = message.context("the server closed a connection")??;
        let Message::Text(text) = message else { continue };
        let at = now_us();
        let mut rest = text.as_bytes();
        if !rest.windows(15).take(40).any(|window| window == br#""type":"update""#) {
            continue;
        }
        let counts = measuring.load(Ordering::Relaxed);
        seen.messages += usize::from(counts);
        let mut rows = 0;
        while let Some(start) = finders.0.find(rest) {
            rest = &rest[start + 11..];
            let symbol = number(rest);
            let Some(start) = finders.1.find(rest) else { break };
            rest = &rest[start + 17..];
            let sent = number(rest);
            rows += 1;
            let before = std::mem::replace(&mut held[usize::try_from(symbol)? % SYMBOLS], sent);
            if counts {
                seen.values += 1;
                seen.delays.push(u32::try_from(at - sent).unwrap_or(0));
                if before > 0 {
                    seen.oldest_us = seen.oldest_us.max(at - before);
                }
            }
        }
        if index == 0 && rows == 1 && seen.example.is_none() {
            seen.example = Some(text.to_string());
        }
    }
    let end = now_us();
    let last = held.iter().filter(|sent| **sent > 0).min().copied();
    seen.oldest_us = seen.oldest_us.max(end - last.unwrap_or(joined));
    Ok(seen)
}

/// The digits at the start.
fn number(text: &[u8]) -> i64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |number, byte| number * 10 + i64::from(byte - b'0'))
}
