//! A burst: far more frames at once than anything takes up in time. All of them arrive, in order, and nothing piles up. It
//! runs in a process of its own, whose memory is its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::admin::Health;
use pipeline::codec::{Encoder, Framing};
use producer::drive::Way;
use producer::drive::clock::Clock;
use producer::drive::feed::WebSocket;
use producer::drive::socket::listen;
use producer::drive::status::Status;
use producer::publish::outbox::{Outbox, Target};
use tokio_util::sync::CancellationToken;

use super::sources::PUSHED;
use crate::alone::{Alone, most_memory};
use crate::fake_ws::{FakeWs, Step};
use crate::heard;

/// A million with TICKSTREAM_BURST=1000000.
const FRAMES: u64 = 200_000;
/// All that may be held at once: the sockets' buffers, a turn, and the outbox.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

fn frames() -> u64 {
    std::env::var("TICKSTREAM_BURST").map_or(FRAMES, |frames| frames.parse().expect("a number of frames"))
}

#[test]
fn a_burst_arrives_whole_in_order_and_in_little_memory() {
    Alone::run("faults::burst::alone", &[]).expect_success();
}

/// What runs there.
#[test]
fn alone() {
    if !Alone::is_here("faults::burst::alone") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(burst(frames()));
}

async fn burst(frames: u64) {
    let source = &PUSHED[0];
    let frame = |id: u64| (PUSHED[0].trade)(0, id, "\"1.5\"", 1_772_600_767_000_000);
    let script = vec![Step::Unasked, Step::Burst(frames, frame), Step::Silence];
    let fake = FakeWs::start(vec![script]).await;
    let socketed = source.socketed(&fake.url);
    let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
    let (outbox, mut batches) = Outbox::new(Arc::new(encoder));
    let shutdown = CancellationToken::new();
    let way = Way {
        outbox,
        status: Status::new("binance", Health::new()),
        clock: Clock::Wall,
        keep_payloads: true,
        state_dir: None,
        predecessor: None,
        shutdown: shutdown.clone(),
    };
    let feed = Box::new(WebSocket { url: socketed.url.clone() });
    let before = most_memory();
    let began = Instant::now();
    let driver = tokio::spawn(listen(socketed, feed, way));
    let (mut next, mut payloads) = (1_u64, 0_u64);
    while next <= frames {
        let batch = batches.recv().await.expect("the driver runs");
        if next == 1 {
            // A publisher that begins late: by now everything is full that can be.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        match batch[0].target {
            Target::Payloads => payloads += batch.len() as u64,
            Target::Ticks => {
                let values: Vec<Vec<u8>> = batch.into_iter().map(|record| record.payload).collect();
                for tick in heard::ticks(&values).await {
                    assert_eq!(tick.trade_id, Some(next.to_string()), "in order, each once");
                    next += 1;
                }
            }
            other => panic!("{other:?} in a burst without a fault"),
        }
    }
    let (took, grown) = (began.elapsed(), most_memory() - before);
    shutdown.cancel();
    while batches.recv().await.is_some() {}
    driver.await.expect("no panic").expect("an orderly end");
    assert_eq!(payloads, frames, "each frame is kept");
    assert_eq!(fake.connections(), 1);
    eprintln!("{frames} frames in {took:.1?}, with {} MiB more memory at most", grown / 1024 / 1024);
    assert!(grown < MOST_BYTES, "{grown} bytes more than before");
}
