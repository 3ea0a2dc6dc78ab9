//! Binance, spot: frames of its streams, raw or in the envelope of a combined stream. Traps: keys differ only in case (`e`
//! is the event and `E` its time, `b` a bid and `B` its size), so they are read exactly as they stand; `bookTicker` has
//! neither event nor time; futures send the same events under the same symbols, and are told apart by what only they, or
//! only spot, put into a frame. Must never happen here: a futures price under a spot symbol, or one trade under two
//! identities. `trade` and `aggTrade` tell of the same trades in two ranges of numbers: one of them is read, not both.

use std::borrow::Cow;
use std::sync::Arc;

use pipeline::decimal::Decimal38;
use pipeline::events::{Kind, PriceTick};

use super::{Parsed, Source, Wish, epoch_or_received, whole_object};
use crate::parse::json::{Document, Field, Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Price, Range, Row, Unit};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::symbols::{Pair, Symbols};

mod args;
mod refusal;
mod rest;

pub use args::{BinanceArgs, Channel};

pub const SOURCE: &str = "binance";
/// How many problems of one array are told one by one.
const NAMED: usize = 1_000;
/// What only futures put into an event, whichever it is.
const FUTURES_FIELDS: [&str; 3] = ["ps", "pm", "st"];
/// Where futures and options are asked for.
const FUTURES_REQUESTS: [&str; 5] = ["/fapi/", "/dapi/", "/eapi/", "fstream.", "dstream."];

pub struct Binance {
    pub symbols: Arc<Symbols>,
}

impl Source for Binance {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let document = Document::new(payload.bytes);
        let mut reading = Reading {
            symbols: &self.symbols,
            payload,
            futures: FUTURES_REQUESTS.iter().any(|futures| payload.request.contains(futures)),
            parsed: Parsed::default(),
        };
        if let Value::Array(text) = document.value() {
            let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
            reading.parsed.problems.extend(faults);
            reading.rows(text, "");
        } else if let Some(object) = whole_object(&document, &mut reading.parsed) {
            reading.frame(&object);
        }
        reading.parsed
    }
}

/// One payload as it is read.
struct Reading<'p> {
    symbols: &'p Symbols,
    payload: &'p Payload<'p>,
    /// What was asked for is no spot price.
    futures: bool,
    parsed: Parsed,
}

/// Where a kind of trade has what.
struct TradeShape {
    id_space: &'static str,
    id: &'static str,
    price: &'static str,
    quantity: &'static str,
    time: &'static str,
    /// Every spot trade has it, and no futures trade.
    spot_only: &'static str,
}

const TRADE: TradeShape =
    TradeShape { id_space: "trade", id: "t", price: "p", quantity: "q", time: "T", spot_only: "M" };
const AGGREGATE_TRADE: TradeShape =
    TradeShape { id_space: "aggTrade", id: "a", price: "p", quantity: "q", time: "T", spot_only: "M" };

/// Where a kind of summary has what.
struct TickerShape {
    id_space: &'static str,
    symbol: &'static str,
    time: &'static str,
    last: &'static str,
    bid: &'static str,
    ask: &'static str,
    volume: &'static str,
    quote_volume: &'static str,
    change: &'static str,
}

const TICKER: TickerShape = TickerShape {
    id_space: "24hrTicker",
    symbol: "s",
    time: "E",
    last: "c",
    bid: "b",
    ask: "a",
    volume: "v",
    quote_volume: "q",
    change: "P",
};
const MINI_TICKER: TickerShape = TickerShape { id_space: "24hrMiniTicker", ..TICKER };

