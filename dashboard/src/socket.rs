//! One WebSocket connection. Whatever has come together while the last message was being sent leaves as one update with the
//! latest row of each series; what overflowed the queue is made up for by a snapshot. Must never happen here: a queue that
//! grows because a browser is slow, or an update that is older than the snapshot before it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hub::{Event, Frame, Hub};
use crate::protocol::{
    Channel, ClientMessage, ErrorCode, Json, MAX_NAME_CHARS, MAX_SYMBOLS, ServerMessage, SnapshotReason, Subscription,
    numbered,
};

/// A client that takes nothing for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// What a shutdown leaves a connection to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);
/// What a client that is shown out has to read why.
const LINGER: Duration = Duration::from_secs(2);
/// Client messages: a burst, then a rate.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 10.0;

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client went away or was too slow.
    Gone,
    TooFast,
    Shutdown,
}

/// Serves one connection until it ends or `shutdown`.
pub async fn serve(socket: WebSocket, hub: Arc<Hub>, shutdown: CancellationToken) {
    let connections = metrics::gauge!("tickstream_dashboard_connections");
    connections.increment(1.0);
    let (sink, mut stream) = socket.split();
    let events = hub.subscribe();
    let mut connection = Connection {
        sink,
        hub,
        shutdown,
        seq: 0,
        ticks: Interest::default(),
        ticks_after: 0,
        gaps: false,
        gaps_after: 0,
    };
    let end = connection.run(&mut stream, events).await;
    connection.say_goodbye(&end, &mut stream).await;
    tracing::debug!(?end, messages = connection.seq, "connection ended");
    connections.decrement(1.0);
}

/// The symbols that a connection wants.
#[derive(Debug, Default)]
struct Interest {
    all: bool,
    symbols: HashSet<String>,
}

impl Interest {
    fn wants(&self, symbol: &str) -> bool {
        self.all || self.symbols.contains(symbol)
    }
}

struct Connection {
    sink: SplitSink<WebSocket, Message>,
    hub: Arc<Hub>,
    shutdown: CancellationToken,
    seq: u64,
    ticks: Interest,
    /// Frames up to this one are in the last snapshot.
    ticks_after: u64,
    gaps: bool,
    gaps_after: u64,
}

