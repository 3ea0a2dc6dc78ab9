//! How a message gets to each kind of channel, and what its server's answers mean. Invariant: only what can never work is
//! given up. A token or a key that is refused, a redirect, an answer that is not the service's own: somebody mends it, and
//! the alerts wait. Must never happen here: a message that is composed or counted.

mod telegram;
mod webhook;

use std::num::NonZeroUsize;
use std::time::Duration;

use pipeline::events::Alert;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde_json::json;

use super::channels::{Channel, To};
use super::http::{Http, Verdict};
use super::markup::Words;
use super::message::Setting;
use telegram::Telegram;
use webhook::Webhook;

/// Slack cuts a text off after 40,000 characters and recommends a tenth of it.
const SLACK_LIMIT: NonZeroUsize = NonZeroUsize::new(4000).expect("more than none");

#[derive(Debug)]
pub enum Transport {
    Telegram(Telegram),
    Webhook(Webhook),
    Slack { http: Http, url: SecretString },
}

/// A message on its way, written down for its channel.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What a receiver knows it by when it comes again.
    pub key: String,
    pub body: Body,
    /// How many of the alerts it names, from the first.
    pub named: usize,
}

#[derive(Clone, Debug)]
pub enum Body {
    Text(String),
    Json(Vec<u8>),
}

impl Transport {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(channel: &Channel) -> anyhow::Result<Self> {
        let timeout = Duration::try_from(channel.timeout).unwrap_or(Duration::from_secs(10));
        Ok(match &channel.to {
            To::Telegram { token, chat_id, api_url } => {
                Self::Telegram(Telegram::new(Http::new(timeout, &[token])?, token, chat_id, api_url))
            }
            To::Webhook { url, secret } => {
                let secrets: Vec<&SecretString> = [Some(url), secret.as_ref()].into_iter().flatten().collect();
                Self::Webhook(Webhook::new(Http::new(timeout, &secrets)?, url.clone(), secret.clone()))
            }
            To::Slack { url } => Self::Slack { http: Http::new(timeout, &[url])?, url: url.clone() },
        })
    }

    /// Writes down one message of `alerts`, oldest first, not empty, and `more` that are only counted.
    pub fn parcel(&self, setting: &Setting<'_>, title: &str, alerts: &[&Alert], more: usize) -> Parcel {
        let key = alerts.first().map_or_else(String::new, |alert| alert.alert_id.to_string());
        let of_text = |render: fn(&Words) -> String, limit| {
            let message = setting.message(title, alerts, more, render, limit);
            Parcel { key: key.clone(), body: Body::Text(message.text), named: message.named }
        };
        match self {
            Self::Telegram(_) => of_text(Words::html, telegram::LIMIT),
            Self::Slack { .. } => of_text(Words::mrkdwn, SLACK_LIMIT),
            Self::Webhook(_) => {
                let body = webhook::body(setting, alerts);
                Parcel { key, body: Body::Json(body), named: alerts.len() }
            }
        }
    }

    /// A message that says that it is only a trial.
    pub fn trial(&self, channel: &str, key: String) -> Parcel {
        let text = format!("A trial of the channel {channel}: alerts will come here.");
        let mut words = Words::default();
        words.bold("tickstream").new_line().text(&text);
        let body = match self {
            Self::Telegram(_) => Body::Text(words.html()),
            Self::Slack { .. } => Body::Text(words.mrkdwn()),
            Self::Webhook(_) => {
                Body::Json(json!({"channel": channel, "trial": true, "text": text}).to_string().into_bytes())
            }
        };
        Parcel { key, body, named: 0 }
    }

    pub async fn send(&mut self, parcel: &Parcel) -> Verdict {
        match (self, &parcel.body) {
            (Self::Telegram(telegram), Body::Text(text)) => telegram.send(text).await,
            (Self::Webhook(webhook), Body::Json(body)) => webhook.send(&parcel.key, body).await,
            (Self::Slack { http, url }, Body::Text(text)) => {
                let body = json!({ "text": text, "mrkdwn": true, "unfurl_links": false }).to_string().into_bytes();
                match http.post(url, HeaderMap::new(), body).await {
                    // Slack says `ok` and others JSON; a page is a proxy's that wants somebody to log in.
                    Ok(answer) if answer.status == 200 && answer.body.trim_start().starts_with('<') => {
                        Verdict::Later(format!("not an answer of an incoming webhook: {}", answer.told()), None)
                    }
                    Ok(answer) => answer.verdict(),
                    Err(reason) => Verdict::Later(reason, None),
                }
            }
            (Self::Telegram(_) | Self::Slack { .. }, Body::Json(_)) | (Self::Webhook(_), Body::Text(_)) => {
                Verdict::GivenUp("written down for another kind of channel".to_owned())
            }
        }
    }
}
