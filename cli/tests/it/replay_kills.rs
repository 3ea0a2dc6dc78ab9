//! `replay promote` and `rollback` killed anywhere, while ticks arrive and every service is at work: the same command again
//! brings it to its end, and there is no state but the two. TICKSTREAM_REPLAY_KILLS says how many; unset, as many as half a
//! minute has.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::stretches::{self, Stretch};
use pipeline::topics::TICKS;
use rdkafka::consumer::{BaseConsumer, Consumer};
use uuid::Uuid;

use crate::replay_installation::{Installation, expected, ids};

const NAME: &str = "fix";
const TENS: u32 = 20;
/// Unless a number is asked for.
const LONG_ENOUGH: Duration = Duration::from_secs(30);
const AT_LEAST: usize = 6;
/// So many end by waiting for the lake, and are audited.
const WAITS: usize = 5;

/// Starts it and kills it after a while; says whether it was killed.
pub fn start_and_kill(installation: &Installation, arguments: &[&str], after: Duration) -> bool {
    let mut command = installation.command(arguments);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    std::thread::sleep(after);
    running.kill().expect("killed");
    running.wait().expect("a child").code().is_none()
}

/// Up to `most`.
pub fn by_chance(most: Duration) -> Duration {
    let part = (Uuid::new_v4().as_u128() >> 96) as u32;
    most.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

/// How many records were published by promotions and by rollbacks, as readers of committed records see it.
async fn published(installation: &Installation) -> [usize; 2] {
    let consumer: BaseConsumer = installation.args.consumer(None).create().expect("consumer");
    let metadata = consumer.fetch_metadata(Some(TICKS), Duration::from_secs(10)).expect("metadata");
    let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
    let stretches: Vec<Stretch> = partitions
        .map(|partition| {
            let (start, end) =
                consumer.fetch_watermarks(TICKS, partition, Duration::from_secs(10)).expect("watermarks");
            Stretch { partition, start, end }
        })
        .collect();
    let mut counts = [0; 2];
    stretches::read(&installation.args, TICKS, &stretches, "", async |_, records| {
        for row in 0..records.len() {
            for (key, value) in records.headers(row) {
                if key == "tickstream-replay" {
                    let value = String::from_utf8(value.unwrap_or_default()).expect("text");
                    counts[usize::from(value.ends_with(":rolled-back"))] += 1;
                }
            }
        }
        Ok(())
    })
    .await
    .expect("read");
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_is_finished_or_undone_and_there_is_no_third_state() {
    let asked: Option<usize> =
        std::env::var("TICKSTREAM_REPLAY_KILLS").ok().map(|count| count.parse().expect("a number of kills"));
    let installation = Arc::new(Installation::start("replay-kills").await);
    let (wrong, span) = installation.wrong_trades(1, TENS).await;
    let (ids, [before, right, back]) = (ids(&wrong), expected(&wrong));
    installation.wait_for("what was published is in Postgres", async || installation.shown(&ids).await == before).await;
    installation.generation(NAME, &span).await;
    let changes = right.iter().filter(|(id, shown)| before.get(*id) != Some(*shown)).count();
    let live = installation.live();

    // How long one takes, from a first pair that nobody kills.
    let begun = Instant::now();
    installation.ends(0, &["replay", "promote", NAME, "--no-wait"]).await;
    let most = begun.elapsed() + begun.elapsed() / 4;
    installation.ends(0, &["replay", "rollback", NAME, "--no-wait"]).await;

    let (begun, mut kills, mut switches) = (Instant::now(), 0, 1);
    let enough = |kills: usize| match asked {
        Some(asked) => kills >= asked,
        None => kills >= AT_LEAST && begun.elapsed() >= LONG_ENOUGH,
    };
    while !enough(kills) {
        for (step, shows) in [("promote", &right), ("rollback", &back)] {
            let waits = kills % WAITS == WAITS - 1;
            let more: &[&str] = if waits { &[] } else { &["--no-wait"] };
            let command = [&["replay", step, NAME], more].concat();
            let after = by_chance(most);
            let killed = tokio::task::block_in_place(|| start_and_kill(&installation, &command, after));
            kills += usize::from(killed);
            // All of a commit's corrections are in the topic, or none.
            let counts = published(&installation).await;
            assert!(counts.iter().all(|count| count % changes == 0), "{counts:?} of {changes}, killed after {after:?}");
            installation.ends(0, &command).await;
            installation
                .wait_for("Postgres shows what was switched", async || installation.shown(&ids).await == *shows)
                .await;
            if waits {
                installation.audit_is_clean().await;
            }
        }
        switches += 1;
    }
    let sent = live.end().await;
    installation.ends(0, &["replay", "promote", NAME]).await;
    installation.audit_is_clean().await;
    assert_eq!(installation.shown(&ids).await, right);
    assert_eq!(published(&installation).await, [changes * (switches + 1), changes * switches], "each once");
    let arrived = installation.checksum("source = 'live'").await;
    assert_eq!(arrived.split(' ').next(), Some(&*sent.to_string()), "no live tick is lost");
    eprintln!("{kills} kills, {switches} times there and back, {changes} corrections each");
}
