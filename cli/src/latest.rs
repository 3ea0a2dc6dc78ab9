//! `tickstream latest`: the newest price of each symbol and source, exact to the last digit.

use clap::Args;
use pipeline::misconfigured;
use serde::Serialize;

use crate::database::{DatabaseArgs, explain};
use crate::output::{self, Align, Format};

const LATEST: &str = include_str!("sql/latest.sql");
const SYMBOLS: &str = include_str!("sql/symbols.sql");
/// Names offered for one that is not known.
const OFFERED: usize = 3;

#[derive(Args, Debug)]
pub struct LatestArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Symbols such as BTC-USD; all of them when none is named.
    #[arg(value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// One symbol at one source. Decimals are text: a JSON number would pass through a float in most readers.
#[derive(Debug, Serialize, sqlx::FromRow)]
struct LatestPrice {
    symbol: String,
    source: String,
    kind: String,
    price: String,
    bid: Option<String>,
    ask: Option<String>,
    volume_24h: Option<String>,
    quote_volume_24h: Option<String>,
    change_24h_pct: Option<String>,
    /// RFC 3339, UTC, by the source's clock.
    event_time: String,
    age_seconds: f64,
}

pub async fn run(args: LatestArgs) -> anyhow::Result<()> {
    let mut connection = args.database.connect().await?;
    let asked: Vec<String> = args.symbols.iter().map(|symbol| symbol.to_uppercase()).collect();
    let filter = (!asked.is_empty()).then_some(&asked);
    let prices: Vec<LatestPrice> =
        sqlx::query_as(LATEST).bind(filter).fetch_all(&mut connection).await.map_err(explain)?;
    let unknown: Vec<&str> = asked
        .iter()
        .filter(|symbol| !prices.iter().any(|price| price.symbol == **symbol))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let known: Vec<String> = sqlx::query_scalar(SYMBOLS).fetch_all(&mut connection).await.map_err(explain)?;
        return Err(misconfigured(
            unknown.iter().map(|symbol| not_known(symbol, &known)).collect::<Vec<_>>().join("; "),
        ));
    }
    match args.output {
        Format::Json => output::print_json(&prices),
        Format::Table => output::print(&as_table(&prices)),
    }
}

fn as_table(prices: &[LatestPrice]) -> String {
    let row = |price: &LatestPrice| {
        vec![
            price.symbol.clone(),
            price.source.clone(),
            price.kind.clone(),
            price.price.clone(),
            price.change_24h_pct.clone().unwrap_or_default(),
            age(price.age_seconds),
            price.event_time.clone(),
        ]
    };
    let columns = [
        ("SYMBOL", Align::Left),
        ("SOURCE", Align::Left),
        ("KIND", Align::Left),
        ("PRICE", Align::Right),
        ("24H %", Align::Right),
        ("AGE", Align::Right),
        ("EVENT TIME", Align::Left),
    ];
    output::table(&columns, &prices.iter().map(row).collect::<Vec<_>>())
}

/// `850 ms`, `12.3 s`, `5 min`, `3 h`, `2 d`: precise while it matters. A source whose clock runs ahead has `-` before it.
fn age(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    match seconds.abs() {
        s if s < 1.0 => format!("{sign}{:.0} ms", s * 1000.0),
        s if s < 120.0 => format!("{sign}{s:.1} s"),
        s if s < 7200.0 => format!("{sign}{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{sign}{:.0} h", s / 3600.0),
        s => format!("{sign}{:.0} d", s / 86_400.0),
    }
}

fn not_known(symbol: &str, known: &[String]) -> String {
    if known.is_empty() {
        return format!("no price of {symbol} is known: there are no prices yet");
    }
    let mut nearest: Vec<(usize, &str)> = known.iter().map(|other| (distance(symbol, other), other.as_str())).collect();
    nearest.sort_unstable();
    let offered: Vec<&str> = nearest.iter().take(OFFERED).map(|(_, other)| *other).collect();
    format!("no price of {symbol} is known; the nearest names are {}", offered.join(", "))
}

/// Levenshtein: the least number of letters to add, drop or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_offered() {
        let known: Vec<String> = ["ADA-USD", "BTC-EUR", "BTC-USD", "DOGE-BRL"].map(str::to_owned).to_vec();
        assert_eq!(distance("BTC-USDT", "BTC-USD"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(
            not_known("BTC-USDX", &known),
            "no price of BTC-USDX is known; the nearest names are BTC-USD, ADA-USD, BTC-EUR"
        );
    }

    #[test]
    fn ages_read_well() {
        let texts = [0.25, 12.34, 300.0, 10_000.0, 400_000.0, -1.5].map(age);
        assert_eq!(texts, ["250 ms", "12.3 s", "5 min", "3 h", "5 d", "-1.5 s"]);
    }
}
