use std::process::ExitCode;

use pipeline::trace::around;
use producer::config::{Cli, Command};

fn main() -> ExitCode {
    let Cli { log, trace, command } = Cli::read();
    pipeline::main("producer", &log, |shutdown| async move {
        match command {
            Command::Run(config) => {
                let work = config.admin.secrets.watch(shutdown, |shutdown| producer::run(*config, shutdown));
                around("producer", trace, work).await
            }
            Command::Once(args) => producer::once::once(*args, shutdown).await,
            Command::Normalize(args) => producer::normalize::normalize(&args),
            Command::Renormalize(args) => producer::renormalize::renormalize(*args, shutdown).await,
        }
    })
}
