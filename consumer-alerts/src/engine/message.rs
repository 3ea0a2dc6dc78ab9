//! What a person reads: numbers with their thousands apart, times in UTC, one sentence.

use jiff::Timestamp;
use pipeline::decimal::Decimal38;
use pipeline::events::Gap;

use super::feed::Look;
use crate::rules::{Micros, Side, Window};

/// Longer texts of others are cut off.
const FOREIGN_CHARACTERS: usize = 200;

/// `67,187.34`: as many digits after the point as the price has.
pub(super) fn number(price: Decimal38) -> String {
    let text = price.to_string();
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

/// A computed price, with as many digits as the price beside it, and two at least.
pub(super) fn computed(value: Decimal38, beside: Decimal38) -> String {
    let text = beside.to_string();
    let places = text.split_once('.').map_or(0, |(_, fraction)| fraction.len()).clamp(2, 18);
    let unit = 10_i128.pow(18 - u32::try_from(places).expect("at most 18"));
    let rounded = (value.unscaled() + unit / 2).div_euclid(unit);
    let number = number(Decimal38::from_unscaled(rounded * unit).unwrap_or(value));
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    format!("{whole}.{fraction:0<places$}")
}

/// `3.4 %`, without sign, two digits after the point at most.
pub(super) fn percent(value: f64) -> String {
    format!("{} %", short(value))
}

/// Two digits after the point at most.
fn short(value: f64) -> String {
    let text = format!("{:.2}", value.abs());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn time(micros: i64) -> String {
    let second = Timestamp::from_second(micros.div_euclid(1_000_000));
    second.map_or_else(|_| format!("{micros} microseconds"), |time| time.to_string())
}

/// A length of time in whole seconds, or exactly when it is shorter than one.
pub(super) fn lasting(micros: i64) -> String {
    let micros = micros.max(0);
    Micros(if micros < 1_000_000 { micros } else { micros - micros % 1_000_000 }).to_string()
}

/// What a rule about a series saw, for its sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub price: Decimal38,
    pub reference: Option<Decimal38>,
    /// How far off, percent, signed.
    pub change_pct: f64,
    /// How long before the tick the window's oldest one is, microseconds.
    pub reach: i64,
    /// Others at the median; deviations of the short and the long window.
    pub sources: usize,
    pub deviations: (f64, f64),
}

impl Seen {
    /// The sentence of an alert, or of its end.
    pub fn sentence(&self, symbol: &str, source: &str, look: &Look, window: Option<Window>, over: bool) -> String {
        let Self { price, reference, change_pct, reach, sources, deviations } = *self;
        let (symbol, source) = (plain(symbol), plain(source));
        let head = format!("{symbol} at {source}: {}", number(price));
        let above = if change_pct < 0.0 { "below" } else { "above" };
        let off = match (over, change_pct == 0.0) {
            (false, _) => format!("is {} {above}", percent(change_pct)),
            (true, false) => format!("is back, {} {above}", percent(change_pct)),
            (true, true) => "is back at".to_owned(),
        };
        let reference = reference.map(|reference| computed(reference, price)).unwrap_or_default();
        match look {
            Look::Mean { .. } => {
                let window = match window {
                    Some(Window::Ticks { count, .. }) => format!("{count} ticks"),
                    Some(Window::Time(span)) => span.to_string(),
                    None => "window".to_owned(),
                };
                format!("{head} {off} the mean of the last {window} ({reference})")
            }
            Look::Change { .. } => format!("{head} {off} the price {} before ({reference})", lasting(reach)),
            Look::OffMedian { .. } => format!("{head} {off} the median of {sources} other sources ({reference})"),
            Look::Threshold { side, level, .. } => {
                let level = Decimal38::from_unscaled(*level).map(number).unwrap_or_default();
                let (beyond, near) = match side {
                    Side::Above => ("above", "below"),
                    Side::Below => ("below", "above"),
                };
                if over { format!("{head} is {near} {level} again") } else { format!("{head} is {beyond} {level}") }
            }
            Look::Volatility { .. } => {
                let (now, before) = (percent_fine(deviations.0), percent_fine(deviations.1));
                let times = short(deviations.0 / deviations.1);
                let window = match window {
                    Some(Window::Ticks { count, .. }) => format!("the last {count} ticks"),
                    Some(Window::Time(span)) => format!("the last {span}"),
                    None => "the last ticks".to_owned(),
                };
                let now_vary = if over { "prices are back to varying" } else { "prices vary" };
                format!(
                    "{symbol} at {source}: {now_vary} {times} times as much in {window} as before ({now} a tick against {before}), now {}",
                    number(price)
                )
            }
        }
    }
}

/// Three digits that count.
fn percent_fine(fraction: f64) -> String {
    let percent = fraction * 100.0;
    let places = if percent > 0.0 { (2 - percent.log10().floor() as i32).clamp(0, 10) } else { 0 };
    format!("{percent:.*} %", usize::try_from(places).expect("not negative"))
}

/// What a gap is about: `coinbase`, `BTC-USD at coinbase`.
pub(super) fn gap_subject(gap: &Gap) -> String {
    let source = plain(&gap.source);
    match gap.symbols.as_slice() {
        [] => source,
        [symbol] => format!("{} at {source}", plain(symbol)),
        [first, rest @ ..] => format!("{} and {} more at {source}", plain(first), rest.len()),
    }
}

/// The text of somebody else on one line, not too long.
pub(super) fn plain(text: &str) -> String {
    let mut plain: String =
        text.chars().take(FOREIGN_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(FOREIGN_CHARACTERS).is_some() {
        plain.push('…');
    }
    plain
}
