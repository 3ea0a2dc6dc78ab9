//! One connection, whatever carries it: what it is subscribed to, the numbers of its messages, its heartbeats and its pace.
//! The transport asks for [`Session::next`] until there is nothing, then waits for [`Session::ready`]. The invariants: the
//! numbers have no hole; behind a snapshot comes nothing older and everything newer; the cursor of a message is one behind
//! which nothing of the channel was left out. Must never happen here: I/O, or waiting while a lock is held.

mod slow;
mod snapshot;
mod text;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cursor::{self, Cursor};
use super::hub::Hub;
use super::mailbox::{Item, Mailbox, OLDEST_TICK};
use crate::protocol::{
    Channel, ClientMessage, ErrorCode, MAX_NAME_CHARS, MAX_SYMBOLS, ReplayCommand, ServerMessage, SnapshotReason,
    Subscription, numbered,
};
use crate::state::Timeframe;
use slow::Pace;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// Without a subscription.
const IDLE_AFTER: Duration = Duration::from_secs(60);
/// Client messages: a burst, then a rate.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 10.0;
/// Ticks in one update of a connection that keeps up.
const ROWS_AN_UPDATE: usize = 64;

/// One message to be sent.
#[derive(Debug)]
pub struct Out {
    /// Its `type`.
    pub name: &'static str,
    pub text: String,
    /// The cursors of all channels, where they are asked for.
    pub event_id: Option<String>,
}

/// Why the server ends a connection of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    TooFast,
    Idle,
}

/// The symbols that are wanted.
#[derive(Debug, Default)]
struct Interest {
    all: bool,
    symbols: BTreeSet<Arc<str>>,
}

impl Interest {
    fn wants(&self, symbol: &str) -> bool {
        self.all || self.symbols.contains(symbol)
    }

    fn is_empty(&self) -> bool {
        !self.all && self.symbols.is_empty()
    }
}

pub struct Session {
    hub: Arc<Hub>,
    mailbox: Arc<Mailbox>,
    seq: u64,
    out: VecDeque<Out>,
    ticks: Interest,
    candles: BTreeSet<(Option<Arc<str>>, Timeframe)>,
    gaps: Interest,
    alerts: Interest,
    health: bool,
    pace: Pace,
    heartbeat_at: Instant,
    /// Since when nothing is subscribed to.
    idle_since: Option<Instant>,
    idle_after: Duration,
    tokens: f64,
    tokens_at: Instant,
    /// Of all channels, for whoever asks for them.
    cursors: Option<Vec<(Channel, Cursor)>>,
}

impl Session {
    pub fn new(hub: Arc<Hub>) -> Self {
        let mailbox = Arc::<Mailbox>::default();
        hub.fanout().enter(&mailbox);
        let now = Instant::now();
        Self {
            hub,
            mailbox,
            seq: 0,
            out: VecDeque::new(),
            ticks: Interest::default(),
            candles: BTreeSet::new(),
            gaps: Interest::default(),
            alerts: Interest::default(),
            health: false,
            pace: Pace::new(),
            // Those that come at once do not all have their heartbeats at once.
            heartbeat_at: now + HEARTBEAT_EVERY.mul_f64(0.2 + 0.8 * spread()),
            idle_since: Some(now),
            idle_after: IDLE_AFTER,
            tokens: BURST,
            tokens_at: now,
            cursors: None,
        }
    }

    /// Gives each message the cursors of all channels.
    #[must_use]
    pub fn with_event_ids(mut self) -> Self {
        self.cursors = Some(Vec::new());
        self
    }

    /// Without a subscription it ends after this long.
    #[cfg(test)]
    #[must_use]
    pub fn idle_after(mut self, idle_after: Duration) -> Self {
        self.idle_after = idle_after;
        self
    }

    /// Whether one more message of the client is within its rate.
    pub fn allows_message(&mut self) -> bool {
        let now = Instant::now();
        let gained = now.saturating_duration_since(self.tokens_at).as_secs_f64() * PER_SECOND;
        self.tokens = (self.tokens + gained).min(BURST) - 1.0;
        self.tokens_at = now;
        self.tokens >= 0.0
    }

