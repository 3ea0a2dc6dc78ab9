//! OKX v5, spot: the channels `trades` and `tickers`. Traps: `ping` and `pong` are bare words and no JSON; a dated future or
//! an option looks like a pair with more parts (BTC-USD-241227), and `instType` says so too; `trades` puts the fills of one
//! order at one price together (`count`), so that its ids have holes that are no loss, and must not be read beside
//! `trades-all`. Must never happen here: an instrument of three parts as a pair of two.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pipeline::events::{Kind, PriceTick};
use serde_json::json;

use super::{Parsed, Refusal, Source, Wish, epoch_or_received, whole_object};
use crate::config::{WEB_SOCKET, address, seconds};
use crate::drive::backoff::Backoff;
use crate::drive::socket::Socketed;
use crate::parse::json::{Document, Field, Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Form, Range, Row, Unit};
use crate::parse::tick::{EventTime, Identity, tick};
use crate::symbols::{Pair, Symbols, is_code};

pub const SOURCE: &str = "okx";
/// How many problems of one frame are told one by one.
const NAMED: usize = 1_000;
/// A socket that is idle for 30 s is cut.
const PING: (Duration, &str) = (Duration::from_secs(15), "ping");

pub struct Okx {
    pub symbols: Arc<Symbols>,
}

impl Source for Okx {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let mut parsed = Parsed::default();
        match payload.bytes.trim_ascii() {
            b"pong" => parsed.answered = true,
            b"ping" => parsed.wish = Some(Wish::Reply("pong".to_owned())),
            _ => {
                let document = Document::new(payload.bytes);
                if let Some(object) = whole_object(&document, &mut parsed) {
                    self.read(&object, payload, &mut parsed);
                }
            }
        }
        parsed
    }
}

impl Okx {
    fn read(&self, object: &Object<'_>, payload: &Payload<'_>, parsed: &mut Parsed) {
        if object.get("event") != Field::Missing {
            return read_event(object, payload.request, parsed);
        }
        // An answer to a request has a code where a frame has what was subscribed to.
        if let Some(code) = code(object).filter(|code| code != "0") {
            return refuse(&code, object, parsed);
        }
        let arg = match object.get("arg") {
            Field::One(Value::Object(text)) => Object::parse(text),
            _ => Object::default(),
        };
        let channel = arg.text("channel");
        if let Some(other) = channel.as_deref().filter(|name| !matches!(*name, "trades" | "trades-all" | "tickers")) {
            let detail = format!("the channel {} is not read", excerpt(other));
            parsed.problems.push(Problem::noted("unknown_type", "arg.channel", detail));
            return;
        }
        let mut row = Row { object, path: "", problems: &mut parsed.problems };
        let Some(rows) = row.array_below("data") else { return };
        let (rows, _) = elements(rows);
        if rows.is_empty() {
            parsed.answered = true;
            parsed.problems.push(Problem::noted("empty_answer", "data", "a frame without a row"));
        }
        let mut more = 0;
        for (at, row) in rows.into_iter().enumerate() {
            self.read_row(&row, &format!("data[{at}]"), &arg, channel.as_deref(), payload, parsed);
            more += parsed.problems.len().saturating_sub(NAMED);
            parsed.problems.truncate(NAMED);
        }
        if more > 0 {
            let detail = format!("and {more} more problems");
            parsed.problems.push(Problem::rejected("unsupported_shape", "data", detail));
        }
    }

    fn read_row(
        &self,
        row: &Value<'_>,
        path: &str,
        arg: &Object<'_>,
        channel: Option<&str>,
        payload: &Payload<'_>,
        parsed: &mut Parsed,
    ) {
        let Value::Object(text) = row else {
            let detail = format!("expected an object, got {}", row.kind());
            parsed.problems.push(Problem::rejected("wrong_type", path, detail));
            return;
        };
        let object = Object::parse(text);
        let mut row = Row { object: &object, path, problems: &mut parsed.problems };
        let named = match arg.text("instId") {
            Some(instrument) if row.is_absent("instId") => Some(instrument),
            _ => row.text("instId"),
        };
        let Some(instrument) = named else { return };
        let market = object.text("instType").unwrap_or(Cow::Borrowed("SPOT"));
        let pair = match spot_pair(&self.symbols, &instrument, &market) {
            Ok(pair) => pair,
            Err((code, detail)) => {
                row.reject(code, "instId", detail);
                return;
            }
        };
        // An answer to a request does not say what it is, and its rows are the channels' rows.
        let is_ticker = channel.map_or(object.get("tradeId") == Field::Missing, |channel| channel == "tickers");
        let read = if is_ticker { read_ticker } else { read_trade };
        if let Some(tick) = read(row, &instrument, &pair, payload) {
            parsed.answered = true;
            parsed.push(tick);
        }
    }
}

