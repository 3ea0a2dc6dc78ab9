//! Logs, and the frame that every service's `main` runs in: signals become one cancellation token, an error becomes one
//! line on standard error and an exit code. Must never happen here: a backtrace for a user's mistake, or a log line that
//! shows a secret.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::secrets;

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "human", global = true)]
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or `target=level` directives separated by commas.
    #[arg(long, env = "RUST_LOG", default_value = "info", global = true)]
    pub log: String,
}

/// A mistake that the user can mend: what is wrong, where it was set, what would be right. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub String);

/// [`Misconfigured`] as an [`anyhow::Error`].
pub fn misconfigured(message: impl Into<String>) -> anyhow::Error {
    Misconfigured(message.into()).into()
}

/// Runs a service: starts telemetry and the signal handler, then `run`, then turns its result into an exit code
/// (0 done, 1 failed, 2 a user's mistake).
pub fn main<F>(service: &'static str, log: &LogArgs, run: impl FnOnce(CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    crate::memory::keep_small();
    let result = start_logging(log).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let shutdown = CancellationToken::new();
        let result = runtime.block_on(async {
            cancel_on_signal(shutdown.clone())?;
            run(shutdown.clone()).await
        });
        // While signals are still heard: who was told to end meanwhile does not begin anew.
        let result = match result {
            Err(error) if error.is::<secrets::Anew>() && shutdown.is_cancelled() => Ok(()),
            Err(error) if error.is::<secrets::Anew>() => {
                Err(anyhow::Error::new(secrets::begin_anew()).context("cannot begin anew with a changed secret"))
            }
            result => result,
        };
        // A task that ignored its token must not keep the process alive.
        runtime.shutdown_timeout(std::time::Duration::from_secs(2));
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            let line = format!("{error:#}").replace('\n', " ");
            drop(writeln!(stderr, "{service}: {line}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// 2 for a user's mistake, else 1.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Misconfigured>()) { 2 } else { 1 }
}

fn start_logging(args: &LogArgs) -> anyhow::Result<()> {
    // Only one TLS provider is linked; a second call (tests) finds it installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        misconfigured(format!("--log (RUST_LOG) {:?}: {error}; try info or producer=debug", args.log))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Human => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("interrupted, shutting down"),
            _ = terminate.recv() => tracing::info!("terminated, shutting down"),
        }
        shutdown.cancel();
    });
    Ok(())
}