    /// Takes in what the client says; gives what is for a replay, which is answered elsewhere.
    pub fn on_text(&mut self, text: &str) -> Option<ReplayCommand> {
        let message: ClientMessage = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                self.refuse(None, ErrorCode::BadMessage, &format!("not understood: {error}"));
                return None;
            }
        };
        match message {
            ClientMessage::Subscribe(wanted) => self.subscribe(wanted),
            ClientMessage::Unsubscribe(unwanted) => self.unsubscribe(unwanted),
            ClientMessage::Ping { id, sent_us } => {
                let now_us = self.hub.now_us();
                self.say(&ServerMessage::Pong { id, sent_us, now_us });
            }
            ClientMessage::Replay(command) => return Some(command),
            ClientMessage::Unknown => {
                let id =
                    serde_json::from_str::<serde_json::Value>(text).ok().and_then(|message| message["id"].as_i64());
                self.refuse(id, ErrorCode::UnknownType, "a type that this server does not know; nothing was changed");
            }
        }
        None
    }

    pub fn subscribe(&mut self, wanted: Subscription) {
        let Subscription { id, channel, symbols, tf, cursor } = wanted;
        let is_long = symbols.iter().any(|symbol| symbol.chars().count() > MAX_NAME_CHARS);
        if is_long || self.names() + symbols.len() > MAX_SYMBOLS {
            let most = format!("at most {MAX_SYMBOLS} names of {MAX_NAME_CHARS} characters; leave them out for all");
            return self.refuse(id, ErrorCode::TooMuch, &most);
        }
        if channel == Channel::Candles && tf.is_none() {
            return self.refuse(id, ErrorCode::BadMessage, "candles need a tf: 1s, 1m, 5m, 1h or 1d");
        }
        let tf = tf.filter(|_| channel == Channel::Candles);
        let symbols = if means_all(&symbols) { Vec::new() } else { symbols };
        self.say(&ServerMessage::Subscribed { id, channel, symbols: &symbols, tf });
        self.idle_since = None;
        let known = cursor.as_deref().and_then(Cursor::parse);
        let reason = if cursor.is_some() { SnapshotReason::Resumed } else { SnapshotReason::Subscribed };
        let symbols: Vec<Arc<str>> = symbols.iter().map(|symbol| Arc::from(&**symbol)).collect();
        match channel {
            Channel::Ticks => self.subscribe_ticks(&symbols, reason, known.as_ref()),
            Channel::Candles => self.subscribe_candles(&symbols, tf.unwrap_or(Timeframe::Minute), reason),
            Channel::Gaps | Channel::Alerts => self.subscribe_events(channel, &symbols, reason, known.as_ref()),
            Channel::Health => self.subscribe_health(reason),
        }
    }

    /// Names that are subscribed to, over all channels.
    fn names(&self) -> usize {
        let interests = [&self.ticks, &self.gaps, &self.alerts];
        interests.iter().map(|interest| interest.symbols.len()).sum::<usize>() + self.candles.len()
    }

    fn unsubscribe(&mut self, unwanted: Subscription) {
        let Subscription { id, channel, symbols, tf, .. } = unwanted;
        let all = means_all(&symbols);
        let is_all = match channel {
            Channel::Ticks => self.ticks.all,
            Channel::Gaps => self.gaps.all,
            Channel::Alerts => self.alerts.all,
            Channel::Candles => {
                self.candles.iter().any(|(symbol, known)| symbol.is_none() && tf.is_none_or(|tf| tf == *known))
            }
            Channel::Health => false,
        };
        if is_all && !all {
            let message = "subscribed to all symbols: unsubscribe from all, then subscribe to some";
            return self.refuse(id, ErrorCode::BadMessage, message);
        }
        // What waits is of before.
        self.drain();
        let hub = self.hub.clone();
        let mut fanout = hub.fanout();
        let goes = |symbol: &str| all || symbols.iter().any(|unwanted| unwanted == symbol);
        match channel {
            Channel::Ticks => {
                if std::mem::take(&mut self.ticks.all) {
                    fanout.leave_all(&self.mailbox);
                }
                self.ticks.symbols.retain(|symbol| {
                    let goes = goes(symbol);
                    if goes {
                        fanout.leave_symbol(symbol, &self.mailbox);
                    }
                    !goes
                });
            }
            Channel::Candles => self.candles.retain(|(symbol, known)| {
                let goes = tf.is_none_or(|tf| tf == *known) && symbol.as_deref().map_or(all, goes);
                if goes {
                    fanout.leave_candles(symbol.clone(), *known, &self.mailbox);
                }
                !goes
            }),
            Channel::Gaps | Channel::Alerts => {
                let interest = if channel == Channel::Gaps { &mut self.gaps } else { &mut self.alerts };
                let was_there = !interest.is_empty();
                interest.all = false;
                interest.symbols.retain(|symbol| !goes(symbol));
                if was_there && interest.is_empty() {
                    fanout.leave(channel, &self.mailbox);
                }
            }
            Channel::Health => {
                if std::mem::take(&mut self.health) {
                    fanout.leave(channel, &self.mailbox);
                }
            }
        }
        drop(fanout);
        if !self.is_subscribed() {
            self.idle_since = Some(Instant::now());
        }
        self.say(&ServerMessage::Unsubscribed { id, channel, symbols: &symbols, tf });
    }

    fn is_subscribed(&self) -> bool {
        let interests = [&self.ticks, &self.gaps, &self.alerts];
        self.health || !self.candles.is_empty() || interests.iter().any(|interest| !interest.is_empty())
    }

    pub fn refuse(&mut self, id: Option<i64>, code: ErrorCode, message: &str) {
        self.say(&ServerMessage::Error { id, code, message });
    }

    pub fn say(&mut self, message: &ServerMessage<'_>) {
        self.say_body(message.name(), &message.body());
    }

    pub fn say_body(&mut self, name: &'static str, body: &str) {
        self.seq += 1;
        let text = numbered(self.seq, body);
        self.push(name, text);
    }

    fn push(&mut self, name: &'static str, text: String) {
        let event_id = self.cursors.as_ref().map(|cursors| {
            let of =
                |(channel, at): &(Channel, Cursor)| format!("{}={}", channel.name(), cursor::text(&at.topic, &at.read));
            cursors.iter().map(of).collect::<Vec<_>>().join(";")
        });
        self.out.push_back(Out { name, text, event_id });
    }

    fn note_cursor(&mut self, channel: Channel, at: &Cursor) {
        let Some(cursors) = &mut self.cursors else { return };
        match cursors.iter_mut().find(|(known, _)| *known == channel) {
            Some((_, known)) => known.raise(&at.topic, &at.read),
            None => cursors.push((channel, at.clone())),
        }
    }

    /// The next message, if there is one now.
    ///
    /// # Errors
    /// Why the connection is to be ended.
    pub fn next(&mut self) -> Result<Option<Out>, Ended> {
        if self.out.is_empty() {
            let now = Instant::now();
            if self.idle_since.is_some_and(|since| now.saturating_duration_since(since) > self.idle_after) {
                return Err(Ended::Idle);
            }
            self.drain();
            self.pull(now);
            if now >= self.heartbeat_at {
                self.heartbeat_at = (self.heartbeat_at + HEARTBEAT_EVERY).max(now + HEARTBEAT_EVERY / 2);
                let (now_us, feed) = (self.hub.now_us(), self.hub.feed_state());
                self.say(&ServerMessage::Heartbeat { now_us, feed: &feed });
            }
        }
        let next = self.out.pop_front();
        if self.out.is_empty() && self.out.capacity() > 4 {
            self.out = VecDeque::new();
        }
        Ok(next)
    }

    /// What is to be said at the end, without what else waits.
    pub fn take_last(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// Until there may be a next message.
    pub async fn ready(&self) {
        let mut until = self.heartbeat_at;
        if let Some(due) = self.pace.due() {
            until = until.min(due);
        }
        // Nothing to be done about either: woken for both.
        drop(tokio::time::timeout_at(until, self.mailbox.wake.notified()).await);
    }

    /// Makes messages of what waits.
    fn drain(&mut self) {
        let (mut queue, lagged) = self.mailbox.take();
        if let Some(Item::Tick(_, since)) = queue.iter().find(|item| matches!(item, Item::Tick(..)))
            && since.elapsed() > OLDEST_TICK
        {
            queue = self.fall_behind(queue);
        }
        self.deliver(queue);
        for (channel, tf) in lagged {
            metrics::counter!("tickstream_dashboard_lagged_total").increment(1);
            self.send_snapshot(channel, tf, SnapshotReason::Lagged);
        }
    }

    /// Makes messages of what waits, for a snapshot that is to come behind it. The locks may be held.
    fn drain_before(&mut self) {
        let mut inner = self.mailbox.lock();
        // Another state comes with snapshots of its own.
        if inner.queue.iter().any(|item| matches!(item, Item::Restart)) {
            return;
        }
        let queue = inner.take_queue();
        drop(inner);
        self.deliver(queue);
    }

    fn deliver(&mut self, mut queue: VecDeque<Item>) {
        while let Some(item) = queue.pop_front() {
            match item {
                Item::Tick(first, _) => {
                    let mut rows = vec![first];
                    while rows.len() < ROWS_AN_UPDATE
                        && let Some(Item::Tick(..)) = queue.front()
                        && let Some(Item::Tick(next, _)) = queue.pop_front()
                    {
                        rows.push(next);
                    }
                    self.push_ticks(&rows);
                }
                Item::Candle(candle) => self.push_candle(&candle),
                Item::Event(event) => {
                    let interest = if event.channel == Channel::Gaps { &self.gaps } else { &self.alerts };
                    if event.symbols.is_empty() || event.symbols.iter().any(|symbol| interest.wants(symbol)) {
                        self.push_event(&event);
                    }
                }
                Item::Health(rows, at) => self.push_health(&rows, &at),
                Item::Other(name, body) => self.say_body(name, &body),
                Item::Restart => {
                    queue.retain(|item| matches!(item, Item::Other(..)));
                    self.send_snapshots(SnapshotReason::Seek);
                }
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut fanout = self.hub.fanout();
        self.mailbox.close();
        fanout.exit(&self.mailbox);
        if self.ticks.all {
            fanout.leave_all(&self.mailbox);
        }
        for symbol in &self.ticks.symbols {
            fanout.leave_symbol(symbol, &self.mailbox);
        }
        for (symbol, tf) in &self.candles {
            fanout.leave_candles(symbol.clone(), *tf, &self.mailbox);
        }
        let others = [
            (Channel::Gaps, !self.gaps.is_empty()),
            (Channel::Alerts, !self.alerts.is_empty()),
            (Channel::Health, self.health),
        ];
        for (channel, _) in others.into_iter().filter(|(_, is_member)| *is_member) {
            fanout.leave(channel, &self.mailbox);
        }
    }
}

/// No symbols, or `*`.
fn means_all(symbols: &[String]) -> bool {
    symbols.is_empty() || symbols.iter().any(|symbol| symbol == "*")
}

/// From 0 to 1, another one each time.
pub fn spread() -> f64 {
    fastrand::f64()
}
