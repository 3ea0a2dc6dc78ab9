//! What waits for one connection. While it keeps up: everything, in order, in a short queue. Beyond [`MOST_TICKS`] it is slow:
//! its queue of ticks is dropped and it looks at the boards of its symbols instead, at a pace of its own. The invariant: for
//! each row, what was sent, what waits and what a slow connection still has to look at are together all changes; so `skipped`
//! is exact. It holds because a queue is only filled and dropped under the fan-out's lock. Must never happen here: a queue
//! that grows because a client is slow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::board::{Board, Shown};
use super::cursor::Cursor;
use crate::protocol::{Channel, Json};
use crate::state::{CandleKey, Timeframe};

/// Waiting ticks of a connection that keeps up.
pub const MOST_TICKS: usize = 128;
/// Everything else that waits.
const MOST_OTHERS: usize = 256;
/// A tick that has waited for longer shows that the connection does not keep up.
pub const OLDEST_TICK: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct ShownCandle {
    pub key: CandleKey,
    /// Nothing: every tick of it was taken back.
    pub row: Option<Json>,
    pub cursor: Arc<Cursor>,
}

/// A gap or an alert.
#[derive(Debug)]
pub struct ShownEvent {
    pub channel: Channel,
    /// Empty: concerns all.
    pub symbols: Vec<String>,
    pub row: Json,
    pub cursor: Arc<Cursor>,
}

#[derive(Clone, Debug)]
pub enum Item {
    Tick(Arc<Shown>, Instant),
    Candle(Arc<ShownCandle>),
    Event(Arc<ShownEvent>),
    /// The sources, as one JSON array.
    Health(Json, Arc<Cursor>),
    /// A body made elsewhere, by its type.
    Other(&'static str, Arc<str>),
    /// Everything before is void: snapshots follow.
    Restart,
}

pub type RowKey = (Arc<str>, Arc<str>);

/// What a slow connection knows.
#[derive(Debug, Default)]
pub struct Slow {
    /// The change of each row that was sent last.
    pub sent: HashMap<RowKey, u64>,
}

#[derive(Debug, Default)]
pub struct Inner {
    /// Entries in the fan-out's lists of ticks that are of another generation are void.
    pub generation: u32,
    is_closed: bool,
    pub queue: VecDeque<Item>,
    ticks: usize,
    pub slow: Option<Slow>,
    /// Of the symbols that it is subscribed to by name.
    pub boards: Vec<(Arc<str>, Arc<Board>)>,
    /// Channels of which something was dropped.
    pub lagged: Vec<(Channel, Option<Timeframe>)>,
}

#[derive(Debug, Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    pub wake: Notify,
}

impl Mailbox {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        inner.generation += 1;
        inner.queue = VecDeque::new();
    }

    /// Puts a tick there; false when the entry that led here is void. `boards`: of all symbols, for who wants them all.
    pub fn push_tick(&self, generation: u32, shown: &Arc<Shown>, now: Instant, boards: Option<&[Arc<Board>]>) -> bool {
        let mut inner = self.lock();
        if inner.generation != generation {
            return false;
        }
        let was_empty = inner.queue.is_empty();
        inner.queue.push_back(Item::Tick(shown.clone(), now));
        inner.ticks += 1;
        if inner.ticks > MOST_TICKS {
            inner.go_slow(boards);
        }
        let stays = inner.slow.is_none();
        drop(inner);
        if was_empty || !stays {
            self.wake.notify_one();
        }
        stays
    }

    /// Puts anything but a tick there.
    pub fn push(&self, item: Item) {
        let mut inner = self.lock();
        if inner.is_closed {
            return;
        }
        let others = inner.queue.len() - inner.ticks;
        if let (Item::Candle(newer), true) = (&item, others > 32)
            && let Some(known) =
                inner.queue.iter_mut().find(|known| matches!(known, Item::Candle(known) if known.key == newer.key))
        {
            *known = item;
            return;
        }
        let was_empty = inner.queue.is_empty();
        if others >= MOST_OTHERS {
            let lost = match &item {
                Item::Candle(candle) => (Channel::Candles, Some(candle.key.tf)),
                Item::Event(event) => (event.channel, None),
                Item::Health(..) => (Channel::Health, None),
                Item::Tick(..) | Item::Other(..) | Item::Restart => return,
            };
            if !inner.lagged.contains(&lost) {
                inner.lagged.push(lost);
            }
        } else {
            inner.queue.push_back(item);
        }
        drop(inner);
        if was_empty {
            self.wake.notify_one();
        }
    }

    pub fn restart(&self) {
        let mut inner = self.lock();
        inner.queue.retain(|item| matches!(item, Item::Other(..)));
        inner.ticks = 0;
        inner.queue.push_back(Item::Restart);
        if let Some(slow) = &mut inner.slow {
            slow.sent.clear();
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Everything that waits, in order.
    pub fn take(&self) -> (VecDeque<Item>, Vec<(Channel, Option<Timeframe>)>) {
        let mut inner = self.lock();
        (inner.take_queue(), std::mem::take(&mut inner.lagged))
    }

    /// Drops what waits of a channel, of candles those of one width.
    pub fn forget(&self, channel: Channel, tf: Option<Timeframe>) {
        let mut inner = self.lock();
        inner.queue.retain(|item| match item {
            Item::Tick(..) => channel != Channel::Ticks,
            Item::Candle(candle) => channel != Channel::Candles || tf.is_some_and(|tf| tf != candle.key.tf),
            Item::Event(event) => channel != event.channel,
            Item::Health(..) => channel != Channel::Health,
            Item::Other(..) | Item::Restart => true,
        });
        if channel == Channel::Ticks {
            inner.ticks = 0;
        }
    }
}

impl Inner {
    pub fn take_queue(&mut self) -> VecDeque<Item> {
        self.ticks = 0;
        std::mem::take(&mut self.queue)
    }

    /// Drops the ticks that wait, and remembers of each row what was sent last. Under the fan-out's lock.
    pub fn go_slow(&mut self, all_boards: Option<&[Arc<Board>]>) {
        if self.slow.is_some() {
            return;
        }
        let mut slow = Slow::default();
        let boards = self.boards.iter().map(|(_, board)| board).chain(all_boards.unwrap_or_default());
        for shown in boards.flat_map(|board| board.rows()) {
            slow.sent.insert((shown.symbol.clone(), shown.source.clone()), shown.ticks);
        }
        // The last that was sent is the one before the first that waits.
        for item in self.queue.iter().rev() {
            if let Item::Tick(shown, _) = item {
                slow.sent.insert((shown.symbol.clone(), shown.source.clone()), shown.ticks - 1);
            }
        }
        self.queue.retain(|item| !matches!(item, Item::Tick(..)));
        self.queue.shrink_to_fit();
        self.ticks = 0;
        self.slow = Some(slow);
        self.generation += 1;
        metrics::counter!("tickstream_dashboard_conflated_total").increment(1);
    }
}
