//! CoinMarketCap, `cryptocurrency/quotes/latest` in its versions: reference prices by poll, paid for in credits. Must never
//! happen here: a coin taken for another one that goes by the same letters, or a number of the sandbox for a price.
//!
//! Traps:
//! - By symbol v1 answers with an object and v2 with an array, since several coins share a symbol: the one that the table of
//!   symbols knows by its id is taken; where it knows none of them the best ranked active one is, and the others are named
//!   (`ambiguous_symbol`); where none is ranked, none is taken. By id both answer with an object an id; v3 has arrays.
//! - A coin that goes by the letters of another one in the table is an `unknown_id`, and an answer for a coin that is not the
//!   one asked for is an `other_coin`: so the sandbox, which answers 200 with made-up coins, gives no price of BTC.
//! - `status.error_code` must be read on 200, too; it may be a string, and `"0"` is no error.
//! - A quote may be newer than its coin: the quote's `last_updated` is the event's time.
//! - `volume_24h` counts dollars (or reais), not coins; a market cap of 0 means unknown; `self_reported_market_cap` is what a
//!   coin says of itself and is not read.
//! - `convert_id` names currencies by number: such quotes are not read (`unknown_product`).
//! - Prices come as `5.617e-05`; one with more than 18 digits after the point is named and left out, not rounded.

mod args;
mod asked;
mod coins;
mod status;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use pipeline::events::{Kind, PriceTick};

use super::{Parsed, Source};
use crate::parse::json::{Document, Field, Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Range, Row};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::symbols::{Pair, Symbols, is_code};
use asked::Asked;
use coins::Coin;

pub use args::CoinmarketcapArgs;

pub const SOURCE: &str = "coinmarketcap";
/// Keeps these identities apart from those of the source's other numbers.
const ID_SPACE: &str = "quotes";
/// A coin has one quote a currency that was asked for, and the dearest plan converts into 120.
const MOST_QUOTES: usize = 200;

pub struct Coinmarketcap {
    pub symbols: Arc<Symbols>,
}

impl Source for Coinmarketcap {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let asked = Asked::of(payload.request);
        let mut parsed = Parsed::default();
        let document = Document::new(payload.bytes);
        let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
        parsed.problems.extend(faults);
        match document.value() {
            Value::Object(text) => self.read_answer(&Object::parse(text), &asked, payload, &mut parsed),
            Value::Broken("") => parsed.problems.push(Problem::rejected("not_json", "", "an empty body")),
            Value::Broken(text) => {
                parsed.problems.push(Problem::rejected("not_json", "", format!("not JSON: {}", excerpt(text))));
            }
            other => {
                let detail = format!("{} instead of an object with status and data", other.kind());
                parsed.problems.push(Problem::rejected("unsupported_shape", "", detail));
            }
        }
        parsed.answered = !parsed.ticks.is_empty();
        parsed
    }
}

impl Coinmarketcap {
    fn read_answer(&self, answer: &Object<'_>, asked: &Asked, payload: &Payload<'_>, parsed: &mut Parsed) {
        if let Some(broken) = &answer.broken {
            parsed.problems.push(Problem::rejected("not_json", "", format!("the answer breaks off: {broken}")));
        }
        parsed.spent = status::credits(answer);
        if let Some(refusal) = status::refusal(answer) {
            parsed.problems.push(Problem::rejected("error_answer", "status", refusal.detail()));
            parsed.refusal = Some(refusal);
            return;
        }
        let data = match answer.get("data") {
            Field::Missing => answer.unfinished("data").map_or(Field::Missing, Field::One),
            found => found,
        };
        let mut rejected =
            |code, detail: &str| parsed.problems.push(Problem::rejected(code, "data", detail.to_owned()));
        let mut read = coins::Reader::new(asked);
        match data {
            Field::One(Value::Object(text)) => {
                let data = Object::parse(text);
                // A conversion's price is that of an amount, a history's is an old one.
                if ["quote", "quotes"].iter().any(|name| data.get(name) != Field::Missing) {
                    return rejected(
                        "unsupported_shape",
                        "one object with quotes in place of coins; quotes/latest is read",
                    );
                }
                read.by_key(&data);
            }
            Field::One(Value::Array(text)) => read.list("data", &elements(text).0),
            Field::One(Value::Null) => return rejected("null_field", "null instead of coins"),
            Field::One(other) => return rejected("wrong_type", &format!("expected coins, got {}", other.kind())),
            Field::Ambiguous => return rejected("duplicate_key", "the key stands there twice with different values"),
            // Where the answer breaks off before its data, that was said already.
            Field::Missing if answer.broken.is_some() => {}
            Field::Missing => return rejected("missing_field", "the answer is without data"),
        }
        if read.is_empty() && answer.broken.is_none() {
            parsed.problems.push(Problem::rejected("empty_answer", "data", "there is no coin in it"));
        }
        let chosen = read.choose(&self.symbols, &mut parsed.problems);
        for (coin, base) in &chosen {
            self.read_coin(coin, base, asked, payload, parsed);
        }
    }

