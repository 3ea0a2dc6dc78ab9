//! A store whose listing is no snapshot, and one whose bytes are not those that were written.

use std::sync::Arc;

use lake::chain::{Batch, Chain};
use pipeline::consume::Fault;
use pipeline::lake::raw_key;
use pipeline::records::{Record, RecordBuffer};
use pipeline::topics;

use crate::make_golden::{BROKER_MS, given, topic_id};
use crate::shelf::Shelf;

const TOPIC: &str = topics::HEALTH;

/// A chain of so many objects of one record each.
async fn chain(objects: i64) -> Arc<Shelf> {
    let mut shelf = Shelf::empty();
    shelf.topic_id = topic_id(TOPIC, 0);
    let world = Arc::new(shelf);
    let mut chain = Chain::open(world.clone(), &given(TOPIC, 0, None)).await.expect("a new chain");
    for start in 0..objects {
        let mut buffer = RecordBuffer::new();
        buffer.push_owned(Record { offset: start, timestamp_ms: BROKER_MS, key: None, value: Some(b"any") }, &[]);
        let batch = Batch { start, next_offset: start + 1, records: buffer.finish() };
        chain.write(&batch).await.expect("written");
    }
    world
}

/// Where a writer that was given the partition finds the tail, or what it stops with.
async fn opened(world: &Arc<Shelf>) -> Result<i64, String> {
    match Chain::open(world.clone(), &given(TOPIC, 0, None)).await {
        Ok(chain) => Ok(chain.tail()),
        Err(Fault::Stop(error)) => Err(format!("{error:#}")),
        Err(Fault::Outage(error)) => panic!("an outage: {error:#}"),
    }
}

fn key(start: i64) -> String {
    raw_key(TOPIC, 0, 0, start)
}

#[tokio::test]
async fn an_object_that_a_listing_does_not_show_is_not_missing() {
    let world = chain(5).await;
    for hidden in 0..4 {
        world.hide(&key(hidden));
        assert_eq!(opened(&world).await, Ok(5), "{hidden} is not listed");
    }
    world.hide("");
    world.remove(&key(2));
    let said = opened(&world).await.expect_err("2 is gone");
    assert!(said.contains("is broken") && said.contains("should begin at offset 2"), "{said}");
}

#[tokio::test]
async fn bronze_is_not_made_of_bytes_that_nobody_wrote() {
    let world = chain(2).await;
    let mut metadata = world.metadata(&key(1));
    metadata.insert("tickstream-crc32".to_owned(), "00000000".to_owned());
    world.lay(key(1), world.bytes(&key(1)), metadata);
    world.keys("bronze/").iter().for_each(|key| world.remove(key));
    let said = opened(&world).await.expect_err("its bytes are others");
    assert!(said.contains(&format!("`tickstream lake restore {}`", key(1))), "{said}");
    assert_eq!(world.keys("bronze/health/").len(), 1, "that of the object before");
}
