//! Parses the command line and runs the service.

use std::process::ExitCode;

use consumer_lake::Cli;
use pipeline::trace::around;

fn main() -> ExitCode {
    let Cli { config, log, trace } = pipeline::secrets::parse();
    pipeline::main("consumer-lake", &log, async move |shutdown| {
        let work = config.admin.secrets.watch(shutdown, |shutdown| consumer_lake::run(config, shutdown));
        around("consumer-lake", trace, work).await
    })
}