    fn read_coin(&self, coin: &Coin<'_>, base: &str, asked: &Asked, payload: &Payload<'_>, parsed: &mut Parsed) {
        let before = parsed.problems.len();
        let quotes = quotes(coin, &mut parsed.problems);
        if quotes.is_empty() && parsed.problems.len() == before {
            let problem = Problem::rejected("empty_answer", format!("{}.quote", coin.path), "there is no quote in it");
            parsed.problems.push(problem);
        }
        for (currency, path, quote) in &quotes {
            if !asked.currencies.is_empty() && !asked.currencies.iter().any(|asked| asked == currency) {
                let detail = "a currency that was not asked for";
                parsed.problems.push(Problem::rejected("unknown_product", path.as_str(), detail));
            } else if is_code(currency) && !currency.bytes().all(|byte| byte.is_ascii_digit()) {
                self.read_quote(coin, (base, currency), (path, quote), payload, parsed);
            } else {
                let detail = format!("{} is not the code of a currency", excerpt(currency));
                parsed.problems.push(Problem::rejected("unknown_product", path.as_str(), detail));
            }
        }
        for currency in &asked.currencies {
            if !quotes.iter().any(|(answered, _, _)| answered == currency) {
                let detail = format!("asked for {currency}, and the coin is without a quote in it");
                parsed.problems.push(Problem::rejected("not_answered", format!("{}/{currency}", coin.id), detail));
            }
        }
    }

    fn read_quote(
        &self,
        coin: &Coin<'_>,
        (base, currency): (&str, &str),
        (path, quote): (&str, &Object<'_>),
        payload: &Payload<'_>,
        parsed: &mut Parsed,
    ) {
        let mut row = Row { object: quote, path, problems: &mut parsed.problems };
        let Some(price) = row.price("price", Form::Number) else { return };
        let quote_volume_24h = row.auxiliary("volume_24h", Form::Number, Range::NotNegative);
        let market_cap = row.auxiliary("market_cap", Form::Number, Range::ZeroIsUnknown);
        let change_24h_pct = row.auxiliary("percent_change_24h", Form::Number, Range::Any);
        let mut dated = if row.is_absent("last_updated") {
            Row { object: &coin.object, path: &coin.path, problems: row.problems }
        } else {
            row
        };
        let micros = dated.told_time("last_updated", |row| row.timestamp("last_updated"));
        let text = dated.object.text("last_updated").unwrap_or_default();
        let (source_key, time) = match micros {
            Some(micros) => (format!("{text}|{}", price.text), EventTime::Source(micros)),
            None => (format!("received={}|{}", payload.received_at, price.text), EventTime::Received),
        };
        let source_symbol = format!("{}/{currency}", coin.id);
        let identity =
            Identity { source: SOURCE, id_space: ID_SPACE, source_symbol: &source_symbol, source_key: &source_key };
        let known = self.symbols.pair(SOURCE, &source_symbol).map(Cow::Borrowed);
        let pair = known.unwrap_or_else(|| Cow::Owned(Pair::new(base, currency)));
        let reference = tick(identity, &pair, Kind::Reference, price.value, time, payload);
        parsed.push(PriceTick { quote_volume_24h, market_cap, change_24h_pct, ..reference });
    }
}

/// A coin's quotes: currency, path and fields. By currency in an object, or in v3 a list of them.
fn quotes<'a>(coin: &Coin<'a>, problems: &mut Vec<Problem>) -> Vec<(Cow<'a, str>, String, Object<'a>)> {
    let at = format!("{}.quote", coin.path);
    let mut found: Vec<(Cow<'a, str>, String, Object<'a>)> = Vec::new();
    let mut wrong = |code, path: String, detail: String| problems.push(Problem::rejected(code, path, detail));
    match coin.object.get("quote") {
        Field::One(Value::Object(text)) => {
            let by_currency = Object::parse(text);
            for currency in by_currency.names().take(MOST_QUOTES) {
                let path = format!("{at}.{currency}");
                match by_currency.get(currency) {
                    Field::One(Value::Object(text)) => {
                        found.push((Cow::Owned(currency.to_owned()), path, Object::parse(text)));
                    }
                    Field::One(Value::Null) => wrong("null_field", path, "null instead of a quote".to_owned()),
                    Field::One(other) => {
                        wrong("wrong_type", path, format!("expected a quote, got {}", other.kind()));
                    }
                    Field::Ambiguous | Field::Missing => {
                        wrong(
                            "duplicate_key",
                            path,
                            "the currency stands there twice with different quotes".to_owned(),
                        );
                    }
                }
            }
        }
        Field::One(Value::Array(text)) => {
            let mut twice = HashSet::new();
            for (index, quote) in elements(text).0.into_iter().take(MOST_QUOTES).enumerate() {
                let path = format!("{at}[{index}]");
                let Value::Object(text) = quote else {
                    wrong("wrong_type", path, format!("expected a quote, got {}", quote.kind()));
                    continue;
                };
                let quote = Object::parse(text);
                match quote.text("symbol") {
                    Some(currency) if found.iter().any(|(other, _, _)| *other == currency) => {
                        let detail = format!("a second quote in {}", excerpt(&currency));
                        wrong("duplicate_key", path, detail);
                        twice.insert(currency);
                    }
                    Some(currency) => found.push((currency, path, quote)),
                    None => wrong("missing_field", format!("{path}.symbol"), "a quote without its currency".to_owned()),
                }
            }
            // Neither is believed.
            found.retain(|(currency, _, _)| !twice.contains(currency));
        }
        Field::One(Value::Null) => wrong("null_field", at, "null instead of quotes".to_owned()),
        Field::One(other) => wrong("wrong_type", at, format!("expected quotes, got {}", other.kind())),
        Field::Missing => wrong("missing_field", at, "the coin is without quotes".to_owned()),
        Field::Ambiguous => wrong("duplicate_key", at, "the key stands there twice with different values".to_owned()),
    }
    found
}

#[cfg(test)]
#[path = "coinmarketcap_tests.rs"]
mod tests;
