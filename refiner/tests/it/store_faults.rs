//! A store that fails in between: nothing is forgotten, and what is said is the store's own reason.

use std::process::Command;
use std::sync::Arc;

use pipeline::events::IndexWeight;
use pipeline::example;
use refiner::objects::Objects;
use refiner::refiner::Refiner;
use refiner::run::run;
use stack::Stack;
use uuid::Uuid;

use crate::bronze::{Lake, MONDAY, SECOND, refine, store_at, trade};
use crate::fault_store::{Fault, FaultStore, when};

const PAPERS: [&str; 3] = ["AAAA3", "BBBB3", "CCCC3"];

async fn through(stack: &Stack, faults: &FaultStore, lake: &Lake, prefix: &str) -> Arc<Refiner> {
    lake.refiner_over(Objects::new(store_at(stack, &faults.url, prefix).await)).await
}

fn portfolio() -> Vec<IndexWeight> {
    let weight = |(number, code): (usize, &&str)| IndexWeight {
        event_id: Uuid::from_u128(number as u128),
        code: (*code).to_owned(),
        ..example::index_weight()
    };
    PAPERS.iter().enumerate().map(weight).collect()
}

async fn papers(lake: &Lake) -> Vec<String> {
    let keys = lake.etags("silver/index_weights/").await.into_keys();
    keys.filter_map(|key| Some(key.split("action=").nth(1)?.split('/').next()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portfolio_that_was_half_written_becomes_whole() {
    let stack = stack::shared().await;
    let faults = FaultStore::start(stack).await;
    let lake = Lake::new(stack, "refine-half").await;
    let at = example::index_weight().received_at + SECOND;
    lake.weights(at, &portfolio()).await;
    let refiner = through(stack, &faults, &lake, "refine-half").await;
    let later = |key: &str| PAPERS[1..].iter().any(|code| key.contains(&format!("action={code}/")));
    faults.set([when(
        move |request| request.puts("index_weights") && later(&request.key),
        Fault::Refused(503, "SlowDown"),
    )]);
    let report = run(&refiner, |_, _| true).await.expect("a run");
    assert_eq!(papers(&lake).await, &PAPERS[..1]);
    assert_eq!(report.failed.len(), 1, "what is not written is not done");
    faults.lift();
    refine(&refiner).await;
    assert_eq!(papers(&lake).await, PAPERS);

    // Killed after the first PUT, before its state was stored; another goes on.
    let killed = Lake::new(stack, "refine-half-killed").await;
    killed.weights(at, &portfolio()).await;
    let first =
        format!("silver/index_weights/pregao_date={}/action=AAAA3/part.parquet", example::index_weight().pregao_date);
    let object = lake.store.get(&first).await.expect("a store").expect("there");
    let refiner = killed.refiner().await;
    refine(&refiner).await;
    for code in &PAPERS[1..] {
        killed.store.delete(&first.replace("AAAA3", code)).await.expect("deleted");
    }
    killed.store.delete("silver/_refiner/state.json").await.expect("deleted");
    assert_eq!(killed.store.head(&first).await.expect("a store").expect("there").size, object.head.size);
    refine(&killed.refiner().await).await;
    assert_eq!(papers(&killed).await, PAPERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_is_quoted_and_a_lost_answer_costs_nothing() {
    let stack = stack::shared().await;
    let faults = FaultStore::start(stack).await;
    let lake = Lake::new(stack, "refine-refused").await;
    lake.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "1", MONDAY)]).await;
    let refiner = through(stack, &faults, &lake, "refine-refused").await;
    faults.set([when(|request| request.puts("silver/ticks"), Fault::Refused(403, "AccessDenied"))]);
    let report = run(&refiner, |_, _| true).await.expect("a run");
    let error = format!("{:#}", report.failed[0].1);
    assert!(error.contains("403 AccessDenied"), "{error}");

    faults.set([when(|request| request.puts("silver/ticks") && !request.written, Fault::AnswerLost)]);
    let report = refine(&refiner).await;
    assert_eq!(faults.hits(), 1);
    let key = "silver/ticks/dt=2026-03-02/hour=00/part.parquet";
    assert!(report.done.written.iter().any(|written| written == key), "{report:?}");
    assert_eq!(lake.rows(key).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bronze_is_made_of_raw_bytes_that_were_not_written() {
    let stack = stack::shared().await;
    let faults = FaultStore::start(stack).await;
    let lake = Lake::new(stack, "rebuild-rotten").await;
    let bronze = lake.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "1", MONDAY)]).await;
    lake.store.delete(&bronze).await.expect("deleted");
    let raw = pipeline::lake::raw_key(pipeline::topics::TICKS, 0, 0, 0);
    let name = format!("/{raw}");
    faults.set([when(
        move |request| request.method == "GET" && request.key.ends_with(&name),
        Fault::Says("x-amz-meta-tickstream-crc32", "00000000"),
    )]);
    let output = Command::new(env!("CARGO_BIN_EXE_refiner"))
        .args(["rebuild", "--from", "2026-03-02", "--to", "2026-03-02", "--layer", "bronze"])
        .envs(stack.env())
        .env("S3_ENDPOINT_URL", &faults.url)
        .env("S3_PREFIX", "rebuild-rotten")
        .output()
        .expect("ended");
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && told.contains(&raw) && told.contains("damaged"), "{told}");
    assert!(lake.etags("bronze/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_or_bronze_that_may_not_be_written_is_told_with_the_stores_reason() {
    let stack = stack::shared().await;
    let faults = FaultStore::start(stack).await;
    let lake = Lake::new(stack, "refine-denied").await;
    let bronze = lake.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "1", MONDAY)]).await;
    let refiner = through(stack, &faults, &lake, "refine-denied").await;
    faults.set([when(
        |request| request.method == "PUT" && request.key.ends_with("state.json"),
        Fault::Refused(403, "AccessDenied"),
    )]);
    let error = run(&refiner, |_, _| true).await.expect_err("nobody knows how far it is");
    let error = format!("{error:#}");
    assert!(error.contains("state.json") && error.contains("403 AccessDenied"), "{error}");

    lake.store.delete(&bronze).await.expect("deleted");
    faults.set([when(|request| request.puts("bronze/ticks"), Fault::Refused(403, "AccessDenied"))]);
    let output = Command::new(env!("CARGO_BIN_EXE_refiner"))
        .args(["rebuild", "--from", "2026-03-02", "--to", "2026-03-02", "--layer", "bronze"])
        .envs(stack.env())
        .env("S3_ENDPOINT_URL", &faults.url)
        .env("S3_PREFIX", "refine-denied")
        .output()
        .expect("ended");
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && told.contains(&bronze) && told.contains("403 AccessDenied"), "{told}");
}
