//! How CoinMarketCap is asked: its settings, and what the driver makes of them.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use pipeline::misconfigured;
use secrecy::{ExposeSecret, SecretString};

use super::asked::quotes_requests;
use super::{Coinmarketcap, SOURCE};
use crate::config::{HTTP, address, seconds};
use crate::drive::backoff::Backoff;
use crate::drive::budget::Plan;
use crate::drive::fetch::Server;
use crate::drive::poll::{Ask, Polled, Schedule};
use crate::symbols::Symbols;

#[derive(Args, Clone, Debug)]
pub struct CoinmarketcapArgs {
    /// CoinMarketCap's symbols, separated by commas; each currency among them is a call of its own.
    #[arg(
        long,
        env = "COINMARKETCAP_SYMBOLS",
        value_delimiter = ',',
        default_value = "BTC-USD,ETH-USD,SOL-USD",
        value_name = "BASE-QUOTE"
    )]
    pub coinmarketcap_symbols: Vec<String>,
    /// Where CoinMarketCap's API is.
    #[arg(
        long,
        env = "COINMARKETCAP_BASE_URL",
        default_value = "https://pro-api.coinmarketcap.com",
        value_name = "URL"
    )]
    pub coinmarketcap_base_url: String,
    /// CoinMarketCap's API key, without which it answers nothing. Sent as a header and shown nowhere.
    #[arg(long, env = "COINMARKETCAP_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub coinmarketcap_api_key: Option<SecretString>,
    /// Seconds from one poll of CoinMarketCap to the next. When it is not set: 300, or as often as the plan bears (536 with the
    /// free plan and two currencies). What the plan leaves out of a shorter interval is told as a gap.
    #[arg(long, env = "COINMARKETCAP_POLL_SECONDS", value_parser = seconds, value_name = "SECONDS")]
    pub coinmarketcap_poll_seconds: Option<Duration>,
    /// The credits that CoinMarketCap's plan allows, or unlimited; the free plan's when it is not set.
    #[arg(long, env = "COINMARKETCAP_BUDGET", default_value = "minute=30,month=10000", value_name = "LIMITS")]
    pub coinmarketcap_budget: Plan,
}

impl CoinmarketcapArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] without a key, for an address that is none, or a symbol that the source does not have.
    pub fn polled(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Polled> {
        let flags = ("--coinmarketcap-base-url", "COINMARKETCAP_BASE_URL");
        let base_url = address(&self.coinmarketcap_base_url, HTTP, flags)?;
        let base_url = base_url.trim_end_matches("/v1").trim_end_matches("/v2").to_owned();
        let key = self.coinmarketcap_api_key.clone().filter(|key| !key.expose_secret().trim().is_empty());
        let key = key.ok_or_else(|| {
            misconfigured(
                "--coinmarketcap-api-key (COINMARKETCAP_API_KEY) is not set, and CoinMarketCap answers nothing without \
                 a key: set it, or leave coinmarketcap out of --sources (PRODUCER_SOURCES)",
            )
        })?;
        let flags = ("--coinmarketcap-symbols", "COINMARKETCAP_SYMBOLS");
        let asked = symbols.asked(SOURCE, &self.coinmarketcap_symbols, flags)?;
        let names: Vec<&str> = asked.iter().map(|(_, name)| *name).collect();
        let requests = quotes_requests(&names);
        let borne = || self.coinmarketcap_budget.shortest_interval(u32::try_from(requests.len()).unwrap_or(u32::MAX));
        let interval = self.coinmarketcap_poll_seconds.unwrap_or_else(|| borne().max(Duration::from_secs(300)));
        Ok(Polled {
            source: Arc::new(Coinmarketcap { symbols: symbols.clone() }),
            server: Server {
                source: SOURCE,
                base_url,
                key: Some(("x-cmc_pro_api_key", key)),
                timeout: Duration::from_secs(20),
            },
            // One credit each, by the number of coins and currencies in it.
            requests: requests.into_iter().map(|path| Ask { path, cost: 1 }).collect(),
            asked: asked.iter().map(|(symbol, _)| (*symbol).to_owned()).collect(),
            schedule: Schedule::Every(interval),
            backoff: Backoff::new(Duration::from_secs(2).min(interval), Duration::from_secs(120).min(interval)),
            stale_after: (interval * 4).max(Duration::from_secs(1200)),
            budget: self.coinmarketcap_budget,
            // Its history is for paid plans only.
            backfill: None,
        })
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
