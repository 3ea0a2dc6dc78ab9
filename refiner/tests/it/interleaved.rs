//! Two refiners while bronze is made again by a newer decoder: nothing older ever stands over something newer.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc;

use jiff::civil::date;
use pipeline::store::Condition;
use refiner::objects::Objects;
use refiner::refiner::Mode;
use refiner::tables::Group;
use stack::Stack;

use crate::bronze::{HOUR, Lake, MONDAY, refine, store_at, trade};
use crate::fault_store::{Fault, FaultStore, when};

/// Bronze as decoder version 1 made it, with a tick at five; what its raw object holds is one at midnight.
async fn of_an_older_decoder(stack: &Stack, lake: &Lake, prefix: &str) -> String {
    let key = lake.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "1", MONDAY)]).await;
    let other = Lake::new(stack, &format!("{prefix}-other")).await;
    let wrong = other.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "9", MONDAY + 5 * HOUR)]).await;
    let wrong = other.store.get(&wrong).await.expect("a store").expect("there");
    let head = lake.store.head(&key).await.expect("a store").expect("there");
    let old = [("tickstream-decoder-version".to_owned(), "1".to_owned())].into_iter().collect();
    lake.store.put(&key, wrong.bytes, old, Condition::IfMatch(&head.etag)).await.expect("replaced");
    key
}

pub fn decode_again(stack: &Stack, prefix: &str) {
    let args = ["rebuild", "--from", "2026-03-02", "--to", "2026-03-02", "--layer", "bronze"];
    let status = Command::new(env!("CARGO_BIN_EXE_refiner"))
        .args(args)
        .envs(stack.env())
        .env("S3_PREFIX", prefix)
        .env("RUST_LOG", "warn")
        .status();
    assert!(status.expect("ended").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_is_not_put_over_what_was_read_later() {
    let stack = stack::shared().await;
    let lake = Lake::new(stack, "refine-older").await;
    let key = of_an_older_decoder(stack, &lake, "refine-older").await;
    let (slow, quick) = (lake.refiner().await, lake.refiner().await);
    let group = Group::hour(date(2026, 3, 2), 5);
    let older = BTreeMap::from([(key.clone(), lake.etags("bronze/ticks/").await.get(&key).cloned())]);
    slow.refresh(&group, &older, Mode::WhereTouched).await.expect("made");
    assert_eq!(lake.partition("silver/ticks/dt=2026-03-02/hour=05").await.len(), 1);
    decode_again(stack, "refine-older");
    let newer = BTreeMap::from([(key.clone(), lake.etags("bronze/ticks/").await.get(&key).cloned())]);
    assert_ne!(older, newer);
    quick.refresh(&group, &newer, Mode::WhereTouched).await.expect("made");
    assert!(lake.partition("silver/ticks/dt=2026-03-02/hour=05").await.is_empty());
    slow.refresh(&group, &older, Mode::WhereTouched).await.expect("made");
    assert!(lake.partition("silver/ticks/dt=2026-03-02/hour=05").await.is_empty(), "the older row is back");
}

/// The other one takes up the note before anything lists the old bronze, and closes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_hour_that_is_written_after_the_note_was_closed_is_made_again() {
    let stack = stack::shared().await;
    let faults = FaultStore::start(stack).await;
    let lake = Lake::new(stack, "refine-overtaken").await;
    of_an_older_decoder(stack, &lake, "refine-overtaken").await;
    let slow = lake.refiner_over(Objects::new(store_at(stack, &faults.url, "refine-overtaken").await)).await;
    let (reached, is_reached) = mpsc::channel::<()>();
    let (go, may_go) = mpsc::channel::<()>();
    let waits = move |request: &crate::fault_store::Request| {
        if request.puts("silver/ticks/dt=2026-03-02/hour=05") {
            reached.send(()).expect("the test waits");
            may_go.recv().unwrap_or_default();
        }
        false
    };
    faults.set([when(waits, Fault::AnswerLost)]);
    let working = tokio::spawn(async move { refine(&slow).await });
    tokio::task::spawn_blocking(move || is_reached.recv()).await.expect("no panic").expect("the PUT is under way");
    decode_again(stack, "refine-overtaken");
    let quick = lake.refiner().await;
    refine(&quick).await;
    assert!(lake.etags("bronze/_notes/").await.is_empty(), "the note is closed");
    drop(go);
    working.await.expect("no panic");
    refine(&quick).await;
    let five = "silver/ticks/dt=2026-03-02/hour=05";
    assert!(lake.partition(five).await.is_empty(), "a row that no bronze has any more");
    assert_eq!(lake.partition("silver/ticks/dt=2026-03-02/hour=00").await[0]["price"], "1.000000000000000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_that_was_deleted_leaves_a_note_too_when_it_is_made_again() {
    let stack = stack::shared().await;
    let lake = Lake::new(stack, "refine-deleted").await;
    let key = of_an_older_decoder(stack, &lake, "refine-deleted").await;
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    assert_eq!(lake.partition("silver/ticks/dt=2026-03-02/hour=05").await.len(), 1);
    lake.store.delete(&key).await.expect("deleted");
    decode_again(stack, "refine-deleted");
    refine(&refiner).await;
    assert!(lake.partition("silver/ticks/dt=2026-03-02/hour=05").await.is_empty(), "a row of the older decoder");
    assert_eq!(lake.partition("silver/ticks/dt=2026-03-02/hour=00").await[0]["price"], "1.000000000000000000");
    assert!(lake.etags("bronze/_notes/").await.is_empty(), "the note is closed");
}
