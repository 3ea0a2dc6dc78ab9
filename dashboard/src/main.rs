use std::process::ExitCode;

fn main() -> ExitCode {
    let config: dashboard::Config = pipeline::secrets::parse();
    let log = config.log.clone();
    pipeline::main("dashboard", &log, |shutdown| {
        config.admin.secrets.watch(shutdown, |shutdown| dashboard::run(config, shutdown))
    })
}
