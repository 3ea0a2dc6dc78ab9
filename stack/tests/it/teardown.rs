//! A starter that is SIGKILLed leaves nothing: no process, no port, no folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Processes whose command line or working directory names `folder`, the watchdog's among them.
pub fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        if entry.file_name().to_str().is_none_or(|pid| pid.parse::<u32>().is_err()) {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if command.contains(name) || cwd.starts_with(folder) {
            found.push(command);
        }
    }
    found
}

#[test]
fn a_killed_starter_leaves_nothing() {
    let env_file = tempfile::NamedTempFile::new().unwrap();
    let mut up = Command::new(env!("CARGO_BIN_EXE_stack"))
        .arg("up")
        .arg("--env-file")
        .arg(env_file.path())
        .env_remove("KAFKA_BOOTSTRAP_SERVERS")
        .env_remove("DATABASE_URL")
        .env_remove("S3_ENDPOINT_URL")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stdout.take().unwrap()).lines().map_while(Result::ok);
    let folder = lines
        .filter_map(|line| line.split_once("data folder").map(|(_, path)| path.trim().to_owned()))
        .next()
        .expect("`stack up` prints its data folder once it is up");
    let folder = Path::new(&folder);
    let before = processes_of(folder);
    assert!(before.iter().any(|command| command.contains("kafka.Kafka")), "{before:?}");
    assert!(before.iter().any(|command| command.contains("postgres")), "{before:?}");
    let env = fs::read_to_string(env_file.path()).unwrap();
    assert!(env.contains("export KAFKA_BOOTSTRAP_SERVERS="), "{env}");

    up.kill().unwrap();
    up.wait().unwrap();
    let killed = Instant::now();
    while folder.exists() || !processes_of(folder).is_empty() {
        assert!(
            killed.elapsed() < Duration::from_secs(5),
            "still there: {:?} {:?}",
            folder.exists(),
            processes_of(folder)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{} processes and the data folder were gone {:?} after SIGKILL", before.len(), killed.elapsed());
}