impl Connection {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>, mut events: broadcast::Receiver<Event>) -> End {
        let shutdown = self.shutdown.clone();
        let mut rate = Rate::new();
        loop {
            let turn = tokio::select! {
                () = shutdown.cancelled() => return End::Shutdown,
                message = stream.next() => match message {
                    Some(Ok(_)) if !rate.allows(Instant::now()) => return End::TooFast,
                    Some(Ok(Message::Text(text))) => self.on_text(&text).await,
                    Some(Ok(Message::Binary(_))) => self.refuse(None, ErrorCode::BadMessage, "send text, not binary").await,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                },
                event = events.recv() => match event {
                    Ok(event) => self.on_events(event, &mut events).await,
                    Err(RecvError::Lagged(_)) => self.start_over().await,
                    Err(RecvError::Closed) => return End::Shutdown,
                },
            };
            if let Err(end) = turn {
                return end;
            }
        }
    }

    async fn on_text(&mut self, text: &str) -> Result<(), End> {
        let message: ClientMessage = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => return self.refuse(None, ErrorCode::BadMessage, &format!("not understood: {error}")).await,
        };
        match message {
            ClientMessage::Subscribe(wanted) => self.on_subscribe(wanted).await,
            ClientMessage::Unsubscribe(unwanted) => self.on_unsubscribe(unwanted).await,
            ClientMessage::Ping { id } => self.send(&ServerMessage::Pong { id }).await,
            ClientMessage::Unknown => Ok(()),
        }
    }

    async fn on_subscribe(&mut self, Subscription { id, channel, symbols }: Subscription) -> Result<(), End> {
        let too_long = symbols.iter().any(|symbol| symbol.chars().count() > MAX_NAME_CHARS);
        if too_long || self.ticks.symbols.len() + symbols.len() > MAX_SYMBOLS {
            let message =
                format!("at most {MAX_SYMBOLS} symbols of {MAX_NAME_CHARS} characters; leave them out for all");
            return self.refuse(id, ErrorCode::TooMuch, &message).await;
        }
        self.send(&ServerMessage::Subscribed { id, channel, symbols: &symbols }).await?;
        match channel {
            Channel::Ticks => {
                self.ticks.all |= means_all(&symbols);
                self.ticks.symbols.extend(symbols);
                self.send_ticks_snapshot(SnapshotReason::Subscribed).await
            }
            Channel::Gaps => {
                self.gaps = true;
                self.send_gaps_snapshot(SnapshotReason::Subscribed).await
            }
        }
    }

    async fn on_unsubscribe(&mut self, Subscription { id, channel, symbols }: Subscription) -> Result<(), End> {
        match channel {
            Channel::Ticks if means_all(&symbols) => self.ticks = Interest::default(),
            Channel::Ticks if self.ticks.all => {
                let message = "subscribed to all symbols: unsubscribe from all, then subscribe to some";
                return self.refuse(id, ErrorCode::BadMessage, message).await;
            }
            Channel::Ticks => self.ticks.symbols.retain(|symbol| !symbols.contains(symbol)),
            Channel::Gaps => self.gaps = false,
        }
        self.send(&ServerMessage::Unsubscribed { id, channel, symbols: &symbols }).await
    }

    /// Sends what waits in the queue: the latest row of each series once, every gap, the last heartbeat.
    async fn on_events(&mut self, first: Event, events: &mut broadcast::Receiver<Event>) -> Result<(), End> {
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        let mut heartbeat = None;
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Event::Frame(frame) => frames.push(frame),
                Event::Heartbeat(body) => heartbeat = Some(body),
            }
            next = match events.try_recv() {
                Ok(event) => Some(event),
                Err(TryRecvError::Lagged(_)) => return self.start_over().await,
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
            };
        }
        self.send_updates(&frames).await?;
        self.send_gaps(&frames).await?;
        match heartbeat {
            Some(body) => self.send_body(&body, "heartbeat").await,
            None => Ok(()),
        }
    }

    async fn send_updates(&mut self, frames: &[Arc<Frame>]) -> Result<(), End> {
        let news = || frames.iter().filter(|frame| frame.changes.number > self.ticks_after);
        if self.ticks.all
            && let (Some(only), 1) = (news().next(), news().count())
            && !only.changes.rows.is_empty()
        {
            let only = only.clone();
            return self.send_body(only.update_for_all(), "update").await;
        }
        let rows = conflate(news(), |symbol| self.ticks.wants(symbol));
        if rows.is_empty() {
            return Ok(());
        }
        self.send(&ServerMessage::Update { channel: Channel::Ticks, ticks: &rows }).await
    }

    async fn send_gaps(&mut self, frames: &[Arc<Frame>]) -> Result<(), End> {
        if !self.gaps {
            return Ok(());
        }
        let after = self.gaps_after;
        for gap in frames.iter().filter(|frame| frame.changes.number > after).flat_map(|frame| &frame.changes.gaps) {
            self.send(&ServerMessage::Gap { channel: Channel::Gaps, gap }).await?;
        }
        Ok(())
    }

    /// After a loss.
    async fn start_over(&mut self) -> Result<(), End> {
        metrics::counter!("tickstream_dashboard_lagged_total").increment(1);
        if self.ticks.all || !self.ticks.symbols.is_empty() {
            self.send_ticks_snapshot(SnapshotReason::Lagged).await?;
        }
        if self.gaps {
            self.send_gaps_snapshot(SnapshotReason::Lagged).await?;
        }
        Ok(())
    }

    async fn send_ticks_snapshot(&mut self, reason: SnapshotReason) -> Result<(), End> {
        let snapshot = self.hub.live().snapshot(|symbol| self.ticks.wants(symbol));
        self.ticks_after = snapshot.number;
        let ticks: Vec<Json> = snapshot.rows.into_iter().map(|changed| changed.row).collect();
        self.send(&ServerMessage::TicksSnapshot { channel: Channel::Ticks, reason, ticks: &ticks }).await
    }

    async fn send_gaps_snapshot(&mut self, reason: SnapshotReason) -> Result<(), End> {
        let snapshot = self.hub.live().snapshot(|_| false);
        self.gaps_after = snapshot.number;
        self.send(&ServerMessage::GapsSnapshot { channel: Channel::Gaps, reason, gaps: &snapshot.gaps }).await
    }

    async fn refuse(&mut self, id: Option<i64>, code: ErrorCode, message: &str) -> Result<(), End> {
        self.send(&ServerMessage::Error { id, code, message }).await
    }

    async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), End> {
        self.send_body(&message.body(), message.name()).await
    }

    async fn send_body(&mut self, body: &str, name: &'static str) -> Result<(), End> {
        self.seq += 1;
        let text = Message::text(numbered(self.seq, body));
        let shutdown = self.shutdown.clone();
        let sent = tokio::select! {
            sent = tokio::time::timeout(SEND_TIMEOUT, self.sink.send(text)) => sent,
            () = async { shutdown.cancelled().await; tokio::time::sleep(GOODBYE).await } => return Err(End::Gone),
        };
        match sent {
            Ok(Ok(())) => {
                metrics::counter!("tickstream_dashboard_sent_total", "type" => name).increment(1);
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => {
                tracing::info!("closed a connection that took nothing for {SEND_TIMEOUT:?}");
                Err(End::Gone)
            }
        }
    }

    /// Says why, closes, and goes on reading for a moment: a socket dropped with messages unread is reset by the kernel, and a
    /// reset takes away what the client had not read yet.
    async fn say_goodbye(&mut self, end: &End, stream: &mut SplitStream<WebSocket>) {
        let (message, code, reason, patience) = match end {
            End::Gone => return,
            End::TooFast => {
                let message = "too many messages; connect again and be slower";
                let error = ServerMessage::Error { id: None, code: ErrorCode::RateLimited, message };
                (error, close_code::POLICY, "rate limited", LINGER)
            }
            End::Shutdown => {
                let message = "the server is going down; connect again in a moment";
                (ServerMessage::Shutdown { message }, close_code::AWAY, "shutdown", GOODBYE)
            }
        };
        if self.send(&message).await.is_ok() {
            let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            let closed = async {
                if self.sink.send(close).await.is_ok() {
                    while let Some(Ok(_)) = stream.next().await {}
                }
            };
            drop(tokio::time::timeout(patience, closed).await);
        }
    }
}

