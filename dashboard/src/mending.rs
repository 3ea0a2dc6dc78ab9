//! Candles that a correction has spoilt in memory are read again, in the background, from the database where one is named, else
//! from the topic, and shown to whoever watches them. Until then they are told as not complete. It rests for as long as it works,
//! and a bucket that cannot be had is left for a while. Must never happen here: a candle that is told as complete and is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::history::{Again, History};
use crate::serve::Hub;
use crate::state::Spoilt;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A store that is behind, or memory that has changed meanwhile.
const SOON: Duration = Duration::from_secs(2);
/// A store that does not answer.
const OUTAGE: Duration = Duration::from_secs(30);
/// What the store does not have: it may yet be restored.
const LATER: Duration = Duration::from_secs(600);
/// Buckets that are left for a while; of more than these all are tried again.
const MOST_LEFT: usize = 100_000;
/// Rests so many times as long as it has worked.
const REST: u32 = 2;

/// Until `shutdown`.
pub async fn run(hub: Arc<Hub>, history: History, shutdown: CancellationToken) {
    let mut left: HashMap<Spoilt, Instant> = HashMap::new();
    let mut first_topic: Option<String> = None;
    let mut pause = LOOK_EVERY;
    while shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pause = LOOK_EVERY;
        let begun = Instant::now();
        left.retain(|_, until| *until > begun);
        let (spoilt, read) = hub.spoilt(history.at_once(), |spoilt| !left.contains_key(spoilt));
        if spoilt.is_empty() {
            continue;
        }
        let is_remade = *first_topic.get_or_insert_with(|| read.topic.clone()) != read.topic;
        let reading = Box::pin(history.again(spoilt, read.clone(), is_remade));
        let Some(read_again) = shutdown.run_until_cancelled(reading).await else { return };
        let Ok(all) = read_again else {
            // The reason is in the log.
            pause = OUTAGE;
            continue;
        };
        let mut taken = 0;
        for (spoilt, again) in all {
            let patience = match again {
                Again::Found(reread) if hub.replace(&spoilt, &reread, &read) => {
                    taken += 1;
                    continue;
                }
                Again::Found(_) | Again::NotYet => SOON,
                Again::OutOfReach => LATER,
            };
            left.insert(spoilt, Instant::now() + patience);
        }
        if left.len() > MOST_LEFT {
            left.clear();
        }
        if taken > 0 {
            metrics::counter!("tickstream_dashboard_candles_mended_total").increment(taken);
            tracing::info!(candles = taken, "read {taken} candles again that a late correction had spoilt");
        }
        pause = pause.max(begun.elapsed() * REST);
    }
}
