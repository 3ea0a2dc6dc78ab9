//! AwesomeAPI: exchange rates and a few coins by poll (`/json/last/USD-BRL,BTC-BRL`, `/json/all`, `/json/USD-BRL`) and their
//! history (`/json/daily/USD-BRL/10`). The price is the exact mid of bid and ask. Must never happen here: a price a thousand
//! times off, or the tourism dollar as Tether or as the dollar of the banks.
//!
//! Traps:
//! - `"bid":"108.079"` is 108,079 reais for a bitcoin and 5.123 for a dollar is 5.123: the thousands module decides, by what
//!   stands in the row; where that does not tell, the row is refused as `ambiguous_number`.
//! - `/json/all` files the tourism dollar under `USDT`. It is `USD-BRLT`, by its `code` and `codein`; where they say less, by
//!   that key and by the `Turismo` in its name. A `USDT` that does not say so is an `unknown_product`.
//! - `/json/{pair}` answers an array of one, `/json/last/{pair}` an object. In a longer array, newest first, only the first row
//!   has `code` and `codein`: the others inherit them.
//! - `timestamp` is in seconds UTC (in 2016 in milliseconds). `create_date` is the local time of a batch and is not read.
//! - A pair may be hours old beside a fresh one, and a bid below the day's low: both are kept as they come.
//! - An ask may be many times the bid, in a row that nobody mends: `wide_spread` notes it. One far below its bid cannot be, nor
//!   one far from it between currencies: it refuses the row.
//! - Unknown pairs are 404 `CoinNotExists`, for the whole answer; a spent quota is 409 or 429.

mod args;
mod thousands;

use std::borrow::Cow;
use std::sync::Arc;

use pipeline::decimal::Decimal38;
use pipeline::events::{Kind, PriceTick};

use super::{Parsed, Refusal, Source};
use crate::parse::json::{Document, Field, Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Effect, Problem, excerpt};
use crate::parse::row::{Form, Range, Row, Unit, unreadable};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::symbols::{Pair, Symbols, is_code};
use thousands::{Told, Written};

pub use args::AwesomeapiArgs;

pub const SOURCE: &str = "awesomeapi";
/// One for all endpoints: a quote of the history is the event that a poll would have read.
const ID_SPACE: &str = "last";
/// The source has some hundred pairs and tells a year of days.
const MOST_ROWS: usize = 2_000;
/// What the source quotes that is no currency: its rates are references, not exchange rates.
const COINS: [&str; 16] = [
    "ADA", "AVAX", "BCH", "BNB", "BTC", "DOGE", "DOT", "ETH", "LINK", "LTC", "SOL", "TRX", "USDC", "USDT", "XLM", "XRP",
];

pub struct Awesomeapi {
    pub symbols: Arc<Symbols>,
}

impl Source for Awesomeapi {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn is_history(&self, request: &str) -> bool {
        Asked::of(request).daily
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let document = Document::new(payload.bytes);
        let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
        let parsed = Parsed { problems: faults.collect(), ..Parsed::default() };
        let mut answer =
            Answer { symbols: &self.symbols, payload, asked: Asked::of(payload.request), seen: Vec::new(), parsed };
        match document.value() {
            Value::Object(text) => answer.read_object(&Object::parse(text)),
            Value::Array(text) => answer.read_array(text),
            Value::Broken("") => answer.reject("not_json", "", "an empty body"),
            Value::Broken(text) => answer.reject("not_json", "", format!("not JSON: {}", excerpt(text))),
            other => answer.reject("unsupported_shape", "", format!("{} is no answer of rates", other.kind())),
        }
        answer.parsed.answered = !answer.parsed.ticks.is_empty();
        answer.parsed
    }
}

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked<'a> {
    /// None when it is not known, or when all was asked for.
    pairs: Vec<&'a str>,
    daily: bool,
}

