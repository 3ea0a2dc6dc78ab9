//! What is asked of Binance, by flags and environment.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pipeline::misconfigured;
use secrecy::SecretString;

use super::{Binance, SOURCE};
use crate::config::{HTTP, WEB_SOCKET, address, seconds};
use crate::drive::backfill::TradeHistory;
use crate::drive::backoff::Backoff;
use crate::drive::fetch::Server;
use crate::drive::socket::Socketed;
use crate::drive::trade_runs::Missing;
use crate::symbols::Symbols;

/// The server's own pings are no messages, and a quiet market sends none: this asks for one, well inside the silence.
const PING: (Duration, &str) = (Duration::from_secs(20), r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#);
/// One call for history gives no more.
const MOST_TRADES: i64 = 1_000;

#[derive(Args, Clone, Debug)]
pub struct BinanceArgs {
    /// Binance's market streams, without a path.
    #[arg(long, env = "BINANCE_WS_URL", default_value = "wss://stream.binance.com:9443", value_name = "URL")]
    pub binance_ws_url: String,
    /// Where Binance's past trades are fetched to fill gaps, without /api/v3.
    #[arg(long, env = "BINANCE_BASE_URL", default_value = "https://api.binance.com", value_name = "URL")]
    pub binance_base_url: String,
    /// Binance's API key for past trades, where it wants one. Sent as a header and shown nowhere.
    #[arg(long, env = "BINANCE_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub binance_api_key: Option<SecretString>,
    /// Symbols to read at Binance, separated by commas.
    #[arg(
        long,
        env = "BINANCE_SYMBOLS",
        value_delimiter = ',',
        default_value = "BTC-USDT,ETH-USDT,BTC-BRL,USDT-BRL",
        value_name = "BASE-QUOTE"
    )]
    pub binance_symbols: Vec<String>,
    /// What to read of each, separated by commas; trade and aggTrade tell of the same trades, so one of the two.
    #[arg(long, env = "BINANCE_CHANNELS", value_enum, value_delimiter = ',', default_value = "trade")]
    pub binance_channels: Vec<Channel>,
    /// Seconds without any message after which the socket is taken for dead.
    #[arg(long, env = "BINANCE_SILENCE_SECONDS", default_value = "60", value_parser = seconds, value_name = "SECONDS")]
    pub binance_silence_seconds: Duration,
    /// Seconds without any price after which another connection is made.
    #[arg(long, env = "BINANCE_QUIET_SECONDS", default_value = "600", value_parser = seconds, value_name = "SECONDS")]
    pub binance_quiet_seconds: Duration,
}

/// A stream of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Channel {
    Trade,
    #[value(name = "aggTrade")]
    AggTrade,
    #[value(name = "bookTicker")]
    BookTicker,
    #[value(name = "24hrTicker")]
    DayTicker,
}

impl Channel {
    /// As a stream's name ends.
    fn stream(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::AggTrade => "aggTrade",
            Self::BookTicker => "bookTicker",
            Self::DayTicker => "ticker",
        }
    }
}

impl BinanceArgs {
    /// Everything that the driver needs.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what cannot be meant.
    pub fn socketed(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Socketed> {
        let channels = &self.binance_channels;
        if channels.contains(&Channel::Trade) && channels.contains(&Channel::AggTrade) {
            return Err(misconfigured(
                "--binance-channels (BINANCE_CHANNELS) has both trade and aggTrade, which tell of the same trades: choose one",
            ));
        }
        let base = address(&self.binance_ws_url, WEB_SOCKET, ("--binance-ws-url", "BINANCE_WS_URL"))?;
        let asked = symbols.asked(SOURCE, &self.binance_symbols, ("--binance-symbols", "BINANCE_SYMBOLS"))?;
        let mut streams: Vec<String> = Vec::new();
        for (_, name) in &asked {
            let name = name.to_ascii_lowercase();
            streams.extend(channels.iter().map(|channel| format!("{name}@{}", channel.stream())));
        }
        Ok(Socketed {
            source: Arc::new(Binance { symbols: symbols.clone() }),
            url: format!("{base}/stream?streams={}", streams.join("/")),
            subscribe: Vec::new(),
            asked: asked.iter().map(|(symbol, _)| (*symbol).to_owned()).collect(),
            silence: self.binance_silence_seconds,
            quiet: self.binance_quiet_seconds,
            ping: Some((PING.0.min(self.binance_silence_seconds / 3), PING.1.to_owned())),
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(60)),
            backfill: self.history()?,
        })
    }

