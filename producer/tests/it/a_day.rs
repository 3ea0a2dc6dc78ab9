//! A day of polling in a second: every call budget kept, whatever the source answers. The clock is simulated: whoever waits
//! moves it on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pipeline::admin::Health;
use pipeline::codec::{Encoder, Framing};
use pipeline::events::{Gap, GapReason};
use producer::drive::Way;
use producer::drive::backoff::Backoff;
use producer::drive::budget::Plan;
use producer::drive::clock::Clock;
use producer::drive::fetch::{Answer, Fetch, Server};
use producer::drive::poll::{Ask, Polled, Schedule, poll};
use producer::drive::status::Status;
use producer::parse::payload::Payload;
use producer::publish::outbox::{Outbox, Target};
use producer::sources::{Parsed, Source};
use tokio_util::sync::CancellationToken;

use crate::heard;

/// 2026-03-31T06:30:00Z: a day from here has another day and another month in it.
const BEGIN: i64 = 1_774_938_600_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: i64 = 60_000_000;

struct Anything;

impl Source for Anything {
    fn name(&self) -> &'static str {
        "anything"
    }

    fn parse(&self, payload: &Payload<'_>) -> Parsed {
        // The source says what each call cost: three units, whatever we counted.
        let answered = payload.bytes == b"good";
        Parsed { answered, spent: answered.then_some(3), ..Parsed::default() }
    }
}

/// Answers by the dice, and writes down when it was asked.
struct Fate {
    calls: Arc<Mutex<Vec<i64>>>,
    clock: Clock,
    dice: Mutex<fastrand::Rng>,
}

#[async_trait]
impl Fetch for Fate {
    async fn get(&self, _path: &str) -> Result<Answer, String> {
        self.calls.lock().expect("no panic").push(self.clock.now());
        let (roll, pause) = {
            let mut dice = self.dice.lock().expect("no panic");
            (dice.u32(..20), dice.i64(10_000..2_000_000))
        };
        self.clock.sleep(pause).await;
        let answer =
            |status, retry_after, body: &[u8]| Ok(Answer { status, retry_after, body: body.to_vec(), recorded: None });
        match roll {
            0 => Err("connection reset".to_owned()),
            1 => answer(500, None, b"<html>"),
            2 => answer(429, Some(Duration::from_secs(90)), b""),
            3 => answer(429, None, b""),
            4 => answer(200, None, b"nonsense"),
            _ => answer(200, None, b"good"),
        }
    }
}

async fn a_day(plan: &str, interval_seconds: u64, seed: u64) -> (Plan, Vec<i64>, Vec<Gap>) {
    let plan: Plan = plan.parse().expect("a plan");
    let clock = Clock::simulated(BEGIN);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let fate = Fate { calls: calls.clone(), clock: clock.clone(), dice: Mutex::new(fastrand::Rng::with_seed(seed)) };
    let interval = Duration::from_secs(interval_seconds);
    let server = Server { source: "anything", base_url: String::new(), key: None, timeout: DAY };
    let polled = Polled {
        source: Arc::new(Anything),
        server,
        requests: vec![Ask { path: "/one".to_owned(), cost: 1 }, Ask { path: "/two".to_owned(), cost: 1 }],
        asked: Vec::new(),
        schedule: Schedule::Every(interval),
        backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
        stale_after: DAY,
        budget: plan,
        backfill: None,
    };
    let encoder = Arc::new(Encoder::new(Framing::SingleObject).await.expect("an encoder"));
    let (outbox, mut batches) = Outbox::new(encoder);
    let shutdown = CancellationToken::new();
    let way = Way {
        outbox,
        status: Status::new("anything", Health::new()),
        clock: clock.clone(),
        keep_payloads: false,
        state_dir: None,
        predecessor: None,
        shutdown: shutdown.clone(),
    };
    let driver = tokio::spawn(poll(polled, Box::new(fate), way));
    let reader = tokio::spawn(async move {
        let mut gaps = Vec::new();
        while let Some(batch) = batches.recv().await {
            gaps.extend(batch.into_iter().filter(|record| record.target == Target::Gaps).map(|record| record.payload));
        }
        gaps
    });
    while clock.now() < BEGIN + 1_440 * MINUTE {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    driver.await.expect("no panic").expect("an orderly end");
    let gaps = heard::gaps(&reader.await.expect("no panic")).await;
    let mut calls = calls.lock().expect("no panic").clone();
    calls.retain(|call| *call < BEGIN + 1_440 * MINUTE);
    (plan, calls, gaps)
}

/// The most calls in any stretch of this many micros.
fn most_within(calls: &[i64], micros: i64) -> usize {
    calls
        .iter()
        .map(|from| calls.iter().filter(|call| **call >= *from && **call < from + micros).count())
        .max()
        .unwrap_or(0)
}

#[tokio::test]
async fn no_plan_is_overspent_in_a_day_and_none_is_left_unused() {
    for (text, interval, seed) in [
        ("minute=3", 1, 1),
        ("day=500", 10, 2),
        ("month=9000", 30, 3),
        ("minute=5,day=400,month=5000", 5, 4),
        ("minute=30,month=10000", 300, 5),
    ] {
        let (plan, calls, _) = a_day(text, interval, seed).await;
        let mut days: BTreeMap<i64, usize> = BTreeMap::new();
        for call in &calls {
            // 2026-03-31 has 17.5 hours of it.
            *days.entry((call - BEGIN + 390 * MINUTE) / (1_440 * MINUTE)).or_default() += 1;
        }
        let spread = most_within(&calls, 60 * MINUTE);
        eprintln!("{text} every {interval} s: {} calls, by day {days:?}, at most {spread} an hour", calls.len());
        if let Some(most) = plan.minute {
            assert!(most_within(&calls, MINUTE) <= most as usize, "{text}");
        }
        if let Some(most) = plan.day {
            assert!(days.values().all(|count| *count <= most as usize), "{text}: {days:?}");
            // Each good call costs three of the plan's units, which the source says and we believe.
            assert!(days.values().all(|count| count * 2 <= most as usize), "{text}: {days:?}");
            assert!(spread * 6 <= most as usize, "{text}: {spread} calls in one hour are not spread over a day");
        }
        if let Some(most) = plan.month {
            assert!(days.values().all(|count| *count <= most as usize), "{text}: {days:?}");
        }
        assert!(calls.len() > 50, "{text}: only {} calls", calls.len());
    }
}

#[tokio::test]
async fn what_the_budget_leaves_out_is_a_gap() {
    // A poll a minute was asked for, and the plan has less than one an hour.
    let (_, calls, gaps) = a_day("day=60", 60, 6).await;
    let waited: Vec<&Gap> = gaps.iter().filter(|gap| gap.detail.contains("allows no call")).collect();
    assert!(waited.iter().all(|gap| gap.reason == GapReason::RateLimited), "{waited:?}");
    let closed = waited.iter().filter(|gap| gap.ended_at.is_some()).count();
    assert!(
        closed >= 5 && waited.len() == 2 * closed,
        "{closed} of {} are closed, of {} calls",
        waited.len(),
        calls.len()
    );
}
