//! `simple/price`: `{"bitcoin":{"usd":67000.1,"usd_market_cap":…,"usd_24h_vol":…,"usd_24h_change":…,"last_updated_at":…}}`.

use std::borrow::Cow;

use pipeline::events::PriceTick;

use super::asked::{Asked, is_currency};
use super::{Coingecko, Quote, SOURCE, name_strangers};
use crate::parse::json::{Field, Object, Value};
use crate::parse::payload::Payload;
use crate::parse::problem::Problem;
use crate::parse::row::{Form, Range, Row, Unit};
use crate::sources::Parsed;

const ID_SPACE: &str = "simple_price";
/// The source has some sixty currencies, four fields each.
const MOST_FIELDS: usize = 1_000;

impl Coingecko {
    pub(super) fn read_simple_price(
        &self,
        object: &Object<'_>,
        asked: &Asked,
        payload: &Payload<'_>,
        parsed: &mut Parsed,
    ) {
        let refused = parsed.refusal.is_some();
        let mut strangers = Vec::new();
        for id in object.names() {
            match self.symbols.base(SOURCE, id).filter(|_| asked.has(id)) {
                Some(base) => self.read_coin(object, (id, base), asked, payload, parsed),
                None => strangers.push(id.to_owned()),
            }
        }
        // An error's own fields are no coins, and all that was asked for is missing then.
        if !refused {
            name_strangers(&strangers, &mut parsed.problems);
            asked.name_missing(|id| object.get(id) != Field::Missing, &mut parsed.problems);
        }
    }

    fn read_coin(
        &self,
        answer: &Object<'_>,
        (id, base): (&str, &str),
        asked: &Asked,
        payload: &Payload<'_>,
        parsed: &mut Parsed,
    ) {
        let mut rejected = |code, detail| parsed.problems.push(Problem::rejected(code, id, detail));
        let object = match answer.get(id) {
            Field::One(Value::Object(text)) => Object::parse(text),
            Field::One(Value::Null) => return rejected("null_field", "null instead of prices".to_owned()),
            Field::One(other) => {
                return rejected("wrong_type", format!("expected an object of prices, got {}", other.kind()));
            }
            Field::Ambiguous | Field::Missing => {
                return rejected("duplicate_key", "the id stands there twice with different prices".to_owned());
            }
        };
        if object.len() > MOST_FIELDS {
            return rejected("too_long", format!("{} fields are more than one coin has", object.len()));
        }
        let mut row = Row { object: &object, path: id, problems: &mut parsed.problems };
        let time = row.told_time("last_updated_at", |row| row.epoch("last_updated_at", Unit::Seconds));
        let time = time.as_ref().map(|(micros, text)| (*micros, text.as_ref()));
        let currencies: Vec<Cow<'_, str>> = if asked.currencies.is_empty() {
            object.names().filter(|name| is_currency(name)).map(Cow::Borrowed).collect()
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
            let quote = Quote { id_space: ID_SPACE, id, base, currency: &currency, price: &price, time };
            let reference = self.reference(&quote, payload);
            parsed.push(PriceTick { quote_volume_24h, market_cap, change_24h_pct, ..reference });
        }
    }
}

#[cfg(test)]
#[path = "simple_price_tests.rs"]
mod tests;
