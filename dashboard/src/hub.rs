//! From the live state to every connection. Ten times a second what changed becomes one frame, serialised once and sent to
//! all through a bounded queue. A connection that falls behind the queue is told so and starts over from a snapshot: a slow
//! browser costs itself detail, never the server memory.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::live::{Changes, Live};
use crate::protocol::{Channel, FeedState, Json, ServerMessage};

const FRAME_EVERY: Duration = Duration::from_millis(100);
const FRAMES_PER_HEARTBEAT: u32 = 10;
/// Frames and heartbeats that a connection may be behind: about 1.5 seconds.
const QUEUE: usize = 16;

#[derive(Clone, Debug)]
pub enum Event {
    Frame(Arc<Frame>),
    /// The body of a heartbeat message.
    Heartbeat(Arc<str>),
}

#[derive(Debug)]
pub struct Frame {
    pub changes: Changes,
    for_all: OnceLock<String>,
}

impl Frame {
    pub fn new(changes: Changes) -> Self {
        Self { changes, for_all: OnceLock::new() }
    }

    /// The body of the update for those who want every symbol.
    pub fn update_for_all(&self) -> &str {
        self.for_all.get_or_init(|| {
            let ticks: Vec<Json> = self.changes.rows.iter().map(|changed| changed.row.clone()).collect();
            ServerMessage::Update { channel: Channel::Ticks, ticks: &ticks }.body()
        })
    }
}

#[derive(Debug)]
pub struct Hub {
    live: Mutex<Live>,
    feed: Mutex<FeedState>,
    events: broadcast::Sender<Event>,
}

impl Hub {
    pub fn new(live: Live) -> Self {
        Self { live: Mutex::new(live), feed: Mutex::default(), events: broadcast::Sender::new(QUEUE) }
    }

    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn feed_state(&self) -> FeedState {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_feed_state(&self, state: FeedState) {
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Sends frames and heartbeats until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(FRAME_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_heartbeat = FRAMES_PER_HEARTBEAT;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.send_frame();
            until_heartbeat -= 1;
            if until_heartbeat == 0 {
                until_heartbeat = FRAMES_PER_HEARTBEAT;
                self.send_heartbeat();
            }
        }
    }

    fn send_frame(&self) {
        let changes = self.live().take_changes();
        if !changes.rows.is_empty() || !changes.gaps.is_empty() {
            // Nobody listening is no error.
            drop(self.events.send(Event::Frame(Arc::new(Frame::new(changes)))));
        }
    }

    fn send_heartbeat(&self) {
        let (sources, series, refused) = {
            let live = self.live();
            (live.outages.sources(), live.series(), live.refused + live.outages.refused)
        };
        metrics::gauge!("tickstream_dashboard_series").set(series as f64);
        metrics::counter!("tickstream_dashboard_refused_total").absolute(refused);
        let body = ServerMessage::Heartbeat { now_us: now_us(), feed: &self.feed_state(), sources: &sources }.body();
        drop(self.events.send(Event::Heartbeat(body.into())));
    }
}
