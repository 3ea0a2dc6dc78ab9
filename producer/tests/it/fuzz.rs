//! What no source sends, put through every parser: hand-written payloads of its own and of the others, with bytes changed,
//! values swapped, keys repeated, arrays stretched and nests deepened. A parser neither panics nor hangs, holds little, says
//! the same of the same bytes, and whatever it gives is a price that may go out. Each parser has a process of its own, so
//! that a hang or a full memory is told with the payload that made it. TICKSTREAM_FUZZ_SECONDS is the time of each parser;
//! TICKSTREAM_FUZZ_SEED plays one run again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipeline::events::EventTimeOrigin;
use producer::config::SourceName;
use producer::parse::payload::Payload;
use producer::parse::row::is_plausible;
use producer::sources::corpus::{Sample, samples};
use producer::sources::{Parsed, Source, reader};
use producer::symbols::{Symbols, is_code};

use crate::alone::{Alone, most_memory};

mod mutate;

use mutate::mutated;

const RECEIVED_AT: i64 = 1_772_600_767_000_000;
/// The longest payload that is made.
const LONGEST: usize = 1024 * 1024;
/// For a payload of that length, in a build that is not optimized, beside other work.
const SLOWEST: Duration = Duration::from_secs(1);
/// A parser that takes longer than this hangs.
const HANGS: Duration = Duration::from_secs(30);
/// More memory than before the first payload.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// A problem is for a log line.
const LONGEST_DETAIL: usize = 1_500;
const LONGEST_PATH: usize = 500;

fn fuzz(name: SourceName) {
    let test = format!("fuzz::{}", name.as_str());
    if Alone::is_here(&test) {
        hammer(name);
    } else {
        Alone::run(&test, &[]).expect_success();
    }
}

/// The payload that is being read, for whoever has to tell of it.
#[derive(Clone)]
struct Current {
    since: Instant,
    sample: Arc<Sample>,
}

fn hammer(name: SourceName) {
    let number = |variable: &str| std::env::var(variable).ok().map(|value| value.parse::<u64>().expect("a number"));
    let time = Duration::from_secs(number("TICKSTREAM_FUZZ_SECONDS").unwrap_or(6));
    let seed = number("TICKSTREAM_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("{}: TICKSTREAM_FUZZ_SEED={seed}", name.as_str());
    let mut dice = fastrand::Rng::with_seed(seed);
    let source = reader(name, &Arc::new(Symbols::built_in())).expect("it reads");
    let own = samples(name.as_str()).expect("a folder of samples");
    let others = ["coingecko", "kraken", "b3", "binance"].iter().flat_map(|other| samples(other).expect("a folder"));
    let others: Vec<Sample> = others.collect();
    for sample in own.iter().chain(&others) {
        check(source.as_ref(), sample);
    }
    let current: Arc<Mutex<Option<Current>>> = Arc::default();
    let watched = current.clone();
    std::thread::spawn(move || watch(&watched));
    let (began, before) = (Instant::now(), most_memory());
    let (mut payloads, mut ticks) = (0_u64, 0_u64);
    while began.elapsed() < time {
        let sample = Arc::new(mutated(&own, &others, LONGEST, &mut dice));
        let now = Current { since: Instant::now(), sample: sample.clone() };
        *current.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        let told = Told(&sample);
        ticks += check(source.as_ref(), &sample);
        payloads += 1;
        if sample.bytes.len() > 32 * 1024 || payloads.is_multiple_of(256) {
            let more = most_memory() - before;
            assert!(more < MOST_BYTES, "{more} bytes more memory, latest for this payload of {}", sample.bytes.len());
        }
        drop(told);
    }
    *current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let more = (most_memory() - before) / 1024 / 1024;
    eprintln!("{}: {payloads} payloads, {ticks} ticks of them, {more} MiB more memory at most", name.as_str());
    assert!(ticks > 0, "nothing of what was tried was read");
}

/// Tells of the payload when the thread panics over it.
struct Told<'a>(&'a Sample);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(self.0);
        }
    }
}

/// Prints a payload so that it can be put into the corpus.
fn tell(sample: &Sample) {
    const PRINTED: usize = 8 * 1024;
    eprintln!("request: {}", sample.request);
    match std::str::from_utf8(&sample.bytes) {
        Ok(text) if text.len() <= PRINTED => eprintln!("payload: {text}"),
        Ok(_) => {}
        Err(_) => eprintln!("payload in bytes: {:?}", &sample.bytes[..sample.bytes.len().min(PRINTED)]),
    }
    if sample.bytes.len() > PRINTED {
        let file = std::env::temp_dir().join(format!("tickstream-fuzz-{}.json", std::process::id()));
        std::fs::write(&file, &sample.bytes).expect("writable");
        eprintln!("the whole payload, {} bytes: {}", sample.bytes.len(), file.display());
    }
}

/// Ends the process when one payload takes too long.
fn watch(current: &Mutex<Option<Current>>) {
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Current { since, sample }) = now
            && since.elapsed() > HANGS
        {
            eprintln!("a payload of {} bytes has not been read for {:?}", sample.bytes.len(), since.elapsed());
            tell(&sample);
            std::process::abort();
        }
    }
}

