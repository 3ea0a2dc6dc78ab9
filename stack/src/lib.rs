//! The local stack: Apache Kafka (KRaft, one broker), Postgres and an S3 server, each on a free port of 127.0.0.1 under
//! one data folder, up in seconds. The demo and every crate's tests start it through here, so both meet real servers.
//! Where KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL or S3_ENDPOINT_URL is set, that part is not started and the given one is used.
//!
//! Invariant: whatever is started ends with the process that started it, SIGKILL included (see [`Watchdog`]).
//! Nothing here may outlive its starter or listen on another address than 127.0.0.1.

mod broker_line;
mod data_folder;
mod kafka;
mod port;
mod postgres;
mod process;
pub mod s3;
mod shell;
mod watchdog;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context;

pub use broker_line::{BrokerLine, Fault, Request};
pub use data_folder::DataFolder;
pub use kafka::Kafka;
pub use port::free as free_ports;
pub use postgres::Postgres;
pub use process::{Process, tail};
pub use shell::{shell_variables, without_password};
pub use watchdog::Watchdog;

/// What to start, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kept across runs when given; a temporary folder, removed at the end, when not.
    pub data_dir: Option<PathBuf>,
    /// Whether Postgres waits for the disk. Tests that only want speed say no.
    pub fsync: bool,
    /// The bucket that exists once the stack is up.
    pub bucket: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { data_dir: None, fsync: true, bucket: "lake".to_owned() }
    }
}

/// How to reach the object store.
#[derive(Clone, Debug)]
pub struct S3Access {
    pub endpoint_url: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub region: String,
    pub bucket: String,
}

/// A running stack. Dropping it ends every server and, if the data folder is temporary, removes it.
pub struct Stack {
    pub kafka_bootstrap_servers: String,
    pub database_url: String,
    pub s3: S3Access,
    kafka: Option<Kafka>,
    postgres: Option<Postgres>,
    // Declared after the servers and before the folder: fields drop in this order.
    _s3_server: Option<s3::Server>,
    watchdog: Arc<Watchdog>,
    folder: DataFolder,
}

