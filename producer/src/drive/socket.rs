//! The one driver of sources that push. A source gives an address, what to send first and a parser; connecting, watching,
//! answering, reconnecting and telling of gaps is done here. Must never happen here: a socket that is silent and believed
//! alive, one that answers pings and sends no price for ever, or a loss that no gap tells of.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use pipeline::events::{GapReason, PriceTick};
use pipeline::trace;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::drive::Way;
use crate::drive::backfill::{Backfill, TradeHistory};
use crate::drive::backoff::Backoff;
use crate::drive::failure::{Failure, Next};
use crate::drive::feed::{Feed, Wire};
use crate::drive::future::refuse_future;
use crate::drive::quiet::Quiet;
use crate::drive::trade_runs::{Missing, TradeRuns};
use crate::gaps::ledger::{GapLedger, Scope};
use crate::parse::payload::Payload;
use crate::parse::problem::{ProblemLog, excerpt};
use crate::publish::outbox::Outgoing;
use crate::sources::{Parsed, Source, Wish};

/// Frames, prices, and bytes, that are read at once before they are handed on.
const FRAMES: usize = 256;
const TICKS: usize = 1_000;
const BYTES: usize = 1024 * 1024;
/// A connection that lasted this long has shown that the source is well.
const STABLE: Duration = Duration::from_secs(60);
/// The longest that a connected source is without a price: its quietest symbol trades more often.
pub const QUIET: Duration = Duration::from_secs(15 * 60);
/// A source that does not take what we say is not listening.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// One pushing source.
pub struct Socketed {
    pub source: Arc<dyn Source>,
    pub url: String,
    /// Sent after connecting.
    pub subscribe: Vec<String>,
    /// The canonical symbols that were asked for.
    pub asked: Vec<String>,
    /// A socket without a message for this long is dead.
    pub silence: Duration,
    /// A socket without a price for this long is connected in name only; and so is one of its symbols.
    pub quiet: Duration,
    /// Said to the source this often, where it wants to hear from us.
    pub ping: Option<(Duration, String)>,
    pub backoff: Backoff,
    pub backfill: Option<TradeHistory>,
}

