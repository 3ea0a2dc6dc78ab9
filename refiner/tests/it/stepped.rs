//! Two refiners over one lake, let on a request at a time in random order, while bronze grows and is made again by a newer
//! decoder, answers are lost, and either is killed with a request on its way. What stands in silver never goes back to what an
//! older decoder made, and no row leaves it; in the end it is what bronze says, and gold what silver says.
//! `TICKSTREAM_REFINERS=n` plays more histories, `TICKSTREAM_SEED=n` one of them again (its order of requests, not its clock).

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use fastrand::Rng;
use pipeline::store::Store;
use refiner::objects::Objects;
use refiner::run::run;
use stack::Stack;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::bronze::{HOUR, Lake, MONDAY, SECOND, refine, store_at, trade};
use crate::fault_store::{Fault, FaultStore, when};
use crate::interleaved::decode_again;

/// Runs of one refiner, from its start or the last kill.
const RUNS: usize = 3;
const EVENTS: u32 = 4;
/// How long the other one may take to come to its next request.
const TOGETHER: Duration = Duration::from_millis(20);

/// Threads for one store alone: a request that waits at its gate blocks the one that serves it, and what that would have served next.
struct Gates(Option<Runtime>);

impl Gates {
    fn new() -> Self {
        Self(Some(Builder::new_multi_thread().worker_threads(64).enable_all().build().expect("threads")))
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.0.take().expect("it runs").shutdown_background();
    }
}

/// One refiner, and the gate in front of the store that it asks.
struct Stepped {
    store: Store,
    _faults: FaultStore,
    _gates: Gates,
    asked: Receiver<String>,
    go: Sender<()>,
    /// The request that waits.
    waits: Option<String>,
    work: JoinHandle<()>,
}

impl Stepped {
    async fn start(stack: &'static Stack, lake: &Lake, prefix: &str, mut rng: Rng) -> Self {
        let gates = Gates::new();
        let faults = gates.0.as_ref().expect("it runs").spawn(FaultStore::start(stack)).await.expect("no panic");
        // It is tried whether the store is there: before the gate.
        let store = store_at(stack, &faults.url, prefix).await;
        let ((ask, asked), (go, may_go)) = (channel(), channel::<()>());
        let losses = std::sync::Mutex::new(rng.fork());
        let gate = move |request: &crate::fault_store::Request| {
            // Nobody listens any more, or says go: the history is over, and the gate open.
            let is_over = ask.send(format!("{} {}", request.method, request.key)).is_err() || may_go.recv().is_err();
            !is_over && request.method == "PUT" && losses.lock().expect("no panic").u32(0..12) == 0
        };
        faults.set([when(gate, Fault::AnswerLost)]);
        let work = Self::work(lake, &store).await;
        Self { store, _faults: faults, _gates: gates, asked, go, waits: None, work }
    }

    async fn work(lake: &Lake, store: &Store) -> JoinHandle<()> {
        let refiner = lake.refiner_over(Objects::new(store.clone())).await;
        tokio::spawn(async move {
            for _again in 0..RUNS {
                // A lost answer may end a run; the next one finds its way.
                drop(run(&refiner, |_, _| true).await);
            }
        })
    }

    /// Kills it; what it has asked for is still on its way.
    async fn again(&mut self, lake: &Lake) {
        self.work.abort();
        self.work = Self::work(lake, &self.store).await;
    }

    fn look(&mut self) -> bool {
        if self.waits.is_none() {
            self.waits = self.asked.try_recv().ok();
        }
        self.waits.is_some()
    }
}

/// The price that silver has of each event: `1` of the older decoder, `2` of the newer one.
async fn prices(lake: &Lake) -> BTreeMap<String, String> {
    let mut prices = BTreeMap::new();
    for key in lake.etags("silver/ticks/").await.into_keys() {
        let rows = lake.rows(&key).await;
        prices.extend(rows.into_iter().map(|row| (row["event_id"].clone(), row["price"].clone())));
    }
    prices
}