impl Stack {
    /// Starts what the environment does not already name, and returns once every part has answered a real request.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(move || Self::start_blocking(&options))
            .await
            .context("starting the stack panicked")?
    }

    fn start_blocking(options: &Options) -> anyhow::Result<Self> {
        let folder = DataFolder::open(options.data_dir.as_deref())?;
        let watchdog = Arc::new(Watchdog::start(folder.path(), folder.is_temporary())?);

        let (kafka, postgres, s3) =
            std::thread::scope(|scope| {
                let kafka = scope.spawn(|| match external("KAFKA_BOOTSTRAP_SERVERS") {
                    Some(servers) => Ok((servers, None)),
                    None => Kafka::start(&folder.path().join("kafka"), &folder.logs(), &watchdog)
                        .map(|kafka| (kafka.bootstrap_servers(), Some(kafka))),
                });
                let postgres = scope.spawn(|| match external("DATABASE_URL") {
                    Some(url) => Ok((url, None)),
                    None => Postgres::start(&folder, options.fsync, &watchdog)
                        .map(|postgres| (postgres.url(), Some(postgres))),
                });
                let s3 = match external("S3_ENDPOINT_URL") {
                    Some(url) => external_s3(url, &options.bucket).map(|access| (access, None)),
                    None => s3::Server::start(&folder, &options.bucket)
                        .map(|server| (server.access().clone(), Some(server))),
                };
                (kafka.join(), postgres.join(), s3)
            });
        let (kafka_bootstrap_servers, kafka) = joined(kafka)?;
        let (database_url, postgres) = joined(postgres)?;
        let (s3, s3_server) = s3?;
        Ok(Self { kafka_bootstrap_servers, database_url, s3, kafka, postgres, _s3_server: s3_server, watchdog, folder })
    }

    /// The variables that every service and the reader's own tools understand.
    pub fn env(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("KAFKA_BOOTSTRAP_SERVERS", self.kafka_bootstrap_servers.clone()),
            ("DATABASE_URL", self.database_url.clone()),
            ("S3_ENDPOINT_URL", self.s3.endpoint_url.clone()),
            ("S3_BUCKET", self.s3.bucket.clone()),
            ("AWS_ACCESS_KEY_ID", self.s3.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.s3.secret_access_key.clone()),
            ("AWS_REGION", self.s3.region.clone()),
        ])
    }

    /// The data folder: `kafka/`, `postgres/`, `s3/` and `logs/`.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn logs(&self) -> PathBuf {
        self.folder.logs()
    }

    /// The broker that this stack started; `None` when the environment named another. For tests of outages.
    pub fn kafka(&self) -> Option<&Kafka> {
        self.kafka.as_ref()
    }

    /// Starts another broker beside the stack's: another cluster, with an id of its own. For tests of disasters.
    pub async fn another_kafka(&self, name: &str) -> anyhow::Result<Kafka> {
        let (dir, watchdog) = (self.data_dir().join(name), Arc::clone(&self.watchdog));
        tokio::task::spawn_blocking(move || {
            let logs = dir.join("logs");
            std::fs::create_dir_all(&logs)?;
            Kafka::start(&dir, &logs, &watchdog)
        })
        .await
        .context("starting another broker panicked")?
    }

    /// Starts three brokers that are one cluster, beside the stack's. For tests of leaders that move.
    pub async fn kafka_cluster(&self, name: &str) -> anyhow::Result<[Kafka; 3]> {
        let (dir, watchdog) = (self.data_dir().join(name), Arc::clone(&self.watchdog));
        tokio::task::spawn_blocking(move || Kafka::start_cluster(&dir, &watchdog))
            .await
            .context("starting a cluster panicked")?
    }

    /// The database that this stack started; `None` when the environment named another. For tests of outages.
    pub fn postgres(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    /// Runs further programs under the same promise: they end when this process does.
    pub fn watchdog(&self) -> &Arc<Watchdog> {
        &self.watchdog
    }

    /// The first server that has died without being asked to, with the last lines of its log.
    pub fn died(&self) -> Option<String> {
        let kafka = self.kafka.as_ref().and_then(|kafka| kafka.died());
        kafka.or_else(|| self.postgres.as_ref().and_then(|postgres| postgres.died()))
    }

    /// Ends the servers, in an orderly way where the data folder is kept: it needs no recovery at the next start.
    pub async fn stop(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || {
            if self.folder.is_temporary() {
                return Ok(());
            }
            let kafka = self.kafka.as_ref().map_or(Ok(()), Kafka::stop);
            let postgres = self.postgres.as_ref().map_or(Ok(()), Postgres::stop);
            kafka.and(postgres)
        })
        .await
        .context("stopping the stack panicked")?
    }
}

/// The one stack of this test process, started by whoever asks first. It ends with the process, however that ends.
///
/// Panics when the stack cannot start: no test of the process could say anything then.
pub async fn shared() -> &'static Stack {
    static SHARED: OnceLock<Stack> = OnceLock::new();
    tokio::task::spawn_blocking(|| {
        SHARED.get_or_init(|| {
            let options = Options { fsync: false, ..Options::default() };
            match Stack::start_blocking(&options) {
                Ok(stack) => stack,
                Err(err) => panic!("the local stack did not start: {err:#}"),
            }
        })
    })
    .await
    .expect("the panic of a stack that cannot start is meant to reach the test")
}

fn external(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

fn external_s3(endpoint_url: String, bucket: &str) -> anyhow::Result<S3Access> {
    let secret = |variable: &str| {
        external(variable).ok_or_else(|| {
            pipeline::misconfigured(format!(
                "S3_ENDPOINT_URL is set but {variable} is not: the store's credentials must come from the environment too"
            ))
        })
    };
    Ok(S3Access {
        access_key_id: secret("AWS_ACCESS_KEY_ID")?,
        secret_access_key: secret("AWS_SECRET_ACCESS_KEY")?,
        region: external("AWS_REGION").unwrap_or_else(|| s3::REGION.to_owned()),
        bucket: external("S3_BUCKET").unwrap_or_else(|| bucket.to_owned()),
        endpoint_url,
    })
}

fn joined<T>(result: std::thread::Result<anyhow::Result<T>>) -> anyhow::Result<T> {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
