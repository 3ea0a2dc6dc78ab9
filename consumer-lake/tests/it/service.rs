//! The binary, started and stopped as an operator would, or killed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack::Stack;

use crate::lake::Lake;

const PATIENCE: Duration = Duration::from_secs(90);

pub struct Service {
    child: Child,
    port: u16,
}

/// The service for `topics`, in a lake of its own.
pub fn command(stack: &Stack, lake: &Lake, topics: &str, group: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-lake"));
    command.envs(stack.env()).env("S3_PREFIX", &lake.prefix).env("RUST_LOG", "info").env("LAKE_MAX_AGE_MS", "200");
    command.args(["--topics", topics, "--group", group]);
    command
}

impl Service {
    pub fn start(command: &mut Command) -> Self {
        let [port] = stack::free_ports().expect("a free port");
        let child = command.args(["--admin-addr", &format!("127.0.0.1:{port}")]).spawn().expect("started");
        Self { child, port }
    }

    fn ask(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let sent = write!(stream, "GET {path} HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer));
            drop(sent);
        }
        answer
    }

    pub fn readiness(&self) -> String {
        self.ask("/readyz")
    }

    pub fn is_live(&self) -> bool {
        self.ask("/livez").contains("200 OK")
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.ask("/metrics");
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    pub fn wait_ready(&self) {
        wait_for("readiness", || self.readiness().contains("200 OK"));
    }

    pub fn peak_megabytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    pub fn terminate(mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), Signal::SIGTERM).expect("signalled");
        assert!(self.child.wait().expect("ended").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs until it ends by itself; gives its exit code and what it said.
pub fn run_to_end(command: &mut Command) -> (i32, String) {
    let child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    let watch = std::thread::spawn(move || child.wait_with_output());
    wait_for("the service to end", || watch.is_finished());
    let Output { status, stderr, .. } = watch.join().expect("joined").expect("ended");
    (status.code().expect("not killed"), String::from_utf8_lossy(&stderr).into_owned())
}

pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
