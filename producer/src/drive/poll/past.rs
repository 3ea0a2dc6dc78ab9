//! What a polled source's history tells of a gap. It is asked between two polls, as the plan's pace allows, and what does not
//! fit before the next poll waits for the one after. Must never happen here: a poll of now that waits for the past, a call to
//! a source that wants to be left alone, or a budget that is spent on what it was itself too small for.

use super::{Ask, Driver, Failure, Next, Polled, PriceTick};
use crate::drive::budget::Call;

/// Requests that may wait; what comes on top is told, and not asked.
const WAITING: usize = 256;

/// One request for a symbol's past.
#[derive(Debug)]
pub(super) struct Past {
    symbol: String,
    /// Micros UTC, both inclusive.
    from: i64,
    to: i64,
    request: Ask,
}

impl Driver {
    /// Notes what to ask of the time that was missed.
    pub(super) fn missed(&mut self, polled: &Polled, from: i64, to: i64) {
        // What the budget left out it has no calls for; and filling it would leave out more.
        if std::mem::take(&mut self.left_out_by_budget) {
            return;
        }
        let Some(history) = &polled.backfill else { return };
        for symbol in &polled.asked {
            for request in (history.requests)(symbol, from, to) {
                if self.past.len() < WAITING {
                    self.past.push_back(Past { symbol: symbol.clone(), from, to, request });
                } else {
                    tracing::warn!(
                        source = polled.source.name(),
                        symbol,
                        "not filled from history, since too much waits for that"
                    );
                }
            }
        }
    }

    /// Asks for what is noted until the next poll, which is at `until` (micros UTC). Its failure is no failure of the source;
    /// but when the source wants to be left alone, that is given back.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub(super) async fn fill(&mut self, polled: &Polled, until: i64) -> anyhow::Result<Option<Failure>> {
        while let Some(past) = self.past.front() {
            let call = Call { cost: past.request.cost, begins: Some(past.request.cost) };
            let at = self.budget.call_at(call, self.way.clock.now());
            if at >= until || !self.wait_until(at).await {
                return Ok(None);
            }
            let Some(past) = self.past.pop_front() else { return Ok(None) };
            let shutdown = self.way.shutdown.clone();
            let asking = self.ask(polled, &past.request, call.begins);
            let Some(answer) = shutdown.run_until_cancelled(asking).await else { return Ok(None) };
            match answer? {
                Ok(parsed) => self.filled(polled, &past, parsed.ticks).await?,
                Err(failure) => {
                    let source = polled.source.name();
                    tracing::warn!(source, symbol = past.symbol, "not filled from history: {}", failure.detail);
                    match failure.next {
                        Next::Soon => {}
                        // It is the history that we may not read, not the source.
                        Next::Never => self.past.clear(),
                        Next::Interval | Next::After(_) | Next::At(_) => {
                            self.past.clear();
                            return Ok(Some(failure));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    async fn filled(&mut self, polled: &Polled, past: &Past, mut ticks: Vec<PriceTick>) -> anyhow::Result<()> {
        let source = polled.source.name();
        ticks.retain(|tick| tick.symbol == past.symbol && (past.from..=past.to).contains(&tick.event_time));
        let filled = ticks.len();
        tracing::info!(source, symbol = past.symbol, filled, "filled from history");
        metrics::counter!("tickstream_producer_backfilled_total", "source" => source).increment(filled as u64);
        self.way.outbox.ticks(source, &ticks).await
    }
}
