//! Coinbase Exchange WebSocket feed, channels `matches` and `heartbeat`: every trade, once, and word of those that did not
//! come.
//!
//! Traps:
//! - `match`, `last_match` and `ticker` tell of the same trades: all have the trade id as their identity, the channel is no
//!   part of it, and only `matches` is subscribed to. `last_match` repeats an old trade right after subscribing.
//! - `side` is the maker's in a match and the taker's in a ticker; it is not read.
//! - Perpetuals (`BTC-PERP-INTX`) and other derivatives are not BASE-QUOTE and never pass as spot.
//! - `sequence` belongs to the product and jumps where a channel is filtered: a jump is no loss. What was missed is told by
//!   trade ids, which run without holes, and by the heartbeat's `last_trade_id`.
//! - Errors come as messages on a healthy socket: `{"type":"error","message","reason"}`.
//! - Advanced Trade frames (`channel`, `events`) are another feed with other rules: refused by name.

use pipeline::events::{EventTimeOrigin, Kind, PriceTick, event_id};
use serde_json::json;

use super::{LatestTrade, Parsed, Refusal, payload_id};
use crate::json::{Document, Field, Object, Value, elements};
use crate::problem::{Problem, excerpt};
use crate::row::{Form, Range, Row};

pub const SOURCE: &str = "coinbase";
/// Spot trades number apart from any other product's.
const ID_SPACE: &str = "trade";

/// What is sent after connecting.
#[must_use]
pub fn subscribe(products: &[String]) -> String {
    json!({"type": "subscribe", "product_ids": products, "channels": ["matches", "heartbeat"]}).to_string()
}

