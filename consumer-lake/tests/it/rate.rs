//! How fast raw and bronze are written, and in how much memory: a smoke run here, `TICKSTREAM_TICKS=1000000` for figures.

use std::time::Instant;

use pipeline::codec::{Encoder, Framing};
use pipeline::events::PriceTick;
use pipeline::example;
use pipeline::topics;
use uuid::Uuid;

use crate::broker::Broker;
use crate::lake::Lake;
use crate::service::{Service, command, wait_for};

const PARTITIONS: i32 = 4;
const MOST_MEGABYTES: u64 = 150;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_written_in_little_memory() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "rate"), topics::TICKS, "rate");
    broker.create(topic, PARTITIONS).await;
    let ticks = std::env::var("TICKSTREAM_TICKS").ok().and_then(|ticks| ticks.parse().ok()).unwrap_or(100_000usize);
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    let mut rng = fastrand::Rng::with_seed(1);
    let values: Vec<Vec<u8>> = (0..ticks as i64).map(|number| encoder.tick(&tick(number, &mut rng))).collect();
    let bytes: usize = values.iter().map(Vec::len).sum();
    broker.send(topic, 4, &values);

    let service = Service::start(
        command(stack, &lake, topic, group)
            .env("LAKE_MAX_AGE_MS", "5000")
            .args(["--max-rows", &(ticks / 40).clamp(1000, 100_000).to_string()]),
    );
    service.wait_ready();
    let begun = Instant::now();
    let each = ticks as i64 / i64::from(PARTITIONS);
    let end = |partition| broker.committed(group, topic, partition).is_some_and(|(offset, _)| offset == each);
    // Until the last object of each partition has begun: that one waits for its age.
    let begun_last = || (0..PARTITIONS).map(|partition| lake.last_start(topic, partition)).sum::<i64>();
    wait_for("most of it", || begun_last() >= ticks as i64 * 8 / 10);
    let (seconds, most) = (begun.elapsed().as_secs_f64(), begun_last());
    wait_for("all of it", || (0..PARTITIONS).all(end));
    let megabytes = service.peak_megabytes();
    service.terminate();
    println!(
        "{most} of {ticks} ticks of {} bytes in {seconds:.2} s: {:.0} a second; peak {megabytes} MB",
        bytes / ticks,
        most as f64 / seconds,
    );
    let rows: usize =
        (0..PARTITIONS).flat_map(|partition| lake.bronze("ticks", topic, partition)).map(|(rows, _)| rows).sum();
    assert_eq!(rows, ticks);
    assert!(megabytes < MOST_MEGABYTES, "{megabytes} MB");
}

fn tick(number: i64, rng: &mut fastrand::Rng) -> PriceTick {
    let price = format!("{}.{:08}", rng.u32(60_000..70_000), rng.u32(0..100_000_000));
    PriceTick {
        event_id: Uuid::from_u128(rng.u128(..)),
        price: price.parse().expect("a decimal"),
        quantity: Some(format!("0.{:08}", rng.u32(0..100_000_000)).parse().expect("a decimal")),
        event_time: 1_700_000_000_000_000 + number * 1000,
        received_at: 1_700_000_000_050_000 + number * 1000,
        sequence: Some(number),
        trade_id: Some(number.to_string()),
        payload_id: Uuid::from_u128(rng.u128(..)),
        ..example::tick()
    }
}
