//! The simulated market through the socket driver: what it trades, that it ends, and that its script makes exactly the gaps
//! that it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use pipeline::events::{Gap, GapReason, PriceTick};
use producer::drive::socket::listen;
use producer::sources::simulated::SimulatedArgs;

use crate::heard::{Heard, hear};

const MILLISECOND: i64 = 1_000;

#[derive(Parser)]
struct Simulation {
    #[command(flatten)]
    args: SimulatedArgs,
}

async fn simulate(args: &[&str], enough: impl Fn(&Heard) -> bool) -> Heard {
    let Simulation { args } = Simulation::parse_from(["simulation"].iter().chain(args));
    let (socketed, feed) = args.socketed().expect("it can be meant");
    hear("simulated", |way| listen(socketed, Box::new(feed), way), enough).await
}

/// Runs a market of so many trades until the driver ends by itself.
async fn simulate_all(trades: &str, args: &[&str]) -> Heard {
    let args = [&["--simulated-trades", trades], args].concat();
    let Simulation { args } = Simulation::parse_from([&["simulation"], &args[..]].concat());
    let (socketed, feed) = args.socketed().expect("it can be meant");
    let ended = Arc::new(AtomicBool::new(false));
    let driver_ended = ended.clone();
    let driver = |way: producer::drive::Way| async move {
        // What is heard from ends with the last sender.
        let (_outbox, shutdown) = (way.outbox.clone(), way.shutdown.clone());
        listen(socketed, Box::new(feed), way).await?;
        driver_ended.store(true, Ordering::SeqCst);
        shutdown.cancelled().await;
        Ok(())
    };
    hear("simulated", driver, |_| ended.load(Ordering::SeqCst)).await
}

fn told(ticks: &[PriceTick]) -> Vec<String> {
    ticks.iter().map(|tick| format!("{} {} {:?}", tick.symbol, tick.price, tick.trade_id)).collect()
}

