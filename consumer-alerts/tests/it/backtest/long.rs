//! A long lake: memory does not grow with the range. 40,000 ticks in 200 objects in `make test`; with
//! TICKSTREAM_BACKTEST=2000000 as many, in 1,000 objects, and the rate is of interest.

use std::time::Instant;

use pipeline::events::{PriceTick, event_id};
use pipeline::example;

use super::at_ms;
use super::room::Room;

const SYMBOLS: usize = 40;
const PARTITIONS: usize = 4;
const A_SECOND: usize = 20;

fn tick(i: usize, random: &mut fastrand::Rng) -> (i64, PriceTick) {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
    let at = at_ms(i as f64 / A_SECOND as f64);
    let symbol = format!("S{}-USD", i % SYMBOLS);
    let jump = if random.u32(..5000) == 0 { 200 } else { 0 };
    let tick = PriceTick {
        event_id: event_id("coinbase", "long", &symbol, &i.to_string()),
        price: format!("{}.{:02}", 1000 + jump + random.u32(..3), random.u32(..100)).parse().expect("a decimal"),
        event_time: at * 1000,
        received_at: at * 1000,
        symbol,
        ..example::tick()
    };
    (at, tick)
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_range() {
    let whole = std::env::var("TICKSTREAM_BACKTEST").ok().and_then(|text| text.parse().ok());
    let (count, objects) = whole.map_or((40_000, 200), |count: usize| (count, 1000));
    let room = Room::new(i32::try_from(PARTITIONS).expect("few"), include_str!("../../../rules/default.toml")).await;
    let mut random = fastrand::Rng::with_seed(9);
    let rows = count / objects;
    let mut next = [0; PARTITIONS];
    // Each partition has its symbols' ticks, and an object reaches as far in time as those of the others beside it.
    for from in (0..count).step_by(rows * PARTITIONS) {
        let mut parts: [Vec<(i64, PriceTick)>; PARTITIONS] = Default::default();
        for i in from..count.min(from + rows * PARTITIONS) {
            parts[i % PARTITIONS].push(tick(i, &mut random));
        }
        for (partition, ticks) in parts.iter().enumerate().filter(|(_, ticks)| !ticks.is_empty()) {
            room.put_ticks(i32::try_from(partition).expect("few"), next[partition], ticks).await;
            next[partition] += ticks.len() as i64;
        }
    }
    let end = |of: usize| super::at((count / of / A_SECOND) as f64);
    let begin = super::at(0.0);
    let mut peaks = Vec::new();
    for end in [end(10), end(1)] {
        let begun = Instant::now();
        let (peak, answer) = room.peak(&["--source", "lake", "--from", &begin, "--to", &end, "-o", "json"]).await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let told = answer.stdout.lines().count();
        println!("{} in {:.1?}, {told} alerts, {peak} MiB", answer.read(), begun.elapsed());
        peaks.push(peak);
    }
    assert!(peaks[1] < 2 * peaks[0].max(32), "{peaks:?} MiB for a tenth and for all of it");
}
