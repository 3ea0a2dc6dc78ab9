//! A writer beside which nobody writes: what it is given is there at once, and the consumer waits for it meanwhile.

use std::time::Duration;

use consumer_db::Alone;
use pipeline::events::PriceTick;

use crate::database::{OLDEST_EVENT_DAYS, TestDatabase, write};
use crate::log::{decimal, one_batch, tick};

const PRICES: &str = "select concat_ws(' ', trade_id, revision, trim_scale(price)) from ticks order by event_time";

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_waits_until_it_is_gone_and_then_meets_what_it_knows() {
    let database = TestDatabase::new().await;
    let (one, other) = (tick("a", 1, "100"), tick("b", 2, "200"));
    let wrong = one_batch(&[one.clone(), other.clone()]).await;
    assert!(write(&mut database.sink(), std::slice::from_ref(&wrong)).await.is_empty());

    let mut alone = Alone::begin(database.database(), None, OLDEST_EVENT_DAYS).await.expect("the lock");
    let right = |tick: PriceTick, price| PriceTick { revision: 1, price: decimal(price), ..tick };
    let future = PriceTick { event_time: i64::MAX, ..tick("c", 3, "300") };
    let corrections = one_batch(&[right(one, "10"), right(other, "20"), future]).await;
    let mut sink = database.sink();
    let later = corrections.clone();
    let waiting = tokio::spawn(async move { write(&mut sink, &[later]).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "it waits for the lock");
    assert_eq!(database.column(PRICES).await, ["a 0 100", "b 0 200"]);

    assert_eq!(alone.write(std::slice::from_ref(&corrections)).await.expect("written"), 1, "one is a dead letter");
    assert_eq!(database.column(PRICES).await, ["a 1 10", "b 1 20"]);
    assert!(!waiting.is_finished());
    let before = database.dump().await;
    drop(alone);
    assert_eq!(waiting.await.expect("no panic").len(), 1, "the consumer tells of the dead letter");
    assert_eq!(database.dump().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_after_whoever_is_at_work() {
    let database = TestDatabase::new().await;
    let mut at_work = database.connect().await;
    let lock = "begin; select pg_advisory_xact_lock_shared(1953063787, 1)";
    sqlx::raw_sql(lock).execute(&mut at_work).await.expect("the lock");
    let other = database.database();
    let waiting = tokio::spawn(async move { Alone::begin(other, None, OLDEST_EVENT_DAYS).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    drop(at_work);
    waiting.await.expect("no panic").expect("the lock");
}
