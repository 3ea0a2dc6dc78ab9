//! Which rows are wanted: those of a span of time and of some symbols. Must never happen here: a row left out because a column
//! could not be read.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Context;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use pipeline::misconfigured;

/// Symbols that are remembered, to be offered in place of one that there is not.
const SEEN: usize = 10_000;
const SYMBOL: &str = "symbol";

/// From a time, up to another one exclusive; `None` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Span {
    /// # Errors
    /// [`pipeline::Misconfigured`] when nothing lies between them.
    pub fn new(from: Option<Timestamp>, to: Option<Timestamp>) -> anyhow::Result<Self> {
        match (from, to) {
            (Some(from), Some(to)) if from >= to => Err(misconfigured(format!(
                "--from-datetime {from} (EXPORT_FROM_DATETIME) is not before --to-datetime {to} (EXPORT_TO_DATETIME): nothing lies between them"
            ))),
            (from, to) => Ok(Self { from, to }),
        }
    }

    fn has(&self, micros: i64) -> bool {
        self.from.is_none_or(|from| from.as_microsecond() <= micros)
            && self.to.is_none_or(|to| micros < to.as_microsecond())
    }

    /// The days that it touches.
    pub fn days(&self) -> (Option<Date>, Option<Date>) {
        let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        // It ends before its end.
        let last = |to: Timestamp| day(Timestamp::from_microsecond(to.as_microsecond() - 1).unwrap_or(to));
        (self.from.map(day), self.to.map(last))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (None, None) => f.write_str("at any time"),
            (Some(from), None) => write!(f, "from {from} on"),
            (None, Some(to)) => write!(f, "before {to}"),
            (Some(from), Some(to)) => write!(f, "from {from} to {to}"),
        }
    }
}

/// Keeps what is wanted.
pub struct Kept {
    pub span: Span,
    /// In capitals; none for all.
    symbols: Vec<String>,
    seen: BTreeSet<String>,
    /// Rows of other symbols.
    pub passed_over: u64,
}

impl Kept {
    pub fn new(span: Span, symbols: &[String]) -> Self {
        let symbols = symbols.iter().map(|symbol| symbol.to_ascii_uppercase()).collect();
        Self { span, symbols, seen: BTreeSet::new(), passed_over: 0 }
    }

    pub fn has_seen(&self, symbol: &str) -> bool {
        self.seen.contains(&symbol.to_ascii_uppercase())
    }

    /// The symbols that were met.
    pub fn seen(&self) -> impl Iterator<Item = &str> {
        self.seen.iter().map(String::as_str)
    }

    /// The rows that are wanted, by the time in this column; `None` where the rows have no time of their own.
    ///
    /// # Errors
    /// When a column that decides is not there.
    pub fn of(&mut self, batch: &RecordBatch, time: Option<&str>) -> anyhow::Result<RecordBatch> {
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("it has no column {name}"));
        let mut wanted = vec![true; batch.num_rows()];
        if let Some(time) = time.filter(|_| self.span.from.is_some() || self.span.to.is_some()) {
            let times = cast(column(time)?, &DataType::Int64)?;
            let times = times.as_primitive::<Int64Type>();
            wanted.iter_mut().zip(times.values()).for_each(|(wanted, micros)| *wanted = self.span.has(*micros));
        }
        if !self.symbols.is_empty() {
            let symbols = cast(column(SYMBOL)?, &DataType::Utf8)?;
            let symbols = symbols.as_string::<i32>();
            for (row, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted) {
                let symbol = symbols.value(row).to_ascii_uppercase();
                *wanted = self.symbols.contains(&symbol);
                self.passed_over += u64::from(!*wanted);
                if self.seen.len() < SEEN && !self.seen.contains(&symbol) {
                    self.seen.insert(symbol);
                }
            }
        }
        if wanted.iter().all(|wanted| *wanted) {
            return Ok(batch.clone());
        }
        Ok(filter_record_batch(batch, &BooleanArray::from(wanted))?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn time(text: &str) -> Option<Timestamp> {
        Some(text.parse().expect("a time"))
    }

    #[test]
    fn a_span_ends_before_its_end() {
        let span = Span::new(time("2026-11-22T00:00:00Z"), time("2026-11-23T00:00:00Z")).expect("a span");
        assert_eq!(span.days(), ("2026-11-22".parse().ok(), "2026-11-22".parse().ok()));
        let end = span.to.expect("an end").as_microsecond();
        assert!(span.has(end - 1) && !span.has(end));
        assert!(Span::new(span.to, span.from).is_err() && Span::new(span.to, span.to).is_err());
    }

    #[test]
    fn rows_are_kept_by_time_and_symbol() {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3, 4]).with_timezone("+00:00"));
        let symbols: ArrayRef = Arc::new(StringArray::from(vec!["BTC-USD", "ETH-USD", "BTC-USD", "BTC-USD"]));
        let batch = RecordBatch::try_from_iter([("broker_time", times), ("symbol", symbols)]).expect("a batch");
        let at = |micros| Timestamp::from_microsecond(micros).ok();
        let span = Span::new(at(2), at(4)).expect("a span");
        let mut kept = Kept::new(span, &["btc-usd".to_owned()]);
        let rows = kept.of(&batch, Some("broker_time")).expect("rows");
        assert_eq!((rows.num_rows(), kept.passed_over), (1, 1));
        assert!(kept.has_seen("eth-usd") && !kept.has_seen("ADA-USD"));
        assert_eq!(kept.of(&batch, None).expect("rows").num_rows(), 3);
        assert!(kept.of(&batch, Some("event_time")).is_err());
    }
}
