//! Candles on standard output as they come, in one of three forms. Each method gives false when nobody reads any more.

use super::Candle;
use crate::output::{self, Align, Format, Pages};

/// Rows that are printed at once.
const PAGE: usize = 500;

const COLUMNS: [(&str, Align); 11] = [
    ("BUCKET", Align::Left),
    ("SOURCE", Align::Left),
    ("BASIS", Align::Left),
    ("OPEN", Align::Right),
    ("HIGH", Align::Right),
    ("LOW", Align::Right),
    ("CLOSE", Align::Right),
    ("VOLUME", Align::Right),
    ("VWAP", Align::Right),
    ("TICKS", Align::Right),
    ("COMPLETE", Align::Left),
];
const CSV_COLUMNS: [&str; 12] = [
    "bucket",
    "source",
    "symbol",
    "price_basis",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "vwap",
    "ticks",
    "complete",
];

pub struct Printer {
    format: Format,
    page: Vec<Candle>,
    table: Pages<'static>,
    begun: bool,
}

impl Printer {
    pub fn new(format: Format) -> Self {
        Self { format, page: Vec::with_capacity(PAGE), table: Pages::new(&COLUMNS), begun: false }
    }

    pub fn print(&mut self, candle: Candle) -> anyhow::Result<bool> {
        self.page.push(candle);
        if self.page.len() < PAGE { Ok(true) } else { self.print_page() }
    }

    /// Prints what is left.
    pub fn finish(&mut self) -> anyhow::Result<bool> {
        self.print_page()
    }

    fn print_page(&mut self) -> anyhow::Result<bool> {
        let is_first = !std::mem::replace(&mut self.begun, true);
        let text = match self.format {
            Format::Table => self.table.page(&self.page.iter().map(row).collect::<Vec<_>>()),
            Format::Json => {
                let objects: Result<Vec<String>, _> = self.page.iter().map(serde_json::to_string).collect();
                objects?.into_iter().map(|object| object + "\n").collect()
            }
            Format::Csv => as_csv(&self.page, is_first)?,
        };
        self.page.clear();
        output::print_piece(&text)
    }
}

fn as_csv(candles: &[Candle], with_headings: bool) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if with_headings {
        writer.write_record(CSV_COLUMNS)?;
    }
    for candle in candles {
        let mut cells = row(candle);
        cells.insert(2, candle.symbol.clone());
        writer.write_record(cells)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Plain digits: nothing in the form of an exponent.
fn row(candle: &Candle) -> Vec<String> {
    vec![
        candle.bucket.clone(),
        candle.source.clone(),
        candle.price_basis.clone(),
        candle.open.clone(),
        candle.high.clone(),
        candle.low.clone(),
        candle.close.clone(),
        candle.volume.clone().unwrap_or_default(),
        candle.vwap.map(|vwap| vwap.to_string()).unwrap_or_default(),
        candle.ticks.to_string(),
        candle.complete.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_plain_digits_and_has_its_headings_once() {
        let candle = Candle {
            bucket: "2026-03-01T12:00:00Z".to_owned(),
            source: "a,b".to_owned(),
            symbol: "BTC-USD".to_owned(),
            price_basis: "TRADE".to_owned(),
            open: "0.000000000000000001".to_owned(),
            high: "2".to_owned(),
            low: "1".to_owned(),
            close: "1.5".to_owned(),
            volume: None,
            vwap: Some(1e21),
            ticks: 3,
            complete: false,
        };
        let line =
            "2026-03-01T12:00:00Z,\"a,b\",BTC-USD,TRADE,0.000000000000000001,2,1,1.5,,1000000000000000000000,3,false\n";
        let candles = [candle];
        assert_eq!(as_csv(&candles, false).expect("text"), line);
        assert_eq!(as_csv(&candles, true).expect("text"), format!("{}\n{line}", CSV_COLUMNS.join(",")));
        assert_eq!(as_csv(&[], true).expect("text").lines().count(), 1);
    }
}
