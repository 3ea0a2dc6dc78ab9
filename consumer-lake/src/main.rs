//! Parses the command line and runs the service.

use std::process::ExitCode;

use clap::Parser;
use consumer_lake::Cli;

fn main() -> ExitCode {
    let Cli { config, log } = Cli::parse();
    pipeline::main("consumer-lake", &log, async move |shutdown| consumer_lake::run(config, shutdown).await)
}
