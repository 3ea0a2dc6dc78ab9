//! One table of the file with the places of its keys and values, so that every mistake is told where it stands. Numbers are
//! taken from their text.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use glob::Pattern;
use pipeline::decimal::Decimal38;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Micros, Percent};

/// The first mistake in a file of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

impl std::error::Error for RulesError {}

impl RulesError {
    pub(super) fn at(text: &str, position: usize, what: impl Into<String>) -> Self {
        let mut position = position.min(text.len());
        while !text.is_char_boundary(position) {
            position -= 1;
        }
        let before = &text[..position];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: what.into(),
        }
    }
}

/// One table. `at` is where its header stands.
#[derive(Clone, Copy)]
pub(super) struct Fields<'t> {
    pub text: &'t str,
    pub at: usize,
    pub table: &'t DeTable<'t>,
}

impl<'t> Fields<'t> {
    pub fn error(&self, span: Range<usize>, what: impl Into<String>) -> RulesError {
        RulesError::at(self.text, span.start, what)
    }

    /// Something is missing: told at the table's header.
    pub fn missing(&self, what: impl Into<String>) -> RulesError {
        RulesError::at(self.text, self.at, what)
    }

    /// Refuses every key that is not among `allowed`.
    pub fn only(&self, of: &str, allowed: &[&str]) -> Result<(), RulesError> {
        // The table is sorted by key; the first in the file is the one to tell.
        let unknown = self.table.iter().filter(|(key, _)| !allowed.contains(&key.get_ref().as_ref()));
        let Some((key, _)) = unknown.min_by_key(|(key, _)| key.span().start) else { return Ok(()) };
        let name = shown(key.get_ref());
        let near = allowed
            .iter()
            .map(|allowed| (strsim::damerau_levenshtein(allowed, &name), allowed))
            .min()
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, near)| format!(" (did you mean `{near}`?)"))
            .unwrap_or_default();
        Err(self.error(key.span(), format!("unknown key `{name}`{near}; {of} takes {}", listed(allowed))))
    }

    pub fn get(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table.get(name)
    }

    pub fn span(&self, name: &str) -> Range<usize> {
        self.get(name).map_or(self.at..self.at, Spanned::span)
    }

    fn wrong(&self, name: &str, value: &Spanned<DeValue<'_>>, allowed: &str) -> RulesError {
        self.error(value.span(), format!("`{name}` must be {allowed}, not {}", described(value.get_ref())))
    }

    pub fn text(&self, name: &str, most: usize) -> Result<Option<String>, RulesError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let allowed = format!("a text of 1 to {most} characters without line breaks");
        match value.get_ref().as_str() {
            Some(text)
                if (1..=most).contains(&text.chars().count())
                    && text.trim() == text
                    && !text.chars().any(char::is_control) =>
            {
                Ok(Some(text.to_owned()))
            }
            Some(_) | None => Err(self.wrong(name, value, &allowed)),
        }
    }

    pub fn flag(&self, name: &str, default: bool) -> Result<bool, RulesError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.get_ref().as_bool().ok_or_else(|| self.wrong(name, value, "true or false"))
    }

    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, RulesError> {
        self.get(name).map(|value| self.chosen(name, value, choices)).transpose()
    }

    fn chosen<T: Copy>(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        choices: &[(&str, T)],
    ) -> Result<T, RulesError> {
        let found = value.get_ref().as_str().and_then(|text| choices.iter().find(|(choice, _)| *choice == text));
        found.map(|(_, chosen)| *chosen).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
            self.wrong(name, value, &format!("one of {}", listed(&names)))
        })
    }

    pub fn choices<T: Copy + PartialEq>(&self, name: &str, choices: &[(&str, T)]) -> Result<Vec<T>, RulesError> {
        let mut all = Vec::new();
        for value in self.list(name)? {
            let chosen = self.chosen(name, value, choices)?;
            if !all.contains(&chosen) {
                all.push(chosen);
            }
        }
        Ok(all)
    }

    fn list(&self, name: &str) -> Result<&'t [Spanned<DeValue<'t>>], RulesError> {
        let Some(value) = self.get(name) else { return Ok(&[]) };
        match value.get_ref() {
            DeValue::Array(list) if list.len() <= MOST_IN_LIST => Ok(list),
            DeValue::Array(list) => {
                let what = format!("`{name}` has {} entries; at most {MOST_IN_LIST} are allowed", list.len());
                Err(self.error(value.span(), what))
            }
            _ => Err(self.wrong(name, value, "a list of texts, as in [\"BTC-*\"]")),
        }
    }

    pub fn patterns(&self, name: &str) -> Result<Vec<Pattern>, RulesError> {
        let mut patterns = Vec::new();
        for value in self.list(name)? {
            let allowed = "a name or a pattern as in \"BTC-*\", \"*-USD\" or \"*\"";
            let text = value.get_ref().as_str().filter(|text| (1..=MOST_IN_PATTERN).contains(&text.len()));
            let text = text.ok_or_else(|| self.wrong(name, value, allowed))?;
            let pattern = Pattern::new(text).map_err(|error| {
                self.error(
                    value.span(),
                    format!("`{name}`: {text:?} is no pattern ({}); allowed is {allowed}", error.msg),
                )
            })?;
            patterns.push(pattern);
        }
        Ok(patterns)
    }

    pub fn count(&self, name: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, RulesError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        integer(value.get_ref()).and_then(|n| usize::try_from(n).ok()).filter(|n| range.contains(n)).ok_or_else(|| {
            let allowed = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong(name, value, &allowed)
        })
    }

    pub fn span_of_time(
        &self,
        name: &str,
        default: Micros,
        range: RangeInclusive<Micros>,
    ) -> Result<Micros, RulesError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let parsed = value.get_ref().as_str().and_then(duration).filter(|micros| range.contains(micros));
        parsed.ok_or_else(|| self.wrong(name, value, &times(&range)))
    }

    /// Above zero, at most `most`.
    pub fn share(&self, name: &str, default: Percent, most: Percent) -> Result<Percent, RulesError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let allowed = format!("a number of percent above 0 and at most {} (3 means 3 %)", most.0);
        let share = decimal(value.get_ref()).map(Percent);
        share
            .filter(|share| share.0 > Decimal38::ZERO && *share <= most)
            .ok_or_else(|| self.wrong(name, value, &allowed))
    }

    pub fn number(&self, name: &str, allowed: &str) -> Result<Option<Decimal38>, RulesError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        decimal(value.get_ref()).map(Some).ok_or_else(|| self.wrong(name, value, allowed))
    }
}

const MOST_IN_LIST: usize = 1_000;
const MOST_IN_PATTERN: usize = 100;

pub(super) fn times(range: &RangeInclusive<Micros>) -> String {
    format!("a time from {} to {}, as in \"90s\", \"10m\" or \"1h 30m\"", range.start(), range.end())
}

pub(super) fn duration(text: &str) -> Option<Micros> {
    let parsed = humantime::parse_duration(text).ok()?;
    i64::try_from(parsed.as_micros()).ok().map(Micros)
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn decimal(value: &DeValue<'_>) -> Option<Decimal38> {
    match value {
        DeValue::Integer(integer) if integer.radix() == 10 => Decimal38::parse(integer.as_str()).ok(),
        DeValue::Float(float) => Decimal38::parse(float.as_str()).ok(),
        _ => None,
    }
}

/// What stands there, for a sentence that says what should.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", shown(text)),
        DeValue::Integer(integer) => shown(integer.as_str()),
        DeValue::Float(float) => shown(float.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// At most forty characters of what somebody wrote, control characters made visible.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(40).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}

pub(super) fn listed(names: &[&str]) -> String {
    names.join(", ")
}
