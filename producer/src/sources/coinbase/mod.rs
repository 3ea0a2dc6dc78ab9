//! Coinbase: frames of its two WebSocket feeds, Exchange and Advanced Trade, and the Exchange's trades by REST. All three
//! tell of the same trades, so a trade has one identity wherever it is told: its product and its trade id. The channel, the
//! feed and the `side` (the maker's in one message, the taker's in another) are no part of it. Must never happen here: one
//! trade under two identities, or a perpetual (`BTC-PERP-INTX`) or a future (`BIT-31JAN25-CDE`) that passes as spot.

use std::borrow::Cow;
use std::sync::Arc;

use pipeline::events::{Kind, PriceTick};

use super::{Parsed, Refusal, Source, timestamp_or_received, whole_object};
use crate::parse::json::{Document, Field, Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Range, Row};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::symbols::{Pair, Symbols, is_code};

mod advanced;
pub mod args;
mod exchange;

pub const SOURCE: &str = "coinbase";
/// Spot trades number apart from any other product's.
const TRADES: &str = "trade";

pub struct Coinbase {
    pub symbols: Arc<Symbols>,
}

impl Source for Coinbase {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let document = Document::new(payload.bytes);
        let mut reading = Reading { symbols: &self.symbols, payload, parsed: Parsed::default() };
        if let Value::Array(text) = document.value() {
            let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
            reading.parsed.problems.extend(faults);
            reading.history(text);
        } else if let Some(object) = whole_object(&document, &mut reading.parsed) {
            match (object.text("channel"), object.text("type")) {
                (Some(channel), _) => reading.advanced(&object, &channel),
                (None, Some(message_type)) => reading.exchange(&object, &message_type),
                (None, None) if object.text("message").is_some() => reading.error(&object),
                (None, None) if object.get("trade_id") != Field::Missing => reading.latest(&object),
                (None, None) => {
                    let detail = format!("a message without a type: {}", excerpt(document.text()));
                    reading.parsed.problems.push(Problem::rejected("missing_field", "type", detail));
                }
            }
        }
        reading.parsed
    }
}

/// Base and quote of a spot product, `BTC-USD`.
///
/// # Errors
/// A problem's code and detail when the product is a derivative, or not BASE-QUOTE at all.
pub fn base_and_quote(product: &str) -> Result<(&str, &str), (&'static str, String)> {
    match product.split('-').collect::<Vec<_>>()[..] {
        [_, "PERP"] | [_, "PERP", ..] | [.., "INTX"] | [_, _, "CDE", ..] => {
            Err(("derivative", format!("{} is a derivative and has no place among spot prices", excerpt(product))))
        }
        [base, quote] if is_code(base) && is_code(quote) => Ok((base, quote)),
        _ => Err(("unknown_product", format!("{} is not a BASE-QUOTE product", excerpt(product)))),
    }
}

/// How a trade is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Now,
    InATicker,
    /// As history: where it is without a time, that of receipt would be wrong by as much as it is old.
    Afterwards,
}

/// One payload as it is read.
struct Reading<'p> {
    symbols: &'p Symbols,
    payload: &'p Payload<'p>,
    parsed: Parsed,
}

