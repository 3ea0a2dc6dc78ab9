//! Postgres from the system's binaries. It refuses to run as root, so root's stack hands it to another user, who needs a
//! way into the data folder. Invariant: a cluster folder appears whole or not at all (renamed into place after initdb and
//! CREATE DATABASE); only 127.0.0.1 listens, with a password.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use crate::data_folder::DataFolder;
use crate::port;
use crate::process::Process;
use crate::watchdog::{Ending, Watchdog};

const DATABASE: &str = "tickstream";
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Postgres {
    server: Server,
    password: String,
    logs: PathBuf,
    watchdog: Arc<Watchdog>,
    process: Mutex<Process>,
}

/// What it takes to run one of Postgres's programs.
struct Server {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    fsync: bool,
    user: Option<User>,
}

impl Postgres {
    /// Starts a server whose cluster is under the data folder, and returns once it takes connections.
    pub(crate) fn start(folder: &DataFolder, fsync: bool, watchdog: &Arc<Watchdog>) -> anyhow::Result<Self> {
        let dir = folder.path().join("postgres");
        let [port] = port::free()?;
        let server = Server { bin: bin()?, dir, port, fsync, user: other_user()? };
        let password = folder.secret("postgres")?;
        server.create_cluster(&password)?;
        let logs = folder.logs();
        let process = server.spawn(&logs, watchdog)?;
        let postgres = Self { server, password, logs, watchdog: Arc::clone(watchdog), process: Mutex::new(process) };
        postgres.wait_until_ready()?;
        Ok(postgres)
    }

    pub fn url(&self) -> String {
        format!("postgres://{DATABASE}:{}@127.0.0.1:{}/{DATABASE}", self.password, self.server.port)
    }

    /// What psql and every other libpq program read.
    pub(crate) fn libpq_variables(&self) -> [(&'static str, String); 5] {
        [
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.server.port.to_string()),
            ("PGUSER", DATABASE.to_owned()),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", DATABASE.to_owned()),
        ]
    }

    /// Ends the server in an orderly way (connections are cut); clients see an outage until [`Postgres::restart`].
    pub fn stop(&self) -> anyhow::Result<()> {
        if !self.with(|process| process.stop(Signal::SIGINT, Duration::from_secs(15))) {
            bail!("the database did not stop within 15 s and was killed");
        }
        Ok(())
    }

    /// Starts the server again after [`Postgres::stop`], with the same port and data.
    pub fn restart(&self) -> anyhow::Result<()> {
        self.with(|process| process.stop(Signal::SIGQUIT, Duration::from_secs(5)));
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = self.server.spawn(&self.logs, &self.watchdog)?;
        self.wait_until_ready()
    }

    pub(crate) fn died(&self) -> Option<String> {
        self.with(Process::died)
    }

    fn with<T>(&self, act: impl FnOnce(&Process) -> T) -> T {
        act(&self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let takes_connections = || {
            let port = self.server.port.to_string();
            let mut command = self.server.program("pg_isready");
            command.args(["-q", "-h", "127.0.0.1", "-p", &port]);
            command.status().is_ok_and(|status| status.success())
        };
        self.with(|process| process.wait_until(PATIENCE, takes_connections))
    }
}

impl Server {
    /// One of Postgres's programs, run by the right user inside the folder.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(&self.dir).stdin(Stdio::null());
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).env("HOME", &self.dir);
        }
        command
    }

    fn create_cluster(&self, password: &str) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir)?;
        if let Some(user) = &self.user {
            std::os::unix::fs::chown(&self.dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        if self.dir.join("data").exists() {
            return Ok(());
        }
        let (half_made, password_file) = (self.dir.join("data.new"), self.dir.join("password"));
        if half_made.exists() {
            fs::remove_dir_all(&half_made)?;
        }
        // The parent folder belongs to the server's user alone, so the file is as private as the cluster.
        fs::set_permissions(&self.dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        fs::write(&password_file, password)?;
        if let Some(user) = &self.user {
            std::os::unix::fs::chown(&password_file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let mut initdb = self.program("initdb");
        initdb
            .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"])
            .args(["--username", DATABASE, "--pwfile=password", "--pgdata=data.new"]);
        self.run(&mut initdb)?;
        fs::remove_file(&password_file)?;

        let statement = self.dir.join("create-database.sql");
        fs::write(&statement, format!("CREATE DATABASE {DATABASE}\n"))?;
        let mut single = self.program("postgres");
        single.args(["--single", "-D", "data.new", "-c", "fsync=off", "postgres"]);
        single.stdin(fs::File::open(&statement)?);
        self.run(&mut single)?;
        fs::remove_file(&statement)?;
        fs::rename(&half_made, self.dir.join("data"))?;
        Ok(())
    }

    fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        let program = command.get_program().to_owned();
        let output = command.output().map_err(|err| match (err.kind(), &self.user) {
            (ErrorKind::PermissionDenied, Some(user)) => pipeline::misconfigured(format!(
                "the database runs as user {} because it refuses root, and that user may not enter {}: \
                 choose a --data-dir (or TMPDIR) that others may pass through, such as one under /var/tmp",
                user.name,
                self.dir.display()
            )),
            _ => anyhow::Error::new(err).context(format!("cannot run {}", program.display())),
        })?;
        if !output.status.success() {
            bail!("{} failed: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn spawn(&self, logs: &Path, watchdog: &Arc<Watchdog>) -> anyhow::Result<Process> {
        let mut command = self.program("postgres");
        command
            .args(["-D", "data", "-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "max_wal_size=2GB"])
            .args(["-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "log_checkpoints=off"]);
        if !self.fsync {
            command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
        }
        Process::spawn_ending("postgres", &mut command, logs, watchdog, Ending::Postgres)
    }
}

/// The user that Postgres runs as when this process is root.
fn other_user() -> anyhow::Result<Option<User>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name).context("cannot look up users")? {
            return Ok(Some(user));
        }
    }
    Err(pipeline::misconfigured(
        "the database refuses to run as root and neither user postgres nor nobody exists: run as another user",
    ))
}

/// The newest server on this machine: Debian keeps each version's programs in a folder of its own, off the PATH.
fn bin() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .max();
    if let Some((_, bin)) = newest {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|dir| dir.join("initdb").exists())
        // A linked program finds its libraries and its siblings from where it really is.
        .and_then(|dir| dir.join("initdb").canonicalize().ok()?.parent().map(Path::to_owned))
        .ok_or_else(|| pipeline::misconfigured("no PostgreSQL server found: `make setup` installs it"))
}
