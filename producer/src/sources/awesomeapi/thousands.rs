//! Whether the dot of `"bid":"108.079"` is a decimal point. From 2021 to 2022 this source wrote prices of 1,000 and more in
//! thousands, without the zeros at the end (`"109"` for 109,000, `"6.80535"` for 6,805.35), beside plain ones in the same
//! answer and with `varBid` plain; before and after it wrote them out. The invariant: a number goes out as it is written or a
//! thousand times as large only where nothing else can be meant; otherwise it does not go out, and the problem says why.
//!
//! How it is decided. A number below 1,000 that does not begin with a zero has two readings, any other has one. The change
//! tells them apart: with the price before it `q = bid - varBid`, the source has `pctChange = 100 varBid / q`, so that
//! `varBid = bid pctChange / (100 + pctChange)`. The quotient of both sides is about 1 where the bid is as written and about
//! 1,000 where it is in thousands. Both are rounded and not taken in the same moment, so a factor of 5 either way is allowed,
//! and `pctChange` stands for all that rounds to it: `0` is anything up to half of its last digit, which bounds the quotient
//! from below only. `ask`, `high` and `low` decide, too, where one of them has a single reading (`587.123` beside
//! `587123.45`). What decides must agree, and where nothing decides, as on a day without a change, the row is refused.
//!
//! Nothing is remembered from one answer to the next, since a parser has no state. Two things are known beforehand: no two
//! [`CLOSE`] currencies are worth a thousand of each other, so that their rates are as written, and a bitcoin is worth more
//! than a thousand of any of them. What says otherwise is refused: a bitcoin below that, by a row that fits in itself, is one
//! whose `varBid` is in thousands, too.

use std::borrow::Cow;

use pipeline::decimal::{Decimal38, DecimalError};

use crate::parse::grouped::Marks;
use crate::parse::problem::excerpt;

/// Currencies of which no two are worth a thousand of each other: a pound is some 200 yen, and nothing here is worth more than
/// the one or less than the other.
const CLOSE: [&str; 34] = [
    "AED", "AUD", "BOB", "BRL", "BRLPTAX", "BRLT", "CAD", "CHF", "CNH", "CNY", "CZK", "DKK", "EGP", "EUR", "GBP",
    "HKD", "ILS", "INR", "JPY", "MXN", "NOK", "NZD", "PEN", "PLN", "QAR", "RUB", "SAR", "SEK", "SGD", "THB", "TRY",
    "TWD", "USD", "ZAR",
];

/// How far a quotient may be off and still be meant: what tells the readings apart is a factor of 1,000.
const SLACK: f64 = 5.0;
/// Two fields of one row are prices of the same thing.
const NEAR: f64 = 3.0;
/// Nearer to a factor of 1,000 than to none.
const WORLDS: f64 = 31.6;

/// A number as the source wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// With one reading.
    Plain(Decimal38),
    /// As written, or a thousand times as large.
    Either(Decimal38),
}

/// Reads `587123.45`, `587.123`, `1.234.567`, `587.123,45` and `587,123.45`.
///
/// # Errors
/// When it is none of these.
pub fn read(text: &str) -> Result<Written, DecimalError> {
    let count = |mark: u8| text.bytes().filter(|byte| *byte == mark).count();
    let plain = match (count(b'.'), count(b',')) {
        (_, 0) if count(b'.') < 2 => Cow::Borrowed(text),
        (0, 1) => Cow::Owned(text.replace(',', ".")),
        // Several of one mark, or both: the marks that are not the last one can only group.
        (_, 0) => return Marks::BRAZILIAN.parse(text).map(Written::Plain),
        (0, _) => return Marks::ENGLISH.parse(text).map(Written::Plain),
        _ if text.rfind('.') < text.rfind(',') => return Marks::BRAZILIAN.parse(text).map(Written::Plain),
        _ => return Marks::ENGLISH.parse(text).map(Written::Plain),
    };
    let value = Decimal38::parse(&plain)?;
    Ok(if could_be_in_thousands(&plain) { Written::Either(value) } else { Written::Plain(value) })
}

/// One to three digits before the point, and no zero in front: nobody writes 0.5 thousand for 500.
fn could_be_in_thousands(plain: &str) -> bool {
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    (1..=3).contains(&whole.len())
        && !whole.starts_with('0')
        && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
}

fn in_thousands(value: Decimal38) -> Option<Decimal38> {
    Decimal38::from_unscaled(value.unscaled().checked_mul(1_000)?)
}

/// What else the row tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    pub var_bid: Option<&'a str>,
    pub pct_change: Option<&'a str>,
    pub ask: Option<Written>,
    pub high: Option<Written>,
    pub low: Option<Written>,
}

/// What is bid, in units of the quote.
///
/// # Errors
/// Why it cannot be told.
pub fn bid(bid: Written, told: &Told<'_>, base: &str, quote: &str) -> Result<Decimal38, String> {
    let both_close = are_close(base, quote);
    let value = match bid {
        Written::Plain(value) => value,
        Written::Either(written) if both_close => written,
        Written::Either(written) => decided(written, told)?,
    };
    let of_a_thousand = rough(value) >= 1_000.0;
    if both_close && of_a_thousand {
        return Err(format!(
            "{value} {quote} for one {base}: no two of these currencies are worth a thousand of each other"
        ));
    }
    if base == "BTC" && is_close(quote) && !of_a_thousand {
        return Err(format!("{value} {quote} fits its row, but no bitcoin is worth less than 1000 of them"));
    }
    Ok(value)
}