/// Connects and reads until shutdown, or until the source turns out to be wrongly configured; then it waits for the
/// shutdown.
///
/// # Errors
/// When the publisher has ended.
pub async fn listen(mut socketed: Socketed, mut feed: Box<dyn Feed>, way: Way) -> anyhow::Result<()> {
    let mut driver = Driver::new(&socketed, way).await?;
    let shutdown = driver.way.shutdown.clone();
    loop {
        let began_at = driver.way.clock.now();
        let began = Instant::now();
        metrics::counter!("tickstream_producer_connects_total", "source" => socketed.source.name()).increment(1);
        let Some(connected) = shutdown.run_until_cancelled(feed.connect()).await else { break };
        let recorded = feed.recorded();
        let mut failure = match connected {
            Ok(mut wire) => {
                if let Some(request) = &recorded {
                    driver.request.clone_from(request);
                }
                let Some(failure) = driver.serve(&mut wire, &socketed).await? else {
                    // A goodbye is a courtesy: it may not hold the shutdown up.
                    drop(timeout(Duration::from_secs(1), wire.close()).await);
                    break;
                };
                failure
            }
            Err(failure) => failure,
        };
        if feed.finished() {
            break;
        }
        if began.elapsed() >= STABLE {
            socketed.backoff.reset();
        }
        if recorded.is_some() {
            failure.next = Next::Soon;
        }
        let next = failure.next;
        let wait = driver.lost(&mut socketed, failure, began_at).await?;
        if next == Next::Never {
            shutdown.cancelled().await;
            break;
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
        driver.way.status.trying();
    }
    driver.tell_missing().await?;
    driver.ledger.stop(driver.way.clock.now()).await
}

struct Driver {
    ledger: GapLedger,
    problems: ProblemLog,
    runs: TradeRuns,
    backfill: Option<Backfill>,
    /// The number of the connection's latest message, where the source numbers them.
    connection_sequence: Option<i64>,
    /// What was sent after connecting, a message a line: parsers and kept payloads have it as the request.
    request: String,
    /// When the last message of the last connection came, micros UTC: a loss begins there, not where it is noticed.
    last_message_at: Option<i64>,
    last_price: Instant,
    /// When the last price of this connection came, micros UTC.
    last_price_at: Option<i64>,
    symbols: Quiet,
    /// The canonical symbols that were asked for.
    asked: Vec<String>,
    way: Way,
}

/// What a turn of reading has gathered.
#[derive(Default)]
struct Turn {
    bytes: usize,
    ticks: Vec<PriceTick>,
    payloads: Vec<Outgoing>,
    replies: Vec<String>,
}

enum Took {
    Message,
    Control,
    Lost(Failure),
}

impl Driver {
    async fn new(socketed: &Socketed, way: Way) -> anyhow::Result<Self> {
        let source = socketed.source.name();
        let mut ledger = GapLedger::new(source, way.outbox.clone(), way.status.clone());
        if let Some(before) = &way.predecessor {
            ledger.take_over(before, way.clock.now() > before.at, &socketed.asked).await?;
        }
        ledger.keep_asked(&socketed.asked, way.clock.now()).await?;
        let backfill = socketed.backfill.as_ref().map(|history| Backfill::new(history, socketed.source.clone(), &way));
        Ok(Self {
            ledger,
            problems: ProblemLog::new(source),
            runs: TradeRuns::default(),
            backfill: backfill.transpose()?,
            connection_sequence: None,
            request: socketed.subscribe.join("\n"),
            last_message_at: None,
            last_price: Instant::now(),
            last_price_at: None,
            symbols: Quiet::new(&socketed.asked, socketed.quiet, Instant::now()),
            asked: socketed.asked.clone(),
            way,
        })
    }

    /// Subscribes and reads until the connection is lost, or `None` at shutdown, with all that was read handed on. `Err` is
    /// the publisher's end.
    async fn serve(&mut self, wire: &mut Pin<Box<dyn Wire>>, socketed: &Socketed) -> anyhow::Result<Option<Failure>> {
        self.connection_sequence = None;
        (self.last_price, self.last_price_at) = (Instant::now(), None);
        self.symbols.connected(self.way.clock.now(), Instant::now());
        for message in &socketed.subscribe {
            if let Err(failure) = say(wire, message).await {
                return Ok(Some(failure));
            }
        }
        let mut silent_at = Instant::now() + socketed.silence;
        let mut ping =
            socketed.ping.as_ref().map(|(every, _)| tokio::time::interval_at(Instant::now() + *every, *every));
        let shutdown = self.way.shutdown.clone();
        loop {
            let next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(None),
                next = wire.next() => next,
                () = tokio::time::sleep_until(silent_at) => {
                    return Ok(Some(silent(socketed)));
                }
                () = due(&mut ping) => {
                    let text = socketed.ping.as_ref().map_or("", |(_, text)| text.as_str());
                    match say(wire, text).await {
                        Ok(()) => continue,
                        Err(failure) => return Ok(Some(failure)),
                    }
                }
            };
            let mut turn = Turn::default();
            let lost = self.turn(next, wire, socketed, &mut turn, &mut silent_at).await?;
            // A flood of pings is always ready, so that the timer above never has its turn.
            let lost = lost.or_else(|| (Instant::now() >= silent_at).then(|| silent(socketed)));
            self.way.outbox.payloads(turn.payloads).await?;
            self.way.outbox.ticks(socketed.source.name(), &turn.ticks).await?;
            if lost.is_some() {
                return Ok(lost);
            }
            for reply in &turn.replies {
                if let Err(failure) = say(wire, reply).await {
                    return Ok(Some(failure));
                }
            }
            if !turn.ticks.is_empty() {
                self.last_price = Instant::now();
                for tick in &turn.ticks {
                    self.symbols.heard(&tick.symbol, tick.received_at, self.last_price);
                }
                // Only beside others: when none of them speaks it is the source that is silent.
                self.tell_silent(socketed.quiet).await?;
            } else if self.last_price.elapsed() > socketed.quiet {
                let detail = format!("connected, and no price for {} s", socketed.quiet.as_secs());
                let stale = Failure { reason: GapReason::Stale, ..Failure::disconnected(detail) };
                return Ok(Some(stale));
            }
        }
    }

    /// Takes this frame and those that have come behind it.
    async fn turn(
        &mut self,
        mut next: Option<Result<Message, Error>>,
        wire: &mut Pin<Box<dyn Wire>>,
        socketed: &Socketed,
        turn: &mut Turn,
        silent_at: &mut Instant,
    ) -> anyhow::Result<Option<Failure>> {
        for taken in 1.. {
            match self.take(next, socketed, turn).await? {
                Took::Message => *silent_at = Instant::now() + socketed.silence,
                Took::Control => {}
                Took::Lost(failure) => return Ok(Some(failure)),
            }
            // Counted before the next one is read: what was read and not taken would be lost.
            if taken == FRAMES || turn.ticks.len() >= TICKS || turn.bytes >= BYTES {
                break;
            }
            match wire.next().now_or_never() {
                Some(ready) => next = ready,
                None => break,
            }
        }
        Ok(None)
    }

    /// One frame. What it says goes to `turn`, which is handed on before anything else is waited for.
    async fn take(
        &mut self,
        frame: Option<Result<Message, Error>>,
        socketed: &Socketed,
        turn: &mut Turn,
    ) -> anyhow::Result<Took> {
        let message = match frame {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Ok(Took::Lost(Failure::disconnected(error.to_string()))),
            None => return Ok(Took::Lost(Failure::disconnected("the server closed the connection"))),
        };
        let bytes = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes.as_ref(),
            Message::Close(frame) => {
                let why = frame
                    .as_ref()
                    .map_or_else(String::new, |frame| format!(": {} {}", frame.code, excerpt(&frame.reason)));
                return Ok(Took::Lost(Failure::disconnected(format!("the server closed the connection{why}"))));
            }
            // The library answers a ping by itself. Neither shows that the feed is alive: only messages do.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(Took::Control),
        };
        let source = socketed.source.name();
        let (received_at, arrived) = (self.way.clock.now(), trace::clock());
        let payload = Payload::new(source, bytes, received_at, &self.request);
        turn.bytes += bytes.len();
        if self.way.keep_payloads {
            turn.payloads.append(&mut self.way.outbox.encoded_payload(source, &payload, None));
        }
        let mut parsed = socketed.source.parse(&payload);
        refuse_future(source, &mut parsed);
        trace::received(source, payload.id, None, arrived, parsed.ticks.len());
        self.problems.note(&parsed.problems);
        if !parsed.problems.is_empty() {
            self.way.status.found(parsed.problems.len());
        }
        metrics::counter!("tickstream_producer_frames_total", "source" => source).increment(1);
        if let Some(refusal) = &parsed.refusal {
            let mut failure = Failure::refused(refusal, 0, None, GapReason::Disconnected, received_at);
            failure.detail = format!("the source refused: {}", failure.detail);
            return Ok(Took::Lost(failure));
        }
        if parsed.answered {
            self.way.status.answered(received_at);
            self.ledger.source_answered(received_at).await?;
        }
        self.follow_sequence(&parsed, received_at).await?;
        // Only what a working source says shows that all was well until then.
        if parsed.answered {
            self.last_message_at = Some(received_at);
        }
        if !parsed.ticks.is_empty() {
            self.last_price_at = Some(received_at);
        }
        self.follow_symbols(&parsed, received_at).await?;
        for missing in self.runs.follow(&parsed) {
            self.tell(missing).await?;
        }
        if let Some(latest) = &parsed.latest_trade {
            // That nothing was traded is a word on it, too.
            self.symbols.heard(canonical(&self.asked, &latest.source_symbol), received_at, Instant::now());
        }
        turn.ticks.append(&mut parsed.ticks);
        match parsed.wish {
            None => {}
            Some(Wish::Reply(text)) => turn.replies.push(text),
            Some(Wish::Reconnect(why)) => {
                return Ok(Took::Lost(Failure::disconnected(format!("the source wants another connection: {why}"))));
            }
        }
        Ok(Took::Message)
    }

    /// A jump in the numbers of a connection's messages is a loss of whatever was in them.
    async fn follow_sequence(&mut self, parsed: &Parsed, received_at: i64) -> anyhow::Result<()> {
        let Some(sequence) = parsed.connection_sequence else { return Ok(()) };
        let before = self.connection_sequence.replace(self.connection_sequence.unwrap_or(i64::MIN).max(sequence));
        let Some(before) = before.filter(|before| sequence > before.saturating_add(1)) else { return Ok(()) };
        let detail = format!("messages {} to {} of the connection did not come", before + 1, sequence - 1);
        let from = self.last_message_at.unwrap_or(received_at);
        self.ledger.lost(Vec::new(), GapReason::Sequence, from, received_at, detail).await
    }

    /// A symbol that the source does not give us has a gap of its own, until a price of it comes.
    async fn follow_symbols(&mut self, parsed: &Parsed, received_at: i64) -> anyhow::Result<()> {
        for problem in parsed.problems.iter().filter(|problem| problem.code == "not_answered") {
            let symbol = canonical(&self.asked, &problem.path).to_owned();
            let (scope, detail) = (Scope::Symbol(symbol.clone()), problem.detail.clone());
            self.ledger.failed(scope, vec![symbol], GapReason::Disconnected, received_at, detail).await?;
        }
        if self.ledger.misses_symbols() {
            for tick in &parsed.ticks {
                self.ledger.answered(&Scope::Symbol(tick.symbol.clone()), received_at).await?;
                self.ledger.answered(&Scope::Stale(tick.symbol.clone()), received_at).await?;
            }
        }
        Ok(())
    }

    /// A symbol without a price on a socket that has others is in doubt since its last one.
    async fn tell_silent(&mut self, quiet: Duration) -> anyhow::Result<()> {
        for (symbol, since) in self.symbols.fallen_silent(Instant::now()) {
            let detail = format!("no price of {symbol} for {} s, beside others", quiet.as_secs());
            self.ledger.failed(Scope::Stale(symbol.clone()), vec![symbol], GapReason::Stale, since, detail).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, missing: Missing) -> anyhow::Result<()> {
        let detail = missing.to_string();
        if let Some(backfill) = &self.backfill {
            backfill.fill(&missing);
        }
        if missing.over_connections {
            // The disconnection has a gap already; this one only says what can be filled.
            return Ok(());
        }
        let Missing { source_symbol, started_at, ended_at, .. } = missing;
        let symbol = canonical(&self.asked, &source_symbol).to_owned();
        self.ledger.lost(vec![symbol], GapReason::Sequence, started_at, ended_at, detail).await
    }

    async fn tell_missing(&mut self) -> anyhow::Result<()> {
        for missing in self.runs.end() {
            self.tell(missing).await?;
        }
        Ok(())
    }

    /// Says that the connection is lost, and how long to wait for the next.
    async fn lost(&mut self, socketed: &mut Socketed, failure: Failure, began_at: i64) -> anyhow::Result<Duration> {
        self.tell_missing().await?;
        let now = self.way.clock.now();
        let jitter = socketed.backoff.next_wait();
        let wait = match failure.next {
            Next::Soon => jitter,
            Next::After(pause) => pause + jitter,
            Next::Interval => Duration::from_secs(60) + jitter,
            Next::At(at) => Duration::from_micros(u64::try_from(at - now).unwrap_or(0)) + jitter,
            Next::Never => Duration::MAX,
        };
        if failure.next == Next::Never {
            tracing::error!(
                source = socketed.source.name(),
                "a source is stopped until its configuration is changed: {}",
                failure.detail
            );
            self.way.status.stopped(&failure.detail);
        } else {
            let next_at = now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
            self.way.status.failing(&failure.detail, next_at);
        }
        let last_message_at = self.last_message_at.take();
        // A feed that goes on without prices is in doubt since its last price.
        let well_until = if failure.reason == GapReason::Stale { self.last_price_at.take() } else { last_message_at };
        let started_at = well_until.unwrap_or(began_at);
        self.ledger.failed(Scope::Source, socketed.asked.clone(), failure.reason, started_at, failure.detail).await?;
        Ok(wait)
    }
}

/// The symbol that was asked for, by the source's name of it: names differ in case and in what stands between base and quote.
fn canonical<'a>(asked: &'a [String], name: &'a str) -> &'a str {
    fn letters(text: &str) -> impl Iterator<Item = u8> + '_ {
        text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase())
    }
    asked.iter().find(|symbol| letters(symbol).eq(letters(name))).map_or(name, String::as_str)
}

fn silent(socketed: &Socketed) -> Failure {
    Failure::disconnected(format!("no message for {} s", socketed.silence.as_secs_f64()))
}

async fn say(wire: &mut Pin<Box<dyn Wire>>, text: &str) -> Result<(), Failure> {
    match timeout(SEND_TIMEOUT, wire.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::disconnected(format!("cannot send: {error}"))),
        Err(_) => Err(Failure::disconnected(format!("nothing was taken for {} s", SEND_TIMEOUT.as_secs()))),
    }
}

/// Waits for the next beat; for ever where there is none.
async fn due(every: &mut Option<tokio::time::Interval>) {
    match every {
        Some(every) => {
            every.tick().await;
        }
        None => std::future::pending().await,
    }
}
