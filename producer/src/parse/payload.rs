//! What came from a source, as it came: a body or a frame, when it was received and what it answers. A parser sees nothing
//! else, so that the same payload gives the same ticks today, tomorrow and from the lake.

use twox_hash::XxHash3_128;
use uuid::{Builder, Uuid};

/// One body or frame.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// Names it: the same bytes received at the same time from the same source have the same id.
    pub id: Uuid,
    pub bytes: &'a [u8],
    /// Micros UTC.
    pub received_at: i64,
    /// What was asked, without secrets: the path and query of a request; for a frame what was sent after connecting, a
    /// message a line. Empty when it is not known.
    pub request: &'a str,
}

impl<'a> Payload<'a> {
    #[must_use]
    pub fn new(source: &str, bytes: &'a [u8], received_at: i64, request: &'a str) -> Self {
        Self { id: payload_id(source, received_at, bytes), bytes, received_at, request }
    }
}

/// A UUIDv8 of XXH3-128 over the source (as seed), the time of receipt and the bytes. It names, and secures nothing.
fn payload_id(source: &str, received_at: i64, bytes: &[u8]) -> Uuid {
    let seed = source
        .bytes()
        .fold(received_at as u64, |seed, byte| seed.rotate_left(5).wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    Builder::from_custom_bytes(XxHash3_128::oneshot_with_seed(seed, bytes).to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_source_time_and_bytes() {
        let id = |source, bytes: &[u8], at| Payload::new(source, bytes, at, "").id;
        let one = id("kraken", b"{}", 1);
        assert_eq!(one, id("kraken", b"{}", 1));
        assert_eq!(one.get_version_num(), 8);
        for other in [id("okx", b"{}", 1), id("kraken", b"{ }", 1), id("kraken", b"{}", 2)] {
            assert_ne!(one, other);
        }
        assert_eq!(one.to_string(), "c7c2eb4e-20da-891b-b652-7105265277ca", "ids in the log never change");
    }
}
