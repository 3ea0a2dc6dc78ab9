//! What `producer renormalize` is told.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::store::StoreArgs;

use super::Range;
use crate::config::SourceName;
use crate::symbols::Symbols;

#[derive(Args, Clone, Debug)]
pub struct RenormalizeArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub store: StoreArgs,

    /// From the payloads received at this time on, such as 2026-03-02T09:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Timestamp,
    /// Up to the payloads received before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Timestamp,
    /// Of this source only; give it again for more of them. All that have payloads when not given.
    #[arg(long = "source", value_enum, value_name = "SOURCE")]
    pub sources: Vec<SourceName>,
    /// Publish nothing: print each change as a JSON line.
    #[arg(long)]
    pub dry_run: bool,
    /// Read the payloads from the raw lake, every epoch of it, and what was published from both the lake and the topic: for
    /// what retention has removed from the topics.
    #[arg(long)]
    pub lake: bool,
    /// The most ticks that are compared at once; each takes about 450 bytes of memory.
    #[arg(long, env = "RENORMALIZE_MAX_TICKS", default_value_t = 2_000_000, value_name = "COUNT")]
    pub max_ticks: usize,
    /// A table of symbols in place of the one that comes with the program.
    #[arg(long, env = "PRODUCER_SYMBOLS_FILE", value_name = "FILE")]
    pub symbols_file: Option<PathBuf>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.trim().parse().map_err(|_| "expected a time with its offset, such as 2026-03-02T09:00:00Z".to_owned())
}

impl RenormalizeArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] when it ends before it begins.
    pub fn range(&self) -> anyhow::Result<Range> {
        let (from, to) = (self.from.as_microsecond(), self.to.as_microsecond());
        if from < to {
            return Ok(Range { from, to });
        }
        Err(misconfigured(format!("--from {} is not before --to {}: nothing lies between them", self.from, self.to)))
    }

    /// # Errors
    /// [`pipeline::Misconfigured`] for a file that cannot be used.
    pub fn symbols(&self) -> anyhow::Result<Arc<Symbols>> {
        let symbols = self.symbols_file.as_deref().map_or_else(|| Ok(Symbols::built_in()), Symbols::read)?;
        Ok(Arc::new(symbols))
    }
}
