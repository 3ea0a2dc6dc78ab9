//! What is not the records' fault pauses: the write says why, nothing goes to the dead letters, and the same write works
//! once the fault is gone.

use std::time::Duration;

use consumer_db::DbSink;
use pipeline::consume::{Fault, PartitionBatch, Sink};
use pipeline::events::PriceTick;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::database::{TestDatabase, assert_candles, try_write, write};
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
    database.execute_on_server(&format!("grant tickstream_writer to {user}")).await;
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
        // Also where the connection itself was opened read-only: one that failed is not used again.
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

/// A newer version has migrated: what this one would write may be wrong there.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_migrated_under_the_writer_stops_it() {
    let database = TestDatabase::new().await;
    let mut sink = database.sink();
    write(&mut sink, &[ticks(0, 10).await]).await;
    database
        .execute("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, '', 0)")
        .await;
    match sink.write(&[ticks(10, 10).await]).await {
        Err(Fault::Stop(error)) => assert!(error.to_string().contains("run the newer consumer-db"), "{error:#}"),
        other => panic!("{other:?}"),
    }
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

/// Places are looked up before anything is sent, and one of them is taken before the copy comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_another_writer_takes_between_look_up_and_copy() {
    let database = TestDatabase::new().await;
    let mut sink = database.sink();
    // What repeats is looked up from then on.
    for _ in 0..2 {
        write(&mut sink, &[ticks(0, 10).await]).await;
    }
    let new = tick("t12", 12, "1.5");
    let mut other = database.connect().await;
    let mut held = other.begin().await.expect("begin");
    let (event_id, event_time) = (new.event_id, jiff::Timestamp::from_microsecond(new.event_time).expect("a time"));
    held.execute(AssertSqlSafe(format!(
        "insert into ticks select (jsonb_populate_record(ticks, jsonb_build_object('event_id', '{event_id}', \
         'event_time', '{event_time}', 'kafka_offset', 999))).* from ticks where trade_id = 't0'"
    )))
    .await
    .expect("the same event, of a later record");
    let writing = tokio::spawn(async move { (write(&mut sink, &[ticks(5, 10).await]).await, sink) });
    let waits =
        "select count(*)::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while database.value(waits).await == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    held.commit().await.expect("committed");
    let (letters, mut sink) = writing.await.expect("no panic");
    assert!(letters.is_empty());
    let stands = "select concat_ws(' ', count(*), count(distinct event_id), max(kafka_offset)) from ticks";
    assert_eq!(database.value(stands).await, "15 15 9", "the earlier record stands");
    assert_candles(&database).await;
    let before = database.dump().await;
    write(&mut sink, &[ticks(5, 10).await]).await;
    assert!(database.dump().await == before);
}

/// A real full disk is the operator's; here a trigger says what Postgres says then.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_outage() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "create table disk (is_full boolean); insert into disk values (true);
             create function extend() returns trigger language plpgsql as $$ begin
                 if (select is_full from public.disk) then
                     raise exception 'could not extend file: No space left on device' using errcode = '53100';
                 end if;
                 return new;
             end $$;
             create trigger extend before insert on ticks for each row execute function extend()",
        )
        .await;
    let mut sink = database.sink();
    let batch = ticks(0, 10).await;
    assert_outage(&mut sink, &batch, "53100").await;
    assert_outage(&mut sink, &batch, "No space left").await;
    database.execute("update disk set is_full = false").await;
    assert!(write(&mut sink, &[batch]).await.is_empty());
    assert_eq!(database.value("select count(*)::text from ticks").await, "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_is_tried_again_and_an_endless_one_is_an_outage() {
    let database = TestDatabase::new().await;
    // A sequence counts what is rolled back, too.
    database
        .execute(
            "create sequence failures;
             create function fail() returns trigger language plpgsql as $$ begin
                 if nextval('public.failures') <= 3 then
                     raise exception 'could not serialize access' using errcode = '40001';
                 end if;
                 return null;
             end $$;
             create trigger fail before insert on ticks for each statement execute function fail()",
        )
        .await;
    let mut sink = database.sink();
    assert!(write(&mut sink, &[ticks(0, 10).await]).await.is_empty());
    assert_eq!(database.value("select count(*)::text from ticks").await, "10");
    database.execute("alter sequence failures restart minvalue -1000 start -1000").await;
    let batch = ticks(10, 10).await;
    assert_outage(&mut sink, &batch, "40001").await;
    database.execute("drop trigger fail on ticks").await;
    assert!(write(&mut sink, &[batch]).await.is_empty());
    assert_eq!(database.value("select count(*)::text from ticks").await, "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_during_commit_loses_and_repeats_nothing() {
    let database = TestDatabase::new().await;
    // Deferred to COMMIT, which it makes last.
    database
        .execute(
            "create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return null; end $$;
             create constraint trigger linger after insert on latest_prices deferrable initially deferred
                 for each row execute function linger()",
        )
        .await;
    let mut sink = database.sink();
    let batch = ticks(0, 10).await;
    let writing = tokio::spawn({
        let batch = batch.clone();
        async move { (try_write(&mut sink, &[batch]).await, sink) }
    });
    let cut = "select count(pg_terminate_backend(pid))::text from pg_stat_activity \
               where datname = current_database() and state = 'active' and query = 'COMMIT'";
    while database.value(cut).await == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (result, mut sink) = writing.await.expect("no panic");
    let error = format!("{:#}", result.expect_err("an outage"));
    assert!(error.contains("57P01"), "{error}");
    assert_eq!(database.value("select count(*)::text from ticks").await, "0");
    database.execute("drop trigger linger on latest_prices").await;
    assert!(write(&mut sink, &[batch]).await.is_empty());
    assert_eq!(database.value("select count(*)::text from ticks").await, "10");
}

/// Between the writer and the server: passes everything on until the writer says COMMIT, which still arrives; the answer
/// does not.
async fn lose_the_answer_of_commit(server: String) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut upstream = TcpStream::connect(server).await.expect("the server");
        let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let asked = &asked[..read.expect("read")];
                    upstream.write_all(asked).await.expect("passed on");
                    if asked.is_empty() || asked.windows(7).any(|words| words == b"COMMIT\0") {
                        break;
                    }
                }
                read = upstream.read(&mut answered) => {
                    client.write_all(&answered[..read.expect("read")]).await.expect("passed on");
                }
            }
        }
        // It has answered, so it has committed.
        assert!(upstream.read(&mut answered).await.expect("an answer") > 0);
        drop(client);
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut upstream = TcpStream::connect(upstream.peer_addr().expect("connected")).await.expect("the server");
        drop(tokio::io::copy_bidirectional(&mut client, &mut upstream).await);
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_written_once() {
    let database = TestDatabase::new().await;
    let (credentials, place) = database.url.rsplit_once('@').expect("a URL with a password");
    let (server, name) = place.split_once('/').expect("a database");
    let through = lose_the_answer_of_commit(server.to_owned()).await;
    let url = secrecy::SecretString::from(format!("{credentials}@{through}/{name}"));
    let mut sink = database.sink_through(consumer_db::Database::new(&url).expect("a good URL"));
    let batch = ticks(0, 10).await;
    try_write(&mut sink, std::slice::from_ref(&batch)).await.expect_err("an outage");
    let before = database.dump().await;
    assert_eq!(database.value("select count(*)::text from ticks").await, "10", "it was committed");
    assert!(write(&mut sink, &[batch]).await.is_empty());
    assert!(database.dump().await == before, "writing again changes nothing");
}
