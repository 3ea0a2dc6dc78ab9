//! Days are made ahead and dropped behind, readers or no readers, and a run that was killed is finished by the next.

use std::time::Duration;

use consumer_db::retain;
use jiff::civil::date;
use pipeline::events::PriceTick;
use sqlx::{Connection, Executor};

use crate::database::{TestDatabase, write};
use crate::log::{DAY, moved, one_batch, tick};

const PARTITIONS: &str =
    "select inhrelid::regclass::text from pg_inherits where inhparent = 'ticks'::regclass order by 1";
const TABLES: &str = "select relname::text from pg_class where relname ~ '^ticks_[0-9]{8}$' order by 1";
const HORIZON: &str = "select ticks_from::text from retention";

/// How many days before today 2026-03-01 is.
fn days_since_march() -> u32 {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    u32::try_from((today - date(2026, 3, 1)).get_days()).expect("after 2026-03-01")
}

/// A tick a day from 2026-02-26 to 2026-03-02, each of its own symbol.
fn five_days() -> Vec<PriceTick> {
    (-3..=1)
        .map(|day| PriceTick {
            symbol: format!("D{day}-USD"),
            ..tick(&format!("day {day}"), day * DAY / 1_000_000, "1")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn days_before_the_horizon_go_and_nothing_is_written_there_again() {
    let database = TestDatabase::new().await;
    let batch = one_batch(&five_days()).await;
    let mut sink = database.sink();
    write(&mut sink, std::slice::from_ref(&batch)).await;
    let before = database.dump().await;
    let latest = database.value("select count(*)::text from latest_prices").await;

    let days = days_since_march();
    assert_eq!(retain(&database.database(), days, true).await.expect("dry"), 3);
    assert!(
        database.dump().await == before && database.value(HORIZON).await == "-infinity",
        "a dry run changes nothing"
    );

    assert_eq!(retain(&database.database(), days, false).await.expect("retained"), 3);
    assert_eq!(database.column(PARTITIONS).await, ["ticks_20260301", "ticks_20260302"]);
    assert_eq!(database.column(TABLES).await.len(), 2);
    assert_eq!(database.value(HORIZON).await, "2026-03-01");
    assert_eq!(database.value("select count(*)::text from latest_prices").await, latest, "what is shown stays");

    // The same records again, one that moves into the dropped days, and one that moves out of them.
    assert!(write(&mut sink, std::slice::from_ref(&batch)).await.is_empty(), "no dead letters");
    assert_eq!(database.column(PARTITIONS).await.len(), 2, "no day comes back");
    assert_eq!(database.value("select count(*)::text from ticks").await, "2");
    let ticks = five_days();
    let into = moved(&ticks[4], -2 * DAY / 1_000_000);
    let out_of = moved(&ticks[0], 60);
    assert!(write(&mut sink, &[one_batch(&[into, out_of]).await]).await.is_empty());
    let rows = database.column("select trade_id || ' ' || revision from ticks order by event_time").await;
    assert_eq!(rows, ["day 0 0", "day -3 1"]);

    assert_eq!(retain(&database.database(), days + 2, false).await.expect("retained"), 0);
    assert_eq!(database.value(HORIZON).await, "2026-03-01", "the horizon is never lowered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_finished_and_what_others_detached_is_left_alone() {
    let database = TestDatabase::new().await;
    write(&mut database.sink(), &[one_batch(&five_days()).await]).await;
    database.execute("alter table ticks detach partition ticks_20260226").await;

    // A reader that began before holds up the detachment of a day: there the run is killed.
    let mut reader = database.connect().await;
    let mut reading = reader.begin().await.expect("begin");
    reading.execute("select count(*) from ticks").await.expect("read");
    let run = tokio::spawn({
        let database = database.database();
        async move { retain(&database, days_since_march(), false).await }
    });
    let pending = "select count(*)::text from pg_inherits where inhdetachpending";
    while database.value(pending).await == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let readable = "select count(*)::text from ticks where event_time >= '2026-02-28T00:00:00Z'";
    assert_eq!(database.value(readable).await, "3", "a day being detached blocks nobody");
    let others = "select count(pg_terminate_backend(pid))::text from pg_stat_activity \
                  where datname = current_database() and query like 'alter table ticks%'";
    assert_eq!(database.value(others).await, "1");
    run.await.expect("no panic").expect_err("killed");
    assert_eq!(database.value(pending).await, "1");

    // One that was detached by a run killed before the drop, too.
    reading.rollback().await.expect("rolled back");
    database.execute("alter table ticks detach partition ticks_20260227 finalize").await;
    assert_eq!(retain(&database.database(), days_since_march(), false).await.expect("retained"), 2);
    assert_eq!(database.column(TABLES).await, ["ticks_20260226", "ticks_20260301", "ticks_20260302"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_made_ahead_by_the_servers_clock() {
    let database = TestDatabase::new().await;
    let ahead = "select ensure_ticks_days_ahead()::text";
    assert_eq!(database.value(ahead).await, "3");
    assert_eq!(database.value(ahead).await, "0");
    let expected =
        "select to_char((now() at time zone 'UTC')::date + i, '\"ticks_\"YYYYMMDD') from generate_series(0, 2) i";
    assert_eq!(database.column(PARTITIONS).await, database.column(expected).await);
}
