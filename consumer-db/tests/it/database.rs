//! A database for each test, a sink on it, and what its tables hold.

use std::collections::BTreeMap;

use clap::Parser;
use consumer_db::{Database, DbSink, Writer};
use pipeline::consume::{DeadLetter, Fault, PartitionBatch, Sink};
use pipeline::kafka::KafkaArgs;
use pipeline::topic_id::TopicIds;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

pub const OLDEST_EVENT_DAYS: u32 = 400;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
}

pub fn kafka(stack: &stack::Stack) -> KafkaArgs {
    Args::parse_from(["test", "--kafka-bootstrap-servers", &stack.kafka_bootstrap_servers]).kafka
}

pub struct TestDatabase {
    pub url: String,
    pub name: String,
    pub kafka: KafkaArgs,
    server: String,
}

impl TestDatabase {
    /// An empty database on the shared server.
    pub async fn empty() -> Self {
        Self::on(stack::shared().await).await
    }

    pub async fn on(stack: &stack::Stack) -> Self {
        let server = stack.database_url.clone();
        let name = format!("t{}", Uuid::new_v4().simple());
        execute(&server, &format!("create database {name}")).await;
        let (address, _) = server.rsplit_once('/').expect("a URL with a database");
        Self { url: format!("{address}/{name}"), name, kafka: kafka(stack), server }
    }

    /// One with the schema.
    pub async fn new() -> Self {
        let database = Self::empty().await;
        database.database().migrate().await.expect("migrated");
        database
    }

    pub fn database(&self) -> Database {
        Database::new(&SecretString::from(self.url.as_str())).expect("a good URL")
    }

    pub fn sink(&self) -> DbSink {
        self.sink_through(self.database())
    }

    pub fn sink_through(&self, database: Database) -> DbSink {
        let topic_ids = TopicIds::new(&self.kafka).expect("client settings");
        DbSink::new(Writer::new(database), None, topic_ids, false, OLDEST_EVENT_DAYS)
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("connected")
    }

    pub async fn execute(&self, statement: &str) {
        execute(&self.url, statement).await;
    }

    /// On the server's own database, which stays reachable when this one is closed.
    pub async fn execute_on_server(&self, statement: &str) {
        execute(&self.server, statement).await;
    }

    /// As [`Self::execute_on_server`], where it may be too soon.
    pub async fn try_on_server(&self, statement: &str) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&self.server).await?;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.map(drop)
    }

    /// The first column of each row, as text.
    pub async fn column(&self, query: &str) -> Vec<String> {
        let mut connection = self.connect().await;
        let rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await.expect(query);
        rows.iter().map(|row| row.try_get::<Option<String>, _>(0).expect("text").unwrap_or("null".to_owned())).collect()
    }

    pub async fn value(&self, query: &str) -> String {
        self.column(query).await.join("\n")
    }

    /// Everything that a replay must not change, in key order.
    pub async fn dump(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for query in [
            "select (to_jsonb(ticks) - 'inserted_at')::text from ticks order by event_time, event_id",
            "select (to_jsonb(latest_prices) - 'updated_at')::text from latest_prices order by symbol, source",
            "select to_jsonb(moved_ticks)::text from moved_ticks order by event_time, event_id",
            "select to_jsonb(refused_moves)::text from refused_moves order by event_time, event_id, previous_event_time",
            "select (to_jsonb(candles) - 'updated_at')::text from candles \
             order by symbol, source, price_basis, timeframe, bucket",
            "select (to_jsonb(gaps) - 'inserted_at')::text from gaps order by id",
            "select (to_jsonb(index_weights) - 'inserted_at')::text from index_weights order by event_id",
            "select (to_jsonb(alerts) - 'inserted_at')::text from alerts order by alert_id",
            "select inhrelid::regclass::text from pg_inherits where inhparent = 'ticks'::regclass order by 1",
        ] {
            lines.extend(self.column(query).await);
        }
        lines
    }
}

/// The candles are what the ticks and gaps in the database say, told by one independent query.
pub async fn assert_candles(database: &TestDatabase) {
    let different = database.column(include_str!("sql/candles_that_differ.sql")).await;
    assert!(different.is_empty(), "{} differ: {:#?}", different.len(), &different[..different.len().min(5)]);
}

/// It goes with its test, so that they do not all stand until the last one ends: some 15 MB each.
impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("drop database if exists {} with (force)", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await.map_err(std::io::Error::other)?;
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await.map_err(std::io::Error::other)
            })
        });
        // Where its server is stopped or gone, so is the database.
        std::mem::drop(dropping.join());
    }
}

async fn execute(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connected");
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.expect(statement);
}

/// Writes, and gives the dead letters by (partition, offset).
pub async fn write(sink: &mut DbSink, batches: &[PartitionBatch]) -> BTreeMap<(i32, i64), String> {
    try_write(sink, batches).await.unwrap_or_else(|error| panic!("an outage: {error:#}"))
}

pub async fn try_write(sink: &mut DbSink, batches: &[PartitionBatch]) -> anyhow::Result<BTreeMap<(i32, i64), String>> {
    match sink.write(batches).await {
        Ok((written, letters)) => {
            assert_eq!(written.len(), batches.len());
            for (written, batch) in written.iter().zip(batches) {
                assert_eq!((written.partition, written.commit), (batch.partition, batch.next_offset));
            }
            Ok(letters
                .into_iter()
                .map(|DeadLetter { partition, offset, reason, .. }| ((partition, offset), reason))
                .collect())
        }
        Err(Fault::Outage(error)) => Err(error),
        Err(Fault::Stop(error)) => panic!("stopped: {error:#}"),
    }
}
