//! One request, and what came of it. Invariant: nothing that goes wrong here tells an address or a secret, which may be the
//! same: what a client or a server says is told without them. Redirects are not followed, since a secret would go with them;
//! of an answer a bounded part is read.

use std::time::Duration;

use pipeline::asking::{in_words, retry_after};
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
    /// For requests that have these secrets in them, addresses among them.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(timeout: Duration, secrets: &[&SecretString]) -> anyhow::Result<Self> {
        let mut secrets: Vec<String> = secrets.iter().flat_map(|secret| parts(secret.expose_secret())).collect();
        // The longest first: what is left of one is no hint at it.
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        let secrets = secrets.into_iter().map(SecretString::from).collect();
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
        let told = |error: reqwest::Error| self.hide(&in_words(&error.without_url()));
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

    /// What a status means where nothing else is agreed on. 2xx took it. What refuses this message, and would refuse it
    /// tomorrow, refuses it for good. Everything else may take it later: what refuses whoever asks (401, 403, 407), or knows
    /// no such place (404, 405), is mended by a person, and has not looked at the message.
    pub fn verdict(&self) -> Verdict {
        match self.status {
            200..=299 => Verdict::Delivered,
            400 | 406 | 410..=417 | 422 | 431 => Verdict::GivenUp(self.told()),
            _ => Verdict::Later(self.told(), self.retry_after),
        }
    }
}

/// A secret, and where it is an address what of it is secret by itself: a server tells of its path, or of a part of that.
fn parts(secret: &str) -> Vec<String> {
    let mut parts = vec![secret.to_owned()];
    if let Ok(url) = Url::parse(secret)
        && url.has_host()
    {
        parts.push(url.as_str().to_owned());
        parts.extend(url.query().map(|query| format!("{}?{query}", url.path())));
        parts.push(url.path().to_owned());
        parts.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        parts.extend(url.query().map(str::to_owned));
        parts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        parts.extend([url.username(), url.password().unwrap_or_default()].map(str::to_owned));
    }
    parts.retain(|part| part.len() >= SHORTEST_SECRET);
    parts
}

pub fn bounded(wait: Duration) -> Duration {
    wait.min(LONGEST_WAIT)
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
        for later in [401, 403, 404, 405, 407, 408, 409, 425, 429, 500, 503, 599] {
            assert_eq!(verdict(later), Verdict::Later(format!("HTTP {later}: no way"), None));
        }
        assert_eq!(verdict(307), Verdict::Later("HTTP 307: a redirect to elsewhere is not followed".to_owned(), None));
        for never in [400, 410, 413, 415, 422] {
            assert_eq!(verdict(never), Verdict::GivenUp(format!("HTTP {never}: no way")));
        }
    }

    #[test]
    fn a_wait_has_an_end() {
        assert!(retry_after("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|wait| bounded(wait) == LONGEST_WAIT));
        assert_eq!(bounded(Duration::from_secs(u64::MAX)), LONGEST_WAIT);
    }

    #[test]
    fn what_a_server_repeats_of_an_address_is_hidden_too() {
        let hides = |url: &str| Http::new(Duration::from_secs(1), &[&SecretString::from(url)]).expect("a client");
        let slack = hides("https://hooks.slack.example/services/T0123456/B0123456/xyzzy-token");
        for said in [
            "Cannot POST /services/T0123456/B0123456/xyzzy-token",
            "no team T0123456",
            "https:\\/\\/hooks.slack.example\\/services\\/T0123456\\/B0123456\\/xyzzy-token",
            "token xyzzy-token is not active",
        ] {
            let hidden = slack.hide(said);
            let shows = ["T0123456", "B0123456", "xyzzy"].into_iter().any(|secret| hidden.contains(secret));
            assert!(!shows && hidden.contains('…'), "{hidden}");
        }
        let query = hides("http://user-name:pass-word@h/in?key=a%20b-secret&n=1");
        let hidden = query.hide("/in?key=a%20b-secret&n=1: a b-secret of user-name (pass-word) is wrong, n=1");
        assert_eq!(hidden, "…: … of … (…) is wrong, n=1");
        assert_eq!(hides("http://h/in").hide("GET /in at h"), "GET /in at h", "nothing of that is secret");
    }

    #[tokio::test]
    async fn no_error_tells_the_address_or_the_secret() {
        let secret = SecretString::from("123456:very-secret");
        let http = Http::new(Duration::from_secs(1), &[&secret]).expect("a client");
        assert_eq!(http.hide("said 123456:very-secret twice 123456:very-secret"), "said … twice …");
        let url = SecretString::from("http://127.0.0.1:1/bot123456:very-secret/sendMessage");
        let error = http.post(&url, HeaderMap::new(), Vec::new()).await.expect_err("nobody listens there");
        assert!(!error.contains("secret") && !error.contains("bot"), "{error}");
        assert!(!format!("{http:?}").contains("very-secret"), "{http:?}");
    }
}
