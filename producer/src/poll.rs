//! The one driver of sources that are polled. A source gives a request and a parser; when to ask, how long to wait, what to
//! make of a failure and which gaps to tell of is decided here. Must never happen here: a repeated price in place of a
//! failed poll, a redirect followed to another host with our key, a body held beyond the cap, or a key in a message.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use pipeline::events::{EventTimeOrigin, GapReason, PriceTick};
use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::gap_ledger::{GapLedger, Scope};
use crate::outbox::Outbox;
use crate::problem::{ProblemLog, excerpt};
use crate::sources::{MAX_BODY_BYTES, Parse, Parsed, Refusal};
use crate::status::{Status, now_micros};
use crate::unchanged::LastTold;

/// One polled source.
pub struct Polled {
    pub source: &'static str,
    pub url: String,
    /// The header that carries the key.
    pub key: Option<(&'static str, SecretString)>,
    /// From one poll to the next.
    pub interval: Duration,
    /// For a whole answer.
    pub timeout: Duration,
    pub backoff: Backoff,
    /// The canonical symbols that a whole answer has.
    pub asked: Vec<String>,
    /// A symbol whose source time is older than this is stale.
    pub stale_after: Duration,
    pub parse: Parse,
}

/// Why a poll gave nothing, and how long the source wants to be left alone.
#[derive(Debug)]
struct Failed {
    reason: GapReason,
    detail: String,
    retry_after: Option<Duration>,
}

impl Failed {
    fn poll(detail: impl Into<String>) -> Self {
        Self { reason: GapReason::PollFailed, detail: detail.into(), retry_after: None }
    }
}

/// Polls until `shutdown`.
///
/// # Errors
/// When the HTTP client cannot be made or the publisher has ended.
pub async fn poll(
    mut polled: Polled,
    outbox: Outbox,
    status: Status,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let client = client(&polled)?;
    let mut driver = Driver {
        ledger: GapLedger::new(polled.source, outbox.clone()),
        problems: ProblemLog::new(polled.source),
        last_told: LastTold::default(),
        outbox,
        status,
    };
    driver.ledger.keep_asked(&polled.asked, now_micros()).await?;
    loop {
        let began = tokio::time::Instant::now();
        let began_at = now_micros();
        let Some(answer) = shutdown.run_until_cancelled(ask(&client, &polled)).await else { break };
        let received_at = now_micros();
        let parsed = answer.and_then(|body| accept((polled.parse)(&body, received_at), &mut driver.problems));
        let wait = match parsed {
            Ok(parsed) => {
                polled.backoff.reset();
                driver.good(&polled, parsed, received_at).await?;
                polled.interval.saturating_sub(began.elapsed())
            }
            Err(failed) => {
                let wait = wait_after(&failed, &mut polled);
                driver.failed(&polled, failed, began_at).await?;
                wait
            }
        };
        if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
    }
    driver.ledger.stop(now_micros()).await
}

fn client(polled: &Polled) -> anyhow::Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    if let Some((name, key)) = &polled.key {
        let mut value = HeaderValue::from_str(key.expose_secret()).map_err(|_| {
            pipeline::misconfigured(format!(
                "the API key of {} is not a header value: it has spaces or line ends in it",
                polled.source
            ))
        })?;
        value.set_sensitive(true);
        headers.insert(*name, value);
    }
    reqwest::Client::builder()
        .default_headers(headers)
        .user_agent(concat!("tickstream/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .timeout(polled.timeout)
        .build()
        .context("cannot make an HTTP client")
}

/// One request. The whole body, or why there is none; what an error says is read with the source's own parser.
async fn ask(client: &reqwest::Client, polled: &Polled) -> Result<Vec<u8>, Failed> {
    let told = |error: reqwest::Error| Failed::poll(describe(&error.without_url()));
    let mut response = client.get(&polled.url).send().await.map_err(told)?;
    let status = response.status();
    if status.is_redirection() {
        let to = response.headers().get(LOCATION).map_or("nowhere".into(), |to| String::from_utf8_lossy(to.as_bytes()));
        return Err(Failed::poll(format!("HTTP {}: a redirect to {} is not followed", status.as_u16(), excerpt(&to))));
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Failed::poll(format!(
                "HTTP {}: the body is longer than {MAX_BODY_BYTES} bytes",
                status.as_u16()
            )));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(body);
    }
    let parsed = (polled.parse)(&body, 0);
    let said = parsed
        .refusal
        .as_ref()
        .map_or_else(|| excerpt(&String::from_utf8_lossy(&body)), |refusal| refusal.detail().to_owned());
    let limited = matches!(status.as_u16(), 418 | 429) || matches!(parsed.refusal, Some(Refusal::RateLimited(_)));
    let reason = if limited { GapReason::RateLimited } else { GapReason::PollFailed };
    Err(Failed { reason, detail: format!("HTTP {}: {said}", status.as_u16()), retry_after })
}

/// An answer without one good row is a failure, whatever its status.
fn accept(parsed: Parsed, problems: &mut ProblemLog) -> Result<Parsed, Failed> {
    problems.note(&parsed.problems);
    if parsed.answered {
        return Ok(parsed);
    }
    let first = parsed.problems.first().map_or("no price", |problem| problem.detail.as_str());
    Err(match parsed.refusal {
        Some(Refusal::RateLimited(detail)) => {
            Failed { reason: GapReason::RateLimited, detail: format!("HTTP 200: {detail}"), retry_after: None }
        }
        Some(Refusal::Refused(detail)) => Failed::poll(format!("HTTP 200: {detail}")),
        None => Failed::poll(format!("HTTP 200 without a price: {first}")),
    })
}

/// Retry-After is obeyed; a limit without one is answered with a whole interval, since sooner tries feed the limit.
fn wait_after(failed: &Failed, polled: &mut Polled) -> Duration {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let jittered = polled.backoff.next_wait();
    match (failed.retry_after, failed.reason) {
        (Some(after), _) => after.min(LONGEST) + jittered.min(Duration::from_secs(1)),
        (None, GapReason::RateLimited) => polled.interval + jittered,
        (None, _) => jittered,
    }
}

/// Retry-After in seconds or as an HTTP date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    // An HTTP date is an RFC 2822 date in GMT.
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}

