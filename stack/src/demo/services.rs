//! The programs of the demo: producer, consumers, dashboard, each a child process with its own admin address and log file.
//! They stand beside this executable, so the demo runs what was built with it. Invariant: started through the stack's
//! watchdog, so none outlives the demo.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use stack::{Process, Stack};

use super::scrape;
use super::usage::Usage;

pub struct Service {
    pub process: Process,
    pub admin: SocketAddr,
    used: Usage,
}

impl Service {
    /// Starts the program `name` with the stack's variables and `settings`.
    pub fn start(name: &str, arguments: &[&str], settings: &[(&str, String)], stack: &Stack) -> anyhow::Result<Self> {
        let [port] = stack::free_ports()?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = Command::new(program(name)?);
        command.args(arguments).envs(stack.env()).envs(settings.iter().map(|(name, value)| (name, value)));
        command.env("ADMIN_ADDR", admin.to_string()).env("LOG_FORMAT", "json");
        let process = Process::spawn(name, &mut command, &stack.logs(), stack.watchdog())?;
        Ok(Self { process, admin, used: Usage::default() })
    }

    pub fn name(&self) -> &str {
        self.process.name()
    }

    /// Waits until the service says that it is ready; the error names what it still waits for.
    pub async fn wait_until_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while let Err(reasons) = scrape::ready(self.admin).await {
            if let Some(obituary) = self.process.died() {
                bail!(obituary);
            }
            if Instant::now() >= deadline {
                bail!("{} is not ready after {patience:?}: {reasons}", self.name());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Notes what it has used so far; nothing can be asked any more once it has ended.
    pub fn look_at_usage(&mut self) {
        if let Some(used) = Usage::of(self.process.id()) {
            self.used = used;
        }
    }

    pub fn used(&self) -> Usage {
        self.used
    }

    /// Asks the service to end and waits. An end by force, or with an error, is told.
    pub async fn stop(&mut self, patience: Duration) -> anyhow::Result<()> {
        self.look_at_usage();
        self.process.signal(Signal::SIGTERM);
        let deadline = Instant::now() + patience;
        loop {
            match self.process.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(_) => bail!(self.process.died().unwrap_or_default()),
                None if Instant::now() >= deadline => {
                    self.process.signal(Signal::SIGKILL);
                    bail!("{} did not end within {patience:?} of SIGTERM and was killed", self.name());
                }
                None => {
                    self.look_at_usage();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

/// Runs the program `name` to its end; its standard output. A failure is told with what it said.
pub async fn run(
    name: &str,
    arguments: &[&str],
    variables: &BTreeMap<&str, String>,
) -> anyhow::Result<std::process::Output> {
    let mut command = tokio::process::Command::new(program(name)?);
    command.args(arguments).envs(variables).stdin(std::process::Stdio::null()).kill_on_drop(true);
    command.output().await.with_context(|| format!("cannot run {name}"))
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let path = own.with_file_name(name);
    if !path.exists() {
        return Err(pipeline::misconfigured(format!(
            "{} is missing: build all programs first, as `make demo` does",
            path.display()
        )));
    }
    Ok(path)
}