impl<'a> Asked<'a> {
    /// From a path such as `/json/last/USD-BRL,BTC-BRL`.
    fn of(request: &'a str) -> Self {
        let path = request.split_once("://").map_or(request, |(_, rest)| rest);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let pairs_in = |segment: &'a str| -> Option<Vec<&'a str>> {
            let is_pair = |name: &str| name.parse::<Pair>().is_ok();
            let names: Vec<&str> = segment.split("%2C").flat_map(|part| part.split(',')).collect();
            names.iter().all(|name| is_pair(name)).then_some(names)
        };
        let pairs = path.split('/').find_map(pairs_in).unwrap_or_default();
        Self { pairs, daily: path.split('/').any(|segment| segment == "daily") }
    }
}

/// Whose rate a row is, in the source's words.
#[derive(Clone, Debug)]
struct Named<'a> {
    code: Cow<'a, str>,
    codein: Cow<'a, str>,
    name: Cow<'a, str>,
}

/// One answer while it is read.
struct Answer<'p> {
    symbols: &'p Symbols,
    payload: &'p Payload<'p>,
    asked: Asked<'p>,
    /// What there was a row for, be it a good one, in the source's words.
    seen: Vec<String>,
    parsed: Parsed,
}

/// Where a row stands and what that says of it.
struct Place<'a> {
    path: &'a str,
    /// The name of the object that it is; empty in an array.
    key: &'a str,
    /// Of older days or moments, so that the time of receipt cannot stand in for its own.
    history: bool,
}

impl<'p> Answer<'p> {
    fn reject(&mut self, code: &'static str, path: &str, detail: impl Into<String>) {
        self.parsed.problems.push(Problem::rejected(code, path, detail));
    }

    fn read_object(&mut self, object: &Object<'_>) {
        if let Some(broken) = &object.broken {
            self.reject("not_json", "", format!("the answer breaks off: {broken}"));
        }
        if let Some(refusal) = refusal(object) {
            self.reject("error_answer", "", refusal.detail());
            self.parsed.refusal = Some(refusal);
            return;
        }
        if object.is_empty() && object.broken.is_none() {
            self.reject("empty_answer", "", "the answer is {}: nothing that was asked for is known");
        } else if object.get("bid") != Field::Missing {
            let place = Place { path: "", key: "", history: self.asked.daily };
            self.read_row(object, &place, None);
        } else if object.len() > MOST_ROWS {
            self.reject("too_long", "", format!("{} fields are more than the source has pairs", object.len()));
        } else {
            let keys: Vec<&str> = object.names().collect();
            for key in keys {
                self.read_pair(object, key);
            }
        }
        self.name_missing();
    }

    fn read_pair(&mut self, answer: &Object<'_>, key: &str) {
        let path = excerpt(key);
        let path = path.trim_matches('"');
        self.seen.push(key.to_owned());
        match answer.get(key) {
            Field::One(Value::Object(text)) => {
                let place = Place { path, key, history: false };
                self.read_row(&Object::parse(text), &place, None);
            }
            Field::One(Value::Null) => self.reject("null_field", path, "null instead of a rate"),
            Field::One(other) => self.reject("wrong_type", path, format!("expected a rate, got {}", other.kind())),
            Field::Ambiguous | Field::Missing => {
                self.reject("duplicate_key", path, "the pair stands there twice with different rates");
            }
        }
    }

