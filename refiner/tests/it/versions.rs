//! Refiners of two versions over one lake.

use bytes::Bytes;
use pipeline::store::Condition;
use refiner::run::run;
use refiner::state::State;

use crate::bronze::{HOUR, Lake, MONDAY, SECOND, refine, trade};

const HOUR_OBJECT: &str = "silver/ticks/dt=2026-03-02/hour=07/part.parquet";
const NOTE: &str = "bronze/_notes/ticks/market.ticks.v1+0000+00000+00000000000000000000+v00001.json";

/// The same object as a refiner of version 9 would have made it.
fn of_a_newer_refiner(object: &Bytes) -> Bytes {
    let mut bytes = object.to_vec();
    let name = b"tickstream-refiner-version";
    let at = bytes.windows(name.len()).position(|part| part == name).expect("a footer") + name.len();
    // The value is text of one byte, behind its type and its length.
    let value = &mut bytes[at..at + 3];
    assert!(value[1] == 1 && value[2].is_ascii_digit(), "{value:?}");
    value[2] = b'9';
    Bytes::from(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_refiner_leaves_a_newer_ones_objects_to_it_and_forgets_nothing() {
    let lake = Lake::new(stack::shared().await, "refine-versions").await;
    let at = MONDAY + 7 * HOUR;
    let first = lake.ticks(0, at, &[trade("kraken", "BTC-USD", 1, "1", at)]).await;
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    let mine = lake.store.get(HOUR_OBJECT).await.expect("a store").expect("there");
    let newer = of_a_newer_refiner(&mine.bytes);
    lake.store
        .put(HOUR_OBJECT, newer.clone(), Default::default(), Condition::IfMatch(&mine.head.etag))
        .await
        .expect("put");
    let second = lake.ticks(0, at + SECOND, &[trade("kraken", "BTC-USD", 2, "2", at + SECOND)]).await;
    let note = Bytes::from(serde_json::json!({"bronze": first, "version": 1}).to_string());
    lake.store.put(NOTE, note, Default::default(), Condition::IfNoneMatch).await.expect("put");

    let report = run(&refiner, |_, _| true).await.expect("a run");
    let said = format!("{:#}", report.failed[0].1);
    assert!(said.contains("version 9") && said.contains("end this older one"), "{said}");
    let standing = lake.store.get(HOUR_OBJECT).await.expect("a store").expect("there");
    assert_eq!(standing.bytes, newer, "left alone");
    let (state, _) = State::read(&lake.store, "silver/_refiner/state.json").await.expect("a state");
    let pending: Vec<&String> = state.pending.values().flatten().collect();
    assert_eq!(pending, [&first, &second], "both are left to the newer one: {state:?}");
    assert!(lake.etags("bronze/_notes/").await.contains_key(NOTE));

    // Whoever may make the hour makes it of everything.
    lake.store
        .put(HOUR_OBJECT, mine.bytes, Default::default(), Condition::IfMatch(&standing.head.etag))
        .await
        .expect("put");
    refine(&lake.refiner().await).await;
    assert_eq!(lake.rows(HOUR_OBJECT).await.len(), 2);
    assert!(lake.etags("bronze/_notes/").await.is_empty());
}
