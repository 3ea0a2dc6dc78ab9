//! What is asked of Coinbase, by flags and environment.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Coinbase, SOURCE, advanced, exchange};
use crate::config::{HTTP, WEB_SOCKET, address, seconds};
use crate::drive::backfill::TradeHistory;
use crate::drive::backoff::Backoff;
use crate::drive::fetch::Server;
use crate::drive::socket::Socketed;
use crate::symbols::Symbols;

#[derive(Args, Clone, Debug)]
pub struct CoinbaseArgs {
    /// Which of Coinbase's feeds to read; both tell of the same trades.
    #[arg(long, env = "COINBASE_FEED", value_enum, default_value = "exchange")]
    pub coinbase_feed: Feed,
    /// The feed's address; when not given, wss://ws-feed.exchange.coinbase.com or wss://advanced-trade-ws.coinbase.com.
    #[arg(long, env = "COINBASE_WS_URL", value_name = "URL")]
    pub coinbase_ws_url: Option<String>,
    /// Where Coinbase's past trades are fetched to fill gaps.
    #[arg(long, env = "COINBASE_BASE_URL", default_value = "https://api.exchange.coinbase.com", value_name = "URL")]
    pub coinbase_base_url: String,
    /// Symbols to read at Coinbase, separated by commas.
    #[arg(
        long,
        env = "COINBASE_SYMBOLS",
        value_delimiter = ',',
        default_value = "BTC-USD,ETH-USD,SOL-USD",
        value_name = "BASE-QUOTE"
    )]
    pub coinbase_symbols: Vec<String>,
    /// Seconds without any message after which the socket is taken for dead: three times the heartbeat's second.
    #[arg(long, env = "COINBASE_SILENCE_SECONDS", default_value = "3", value_parser = seconds, value_name = "SECONDS")]
    pub coinbase_silence_seconds: Duration,
    /// Seconds without any price after which another connection is made.
    #[arg(long, env = "COINBASE_QUIET_SECONDS", default_value = "600", value_parser = seconds, value_name = "SECONDS")]
    pub coinbase_quiet_seconds: Duration,
}

/// One of Coinbase's feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Feed {
    Exchange,
    Advanced,
}

impl Feed {
    fn url(self) -> &'static str {
        match self {
            Self::Exchange => "wss://ws-feed.exchange.coinbase.com",
            Self::Advanced => "wss://advanced-trade-ws.coinbase.com",
        }
    }

    fn subscribe(self, products: &[String]) -> Vec<String> {
        match self {
            Self::Exchange => vec![exchange::subscribe(products)],
            Self::Advanced => advanced::subscribe(products),
        }
    }
}

impl CoinbaseArgs {
    /// Everything that the driver needs.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what cannot be meant.
    pub fn socketed(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Socketed> {
        let given = self.coinbase_ws_url.as_deref().filter(|url| !url.trim().is_empty());
        let url = given.unwrap_or_else(|| self.coinbase_feed.url());
        let url = address(url, WEB_SOCKET, ("--coinbase-ws-url", "COINBASE_WS_URL"))?;
        let asked = symbols.asked(SOURCE, &self.coinbase_symbols, ("--coinbase-symbols", "COINBASE_SYMBOLS"))?;
        let products: Vec<String> = asked.iter().map(|(_, name)| (*name).to_owned()).collect();
        let server = Server {
            source: SOURCE,
            base_url: address(&self.coinbase_base_url, HTTP, ("--coinbase-base-url", "COINBASE_BASE_URL"))?,
            key: None,
            timeout: Duration::from_secs(15),
        };
        Ok(Socketed {
            source: Arc::new(Coinbase { symbols: symbols.clone() }),
            url,
            subscribe: self.coinbase_feed.subscribe(&products),
            asked: asked.iter().map(|(symbol, _)| (*symbol).to_owned()).collect(),
            silence: self.coinbase_silence_seconds,
            quiet: self.coinbase_quiet_seconds,
            ping: None,
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(60)),
            backfill: Some(TradeHistory { server, request: exchange::history_path, most: exchange::MOST_TRADES }),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::drive::trade_runs::Missing;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: CoinbaseArgs,
    }

    fn socketed(args: &[&str]) -> anyhow::Result<Socketed> {
        let cli = Cli::try_parse_from(["x"].iter().chain(args)).expect("well formed");
        cli.args.socketed(&Arc::new(Symbols::built_in()))
    }

    #[test]
    fn each_feed_has_its_address_and_its_messages() {
        let products = ["BTC-USD", "ETH-USD", "SOL-USD"].map(str::to_owned);
        let exchange = socketed(&[]).expect("it can be");
        assert_eq!(exchange.url, "wss://ws-feed.exchange.coinbase.com");
        assert_eq!(exchange.subscribe, [exchange::subscribe(&products)]);
        assert_eq!((exchange.asked, exchange.silence), (products.to_vec(), Duration::from_secs(3)));
        let advanced = socketed(&["--coinbase-feed", "advanced", "--coinbase-symbols", "ADA-EUR"]).expect("it can be");
        assert_eq!(advanced.url, "wss://advanced-trade-ws.coinbase.com");
        assert_eq!(advanced.subscribe, advanced::subscribe(&["ADA-EUR".to_owned()]));
        let elsewhere = ["--coinbase-feed", "advanced", "--coinbase-ws-url", "ws://127.0.0.1:1/"];
        assert_eq!(socketed(&elsewhere).expect("it can be").url, "ws://127.0.0.1:1");
    }

    #[test]
    fn missed_trades_are_asked_for_by_their_numbers() {
        let history = socketed(&[]).expect("it can be").backfill.expect("there is one");
        let path = (history.request)(&Missing::of("BTC-USD", 11, 20, 0), 11, 20);
        // `after` is a page of what is older than that trade.
        assert_eq!(path, "/products/BTC-USD/trades?limit=10&after=21");
        assert_eq!(
            (history.request)(&Missing::of("BTC-USD", 1, 5_000, 0), 1, 5_000),
            "/products/BTC-USD/trades?limit=1000&after=5001"
        );
        assert_eq!((history.most, history.server.base_url.as_str()), (1_000, "https://api.exchange.coinbase.com"));
    }

    #[test]
    fn what_cannot_be_meant_is_told_in_a_line() {
        for (args, said) in [
            (["--coinbase-symbols", "BTC-PERP-INTX"], "COINBASE_SYMBOLS"),
            (["--coinbase-symbols", "btcusd"], "BTC-USD"),
            (["--coinbase-ws-url", "https://x"], "COINBASE_WS_URL"),
            (["--coinbase-base-url", "x"], "COINBASE_BASE_URL"),
        ] {
            let error = socketed(&args).err().expect("it cannot be meant");
            assert_eq!(pipeline::exit_code(&error), 2);
            assert!(error.to_string().contains(said) && error.to_string().lines().count() == 1, "{error}");
        }
    }
}
