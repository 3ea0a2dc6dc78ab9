//! One program of the stack: its process, its log file, and its end. Invariant: a process is waited for exactly once, here,
//! and the watchdog is told; nothing else holds its id.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::watchdog::{Ending, Watchdog};

const LAST_LINES: usize = 15;

pub struct Process {
    name: String,
    log: PathBuf,
    watchdog: Arc<Watchdog>,
    ending: Ending,
    child: Mutex<Child>,
    ended: Mutex<Option<ExitStatus>>,
}

impl Process {
    /// Starts `command` with its output appended to `<logs>/<name>.log`.
    pub fn spawn(name: &str, command: &mut Command, logs: &Path, watchdog: &Arc<Watchdog>) -> anyhow::Result<Self> {
        Self::spawn_ending(name, command, logs, watchdog, Ending::Plain)
    }

    pub(crate) fn spawn_ending(
        name: &str,
        command: &mut Command,
        logs: &Path,
        watchdog: &Arc<Watchdog>,
        ending: Ending,
    ) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let program = command.get_program().to_owned();
        let child =
            watchdog.spawn(command, ending).with_context(|| format!("cannot start {name} ({})", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            watchdog: Arc::clone(watchdog),
            ending,
            child: Mutex::new(child),
            ended: Mutex::new(None),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        let mut ended = lock(&self.ended);
        if ended.is_none() {
            let mut child = lock(&self.child);
            // An error here means that it was waited for already, which only this function does.
            *ended = child.try_wait().ok().flatten();
            if ended.is_some() {
                self.watchdog.gone(child.id());
            }
        }
        *ended
    }

    /// A plain sentence about an end that nobody asked for, with the last lines of the log.
    pub fn died(&self) -> Option<String> {
        self.ended().map(|status| self.obituary(status))
    }

    /// Sends `signal`, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        if self.ended().is_none()
            && let Ok(pid) = i32::try_from(self.id())
            && let Err(err) = kill(Pid::from_raw(pid), signal)
        {
            tracing::warn!(process = self.name, %signal, error = %err, "signal not delivered");
        }
    }

    /// Sends `signal` and waits; after `patience` it is SIGKILL. Says whether it ended by itself.
    pub fn stop(&self, signal: Signal, patience: Duration) -> bool {
        self.signal(signal);
        if self.wait(patience).is_some() {
            return true;
        }
        self.signal(Signal::SIGKILL);
        self.wait(Duration::from_secs(5));
        false
    }

    /// Waits until it has ended, for at most `patience`.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks `ready` again and again until it says yes; gives up when the process ends or after `patience`.
    pub(crate) fn wait_until(&self, patience: Duration, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !ready() {
            if let Some(status) = self.ended() {
                bail!(self.obituary(status));
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} was not ready within {patience:?}; the end of {}:\n{}",
                    self.name,
                    self.log.display(),
                    tail(&self.log, LAST_LINES)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn obituary(&self, status: ExitStatus) -> String {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        format!("{} {how}; the end of {}:\n{}", self.name, self.log.display(), tail(&self.log, LAST_LINES))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let signal = match self.ending {
                Ending::Plain => Signal::SIGTERM,
                Ending::Postgres => Signal::SIGQUIT,
            };
            self.stop(signal, Duration::from_millis(500));
        }
    }
}

/// The last `lines` lines of a log file, its JSON lines as a person reads them; empty when it cannot be read.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let last: Vec<String> = all[all.len().saturating_sub(lines)..].iter().map(|line| readable(line)).collect();
    last.join("\n")
}

/// A JSON log line as `time LEVEL message name=value …`; any other line as it is.
fn readable(line: &str) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line) else { return line.to_owned() };
    let text = |name: &str| fields.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    let mut readable = format!("{} {} {}", text("timestamp"), text("level"), text("message"));
    for (name, value) in &fields {
        let told = ["timestamp", "level", "message", "target"].contains(&name.as_str()) || name.starts_with("log.");
        if !told {
            readable.push_str(&format!(" {name}={value}"));
        }
    }
    readable
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn a_json_line_is_shown_as_a_sentence() {
        let check = |line: &str, expected: &str| assert_eq!(readable(line), expected);
        check(
            r#"{"timestamp":"T","level":"ERROR","message":"no broker","topic":"t","target":"x","log.file":"y"}"#,
            r#"T ERROR no broker topic="t""#,
        );
        check("thread 'main' panicked", "thread 'main' panicked");
        check("[1]", "[1]");
    }
}
