//! Parses the command line and runs the service.

use std::process::ExitCode;

use refiner::{Cli, Command};

fn main() -> ExitCode {
    let Cli { command, config, log } = pipeline::secrets::parse();
    pipeline::main("refiner", &log, async move |shutdown| match &command {
        Command::Run(args) => {
            args.admin.secrets.watch(shutdown, |shutdown| refiner::serve(command.clone(), config, shutdown)).await
        }
        _ => refiner::serve(command, config, shutdown).await,
    })
}
