//! The binary itself: against a broker and a database, through an outage, and what it says when it cannot start.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack::{BrokerLine, Fault, Options, Stack};

use crate::broker;
use crate::database::TestDatabase;
use crate::log::{encoder, tick};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Service {
    child: Child,
    port: u16,
}

pub fn command(database_url: &str, servers: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-db"));
    command.env("DATABASE_URL", database_url).env("KAFKA_BOOTSTRAP_SERVERS", servers).env("RUST_LOG", "info");
    command
}

impl Service {
    pub fn start(database: &TestDatabase, group: &str) -> Self {
        Self::start_telling(database, group, Stdio::inherit())
    }

    /// Its log goes to `log`.
    pub fn start_telling(database: &TestDatabase, group: &str, log: Stdio) -> Self {
        Self::start_with(database, group, log, &[])
    }

    /// With these variables besides.
    fn start_with(database: &TestDatabase, group: &str, log: Stdio, variables: &[(&str, &str)]) -> Self {
        let [port] = stack::free_ports().expect("a free port");
        let child = command(&database.url, &database.kafka.kafka_bootstrap_servers)
            .envs(variables.iter().copied())
            .args(["--admin-addr", &format!("127.0.0.1:{port}"), "--group", group, "--max-age-ms", "50"])
            .stderr(log)
            .spawn()
            .expect("started");
        Self { child, port }
    }

    /// What `path` of the admin server answers, headers included; nothing while it does not listen.
    fn ask(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let sent = write!(stream, "GET {path} HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer));
            drop(sent);
        }
        answer
    }

    pub fn wait_ready(&self) {
        wait_for("readiness", || self.ask("/readyz").contains("200 OK"));
    }

