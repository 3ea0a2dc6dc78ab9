//! A dashboard on topics of its own, a publisher for them, and a WebSocket client that checks the sequence.

use std::time::{Duration, Instant};

use clap::Parser;
use dashboard::{Config, Dashboard};
use futures::{SinkExt, StreamExt};
use pipeline::codec::{Encoder, Framing};
use pipeline::events::{Alert, Gap, PriceTick, SourceHealth, event_id};
use pipeline::example;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Three topics of one test, and the way to write to them.
pub struct Topics {
    pub servers: String,
    pub ticks: String,
    gaps: String,
    health: String,
    alerts: String,
    producer: BaseProducer,
    encoder: Encoder,
}

impl Topics {
    pub async fn create(servers: &str) -> Self {
        Self::create_with_time(servers, "LogAppendTime").await
    }

    /// With `CreateTime` records keep the time that they are given.
    pub async fn create_with_time(servers: &str, time: &str) -> Self {
        let unique = Uuid::new_v4().simple();
        let [ticks, gaps, health, alerts] =
            ["ticks", "gaps", "health", "alerts"].map(|name| format!("dashboard-{name}-{unique}"));
        let kafka = Config::parse_from(["dashboard", "--kafka-bootstrap-servers", servers]).kafka;
        let producer = kafka.producer().create().expect("a producer");
        let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
        let topics = Self { servers: servers.to_owned(), ticks, gaps, health, alerts, producer, encoder };
        for (name, partitions) in [(&topics.ticks, 2), (&topics.gaps, 1), (&topics.health, 1), (&topics.alerts, 1)] {
            topics.create_topic_with_time(name, partitions, time).await;
        }
        topics
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        let kafka = Config::parse_from(["dashboard", "--kafka-bootstrap-servers", &self.servers]).kafka;
        kafka.admin().create().expect("an admin client")
    }

    /// As soon as the one that is being deleted has gone.
    pub async fn create_again(&self, name: &str, partitions: i32) {
        let topic =
            NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let created = self.admin().create_topics([&topic], &AdminOptions::new()).await.expect("create topics");
            if created.iter().all(Result::is_ok) {
                return;
            }
            assert!(Instant::now() < deadline, "{created:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn create_topic_with_time(&self, name: &str, partitions: i32, time: &str) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("message.timestamp.type", time);
        let created = self.admin().create_topics([&topic], &AdminOptions::new()).await.expect("create topics");
        assert!(created.iter().all(Result::is_ok), "{created:?}");
    }

    /// The arguments of a dashboard on these topics.
    pub fn config(&self, extra: &[&str]) -> Config {
        let fixed = [
            "dashboard",
            "--listen-addr=127.0.0.1:0",
            "--admin-addr=127.0.0.1:0",
            "--kafka-bootstrap-servers",
            &self.servers,
            "--ticks-topic",
            &self.ticks,
            "--gaps-topic",
            &self.gaps,
            "--health-topic",
            &self.health,
            "--alerts-topic",
            &self.alerts,
        ];
        Config::parse_from(fixed.iter().chain(extra))
    }

    pub fn raw(&self, partition: i32, value: &[u8]) {
        let record = BaseRecord::to(&self.ticks).partition(partition).key("k").payload(value);
        self.producer.send(record).expect("queued");
    }

    pub fn flush(&self) {
        self.producer.flush(PATIENCE).expect("the broker takes it");
    }

    pub fn publish(&self, ticks: &[PriceTick]) {
        for tick in ticks {
            let partition = i32::from(tick.symbol.as_bytes()[0] % 2);
            self.raw(partition, &self.encoder.tick(tick));
        }
        self.flush();
    }

    /// To partition 0, each with its event time as the record's time.
    pub fn publish_as_of_then(&self, producer: &BaseProducer, ticks: &[PriceTick]) {
        for tick in ticks {
            let value = self.encoder.tick(tick);
            let record =
                BaseRecord::to(&self.ticks).partition(0).key("k").payload(&value).timestamp(tick.event_time / 1000);
            producer.send(record).expect("queued");
        }
        producer.flush(PATIENCE).expect("the broker takes it");
    }

    /// To the last partition, which a test has added.
    pub fn publish_to(&self, partition: i32, tick: &PriceTick) {
        self.raw(partition, &self.encoder.tick(tick));
        self.flush();
    }

    pub fn publish_gap(&self, gap: &Gap) {
        let value = self.encoder.gap(gap);
        self.producer.send(BaseRecord::to(&self.gaps).key("k").payload(&value)).expect("queued");
        self.flush();
    }

    pub fn publish_alert(&self, alert: &Alert) {
        let value = self.encoder.alert(alert);
        self.producer.send(BaseRecord::to(&self.alerts).key("k").payload(&value)).expect("queued");
        self.flush();
    }

    pub fn publish_health(&self, health: &SourceHealth) {
        let value = self.encoder.health(health);
        self.producer.send(BaseRecord::to(&self.health).key("k").payload(&value)).expect("queued");
        self.flush();
    }
}

/// A dashboard that runs in this process, on the shared stack.
pub struct Running {
    pub topics: Topics,
    pub addr: std::net::SocketAddr,
    pub admin: String,
    pub shutdown: CancellationToken,
    pub ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub async fn start(extra: &[&str]) -> Running {
    let stack = stack::shared().await;
    start_on(Topics::create(&stack.kafka_bootstrap_servers).await, extra).await
}

pub async fn start_on(topics: Topics, extra: &[&str]) -> Running {
    let shutdown = CancellationToken::new();
    let dashboard: Dashboard =
        dashboard::start(topics.config(extra), shutdown.clone()).await.expect("the dashboard starts");
    let (addr, admin) = (dashboard.addr, format!("http://{}", dashboard.admin_addr));
    Running { topics, addr, admin, shutdown, ended: tokio::spawn(dashboard.wait()) }
}

impl Running {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        get(&self.url(path)).await
    }

