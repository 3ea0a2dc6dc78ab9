//! `stack demo` with the real programs: they stand beside the `stack` program once the workspace is built.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::teardown::processes_of;

struct Demo {
    child: Child,
    dir: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_stack"));
        for name in ["producer", "consumer-lake", "refiner", "consumer-db", "dashboard", "tickstream"] {
            let sibling = program.with_file_name(name);
            assert!(sibling.exists(), "{} is missing: build the workspace first (make build)", sibling.display());
        }
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| fs::File::create(dir.path().join(name)).unwrap();
        let child = Command::new(program)
            .args(["demo", "--dashboard-addr", "127.0.0.1:0", "--env-file"])
            .arg(dir.path().join("env"))
            .args(arguments)
            .env_remove("KAFKA_BOOTSTRAP_SERVERS")
            .env_remove("DATABASE_URL")
            .env_remove("S3_ENDPOINT_URL")
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    fn said(&self, stream: &str) -> String {
        fs::read_to_string(self.dir.path().join(stream)).unwrap()
    }

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !self.said("out").contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{ended:?}\n{}{}",
                self.said("out"),
                self.said("err")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn data_folder(&self) -> PathBuf {
        let out = self.said("out");
        let line = out.lines().find_map(|line| line.strip_prefix("data folder")).unwrap();
        PathBuf::from(line.trim())
    }

    /// Waits for the end; its exit code, once nothing of it is left.
    fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(180);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "still running\n{}{}", self.said("out"), self.said("err"));
            std::thread::sleep(Duration::from_millis(100));
        };
        let folder = self.data_folder();
        assert!(!folder.exists(), "{} is still there", folder.display());
        assert_eq!(processes_of(&folder), [""; 0]);
        assert!(!self.dir.path().join("env").exists(), "the env file names servers that are gone");
        status.code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_bounded_demo_ends_with_equal_counts() {
    let mut demo = Demo::start(&["--for", "6s", "--rate", "500", "--seed", "7"]);
    assert_eq!(demo.ended(), Some(0), "{}{}", demo.said("out"), demo.said("err"));
    let out = demo.said("out");
    assert!(out.contains("all counts agree"), "{out}");
    let acknowledged = out.lines().find_map(|line| line.trim().strip_prefix("acknowledged by the producer")).unwrap();
    let acknowledged: u64 = acknowledged.replace(',', "").trim().parse().unwrap();
    assert!(acknowledged > 1_000, "{out}");
    println!("{out}");
}

#[test]
fn ctrl_c_ends_the_demo_in_order() {
    let mut demo = Demo::start(&[]);
    demo.wait_for("stop   Ctrl-C");
    let page = demo.said("out").lines().find_map(|line| line.trim().strip_prefix("page   http://").map(str::to_owned));
    let page = page.unwrap().split_whitespace().next().unwrap().to_owned();
    let mut answer = String::new();
    let mut connection = std::net::TcpStream::connect(&page).unwrap();
    std::io::Write::write_all(&mut connection, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");

    kill(Pid::from_raw(demo.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(demo.ended(), Some(0), "{}{}", demo.said("out"), demo.said("err"));
    assert!(demo.said("out").contains("stopping: producer first"), "{}", demo.said("out"));
}

#[test]
fn a_service_that_dies_ends_the_demo_with_its_log() {
    let mut demo = Demo::start(&[]);
    demo.wait_for("stop   Ctrl-C");
    // Linux lists a child with the thread that started it.
    let threads = fs::read_dir(format!("/proc/{}/task", demo.child.id())).unwrap().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let ids = children.collect::<Vec<_>>().join(" ");
    let victim = ids
        .split_whitespace()
        .find(|id| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "consumer-db"));
    kill(Pid::from_raw(victim.unwrap().parse().unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(demo.ended(), Some(1), "{}{}", demo.said("out"), demo.said("err"));
    let err = demo.said("err");
    assert!(err.contains("stack: consumer-db was ended by signal 9"), "{err}");
    assert!(err.contains("INFO"), "the end of its log is shown: {err}");
}
