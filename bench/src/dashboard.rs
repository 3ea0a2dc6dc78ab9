//! The dashboard under many clients, beside a bare WebSocket server that sends the same frames on the same machine in the same
//! run; before that, its start over a day of ticks, and its answers from the cache. Client, server and broker share the cores.

pub mod bare;
mod clients;
mod rest;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use stack::Stack;
use tokio_util::sync::CancellationToken;

use crate::now_us;
use crate::service::Service;
use crate::ticks::{Load, Past, SYMBOLS};
use bare::Bare;
use clients::{Clients, Seen};

/// What goes by before the clock starts, and how long it runs.
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(10);
/// A day of ticks with their own times: a topic that keeps its producer's clock.
const DAY_TOPIC: &str = "bench.day";

struct Scenario {
    name: &'static str,
    clients: usize,
    never_read: usize,
    ticks_per_second: usize,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "1,000 clients, 20,000/s", clients: 1_000, never_read: 0, ticks_per_second: 200 },
    Scenario { name: "the same, 5 % never read", clients: 1_000, never_read: 50, ticks_per_second: 200 },
    Scenario { name: "10,000 clients, 50,000/s", clients: 10_000, never_read: 0, ticks_per_second: 50 },
    Scenario { name: "10,000 clients, 1,000 ticks/s in", clients: 10_000, never_read: 0, ticks_per_second: 1_000 },
];

/// Prints a table as it goes.
///
/// # Errors
/// When the dashboard does not start, or closes a connection of a client that reads.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub async fn measure(stack: &Stack, kafka: &KafkaArgs, binaries: &Path) -> anyhow::Result<()> {
    measure_start(stack, kafka, binaries).await?;
    measure_rest(stack, kafka, binaries).await?;
    println!(
        "{:<34}{:>12}{:>12}{:>10}{:>10}{:>10}{:>12}{:>10}",
        "dashboard", "messages/s", "values/s", "p50 ms", "p99 ms", "oldest ms", "KiB a client", "peak MiB"
    );
    for scenario in &SCENARIOS {
        let example = measure_ours(stack, kafka, binaries, scenario).await?;
        // Without a bound on its queues the bare server has no answer to overload.
        if let Some(example) = example.filter(|_| scenario.never_read == 0 && scenario.ticks_per_second <= 200) {
            measure_bare(scenario, &example).await?;
        }
    }
    Ok(())
}

/// One message as it came, for the bare server to send.
async fn measure_ours(
    stack: &Stack,
    kafka: &KafkaArgs,
    binaries: &Path,
    scenario: &Scenario,
) -> anyhow::Result<Option<String>> {
    let (dashboard, host) = start(stack, binaries, topics::TICKS, "1m")?;
    dashboard.ready().await?;
    let load = Load::start(kafka, topics::TICKS, scenario.ticks_per_second).await?;
    tokio::time::sleep(WARM_UP).await;
    let before = dashboard.resident_kib()?;
    let clients = Clients::connect(&host, "/ws", scenario.clients, scenario.never_read).await?;
    tokio::time::sleep(WARM_UP).await;
    let seen = clients.measure(MEASURED).await?;
    let (held, used) = (dashboard.resident_kib()?, dashboard.used()?);
    // Else nobody was slow, and nothing was measured.
    dashboard.reaches("tickstream_dashboard_conflated_total", scenario.never_read).await?;
    load.stop()?;
    let example = seen.example.clone();
    let each = held.saturating_sub(before) as f64 / scenario.clients as f64;
    print(scenario.name, seen, &format!("{each:.1}"), &format!("{:.0}", used.peak_mib));
    dashboard.stop()?;
    Ok(example)
}

