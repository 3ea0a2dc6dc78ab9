//! `tickstream history`: open, high, low, close and volume of a symbol in buckets of any width, from the candles that
//! consumer-db keeps. What is wider than a kept timeframe is summed up by Postgres from the widest one that divides it,
//! in exact decimals. It streams: a page of rows in memory at a time, whatever the span. Must never happen here: a
//! bucket that may lack something and is shown as if nothing were.

mod printer;

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::PossibleValuesParser;
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use pipeline::events::Kind;
use pipeline::misconfigured;
use serde::Serialize;
use sqlx::PgConnection;

use crate::database::{DatabaseArgs, explain};
use crate::moment;
use crate::nearest::not_known;
use crate::output::{self, OutputArgs};
use printer::Printer;

const HISTORY: &str = include_str!("sql/history.sql");
const WIDER: &str = include_str!("sql/history_wider.sql");
const SYMBOLS: &str = include_str!("sql/symbols.sql");
/// The kept timeframes and their minutes, the widest first.
const TIMEFRAMES: [(&str, i32); 4] = [("1d", 1440), ("1h", 60), ("5m", 5), ("1m", 1)];
const DEFAULT_SPAN: SignedDuration = SignedDuration::from_hours(24);

#[derive(Args, Debug)]
pub struct HistoryArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// A symbol such as BTC-USD.
    #[arg(value_name = "SYMBOL")]
    symbol: String,
    /// From when: 2026-11-22T13:00:00Z, 2026-11-22, -24h, -7d, today, yesterday (UTC). The bucket that holds it is the
    /// first. Default: 24 hours before --to.
    #[arg(long, env = "HISTORY_FROM", value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Until when, written likewise: the last bucket is the one that begins before it. Default: now.
    #[arg(long, env = "HISTORY_TO", value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    to: Option<Timestamp>,
    /// How wide a bucket is: whole minutes that divide a day, such as 1m, 15m, 1h, 4h or 1d.
    #[arg(long, env = "HISTORY_EVERY", value_parser = moment::parse_bucket, default_value = "1h", value_name = "WIDTH")]
    every: i32,
    /// These sources only, separated by commas, such as coinbase,kraken.
    #[arg(long, env = "HISTORY_SOURCES", value_delimiter = ',', value_name = "SOURCE")]
    source: Vec<String>,
    /// Candles of these prices only, separated by commas. A source's trades and its reference prices have candles of
    /// their own.
    #[arg(long, env = "HISTORY_BASIS", value_parser = bases(), ignore_case = true, value_delimiter = ',', value_name = "BASIS")]
    basis: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

fn bases() -> PossibleValuesParser {
    PossibleValuesParser::new(Kind::ALL.iter().map(|kind| kind.as_str()))
}

/// One bucket of one source and price basis. Decimals are text, digit for digit; vwap, a quotient, is a float.
#[derive(Debug, Serialize, sqlx::FromRow)]
struct Candle {
    /// Its start: RFC 3339, UTC.
    bucket: String,
    source: String,
    symbol: String,
    price_basis: String,
    open: String,
    high: String,
    low: String,
    close: String,
    volume: Option<String>,
    vwap: Option<f64>,
    ticks: i64,
    complete: bool,
}

