//! Bitstamp's `live_trades_` channels of spot pairs. Traps: which pair a trade is of stands only in the channel; `price` is a
//! float and `price_str` the digits; `timestamp` counts seconds for one market and milliseconds for another, so
//! `microtimestamp` is the time; one socket carries perpetuals (`btcusd-perp`) beside the spot pairs; trade ids are shared
//! by all pairs, so that a jump is no loss; a channel of a pair that does not exist is acknowledged and stays silent. Must
//! never happen here: a perpetual's price as the pair's.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use pipeline::events::{Kind, PriceTick};
use serde_json::json;

use super::{Parsed, Refusal, Source, Wish, epoch_or_received, whole_object};
use crate::config::{WEB_SOCKET, address, seconds};
use crate::drive::backoff::Backoff;
use crate::drive::socket::Socketed;
use crate::parse::json::{Document, Field, Object, Value};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Range, Row, Unit};
use crate::parse::tick::{Identity, tick};
use crate::symbols::{Pair, Symbols};

pub const SOURCE: &str = "bitstamp";
const TRADES: &str = "live_trades_";
/// The server says nothing by itself while nothing is traded.
const PING: (Duration, &str) = (Duration::from_secs(15), r#"{"event":"bts:heartbeat"}"#);

pub struct Bitstamp {
    pub symbols: Arc<Symbols>,
}

impl Source for Bitstamp {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let mut parsed = Parsed::default();
        let document = Document::new(payload.bytes);
        let Some(object) = whole_object(&document, &mut parsed) else { return parsed };
        let Some(event) = (Row { object: &object, path: "", problems: &mut parsed.problems }).text("event") else {
            return parsed;
        };
        match event.as_ref() {
            "trade" => self.read_trade(&object, payload, &mut parsed),
            "bts:subscription_succeeded" | "bts:unsubscription_succeeded" | "bts:heartbeat" => parsed.answered = true,
            "bts:request_reconnect" => {
                parsed.wish = Some(Wish::Reconnect("the server asks for another connection".to_owned()));
            }
            "bts:error" | "bts:subscription_failed" => read_error(&object, &mut parsed),
            other => {
                let channel = object.text("channel").unwrap_or_default();
                let detail = format!("an event {} of {} is not read", excerpt(other), excerpt(&channel));
                parsed.problems.push(Problem::noted("unknown_type", "event", detail));
            }
        }
        parsed
    }
}

impl Bitstamp {
    fn read_trade(&self, frame: &Object<'_>, payload: &Payload<'_>, parsed: &mut Parsed) {
        let mut row = Row { object: frame, path: "", problems: &mut parsed.problems };
        let Some(channel) = row.text("channel") else { return };
        let Some(market) = channel.strip_prefix(TRADES) else {
            let detail = format!("trades of the channel {} are not read", excerpt(&channel));
            row.problems.push(Problem::noted("unknown_type", "channel", detail));
            return;
        };
        let pair = match spot_pair(&self.symbols, market) {
            Ok(pair) => pair,
            Err((code, detail)) => {
                row.reject(code, "channel", detail);
                return;
            }
        };
        let Some(data) = row.object_below("data") else { return };
        let mut row = Row { object: &data, path: "data", problems: &mut parsed.problems };
        // Read all three before giving up, so that each one that is wrong is named.
        let trade_id = row.whole_number("id");
        let price = if row.is_absent("price_str") {
            let detail = "no price as text; the digits of the number are taken";
            row.problems.push(Problem::noted("missing_field", "data.price_str", detail));
            row.price("price", Form::Number)
        } else {
            row.price("price_str", Form::Text)
        };
        let quantity = if row.is_absent("amount_str") {
            row.auxiliary("amount", Form::Number, Range::NotNegative)
        } else {
            row.auxiliary("amount_str", Form::Text, Range::NotNegative)
        };
        let time = if row.is_absent("microtimestamp") && !row.is_absent("timestamp") {
            let detail = "no time in microseconds; that in whole seconds is taken";
            row.problems.push(Problem::noted("missing_field", "data.microtimestamp", detail));
            epoch_or_received(&mut row, "timestamp", Unit::Seconds)
        } else {
            epoch_or_received(&mut row, "microtimestamp", Unit::Micros)
        };
        let (Some((_, trade_id)), Some(price), Some(time)) = (trade_id, price, time) else { return };
        let identity = Identity { source: SOURCE, id_space: "trade", source_symbol: market, source_key: &trade_id };
        parsed.answered = true;
        parsed.push(PriceTick {
            quantity,
            trade_id: Some(trade_id.to_string()),
            ..tick(identity, &pair, Kind::Trade, price.value, time, payload)
        });
    }
}

