//! The backtest as a person runs it, over topics whose records have the times that the test gives them, and over a lake that
//! is made of the same records.

mod long;
mod room;

use jiff::Timestamp;
use pipeline::events::{Gap, GapReason, PriceTick, SourceHealth, event_id};
use pipeline::example;
use room::{Room, Said};
use uuid::Uuid;

/// 2025-10-09T08:53:20Z, a Thursday: a multiple of ten seconds.
const ZERO_MS: i64 = 1_760_000_000_000;

fn at_ms(second: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
    let since = (second * 1000.0) as i64;
    ZERO_MS + since
}

/// As the command line takes it.
fn at(second: f64) -> String {
    Timestamp::from_millisecond(at_ms(second)).expect("a time").to_string()
}

fn tick(second: f64, symbol: &str, source: &str, price: &str) -> (i64, Said) {
    let event_time = at_ms(second) * 1000;
    let tick = PriceTick {
        event_id: event_id(source, "test", symbol, &second.to_string()),
        symbol: symbol.to_owned(),
        source: source.to_owned(),
        price: price.parse().expect("a decimal"),
        event_time,
        ..example::tick()
    };
    (at_ms(second), Said::Tick(Box::new(tick)))
}

fn health(second: f64, source: &str) -> (i64, Said) {
    let at = at_ms(second) * 1000;
    let health = SourceHealth { source: source.to_owned(), at, last_answer_at: Some(at), ..example::health() };
    (at_ms(second), Said::Health(health))
}

fn gap(second: f64, id: u128, from: f64, to: Option<f64>) -> (i64, Said) {
    let gap = Gap {
        id: Uuid::from_u128(id),
        source: "coinbase".to_owned(),
        symbols: vec!["BTC-USD".to_owned()],
        reason: GapReason::Disconnected,
        started_at: at_ms(from) * 1000,
        ended_at: to.map(|to| at_ms(to) * 1000),
        ..example::gap()
    };
    (at_ms(second), Said::Gap(gap))
}

/// An hour of six symbols at three sources that jump now and then, with gaps, and one source that falls silent.
fn an_hour() -> Vec<(i64, Said)> {
    let mut random = fastrand::Rng::with_seed(6);
    let mut records = Vec::new();
    let symbols = ["BTC-USD", "ETH-USD", "SOL-USD", "ADA-USD", "XRP-USD", "DOT-EUR"];
    for step in 0..7200_i32 {
        // Many have the same millisecond.
        let second = f64::from(step) / 2.0;
        let source = ["coinbase", "kraken", "okx"][random.usize(..3)];
        let symbol = symbols[random.usize(..symbols.len())];
        let jump = if random.u32(..200) == 0 { random.i32(-8..9) } else { 0 };
        let price = format!("{}.{}", 1000 + jump * 10 + random.i32(-2..3), random.u32(1..100));
        if !(source == "kraken" && (1500..2400).contains(&(step / 2))) {
            records.push(tick(second, symbol, source, &price));
            if random.u32(..4) == 0 {
                let other = symbols[random.usize(..symbols.len())];
                records.push(tick(second + 0.0001, other, source, &price));
            }
        }
        if step % 20 == 0 {
            records.push(health(second, "coinbase"));
        }
        if step % 1800 == 900 {
            let id = 1 + u128::from(step.unsigned_abs());
            records.push(gap(second, id, second - 5.0, None));
            records.push(gap(second + 120.0, id, second - 5.0, Some(second + 118.0)));
        }
    }
    records.sort_by_key(|(at_ms, _)| *at_ms);
    records
}

const RULES: &str = r#"
[[rule]]
name = "off the mean"
kind = "moving_average"
window = 8
within = "5m"
share = 2
cooldown = "1m"
notify_resolved = true
group = "moves"

[[rule]]
name = "change"
kind = "percent_change"
window = "2m"
share = 3
cooldown = "2m"
group = "moves"

[[rule]]
name = "off the others"
kind = "off_median"
share = 1
fresh = "60s"
min_sources = 2
cooldown = "1m"

[[rule]]
name = "silent"
kind = "stale_feed"
silent_for = "2m"
cooldown = "5m"

