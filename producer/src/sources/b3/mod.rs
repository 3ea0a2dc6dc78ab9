//! B3, `/indexProxy/indexCall/GetPortfolioDay/…`: which papers an index holds on a trading day, with their weights. No prices.
//! A portfolio has pages; each row that is right goes out, and the whole is checked against its own header. Must never happen
//! here: a quantity read with the wrong marks, an empty portfolio in place of a failure, or a weight under a guessed index.
//!
//! Traps:
//! - The index and the language stand in the request only: without an index nothing is read (`unknown_request`).
//! - The language decides the marks of numbers and the order of a date: `96.626.612.142`, `3,157`, 20/09/23 in pt-br,
//!   `96,626,612,142`, `3.157`, 09/20/23 in en-us. The header's part of `100,000` or `100.000` shows which it is, so a language
//!   that does not fit it is noticed; where neither tells, nothing is read (`ambiguous_number`).
//! - `type` is padded with spaces and carries marks that change from day to day (`ON  EJ  NM`): it is kept whole, and it is no
//!   part of the identity, which is index, code, segment and day.
//! - Empty results are a failure, but on a day without trading.
//! - The quantities add up to the header's to the last paper (`sum_mismatch`); the parts, each rounded, to 99.999 to 100.001
//!   (`part_sum`). Both are said of rows that go out all the same.
//! - With segment 2 there are sums per segment: as `partAcum` of each row, or as rows without a code, which are no papers.
//! - `GetTheoricalPortfolio` has no date and `GetStockIndex` no weights: refused as `unsupported_shape`.

mod args;
pub mod calendar;
pub mod request;
mod whole;

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::Date;
use pipeline::decimal::Decimal38;
use pipeline::events::{IndexWeight, event_id};

use super::{Parsed, Refusal, Source};
use crate::parse::json::{Document, Field, Object, Value, elements};
use crate::parse::payload::Payload;
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::{Row, unreadable};
use crate::symbols::is_code;
use calendar::Day;
use request::{Asked, Language};

pub use args::B3Args;
pub use whole::PortfolioPage;

pub const SOURCE: &str = "b3";
const ID_SPACE: &str = "portfolio_day";
/// The broadest index has some hundred papers, the largest page that can be asked for 9,999.
const MOST_ROWS: usize = 10_000;

pub struct B3;

impl Source for B3 {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let mut parsed = Parsed::default();
        let document = Document::new(payload.bytes);
        let faults = document.faults.iter().map(|fault| Problem::noted("not_json", "", fault.as_str()));
        parsed.problems.extend(faults);
        match document.value() {
            Value::Object(text) => read(&Object::parse(text), payload, &mut parsed),
            Value::Broken("") => parsed.problems.push(Problem::rejected("not_json", "", "an empty body")),
            Value::Broken(text) => {
                parsed.problems.push(Problem::rejected("not_json", "", format!("not JSON: {}", excerpt(text))));
            }
            other => {
                let detail = format!("{} is no portfolio: {}", other.kind(), excerpt(document.text()));
                parsed.problems.push(Problem::rejected("unsupported_shape", "", detail));
            }
        }
        parsed
    }

    fn conclude(&self, parsed: &mut Parsed) {
        whole::check(parsed);
    }
}

