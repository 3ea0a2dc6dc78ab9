//! `stack demo`: the whole of tickstream on this machine. Starts the stack and every service, says where the page is, and
//! follows with one line a second. With `--for` it ends by itself, has the audit count everything, and fails unless all
//! counts agree. Whatever ends it, nothing is left running.

mod fleet;
mod positions;
mod scrape;
mod services;
mod status_line;
mod summary;
mod usage;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use pipeline::topics;
use stack::{Options, Stack};
use tokio_util::sync::CancellationToken;

use crate::{env_file, up};
use fleet::Fleet;
use status_line::StatusLine;

#[derive(clap::Args)]
pub struct DemoArgs {
    /// End after so long (such as 60s, 5m), audit, and fail unless all counts agree [default: run until Ctrl-C].
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    run_for: Option<Duration>,
    /// Read the real sources that need no key instead of the simulated market.
    #[arg(long)]
    live: bool,
    /// Simulated trades a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000), conflicts_with = "live")]
    rate: u64,
    /// The same seed walks the same simulated prices.
    #[arg(long, default_value_t = 1, conflicts_with = "live")]
    seed: u64,
    /// Where the page is served; when the port is taken, a free one is.
    #[arg(long, env = "DASHBOARD_ADDR", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    dashboard_addr: SocketAddr,
    /// Keep the data in this folder across runs [default: a temporary folder, removed at the end].
    #[arg(long, env = "STACK_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write the addresses and passwords here as `export` lines, for `source`.
    #[arg(long, env = "STACK_ENV_FILE", value_name = "FILE", default_value = ".demo/env")]
    env_file: PathBuf,
}

impl DemoArgs {
    fn producer_settings(&self, stack: &Stack) -> Vec<(&'static str, String)> {
        let live = "coingecko,awesomeapi,b3,binance,coinbase,kraken,okx,bitstamp";
        let sources = if self.live { live } else { "simulated" };
        let mut settings = vec![
            ("PRODUCER_SOURCES", sources.to_owned()),
            ("PRODUCER_SPILL_DIR", stack.data_dir().join("producer-spill").display().to_string()),
            ("SIMULATED_RATE", self.rate.to_string()),
            ("SIMULATED_SEED", self.seed.to_string()),
        ];
        if self.live {
            // Only the live sources have an exchange rate to imply them with.
            settings.push(("PRODUCER_IMPLIED_SYMBOLS", "BTC-BRL,ETH-BRL".to_owned()));
        }
        settings
    }
}

/// How the time between start and stop ended.
enum Ended {
    TimeIsUp,
    Interrupted,
    Died(String),
}

pub async fn run(args: DemoArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let options = Options { data_dir: args.data_dir.clone(), ..Options::default() };
    say("starting Kafka, Postgres and S3 …")?;
    // A start that is interrupted needs no end of its own: all that it started goes with this process.
    let Some(stack) = shutdown.run_until_cancelled(Stack::start(options)).await.transpose()? else {
        return Ok(());
    };
    env_file::write(&args.env_file, &stack::shell_variables(&stack))?;
    let result = run_on(&args, &stack, &shutdown).await;
    drop(std::fs::remove_file(&args.env_file));
    let stopped = stack.stop().await;
    result.and(stopped)
}

async fn run_on(args: &DemoArgs, stack: &Stack, shutdown: &CancellationToken) -> anyhow::Result<()> {
    up::announce(stack, &mut std::io::stdout().lock())?;
    let applied = services::run("tickstream", &["topics", "apply"], &stack.env()).await?;
    if !applied.status.success() {
        bail!("`tickstream topics apply` failed: {}", String::from_utf8_lossy(&applied.stderr).trim());
    }
    // A kept data folder holds the ticks of earlier runs.
    let earlier = summary::records_of(&stack.kafka_bootstrap_servers, topics::TICKS).await?;

    say("starting producer, consumer-lake, refiner, consumer-db, consumer-alerts and dashboard …")?;
    let page = free_or_other(args.dashboard_addr)?;
    let starting = Fleet::start(args, page, stack);
    let Some(mut fleet) = shutdown.run_until_cancelled(starting).await.transpose()? else {
        return Ok(());
    };
    say(&format!(
        "\n  page   http://{page}{}\n  tools  source {}\n  stop   Ctrl-C\n",
        if args.live { "" } else { "   (a simulated market; LIVE=1 reads the exchanges)" },
        args.env_file.display()
    ))?;

    let ended = follow(args, &fleet, stack, shutdown).await?;
    if let Ended::Died(obituary) = ended {
        // What is left is still stopped in order; its own complaints are a consequence.
        drop(fleet.stop(stack).await);
        bail!(obituary);
    }
    say("stopping: producer first, then the consumers once they have caught up …")?;
    fleet.stop(stack).await?;
    match ended {
        Ended::TimeIsUp => summary::audit(&fleet, stack, earlier).await,
        Ended::Interrupted | Ended::Died(_) => Ok(()),
    }
}

/// Shows the status line until the time is up, the user interrupts, or something dies.
async fn follow(args: &DemoArgs, fleet: &Fleet, stack: &Stack, shutdown: &CancellationToken) -> anyhow::Result<Ended> {
    let ends_at = args.run_for.map(|duration| Instant::now() + duration);
    let mut line = StatusLine::new();
    let second = Duration::from_secs(1);
    let mut every_second = tokio::time::interval_at(tokio::time::Instant::now() + second, second);
    every_second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let ended = loop {
        if shutdown.run_until_cancelled(every_second.tick()).await.is_none() {
            break Ended::Interrupted;
        }
        if let Some(obituary) = fleet.died().or_else(|| stack.died()) {
            break Ended::Died(obituary);
        }
        line.show(fleet).await?;
        if ends_at.is_some_and(|at| Instant::now() >= at) {
            break Ended::TimeIsUp;
        }
    };
    line.end()?;
    Ok(ended)
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// `wanted`, or, when somebody listens there already, a free port of this machine.
fn free_or_other(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    match TcpListener::bind(wanted) {
        Ok(listener) => Ok(listener.local_addr()?),
        Err(err) if err.kind() == std::io::ErrorKind::AddrInUse => {
            let [port] = stack::free_ports()?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        }
        Err(err) => Err(pipeline::misconfigured(format!("--dashboard-addr {wanted}: {err}; try 127.0.0.1:8080"))),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as 60s, 5m or 1h".to_owned();
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..unit_at].parse().map_err(|_| wrong())?;
    let seconds = match &text[unit_at..] {
        "" | "s" => number,
        "m" => number.saturating_mul(60),
        "h" => number.saturating_mul(3600),
        _ => return Err(wrong()),
    };
    if (1..=7 * 24 * 3600).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("expected between 1s and 168h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_number_and_perhaps_a_unit() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), seconds.map(Duration::from_secs), "{text}");
        };
        check("60s", Some(60));
        check("60", Some(60));
        check("5m", Some(300));
        check("1h", Some(3600));
        for bad in ["", "s", "0s", "-1s", "1.5m", "1 m", "1d", "999999999999999999999s", "200h", "9999999999999999999h"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn a_taken_port_gives_way_to_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        assert_ne!(free_or_other(address).unwrap(), address);
        drop(taken);
        assert_eq!(free_or_other(address).unwrap(), address);
    }
}
