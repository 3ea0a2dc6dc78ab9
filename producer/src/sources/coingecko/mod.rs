//! CoinGecko: reference prices by poll (`simple/price`, `coins/markets`) and their history (`coins/{id}/market_chart`). Each
//! price that goes out has the digits of the answer; what was asked and not answered is named. Must never happen here: a coin
//! guessed from its symbol, or a currency from anything but the request.
//!
//! Traps:
//! - An unknown id is answered with 200 and `{}` or `[]`, or left out beside the others.
//! - A space in `ids` or `vs_currencies` silently drops coins or currencies, so none is sent.
//! - Ids are names, not symbols: `link` is not Chainlink. An id that is not in the table of symbols is an `unknown_id`.
//! - `status` is the id of a coin, too: it is an error only with an `error_code` in it.
//! - A throttle may come as 200 with `{"status":{"error_code":429}}`; other errors are `{"error":"…"}`.
//! - `last_updated_at` is in seconds, one for all currencies of a coin, and may be absent: then the time of receipt is the
//!   event's time and part of its identity, and the tick says so.
//! - `coins/markets` and `market_chart` do not say what currency their prices are in, nor the latter of which coin: it stands
//!   in the request only. Without it nothing is read, and the problem is `unknown_request`.
//! - `usd_24h_vol` and `total_volume` count dollars, not coins; a market cap of 0 means unknown.
//! - The last point of a `market_chart` may be older than the one before it and repeat its price: `repeated_point`.
//! - Small prices come as `5.617e-05`; one with more than 18 digits after the point is named and left out, not rounded.

mod args;
mod asked;
mod market_chart;
mod markets;
mod refusal;
mod simple_price;

use std::borrow::Cow;
use std::sync::Arc;

use pipeline::events::{Kind, PriceTick};

use super::{Parsed, Source};
use crate::parse::json::{Document, Field, Object, Value};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::Price;
use crate::parse::tick::{EventTime, Identity, tick};
use crate::symbols::{Pair, Symbols};
use asked::{Asked, Endpoint};

pub use args::CoingeckoArgs;

pub const SOURCE: &str = "coingecko";
/// A longer list is none of this source's: `markets` has 250 rows a page, the longest chart some thousands of points.
const MOST_ROWS: usize = 10_000;

pub struct Coingecko {
    pub symbols: Arc<Symbols>,
}

impl Source for Coingecko {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn is_history(&self, request: &str) -> bool {
        request.contains("/market_chart")
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let asked = Asked::of(payload.request);
        let mut parsed = Parsed::default();
        let document = Document::new(payload.bytes);
        let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
        parsed.problems.extend(faults);
        match document.value() {
            Value::Object(text) => self.read_object(&Object::parse(text), &asked, payload, &mut parsed),
            Value::Array(text) => self.read_markets(text, &asked, payload, &mut parsed),
            Value::Broken("") => parsed.problems.push(Problem::rejected("not_json", "", "an empty body")),
            Value::Broken(text) => {
                parsed.problems.push(Problem::rejected("not_json", "", format!("not JSON: {}", excerpt(text))));
            }
            other => parsed.problems.push(unsupported(&format!("{} is no answer of prices", other.kind()))),
        }
        parsed.answered = !parsed.ticks.is_empty();
        parsed
    }
}

impl Coingecko {
    fn read_object(&self, object: &Object<'_>, asked: &Asked, payload: &Payload<'_>, parsed: &mut Parsed) {
        if let Some(broken) = &object.broken {
            parsed.problems.push(Problem::rejected("not_json", "", format!("the answer breaks off: {broken}")));
        }
        if let Some(refusal) = refusal::of(object) {
            parsed.problems.push(Problem::rejected("error_answer", "", refusal.detail()));
            parsed.refusal = Some(refusal);
        }
        let refused = parsed.refusal.is_some();
        if let Some(points) = market_chart::points(object, "prices") {
            self.read_market_chart(object, points, asked, payload, parsed);
        } else if refused && asked.ids.is_empty() {
            // An error's other fields are no coins.
        } else if object.is_empty() && object.broken.is_none() {
            let detail = "the answer is {}: nothing that was asked for is known";
            parsed.problems.push(Problem::rejected("empty_answer", "", detail));
            asked.name_missing(|_| false, &mut parsed.problems);
        } else if asked.endpoint == Endpoint::SimplePrice || asked.endpoint == Endpoint::Unknown && !is_one_coin(object)
        {
            self.read_simple_price(object, asked, payload, parsed);
        } else if !refused && object.broken.is_none() {
            parsed.problems.push(unsupported("an object that is neither of simple/price nor of market_chart"));
        }
    }

    /// A reference price with its identity; the caller adds what else its endpoint tells.
    fn reference(&self, quote: &Quote<'_>, payload: &Payload<'_>) -> PriceTick {
        let Quote { id_space, id, base, currency, price, time } = quote;
        let source_symbol = format!("{id}/{currency}");
        let (source_key, time) = match time {
            Some((micros, text)) => (format!("{text}|{}", price.text), EventTime::Source(*micros)),
            None => (format!("received={}|{}", payload.received_at, price.text), EventTime::Received),
        };
        let identity = Identity { source: SOURCE, id_space, source_symbol: &source_symbol, source_key: &source_key };
        let known = self.symbols.pair(SOURCE, &source_symbol).map(Cow::Borrowed);
        let pair = known.unwrap_or_else(|| Cow::Owned(Pair::new(*base, currency.to_ascii_uppercase())));
        tick(identity, &pair, Kind::Reference, price.value, time, payload)
    }
}

/// One coin's price in one currency.
struct Quote<'a> {
    /// Keeps the endpoints' identities apart.
    id_space: &'static str,
    id: &'a str,
    base: &'a str,
    /// In lower case, as the source writes it.
    currency: &'a str,
    price: &'a Price<'a>,
    /// The source's time, micros UTC, and its text.
    time: Option<(i64, &'a str)>,
}

/// `/coins/{id}` and its like: the coin's own fields instead of coins.
fn is_one_coin(object: &Object<'_>) -> bool {
    matches!(object.get("id"), Field::One(Value::Text(_)))
}

fn unsupported(detail: &str) -> Problem {
    Problem::rejected(
        "unsupported_shape",
        "",
        format!("{detail}; simple/price, coins/markets and market_chart are read"),
    )
}

/// One place more than [`MOST_ROWS`] was met; says where and how many there are.
fn too_long(path: &str, rows: usize) -> Problem {
    Problem::rejected("too_long", path, format!("{rows} rows; the first {MOST_ROWS} are read"))
}

/// Ids that are not in the table or were not asked for: the first of them by name, the rest as a number.
fn name_strangers(strangers: &[String], problems: &mut Vec<Problem>) {
    const NAMED: usize = 20;
    for id in strangers.iter().take(NAMED) {
        let id = excerpt(id);
        let detail = format!("the id {id} is not in the table of symbols, or it was not asked for");
        problems.push(Problem::rejected("unknown_id", id.trim_matches('"'), detail));
    }
    if strangers.len() > NAMED {
        problems.push(Problem::rejected("unknown_id", "", format!("and {} more ids", strangers.len() - NAMED)));
    }
}

#[cfg(test)]
#[path = "coingecko_tests.rs"]
mod tests;
