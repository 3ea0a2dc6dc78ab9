//! A database of a test's own as consumer-db keeps it, and a login that is a member of `tickstream_reader` and of nothing else.

use pipeline::events::PriceTick;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

pub struct TestDatabase {
    owner: PgConnection,
    reader: String,
}

impl TestDatabase {
    pub async fn new() -> Self {
        let server = &stack::shared().await.database_url;
        let name = format!("d{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(server).await.expect("Postgres");
        let mut run = async |statement: String| {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await.expect("done");
        };
        run(format!("create database {name}")).await;
        let (place, _) = server.rsplit_once('/').expect("a URL ends in the database's name");
        let mut owner = PgConnection::connect(&format!("{place}/{name}")).await.expect("the new database");
        let create_roles = include_str!("../../../consumer-db/src/sql/create_roles.sql");
        sqlx::raw_sql(create_roles).execute(&mut owner).await.expect("roles");
        sqlx::migrate!("../consumer-db/migrations").run(&mut owner).await.expect("migrations");
        let grant_rights = include_str!("../../../consumer-db/src/sql/grant_rights.sql");
        sqlx::raw_sql(grant_rights).execute(&mut owner).await.expect("rights");
        run(format!("create role {name} login password 'pw' in role tickstream_reader")).await;
        let (_, address) = place.rsplit_once('@').expect("a URL with a password");
        Self { owner, reader: format!("postgres://{name}:pw@{address}/{name}") }
    }

    /// The URL of the login that may only read.
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// As consumer-db writes it.
    pub async fn insert(&mut self, tick: &PriceTick, partition: i32, offset: i64) {
        let days = "select ensure_ticks_day((timestamptz 'epoch' + $1::bigint * interval '1 microsecond')::date)";
        sqlx::query(days).bind(tick.event_time).execute(&mut self.owner).await.expect("a day");
        sqlx::query(include_str!("sql/insert_tick.sql"))
            .bind(tick.event_time)
            .bind(offset)
            .bind(tick.event_id)
            .bind(tick.revision)
            .bind(partition)
            .bind(tick.retracted)
            .bind(tick.price.to_string())
            .bind(tick.quantity.map(|quantity| quantity.to_string()))
            .bind(&tick.source)
            .bind(&tick.symbol)
            .bind(tick.kind.as_str())
            .execute(&mut self.owner)
            .await
            .expect("inserted");
    }

    /// Says that the records of a partition below an offset are here.
    pub async fn set_position(&mut self, topic_id: Uuid, topic: &str, partition: i32, next_offset: i64) {
        let set = sqlx::query(include_str!("sql/set_position.sql"));
        let set = set.bind(topic_id).bind(partition).bind(topic).bind(next_offset);
        set.execute(&mut self.owner).await.expect("set");
    }
}
