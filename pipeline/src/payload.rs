//! What a source sent, whole, and the records that carry it. A broker takes records of up to 1 MiB, an answer may have
//! twenty: a long one is compressed as a whole, then cut. Invariant: what was split is what is joined, byte for byte, in
//! whatever order the parts come. Must never happen here: memory that a record's claim decides (its number of parts, its
//! size once decompressed).

mod joiner;

use bytes::Bytes;
use uuid::Uuid;

use crate::events::PayloadRecord;
pub use joiner::{JoinError, Joiner};

/// The most bytes of content in a record: half of what a broker takes by default, so that the other fields and the
/// batch's own bytes fit beside it whatever they are.
pub const PART_BYTES: usize = 512 * 1024;
/// The longest payload. A driver reads no more of an answer; a joiner decompresses no further.
pub const MAX_PAYLOAD_BYTES: usize = 20 * 1024 * 1024;
/// Below this, compressing costs more than it saves; most frames are shorter.
const WORTH_COMPRESSING_BYTES: usize = 1024;

pub(crate) const IDENTITY: &str = "identity";
pub(crate) const ZSTD: &str = "zstd";

/// The body of an answer, or one frame of a connection, as it was received.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    pub payload_id: Uuid,
    pub source: String,
    /// Path and query, or what was sent after connecting. Never a secret.
    pub request: String,
    /// HTTP status; `None` for a frame.
    pub status: Option<i32>,
    /// Microseconds UTC.
    pub received_at: i64,
    pub body: Bytes,
}

/// The records of `payload`, in order; at least one, also of an empty body.
#[must_use]
pub fn split(payload: &Payload) -> Vec<PayloadRecord> {
    let (content_encoding, content) = compressed(&payload.body);
    let parts = content.len().div_ceil(PART_BYTES).max(1);
    let part = |number: usize| {
        let from = number * PART_BYTES;
        PayloadRecord {
            payload_id: payload.payload_id,
            source: payload.source.clone(),
            request: payload.request.clone(),
            status: payload.status,
            received_at: payload.received_at,
            content_encoding: content_encoding.to_owned(),
            part: count(number),
            parts: count(parts),
            content: content.slice(from..content.len().min(from + PART_BYTES)),
        }
    };
    (0..parts).map(part).collect()
}

fn compressed(body: &Bytes) -> (&'static str, Bytes) {
    if body.len() > WORTH_COMPRESSING_BYTES
        && let Ok(smaller) = zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL)
        && smaller.len() < body.len()
    {
        return (ZSTD, Bytes::from(smaller));
    }
    (IDENTITY, body.clone())
}

fn count(parts: usize) -> i32 {
    i32::try_from(parts).expect("no body in memory has 2^31 parts of half a megabyte")
}

/// Without the body, which may have twenty megabytes.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload")
            .field("payload_id", &self.payload_id)
            .field("source", &self.source)
            .field("request", &self.request)
            .field("status", &self.status)
            .field("received_at", &self.received_at)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
