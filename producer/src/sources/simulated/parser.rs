//! Reads the simulated market's frames: `{"channel":"trades","run":…,"trades":[[symbol, price, quantity, trade id, micros],…]}`.
//! They come by the hundred thousand trades a second, so a frame that is right is read in one pass, without a copy; one that
//! is not is read again row by row, and each bad row is named. Must never happen here: the two readings differing.

use pipeline::events::{EventTimeOrigin, Kind, PriceTick, event_id};
use serde::Deserialize;

use crate::parse::json::{Document, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Row, is_plausible, positive};
use crate::sources::simulated::SOURCE;
use crate::sources::{Parsed, Source, whole_object};
use crate::symbols::is_code;

/// The parser. Its symbols are canonical already.
#[derive(Clone, Copy, Debug)]
pub struct Simulated;

#[derive(Deserialize)]
struct Frame<'a> {
    channel: &'a str,
    run: &'a str,
    #[serde(borrow)]
    trades: Vec<Trade<'a>>,
}

/// Symbol, price, quantity, trade id, time.
#[derive(Deserialize)]
struct Trade<'a>(&'a str, &'a str, &'a str, i64, i64);

impl Source for Simulated {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let mut parsed = Parsed { consecutive_trades: true, ..Parsed::default() };
        match at_once(payload) {
            Some(ticks) => parsed.ticks = ticks,
            None => row_by_row(payload, &mut parsed),
        }
        parsed.answered = !parsed.ticks.is_empty();
        parsed
    }
}

/// The ticks of a frame in which nothing is wrong.
fn at_once(payload: &Payload<'_>) -> Option<Vec<PriceTick>> {
    let frame: Frame<'_> = serde_json::from_slice(payload.bytes).ok()?;
    if frame.channel != "trades" {
        return None;
    }
    let id_space = id_space(frame.run);
    frame.trades.iter().map(|trade| tick(trade, &id_space, payload).ok()).collect()
}

fn row_by_row(payload: &Payload<'_>, parsed: &mut Parsed) {
    let document = Document::new(payload.bytes);
    let Some(object) = whole_object(&document, parsed) else { return };
    let mut row = Row { object: &object, path: "", problems: &mut parsed.problems };
    let Some(channel) = row.text("channel") else { return };
    if channel != "trades" {
        row.reject("unknown_type", "channel", excerpt(&channel));
        return;
    }
    let (Some(run), Some(trades)) = (row.text("run"), row.array_below("trades")) else { return };
    let id_space = id_space(&run);
    let (rows, broken) = elements(trades);
    for (number, value) in rows.into_iter().enumerate() {
        let path = format!("trades[{number}]");
        let Value::Array(text) = value else {
            let detail = format!("expected an array, got {}", value.kind());
            parsed.problems.push(Problem::rejected("wrong_type", path, detail));
            continue;
        };
        let Ok(trade) = serde_json::from_str::<(String, String, String, i64, i64)>(text) else {
            let detail = format!("not symbol, price, quantity, trade id and time: {}", excerpt(text));
            parsed.problems.push(Problem::rejected("unsupported_shape", path, detail));
            continue;
        };
        let trade = Trade(&trade.0, &trade.1, &trade.2, trade.3, trade.4);
        match tick(&trade, &id_space, payload) {
            Ok(tick) => parsed.push(tick),
            Err((code, detail)) => parsed.problems.push(Problem::rejected(code, path, detail)),
        }
    }
    if let Some(broken) = broken {
        parsed.problems.push(Problem::rejected("not_json", "trades", broken));
    }
}

/// A restart counts its trades from 1 again, so each run is a space of its own.
fn id_space(run: &str) -> String {
    format!("trade/{run}")
}

/// A trade's tick, or the code and the detail of what is wrong with it.
fn tick(trade: &Trade<'_>, id_space: &str, payload: &Payload<'_>) -> Result<PriceTick, (&'static str, String)> {
    let Trade(symbol, price, quantity, trade_id, time) = *trade;
    let (base, quote) = match symbol.split_once('-') {
        Some((base, quote)) if is_code(base) && is_code(quote) => (base, quote),
        _ => return Err(("unknown_product", format!("{} is no symbol", excerpt(symbol)))),
    };
    let price = positive(price.into())?.value;
    let quantity = positive(quantity.into())?.value;
    if !is_plausible(time) {
        return Err(("bad_time", format!("{time} is no time that a price can have")));
    }
    let trade_id = trade_id.to_string();
    Ok(PriceTick {
        event_id: event_id(SOURCE, id_space, symbol, &trade_id),
        revision: 0,
        source: SOURCE.to_owned(),
        symbol: symbol.to_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        kind: Kind::Trade,
        price,
        quantity: Some(quantity),
        bid: None,
        ask: None,
        volume_24h: None,
        quote_volume_24h: None,
        market_cap: None,
        change_24h_pct: None,
        event_time: time,
        event_time_origin: EventTimeOrigin::Source,
        received_at: payload.received_at,
        sequence: None,
        trade_id: Some(trade_id),
        source_symbol: symbol.to_owned(),
        payload_id: payload.id,
        previous_event_time: None,
        previous_symbol: None,
        retracted: false,
        fx_age_ms: None,
    })
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
