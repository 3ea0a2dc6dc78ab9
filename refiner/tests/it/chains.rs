//! What stands in the way of a chain holds that chain, says which object it is, and nothing behind it is ever skipped.

use std::collections::BTreeMap;

use bytes::Bytes;
use pipeline::lake::raw_key;
use pipeline::store::{Condition, Object};
use pipeline::topics;
use refiner::run::{Report, run};

use crate::bronze::{HOUR, Lake, MONDAY, SECOND, refine, trade};

const DAY: &str = "silver/ticks/dt=2026-03-02";

async fn of_hours(lake: &Lake) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for key in lake.etags("silver/ticks/").await.into_keys() {
        let count = lake.rows(&key).await.len();
        rows.insert(key[DAY.len() + 6..DAY.len() + 8].to_owned(), count);
    }
    rows
}

async fn hour(lake: &Lake, partition: i32, hour: i64) -> String {
    let at = MONDAY + hour * HOUR;
    let number = u32::try_from(hour).expect("few");
    lake.ticks(partition, at + SECOND, &[trade("kraken", "BTC-USD", number, "1", at)]).await
}

async fn put_back(lake: &Lake, key: &str, object: Object) {
    let metadata = object.head.metadata.clone();
    lake.store.put(key, object.bytes, metadata, Condition::IfNoneMatch).await.expect("put");
}

async fn held(lake: &Lake) -> Report {
    let report = run(&lake.refiner().await, |_, _| true).await.expect("a run");
    assert_eq!(report.held.len(), 1, "{report:#?}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_object_that_is_gone_is_named_and_nothing_behind_it_is_taken_up() {
    let lake = Lake::new(stack::shared().await, "refine-hole").await;
    hour(&lake, 0, 1).await;
    refine(&lake.refiner().await).await;
    hour(&lake, 0, 2).await;
    hour(&lake, 0, 3).await;
    hour(&lake, 1, 4).await;
    let key = raw_key(topics::TICKS, 0, 0, 1);
    let object = lake.store.get(&key).await.expect("a store").expect("there");
    lake.store.delete(&key).await.expect("deleted");
    let report = held(&lake).await;
    assert_eq!(report.held[0].0, key);
    assert!(report.held[0].1.to_string().contains("is missing"), "{:#}", report.held[0].1);
    assert_eq!(of_hours(&lake).await, BTreeMap::from([("01".to_owned(), 1), ("04".to_owned(), 1)]));
    put_back(&lake, &key, object).await;
    refine(&lake.refiner().await).await;
    assert_eq!(of_hours(&lake).await.len(), 4);

    // The first object of a chain that was never looked at.
    let other = Lake::new(stack::shared().await, "refine-hole-first").await;
    hour(&other, 0, 1).await;
    hour(&other, 0, 2).await;
    let key = raw_key(topics::TICKS, 0, 0, 0);
    other.store.delete(&key).await.expect("deleted");
    assert_eq!(held(&other).await.held[0].0, key);
    assert!(of_hours(&other).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_that_is_gone_is_named_and_bronze_under_way_is_waited_for() {
    let lake = Lake::new(stack::shared().await, "refine-bronze-gone").await;
    hour(&lake, 0, 1).await;
    let gone = hour(&lake, 0, 2).await;
    let last = hour(&lake, 0, 3).await;
    hour(&lake, 1, 4).await;
    let objects = [lake.store.get(&gone).await, lake.store.get(&last).await];
    let [of_gone, of_last] = objects.map(|object| object.expect("a store").expect("there"));
    lake.store.delete(&gone).await.expect("deleted");
    let report = held(&lake).await;
    assert_eq!(report.held[0].0, gone);
    let said = report.held[0].1.to_string();
    assert!(said.contains("`refiner rebuild --layer bronze --from 2026-03-02 --to 2026-03-02`"), "{said}");
    assert_eq!(of_hours(&lake).await, BTreeMap::from([("01".to_owned(), 1), ("04".to_owned(), 1)]));

    put_back(&lake, &gone, of_gone).await;
    lake.store.delete(&last).await.expect("deleted");
    let report = refine(&lake.refiner().await).await;
    assert!(report.held.is_empty(), "nothing follows it: it is under way: {report:#?}");
    put_back(&lake, &last, of_last).await;
    refine(&lake.refiner().await).await;
    assert_eq!(of_hours(&lake).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bronze_and_an_unreadable_note_hold_what_is_theirs_alone() {
    let lake = Lake::new(stack::shared().await, "refine-held").await;
    hour(&lake, 0, 1).await;
    let damaged = hour(&lake, 0, 2).await;
    hour(&lake, 0, 3).await;
    hour(&lake, 1, 4).await;
    let whole = lake.store.get(&damaged).await.expect("a store").expect("there");
    let half = whole.bytes.slice(..whole.bytes.len() / 2);
    let put = lake.store.put(&damaged, half, whole.head.metadata.clone(), Condition::IfMatch(&whole.head.etag));
    put.await.expect("damaged");
    let report = held(&lake).await;
    assert_eq!(report.held[0].0, damaged);
    let hours = of_hours(&lake).await;
    assert!(hours.contains_key("01") && hours.contains_key("04") && !hours.contains_key("02"), "{hours:?}");
    held(&lake).await;
    lake.store.delete(&damaged).await.expect("deleted");
    put_back(&lake, &damaged, whole).await;
    refine(&lake.refiner().await).await;
    assert_eq!(of_hours(&lake).await.len(), 4);

    let note = "bronze/_notes/ticks/market.ticks.v1+0000+00000+00000000000000000000+v00009.json";
    let bytes = Bytes::from_static(b"{");
    lake.store.put(note, bytes, Default::default(), Condition::IfNoneMatch).await.expect("put");
    hour(&lake, 0, 5).await;
    assert_eq!(held(&lake).await.held[0].0, note);
    assert!(of_hours(&lake).await.contains_key("05"), "the rest goes on");
}
