//! A database that lacks what was written to it, as a standby does that followed behind and is promoted, or a restored backup:
//! it is given it again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use stack::{Options, Stack};

use crate::broker;
use crate::database::{TestDatabase, assert_candles};
use crate::service::{Service, values, wait_rows};

/// Lets nobody in, does it, and lets everybody in again.
async fn alone(database: &TestDatabase, statements: &[String]) {
    let name = &database.name;
    database.execute_on_server(&format!("alter database {name} allow_connections false")).await;
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity";
    database.execute_on_server(&format!("{cut} where datname = '{name}'")).await;
    for statement in statements {
        // Whoever was cut may take a moment to be gone.
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = database.try_on_server(statement).await {
            assert!(Instant::now() < deadline, "{statement}: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    database.execute_on_server(&format!("alter database {name} allow_connections true")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_database_lacks_is_written_again() {
    let stack = Stack::start(Options { fsync: false, ..Options::default() }).await.expect("a stack of its own");
    let database = TestDatabase::on(&stack).await;
    let name = database.name.clone();
    broker::create_topics(&database.kafka).await;
    broker::send(&database.kafka, &values(0, 1000).await);
    let service = Service::start(&database, "consumer-db");
    service.wait_ready();
    wait_rows(&database, 1000).await;
    alone(&database, &[format!("create database {name}_before template {name}")]).await;
    broker::send(&database.kafka, &values(1000, 1000).await);
    wait_rows(&database, 2000).await;

    // Under a running service.
    let back = [format!("drop database {name}"), format!("alter database {name}_before rename to {name}")];
    alone(&database, &back).await;
    assert_eq!(database.value("select count(*)::text from ticks").await, "1000");
    broker::send(&database.kafka, &values(2000, 10).await);
    wait_rows(&database, 2010).await;
    service.terminate();

    // While it is down: made anew.
    alone(&database, &[format!("drop database {name}"), format!("create database {name}")]).await;
    let log = std::env::temp_dir().join(format!("consumer-db-{name}.log"));
    let file = std::fs::File::create(&log).expect("created");
    let service = Service::start_telling(&database, "consumer-db", Stdio::from(file));
    service.wait_ready();
    wait_rows(&database, 2010).await;
    assert_candles(&database).await;

    // Where nothing comes, it ends and says why; started again, it reads what is lacking.
    let nothing = "truncate ticks, candles, latest_prices; update topic_positions set next_offset = 0";
    database.execute(nothing).await;
    assert_eq!(tokio::task::spawn_blocking(|| service.wait_ended()).await.expect("no panic"), Some(1));
    let said = std::fs::read_to_string(&log).expect("read");
    assert!(said.contains("has lost what was written of market.ticks.v1"), "{said}");
    drop(std::fs::remove_file(log));
    let service = Service::start(&database, "consumer-db");
    wait_rows(&database, 2010).await;
    assert_candles(&database).await;
    service.terminate();
    assert!(broker::dead_letters(&database.kafka).is_empty());
    drop(stack.stop().await);
}
