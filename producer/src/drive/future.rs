//! Prices from the future. A source whose clock is a little ahead is believed and counted; one that is ahead by more than a
//! day is telling of nothing that has happened, and such a price would stand as the latest one until its day comes. Parsers
//! read no clock, so this is done here, for both drivers. Must never happen here: a price that goes out with tomorrow's date.

use pipeline::events::PriceTick;

use crate::parse::problem::Problem;
use crate::sources::Parsed;

const SECOND: i64 = 1_000_000;
/// Clocks that are set by hand, and sources that date a daily price to the end of its day, stay within it.
const MOST_AHEAD: i64 = 24 * 60 * 60 * SECOND;
/// Further than a clock that is kept drifts.
const NOTABLE: i64 = 60 * SECOND;

/// Takes out what is dated more than a day after its receipt, and names it. When nothing is left of what the source told, it
/// has not answered.
pub fn refuse_future(source: &'static str, parsed: &mut Parsed) {
    if parsed.ticks.is_empty() {
        return;
    }
    let mut ahead = 0;
    let Parsed { ticks, problems, .. } = parsed;
    ticks.retain(|tick| {
        let by = ahead_by(tick);
        ahead += u64::from(by > NOTABLE);
        if by > MOST_AHEAD {
            let hours = by / (3_600 * SECOND);
            let detail = format!("a price {hours} hours after its receipt: the source's clock is wrong, or ours is");
            problems.push(Problem::rejected("bad_time", tick.source_symbol.as_str(), detail));
        }
        by <= MOST_AHEAD
    });
    parsed.answered &= !parsed.ticks.is_empty();
    if ahead > 0 {
        metrics::counter!("tickstream_producer_ticks_ahead_total", "source" => source).increment(ahead);
    }
}

fn ahead_by(tick: &PriceTick) -> i64 {
    tick.event_time.saturating_sub(tick.received_at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::parse::payload::Payload;
    use crate::sources::Source;
    use crate::sources::coingecko::Coingecko;
    use crate::symbols::Symbols;

    const NOW: i64 = 1_772_600_767_000_000;

    /// How many prices are left, whether that is an answer, and what is named.
    fn left(bitcoin_ahead: i64, ethereum_ahead: i64) -> (usize, bool, Vec<&'static str>) {
        let at = |ahead| NOW / SECOND + ahead;
        let body = format!(
            r#"{{"bitcoin":{{"usd":1,"last_updated_at":{}}},"ethereum":{{"usd":2,"last_updated_at":{}}}}}"#,
            at(bitcoin_ahead),
            at(ethereum_ahead)
        );
        let source = Coingecko { symbols: Arc::new(Symbols::built_in()) };
        let mut parsed = source.parse(&Payload::new(source.name(), body.as_bytes(), NOW, ""));
        refuse_future(source.name(), &mut parsed);
        (parsed.ticks.len(), parsed.answered, parsed.problems.iter().map(|problem| problem.code).collect())
    }

    #[test]
    fn a_price_goes_out_up_to_a_day_ahead() {
        assert_eq!(left(-86_400 * 300, 0), (2, true, vec![]));
        assert_eq!(left(86_400, 300), (2, true, vec![]));
        assert_eq!(left(86_401, 300), (1, true, vec!["bad_time"]));
        assert_eq!(left(86_401, 1_000_000), (0, false, vec!["bad_time", "bad_time"]));
    }
}
