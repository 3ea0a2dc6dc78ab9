//! The Advanced Trade feed: `ticker`, `ticker_batch`, `market_trades`, `heartbeats`.
//!
//! Traps:
//! - `sequence_num` counts the frames of the connection, over all channels and acknowledgements: here a jump is a loss.
//! - A snapshot may come before the acknowledgement of its subscription, and lists its trades newest first.
//! - A ticker has no time of its own: its frame's is taken.
//! - A heartbeat's `current_time` is Go's `time.String()`, not RFC 3339. It is not read.
//! - An error has neither channel nor `sequence_num`.

use std::borrow::Cow;
use std::fmt::Write;

use pipeline::events::{Kind, PriceTick};
use serde_json::json;

use super::{Reading, SOURCE, Told, texts};
use crate::parse::json::{Field, Object, Value, elements};
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Range, Row};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::sources::{digits_of, in_order_of_ids};

/// Tickers have no number: these keys are times and prices.
const TICKERS: &str = "advanced_ticker";

/// What is sent after connecting, a message a channel.
#[must_use]
pub fn subscribe(products: &[String]) -> Vec<String> {
    vec![
        json!({"type": "subscribe", "product_ids": products, "channel": "market_trades"}).to_string(),
        json!({"type": "subscribe", "channel": "heartbeats"}).to_string(),
    ]
}

impl Reading<'_> {
    /// One frame of the feed.
    pub(super) fn advanced(&mut self, frame: &Object<'_>, channel: &str) {
        let mut row = Row { object: frame, path: "", problems: &mut self.parsed.problems };
        if !row.is_absent("sequence_num") {
            let number = row.optional(|row| row.whole_number("sequence_num"));
            self.parsed.connection_sequence = number.map(|(number, _)| number);
        }
        match channel {
            "ticker" | "ticker_batch" => {
                let time = self.frame_time(frame);
                self.each(frame, "tickers", |reading, object, path| reading.ticker(object, path, &time));
            }
            "market_trades" => {
                self.parsed.consecutive_trades = true;
                self.each(frame, "trades", |reading, object, path| {
                    if let Some((product, pair)) = reading.product(object, path) {
                        reading.trade(object, path, &product, &pair, Told::Now);
                    }
                });
                in_order_of_ids(&mut self.parsed.ticks);
            }
            "heartbeats" => self.parsed.answered = true,
            "subscriptions" => self.acknowledged(frame),
            other => {
                let detail = format!("the channel {} is not read", excerpt(other));
                self.parsed.problems.push(Problem::noted("unknown_type", "channel", detail));
            }
        }
    }

    /// When the frame was sent and the text of that; `None` when it does not say, or says what is no time.
    fn frame_time<'a>(&mut self, frame: &Object<'a>) -> Option<(i64, Cow<'a, str>)> {
        let mut row = Row { object: frame, path: "", problems: &mut self.parsed.problems };
        let at = row.told_time("timestamp", |row| row.timestamp("timestamp"))?;
        Some((at, frame.text("timestamp")?))
    }

    /// Every row named `rows` of every event of the frame. A frame without one, as for a product that is not traded, is an
    /// answer.
    fn each(&mut self, frame: &Object<'_>, rows: &str, mut read: impl FnMut(&mut Self, &Object<'_>, &str)) {
        let Some(events) = self.array(frame, "", "events") else { return };
        let (mut count, before) = (0, self.parsed.problems.len());
        let mut path = String::new();
        for (at, event) in events.into_iter().enumerate() {
            path.clear();
            write!(path, "events[{at}]").expect("a string takes any text");
            let Some(event) = self.object(event, &path) else { continue };
            let event_ends = path.len();
            for (at, row) in self.array(&event, &path, rows).unwrap_or_default().into_iter().enumerate() {
                count += 1;
                path.truncate(event_ends);
                write!(path, ".{rows}[{at}]").expect("a string takes any text");
                if let Some(row) = self.object(row, &path) {
                    read(self, &row, &path);
                }
            }
        }
        self.parsed.answered |= count == 0 && self.parsed.problems.len() == before;
    }

    fn array<'a>(&mut self, object: &Object<'a>, path: &str, field: &str) -> Option<Vec<Value<'a>>> {
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        Some(elements(row.array_below(field)?).0)
    }

    fn object<'a>(&mut self, value: Value<'a>, path: &str) -> Option<Object<'a>> {
        if let Value::Object(text) = value {
            return Some(Object::parse(text));
        }
        let detail = format!("expected an object, got {}", value.kind());
        self.parsed.problems.push(Problem::rejected("wrong_type", path, detail));
        None
    }

    fn ticker(&mut self, object: &Object<'_>, path: &str, time: &Option<(i64, Cow<'_, str>)>) {
        let Some((product, pair)) = self.product(object, path) else { return };
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let Some(price) = row.price("price", Form::Text) else { return };
        let bid = row.auxiliary("best_bid", Form::Text, Range::ZeroIsUnknown);
        let ask = row.auxiliary("best_ask", Form::Text, Range::ZeroIsUnknown);
        let volume_24h = row.auxiliary("volume_24_h", Form::Text, Range::NotNegative);
        let change_24h_pct = row.auxiliary("price_percent_chg_24_h", Form::Text, Range::Any);
        let prices = format!("{}|{}|{}", price.text, digits_of(object, "best_bid"), digits_of(object, "best_ask"));
        let (time, key) = match time {
            Some((at, text)) => (EventTime::Source(*at), format!("{text}|{prices}")),
            None => (EventTime::Received, format!("received={}|{prices}", self.payload.received_at)),
        };
        let identity = Identity { source: SOURCE, id_space: TICKERS, source_symbol: &product, source_key: &key };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            bid,
            ask,
            volume_24h,
            change_24h_pct,
            ..tick(identity, &pair, Kind::Ticker, price.value, time, self.payload)
        });
    }

    /// `{"subscriptions":{"ticker":["BTC-USD"],"heartbeats":["heartbeats"]}}`, all that is subscribed to by then.
    fn acknowledged(&mut self, frame: &Object<'_>) {
        let Some(events) = self.array(frame, "", "events") else { return };
        let mut channels = Vec::new();
        for (at, event) in events.into_iter().enumerate() {
            let Some(event) = self.object(event, &format!("events[{at}]")) else { continue };
            let Field::One(Value::Object(text)) = event.get("subscriptions") else { continue };
            let subscriptions = Object::parse(text);
            let names = subscriptions.names();
            channels.extend(names.map(|name| (Cow::Owned(name.to_owned()), texts(&subscriptions, name))));
        }
        self.subscribed(&channels);
    }
}

#[cfg(test)]
#[path = "advanced_tests.rs"]
mod tests;
