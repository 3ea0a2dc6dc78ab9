//! Apache Kafka in KRaft mode, one broker or the few of a small cluster, from its own jars on Maven Central: fetched once into
//! a cache, shared by all stacks. Invariant: the cache folder appears whole or not at all (renamed into place), so two stacks may fetch at once.
//! Topics are never created by asking for them.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::port;
use crate::process::Process;
use crate::watchdog::Watchdog;

const VERSION: &str = "4.1.1";
const POM: &str = include_str!("../kafka/pom.xml");
const PATIENCE: Duration = Duration::from_secs(90);

/// One broker of a cluster that is a controller too: the first is 1.
struct Node {
    id: usize,
    port: u16,
    /// Each node's port for controllers.
    controllers: Vec<u16>,
}

pub struct Kafka {
    port: u16,
    dir: PathBuf,
    logs: PathBuf,
    jars: PathBuf,
    watchdog: Arc<Watchdog>,
    process: Mutex<Process>,
}

impl Kafka {
    /// Starts a broker whose log segments are under `dir`, and returns once it has answered a metadata request.
    pub(crate) fn start(dir: &Path, logs: &Path, watchdog: &Arc<Watchdog>) -> anyhow::Result<Self> {
        let [port, controller_port] = port::free()?;
        let node = Node { id: 1, port, controllers: vec![controller_port] };
        let kafka = Self::begin(&node, None, dir, logs, watchdog)?;
        kafka.wait_until_ready()?;
        Ok(kafka)
    }

    /// Starts `N` brokers, each a controller too, that keep `N` copies of what they remember of groups and transactions;
    /// returns once each of them has answered a metadata request.
    pub(crate) fn start_cluster<const N: usize>(dir: &Path, watchdog: &Arc<Watchdog>) -> anyhow::Result<[Self; N]> {
        let (ports, controllers) = (port::free::<N>()?, port::free::<N>()?);
        let cluster_id = random_id();
        let begin = |(index, port): (usize, &u16)| {
            let dir = dir.join(format!("node-{}", index + 1));
            let logs = dir.join("logs");
            fs::create_dir_all(&logs)?;
            let node = Node { id: index + 1, port: *port, controllers: controllers.to_vec() };
            Self::begin(&node, Some(&cluster_id), &dir, &logs, watchdog)
        };
        let nodes = ports.iter().enumerate().map(begin).collect::<anyhow::Result<Vec<_>>>()?;
        nodes.iter().try_for_each(Self::wait_until_ready)?;
        nodes.try_into().map_err(|_nodes| anyhow::anyhow!("a node a port"))
    }

    fn begin(
        node: &Node,
        cluster_id: Option<&str>,
        dir: &Path,
        logs: &Path,
        watchdog: &Arc<Watchdog>,
    ) -> anyhow::Result<Self> {
        let jars = jars()?;
        fs::create_dir_all(dir)?;
        fs::write(dir.join("server.properties"), properties(dir, node))?;
        if !dir.join("data/meta.properties").exists() {
            format(dir, &jars, cluster_id.unwrap_or(&random_id()))?;
        }
        let process = spawn(dir, logs, &jars, watchdog)?;
        Ok(Self {
            port: node.port,
            dir: dir.to_owned(),
            logs: logs.to_owned(),
            jars,
            watchdog: Arc::clone(watchdog),
            process: Mutex::new(process),
        })
    }

    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the broker in an orderly way; clients see an outage until [`Kafka::restart`].
    pub fn stop(&self) -> anyhow::Result<()> {
        if !self.with(|process| process.stop(Signal::SIGTERM, Duration::from_secs(15))) {
            bail!("the broker did not stop within 15 s and was killed");
        }
        Ok(())
    }

    /// Sends a signal to the broker: SIGKILL for a crash, SIGSTOP and SIGCONT for a stall.
    pub fn signal(&self, signal: Signal) {
        self.with(|process| process.signal(signal));
    }

