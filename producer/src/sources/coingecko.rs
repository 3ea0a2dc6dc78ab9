//! CoinGecko, `/api/v3/simple/price`: reference prices by poll. Each price that goes out has the digits of the answer;
//! what was asked and not answered is named.
//!
//! Traps:
//! - An unknown id is answered with 200 and `{}`, or left out beside the others.
//! - A space in `ids` or `vs_currencies` silently drops coins or currencies, so none is sent.
//! - Ids are names, not symbols: `link` is not Chainlink. An id without a known or given symbol is refused at start.
//! - A throttle may come as 200 with `{"status":{"error_code":429}}`; other errors are `{"error":"…"}`.
//! - `last_updated_at` is in seconds, one for all currencies of a coin, and may be absent: then the time of receipt is the
//!   event's time and part of its identity, and the tick says so.
//! - `usd_24h_vol` counts dollars, not coins; a market cap of 0 means unknown.
//! - Small prices come as `5.617e-05`; one with more than 18 digits after the point is named and left out, not rounded.

use std::borrow::Cow;

use pipeline::events::{EventTimeOrigin, Kind, PriceTick, event_id};

use super::{Parsed, Refusal, payload_id};
use crate::json::{Document, Field, Object, Value};
use crate::problem::{Problem, excerpt};
use crate::row::{Form, Range, Row};

pub const SOURCE: &str = "coingecko";
/// Keeps these identities apart from those of the source's other endpoints.
const ID_SPACE: &str = "simple_price";

/// Coins whose id is known. Another one is given as `id=SYMBOL`.
const KNOWN: &[(&str, &str)] = &[
    ("aave", "AAVE"),
    ("algorand", "ALGO"),
    ("avalanche-2", "AVAX"),
    ("binancecoin", "BNB"),
    ("bitcoin", "BTC"),
    ("bitcoin-cash", "BCH"),
    ("cardano", "ADA"),
    ("chainlink", "LINK"),
    ("cosmos", "ATOM"),
    ("dai", "DAI"),
    ("dogecoin", "DOGE"),
    ("ethereum", "ETH"),
    ("ethereum-classic", "ETC"),
    ("filecoin", "FIL"),
    ("hedera-hashgraph", "HBAR"),
    ("litecoin", "LTC"),
    ("monero", "XMR"),
    ("near", "NEAR"),
    ("pax-gold", "PAXG"),
    ("pepe", "PEPE"),
    ("polkadot", "DOT"),
    ("polygon-ecosystem-token", "POL"),
    ("ripple", "XRP"),
    ("shiba-inu", "SHIB"),
    ("solana", "SOL"),
    ("stellar", "XLM"),
    ("sui", "SUI"),
    ("tether", "USDT"),
    ("tron", "TRX"),
    ("uniswap", "UNI"),
    ("usd-coin", "USDC"),
];

/// A source's id of a coin and the symbol that we call it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    pub id: String,
    pub base: String,
}

impl std::str::FromStr for Coin {
    type Err = String;

    /// `bitcoin`, or `some-new-coin=SYM`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (id, base) = match text.split_once('=') {
            Some((id, base)) => (id.trim(), base.trim().to_owned()),
            None => {
                let id = text.trim();
                let base = known(id)
                    .ok_or_else(|| format!("no symbol is known for the id {id:?}; write it as {id}=SYMBOL"))?;
                (id, base.to_owned())
            }
        };
        let is_id = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
        if id.is_empty() || !id.bytes().all(is_id) {
            return Err(format!("{id:?} is not a coin id, such as bitcoin or avalanche-2"));
        }
        if base.is_empty() || !base.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
            return Err(format!("{base:?} is not a symbol, such as BTC"));
        }
        Ok(Self { id: id.to_owned(), base })
    }
}

fn known(id: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _)| *known == id).map(|(_, base)| *base)
}

/// Which prices were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub coins: Vec<Coin>,
    /// Lower case, as the source writes them.
    pub currencies: Vec<String>,
    /// The request is not known (a payload found somewhere): whatever coin or currency is there is read, and nothing can be
    /// called missing.
    pub anything: bool,
}

impl Asked {
    /// What a recorded request asked for, from its query. Without `ids` and `vs_currencies` there, the request is not known.
    #[must_use]
    pub fn from_request(path: &str) -> Self {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let list = |name: &str| -> Vec<String> {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .filter(|(key, _)| *key == name)
                .flat_map(|(_, value)| {
                    value.replace("%2C", ",").replace("%2c", ",").split(',').map(str::to_owned).collect::<Vec<_>>()
                })
                .filter(|entry| !entry.is_empty() && !entry.contains('<'))
                .collect()
        };
        let (ids, currencies) = (list("ids"), list("vs_currencies"));
        if ids.is_empty() || currencies.is_empty() {
            return Self { anything: true, ..Self::default() };
        }
        let coins = ids.into_iter().map(|id| Coin { base: known(&id).unwrap_or_default().to_owned(), id }).collect();
        Self { coins, currencies, anything: false }
    }

