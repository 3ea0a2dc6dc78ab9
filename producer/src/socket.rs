//! The one driver of sources that push over a WebSocket. A source gives an address, what to send first and a parser;
//! connecting, watching, reconnecting and telling of gaps is done here. Must never happen here: a socket that is silent and
//! believed alive, a message larger than the cap in memory, or a loss that no gap tells of.

use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use pipeline::events::GapReason;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::gap_ledger::{GapLedger, Scope};
use crate::outbox::Outbox;
use crate::problem::{ProblemLog, excerpt};
use crate::sources::{Parse, Refusal};
use crate::status::{Status, now_micros};
use crate::trade_runs::{Missing, TradeRuns};

/// No market-data frame comes near this.
const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Frames that are read at once before they are handed on.
const FRAMES: usize = 256;
/// A connection that lasted this long has shown that the source is well.
const STABLE: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// One pushing source.
pub struct Socketed {
    pub source: &'static str,
    pub url: String,
    /// Sent after connecting.
    pub subscribe: Vec<String>,
    /// The canonical symbols that were asked for.
    pub asked: Vec<String>,
    /// A socket without a message for this long is dead.
    pub silence: Duration,
    pub backoff: Backoff,
    pub parse: Parse,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no connection any more.
#[derive(Debug)]
struct Lost {
    reason: GapReason,
    detail: String,
    retry_after: Option<Duration>,
}

impl Lost {
    fn disconnected(detail: impl Into<String>) -> Self {
        Self { reason: GapReason::Disconnected, detail: detail.into(), retry_after: None }
    }
}

/// Connects and reads until `shutdown`.
///
/// # Errors
/// When the publisher has ended.
pub async fn listen(
    mut socketed: Socketed,
    outbox: Outbox,
    status: Status,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut driver = Driver {
        ledger: GapLedger::new(socketed.source, outbox.clone()),
        problems: ProblemLog::new(socketed.source),
        runs: TradeRuns::default(),
        last_message_at: None,
        outbox,
        status,
    };
    loop {
        let began_at = now_micros();
        let began = Instant::now();
        let Some(connected) = shutdown.run_until_cancelled(Box::pin(connect(&socketed))).await else { break };
        let lost = match connected {
            Ok(mut socket) => {
                let Some(lost) = driver.read(&mut socket, &socketed, &shutdown).await? else {
                    // A goodbye is a courtesy: it may not hold the shutdown up.
                    drop(timeout(Duration::from_secs(1), socket.close(None)).await);
                    break;
                };
                lost
            }
            Err(lost) => lost,
        };
        if began.elapsed() >= STABLE {
            socketed.backoff.reset();
        }
        let wait = lost.retry_after.unwrap_or_default() + socketed.backoff.next_wait();
        driver.lost(&socketed, lost, began_at).await?;
        if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
    }
    driver.tell_missing().await?;
    driver.ledger.stop(now_micros()).await
}

async fn connect(socketed: &Socketed) -> Result<Socket, Lost> {
    metrics::counter!("tickstream_producer_connects_total", "source" => socketed.source).increment(1);
    let config = WebSocketConfig::default()
        .read_buffer_size(32 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(1024 * 1024)
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let connecting = connect_async_with_config(socketed.url.as_str(), Some(config), true);
    let mut socket = match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok((socket, _))) => socket,
        Ok(Err(error)) => return Err(refused(&error)),
        Err(_) => return Err(Lost::disconnected(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
    };
    for message in &socketed.subscribe {
        socket
            .send(Message::text(message.as_str()))
            .await
            .map_err(|error| Lost::disconnected(format!("cannot subscribe: {error}")))?;
    }
    Ok(socket)
}

/// A handshake that was answered with HTTP says more than that it failed.
fn refused(error: &Error) -> Lost {
    let Error::Http(response) = error else { return Lost::disconnected(format!("cannot connect: {error}")) };
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let reason = if matches!(status, 418 | 429) { GapReason::RateLimited } else { GapReason::Disconnected };
    Lost { reason, detail: format!("the handshake was answered with HTTP {status}"), retry_after }
}

struct Driver {
    ledger: GapLedger,
    problems: ProblemLog,
    runs: TradeRuns,
    /// When the last message of the last connection came, micros UTC: a loss begins there, not where it is noticed.
    last_message_at: Option<i64>,
    outbox: Outbox,
    status: Status,
}

impl Driver {
    /// Reads until the connection is lost, or `None` at shutdown, with all that was read handed on. `Err` is the publisher's
    /// end.
    async fn read(
        &mut self,
        socket: &mut Socket,
        socketed: &Socketed,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Lost>> {
        let mut silent_at = Instant::now() + socketed.silence;
        loop {
            let mut next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(None),
                next = socket.next() => next,
                () = tokio::time::sleep_until(silent_at) => {
                    let detail = format!("no message for {} s", socketed.silence.as_secs_f64());
                    return Ok(Some(Lost::disconnected(detail)));
                }
            };
            let mut ticks = Vec::new();
            let mut lost = None;
            let mut taken = 0;
            loop {
                match self.take(next, socketed, &mut ticks).await? {
                    Took::Message => silent_at = Instant::now() + socketed.silence,
                    Took::Control => {}
                    Took::Lost(why) => {
                        lost = Some(why);
                        break;
                    }
                }
                taken += 1;
                // Counted before the next one is read: what was read and not taken would be lost.
                if taken == FRAMES {
                    break;
                }
                match socket.next().now_or_never() {
                    Some(ready) => next = ready,
                    None => break,
                }
            }
            self.outbox.ticks(socketed.source, &ticks).await?;
            if lost.is_some() {
                return Ok(lost);
            }
        }
    }

    /// One frame. Good ticks go to `ticks`, which is published before anything else is waited for.
    async fn take(
        &mut self,
        frame: Option<Result<Message, Error>>,
        socketed: &Socketed,
        ticks: &mut Vec<pipeline::events::PriceTick>,
    ) -> anyhow::Result<Took> {
        let message = match frame {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Ok(Took::Lost(Lost::disconnected(error.to_string()))),
            None => return Ok(Took::Lost(Lost::disconnected("the server closed the connection"))),
        };
        let bytes = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes.as_ref(),
            Message::Close(frame) => {
                let why = frame
                    .as_ref()
                    .map_or_else(String::new, |frame| format!(": {} {}", frame.code, excerpt(&frame.reason)));
                return Ok(Took::Lost(Lost::disconnected(format!("the server closed the connection{why}"))));
            }
            // The library answers a ping by itself. Neither shows that the feed is alive: only messages do.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(Took::Control),
        };
        let received_at = now_micros();
        let mut parsed = (socketed.parse)(bytes, received_at);
        self.problems.note(&parsed.problems);
        metrics::counter!("tickstream_producer_frames_total", "source" => socketed.source).increment(1);
        if let Some(refusal) = parsed.refusal {
            let reason = match &refusal {
                Refusal::RateLimited(_) => GapReason::RateLimited,
                Refusal::Refused(_) => GapReason::Disconnected,
            };
            let detail = format!("the source refused: {}", refusal.detail());
            return Ok(Took::Lost(Lost { reason, detail, retry_after: None }));
        }
        if parsed.answered {
            self.last_message_at = Some(received_at);
            self.status.answered(received_at);
            self.ledger.answered(&Scope::Source, received_at).await?;
        }
        for missing in self.runs.follow(&parsed) {
            self.tell(missing).await?;
        }
        ticks.append(&mut parsed.ticks);
        Ok(Took::Message)
    }

    async fn tell(&mut self, missing: Missing) -> anyhow::Result<()> {
        let detail = missing.to_string();
        let Missing { source_symbol, started_at, ended_at, .. } = missing;
        self.ledger.lost(vec![source_symbol], GapReason::Sequence, started_at, ended_at, detail).await
    }

    async fn tell_missing(&mut self) -> anyhow::Result<()> {
        for missing in self.runs.end() {
            self.tell(missing).await?;
        }
        Ok(())
    }

    async fn lost(&mut self, socketed: &Socketed, lost: Lost, began_at: i64) -> anyhow::Result<()> {
        self.tell_missing().await?;
        self.status.failing(&lost.detail);
        let started_at = self.last_message_at.take().unwrap_or(began_at);
        self.ledger.failed(Scope::Source, socketed.asked.clone(), lost.reason, started_at, lost.detail).await
    }
}

enum Took {
    Message,
    Control,
    Lost(Lost),
}
