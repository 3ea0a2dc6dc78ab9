//! Where records meet connections. A batch is taken into the state and shown to everybody under the state's lock and then the
//! fan-out's, record by record in the order of the log: each changed row is serialised once, and only when somebody wants
//! it. A subscription takes the same two locks, so what its snapshot does not hold comes as an update, and nothing twice.
//! Must never happen here: anything slow under these locks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipeline::events::{Alert, Gap, SourceHealth};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::board::Shown;
use super::cursor::Cursor;
use super::fanout::Fanout;
use super::mailbox::{Item, ShownCandle, ShownEvent};
use crate::clock;
use crate::protocol::{Channel, FeedState, Json};
use crate::state::row::SourceRow;
use crate::state::tick::{Position, Told};
use crate::state::{Live, Reread, Spoilt, Timeframe, Touched};

/// How often a slow connection is told the latest, when the machine keeps up and when it does not.
const PACE_LEAST: Duration = Duration::from_millis(100);
const PACE_MOST: Duration = Duration::from_millis(500);
/// Looks for sources that have fallen silent.
const TURNS_A_LOOK: u32 = 10;
const HEALTH_EVERY: Duration = Duration::from_secs(5);

/// How ticks are to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Showing {
    /// Each.
    Each,
    /// The latest of the batch: it is old anyway.
    Latest,
    /// As the latest, of history that is filled in behind the newest.
    Older,
}

/// What a topic's name ends with while older records are filled in: they stand behind cursors that were given before, so those
/// are not gone on from afterwards.
const FILLING: char = '~';

/// How far a channel's topic was read.
#[derive(Debug, Default)]
struct Progress(Mutex<Reading>);

#[derive(Debug)]
struct Reading {
    read: Arc<Cursor>,
    /// Where it began.
    begun: Vec<Position>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { read: Arc::new(Cursor { topic: "0".to_owned(), read: Vec::new() }), begun: Vec::new() }
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, read: &[Position]) {
        let mut reading = self.lock();
        let topic = reading.read.topic.clone();
        Arc::make_mut(&mut reading.read).raise(&topic, read);
    }

    fn is_filled(&self) {
        let mut reading = self.lock();
        if reading.read.topic.ends_with(FILLING) {
            Arc::make_mut(&mut reading.read).topic.pop();
        }
    }
}

#[derive(Debug)]
pub struct Hub {
    live: Mutex<Live>,
    fanout: Mutex<Fanout>,
    feed: Mutex<FeedState>,
    progress: [Progress; 4],
    /// Microseconds UTC of what is replayed; 0 when it is the wall clock that counts.
    replayed_us: AtomicI64,
    pace_us: AtomicU64,
    health_version: AtomicU64,
}

impl Hub {
    pub fn new(live: Live) -> Self {
        Self {
            live: Mutex::new(live),
            fanout: Mutex::default(),
            feed: Mutex::default(),
            progress: Default::default(),
            replayed_us: AtomicI64::new(0),
            pace_us: AtomicU64::new(micros(PACE_LEAST)),
            health_version: AtomicU64::new(0),
        }
    }

