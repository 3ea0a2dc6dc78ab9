//! What CoinGecko says when it does not serve, whatever the HTTP status is: `{"status":{"error_code":429,…}}`,
//! `{"error":"coin not found"}`, or the one inside the other.

use std::borrow::Cow;

use crate::parse::json::{Field, Object, Value};
use crate::parse::problem::excerpt;
use crate::sources::Refusal;

/// `None` when the object is no error.
#[must_use]
pub(super) fn of(object: &Object<'_>) -> Option<Refusal> {
    match object.get("error") {
        Field::One(Value::Text(text)) => return Some(by_words(&text)),
        Field::One(Value::Object(text)) => {
            let inner = Object::parse(text);
            let told = by_status(&inner).or_else(|| by_code(&inner));
            return Some(told.unwrap_or_else(|| Refusal::Retry(excerpt(text))));
        }
        _ => {}
    }
    by_status(object)
}

fn by_status(object: &Object<'_>) -> Option<Refusal> {
    match object.get("status") {
        Field::One(Value::Object(status)) => by_code(&Object::parse(status)),
        _ => None,
    }
}

fn by_code(status: &Object<'_>) -> Option<Refusal> {
    let code: Cow<'_, str> = match status.get("error_code") {
        Field::One(Value::Number(code)) => Cow::Borrowed(code),
        Field::One(Value::Text(code)) => code,
        _ => return None,
    };
    let message = status.text("error_message").unwrap_or_default();
    let detail = format!("error_code {}: {}", excerpt(&code).trim_matches('"'), excerpt(&message));
    match code.as_ref() {
        "0" => None,
        "429" => Some(Refusal::RateLimited(detail)),
        // A wrong request; then a key that is missing or wrong, a plan without this endpoint, a key at the other plan's host.
        "400" | "401" | "403" | "404" | "422" | "10002" | "10005" | "10010" | "10011" => {
            Some(Refusal::Configuration(detail))
        }
        _ => Some(Refusal::Retry(detail)),
    }
}

/// A bare sentence says no code.
fn by_words(text: &str) -> Refusal {
    let said = text.to_ascii_lowercase();
    let detail = excerpt(text);
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if any(&["rate limit", "throttle", "too many"]) {
        Refusal::RateLimited(detail)
    } else if any(&["missing parameter", "invalid", "not found", "could not find", "unauthorized", "forbidden"]) {
        Refusal::Configuration(detail)
    } else {
        Refusal::Retry(detail)
    }
}
