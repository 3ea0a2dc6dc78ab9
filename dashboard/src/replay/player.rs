//! Plays the topics into a hub: what the broker got before the replayed time is in the state, what it got after is not. The time
//! waits for the reader, so it never claims what was not read. Blocking: on a thread of its own until its connection ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::codec::RecordType;
use pipeline::decode::{Alerts, Decoder, Gaps, Healths, Ticks};
use pipeline::headers::ClientHeaders;
use pipeline::kafka::KafkaArgs;
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::registry::Registry;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;

use super::Source;
use super::clock::{Clock, Speed};
use super::merge::{Lane, Merge, Waiting};
use super::reader::TopicsReader;
use crate::clock::now_us;
use crate::protocol::{Channel, ErrorCode, ReplayAction, ReplayCommand, ServerMessage};
use crate::rest::asked::written;
use crate::serve::{Hub, Showing};
use crate::state::Live;
use crate::state::tick::{Position, Told};

/// How long before its beginning a replay reads ticks: the prices that were known then.
pub const LOOK_BACK_US: i64 = 15 * 60 * 1_000_000;
/// A gap that was open then may have opened so long before.
const EVENTS_LOOK_BACK_US: i64 = 24 * 3_600_000_000;
/// The fastest turn.
const TURN: Duration = Duration::from_millis(10);
/// Records that are played at once; between two of these the client is heard.
const AT_ONCE: usize = 4096;
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A partition that is written to all the time never comes to its end: so near to now it has.
const EDGE_US: i64 = 2_000_000;
/// Records that a step looks through for one that is subscribed to.
const A_STEP: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Playing,
    Paused,
    Ended,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Playing => "playing",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

pub struct Player {
    sources: Arc<[Source]>,
    decoders: Vec<Decoder>,
    reader: TopicsReader,
    merge: Merge,
    hub: Arc<Hub>,
    /// Where records go: the hub, or what is to be its state.
    into: Arc<Hub>,
    runtime: Handle,
    max_series: usize,
    clock: Clock,
    from_us: i64,
    has_ended: bool,
    /// The time of the last record that was played.
    played_ms: i64,
    told_at: Instant,
    told: Option<State>,
}

