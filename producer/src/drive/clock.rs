//! What time it is, and waiting. The polling driver asks here and nowhere else, so that a test can run a day of it in a
//! second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Now, in micros UTC.
#[must_use]
pub fn now_micros() -> i64 {
    Timestamp::now().as_microsecond()
}

#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's, which steps when it is set.
    Wall,
    /// One that stands still but for those who wait by it: waiting moves it on. For one driver at a time.
    Simulated(Arc<AtomicI64>),
}

impl Clock {
    /// A simulated clock that stands at `now`, micros UTC.
    #[must_use]
    pub fn simulated(now: i64) -> Self {
        Self::Simulated(Arc::new(AtomicI64::new(now)))
    }

    /// Micros UTC.
    #[must_use]
    pub fn now(&self) -> i64 {
        match self {
            Self::Wall => now_micros(),
            Self::Simulated(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Waits for so many micros; not at all for a number below zero.
    pub async fn sleep(&self, micros: i64) {
        match self {
            Self::Wall => tokio::time::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(0))).await,
            Self::Simulated(now) => {
                now.fetch_add(micros.max(0), Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    }
}
