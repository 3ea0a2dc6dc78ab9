//! What is not the records' fault pauses: the write says why, nothing goes to the dead letters, and the same write works
//! once the fault is gone.

use std::time::Duration;

use consumer_db::DbSink;
use pipeline::consume::PartitionBatch;
use pipeline::events::PriceTick;
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::database::{TestDatabase, try_write, write};
use crate::log::{one_batch, tick};

async fn ticks(from: i64, count: i64) -> PartitionBatch {
    let ticks: Vec<PriceTick> = (from..from + count).map(|i| tick(&format!("t{i}"), i, "1.5")).collect();
    one_batch(&ticks).await
}

async fn assert_outage(sink: &mut DbSink, batch: &PartitionBatch, reason: &str) {
    let error = try_write(sink, std::slice::from_ref(batch)).await.expect_err("an outage");
    let text = format!("{error:#}");
    assert!(text.contains(reason), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_nothing_is_an_outage() {
    let database = TestDatabase::new().await;
    let name = &database.name;
    let mut sink = database.sink();
    write(&mut sink, &[ticks(0, 10).await]).await;
    let batch = ticks(5, 10).await;
    let cut = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");

    let faults = [
        (
            format!("alter database {name} allow_connections false"),
            format!("alter database {name} allow_connections true"),
            "not currently accepting",
        ),
        (
            format!("alter database {name} connection limit 0"),
            format!("alter database {name} connection limit -1"),
            "too many connections",
        ),
        (
            format!("alter database {name} set default_transaction_read_only = on"),
            format!("alter database {name} reset default_transaction_read_only"),
            "25006",
        ),
    ];
    // The stack's user is a superuser, whom a connection limit does not bind: a plain user does.
    let user = format!("u{name}");
    database.execute_on_server(&format!("create role {user} login password 'pw'")).await;
    database.execute(&format!("grant all on database {name} to {user}; grant all on schema public to {user}; grant all on all tables in schema public to {user}; alter table ticks owner to {user}; alter table ticks_20260301 owner to {user}")).await;
    let (_, address) = database.url.rsplit_once('@').expect("a URL with a password");
    let url = secrecy::SecretString::from(format!("postgres://{user}:pw@{address}"));
    let mut sink = database.sink_through(consumer_db::Database::new(&url).expect("a good URL"));
    for (inflict, mend, reason) in faults {
        database.execute_on_server(&inflict).await;
        database.execute_on_server(&cut).await;
        // The first call may find the cut connection, the next one finds the fault.
        try_write(&mut sink, std::slice::from_ref(&batch)).await.expect_err("an outage");
        assert_outage(&mut sink, &batch, reason).await;
        database.execute_on_server(&mend).await;
        // A connection that was opened read-only stays so.
        database.execute_on_server(&cut).await;
        drop(try_write(&mut sink, std::slice::from_ref(&batch)).await);
        assert!(write(&mut sink, std::slice::from_ref(&batch)).await.is_empty(), "after {reason}");
    }

    database.execute_on_server(&format!("alter role {user} password 'other'")).await;
    database.execute_on_server(&cut).await;
    drop(try_write(&mut sink, std::slice::from_ref(&batch)).await);
    assert_outage(&mut sink, &batch, "28P01").await;
    database.execute_on_server(&format!("alter role {user} password 'pw'")).await;
    assert!(write(&mut sink, &[batch]).await.is_empty());
    assert_eq!(database.value("select count(*)::text from ticks").await, "15");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_an_outage_that_says_what_to_run() {
    let database = TestDatabase::new().await;
    let mut sink = database.sink();
    let batch = ticks(0, 10).await;
    database.execute("alter table latest_prices rename to elsewhere").await;
    assert_outage(&mut sink, &batch, "run `consumer-db migrate`").await;
    assert_eq!(database.value("select count(*)::text from ticks").await, "0", "nothing of the batch is there");
    database.execute("alter table elsewhere rename to latest_prices").await;
    assert!(write(&mut sink, &[batch]).await.is_empty());
    assert_eq!(database.value("select count(*)::text from ticks").await, "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_dropped_or_detached_under_the_writer() {
    let database = TestDatabase::new().await;
    let mut sink = database.sink();
    write(&mut sink, &[ticks(0, 10).await]).await;
    database.execute("drop table ticks_20260301").await;
    assert!(write(&mut sink, &[ticks(10, 10).await]).await.is_empty());
    assert_eq!(database.value("select count(*)::text from ticks").await, "10");
    // Also when the batch goes the other way, because it repeats.
    write(&mut sink, &[ticks(10, 10).await]).await;
    database.execute("drop table ticks_20260301").await;
    assert!(write(&mut sink, &[ticks(10, 10).await]).await.is_empty());

    database.execute("alter table ticks detach partition ticks_20260301").await;
    assert_outage(&mut sink, &ticks(20, 5).await, "is no partition of ticks").await;
    database.execute("alter table ticks_20260301 rename to archived").await;
    assert!(write(&mut sink, &[ticks(20, 5).await]).await.is_empty());
    assert_eq!(database.value("select count(*)::text from ticks").await, "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again() {
    let database = TestDatabase::new().await;
    let mut sink = database.sink();
    let ticks: Vec<PriceTick> = (0..2).map(|i| tick(&format!("t{i}"), i, "1.5")).collect();
    write(&mut sink, &[one_batch(&ticks).await]).await;
    let better: Vec<PriceTick> = ticks.iter().map(|tick| PriceTick { revision: 1, ..tick.clone() }).collect();
    let batch = one_batch(&better).await;

    // Somebody locks the two rows the other way round, with patience enough to let the writer be the victim.
    let mut other = database.connect().await;
    other.execute("set deadlock_timeout = '60s'").await.expect("set");
    let mut held = other.begin().await.expect("begin");
    let lock = |key: &str| AssertSqlSafe(format!("update ticks set base = 'X' where trade_id = '{key}'"));
    held.execute(lock("t1")).await.expect("the second row");
    let writing = tokio::spawn(async move { write(&mut sink, &[batch]).await });
    let waits =
        "select count(*)::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while database.value(waits).await == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    held.execute(lock("t0")).await.expect("the first row, once the writer has given way");
    held.commit().await.expect("committed");
    assert!(writing.await.expect("no panic").is_empty());
    assert_eq!(database.value("select string_agg(revision || base, ' ') from ticks").await, "1BTC 1BTC");
}
