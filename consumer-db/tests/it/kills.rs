//! SIGKILL of writers and of Postgres before, during and after COMMIT, under load, with one writer and then with two on the
//! same symbols: afterwards ticks, candles and latest prices are what the topic says. A few kills in `make test`, 300 a stage
//! with TICKSTREAM_DB_KILLS=300.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pipeline::events::PriceTick;
use pipeline::kafka::KafkaArgs;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use stack::{Options, Process, Stack};
use uuid::Uuid;

use crate::broker;
use crate::database::{TestDatabase, assert_candles};
use crate::log::{SECOND, decimal, encoder, tick};

/// Of five kills one is the server's.
const SERVER_EVERY: usize = 5;
const PATIENCE: Duration = Duration::from_secs(180);

/// The highest revision of each event that was sent.
type Sent = Arc<Mutex<BTreeMap<Uuid, PriceTick>>>;

/// Where in a transaction a kill is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    AnyTime,
    DuringCommit,
    AfterCommit,
}

struct Storm {
    stack: Stack,
    database: TestDatabase,
    writers: Vec<(String, Process)>,
    rng: Rng,
    killed: BTreeMap<String, usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_around_commit_lose_and_repeat_nothing() {
    let kills = std::env::var("TICKSTREAM_DB_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let stack = Stack::start(Options::default()).await.expect("a stack of its own");
    if stack.postgres().is_none() {
        eprintln!("SKIPPED: DATABASE_URL names a server that this test may not kill");
        return;
    }
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let database = TestDatabase::on(&stack).await;
    database.database().migrate().await.expect("migrated");
    // Makes COMMIT last: it is deferred to it.
    database
        .execute(
            "create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(0.001); return null; end $$;
             create constraint trigger linger after update on latest_prices deferrable initially deferred
                 for each row execute function linger()",
        )
        .await;
    for name in ["writer_1", "writer_2"] {
        database.execute(&format!("create role {name} login password 'pw' in role tickstream_writer")).await;
    }
    broker::create_topics(&database.kafka).await;
    let (sent, goes_on) = (Sent::default(), Arc::new(AtomicBool::new(true)));
    let load = tokio::spawn(load(database.kafka.clone(), sent.clone(), goes_on.clone(), Rng::with_seed(seed)));
    let mut storm =
        Storm { stack, database, writers: Vec::new(), rng: Rng::with_seed(seed + 1), killed: BTreeMap::new() };
    for writers in 1..=2 {
        storm.start(&format!("writer_{writers}")).await;
        let begun = Instant::now();
        for number in 1..=kills {
            storm.kill(number % SERVER_EVERY == 0).await;
        }
        eprintln!("{writers} writers, {kills} kills in {:.0?}, seed {seed}: {:?}", begun.elapsed(), storm.killed);
    }
    goes_on.store(false, Ordering::Relaxed);
    let records = load.await.expect("no panic");
    let events = storm.wait_until_written(&sent).await;
    for (_, writer) in &storm.writers {
        assert!(writer.stop(Signal::SIGTERM, Duration::from_secs(30)), "a writer ends when it is asked to");
    }
    assert_latest(&storm.database).await;
    assert_candles(&storm.database).await;
    assert!(broker::dead_letters(&storm.database.kafka).is_empty(), "a kill makes no dead letters");
    eprintln!("{records} records, {events} events: 0 differences");
}

impl Storm {
    /// A writer as a login of its own, by which its connection is known.
    async fn start(&mut self, name: &str) {
        let TestDatabase { url, kafka, .. } = &self.database;
        let (_, address) = url.rsplit_once('@').expect("a URL with a password");
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-db"));
        command
            .args(["--no-migrate", "--group", "kills", "--max-age-ms", "20"])
            .env("DATABASE_URL", format!("postgres://{name}:pw@{address}"))
            .env("KAFKA_BOOTSTRAP_SERVERS", &kafka.kafka_bootstrap_servers)
            // A member that comes back under its name need not wait until it is missed.
            .env("KAFKA_PROPERTIES", format!("group.instance.id={name},session.timeout.ms=6000"))
            .env("RUST_LOG", "warn");
        let process = Process::spawn(name, &mut command, &self.stack.logs(), self.stack.watchdog()).expect("started");
        self.writers.push((name.to_owned(), process));
    }

    async fn kill(&mut self, server: bool) {
        let (name, _) = &self.writers[self.rng.usize(..self.writers.len())];
        let name = name.clone();
        let moments = [Moment::AnyTime, Moment::DuringCommit, Moment::DuringCommit, Moment::AfterCommit];
        let moment = moments[self.rng.usize(..moments.len())];
        self.wait_until_it_writes(&name).await;
        let mut witness = PgConnection::connect(&self.database.url).await.expect("it writes, so it is there");
        let backend = self.wait_for(moment, &name).await;
        let how = match (server, backend) {
            (true, Some(backend)) if self.rng.bool() => {
                // One backend that dies takes the server through a recovery.
                let _ = kill(Pid::from_raw(backend), Signal::SIGKILL);
                self.wait_until_recovering(&mut witness).await;
                "backend"
            }
            (true, _) => {
                self.stack.postgres().expect("its own").restart().expect("restarted");
                "server"
            }
            (false, _) => {
                let at = self.writers.iter().position(|(writer, _)| *writer == name).expect("a writer");
                let (_, writer) = self.writers.swap_remove(at);
                writer.stop(Signal::SIGKILL, Duration::from_secs(10));
                self.wait_until_reachable().await;
                self.start(&name).await;
                "writer"
            }
        };
        self.wait_until_reachable().await;
        *self.killed.entry(format!("{how} {moment:?}")).or_default() += 1;
    }

    /// A kill of what has not begun would prove nothing.
    async fn wait_until_it_writes(&self, name: &str) {
        let begun = "select count(*)::text from pg_stat_activity where backend_type = 'client backend' and xact_start is not null";
        let begun = format!("{begun} and usename = '{name}'");
        let deadline = Instant::now() + PATIENCE;
        while self.ask(&begun).await.is_none_or(|found| found == "0") {
            if let Some((_, writer)) = self.writers.iter().find(|(writer, _)| writer == name) {
                assert!(writer.ended().is_none(), "{:?}", writer.died());
            }
            assert!(Instant::now() < deadline, "{name} does not write");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for the moment, but not for ever; gives the writer's backend.
    async fn wait_for(&mut self, moment: Moment, name: &str) -> Option<i32> {
        if moment == Moment::AnyTime {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..60))).await;
        }
        let found = match moment {
            Moment::AnyTime => "true",
            Moment::DuringCommit => "state = 'active' and query = 'COMMIT'",
            Moment::AfterCommit => {
                "state = 'idle' and query = 'COMMIT' and state_change > clock_timestamp() - interval '2 ms'"
            }
        };
        let query = format!("select pid from pg_stat_activity where usename = '{name}' and {found} limit 1");
        let mut connection = PgConnection::connect(&self.database.url).await.ok()?;
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            // Nothing between one look and the next: a COMMIT is short.
            let row = sqlx::query(AssertSqlSafe(query.clone())).fetch_optional(&mut connection).await.ok()?;
            if let Some(row) = row {
                return row.try_get(0).ok();
            }
        }
        None
    }

