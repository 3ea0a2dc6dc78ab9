//! Payloads that were recorded, played again: the same parsers and the same drivers as live, with a folder in the place of
//! the network. What a source pushes goes through the socket driver, what is polled through the polling one; a file of
//! frames is one connection.
//!
//! A replay is not the market, and nothing that it says may pass for it. Prices of `kraken/` go out under the source
//! `recorded:kraken`, and their event ids are made of that name too: a replayed trade neither replaces nor hides the live
//! one, and the same recording played twice is the same events twice, so sinks keep one. (What the source gave no time for
//! is told at the time of its replay, so it is another event each time.) `received_at` is when it was played. To publish
//! recorded payloads under their own source's name is a correction of what was published then: `producer renormalize` does
//! that. Must never happen here: a recorded price under a live source's name.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pipeline::events::event_id;
use pipeline::misconfigured;

use crate::config::SourceName;
use crate::drive::Driven;
use crate::drive::backoff::Backoff;
use crate::drive::budget::Plan;
use crate::drive::fetch::Server;
use crate::drive::poll::{Ask, Polled, Schedule};
use crate::drive::socket::Socketed;
use crate::parse::payload::Payload;
use crate::sources::{self, Parsed, Source};
use crate::symbols::Symbols;

mod pace;
mod player;
mod reel;

use pace::Pace;
use player::Player;
use reel::Reel;

/// A pause in a recording is no loss of ours.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[derive(Args, Clone, Debug)]
pub struct RecordedArgs {
    /// The folder of payloads that the source `recorded` plays: a folder a source (kraken/, coingecko/, …), or one of these
    /// alone, with .json files (a payload each) and .jsonl files (a payload a line), in the order of their names. A payload
    /// may stand there as it is, or as {"received_at":"2026-03-04T05:06:07.123456Z","request":"/path?query","status":200,
    /// "body":"…"}.
    #[arg(long, env = "RECORDED_DIR", value_name = "DIR")]
    pub recorded_dir: Option<PathBuf>,
    /// Whose payloads the folder has, where neither its own name nor its sub-folders' says it.
    #[arg(long, env = "RECORDED_SOURCE", value_enum, value_name = "SOURCE")]
    pub recorded_source: Option<SourceName>,
    /// How much faster than it was recorded: 1 is its own timing, 10 ten times that, max as fast as it is taken.
    #[arg(long, env = "RECORDED_SPEED", default_value = "1", value_name = "TIMES")]
    pub recorded_speed: Speed,
    /// Begin again after the end, instead of ending.
    #[arg(long, env = "RECORDED_LOOP", action = clap::ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    pub recorded_loop: bool,
}

/// How fast time passes in a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    Max,
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.trim(), text.trim().parse::<f64>()) {
            ("max" | "0", _) => Ok(Self::Max),
            (_, Ok(times)) if (0.001..=1e6).contains(&times) => Ok(Self::Times(times)),
            _ => Err("expected how many times as fast, such as 1 or 10 or 0.5, or max (0) for no waiting".to_owned()),
        }
    }
}

impl RecordedArgs {
    /// A driver for each source that the folder has payloads of.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when there is nothing to play.
    pub fn driven(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Driven> {
        let folders = self.folders()?;
        let mut all = Vec::new();
        for (source, files) in folders {
            let player = |reader: &Arc<dyn Source>| {
                let reel = Reel::new(source.as_str(), files.clone(), self.recorded_loop);
                Player::new(reel, Pace::new(self.recorded_speed), reader.clone())
            };
            let wrong =
                || misconfigured(format!("--recorded-source (RECORDED_SOURCE): {} has no payloads", source.as_str()));
            let name = name(source).ok_or_else(wrong)?;
            let reader: Arc<dyn Source> = reader(source, symbols).ok_or_else(wrong)?.into();
            let player = player(&reader);
            tracing::info!(source = name, files = files.len(), speed = ?self.recorded_speed, "to be played from a recording");
            all.push(if is_polled(source) {
                Driven::Polled(polled(name, reader), Box::new(player))
            } else {
                Driven::Pushed(socketed(reader), Box::new(player))
            });
        }
        Ok(Driven::Several(all))
    }

    /// The files of each source, in the order of their names.
    fn folders(&self) -> anyhow::Result<Vec<(SourceName, Vec<PathBuf>)>> {
        let Some(dir) = &self.recorded_dir else {
            return Err(misconfigured("the source recorded needs --recorded-dir (RECORDED_DIR): a folder of payloads"));
        };
        let entries = entries(dir)?;
        let own = dir.canonicalize().ok().and_then(|dir| source_of(&dir));
        let mut folders = Vec::new();
        if let Some(source) = self.recorded_source.or(own) {
            folders.push((source, payloads(entries)));
        } else {
            for folder in entries.into_iter().filter(|entry| entry.is_dir()) {
                match source_of(&folder) {
                    Some(source) => folders.push((source, payloads(self::entries(&folder)?))),
                    None => tracing::warn!(folder = %folder.display(), "not played: the folder's name is no source"),
                }
            }
        }
        folders.retain(|(_, files)| !files.is_empty());
        if folders.is_empty() {
            return Err(misconfigured(format!(
                "{}, set by --recorded-dir (RECORDED_DIR), has nothing to play: expected .json or .jsonl files in a folder \
                 named for their source, such as kraken/, or --recorded-source (RECORDED_SOURCE)",
                dir.display()
            )));
        }
        Ok(folders)
    }
}

fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>());
    let mut entries = read.map_err(|error| {
        misconfigured(format!(
            "cannot read the folder {}, set by --recorded-dir (RECORDED_DIR): {error}",
            dir.display()
        ))
    })?;
    entries.sort();
    Ok(entries)
}

