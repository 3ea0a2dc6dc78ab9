use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let config = dashboard::Config::parse();
    let log = config.log.clone();
    pipeline::main("dashboard", &log, |shutdown| dashboard::run(config, shutdown))
}
