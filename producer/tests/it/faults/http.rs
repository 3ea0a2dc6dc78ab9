//! What a polled source can do wrong, and what must become of it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use pipeline::events::{Gap, GapReason};
use producer::config::SourceName;
use producer::drive::backoff::Backoff;
use producer::drive::clock::{Clock, now_micros};
use producer::drive::fetch::Http;
use producer::drive::poll::{Polled, Schedule, once, poll};
use producer::drive::status::State;
use producer::drive::{Driven, Way};
use producer::sources::MAX_BODY_BYTES;
use tracing::Level;

use super::sources::{PolledSource, polled_sources, status};
use super::{Furthest, KEY, Overheard, alone, driven, each, names, plain_text, wrong_numbers};
use crate::fake_http::{Answer, FakeHttp, Request, ok};
use crate::heard::{Heard, hear};

const INTERVAL: Duration = Duration::from_millis(40);
const TIMEOUT: Duration = Duration::from_secs(2);

/// What must become of a fault.
#[derive(Debug)]
enum Then {
    /// Nothing: it is none.
    Fine,
    /// A gap of the source with this reason, from the fault to the answer after it; its words have this in them.
    Gap(GapReason, &'static str),
    /// The same, and the source is left alone for so long.
    LeftAlone(GapReason, Duration),
    /// The source is not asked again, and says so with this in it.
    Stopped(&'static str),
    /// The first row is a problem of one of these codes, and missing; the second row goes out.
    OneRow(&'static [&'static str]),
    /// The second row is missing; the first goes out.
    FirstRow,
    /// Each symbol has a gap since this time, in seconds; its prices go out.
    Stale(i64),
}

#[derive(Debug)]
struct Fault {
    name: String,
    answer: Answer,
    then: Then,
}

fn fault(name: &str, answer: Answer, then: Then) -> Fault {
    Fault { name: name.to_owned(), answer, then }
}

/// What any server can do.
fn faults(source: &PolledSource) -> Vec<Fault> {
    use GapReason::{PollFailed, RateLimited};
    let gap = |said| Then::Gap(PollFailed, said);
    let good = source.answer(2);
    let html = "<!DOCTYPE html><html><body>Just a moment…</body></html>";
    let padded = |length: usize| [good.as_bytes(), &vec![b' '; length - good.len()]].concat();
    let second = Duration::from_secs(1);
    let away = format!("http://127.0.0.1:1/?key={KEY}");
    let echo = format!("you sent {KEY}, which is no key");
    let shut: &'static str = Box::leak(good.clone().into_boxed_str());
    let mut faults = vec![
        fault("an HTML page", ok(html), gap("not JSON")),
        fault("an empty body", ok(""), gap("empty body")),
        fault("an empty body without content", status(204, &[], ""), gap("empty body")),
        fault("half of nothing", ok(&good[..5]), gap("no good answer")),
        fault("an empty object", ok("{}"), gap("no good answer")),
        fault("an empty array", ok("[]"), gap("no good answer")),
        fault("null", ok("null"), gap("no good answer")),
        fault("a string", ok(r#""good""#), gap("no good answer")),
        fault("a number", ok("67000"), gap("no good answer")),
        fault("a deep nest", ok(&"[".repeat(200_000)), gap("no good answer")),
        fault("a deep object", ok(&r#"{"a":"#.repeat(200_000)), gap("no good answer")),
        fault("no text", status(200, &[], vec![0xff; 5_000]), gap("no good answer")),
        fault("an answer twice", ok(&format!("{good}{good}")), Then::Fine),
        fault("the key itself", ok(&echo), gap("no good answer")),
        fault("as long as it may be", status(200, &[], padded(MAX_BODY_BYTES)), Then::Fine),
        fault("a byte too long", status(200, &[], padded(MAX_BODY_BYTES + 1)), gap("longer than")),
        fault("long, without saying so", Answer::Long(64 * 1024 * 1024), gap("longer than")),
        fault("a byte now and then", Answer::Drip(good.clone().into_bytes(), second / 4), gap("timed out")),
        fault("silence", Answer::Silent, gap("timed out")),
        fault("no word", Answer::Hangup, gap("error sending request")),
        fault("an end in the middle", Answer::CutOff { body: shut, sent: 12 }, gap("")),
        fault("a redirect", status(302, &[("location", &away)], ""), gap("is not followed")),
        fault("a lasting redirect", status(308, &[("location", &away)], ""), gap("is not followed")),
        fault("a page that is not there", status(404, &[], html), gap("HTTP 404")),
        fault("a wall", status(403, &[], html), gap("HTTP 403")),
        fault("a server fault", status(500, &[], echo.clone()), gap("HTTP 500")),
        fault("a gateway fault", status(502, &[], html), gap("HTTP 502")),
        fault("a fault with a good body", status(500, &[], good.clone()), gap("HTTP 500")),
        fault("too often", status(429, &[], "{}"), Then::Gap(RateLimited, "HTTP 429")),
        fault(
            "too often, and how long",
            status(429, &[("retry-after", "1")], ""),
            Then::LeftAlone(RateLimited, second),
        ),
        fault("busy, and how long", status(503, &[("retry-after", "1")], ""), Then::LeftAlone(PollFailed, second)),
        fault("a ban, and how long", status(418, &[("retry-after", "1")], ""), Then::LeftAlone(RateLimited, second)),
        fault("a wrong key", status(401, &[], echo.clone()), Then::Stopped("HTTP 401")),
        fault("nothing paid", status(402, &[], echo), Then::Stopped("HTTP 402")),
        fault("a land without it", status(451, &[], html), Then::Stopped("HTTP 451")),
    ];
    for (answer, reason, said) in &source.errors {
        faults.push(fault("an error inside", answer.clone(), Then::Gap(*reason, said)));
    }
    for (answer, said) in &source.stops {
        faults.push(fault("a fault of ours", answer.clone(), Then::Stopped(said)));
    }
    faults
}

/// What one value can be instead of a number.
fn wrong_values(source: &PolledSource) -> Vec<Fault> {
    let good = (source.good)(2).0;
    let twice = format!("{},\"{}\":{}", good[0], source.field, (source.good)(3).0[0]);
    let fault_of = |(name, value, codes): (&str, String, &'static [&'static str])| {
        fault(name, ok(&(source.says)(&value, &good[1], now() - 2)), Then::OneRow(codes))
    };
    wrong_numbers(source.text, twice).into_iter().map(fault_of).collect()
}

/// In seconds.
fn now() -> i64 {
    now_micros() / 1_000_000
}

impl PolledSource {
    fn answer(&self, number: u32) -> String {
        self.answer_of(number, now() - 2)
    }

    fn answer_of(&self, number: u32, at: i64) -> String {
        let ([first, second], _) = (self.good)(number);
        (self.says)(&first, &second, at)
    }

    fn polled(&self, url: &str) -> (Polled, Http) {
        let key = format!("--{}-api-key={KEY}", self.name.as_str());
        let has_key = self.name != SourceName::B3;
        let args = self.args.iter().map(|arg| (*arg).to_owned());
        let args: Vec<String> = args.chain([format!("{}={url}", self.address)]).chain(has_key.then_some(key)).collect();
        let Driven::Polled(mut polled, _) = driven(self.name, &args) else { panic!("it is polled") };
        polled.schedule = Schedule::Every(INTERVAL);
        polled.backoff = Backoff::new(INTERVAL / 4, INTERVAL);
        polled.server.timeout = TIMEOUT;
        let http = Http::new(&polled.server).expect("a client");
        (polled, http)
    }

    /// What has gone out of the first row and of the second one.
    fn rows(&self, heard: &Heard) -> [Vec<String>; 2] {
        let codes = ["PETR4", "VALE3"];
        [0, 1].map(|row| match self.asked {
            [_] => {
                let rows = heard.weights.iter().filter(|weight| weight.code == codes[row]);
                rows.map(|weight| weight.theoretical_quantity.to_string()).collect()
            }
            asked => {
                let rows = heard.ticks.iter().filter(|tick| tick.symbol == asked[row]);
                rows.map(|tick| tick.price.to_string()).collect()
            }
        })
    }
}

/// Plays a good answer, the fault twice, and good answers.
fn check(source: &PolledSource, fault: &Fault, furthest: &Furthest) {
    let shown = format!("{} with {}", source.name.as_str(), fault.name);
    let (before, after) = ((source.good)(1).1, (source.good)(4).1);
    let bad = fault.answer.clone();
    let stops = matches!(fault.then, Then::Stopped(_));
    let script = if stops {
        vec![ok(&source.answer(1)), bad]
    } else {
        vec![ok(&source.answer(1)), bad.clone(), bad, ok(&source.answer(4))]
    };
    let stopped_at = Cell::new(None::<Instant>);
    let enough = |heard: &Heard| {
        if stops {
            if heard.status.as_ref().is_some_and(|status| status.state() == State::Stopped)
                && stopped_at.get().is_none()
            {
                stopped_at.set(Some(Instant::now()));
            }
            // Long enough to have been asked again.
            return stopped_at.get().is_some_and(|at| at.elapsed() > INTERVAL * 5);
        }
        let back = source.rows(heard).iter().all(|row| row.contains(&after[0]) || row.contains(&after[1]));
        back && heard.gaps.len().is_multiple_of(2)
    };
    let ((heard, requests), Overheard { log, metrics }) = alone(Level::TRACE, async {
        crate::heard::install_tls();
        let fake = FakeHttp::start(script).await;
        let (polled, http) = source.polled(&fake.url);
        let heard = hear(source.name.as_str(), |way| poll(polled, Box::new(http), way), enough).await;
        (heard, fake.requests())
    });
    let closed = heard.closed();
    let rows = source.rows(&heard);
    assert_eq!(heard.gaps.len(), closed.len() * 2, "{shown}: {:?}", heard.gaps);
    for (row, before) in rows.iter().zip(&before) {
        assert_eq!(row.first(), Some(before), "{shown}");
    }
    match &fault.then {
        Then::Fine => assert!(closed.is_empty(), "{shown}: {closed:?}"),
        Then::Gap(reason, said) => {
            let [gap] = closed[..] else { panic!("{shown}: {closed:?}") };
            assert_eq!(gap.reason, *reason, "{shown}: {}", gap.detail);
            assert_eq!(gap.symbols, source.asked, "{shown}: {}", gap.detail);
            assert!(gap.detail.contains(said), "{shown}: {}", gap.detail);
            assert_interval(gap, &requests, furthest, &shown);
            assert!(source.asked.len() == 1 || rows.iter().all(|row| row.len() == 2), "{shown}: {rows:?}");
        }
        Then::LeftAlone(reason, pause) => {
            let [gap] = closed[..] else { panic!("{shown}: {closed:?}") };
            assert_eq!(gap.reason, *reason, "{shown}: {}", gap.detail);
            assert_interval(gap, &requests, furthest, &shown);
            for (asked, again) in [(1, 2), (2, 3)] {
                assert!(requests[again].at - requests[asked].at >= *pause, "{shown}");
            }
        }
        Then::Stopped(said) => {
            let [gap] = closed[..] else { panic!("{shown}: {closed:?}") };
            assert!(
                gap.detail.contains(said) && gap.detail.contains("the producer stopped"),
                "{shown}: {}",
                gap.detail
            );
            assert_eq!(requests.len(), 2, "{shown}: it was asked again");
            assert!(log.contains("stopped until its configuration is changed"), "{shown}");
            assert!(gap.started_at >= answered_at(&requests[0]) && gap.started_at <= requests[1].came_at, "{shown}");
        }
        Then::OneRow(codes) => {
            assert!(codes.iter().any(|code| names(&log, code)), "{shown}: none of {codes:?} in {}", problems(&log));
            one_row(source, &heard, &requests, 0, &shown);
        }
        Then::FirstRow => one_row(source, &heard, &requests, 1, &shown),
        Then::Stale(since) => {
            let told: Vec<_> = closed.iter().map(|gap| (gap.reason, gap.started_at, gap.symbols.join(","))).collect();
            let of = |symbol: &&str| (GapReason::Stale, since * 1_000_000, (*symbol).to_owned());
            let expected: Vec<_> = source.asked.iter().map(of).collect();
            assert_eq!(told, expected, "{shown}");
            assert!(closed.iter().all(|gap| gap.ended_at >= Some(requests[3].came_at)), "{shown}: {closed:?}");
            assert!(rows.iter().all(|row| row.len() == 3), "{shown}: {rows:?}");
        }
    }
    let is_ahead = metrics.contains("tickstream_producer_ticks_ahead_total");
    assert_eq!(is_ahead, fault.name.contains("ahead"), "{shown}");
    let said = String::from_utf8_lossy(&heard.said);
    let shows =
        format!("{:?} {:?} {:?}", heard.gaps, heard.ready, heard.status.as_ref().map(|status| status.last_error()));
    if source.name == SourceName::B3 {
        // It has no key, so that what looks like one here is none.
        return;
    }
    for (place, text) in [("log", log.as_str()), ("metrics", &metrics), ("records", &said), ("status", &shows)] {
        assert!(!text.contains(KEY), "{shown}: the key is in the {place}");
    }
    assert!(requests.iter().all(|request| request.head.contains(KEY)), "{shown}");
}

/// One row is missing while the fault lasts, the other goes out.
fn one_row(source: &PolledSource, heard: &Heard, requests: &[Request], missing: usize, shown: &str) {
    let rows = source.rows(heard);
    let kept = &(source.good)(2).1[1 - missing];
    assert!(rows[1 - missing].contains(kept), "{shown}: {rows:?}");
    let closed = heard.closed();
    if source.asked.len() == 1 {
        // An index is missing as a whole or not at all.
        assert!(closed.is_empty(), "{shown}: {closed:?}");
        return;
    }
    assert_eq!(rows[missing].len(), 2, "{shown}: {rows:?}");
    let [gap] = closed[..] else { panic!("{shown}: {closed:?}") };
    assert_eq!(gap.reason, GapReason::PollFailed, "{shown}: {}", gap.detail);
    assert_eq!(gap.symbols, source.asked[missing..=missing], "{shown}: {}", gap.detail);
    let (began, ended) = (requests[1].came_at, requests[3].came_at);
    // The fault is seen when its answer is: between the request and the one after it.
    assert!((began..=requests[2].came_at).contains(&gap.started_at), "{shown}: {gap:?} {requests:?}");
    assert!(gap.ended_at >= Some(ended), "{shown}: {gap:?} {requests:?}");
    assert!(requests.get(4).is_none_or(|next| gap.ended_at <= Some(next.came_at)), "{shown}: {gap:?} {requests:?}");
}

/// The gap begins with the poll that met the fault and ends with the one that met the next good answer.
fn assert_interval(gap: &Gap, requests: &[Request], furthest: &Furthest, shown: &str) {
    let began = answered_at(&requests[0])..=requests[1].came_at;
    assert!(began.contains(&gap.started_at), "{shown}: {gap:?} {requests:?}");
    let next = requests.get(4).map_or(i64::MAX, |next| next.came_at);
    let ended = gap.ended_at.expect("closed");
    assert!((requests[3].came_at..=next).contains(&ended), "{shown}: {gap:?} {requests:?}");
    furthest.off(gap.started_at, requests[1].came_at);
    furthest.off(ended, requests[3].came_at);
}

fn answered_at(request: &Request) -> i64 {
    request.answered_at.expect("answered")
}

fn problems(log: &str) -> String {
    log.lines().filter(|line| line.contains("problem in a payload")).collect::<Vec<_>>().join("\n")
}

fn every_fault(name: &str) {
    let source = polled_sources().into_iter().find(|source| source.name.as_str() == name).expect("in the table");
    let mut faults = faults(&source);
    faults.extend(wrong_values(&source));
    if source.asked.len() > 1 {
        let good = source.answer(2);
        faults.push(fault("an end in the second row", ok(&good[..good.len() - 12]), Then::FirstRow));
        let (hour, now) = (3_600, now());
        let at = |at: i64| ok(&source.answer_of(2, at));
        let refused = Then::Gap(GapReason::PollFailed, "hours after its receipt");
        faults.push(fault("a clock two days ahead", at(now + 49 * hour), refused));
        faults.push(fault("a clock hours ahead", at(now + 5 * hour), Then::Fine));
        faults.push(fault("a clock hours behind", at(now - 5 * hour), Then::Stale(now - 5 * hour)));
    }
    let furthest = Furthest::default();
    each(&faults, |fault| check(&source, fault, &furthest));
    eprintln!("{name}: {} faults; no gap is off by more than {} ms", faults.len(), furthest.millis());
}

#[test]
fn coingecko_is_told_of_by_gaps_that_equal_its_faults() {
    every_fault("coingecko");
}

#[test]
fn coinmarketcap_is_told_of_by_gaps_that_equal_its_faults() {
    every_fault("coinmarketcap");
}

#[test]
fn awesomeapi_is_told_of_by_gaps_that_equal_its_faults() {
    every_fault("awesomeapi");
}

#[test]
fn b3_is_told_of_by_gaps_that_equal_its_faults() {
    every_fault("b3");
}

#[test]
fn a_server_without_tls_is_a_gap() {
    for source in polled_sources() {
        let (heard, _) = alone(Level::TRACE, async {
            crate::heard::install_tls();
            let (polled, http) = source.polled(&format!("https://{}", plain_text().await));
            let enough = |heard: &Heard| !heard.gaps.is_empty();
            hear(source.name.as_str(), |way| poll(polled, Box::new(http), way), enough).await
        });
        let gap = heard.closed()[0];
        assert_eq!((gap.reason, gap.symbols.len()), (GapReason::PollFailed, source.asked.len()));
        assert!(gap.detail.contains("InvalidContentType"), "{}", gap.detail);
    }
}

/// What one source was asked when one of its requests is refused for good: the rest is not read any more either.
#[test]
fn a_source_that_stops_in_the_middle_is_a_gap_of_all_that_was_asked() {
    let source = polled_sources().remove(1);
    let bitcoin = |currency: &str| {
        format!(
            r#"{{"status":{{"error_code":0,"credit_count":1}},"data":{{"1":{{"id":1,"name":"B","symbol":"BTC","cmc_rank":1,"is_active":1,"quote":{{"{currency}":{{"price":1.5,"last_updated":"{}"}}}}}}}}}}"#,
            jiff::Timestamp::now()
        )
    };
    let refused =
        r#"{"status":{"error_code":1006,"error_message":"Your plan has no second currency.","credit_count":0}}"#;
    let script = vec![ok(&bitcoin("USD")), ok(&bitcoin("BRL")), ok(&bitcoin("USD")), status(403, &[], refused)];
    let (heard, log) = alone(Level::INFO, async {
        crate::heard::install_tls();
        let fake = FakeHttp::start(script).await;
        let (mut polled, http) = source.polled(&fake.url);
        let args = ["--coinmarketcap-symbols=BTC-USD,BTC-BRL".to_owned(), format!("--coinmarketcap-api-key={KEY}")];
        let Driven::Polled(asked, _) = driven(source.name, &args) else { panic!("it is polled") };
        (polled.requests, polled.asked) = (asked.requests, asked.asked);
        assert_eq!(polled.requests.len(), 2);
        let stopped = |heard: &Heard| {
            let state = heard.status.as_ref().map(producer::drive::status::Status::state);
            state == Some(State::Stopped) && heard.gaps.len() >= 2
        };
        hear("coinmarketcap", |way| poll(polled, Box::new(http), way), stopped).await
    });
    let closed = heard.closed();
    let told: Vec<String> = closed.iter().map(|gap| gap.symbols.join(",")).collect();
    assert_eq!(told, ["BTC-USD,BTC-BRL", "BTC-BRL"], "{closed:?}\n{}", log.log);
    assert!(closed.iter().all(|gap| gap.detail.contains("error_code 1006")), "{closed:?}");
}

/// An index without papers, on this day.
fn without_papers(at: &str) -> Vec<Gap> {
    let source = polled_sources().remove(3);
    let clock = Clock::simulated(at.parse::<jiff::Timestamp>().expect("a time").as_microsecond());
    let (heard, _) = alone(Level::INFO, async {
        crate::heard::install_tls();
        let fake = FakeHttp::start(vec![ok(r#"{"page":{"totalPages":0},"header":{},"results":[]}"#)]).await;
        let (polled, http) = source.polled(&fake.url);
        let polled_once = |way: Way| async move {
            once(polled, Box::new(http), Way { clock, ..way }, Duration::MAX)
                .await
                .map(|cycle| assert!(cycle.is_some()))
        };
        hear("b3", polled_once, |heard| heard.payloads > 0).await
    });
    heard.gaps
}

#[test]
fn an_index_without_papers_is_a_gap_on_a_trading_day_only() {
    assert_eq!(without_papers("2026-03-08T22:30:00Z"), [], "a Sunday");
    assert_eq!(without_papers("2026-12-25T22:30:00Z"), [], "Christmas");
    assert_eq!(without_papers("2026-03-10T22:30:00Z").len(), 2, "a Tuesday: opened, and closed at the end");
}
