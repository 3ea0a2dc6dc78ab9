//! A database of a test's own as consumer-db keeps it, a login that is a member of `tickstream_reader` and of nothing else, and
//! a way to it that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use pipeline::events::PriceTick;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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

/// Stands in front of a server, and can be cut: connections break and new ones are refused.
pub struct Wire {
    pub address: SocketAddr,
    is_cut: Arc<watch::Sender<bool>>,
}

impl Wire {
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (is_cut, cut) = watch::channel(false);
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !*cut.borrow() {
                    tokio::spawn(carry(client, server.clone(), cut.clone()));
                }
            }
        });
        Self { address, is_cut: Arc::new(is_cut) }
    }

    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn carry(mut client: TcpStream, server: String, mut cut: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = cut.wait_for(|is_cut| *is_cut) => {}
    }
}