    fn read_array(&mut self, text: &str) {
        let (rows, broken) = elements(text);
        if let Some(broken) = &broken {
            self.reject("not_json", "", format!("the answer breaks off: {broken}"));
        } else if rows.is_empty() {
            self.reject("empty_answer", "", "the answer is []: nothing that was asked for is known");
        }
        if rows.len() > MOST_ROWS {
            self.reject("too_long", "", format!("{} rows; the first {MOST_ROWS} are read", rows.len()));
        }
        let mut above: Option<Named<'_>> = match self.asked.pairs[..] {
            [pair] => pair.split_once('-').map(|(code, codein)| Named {
                code: Cow::Borrowed(code),
                codein: Cow::Borrowed(codein),
                name: Cow::Borrowed(""),
            }),
            _ => None,
        };
        for (at, row) in rows.iter().take(MOST_ROWS).enumerate() {
            let path = format!("[{at}]");
            match row {
                Value::Object(text) => {
                    let history = at > 0 || self.asked.daily;
                    let place = Place { path: &path, key: "", history };
                    above = self.read_row(&Object::parse(text), &place, above);
                }
                other => self.reject("wrong_type", &path, format!("expected a rate, got {}", other.kind())),
            }
        }
        self.name_missing();
    }

    /// Reads one row; gives back whose rate it is, for the rows below it.
    fn read_row<'a>(&mut self, object: &Object<'a>, place: &Place<'_>, above: Option<Named<'a>>) -> Option<Named<'a>> {
        let mut row = Row { object, path: place.path, problems: &mut self.parsed.problems };
        if let Some(broken) = &object.broken {
            row.reject("not_json", "", format!("not an object: {broken}"));
            return above;
        }
        let inherits = row.is_absent("code") && row.is_absent("codein") && above.is_some();
        let named = if inherits { above } else { named(&mut row) };
        let bid = number(&mut row, "bid");
        let time = if place.history { required_time(&mut row) } else { told_time(&mut row) };
        let named = named?;
        let source_symbol = source_symbol(&named, place.key);
        self.seen.push(source_symbol.clone());
        let pair = match pair(&named, place.key, self.symbols) {
            Ok(pair) => pair,
            Err(detail) => {
                row.reject("unknown_product", "code", detail);
                return Some(named);
            }
        };
        self.seen.push(pair.symbol());
        let (Some(bid), Some(time)) = (bid, time) else { return Some(named) };
        let Some(quote) = quote(&mut row, bid, &pair) else { return Some(named) };
        let change_24h_pct = row.auxiliary("pctChange", Form::Text, Range::Any);
        let (time, time_text) = match time {
            Some((at, text)) => (EventTime::Source(at), text),
            None => (EventTime::Received, Cow::Owned(format!("received={}", self.payload.received_at))),
        };
        let source_key = format!("{time_text}|{}|{}", quote.bid_text, quote.ask_text);
        let identity =
            Identity { source: SOURCE, id_space: ID_SPACE, source_symbol: &source_symbol, source_key: &source_key };
        let is_coin = |code: &str| COINS.binary_search(&code).is_ok();
        let kind = if is_coin(&pair.base) || is_coin(&pair.quote) { Kind::Reference } else { Kind::Fx };
        self.parsed.push(PriceTick {
            bid: Some(quote.bid),
            ask: quote.ask,
            change_24h_pct,
            ..tick(identity, &pair, kind, quote.price, time, self.payload)
        });
        Some(named)
    }

    fn name_missing(&mut self) {
        for asked in &self.asked.pairs {
            let joined = asked.replace('-', "");
            if !self.seen.iter().any(|seen| seen == asked || *seen == joined) {
                let detail = format!("asked for {asked}, and the answer is without it");
                self.parsed.problems.push(Problem::rejected("not_answered", *asked, detail));
            }
        }
    }
}

fn named<'a>(row: &mut Row<'a, '_>) -> Option<Named<'a>> {
    // Both are read before giving up, so that each one that is wrong is named.
    let (code, codein) = (row.text("code"), row.text("codein"));
    Some(Named { code: code?, codein: codein?, name: row.object.text("name").unwrap_or_default() })
}

/// The pair in the source's words, for the event's identity.
fn source_symbol(named: &Named<'_>, key: &str) -> String {
    let code = if key == "USDT" && named.codein == "BRL" { "USDT" } else { &named.code };
    format!("{code}-{}", named.codein)
}

