//! How CoinGecko is asked: its settings, and what the driver makes of them.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use super::asked::{market_chart_request, markets_requests, simple_price_requests};
use super::{Coingecko, SOURCE};
use crate::config::{HTTP, address, seconds};
use crate::drive::backoff::Backoff;
use crate::drive::budget::Plan;
use crate::drive::fetch::Server;
use crate::drive::poll::{Ask, History, Polled, Schedule};
use crate::symbols::Symbols;

/// Which answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CoingeckoEndpoint {
    /// simple/price: all coins in all currencies in one call.
    Simple,
    /// coins/markets: a call a currency.
    Markets,
}

#[derive(Args, Clone, Debug)]
pub struct CoingeckoArgs {
    /// CoinGecko's symbols, separated by commas.
    #[arg(
        long,
        env = "COINGECKO_SYMBOLS",
        value_delimiter = ',',
        default_value = "BTC-USD,ETH-USD,SOL-USD,BTC-BRL,ETH-BRL,SOL-BRL",
        value_name = "BASE-QUOTE"
    )]
    pub coingecko_symbols: Vec<String>,
    /// Which of CoinGecko's answers is asked for.
    #[arg(long, env = "COINGECKO_ENDPOINT", value_enum, default_value = "simple")]
    pub coingecko_endpoint: CoingeckoEndpoint,
    /// Where CoinGecko's API is, without /api/v3; a paid plan's is pro-api.coingecko.com.
    #[arg(long, env = "COINGECKO_BASE_URL", default_value = "https://api.coingecko.com", value_name = "URL")]
    pub coingecko_base_url: String,
    /// CoinGecko's API key, if there is one. Sent as a header and shown nowhere.
    #[arg(long, env = "COINGECKO_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub coingecko_api_key: Option<SecretString>,
    /// Seconds from one poll of CoinGecko to the next. When it is not set: 60, or as often as the plan bears (268 with a demo
    /// key). What the plan leaves out of a shorter interval is told as a gap.
    #[arg(long, env = "COINGECKO_POLL_SECONDS", value_parser = seconds, value_name = "SECONDS")]
    pub coingecko_poll_seconds: Option<Duration>,
    /// The calls that CoinGecko's plan allows, such as minute=30,month=10000, or unlimited. When it is not set: minute=5
    /// without a key, minute=30,month=10000 with a demo key, minute=250,month=100000 with a paid one.
    #[arg(long, env = "COINGECKO_BUDGET", value_name = "LIMITS")]
    pub coingecko_budget: Option<Plan>,
}

impl CoingeckoArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] for an address that is none, or a symbol that the source does not have.
    pub fn polled(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Polled> {
        let flags = ("--coingecko-base-url", "COINGECKO_BASE_URL");
        let base_url = address(&self.coingecko_base_url, HTTP, flags)?.trim_end_matches("/api/v3").to_owned();
        let asked = symbols.asked(SOURCE, &self.coingecko_symbols, ("--coingecko-symbols", "COINGECKO_SYMBOLS"))?;
        let names: Vec<&str> = asked.iter().map(|(_, name)| *name).collect();
        let requests = match self.coingecko_endpoint {
            CoingeckoEndpoint::Simple => simple_price_requests(&names),
            CoingeckoEndpoint::Markets => markets_requests(&names),
        };
        let paid = base_url.contains("//pro-api.");
        let key = self.coingecko_api_key.clone().filter(|key| !key.expose_secret().is_empty());
        let budget = self.coingecko_budget.unwrap_or(match (&key, paid) {
            (None, _) => Plan { minute: Some(5), ..Plan::default() },
            (Some(_), false) => Plan { minute: Some(30), month: Some(10_000), ..Plan::default() },
            (Some(_), true) => Plan { minute: Some(250), month: Some(100_000), ..Plan::default() },
        });
        // The paid plan has its own host and its own header.
        let header = if paid { "x-cg-pro-api-key" } else { "x-cg-demo-api-key" };
        let borne = || budget.shortest_interval(u32::try_from(requests.len()).unwrap_or(u32::MAX));
        let interval = self.coingecko_poll_seconds.unwrap_or_else(|| borne().max(Duration::from_secs(60)));
        let table = symbols.clone();
        let history = move |symbol: &str, from: i64, to: i64| -> Vec<Ask> {
            let request = table.name(SOURCE, symbol).ok().and_then(|name| market_chart_request(name, from, to));
            request.into_iter().map(|path| Ask { path, cost: 1 }).collect()
        };
        Ok(Polled {
            source: Arc::new(Coingecko { symbols: symbols.clone() }),
            server: Server {
                source: SOURCE,
                base_url,
                key: key.map(|key| (header, key)),
                timeout: Duration::from_secs(20),
            },
            requests: requests.into_iter().map(|path| Ask { path, cost: 1 }).collect(),
            asked: asked.iter().map(|(symbol, _)| (*symbol).to_owned()).collect(),
            schedule: Schedule::Every(interval),
            backoff: Backoff::new(Duration::from_secs(1).min(interval), Duration::from_secs(60).min(interval)),
            stale_after: (interval * 5).max(Duration::from_secs(600)),
            budget,
            backfill: Some(History { requests: Arc::new(history) }),
        })
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
