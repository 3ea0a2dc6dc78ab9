//! What each source says of itself, and how long its prices take to get here. A source whose health records have stopped
//! coming is `SILENT`: three of ten seconds each are missing. Whether they have is judged by the broker's time of the last
//! one, and only while the topic can be read.

use std::collections::BTreeMap;

use pipeline::events::SourceHealth;

use super::hops::Hops;
use super::row::SourceRow;
use crate::protocol::MAX_NAME_CHARS;

const MAX_SOURCES: usize = 64;
const SILENT_AFTER_US: i64 = 35_000_000;
const SILENT: &str = "SILENT";

#[derive(Debug)]
struct Source {
    state: String,
    at: i64,
    last_answer_at: Option<i64>,
    broker_time: i64,
}

#[derive(Debug, Default)]
pub struct Sources {
    health: BTreeMap<String, Source>,
    hops: BTreeMap<String, Hops>,
    pub refused: u64,
}

impl Sources {
    /// Gives whether the source's state is another one now.
    pub fn put(&mut self, health: &SourceHealth, broker_time: i64) -> bool {
        let known = self.health.get(&health.source);
        let fits = health.source.chars().count() <= MAX_NAME_CHARS && health.state.chars().count() <= MAX_NAME_CHARS;
        if !fits || (known.is_none() && self.health.len() >= MAX_SOURCES) {
            self.refused += 1;
            return false;
        }
        if known.is_some_and(|known| (known.broker_time, known.at) >= (broker_time, health.at)) {
            return false;
        }
        let is_other = known.is_none_or(|known| known.state != health.state);
        let source =
            Source { state: health.state.clone(), at: health.at, last_answer_at: health.last_answer_at, broker_time };
        self.health.insert(health.source.clone(), source);
        is_other
    }

    /// The hops of one source, while there is room for them.
    pub fn hops(&mut self, source: &str) -> Option<&mut Hops> {
        if !self.hops.contains_key(source) {
            if self.hops.len() >= MAX_SOURCES {
                return None;
            }
            self.hops.insert(source.to_owned(), Hops::default());
        }
        self.hops.get_mut(source)
    }

    pub fn rows(&self, now: i64) -> Vec<SourceRow> {
        let row = |(name, source): (&String, &Source)| SourceRow {
            source: name.clone(),
            state: if now - source.broker_time > SILENT_AFTER_US { SILENT.to_owned() } else { source.state.clone() },
            at_us: source.at,
            last_answer_at_us: source.last_answer_at,
            hops: self.hops.get(name).map(|hops| hops.quantiles(now)).unwrap_or_default(),
        };
        self.health.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    fn health(at: i64, state: &str) -> SourceHealth {
        SourceHealth { at, last_answer_at: Some(at), state: state.to_owned(), ..example::health() }
    }

    #[test]
    fn the_newest_health_counts_and_silence_is_told() {
        let mut sources = Sources::default();
        assert!(sources.put(&health(2, "FAILING"), 2_000_000));
        assert!(!sources.put(&health(1, "OK"), 1_000_000), "an older one");
        assert_eq!(sources.rows(30_000_000)[0].state, "FAILING");
        assert_eq!(sources.rows(37_000_001)[0].state, "SILENT");
        assert!(!sources.put(&health(40, "FAILING"), 40_000_000));
        assert_eq!(sources.rows(41_000_000)[0].state, "FAILING");
    }

    #[test]
    fn a_flood_of_sources_is_bounded() {
        let mut sources = Sources::default();
        for i in 0..1000 {
            sources.put(&SourceHealth { source: format!("source-{i}"), ..health(1, "OK") }, 1);
            if let Some(hops) = sources.hops(&format!("source-{i}")) {
                hops.record(None, 1, Some(1), 2);
            }
        }
        assert_eq!((sources.rows(1).len(), sources.hops.len(), sources.refused), (MAX_SOURCES, MAX_SOURCES, 936));
    }
}