pub async fn run(args: HistoryArgs) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let to = args.to.unwrap_or(now);
    let from = match args.from {
        Some(from) => from,
        None => to.checked_sub(DEFAULT_SPAN).context("24 hours before --to")?,
    };
    if from >= to {
        return Err(misconfigured(format!("--from {from} is not before --to {to}")));
    }
    let symbol = args.symbol.to_uppercase();
    let mut connection = args.database.connect().await?;
    let mut printer = Printer::new(args.output.format);
    let mut tally = Tally::new(bucket_of(now, args.every));
    {
        let (timeframe, width) = *TIMEFRAMES
            .iter()
            .find(|(_, minutes)| args.every % minutes == 0)
            .context("a minute divides every number of minutes")?;
        let first = bucket_of(from, args.every).to_string();
        // A wide bucket that begins before the end is shown whole.
        let end = if width == args.every { to } else { bucket_after(to, args.every)? }.to_string();
        let bases: Vec<String> = args.basis.iter().map(|basis| basis.to_uppercase()).collect();
        let sources: Vec<String> = args.source.iter().map(|source| source.to_lowercase()).collect();
        let query = sqlx::query_as(if width == args.every { HISTORY } else { WIDER })
            .bind(&symbol)
            .bind(timeframe)
            .bind(first)
            .bind(end)
            .bind((!sources.is_empty()).then_some(sources))
            .bind((!bases.is_empty()).then_some(bases));
        let query = if width == args.every { query } else { query.bind(args.every) };
        let mut candles = query.fetch(&mut connection);
        while let Some(candle) = candles.try_next().await.map_err(explain)? {
            tally.add(&candle);
            if !printer.print(candle)? {
                return Ok(());
            }
        }
    }
    if !printer.finish()? {
        return Ok(());
    }
    if tally.buckets == 0 {
        complain_of_unknown(&symbol, &mut connection).await?;
        output::note(&format!("no candles of {symbol} from {from} to {to}"));
    }
    tally.tell();
    Ok(())
}

/// The start of the bucket that holds `time`.
fn bucket_of(time: Timestamp, minutes: i32) -> Timestamp {
    let second = time.as_second() - time.as_second().rem_euclid(i64::from(minutes) * 60);
    Timestamp::from_second(second).unwrap_or(time)
}

/// The first start of a bucket that is not before `time`.
fn bucket_after(time: Timestamp, minutes: i32) -> anyhow::Result<Timestamp> {
    let start = bucket_of(time, minutes);
    if start == time { Ok(start) } else { Ok(start.checked_add(SignedDuration::from_mins(minutes.into()))?) }
}

async fn complain_of_unknown(symbol: &str, connection: &mut PgConnection) -> anyhow::Result<()> {
    let known: Vec<(String, String)> = sqlx::query_as(SYMBOLS).fetch_all(connection).await.map_err(explain)?;
    if known.iter().any(|(known, _)| known == symbol) {
        return Ok(());
    }
    Err(anyhow!(not_known("price of", symbol, known.iter().map(|(symbol, _)| symbol.as_str()))))
}

/// What is to be said beside the answer.
struct Tally {
    buckets: u64,
    incomplete: u64,
    not_over: u64,
    /// The bucket that holds the present, as it is printed.
    now: String,
}

impl Tally {
    fn new(now: Timestamp) -> Self {
        Self { buckets: 0, incomplete: 0, not_over: 0, now: now.to_string() }
    }

    fn add(&mut self, candle: &Candle) {
        self.buckets += 1;
        self.incomplete += u64::from(!candle.complete);
        self.not_over += u64::from(candle.bucket >= self.now);
    }

    fn tell(&self) {
        let Self { buckets, incomplete, not_over, now } = self;
        if *incomplete > 0 {
            output::note(&format!(
                "buckets that are not complete, since a gap touches them: {incomplete} of {buckets} (column complete)"
            ));
        }
        if *not_over > 0 {
            output::note(&format!("the bucket that begins at {now} is not over yet"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_at_midnight_and_are_shown_whole() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(bucket_of(time("2026-03-01T13:17:05.5Z"), 240), time("2026-03-01T12:00:00Z"));
        assert_eq!(bucket_of(time("2026-03-01T13:17:05.5Z"), 1440), time("2026-03-01T00:00:00Z"));
        let after = |text: &str| bucket_after(time(text), 90).expect("in range");
        assert_eq!(after("2026-03-01T13:30:00Z"), time("2026-03-01T13:30:00Z"));
        assert_eq!(after("2026-03-01T13:30:00.000001Z"), time("2026-03-01T15:00:00Z"));
    }
}
