//! Whether every trade came. Trade ids of a product run without holes, so a jump is a loss; a heartbeat's latest trade id
//! that we have not seen is one too, once a second heartbeat still finds it missing (the trade may only have been overtaken
//! by the heartbeat). What a reconnect missed is marked: the disconnection has a gap already.

use std::collections::HashMap;

use crate::sources::Parsed;

/// Trades `first..=last` of a product that did not come, between two moments of the source's clock (micros UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub source_symbol: String,
    pub first: i64,
    pub last: i64,
    pub started_at: i64,
    pub ended_at: i64,
    /// It happened while there was no connection.
    pub over_connections: bool,
}

#[cfg(test)]
impl Missing {
    /// What a test misses in one second from `started_at` on.
    pub fn of(source_symbol: &str, first: i64, last: i64, started_at: i64) -> Self {
        let ended_at = started_at + 1_000_000;
        Self { source_symbol: source_symbol.to_owned(), first, last, started_at, ended_at, over_connections: false }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source_symbol, first, last, .. } = self;
        write!(f, "trades {first} to {last} of {source_symbol} did not come")
    }
}

#[derive(Debug, Default)]
pub struct TradeRuns(HashMap<String, Run>);

#[derive(Debug)]
struct Run {
    latest: i64,
    at: i64,
    /// A heartbeat's latest trade that we had not seen, and that heartbeat's time.
    told: Option<(i64, i64)>,
    /// Nothing has come on this connection yet.
    resumed: bool,
}

impl TradeRuns {
    /// All that one payload says of trades.
    pub fn follow(&mut self, parsed: &Parsed) -> Vec<Missing> {
        let mut missing = Vec::new();
        let trades = if parsed.consecutive_trades { &parsed.ticks[..] } else { &[] };
        for tick in trades {
            let Some(trade_id) = tick.trade_id.as_ref().and_then(|id| id.parse().ok()) else { continue };
            missing.extend(self.trade(&tick.source_symbol, trade_id, tick.event_time));
        }
        if let Some(latest) = &parsed.latest_trade {
            missing.extend(self.heartbeat(&latest.source_symbol, latest.trade_id, latest.at));
        }
        missing
    }

    /// A trade came. Repeats and older trades change nothing.
    pub fn trade(&mut self, source_symbol: &str, trade_id: i64, at: i64) -> Option<Missing> {
        let Some(run) = self.0.get_mut(source_symbol) else {
            self.0.insert(source_symbol.to_owned(), Run { latest: trade_id, at, told: None, resumed: false });
            return None;
        };
        if trade_id <= run.latest {
            return None;
        }
        let missing = (trade_id > run.latest.saturating_add(1)).then(|| run.missing(source_symbol, trade_id - 1, at));
        (run.latest, run.at, run.resumed) = (trade_id, at, false);
        run.told = run.told.filter(|(told, _)| *told > trade_id);
        missing
    }

    /// A heartbeat named its latest trade.
    pub fn heartbeat(&mut self, source_symbol: &str, trade_id: i64, at: i64) -> Option<Missing> {
        let Some(run) = self.0.get_mut(source_symbol) else {
            self.0.insert(source_symbol.to_owned(), Run { latest: trade_id, at, told: None, resumed: false });
            return None;
        };
        let missing = run.told.take().filter(|(told, _)| *told > run.latest).map(|(told, _)| {
            let missing = run.missing(source_symbol, told, at);
            (run.latest, run.at, run.resumed) = (told, at, false);
            missing
        });
        if trade_id > run.latest {
            run.told = Some((trade_id, at));
        }
        missing
    }

    /// Nothing more comes on this connection: what a last heartbeat told of and did not come is missing.
    pub fn end(&mut self) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (source_symbol, run) in &mut self.0 {
            if let Some((told, at)) = run.told.take() {
                missing.push(run.missing(source_symbol, told, at));
                (run.latest, run.at) = (told, at);
            }
            run.resumed = true;
        }
        missing.sort_by(|a, b| a.source_symbol.cmp(&b.source_symbol));
        missing
    }
}

impl Run {
    fn missing(&self, source_symbol: &str, last: i64, ended_at: i64) -> Missing {
        Missing {
            source_symbol: source_symbol.to_owned(),
            first: self.latest.saturating_add(1),
            last,
            started_at: self.at,
            ended_at: ended_at.max(self.at),
            over_connections: self.resumed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(first: i64, last: i64, started_at: i64, ended_at: i64) -> Missing {
        let over_connections = false;
        Missing { source_symbol: "BTC-USD".to_owned(), first, last, started_at, ended_at, over_connections }
    }

    #[test]
    fn a_jump_is_a_loss_and_a_repeat_is_nothing() {
        let mut runs = TradeRuns::default();
        assert_eq!(runs.trade("BTC-USD", 10, 100), None);
        assert_eq!(runs.trade("BTC-USD", 11, 110), None);
        assert_eq!(runs.trade("BTC-USD", 10, 100), None);
        assert_eq!(runs.trade("BTC-USD", 14, 140), Some(missing(12, 13, 110, 140)));
        assert_eq!(runs.trade("ETH-USD", 3, 150), None);
        assert_eq!(runs.end(), []);
    }

    #[test]
    fn a_heartbeat_ahead_is_a_loss_only_when_the_next_one_still_is() {
        let mut runs = TradeRuns::default();
        runs.trade("BTC-USD", 10, 100);
        assert_eq!(runs.heartbeat("BTC-USD", 12, 200), None);
        assert_eq!(runs.trade("BTC-USD", 11, 190), None);
        assert_eq!(runs.trade("BTC-USD", 12, 195), None);
        assert_eq!(runs.heartbeat("BTC-USD", 15, 300), None);
        assert_eq!(runs.heartbeat("BTC-USD", 15, 400), Some(missing(13, 15, 195, 400)));
        assert_eq!(runs.heartbeat("BTC-USD", 15, 500), None);
        // It comes after all: published as any trade, and nothing more is missing.
        assert_eq!(runs.trade("BTC-USD", 14, 390), None);
        assert_eq!(runs.heartbeat("BTC-USD", 17, 600), None);
        assert_eq!(runs.end(), [missing(16, 17, 400, 600)]);
    }

    #[test]
    fn what_a_reconnect_missed_is_known_to_be_that() {
        let mut runs = TradeRuns::default();
        runs.trade("BTC-USD", 10, 100);
        assert_eq!(runs.end(), []);
        // A snapshot repeats history.
        assert_eq!(runs.trade("BTC-USD", 9, 90), None);
        let lost = Missing { over_connections: true, ..missing(11, 14, 100, 150) };
        assert_eq!(runs.trade("BTC-USD", 15, 150), Some(lost));
        assert_eq!(runs.trade("BTC-USD", 17, 170), Some(missing(16, 16, 150, 170)));
    }

    #[test]
    fn the_first_heartbeat_is_where_the_run_starts() {
        let mut runs = TradeRuns::default();
        assert_eq!(runs.heartbeat("BTC-USD", 10, 100), None);
        assert_eq!(runs.trade("BTC-USD", 12, 120), Some(missing(11, 11, 100, 120)));
    }
}