    /// The state; hold it briefly.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken after the state's lock, never before it.
    pub(super) fn fanout(&self) -> MutexGuard<'_, Fanout> {
        self.fanout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn feed_state(&self) -> FeedState {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_feed_state(&self, state: FeedState) {
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The server's time, or the time that is replayed.
    pub fn now_us(&self) -> i64 {
        match self.replayed_us.load(Ordering::Relaxed) {
            0 => clock::now_us(),
            replayed => replayed,
        }
    }

    fn is_replay(&self) -> bool {
        self.replayed_us.load(Ordering::Relaxed) != 0
    }

    /// From now on the time is what this says.
    pub fn set_replayed_us(&self, now_us: i64) {
        self.replayed_us.store(now_us, Ordering::Relaxed);
    }

    fn progress_of(&self, channel: Channel) -> &Progress {
        &self.progress[match channel {
            Channel::Ticks | Channel::Candles => 0,
            Channel::Gaps => 1,
            Channel::Alerts => 2,
            Channel::Health => 3,
        }]
    }

    /// How far the channel's topic was read.
    pub fn cursor(&self, channel: Channel) -> Arc<Cursor> {
        self.progress_of(channel).lock().read.clone()
    }

    /// The channel's topic is this one, read up to there. After another topic nothing is told apart from its predecessor's
    /// records but by this name.
    pub fn begin(&self, channel: Channel, topic: &str, read: Vec<Position>) {
        let read = Cursor { topic: topic.to_owned(), read };
        *self.progress_of(channel).lock() = Reading { begun: read.read.clone(), read: Arc::new(read) };
    }

    /// As [`Self::begin`], where older records are going to be filled in.
    pub fn begin_filling(&self, channel: Channel, topic: &str, read: Vec<Position>) {
        self.begin(channel, &format!("{topic}{FILLING}"), read);
    }

    /// Records of a partition up to `last` were deleted before they could be read: nobody can go on from before, and of ticks
    /// memory holds nothing whole from before now.
    pub fn skip_lost(&self, channel: Channel, last: Position) {
        let mut live = self.live();
        if channel == Channel::Ticks {
            live.lose_before(clock::now_us());
        }
        let mut reading = self.progress_of(channel).lock();
        last.raise(&mut reading.begun);
        let topic = reading.read.topic.clone();
        Arc::make_mut(&mut reading.read).raise(&topic, &[last]);
    }

    /// What a cursor says of a channel, when everything since then was read. Nothing while history is filled in: what came in since
    /// may stand before it.
    pub fn known<'a>(&self, channel: Channel, cursor: &'a Cursor) -> Option<&'a [Position]> {
        let reading = self.progress_of(channel).lock();
        let of = |list: &[Position], at: &Position| {
            list.iter().find(|other| other.partition == at.partition).map(|other| other.offset)
        };
        let is_read = |at: &Position| {
            let has_come = of(&reading.read.read, at).is_some_and(|offset| offset >= at.offset);
            has_come && of(&reading.begun, at).is_none_or(|offset| offset <= at.offset)
        };
        let is_good = cursor.topic == reading.read.topic && !cursor.topic.ends_with(FILLING);
        (is_good && cursor.read.iter().all(is_read)).then_some(&cursor.read)
    }