fn read(answer: &Object<'_>, payload: &Payload<'_>, parsed: &mut Parsed) {
    if let Some(broken) = &answer.broken {
        parsed.problems.push(Problem::rejected("not_json", "", format!("the answer breaks off: {broken}")));
    }
    let rows = match answer.get("results") {
        Field::One(Value::Array(text)) => elements(text).0,
        Field::One(Value::Null) => Vec::new(),
        _ => match answer.unfinished("results") {
            Some(Value::Array(text)) => elements(text).0,
            _ => return not_a_portfolio(answer, parsed),
        },
    };
    if rows.is_empty() {
        return read_nothing(payload.received_at, parsed);
    }
    let asked = Asked::of(payload.request);
    let Some(header) = read_header(answer, &asked, parsed) else { return };
    let Some(index) = &asked.index else {
        let detail = "which index it is stands in the request, and that is not known";
        parsed.problems.push(Problem::rejected("unknown_request", "", detail));
        return;
    };
    if rows.len() > MOST_ROWS {
        let detail = format!("{} rows; the first {MOST_ROWS} are read", rows.len());
        parsed.problems.push(Problem::rejected("too_long", "results", detail));
    }
    for (at, row) in rows.iter().take(MOST_ROWS).enumerate() {
        let path = format!("results[{at}]");
        match row {
            Value::Object(text) => {
                let object = Object::parse(text);
                let row = Row { object: &object, path: &path, problems: &mut parsed.problems };
                parsed.weights.extend(read_row(row, index, &header, payload));
            }
            other => {
                let detail = format!("expected a paper, got {}", other.kind());
                parsed.problems.push(Problem::rejected("wrong_type", path, detail));
            }
        }
    }
    parsed.answered = !parsed.weights.is_empty();
    let (number, of) = page_of(answer, &asked, parsed);
    let page = PortfolioPage { index: index.clone(), date: header.date, number, of, quantity: header.quantity };
    let turned_to = asked.page.unwrap_or(number);
    if of > 1 {
        parsed.portfolio.push(page);
        if turned_to < of {
            parsed.next_page = asked.for_page(turned_to + 1);
        }
    } else {
        whole::check_one(&page, std::slice::from_ref(&page), parsed);
    }
}

/// What has no results: another call of the same server, an error, or half an answer.
fn not_a_portfolio(answer: &Object<'_>, parsed: &mut Parsed) {
    if answer.broken.is_some() {
        return;
    }
    if let Some(refusal) = refusal(answer) {
        parsed.problems.push(Problem::rejected("error_answer", "", refusal.detail()));
        parsed.refusal = Some(refusal);
    } else if answer.is_empty() {
        parsed.problems.push(Problem::rejected("empty_answer", "", "the answer is {}"));
    } else {
        let (code, detail) = match answer.get("results") {
            Field::Missing => ("missing_field", "an answer without results".to_owned()),
            Field::Ambiguous => ("duplicate_key", "results stands there twice with different rows".to_owned()),
            Field::One(other) => ("wrong_type", format!("expected rows, got {}", other.kind())),
        };
        parsed.problems.push(Problem::rejected(code, "results", detail));
    }
}

/// No rows at all: a failure on a trading day, a known state on any other.
fn read_nothing(received_at: i64, parsed: &mut Parsed) {
    let day = Timestamp::from_microsecond(received_at).map(calendar::session_of);
    if let Ok(Day::Closed(date, why)) = day {
        let detail = format!("no rows, and no trading on {date} ({why})");
        parsed.problems.push(Problem::noted("empty_answer", "results", detail));
        parsed.answered = true;
        return;
    }
    let detail = "an index without a paper is none: the answer is without its rows";
    parsed.problems.push(Problem::rejected("empty_answer", "results", detail));
}

/// What holds for all rows.
struct Header {
    language: Language,
    date: Date,
    /// Of all pages.
    quantity: Option<Decimal38>,
}

fn read_header(answer: &Object<'_>, asked: &Asked, parsed: &mut Parsed) -> Option<Header> {
    let mut top = Row { object: answer, path: "", problems: &mut parsed.problems };
    let header = top.object_below("header")?;
    let mut row = Row { object: &header, path: "header", problems: &mut parsed.problems };
    let other_call = !asked.call.is_empty() && asked.call != "GetPortfolioDay";
    if other_call || header.get("date") == Field::Missing {
        let detail = "no day that it is of, as GetTheoricalPortfolio and GetStockIndex answer; GetPortfolioDay is read";
        row.reject("unsupported_shape", "date", detail);
        return None;
    }
    let date = row.text("date")?;
    let language = language(&mut row, asked)?;
    let certain = asked.language.is_none_or(|asked| asked == language);
    let date = match day(&date, language, certain) {
        Ok(date) => date,
        Err(why) => {
            row.reject("bad_time", "date", why);
            return None;
        }
    };
    let quantity = row.optional(|row| quantity(row, language));
    Some(Header { language, date, quantity })
}

