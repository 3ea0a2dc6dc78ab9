//! What the producer is told by flags and environment. A value that cannot be meant is refused here, with one line that
//! says what would be right; nothing further in re-checks it. Must never happen here: a key that `Debug` shows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::admin::AdminArgs;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::telemetry::LogArgs;
use pipeline::trace::TraceArgs;

use crate::drive::Driven;
use crate::drive::feed::WebSocket;
use crate::drive::fetch::Http;
use crate::drive::poll::Polled;
use crate::drive::socket::Socketed;
use crate::normalize::NormalizeArgs;
use crate::once::OnceArgs;
use crate::publish::cross_check::CrossCheck;
use crate::publish::implied::Implied;
use crate::publish::outbox::Checks;
use crate::renormalize::RenormalizeArgs;
use crate::sources::awesomeapi::AwesomeapiArgs;
use crate::sources::b3::B3Args;
use crate::sources::binance::BinanceArgs;
use crate::sources::bitstamp::BitstampArgs;
use crate::sources::coinbase::args::CoinbaseArgs;
use crate::sources::coingecko::CoingeckoArgs;
use crate::sources::coinmarketcap::CoinmarketcapArgs;
use crate::sources::kraken::args::KrakenArgs;
use crate::sources::okx::OkxArgs;
use crate::sources::recorded::RecordedArgs;
use crate::sources::simulated::SimulatedArgs;
use crate::symbols::{Pair, Symbols};

/// Reads price sources and publishes every price once, in order, to Kafka.
#[derive(Debug, Parser)]
#[command(name = "producer", version)]
pub struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub trace: TraceArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read the sources and publish until stopped (what happens without a subcommand).
    Run(Box<Config>),
    /// Run one cycle of some sources, print how it went, and end: for cron.
    Once(Box<OnceArgs>),
    /// Print what recorded payloads become, as JSON lines; no network.
    Normalize(NormalizeArgs),
    /// Run today's parsers over the payloads that were kept, and publish the ticks that differ as corrections.
    Renormalize(Box<RenormalizeArgs>),
}

impl Cli {
    /// The arguments, with `run` as the subcommand where none is named.
    #[must_use]
    pub fn read() -> Self {
        let mut args: Vec<std::ffi::OsString> = std::env::args_os().collect();
        let named = ["run", "once", "normalize", "renormalize", "help", "-h", "--help", "-V", "--version"];
        if !args.iter().skip(1).any(|arg| named.iter().any(|name| arg == name)) {
            args.insert(1.min(args.len()), "run".into());
        }
        pipeline::secrets::parse_from(args)
    }
}

/// The sources. The number of each is its partition of market.sources.v1, so it never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
#[repr(i32)]
pub enum SourceName {
    Simulated = 0,
    Recorded = 1,
    Coingecko = 2,
    Coinmarketcap = 3,
    Awesomeapi = 4,
    B3 = 5,
    Binance = 6,
    Coinbase = 7,
    Kraken = 8,
    Okx = 9,
    Bitstamp = 10,
}

impl SourceName {
    /// As events and metrics have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Recorded => "recorded",
            Self::Coingecko => "coingecko",
            Self::Coinmarketcap => "coinmarketcap",
            Self::Awesomeapi => "awesomeapi",
            Self::B3 => "b3",
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Kraken => "kraken",
            Self::Okx => "okx",
            Self::Bitstamp => "bitstamp",
        }
    }
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
    /// A table of symbols in place of the one that comes with the program (producer/src/symbols/symbols.toml).
    #[arg(long, env = "PRODUCER_SYMBOLS_FILE", value_name = "FILE")]
    pub symbols_file: Option<PathBuf>,
    /// Sources whose payloads are published as they were received (market.payloads.v1), separated by commas; all, or none.
    #[arg(long, env = "PRODUCER_PAYLOADS", value_delimiter = ',', default_value = "all")]
    pub payloads: Vec<Kept>,
    /// A price that is off the median of the sources by more than this share is marked (a header and a metric); it goes out
    /// all the same.
    #[arg(long, env = "PRODUCER_OFF_MEDIAN_SHARE", default_value = "0.02", value_parser = share, value_name = "SHARE")]
    pub off_median_share: f64,
    /// Symbols to imply from their price in dollars and the exchange rate (BTC-BRL from BTC-USD and USD-BRL), separated by
    /// commas.
    #[arg(long, env = "PRODUCER_IMPLIED_SYMBOLS", value_delimiter = ',', value_name = "BASE-QUOTE")]
    pub implied_symbols: Vec<Pair>,
    /// An exchange rate that is older than so many seconds implies nothing.
    #[arg(long, env = "PRODUCER_IMPLIED_RATE_SECONDS", default_value = "600", value_parser = seconds, value_name = "SECONDS")]
    pub implied_rate_seconds: Duration,
    /// Fetch what a gap missed from the source's history, where it has one.
    #[arg(long, env = "PRODUCER_BACKFILL", action = clap::ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    pub backfill: bool,
    /// Share the sources with the other producers of this name: each source is read by one of them at a time.
    #[arg(long, env = "PRODUCER_GROUP", value_name = "NAME")]
    pub group: Option<String>,
    /// The folder that records wait in while the broker is down; one producer a folder.
    #[arg(long, env = "PRODUCER_SPILL_DIR", default_value = "data/producer-spill", value_name = "DIR")]
    pub spill_dir: PathBuf,
    /// How much may wait there, in bytes; what comes after is dropped, counted and told of by a gap.
    #[arg(long, env = "PRODUCER_SPILL_BYTES", default_value_t = 256 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(64 * 1024..))]
    pub spill_bytes: u64,

    #[command(flatten)]
    pub awesomeapi: AwesomeapiArgs,
    #[command(flatten)]
    pub b3: B3Args,
    #[command(flatten)]
    pub coingecko: CoingeckoArgs,
    #[command(flatten)]
    pub coinmarketcap: CoinmarketcapArgs,
    #[command(flatten)]
    pub binance: BinanceArgs,
    #[command(flatten)]
    pub coinbase: CoinbaseArgs,
    #[command(flatten)]
    pub kraken: KrakenArgs,
    #[command(flatten)]
    pub okx: OkxArgs,
    #[command(flatten)]
    pub bitstamp: BitstampArgs,
    #[command(flatten)]
    pub simulated: SimulatedArgs,
    #[command(flatten)]
    pub recorded: RecordedArgs,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share between 0 and 1, such as 0.02 for two percent".to_owned())
}

