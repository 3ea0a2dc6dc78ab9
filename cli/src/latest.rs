//! `tickstream latest`: the newest price of each symbol and source, exact to the last digit, by one statement that
//! looks at `latest_prices` and at nothing else, however many ticks there are.

mod watch;

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};
use uuid::Uuid;

use crate::database::{DatabaseArgs, explain};
use crate::nearest::not_known;
use crate::output::{self, Align, Format, OutputArgs, Pages};

const LATEST: &str = include_str!("sql/latest.sql");
const SYMBOLS: &str = include_str!("sql/symbols.sql");

#[derive(Args, Debug)]
pub struct LatestArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Symbols such as BTC-USD; all of them when none is named.
    #[arg(value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// These sources only, separated by commas, such as coinbase,kraken.
    #[arg(long, env = "LATEST_SOURCES", value_delimiter = ',', value_name = "SOURCE")]
    source: Vec<String>,
    /// Go on, and print each price that changes, until interrupted.
    #[arg(long, env = "LATEST_WATCH")]
    pub watch: bool,
    /// Print how Postgres answers instead of the answer: its plan and the time it took.
    #[arg(long, env = "LATEST_EXPLAIN", conflicts_with = "watch")]
    explain: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// One symbol at one source. Decimals are text: a JSON number would pass through a float in most readers.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
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
    #[serde(skip)]
    event_id: Uuid,
    #[serde(skip)]
    revision: i32,
}

pub async fn run(args: LatestArgs) -> anyhow::Result<()> {
    let asked = Asked::new(&args.symbols, &args.source);
    let mut connection = args.database.connect().await?;
    if args.explain {
        return print_plan(&asked, &mut connection).await;
    }
    let prices = asked.prices(&mut connection).await.map_err(explain)?;
    asked.complain_of_missing(&prices, &mut connection).await?;
    let mut printer = Printer::new(args.output.format);
    let is_read = printer.print(&prices)?;
    if prices.is_empty() {
        output::note("there are no prices yet");
    }
    if args.watch && is_read {
        drop(connection);
        watch::follow(&args.database, &asked, prices, printer).await?;
    }
    Ok(())
}

/// What was asked for; everything where nothing is named.
struct Asked {
    symbols: Option<Vec<String>>,
    sources: Option<Vec<String>>,
}

impl Asked {
    fn new(symbols: &[String], sources: &[String]) -> Self {
        let named = |names: Vec<String>| (!names.is_empty()).then_some(names);
        Self {
            symbols: named(symbols.iter().map(|symbol| symbol.to_uppercase()).collect()),
            sources: named(sources.iter().map(|source| source.to_lowercase()).collect()),
        }
    }

    async fn prices(&self, executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<LatestPrice>> {
        sqlx::query_as(LATEST).bind(&self.symbols).bind(&self.sources).fetch_all(executor).await
    }

    /// Nobody takes half an answer for a whole one.
    async fn complain_of_missing(&self, prices: &[LatestPrice], connection: &mut PgConnection) -> anyhow::Result<()> {
        let is_there = |symbol: &str| prices.iter().any(|price| price.symbol == symbol);
        let missing: Vec<&String> = self.symbols.iter().flatten().filter(|symbol| !is_there(symbol)).collect();
        let sources = self.sources.iter().flatten();
        let silent: Vec<&String> =
            sources.filter(|source| !prices.iter().any(|price| price.source == **source)).collect();
        if missing.is_empty() && silent.is_empty() {
            return Ok(());
        }
        let known: Vec<(String, String)> =
            sqlx::query_as(SYMBOLS).fetch_all(&mut *connection).await.map_err(explain)?;
        let mut lines = Vec::new();
        for symbol in missing {
            let sources: Vec<&str> =
                known.iter().filter(|(known, _)| known == symbol).map(|(_, source)| source.as_str()).collect();
            lines.push(if sources.is_empty() {
                not_known("price of", symbol, known.iter().map(|(symbol, _)| symbol.as_str()))
            } else {
                format!("no price of {symbol} is known from there; it is from {}", sources.join(", "))
            });
        }
        if lines.is_empty() {
            let sources = silent.into_iter();
            lines = sources
                .map(|name| not_known("price from", name, known.iter().map(|(_, known)| known.as_str())))
                .collect();
        }
        Err(anyhow!(lines.join("; ")))
    }
}

async fn print_plan(asked: &Asked, connection: &mut PgConnection) -> anyhow::Result<()> {
    let statement = AssertSqlSafe(format!("explain (analyze, buffers) {LATEST}"));
    let query = sqlx::query_scalar(statement).bind(&asked.symbols).bind(&asked.sources);
    let lines: Vec<String> = query.fetch_all(connection).await.map_err(explain)?;
    output::print(&format!("{}\n", lines.join("\n")))
}

const COLUMNS: [(&str, Align); 7] = [
    ("SYMBOL", Align::Left),
    ("SOURCE", Align::Left),
    ("KIND", Align::Left),
    ("PRICE", Align::Right),
    ("24H %", Align::Right),
    ("AGE", Align::Right),
    ("EVENT TIME", Align::Left),
];

/// Names in CSV: those of JSON.
const HEADINGS: [&str; 11] = [
    "symbol",
    "source",
    "kind",
    "price",
    "bid",
    "ask",
    "volume_24h",
    "quote_volume_24h",
    "change_24h_pct",
    "event_time",
    "age_seconds",
];

enum Printer {
    Json,
    Csv { begun: bool },
    Table(Pages<'static>),
}

impl Printer {
    fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Table => Self::Table(Pages::new(&COLUMNS)),
            Format::Csv => Self::Csv { begun: false },
        }
    }

    /// False when nobody reads any more.
    fn print(&mut self, prices: &[LatestPrice]) -> anyhow::Result<bool> {
        let text = match self {
            Self::Json => {
                let objects: Result<Vec<String>, _> = prices.iter().map(serde_json::to_string).collect();
                objects?.into_iter().map(|object| object + "\n").collect()
            }
            Self::Csv { begun } => output::csv(&HEADINGS, !std::mem::replace(begun, true), prices)?,
            Self::Table(pages) => pages.page(&prices.iter().map(row).collect::<Vec<_>>()),
        };
        output::print_piece(&text)
    }
}

fn row(price: &LatestPrice) -> Vec<String> {
    vec![
        price.symbol.clone(),
        price.source.clone(),
        price.kind.clone(),
        price.price.clone(),
        price.change_24h_pct.clone().unwrap_or_default(),
        output::age(price.age_seconds),
        price.event_time.clone(),
    ]
}