/// The language that was asked for, if the header is in it; else the one that the header is in.
fn language(header: &mut Row<'_, '_>, asked: &Asked) -> Option<Language> {
    let [portuguese, english] = Language::BOTH.map(|language| is_in(header.object, language));
    let shown = match (portuguese, english) {
        (true, false) => Some(Language::Portuguese),
        (false, true) => Some(Language::English),
        _ => None,
    };
    match (asked.language, shown) {
        (Some(asked), Some(shown)) if asked != shown => {
            let detail = format!("asked for in {}, and written in {}", asked.as_str(), shown.as_str());
            let problem = Problem::noted("unexpected_form", header.at("part"), detail);
            header.problems.push(problem);
            Some(shown)
        }
        (_, Some(shown)) => Some(shown),
        (Some(asked), None) => Some(asked),
        (None, None) => {
            let detail = "whether a dot groups digits is told by neither the request nor the header";
            header.reject("ambiguous_number", "theoricalQty", detail);
            None
        }
    }
}

/// Whether the header's numbers make sense in that language: a part of about 100 percent and a whole number of papers.
fn is_in(header: &Object<'_>, language: Language) -> bool {
    let read = |field: &str| header.text(field).map(|text| language.marks().parse(text.trim()));
    let percent = |value: Decimal38| (99 * ONE..=101 * ONE).contains(&value.unscaled());
    let part = read("part").is_none_or(|part| part.is_ok_and(percent));
    let quantity = read("theoricalQty").is_none_or(|quantity| quantity.is_ok_and(is_whole));
    let reductor = read("reductor").is_none_or(|reductor| reductor.is_ok());
    part && quantity && reductor
}

const ONE: i128 = 10_i128.pow(Decimal38::SCALE);

fn is_whole(value: Decimal38) -> bool {
    value.unscaled() % ONE == 0
}

/// A day as the language writes it, `20/09/23` or `09/20/23`; `certain` when the language is known to be the answer's.
fn day(text: &str, language: Language, certain: bool) -> Result<Date, String> {
    let numbers: Option<Vec<i16>> =
        text.trim().split('/').map(|part| part.parse().ok().filter(|_| part.len() <= 4)).collect();
    let Some(&[first, second, year]) = numbers.as_deref() else {
        return Err(format!("expected a day such as 20/09/23, got {}", excerpt(text)));
    };
    let (day, month) = if language == Language::Portuguese { (first, second) } else { (second, first) };
    if !certain && day <= 12 && day != month {
        return Err(format!(
            "{} may be of either month, since the answer is not in the language asked for",
            excerpt(text)
        ));
    }
    let year = if (0..100).contains(&year) { 2_000 + year } else { year };
    let (day, month) = (i8::try_from(day).unwrap_or(0), i8::try_from(month).unwrap_or(0));
    let date = Date::new(year, month, day).ok().filter(|_| (2_000..2_100).contains(&year));
    date.ok_or_else(|| format!("{} is no day in {}", excerpt(text), language.as_str()))
}

fn page_of(answer: &Object<'_>, asked: &Asked, parsed: &mut Parsed) -> (i64, i64) {
    let mut top = Row { object: answer, path: "", problems: &mut parsed.problems };
    let Some(page) = top.optional(|top| top.object_below("page")) else { return (1, 1) };
    let mut row = Row { object: &page, path: "page", problems: &mut parsed.problems };
    let mut number = |field: &str| row.optional(|row| row.whole_number(field)).map_or(1, |(number, _)| number);
    let (number, of) = (number("pageNumber"), number("totalPages"));
    if let Some(wanted) = asked.page.filter(|wanted| *wanted != number) {
        let detail = format!("asked for page {wanted}, and page {number} came");
        parsed.problems.push(Problem::noted("not_answered", "page.pageNumber", detail));
    }
    (number, of)
}

/// One paper; `None` with a problem when it is wrong, and without one when it is a segment's sum.
fn read_row(mut row: Row<'_, '_>, index: &str, header: &Header, payload: &Payload<'_>) -> Option<IndexWeight> {
    if let Some(broken) = &row.object.broken {
        row.reject("not_json", "", format!("not an object: {broken}"));
        return None;
    }
    let is_empty = |field: &str| match row.object.get(field) {
        Field::Missing | Field::One(Value::Null) => true,
        Field::One(Value::Text(text)) => text.trim().is_empty(),
        _ => false,
    };
    let segment = row.object.text("segment").filter(|segment| !segment.trim().is_empty());
    if segment.is_some() && is_empty("cod") && is_empty("asset") {
        return None;
    }
    // All are read before giving up, so that each one that is wrong is named.
    let code = row.text("cod");
    let part = part(&mut row, header.language);
    let quantity = quantity(&mut row, header.language);
    let asset = words(&mut row, "asset");
    let asset_type = words(&mut row, "type");
    let code = code?;
    let code = code.trim();
    if !is_code(code) {
        row.reject("unknown_product", "cod", format!("{} is no trading code", excerpt(code)));
        return None;
    }
    let segment = segment.as_deref().unwrap_or_default();
    Some(IndexWeight {
        event_id: event_id(SOURCE, ID_SPACE, &format!("{index}/{code}/{segment}"), &header.date.to_string()),
        revision: 0,
        source: SOURCE.to_owned(),
        index_name: index.to_owned(),
        code: code.to_owned(),
        asset: asset.into_owned(),
        asset_type: asset_type.into_owned(),
        segment: (!segment.is_empty()).then(|| segment.to_owned()),
        part: part?,
        theoretical_quantity: quantity?,
        pregao_date: header.date,
        received_at: payload.received_at,
        payload_id: payload.id,
        retracted: false,
    })
}

