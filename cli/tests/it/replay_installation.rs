//! A whole installation for tests of replays: a broker, a database and a lake of its own, with consumer-db, consumer-lake and
//! the refiner at work, prices that a parser got wrong for a time, and ticks that go on arriving.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pipeline::codec::{Encoder, Framing};
use pipeline::decimal::Decimal38;
use pipeline::events::{PriceTick, event_id};
use pipeline::example;
use pipeline::kafka::KafkaArgs;
use pipeline::payload::{Payload, split};
use pipeline::store::{Store, StoreArgs};
use pipeline::topics::{PAYLOADS, TICKS};
use producer::config::SourceName;
use producer::parse;
use producer::sources;
use producer::symbols::Symbols;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use stack::{Kafka, Process, Stack};
use uuid::Uuid;

use crate::{Answer, command, database, run};

const HOUR: i64 = 3_600_000_000;
const PATIENCE: Timeout = Timeout::After(Duration::from_secs(60));
const SUBSCRIBED: &str =
    r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches","heartbeat"]}"#;

pub struct Installation {
    pub stack: &'static Stack,
    pub args: KafkaArgs,
    pub database_url: String,
    pub prefix: String,
    pub encoder: Encoder,
    producer: FutureProducer,
    symbols: Arc<Symbols>,
    services: Vec<Process>,
    // Ends after the services.
    _kafka: Kafka,
}

/// A price that was published, and what the payload says.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// `None` where nothing was published.
    pub was: Option<PriceTick>,
    /// `None` for a tick that no payload tells.
    pub right: Option<PriceTick>,
}

/// What Postgres shows of an event.
pub type Shown = (Decimal38, String, i64, bool);

impl Installation {
    /// With every service at work.
    pub async fn start(name: &str) -> Self {
        let mut installation = Self::without_services(name).await;
        for service in ["consumer-db", "consumer-lake", "refiner"] {
            installation.serve(service);
        }
        installation
    }

    pub async fn without_services(name: &str) -> Self {
        let stack = stack::shared().await;
        let kafka = stack.another_kafka(name).await.expect("another broker");
        let args = KafkaArgs { kafka_bootstrap_servers: kafka.bootstrap_servers(), kafka_properties: Vec::new() };
        let (connection, database_url) = database(stack, &name.replace('-', "_")).await;
        connection.close().await.expect("closed");
        let installation = Self {
            stack,
            producer: args.producer().create().expect("producer"),
            args,
            database_url,
            prefix: name.to_owned(),
            encoder: Encoder::new(Framing::SingleObject).await.expect("encoder"),
            symbols: Arc::new(Symbols::built_in()),
            services: Vec::new(),
            _kafka: kafka,
        };
        installation.ends(0, &["topics", "apply"]).await;
        installation
    }

    /// Its lake.
    pub async fn store(&self) -> Store {
        let access = &self.stack.s3;
        let args = StoreArgs {
            s3_bucket: access.bucket.clone(),
            s3_endpoint_url: Some(access.endpoint_url.clone()),
            s3_prefix: self.prefix.clone(),
            aws_region: access.region.clone(),
        };
        Store::connect_as(&args, &access.access_key_id, &access.secret_access_key).await.expect("a bucket")
    }