impl Reading<'_> {
    /// An object that came by itself.
    fn frame(&mut self, object: &Object<'_>) {
        if object.get("stream") != Field::Missing {
            self.envelope(object);
        } else if object.get("e") != Field::Missing {
            self.event(object, "");
        } else if let Some(refusal) = refusal::read(object) {
            self.parsed.problems.push(Problem::rejected("error_answer", "", refusal.detail()));
            self.parsed.refusal = Some(refusal);
        } else if object.get("result") != Field::Missing {
            self.parsed.answered = true;
            if matches!(object.get("result"), Field::One(Value::Object(_))) {
                let detail = "an answer with a result of its own, as the WebSocket API gives it, is not read";
                self.parsed.problems.push(Problem::noted("unknown_type", "result", detail));
            }
        } else if is_book_ticker(object) {
            self.book_ticker(object, "");
        } else {
            self.row(object, "");
        }
    }

    /// `{"stream", "data"}`.
    fn envelope(&mut self, object: &Object<'_>) {
        let stream = object.text("stream").unwrap_or_default();
        if stream == "!serverShutdown" {
            return self.shutdown();
        }
        match object.get("data") {
            Field::One(Value::Object(text)) => {
                let data = Object::parse(text);
                if data.get("e") != Field::Missing {
                    self.event(&data, "data");
                } else if is_book_ticker(&data) {
                    self.book_ticker(&data, "data");
                } else {
                    let detail = format!("the stream {} is not read", excerpt(&stream));
                    self.parsed.problems.push(Problem::noted("unknown_type", "stream", detail));
                }
            }
            Field::One(Value::Array(text)) => self.rows(text, "data"),
            _ => {
                // Anything else is no event; the row says what it is instead.
                Row { object, path: "", problems: &mut self.parsed.problems }.object_below("data");
            }
        }
    }

    /// Every element of an array, and where it breaks off.
    fn rows(&mut self, text: &str, path: &str) {
        let (values, broken) = elements(text);
        if values.is_empty() && broken.is_none() {
            self.parsed.answered = true;
            self.parsed.problems.push(Problem::noted("empty_answer", path, "an answer without a row"));
        }
        let mut more = 0;
        for (at, value) in values.into_iter().enumerate() {
            let path = format!("{path}[{at}]");
            match value {
                Value::Object(text) => {
                    let object = Object::parse(text);
                    if object.get("e") == Field::Missing {
                        self.row(&object, &path);
                    } else {
                        self.event(&object, &path);
                    }
                }
                other => {
                    let detail = format!("expected an object, got {}", other.kind());
                    self.parsed.problems.push(Problem::rejected("unsupported_shape", path, detail));
                }
            }
            more += self.parsed.problems.len().saturating_sub(NAMED);
            self.parsed.problems.truncate(NAMED);
        }
        if more > 0 {
            let detail = format!("and {more} more problems");
            self.parsed.problems.push(Problem::rejected("unsupported_shape", path, detail));
        }
        if let Some(broken) = broken {
            let detail = format!("the answer breaks off: {broken}");
            self.parsed.problems.push(Problem::rejected("not_json", path, detail));
        }
    }

    /// An object that says by `e` what it is.
    fn event(&mut self, object: &Object<'_>, path: &str) {
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let Some(event) = row.text("e") else { return };
        match event.as_ref() {
            "trade" => self.trade(object, path, &TRADE, None),
            "aggTrade" => self.trade(object, path, &AGGREGATE_TRADE, None),
            "24hrTicker" if ["x", "b", "a"].iter().all(|field| object.get(field) == Field::Missing) => {
                self.derivative(path, "without bid, ask and previous close, which only a futures ticker is");
            }
            "24hrTicker" => self.ticker(object, path, &TICKER),
            "24hrMiniTicker" => self.ticker(object, path, &MINI_TICKER),
            "bookTicker" => self.derivative(path, "a bookTicker that says so in `e`, which only futures do"),
            "serverShutdown" => self.shutdown(),
            other => {
                let detail = format!("an event {} is not read", excerpt(other));
                let at = Row { object, path, problems: &mut self.parsed.problems }.at("e");
                self.parsed.problems.push(Problem::noted("unknown_type", at, detail));
            }
        }
    }

    fn shutdown(&mut self) {
        self.parsed.wish = Some(Wish::Reconnect("the server says that it is about to shut down".to_owned()));
    }

    fn derivative(&mut self, path: &str, why: &str) {
        let detail = format!("{why}: a derivative has no place among spot prices");
        self.parsed.problems.push(Problem::rejected("derivative", path, detail));
    }

    /// Whether what only futures send, or what was asked for, says that this is no spot price; it is named then.
    fn is_derivative(&mut self, object: &Object<'_>, path: &str) -> bool {
        if self.futures {
            self.derivative(path, "an answer to a request for futures or options");
            return true;
        }
        let Some(field) = FUTURES_FIELDS.iter().find(|field| object.get(field) != Field::Missing) else { return false };
        self.derivative(path, &format!("with {field:?}, which only futures have"));
        true
    }

    /// A trade; `asked` is its symbol where the row is without it.
    fn trade(&mut self, object: &Object<'_>, path: &str, shape: &TradeShape, asked: Option<&str>) {
        if self.is_derivative(object, path) {
            return;
        }
        if object.get(shape.spot_only) == Field::Missing {
            let why = format!("a trade without {:?}, which every spot trade has and no futures trade", shape.spot_only);
            return self.derivative(path, &why);
        }
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let symbol = asked.map_or_else(|| row.text("s"), |asked| Some(Cow::Borrowed(asked)));
        let field = if asked.is_some() { "symbol" } else { "s" };
        let pair = symbol.as_ref().and_then(|symbol| spot_pair(self.symbols, symbol, &mut row, field));
        // Read all of them before giving up, so that each one that is wrong is named.
        let id = row.whole_number(shape.id);
        let price = row.price(shape.price, Form::Text);
        let time = if asked.is_some() {
            // History: now would be wrong by as much as it is old.
            row.epoch(shape.time, unit_of(object, shape.time)).map(|(at, _)| EventTime::Source(at))
        } else {
            epoch_or_received(&mut row, shape.time, unit_of(object, shape.time))
        };
        let quantity = row.auxiliary(shape.quantity, Form::Text, Range::NotNegative);
        let (Some(symbol), Some(pair), Some((_, id)), Some(price), Some(time)) = (symbol, pair, id, price, time) else {
            return;
        };
        let identity = Identity { source: SOURCE, id_space: shape.id_space, source_symbol: &symbol, source_key: &id };
        self.parsed.answered = true;
        self.parsed.consecutive_trades = true;
        self.parsed.push(PriceTick {
            quantity,
            trade_id: Some(id.to_string()),
            ..tick(identity, &pair, Kind::Trade, price.value, time, self.payload)
        });
    }

    /// A summary of 24 hours with the last price.
    fn ticker(&mut self, object: &Object<'_>, path: &str, shape: &TickerShape) {
        if self.is_derivative(object, path) {
            return;
        }
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let symbol = row.text(shape.symbol);
        let pair = symbol.as_ref().and_then(|symbol| spot_pair(self.symbols, symbol, &mut row, shape.symbol));
        let last = row.price(shape.last, Form::Text);
        let (Some(symbol), Some(pair), Some(last)) = (symbol, pair, last) else { return };
        let time = row.told_time(shape.time, |row| row.epoch(shape.time, unit_of(object, shape.time)));
        let bid = row.auxiliary(shape.bid, Form::Text, Range::ZeroIsUnknown);
        let ask = row.auxiliary(shape.ask, Form::Text, Range::ZeroIsUnknown);
        let volume_24h = row.auxiliary(shape.volume, Form::Text, Range::NotNegative);
        let quote_volume_24h = row.auxiliary(shape.quote_volume, Form::Text, Range::NotNegative);
        let change_24h_pct = row.auxiliary(shape.change, Form::Text, Range::Any);
        let (time, key) = match time {
            Some((at, digits)) => (EventTime::Source(at), format!("{digits}|{}", last.text)),
            None => (EventTime::Received, format!("received={}|{}", self.payload.received_at, last.text)),
        };
        let identity = Identity { source: SOURCE, id_space: shape.id_space, source_symbol: &symbol, source_key: &key };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            bid,
            ask,
            volume_24h,
            quote_volume_24h,
            change_24h_pct,
            ..tick(identity, &pair, Kind::Ticker, last.value, time, self.payload)
        });
    }

    /// The best bid and ask. `u` numbers the updates of one symbol's book.
    fn book_ticker(&mut self, object: &Object<'_>, path: &str) {
        if self.is_derivative(object, path) {
            return;
        }
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let symbol = row.text("s");
        let pair = symbol.as_ref().and_then(|symbol| spot_pair(self.symbols, symbol, &mut row, "s"));
        let update = row.whole_number("u");
        let bid = row.price("b", Form::Text);
        let ask = row.price("a", Form::Text);
        let (Some(symbol), Some(pair), Some((update, key))) = (symbol, pair, update) else { return };
        let Some((mid, bid, ask)) = mid(bid, ask, &mut row, "a") else { return };
        let identity = Identity { source: SOURCE, id_space: "bookTicker", source_symbol: &symbol, source_key: &key };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            bid: Some(bid.value),
            ask: Some(ask.value),
            sequence: Some(update),
            ..tick(identity, &pair, Kind::Quote, mid, EventTime::Received, self.payload)
        });
    }
}