/// A string, whole; empty with a problem when it is none.
fn words<'a>(row: &mut Row<'a, '_>, field: &str) -> Cow<'a, str> {
    match row.object.get(field) {
        Field::One(Value::Text(text)) => text,
        _ => row.optional(|row| row.text(field)).unwrap_or_default(),
    }
}

/// A weight in percent.
fn part(row: &mut Row<'_, '_>, language: Language) -> Option<Decimal38> {
    let part = number(row, "part", language)?;
    if part.unscaled() > 100 * ONE {
        row.reject("out_of_range", "part", format!("{part} percent, read as {} writes numbers", language.as_str()));
        return None;
    }
    Some(part)
}

/// A whole number of papers.
fn quantity(row: &mut Row<'_, '_>, language: Language) -> Option<Decimal38> {
    const FIELD: &str = "theoricalQty";
    let quantity = number(row, FIELD, language)?;
    if quantity.is_zero() {
        row.reject("not_positive", FIELD, "no paper at all");
        return None;
    }
    if !is_whole(quantity) {
        let detail = format!("{quantity} is no whole number of papers, read as {} writes numbers", language.as_str());
        row.reject("ambiguous_number", FIELD, detail);
        return None;
    }
    Some(quantity)
}

/// A number in that language's marks, not negative.
fn number(row: &mut Row<'_, '_>, field: &str, language: Language) -> Option<Decimal38> {
    let (text, read) = match row.object.get(field) {
        Field::One(Value::Number(digits)) => {
            let detail = format!("a number where a string is documented; its digits are taken: {}", excerpt(digits));
            let problem = Problem::noted("unexpected_form", row.at(field), detail);
            row.problems.push(problem);
            (Cow::Borrowed(digits), Decimal38::parse(digits))
        }
        _ => {
            let text = row.text(field)?;
            let read = language.marks().parse(text.trim());
            (text, read)
        }
    };
    let (code, detail) = match read {
        Ok(value) if value.is_negative() => ("negative", excerpt(&text)),
        Ok(value) => return Some(value),
        Err(_) if text.trim_start().starts_with('-') => ("negative", excerpt(&text)),
        Err(error) => {
            let (code, detail) = unreadable(&error, &text);
            (code, format!("{detail}, in the marks of {}", language.as_str()))
        }
    };
    row.reject(code, field, detail);
    None
}

/// What the server says when it does not serve.
fn refusal(answer: &Object<'_>) -> Option<Refusal> {
    let text = |name: &str| match answer.get(name) {
        Field::One(Value::Text(text)) => Some(text),
        Field::One(Value::Number(digits)) => Some(Cow::Borrowed(digits)),
        _ => None,
    };
    let status = text("status").or_else(|| text("statusCode"));
    let said = text("message").or_else(|| text("title")).or_else(|| text("error"));
    if status.is_none() && said.is_none() {
        return None;
    }
    let parts = [status.as_deref(), said.as_deref()].into_iter().flatten();
    let detail = parts.map(|part| excerpt(part).trim_matches('"').to_owned()).collect::<Vec<_>>().join(" ");
    Some(match status.as_deref() {
        Some("429") => Refusal::RateLimited(detail),
        Some("400" | "401" | "403" | "404") => Refusal::Configuration(detail),
        _ => Refusal::Retry(detail),
    })
}

#[cfg(test)]
#[path = "b3_tests.rs"]
mod tests;
