//! One request, and what came of it. Invariant: nothing that goes wrong here tells an address or a secret, which may be the
//! same: what a client or a server says is told without them. Redirects are not followed, since a secret would go with them;
//! of an answer a bounded part is read.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use pipeline::misconfigured;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};

/// More of an answer is not read.
const MOST: usize = 64 * 1024;
/// A server that asks for a longer wait is asked again after this one.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// What a shorter secret would hide is no secret.
const SHORTEST_SECRET: usize = 6;

/// What a channel's server made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// It never will be, whatever is tried.
    GivenUp(String),
    /// Perhaps later, and not before this wait where the server names one. Whether the message arrived may be unknown.
    Later(String, Option<Duration>),
}

/// An answer, as far as it was read.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// Where a redirect leads: only its host.
    pub leads_to: Option<String>,
    pub body: String,
}

#[derive(Debug)]
pub struct Http {
    client: Client,
    secrets: Vec<SecretString>,
}

impl Http {
    /// # Errors
    /// When the client cannot be made.
    pub fn new(timeout: Duration, secrets: Vec<SecretString>) -> anyhow::Result<Self> {
        // One TLS provider is linked; where main has not chosen it yet (tests), this does.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .user_agent(concat!("tickstream/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .http1_only()
            .no_gzip()
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .timeout(timeout)
            .build()
            .map_err(|error| misconfigured(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { client, secrets })
    }

    /// Posts JSON. Gives the answer, or in plain words why there is none.
    pub async fn post(&self, url: &SecretString, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, String> {
        let told = |error: reqwest::Error| self.hide(&describe(&error.without_url()));
        let url = Url::parse(url.expose_secret()).map_err(|_| "the address is none".to_owned())?;
        let request = self.client.post(url).headers(headers).header("content-type", "application/json").body(body);
        let mut response = request.send().await.map_err(told)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        let leads_to = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(|place| {
            Url::parse(place)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned))
                .unwrap_or_else(|| "itself".to_owned())
        });
        let mut body = Vec::new();
        // What follows the status is an explanation: whatever happens to it, the status stands.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MOST - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        let body = self.hide(&String::from_utf8_lossy(&body));
        Ok(Answer { status, retry_after: retry_after.map(bounded), leads_to, body })
    }

    /// Puts a dot in the place of each secret.
    fn hide(&self, text: &str) -> String {
        self.secrets
            .iter()
            .map(ExposeSecret::expose_secret)
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

impl Answer {
    /// `HTTP 503: the server's first words`.
    pub fn told(&self) -> String {
        let words: String = self.body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
        match &self.leads_to {
            Some(host) if (300..400).contains(&self.status) => {
                format!("HTTP {}: a redirect to {host} is not followed", self.status)
            }
            _ if words.is_empty() => format!("HTTP {}", self.status),
            _ => format!("HTTP {}: {words}", self.status),
        }
    }

    /// What a status means where nothing else is agreed on: 2xx took it; 408, 425, 429, 5xx and redirects may take it later;
    /// any other refuses it for good.
    pub fn verdict(&self) -> Verdict {
        match self.status {
            200..=299 => Verdict::Delivered,
            408 | 425 | 429 => Verdict::Later(self.told(), self.retry_after),
            400..=499 => Verdict::GivenUp(self.told()),
            _ => Verdict::Later(self.told(), self.retry_after),
        }
    }
}

pub fn bounded(wait: Duration) -> Duration {
    wait.min(LONGEST_WAIT)
}

/// Retry-After in seconds or as an HTTP date, which is an RFC 2822 date in GMT.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}

/// An error with what caused it, which is where the client says what went wrong.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_decides() {
        let verdict = |status| {
            Answer { status, retry_after: None, leads_to: Some("elsewhere".to_owned()), body: " no\n way ".to_owned() }
                .verdict()
        };
        assert_eq!(verdict(204), Verdict::Delivered);
        for later in [408, 425, 429, 500, 503, 599] {
            assert_eq!(verdict(later), Verdict::Later(format!("HTTP {later}: no way"), None));
        }
        assert_eq!(verdict(307), Verdict::Later("HTTP 307: a redirect to elsewhere is not followed".to_owned(), None));
        for never in [400, 401, 403, 404, 410, 413, 422] {
            assert_eq!(verdict(never), Verdict::GivenUp(format!("HTTP {never}: no way")));
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_has_an_end() {
        assert_eq!(retry_after("119"), Some(Duration::from_secs(119)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert!(retry_after("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|wait| bounded(wait) == LONGEST_WAIT));
        assert_eq!(retry_after("soon"), None);
    }

    #[tokio::test]
    async fn no_error_tells_the_address_or_the_secret() {
        let secret = SecretString::from("123456:very-secret");
        let http = Http::new(Duration::from_secs(1), vec![secret]).expect("a client");
        assert_eq!(http.hide("said 123456:very-secret twice 123456:very-secret"), "said … twice …");
        let url = SecretString::from("http://127.0.0.1:1/bot123456:very-secret/sendMessage");
        let error = http.post(&url, HeaderMap::new(), Vec::new()).await.expect_err("nobody listens there");
        assert!(!error.contains("secret") && !error.contains("bot"), "{error}");
        assert!(!format!("{http:?}").contains("very-secret"), "{http:?}");
    }
}
