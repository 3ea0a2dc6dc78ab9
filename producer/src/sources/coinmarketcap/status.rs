//! `status`: what a call cost, and why it was not served. It is read whatever the HTTP status is.

use std::borrow::Cow;

use crate::parse::json::{Field, Object, Value};
use crate::parse::problem::excerpt;
use crate::sources::{Refusal, Until};

/// What the source says that the call cost, errors included.
#[must_use]
pub(super) fn credits(answer: &Object<'_>) -> Option<u32> {
    let Field::One(Value::Object(status)) = answer.get("status") else { return None };
    digits(Object::parse(status).get("credit_count"))?.parse().ok()
}

/// `None` when the answer is none of an error.
#[must_use]
pub(super) fn refusal(answer: &Object<'_>) -> Option<Refusal> {
    let Field::One(Value::Object(status)) = answer.get("status") else { return without_status(answer) };
    let status = Object::parse(status);
    let code = match status.get("error_code") {
        Field::Missing | Field::One(Value::Null) => return None,
        Field::Ambiguous => return Some(Refusal::Retry("error_code stands there twice".to_owned())),
        code => digits(code).unwrap_or(Cow::Borrowed("of no number")),
    };
    let code = code.trim();
    if code == "0" {
        return None;
    }
    let message = status.text("error_message").unwrap_or_default();
    let detail = format!("error_code {}: {}", excerpt(code).trim_matches('"'), excerpt(&message));
    Some(match code {
        // A key that is wrong, missing, not paid for or not allowed this; a request that is wrong.
        "1001" | "1002" | "1003" | "1004" | "1005" | "1006" | "1007" => Refusal::Configuration(detail),
        "400" | "401" | "402" | "403" | "404" => Refusal::Configuration(detail),
        // Of a key's minute, and of an address.
        "1008" | "1011" | "429" => Refusal::RateLimited(detail),
        "1009" => Refusal::Exhausted(Until::NextDay, detail),
        "1010" => Refusal::Exhausted(Until::NextMonth, detail),
        _ => Refusal::Retry(detail),
    })
}

/// What stands before the service itself answers so: `{"statusCode":401,"error":"Unauthorized","message":"…"}`.
fn without_status(answer: &Object<'_>) -> Option<Refusal> {
    let error = answer.text("error")?;
    let message = answer.text("message").unwrap_or_default();
    let detail = format!("{} {}", excerpt(&error), excerpt(&message));
    Some(match digits(answer.get("statusCode")).as_deref() {
        Some("400" | "401" | "402" | "403" | "404") => Refusal::Configuration(detail),
        Some("429") => Refusal::RateLimited(detail),
        _ => Refusal::Retry(detail),
    })
}

/// A number's digits, also where they come as a string.
fn digits<'a>(field: Field<'a>) -> Option<Cow<'a, str>> {
    match field {
        Field::One(Value::Number(digits)) => Some(Cow::Borrowed(digits)),
        Field::One(Value::Text(digits)) => Some(digits),
        _ => None,
    }
}
