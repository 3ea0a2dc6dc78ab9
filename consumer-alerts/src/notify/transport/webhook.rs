//! The generic webhook: an alert is one POST of JSON, with the alert's id as Idempotency-Key, so that a receiver knows one
//! that comes again. With a secret it is signed: HMAC-SHA256 over the time of sending, a point and the body, in hexadecimal
//! digits; the time keeps a recorded request from being played again for ever.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use pipeline::events::Alert;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::Sha256;

use crate::notify::figures::instant;
use crate::notify::http::{Http, Verdict};
use crate::notify::message::{Setting, headline};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Seconds since 1970 at which the request was made.
const TIMESTAMP: HeaderName = HeaderName::from_static("x-tickstream-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-tickstream-signature");

#[derive(Debug)]
pub struct Webhook {
    http: Http,
    url: SecretString,
    secret: Option<SecretString>,
}

impl Webhook {
    pub fn new(http: Http, url: SecretString, secret: Option<SecretString>) -> Self {
        Self { http, url, secret }
    }

    pub async fn send(&self, key: &str, body: &[u8]) -> Verdict {
        let timestamp = Timestamp::now().as_second();
        let mut headers = HeaderMap::new();
        if let Ok(key) = HeaderValue::from_str(key) {
            headers.insert(KEY, key);
        }
        headers.insert(TIMESTAMP, HeaderValue::from(timestamp));
        if let Some(secret) = &self.secret {
            let signature = format!("sha256={}", signature(secret.expose_secret(), timestamp, body));
            if let Ok(signature) = HeaderValue::from_str(&signature) {
                headers.insert(SIGNATURE, signature);
            }
        }
        match self.http.post(&self.url, headers, body.to_vec()).await {
            Ok(answer) => answer.verdict(),
            Err(reason) => Verdict::Later(reason, None),
        }
    }
}

fn signature(secret: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The alerts of one message: the record's fields, times also as text, and what a message to a person has.
pub fn body(setting: &Setting<'_>, alerts: &[&Alert]) -> Vec<u8> {
    let of_one = |alert: &&Alert| {
        let text = |micros| instant(micros).map(|at| at.to_string());
        json!({
            "channel": setting.channel.name,
            "text": format!("{}: {}", headline(alert), alert.message),
            "alert": alert,
            "event_time": text(alert.event_time),
            "fired_at": text(alert.fired_at),
            "late": setting.late(alert),
            "dashboard_url": setting.page(alert),
        })
    };
    let bodies: Vec<_> = alerts.iter().map(of_one).collect();
    match bodies.as_slice() {
        [only] => only.to_string(),
        several => json!(several).to_string(),
    }
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_the_documentation_computes() {
        // Python: hmac.new(b"It's a secret to everybody", b"1760000000." + b'{"alert":1}', "sha256").hexdigest()
        let signed = signature("It's a secret to everybody", 1_760_000_000, br#"{"alert":1}"#);
        assert_eq!(signed, "31217a6d1331363f62a4d9f00776fad26b7ebd5b3faed602f4b2ea57beaf89fe");
    }
}
