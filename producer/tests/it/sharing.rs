//! Several producers share sources, and one of them is killed: the other takes over in time, no trade has two ids, and what
//! nobody read is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pipeline::events::{Gap, GapReason, PriceTick};
use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use producer::drive::clock::now_micros;
use tempfile::TempDir;

use crate::fake_http::{Answer, FakeHttp, ok};
use crate::fake_ws::{FakeWs, Market};
use crate::heard;
use crate::outages::{Producer, broker, read, say};

const SOURCES: [&str; 2] = ["coingecko", "coinbase"];
const TRADE_EVERY: Duration = Duration::from_millis(50);
/// A source that is asked every second and was not for so long (microseconds) had no reader.
const NOTABLY_UNREAD: i64 = 3_000_000;
const LONGEST_UNREAD: Duration = Duration::from_secs(15);

/// One poll's answer, with the time of now.
pub fn prices() -> Answer {
    let at = now_micros() / 1_000_000;
    ok(&format!(r#"{{"bitcoin":{{"usd":67187.3358936566,"last_updated_at":{at}}}}}"#))
}

/// The market's first trade, micros UTC: its numbers count time since then, so that no two runs of the tests share any.
const FIRST_TRADE_AT: i64 = 1_700_000_000_000_000;

fn trade(number: u32) -> String {
    let at = FIRST_TRADE_AT + i64::from(number) * TRADE_EVERY.as_micros() as i64;
    let time = jiff::Timestamp::from_microsecond(at).expect("a time");
    format!(
        r#"{{"type":"match","trade_id":{number},"side":"buy","size":"0.5","price":"{number}.25","product_id":"BTC-USD","sequence":{number},"time":"{time}"}}"#
    )
}

pub fn market() -> Market {
    let open_for = Duration::from_micros(u64::try_from(now_micros() - FIRST_TRADE_AT).expect("it is after that"));
    let began = Instant::now().checked_sub(open_for).expect("the clock counts before the machine's start too");
    Market { began, every: TRADE_EVERY, says: trade }
}

/// Both sources, and what they were asked.
pub struct Exchanges {
    pub http: FakeHttp,
    ws: FakeWs,
    began: Instant,
    pub began_at: i64,
}

impl Exchanges {
    pub async fn open() -> Self {
        Self::answering(vec![prices()]).await
    }

    pub async fn answering(polls: Vec<Answer>) -> Self {
        let (http, ws) = (FakeHttp::start(polls).await, FakeWs::market(market()).await);
        Self { http, ws, began: Instant::now(), began_at: now_micros() }
    }

    pub fn args(&self, sources: &str) -> Vec<String> {
        let args = [
            ("--sources", sources),
            ("--coingecko-symbols", "BTC-USD"),
            ("--coingecko-base-url", &self.http.url),
            ("--coingecko-poll-seconds", "1"),
            ("--coingecko-budget", "unlimited"),
            ("--coinbase-symbols", "BTC-USD"),
            ("--coinbase-ws-url", &self.ws.url),
            ("--coinbase-silence-seconds", "5"),
        ];
        args.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect()
    }

    /// When a source was read, micros UTC.
    pub fn reads(&self, source: &str) -> Vec<i64> {
        let times: Vec<Instant> = match source {
            "coingecko" => self.http.requests().iter().map(|request| request.at).collect(),
            _ => self.ws.heard.lock().expect("no panic").clone(),
        };
        let mut times: Vec<i64> = times.into_iter().map(|at| self.micros(at)).collect();
        times.sort_unstable();
        times
    }

    fn micros(&self, at: Instant) -> i64 {
        self.began_at + at.duration_since(self.began).as_micros() as i64
    }
}

pub fn start(kafka: &KafkaArgs, spill: &TempDir, args: &[String]) -> Producer {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Producer::start(kafka, spill.path(), &args)
}

/// Each source and its state, as `/sources` has them.
pub async fn states(producer: &Producer) -> BTreeMap<String, String> {
    let Some((200, body)) = producer.get("/sources").await else { return BTreeMap::new() };
    let views: Vec<serde_json::Value> = serde_json::from_str(&body).expect("a list");
    let text = |view: &serde_json::Value, field: &str| view[field].as_str().expect("a text").to_owned();
    views.iter().map(|view| (text(view, "source"), text(view, "state"))).collect()
}

pub async fn read_by(producer: &Producer) -> BTreeSet<String> {
    states(producer).await.into_iter().filter(|(_, state)| state == "OK").map(|(source, _)| source).collect()
}

async fn is_ready(producer: &Producer) -> bool {
    matches!(producer.get("/readyz").await, Some((200, _)))
}

/// Waits until the producers are ready and each source is read by one of them, and says by which.
async fn settled(producers: &[&Producer]) -> Vec<BTreeSet<String>> {
    let until = Instant::now() + Duration::from_secs(40);
    loop {
        let mut read = Vec::new();
        let mut ready = true;
        for producer in producers {
            read.push(read_by(producer).await);
            ready &= is_ready(producer).await;
        }
        if ready && read.iter().map(BTreeSet::len).sum::<usize>() == SOURCES.len() {
            return read;
        }
        assert!(Instant::now() < until, "not settled: {read:?}, ready: {ready}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The last word on each gap of a source that had not ended before `since`.
pub async fn last_words(kafka: &KafkaArgs, source: &str, since: i64) -> Vec<Gap> {
    let told = heard::gaps(&read(kafka, topics::GAPS)).await;
    let gaps: BTreeMap<_, _> = told.into_iter().filter(|gap| gap.source == source).map(|gap| (gap.id, gap)).collect();
    gaps.into_values().filter(|gap| gap.ended_at.is_none_or(|ended_at| ended_at >= since)).collect()
}

async fn trades_of(kafka: &KafkaArgs, source: &str, since: i64) -> Vec<PriceTick> {
    let mut ticks = heard::ticks(&read(kafka, topics::TICKS)).await;
    ticks.retain(|tick| tick.source == source && tick.trade_id.is_some() && tick.received_at >= since);
    ticks
}

fn kills() -> usize {
    std::env::var("TICKSTREAM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_in_time_with_no_trade_under_two_ids() {
    let (_guard, _stack, kafka) = broker().await;
    let exchanges = Exchanges::open().await;
    let mut args = exchanges.args(&SOURCES.join(","));
    args.extend(["--group".to_owned(), format!("sharing-{:08x}", fastrand::u32(..))]);
    let spills = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let mut producers = [start(&kafka, &spills[0], &args), start(&kafka, &spills[1], &args)];
    let mut killed: Vec<BTreeSet<String>> = Vec::new();
    for round in 0..kills() {
        settled(&[&producers[0], &producers[1]]).await;
        // Long enough to say so, and somewhere between two polls.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1_000..3_000))).await;
        let read = settled(&[&producers[0], &producers[1]]).await;
        let leader = usize::from(read[1].len() > read[0].len() || (read[1].len() == read[0].len() && round % 2 == 1));
        producers[leader].signal(Signal::SIGKILL);
        killed.push(read[leader].clone());
        if round % 2 == 0 {
            settled(&[&producers[1 - leader]]).await;
        }
        let next = start(&kafka, &spills[leader], &args);
        std::mem::replace(&mut producers[leader], next).end().await;
    }
    let read = settled(&[&producers[0], &producers[1]]).await;
    for (producer, read) in producers.iter().zip(&read) {
        for (source, state) in states(producer).await {
            assert!(read.contains(&source) || state == "STANDBY", "{source} is {state}");
        }
    }
    // An orderly end leaves the group at once: nobody waits for a session time-out.
    let leader = usize::from(read[1].len() > read[0].len());
    let [one, other] = producers;
    let (leaving, staying) = if leader == 0 { (one, other) } else { (other, one) };
    let left_at = Instant::now();
    leaving.signal(Signal::SIGTERM);
    settled(&[&staying]).await;
    let taken_over = left_at.elapsed();
    assert_eq!(leaving.end().await, Some(0));
    staying.signal(Signal::SIGTERM);
    assert_eq!(staying.end().await, Some(0));

    for source in SOURCES {
        let reads = exchanges.reads(source);
        let unread = reads.windows(2).map(|pair| pair[1] - pair[0]).max().expect("it was read");
        let gaps = last_words(&kafka, source, exchanges.began_at).await;
        say(&format!(
            "{source}: {} reads, {} kills of its reader, unread for {:.1} s at most, {} gaps",
            reads.len(),
            killed.iter().filter(|read| read.contains(source)).count(),
            unread as f64 / 1e6,
            gaps.len()
        ));
        assert!(unread <= LONGEST_UNREAD.as_micros() as i64, "{source} was unread for {unread} us");
        assert!(gaps.iter().all(|gap| gap.ended_at.is_some()), "{gaps:?}");
        let mut told = 0;
        for pair in reads.windows(2).filter(|pair| pair[1] - pair[0] > NOTABLY_UNREAD) {
            // None begins before the last sign of life, which is ten seconds old at most.
            let recent = |gap: &&Gap| gap.reason == GapReason::ProducerDown && gap.started_at > pair[0] - 12_000_000;
            let recent: Vec<Gap> = gaps.iter().filter(recent).cloned().collect();
            assert!(covers(&recent, pair[0], pair[1] - 10_000), "no gap from {} to {}: {gaps:?}", pair[0], pair[1]);
            told += 1;
        }
        assert!(told > 0, "a killed reader was not missed");
    }
    say(&format!("an orderly end: taken over after {:.1} s", taken_over.as_secs_f64()));
    assert!(taken_over < Duration::from_secs(5), "{taken_over:?}");

    assert_trades_told(&kafka, exchanges.began_at).await;
}

/// Whether these gaps, one after the other, leave nothing of this time out.
fn covers(gaps: &[Gap], from: i64, to: i64) -> bool {
    let mut times: Vec<(i64, i64)> =
        gaps.iter().map(|gap| (gap.started_at, gap.ended_at.unwrap_or(i64::MAX))).collect();
    times.sort_unstable();
    let covered = times.iter().fold(from, |at, (start, end)| if *start <= at { at.max(*end) } else { at });
    covered >= to
}

/// Each trade has one id, and one that is not there is within a gap.
async fn assert_trades_told(kafka: &KafkaArgs, since: i64) {
    let trades = trades_of(kafka, "coinbase", since).await;
    let by_trade: BTreeSet<_> = trades.iter().map(|tick| (&tick.source_symbol, &tick.trade_id)).collect();
    let by_id: BTreeSet<_> = trades.iter().map(|tick| tick.event_id).collect();
    say(&format!("{} trades published, {} of them different, under {} ids", trades.len(), by_trade.len(), by_id.len()));
    assert_eq!(by_trade.len(), by_id.len());
    assert!(trades.len() > by_trade.len(), "a new connection repeats history that the one before had");
    let gaps = last_words(kafka, "coinbase", since).await;
    let mut times: BTreeMap<u32, i64> = BTreeMap::new();
    for tick in &trades {
        let number = tick.trade_id.as_deref().and_then(|id| id.parse().ok()).expect("a number");
        let at = times.entry(number).or_insert(tick.received_at);
        *at = tick.received_at.min(*at);
    }
    let numbers: Vec<(u32, i64)> = times.into_iter().collect();
    for pair in numbers.windows(2).filter(|pair| pair[1].0 != pair[0].0 + 1) {
        say(&format!("{} trades are missing after {}", pair[1].0 - pair[0].0 - 1, pair[0].0));
        let (from, to) = (pair[0].1, pair[1].1);
        assert!(covers(&gaps, from + 100_000, to - 100_000), "{pair:?} is in no gap of {gaps:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_gives_way_when_it_wakes_up() {
    let (_guard, _stack, kafka) = broker().await;
    let exchanges = Exchanges::open().await;
    let mut args = exchanges.args(&SOURCES.join(","));
    args.extend(["--group".to_owned(), format!("sharing-{:08x}", fastrand::u32(..))]);
    let spills = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let [one, two] = [start(&kafka, &spills[0], &args), start(&kafka, &spills[1], &args)];
    let read = settled(&[&one, &two]).await;
    let (zombie, other) = if read[0].len() >= read[1].len() { (one, two) } else { (two, one) };
    zombie.signal(Signal::SIGSTOP);
    settled(&[&other]).await;
    zombie.signal(Signal::SIGCONT);
    let read = settled(&[&zombie, &other]).await;
    assert!(read[0].is_disjoint(&read[1]), "{read:?}");
    for producer in [zombie, other] {
        producer.signal(Signal::SIGTERM);
        assert_eq!(producer.end().await, Some(0));
    }
    for source in SOURCES {
        let reads = exchanges.reads(source);
        let unread = reads.windows(2).map(|pair| pair[1] - pair[0]).max().expect("it was read");
        say(&format!("{source}: unread for {:.1} s at most while its reader was paused", unread as f64 / 1e6));
        assert!(unread <= LONGEST_UNREAD.as_micros() as i64, "{source} was unread for {unread} us");
    }
    assert_trades_told(&kafka, exchanges.began_at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_takes_no_source_away() {
    let (_guard, stack, kafka) = broker().await;
    let Some(server) = stack.kafka() else { return };
    let exchanges = Exchanges::open().await;
    let mut args = exchanges.args(&SOURCES.join(","));
    args.extend(["--group".to_owned(), format!("sharing-{:08x}", fastrand::u32(..))]);
    let spill = tempfile::tempdir().expect("a folder");
    let producer = start(&kafka, &spill, &args);
    settled(&[&producer]).await;
    let began_at = now_micros();
    server.signal(Signal::SIGSTOP);
    let until = Instant::now() + Duration::from_secs(60);
    let red = loop {
        match producer.get("/readyz").await {
            Some((503, why)) if why.contains("sharing") => break why,
            why => assert!(Instant::now() < until, "the lost group was not shown: {why:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(red.contains("what is ours is read on"), "{red}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.signal(Signal::SIGCONT);
    settled(&[&producer]).await;
    producer.signal(Signal::SIGTERM);
    assert_eq!(producer.end().await, Some(0));
    let trades = trades_of(&kafka, "coinbase", began_at).await;
    let number = |tick: &PriceTick| tick.trade_id.as_deref().and_then(|id| id.parse::<u32>().ok()).expect("a number");
    let numbers: BTreeSet<u32> = trades.iter().map(number).collect();
    let (first, last) = (numbers.first().expect("some"), numbers.last().expect("some"));
    say(&format!("broker away: {} trades, {} of them missing", numbers.len(), last - first + 1 - numbers.len() as u32));
    assert_eq!(numbers.len() as u32, last - first + 1, "each trade is there");
    for source in SOURCES {
        let gaps = last_words(&kafka, source, began_at).await;
        assert_eq!(gaps, [], "{source} was read all the time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_of_a_group_that_read_different_sources_say_so() {
    let (_guard, _stack, kafka) = broker().await;
    let exchanges = Exchanges::open().await;
    let group = format!("sharing-{:08x}", fastrand::u32(..));
    let spills = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let grouped = |sources: &str| [exchanges.args(sources), vec!["--group".to_owned(), group.clone()]].concat();
    let one = start(&kafka, &spills[0], &grouped("coingecko"));
    while !is_ready(&one).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let other = start(&kafka, &spills[1], &grouped("coinbase"));
    let until = Instant::now() + Duration::from_secs(40);
    while one.metric("tickstream_producer_sharing_mismatch").await
        + other.metric("tickstream_producer_sharing_mismatch").await
        < 2.0
    {
        assert!(Instant::now() < until, "nobody noticed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Whoever holds what it does not read is not ready.
    for (producer, read, wanted) in [(&one, "coingecko", "coinbase"), (&other, "coinbase", "coingecko")] {
        let (status, said) = producer.get("/readyz").await.expect("it answers");
        let said_so = said.contains(&format!("nobody reads {wanted}")) && said.contains("PRODUCER_SOURCES");
        assert_eq!(status == 503, said_so, "{read}: {said}");
    }
    for producer in [one, other] {
        producer.signal(Signal::SIGTERM);
        assert_eq!(producer.end().await, Some(0));
    }
}
