//! A brake on guessing: an address that has told so many wrong secrets waits a while, and until then nothing that it tells is
//! looked at. Memory is bounded: where too many addresses guess, the oldest guesses are forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::serve::limits::counted;

/// Whoever types is wrong less often.
const WRONG: u32 = 10;
const WAIT: Duration = Duration::from_secs(60);
const MOST_ADDRESSES: usize = 10_000;

#[derive(Clone, Copy, Debug)]
struct Guesses {
    wrong: u32,
    since: Instant,
}

#[derive(Default)]
pub struct Brake(Mutex<HashMap<IpAddr, Guesses>>);

impl Brake {
    /// Whether what this address tells is looked at.
    pub fn is_free(&self, address: IpAddr, now: Instant) -> bool {
        let guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guesses
            .get(&counted(address))
            .is_none_or(|known| known.wrong < WRONG || now.duration_since(known.since) >= WAIT)
    }

    /// It told a wrong secret.
    pub fn wrong(&self, address: IpAddr, now: Instant) {
        let mut guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guesses.len() >= MOST_ADDRESSES {
            guesses.retain(|_, known| now.duration_since(known.since) < WAIT);
        }
        if guesses.len() >= MOST_ADDRESSES {
            guesses.clear();
        }
        let known = guesses.entry(counted(address)).or_insert(Guesses { wrong: 0, since: now });
        if now.duration_since(known.since) >= WAIT {
            *known = Guesses { wrong: 0, since: now };
        }
        known.wrong += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_waits_and_others_do_not() {
        let (brake, start) = (Brake::default(), Instant::now());
        let address = |last| IpAddr::from([10, 0, 0, last]);
        for _ in 0..WRONG {
            assert!(brake.is_free(address(1), start));
            brake.wrong(address(1), start);
        }
        assert!(!brake.is_free(address(1), start + WAIT / 2));
        assert!(brake.is_free(address(2), start));
        let later = start + WAIT;
        assert!(brake.is_free(address(1), later), "after a while it may try again");
        brake.wrong(address(1), later);
        assert!(brake.is_free(address(1), later), "and is counted anew");
    }

    #[test]
    fn memory_is_bounded() {
        let (brake, now) = (Brake::default(), Instant::now());
        for number in 0..10_010_u32 {
            brake.wrong(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(brake.0.lock().expect("not poisoned").len() <= MOST_ADDRESSES);
    }
}
