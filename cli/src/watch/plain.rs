//! The same without a terminal: all that is shown, again and again, as text, as a JSON object a line, or as CSV. The lag of the
//! groups is no price and so is not in the CSV: `tickstream groups -o csv` has it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::prices::Price;
use super::shared::{Shared, View};
use crate::groups::{Total, totals_as_table};
use crate::output::{self, Align, Format};

/// How long it waits for all that is there at the beginning before it prints what there is.
const PATIENCE: Duration = Duration::from_secs(20);

/// A price as JSON and CSV have it. Decimals are text, digit for digit.
#[derive(Serialize)]
struct Row<'a> {
    symbol: &'a str,
    source: &'a str,
    kind: &'a str,
    price: String,
    bid: Option<String>,
    ask: Option<String>,
    volume_24h: Option<String>,
    change_24h_pct: Option<String>,
    event_time: String,
    age_seconds: f64,
    ticks: u64,
}

const HEADINGS: [&str; 12] = [
    "at",
    "symbol",
    "source",
    "kind",
    "price",
    "bid",
    "ask",
    "volume_24h",
    "change_24h_pct",
    "event_time",
    "age_seconds",
    "ticks",
];

#[derive(Serialize)]
struct Moment<'a> {
    at: Timestamp,
    ticks_per_second: f64,
    prices: Vec<Row<'a>>,
    /// Null until they are known.
    groups: Option<&'a [Total]>,
    /// Ticks of symbols beyond the most that are kept.
    not_shown: u64,
    /// Records that are no ticks.
    bad: u64,
    trouble: Option<&'a str>,
}

/// Prints until nobody reads any more, or so many times.
pub async fn show(shared: &Shared, format: Format, every: Duration, count: Option<u64>) -> anyhow::Result<()> {
    let patience = Instant::now() + PATIENCE;
    while !shared.is_ready() && Instant::now() < patience {
        sleep(Duration::from_millis(20)).await;
    }
    let mut next = Instant::now();
    let mut printed = 0;
    loop {
        let view = shared.view();
        let text = match format {
            Format::Table => as_text(&view),
            Format::Json => serde_json::to_string(&moment(&view))? + "\n",
            Format::Csv => {
                let at = view.at.to_string();
                let rows: Vec<(&str, Row<'_>)> =
                    view.prices.iter().map(|price| (at.as_str(), row(price, view.at))).collect();
                output::csv(&HEADINGS, printed == 0, &rows)?
            }
        };
        if !output::print_piece(&text)? {
            return Ok(());
        }
        printed += 1;
        if count == Some(printed) {
            return Ok(());
        }
        next += every;
        sleep_until(next).await;
    }
}

fn row(price: &Price, at: Timestamp) -> Row<'_> {
    Row {
        symbol: &price.symbol,
        source: &price.source,
        kind: price.kind,
        price: price.price.to_string(),
        bid: price.bid.map(|bid| bid.to_string()),
        ask: price.ask.map(|ask| ask.to_string()),
        volume_24h: price.volume_24h.map(|volume| volume.to_string()),
        change_24h_pct: price.change_24h_pct.map(|change| change.to_string()),
        event_time: Timestamp::from_microsecond(price.event_time).map(|time| time.to_string()).unwrap_or_default(),
        age_seconds: age(price, at),
        ticks: price.ticks,
    }
}

/// Seconds since the event, by this machine's clock.
pub fn age(price: &Price, at: Timestamp) -> f64 {
    (at.as_microsecond() - price.event_time) as f64 / 1e6
}

fn moment(view: &View) -> Moment<'_> {
    Moment {
        at: view.at,
        ticks_per_second: view.ticks_per_second,
        prices: view.prices.iter().map(|price| row(price, view.at)).collect(),
        groups: view.lags.as_deref(),
        not_shown: view.not_shown,
        bad: view.bad,
        trouble: view.trouble.as_deref(),
    }
}

pub const COLUMNS: [(&str, Align); 10] = [
    ("SYMBOL", Align::Left),
    ("SOURCE", Align::Left),
    ("KIND", Align::Left),
    ("PRICE", Align::Right),
    ("24H %", Align::Right),
    ("BID", Align::Right),
    ("ASK", Align::Right),
    ("VOLUME 24H", Align::Right),
    ("AGE", Align::Right),
    ("TICKS", Align::Right),
];

pub fn cells(price: &Price, at: Timestamp) -> [String; COLUMNS.len()] {
    let text =
        |number: Option<pipeline::decimal::Decimal38>| number.map(|number| number.to_string()).unwrap_or_default();
    [
        price.symbol.clone(),
        price.source.clone(),
        price.kind.to_owned(),
        price.price.to_string(),
        text(price.change_24h_pct),
        text(price.bid),
        text(price.ask),
        text(price.volume_24h),
        output::age(age(price, at)),
        price.ticks.to_string(),
    ]
}

/// What stands beside the prices: the rate, and what is not in the table.
pub fn headline(view: &View) -> String {
    let mut line = format!("{:.0}  {:.1} ticks/s", view.at, view.ticks_per_second);
    for (count, what) in [(view.not_shown, "ticks of further symbols"), (view.bad, "records that are no ticks")] {
        if count > 0 {
            line.push_str(&format!("  {count} {what}"));
        }
    }
    line
}

fn as_text(view: &View) -> String {
    let mut text = headline(view) + "\n";
    let rows: Vec<Vec<String>> = view.prices.iter().map(|price| cells(price, view.at).to_vec()).collect();
    text.push_str(&output::table(&COLUMNS, &rows));
    if let Some(lags) = view.lags.as_deref().filter(|lags| !lags.is_empty()) {
        text.push('\n');
        text.push_str(&totals_as_table(lags));
    }
    if let Some(trouble) = &view.trouble {
        text.push_str(&format!("TROUBLE  {trouble}\n"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    fn view() -> View {
        let shared = Shared::new(&["btc-usd".to_owned()], &[]);
        let other = pipeline::events::PriceTick { symbol: "ETH-USD".to_owned(), ..example::tick() };
        shared.add([example::tick(), other].into_iter(), 2);
        shared.state().lag_trouble = Some("lag: no broker".to_owned());
        shared.view()
    }

    #[test]
    fn each_form_has_the_price_digit_for_digit() {
        let view = view();
        let price = example::tick().price.to_string();
        let text = as_text(&view);
        assert!(text.contains(&format!("  {price}  ")) && !text.contains("ETH-USD"), "{text}");
        assert!(text.contains("2 records that are no ticks") && text.contains("TROUBLE  lag: no broker"), "{text}");
        let json = serde_json::to_value(moment(&view)).expect("JSON");
        assert_eq!(json["prices"][0]["price"], price.as_str());
        assert_eq!(
            (&json["groups"], &json["bad"], json["prices"].as_array().map(Vec::len)),
            (&serde_json::Value::Null, &2.into(), Some(1))
        );
        let rows: Vec<(&str, Row<'_>)> = view.prices.iter().map(|price| ("now", row(price, view.at))).collect();
        let csv = output::csv(&HEADINGS, true, &rows).expect("CSV");
        let line = csv.lines().nth(1).expect("a price");
        assert_eq!(line.split(',').count(), HEADINGS.len());
        assert!(line.starts_with("now,BTC-USD,") && line.contains(&format!(",{price},")), "{line}");
    }
}