    /// The path and query of the request. No spaces: see the traps.
    #[must_use]
    pub fn path(&self) -> String {
        let ids: Vec<&str> = self.coins.iter().map(|coin| coin.id.as_str()).collect();
        format!(
            "/api/v3/simple/price?ids={}&vs_currencies={}&include_market_cap=true&include_24hr_vol=true\
             &include_24hr_change=true&include_last_updated_at=true&precision=full",
            ids.join(","),
            self.currencies.join(",")
        )
    }

    /// The canonical symbols that a whole answer has.
    #[must_use]
    pub fn symbols(&self) -> Vec<String> {
        let pair = |coin: &Coin, currency: &String| format!("{}-{}", coin.base, currency.to_uppercase());
        self.coins.iter().flat_map(|coin| self.currencies.iter().map(move |currency| pair(coin, currency))).collect()
    }

    fn base(&self, id: &str) -> Option<&str> {
        let asked = self.coins.iter().find(|coin| coin.id == id).map(|coin| coin.base.as_str());
        let base = if self.anything { asked.or_else(|| known(id)) } else { asked };
        base.filter(|base| !base.is_empty())
    }
}

/// The header that carries the key: the paid plan has its own host and its own header.
#[must_use]
pub fn key_header(base_url: &str) -> &'static str {
    if base_url.contains("//pro-api.") { "x-cg-pro-api-key" } else { "x-cg-demo-api-key" }
}

/// Reads one answer. `received_at` is in micros UTC.
#[must_use]
pub fn parse(body: &[u8], received_at: i64, asked: &Asked) -> Parsed {
    let mut parsed = Parsed::default();
    let document = Document::new(body);
    let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
    parsed.problems.extend(faults);
    let object = match document.value() {
        Value::Object(text) => Object::parse(text),
        other => {
            parsed.problems.push(not_an_answer(&other, document.text()));
            return parsed;
        }
    };
    if let Some(broken) = &object.broken {
        parsed.problems.push(Problem::rejected("not_json", "", format!("the answer breaks off: {broken}")));
    }
    if let Some(refusal) = refusal(&object) {
        parsed.problems.push(Problem::rejected("error_answer", "", refusal.detail()));
        parsed.refusal = Some(refusal);
    } else if object.is_empty() && object.broken.is_none() {
        parsed.problems.push(Problem::rejected("empty_answer", "", "the answer is {}: no id that was asked is known"));
    } else if let Field::One(Value::Array(_)) = object.get("prices") {
        let detail =
            "this is /coins/{id}/market_chart, whose coin and currency stand only in its request; simple/price is read";
        parsed.problems.push(Problem::rejected("unsupported_shape", "prices", detail));
        return parsed;
    }

    let payload = payload_id(SOURCE, received_at, body);
    let mut strangers = Vec::new();
    for id in object.names().filter(|name| !matches!(*name, "status" | "error" | "error_code")) {
        match asked.base(id) {
            Some(base) => read_coin(&object, id, base, asked, received_at, payload, &mut parsed),
            None => strangers.push(id),
        }
    }
    name_strangers(&strangers, &mut parsed.problems);
    for coin in &asked.coins {
        if object.get(&coin.id) == Field::Missing {
            let detail = format!("asked for {:?}, and the answer is without it", coin.id);
            parsed.problems.push(Problem::rejected("not_answered", coin.id.as_str(), detail));
        }
    }
    parsed.answered = !parsed.ticks.is_empty();
    parsed
}

fn not_an_answer(value: &Value<'_>, text: &str) -> Problem {
    match value {
        Value::Array(_) => Problem::rejected(
            "unsupported_shape",
            "",
            format!("an array, as /coins/markets answers; simple/price is read: {}", excerpt(text)),
        ),
        Value::Broken("") => Problem::rejected("not_json", "", "an empty body"),
        Value::Broken(_) => Problem::rejected("not_json", "", format!("not JSON: {}", excerpt(text))),
        other => Problem::rejected(
            "unsupported_shape",
            "",
            format!("{} instead of an object: {}", other.kind(), excerpt(text)),
        ),
    }
}

/// What the source says when it does not serve, whatever the HTTP status was.
fn refusal(object: &Object<'_>) -> Option<Refusal> {
    match object.get("error") {
        Field::One(Value::Text(text)) => return Some(Refusal::Refused(excerpt(&text))),
        Field::One(Value::Object(text)) => {
            return Some(refusal(&Object::parse(text)).unwrap_or_else(|| Refusal::Refused(excerpt(text))));
        }
        _ => {}
    }
    let Field::One(Value::Object(status)) = object.get("status") else { return None };
    let status = Object::parse(status);
    let code: Cow<'_, str> = match status.get("error_code") {
        Field::One(Value::Number(code)) => Cow::Borrowed(code),
        Field::One(Value::Text(code)) => code,
        _ => return None,
    };
    if code == "0" {
        return None;
    }
    let message = status.text("error_message").unwrap_or_default();
    let detail = format!("error_code {}: {}", excerpt(&code).trim_matches('"'), excerpt(&message));
    Some(if code == "429" { Refusal::RateLimited(detail) } else { Refusal::Refused(detail) })
}

