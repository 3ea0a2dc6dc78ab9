//! `tickstream watch`, without a terminal and in one.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pipeline::codec::{Encoder, Framing};
use pipeline::decimal::Decimal38;
use pipeline::events::PriceTick;
use pipeline::example;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde_json::Value;
use stack::Stack;
use uuid::Uuid;

use crate::groups::topic;
use crate::{command, tickstream};

const PATIENCE: Duration = Duration::from_secs(60);

struct Market {
    producer: FutureProducer,
    encoder: Encoder,
    topic: String,
}

impl Market {
    async fn new(stack: &Stack, name: &str) -> Self {
        topic(stack, name, 2).await;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &stack.kafka_bootstrap_servers);
        Self {
            producer: config.create().expect("producer"),
            encoder: Encoder::new(Framing::SingleObject).await.expect("encoder"),
            topic: name.to_owned(),
        }
    }

    /// The later the dearer.
    async fn price(&self, symbol: &str, price: u32) {
        let tick = PriceTick {
            event_id: Uuid::from_u128(price.into()),
            event_time: jiff::Timestamp::now().as_microsecond(),
            symbol: symbol.to_owned(),
            price: Decimal38::parse(&format!("{price}.50")).expect("a number"),
            ..example::tick()
        };
        self.send(&self.encoder.tick(&tick)).await;
    }

    async fn send(&self, value: &[u8]) {
        let record = FutureRecord::<[u8], [u8]>::to(&self.topic).payload(value);
        self.producer.send(record, Timeout::After(PATIENCE)).await.expect("delivered");
    }
}

fn chunks(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            drop(sender.send(buffer[..count].to_vec()));
        }
    });
    receiver
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_prints_all_again_and_again_in_each_form() {
    let stack = stack::shared().await;
    let market = Market::new(stack, "cli.watch").await;
    market.price("BTC-USD", 1).await;
    market.price("ETH-USD", 2).await;
    market.send(b"garbage").await;
    let once = |more: &[&'static str]| {
        let arguments =
            [&["watch", "--topic", "cli.watch", "--group", "cli-watch-none", "--count", "1"], more].concat();
        async move { tickstream(stack, &arguments).await }
    };
    let table = once(&[]).await;
    assert_eq!(table.code, 0, "{}", table.stderr);
    assert!(table.stdout.contains("1 records that are no ticks"), "{}", table.stdout);
    assert!(
        table.stdout.lines().any(|line| line.starts_with("BTC-USD") && line.contains("  1.5  ")),
        "{}",
        table.stdout
    );
    let csv = once(&["-o", "csv", "eth-usd"]).await;
    assert!(csv.stdout.starts_with("at,symbol,source,kind,price,bid,"), "{}", csv.stdout);
    assert!(csv.stdout.lines().count() == 2 && csv.stdout.contains(",ETH-USD,"), "{}", csv.stdout);

    let arguments = ["watch", "--topic", "cli.watch", "-o", "json", "--every", "100ms", "btc-usd"];
    let mut running = Running(command(stack, &arguments).stdout(Stdio::piped()).spawn().expect("starts"));
    let mut lines = BufReader::new(running.0.stdout.take().expect("piped")).lines();
    for price in [10, 20] {
        market.price("BTC-USD", price).await;
        let begun = Instant::now();
        loop {
            let line = lines.next().expect("it goes on").expect("text");
            let moment: Value = serde_json::from_str(&line).expect("one object a line");
            if moment["prices"][0]["price"] == format!("{price}.5") {
                assert!(moment["prices"][0]["ticks"].as_u64() >= Some(2), "{moment}");
                assert!(moment["groups"].is_array() && moment["trouble"].is_null(), "{moment}");
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{moment}");
        }
    }
    signal("-INT", &running.0.id().to_string());
    drop(lines);
    assert!(running.0.wait().expect("ends").success(), "an interruption is how it ends");

    let missing = tickstream(stack, &["watch", "--topic", "cli.no.such.topic"]).await;
    assert_eq!(missing.code, 2);
    assert!(missing.line().contains("topic cli.no.such.topic does not exist at"), "{}", missing.stderr);
}

/// Runs it in a terminal of its own, of 30 lines and 120 columns, by `script`; its process id comes first.
fn in_a_terminal(stack: &Stack, name: &str) -> (Running, Receiver<Vec<u8>>, String) {
    let words = format!(
        "stty rows 30 cols 120; echo pid $$ .; exec {} watch --topic {name} --every 100ms",
        env!("CARGO_BIN_EXE_tickstream")
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words, "/dev/null"]).env_clear().envs(stack.env());
    script
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is part of util-linux");
    let output = chunks(child.stdout.take().expect("piped"));
    let mut seen = String::new();
    wait_for(&output, &mut seen, " .");
    let pid = seen.split_whitespace().nth(1).expect("a process id").to_owned();
    (Running(child), output, pid)
}

fn wait_for(output: &Receiver<Vec<u8>>, seen: &mut String, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !seen.contains(text) {
        let left = deadline.saturating_duration_since(Instant::now());
        let chunk = output.recv_timeout(left).unwrap_or_else(|_| panic!("no {text:?} in {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
}

const TAKEN: &str = "\u{1b}[?1049h";
const GIVEN_BACK: &str = "\u{1b}[?1049l";
const CURSOR_SHOWN: &str = "\u{1b}[?25h";

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_redraws_in_place_and_gives_it_back_however_it_ends() {
    let stack = stack::shared().await;
    let market = Market::new(stack, "cli.watch.tty").await;
    market.price("BTC-USD", 1).await;
    for end in ["q", "\u{3}", "TERM"] {
        let (mut running, output, pid) = in_a_terminal(stack, "cli.watch.tty");
        let mut seen = String::new();
        wait_for(&output, &mut seen, TAKEN);
        wait_for(&output, &mut seen, "BTC-USD");
        market.price("LTC-USD", 7).await;
        wait_for(&output, &mut seen, "LTC-USD");
        assert_eq!(seen.matches(TAKEN).count(), 1, "drawn in place");
        if end == "TERM" {
            signal("-TERM", &pid);
        } else {
            running.0.stdin.as_mut().expect("piped").write_all(end.as_bytes()).expect("typed");
        }
        wait_for(&output, &mut seen, GIVEN_BACK);
        wait_for(&output, &mut seen, CURSOR_SHOWN);
        assert!(running.0.wait().expect("ends").success(), "{end:?}: {seen:?}");
    }
}
