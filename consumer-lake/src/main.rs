//! Parses the command line and runs the service.

use std::process::ExitCode;

use consumer_lake::Cli;

fn main() -> ExitCode {
    let Cli { config, log } = pipeline::secrets::parse();
    pipeline::main("consumer-lake", &log, async move |shutdown| {
        config.admin.secrets.watch(shutdown, |shutdown| consumer_lake::run(config, shutdown)).await
    })
}