/// Reads a payload and holds what comes of it against what must always be. Gives the number of ticks.
fn check(source: &dyn Source, sample: &Sample) -> u64 {
    let name = source.name();
    let payload = Payload::new(name, &sample.bytes, RECEIVED_AT, &sample.request);
    let read = |payload: &Payload<'_>| {
        let began = Instant::now();
        let mut parsed = source.parse(payload);
        source.conclude(&mut parsed);
        (parsed, began.elapsed())
    };
    let (first, took) = read(&payload);
    let (second, again) = read(&payload);
    // The machine may have been busy elsewhere: the payload is slow when it always is.
    let slow = took.min(again) > SLOWEST && read(&payload).1 > SLOWEST;
    assert!(!slow, "{} bytes took {took:?} and {again:?}", sample.bytes.len());
    assert_same(&first, &second);
    let later = Payload::new(name, &sample.bytes, RECEIVED_AT + 7_000_000, &sample.request);
    assert_same_events(&first, &read(&later).0);
    for tick in &first.ticks {
        assert!(!tick.price.is_zero() && !tick.price.is_negative(), "{tick:?}");
        assert!(is_code(&tick.base) && is_code(&tick.quote), "{tick:?}");
        assert_eq!(tick.symbol, format!("{}-{}", tick.base, tick.quote));
        assert!(tick.source == name && tick.payload_id == payload.id && tick.received_at == RECEIVED_AT, "{tick:?}");
        assert!(is_plausible(tick.event_time) && tick.revision == 0 && !tick.retracted, "{tick:?}");
        assert!(!tick.source_symbol.is_empty() && tick.source_symbol.len() <= LONGEST_PATH, "{tick:?}");
        for side in [tick.bid, tick.ask, tick.quantity, tick.volume_24h, tick.quote_volume_24h, tick.market_cap] {
            assert!(side.is_none_or(|value| !value.is_negative()), "{tick:?}");
        }
    }
    for weight in &first.weights {
        assert!(is_code(&weight.code) && !weight.index_name.is_empty(), "{weight:?}");
        assert!(!weight.part.is_negative() && !weight.theoretical_quantity.is_negative(), "{weight:?}");
    }
    for problem in &first.problems {
        assert!(!problem.detail.is_empty() && problem.detail.len() <= LONGEST_DETAIL, "{problem:?}");
        assert!(problem.path.len() <= LONGEST_PATH, "{problem:?}");
    }
    let refusal = first.refusal.as_ref().map_or(0, |refusal| refusal.detail().len());
    assert!(refusal <= LONGEST_DETAIL, "{:?}", first.refusal);
    let something = !first.ticks.is_empty() || !first.weights.is_empty() || !first.problems.is_empty();
    assert!(
        something || first.answered || first.wish.is_some() || !first.portfolio.is_empty(),
        "nothing is said of it"
    );
    (first.ticks.len() + first.weights.len()) as u64
}

/// The same bytes at the same time say the same.
fn assert_same(first: &Parsed, second: &Parsed) {
    assert_eq!(first.ticks, second.ticks);
    assert_eq!(first.weights, second.weights);
    assert_eq!(first.problems, second.problems);
    assert_eq!(first.refusal, second.refusal);
    assert_eq!(first.wish, second.wish);
    assert_eq!(first.next_page, second.next_page);
    let rest =
        |parsed: &Parsed| (parsed.answered, parsed.spent, parsed.connection_sequence, parsed.latest_trade.clone());
    assert_eq!(rest(first), rest(second));
}

/// The same bytes at another time are the same events, but where the source gives no time.
fn assert_same_events(first: &Parsed, later: &Parsed) {
    assert_eq!(first.ticks.len(), later.ticks.len());
    for (tick, later) in first.ticks.iter().zip(&later.ticks) {
        assert_eq!(tick.event_time_origin, later.event_time_origin);
        if tick.event_time_origin == EventTimeOrigin::Source {
            assert_eq!((tick.event_id, tick.event_time), (later.event_id, later.event_time));
        }
    }
    let ids = |parsed: &Parsed| parsed.weights.iter().map(|weight| weight.event_id).collect::<Vec<_>>();
    assert_eq!(ids(first), ids(later));
}

#[test]
fn awesomeapi() {
    fuzz(SourceName::Awesomeapi);
}

#[test]
fn b3() {
    fuzz(SourceName::B3);
}

#[test]
fn binance() {
    fuzz(SourceName::Binance);
}

#[test]
fn bitstamp() {
    fuzz(SourceName::Bitstamp);
}

#[test]
fn coinbase() {
    fuzz(SourceName::Coinbase);
}

#[test]
fn coingecko() {
    fuzz(SourceName::Coingecko);
}

#[test]
fn coinmarketcap() {
    fuzz(SourceName::Coinmarketcap);
}

#[test]
fn kraken() {
    fuzz(SourceName::Kraken);
}

#[test]
fn okx() {
    fuzz(SourceName::Okx);
}