/// Times are in milliseconds, and in microseconds where those were asked for (`timeUnit=MICROSECOND`). The digits tell them
/// apart until the year 2286.
fn unit_of(object: &Object<'_>, field: &str) -> Unit {
    const MICROS_DIGITS: usize = 16;
    match object.get(field) {
        Field::One(Value::Number(digits)) if digits.len() == MICROS_DIGITS => Unit::Micros,
        Field::One(Value::Text(digits)) if digits.len() == MICROS_DIGITS => Unit::Micros,
        _ => Unit::Millis,
    }
}

/// The one stream that names neither itself nor a time. Books have a first and a last update (`U`, `lastUpdateId`).
fn is_book_ticker(object: &Object<'_>) -> bool {
    let has = |field| object.get(field) != Field::Missing;
    has("u") || (has("b") && has("a"))
}

/// Exactly between bid and ask.
fn mid<'a>(
    bid: Option<Price<'a>>,
    ask: Option<Price<'a>>,
    row: &mut Row<'_, '_>,
    field: &str,
) -> Option<(Decimal38, Price<'a>, Price<'a>)> {
    let (bid, ask) = (bid?, ask?);
    let Some(mid) = Decimal38::mid(bid.value, ask.value) else {
        let detail = format!("the middle of {} and {} has a 19th digit", excerpt(&bid.text), excerpt(&ask.text));
        row.reject("too_precise", field, detail);
        return None;
    };
    Some((mid, bid, ask))
}

/// Base and quote of a spot symbol; names what is none.
fn spot_pair<'s>(symbols: &'s Symbols, symbol: &str, row: &mut Row<'_, '_>, field: &str) -> Option<Cow<'s, Pair>> {
    if let Some(pair) = symbols.pair(SOURCE, symbol) {
        return Some(Cow::Borrowed(pair));
    }
    let dated_or_option = symbol.contains('_') || symbol.ends_with("-C") || symbol.ends_with("-P");
    let (code, detail) = if dated_or_option || symbol.ends_with("PERP") {
        ("derivative", format!("{} is a derivative and has no place among spot prices", excerpt(symbol)))
    } else if let (false, Some(pair)) = (symbol.bytes().any(|byte| byte.is_ascii_lowercase()), symbols.split(symbol)) {
        return Some(Cow::Owned(pair));
    } else {
        ("unknown_product", format!("{} ends with no quote asset that is known", excerpt(symbol)))
    };
    row.reject(code, field, detail);
    None
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
