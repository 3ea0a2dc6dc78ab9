//! The sources, one file each: what to ask, and a pure parser of what comes back. A parser takes a payload and gives ticks
//! and problems; it does no I/O, keeps no state and reads no clock. Must never happen here: a panic, a retry loop, or a good
//! row that is lost because its neighbour was bad.

use std::borrow::Cow;
use std::sync::Arc;

use pipeline::events::{IndexWeight, PriceTick};

use crate::config::SourceName;
use crate::parse::json::{Document, Field, Object, Value};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Row, Unit};
use crate::parse::tick::EventTime;
use crate::symbols::Symbols;

pub mod awesomeapi;
pub mod b3;
pub mod binance;
pub mod bitstamp;
pub mod coinbase;
pub mod coingecko;
pub mod coinmarketcap;
pub mod corpus;
pub mod kraken;
pub mod okx;
pub mod recorded;
pub mod simulated;

#[cfg(test)]
mod mutations;

/// The largest body or frame that is read. What is longer is refused before it is held in memory.
pub const MAX_BODY_BYTES: usize = 20 * 1024 * 1024;

/// One source's reading of what it sends.
pub trait Source: Send + Sync {
    /// Its name in every event, log line and metric.
    fn name(&self) -> &'static str;

    /// Reads one body or frame. What was asked stands in `payload.request`, and nowhere else.
    fn parse(&self, payload: &Payload<'_>) -> Parsed;

    /// Checks an answer of several pages as a whole, once all have been read and put together.
    fn conclude(&self, _whole: &mut Parsed) {}

    /// Whether this request of a polled source asks for the past: of such an answer only what a gap missed is published.
    fn is_history(&self, _request: &str) -> bool {
        false
    }
}

/// Reads what `name` sends; `None` for the source that repeats what others sent.
#[must_use]
pub fn reader(name: SourceName, symbols: &Arc<Symbols>) -> Option<Box<dyn Source>> {
    let symbols = symbols.clone();
    match name {
        SourceName::Awesomeapi => Some(Box::new(awesomeapi::Awesomeapi { symbols })),
        SourceName::B3 => Some(Box::new(b3::B3)),
        SourceName::Binance => Some(Box::new(binance::Binance { symbols })),
        SourceName::Okx => Some(Box::new(okx::Okx { symbols })),
        SourceName::Bitstamp => Some(Box::new(bitstamp::Bitstamp { symbols })),
        SourceName::Coingecko => Some(Box::new(coingecko::Coingecko { symbols })),
        SourceName::Coinmarketcap => Some(Box::new(coinmarketcap::Coinmarketcap { symbols })),
        SourceName::Coinbase => Some(Box::new(coinbase::Coinbase { symbols })),
        SourceName::Kraken => Some(Box::new(kraken::Kraken { symbols })),
        SourceName::Simulated => Some(Box::new(simulated::Simulated)),
        SourceName::Recorded => None,
    }
}

/// What one payload says.
#[derive(Debug, Default)]
pub struct Parsed {
    pub ticks: Vec<PriceTick>,
    pub weights: Vec<IndexWeight>,
    /// The pages of index portfolios that have several, for their check as a whole.
    pub portfolio: Vec<b3::PortfolioPage>,
    pub problems: Vec<Problem>,
    /// The source said something that only a working source says, be it a price, a heartbeat or an acknowledgement.
    pub answered: bool,
    /// The source says that it will not serve us.
    pub refusal: Option<Refusal>,
    /// The trade ids of these ticks count up without holes for each source symbol, so that a jump is a loss.
    pub consecutive_trades: bool,
    /// The trade that the source calls its latest, told apart from the trade itself.
    pub latest_trade: Option<LatestTrade>,
    /// The number of this frame among all frames of its connection: a jump is a loss.
    pub connection_sequence: Option<i64>,
    /// The path and query of the next page of this answer.
    pub next_page: Option<String>,
    /// What the source says that the call cost, in its own units.
    pub spent: Option<u32>,
    /// What the source wants of the connection.
    pub wish: Option<Wish>,
}

impl Parsed {
    /// Adds a tick. Most frames have one: room for four is a slow way to ask for memory.
    pub fn push(&mut self, tick: PriceTick) {
        if self.ticks.is_empty() {
            self.ticks.reserve_exact(1);
        }
        self.ticks.push(tick);
    }