/// Whose rate it is; a reason when that is not known.
fn pair(named: &Named<'_>, key: &str, symbols: &Symbols) -> Result<Pair, String> {
    let (code, codein) = (named.code.as_ref(), named.codein.as_ref());
    let name = named.name.to_lowercase();
    let said = || format!("{}-{} ({})", excerpt(code), excerpt(codein), excerpt(&named.name));
    let tether = name.contains("tether");
    let tourism = name.contains("turismo") || key == "USDT";
    if tether || code == "USDT" && !tourism {
        return Err(format!("{}: USDT is the tourism dollar here, and this does not say that it is", said()));
    }
    let base = if code == "USDT" { "USD" } else { code };
    if tourism && codein == "BRL" {
        return Ok(Pair::new(base, "BRLT"));
    }
    if let Some(pair) = symbols.pair(SOURCE, &format!("{base}-{codein}")) {
        return Ok(pair.clone());
    }
    if is_code(base) && is_code(codein) && base != codein {
        return Ok(Pair::new(base, codein));
    }
    Err(format!("{} is not a pair of currencies", said()))
}

/// A price field as it is written; a problem when it is none.
fn number<'a>(row: &mut Row<'a, '_>, field: &str) -> Option<(Written, Cow<'a, str>)> {
    let text = match row.object.get(field) {
        Field::One(Value::Text(text)) => text,
        Field::One(Value::Number(digits)) => {
            let detail = format!("a number where a string is documented; its digits are taken: {}", excerpt(digits));
            let problem = Problem::noted("unexpected_form", row.at(field), detail);
            row.problems.push(problem);
            Cow::Borrowed(digits)
        }
        Field::Missing => {
            row.reject("missing_field", field, "the field is not there");
            return None;
        }
        Field::One(Value::Null) => {
            row.reject("null_field", field, "null");
            return None;
        }
        Field::Ambiguous => {
            row.reject("duplicate_key", field, "the key stands there twice with different values");
            return None;
        }
        Field::One(other) => {
            row.reject("wrong_type", field, format!("expected a number, got {}", other.kind()));
            return None;
        }
    };
    match thousands::read(&text) {
        Ok(Written::Plain(value) | Written::Either(value)) if value.is_zero() || value.is_negative() => {
            row.reject("not_positive", field, format!("a price of {}", excerpt(&text)));
            None
        }
        Ok(written) => Some((written, text)),
        Err(error) => {
            let (code, detail) = unreadable(&error, &text);
            row.reject(code, field, detail);
            None
        }
    }
}

/// A row's prices.
struct Quote<'a> {
    price: Decimal38,
    bid: Decimal38,
    ask: Option<Decimal38>,
    bid_text: Cow<'a, str>,
    ask_text: Cow<'a, str>,
}

/// The mid of bid and ask, or the bid where there is no ask; `None` with a problem where the bid cannot be told.
fn quote<'a>(row: &mut Row<'a, '_>, (bid, bid_text): (Written, Cow<'a, str>), pair: &Pair) -> Option<Quote<'a>> {
    let before = row.problems.len();
    let asked = number(row, "ask");
    if asked.is_none() {
        row.problems[before..].iter_mut().for_each(|problem| problem.effect = Effect::Nulled);
    }
    let object = row.object;
    let text = |field: &str| match object.get(field) {
        Field::One(Value::Text(text)) => Some(text),
        Field::One(Value::Number(digits)) => Some(Cow::Borrowed(digits)),
        _ => None,
    };
    let (var_bid, pct_change) = (text("varBid"), text("pctChange"));
    let beside = |field: &str| text(field).and_then(|text| thousands::read(&text).ok());
    let told = Told {
        var_bid: var_bid.as_deref(),
        pct_change: pct_change.as_deref(),
        ask: asked.as_ref().map(|(ask, _)| *ask),
        high: beside("high"),
        low: beside("low"),
    };
    let bid = match thousands::bid(bid, &told, &pair.base, &pair.quote) {
        Ok(bid) => bid,
        Err(why) => {
            row.reject("ambiguous_number", "bid", why);
            return None;
        }
    };
    let ask_text = text("ask").unwrap_or_default();
    let close = thousands::are_close(&pair.base, &pair.quote);
    if let Some((_, text)) = asked.as_ref().filter(|(ask, _)| close && thousands::ask(*ask, bid).is_none()) {
        row.reject(
            "wide_spread",
            "ask",
            format!("an ask of {} beside a bid of {bid}: one of them is wrong", excerpt(text)),
        );
        return None;
    }
    let ask = asked.and_then(|(ask, text)| {
        let read = thousands::ask(ask, bid);
        if read.is_none() {
            let detail = format!("{} is far from a bid of {bid}, as written and in thousands", excerpt(&text));
            let problem = Problem::nulled("ambiguous_number", row.at("ask"), detail);
            row.problems.push(problem);
        }
        read
    });
    let Some(asked) = ask else { return Some(Quote { price: bid, bid, ask, bid_text, ask_text }) };
    if thousands::are_worlds_apart(asked, bid) {
        row.reject(
            "ambiguous_number",
            "ask",
            format!("an ask of {asked} beside a bid of {bid}: one is in another unit"),
        );
        return None;
    }
    if !thousands::is_near(asked, bid) && (asked < bid || close) {
        row.reject("wide_spread", "ask", format!("an ask of {asked} beside a bid of {bid}: one of them is wrong"));
        return None;
    }
    if !thousands::is_near(asked, bid) {
        let detail = format!("an ask of {asked} beside a bid of {bid}");
        let problem = Problem::noted("wide_spread", row.at("ask"), detail);
        row.problems.push(problem);
    }
    let Some(price) = Decimal38::mid(bid, asked) else {
        row.reject("too_precise", "ask", format!("the mid of {bid} and {asked} has a 19th digit after the point"));
        return None;
    };
    Some(Quote { price, bid, ask, bid_text, ask_text })
}