impl<'p> Reading<'p> {
    /// Base and quote of a product; names what is no spot product.
    fn pair(&mut self, product: &str, path: &str) -> Option<Cow<'p, Pair>> {
        if let Some(pair) = self.symbols.pair(SOURCE, product) {
            return Some(Cow::Borrowed(pair));
        }
        match base_and_quote(product) {
            Ok((base, quote)) => Some(Cow::Owned(Pair::new(base, quote))),
            Err((code, detail)) => {
                let path = if path.is_empty() { "product_id".to_owned() } else { format!("{path}.product_id") };
                self.parsed.problems.push(Problem::rejected(code, path, detail));
                None
            }
        }
    }

    /// A product's name and its base and quote.
    fn product<'a>(&mut self, object: &Object<'a>, path: &str) -> Option<(Cow<'a, str>, Cow<'p, Pair>)> {
        let product = Row { object, path, problems: &mut self.parsed.problems }.text("product_id")?;
        let pair = self.pair(&product, path)?;
        Some((product, pair))
    }

    /// A trade of `product`, from any of the three; `None` when there is none.
    fn trade(
        &mut self,
        object: &Object<'_>,
        path: &str,
        product: &str,
        pair: &Pair,
        told: Told,
    ) -> Option<&mut PriceTick> {
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        // Read all three before giving up, so that each one that is wrong is named.
        let trade_id = row.whole_number("trade_id");
        let price = row.price("price", Form::Text);
        let time = match told {
            Told::Now | Told::InATicker => timestamp_or_received(&mut row, "time"),
            Told::Afterwards => row.timestamp("time").map(EventTime::Source),
        };
        let ((_, trade_id), price, time) = (trade_id?, price?, time?);
        let size = if told == Told::InATicker { "last_size" } else { "size" };
        let quantity = row.auxiliary(size, Form::Text, Range::NotNegative);
        let identity = Identity { source: SOURCE, id_space: TRADES, source_symbol: product, source_key: &trade_id };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            quantity,
            trade_id: Some(trade_id.to_string()),
            ..tick(identity, pair, Kind::Trade, price.value, time, self.payload)
        });
        self.parsed.ticks.last_mut()
    }

    /// What was subscribed to, as the source says it; what was asked for and is not there will never come. A feed tells of
    /// all its channels again at each message of ours, so that a channel which is not there at all may only be the next.
    fn subscribed(&mut self, channels: &[(Cow<'_, str>, Vec<Cow<'_, str>>)]) {
        self.parsed.answered = true;
        let asked = Asked::read(self.payload.request);
        for (channel, product) in &asked.products {
            let is_in = match channels.iter().find(|(name, _)| name == channel) {
                Some((_, products)) => products.iter().any(|other| other == product),
                None => asked.messages > 1,
            };
            if !is_in {
                let detail = format!("asked for {channel} of {product}, and the subscription is without them");
                self.parsed.problems.push(Problem::rejected("not_answered", product.as_str(), detail));
            }
        }
    }

    /// `{"type":"error","message","reason"}`, or a REST body with a message only.
    fn error(&mut self, object: &Object<'_>) {
        let said: Vec<Cow<'_, str>> = ["message", "reason"].into_iter().filter_map(|name| object.text(name)).collect();
        let detail = said.iter().map(|text| excerpt(text)).collect::<Vec<_>>().join(" ");
        let detail = if detail.is_empty() { "an error without words".to_owned() } else { detail };
        self.parsed.problems.push(Problem::rejected("error_answer", "", detail.as_str()));
        self.parsed.refusal = Some(refusal(&said.join(" ").to_ascii_lowercase(), detail));
    }
}

/// What an error's words ask for. Words that are not known are tried again: a feed that comes back by itself is worth more
/// than a source that stands still because of a sentence.
fn refusal(said: &str, detail: String) -> Refusal {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["rate limit", "ratelimit", "too many", "throttle"]) {
        Refusal::RateLimited(detail)
    } else if says(&["internal", "unavailable", "timeout", "timed out", "slow", "try again", "maintenance"]) {
        Refusal::Retry(detail)
    } else if says(&[
        "failed to subscribe",
        "authentic",
        "not a valid",
        "invalid",
        "malformed",
        "unauthorized",
        "forbidden",
        "notfound",
        "not found",
        "no such",
        "must ",
        "missing",
        "unsupported",
        "permission",
    ]) {
        Refusal::Configuration(detail)
    } else {
        Refusal::Retry(detail)
    }
}

/// What was asked for after connecting.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    messages: usize,
    /// A channel and a product each; heartbeats are none of them.
    products: Vec<(String, String)>,
}

impl Asked {
    /// Of what was sent, a message a line; nothing when it is not known.
    fn read(request: &str) -> Self {
        let mut asked = Self::default();
        for line in request.lines() {
            let Value::Object(text) = Value::of(line.trim_ascii()) else { continue };
            let message = Object::parse(text);
            if message.text("type").as_deref() != Some("subscribe") {
                continue;
            }
            asked.messages += 1;
            let common = texts(&message, "product_ids");
            for channel in message.text("channel").map(Value::Text).into_iter().chain(values(&message, "channels")) {
                match channel {
                    Value::Text(name) => asked.add(&name, &common),
                    Value::Object(text) => {
                        let channel = Object::parse(text);
                        let own = texts(&channel, "product_ids");
                        asked.add(
                            &channel.text("name").unwrap_or_default(),
                            if own.is_empty() { &common } else { &own },
                        );
                    }
                    _ => {}
                }
            }
        }
        asked
    }

    fn add(&mut self, channel: &str, products: &[Cow<'_, str>]) {
        if !matches!(channel, "heartbeat" | "heartbeats") {
            self.products.extend(products.iter().map(|product| (channel.to_owned(), product.clone().into_owned())));
        }
    }
}

/// The elements of an array; none when it is not there.
fn values<'a>(object: &Object<'a>, field: &str) -> Vec<Value<'a>> {
    match object.get(field) {
        Field::One(Value::Array(text)) => elements(text).0,
        _ => Vec::new(),
    }
}

fn texts<'a>(object: &Object<'a>, field: &str) -> Vec<Cow<'a, str>> {
    values(object, field).into_iter().filter_map(Value::into_text).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
