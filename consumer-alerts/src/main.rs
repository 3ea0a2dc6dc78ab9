//! Parses the command line and runs what it names.

use std::process::ExitCode;

use consumer_alerts::{Cli, Command};
use pipeline::trace::around;

fn main() -> ExitCode {
    let Cli { command, log, trace } = pipeline::secrets::parse();
    pipeline::main("consumer-alerts", &log, async move |shutdown| match command {
        Command::Run(args) => {
            let work = args.admin.secrets.watch(shutdown, |shutdown| consumer_alerts::service::run(args, shutdown));
            around("consumer-alerts", trace, work).await
        }
        Command::Notify(args) => {
            args.admin.secrets.watch(shutdown, |shutdown| consumer_alerts::notify::notify(args, shutdown)).await
        }
        Command::Backtest(args) => consumer_alerts::backtest::backtest(args, shutdown).await,
        Command::Check(args) => consumer_alerts::check(&args, &mut std::io::stdout().lock()),
    })
}