/// Seconds as a flag has them.
///
/// # Errors
/// A sentence for a value that cannot be meant.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "expected seconds between 0.1 and 86400, such as 60".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (0.1..=86_400.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

/// An address with one of these schemes, without a slash at its end.
///
/// # Errors
/// [`pipeline::Misconfigured`]; the address itself is not shown, since a person may have put a password into it.
pub fn address(url: &str, schemes: [&str; 2], (flag, env): (&str, &str)) -> anyhow::Result<String> {
    let url = url.trim().trim_end_matches('/');
    if schemes.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        return Ok(url.to_owned());
    }
    Err(misconfigured(format!("{flag} ({env}) is not an address that starts with {} or {}", schemes[0], schemes[1])))
}

/// What [`address`] takes for polled sources, and for pushing ones.
pub const HTTP: [&str; 2] = ["https://", "http://"];
pub const WEB_SOCKET: [&str; 2] = ["wss://", "ws://"];

/// Which payloads are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    All,
    None,
    Of(SourceName),
}

impl std::str::FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            name => SourceName::from_str(name, false).map(Self::Of).map_err(|_| {
                let names: Vec<&str> = SourceName::value_variants().iter().map(|name| name.as_str()).collect();
                format!("{name:?} is no source; expected all, none or some of {}", names.join(", "))
            }),
        }
    }
}

impl Config {
    /// The table of symbols.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for a file that cannot be used.
    pub fn symbols(&self) -> anyhow::Result<Symbols> {
        self.symbols_file.as_deref().map_or_else(|| Ok(Symbols::built_in()), Symbols::read)
    }

    /// What every tick goes through on its way out.
    #[must_use]
    pub fn checks(&self) -> Checks {
        // Polled sources are asked every minute or five: their last price is an opinion for that long.
        const FRESH: Duration = Duration::from_secs(600);
        let implied = Implied::new(&self.implied_symbols, "USD", self.implied_rate_seconds);
        Checks {
            cross_check: Some(CrossCheck::new(self.off_median_share, FRESH)),
            implied: (!self.implied_symbols.is_empty()).then_some(implied),
        }
    }

    /// Whether this source's payloads are published. What is made up or played here has none that anybody sends now.
    #[must_use]
    pub fn keeps_payloads(&self, name: SourceName) -> bool {
        let sent = !matches!(name, SourceName::Simulated | SourceName::Recorded);
        let all = self.payloads.contains(&Kept::All) && sent;
        all || self.payloads.contains(&Kept::Of(name))
    }

    /// A source with its configuration checked, ready to be driven.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what cannot be meant.
    pub fn driven(&self, name: SourceName, symbols: &Arc<Symbols>) -> anyhow::Result<Driven> {
        match name {
            SourceName::Recorded => self.recorded.driven(symbols),
            SourceName::Simulated => {
                let (socketed, feed) = self.simulated.socketed()?;
                Ok(Driven::Pushed(socketed, Box::new(feed)))
            }
            SourceName::Awesomeapi => self.polled(self.awesomeapi.polled(symbols)?),
            SourceName::B3 => self.polled(self.b3.polled()?),
            SourceName::Coingecko => self.polled(self.coingecko.polled(symbols)?),
            SourceName::Coinmarketcap => self.polled(self.coinmarketcap.polled(symbols)?),
            SourceName::Binance => self.pushed(self.binance.socketed(symbols)?),
            SourceName::Coinbase => self.pushed(self.coinbase.socketed(symbols)?),
            SourceName::Kraken => self.pushed(self.kraken.socketed(symbols)?),
            SourceName::Okx => self.pushed(self.okx.socketed(symbols)?),
            SourceName::Bitstamp => self.pushed(self.bitstamp.socketed(symbols)?),
        }
    }

    pub fn polled(&self, mut polled: Polled) -> anyhow::Result<Driven> {
        polled.backfill = polled.backfill.filter(|_| self.backfill);
        let http = Http::new(&polled.server)?;
        Ok(Driven::Polled(polled, Box::new(http)))
    }

    pub fn pushed(&self, mut socketed: Socketed) -> anyhow::Result<Driven> {
        socketed.backfill = socketed.backfill.filter(|_| self.backfill);
        let feed = WebSocket { url: socketed.url.clone() };
        Ok(Driven::Pushed(socketed, Box::new(feed)))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn config(args: &[&str]) -> Result<Config, clap::Error> {
        match Cli::try_parse_from(["producer", "run"].iter().chain(args))?.command {
            Command::Run(config) => Ok(*config),
            Command::Once(_) | Command::Normalize(_) | Command::Renormalize(_) => panic!("run was asked for"),
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
            ["--simulated-rate", "fast"],
            ["--simulated-symbols", "btcusd"],
            ["--simulated-script", "gap@30s"],
            ["--recorded-speed", "fast"],
            ["--recorded-source", "krakken"],
            ["--payloads", "coinbasse"],
            ["--spill-bytes", "1"],
        ] {
            assert!(config(&args).is_err(), "{args:?}");
        }
    }
}