impl Player {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(
        kafka: &KafkaArgs,
        registry: Option<Registry>,
        sources: Arc<[Source]>,
        max_series: usize,
        hub: Arc<Hub>,
        runtime: Handle,
    ) -> anyhow::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            decoders: sources.iter().map(|source| Decoder::new(source.record, registry.clone())).collect(),
            reader: TopicsReader::new(kafka, sources.clone())?,
            sources,
            merge: Merge::default(),
            into: hub.clone(),
            hub,
            runtime,
            max_series,
            clock: Clock::new(0, Speed::Times(1.0), now),
            from_us: 0,
            has_ended: false,
            played_ms: 0,
            told_at: now,
            told: None,
        })
    }

    /// Reads to where the replay begins: at a time, or at the oldest record after it. After a failure it has ended.
    ///
    /// # Errors
    /// When the topics cannot be read.
    pub fn begin(&mut self, from_us: i64, speed: Speed, cancel: &CancellationToken) -> anyhow::Result<()> {
        self.has_ended = true;
        let begun = self.fill(from_us, cancel);
        self.into = self.hub.clone();
        self.from_us = begun?;
        self.has_ended = false;
        self.clock = Clock::new(self.from_us, speed, Instant::now());
        Ok(())
    }

    /// Makes the state of a time, and shows it; gives the time.
    fn fill(&mut self, from_us: i64, cancel: &CancellationToken) -> anyhow::Result<i64> {
        let oldest_us = self.reader.oldest_after(from_us.div_euclid(1000))?.map(|oldest_ms| oldest_ms * 1000);
        let from_us = oldest_us.map_or(from_us, |oldest_us| oldest_us.max(from_us));
        let begin_ms = |source: &Source| {
            let before_us = match source.record {
                RecordType::PriceTick | RecordType::SourceHealth => LOOK_BACK_US,
                _ => EVENTS_LOOK_BACK_US,
            };
            (from_us - before_us).div_euclid(1000)
        };
        let times: Vec<i64> = self.sources.iter().map(begin_ms).collect();
        self.merge = self.reader.begin(&times)?;
        let mut live = Live::new(LOOK_BACK_US, self.max_series, from_us);
        live.set_whole_from(from_us - LOOK_BACK_US, false);
        // Apart, so that nobody sees it half filled.
        let filled = Arc::new(Hub::new(live));
        self.into = filled.clone();
        // What the broker got at that very time is still to be played.
        let before_ms = from_us.div_euclid(1000) - 1;
        while !self.merge.is_known_until(before_ms) && !cancel.is_cancelled() {
            self.reader.turn(&mut self.merge, TURN)?;
            while self.play(before_ms, Showing::Latest)? > 0 {}
        }
        while self.play(before_ms, Showing::Latest)? > 0 {}
        for channel in [Channel::Ticks, Channel::Gaps, Channel::Alerts, Channel::Health] {
            self.hub.begin(channel, "replay", filled.cursor(channel).read.clone());
        }
        self.hub.set_replayed_us(from_us);
        let live = std::mem::replace(&mut *filled.live(), Live::new(LOOK_BACK_US, 1, from_us));
        self.hub.restart(live);
        Ok(from_us)
    }

    /// Until the connection ends.
    pub fn run(mut self, mut commands: UnboundedReceiver<ReplayCommand>, cancel: &CancellationToken) {
        self.tell();
        while !cancel.is_cancelled() {
            loop {
                match commands.try_recv() {
                    Ok(command) => self.obey(&command, cancel),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if let Err(error) = self.turn() {
                let message = format!("the replay cannot go on: {error:#}");
                tracing::info!("{message}");
                self.refuse(None, &message);
                self.has_ended = true;
            }
            if self.told != Some(self.state()) || self.told_at.elapsed() >= TELL_EVERY {
                self.tell();
            }
        }
    }

    fn state(&self) -> State {
        match (self.has_ended, self.clock.is_paused()) {
            (true, _) => State::Ended,
            (false, true) => State::Paused,
            (false, false) => State::Playing,
        }
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        if self.has_ended {
            std::thread::sleep(TURN);
            return Ok(());
        }
        self.reader.turn(&mut self.merge, TURN)?;
        let due_ms = self.clock.due(Instant::now()).div_euclid(1000);
        let played = self.play(due_ms, Showing::Each)?;
        let now = Instant::now();
        // Time waits for the reader, and for what is due and not played yet; what comes after now nobody knows.
        let present_us = now_us();
        let known_ms = if played < AT_ONCE { self.merge.known_until_ms() } else { self.played_ms };
        let known_us = known_ms.saturating_mul(1000).min(present_us);
        if self.clock.speed() != Speed::Max && self.clock.at(now) > known_us {
            self.clock.seek(known_us.max(self.hub.now_us()), now);
        }
        self.show_time(now);
        let edge_us = if self.merge.has_ended() { present_us } else { present_us - EDGE_US };
        let is_all = self.merge.is_empty() && self.merge.known_until_ms().saturating_mul(1000) >= edge_us;
        let is_now = self.clock.speed() == Speed::Max || self.clock.at(now) >= edge_us;
        self.has_ended = !self.clock.is_paused() && is_all && is_now;
        Ok(())
    }

    fn show_time(&self, now: Instant) {
        let at_us = self.clock.at(now);
        self.hub.set_replayed_us(at_us);
        self.hub.advance(at_us);
    }

    /// Plays what is known up to a time, but no more than is good at once; gives how much it was.
    fn play(&mut self, until_ms: i64, showing: Showing) -> anyhow::Result<usize> {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut of: Option<Lane> = None;
        let mut played = 0;
        while played < AT_ONCE
            && let Some((lane, record)) = self.merge.pop(until_ms)
        {
            if of.is_some_and(|of| of != lane) {
                self.put(of, &mut batch, showing)?;
            }
            of = Some(lane);
            self.clock.played(record.time_ms.saturating_mul(1000), Instant::now());
            self.played_ms = record.time_ms;
            batch.push(record);
            played += 1;
        }
        self.put(of, &mut batch, showing)?;
        Ok(played)
    }

    /// Puts records of one partition into the hub.
    fn put(&mut self, lane: Option<Lane>, batch: &mut Vec<Waiting>, showing: Showing) -> anyhow::Result<()> {
        let Some((topic, partition)) = lane.filter(|_| !batch.is_empty()) else { return Ok(()) };
        let mut buffer = RecordBuffer::new();
        for record in batch.drain(..) {
            let value = record.value.as_deref();
            let kept = Record { offset: record.offset, timestamp_ms: record.time_ms, key: None, value };
            buffer.push(kept, ClientHeaders::None);
        }
        let records = buffer.finish();
        let decoded = self.runtime.block_on(self.decoders[topic].decode(records.values()))?;
        let at = |index: usize| Position { partition, offset: records.offsets().value(index) };
        let rows = || decoded.rows.iter().map(|index| *index as usize).enumerate();
        let read = [Position { partition, offset: records.last_offset().unwrap_or_default() }];
        match self.sources[topic].record {
            RecordType::PriceTick => {
                let ticks = Ticks::new(&decoded.batch);
                let told = rows().map(|(row, index)| Told::new(&ticks, row, broker_time(&records, index), at(index)));
                self.into.put_ticks(told, showing, &read);
            }
            RecordType::Gap => {
                let gaps = Gaps::new(&decoded.batch);
                self.into.put_gaps(rows().map(|(row, index)| (gaps.get(row), at(index))), &read);
            }
            RecordType::Alert => {
                let alerts = Alerts::new(&decoded.batch);
                self.into.put_alerts(rows().map(|(row, index)| (alerts.get(row), at(index))), &read);
            }
            RecordType::SourceHealth => {
                let healths = Healths::new(&decoded.batch);
                self.into
                    .put_healths(rows().map(|(row, index)| (healths.get(row), broker_time(&records, index))), &read);
            }
            // No channel shows them, and no topic that is replayed carries them.
            RecordType::IndexWeight | RecordType::Payload => {}
        }
        Ok(())
    }

    fn obey(&mut self, command: &ReplayCommand, cancel: &CancellationToken) {
        let now = Instant::now();
        let done = match command.action {
            ReplayAction::Pause => {
                self.clock.pause(now);
                Ok(())
            }
            ReplayAction::Resume => {
                self.clock.resume(now);
                Ok(())
            }
            ReplayAction::Step => self.step(),
            ReplayAction::Speed => match command.speed.clone().map(serde_json::from_value::<Speed>) {
                Some(Ok(speed)) => {
                    self.clock.set_speed(speed, now);
                    Ok(())
                }
                Some(Err(error)) => Err(format!("speed: {error}")),
                None => Err("speed is missing: a number, or max".to_owned()),
            },
            ReplayAction::Seek => match command.to_us {
                Some(to_us) if (0..now_us()).contains(&to_us) => self.seek(to_us, cancel),
                Some(to_us) => Err(format!("to_us: {} is no time before now", written(to_us))),
                None => Err("to_us is missing: microseconds since 1970".to_owned()),
            },
        };
        if let Err(reason) = done {
            self.refuse(command.id, &reason);
        }
        self.tell();
    }

    fn seek(&mut self, to_us: i64, cancel: &CancellationToken) -> Result<(), String> {
        let (speed, is_paused, from_us) = (self.clock.speed(), self.clock.is_paused(), self.from_us);
        let begun = self.begin(to_us, speed, cancel);
        // A later place in the same replay: it began where it began.
        self.from_us = from_us.min(self.from_us);
        if is_paused {
            self.clock.pause(Instant::now());
        }
        begun.map_err(|error| format!("the topics cannot be read there now: {error:#}"))
    }

    /// To the next record that is subscribed to, and no further.
    fn step(&mut self) -> Result<(), String> {
        if self.has_ended {
            return Ok(());
        }
        self.clock.pause(Instant::now());
        let explain = |error: anyhow::Error| format!("the next record cannot be read now: {error:#}");
        let deadline = Instant::now() + Duration::from_secs(5);
        for _ in 0..A_STEP {
            let next = loop {
                if let Some(next) = self.merge.pop(i64::MAX) {
                    break next;
                }
                if self.merge.has_ended() || Instant::now() > deadline {
                    self.has_ended = self.merge.has_ended();
                    return Ok(());
                }
                self.reader.turn(&mut self.merge, TURN).map_err(explain)?;
            };
            let (lane, record) = next;
            let now = Instant::now();
            self.clock.played(record.time_ms.saturating_mul(1000), now);
            let is_wanted = self.is_wanted(lane, &record).map_err(explain)?;
            self.put(Some(lane), &mut vec![record], Showing::Each).map_err(explain)?;
            if is_wanted {
                break;
            }
        }
        self.show_time(Instant::now());
        Ok(())
    }

    /// Whether somebody subscribed to what the record tells.
    fn is_wanted(&mut self, (topic, _): Lane, record: &Waiting) -> anyhow::Result<bool> {
        match self.sources[topic].record {
            RecordType::PriceTick => {}
            RecordType::Gap => return Ok(self.hub.wants_events(Channel::Gaps)),
            RecordType::Alert => return Ok(self.hub.wants_events(Channel::Alerts)),
            _ => return Ok(false),
        }
        let mut buffer = RecordBuffer::new();
        let value = record.value.as_deref();
        buffer.push(Record { offset: 0, timestamp_ms: 0, key: None, value }, ClientHeaders::None);
        let decoded = self.runtime.block_on(self.decoders[topic].decode(buffer.finish().values()))?;
        let ticks = Ticks::new(&decoded.batch);
        Ok(!decoded.rows.is_empty() && self.hub.wants_symbol(ticks.symbol(0)))
    }

    fn refuse(&self, id: Option<i64>, message: &str) {
        let error = ServerMessage::Error { id, code: ErrorCode::BadMessage, message };
        self.hub.tell_everybody(error.name(), &error.body());
    }

    fn tell(&mut self) {
        let state = self.state();
        let body = json!({
            "type": "replay",
            "state": state.name(),
            "speed": self.clock.speed(),
            "at_us": self.clock.at(Instant::now()),
            "from_us": self.from_us,
            "live_us": now_us(),
        });
        self.hub.tell_everybody("replay", &body.to_string());
        (self.told, self.told_at) = (Some(state), Instant::now());
    }
}

/// Microseconds UTC.
fn broker_time(records: &Records, index: usize) -> i64 {
    records.timestamps_ms().value(index).saturating_mul(1000)
}