fn read_trade(mut row: Row<'_, '_>, instrument: &str, pair: &Pair, payload: &Payload<'_>) -> Option<PriceTick> {
    // Read all three before giving up, so that each one that is wrong is named.
    let trade_id = row.whole_number("tradeId");
    let price = row.price("px", Form::Text);
    let time = epoch_or_received(&mut row, "ts", Unit::Millis);
    let quantity = row.auxiliary("sz", Form::Text, Range::NotNegative);
    let (Some((_, trade_id)), Some(price), Some(time)) = (trade_id, price, time) else { return None };
    let identity = Identity { source: SOURCE, id_space: "trades", source_symbol: instrument, source_key: &trade_id };
    Some(PriceTick {
        quantity,
        trade_id: Some(trade_id.to_string()),
        ..tick(identity, pair, Kind::Trade, price.value, time, payload)
    })
}

fn read_ticker(mut row: Row<'_, '_>, instrument: &str, pair: &Pair, payload: &Payload<'_>) -> Option<PriceTick> {
    let last = row.price("last", Form::Text)?;
    let time = row.told_time("ts", |row| row.epoch("ts", Unit::Millis));
    // An empty string is how a side without an order, or a market without a trade, is written.
    let object = row.object;
    let mut known = |field, range| {
        if object.text(field).is_some_and(|text| text.is_empty()) {
            None
        } else {
            row.auxiliary(field, Form::Text, range)
        }
    };
    let bid = known("bidPx", Range::ZeroIsUnknown);
    let ask = known("askPx", Range::ZeroIsUnknown);
    let volume_24h = known("vol24h", Range::NotNegative);
    let quote_volume_24h = known("volCcy24h", Range::NotNegative);
    let (time, key) = match time {
        Some((at, digits)) => (EventTime::Source(at), format!("{digits}|{}", last.text)),
        None => (EventTime::Received, format!("received={}|{}", payload.received_at, last.text)),
    };
    let identity = Identity { source: SOURCE, id_space: "tickers", source_symbol: instrument, source_key: &key };
    Some(PriceTick {
        bid,
        ask,
        volume_24h,
        quote_volume_24h,
        ..tick(identity, pair, Kind::Ticker, last.value, time, payload)
    })
}

/// Base and quote of a spot instrument; a reason when it is none.
fn spot_pair<'s>(
    symbols: &'s Symbols,
    instrument: &str,
    market: &str,
) -> Result<Cow<'s, Pair>, (&'static str, String)> {
    let derivative = |why: &str| {
        let detail = format!("{} {why}: a derivative has no place among spot prices", excerpt(instrument));
        Err(("derivative", detail))
    };
    if market != "SPOT" {
        return derivative(&format!("is of the type {}", excerpt(market)));
    }
    if let Some(pair) = symbols.pair(SOURCE, instrument) {
        return Ok(Cow::Borrowed(pair));
    }
    match instrument.split_once('-') {
        Some((_, rest)) if rest.contains('-') => derivative("has more parts than base and quote"),
        Some((base, quote)) if is_code(base) && is_code(quote) => Ok(Cow::Owned(Pair::new(base, quote))),
        _ => Err(("unknown_product", format!("{} is not a BASE-QUOTE instrument", excerpt(instrument)))),
    }
}

fn read_event(object: &Object<'_>, request: &str, parsed: &mut Parsed) {
    let mut row = Row { object, path: "", problems: &mut parsed.problems };
    let Some(event) = row.text("event") else { return };
    match event.as_ref() {
        "subscribe" | "unsubscribe" | "channel-conn-count" => parsed.answered = true,
        "error" if one_of_several(object, request, parsed) => {}
        "error" | "notice" | "channel-conn-count-error" => refuse(&code(object).unwrap_or_default(), object, parsed),
        other => {
            let detail = format!("an event {} is not read", excerpt(other));
            parsed.problems.push(Problem::noted("unknown_type", "event", detail));
        }
    }
}

/// Whether an error turns down one instrument, of which there are others: it is named, and they go on.
fn one_of_several(object: &Object<'_>, request: &str, parsed: &mut Parsed) -> bool {
    /// "Wrong URL or channel:tickers,instId:BTC-USD doesn't exist."
    const NO_SUCH_INSTRUMENT: &str = "60018";
    if code(object).as_deref() != Some(NO_SUCH_INSTRUMENT) {
        return false;
    }
    let message = object.text("msg").unwrap_or_default();
    let Some((_, rest)) = message.split_once("instId:") else { return false };
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = rest.split(|c| !is_of_a_name(c)).next().unwrap_or_default();
    let asked = asked_instruments(request);
    if !asked.iter().any(|asked| asked == name) || asked.iter().all(|asked| asked == name) {
        return false;
    }
    parsed.problems.push(Problem::rejected("not_answered", name, excerpt(&message)));
    true
}