    /// Looks ahead at ticks that are going to be put: what they correct need not be worked in first.
    pub fn announce<'a>(&self, ticks: impl Iterator<Item = Told<'a>>) {
        let mut live = self.live();
        ticks.for_each(|told| live.announce(&told));
    }

    /// Takes ticks in, in the order of their topic.
    pub fn put_ticks<'a>(&self, ticks: impl Iterator<Item = Told<'a>> + Clone, showing: Showing, read: &[Position]) {
        let now = Instant::now();
        let mut live = self.live();
        let mut fanout = self.fanout();
        live.watches_candles = fanout.wants_candles();
        let mut latest: HashMap<(Arc<str>, Arc<str>), Position> = HashMap::new();
        if showing != Showing::Each {
            ticks.clone().for_each(|told| live.announce(&told));
        }
        for told in ticks {
            if showing == Showing::Each {
                live.measure(&told, self.now_us(), self.is_replay());
            }
            let touched = if showing == Showing::Older { live.fill_tick(&told) } else { live.put_tick(&told) };
            if touched.is_empty() {
                continue;
            }
            let touched = touched.to_vec();
            for row in touched {
                if !fanout.wants_ticks(&row.symbol) {
                    continue;
                }
                match showing {
                    Showing::Each => show(&mut live, &mut fanout, row, told.tick.at, now),
                    Showing::Latest | Showing::Older => drop(latest.insert((row.symbol, row.source), told.tick.at)),
                }
            }
        }
        // In the order of the log: behind a message's cursor nothing is left out.
        let mut latest: Vec<_> = latest.into_iter().collect();
        latest.sort_by_key(|(_, at)| *at);
        for ((symbol, source), at) in latest {
            let row = Touched { symbol, source };
            show(&mut live, &mut fanout, row, at, now);
        }
        self.progress_of(Channel::Ticks).raise(read);
        self.show_candles(&mut live, &fanout);
    }

    /// Memory holds all ticks from this broker time on. Everybody is shown what the history that was filled in has changed: it
    /// stands behind the cursors that were given, which are none any more.
    pub fn set_filled(&self, whole_from_us: i64) {
        let now = Instant::now();
        let mut live = self.live();
        let mut fanout = self.fanout();
        live.watches_candles = fanout.wants_candles();
        live.set_whole_from(whole_from_us, false);
        self.progress_of(Channel::Ticks).is_filled();
        let at = self.cursor(Channel::Ticks).read.first().copied().unwrap_or_default();
        for row in live.touch_all() {
            if fanout.wants_ticks(&row.symbol) {
                show(&mut live, &mut fanout, row, at, now);
            }
        }
        self.show_candles(&mut live, &fanout);
    }

    fn show_candles(&self, live: &mut Live, fanout: &Fanout) {
        let changed = live.take_changed_candles();
        if changed.is_empty() {
            return;
        }
        let cursor = self.cursor(Channel::Candles);
        for key in changed {
            let mut members = fanout.candles_of(&key.symbol, key.tf).peekable();
            if members.peek().is_none() {
                continue;
            }
            // Of what memory does not hold whole it would tell a part.
            if key.start < live.covers_from_us(&key.symbol, &key.source, key.tf) {
                continue;
            }
            let row = live.candle(&key).map(|candle| Json::of(&candle));
            let shown = Arc::new(ShownCandle { key: key.clone(), row, cursor: cursor.clone() });
            members.for_each(|mailbox| mailbox.push(Item::Candle(shown.clone())));
        }
    }

    pub fn put_gaps(&self, gaps: impl Iterator<Item = (Gap, Position)>, read: &[Position]) {
        let mut live = self.live();
        let mut fanout = self.fanout();
        live.watches_candles = fanout.wants_candles();
        for (gap, at) in gaps {
            let cursor = self.cursor_with(Channel::Gaps, at);
            if let Some(known) = live.put_gap(&gap, at) {
                let (symbols, row) = (known.row.symbols.clone(), known.json.clone());
                let event = ShownEvent { channel: Channel::Gaps, symbols, row, cursor };
                fanout.tell(Channel::Gaps, &Item::Event(Arc::new(event)));
            }
        }
        self.progress_of(Channel::Gaps).raise(read);
        self.show_candles(&mut live, &fanout);
    }

    pub fn put_alerts(&self, alerts: impl Iterator<Item = (Alert, Position)>, read: &[Position]) {
        let mut live = self.live();
        let mut fanout = self.fanout();
        for (alert, at) in alerts {
            let cursor = self.cursor_with(Channel::Alerts, at);
            if let Some(known) = live.put_alert(&alert, at) {
                let symbols = known.symbol.clone().into_iter().collect();
                let event = ShownEvent { channel: Channel::Alerts, symbols, row: known.json.clone(), cursor };
                fanout.tell(Channel::Alerts, &Item::Event(Arc::new(event)));
            }
        }
        self.progress_of(Channel::Alerts).raise(read);
    }

    /// With the broker's time of each.
    pub fn put_healths(&self, healths: impl Iterator<Item = (SourceHealth, i64)>, read: &[Position]) {
        let mut is_other = false;
        {
            let mut live = self.live();
            for (health, broker_time) in healths {
                is_other |= live.put_health(&health, broker_time);
            }
        }
        self.progress_of(Channel::Health).raise(read);
        if is_other {
            self.show_health();
        }
    }

    fn cursor_with(&self, channel: Channel, at: Position) -> Arc<Cursor> {
        Arc::new(Cursor { topic: self.cursor(channel).topic.clone(), read: vec![at] })
    }

    /// Another time is replayed: begins anew with this state, and everybody gets snapshots.
    pub fn restart(&self, new: Live) {
        let mut live = self.live();
        let mut fanout = self.fanout();
        *live = new;
        fanout.restart();
    }

    /// Tells everybody, whatever they are subscribed to.
    pub fn tell_everybody(&self, name: &'static str, body: &str) {
        self.fanout().tell_everybody(&Item::Other(name, body.into()));
    }

    /// Whether anybody is subscribed to a symbol's ticks or candles.
    pub fn wants_symbol(&self, symbol: &str) -> bool {
        let fanout = self.fanout();
        let symbol_name = Arc::from(symbol);
        let has_candles = || Timeframe::ALL.iter().any(|tf| fanout.candles_of(&symbol_name, *tf).next().is_some());
        fanout.wants_ticks(symbol) || has_candles()
    }

    /// Whether anybody is subscribed to gaps or alerts.
    pub fn wants_events(&self, channel: Channel) -> bool {
        self.fanout().wants_events(channel)
    }

    /// Time has come so far, and everything up to then was read.
    pub fn advance(&self, now_us: i64) {
        let mut live = self.live();
        let fanout = self.fanout();
        live.watches_candles = fanout.wants_candles();
        live.advance(now_us);
        self.show_candles(&mut live, &fanout);
    }

    /// Buckets to be read again, at most `limit` of those that `wanted` accepts, and how far memory has read the ticks; none while
    /// older ones still come, which would be counted twice.
    pub fn spoilt(&self, limit: usize, wanted: impl Fn(&Spoilt) -> bool) -> (Vec<Spoilt>, Arc<Cursor>) {
        let mut live = self.live();
        let read = self.cursor(Channel::Ticks);
        let is_whole = self.feed_state() == FeedState::Live && !live.is_filling() && !read.topic.ends_with(FILLING);
        let spoilt = if is_whole { live.spoilt(limit, wanted) } else { Vec::new() };
        (spoilt, read)
    }

    /// What such a bucket holds by all ticks that memory had read at `as_of`; gives whether it was taken.
    pub fn replace(&self, spoilt: &Spoilt, reread: &Reread, as_of: &Cursor) -> bool {
        let mut live = self.live();
        let fanout = self.fanout();
        live.watches_candles = fanout.wants_candles();
        let taken = self.cursor(Channel::Ticks).topic == as_of.topic && live.replace(spoilt, reread);
        self.show_candles(&mut live, &fanout);
        taken
    }

    fn show_health(&self) {
        let live = self.live();
        let mut fanout = self.fanout();
        let rows = live.sources.rows(live.now_us());
        self.health_version.fetch_add(1, Ordering::Relaxed);
        fanout.tell(Channel::Health, &Item::Health(Json::of(&rows), self.cursor(Channel::Health)));
    }

    pub(super) fn pace(&self) -> Duration {
        Duration::from_micros(self.pace_us.load(Ordering::Relaxed))
    }

    /// Says how sources are, and finds out how busy the machine is, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut turns = tokio::time::interval(PACE_LEAST);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = tokio::time::Instant::now();
        let mut health_at = due;
        let mut states: Vec<(String, String)> = Vec::new();
        let mut turn = 0_u32;
        while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
            let now = tokio::time::Instant::now();
            self.set_pace(now.saturating_duration_since(due));
            due = now + PACE_LEAST;
            turn = turn.wrapping_add(1);
            if !turn.is_multiple_of(TURNS_A_LOOK) {
                continue;
            }
            let (rows, series, refused) = {
                let live = self.live();
                let refused = live.refused + live.gaps.refused + live.alerts.refused + live.sources.refused;
                (live.sources.rows(live.now_us()), live.series(), refused)
            };
            metrics::gauge!("tickstream_dashboard_series").set(series as f64);
            metrics::counter!("tickstream_dashboard_refused_total").absolute(refused);
            let of = |row: &SourceRow| (row.source.clone(), row.state.clone());
            let found: Vec<(String, String)> = rows.iter().map(of).collect();
            // Silence has no record that would tell of it.
            if now >= health_at || found != states {
                states = found;
                health_at = now + HEALTH_EVERY;
                self.show_health();
            }
        }
    }

    /// The later a timer, the busier the machine: a slower pace for those who are slow leaves time for the others.
    fn set_pace(&self, late: Duration) {
        let pace = self.pace();
        let next = if late > Duration::from_millis(25) { pace.mul_f64(1.3) } else { pace.mul_f64(0.98) };
        let next = next.clamp(PACE_LEAST, PACE_MOST);
        self.pace_us.store(micros(next), Ordering::Relaxed);
        metrics::gauge!("tickstream_dashboard_pace_seconds").set(next.as_secs_f64());
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn show(live: &mut Live, fanout: &mut Fanout, row: Touched, at: Position, now: Instant) {
    let Touched { symbol, source } = row;
    if let Some((row, ticks)) = live.row(&symbol, &source) {
        fanout.show(Arc::new(Shown { symbol, source, row, ticks, at }), now);
    }
}
