//! Frames of the v2 feed.
//!
//! Traps:
//! - A snapshot repeats history at each subscription: the same trades under the same ids.
//! - `timestamp` of a ticker comes from newer servers only; without it the time of receipt is taken.
//! - `connection_id` of the status may exceed 64 bits with a sign. It is not read.
//! - A refused subscription names its symbol beside the error, has no result, and not always our `req_id`. The other symbols
//!   of the same request are served.

use std::borrow::Cow;
use std::fmt::Write;

use pipeline::decimal::Decimal38;
use pipeline::events::{Kind, PriceTick};
use serde_json::json;

use super::refusal::{Refused, refused};
use super::{Reading, SOURCE, TICKERS, TRADES, names};
use crate::parse::json::{Field, Object, Value, elements};
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Price, Range, Row};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::sources::{digits_of, in_order_of_ids, timestamp_or_received};
use crate::symbols::Pair;

/// What is sent after connecting, a message a channel.
#[must_use]
pub fn subscribe(channels: &[&str], symbols: &[String]) -> Vec<String> {
    let message = |(at, channel): (usize, &&str)| {
        let params = json!({"channel": channel, "symbol": symbols, "snapshot": true});
        json!({"method": "subscribe", "params": params, "req_id": at + 1}).to_string()
    };
    channels.iter().enumerate().map(message).collect()
}

impl<'p> Reading<'p> {
    /// A frame of a channel.
    pub(super) fn frame(&mut self, frame: &Object<'_>, channel: &str) {
        match channel {
            "trade" => {
                self.parsed.consecutive_trades = true;
                self.each(frame, Self::trade);
                in_order_of_ids(&mut self.parsed.ticks);
            }
            "ticker" => self.each(frame, Self::ticker),
            "heartbeat" => self.parsed.answered = true,
            "status" => self.each(frame, Self::status),
            other => {
                let detail = format!("the channel {} is not read", excerpt(other));
                self.parsed.problems.push(Problem::noted("unknown_type", "channel", detail));
            }
        }
    }