async fn measure_bare(scenario: &Scenario, example: &str) -> anyhow::Result<()> {
    let mut bare = Bare::start().await?;
    let done = CancellationToken::new();
    let clients = Clients::connect(&bare.host.clone(), "/", scenario.clients, 0).await?;
    let measured = async {
        tokio::time::sleep(WARM_UP).await;
        let seen = clients.measure(MEASURED).await;
        done.cancel();
        seen
    };
    let (sent, seen) = tokio::join!(bare.load(example, scenario.ticks_per_second, &done), measured);
    sent?;
    print("  limit: bare tokio-tungstenite", seen?, "", "");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print(name: &str, mut seen: Seen, each: &str, peak: &str) {
    let seconds = MEASURED.as_secs_f64();
    let (messages, values) = (seen.messages as f64 / seconds, seen.values as f64 / seconds);
    let [p50, p99] = [0.5, 0.99].map(|share| f64::from(percentile(&mut seen.delays, share)) / 1000.0);
    let oldest = seen.oldest_us / 1000;
    println!("{name:<34}{messages:>12.0}{values:>12.0}{p50:>10.1}{p99:>10.1}{oldest:>10}{each:>12}{peak:>10}");
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn measure_rest(stack: &Stack, kafka: &KafkaArgs, binaries: &Path) -> anyhow::Result<()> {
    let (dashboard, host) = start(stack, binaries, topics::TICKS, "10m")?;
    dashboard.ready().await?;
    let load = Load::start(kafka, topics::TICKS, SYMBOLS).await?;
    tokio::time::sleep(WARM_UP).await;
    let (p50, p99) = rest::measure(&host).await?;
    load.stop()?;
    dashboard.stop()?;
    println!(
        "REST from the cache at 1,000 requests/s: p50 {:.1} ms, p99 {:.1} ms",
        f64::from(p50) / 1e3,
        f64::from(p99) / 1e3
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn measure_start(stack: &Stack, kafka: &KafkaArgs, binaries: &Path) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = kafka.admin().create()?;
    let topic = NewTopic::new(DAY_TOPIC, 4, TopicReplication::Fixed(1)).set("message.timestamp.type", "CreateTime");
    for created in admin.create_topics([&topic], &AdminOptions::new()).await? {
        created.map_err(|(name, code)| anyhow::anyhow!("creating {name}: {code}"))?;
    }
    const DAY_SECONDS: usize = 24 * 60 * 60;
    let count = DAY_SECONDS * SYMBOLS;
    let begin_us = now_us() - 24 * 60 * 60 * 1_000_000;
    Past { first_number: 0, count, begin_us, step_us: 1_000_000 / 50 }.publish(kafka, DAY_TOPIC).await?;
    let begun = Instant::now();
    // Longer than a day, since the day went on while it was written.
    let (dashboard, host) = start(stack, binaries, DAY_TOPIC, "25h")?;
    let ready = dashboard.ready().await?.duration_since(begun);
    let symbols = latest_symbols(&host).await?;
    let shown = begun.elapsed();
    anyhow::ensure!(symbols == SYMBOLS, "{symbols} of {SYMBOLS} symbols when ready");
    let whole = dashboard.reaches("tickstream_dashboard_records_total", count).await?.duration_since(begun);
    let peak = dashboard.used()?.peak_mib;
    dashboard.stop()?;
    println!(
        "start over a day of {count} ticks: ready {:.2} s, all {SYMBOLS} prices {:.2} s, the whole day read {:.1} s, peak {peak:.0} MiB",
        ready.as_secs_f64(),
        shown.as_secs_f64(),
        whole.as_secs_f64()
    );
    Ok(())
}

async fn latest_symbols(host: &str) -> anyhow::Result<usize> {
    let latest: serde_json::Value = reqwest::get(format!("http://{host}/api/v1/latest")).await?.json().await?;
    Ok(latest["ticks"].as_array().context("no ticks in the answer")?.len())
}

fn start(stack: &Stack, binaries: &Path, topic: &str, look_back: &str) -> anyhow::Result<(Service, String)> {
    let host = crate::service::free_address()?;
    let arguments = [
        "--listen-addr",
        &host,
        "--ticks-topic",
        topic,
        "--look-back",
        look_back,
        "--max-connections",
        "20000",
        "--max-connections-per-address",
        "20000",
        // Memory is what is measured.
        "--database-url=",
    ];
    let dashboard = Service::start(stack, binaries, "dashboard", &arguments)?;
    Ok((dashboard, host))
}

/// 0 where there is nothing.
fn percentile(values: &mut [u32], share: f64) -> u32 {
    let last = values.len().saturating_sub(1);
    let index = (share * last as f64).round() as usize;
    if values.is_empty() { 0 } else { *values.select_nth_unstable(index).1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let mut values: Vec<u32> = (1..=100).rev().collect();
        assert_eq!((percentile(&mut values, 0.5), percentile(&mut values, 0.99)), (51, 99));
        assert_eq!(percentile(&mut [], 0.99), 0);
    }

    #[test]
    fn clients_spread_evenly_over_the_symbols() {
        assert_eq!(SYMBOLS % clients::SUBSCRIBED, 0);
    }
}
