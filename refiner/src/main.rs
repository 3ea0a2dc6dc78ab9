//! Parses the command line and runs the service.

use std::process::ExitCode;

use clap::Parser;
use refiner::Cli;

fn main() -> ExitCode {
    let Cli { command, config, log } = Cli::parse();
    pipeline::main("refiner", &log, async move |shutdown| refiner::serve(command, config, shutdown).await)
}