/// A raw object of an event of price 2, whose bronze an older decoder made: it says 1.
async fn append(lake: &Lake, number: u32) {
    let at = MONDAY + i64::from(number % 2) * HOUR + i64::from(number) * SECOND;
    let of_price = |price: &str| trade("kraken", "BTC-USD", number, price, at);
    lake.older(0, at, &[of_price("2")], &[of_price("1")]).await;
}

async fn history(stack: &'static Stack, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let prefix = format!("refine-stepped-{seed}");
    let lake = Lake::new(stack, &prefix).await;
    append(&lake, 0).await;
    append(&lake, 1).await;
    let mut refiners = [
        Stepped::start(stack, &lake, &prefix, rng.fork()).await,
        Stepped::start(stack, &lake, &prefix, rng.fork()).await,
    ];
    let mut appended = 2;
    let (mut decode, mut kills) = (true, 2);
    let (mut last, mut trace) = (BTreeMap::new(), Vec::new());
    let mut quiet_since = Instant::now();
    while refiners.iter().any(|refiner| !refiner.work.is_finished() || refiner.waits.is_some()) {
        let waiting: Vec<usize> = (0..2).filter(|index| refiners[*index].look()).collect();
        let all = refiners.iter().all(|refiner| refiner.waits.is_some() || refiner.work.is_finished());
        if waiting.is_empty() || !all && quiet_since.elapsed() < TOGETHER {
            assert!(
                quiet_since.elapsed() < Duration::from_secs(120),
                "seed {seed}: nobody asks for anything: {trace:?}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        match rng.u32(0..60) {
            0 | 1 if appended < 2 + EVENTS => {
                append(&lake, appended).await;
                trace.push(format!("event {appended}"));
                appended += 1;
            }
            2 if decode => {
                decode = false;
                trace.push("decode again".to_owned());
                let prefix = prefix.clone();
                tokio::task::spawn_blocking(move || decode_again(stack, &prefix)).await.expect("no panic");
            }
            3 if kills > 0 => {
                kills -= 1;
                let index = rng.usize(0..2);
                trace.push(format!("kill {index}"));
                refiners[index].again(&lake).await;
            }
            _ => {}
        }
        let index = waiting[rng.usize(0..waiting.len())];
        let request = refiners[index].waits.take().expect("it waits");
        let changes_silver = request.starts_with("PUT ") && request.contains("silver/ticks/");
        trace.push(format!("{index} {request}"));
        refiners[index].go.send(()).expect("the gate waits");
        quiet_since = Instant::now();
        if changes_silver {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = prices(&lake).await;
            for (event, price) in &last {
                assert!(
                    now.get(event) >= Some(price),
                    "seed {seed}: {event} was {price}: {:?}\n{trace:#?}",
                    now.get(event)
                );
            }
            last = now;
        }
    }
    // What an open gate lets through is late, too.
    drop(refiners);
    let prefix_of_last = prefix.clone();
    tokio::task::spawn_blocking(move || decode_again(stack, &prefix_of_last)).await.expect("no panic");
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    let last = prices(&lake).await;
    assert_eq!(last.len(), appended as usize, "seed {seed}: {trace:#?}");
    assert!(last.values().all(|price| price.starts_with("2.")), "seed {seed}: {last:?}\n{trace:#?}");
    let day = lake.partition("gold/candles/timeframe=1d/dt=2026-03-02").await;
    assert_eq!((day[0]["ticks"].as_str(), &day[0]["low"][..2]), (appended.to_string().as_str(), "2."), "seed {seed}");
    let before = lake.layers().await;
    refine(&refiner).await;
    assert_eq!(before, lake.layers().await, "seed {seed}: a run over what is made writes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn nothing_older_stands_over_something_newer_in_any_order_of_requests() {
    let stack = stack::shared().await;
    let asked = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    if let Some(seed) = asked("TICKSTREAM_SEED") {
        return history(stack, seed).await;
    }
    for seed in 0..asked("TICKSTREAM_REFINERS").unwrap_or(2) {
        history(stack, seed).await;
    }
}
