//! What the producer is told by flags and environment. A value that cannot be meant is refused here, with one line that
//! says what would be right; nothing further in re-checks it. Must never happen here: a key that `Debug` shows.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::admin::AdminArgs;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::telemetry::LogArgs;
use secrecy::{ExposeSecret, SecretString};

use crate::backoff::Backoff;
use crate::normalize::NormalizeArgs;
use crate::poll::Polled;
use crate::socket::Socketed;
use crate::sources::coingecko::{Asked, Coin};
use crate::sources::{coinbase, coingecko, simulated};

/// Reads price sources and publishes every price once, in order, to Kafka.
#[derive(Debug, Parser)]
#[command(name = "producer", version)]
pub struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read the sources and publish until stopped (what happens without a subcommand).
    Run(Box<Config>),
    /// Print what recorded payloads become, as JSON lines; no network.
    Normalize(NormalizeArgs),
}

impl Cli {
    /// The arguments, with `run` as the subcommand where none is named.
    #[must_use]
    pub fn read() -> Self {
        let mut args: Vec<std::ffi::OsString> = std::env::args_os().collect();
        let named = ["run", "normalize", "help", "-h", "--help", "-V", "--version"];
        if !args.iter().skip(1).any(|arg| named.iter().any(|name| arg == name)) {
            args.insert(1.min(args.len()), "run".into());
        }
        Self::parse_from(args)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourceName {
    Simulated,
    Coingecko,
    Coinbase,
}

#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,

    /// The sources to read, separated by commas.
    #[arg(long = "sources", env = "PRODUCER_SOURCES", value_enum, value_delimiter = ',', default_value = "simulated")]
    pub sources: Vec<SourceName>,
    /// The folder that records wait in while the broker is down; one producer a folder.
    #[arg(long, env = "PRODUCER_SPILL_DIR", default_value = "data/producer-spill", value_name = "DIR")]
    pub spill_dir: PathBuf,
    /// How much may wait there, in bytes; what comes after is dropped, counted and told of by a gap.
    #[arg(long, env = "PRODUCER_SPILL_BYTES", default_value_t = 256 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(64 * 1024..))]
    pub spill_bytes: u64,

    #[command(flatten)]
    pub coingecko: CoingeckoArgs,
    #[command(flatten)]
    pub coinbase: CoinbaseArgs,
    #[command(flatten)]
    pub simulated: SimulatedArgs,
}

#[derive(Args, Clone, Debug)]
pub struct CoingeckoArgs {
    /// Where CoinGecko's API is, without /api/v3.
    #[arg(long, env = "COINGECKO_BASE_URL", default_value = "https://api.coingecko.com", value_name = "URL")]
    pub coingecko_base_url: String,
    /// CoinGecko's API key, if there is one. Sent as a header and shown nowhere.
    #[arg(long, env = "COINGECKO_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub coingecko_api_key: Option<SecretString>,
    /// Coins by CoinGecko's ids, separated by commas; an uncommon one as id=SYMBOL.
    #[arg(
        long,
        env = "COINGECKO_IDS",
        value_delimiter = ',',
        default_value = "bitcoin,ethereum,solana",
        value_name = "ID"
    )]
    pub coingecko_ids: Vec<Coin>,
    /// Currencies to ask prices in, separated by commas.
    #[arg(long, env = "COINGECKO_VS_CURRENCIES", value_delimiter = ',', default_value = "usd,brl", value_parser = currency, value_name = "CURRENCY")]
    pub coingecko_vs_currencies: Vec<String>,
    /// Seconds from one poll to the next; without a key about 5 to 15 calls a minute are served.
    #[arg(long, env = "COINGECKO_POLL_SECONDS", default_value = "60", value_parser = seconds, value_name = "SECONDS")]
    pub coingecko_poll_seconds: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct CoinbaseArgs {
    /// Coinbase's Exchange WebSocket feed.
    #[arg(long, env = "COINBASE_WS_URL", default_value = "wss://ws-feed.exchange.coinbase.com", value_name = "URL")]
    pub coinbase_ws_url: String,
    /// Spot products, separated by commas.
    #[arg(long, env = "COINBASE_PRODUCTS", value_delimiter = ',', default_value = "BTC-USD,ETH-USD,SOL-USD", value_parser = product, value_name = "BASE-QUOTE")]
    pub coinbase_products: Vec<String>,
    /// Seconds without any message after which the socket is taken for dead: three times the heartbeat's second.
    #[arg(long, env = "COINBASE_SILENCE_SECONDS", default_value = "3", value_parser = seconds, value_name = "SECONDS")]
    pub coinbase_silence_seconds: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct SimulatedArgs {
    /// Simulated trades a second, over all symbols; 0 is as fast as the broker takes them.
    #[arg(long, env = "SIMULATED_RATE", default_value_t = 200, value_parser = clap::value_parser!(u64).range(..=10_000_000))]
    pub simulated_rate: u64,
    /// The same seed walks the same prices.
    #[arg(long, env = "SIMULATED_SEED", default_value_t = 1)]
    pub simulated_seed: u64,
    /// Stop this source after so many trades; the producer ends when every source has.
    #[arg(long, env = "SIMULATED_TRADES", value_name = "COUNT")]
    pub simulated_trades: Option<u64>,
    /// The simulated symbols, separated by commas.
    #[arg(long, env = "SIMULATED_SYMBOLS", value_delimiter = ',', default_values_t = simulated::default_symbols(), value_parser = product, value_name = "BASE-QUOTE")]
    pub simulated_symbols: Vec<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "expected seconds between 0.1 and 86400, such as 60".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (0.1..=86_400.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

fn currency(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits =
        (2..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a currency as CoinGecko writes it, such as usd"))
    }
}

fn product(text: &str) -> Result<String, String> {
    let text = text.trim();
    coinbase::base_and_quote(text)
        .map(|_| text.to_owned())
        .map_err(|(_, why)| format!("{why}; expected one such as BTC-USD"))
}

fn expect_scheme(url: &str, schemes: [&str; 2], flag: &str, env: &str) -> anyhow::Result<()> {
    if schemes.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        return Ok(());
    }
    // The address itself is not shown: a person may have put a password into it.
    Err(misconfigured(format!("{flag} ({env}) is not an address that starts with {} or {}", schemes[0], schemes[1])))
}

impl CoingeckoArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] for an address that is none.
    pub fn polled(&self) -> anyhow::Result<Polled> {
        let base = self.coingecko_base_url.trim_end_matches('/').trim_end_matches("/api/v3");
        expect_scheme(base, ["https://", "http://"], "--coingecko-base-url", "COINGECKO_BASE_URL")?;
        let asked = Asked {
            coins: self.coingecko_ids.clone(),
            currencies: self.coingecko_vs_currencies.clone(),
            anything: false,
        };
        let interval = self.coingecko_poll_seconds;
        Ok(Polled {
            source: coingecko::SOURCE,
            url: format!("{base}{}", asked.path()),
            key: self
                .coingecko_api_key
                .clone()
                .filter(|key| !key.expose_secret().is_empty())
                .map(|key| (coingecko::key_header(base), key)),
            interval,
            timeout: Duration::from_secs(20),
            backoff: Backoff::new(Duration::from_secs(1).min(interval), Duration::from_secs(60).min(interval)),
            asked: asked.symbols(),
            stale_after: (interval * 5).max(Duration::from_secs(600)),
            parse: Box::new(move |body, received_at| coingecko::parse(body, received_at, &asked)),
        })
    }
}

