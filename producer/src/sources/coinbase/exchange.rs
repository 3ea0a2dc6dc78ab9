//! The Exchange feed, channels `matches` and `heartbeat`, and `/products/<id>/trades`.
//!
//! Traps:
//! - `match`, `last_match` and `ticker` tell of the same trades; only `matches` is subscribed to. `last_match` repeats an
//!   old trade right after subscribing. A `ticker` may stand for several trades at once, so its ids make no run.
//! - `sequence` belongs to the product and jumps where a channel is filtered: a jump is no loss. What was missed is told by
//!   trade ids, which run without holes, and by the heartbeat's `last_trade_id`.
//! - Errors come as messages on a healthy socket.
//! - By REST the newest trade stands first, and the product stands only in the request.

use pipeline::events::Kind;
use serde_json::json;

use super::{Reading, SOURCE, Told, texts, values};
use crate::drive::trade_runs::Missing;
use crate::parse::json::{Field, Object, Value, elements};
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Range, Row};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::sources::{LatestTrade, in_order_of_ids};
use crate::symbols::Pair;

/// What is sent after connecting.
#[must_use]
pub fn subscribe(products: &[String]) -> String {
    json!({"type": "subscribe", "product_ids": products, "channels": ["matches", "heartbeat"]}).to_string()
}

/// One answer of history has no more.
pub const MOST_TRADES: i64 = 1_000;

/// The path and query of the trades `first..=last` of a product; `after` is a page of what is older than that trade.
#[must_use]
pub fn history_path(missing: &Missing, first: i64, last: i64) -> String {
    let product = &missing.source_symbol;
    let limit = last.saturating_sub(first).saturating_add(1).clamp(1, MOST_TRADES);
    format!("/products/{product}/trades?limit={limit}&after={}", last.saturating_add(1))
}

impl<'p> Reading<'p> {
    /// One message of the feed.
    pub(super) fn exchange(&mut self, object: &Object<'_>, message_type: &str) {
        match message_type {
            "match" | "last_match" => {
                self.parsed.consecutive_trades = true;
                self.message(object, Told::Now);
            }
            "ticker" => self.message(object, Told::InATicker),
            "heartbeat" => self.heartbeat(object),
            "subscriptions" => {
                let channels: Vec<_> = values(object, "channels")
                    .into_iter()
                    .filter_map(|channel| match channel {
                        Value::Object(text) => Some(Object::parse(text)),
                        _ => None,
                    })
                    .filter_map(|channel| Some((channel.text("name")?, texts(&channel, "product_ids"))))
                    .collect();
                self.subscribed(&channels);
            }
            "error" => self.error(object),
            other => {
                let detail = format!("a message of type {} is not read", excerpt(other));
                self.parsed.problems.push(Problem::noted("unknown_type", "type", detail));
            }
        }
    }

    /// A trade as a match or a ticker tells it.
    fn message(&mut self, object: &Object<'_>, told: Told) {
        let Some((product, pair)) = self.product(object, "") else { return };
        let told_something = if told == Told::InATicker && object.get("trade_id") == Field::Missing {
            self.without_a_trade(object, &product, &pair).is_some()
        } else {
            self.trade(object, "", &product, &pair, told).is_some()
        };
        if !told_something {
            return;
        }
        let mut row = Row { object, path: "", problems: &mut self.parsed.problems };
        let bid = row.auxiliary("best_bid", Form::Text, Range::ZeroIsUnknown);
        let ask = row.auxiliary("best_ask", Form::Text, Range::ZeroIsUnknown);
        let volume_24h = row.auxiliary("volume_24h", Form::Text, Range::NotNegative);
        let sequence = if row.is_absent("sequence") {
            None
        } else {
            row.optional(|row| row.whole_number("sequence")).map(|(number, _)| number)
        };
        if let Some(tick) = self.parsed.ticks.last_mut() {
            (tick.bid, tick.ask, tick.volume_24h, tick.sequence) = (bid, ask, volume_24h, sequence);
        }
    }

