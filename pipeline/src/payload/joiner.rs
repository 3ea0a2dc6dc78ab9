//! Records back to whole payloads. Parts come in any order and, after a replay, more than once; some never come. What is
//! kept of unfinished payloads is bounded: beyond that the one that was begun first is given up and counted, never
//! silently.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Read as _;

use bytes::Bytes;
use uuid::Uuid;

use super::{IDENTITY, MAX_PAYLOAD_BYTES, Payload, ZSTD};
use crate::events::PayloadRecord;

/// The most bytes of unfinished payloads.
const MAX_UNFINISHED_BYTES: usize = 64 * 1024 * 1024;
/// What a kept part costs beside its content, so that empty parts are not free.
const PART_OVERHEAD_BYTES: usize = 256;
/// How many finished payloads of several parts are remembered, so that a part that comes again begins nothing.
const FINISHED: usize = 1024;
/// Larger windows than 2^25 bytes are refused: a payload has 20 MiB, and the window is allocated as it is claimed.
const MAX_WINDOW_LOG: u32 = 25;

/// Joins the parts of many payloads at once.
#[derive(Debug, Default)]
pub struct Joiner {
    unfinished: HashMap<Uuid, Unfinished>,
    /// The unfinished ones by when they were begun.
    begun: BTreeMap<u64, Uuid>,
    next: u64,
    finished: VecDeque<Uuid>,
    bytes: usize,
    given_up: u64,
}

/// Why a record cannot be a part of a payload, or a payload cannot be had. It is gone then, whole; others are not touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("payload {payload_id}: part {part} of {parts}")]
    NoSuchPart { payload_id: Uuid, part: i32, parts: i32 },
    #[error("payload {payload_id}: its parts do not belong together")]
    Disagreement { payload_id: Uuid },
    #[error("payload {payload_id}: content encoding {encoding:?} is not known")]
    UnknownEncoding { payload_id: Uuid, encoding: String },
    #[error("payload {payload_id}: more than {MAX_PAYLOAD_BYTES} bytes")]
    TooLong { payload_id: Uuid },
    #[error("payload {payload_id}: no zstd ({reason})")]
    NotZstd { payload_id: Uuid, reason: String },
}

#[derive(Debug)]
struct Unfinished {
    /// Its place in `begun`.
    begun: u64,
    /// The first part that came, without its content.
    like: PayloadRecord,
    parts: BTreeMap<i32, Bytes>,
    /// Of the contents.
    content_bytes: usize,
    /// With everything that is kept beside them.
    bytes: usize,
}

impl Joiner {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one record; gives the payload whose last missing part it was. A payload of one part that comes again is given
    /// again.
    ///
    /// # Errors
    /// When the record, or the payload that it completes, is not what [`super::split`] makes.
    pub fn push(&mut self, mut record: PayloadRecord) -> Result<Option<Payload>, JoinError> {
        let PayloadRecord { payload_id, part, parts, .. } = record;
        if part < 0 || part >= parts {
            return Err(JoinError::NoSuchPart { payload_id, part, parts });
        }
        if parts == 1 && !self.unfinished.contains_key(&payload_id) {
            let content = std::mem::take(&mut record.content);
            return whole(record, content).map(Some);
        }
        if self.finished.contains(&payload_id) {
            return Ok(None);
        }
        if let Err(error) = self.keep(record) {
            self.forget(payload_id);
            return Err(error);
        }
        let complete = self.unfinished.get(&payload_id).is_some_and(|kept| kept.parts.len() as u64 == parts as u64);
        if !complete {
            self.make_room();
            return Ok(None);
        }
        let Some(Unfinished { like, parts, content_bytes, .. }) = self.forget(payload_id) else { return Ok(None) };
        if self.finished.len() == FINISHED {
            self.finished.pop_front();
        }
        self.finished.push_back(payload_id);
        let mut content = Vec::with_capacity(content_bytes);
        parts.values().for_each(|part| content.extend_from_slice(part));
        whole(like, Bytes::from(content)).map(Some)
    }

    /// How many payloads of which some parts had come were dropped to stay within the bound.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// How many payloads wait for more of their parts.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    fn keep(&mut self, mut record: PayloadRecord) -> Result<(), JoinError> {
        let (payload_id, part) = (record.payload_id, record.part);
        let content = std::mem::take(&mut record.content);
        let beside = PART_OVERHEAD_BYTES + record.source.len() + record.request.len() + record.content_encoding.len();
        let kept = self.unfinished.entry(payload_id).or_insert_with(|| {
            let begun = self.next;
            self.next += 1;
            self.begun.insert(begun, payload_id);
            self.bytes += beside;
            Unfinished { begun, like: record.clone(), parts: BTreeMap::new(), content_bytes: 0, bytes: beside }
        });
        record.part = kept.like.part;
        if record != kept.like {
            return Err(JoinError::Disagreement { payload_id });
        }
        match kept.parts.get(&part) {
            Some(before) if *before == content => return Ok(()),
            Some(_) => return Err(JoinError::Disagreement { payload_id }),
            None => {}
        }
        // A payload is never longer compressed than it is.
        if kept.content_bytes + content.len() > MAX_PAYLOAD_BYTES {
            return Err(JoinError::TooLong { payload_id });
        }
        let more = content.len() + PART_OVERHEAD_BYTES;
        kept.content_bytes += content.len();
        kept.bytes += more;
        self.bytes += more;
        kept.parts.insert(part, content);
        Ok(())
    }

    fn make_room(&mut self) {
        while self.bytes > MAX_UNFINISHED_BYTES {
            let Some((_, oldest)) = self.begun.pop_first() else { return };
            self.forget(oldest);
            self.given_up += 1;
        }
    }

    fn forget(&mut self, payload_id: Uuid) -> Option<Unfinished> {
        let gone = self.unfinished.remove(&payload_id)?;
        self.bytes -= gone.bytes;
        self.begun.remove(&gone.begun);
        Some(gone)
    }
}

fn whole(like: PayloadRecord, content: Bytes) -> Result<Payload, JoinError> {
    let PayloadRecord { payload_id, source, request, status, received_at, content_encoding, .. } = like;
    let body = match content_encoding.as_str() {
        IDENTITY if content.len() > MAX_PAYLOAD_BYTES => return Err(JoinError::TooLong { payload_id }),
        IDENTITY => content,
        ZSTD => decompressed(payload_id, &content)?,
        _ => return Err(JoinError::UnknownEncoding { payload_id, encoding: content_encoding }),
    };
    Ok(Payload { payload_id, source, request, status, received_at, body })
}

/// As a stream, so that memory grows with what is really there and not with what the first bytes promise.
fn decompressed(payload_id: Uuid, content: &[u8]) -> Result<Bytes, JoinError> {
    let read = || {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(content)?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        let mut body = Vec::new();
        decoder.take(MAX_PAYLOAD_BYTES as u64 + 1).read_to_end(&mut body)?;
        Ok(body)
    };
    let body = read().map_err(|error: std::io::Error| JoinError::NotZstd { payload_id, reason: error.to_string() })?;
    if body.len() > MAX_PAYLOAD_BYTES {
        return Err(JoinError::TooLong { payload_id });
    }
    Ok(Bytes::from(body))
}
