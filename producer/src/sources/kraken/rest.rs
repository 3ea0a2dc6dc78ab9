//! Bodies of REST, `{"error":[],"result":{}}`: `Ticker` (`{"a":["105944.3",…],"b":…,"c":…,"v":["today","24 hours"]}`) and
//! `Trades` (`[price, volume, seconds, side, type, misc, trade_id]`). Traps: a ticker has no time; its volume stands there
//! twice, of today and of 24 hours; a trade's time is a number of seconds with a fraction, and older servers give no id.

use std::borrow::Cow;

use pipeline::decimal::Decimal38;
use pipeline::events::{Kind, PriceTick};

use super::{REST_TICKERS, Reading, SOURCE, TRADES, names, refusal};
use crate::parse::json::{Field, Object, Value, elements};
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{is_plausible, positive, unreadable};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::sources::in_order_of_ids;
use crate::symbols::Pair;

/// One market of an answer.
struct Market<'m> {
    /// What REST calls it.
    path: String,
    /// What the feed calls it.
    name: Cow<'m, str>,
    pair: Pair,
}

impl Reading<'_> {
    pub(super) fn rest(&mut self, body: &Object<'_>) {
        if let Some(broken) = &body.broken {
            let detail = format!("the answer breaks off: {broken}");
            self.parsed.problems.push(Problem::rejected("not_json", "", detail));
        }
        if let Field::One(Value::Array(errors)) = body.get("error") {
            let errors = elements(errors).0;
            self.parsed.refusal = refusal::of_rest(&errors);
            let problem = match &self.parsed.refusal {
                Some(refusal) => Some(Problem::rejected("error_answer", "error", refusal.detail())),
                None if errors.is_empty() => None,
                None => Some(Problem::noted("error_answer", "error", "warnings only")),
            };
            self.parsed.problems.extend(problem);
        }
        let result = match body.get("result") {
            Field::One(Value::Object(text)) => text,
            Field::Missing if let Some(Value::Object(text)) = body.unfinished("result") => text,
            Field::Missing if self.parsed.refusal.is_some() || body.broken.is_some() => return,
            Field::Missing => {
                let problem = Problem::rejected("missing_field", "result", "neither a result nor an error");
                return self.parsed.problems.push(problem);
            }
            Field::Ambiguous => {
                let detail = "the key stands there twice with different values";
                return self.parsed.problems.push(Problem::rejected("duplicate_key", "result", detail));
            }
            Field::One(other) => {
                let detail = format!("expected an object of markets, got {}", other.kind());
                return self.parsed.problems.push(Problem::rejected("unsupported_shape", "result", detail));
            }
        };
        let result = Object::parse(result);
        let mut told = Vec::new();
        for key in result.names().filter(|key| *key != "last") {
            told.extend(self.market_of_rest(key, result.get(key)));
        }
        if let Some((key, value)) = result.unfinished_field() {
            told.extend(self.market_of_rest(key, Field::One(value)));
        }
        if result.broken.is_none() && self.parsed.refusal.is_none() {
            self.name_unanswered(&told);
        }
    }

    /// What an answer says of one market. Gives its v2 name.
    fn market_of_rest(&mut self, key: &str, value: Field<'_>) -> Option<String> {
        let path = format!("result.{key}");
        let (code, detail) = match value {
            Field::One(Value::Object(_) | Value::Array(_)) => ("", String::new()),
            Field::Ambiguous => ("duplicate_key", "the market stands there twice with different values".to_owned()),
            Field::One(Value::Null) | Field::Missing => ("null_field", "null".to_owned()),
            Field::One(ref other) => ("unsupported_shape", format!("{} is neither a ticker nor trades", other.kind())),
        };
        if !code.is_empty() {
            self.parsed.problems.push(Problem::rejected(code, path, detail));
            return None;
        }
        let named = names::of_rest(self.symbols, key)
            .and_then(|name| Ok((names::pair(self.symbols, &name)?.into_owned(), name)));
        let (pair, name) = match named {
            Ok(named) => named,
            Err((code, detail)) => {
                self.parsed.problems.push(Problem::rejected(code, path, detail));
                return None;
            }
        };
        let market = Market { path, name, pair };
        match value {
            Field::One(Value::Object(text)) => self.rest_ticker(&Object::parse(text), &market),
            Field::One(Value::Array(text)) => self.rest_trades(text, &market),
            _ => {}
        }
        Some(market.name.into_owned())
    }

    fn rest_ticker(&mut self, object: &Object<'_>, market: &Market<'_>) {
        if object.broken.is_some() {
            // The body's break is told already, and half a row is none.
            return;
        }
        if object.get("c") == Field::Missing && object.get("a") == Field::Missing {
            let problem = Problem::rejected("unsupported_shape", market.path.as_str(), "an object that is no ticker");
            return self.parsed.problems.push(problem);
        }
        let text = |field, at| list(object, field).and_then(|list| text_at(&list, at));
        let (bid, ask, volume) = (text("b", 0), text("a", 0), text("v", 1));
        let last = match text("c", 0).and_then(positive) {
            Ok(last) => last,
            Err((code, detail)) => {
                let problem = Problem::rejected(code, format!("{}.c[0]", market.path), detail);
                return self.parsed.problems.push(problem);
            }
        };
        let raw = |text: &Result<Cow<'_, str>, _>| text.as_ref().map_or_else(|_| String::new(), ToString::to_string);
        let prices = format!("{}|{}|{}", last.text, raw(&bid), raw(&ask));
        let key = format!("received={}|{prices}", self.payload.received_at);
        let known = |price: Option<Decimal38>| price.filter(|price| !price.is_zero());
        let bid = known(self.auxiliary(bid, &market.path, ".b[0]"));
        let ask = known(self.auxiliary(ask, &market.path, ".a[0]"));
        let volume_24h = self.auxiliary(volume, &market.path, ".v[1]");
        let identity =
            Identity { source: SOURCE, id_space: REST_TICKERS, source_symbol: &market.name, source_key: &key };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            bid,
            ask,
            volume_24h,
            ..tick(identity, &market.pair, Kind::Ticker, last.value, EventTime::Received, self.payload)
        });
    }

    /// A number that may be missing; one that is wrong is left out and named.
    fn auxiliary(&mut self, text: Result<Cow<'_, str>, Wrong>, path: &str, field: &str) -> Option<Decimal38> {
        let read = text.and_then(|text| match Decimal38::parse(&text) {
            Ok(value) if value.is_negative() => Err(("negative", excerpt(&text))),
            Ok(value) => Ok(value),
            Err(error) => Err(unreadable(&error, &text)),
        });
        match read {
            Ok(value) => Some(value),
            Err(("missing_field" | "null_field", _)) => None,
            Err((code, detail)) => {
                let problem = Problem::nulled(code, format!("{path}{field}"), detail);
                self.parsed.problems.push(problem);
                None
            }
        }
    }

    fn rest_trades(&mut self, text: &str, market: &Market<'_>) {
        let (rows, _) = elements(text);
        self.parsed.consecutive_trades = true;
        self.parsed.answered |= rows.is_empty();
        self.parsed.ticks.reserve_exact(rows.len().min(64));
        for (at, row) in rows.into_iter().enumerate() {
            let path = format!("{}[{at}]", market.path);
            let Value::Array(text) = row else {
                let detail = format!("expected a trade, got {}", row.kind());
                self.parsed.problems.push(Problem::rejected("wrong_type", path, detail));
                continue;
            };
            let (cells, _) = elements(text);
            if cells.len() == 8 && matches!(cells[0], Value::Number(_)) {
                let problem = Problem::rejected("unsupported_shape", path, "candles, of the endpoint OHLC");
                self.parsed.problems.push(problem);
                break;
            }
            self.rest_trade(&cells, &path, market);
        }
        in_order_of_ids(&mut self.parsed.ticks);
    }

    fn rest_trade(&mut self, cells: &[Value<'_>], path: &str, market: &Market<'_>) {
        let mut wrong = |at: usize, (code, detail): Wrong| {
            self.parsed.problems.push(Problem::rejected(code, format!("{path}[{at}]"), detail));
        };
        // Read all three before giving up, so that each one that is wrong is named.
        let price = text_at(cells, 0).and_then(positive).map_err(|why| wrong(0, why)).ok();
        let time = text_at(cells, 2).and_then(|text| micros(&text)).map_err(|why| wrong(2, why)).ok();
        let trade_id = text_at(cells, 6).and_then(whole_number).map_err(|why| wrong(6, why)).ok();
        let (Some(price), Some(time), Some(trade_id)) = (price, time, trade_id) else { return };
        let quantity = self.auxiliary(text_at(cells, 1), path, "[1]");
        let identity =
            Identity { source: SOURCE, id_space: TRADES, source_symbol: &market.name, source_key: &trade_id };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            quantity,
            trade_id: Some(trade_id.to_string()),
            ..tick(identity, &market.pair, Kind::Trade, price.value, EventTime::Source(time), self.payload)
        });
    }

    /// What was asked for by `pair=XBTUSD,ETHUSD` and is in no answer.
    fn name_unanswered(&mut self, told: &[String]) {
        let query = self.payload.request.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').find_map(|parameter| parameter.strip_prefix("pair="));
        let pairs = pairs.unwrap_or_default().replace("%2C", ",").replace("%2c", ",").replace("%2F", "/");
        for asked in pairs.split(',').filter(|asked| !asked.is_empty()) {
            let is_told = names::of_rest(self.symbols, asked).is_ok_and(|name| told.contains(&name.into_owned()));
            if !is_told {
                let detail = format!("asked for {}, and the answer is without it", excerpt(asked));
                self.parsed.problems.push(Problem::rejected("not_answered", asked, detail));
            }
        }
    }
}

