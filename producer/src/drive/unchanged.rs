//! Which of a poll's ticks say something new. A source that answers the same again has not told of another price: it is
//! alive and unchanged, and nothing is published. Must never happen here: a repeated price passing as news, or a changed
//! one being swallowed.

use std::collections::HashMap;

use pipeline::events::{EventTimeOrigin, PriceTick};
use uuid::Uuid;

#[derive(Debug, Default)]
pub struct LastTold(HashMap<String, PriceTick>);

impl LastTold {
    /// Leaves out the ticks that repeat the last one of their source symbol; gives how many those were.
    pub fn keep_news(&mut self, ticks: &mut Vec<PriceTick>) -> usize {
        let before = ticks.len();
        ticks.retain(|tick| {
            let repeats = self.repeats(tick);
            if !repeats {
                self.tell(tick);
            }
            !repeats
        });
        before - ticks.len()
    }

    /// Whether it says what was told last of its source symbol.
    #[must_use]
    pub fn repeats(&self, tick: &PriceTick) -> bool {
        self.0.get(&tick.source_symbol).is_some_and(|last| repeats(last, tick))
    }

    /// It is what was told last.
    pub fn tell(&mut self, tick: &PriceTick) {
        self.0.insert(tick.source_symbol.clone(), tick.clone());
    }
}

fn repeats(last: &PriceTick, tick: &PriceTick) -> bool {
    match tick.event_time_origin {
        EventTimeOrigin::Source => last.event_id == tick.event_id,
        // The time of receipt is in the id and differs each time: equal means equal in all that the source said.
        EventTimeOrigin::Received => as_told(last) == as_told(tick),
    }
}

fn as_told(tick: &PriceTick) -> PriceTick {
    PriceTick { event_id: Uuid::nil(), payload_id: Uuid::nil(), received_at: 0, event_time: 0, ..tick.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::parse::payload::Payload;
    use crate::sources::Source;
    use crate::sources::coingecko::Coingecko;
    use crate::symbols::Symbols;

    fn news(last: &mut LastTold, body: &str, received_at: i64) -> Vec<String> {
        let source = Coingecko { symbols: Arc::new(Symbols::built_in()) };
        let mut ticks = source.parse(&Payload::new(source.name(), body.as_bytes(), received_at, "")).ticks;
        last.keep_news(&mut ticks);
        ticks.iter().map(|tick| format!("{} {}", tick.symbol, tick.price)).collect()
    }

    #[test]
    fn a_poll_equal_to_the_one_before_is_no_news() {
        const T: i64 = 1_700_000_000_000_000;
        let mut last = LastTold::default();
        let first = r#"{"bitcoin":{"usd":1,"usd_24h_vol":5},"solana":{"usd":7,"last_updated_at":1690000000}}"#;
        assert_eq!(news(&mut last, first, T), ["BTC-USD 1", "SOL-USD 7"]);
        assert_eq!(news(&mut last, first, T + 60_000_000), [""; 0]);
        // Another volume at the same price is another statement where the source has no clock.
        let volume = r#"{"bitcoin":{"usd":1,"usd_24h_vol":6},"solana":{"usd":7,"last_updated_at":1690000060}}"#;
        assert_eq!(news(&mut last, volume, T + 120_000_000), ["BTC-USD 1", "SOL-USD 7"]);
        // The price of the first poll again is news after the second.
        assert_eq!(news(&mut last, first, T + 180_000_000), ["BTC-USD 1", "SOL-USD 7"]);
    }
}
