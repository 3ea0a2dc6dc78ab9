//! A test in a process of its own: where its memory is measured, or where it may hang or be killed by what it tries.

use std::process::{Command, ExitStatus, Stdio};

/// Says to the process which test it is there for.
const HERE: &str = "TICKSTREAM_ALONE";

pub struct Alone {
    test: String,
    status: ExitStatus,
}

impl Alone {
    /// Runs the test of this name in this binary, by itself, until it ends. What it prints is printed here.
    pub fn run(test: &str, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(HERE, test);
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status().expect("it starts");
        Self { test: test.to_owned(), status }
    }

    /// Whether this process is there for that test.
    pub fn is_here(test: &str) -> bool {
        std::env::var(HERE).is_ok_and(|here| here == test)
    }

    pub fn expect_success(&self) {
        assert!(self.status.success(), "{} by itself: {}; what it said stands above", self.test, self.status);
    }
}

/// The most memory that this process ever had in use, in bytes.
pub fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has a peak");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}
