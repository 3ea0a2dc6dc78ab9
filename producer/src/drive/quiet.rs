//! Which symbols say nothing on a socket on which others speak: a market that was taken off, a channel that was acknowledged
//! and never sends. Must never happen here: a symbol that dies unnoticed because its neighbours live.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Looking more often than this finds nothing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub struct Quiet {
    /// A symbol that says nothing for longer is silent.
    after: Duration,
    symbols: HashMap<String, Heard>,
    looked: Instant,
}

struct Heard {
    last: Instant,
    /// The same moment or the last one that is known, micros UTC.
    last_at: Option<i64>,
    silent: bool,
}

impl Quiet {
    #[must_use]
    pub fn new(asked: &[String], after: Duration, now: Instant) -> Self {
        let symbols =
            asked.iter().map(|symbol| (symbol.clone(), Heard { last: now, last_at: None, silent: false })).collect();
        Self { after, symbols, looked: now }
    }

    /// On a new connection every symbol has its time again.
    pub fn connected(&mut self, at: i64, now: Instant) {
        for heard in self.symbols.values_mut() {
            (heard.last, heard.silent) = (now, false);
            heard.last_at.get_or_insert(at);
        }
    }

    /// The source told of this symbol, micros UTC.
    pub fn heard(&mut self, symbol: &str, at: i64, now: Instant) {
        if let Some(heard) = self.symbols.get_mut(symbol) {
            *heard = Heard { last: now, last_at: Some(at), silent: false };
        }
    }

    /// Those that have fallen silent since the last look, and since when (micros UTC).
    pub fn fallen_silent(&mut self, now: Instant) -> Vec<(String, i64)> {
        if now.duration_since(self.looked) < LOOK_EVERY {
            return Vec::new();
        }
        self.looked = now;
        let mut fallen = Vec::new();
        for (symbol, heard) in &mut self.symbols {
            if !heard.silent && now.duration_since(heard.last) > self.after {
                heard.silent = true;
                fallen.extend(heard.last_at.map(|at| (symbol.clone(), at)));
            }
        }
        fallen.sort();
        fallen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_silent_among_others_is_told_of_once() {
        let asked = ["BTC-USD", "ETH-USD"].map(str::to_owned);
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut quiet = Quiet::new(&asked, Duration::from_secs(60), begin);
        quiet.connected(1, begin);
        quiet.heard("ETH-USD", 2, begin);
        for second in 1..=61 {
            quiet.heard("BTC-USD", 10, after(second));
            let expected = if second == 61 { vec![("ETH-USD".to_owned(), 2)] } else { Vec::new() };
            assert_eq!(quiet.fallen_silent(after(second)), expected, "{second}");
        }
        assert_eq!(quiet.fallen_silent(after(62)), [], "once");
        quiet.heard("ETH-USD", 100, after(62));
        let both = [("BTC-USD".to_owned(), 10), ("ETH-USD".to_owned(), 100)];
        assert_eq!(quiet.fallen_silent(after(123)), both, "and again when it spoke in between");
        quiet.connected(200, after(124));
        assert_eq!(quiet.fallen_silent(after(184)), [], "a new connection is given its time");
        assert_eq!(quiet.fallen_silent(after(185)), both, "since what was heard last, on whatever connection");
    }
}
