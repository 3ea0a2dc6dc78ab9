//! `--until-caught-up`: the run that cron starts.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use stack::{Options, Stack};

use crate::broker;
use crate::database::TestDatabase;
use crate::service::{command, values};

const PATIENCE: Duration = Duration::from_secs(60);

fn bounded(database: &TestDatabase) -> Command {
    let mut command = command(&database.url, &database.kafka.kafka_bootstrap_servers);
    // A killed member is missed soon, and there are many transactions to be killed between.
    command
        .args(["run", "--until-caught-up"])
        .env("KAFKA_PROPERTIES", "session.timeout.ms=6000")
        .env("DB_MAX_ROWS", "200");
    command
}

/// The line of counts of a run to its end.
fn run(database: &TestDatabase) -> String {
    let Output { status, stderr, .. } = bounded(database).output().expect("ran");
    let stderr = String::from_utf8(stderr).expect("text");
    assert!(status.success(), "{stderr}");
    let counts: Vec<&str> =
        stderr.lines().filter_map(|line| line.split_once("caught up: ")).map(|(_, text)| text).collect();
    assert_eq!(counts.len(), 1, "{stderr}");
    counts[0].split(" records=").next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_writes_what_there_is_and_after_a_kill_the_next_one_does_the_rest() {
    let stack = Stack::start(Options { fsync: false, ..Options::default() }).await.expect("a stack of its own");
    let database = TestDatabase::on(&stack).await;
    broker::create_topics(&database.kafka).await;
    assert_eq!(run(&database), "0 records of 8 partitions written, 0 of them dead letters");

    let mut records = values(0, 20_000).await;
    records.insert(700, b"garbage".to_vec());
    broker::send(&database.kafka, &records);
    let rows = async || database.value("select count(*)::text from ticks").await.parse::<usize>().expect("a number");
    let mut killed = bounded(&database).spawn().expect("started");
    let deadline = Instant::now() + PATIENCE;
    while rows().await < 2000 {
        assert!(Instant::now() < deadline, "nothing is written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    killed.kill().expect("killed");
    drop(killed.wait());
    let before = rows().await;
    assert!(before < 20_000, "it was killed in the middle");

    let counts = run(&database);
    let (written, rest) = counts.split_once(' ').expect("a number first");
    let written: usize = written.parse().expect("a number");
    assert!(rest.starts_with("records of 8 partitions written, ") && written >= 20_000 - before, "{counts}");
    assert_eq!(rows().await, 20_000);
    let letters = broker::dead_letters(&database.kafka);
    assert!(!letters.is_empty() && letters.iter().all(|(value, _)| value == b"garbage"), "{letters:?}");
    assert_eq!(run(&database), "0 records of 8 partitions written, 0 of them dead letters", "all is committed");
    drop(stack.stop().await);
}