    /// Adds what another page of the same answer says.
    pub fn append(&mut self, mut page: Self) {
        self.ticks.append(&mut page.ticks);
        self.weights.append(&mut page.weights);
        self.portfolio.append(&mut page.portfolio);
        self.problems.append(&mut page.problems);
        self.answered |= page.answered;
        self.refusal = self.refusal.take().or(page.refusal);
    }
}

/// What a source may want of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This text is to be sent back.
    Reply(String),
    /// Another connection is to take this one's place; says why.
    Reconnect(String),
}

/// Why a source does not serve us, and with it what to do: every kind has its own answer in the drivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It may serve the next try.
    Retry(String),
    /// Too many calls in a short time: it may serve after a pause.
    RateLimited(String),
    /// The plan's quota is used up: nothing is served before then.
    Exhausted(Until, String),
    /// Wrongly asked, or not allowed: no try is served until a person changes something.
    Configuration(String),
    /// Shut out, until then where the source tells it (micros UTC): trying on makes it longer.
    Banned(Option<i64>, String),
}

/// The end of a quota's period, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    NextDay,
    NextMonth,
}

impl Refusal {
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Retry(detail)
            | Self::RateLimited(detail)
            | Self::Exhausted(_, detail)
            | Self::Configuration(detail)
            | Self::Banned(_, detail) => detail,
        }
    }
}

/// A heartbeat's word on a product's trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestTrade {
    pub source_symbol: String,
    pub trade_id: i64,
    /// Micros UTC.
    pub at: i64,
}

/// A trade's time, counted from 1970; the time of receipt, noted, where the source gives none. `None` with a problem when it
/// is no time.
fn epoch_or_received(row: &mut Row<'_, '_>, field: &str, unit: Unit) -> Option<EventTime> {
    if !row.is_absent(field) {
        return row.epoch(field, unit).map(|(at, _)| EventTime::Source(at));
    }
    Some(received_instead(row, field))
}

/// As [`epoch_or_received`], for an RFC 3339 time.
fn timestamp_or_received(row: &mut Row<'_, '_>, field: &str) -> Option<EventTime> {
    if !row.is_absent(field) {
        return row.timestamp(field).map(EventTime::Source);
    }
    Some(received_instead(row, field))
}

fn received_instead(row: &mut Row<'_, '_>, field: &str) -> EventTime {
    let problem = Problem::noted("missing_field", row.at(field), "no time; the time of receipt is taken");
    row.problems.push(problem);
    EventTime::Received
}

/// The one object that a frame is, whole; `None` with a problem when it is anything else, since half a frame is no row.
fn whole_object<'a>(document: &'a Document<'_>, parsed: &mut Parsed) -> Option<Object<'a>> {
    let object = object_to_the_break(document, parsed)?;
    if let Some(broken) = &object.broken {
        parsed.problems.push(Problem::rejected("not_json", "", format!("the frame breaks off: {broken}")));
        return None;
    }
    Some(object)
}

/// The one object that a payload is, whole or up to where it breaks off, which its `broken` tells.
fn object_to_the_break<'a>(document: &'a Document<'_>, parsed: &mut Parsed) -> Option<Object<'a>> {
    let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
    parsed.problems.extend(faults);
    match document.value() {
        Value::Object(text) => Some(Object::parse(text)),
        Value::Broken("") => {
            parsed.problems.push(Problem::rejected("not_json", "", "an empty frame"));
            None
        }
        Value::Broken(_) => {
            parsed.problems.push(Problem::rejected("not_json", "", format!("not JSON: {}", excerpt(document.text()))));
            None
        }
        other => {
            let detail = format!("{} instead of an object: {}", other.kind(), excerpt(document.text()));
            parsed.problems.push(Problem::rejected("unsupported_shape", "", detail));
            None
        }
    }
}

/// A number's digits as they came, for an identity; empty where there is none.
fn digits_of<'a>(object: &Object<'a>, field: &str) -> Cow<'a, str> {
    match object.get(field) {
        Field::One(Value::Number(text)) => Cow::Borrowed(text),
        Field::One(Value::Text(text)) => text,
        _ => Cow::Borrowed(""),
    }
}

/// Trades that came together in the order of their ids, which lists told newest first do not have: a run of ids that goes
/// back would hide what is missing of it.
fn in_order_of_ids(trades: &mut [PriceTick]) {
    let id = |tick: &PriceTick| tick.trade_id.as_deref().and_then(|id| id.parse::<i64>().ok());
    if !trades.is_sorted_by_key(id) {
        trades.sort_by_cached_key(id);
    }
}