    fn history(&self) -> anyhow::Result<Option<TradeHistory>> {
        let request = if self.binance_channels.contains(&Channel::Trade) {
            trades
        } else if self.binance_channels.contains(&Channel::AggTrade) {
            aggregate_trades
        } else {
            return Ok(None);
        };
        let server = Server {
            source: SOURCE,
            base_url: address(&self.binance_base_url, HTTP, ("--binance-base-url", "BINANCE_BASE_URL"))?,
            key: self.binance_api_key.clone().map(|key| ("x-mbx-apikey", key)),
            timeout: Duration::from_secs(15),
        };
        Ok(Some(TradeHistory { server, request, most: MOST_TRADES }))
    }
}

fn trades(missing: &Missing, first: i64, last: i64) -> String {
    past("historicalTrades", &missing.source_symbol, first, last)
}

fn aggregate_trades(missing: &Missing, first: i64, last: i64) -> String {
    past("aggTrades", &missing.source_symbol, first, last)
}

fn past(endpoint: &str, symbol: &str, first: i64, last: i64) -> String {
    let limit = last.saturating_sub(first).saturating_add(1).clamp(1, MOST_TRADES);
    format!("/api/v3/{endpoint}?symbol={symbol}&fromId={first}&limit={limit}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: BinanceArgs,
    }

    fn socketed(args: &[&str]) -> anyhow::Result<Socketed> {
        let cli = Cli::try_parse_from(["x"].iter().chain(args)).expect("well formed");
        cli.args.socketed(&Arc::new(Symbols::built_in()))
    }

    #[test]
    fn every_symbol_has_its_streams_in_the_address() {
        let asked = ["--binance-symbols", "BTC-USDT,ETH-BRL", "--binance-channels", "aggTrade,bookTicker,24hrTicker"];
        let socketed = socketed(&[&asked[..], &["--binance-ws-url", "ws://127.0.0.1:1/"]].concat()).expect("it can be");
        assert_eq!(
            socketed.url,
            "ws://127.0.0.1:1/stream?streams=btcusdt@aggTrade/btcusdt@bookTicker/btcusdt@ticker/ethbrl@aggTrade/\
             ethbrl@bookTicker/ethbrl@ticker"
        );
        assert_eq!((socketed.asked, socketed.subscribe.len()), (vec!["BTC-USDT".to_owned(), "ETH-BRL".to_owned()], 0));
        let history = socketed.backfill.expect("aggregate trades have one");
        assert_eq!(
            (history.request)(&Missing::of("BTCUSDT", 7, 9, 0), 7, 9),
            "/api/v3/aggTrades?symbol=BTCUSDT&fromId=7&limit=3"
        );
    }

    #[test]
    fn the_defaults_are_trades() {
        let socketed = socketed(&[]).expect("it can be");
        assert!(socketed.url.starts_with("wss://stream.binance.com:9443/stream?streams=btcusdt@trade/ethusdt@trade/"));
        let request = socketed.backfill.expect("trades have one").request;
        assert_eq!(
            request(&Missing::of("BTCUSDT", 7, 5_000, 0), 7, 5_000),
            "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=7&limit=1000"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_told_in_a_line() {
        for (args, said) in [
            (["--binance-channels", "trade,aggTrade"], "choose one"),
            (["--binance-symbols", "BTC-USD"], "BINANCE_SYMBOLS"),
            (["--binance-ws-url", "https://x"], "BINANCE_WS_URL"),
            (["--binance-base-url", "x"], "BINANCE_BASE_URL"),
        ] {
            let error = socketed(&args).err().expect("it cannot be meant");
            assert_eq!(pipeline::exit_code(&error), 2);
            assert!(error.to_string().contains(said) && error.to_string().lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let cli = Cli::try_parse_from(["x", "--binance-api-key", "hushhush"]).expect("well formed");
        assert!(!format!("{cli:?}").contains("hushhush"));
    }
}