[[rule]]
name = "open gap"
kind = "open_gap"
open_for = "30s"
cooldown = "1m"

[[rule]]
name = "cross"
kind = "threshold"
enabled = false
above = 1050
rearm = 1010
cooldown = "10s"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn topic_and_lake_give_the_same_lines_however_the_records_lie() {
    let records = an_hour();
    let three = Room::new(3, RULES).await;
    three.publish(&records);
    three.fill_lake(1000).await;
    let (from, to) = (at(600.0), at(3500.0));
    let range = ["--from", &from, "--to", &to];

    let topic = three.done(&[&range[..], &["-o", "json"]].concat()).await;
    let lines = topic.json_lines();
    assert!(lines.len() > 20, "{}", topic.stderr);
    let times: Vec<Timestamp> =
        lines.iter().map(|line| line["fired_at"].as_str().expect("a time").parse().expect("a time")).collect();
    assert!(
        times.is_sorted()
            && times[0] >= from.parse().expect("a time")
            && times[times.len() - 1] < to.parse().expect("a time")
    );
    for rule in ["off the mean", "change", "off the others", "silent", "open gap"] {
        let of = |state: &str| lines.iter().filter(|line| line["rule"] == rule && line["state"] == state).count();
        assert!(of("FIRING") > 0, "{rule}: {}", topic.stderr);
        let resolves = ["off the mean", "silent", "open gap"].contains(&rule);
        assert_eq!(of("RESOLVED") > 0, resolves, "{rule}");
        assert!(topic.stderr.contains(&format!("\n  {rule}: {}", of("FIRING"))), "{}", topic.stderr);
    }
    assert!(lines.iter().all(|line| line["rule"] != "cross"));
    let lake = three.done(&[&range[..], &["-o", "json", "--source", "lake"]].concat()).await;
    assert_eq!(lake.stdout, topic.stdout);
    assert_eq!(lake.read(), topic.read(), "as many records");

    // One partition, and objects of another size: the same to a person, to whom no offset is shown.
    let one = Room::new(1, RULES).await;
    one.publish(&records);
    one.fill_lake(137).await;
    let table = three.done(&range).await;
    assert_eq!(table.stdout.lines().count(), lines.len() + 1);
    assert_eq!(one.done(&range).await.stdout, table.stdout);
    assert_eq!(one.done(&[&range[..], &["--source", "lake"]].concat()).await.stdout, table.stdout);

    // Without an end it goes on to the last record.
    let all = one.done(&["--from", &from]).await;
    assert!(all.stdout.starts_with(&table.stdout) && all.stdout.len() > table.stdout.len(), "{}", all.stderr);
    assert_eq!(one.done(&["--from", &from, "--source", "lake"]).await.stdout, all.stdout);
}

const MEAN: &str = r#"
[[rule]]
name = "mean of 5"
kind = "moving_average"
window = 5
within = "10m"
share = 5

[[rule]]
name = "silent"
kind = "stale_feed"
silent_for = "1m"