    pub async fn connect(&self) -> Client {
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/ws", self.addr)).await.expect("connected");
        Client { socket, seq: 0 }
    }

    /// The value of a counter or gauge whose line starts with `name`.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = get(&format!("{}/metrics", self.admin)).await.text().await.expect("text");
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits until the admin server answers /readyz with `status`; gives its text.
    pub async fn ready_is(&self, status: u16) -> String {
        let url = format!("{}/readyz", self.admin);
        let seen = async {
            loop {
                let response = get(&url).await;
                if response.status().as_u16() == status {
                    return response.text().await.expect("text");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(3 * PATIENCE, seen).await.expect("readiness changes")
    }
}

pub async fn get(url: &str) -> reqwest::Response {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::get(url).await.expect("an answer")
}

pub struct Client<S = MaybeTlsStream<TcpStream>> {
    pub socket: WebSocketStream<S>,
    pub seq: u64,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    pub async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("sent");
    }

    /// The next message; its number must be the next one.
    pub async fn next(&mut self) -> Value {
        let text = loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
            match frame.expect("an open connection").expect("a good frame") {
                // Answered by the library.
                Message::Ping(_) => {}
                message => break message.into_text().expect("text"),
            }
        };
        let message: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        self.seq += 1;
        assert_eq!(message["seq"], self.seq, "{message}");
        message
    }

    /// Skips to the first message that `wanted` accepts.
    pub async fn until(&mut self, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let message = self.next().await;
                if wanted(&message) {
                    return message;
                }
            }
        };
        tokio::time::timeout(3 * PATIENCE, found).await.expect("the message comes")
    }

    /// Skips to a snapshot or an update that shows `price` for `symbol`; gives the row.
    pub async fn until_price(&mut self, symbol: &str, price: &str) -> Value {
        let message = self.until(|message| row(message, symbol).is_some_and(|row| row["price"] == price)).await;
        row(&message, symbol).expect("it is there").clone()
    }
}

pub fn row<'a>(message: &'a Value, symbol: &str) -> Option<&'a Value> {
    message["ticks"].as_array()?.iter().find(|row| row["symbol"] == symbol)
}

pub fn is(kind: &'static str) -> impl Fn(&Value) -> bool {
    move |message| message["type"] == kind
}

pub fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("fits")
}

pub fn tick(symbol: &str, price: &str) -> PriceTick {
    let now = now_us();
    PriceTick {
        event_id: event_id("test", "trades", symbol, &now.to_string()),
        source: "test".to_owned(),
        symbol: symbol.to_owned(),
        base: symbol.to_owned(),
        price: price.parse().expect("a price"),
        event_time: now,
        received_at: now,
        source_symbol: symbol.to_owned(),
        ..example::tick()
    }
}
