//! Kraken: frames of the WebSocket v2 feed, channels `trade` and `ticker`, and REST's `Ticker` and `Trades`. A trade has one
//! identity on both, its market's v2 name and its trade id, which run without holes. A frame of the v1 feed (an array) is
//! refused by name. Must never happen here: a bad symbol that stops the others, or a digit lost from a number (`0.99980`
//! goes into identities as it came). New problem: `not_online`, for an exchange that says that it is in maintenance.

use std::sync::Arc;

use super::{Parsed, Source, object_to_the_break};
use crate::parse::json::{Document, Field, Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::symbols::Symbols;

pub mod args;
mod feed;
mod names;
mod refusal;
mod rest;

pub const SOURCE: &str = "kraken";
/// Trades of one market are numbered in one range, wherever they are told.
const TRADES: &str = "trade";
/// Summaries have no number: these keys are times and prices.
const TICKERS: &str = "ticker";
const REST_TICKERS: &str = "rest_ticker";

pub struct Kraken {
    pub symbols: Arc<Symbols>,
}

impl Source for Kraken {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let document = Document::new(payload.bytes);
        let mut reading = Reading { symbols: &self.symbols, payload, parsed: Parsed::default() };
        if let Value::Array(text) = document.value() {
            reading.parsed.problems.push(frame_of_v1(text));
        } else if let Some(object) = object_to_the_break(&document, &mut reading.parsed) {
            reading.object(&object, document.text());
        }
        reading.parsed
    }
}

/// One payload as it is read.
struct Reading<'p> {
    symbols: &'p Symbols,
    payload: &'p Payload<'p>,
    parsed: Parsed,
}

impl Reading<'_> {
    fn object(&mut self, object: &Object<'_>, text: &str) {
        if let (None, Some(channel)) = (&object.broken, object.text("channel")) {
            return self.frame(object, &channel);
        }
        // A body is read up to where it breaks off; half a frame is none.
        let is_rest = matches!(object.get("error"), Field::One(Value::Array(_)))
            || matches!(object.get("result"), Field::One(Value::Object(_))) && object.get("method") == Field::Missing;
        if is_rest {
            return self.rest(object);
        }
        let problem = if let Some(broken) = &object.broken {
            Problem::rejected("not_json", "", format!("the frame breaks off: {broken}"))
        } else if let Some(method) = object.text("method") {
            return self.response(object, &method);
        } else if object.text("error").is_some() {
            return self.refused(object);
        } else if let Some(event) = object.text("event") {
            let detail = format!("an event {} of the v1 feed; the v2 feed is read", excerpt(&event));
            Problem::rejected("unsupported_shape", "event", detail)
        } else if let Some(field) = ["feed", "result"].into_iter().find(|field| object.text(field).is_some()) {
            Problem::rejected("derivative", field, "Kraken's futures have their own feed and API; spot prices are read")
        } else {
            Problem::rejected("missing_field", "channel", format!("a message without a channel: {}", excerpt(text)))
        };
        self.parsed.problems.push(problem);
    }
}

/// `[337,[["5541.20","0.15850568","1534614057.3","s","l",""]],"trade","XBT/USD"]`.
fn frame_of_v1(text: &str) -> Problem {
    let (values, broken) = elements(text);
    if let (None, [Value::Number(_), .., Value::Text(channel), Value::Text(market)]) = (&broken, &values[..]) {
        let what = format!("channel {}, {}", excerpt(channel), excerpt(market));
        return Problem::rejected(
            "unsupported_shape",
            "",
            format!("a frame of the v1 feed ({what}); the v2 feed is read"),
        );
    }
    match broken {
        Some(broken) => Problem::rejected("not_json", "", format!("an array that breaks off: {broken}")),
        None => Problem::rejected("unsupported_shape", "", format!("an array instead of an object: {}", excerpt(text))),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
