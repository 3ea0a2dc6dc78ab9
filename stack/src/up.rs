//! `stack up`: the servers alone, until Ctrl-C.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use stack::{Options, Stack};
use tokio_util::sync::CancellationToken;

use crate::env_file;

#[derive(clap::Args)]
pub struct UpArgs {
    /// Keep the data in this folder across runs [default: a temporary folder, removed at the end].
    #[arg(long, env = "STACK_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Write the addresses and passwords here as `export` lines, for `source`.
    #[arg(long, env = "STACK_ENV_FILE", value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

pub async fn run(args: UpArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let starting = Stack::start(Options { data_dir: args.data_dir, ..Options::default() });
    // An interrupted start needs no end of its own: what it started goes with this process.
    let stack = tokio::select! {
        started = starting => started?,
        () = shutdown.cancelled() => return Ok(()),
    };
    if let Some(path) = &args.env_file {
        env_file::write(path, &stack::shell_variables(&stack))?;
    }
    announce(&stack, &mut std::io::stdout().lock())?;
    let died = loop {
        tokio::select! {
            () = shutdown.cancelled() => break None,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if let Some(obituary) = stack.died() {
            break Some(obituary);
        }
    };
    if let Some(path) = &args.env_file {
        drop(std::fs::remove_file(path));
    }
    stack.stop().await?;
    match died {
        Some(obituary) => bail!(obituary),
        None => Ok(()),
    }
}

/// Where everything is, without the passwords: those are in the env file.
pub fn announce(stack: &Stack, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "kafka        {}", stack.kafka_bootstrap_servers)?;
    writeln!(out, "postgres     {}", stack::without_password(&stack.database_url))?;
    writeln!(out, "s3           {} (bucket {})", stack.s3.endpoint_url, stack.s3.bucket)?;
    writeln!(out, "data folder  {}", stack.data_dir().display())?;
    out.flush()
}