/// An error with what caused it, which is where reqwest says what went wrong.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

struct Driver {
    ledger: GapLedger,
    problems: ProblemLog,
    last_told: LastTold,
    outbox: Outbox,
    status: Status,
}

impl Driver {
    async fn good(&mut self, polled: &Polled, mut parsed: Parsed, received_at: i64) -> anyhow::Result<()> {
        count(polled.source, "good");
        self.status.answered(received_at);
        self.ledger.answered(&Scope::Source, received_at).await?;
        self.follow_missing(polled, &parsed.ticks, received_at).await?;
        self.follow_stale(polled, &parsed.ticks, received_at).await?;
        let unchanged = self.last_told.keep_news(&mut parsed.ticks);
        metrics::counter!("tickstream_producer_unchanged_total", "source" => polled.source).increment(unchanged as u64);
        self.outbox.ticks(polled.source, &parsed.ticks).await
    }

    async fn failed(&mut self, polled: &Polled, failed: Failed, began_at: i64) -> anyhow::Result<()> {
        count(polled.source, if failed.reason == GapReason::RateLimited { "rate_limited" } else { "failed" });
        self.status.failing(&failed.detail);
        let Failed { reason, detail, .. } = failed;
        self.ledger.failed(Scope::Source, polled.asked.clone(), reason, began_at, detail).await
    }

    /// A symbol that was asked for and is not in a good answer has a gap of its own.
    async fn follow_missing(&mut self, polled: &Polled, ticks: &[PriceTick], received_at: i64) -> anyhow::Result<()> {
        for symbol in &polled.asked {
            let scope = Scope::Symbol(symbol.clone());
            if ticks.iter().any(|tick| tick.symbol == *symbol) {
                self.ledger.answered(&scope, received_at).await?;
            } else {
                let detail = format!("the answer is without {symbol}");
                self.ledger.failed(scope, vec![symbol.clone()], GapReason::PollFailed, received_at, detail).await?;
            }
        }
        Ok(())
    }

    async fn follow_stale(&mut self, polled: &Polled, ticks: &[PriceTick], received_at: i64) -> anyhow::Result<()> {
        let oldest = received_at - polled.stale_after.as_micros() as i64;
        for tick in ticks.iter().filter(|tick| tick.event_time_origin == EventTimeOrigin::Source) {
            let scope = Scope::Stale(tick.symbol.clone());
            if tick.event_time >= oldest {
                self.ledger.answered(&scope, received_at).await?;
            } else {
                let detail = format!(
                    "the source's time for {} has not moved for {} s",
                    tick.symbol,
                    polled.stale_after.as_secs()
                );
                self.ledger.failed(scope, vec![tick.symbol.clone()], GapReason::Stale, tick.event_time, detail).await?;
            }
        }
        Ok(())
    }
}

fn count(source: &'static str, outcome: &'static str) {
    metrics::counter!("tickstream_producer_polls_total", "source" => source, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("119"), Some(Duration::from_secs(119)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None, "the past asks for no wait");
        assert!(retry_after("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|wait| wait > Duration::from_secs(3600)));
        assert_eq!(retry_after("soon"), None);
    }
}