/// Base and quote of a spot market; a reason when it is none.
fn spot_pair<'s>(symbols: &'s Symbols, market: &str) -> Result<Cow<'s, Pair>, (&'static str, String)> {
    if let Some(pair) = symbols.pair(SOURCE, market) {
        return Ok(Cow::Borrowed(pair));
    }
    if market.contains('-') || market.ends_with("perp") {
        return Err(("derivative", format!("{} is a derivative and has no place among spot prices", excerpt(market))));
    }
    let lower = !market.bytes().any(|byte| byte.is_ascii_uppercase());
    match symbols.split(market) {
        Some(pair) if lower => Ok(Cow::Owned(pair)),
        _ => Err(("unknown_product", format!("{} ends with no quote asset that is known", excerpt(market)))),
    }
}

/// The code is null for nearly every error, so that the words must tell: what was asked for is wrong, or the server is not well.
fn read_error(frame: &Object<'_>, parsed: &mut Parsed) {
    const WRONGLY_ASKED: [&str; 5] = ["invalid", "incorrect", "bad subscription", "unauthorized", "not found"];
    let error = match frame.get("data") {
        Field::One(Value::Object(text)) => Object::parse(text),
        _ => Object::default(),
    };
    let message = error.text("message").unwrap_or_default();
    let code = match error.get("code") {
        Field::One(Value::Number(code)) => Cow::Borrowed(code),
        Field::One(Value::Text(code)) => code,
        _ => Cow::Borrowed("null"),
    };
    let detail = format!("code {}: {}", excerpt(&code).trim_matches('"'), excerpt(&message));
    parsed.problems.push(Problem::rejected("error_answer", "", detail.as_str()));
    let lower = message.to_ascii_lowercase();
    parsed.refusal = Some(if lower.contains("too many") || lower.contains("rate limit") {
        Refusal::RateLimited(detail)
    } else if code == "4009" || WRONGLY_ASKED.iter().any(|wrong| lower.contains(wrong)) {
        Refusal::Configuration(detail)
    } else {
        Refusal::Retry(detail)
    });
}

#[derive(Args, Clone, Debug)]
pub struct BitstampArgs {
    /// Bitstamp's WebSocket.
    #[arg(long, env = "BITSTAMP_WS_URL", default_value = "wss://ws.bitstamp.net", value_name = "URL")]
    pub bitstamp_ws_url: String,
    /// Symbols whose trades are read at Bitstamp, separated by commas.
    #[arg(
        long,
        env = "BITSTAMP_SYMBOLS",
        value_delimiter = ',',
        default_value = "BTC-USD,ETH-USD",
        value_name = "BASE-QUOTE"
    )]
    pub bitstamp_symbols: Vec<String>,
    /// Seconds without any message after which the socket is taken for dead: three times the heartbeat's fifteen.
    #[arg(long, env = "BITSTAMP_SILENCE_SECONDS", default_value = "45", value_parser = seconds, value_name = "SECONDS")]
    pub bitstamp_silence_seconds: Duration,
    /// Seconds without any price after which another connection is made.
    #[arg(long, env = "BITSTAMP_QUIET_SECONDS", default_value = "1800", value_parser = seconds, value_name = "SECONDS")]
    pub bitstamp_quiet_seconds: Duration,
}

impl BitstampArgs {
    /// Everything that the driver needs.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what cannot be meant.
    pub fn socketed(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Socketed> {
        let asked = symbols.asked(SOURCE, &self.bitstamp_symbols, ("--bitstamp-symbols", "BITSTAMP_SYMBOLS"))?;
        // A message each: one that is longer than 512 bytes closes the socket.
        let subscribe = asked.iter().map(|(_, market)| {
            json!({"event": "bts:subscribe", "data": {"channel": format!("{TRADES}{market}")}}).to_string()
        });
        Ok(Socketed {
            source: Arc::new(Bitstamp { symbols: symbols.clone() }),
            url: address(&self.bitstamp_ws_url, WEB_SOCKET, ("--bitstamp-ws-url", "BITSTAMP_WS_URL"))?,
            subscribe: subscribe.collect(),
            asked: asked.iter().map(|(symbol, _)| (*symbol).to_owned()).collect(),
            silence: self.bitstamp_silence_seconds,
            quiet: self.bitstamp_quiet_seconds,
            ping: Some((PING.0.min(self.bitstamp_silence_seconds / 3), PING.1.to_owned())),
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(60)),
            backfill: None,
        })
    }
}

#[cfg(test)]
#[path = "bitstamp_tests.rs"]
mod tests;