    fn peak_megabytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
    }

    /// Waits for it to end by itself. Gives its exit code.
    pub fn wait_ended(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn terminate(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("signalled");
        assert!(self.child.wait().expect("ended").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub async fn wait_rows(database: &TestDatabase, rows: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = database.value("select count(*)::text from ticks").await;
        if found == rows.to_string() {
            return;
        }
        assert!(Instant::now() < deadline, "{found} rows instead of {rows}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ticks of today, as their broker time is.
pub async fn values(from: usize, count: usize) -> Vec<Vec<u8>> {
    let encoder = encoder().await;
    let now = jiff::Timestamp::now().as_microsecond();
    (from..from + count)
        .map(|i| {
            let at = tick(&format!("t{i}"), 0, &format!("{i}.25"));
            encoder.tick(&pipeline::events::PriceTick { event_time: now + i as i64, ..at })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_topic_to_rows_and_dead_letters() {
    let database = TestDatabase::empty().await;
    broker::create_topics(&database.kafka).await;
    let mut records = values(0, 20_000).await;
    records.insert(700, b"garbage".to_vec());
    broker::send(&database.kafka, &records);

    let service = Service::start(&database, "consumer-db");
    service.wait_ready();
    wait_rows(&database, 20_000).await;
    wait_for("the dead letter's commit", || {
        service.ask("/metrics").contains("tickstream_consumer_dead_letters_total 1")
    });
    let metrics = service.ask("/metrics");
    assert!(metrics.contains("tickstream_db_rows_total{result=\"inserted\"} 20000"), "{metrics}");
    let peak = service.peak_megabytes();
    assert!(peak < 80, "{peak} MB");
    service.terminate();
    let letters = broker::dead_letters(&database.kafka);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].0, b"garbage");

    let service = Service::start(&database, "consumer-db");
    broker::send(&database.kafka, &values(20_000, 5).await);
    wait_rows(&database, 20_005).await;
    let metrics = service.ask("/metrics");
    assert!(
        metrics.contains("tickstream_db_rows_total{result=\"unchanged\"} 0"),
        "it went on at its commit: {metrics}"
    );
    service.terminate();

    // Another group reads everything again and changes nothing, nor does it lock what says how far the database is.
    let positions = "select string_agg(concat_ws(' ', xmin, xmax, next_offset), ', ') from topic_positions";
    let (before, positions_before) = (database.dump().await, database.value(positions).await);
    let service = Service::start(&database, "again");
    let all = "tickstream_consumer_records_total 20006";
    wait_for("a whole replay", || service.ask("/metrics").contains(all));
    service.terminate();
    assert!(database.dump().await == before, "a replay changed something");
    assert_eq!(database.value(positions).await, positions_before);
    commits_without_answers(&database).await;
}

/// The broker commits what it is asked to, or is not reached, and nobody hears of it. One member is killed then, one is asked
/// to end; what they wrote is written once.
async fn commits_without_answers(database: &TestDatabase) {
    let Some(kafka) = stack::shared().await.kafka() else {
        eprintln!("SKIPPED: KAFKA_BOOTSTRAP_SERVERS names a broker that this test cannot stand before");
        return;
    };
    let line = BrokerLine::to(kafka).await.expect("a free port");
    let lost = Arc::new(AtomicUsize::new(0));
    let counted = lost.clone();
    line.set(move |request| {
        request.is_commit_of_offsets().then(|| {
            counted.fetch_add(1, Ordering::Relaxed);
            Fault::AnswerLost
        })
    });
    // A member that comes back under its name need not wait until it is missed.
    let variables =
        [("KAFKA_BOOTSTRAP_SERVERS", &*line.bootstrap_servers), ("KAFKA_PROPERTIES", "group.instance.id=unanswered")];
    let start = || Service::start_with(database, "unanswered", Stdio::inherit(), &variables);
    let before = database.dump().await;
    let service = start();
    wait_for("a whole replay", || service.ask("/metrics").contains("tickstream_consumer_records_total 20006"));
    assert!(lost.load(Ordering::Relaxed) > 0, "a commit was asked for");
    drop(service);
    assert!(database.dump().await == before, "a replay changed something");

    let service = start();
    broker::send(&database.kafka, &values(20_005, 1000).await);
    wait_rows(database, 21_005).await;
    service.terminate();
    line.mend();
    let service = start();
    broker::send(&database.kafka, &values(21_005, 5).await);
    wait_rows(database, 21_010).await;
    service.terminate();
    assert_eq!(broker::committed(&database.kafka, "unanswered"), Some(21_011));
    assert_eq!(database.value("select count(distinct event_id)::text from ticks").await, "21010");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restart_pauses_and_loses_nothing() {
    let stack = Stack::start(Options { fsync: false, ..Options::default() }).await.expect("a stack of its own");
    let Some(postgres) = stack.postgres() else {
        eprintln!("SKIPPED: DATABASE_URL names a server that this test may not stop");
        return;
    };
    let database = TestDatabase::on(&stack).await;
    broker::create_topics(&database.kafka).await;
    broker::send(&database.kafka, &values(0, 1000).await);
    let service = Service::start(&database, "consumer-db");
    service.wait_ready();
    wait_rows(&database, 1000).await;

    postgres.stop().expect("stopped");
    broker::send(&database.kafka, &values(1000, 5000).await);
    wait_for("readiness red with a reason", || {
        let answer = service.ask("/readyz");
        answer.contains("503") && answer.contains("sink: ")
    });
    assert!(service.ask("/livez").contains("200 OK"), "an outage is no reason to be killed");
    postgres.restart().expect("restarted");
    wait_rows(&database, 6000).await;
    service.wait_ready();

    // Under load, again and again.
    let kafka = database.kafka.clone();
    let sending = tokio::spawn(async move {
        for round in 0..10 {
            broker::send(&kafka, &values(6000 + round * 2000, 2000).await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    for _ in 0..3 {
        postgres.stop().expect("stopped");
        postgres.restart().expect("restarted");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    sending.await.expect("sent");
    wait_rows(&database, 26_000).await;
    service.terminate();
    assert!(broker::dead_letters(&database.kafka).is_empty(), "an outage makes no dead letters");
    drop(stack.stop().await);
}

fn refused(mut command: Command, words: &[&str]) {
    let Output { status, stderr, .. } = command.stdout(Stdio::null()).output().expect("ran");
    let stderr = String::from_utf8(stderr).expect("text");
    let last = stderr.lines().last().unwrap_or_default();
    assert_eq!(status.code(), Some(2), "{stderr}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not in {last:?}");
    }
    assert!(!stderr.contains("hunter2") && !stderr.contains("panicked"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_the_start_is_said_in_one_line() {
    let database = TestDatabase::empty().await;
    let servers = database.kafka.kafka_bootstrap_servers.clone();
    let (_, address) = database.url.rsplit_once('@').expect("a URL with a password");
    let (server, _) = database.url.rsplit_once('/').expect("a URL with a database");
    let [nobody] = stack::free_ports().expect("a free port");

    refused(command("mysql://u:hunter2@h/d", &servers), &["DATABASE_URL", "postgres://"]);
    refused(command(&format!("postgres://u:hunter2@127.0.0.1:{nobody}/d"), &servers), &["DATABASE_URL", "refused"]);
    refused(command(&format!("postgres://tickstream:hunter2@{address}"), &servers), &["DATABASE_URL", "28P01"]);
    refused(command(&format!("{server}/nowhere"), &servers), &["DATABASE_URL", "3D000"]);
    refused(command(&database.url, &format!("127.0.0.1:{nobody}")), &["KAFKA_BOOTSTRAP_SERVERS"]);

    let empty = TestDatabase::empty().await;
    let mut unmigrated = command(&empty.url, &servers);
    unmigrated.arg("--no-migrate");
    refused(unmigrated, &["consumer-db migrate"]);

    let newer = TestDatabase::new().await;
    newer
        .execute("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, '', 0)")
        .await;
    refused(command(&newer.url, &servers), &["newer", "9999"]);
    let mut unchecked = command(&newer.url, &servers);
    unchecked.arg("--no-migrate");
    refused(unchecked, &["newer", "9999"]);

    let mut migrate = command(&database.url, "nobody:1");
    let output = migrate.arg("migrate").output().expect("ran");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(database.value("select count(*)::text from ticks").await, "0");
}
