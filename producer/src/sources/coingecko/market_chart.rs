//! `coins/{id}/market_chart`: `{"prices":[[ms, price],…],"market_caps":[…],"total_volumes":[…]}`, history for filling gaps.
//! Coin and currency stand in the request only. The ticks come in time order, each point once.

use std::borrow::Cow;
use std::collections::HashMap;

use pipeline::decimal::Decimal38;
use pipeline::events::PriceTick;

use super::asked::{Asked, Endpoint};
use super::{Coingecko, MOST_ROWS, Quote, SOURCE, name_strangers, too_long};
use crate::parse::json::{Field, Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Price, Unit, is_plausible, positive, unreadable};
use crate::sources::Parsed;

const ID_SPACE: &str = "market_chart";

/// The text of a list of points, also of one in which the answer breaks off; `None` when there is no such list.
#[must_use]
pub(super) fn points<'a>(object: &Object<'a>, name: &str) -> Option<&'a str> {
    match object.get(name) {
        Field::One(Value::Array(text)) => Some(text),
        Field::Missing => match object.unfinished(name) {
            Some(Value::Array(text)) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// A price at a time.
struct Point<'a> {
    micros: i64,
    ms: &'a str,
    price: Price<'a>,
}

impl Coingecko {
    pub(super) fn read_market_chart(
        &self,
        object: &Object<'_>,
        prices: &str,
        asked: &Asked,
        payload: &Payload<'_>,
        parsed: &mut Parsed,
    ) {
        let ([id], Some(currency), Endpoint::MarketChart) = (&asked.ids[..], asked.one_currency(), &asked.endpoint)
        else {
            let detail = "a market_chart does not say whose prices these are, nor in what currency: it stands in the path \
                          and the vs_currency of the request, which are not known";
            parsed.problems.push(Problem::rejected("unknown_request", "prices", detail));
            return;
        };
        let Some(base) = self.symbols.base(SOURCE, id) else {
            name_strangers(std::slice::from_ref(id), &mut parsed.problems);
            return;
        };
        let rows = elements(prices).0;
        if rows.is_empty() && object.broken.is_none() {
            parsed.problems.push(Problem::rejected("empty_answer", "prices", "there is no point in it"));
        }
        if rows.len() > MOST_ROWS {
            parsed.problems.push(too_long("prices", rows.len()));
        }
        let points = in_order(&rows, &mut parsed.problems);
        let mut volumes = values_by_time(object, "total_volumes", &mut parsed.problems);
        let mut caps = values_by_time(object, "market_caps", &mut parsed.problems);
        for Point { micros, ms, price } in &points {
            let quote = Quote { id_space: ID_SPACE, id, base, currency, price, time: Some((*micros, ms)) };
            let reference = self.reference(&quote, payload);
            let quote_volume_24h = volumes.remove(ms);
            let market_cap = caps.remove(ms).filter(|cap| !cap.is_zero());
            parsed.push(PriceTick { quote_volume_24h, market_cap, ..reference });
        }
    }
}

/// The points in time order, each once.
fn in_order<'a>(rows: &[Value<'a>], problems: &mut Vec<Problem>) -> Vec<Point<'a>> {
    let mut points: Vec<(usize, Point<'a>)> = Vec::new();
    let mut latest: Option<(i64, Decimal38)> = None;
    for (index, row) in rows.iter().take(MOST_ROWS).enumerate() {
        let point = match point(row) {
            Ok(point) => point,
            Err((part, code, detail)) => {
                problems.push(Problem::rejected(code, format!("prices[{index}]{part}"), detail));
                continue;
            }
        };
        match latest {
            // The price of now, told a second time with the time of some cache.
            Some((at, price)) if point.micros < at && point.price.value == price => {
                let detail = "older than the point before it, whose price it repeats";
                problems.push(Problem::noted("repeated_point", format!("prices[{index}]"), detail));
                continue;
            }
            _ => latest = Some((point.micros, point.price.value)),
        }
        points.push((index, point));
    }
    points.sort_by_key(|(_, point)| point.micros);
    let mut ordered: Vec<Point<'a>> = Vec::with_capacity(points.len());
    let mut points = points.into_iter().peekable();
    while let Some((index, point)) = points.next() {
        let mut agree = true;
        while let Some((_, other)) = points.next_if(|(_, other)| other.micros == point.micros) {
            agree &= other.price.value == point.price.value;
        }
        if agree {
            ordered.push(point);
        } else {
            let detail = format!("the time {} stands there twice with different prices", point.ms);
            problems.push(Problem::rejected("duplicate_key", format!("prices[{index}]"), detail));
        }
    }
    ordered
}