fn length(gap: &Gap) -> i64 {
    gap.ended_at.expect("closed") - gap.started_at
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_trades_are_made_and_then_the_source_ends_without_a_gap() {
    let slow = simulate_all("3000", &["--simulated-rate", "6000", "--simulated-seed", "4"]).await;
    let fast = simulate_all("3000", &["--simulated-rate", "0", "--simulated-seed", "4"]).await;
    assert_eq!((slow.ticks.len(), fast.ticks.len()), (3_000, 3_000));
    assert_eq!(told(&slow.ticks), told(&fast.ticks), "the rate is no part of the market");
    assert_eq!((slow.gaps, fast.gaps), (vec![], vec![]));
    let times: Vec<i64> = slow.ticks.iter().map(|tick| tick.event_time).collect();
    assert!(times.is_sorted());
    let took = times[2_999] - times[0];
    assert!((400 * MILLISECOND..900 * MILLISECOND).contains(&took), "3000 trades at 6000 a second took {took} µs");
    assert!(slow.ticks.iter().all(|tick| tick.event_time <= tick.received_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_makes_the_gaps_that_it_says_and_no_others() {
    let script = "skip@200ms:5,gap@400ms+500ms,skip@1100ms:ETH-USD:2,silence@1300ms+200ms,gap@1700ms+100ms";
    let args = ["--simulated-rate", "2000", "--simulated-script", script, "--simulated-silence-seconds", "5"];
    let heard = simulate_all("4000", &args).await;
    let closed = heard.closed();
    let reasons: Vec<GapReason> = closed.iter().map(|gap| gap.reason).collect();
    use GapReason::{Disconnected, Sequence};
    assert_eq!(reasons, [Sequence, Disconnected, Sequence, Disconnected], "{closed:?}");
    let [skipped, lost, skipped_more, lost_again] = closed[..] else { panic!("four gaps") };
    assert_eq!(heard.gaps.len(), 8, "each is opened and closed once");

    for (gap, symbol, count) in [(skipped, "BTC-USD", 5), (skipped_more, "ETH-USD", 2)] {
        assert_eq!(gap.symbols, [symbol]);
        let ids: Vec<i64> = gap.detail.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert_eq!(ids[1] - ids[0] + 1, count, "{}", gap.detail);
        let never = heard.ticks.iter().find(|tick| {
            tick.symbol == symbol
                && tick.trade_id.as_ref().is_some_and(|id| ids.contains(&id.parse().expect("a number")))
        });
        assert_eq!(never, None);
    }
    for (gap, millis) in [(lost, 500), (lost_again, 100)] {
        assert!((millis - 20..millis + 150).contains(&(length(gap) / MILLISECOND)), "{} µs: {gap:?}", length(gap));
        let within = |tick: &&PriceTick| gap.started_at < tick.received_at && Some(tick.received_at) < gap.ended_at;
        assert_eq!(heard.ticks.iter().find(within), None);
        assert!(heard.ticks.iter().any(|tick| tick.received_at == gap.started_at), "a loss begins at the last frame");
    }
    // The market went on meanwhile: 500 ms at 2000 a second over 8 symbols.
    let bitcoin: Vec<i64> = heard
        .ticks
        .iter()
        .filter(|tick| tick.symbol == "BTC-USD")
        .map(|tick| tick.trade_id.as_ref().expect("trades have one").parse().expect("a number"))
        .collect();
    let jumps: Vec<i64> = bitcoin.windows(2).map(|ids| ids[1] - ids[0] - 1).filter(|missing| *missing > 0).collect();
    assert_eq!(jumps, [5, 126, 26]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_is_longer_than_the_watchdog_waits_is_a_gap() {
    let args = [
        "--simulated-rate",
        "1000",
        "--simulated-script",
        "silence@200ms+150ms,silence@500ms+900ms",
        "--simulated-silence-seconds",
        "0.4",
    ];
    let heard = simulate(&args, |heard| !heard.closed().is_empty()).await;
    let closed = heard.closed();
    let [gap] = closed[..] else { panic!("one gap: {closed:?}") };
    assert_eq!(gap.reason, GapReason::Disconnected);
    assert!(gap.detail.starts_with("no message for 0.4 s"), "{}", gap.detail);
    assert!((880..1_600).contains(&(length(gap) / MILLISECOND)), "{gap:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_and_jumps_come_when_they_are_told_to() {
    let script = "burst@300ms+200ms*10,jump@700ms:BTC-USD:-8%";
    let args = ["--simulated-rate", "1000", "--simulated-symbols", "BTC-USD", "--simulated-script", script];
    let heard = simulate_all("3000", &args).await;
    assert_eq!(heard.gaps, []);
    let began = heard.ticks[0].event_time;
    let between = |from: i64, to: i64| {
        heard.ticks.iter().filter(|tick| (from..to).contains(&((tick.event_time - began) / MILLISECOND))).count()
    };
    let (before, burst, after) = (between(50, 250), between(320, 480), between(520, 680));
    assert!((150..260).contains(&before), "{before}");
    assert!((1_200..2_100).contains(&burst), "{burst}");
    assert!((110..220).contains(&after), "{after}");
    let price = |tick: &PriceTick| tick.price.unscaled() as f64;
    let jumps: Vec<(i64, f64)> = heard
        .ticks
        .windows(2)
        .map(|pair| ((pair[1].event_time - began) / MILLISECOND, price(&pair[1]) / price(&pair[0]) - 1.0))
        .filter(|(_, moved)| moved.abs() > 0.04)
        .collect();
    let [(at, moved)] = jumps[..] else { panic!("one jump: {jumps:?}") };
    assert!((680..800).contains(&at) && (-0.085..-0.075).contains(&moved), "{at} ms: {moved}");
}

#[test]
fn a_script_that_cannot_be_meant_is_refused() {
    for (args, said) in [
        (["--simulated-script", "jump@1s:XRP-USD:5%", "--simulated-rate", "1"], "XRP-USD is not simulated"),
        (["--simulated-script", "burst@1s+1s*5", "--simulated-rate", "0"], "a burst needs a rate"),
    ] {
        let Simulation { args } = Simulation::parse_from(["simulation"].iter().chain(&args));
        let error = args.socketed().err().expect("refused");
        assert_eq!(pipeline::exit_code(&error), 2);
        assert!(error.to_string().contains(said) && error.to_string().contains("SIMULATED_SCRIPT"), "{error}");
    }
    assert!(Simulation::try_parse_from(["simulation", "--simulated-script", "gap@30s"]).is_err());
}