    /// A ticker that tells of no trade, as the first one after subscribing used to: a price all the same.
    fn without_a_trade(&mut self, object: &Object<'_>, product: &str, pair: &Pair) -> Option<()> {
        let mut row = Row { object, path: "", problems: &mut self.parsed.problems };
        let detail = "no trade; the price is that of an older one";
        row.problems.push(Problem::noted("missing_field", "trade_id", detail));
        let sequence = row.whole_number("sequence");
        let price = row.price("price", Form::Text);
        let ((_, key), price) = (sequence?, price?);
        let time = row.told_time("time", |row| row.timestamp("time"));
        let time = time.map_or(EventTime::Received, EventTime::Source);
        let identity = Identity { source: SOURCE, id_space: "sequence", source_symbol: product, source_key: &key };
        self.parsed.answered = true;
        self.parsed.push(tick(identity, pair, Kind::Ticker, price.value, time, self.payload));
        Some(())
    }

    /// The latest trade of one product with bid, ask and volume, as `/products/<id>/ticker` answers.
    pub(super) fn latest(&mut self, object: &Object<'_>) {
        let Some(product) = self.asked_product("ticker") else { return };
        let Some(pair) = self.pair(product, "") else { return };
        if self.trade(object, "", product, &pair, Told::Afterwards).is_none() {
            return;
        }
        let mut row = Row { object, path: "", problems: &mut self.parsed.problems };
        let bid = row.auxiliary("bid", Form::Text, Range::ZeroIsUnknown);
        let ask = row.auxiliary("ask", Form::Text, Range::ZeroIsUnknown);
        let volume_24h = row.auxiliary("volume", Form::Text, Range::NotNegative);
        if let Some(tick) = self.parsed.ticks.last_mut() {
            (tick.bid, tick.ask, tick.volume_24h) = (bid, ask, volume_24h);
        }
    }

    fn heartbeat(&mut self, object: &Object<'_>) {
        let mut row = Row { object, path: "", problems: &mut self.parsed.problems };
        let product = row.text("product_id");
        let latest = row.whole_number("last_trade_id");
        let at = row.timestamp("time");
        self.parsed.answered = true;
        if let (Some(product), Some((trade_id, _)), Some(at)) = (product, latest, at) {
            self.parsed.latest_trade = Some(LatestTrade { source_symbol: product.into_owned(), trade_id, at });
        }
    }

    /// `BTC-USD` of `/products/BTC-USD/trades?limit=100`: the body is without it.
    fn asked_product(&mut self, endpoint: &str) -> Option<&'p str> {
        let of = |request: &'p str| {
            let (product, rest) = request.split_once("/products/")?.1.split_once('/')?;
            let rest = rest.strip_prefix(endpoint)?;
            (rest.is_empty() || rest.starts_with('?')).then_some(product)
        };
        let product = of(self.payload.request);
        if product.is_none() {
            let detail = format!(
                "as /products/BTC-USD/{endpoint} answers: its product stands only in the request, which is not known"
            );
            self.parsed.problems.push(Problem::rejected("unsupported_shape", "", detail));
        }
        product
    }

    /// A page of one product's trades; those before a break in it are read.
    pub(super) fn history(&mut self, text: &str) {
        let Some(product) = self.asked_product("trades") else { return };
        let Some(pair) = self.pair(product, "") else { return };
        let (values, broken) = elements(text);
        self.parsed.consecutive_trades = true;
        self.parsed.answered = values.is_empty() && broken.is_none();
        for (at, value) in values.into_iter().enumerate() {
            let path = format!("[{at}]");
            match value {
                Value::Object(text) => {
                    self.trade(&Object::parse(text), &path, product, &pair, Told::Afterwards);
                }
                other => {
                    let detail = format!("expected a trade, got {}", other.kind());
                    self.parsed.problems.push(Problem::rejected("wrong_type", path, detail));
                }
            }
        }
        if let Some(broken) = broken {
            let detail = format!("the answer breaks off: {broken}");
            self.parsed.problems.push(Problem::rejected("not_json", "", detail));
        }
        in_order_of_ids(&mut self.parsed.ticks);
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