    fn environment(&self, command: &mut Command) {
        command
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.args.kafka_bootstrap_servers)
            .env("DATABASE_URL", &self.database_url)
            .env("S3_PREFIX", &self.prefix);
    }

    /// Starts a service of the workspace.
    pub fn serve(&mut self, service: &str) {
        let mut command = Command::new(program(service));
        command.env_clear().envs(self.stack.env());
        self.environment(&mut command);
        command.env("ADMIN_ADDR", "127.0.0.1:0").env("LAKE_MAX_AGE_MS", "1000");
        if service == "refiner" {
            command.args(["run", "--every", "1s", "--open-every", "1s", "--memory-mb", "256"]);
        }
        let logs = self.stack.data_dir().join(&self.prefix).join("logs");
        let process = Process::spawn(service, &mut command, &logs, self.stack.watchdog()).expect("a service starts");
        self.services.push(process);
    }

    /// `tickstream` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.stack, arguments);
        self.environment(&mut command);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Answer {
        run(self.command(arguments)).await
    }

    /// Which must end so.
    pub async fn ends(&self, code: i32, arguments: &[&str]) -> Answer {
        let answer = self.run(arguments).await;
        let logs = || self.services.iter().map(|service| stack::tail(service.log(), 5)).collect::<Vec<_>>().join("\n");
        assert_eq!(answer.code, code, "{arguments:?}\n{}\n{}\n{}", answer.stdout, answer.stderr, logs());
        answer
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database_url).await.expect("the database")
    }

    async fn send(&self, topic: &str, key: &str, value: &[u8]) {
        let record = FutureRecord::<str, [u8]>::to(topic).key(key).payload(value);
        self.producer.send(record, PATIENCE).await.expect("delivered");
    }

    pub async fn publish(&self, ticks: &[PriceTick]) {
        let sent = ticks.iter().map(async |tick| self.send(TICKS, &tick.symbol, &self.encoder.tick(tick)).await);
        futures::future::join_all(sent).await;
    }

    /// What today's parser makes of one trade, whose payload is published.
    async fn trade(&self, number: u32, product: &str, price: &str, at: i64) -> PriceTick {
        let time = jiff::Timestamp::from_microsecond(at - 250_000).expect("a time");
        let frame = format!(
            r#"{{"type":"match","trade_id":{number},"side":"buy","size":"0.25","price":"{price}","product_id":"{product}","sequence":{number},"time":"{time}"}}"#
        );
        let source = sources::reader(SourceName::Coinbase, &self.symbols).expect("it has a parser");
        let body = bytes::Bytes::from(frame);
        let payload = parse::payload::Payload::new("coinbase", &body, at, SUBSCRIBED);
        let mut ticks = source.parse(&payload).ticks;
        assert_eq!(ticks.len(), 1);
        let kept = Payload {
            payload_id: payload.id,
            source: "coinbase".to_owned(),
            request: SUBSCRIBED.to_owned(),
            status: None,
            received_at: at,
            body: body.clone(),
        };
        for part in split(&kept) {
            self.send(PAYLOADS, "coinbase", &self.encoder.payload(&part)).await;
        }
        ticks.remove(0)
    }

    /// Rightly published trades.
    pub async fn right_trades(&self, first: u32, count: u32) {
        let mut ticks = Vec::new();
        for number in 0..count {
            ticks.push(self.trade(first + number, "BTC-USD", &format!("67000.{number:02}"), now()).await);
        }
        self.publish(&ticks).await;
    }

    /// A time in which a parser was wrong in every way: of ten trades five have ten times the price, one is an hour early, one
    /// has another symbol, one was never published, two are right, and one was made up beside the last. Gives when it was.
    pub async fn wrong_trades(&self, first: u32, tens: u32) -> (Vec<Wrong>, [String; 2]) {
        let begin = apart().await;
        let mut found = Vec::new();
        for number in 0..tens * 10 {
            let product = if number % 10 == 6 { "ETH-USD" } else { "BTC-USD" };
            let right = self.trade(first + number, product, &format!("67000.{:02}", number % 100), now()).await;
            let was = match number % 10 {
                0..5 => {
                    let price = format!("670000.{:02}", number % 100).parse().expect("a price");
                    Some(PriceTick { price, ..right.clone() })
                }
                5 => Some(PriceTick { event_time: right.event_time - HOUR, ..right.clone() }),
                6 => Some(PriceTick { symbol: "ETC-USD".to_owned(), base: "ETC".to_owned(), ..right.clone() }),
                7 => None,
                8 => Some(right.clone()),
                _ => {
                    let ghost = PriceTick { event_id: Uuid::new_v4(), ..right.clone() };
                    found.push(Wrong { was: Some(ghost), right: None });
                    Some(right.clone())
                }
            };
            found.push(Wrong { was, right: Some(right) });
        }
        let was: Vec<PriceTick> = found.iter().filter_map(|wrong| wrong.was.clone()).collect();
        self.publish(&was).await;
        let end = apart().await;
        (found, [begin, end])
    }

    /// Plans from the payloads of that time, and executes the plan.
    pub async fn generation(&self, name: &str, [begin, end]: &[String; 2]) -> [Answer; 2] {
        let file = self.stack.data_dir().join(&self.prefix).join(format!("{name}.json"));
        let file = file.to_str().expect("UTF-8");
        let span = ["--from-datetime", begin, "--to-datetime", end];
        let what = ["replay", "plan", "--name", name, "--renormalize", "--payloads-of", "coinbase", "--out", file];
        let plan = self.ends(0, &[&what[..], &span].concat()).await;
        [plan, self.ends(0, &["replay", "execute", file]).await]
    }

    /// What Postgres shows of these events: price, symbol, time, and whether it is taken back.
    pub async fn shown(&self, events: &[Uuid]) -> BTreeMap<Uuid, Shown> {
        let query = "select event_id, price::text, symbol, (extract(epoch from event_time) * 1000000)::bigint, retracted \
                     from ticks where event_id = any($1)";
        let rows = sqlx::query(query).bind(events).fetch_all(&mut self.connect().await).await.expect("rows");
        let price = |row: &PgRow| row.get::<String, _>(1).parse().expect("a price");
        rows.iter().map(|row| (row.get(0), (price(row), row.get(2), row.get(3), row.get(4)))).collect()
    }

    /// A checksum over every column of the rows of ticks that `condition` leaves.
    pub async fn checksum(&self, condition: &str) -> String {
        let query = format!(
            "select count(*) || ' ' || coalesce(md5(string_agg(ticks::text, '|' order by event_time, event_id)), '') from ticks where {condition}"
        );
        let checksum: String =
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut self.connect().await).await.expect("a checksum");
        checksum
    }

    pub async fn wait_for(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !done().await {
            assert!(Instant::now() < deadline, "waited too long until {what}");
            for service in &self.services {
                assert!(service.ended().is_none(), "{}", service.died().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Until topic, lake and database hold the same, but for what came in the last minute: ticks go on coming.
    pub async fn audit_is_clean(&self) -> Answer {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let audit = self.run(&["audit", "--topic", TICKS, "--taken-within", "1m"]).await;
            if audit.code == 0 {
                return audit;
            }
            assert!(Instant::now() < deadline, "{}\n{}", audit.stdout, audit.stderr);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Ticks go on arriving until it is dropped.
    pub fn live(self: &Arc<Self>) -> Live {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (this, stopped, count) = (self.clone(), stop.clone(), sent.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let now = jiff::Timestamp::now().as_microsecond();
                let number = count.load(Ordering::Relaxed);
                let event_id = event_id("live", "trades", "SOL-USD", &number.to_string());
                let (source, symbol, base) = ("live".to_owned(), "SOL-USD".to_owned(), "SOL".to_owned());
                let tick =
                    PriceTick { event_id, source, symbol, base, event_time: now, received_at: now, ..example::tick() };
                this.publish(&[tick]).await;
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Live { stop, sent, task }
    }
}

/// Ticks of source `live` that go on arriving.
pub struct Live {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Live {
    /// How many the broker took.
    pub async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic");
        self.sent.load(Ordering::Relaxed)
    }
}

pub fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// A time that nothing else is at, whichever clock is asked.
async fn apart() -> String {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let time = jiff::Timestamp::now().to_string();
    tokio::time::sleep(Duration::from_millis(50)).await;
    time
}

/// What Postgres is to show of these events: as they were published, when they are put right, and when that is taken back.
pub fn expected(wrong: &[Wrong]) -> [BTreeMap<Uuid, Shown>; 3] {
    let shown = |tick: &PriceTick, retracted| {
        let PriceTick { event_id, price, symbol, event_time, .. } = tick.clone();
        (event_id, (price, symbol, event_time, retracted))
    };
    let published = wrong.iter().filter_map(|wrong| Some(shown(wrong.was.as_ref()?, false)));
    let right = wrong.iter().filter_map(|wrong| match (&wrong.right, &wrong.was) {
        (Some(right), _) => Some(shown(right, false)),
        (None, was) => Some(shown(was.as_ref()?, true)),
    });
    let back = wrong.iter().filter_map(|wrong| match (&wrong.was, &wrong.right) {
        (Some(was), _) => Some(shown(was, false)),
        (None, right) => Some(shown(right.as_ref()?, true)),
    });
    [published.collect(), right.collect(), back.collect()]
}

pub fn ids(wrong: &[Wrong]) -> Vec<Uuid> {
    let of = |wrong: &Wrong| wrong.was.as_ref().or(wrong.right.as_ref()).map(|tick| tick.event_id);
    wrong.iter().filter_map(of).collect()
}

/// A program of the workspace, built beside this one.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_tickstream")).with_file_name(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    path
}