    /// Starts the broker again after [`Kafka::stop`] or a crash, with the same port and data.
    pub fn restart(&self) -> anyhow::Result<()> {
        self.with(|process| process.stop(Signal::SIGKILL, Duration::from_secs(5)));
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) =
            spawn(&self.dir, &self.logs, &self.jars, &self.watchdog)?;
        self.wait_until_ready()
    }

    pub(crate) fn died(&self) -> Option<String> {
        self.with(Process::died)
    }

    fn with<T>(&self, act: impl FnOnce(&Process) -> T) -> T {
        act(&self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of Kafka's own command-line tools, by its class. It is not told where the broker is.
    #[must_use]
    pub fn tool(&self, class: &str) -> Command {
        let mut command = java();
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
            .arg(self.jars.join("*"))
            .arg(class);
        command
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        // librdkafka writes a line for each refused connection, so it is asked only once the port is open.
        let listening = || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
        self.with(|process| process.wait_until(PATIENCE, listening))?;
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .create()
            .context("cannot make a Kafka client")?;
        let answers =
            || client.fetch_metadata(None, Duration::from_secs(1)).is_ok_and(|metadata| !metadata.brokers().is_empty());
        self.with(|process| process.wait_until(PATIENCE, answers))
    }
}

fn properties(dir: &Path, node: &Node) -> String {
    let Node { id, port, controllers } = node;
    let (controller_port, copies) = (controllers[id - 1], controllers.len());
    let voters: Vec<String> = (1..).zip(controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
    let voters = voters.join(",");
    let min_isr = copies.min(2);
    // The voters are named by property and not by `format --standalone`: that would write the controller's port into the
    // data, and a kept data folder comes up on other ports. Each active segment sets the room for its two indexes aside, 20 MB
    // unless told, which some file systems take at their word.
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
log.index.size.max.bytes=2097152
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
leader.imbalance.check.interval.seconds=1
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=4
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={min_isr}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={min_isr}
",
        data = dir.join("data").display(),
    )
}

fn java() -> Command {
    let program = match std::env::var_os("JAVA_HOME") {
        Some(home) if Path::new(&home).join("bin/java").exists() => Path::new(&home).join("bin/java"),
        _ => PathBuf::from("java"),
    };
    Command::new(program)
}

fn random_id() -> String {
    loop {
        let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
        // The tool would take it for a flag.
        if !id.starts_with('-') {
            return id;
        }
    }
}

fn format(dir: &Path, jars: &Path, cluster_id: &str) -> anyhow::Result<()> {
    let output = java()
        .args([
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
        ])
        .arg(jars.join("*"))
        .args(["kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config"])
        .arg(dir.join("server.properties"))
        .stdin(Stdio::null())
        .output()
        .map_err(|err| missing("java", "a Java runtime, version 17 or later", &err))?;
    if !output.status.success() {
        bail!(
            "Kafka's storage could not be formatted (is this Java 17 or later?): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn spawn(dir: &Path, logs: &Path, jars: &Path, watchdog: &Arc<Watchdog>) -> anyhow::Result<Process> {
    let mut command = java();
    command
        .args(["-Xmx512m", "-XX:+UseSerialGC"])
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"])
        .args(["-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS", "-cp"])
        .arg(jars.join("*"))
        .arg("kafka.Kafka")
        .arg(dir.join("server.properties"))
        .current_dir(dir);
    Process::spawn("kafka", &mut command, logs, watchdog)
}

/// The folder with the broker's jars, fetched by Maven when it is not there yet.
fn jars() -> anyhow::Result<PathBuf> {
    let cache = cache_dir()?;
    let jars = cache.join(format!("kafka-{VERSION}"));
    // The project file is the folder's label: a folder that another one filled is made anew.
    let whole = |jars: &Path| fs::read_to_string(jars.join("pom.xml")).is_ok_and(|pom| pom == POM);
    if whole(&jars) {
        return Ok(jars);
    }
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let fetched = tempfile::Builder::new().prefix("kafka-").tempdir_in(&cache)?;
    fs::write(fetched.path().join("pom.xml"), POM)?;
    tracing::info!("fetching Apache Kafka {VERSION} from Maven Central (54 MB, once)");
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", fetched.path().display()))
        .arg("-f")
        .arg(fetched.path().join("pom.xml"))
        .stdin(Stdio::null())
        .output()
        .map_err(|err| missing("mvn", "Apache Maven", &err))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let first: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).take(3).collect();
        bail!("Maven could not fetch Apache Kafka {VERSION}: {}", first.join(" "));
    }
    if jars.exists() && !whole(&jars) {
        fs::remove_dir_all(&jars)?;
    }
    if let Err(err) = fs::rename(fetched.path(), &jars)
        && !whole(&jars)
    {
        return Err(err).with_context(|| format!("cannot move the jars to {}", jars.display()));
    }
    Ok(jars)
}

fn cache_dir() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => std::env::home_dir()
            .ok_or_else(|| {
                pipeline::misconfigured(
                    "neither XDG_CACHE_HOME nor HOME is set: there is no place to keep Kafka's jars",
                )
            })?
            .join(".cache"),
    };
    Ok(base.join("tickstream"))
}

fn missing(program: &str, what: &str, err: &std::io::Error) -> anyhow::Error {
    pipeline::misconfigured(format!(
        "cannot run {program} ({err}): the local stack needs {what}; `make setup` installs it"
    ))
}