    async fn ask(&self, query: &str) -> Option<String> {
        let mut connection = PgConnection::connect(&self.database.url).await.ok()?;
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.ok()
    }

    /// The others' connections are cut a moment after a backend has died.
    async fn wait_until_recovering(&self, witness: &mut PgConnection) {
        let deadline = Instant::now() + PATIENCE;
        while witness.ping().await.is_ok() {
            assert!(Instant::now() < deadline, "the server goes through a recovery");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn wait_until_reachable(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask("select 'here'").await.is_none() {
            assert!(Instant::now() < deadline, "Postgres came back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the rows are those that were sent. Gives how many.
    async fn wait_until_written(&self, sent: &Sent) -> usize {
        let expected: Vec<String> = {
            let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.values()
                .map(|tick| format!("{} {} {} {}", tick.event_id, tick.revision, tick.event_time, tick.price))
                .collect()
        };
        let rows = "select concat_ws(' ', event_id, revision, (extract(epoch from event_time) * 1000000)::bigint, \
                    trim_scale(price)) from ticks order by event_id, event_time";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.database.column(rows).await;
            if found == expected {
                return expected.len();
            }
            assert!(
                Instant::now() < deadline,
                "{} rows instead of {}; first difference {:?}",
                found.len(),
                expected.len(),
                found.iter().zip(&expected).find(|(found, expected)| found != expected)
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// New ticks, repeats, corrections, moves and retractions of a few symbols, over both partitions, until told to stop. Gives
/// how many records.
async fn load(kafka: KafkaArgs, sent: Sent, goes_on: Arc<AtomicBool>, mut rng: Rng) -> usize {
    let encoder = encoder().await;
    let (mut events, mut records): (Vec<PriceTick>, usize) = (Vec::new(), 0);
    while goes_on.load(Ordering::Relaxed) {
        let mut values = Vec::new();
        for _ in 0..300 {
            let now = jiff::Timestamp::now().as_microsecond();
            let known =
                if events.is_empty() { None } else { Some(rng.usize(events.len().saturating_sub(2000)..events.len())) };
            let next = match (rng.u32(..100), known) {
                (0..8, Some(known)) => events[known].clone(),
                (8..12, Some(known)) => {
                    let before = events[known].clone();
                    let mut next =
                        PriceTick { revision: before.revision + 1, previous_event_time: None, ..before.clone() };
                    match rng.u32(..3) {
                        0 => next.price = decimal(&format!("{}.5", rng.u32(1..1000))),
                        1 => next.retracted = !next.retracted,
                        _ => {
                            next.event_time = before.event_time - rng.i64(1..90) * SECOND;
                            next.previous_event_time = Some(before.event_time);
                        }
                    }
                    events[known] = next.clone();
                    next
                }
                _ => {
                    let symbol = format!("S{}-USD", rng.u32(..8));
                    let price = format!("{}.{}", rng.u32(1..1000), rng.u32(1..1000));
                    let new = PriceTick { symbol, event_time: now, ..tick(&format!("k{}", events.len()), 0, &price) };
                    events.push(new.clone());
                    new
                }
            };
            values.push(encoder.tick(&next));
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.insert(next.event_id, next);
        }
        records += values.len();
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || broker::send(&kafka, &values)).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    records
}

async fn assert_latest(database: &TestDatabase) {
    let differences = "select to_jsonb(newest)::text || ' is not ' || to_jsonb(shown)::text
        from (select symbol, source, event_id, revision, price from latest_prices) as shown
        full join (
            select distinct on (symbol, source) symbol, source, event_id, revision, price
            from ticks where not retracted
            order by symbol, source, event_time desc, sequence desc nulls last, event_id desc
        ) as newest using (symbol, source, event_id, revision, price)
        where newest is null or shown is null";
    assert_eq!(database.column(differences).await, Vec::<String>::new());
}
