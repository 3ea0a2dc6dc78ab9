//! Answers of Binance's REST interface, row by row: the summaries, and the history of trades that fills a gap under the same
//! identities as the stream. What a row is stands in its keys; only the symbol of a trade stands in the request alone. Must
//! never happen here: a trade of history under a number range that the stream does not use, or a row that is guessed.

use pipeline::events::{Kind, PriceTick};

use super::{AGGREGATE_TRADE, Reading, SOURCE, TickerShape, TradeShape, mid, spot_pair};
use crate::parse::json::{Field, Object};
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Row};
use crate::parse::tick::{EventTime, Identity, tick};

/// `/api/v3/historicalTrades` and `/api/v3/trades`.
const TRADE_ROW: TradeShape =
    TradeShape { id_space: "trade", id: "id", price: "price", quantity: "qty", time: "time", spot_only: "isBestMatch" };

/// `/api/v3/ticker/24hr`.
const DAY_ROW: TickerShape = TickerShape {
    id_space: "ticker/24hr",
    symbol: "symbol",
    time: "closeTime",
    last: "lastPrice",
    bid: "bidPrice",
    ask: "askPrice",
    volume: "volume",
    quote_volume: "quoteVolume",
    change: "priceChangePercent",
};

impl Reading<'_> {
    /// A row that is no event.
    pub(super) fn row(&mut self, object: &Object<'_>, path: &str) {
        let has = |field| object.get(field) != Field::Missing;
        if has("a") && has("p") && has("T") {
            self.history(object, path, &AGGREGATE_TRADE);
        } else if has("id") && has("price") && has("qty") {
            self.history(object, path, &TRADE_ROW);
        } else if has("lastPrice") {
            if has("lastQty") && !has("bidPrice") && !has("askPrice") && !has("prevClosePrice") {
                return self.derivative(path, "a summary without bid, ask and previous close, as futures have it");
            }
            self.ticker(object, path, &DAY_ROW);
        } else if has("symbol") && (has("bidPrice") || has("askPrice")) {
            self.book_row(object, path);
        } else if has("symbol") && has("price") {
            self.price_row(object, path);
        } else {
            let names: Vec<&str> = object.names().take(8).collect();
            let detail = format!("neither an event nor a known answer; its keys: {}", excerpt(&names.join(", ")));
            self.parsed.problems.push(Problem::rejected("unsupported_shape", path, detail));
        }
    }

    fn history(&mut self, object: &Object<'_>, path: &str, shape: &TradeShape) {
        let request = self.payload.request;
        match asked_symbol(request) {
            Some(symbol) => self.trade(object, path, shape, Some(symbol)),
            None => {
                let detail = "a trade of history, whose symbol stands only in its request (symbol=…)";
                self.parsed.problems.push(Problem::rejected("unknown_product", path, detail));
            }
        }
    }

    /// `/api/v3/ticker/bookTicker`. Futures have a time in it.
    fn book_row(&mut self, object: &Object<'_>, path: &str) {
        if self.is_timed(object, path) {
            return;
        }
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let symbol = row.text("symbol");
        let pair = symbol.as_ref().and_then(|symbol| spot_pair(self.symbols, symbol, &mut row, "symbol"));
        let bid = row.price("bidPrice", Form::Text);
        let ask = row.price("askPrice", Form::Text);
        let mid = mid(bid, ask, &mut row, "askPrice");
        let (Some(symbol), Some(pair), Some((mid, bid, ask))) = (symbol, pair, mid) else { return };
        let key = format!("received={}|{}|{}", self.payload.received_at, bid.text, ask.text);
        let identity =
            Identity { source: SOURCE, id_space: "ticker/bookTicker", source_symbol: &symbol, source_key: &key };
        self.parsed.answered = true;
        self.parsed.push(PriceTick {
            bid: Some(bid.value),
            ask: Some(ask.value),
            ..tick(identity, &pair, Kind::Quote, mid, EventTime::Received, self.payload)
        });
    }

    /// `/api/v3/ticker/price`. Futures have a time in it.
    fn price_row(&mut self, object: &Object<'_>, path: &str) {
        if self.is_timed(object, path) {
            return;
        }
        let mut row = Row { object, path, problems: &mut self.parsed.problems };
        let symbol = row.text("symbol");
        let pair = symbol.as_ref().and_then(|symbol| spot_pair(self.symbols, symbol, &mut row, "symbol"));
        let price = row.price("price", Form::Text);
        let (Some(symbol), Some(pair), Some(price)) = (symbol, pair, price) else { return };
        let key = format!("received={}|{}", self.payload.received_at, price.text);
        let identity = Identity { source: SOURCE, id_space: "ticker/price", source_symbol: &symbol, source_key: &key };
        self.parsed.answered = true;
        self.parsed.push(tick(identity, &pair, Kind::Ticker, price.value, EventTime::Received, self.payload));
    }

    /// Whether a row that has no time on the spot market is none of it; it is named then.
    fn is_timed(&mut self, object: &Object<'_>, path: &str) -> bool {
        if self.is_derivative(object, path) {
            return true;
        }
        let timed = object.get("time") != Field::Missing;
        if timed {
            self.derivative(path, "with a time, which only futures have in this answer");
        }
        timed
    }
}

fn asked_symbol(request: &str) -> Option<&str> {
    let (_, query) = request.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("symbol=")).filter(|symbol| !symbol.is_empty())
}