impl CoinbaseArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] for an address that is none.
    pub fn socketed(&self) -> anyhow::Result<Socketed> {
        let url = self.coinbase_ws_url.trim();
        expect_scheme(url, ["wss://", "ws://"], "--coinbase-ws-url", "COINBASE_WS_URL")?;
        let products = self.coinbase_products.clone();
        Ok(Socketed {
            source: coinbase::SOURCE,
            url: url.to_owned(),
            subscribe: vec![coinbase::subscribe(&products)],
            asked: products.clone(),
            silence: self.coinbase_silence_seconds,
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(60)),
            parse: Box::new(move |frame, received_at| coinbase::parse(frame, received_at, &products)),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn config(args: &[&str]) -> Result<Config, clap::Error> {
        match Cli::try_parse_from(["producer", "run"].iter().chain(args))?.command {
            Command::Run(config) => Ok(*config),
            Command::Normalize(_) => panic!("run was asked for"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused() {
        for args in [
            ["--sources", "coinbasse"],
            ["--coinbase-products", "BTC-PERP-INTX"],
            ["--coinbase-products", "btcusd"],
            ["--coingecko-ids", "link"],
            ["--coingecko-ids", "Bitcoin"],
            ["--coingecko-vs-currencies", "U S D"],
            ["--coingecko-poll-seconds", "0"],
            ["--simulated-rate", "fast"],
            ["--spill-bytes", "1"],
        ] {
            assert!(config(&args).is_err(), "{args:?}");
        }
        let wrong = config(&["--coingecko-base-url", "api.coingecko.com"]).expect("clap takes any text");
        let error = wrong.coingecko.polled().map(|_| ()).expect_err("it has no scheme");
        assert_eq!(pipeline::exit_code(&error), 2);
        assert!(error.to_string().contains("COINGECKO_BASE_URL"), "{error}");
    }

    #[test]
    fn the_request_has_no_space_and_the_key_is_not_shown() {
        let config = config(&[
            "--coingecko-ids",
            "bitcoin, ethereum,the-coin=COIN",
            "--coingecko-vs-currencies",
            "usd, brl",
            "--coingecko-api-key",
            "CG-secret",
            "--coingecko-base-url",
            "https://pro-api.coingecko.com/api/v3/",
        ])
        .expect("good arguments");
        assert!(!format!("{config:?}").contains("CG-secret"));
        let polled = config.coingecko.polled().expect("good arguments");
        assert!(
            polled.url.starts_with(
                "https://pro-api.coingecko.com/api/v3/simple/price?ids=bitcoin,ethereum,the-coin&vs_currencies=usd,brl&"
            ),
            "{}",
            polled.url
        );
        assert!(!polled.url.contains("CG-secret") && !polled.url.contains(' '));
        assert_eq!(polled.key.map(|(header, _)| header), Some("x-cg-pro-api-key"));
        assert_eq!(polled.asked, ["BTC-USD", "BTC-BRL", "ETH-USD", "ETH-BRL", "COIN-USD", "COIN-BRL"]);
    }
}
