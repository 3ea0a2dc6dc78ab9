//! What a subscription begins with. Snapshot and membership are one step under the state's lock and the fan-out's, and what
//! waited before goes out before: nothing is lost, and nothing older comes after.

use std::sync::Arc;

use super::Session;
use crate::protocol::{Channel, Json, SnapshotReason};
use crate::serve::board::Shown;
use crate::serve::cursor::Cursor;
use crate::serve::fanout::Fanout;
use crate::state::tick::Position;
use crate::state::{Live, Timeframe};

const NEWEST_ALERTS: usize = 100;

impl Session {
    /// What of a channel's topic the client has, when that can be gone on from.
    fn known<'a>(&self, channel: Channel, cursor: Option<&'a Cursor>) -> Option<&'a [Position]> {
        self.hub.known(channel, cursor?)
    }

    pub(super) fn subscribe_ticks(&mut self, symbols: &[Arc<str>], reason: SnapshotReason, cursor: Option<&Cursor>) {
        let hub = self.hub.clone();
        let mut live = hub.live();
        let mut fanout = hub.fanout();
        self.drain_before();
        if symbols.is_empty() {
            if !self.ticks.all {
                self.ticks.all = true;
                for symbol in std::mem::take(&mut self.ticks.symbols) {
                    fanout.leave_symbol(&symbol, &self.mailbox);
                }
                fill_boards(&mut live, &mut fanout, |_| true);
                fanout.join_all(&self.mailbox);
            }
        } else if !self.ticks.all {
            fill_boards(&mut live, &mut fanout, |symbol| symbols.iter().any(|wanted| **wanted == *symbol));
            for symbol in symbols {
                if self.ticks.symbols.insert(symbol.clone()) {
                    fanout.join_symbol(symbol, &self.mailbox);
                }
            }
        }
        let known = self.known(Channel::Ticks, cursor);
        self.tell_ticks(
            &mut live,
            |symbol| symbols.is_empty() || symbols.iter().any(|wanted| **wanted == *symbol),
            reason,
            known,
        );
    }

    fn tell_ticks(
        &mut self,
        live: &mut Live,
        wants: impl Fn(&str) -> bool,
        reason: SnapshotReason,
        known: Option<&[Position]>,
    ) {
        let rows = live.rows(wants, known);
        if let Some(slow) = &mut self.mailbox.lock().slow {
            slow.sent.extend(rows.iter().map(|row| ((row.symbol.clone(), row.source.clone()), row.ticks)));
        }
        let rows: Vec<Json> = rows.into_iter().map(|row| row.row).collect();
        let at = self.hub.cursor(Channel::Ticks);
        self.push_snapshot(Channel::Ticks, None, reason, known.is_none(), &at, &rows);
    }

    pub(super) fn subscribe_candles(&mut self, symbols: &[Arc<str>], tf: Timeframe, reason: SnapshotReason) {
        let hub = self.hub.clone();
        let live = hub.live();
        let mut fanout = hub.fanout();
        self.drain_before();
        let names: Vec<Option<Arc<str>>> =
            if symbols.is_empty() { vec![None] } else { symbols.iter().cloned().map(Some).collect() };
        let is_all = self.candles.contains(&(None, tf));
        for name in names.iter().filter(|_| !is_all) {
            if self.candles.insert((name.clone(), tf)) {
                fanout.join_candles(name.clone(), tf, &self.mailbox);
            }
        }
        if symbols.is_empty() && !is_all {
            // By name they would come twice.
            self.candles.retain(|(symbol, known)| {
                let goes = symbol.is_some() && *known == tf;
                if goes {
                    fanout.leave_candles(symbol.clone(), tf, &self.mailbox);
                }
                !goes
            });
        }
        self.tell_candles(&live, symbols, tf, reason);
    }

    /// The bucket that is open and the one before.
    fn tell_candles(&mut self, live: &Live, symbols: &[Arc<str>], tf: Timeframe, reason: SnapshotReason) {
        let rows = live.newest_candles(symbols, tf);
        let at = self.hub.cursor(Channel::Candles);
        self.push_snapshot(Channel::Candles, Some(tf), reason, true, &at, &rows);
    }

    pub(super) fn subscribe_events(
        &mut self,
        channel: Channel,
        symbols: &[Arc<str>],
        reason: SnapshotReason,
        cursor: Option<&Cursor>,
    ) {
        let hub = self.hub.clone();
        let live = hub.live();
        let mut fanout = hub.fanout();
        self.drain_before();
        let interest = if channel == Channel::Gaps { &mut self.gaps } else { &mut self.alerts };
        if interest.is_empty() {
            fanout.join(channel, &self.mailbox);
        }
        interest.all |= symbols.is_empty();
        interest.symbols.extend(symbols.iter().cloned());
        self.tell_events(&live, channel, reason, cursor);
    }

    fn tell_events(&mut self, live: &Live, channel: Channel, reason: SnapshotReason, cursor: Option<&Cursor>) {
        let at = self.hub.cursor(channel);
        let known = self.known(channel, cursor);
        let forgotten = if channel == Channel::Gaps { &live.gaps.forgotten } else { &live.alerts.forgotten };
        // What is forgotten may have been news.
        let known = known.filter(|known| !forgotten.iter().any(|position| position.is_after(known)));
        let rows: Vec<Json> = if channel == Channel::Gaps {
            let gaps = known.map_or_else(|| live.gaps.open(), |known| live.gaps.since(known));
            let wanted = gaps.into_iter().filter(|gap| {
                gap.row.symbols.is_empty() || gap.row.symbols.iter().any(|symbol| self.gaps.wants(symbol))
            });
            wanted.map(|gap| gap.json.clone()).collect()
        } else {
            let is_wanted = |symbol: Option<&str>| symbol.is_none_or(|symbol| self.alerts.wants(symbol));
            let newest = live.alerts.newest().filter(|alert| is_wanted(alert.symbol.as_deref()));
            match known {
                Some(known) => {
                    newest.filter(|alert| alert.at.is_after(known)).map(|alert| alert.json.clone()).collect()
                }
                None => newest.take(NEWEST_ALERTS).map(|alert| alert.json.clone()).collect(),
            }
        };
        self.push_snapshot(channel, None, reason, known.is_none(), &at, &rows);
    }

    pub(super) fn subscribe_health(&mut self, reason: SnapshotReason) {
        let hub = self.hub.clone();
        let live = hub.live();
        let mut fanout = hub.fanout();
        self.drain_before();
        if !std::mem::replace(&mut self.health, true) {
            fanout.join(Channel::Health, &self.mailbox);
        }
        self.tell_health(&live, reason);
    }

    fn tell_health(&mut self, live: &Live, reason: SnapshotReason) {
        let rows: Vec<Json> = live.sources.rows(live.now_us()).iter().map(Json::of).collect();
        let at = self.hub.cursor(Channel::Health);
        self.push_snapshot(Channel::Health, None, reason, true, &at, &rows);
    }

    /// A snapshot of what is subscribed to of one channel.
    pub(super) fn send_snapshot(&mut self, channel: Channel, tf: Option<Timeframe>, reason: SnapshotReason) {
        let hub = self.hub.clone();
        let mut live = hub.live();
        let _fanout = hub.fanout();
        // What waits is in the snapshot.
        self.mailbox.forget(channel, tf);
        match channel {
            Channel::Ticks => {
                let interest = std::mem::take(&mut self.ticks);
                self.tell_ticks(&mut live, |symbol| interest.wants(symbol), reason, None);
                self.ticks = interest;
            }
            Channel::Candles => {
                let tf = tf.unwrap_or(Timeframe::Minute);
                let names: Vec<Arc<str>> = self
                    .candles
                    .iter()
                    .filter(|(_, known)| *known == tf)
                    .filter_map(|(name, _)| name.clone())
                    .collect();
                self.tell_candles(&live, &names, tf, reason);
            }
            Channel::Gaps | Channel::Alerts => self.tell_events(&live, channel, reason, None),
            Channel::Health => self.tell_health(&live, reason),
        }
    }

    /// Of everything that is subscribed to.
    pub(super) fn send_snapshots(&mut self, reason: SnapshotReason) {
        let mut wanted: Vec<(Channel, Option<Timeframe>)> = Vec::new();
        wanted.extend((!self.ticks.is_empty()).then_some((Channel::Ticks, None)));
        wanted.extend((!self.gaps.is_empty()).then_some((Channel::Gaps, None)));
        wanted.extend((!self.alerts.is_empty()).then_some((Channel::Alerts, None)));
        wanted.extend(self.health.then_some((Channel::Health, None)));
        wanted.extend(self.candles.iter().map(|(_, tf)| (Channel::Candles, Some(*tf))));
        wanted.dedup();
        wanted.into_iter().for_each(|(channel, tf)| self.send_snapshot(channel, tf, reason));
    }
}

/// So that who looks at a board sees all there is.
fn fill_boards(live: &mut Live, fanout: &mut Fanout, wants: impl Fn(&str) -> bool) {
    let missing = live.rows(|symbol| wants(symbol) && !fanout.has_board(symbol), None);
    for row in missing {
        let (symbol, source) = (row.symbol, row.source);
        fanout.fill(Shown { symbol, source, row: row.row, ticks: row.ticks, at: Position::default() });
    }
}
