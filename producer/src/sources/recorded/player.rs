//! Plays a recording to either driver: as connections, one a file, or as answers. It waits until each payload is due, and no
//! longer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::unfold;
use pipeline::events::EventTimeOrigin;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use crate::drive::clock::now_micros;
use crate::drive::failure::Failure;
use crate::drive::feed::{Feed, Wire};
use crate::drive::fetch::{Answer, Fetch};
use crate::drive::one_way::OneWay;
use crate::parse::payload::Payload;
use crate::sources::Source;
use crate::sources::recorded::pace::{Came, Pace};
use crate::sources::recorded::reel::{Recording, Reel};

pub struct Player(Arc<Mutex<Playing>>);

struct Playing {
    reel: Reel,
    pace: Pace,
    reader: Arc<dyn Source>,
    /// Read and not given yet, with when it is due.
    ahead: Option<(Recording, Instant)>,
    ended: bool,
}

impl Player {
    #[must_use]
    pub fn new(reel: Reel, pace: Pace, reader: Arc<dyn Source>) -> Self {
        Self(Arc::new(Mutex::new(Playing { reel, pace, reader, ahead: None, ended: false })))
    }
}

#[async_trait]
impl Feed for Player {
    async fn connect(&mut self) -> Result<Pin<Box<dyn Wire>>, Failure> {
        let connection = lock(&self.0).ahead().map(Recording::connection);
        let frames = unfold((self.0.clone(), connection), |(playing, connection)| async move {
            loop {
                let due = lock(&playing).due(connection.as_ref())?;
                if due <= Instant::now() {
                    break;
                }
                sleep_until(due).await;
            }
            let body = lock(&playing).ahead.take()?.0.body;
            let frame = String::from_utf8(body).map_or_else(|error| Message::binary(error.into_bytes()), Message::text);
            Some((frame, (playing, connection)))
        });
        Ok(OneWay::wire(frames))
    }

    fn finished(&self) -> bool {
        lock(&self.0).ended
    }

    fn recorded(&self) -> Option<String> {
        Some(lock(&self.0).ahead().and_then(|ahead| ahead.request.clone()).unwrap_or_default())
    }
}

#[async_trait]
impl Fetch for Player {
    async fn get(&self, path: &str) -> Result<Answer, String> {
        loop {
            let due = {
                let mut playing = lock(&self.0);
                let ahead = playing.ahead().ok_or("the recording has ended")?;
                // Where another page is asked for, nothing else will do.
                if !path.is_empty() && ahead.request.as_deref().is_some_and(|request| request != path) {
                    return Err(format!("the recording is without {path}"));
                }
                playing.ahead.as_ref().map_or_else(Instant::now, |(_, due)| *due)
            };
            if due <= Instant::now() {
                break;
            }
            sleep_until(due).await;
        }
        let (recording, _) = lock(&self.0).ahead.take().ok_or("the recording has ended")?;
        let Recording { body, request, status, .. } = recording;
        Ok(Answer {
            status: status.unwrap_or(200),
            retry_after: None,
            body,
            recorded: Some(request.unwrap_or_default()),
        })
    }

    fn finished(&self) -> bool {
        lock(&self.0).ahead().is_none()
    }
}

impl Playing {
    /// The next payload.
    fn ahead(&mut self) -> Option<&Recording> {
        if self.ahead.is_none() {
            let recording = self.reel.next()?;
            let came = self.came(&recording);
            self.ahead = Some((recording, self.pace.due(came)));
        }
        self.ahead.as_ref().map(|(recording, _)| recording)
    }

    /// When the next frame of this connection is due; `None` when it has no more.
    fn due(&mut self, connection: Option<&(u64, Option<String>)>) -> Option<Instant> {
        let next = self.ahead().map(Recording::connection);
        self.ended = next.is_none();
        if next.as_ref() != connection {
            return None;
        }
        self.ahead.as_ref().map(|(_, due)| *due)
    }

    fn came(&self, recording: &Recording) -> Came {
        if let Some(at) = recording.received_at {
            return Came::Received(at);
        }
        if !self.pace.waits() {
            return Came::Unknown;
        }
        let payload = Payload::new(self.reader.name(), &recording.body, now_micros(), "");
        let ticks = self.reader.parse(&payload).ticks;
        let told = ticks.iter().filter(|tick| tick.event_time_origin == EventTimeOrigin::Source);
        told.map(|tick| tick.event_time).max().map_or(Came::Unknown, Came::Told)
    }
}

impl Recording {
    /// Frames of one file that answer the same came over one connection.
    fn connection(&self) -> (u64, Option<String>) {
        (self.file, self.request.clone())
    }
}

fn lock(playing: &Mutex<Playing>) -> MutexGuard<'_, Playing> {
    playing.lock().unwrap_or_else(PoisonError::into_inner)
}
