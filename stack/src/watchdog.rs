//! Sees to it that nothing outlives the process that started it. A small shell waits on a pipe whose other end only this
//! process holds; when the pipe closes (drop, exit, panic, SIGKILL: the kernel sees to it) the shell ends the servers and
//! removes a temporary data folder. PR_SET_PDEATHSIG would not do: it fires when the forking *thread* dies, and tokio's
//! threads come and go. The ordinary teardown takes the same way, so that it is tried each time.
//!
//! Invariant: every program is started in the watchdog's process group, before its first instruction; the pipe's end is
//! close-on-exec. Never start a server past [`Watchdog::spawn`].

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

const SCRIPT: &str = include_str!("watchdog.sh");

pub struct Watchdog {
    group: i32,
    pipe: Mutex<Option<ChildStdin>>,
    shell: Mutex<Child>,
}

/// How the watchdog ends a program.
#[derive(Clone, Copy)]
pub(crate) enum Ending {
    Plain,
    /// By its immediate shutdown: a SIGKILLed postmaster would leave its shared memory behind.
    Postgres,
}

impl Watchdog {
    pub(crate) fn start(folder: &Path, remove: bool) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "tickstream-watchdog"])
            .arg(folder)
            .arg(if remove { "remove" } else { "keep" })
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh, which the stack needs to clean up after itself")?;
        Ok(Self {
            group: i32::try_from(shell.id()).context("process id out of range")?,
            pipe: Mutex::new(shell.stdin.take()),
            shell: Mutex::new(shell),
        })
    }

    /// Starts `command` so that it ends when this process does.
    pub(crate) fn spawn(&self, command: &mut Command, ending: Ending) -> std::io::Result<Child> {
        let child = command.process_group(self.group).spawn()?;
        match ending {
            Ending::Plain => self.tell("pid", child.id()),
            Ending::Postgres => self.tell("postgres", child.id()),
        }
        Ok(child)
    }

    /// Says that a program has been waited for: its process id may belong to a stranger from now on.
    pub(crate) fn gone(&self, pid: u32) {
        self.tell("gone", pid);
    }

    fn tell(&self, what: &str, pid: u32) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = pipe.as_mut()
            && let Err(err) = writeln!(pipe, "{what} {pid}")
        {
            tracing::warn!(error = %err, "the stack's watchdog does not answer; its servers may outlive this process");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Closing the pipe is the signal.
        drop(self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(err) = shell.wait() {
            tracing::warn!(error = %err, "the stack's watchdog could not be waited for");
        }
    }
}
