//! Merges partitions by time and judges them. At one time, gaps come before health records, those before ticks, and of one
//! table the lower partition first. The clock goes by tens of seconds of broker time, as the service's does, whether records
//! come or not: a silence is told when it was long enough, not when it ended. It stops at the last record, or at the end of
//! the range where the log goes on behind it.

use std::collections::BTreeMap;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::page::{Next, Page, Stream, Table, View};
use super::printer::Printer;
use super::range::Range;
use crate::engine::{Engine, Event, Outcome, Place};

/// How often timers are looked at, microseconds of broker time.
const CLOCK: i64 = 10_000_000;

/// What was read and told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// In the range, by [`Table`].
    pub records: [u64; Table::ALL.len()],
    /// Broker times of the first and the last record in the range.
    pub first: Option<i64>,
    pub last: Option<i64>,
    /// By rule.
    pub alerts: BTreeMap<String, Told>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub fired: u64,
    pub resolved: u64,
}

impl Seen {
    /// Neither a record nor, by the clock, an alert.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.alerts.is_empty()
    }
}

/// The engine between records and the printer.
pub struct Replay {
    engine: Engine,
    range: Range,
    printer: Printer,
    outcome: Outcome,
    /// The next time that timers are looked at, once there was a record.
    clock: Option<i64>,
    seen: Seen,
}

impl Replay {
    pub fn new(engine: Engine, range: Range, printer: Printer) -> Self {
        Self { engine, range, printer, outcome: Outcome::default(), clock: None, seen: Seen::default() }
    }

    /// Takes one record. False when nobody reads what is printed.
    fn take(&mut self, table: Table, view: &View<'_>, row: usize) -> anyhow::Result<bool> {
        let (at, place) = (view.order(row), view.place(row));
        let Some(event) = view.event(row) else { return Ok(true) };
        self.clock.get_or_insert_with(|| first_tick(at.max(self.range.from)));
        if at < self.range.from {
            self.engine.warm(place, event);
            return Ok(true);
        }
        let goes_on = self.pass_time(at)?;
        self.engine.take(place, event, &mut self.outcome);
        self.seen.records[table as usize] += 1;
        self.seen.first.get_or_insert(at);
        self.seen.last = Some(at);
        Ok(goes_on && self.tell(at)?)
    }

    /// Looks at the timers up to `until`, exclusive.
    fn pass_time(&mut self, until: i64) -> anyhow::Result<bool> {
        while let Some(at) = self.clock.filter(|at| *at < until) {
            if !self.look_at(at)? {
                return Ok(false);
            }
            self.clock = Some(at + CLOCK);
        }
        Ok(true)
    }

    fn look_at(&mut self, at: i64) -> anyhow::Result<bool> {
        let place = Place { topic: "", partition: 0, offset: 0, at };
        self.engine.take(place, Event::Clock, &mut self.outcome);
        self.tell(at)
    }

    /// All is read.
    fn end(&mut self, goes_on: bool) -> anyhow::Result<bool> {
        let reached = match self.seen.last {
            // The end itself is not in the range.
            _ if goes_on => self.pass_time(self.range.to)?,
            Some(last) => self.pass_time(last)? && self.look_at(last)?,
            None => true,
        };
        if !reached {
            return Ok(false);
        }
        self.printer.flush()
    }

    fn tell(&mut self, at: i64) -> anyhow::Result<bool> {
        self.outcome.states.clear();
        if self.outcome.alerts.is_empty() {
            return Ok(true);
        }
        for alert in &self.outcome.alerts {
            let told = self.seen.alerts.entry(alert.rule.clone()).or_default();
            match alert.state {
                pipeline::events::AlertState::Firing => told.fired += 1,
                pipeline::events::AlertState::Resolved => told.resolved += 1,
            }
        }
        self.printer.print(at, self.outcome.alerts.drain(..))
    }
}

/// The first time that timers are looked at.
fn first_tick(from: i64) -> i64 {
    from + (-from).rem_euclid(CLOCK)
}

/// Reads all streams to their ends. Gives what was seen, and whether it was interrupted. Blocking.
///
/// # Errors
/// What stopped the reading or the printing.
pub fn replay(
    mut streams: Vec<Stream>,
    mut run: Replay,
    runtime: &Handle,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Seen, bool)> {
    streams.sort_by_key(|stream| (stream.table, stream.partition));
    let mut pages: Vec<Option<Page>> = streams.iter().map(|_| None).collect();
    let mut rows = vec![0; streams.len()];
    let (mut wanting, mut goes_on): (Vec<usize>, bool) = ((0..streams.len()).collect(), false);
    loop {
        for index in wanting.drain(..) {
            let next = runtime.block_on(shutdown.run_until_cancelled(streams[index].next()));
            match next {
                None => return run.printer.flush().map(|_| (run.seen, true)),
                Some(Err(error)) => return run.printer.flush().and(Err(error)),
                Some(Ok(Next::Page(page))) => (pages[index], rows[index]) = (Some(page), 0),
                Some(Ok(Next::End { goes_on: behind })) => (pages[index], goes_on) = (None, goes_on || behind),
            }
        }
        let views: Vec<(usize, View<'_>)> =
            pages.iter().enumerate().filter_map(|(index, page)| Some((index, page.as_ref()?.view()))).collect();
        if views.is_empty() {
            run.end(goes_on)?;
            return Ok((run.seen, false));
        }
        // Few streams, so that the least is found by looking at each.
        while let Some((index, view)) = views.iter().min_by_key(|(index, view)| (view.order(rows[*index]), *index)) {
            if !run.take(streams[*index].table, view, rows[*index])? {
                return Ok((run.seen, false));
            }
            rows[*index] += 1;
            if rows[*index] == view.len() {
                wanting.push(*index);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_looked_at_every_ten_seconds() {
        assert_eq!([0, 1, 9_999_999, 10_000_000, 10_000_001].map(first_tick), [0, CLOCK, CLOCK, CLOCK, 2 * CLOCK]);
    }
}
