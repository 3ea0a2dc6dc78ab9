//! `stack up` starts the local stack and waits; `stack demo` runs the whole of tickstream on it.

mod demo;
mod env_file;
mod s3_alone;
mod up;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pipeline::telemetry::LogArgs;
use tokio_util::sync::CancellationToken;

/// The local stack: Apache Kafka, Postgres and an S3 server on free ports of 127.0.0.1.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the servers, prints where they are, and runs until Ctrl-C.
    Up(up::UpArgs),
    /// Runs the whole of tickstream: the servers, every service and the live page.
    Demo(demo::DemoArgs),
    /// Serves the S3 API alone, at one address, until Ctrl-C: the object store of the container images.
    S3(s3_alone::S3Args),
}

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    // The S3 library calls every refused condition an error; for the lake's writers those are daily business.
    cli.log.log.push_str(",s3s=off");
    pipeline::main("stack", &cli.log, |shutdown| run(cli.command, shutdown))
}

async fn run(command: Command, shutdown: CancellationToken) -> anyhow::Result<()> {
    let result = match command {
        Command::Up(args) => up::run(args, shutdown).await,
        Command::Demo(args) => demo::run(args, shutdown).await,
        Command::S3(args) => s3_alone::run(args, shutdown).await,
    };
    result.map_err(|err| match err.to_string().split_once('\n') {
        // The end of a server's or service's log is shown as it is; what remains is the one line.
        Some((first, log)) => {
            drop(writeln!(std::io::stderr().lock(), "{log}"));
            anyhow::anyhow!("{}", first.trim_end_matches(':'))
        }
        None => err,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