/// A time in micros UTC and its digits, where there is one.
type Time<'a> = Option<(i64, Cow<'a, str>)>;

fn told_time<'a>(row: &mut Row<'a, '_>) -> Option<Time<'a>> {
    Some(row.told_time("timestamp", time))
}

fn required_time<'a>(row: &mut Row<'a, '_>) -> Option<Time<'a>> {
    time(row).map(Some)
}

fn time<'a>(row: &mut Row<'a, '_>) -> Option<(i64, Cow<'a, str>)> {
    const MILLIS_DIGITS: usize = 13;
    let unit = match row.object.get("timestamp") {
        Field::One(Value::Text(digits)) if digits.len() == MILLIS_DIGITS => Unit::Millis,
        Field::One(Value::Number(digits)) if digits.len() == MILLIS_DIGITS => Unit::Millis,
        _ => Unit::Seconds,
    };
    row.epoch("timestamp", unit)
}

/// What the source says when it does not serve: `{"status":404,"code":"CoinNotExists","message":"…"}`.
fn refusal(object: &Object<'_>) -> Option<Refusal> {
    let text = |name: &str| match object.get(name) {
        Field::One(Value::Text(text)) => Some(text),
        Field::One(Value::Number(digits)) => Some(Cow::Borrowed(digits)),
        _ => None,
    };
    let (status, code) = (text("status"), text("code"));
    let message = text("message").or_else(|| text("error"));
    if object.get("bid") != Field::Missing || (status.is_none() && message.is_none()) {
        return None;
    }
    let shown = |text: &Option<Cow<'_, str>>| {
        text.as_ref().map_or_else(String::new, |text| excerpt(text).trim_matches('"').to_owned())
    };
    let detail = [shown(&status), shown(&code), shown(&message)];
    let detail = detail.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ");
    let detail = if detail.is_empty() { "an error without words".to_owned() } else { detail };
    let lower = detail.to_lowercase();
    Some(match status.as_deref() {
        Some("409" | "429") => Refusal::RateLimited(detail),
        _ if lower.contains("quota") || lower.contains("limit") => Refusal::RateLimited(detail),
        Some("400" | "401" | "403" | "404") => Refusal::Configuration(detail),
        _ if lower.contains("coinnotexists") => Refusal::Configuration(detail),
        _ => Refusal::Retry(detail),
    })
}

#[cfg(test)]
#[path = "awesomeapi_tests.rs"]
mod tests;
