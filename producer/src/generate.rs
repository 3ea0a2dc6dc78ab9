//! The one driver of sources that are made here: paces a generator by the clock. It waits for the publisher like any other
//! source, and what it could not make in time it does not make up for later in one burst.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;
use crate::sources::simulated::{Market, SOURCE};
use crate::status::{Status, now_micros};

/// Trades that are handed over at once.
const BATCH: u64 = 1_000;
const TURN: Duration = Duration::from_millis(10);
/// A generator that is further behind than this starts counting anew.
const MOST_BEHIND: Duration = Duration::from_secs(1);
/// More trades a second than any machine makes.
const UNLIMITED: u64 = 10_000_000;

/// Makes `rate` trades a second (0: as fast as they are taken) until `shutdown`, or until `limit` are made.
///
/// # Errors
/// When the publisher has ended.
pub async fn generate(
    mut market: Market,
    rate: u64,
    limit: Option<u64>,
    outbox: Outbox,
    status: Status,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let rate = if rate == 0 { UNLIMITED } else { rate };
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut since, mut made_since, mut made) = (Instant::now(), 0_u64, 0_u64);
    while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
        let left = limit.map_or(u64::MAX, |limit| limit - made);
        if left == 0 {
            return Ok(());
        }
        let due = (since.elapsed().as_micros() * u128::from(rate) / 1_000_000) as u64;
        let mut behind = due.saturating_sub(made_since).min(left);
        while behind > 0 && !shutdown.is_cancelled() {
            let count = behind.min(BATCH);
            let ticks = market.trades(count as usize, now_micros());
            status.answered(now_micros());
            outbox.ticks(SOURCE, &ticks).await?;
            (behind, made, made_since) = (behind - count, made + count, made_since + count);
        }
        let owed = (since.elapsed().as_micros() * u128::from(rate) / 1_000_000) as u64;
        if owed.saturating_sub(made_since) > (MOST_BEHIND.as_secs() * rate).max(1) {
            (since, made_since) = (Instant::now(), 0);
        }
    }
    Ok(())
}