fn decided(written: Decimal38, told: &Told<'_>) -> Result<Decimal38, String> {
    let change = [("varBid", told.var_bid), ("pctChange", told.pct_change)];
    let change =
        change.map(|(name, text)| format!("{name} {}", text.map_or("missing".to_owned(), excerpt))).join(" and ");
    match by_change(written, told).and(by_neighbours(written, told)) {
        Fits { plain: true, thousands: false } => Ok(written),
        Fits { plain: false, thousands: true } => {
            in_thousands(written).ok_or_else(|| format!("{written} thousand has too many digits"))
        }
        Fits { plain: true, thousands: true } => Err(format!(
            "{written} may be {written} or that many thousand: {change} fit both, and the row's other prices do not tell"
        )),
        Fits { plain: false, thousands: false } => Err(format!(
            "{written} is in contradiction to the rest of its row, as written and in thousands: {change}, ask, high and low"
        )),
    }
}

/// What is asked, beside a bid that is known; `None` where no reading of it is near.
#[must_use]
pub fn ask(ask: Written, bid: Decimal38) -> Option<Decimal38> {
    match ask {
        Written::Plain(value) => Some(value),
        Written::Either(written) => {
            [Some(written), in_thousands(written)].into_iter().flatten().find(|value| is_near(*value, bid))
        }
    }
}

/// Whether both can be prices of one thing at one time.
#[must_use]
pub fn is_near(a: Decimal38, b: Decimal38) -> bool {
    is_within(NEAR, a, b)
}

/// Whether they are so far apart that one of them is in another unit.
#[must_use]
pub fn are_worlds_apart(a: Decimal38, b: Decimal38) -> bool {
    !is_within(WORLDS, a, b)
}

fn is_within(factor: f64, a: Decimal38, b: Decimal38) -> bool {
    (1.0 / factor..=factor).contains(&(rough(a) / rough(b)))
}

/// Whether no one of these currencies is worth a thousand of the other.
#[must_use]
pub fn are_close(base: &str, quote: &str) -> bool {
    is_close(base) && is_close(quote)
}

fn is_close(code: &str) -> bool {
    CLOSE.binary_search(&code).is_ok()
}

/// Which readings something allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fits {
    plain: bool,
    thousands: bool,
}

impl Fits {
    const BOTH: Self = Self { plain: true, thousands: true };

    fn and(self, other: Self) -> Self {
        Self { plain: self.plain && other.plain, thousands: self.thousands && other.thousands }
    }
}

fn by_change(written: Decimal38, told: &Told<'_>) -> Fits {
    let (Some(var_text), Some(pct_text)) = (told.var_bid, told.pct_change) else { return Fits::BOTH };
    let (Ok(var), Ok(pct)) = (Decimal38::parse(var_text), Decimal38::parse(pct_text)) else { return Fits::BOTH };
    let (size, pct) = (rough(var).abs(), rough(pct));
    if var.is_zero() {
        // A percentage beside a change of zero: too small for the two digits after the point that changes have. In thousands
        // it would be of a whole unit and more, and would not be zero.
        let change = rough(written) * pct.abs() / 100.0;
        let too_small = pct != 0.0 && change <= 0.005 * SLACK && change * 1_000.0 >= 1.0;
        return Fits { plain: true, thousands: !too_small };
    }
    if pct <= -100.0 || (pct != 0.0 && (pct < 0.0) != var.is_negative()) {
        return Fits { plain: false, thousands: false };
    }
    // At least two digits after the point are kept, but for zeros at the end.
    let digits = pct_text.split_once('.').map_or(0, |(_, digits)| digits.len()).clamp(2, 12);
    let half = 0.5 * 10_f64.powi(-(digits as i32));
    let quotient = |pct_size: f64| size * (100.0 + pct) / (rough(written) * pct_size);
    let least = quotient(pct.abs() + half);
    if pct.abs() <= half {
        // Bounded from below only, so that it takes much for "in thousands".
        let plain = least <= SLACK;
        return Fits { plain, thousands: plain || (100.0..=1_000.0 * SLACK).contains(&least) };
    }
    let most = quotient(pct.abs() - half);
    let within = |scale: f64| least <= scale * SLACK && most >= scale / SLACK;
    Fits { plain: within(1.0), thousands: within(1_000.0) }
}

fn by_neighbours(written: Decimal38, told: &Told<'_>) -> Fits {
    let thousands = in_thousands(written);
    let mut fits = Fits::BOTH;
    for neighbour in [told.ask, told.high, told.low] {
        let Some(Written::Plain(neighbour)) = neighbour else { continue };
        if neighbour.is_zero() || neighbour.is_negative() {
            continue;
        }
        let near = Fits {
            plain: is_near(written, neighbour),
            thousands: thousands.is_some_and(|thousands| is_near(thousands, neighbour)),
        };
        // One that is near neither is wrong itself, or of another day.
        if near.plain || near.thousands {
            fits = fits.and(near);
        }
    }
    fits
}

/// A float decides here between two readings a thousand apart; no digit of it goes out.
fn rough(value: Decimal38) -> f64 {
    value.unscaled() as f64 / 10_f64.powi(Decimal38::SCALE as i32)
}

#[cfg(test)]
#[path = "thousands_tests.rs"]
mod tests;
