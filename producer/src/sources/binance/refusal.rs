//! What Binance says when it does not serve: `{"code", "msg"}` by itself, or below `error`.

use crate::parse::json::{Field, Object, Value};
use crate::parse::problem::excerpt;
use crate::sources::Refusal;

/// Why the source does not serve us; `None` when the object does not say so.
pub(super) fn read(object: &Object<'_>) -> Option<Refusal> {
    match object.get("error") {
        Field::One(Value::Object(text)) => {
            let error = Object::parse(text);
            // An error that cannot be read is one all the same.
            Some(of_error(&error).unwrap_or_else(|| Refusal::Retry(excerpt(text))))
        }
        _ => of_error(object),
    }
}

fn of_error(error: &Object<'_>) -> Option<Refusal> {
    let code = match error.get("code") {
        Field::One(Value::Number(code)) => code.parse::<i64>().ok()?,
        Field::One(Value::Text(code)) => code.parse::<i64>().ok()?,
        _ => return None,
    };
    let message = error.text("msg").unwrap_or_default();
    let detail = format!("code {code}: {}", excerpt(&message));
    let lower = message.to_ascii_lowercase();
    Some(match code {
        _ if lower.contains("banned") => Refusal::Banned(banned_until(&lower), detail),
        // Too many requests, new orders, connections.
        -1003 | -1015 | -1034 => Refusal::RateLimited(detail),
        _ if lower.contains("too many") => Refusal::RateLimited(detail),
        // Not authorized, no permission, unsupported operation, timestamp, signature; every bad parameter; a bad key.
        -1002 | -1005 | -1022..=-1020 | -1199..=-1100 | -2008 | -2014 | -2015 => Refusal::Configuration(detail),
        // The streams' own: unknown property, wrong type, invalid request, invalid JSON. 0 is also "restricted location".
        0..=3 => Refusal::Configuration(detail),
        _ => Refusal::Retry(detail),
    })
}

/// `IP banned until 1659146400000.`: millis, given back as micros.
fn banned_until(message: &str) -> Option<i64> {
    let (_, after) = message.split_once("banned until ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<i64>().ok()?.checked_mul(1_000)
}
