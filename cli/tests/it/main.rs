//! The command as a user runs it, against a real broker, a real database and a real S3 API.

mod audit;
mod audit_deep;
mod audit_faults;
mod audit_planted;
mod audit_world;
mod command_line;
mod dlq;
mod dlq_audit;
mod dlq_kills;
mod export;
mod export_rows;
mod groups;
mod history;
mod lake;
mod latest;
mod market;
mod newer_schema;
mod replay_copy;
mod replay_exchange;
mod replay_generation;
mod replay_installation;
mod replay_kills;
mod replay_lake;
mod replay_objects;
mod replay_plan;
mod replay_promote;
mod replay_rewind;
mod replay_story;
mod rows;
mod schema;
mod topics;
mod trace;
mod watch;
mod watch_live;

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stack::Stack;

/// What the command answered.
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// Standard output is one JSON value a line.
    fn json_lines(&self) -> Vec<Value> {
        let value = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(value).collect()
    }

    /// Standard error is one line.
    fn line(&self) -> &str {
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{}", self.stderr);
        self.stderr.trim_end()
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the command ended by itself"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// The command with the stack's addresses, and no others, in its environment.
fn command(stack: &Stack, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickstream"));
    command.args(arguments).stdin(Stdio::null()).env_clear().envs(stack.env());
    command
}

async fn run(mut command: Command) -> Answer {
    tokio::task::spawn_blocking(move || command.output().expect("the command starts").into()).await.expect("no panic")
}

async fn tickstream(stack: &Stack, arguments: &[&str]) -> Answer {
    run(command(stack, arguments)).await
}

/// A database of its own with consumer-db's tables: a connection and its URL.
async fn database(stack: &Stack, name: &str) -> (PgConnection, String) {
    let mut server = PgConnection::connect(&stack.database_url).await.expect("Postgres");
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut server).await.expect("create database");
    let (place, _) = stack.database_url.rsplit_once('/').expect("a URL ends in the database's name");
    let url = format!("{place}/{name}");
    let mut connection = PgConnection::connect(&url).await.expect("the new database");
    sqlx::migrate!("../consumer-db/migrations").run(&mut connection).await.expect("migrations");
    (connection, url)
}