fn read_coin(
    answer: &Object<'_>,
    id: &str,
    base: &str,
    asked: &Asked,
    received_at: i64,
    payload_id: uuid::Uuid,
    parsed: &mut Parsed,
) {
    let object = match answer.get(id) {
        Field::One(Value::Object(text)) => Object::parse(text),
        Field::One(other) => {
            let code = if other == Value::Null { "null_field" } else { "wrong_type" };
            let detail = format!("expected an object of prices, got {}", other.kind());
            parsed.problems.push(Problem::rejected(code, id, detail));
            return;
        }
        Field::Ambiguous | Field::Missing => {
            parsed.problems.push(Problem::rejected(
                "duplicate_key",
                id,
                "the id stands there twice with different prices",
            ));
            return;
        }
    };
    let (event_time, clock) = event_time(&object, id, received_at, &mut parsed.problems);
    let currencies: Vec<Cow<'_, str>> = if asked.anything {
        object.names().filter(|name| is_currency(name)).map(|name| Cow::Owned(name.to_owned())).collect()
    } else {
        asked.currencies.iter().map(|currency| Cow::Borrowed(currency.as_str())).collect()
    };
    if currencies.is_empty() {
        parsed.problems.push(Problem::rejected("missing_field", id, "no price in any currency"));
    }
    for currency in currencies {
        let mut row = Row { object: &object, path: id, problems: &mut parsed.problems };
        let Some(price) = row.price(&currency, Form::Number) else { continue };
        let quote_volume_24h = row.auxiliary(&format!("{currency}_24h_vol"), Form::Number, Range::NotNegative);
        let market_cap = row.auxiliary(&format!("{currency}_market_cap"), Form::Number, Range::ZeroIsUnknown);
        let change_24h_pct = row.auxiliary(&format!("{currency}_24h_change"), Form::Number, Range::Any);
        let source_symbol = format!("{id}/{currency}");
        let source_key = match &clock {
            Some(seconds) => format!("{seconds}|{}", price.text),
            None => format!("received={received_at}|{}", price.text),
        };
        let quote = currency.to_uppercase();
        parsed.ticks.push(PriceTick {
            event_id: event_id(SOURCE, ID_SPACE, &source_symbol, &source_key),
            revision: 0,
            source: SOURCE.to_owned(),
            symbol: format!("{base}-{quote}"),
            base: base.to_owned(),
            quote,
            kind: Kind::Reference,
            price: price.value,
            quantity: None,
            bid: None,
            ask: None,
            volume_24h: None,
            quote_volume_24h,
            market_cap,
            change_24h_pct,
            event_time,
            event_time_origin: if clock.is_some() { EventTimeOrigin::Source } else { EventTimeOrigin::Received },
            received_at,
            sequence: None,
            trade_id: None,
            source_symbol,
            payload_id,
            previous_event_time: None,
            previous_symbol: None,
            retracted: false,
        });
    }
}

/// The coin's time in micros and its text, or the time of receipt when the source tells none that can be meant.
fn event_time<'a>(
    object: &Object<'a>,
    id: &str,
    received_at: i64,
    problems: &mut Vec<Problem>,
) -> (i64, Option<Cow<'a, str>>) {
    // 2009-01-03, the first block: no price is older. A day ahead is more than any clock is wrong by.
    const EARLIEST_SECONDS: i64 = 1_230_940_800;
    const DAY_SECONDS: i64 = 86_400;
    if matches!(object.get("last_updated_at"), Field::Missing | Field::One(Value::Null)) {
        return (received_at, None);
    }
    let mut unreadable = Vec::new();
    let read = Row { object, path: id, problems: &mut unreadable }.whole_number("last_updated_at");
    let detail = match read {
        Some((seconds, text)) if (EARLIEST_SECONDS..=received_at / 1_000_000 + DAY_SECONDS).contains(&seconds) => {
            return (seconds * 1_000_000, Some(text));
        }
        Some((seconds, _)) => format!("{seconds} is no time in seconds that this price can have"),
        None => unreadable.pop().map_or_else(String::new, |problem| problem.detail),
    };
    problems.push(Problem::nulled(
        "bad_time",
        format!("{id}.last_updated_at"),
        detail + "; the time of receipt is taken",
    ));
    (received_at, None)
}

fn is_currency(name: &str) -> bool {
    let length = (2..=6).contains(&name.len());
    length && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn name_strangers(strangers: &[&str], problems: &mut Vec<Problem>) {
    const NAMED: usize = 20;
    for id in strangers.iter().take(NAMED) {
        let detail = format!("no symbol is known for the id {}, or it was not asked for", excerpt(id));
        problems.push(Problem::rejected("unknown_id", excerpt(id).trim_matches('"'), detail));
    }
    if strangers.len() > NAMED {
        problems.push(Problem::rejected("unknown_id", "", format!("and {} more ids", strangers.len() - NAMED)));
    }
}

#[cfg(test)]
#[path = "coingecko_tests.rs"]
mod tests;