fn payloads(entries: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_payload = |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "jsonl");
    entries.into_iter().filter(|path| path.is_file() && is_payload(path)).collect()
}

/// The source that a folder is named for.
fn source_of(folder: &Path) -> Option<SourceName> {
    let source = SourceName::from_str(folder.file_name()?.to_str()?, false).ok()?;
    name(source).map(|_| source)
}

/// Reads what a replay of `source` plays; its name is the replay's.
#[must_use]
pub fn reader(source: SourceName, symbols: &Arc<Symbols>) -> Option<Box<dyn Source>> {
    Some(Box::new(Recorded { name: name(source)?, source: sources::reader(source, symbols)? }))
}

/// What a source's replay is called in events, logs and metrics; `None` for what nobody sends.
fn name(source: SourceName) -> Option<&'static str> {
    match source {
        SourceName::Simulated => Some("recorded:simulated"),
        SourceName::Recorded => None,
        SourceName::Coingecko => Some("recorded:coingecko"),
        SourceName::Coinmarketcap => Some("recorded:coinmarketcap"),
        SourceName::Awesomeapi => Some("recorded:awesomeapi"),
        SourceName::B3 => Some("recorded:b3"),
        SourceName::Binance => Some("recorded:binance"),
        SourceName::Coinbase => Some("recorded:coinbase"),
        SourceName::Kraken => Some("recorded:kraken"),
        SourceName::Okx => Some("recorded:okx"),
        SourceName::Bitstamp => Some("recorded:bitstamp"),
    }
}

/// Whether the source answers rather than pushes.
fn is_polled(source: SourceName) -> bool {
    use SourceName::{Awesomeapi, B3, Coingecko, Coinmarketcap};
    matches!(source, Coingecko | Coinmarketcap | Awesomeapi | B3)
}

fn socketed(source: Arc<dyn Source>) -> Socketed {
    Socketed {
        url: source.name().to_owned(),
        source,
        subscribe: Vec::new(),
        asked: Vec::new(),
        silence: NEVER,
        quiet: NEVER,
        ping: None,
        backoff: at_once(),
        backfill: None,
    }
}

fn polled(name: &'static str, source: Arc<dyn Source>) -> Polled {
    Polled {
        source,
        server: Server { source: name, base_url: String::new(), key: None, timeout: NEVER },
        requests: vec![Ask { path: String::new(), cost: 0 }],
        asked: Vec::new(),
        // The player waits, not the driver.
        schedule: Schedule::Every(Duration::ZERO),
        backoff: at_once(),
        stale_after: NEVER,
        budget: Plan::default(),
        backfill: None,
    }
}

/// The next payload is there, whatever became of this one.
fn at_once() -> Backoff {
    Backoff::new(Duration::ZERO, Duration::ZERO)
}

/// A source's parser whose events carry the replay's name.
struct Recorded {
    name: &'static str,
    source: Box<dyn Source>,
}

impl Source for Recorded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        let mut parsed = self.source.parse(payload);
        for tick in &mut parsed.ticks {
            self.name.clone_into(&mut tick.source);
            tick.event_id = event_id(self.name, "recorded", &tick.source_symbol, &tick.event_id.to_string());
        }
        for weight in &mut parsed.weights {
            self.name.clone_into(&mut weight.source);
            weight.event_id = event_id(self.name, "recorded", &weight.index_name, &weight.event_id.to_string());
        }
        parsed
    }

    fn conclude(&self, whole: &mut Parsed) {
        self.source.conclude(whole);
    }

    fn is_history(&self, request: &str) -> bool {
        self.source.is_history(request)
    }
}