    /// Every row of a frame. One without any, as for a market without a trade, is an answer.
    fn each(&mut self, frame: &Object<'_>, mut read: impl FnMut(&mut Self, &Object<'_>, &str)) {
        let rows = Row { object: frame, path: "", problems: &mut self.parsed.problems }.array_below("data");
        let Some(rows) = rows else { return };
        let rows = elements(rows).0;
        self.parsed.answered |= rows.is_empty();
        self.parsed.ticks.reserve_exact(rows.len().min(64));
        let mut path = String::new();
        for (at, row) in rows.into_iter().enumerate() {
            path.clear();
            write!(path, "data[{at}]").expect("a string takes any text");
            match row {
                Value::Object(text) => read(self, &Object::parse(text), &path),
                other => {
                    let detail = format!("expected an object, got {}", other.kind());
                    self.parsed.problems.push(Problem::rejected("wrong_type", path.as_str(), detail));
                }
            }
        }
    }

    /// A market's v2 name and its base and quote; names what is no spot market.
    fn market<'a>(&mut self, object: &Object<'a>, path: &str) -> Option<(Cow<'a, str>, Cow<'p, Pair>)> {
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let name = row.text("symbol")?;
        match names::pair(self.symbols, &name) {
            Ok(pair) => Some((name, pair)),
            Err((code, detail)) => {
                row.reject(code, "symbol", detail);
                None
            }
        }
    }

    fn trade(&mut self, object: &Object<'_>, path: &str) {
        let Some((name, pair)) = self.market(object, path) else { return };
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        // Read all three before giving up, so that each one that is wrong is named.
        let trade_id = row.whole_number("trade_id");
        let price = row.price("price", Form::Number);
        let time = timestamp_or_received(&mut row, "timestamp");
        let (Some((_, trade_id)), Some(price), Some(time)) = (trade_id, price, time) else { return };
        let quantity = row.auxiliary("qty", Form::Number, Range::NotNegative);
        let identity = Identity { source: SOURCE, id_space: TRADES, source_symbol: &name, source_key: &trade_id };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            quantity,
            trade_id: Some(trade_id.to_string()),
            ..tick(identity, &pair, Kind::Trade, price.value, time, self.payload)
        });
    }

    fn ticker(&mut self, object: &Object<'_>, path: &str) {
        let Some((name, pair)) = self.market(object, path) else { return };
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let price = if row.is_absent("last") && !row.is_absent("bid") && !row.is_absent("ask") {
            mid(&mut row)
        } else {
            row.price("last", Form::Number).map(|price| price.value)
        };
        let Some(price) = price else { return };
        let bid = row.auxiliary("bid", Form::Number, Range::ZeroIsUnknown);
        let ask = row.auxiliary("ask", Form::Number, Range::ZeroIsUnknown);
        let volume_24h = row.auxiliary("volume", Form::Number, Range::NotNegative);
        let change_24h_pct = row.auxiliary("change_pct", Form::Number, Range::Any);
        let at = row.told_time("timestamp", |row| row.timestamp("timestamp"));
        let digits = |field| digits_of(object, field);
        let prices = format!("{}|{}|{}", digits("last"), digits("bid"), digits("ask"));
        let (time, key) = match at {
            Some(at) => (EventTime::Source(at), format!("{}|{prices}", digits("timestamp"))),
            None => (EventTime::Received, format!("received={}|{prices}", self.payload.received_at)),
        };
        let identity = Identity { source: SOURCE, id_space: TICKERS, source_symbol: &name, source_key: &key };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            bid,
            ask,
            volume_24h,
            change_24h_pct,
            ..tick(identity, &pair, Kind::Ticker, price, time, self.payload)
        });
    }

    /// The exchange's own state, told first after connecting.
    fn status(&mut self, object: &Object<'_>, path: &str) {
        let system = Row { object, path, problems: &mut self.parsed.problems }.text("system");
        let Some(system) = system else { return };
        if system == "online" {
            self.parsed.answered = true;
        } else {
            let detail = format!("the exchange says that it is in {}", excerpt(&system));
            self.parsed.problems.push(Problem::noted("not_online", format!("{path}.system"), detail));
        }
    }

    /// What answers a message of ours.
    pub(super) fn response(&mut self, object: &Object<'_>, method: &str) {
        match (method, object.get("success")) {
            (_, Field::One(Value::Bool(false))) => self.refused(object),
            _ if object.text("error").is_some() => self.refused(object),
            ("subscribe" | "unsubscribe" | "ping" | "pong", _) => self.parsed.answered = true,
            (other, _) => {
                let detail = format!("an answer to {} is not read", excerpt(other));
                self.parsed.problems.push(Problem::noted("unknown_type", "method", detail));
            }
        }
    }

    /// A refused message: of one symbol, it leaves the others alone.
    pub(super) fn refused(&mut self, object: &Object<'_>) {
        let problem = match refused(object, self.payload.request) {
            Refused::Nothing(detail) => {
                self.parsed.answered = true;
                Problem::noted("error_answer", "", detail)
            }
            Refused::Symbol { symbol, detail } => Problem::rejected("not_answered", symbol, detail),
            Refused::All(refusal) => {
                let problem = Problem::rejected("error_answer", "", refusal.detail());
                self.parsed.refusal = Some(refusal);
                problem
            }
        };
        self.parsed.problems.push(problem);
    }
}

/// Exactly between bid and ask, for a market without a last trade.
fn mid(row: &mut Row<'_, '_>) -> Option<Decimal38> {
    let bid: Option<Price<'_>> = row.price("bid", Form::Number);
    let ask = row.price("ask", Form::Number);
    let (bid, ask) = (bid?, ask?);
    let mid = Decimal38::mid(bid.value, ask.value);
    if mid.is_none() {
        let detail = format!("the middle of {} and {} has a 19th digit", excerpt(&bid.text), excerpt(&ask.text));
        row.reject("too_precise", "last", detail);
    }
    mid
}
