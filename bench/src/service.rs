//! One of our services, run as its users run it: the real binary, its admin port watched, its processor time and peak
//! memory taken from the kernel.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use stack::{Process, Stack};

const PATIENCE: Duration = Duration::from_secs(300);

pub struct Service {
    name: &'static str,
    process: Process,
    admin: String,
    http: reqwest::Client,
}

/// What a service used, from its start to when this was taken.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    pub cpu_seconds: f64,
    pub peak_mib: f64,
}

impl Service {
    pub fn start(stack: &Stack, binaries: &Path, name: &'static str, arguments: &[&str]) -> anyhow::Result<Self> {
        let admin = free_address()?;
        let mut command = Command::new(binaries.join(name));
        command.args(arguments).envs(stack.env()).env("ADMIN_ADDR", &admin).env("RUST_LOG", "warn");
        let process = Process::spawn(name, &mut command, &stack.logs(), stack.watchdog())
            .with_context(|| format!("{name}: build it with the same profile first"))?;
        Ok(Self { name, process, admin, http: reqwest::Client::new() })
    }

    /// Waits until `/readyz` is green; gives the moment.
    pub async fn ready(&self) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.http.get(format!("http://{}/readyz", self.admin)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(Instant::now());
            }
            self.still_lives(deadline)?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the sum of `metric` over its labels reaches `target`; gives the moment.
    pub async fn reaches(&self, metric: &str, target: usize) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
            if self.metrics().await.unwrap_or_default().get(metric).copied().unwrap_or(0.0) >= target as f64 {
                return Ok(Instant::now());
            }
            self.still_lives(deadline)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn still_lives(&self, deadline: Instant) -> anyhow::Result<()> {
        if let Some(died) = self.process.died() {
            bail!("{died}");
        }
        anyhow::ensure!(Instant::now() < deadline, "{} did not get there in {PATIENCE:?}", self.name);
        Ok(())
    }

    /// One metric, summed over its labels.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        self.metrics().await?.get(name).copied().with_context(|| format!("{} has no metric {name}", self.name))
    }

    /// Each metric summed over its labels.
    async fn metrics(&self) -> anyhow::Result<HashMap<String, f64>> {
        let text = self.http.get(format!("http://{}/metrics", self.admin)).send().await?.text().await?;
        let mut sums = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or(name);
            *sums.entry(name.to_owned()).or_insert(0.0) += value.parse::<f64>().unwrap_or(0.0);
        }
        Ok(sums)
    }

    pub fn used(&self) -> anyhow::Result<Used> {
        let pid = self.process.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let peak_mib = self.memory_kib("VmHWM:")? as f64 / 1024.0;
        Ok(Used { cpu_seconds: (ticks(11) + ticks(12)) / 100.0, peak_mib })
    }

    /// What it holds now.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        self.memory_kib("VmRSS:")
    }

    fn memory_kib(&self, field: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("the kernel tells no {field}"))
    }

    pub fn stop(self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.process.stop(nix::sys::signal::Signal::SIGTERM, Duration::from_secs(30)),
            "{} did not stop when asked",
            self.name
        );
        Ok(())
    }
}

/// Seconds that a program takes that ends by itself, over the lake under `prefix`.
///
/// # Errors
/// What it said, when it fails.
pub async fn run(stack: &Stack, binaries: &Path, name: &str, arguments: &[&str], prefix: &str) -> anyhow::Result<f64> {
    let mut program = Command::new(binaries.join(name));
    program.args(arguments).envs(stack.env()).env("S3_PREFIX", prefix).env("RUST_LOG", "warn");
    let begun = Instant::now();
    let output = crate::blocking(move || Ok(program.output()?)).await?;
    let took = begun.elapsed().as_secs_f64();
    let said = || String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{name} {}: {}", output.status, said());
    Ok(took)
}

pub fn free_address() -> anyhow::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
