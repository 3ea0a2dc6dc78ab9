//! `coins/markets`: an array of coins with times in ISO form. The currency of all its prices stands in the request only.

use std::collections::HashMap;

use pipeline::events::PriceTick;

use super::asked::{Asked, Endpoint};
use super::{Coingecko, MOST_ROWS, Quote, SOURCE, name_strangers, too_long, unsupported};
use crate::parse::json::{Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::Problem;
use crate::parse::row::{Form, Range, Row};
use crate::sources::Parsed;

const ID_SPACE: &str = "markets";

impl Coingecko {
    pub(super) fn read_markets(&self, text: &str, asked: &Asked, payload: &Payload<'_>, parsed: &mut Parsed) {
        let (rows, broken) = elements(text);
        if let Some(broken) = &broken {
            parsed.problems.push(Problem::rejected("not_json", "", format!("the answer breaks off: {broken}")));
        }
        let may_be_markets = matches!(asked.endpoint, Endpoint::Markets | Endpoint::Unknown);
        if !may_be_markets || rows.first().is_some_and(|row| !matches!(row, Value::Object(_) | Value::Null)) {
            parsed.problems.push(unsupported("an array that is not of coins/markets"));
            return;
        }
        if rows.is_empty() && broken.is_none() {
            let detail = "the answer is []: nothing that was asked for is known";
            parsed.problems.push(Problem::rejected("empty_answer", "", detail));
        } else if let Some(currency) = asked.one_currency() {
            self.read_rows(&rows, currency, asked, payload, parsed);
            return;
        } else if !rows.is_empty() {
            let detail = "the rows of coins/markets do not say what currency their prices are in: it is the vs_currency of \
                          the request, which is not known";
            parsed.problems.push(Problem::rejected("unknown_request", "", detail));
            return;
        }
        asked.name_missing(|_| false, &mut parsed.problems);
    }

    fn read_rows(&self, rows: &[Value<'_>], currency: &str, asked: &Asked, payload: &Payload<'_>, parsed: &mut Parsed) {
        if rows.len() > MOST_ROWS {
            parsed.problems.push(too_long("", rows.len()));
        }
        let mut coins = Vec::new();
        // The text of each coin's row; none where two rows of one coin differ, and neither is believed.
        let mut texts: HashMap<String, Option<&str>> = HashMap::new();
        for (index, row) in rows.iter().take(MOST_ROWS).enumerate() {
            let path = format!("[{index}]");
            let Value::Object(text) = row else {
                let code = if *row == Value::Null { "null_field" } else { "wrong_type" };
                parsed.problems.push(Problem::rejected(code, path, format!("{} instead of a coin", row.kind())));
                continue;
            };
            let object = Object::parse(text);
            let id = Row { object: &object, path: &path, problems: &mut parsed.problems }.text("id");
            let Some(id) = id.map(|id| id.into_owned()) else { continue };
            match texts.get_mut(&id) {
                None => {
                    texts.insert(id.clone(), Some(text));
                    coins.push((id, object));
                }
                Some(first) if *first == Some(text) => {}
                Some(first) => *first = None,
            }
        }
        let mut strangers = Vec::new();
        for (id, object) in &coins {
            match self.symbols.base(SOURCE, id).filter(|_| asked.has(id)) {
                None => strangers.push(id.clone()),
                Some(_) if texts.get(id).is_some_and(Option::is_none) => {
                    let detail = "the coin stands there twice with different rows";
                    parsed.problems.push(Problem::rejected("duplicate_key", id.as_str(), detail));
                }
                Some(base) => self.read_row(object, (id, base), currency, payload, parsed),
            }
        }
        name_strangers(&strangers, &mut parsed.problems);
        asked.name_missing(|id| texts.contains_key(id), &mut parsed.problems);
    }

    fn read_row(
        &self,
        object: &Object<'_>,
        (id, base): (&str, &str),
        currency: &str,
        payload: &Payload<'_>,
        parsed: &mut Parsed,
    ) {
        let mut row = Row { object, path: id, problems: &mut parsed.problems };
        let Some(price) = row.price("current_price", Form::Number) else { return };
        let quote_volume_24h = row.auxiliary("total_volume", Form::Number, Range::NotNegative);
        // Where nobody knows the supply it is 0, with a rank of null.
        let market_cap = row.auxiliary("market_cap", Form::Number, Range::ZeroIsUnknown);
        let change_24h_pct = row.auxiliary("price_change_percentage_24h", Form::Number, Range::Any);
        let micros = row.told_time("last_updated", |row| row.timestamp("last_updated"));
        let text = object.text("last_updated").unwrap_or_default();
        let time = micros.map(|micros| (micros, text.as_ref()));
        let quote = Quote { id_space: ID_SPACE, id, base, currency, price: &price, time };
        let reference = self.reference(&quote, payload);
        parsed.push(PriceTick { quote_volume_24h, market_cap, change_24h_pct, ..reference });
    }
}

#[cfg(test)]
#[path = "markets_tests.rs"]
mod tests;
