//! What is asked of Kraken, by flags and environment.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Kraken, SOURCE, feed, names};
use crate::config::{HTTP, WEB_SOCKET, address, seconds};
use crate::drive::backfill::TradeHistory;
use crate::drive::backoff::Backoff;
use crate::drive::fetch::Server;
use crate::drive::socket::Socketed;
use crate::drive::trade_runs::Missing;
use crate::symbols::Symbols;

#[derive(Args, Clone, Debug)]
pub struct KrakenArgs {
    /// Kraken's WebSocket feed, version 2.
    #[arg(long, env = "KRAKEN_WS_URL", default_value = "wss://ws.kraken.com/v2", value_name = "URL")]
    pub kraken_ws_url: String,
    /// Where past trades are fetched, for --backfill.
    #[arg(long, env = "KRAKEN_BASE_URL", default_value = "https://api.kraken.com", value_name = "URL")]
    pub kraken_base_url: String,
    /// Symbols to read at Kraken, separated by commas.
    #[arg(
        long,
        env = "KRAKEN_SYMBOLS",
        value_delimiter = ',',
        default_value = "BTC-USD,ETH-USD,BTC-USDT",
        value_name = "BASE-QUOTE"
    )]
    pub kraken_symbols: Vec<String>,
    /// What to read of each, separated by commas.
    #[arg(long, env = "KRAKEN_CHANNELS", value_enum, value_delimiter = ',', default_value = "trade")]
    pub kraken_channels: Vec<Channel>,
    /// Seconds without any message after which the socket is taken for dead; a heartbeat comes every second.
    #[arg(long, env = "KRAKEN_SILENCE_SECONDS", default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub kraken_silence_seconds: Duration,
    /// Seconds without any price after which another connection is made.
    #[arg(long, env = "KRAKEN_QUIET_SECONDS", default_value = "600", value_parser = seconds, value_name = "SECONDS")]
    pub kraken_quiet_seconds: Duration,
}

/// A channel of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Channel {
    Trade,
    Ticker,
}

impl Channel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::Ticker => "ticker",
        }
    }
}

impl KrakenArgs {
    /// Everything that the driver needs.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what cannot be meant.
    pub fn socketed(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Socketed> {
        let url = address(&self.kraken_ws_url, WEB_SOCKET, ("--kraken-ws-url", "KRAKEN_WS_URL"))?;
        let asked = symbols.asked(SOURCE, &self.kraken_symbols, ("--kraken-symbols", "KRAKEN_SYMBOLS"))?;
        let names: Vec<String> = asked.iter().map(|(_, name)| (*name).to_owned()).collect();
        let mut channels: Vec<&str> = Vec::new();
        for channel in self.kraken_channels.iter().map(|channel| channel.as_str()) {
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        let trades = channels.contains(&Channel::Trade.as_str());
        let backfill = if trades { Some(self.history()?) } else { None };
        Ok(Socketed {
            source: Arc::new(Kraken { symbols: symbols.clone() }),
            url,
            subscribe: feed::subscribe(&channels, &names),
            asked: asked.iter().map(|(symbol, _)| (*symbol).to_owned()).collect(),
            silence: self.kraken_silence_seconds,
            quiet: self.kraken_quiet_seconds,
            ping: None,
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(60)),
            backfill,
        })
    }

    fn history(&self) -> anyhow::Result<TradeHistory> {
        let base_url = address(&self.kraken_base_url, HTTP, ("--kraken-base-url", "KRAKEN_BASE_URL"))?;
        let server = Server { source: SOURCE, base_url, key: None, timeout: Duration::from_secs(15) };
        // Past trades are asked for by time, and a second call would ask for the same: one is all.
        Ok(TradeHistory { server, request: since, most: i64::MAX })
    }
}

/// The thousand trades from just before the missing ones on.
fn since(missing: &Missing, _first: i64, _last: i64) -> String {
    let (base, quote) = missing.source_symbol.split_once('/').unwrap_or((&missing.source_symbol, ""));
    let nanos = i128::from(missing.started_at) * 1_000 - 1;
    format!("/0/public/Trades?pair={}{}&since={nanos}", names::in_rest(base), names::in_rest(quote))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: KrakenArgs,
    }

    fn socketed(args: &[&str]) -> anyhow::Result<Socketed> {
        let cli = Cli::try_parse_from(["x"].iter().chain(args)).expect("well formed");
        cli.args.socketed(&Arc::new(Symbols::built_in()))
    }

    #[test]
    fn every_channel_has_a_message_with_krakens_names() {
        let asked = ["--kraken-symbols", "DOGE-USD,BTC-USDT", "--kraken-channels", "ticker,trade,ticker"];
        let socketed =
            socketed(&[&asked[..], &["--kraken-ws-url", "ws://127.0.0.1:1/v2/"]].concat()).expect("it can be");
        assert_eq!(socketed.url, "ws://127.0.0.1:1/v2");
        assert_eq!(socketed.subscribe, feed::subscribe(&["ticker", "trade"], &["DOGE/USD".into(), "BTC/USDT".into()]));
        assert_eq!(socketed.asked, ["DOGE-USD", "BTC-USDT"]);
    }

    #[test]
    fn the_defaults_are_trades() {
        let socketed = socketed(&[]).expect("it can be");
        let names = ["BTC/USD", "ETH/USD", "BTC/USDT"].map(str::to_owned);
        assert_eq!(socketed.subscribe, feed::subscribe(&["trade"], &names));
        assert_eq!((socketed.url.as_str(), socketed.silence), ("wss://ws.kraken.com/v2", Duration::from_secs(10)));
    }

    #[test]
    fn past_trades_are_asked_for_by_rests_names_and_the_time_before_the_loss() {
        let history = socketed(&[]).expect("it can be").backfill.expect("there is one");
        let missing = Missing::of("BTC/USDT", 7, 9, 1_772_600_767_123_456);
        let path = (history.request)(&missing, 7, 9);
        assert_eq!(path, "/0/public/Trades?pair=XBTUSDT&since=1772600767123455999");
        assert!(socketed(&["--kraken-channels", "ticker"]).expect("it can be").backfill.is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_told_in_a_line() {
        for (args, said) in [
            (["--kraken-symbols", "BTC-BRL"], "KRAKEN_SYMBOLS"),
            (["--kraken-symbols", "XBT-USD"], "BTC-USD"),
            (["--kraken-ws-url", "https://x"], "KRAKEN_WS_URL"),
        ] {
            let error = socketed(&args).err().expect("it cannot be meant");
            assert_eq!(pipeline::exit_code(&error), 2);
            assert!(error.to_string().contains(said) && error.to_string().lines().count() == 1, "{error}");
        }
    }
}
