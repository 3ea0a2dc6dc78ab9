use std::process::ExitCode;

fn main() -> ExitCode {
    let config: dashboard::Config = pipeline::secrets::parse();
    let (log, trace) = (config.log.clone(), config.trace.clone());
    pipeline::main("dashboard", &log, |shutdown| {
        let work = config.admin.secrets.watch(shutdown, |shutdown| dashboard::run(config, shutdown));
        pipeline::trace::around("dashboard", trace, work)
    })
}