/// A problem's code and detail.
type Wrong = (&'static str, String);

fn missing() -> Wrong {
    ("missing_field", "it is not there".to_owned())
}

/// The elements of an array.
fn list<'a>(object: &Object<'a>, field: &str) -> Result<Vec<Value<'a>>, Wrong> {
    match object.get(field) {
        Field::One(Value::Array(text)) => Ok(elements(text).0),
        Field::One(Value::Null) => Err(("null_field", "null".to_owned())),
        Field::One(other) => Err(("wrong_type", format!("expected an array, got {}", other.kind()))),
        Field::Missing => Err(missing()),
        Field::Ambiguous => Err(("duplicate_key", "the key stands there twice with different values".to_owned())),
    }
}

/// The digits in one place of a list, from a string or a number.
fn text_at<'a>(list: &[Value<'a>], at: usize) -> Result<Cow<'a, str>, Wrong> {
    match list.get(at) {
        Some(Value::Text(text)) => Ok(text.clone()),
        Some(Value::Number(text)) => Ok(Cow::Borrowed(text)),
        Some(Value::Null) => Err(("null_field", "null".to_owned())),
        Some(other) => Err(("wrong_type", format!("expected a number, got {}", other.kind()))),
        None => Err(missing()),
    }
}

fn whole_number(text: Cow<'_, str>) -> Result<Cow<'_, str>, Wrong> {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Ok(text),
        _ => Err(("not_a_number", format!("expected a whole number, got {}", excerpt(&text)))),
    }
}

/// Seconds with a fraction as micros UTC; what is finer is cut off, as in the feed's times.
fn micros(text: &str) -> Result<i64, Wrong> {
    const OF_A_MICRO: i128 = 10_i128.pow(Decimal38::SCALE - 6);
    let seconds =
        Decimal38::parse(text).map_err(|_| ("bad_time", format!("expected seconds, got {}", excerpt(text))))?;
    i64::try_from(seconds.unscaled() / OF_A_MICRO)
        .ok()
        .filter(|micros| is_plausible(*micros))
        .ok_or_else(|| ("bad_time", format!("{} is no time that a price can have", excerpt(text))))
}
