//! Parses the command line and runs the service.

use std::process::ExitCode;

use consumer_db::{Cli, Command, Database};
use pipeline::trace::around;

fn main() -> ExitCode {
    let Cli { command, config, log, trace } = pipeline::secrets::parse();
    pipeline::main("consumer-db", &log, async move |shutdown| match command {
        None | Some(Command::Run) => {
            let work = config.admin.secrets.watch(shutdown, |shutdown| consumer_db::run(config, shutdown));
            around("consumer-db", trace, work).await
        }
        Some(Command::Migrate { check: false }) => consumer_db::migrate(config).await,
        Some(Command::Migrate { check: true }) => Database::new(&config.database_url)?.check_schema().await,
        Some(Command::Retain { days, dry_run }) => consumer_db::drop_old_days(config, days, dry_run).await,
    })
}