/// Base and quote of a spot product; a reason when it is not one.
///
/// # Errors
/// When the product is a derivative or not BASE-QUOTE at all.
pub fn base_and_quote(product: &str) -> Result<(&str, &str), (&'static str, String)> {
    let code = |part: &str| {
        (1..=16).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    match product.split('-').collect::<Vec<_>>()[..] {
        [_, "PERP"] | [_, "PERP", ..] | [.., "INTX"] | [_, _, "CDE", ..] => {
            Err(("derivative", format!("{} is a derivative and has no place among spot prices", excerpt(product))))
        }
        [base, quote] if code(base) && code(quote) => Ok((base, quote)),
        _ => Err(("unknown_product", format!("{} is not a BASE-QUOTE product", excerpt(product)))),
    }
}

/// Reads one frame. `received_at` is in micros UTC. Problems about a subscription name what of `products` is not in it.
#[must_use]
pub fn parse(frame: &[u8], received_at: i64, products: &[String]) -> Parsed {
    let mut parsed = Parsed::default();
    let document = Document::new(frame);
    let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
    parsed.problems.extend(faults);
    let object = match document.value() {
        Value::Object(text) => Object::parse(text),
        Value::Broken(_) => {
            parsed.problems.push(Problem::rejected("not_json", "", format!("not JSON: {}", excerpt(document.text()))));
            return parsed;
        }
        other => {
            let detail = format!("{} instead of an object: {}", other.kind(), excerpt(document.text()));
            parsed.problems.push(Problem::rejected("unsupported_shape", "", detail));
            return parsed;
        }
    };
    if let Some(broken) = &object.broken {
        // A frame is one row: half of it is none.
        parsed.problems.push(Problem::rejected("not_json", "", format!("the frame breaks off: {broken}")));
        return parsed;
    }
    let Some(message_type) = object.text("type") else {
        parsed.problems.push(without_a_type(&object, document.text()));
        return parsed;
    };
    match message_type.as_ref() {
        "match" | "last_match" => read_trade(&object, "size", frame, received_at, &mut parsed),
        "ticker" => read_trade(&object, "last_size", frame, received_at, &mut parsed),
        "heartbeat" => read_heartbeat(&object, &mut parsed),
        "subscriptions" => read_subscriptions(&object, products, &mut parsed),
        "error" => read_error(&object, &mut parsed),
        other => {
            let detail = format!("a message of type {} is not read", excerpt(other));
            parsed.problems.push(Problem::noted("unknown_type", "type", detail));
        }
    }
    parsed
}

fn without_a_type(object: &Object<'_>, text: &str) -> Problem {
    match (object.text("channel"), object.get("events")) {
        (Some(channel), Field::One(_)) => Problem::rejected(
            "unsupported_shape",
            "channel",
            format!("an Advanced Trade frame (channel {}); the Exchange feed is read", excerpt(&channel)),
        ),
        _ => Problem::rejected("missing_field", "type", format!("a message without a type: {}", excerpt(text))),
    }
}

fn read_trade(object: &Object<'_>, quantity_field: &str, frame: &[u8], received_at: i64, parsed: &mut Parsed) {
    let mut row = Row { object, path: "", problems: &mut parsed.problems };
    let Some(product) = row.text("product_id") else { return };
    let (base, quote) = match base_and_quote(&product) {
        Ok(pair) => pair,
        Err((code, detail)) => {
            row.problems.push(Problem::rejected(code, "product_id", detail));
            return;
        }
    };
    // Read all three before giving up, so that each one that is wrong is named.
    let trade_id = row.whole_number("trade_id");
    let price = row.price("price", Form::Text);
    let event_time = row.timestamp("time");
    let (Some((_, trade_id)), Some(price), Some(event_time)) = (trade_id, price, event_time) else { return };
    let quantity = row.auxiliary(quantity_field, Form::Text, Range::NotNegative);
    let bid = row.auxiliary("best_bid", Form::Text, Range::ZeroIsUnknown);
    let ask = row.auxiliary("best_ask", Form::Text, Range::ZeroIsUnknown);
    let volume_24h = row.auxiliary("volume_24h", Form::Text, Range::NotNegative);
    let sequence = match object.get("sequence") {
        Field::Missing | Field::One(Value::Null) => None,
        _ => optional_whole_number(&mut row, "sequence"),
    };
    parsed.answered = true;
    parsed.ticks.push(PriceTick {
        event_id: event_id(SOURCE, ID_SPACE, &product, &trade_id),
        revision: 0,
        source: SOURCE.to_owned(),
        symbol: product.to_string(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        kind: Kind::Trade,
        price: price.value,
        quantity,
        bid,
        ask,
        volume_24h,
        quote_volume_24h: None,
        market_cap: None,
        change_24h_pct: None,
        event_time,
        event_time_origin: EventTimeOrigin::Source,
        received_at,
        sequence,
        trade_id: Some(trade_id.into_owned()),
        source_symbol: product.to_string(),
        payload_id: payload_id(SOURCE, received_at, frame),
        previous_event_time: None,
        previous_symbol: None,
        retracted: false,
    });
}

fn optional_whole_number(row: &mut Row<'_, '_>, field: &str) -> Option<i64> {
    let before = row.problems.len();
    let read = row.whole_number(field);
    for problem in &mut row.problems[before..] {
        problem.effect = crate::problem::Effect::Nulled;
    }
    read.map(|(number, _)| number)
}

fn read_heartbeat(object: &Object<'_>, parsed: &mut Parsed) {
    let mut row = Row { object, path: "", problems: &mut parsed.problems };
    let product = row.text("product_id");
    let latest = row.whole_number("last_trade_id");
    let at = row.timestamp("time");
    parsed.answered = true;
    if let (Some(product), Some((trade_id, _)), Some(at)) = (product, latest, at) {
        parsed.latest_trade = Some(LatestTrade { source_symbol: product.into_owned(), trade_id, at });
    }
}

/// An acknowledgement. What was asked for and is in no `matches` channel of it will never come.
fn read_subscriptions(object: &Object<'_>, products: &[String], parsed: &mut Parsed) {
    parsed.answered = true;
    let mut subscribed: Vec<String> = Vec::new();
    if let Field::One(Value::Array(channels)) = object.get("channels") {
        for channel in elements(channels).0 {
            let Value::Object(text) = channel else { continue };
            let channel = Object::parse(text);
            if channel.text("name").as_deref() != Some("matches") {
                continue;
            }
            let Field::One(Value::Array(ids)) = channel.get("product_ids") else { continue };
            subscribed.extend(elements(ids).0.into_iter().filter_map(|id| match id {
                Value::Text(id) => Some(id.into_owned()),
                _ => None,
            }));
        }
    }
    for product in products.iter().filter(|product| !subscribed.contains(product)) {
        let detail = format!("asked for the matches of {product}, and the subscription is without them");
        parsed.problems.push(Problem::rejected("not_answered", product.as_str(), detail));
    }
}

fn read_error(object: &Object<'_>, parsed: &mut Parsed) {
    let message = object.text("message").unwrap_or_default();
    let reason = object.text("reason").unwrap_or_default();
    let detail = format!("{} {}", excerpt(&message), excerpt(&reason));
    parsed.problems.push(Problem::rejected("error_answer", "", detail.as_str()));
    let limited =
        message.to_ascii_lowercase().contains("rate limit") || reason.to_ascii_lowercase().contains("rate limit");
    parsed.refusal = Some(if limited { Refusal::RateLimited(detail) } else { Refusal::Refused(detail) });
}

#[cfg(test)]
#[path = "coinbase_tests.rs"]
mod tests;
