//! Frames that went wrong on the way, for the tests of the parsers.

use proptest::prelude::*;

/// Where, which byte, and whether it is put there, put in, taken out, or the end.
pub type Mutation = (prop::sample::Index, u8, u8);

pub fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..12)
}

pub fn mutated(frame: &str, mutations: Vec<Mutation>) -> Vec<u8> {
    let mut frame = frame.as_bytes().to_vec();
    for (at, byte, how) in mutations {
        if frame.is_empty() {
            break;
        }
        let at = at.index(frame.len());
        match how {
            0 => frame[at] = byte,
            1 => {
                frame.remove(at);
            }
            2 => frame.insert(at, byte),
            _ => frame.truncate(at),
        }
    }
    frame
}
