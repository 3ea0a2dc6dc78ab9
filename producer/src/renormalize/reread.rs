//! Payloads to ticks, as the live drivers read them: an answer counts when it is served and good, a frame when it refuses
//! nothing, a poll that repeats itself tells nothing new, and of history only what was asked for was published, so it adds
//! nothing. Must never happen here: a rule for what is published that the drivers do not have.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use clap::ValueEnum;

use super::compare::Comparison;
use super::{Range, RenormalizeArgs};
use crate::config::SourceName;
use crate::drive::future::refuse_future;
use crate::drive::unchanged::LastTold;
use crate::parse::payload::Payload;
use crate::sources::{self, Parsed, Source, recorded};

pub struct Reader {
    sources: BTreeMap<&'static str, (SourceName, Box<dyn Source>)>,
    last_told: HashMap<&'static str, LastTold>,
}

/// Which of the drivers read a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Frame,
    Poll,
    History,
}

impl Reader {
    /// # Errors
    /// [`pipeline::Misconfigured`] for a table of symbols that cannot be used.
    pub fn new(args: &RenormalizeArgs) -> anyhow::Result<Self> {
        let symbols = args.symbols()?;
        let asked = |name| args.sources.is_empty() || args.sources.contains(name);
        let mut readers: Vec<(SourceName, Box<dyn Source>)> = Vec::new();
        for name in SourceName::value_variants() {
            readers.extend(sources::reader(*name, &symbols).filter(|_| asked(name)).map(|source| (*name, source)));
            let replayed = recorded::reader(*name, &symbols).filter(|_| asked(&SourceName::Recorded));
            readers.extend(replayed.map(|source| (*name, source)));
        }
        let sources = readers.into_iter().map(|(name, source)| (source.name(), (name, source))).collect();
        Ok(Self { sources, last_told: HashMap::new() })
    }

    /// The sources whose payloads are read.
    pub fn names(&self) -> BTreeSet<&'static str> {
        self.sources.keys().copied().collect()
    }

    pub fn reads(&self, source: &str) -> bool {
        self.sources.contains_key(source)
    }

    /// Reads one payload, in the order of receipt for each source.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when there is more than may be compared.
    pub fn read(
        &mut self,
        payload: &pipeline::payload::Payload,
        range: Range,
        comparison: &mut Comparison,
    ) -> anyhow::Result<()> {
        let Some((&source, (name, parser))) = self.sources.get_key_value(payload.source.as_str()) else {
            return Ok(());
        };
        let way = match (payload.status, pushes(*name)) {
            (None, true) => Way::Frame,
            (Some(_), true) => Way::History,
            (_, false) if parser.is_history(&payload.request) => Way::History,
            (_, false) => Way::Poll,
        };
        let before = !range.contains(payload.received_at);
        if before && way != Way::Poll {
            return Ok(());
        }
        let mut parsed = parser.parse(&Payload {
            id: payload.payload_id,
            bytes: &payload.body,
            received_at: payload.received_at,
            request: &payload.request,
        });
        // As the drivers do: what they refused is not to come back by this way.
        refuse_future(parser.name(), &mut parsed);
        let ticks = if counts(&parsed, payload.status, way) { parsed.ticks } else { Vec::new() };
        let last_told = self.last_told.entry(source).or_default();
        if before {
            for tick in &ticks {
                last_told.tell(tick);
            }
            return Ok(());
        }
        comparison.read(payload.payload_id);
        for tick in &ticks {
            let published = comparison.was_published(tick.event_id);
            let news = match way {
                Way::Frame => true,
                Way::Poll => published || !last_told.repeats(tick),
                Way::History => published,
            };
            if way == Way::Poll && news {
                last_told.tell(tick);
            }
            if published {
                comparison.told(tick);
            } else if news {
                comparison.is_new(tick)?;
            }
        }
        Ok(())
    }
}

/// Whether a driver publishes what is in it.
fn counts(parsed: &Parsed, status: Option<i32>, way: Way) -> bool {
    match way {
        Way::Frame => parsed.refusal.is_none(),
        Way::Poll | Way::History => parsed.answered && status.is_none_or(|status| (200..300).contains(&status)),
    }
}

/// Whether it sends frames: then an answer to a request tells history.
fn pushes(name: SourceName) -> bool {
    match name {
        SourceName::Simulated
        | SourceName::Binance
        | SourceName::Coinbase
        | SourceName::Kraken
        | SourceName::Okx
        | SourceName::Bitstamp => true,
        SourceName::Recorded
        | SourceName::Coingecko
        | SourceName::Coinmarketcap
        | SourceName::Awesomeapi
        | SourceName::B3 => false,
    }
}
