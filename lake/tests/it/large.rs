//! A chain of a hundred thousand objects: a writer starts at any committed offset with a few requests.

use std::sync::Arc;

use bytes::Bytes;
use lake::chain::Chain;
use pipeline::lake::{Epoch, Link, LinkKind, LinkRows, Origin, bronze_key, epoch_key, origin_key, raw_key};
use pipeline::topics;

use crate::make_golden::{BROKER_MS, given, topic_id};
use crate::shelf::{CLUSTER, Shelf};

const OBJECTS: i64 = 100_000;
const TOPIC: &str = topics::HEALTH;

/// Objects of `rows` records each; what is in them is never asked for.
fn chain(rows: i64) -> Shelf {
    let topic_id = topic_id(TOPIC, 0);
    let mut lake = Shelf::empty();
    (lake.topic_id, lake.log_end) = (topic_id, OBJECTS * rows);
    let epoch = Epoch { cluster_id: CLUSTER.to_owned(), topic_id };
    let json = |value: serde_json::Value| Bytes::from(value.to_string());
    lake.lay(epoch_key(TOPIC, 0), json(serde_json::to_value(epoch).expect("plain")), Default::default());
    let origin = serde_json::to_value(Origin { offset: 0 }).expect("plain");
    lake.lay(origin_key(TOPIC, 0, 0), json(origin), Default::default());
    let bronze = [("tickstream-decoder-version", lake.version.to_string()), ("tickstream-bad", "0".to_owned())];
    let bronze: std::collections::HashMap<_, _> = bronze.map(|(name, value)| (name.to_owned(), value)).into();
    for start in (0..OBJECTS).map(|object| object * rows) {
        let last = start + rows - 1;
        let count = u64::try_from(rows).expect("some");
        let told = LinkRows { first: start, last, count, first_time_ms: BROKER_MS + start };
        let link = Link { kind: LinkKind::Data, topic_id, start, next_offset: last + 1, rows: Some(told) };
        let pairs = link.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        lake.lay(raw_key(TOPIC, 0, 0, start), Bytes::new(), pairs);
        lake.lay(bronze_key("health", told.first_time_ms, TOPIC, 0, 0, start), Bytes::new(), bronze.clone());
    }
    lake
}

#[tokio::test]
async fn a_start_at_any_committed_offset_asks_little_however_long_the_chain() {
    for rows in [1, 100, 50_000] {
        let lake = Arc::new(chain(rows));
        let end = OBJECTS * rows;
        // At the end, in the middle of the last object, at the start of the tenth from the end.
        for (committed, above) in [(end, 0), (end - (rows + 1) / 2, 1), (end - 10 * rows, 10)] {
            let before = lake.requests();
            let given = given(TOPIC, 0, Some((committed, "epoch=0000".to_owned())));
            let opened = Chain::open(lake.clone(), &given).await.expect("a chain");
            assert_eq!(opened.tail(), end);
            let asked = lake.requests() - before;
            println!("{OBJECTS} objects of {rows}, committed {committed}: {asked} requests");
            // Two for each object that is walked, and some pages of a listing.
            assert!(asked <= 2 * above + 45, "{asked} requests");
        }
    }
}