/// The instruments that were subscribed to, a message a line.
fn asked_instruments(request: &str) -> Vec<String> {
    let mut asked = Vec::new();
    for line in request.lines() {
        let Value::Object(text) = Value::of(line.trim_ascii()) else { continue };
        let Field::One(Value::Array(args)) = Object::parse(text).get("args") else { continue };
        for arg in elements(args).0 {
            if let Value::Object(text) = arg {
                asked.extend(Object::parse(text).text("instId").map(Cow::into_owned));
            }
        }
    }
    asked
}

fn code<'a>(object: &Object<'a>) -> Option<Cow<'a, str>> {
    match object.get("code") {
        Field::One(Value::Text(code)) => Some(code),
        Field::One(Value::Number(code)) => Some(Cow::Borrowed(code)),
        _ => None,
    }
}

/// What the source says when it does not serve, or soon will not.
fn refuse(code: &str, object: &Object<'_>, parsed: &mut Parsed) {
    let message = object.text("msg").unwrap_or_default();
    let detail = format!("code {}: {}", excerpt(code).trim_matches('"'), excerpt(&message));
    // "The connection will soon be closed for a service upgrade."
    if code == "64008" {
        parsed.wish = Some(Wish::Reconnect(detail));
        return;
    }
    parsed.problems.push(Problem::rejected("error_answer", "", detail.as_str()));
    parsed.refusal = Some(match code.parse().unwrap_or(0) {
        50_011 | 50_040 | 50_061 | 60_014 | 60_023 => Refusal::RateLimited(detail),
        // Thirty seconds without data, and a full buffer: another connection is as good as new.
        60_015 | 60_016 => Refusal::Retry(detail),
        // Log-in, parameters, instruments and channels that are not there or not ours.
        50_014..=50_016 | 50_100..=50_199 | 51_000..=51_999 | 60_003..=60_099 | 64_000..=64_007 => {
            Refusal::Configuration(detail)
        }
        _ => Refusal::Retry(detail),
    });
}

#[derive(Args, Clone, Debug)]
pub struct OkxArgs {
    /// OKX's public WebSocket.
    #[arg(long, env = "OKX_WS_URL", default_value = "wss://ws.okx.com:8443/ws/v5/public", value_name = "URL")]
    pub okx_ws_url: String,
    /// Symbols to read at OKX, separated by commas.
    #[arg(
        long,
        env = "OKX_SYMBOLS",
        value_delimiter = ',',
        default_value = "BTC-USDT,ETH-USDT,BTC-BRL",
        value_name = "BASE-QUOTE"
    )]
    pub okx_symbols: Vec<String>,
    /// What to read of each, separated by commas.
    #[arg(long, env = "OKX_CHANNELS", value_enum, value_delimiter = ',', default_value = "trades")]
    pub okx_channels: Vec<Channel>,
    /// Seconds without any message after which the socket is taken for dead.
    #[arg(long, env = "OKX_SILENCE_SECONDS", default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub okx_silence_seconds: Duration,
    /// Seconds without any price after which another connection is made.
    #[arg(long, env = "OKX_QUIET_SECONDS", default_value = "600", value_parser = seconds, value_name = "SECONDS")]
    pub okx_quiet_seconds: Duration,
}

/// A channel of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Channel {
    Trades,
    Tickers,
}

impl OkxArgs {
    /// Everything that the driver needs.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what cannot be meant.
    pub fn socketed(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Socketed> {
        let asked = symbols.asked(SOURCE, &self.okx_symbols, ("--okx-symbols", "OKX_SYMBOLS"))?;
        let mut args = Vec::new();
        for (_, instrument) in &asked {
            args.extend(self.okx_channels.iter().map(|channel| {
                let channel = match channel {
                    Channel::Trades => "trades",
                    Channel::Tickers => "tickers",
                };
                json!({"channel": channel, "instId": instrument})
            }));
        }
        Ok(Socketed {
            source: Arc::new(Okx { symbols: symbols.clone() }),
            url: address(&self.okx_ws_url, WEB_SOCKET, ("--okx-ws-url", "OKX_WS_URL"))?,
            subscribe: vec![json!({"op": "subscribe", "args": args}).to_string()],
            asked: asked.iter().map(|(symbol, _)| (*symbol).to_owned()).collect(),
            silence: self.okx_silence_seconds,
            quiet: self.okx_quiet_seconds,
            ping: Some((PING.0.min(self.okx_silence_seconds / 2), PING.1.to_owned())),
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(60)),
            // `trades` puts fills together, and the history tells of each: the same trades under other ids.
            backfill: None,
        })
    }
}

#[cfg(test)]
#[path = "okx_tests.rs"]
mod tests;