[[rule]]
name = "above 200"
kind = "threshold"
enabled = false
above = 200
rearm = 190
"#;

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_filled_with_what_lies_before_and_nothing_is_told_of_it() {
    let room = Room::new(1, MEAN).await;
    let btc = |second: f64, price: &str| tick(second, "BTC-USD", "coinbase", price);
    let mut records: Vec<_> = (0..5).map(|second| btc(f64::from(second), "100")).collect();
    records.extend([btc(5.0, "150"), btc(6.0, "100"), btc(100.0, "160"), btc(101.0, "100"), btc(102.0, "210")]);
    room.publish(&records);
    room.fill_lake(3).await;

    for source in ["topic", "lake"] {
        let done = async |arguments: &[&str]| room.done(&[arguments, &["--source", source]].concat()).await;
        let mean = |answer: &room::Answer| -> Vec<String> {
            let of = |line: &&serde_json::Value| line["rule"] == "mean of 5";
            answer
                .json_lines()
                .iter()
                .filter(of)
                .map(|line| line["price"].as_str().expect("a price").to_owned())
                .collect()
        };
        let json = ["-o", "json"];
        // The jump to 150 lies before and is not told; it is in the mean that 160 is held against.
        let answer = done(&[&["--from", &at(100.0), "--to", &at(101.0)][..], &json].concat()).await;
        assert_eq!(mean(&answer), ["160"], "{source}: {}", answer.stderr);
        assert_eq!(answer.json_lines()[0]["reference"], "110", "{source}");
        assert!(answer.stderr.contains("read 1 ticks, "), "{}", answer.stderr);
        // The log goes on behind the range, so the silence within it is certain; it is told when it was long enough.
        let answer = done(&["--from", &at(6.0), "--to", &at(90.0)]).await;
        assert!(answer.stdout.contains("2025-10-09T08:54:30.000Z  silent     firing"), "{source}: {}", answer.stdout);
        assert_eq!(answer.stdout.lines().count(), 3, "{source}: {}", answer.stdout);
        // A rule that is switched off runs when it is named, and no other does.
        let answer = done(&["--from", &at(0.0), "--rule", "above 200"]).await;
        assert_eq!(answer.stdout.lines().count(), 2, "{source}: {}", answer.stdout);
        assert!(answer.stdout.contains("BTC-USD at coinbase: 210 is above 200"), "{}", answer.stdout);
        assert!(answer.stderr.ends_with("\n  above 200: 1\n"), "{}", answer.stderr);
        // Nothing is told after the last record: nobody knows what comes.
        let answer = done(&[&["--from", &at(102.0)][..], &json].concat()).await;
        assert_eq!(mean(&answer), ["210"], "{source}");
        assert_eq!(answer.json_lines().len(), 1, "{source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_with_what_would_be_right() {
    let room = Room::new(2, MEAN).await;
    for source in ["topic", "lake"] {
        let answer = room.run(&["--from", &at(0.0), "--source", source]).await;
        let nothing = if source == "lake" { "the lake has nothing under bronze/ticks/" } else { "is empty" };
        assert_eq!((answer.code, answer.line().contains(nothing)), (2, true), "{}", answer.stderr);
    }
    let records: Vec<_> = (0..10).map(|second| tick(f64::from(second), "BTC-USD", "coinbase", "100")).collect();
    room.publish(&records);
    room.fill_lake(4).await;
    for (arguments, says) in [
        (
            &["--from", "2025-10-10", "--to", "2025-10-09"][..],
            "--from 2025-10-10T00:00:00Z is not before --to 2025-10-09T00:00:00Z",
        ),
        (&["--from", "-1h", "--to", "soon"], "expected a time such as 2026-11-22T13:00:00Z"),
        (
            &["--from", "2025-10-09", "--rule", "mean of five"],
            "has no rule \"mean of five\"; the nearest names are \"mean of 5\",",
        ),
        (&["--from", "2025-10-11"], "no records from 2025-10-11T00:00:00.000Z: "),
        (
            &["--from", "2025-10-08", "--to", "2025-10-09"],
            "holds records from 2025-10-09T08:53:20.000Z to 2025-10-09T08:53:29.000Z",
        ),
        (
            &["--from", "2025-10-11", "--to", "2025-10-12", "--source", "lake"],
            "no records from 2025-10-11T00:00:00.000Z to 2025-10-12T00:00:00.000Z: bronze/ticks/ in the lake holds records from \
             the hour 2025-10-09T08Z to the hour 2025-10-09T08Z",
        ),
    ] {
        let answer = room.run(arguments).await;
        assert_eq!((answer.code, answer.stderr.contains(says)), (2, true), "{arguments:?}: {}", answer.stderr);
        assert!(answer.stdout.is_empty(), "{}", answer.stdout);
    }

    // Retention.
    room.delete_before(4).await;
    let answer = room.run(&["--from", &at(1.0)]).await;
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    let says =
        "begins at 2025-10-09T08:53:24.000Z: retention has deleted what came before; --source lake reads the lake";
    assert!(answer.line().contains(says), "{}", answer.stderr);
    let answer = room.done(&["--from", &at(5.0)]).await;
    assert!(answer.stderr.contains("windows are not whole at 2025-10-09T08:53:25.000Z"), "{}", answer.stderr);
    let answer = room.done(&["--from", &at(1.0), "--source", "lake"]).await;
    assert!(answer.stderr.contains("read 9 ticks, "), "{}", answer.stderr);
}
