//! How a connection falls behind and comes back. A slow one looks at its boards at the hub's pace, about ten times a second
//! and less often while the whole machine is busy, and sends the newest of each row. Once it has been on time for a while it
//! gets everything again; each fall soon after makes that while longer, so that an overloaded server does not flap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Session, spread};
use crate::protocol::{Channel, Json};
use crate::serve::board::Board;
use crate::serve::mailbox::Item;

/// A look that comes later than this shows that the connection, or the machine, is still behind.
const LATE: Duration = Duration::from_millis(40);
const CALM_LEAST: Duration = Duration::from_secs(1);
const CALM_MOST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Pace {
    due: Option<Instant>,
    /// On time since then.
    calm_since: Instant,
    /// How long it has to be on time.
    calm: Duration,
    fast_since: Instant,
}

impl Pace {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { due: None, calm_since: now, calm: CALM_LEAST, fast_since: now }
    }

    /// When it looks at its boards next; only while it is slow.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Session {
    /// What waits is too old: drops its ticks.
    pub(super) fn fall_behind(&mut self, queue: VecDeque<Item>) -> VecDeque<Item> {
        let hub = self.hub.clone();
        let fanout = hub.fanout();
        let boards = fanout.all_boards();
        let mut inner = self.mailbox.lock();
        // Back to where they waited, so that they count as not sent.
        let newer = std::mem::replace(&mut inner.queue, queue);
        inner.queue.extend(newer);
        inner.go_slow(self.ticks.all.then_some(&**boards));
        std::mem::take(&mut inner.queue)
    }

    /// Sends the newest of each row, when it is slow and its time has come.
    pub(super) fn pull(&mut self, now: Instant) {
        let Some(due) = self.pace.due else {
            if self.mailbox.lock().slow.is_some() {
                let soon_again = now.saturating_duration_since(self.pace.fast_since) < CALM_MOST;
                self.pace.calm = if soon_again { (self.pace.calm * 2).min(CALM_MOST) } else { CALM_LEAST };
                self.pace.calm_since = now;
                // Spread over a turn: many fall at once.
                self.pace.due = Some(now + self.hub.pace().mul_f64(spread()));
            }
            return;
        };
        if now < due {
            return;
        }
        if now.saturating_duration_since(due) > LATE {
            self.pace.calm_since = now;
        }
        let hub = self.hub.clone();
        if now.saturating_duration_since(self.pace.calm_since) > self.pace.calm.mul_f64(0.75 + 0.5 * spread()) {
            // Under the lock nothing comes between the last look and the first push.
            let mut fanout = hub.fanout();
            let boards = fanout.all_boards();
            self.look(&boards);
            fanout.rejoin(self.ticks.symbols.iter(), self.ticks.all, &self.mailbox);
            self.pace.due = None;
            self.pace.fast_since = now;
            return;
        }
        let boards = if self.ticks.all { hub.fanout().all_boards() } else { Arc::default() };
        self.look(&boards);
        self.pace.due = Some(now + hub.pace());
    }

    /// `all`: the boards of all symbols, for who wants them all.
    fn look(&mut self, all: &[Arc<Board>]) {
        // Asked for first: rows may be newer than it says, never older.
        let at = self.hub.cursor(Channel::Ticks);
        let boards: Vec<Arc<Board>> = if self.ticks.all {
            all.to_vec()
        } else {
            self.mailbox.lock().boards.iter().map(|(_, board)| board.clone()).collect()
        };
        let mut rows: Vec<(Json, u64)> = Vec::new();
        {
            let mut inner = self.mailbox.lock();
            let Some(slow) = &mut inner.slow else { return };
            for shown in boards.iter().flat_map(|board| board.rows()) {
                let key = (shown.symbol.clone(), shown.source.clone());
                let before = slow.sent.insert(key, shown.ticks);
                match before {
                    Some(before) if before == shown.ticks => {}
                    Some(before) if before < shown.ticks => rows.push((shown.row.clone(), shown.ticks - before - 1)),
                    // A series made anew counts from one.
                    _ => rows.push((shown.row.clone(), shown.ticks - 1)),
                }
            }
        }
        if !rows.is_empty() {
            self.push_updates(&at, rows.iter().map(|(row, skipped)| (row, *skipped)));
        }
    }
}
