//! Trades that a socket missed, fetched from the source's history under the same ids, where the user asked for it. It runs
//! beside the socket and never holds it up. Must never happen here: a price that the source did not tell, or a gap that is
//! taken back: what was filled late was missing until then.

use std::sync::Arc;
use std::time::Duration;

use pipeline::trace;
use tokio::sync::mpsc;

use crate::drive::Way;
use crate::drive::fetch::{Fetch, Http, Server};
use crate::drive::future::refuse_future;
use crate::drive::trade_runs::Missing;
use crate::parse::payload::Payload;
use crate::sources::{Refusal, Source};

/// A source's endpoint for past trades.
pub struct TradeHistory {
    pub server: Server,
    /// The path and query for the trades from this id to that one, of what is missing.
    pub request: fn(missing: &Missing, first: i64, last: i64) -> String,
    /// How many trades one answer has at most.
    pub most: i64,
}

/// More than this is left to a replay from elsewhere: a history endpoint is no archive.
const MOST_CALLS: i64 = 20;
/// Calls to one endpoint are this far apart.
const PAUSE: Duration = Duration::from_millis(500);
/// After a failure, where the source does not say how long: its history may share a limit, or a ban, with its feed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
/// Losses that may wait for their turn; what comes on top is told, and not filled.
const WAITING: usize = 64;

pub struct Backfill {
    missing: mpsc::Sender<Missing>,
    source: &'static str,
}

impl Backfill {
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(history: &TradeHistory, source: Arc<dyn Source>, way: &Way) -> anyhow::Result<Self> {
        let filler = Filler {
            fetch: Http::new(&history.server)?,
            request: history.request,
            most: history.most.max(1),
            source: source.clone(),
            way: way.clone(),
        };
        let (missing, waiting) = mpsc::channel(WAITING);
        tokio::spawn(filler.run(waiting));
        Ok(Self { missing, source: source.name() })
    }

    /// Asks for what is missing, when its turn comes.
    pub fn fill(&self, missing: &Missing) {
        if self.missing.try_send(missing.clone()).is_err() {
            tracing::warn!(source = self.source, "not filled from history, since too much waits for that: {missing}");
        }
    }
}

/// Why the history did not fill a loss, and how long the source wants to be left alone.
struct NotFilled {
    pause: Option<Duration>,
    why: anyhow::Error,
}

impl From<anyhow::Error> for NotFilled {
    fn from(why: anyhow::Error) -> Self {
        Self { pause: None, why }
    }
}

struct Filler {
    fetch: Http,
    request: fn(&Missing, i64, i64) -> String,
    most: i64,
    source: Arc<dyn Source>,
    way: Way,
}

impl Filler {
    async fn run(self, mut waiting: mpsc::Receiver<Missing>) {
        let shutdown = self.way.shutdown.clone();
        while let Some(Some(missing)) = shutdown.run_until_cancelled(waiting.recv()).await {
            let Some(filled) = shutdown.run_until_cancelled(self.fill(&missing)).await else { return };
            let source = self.source.name();
            let asked = missing.last.saturating_sub(missing.first).saturating_add(1);
            let pause = match filled {
                Ok(filled) => {
                    metrics::counter!("tickstream_producer_backfilled_total", "source" => source).increment(filled);
                    tracing::info!(
                        source,
                        symbol = missing.source_symbol,
                        asked,
                        filled,
                        "filled from history: {missing}"
                    );
                    PAUSE
                }
                Err(NotFilled { pause, why }) => {
                    tracing::warn!(source, symbol = missing.source_symbol, asked, "not filled from history: {why:#}");
                    pause.unwrap_or(PAUSE_AFTER_FAILURE).min(LONGEST_PAUSE)
                }
            };
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// How many of the missing trades the history had.
    async fn fill(&self, missing: &Missing) -> Result<u64, NotFilled> {
        let source = self.source.name();
        let mut filled = 0;
        let mut first = missing.first;
        for _ in 0..MOST_CALLS {
            let last = missing.last.min(first.saturating_add(self.most - 1));
            let path = (self.request)(missing, first, last);
            let asked = trace::clock();
            let answer = self.fetch.get(&path).await.map_err(|detail| anyhow::anyhow!(detail))?;
            let arrived = trace::clock();
            let payload = Payload::new(source, &answer.body, self.way.clock.now(), &path);
            if self.way.keep_payloads {
                self.way.outbox.payload(source, &payload, Some(answer.status)).await?;
            }
            let mut parsed = self.source.parse(&payload);
            refuse_future(source, &mut parsed);
            trace::received(source, payload.id, asked, arrived, parsed.ticks.len());
            if !(200..300).contains(&answer.status) || parsed.refusal.is_some() {
                let said = parsed.refusal.as_ref().map_or("", Refusal::detail);
                let why = anyhow::anyhow!("HTTP {} {said}", answer.status);
                return Err(NotFilled { pause: answer.retry_after, why });
            }
            let mut ticks = parsed.ticks;
            ticks.retain(|tick| {
                let id = tick.trade_id.as_deref().and_then(|id| id.parse::<i64>().ok());
                tick.source_symbol == missing.source_symbol && id.is_some_and(|id| (first..=last).contains(&id))
            });
            filled += ticks.len() as u64;
            self.way.outbox.ticks(source, &ticks).await?;
            if last >= missing.last {
                break;
            }
            first = last + 1;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(filled)
    }
}
