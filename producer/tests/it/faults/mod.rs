//! Every fault of the outside world, played on loopback by real HTTP and WebSocket servers against the drivers, with each
//! source set up by its own flags. The servers write down when a fault began and ended; the gaps must say the same, and
//! nothing more. A case is data: what is played, and what must become of it.

use std::future::Future;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use metrics_exporter_prometheus::PrometheusBuilder;
use producer::config::{Cli, Command, Config, SourceName};
use producer::drive::Driven;
use producer::symbols::Symbols;
use tokio::io::AsyncWriteExt;
use tracing::Level;

mod burst;
mod http;
mod socket;
mod sources;

/// The key that each source is given: nothing that leaves a driver may have it in it.
const KEY: &str = "hush-0123-4567-89ab";

/// What a source is when it is run with these flags.
fn driven(name: SourceName, args: &[String]) -> Driven {
    let args = ["producer", "run"].map(str::to_owned).into_iter().chain(args.iter().cloned());
    let Command::Run(config) = Cli::parse_from(args).command else { panic!("run is meant") };
    let config: Config = *config;
    config.driven(name, &Arc::new(Symbols::built_in())).expect("well set up")
}

/// What was logged and counted on the side.
struct Overheard {
    log: String,
    metrics: String,
}

/// Runs this in a runtime of its own, and gives all that it logged and counted.
fn alone<T>(level: Level, future: impl Future<Output = T>) -> (T, Overheard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(move || writer.clone()).finish();
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = tracing::subscriber::with_default(subscriber, || {
        metrics::with_local_recorder(&recorder, || {
            let done = runtime.block_on(future);
            drop(runtime);
            done
        })
    });
    let log = String::from_utf8_lossy(&log.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
    (done, Overheard { log, metrics: recorder.handle().render() })
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Checks every case, a few at a time, since most of them wait; all that fail are told.
fn each<C: Sync>(cases: &[C], check: impl Fn(&C) + Sync) {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // What it panics with has been printed by then.
                    if std::panic::catch_unwind(AssertUnwindSafe(|| check(case))).is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert_eq!(failed, 0, "{failed} of {} cases", cases.len());
}

/// The furthest that the begin or the end of a gap was off what the server wrote down, in micros.
#[derive(Default)]
struct Furthest(AtomicI64);

impl Furthest {
    fn off(&self, told: i64, played: i64) {
        self.0.fetch_max((told - played).abs(), Ordering::Relaxed);
    }

    fn millis(&self) -> i64 {
        self.0.load(Ordering::Relaxed) / 1_000
    }
}

/// A server that takes connections and answers each with a line of plain text, whatever it hears.
async fn plain_text() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.write_all(b"HTTP/1.1 400 Plain text was sent to a TLS port\r\n\r\n").await);
            drop(stream.shutdown().await);
        }
    });
    address
}

/// The code of a problem, as the log has it.
fn names(log: &str, code: &str) -> bool {
    log.contains(&format!("code=\"{code}\""))
}

/// What can stand in place of a number in JSON, and the codes of which one must name it. `text` says that the source sends
/// numbers as strings; `twice` is a number and the same key again with another one.
fn wrong_numbers(text: bool, twice: String) -> [(&'static str, String, &'static [&'static str]); 17] {
    let number = |digits: &str| if text { format!("\"{digits}\"") } else { digits.to_owned() };
    [
        ("null", "null".to_owned(), &["null_field"]),
        ("a boolean", "true".to_owned(), &["wrong_type"]),
        ("an array", "[1]".to_owned(), &["wrong_type"]),
        ("an object", r#"{"a":1}"#.to_owned(), &["wrong_type"]),
        ("a word", r#""abc""#.to_owned(), &["not_a_number"]),
        ("an empty string", r#""""#.to_owned(), &["not_a_number", "missing_field"]),
        ("a huge exponent", number("1e400"), &["too_many_digits", "not_a_number"]),
        ("a tiny exponent", number("1e-400"), &["too_precise", "not_a_number"]),
        ("an exponent of exponents", number("1e99999999999999999999"), &["too_many_digits", "not_a_number"]),
        ("thirty digits", number("123456789012345678901234567890"), &["too_many_digits", "not_a_number"]),
        ("a million digits", number(&"7".repeat(1_000_000)), &["too_many_digits", "not_a_number"]),
        ("below zero", number("-5"), &["not_positive", "negative", "not_a_number"]),
        ("zero", number("0"), &["not_positive"]),
        ("zero below zero", number("-0"), &["not_positive", "negative", "not_a_number"]),
        ("NaN", "NaN".to_owned(), &["not_a_number"]),
        ("infinity", "-Infinity".to_owned(), &["not_a_number", "negative"]),
        ("two values", twice, &["duplicate_key"]),
    ]
}
