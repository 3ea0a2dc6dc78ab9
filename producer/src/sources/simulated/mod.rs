//! A seeded market that does not exist, for demos, tests and benchmarks: a feed of trade frames that is made here and driven
//! like an exchange's. The same seed gives the same prices in the same order, whatever the rate; a script makes it lose
//! connections, fall silent, jump, burst and lose trades at set times. Its source is named `simulated` everywhere, so that
//! nobody takes it for a market. Must never happen here: a trade id that a restart gives to another trade (each run has its
//! own id space), or a price off its grid (prices are whole numbers of steps).

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use pipeline::misconfigured;

use crate::config::seconds;
use crate::drive::backoff::Backoff;
use crate::drive::socket::Socketed;
use crate::symbols::Pair;

mod feed;
mod market;
mod parser;
mod script;

pub use feed::SimulatedFeed;
pub use market::Market;
pub use parser::Simulated;
pub use script::Script;

pub const SOURCE: &str = "simulated";

/// The symbols that are traded by default.
const SYMBOLS: [&str; 8] = ["BTC-USD", "ETH-USD", "SOL-USD", "BTC-BRL", "ETH-BRL", "USD-BRL", "DOGE-USD", "ADA-USD"];

/// A market that trades at least once a second is never without a price for this long, but for a script's silence.
const QUIET: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Args, Clone, Debug)]
pub struct SimulatedArgs {
    /// Simulated trades a second, over all symbols; 0 is as fast as the broker takes them.
    #[arg(long, env = "SIMULATED_RATE", default_value_t = 200, value_parser = clap::value_parser!(u64).range(..=10_000_000))]
    pub simulated_rate: u64,
    /// The same seed gives the same prices.
    #[arg(long, env = "SIMULATED_SEED", default_value_t = 1)]
    pub simulated_seed: u64,
    /// Stop this source after so many trades; the producer ends when every source has.
    #[arg(long, env = "SIMULATED_TRADES", value_name = "COUNT")]
    pub simulated_trades: Option<u64>,
    /// The simulated symbols, separated by commas.
    #[arg(long, env = "SIMULATED_SYMBOLS", value_delimiter = ',', default_values_t = SYMBOLS.map(str::to_owned), value_parser = simulated_symbol, value_name = "BASE-QUOTE")]
    pub simulated_symbols: Vec<String>,
    /// What happens when, since the start, separated by commas: gap@30s+10s (the connection is lost for 10 s),
    /// silence@120s+15s (connected, and nothing comes), burst@60s+5s*20 (20 times the rate for 5 s), jump@90s:BTC-USD:-8%
    /// (a price jumps), skip@100s:5 or skip@100s:BTC-USD:5 (5 trades are lost). Times are whole ms, s, m or h.
    #[arg(long, env = "SIMULATED_SCRIPT", value_name = "COMMANDS", default_value = "", hide_default_value = true)]
    pub simulated_script: Script,
    /// Reconnect when nothing has come for so long, in seconds.
    #[arg(long, env = "SIMULATED_SILENCE_SECONDS", default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub simulated_silence_seconds: Duration,
}

impl SimulatedArgs {
    /// What the driver needs, and the feed that it reads.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for a script that speaks of a symbol that is not traded, or of a rate that is not set.
    pub fn socketed(&self) -> anyhow::Result<(Socketed, SimulatedFeed)> {
        self.simulated_script
            .check(&self.simulated_symbols, self.simulated_rate)
            .map_err(|why| misconfigured(format!("--simulated-script (SIMULATED_SCRIPT): {why}")))?;
        let socketed = Socketed {
            source: Arc::new(Simulated),
            url: SOURCE.to_owned(),
            subscribe: Vec::new(),
            asked: self.simulated_symbols.clone(),
            silence: self.simulated_silence_seconds,
            quiet: QUIET,
            ping: None,
            // It is back when the script says so, and not much later.
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_millis(500)),
            backfill: None,
        };
        Ok((socketed, SimulatedFeed::new(self)))
    }
}

fn simulated_symbol(text: &str) -> Result<String, String> {
    text.trim().parse::<Pair>().map(|pair| pair.symbol())
}