/// `[1700000000000, 67000.1]`; else which part is wrong, the code and the detail.
fn point<'a>(row: &Value<'a>) -> Result<Point<'a>, (&'static str, &'static str, String)> {
    let (ms, value) = pair(row).map_err(|detail| ("", "wrong_type", detail))?;
    let (micros, ms) = match ms {
        Value::Number(text) => match text.parse::<i64>() {
            Ok(count) if count.to_string() == text => (count.saturating_mul(Unit::Millis.micros()), text),
            _ => return Err(("[0]", "not_a_number", format!("expected whole milliseconds, got {}", excerpt(text)))),
        },
        other => return Err(("[0]", "wrong_type", format!("expected milliseconds, got {}", other.kind()))),
    };
    if !is_plausible(micros) {
        return Err(("[0]", "bad_time", format!("{} is no time that a price can have", excerpt(ms))));
    }
    let price = digits(value).and_then(positive).map_err(|(code, detail)| ("[1]", code, detail))?;
    Ok(Point { micros, ms, price })
}

fn pair<'a>(row: &Value<'a>) -> Result<(Value<'a>, Value<'a>), String> {
    let Value::Array(text) = row else { return Err(format!("expected [ms, value], got {}", row.kind())) };
    let mut parts = elements(text).0.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(ms), Some(value), None) => Ok((ms, value)),
        _ => Err(format!("expected [ms, value], got {}", excerpt(text))),
    }
}

fn digits(value: Value<'_>) -> Result<Cow<'_, str>, (&'static str, String)> {
    match value {
        Value::Number(text) => Ok(Cow::Borrowed(text)),
        Value::Text(text) => Ok(text),
        Value::Null => Err(("null_field", "null".to_owned())),
        other => Err(("wrong_type", format!("expected a number, got {}", other.kind()))),
    }
}

/// Values by the milliseconds that they stand with. What is not exact, or told twice in two ways, is left out and named.
fn values_by_time<'a>(object: &Object<'a>, name: &str, problems: &mut Vec<Problem>) -> HashMap<&'a str, Decimal38> {
    let mut values: HashMap<&'a str, Decimal38> = HashMap::new();
    let mut twice: Vec<&'a str> = Vec::new();
    let rows = points(object, name).map(|text| elements(text).0).unwrap_or_default();
    for (index, row) in rows.iter().take(MOST_ROWS).enumerate() {
        let mut left_out =
            |part: &str, code, detail| problems.push(Problem::nulled(code, format!("{name}[{index}]{part}"), detail));
        let (ms, value) = match pair(row) {
            Ok((Value::Number(ms), value)) => (ms, value),
            Ok((other, _)) => {
                left_out("[0]", "wrong_type", format!("expected milliseconds, got {}", other.kind()));
                continue;
            }
            Err(detail) => {
                left_out("", "wrong_type", detail);
                continue;
            }
        };
        let value = match value {
            Value::Null => continue,
            value => digits(value).and_then(|text| match Decimal38::parse(&text) {
                Ok(value) if value.is_negative() => Err(("negative", excerpt(&text))),
                Ok(value) => Ok(value),
                Err(error) => Err(unreadable(&error, &text)),
            }),
        };
        match value {
            Ok(value) => match values.insert(ms, value) {
                Some(other) if other != value => {
                    left_out("", "duplicate_key", format!("the time {ms} stands there twice with different values"));
                    twice.push(ms);
                }
                _ => {}
            },
            Err((code, detail)) => left_out("[1]", code, detail),
        }
    }
    for ms in twice {
        values.remove(ms);
    }
    values
}

#[cfg(test)]
#[path = "market_chart_tests.rs"]
mod tests;
