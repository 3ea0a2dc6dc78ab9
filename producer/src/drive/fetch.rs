//! How a body is got: over HTTP, or from a folder of recorded ones. Must never happen here: a redirect followed to another
//! host with our key, a body held beyond the cap, or a key in a message.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use pipeline::asking::{in_words, retry_after};
use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};

use crate::parse::problem::excerpt;
use crate::sources::MAX_BODY_BYTES;

/// One whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// How long the source wants to be left alone.
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
    /// For an answer from a recording: what it answers, as far as it is known. The next answer is there whatever this one
    /// says. `None` for what is live.
    pub recorded: Option<String>,
}

/// Gets bodies by path and query.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// # Errors
    /// Why there is no whole answer, in words without a secret.
    async fn get(&self, path: &str) -> Result<Answer, String>;

    /// Whether there is no more to get, ever: nothing is missing then.
    fn finished(&self) -> bool {
        false
    }
}

/// A source's server.
#[derive(Clone, Debug)]
pub struct Server {
    pub source: &'static str,
    /// Without a path's first slash at its end.
    pub base_url: String,
    /// The header that carries the key.
    pub key: Option<(&'static str, SecretString)>,
    /// For a whole answer.
    pub timeout: Duration,
}

/// Over HTTP.
#[derive(Debug)]
pub struct Http {
    client: reqwest::Client,
    base_url: String,
    key: Option<SecretString>,
}

/// A key that is shorter than this is none, and its letters stand in every body.
const SHORTEST_KEY: usize = 6;

impl Http {
    /// # Errors
    /// [`pipeline::Misconfigured`] for a key that no header can carry.
    pub fn new(server: &Server) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some((name, key)) = &server.key {
            let mut value = HeaderValue::from_str(key.expose_secret()).map_err(|_| {
                pipeline::misconfigured(format!(
                    "the API key of {} is not a header value: it has spaces or line ends in it",
                    server.source
                ))
            })?;
            value.set_sensitive(true);
            headers.insert(*name, value);
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("tickstream/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(server.timeout)
            .build()
            .context("cannot make an HTTP client")?;
        let key = server.key.as_ref().map(|(_, key)| key.clone());
        let key = key.filter(|key| key.expose_secret().len() >= SHORTEST_KEY);
        Ok(Self { client, base_url: server.base_url.clone(), key })
    }

    /// Puts stars over our key: a server may tell us what we sent it, and what it tells is kept and logged.
    fn hide_key(&self, bytes: &mut [u8]) {
        let Some(key) = self.key.as_ref().map(|key| key.expose_secret().as_bytes()) else { return };
        let mut from = 0;
        while let Some(at) = bytes[from..].windows(key.len()).position(|window| window == key) {
            bytes[from + at..from + at + key.len()].fill(b'*');
            from += at + key.len();
        }
    }
}

#[async_trait]
impl Fetch for Http {
    async fn get(&self, path: &str) -> Result<Answer, String> {
        let told = |error: reqwest::Error| in_words(&error.without_url());
        let mut response = self.client.get(format!("{}{path}", self.base_url)).send().await.map_err(told)?;
        let status = response.status().as_u16();
        if response.status().is_redirection() {
            let mut to = response.headers().get(LOCATION).map_or(&b"nowhere"[..], HeaderValue::as_bytes).to_vec();
            self.hide_key(&mut to);
            let to = excerpt(&String::from_utf8_lossy(&to));
            return Err(format!("HTTP {status}: a redirect to {to} is not followed"));
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(format!("HTTP {status}: the body is longer than {MAX_BODY_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        self.hide_key(&mut body);
        Ok(Answer { status, retry_after, body, recorded: None })
    }
}
