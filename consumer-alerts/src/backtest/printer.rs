//! Alerts on standard output as they fire. Alerts of one time are in the order of their symbols and sources: in which
//! partition a symbol is does not show. A reader that went away (`… | head`) is no error.

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use jiff::Timestamp;
use pipeline::decimal::Decimal38;
use pipeline::events::Alert;
use serde::Serialize;

use super::range;
use crate::rules::Rules;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
}

const HEADINGS: [&str; COLUMNS] = ["TIME", "RULE", "STATE", "SYMBOL", "SOURCE", "PRICE", "CHANGE", "MESSAGE"];
const COLUMNS: usize = 8;
/// Numbers stand on the right of their columns.
const NUMBERS: [usize; 2] = [5, 6];

pub struct Printer {
    format: Format,
    widths: [usize; COLUMNS],
    has_headings: bool,
    /// Of the time that others may still come of.
    held: Vec<Alert>,
    held_at: i64,
}

impl Printer {
    pub fn new(format: Format, rules: &Rules) -> Self {
        let mut widths = HEADINGS.map(str::len);
        let longest = rules.enabled().map(|(_, rule)| rule.name.chars().count()).max().unwrap_or(0);
        (widths[0], widths[1], widths[2]) = (24, longest.max(4), 8);
        (widths[3], widths[4], widths[5], widths[6]) = (8, 8, 12, 9);
        Self { format, widths, has_headings: false, held: Vec::new(), held_at: i64::MIN }
    }

    /// Takes the alerts of a time that is not before the last one's. False when nobody reads any more.
    pub fn print(&mut self, at: i64, alerts: impl Iterator<Item = Alert>) -> anyhow::Result<bool> {
        let goes_on = at == self.held_at || self.flush()?;
        self.held_at = at;
        self.held.extend(alerts);
        Ok(goes_on)
    }

    /// Prints what is held.
    pub fn flush(&mut self) -> anyhow::Result<bool> {
        let text = self.text()?;
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn text(&mut self) -> anyhow::Result<String> {
        self.held.sort_by(|a, b| (&a.symbol, &a.source).cmp(&(&b.symbol, &b.source)));
        let mut text = String::new();
        for alert in std::mem::take(&mut self.held) {
            match self.format {
                Format::Json => {
                    text += &serde_json::to_string(&Line::of(&alert))?;
                    text.push('\n');
                }
                Format::Table => {
                    if !std::mem::replace(&mut self.has_headings, true) {
                        self.line(&HEADINGS.map(str::to_owned), &mut text);
                    }
                    self.line(&cells(&alert), &mut text);
                }
            }
        }
        Ok(text)
    }

    /// A column gets wider with the line that needs it.
    fn line(&mut self, cells: &[String; COLUMNS], text: &mut String) {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            // What a source sent must not move the cursor.
            let cell: String = cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.widths[column] = self.widths[column].max(cell.chars().count());
            let width = if column + 1 == COLUMNS { 0 } else { self.widths[column] };
            line += &if NUMBERS.contains(&column) { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn cells(alert: &Alert) -> [String; COLUMNS] {
    [
        range::text(alert.fired_at),
        alert.rule.clone(),
        alert.state.as_str().to_lowercase(),
        alert.symbol.clone().unwrap_or_default(),
        alert.source.clone().unwrap_or_default(),
        alert.price.map(|price| price.to_string()).unwrap_or_default(),
        alert.change_pct.map(percent).unwrap_or_default(),
        alert.message.clone(),
    ]
}

/// `+3.42 %`: two digits after the point.
fn percent(change: Decimal38) -> String {
    let unit = 10_i128.pow(Decimal38::SCALE - 2);
    let hundredths = (change.unscaled().abs() + unit / 2) / unit;
    let sign = if change.unscaled() < 0 { '-' } else { '+' };
    format!("{sign}{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// An alert for programs: times are RFC 3339, prices are text, digit for digit.
#[derive(Serialize)]
struct Line<'a> {
    fired_at: Option<Timestamp>,
    rule: &'a str,
    rule_hash: &'a str,
    kind: &'a str,
    state: &'a str,
    severity: &'a str,
    symbol: Option<&'a str>,
    source: Option<&'a str>,
    price: Option<Decimal38>,
    reference: Option<Decimal38>,
    change_pct: Option<Decimal38>,
    event_time: Option<Timestamp>,
    message: &'a str,
    alert_id: String,
    event_id: Option<String>,
    trigger_topic: &'a str,
    trigger_partition: i32,
    trigger_offset: i64,
}

impl<'a> Line<'a> {
    fn of(alert: &'a Alert) -> Self {
        let time = |micros: i64| Timestamp::from_microsecond(micros).ok();
        Self {
            fired_at: time(alert.fired_at),
            rule: &alert.rule,
            rule_hash: &alert.rule_hash,
            kind: alert.kind.as_str(),
            state: alert.state.as_str(),
            severity: alert.severity.as_str(),
            symbol: alert.symbol.as_deref(),
            source: alert.source.as_deref(),
            price: alert.price,
            reference: alert.reference,
            change_pct: alert.change_pct,
            event_time: time(alert.event_time),
            message: &alert.message,
            alert_id: alert.alert_id.to_string(),
            event_id: alert.event_id.map(|id| id.to_string()),
            trigger_topic: &alert.trigger_topic,
            trigger_partition: alert.trigger_partition,
            trigger_offset: alert.trigger_offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    #[test]
    fn shares_have_two_digits_and_a_sign() {
        let percent = |text: &str| percent(text.parse().expect("a decimal"));
        assert_eq!(percent("3.415"), "+3.42 %");
        assert_eq!(percent("-0.994999999999999999"), "-0.99 %");
        assert_eq!(percent("-120"), "-120.00 %");
    }

    #[test]
    fn alerts_of_one_time_are_in_the_order_of_their_symbols() {
        let mut printer = Printer::new(Format::Table, &Rules::built_in());
        printer.held = ["ZEC-USD", "ADA\u{1b}USD", "BTC-USD"]
            .map(|symbol| Alert { symbol: Some(symbol.to_owned()), ..example::alert() })
            .to_vec();
        let text = printer.text().expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("TIME ") && lines[0].ends_with(" MESSAGE"), "{text}");
        for (line, symbol) in [(1, "ADA USD"), (2, "BTC-USD"), (3, "ZEC-USD")] {
            assert!(lines[line].contains(symbol), "{text}");
        }
        let starts: Vec<_> = lines[1..].iter().map(|line| line.find(&example::alert().message)).collect();
        assert!(starts[0].is_some() && starts.iter().all(|start| *start == starts[0]), "{text}");
    }
}