/// No symbols, or `*`.
fn means_all(symbols: &[String]) -> bool {
    symbols.is_empty() || symbols.iter().any(|symbol| symbol == "*")
}

/// The latest row of each wanted series over several frames.
fn conflate<'a>(frames: impl Iterator<Item = &'a Arc<Frame>>, wants: impl Fn(&str) -> bool) -> Vec<Json> {
    let mut latest = BTreeMap::new();
    for changed in frames.flat_map(|frame| &frame.changes.rows).filter(|changed| wants(&changed.symbol)) {
        latest.insert((&*changed.symbol, &*changed.source), &changed.row);
    }
    latest.into_values().cloned().collect()
}

/// A token bucket over client messages.
struct Rate {
    tokens: f64,
    at: Instant,
}

impl Rate {
    fn new() -> Self {
        Self { tokens: BURST, at: Instant::now() }
    }

    fn allows(&mut self, now: Instant) -> bool {
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * PER_SECOND).min(BURST);
        self.at = now;
        self.tokens -= 1.0;
        self.tokens >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Live;
    use crate::series::tests::{NOW, tick};

    #[test]
    fn frames_that_waited_become_the_latest_of_each_series() {
        let mut live = Live::new(3_600_000_000, 10);
        let mut frames = Vec::new();
        for i in 0..5 {
            live.put_tick(&tick("BTC-USD", &i.to_string(), &format!("{i}"), NOW + i), NOW);
            if i == 2 {
                live.put_tick(&tick("ETH-USD", "1", "3000", NOW), NOW);
            }
            frames.push(Arc::new(Frame::new(live.take_changes())));
        }
        let prices = |rows: Vec<Json>| -> Vec<serde_json::Value> {
            let parse =
                |row: &Json| serde_json::from_str::<serde_json::Value>(row.get()).expect("JSON")["price"].clone();
            rows.iter().map(parse).collect()
        };
        assert_eq!(prices(conflate(frames.iter(), |_| true)), ["4", "3000"]);
        assert_eq!(prices(conflate(frames.iter(), |symbol| symbol == "ETH-USD")), ["3000"]);
    }

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let now = Instant::now();
        let mut rate = Rate::new();
        assert_eq!((0..100).filter(|_| rate.allows(now)).count(), 20);
        let mut rate = Rate::new();
        assert!((0..100).all(|i| rate.allows(now + i * Duration::from_millis(101))));
    }
}
