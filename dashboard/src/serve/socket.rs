//! A session over a WebSocket. Must never happen here: a queue of its own, or a connection that is held for a client which is
//! gone: pings that are not answered and sends that do not go out end it.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use futures::SinkExt;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::session::{Ended, Out, Session, spread};
use crate::protocol::{ErrorCode, MAX_CLIENT_MESSAGE_BYTES, ReplayCommand, ServerMessage};

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One that takes nothing for this long is gone.
    pub send: Duration,
    /// One that has not answered by the next is gone.
    pub ping_every: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { send: Duration::from_secs(30), ping_every: Duration::from_secs(20) }
    }
}

/// What is sent before the client is heard again.
const BYTES_A_TURN: usize = 64 * 1024;
/// What a shutdown leaves a connection to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);
/// What a client that is shown out has to read why.
const LINGER: Duration = Duration::from_secs(2);
/// Clients come back over this time after a shutdown.
const RETRY_SPREAD_MS: f64 = 5000.0;
const RETRY_LEAST_MS: f64 = 500.0;
/// Small messages leave together up to this size. The buffers stay as large as they ever were, so they begin small.
const WRITE_BUFFER_BYTES: usize = 2 * 1024;
const READ_BUFFER_BYTES: usize = 512;
/// A snapshot of as many series as can be kept fits many times over.
const MAX_WRITE_BUFFER_BYTES: usize = 64 * 1024 * 1024;

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client went away or was too slow.
    Gone,
    Server(Ended),
    Shutdown,
}

/// The buffers and limits of every socket.
pub fn prepare(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(MAX_CLIENT_MESSAGE_BYTES)
        .max_frame_size(MAX_CLIENT_MESSAGE_BYTES)
}

/// Serves one connection until it ends or `shutdown`. `replay`: where its commands go, on a socket that replays.
pub async fn serve(
    socket: WebSocket,
    session: Session,
    patience: Patience,
    shutdown: CancellationToken,
    replay: Option<UnboundedSender<ReplayCommand>>,
) {
    let now = Instant::now();
    let mut connection = Connection { socket, session, patience, replay, heard_at: now, pinged_at: now };
    let end = tokio::select! {
        end = connection.run() => end,
        () = shutdown.cancelled() => End::Shutdown,
    };
    connection.say_goodbye(&end).await;
    tracing::debug!(?end, "connection ended");
}

pub fn retry_after_ms() -> u64 {
    (RETRY_LEAST_MS + RETRY_SPREAD_MS * spread()) as u64
}

struct Connection {
    socket: WebSocket,
    session: Session,
    patience: Patience,
    replay: Option<UnboundedSender<ReplayCommand>>,
    heard_at: Instant,
    pinged_at: Instant,
}

impl Connection {
    async fn run(&mut self) -> End {
        loop {
            let is_more = match tokio::time::timeout(self.patience.send, self.send_waiting()).await {
                Ok(Ok(is_more)) => is_more,
                Ok(Err(end)) => return end,
                Err(_) => {
                    tracing::info!("closed a connection that took nothing for {:?}", self.patience.send);
                    return End::Gone;
                }
            };
            let turn = tokio::select! {
                biased;
                message = self.socket.recv() => self.on_message(message),
                () = std::future::ready(()), if is_more => Ok(()),
                () = self.session.ready() => Ok(()),
            };
            if let Err(end) = turn {
                return end;
            }
        }
    }

    /// Sends what waits, so much of it that the client is still heard; gives whether there is more.
    async fn send_waiting(&mut self) -> Result<bool, End> {
        let mut is_flushed = true;
        let mut bytes = 0;
        while bytes < BYTES_A_TURN
            && let Some(Out { name, text, .. }) = self.session.next().map_err(End::Server)?
        {
            bytes += text.len();
            self.socket.feed(Message::text(text)).await.map_err(|_| End::Gone)?;
            metrics::counter!("tickstream_dashboard_sent_total", "type" => name).increment(1);
            is_flushed = false;
        }
        let is_more = bytes >= BYTES_A_TURN;
        let now = Instant::now();
        if now.saturating_duration_since(self.pinged_at) > self.patience.ping_every {
            if self.heard_at < self.pinged_at {
                return Err(End::Gone);
            }
            self.pinged_at = now;
            self.socket.feed(Message::Ping(axum::body::Bytes::new())).await.map_err(|_| End::Gone)?;
            is_flushed = false;
        }
        if !is_flushed {
            self.socket.flush().await.map_err(|_| End::Gone)?;
        }
        Ok(is_more)
    }

    fn on_message(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let Some(Ok(message)) = message else { return Err(End::Gone) };
        self.heard_at = Instant::now();
        // Answers to our pings are not the client's words.
        if !matches!(message, Message::Pong(_)) && !self.session.allows_message() {
            return Err(End::Server(Ended::TooFast));
        }
        match message {
            Message::Text(text) => {
                if let Some(command) = self.session.on_text(&text) {
                    let id = command.id;
                    let is_taken = self.replay.as_ref().is_some_and(|replay| replay.send(command).is_ok());
                    if !is_taken {
                        self.session.refuse(id, ErrorCode::NotHere, "this is no replay; connect to /ws/replay");
                    }
                }
            }
            Message::Binary(_) => self.session.refuse(None, ErrorCode::BadMessage, "send text, not binary"),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return Err(End::Gone),
        }
        Ok(())
    }

    /// Says why, closes, and goes on reading for a moment: a socket dropped with messages unread is reset by the kernel, and a
    /// reset takes away what the client had not read yet.
    async fn say_goodbye(&mut self, end: &End) {
        let (code, reason, patience) = match end {
            End::Gone => return,
            End::Server(Ended::TooFast) => {
                self.session.refuse(None, ErrorCode::RateLimited, "too many messages; connect again and be slower");
                (close_code::POLICY, "rate limited", LINGER)
            }
            End::Server(Ended::Idle) => {
                self.session.refuse(None, ErrorCode::Idle, "nothing was subscribed to for a minute");
                (close_code::NORMAL, "idle", LINGER)
            }
            End::Shutdown => {
                let message = "the server is going down; connect again in a moment";
                self.session.say(&ServerMessage::Shutdown { message, retry_after_ms: retry_after_ms() });
                (close_code::AWAY, "shutdown", GOODBYE)
            }
        };
        let closed = async {
            while let Some(out) = self.session.take_last() {
                if self.socket.feed(Message::text(out.text)).await.is_err() {
                    return;
                }
            }
            let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            if self.socket.send(close).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        };
        drop(tokio::time::timeout(patience, closed).await);
    }
}
