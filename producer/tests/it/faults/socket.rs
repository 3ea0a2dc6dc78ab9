//! What a source that pushes can do wrong, and what must become of it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use pipeline::events::{Gap, GapReason};
use producer::drive::Driven;
use producer::drive::backoff::Backoff;
use producer::drive::clock::now_micros;
use producer::drive::feed::WebSocket;
use producer::drive::socket::{Socketed, listen};
use producer::drive::status::State;
use tracing::Level;

use super::sources::{PUSHED, PushedSource};
use super::{Furthest, Overheard, alone, driven, each, names, plain_text, wrong_numbers};
use crate::fake_ws::{FakeWs, Step, send};
use crate::heard::{Heard, hear};

const SILENCE: Duration = Duration::from_millis(600);
const QUIET: Duration = Duration::from_millis(400);
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// What a case plays, a script a connection.
struct Case {
    name: String,
    scripts: Vec<Vec<Step>>,
    then: Then,
}

/// What must become of it.
enum Then {
    /// These trades go out and nothing else happens; the problems have one of these codes.
    Problem(&'static [&'static str]),
    /// A gap of the whole source from the mark "well" to the mark "back".
    Lost(GapReason, &'static str),
    /// The same from the beginning, and so long until the next connection.
    LeftAlone(GapReason, Duration),
    /// The source is left alone for longer than a test lasts.
    LeftAloneForLong(GapReason, &'static str),
    /// No other connection is made, and the gap says why.
    Stopped(&'static str),
    /// A gap of the second symbol alone, until its first trade.
    SecondSymbol,
    /// What is between two trades did not come.
    Missing(Vec<&'static str>, &'static str),
}

impl PushedSource {
    pub fn socketed(&self, url: &str) -> Socketed {
        let args = self.args.iter().map(|arg| (*arg).to_owned());
        let args: Vec<String> = args.chain([format!("{}={url}", self.address)]).collect();
        let Driven::Pushed(mut socketed, _) = driven(self.name, &args) else { panic!("it pushes") };
        (socketed.silence, socketed.quiet) = (SILENCE, QUIET * 20);
        socketed.backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(40));
        socketed
    }

    fn trade(&self, id: u64) -> Step {
        self.trade_at(id, now_micros() - SECOND + i64::try_from(id).expect("small") * 1_000)
    }

    fn trade_at(&self, id: u64, at: i64) -> Step {
        send((self.trade)(0, id, &self.number(&format!("{id}.5")), at))
    }

    fn number(&self, digits: &str) -> String {
        if self.text { format!("\"{digits}\"") } else { digits.to_owned() }
    }

    /// The first steps of a connection that is accepted.
    fn hello(&self) -> Vec<Step> {
        let first = if self.unasked { vec![Step::Unasked] } else { Vec::new() };
        [first, vec![send(self.greeting)]].concat()
    }

    /// Two trades, and what comes after them.
    fn well_until(&self, fault: Vec<Step>) -> Vec<Step> {
        let trades = vec![self.trade(1), Step::Mark("well"), self.trade(2)];
        [self.hello(), trades, fault, vec![Step::Silence]].concat()
    }

    /// Back with the trade that was told before and the next one.
    fn back(&self) -> Vec<Step> {
        let trades = vec![self.trade(2), self.trade(3), Step::Silence];
        let mut hello = self.hello();
        hello.insert(hello.len() - 1, Step::Mark("back"));
        [hello, trades].concat()
    }

    fn cases(&self) -> Vec<Case> {
        use GapReason::{Disconnected, RateLimited, Stale};
        let mut cases = Vec::new();
        let mut case = |name: &str, scripts: Vec<Vec<Step>>, then: Then| {
            cases.push(Case { name: format!("{} with {name}", self.label), scripts, then });
        };
        let good = (self.trade)(0, 2, &self.number("2.5"), now_micros());

        // Frames that cost only themselves.
        let junk: [(&str, Vec<u8>); 12] = [
            ("an HTML page", b"<html>busy</html>".to_vec()),
            ("an empty frame", b"".to_vec()),
            ("an empty object", b"{}".to_vec()),
            ("an empty array", b"[]".to_vec()),
            ("null", b"null".to_vec()),
            ("a number", b"7".to_vec()),
            ("half a trade", good.as_bytes()[..good.len() / 2].to_vec()),
            ("a trade twice", [good.as_bytes(), good.as_bytes()].concat()),
            ("no text", vec![0xff; 5_000]),
            ("a deep array", b"[".repeat(100_000)),
            ("a deep object", br#"{"a":"#.repeat(100_000)),
            ("a long frame of nothing", vec![b' '; 3 * 1024 * 1024]),
        ];
        for (name, bytes) in junk {
            let between = vec![Step::SendBytes(bytes), self.trade(3), Step::Silence];
            let script = [self.hello(), vec![self.trade(1), self.trade(2)], between].concat();
            case(name, vec![script], Then::Problem(&[]));
        }
        let twice = format!("{},\"{}\":{}", self.number("3.5"), self.field, self.number("4.5"));
        for (name, value, codes) in wrong_numbers(self.text, twice) {
            let bad = send((self.trade)(0, 3, &value, now_micros()));
            let script = [self.hello(), vec![self.trade(1), self.trade(2), bad, self.trade(3), Step::Silence]].concat();
            case(name, vec![script], Then::Problem(codes));
        }

        // The clock of the source.
        let tomorrow = self.trade_at(3, now_micros() + 50 * HOUR);
        let script =
            [self.hello(), vec![self.trade(1), self.trade(2), tomorrow, self.trade(3), Step::Silence]].concat();
        case("a clock two days ahead", vec![script], Then::Problem(&["bad_time"]));

        // Ways to lose a connection.
        let pings = (0..400).flat_map(|_| [Step::Ping, Step::Wait(Duration::from_millis(5))]).collect();
        let slow = Step::Drip(good.clone(), Duration::from_millis(40));
        let beats = (0..40).flat_map(|_| [send((self.heartbeat)(2)), Step::Wait(Duration::from_millis(50))]).collect();
        for (name, fault, reason, said) in [
            ("a goodbye", vec![Step::Close], Disconnected, "closed"),
            ("an end in the middle of a frame", vec![Step::CutMidFrame], Disconnected, ""),
            ("silence", vec![Step::Deaf], Disconnected, "no message for"),
            ("nothing but pings", pings, Disconnected, "no message for"),
            ("a byte now and then", vec![slow], Disconnected, "no message for"),
            ("a frame beyond the cap", vec![Step::SendBytes(vec![b' '; 5 * 1024 * 1024])], Disconnected, "too long"),
            ("twenty megabytes", vec![Step::SendBytes(vec![b' '; 20 * 1024 * 1024])], Disconnected, "too long"),
            ("heartbeats and no price", beats, Stale, "no price for"),
        ] {
            case(name, vec![self.well_until(fault), self.back()], Then::Lost(reason, said));
        }
        for (frame, reason, said) in self.ends {
            let scripts = vec![self.well_until(vec![send(*frame)]), self.back()];
            match reason {
                RateLimited => case(frame, scripts, Then::LeftAloneForLong(*reason, said)),
                _ => case(frame, scripts, Then::Lost(*reason, said)),
            }
        }
        for (frame, said) in self.stops {
            case(frame, vec![self.well_until(vec![send(*frame)])], Then::Stopped(said));
        }

        // Handshakes that are answered with HTTP.
        let refused = |status, headers| vec![vec![Step::Refuse(status, headers)], self.back()];
        let second = Duration::from_secs(1);
        for (status, headers, then) in [
            (302, "location: http://127.0.0.1:1/\r\n", Then::LeftAlone(Disconnected, Duration::ZERO)),
            (403, "", Then::LeftAlone(Disconnected, Duration::ZERO)),
            (404, "", Then::LeftAlone(Disconnected, Duration::ZERO)),
            (500, "", Then::LeftAlone(Disconnected, Duration::ZERO)),
            (503, "retry-after: 1\r\n", Then::LeftAlone(Disconnected, second)),
            (429, "retry-after: 1\r\n", Then::LeftAlone(RateLimited, second)),
            (418, "retry-after: 1\r\n", Then::LeftAlone(RateLimited, second)),
            (429, "", Then::LeftAloneForLong(RateLimited, "HTTP 429")),
            (418, "", Then::LeftAloneForLong(RateLimited, "HTTP 418")),
            (401, "", Then::Stopped("HTTP 401")),
            (451, "", Then::Stopped("HTTP 451")),
        ] {
            case(&format!("{status} {}", headers.trim_end()), refused(status, headers), then);
        }

        // One symbol alone, and what did not come in between.
        if let Some(turned_down) = self.turns_down {
            let first = if self.unasked { vec![Step::Unasked] } else { Vec::new() };
            let second = send((self.trade)(1, 70, &self.number("7.5"), now_micros()));
            let down = vec![Step::Mark("well"), send(turned_down), self.trade(1), Step::Wait(SILENCE / 4)];
            let up = vec![Step::Mark("back"), second, self.trade(2), Step::Silence];
            case("a symbol turned down", vec![[first, down, up].concat()], Then::SecondSymbol);
        }
        let jump = vec![self.trade(1), self.trade(2), self.trade(5), Step::Silence];
        let script = [self.hello(), jump].concat();
        if self.consecutive {
            let said = "trades 3 to 4 of ";
            case("a jump", vec![script], Then::Missing(vec![self.asked[0]], said));
        } else {
            case("a jump that is none", vec![script], Then::Problem(&["none"]));
        }
        cases
    }
}

fn ids(heard: &Heard) -> Vec<u64> {
    heard.ticks.iter().filter_map(|tick| tick.trade_id.as_deref()?.parse().ok()).collect()
}

/// Plays the scripts until what must become of them has, and compares.
fn check(source: &PushedSource, case: &Case, furthest: &Furthest) {
    let shown = &case.name;
    let waited = Cell::new(None::<Instant>);
    let enough = |heard: &Heard| {
        let ids = ids(heard);
        match &case.then {
            Then::Problem(["none"]) | Then::Missing(..) => ids.contains(&5) && heard.gaps.len().is_multiple_of(2),
            Then::Problem(_) => ids.contains(&3),
            Then::Lost(..) | Then::LeftAlone(..) => ids.contains(&3) && heard.gaps.len() >= 2,
            Then::SecondSymbol => ids.contains(&2),
            Then::LeftAloneForLong(..) | Then::Stopped(_) => {
                let state = heard.status.as_ref().map(producer::drive::status::Status::state);
                if matches!(state, Some(State::Failing | State::Stopped)) && waited.get().is_none() {
                    waited.set(Some(Instant::now()));
                }
                // Much longer than the back-off is.
                waited.get().is_some_and(|at| at.elapsed() > Duration::from_millis(300))
            }
        }
    };
    let ((heard, fake), Overheard { log, metrics }) = alone(Level::INFO, async {
        crate::heard::install_tls();
        let fake = FakeWs::start(case.scripts.clone()).await;
        let mut socketed = source.socketed(&fake.url);
        if matches!(case.then, Then::Lost(GapReason::Stale, _)) {
            socketed.quiet = QUIET;
        }
        let feed = Box::new(WebSocket { url: socketed.url.clone() });
        (hear(source.name.as_str(), |way| listen(socketed, feed, way), enough).await, fake)
    });
    let (closed, ids) = (heard.closed(), ids(&heard));
    assert_eq!(heard.gaps.len(), closed.len() * 2, "{shown}: {:?}", heard.gaps);
    let one = || -> &Gap {
        let [gap] = closed[..] else { panic!("{shown}: {closed:?}\n{log}") };
        gap
    };
    let whole = |gap: &Gap, reason: GapReason| {
        assert_eq!(gap.reason, reason, "{shown}: {}", gap.detail);
        assert_eq!(gap.symbols, source.asked, "{shown}: {}", gap.detail);
    };
    match &case.then {
        Then::Problem(["none"]) => assert!(closed.is_empty() && ids == [1, 2, 5], "{shown}: {closed:?} {ids:?}"),
        Then::Problem(codes) => {
            assert_eq!((ids, closed.len(), fake.connections()), (vec![1, 2, 3], 0, 1), "{shown}: {closed:?}\n{log}");
            let named = codes.iter().any(|code| names(&log, code));
            assert!(named || codes.is_empty() && log.contains("problem in a payload"), "{shown}: {log}");
            assert!(
                !codes.contains(&"bad_time") || metrics.contains("tickstream_producer_ticks_ahead_total"),
                "{shown}"
            );
        }
        Then::Lost(reason, said) => {
            let gap = one();
            whole(gap, *reason);
            assert!(gap.detail.contains(said), "{shown}: {}", gap.detail);
            assert_eq!(ids, [1, 2, 2, 3], "{shown}");
            assert_eq!(heard.ticks[1].event_id, heard.ticks[2].event_id, "{shown}: a trade has one identity");
            assert_eq!(gap.started_at, heard.ticks[1].received_at, "{shown}: a loss begins at the last good message");
            assert_interval(gap, &fake, furthest, shown);
        }
        Then::LeftAlone(reason, pause) => {
            let gap = one();
            whole(gap, *reason);
            let connected = fake.connected.lock().expect("no panic").clone();
            assert!(connected[1] - connected[0] >= *pause, "{shown}: {connected:?}");
            assert_near(gap.ended_at.expect("closed"), fake.reached("back"), furthest, shown);
        }
        Then::LeftAloneForLong(_, said) | Then::Stopped(said) if fake.connections() == 1 => {
            let gap = one();
            let expected =
                if let Then::LeftAloneForLong(reason, _) = &case.then { *reason } else { GapReason::Disconnected };
            whole(gap, expected);
            assert!(gap.detail.contains(said), "{shown}: {}", gap.detail);
            assert!(gap.detail.contains("the producer stopped"), "{shown}: {}", gap.detail);
            let stopped = log.contains("stopped until its configuration is changed");
            assert_eq!(stopped, matches!(case.then, Then::Stopped(_)), "{shown}");
        }
        Then::LeftAloneForLong(..) | Then::Stopped(_) => panic!("{shown}: {} connections", fake.connections()),
        Then::SecondSymbol => {
            let gap = one();
            assert_eq!(gap.symbols, source.asked[1..], "{shown}: {}", gap.detail);
            let first = heard.ticks.iter().find(|tick| tick.symbol == source.asked[1]).expect("it came");
            assert_eq!(gap.ended_at, Some(first.received_at), "{shown}");
            assert_interval(gap, &fake, furthest, shown);
            assert_eq!(ids, [1, 70, 2], "{shown}");
        }
        Then::Missing(symbols, said) => {
            let gap = one();
            assert_eq!(gap.reason, GapReason::Sequence, "{shown}");
            assert_eq!(gap.symbols, *symbols, "{shown}");
            assert!(gap.detail.contains(said), "{shown}: {}", gap.detail);
            // Between its neighbours, by the source's clock.
            let neighbours = (heard.ticks[1].event_time, Some(heard.ticks[2].event_time));
            assert_eq!((gap.started_at, gap.ended_at), neighbours, "{shown}");
        }
    }
}

/// The gap begins and ends when the server says so, but for less than the time in which silence is noticed.
fn assert_interval(gap: &Gap, fake: &FakeWs, furthest: &Furthest, shown: &str) {
    assert_near(gap.started_at, fake.reached("well"), furthest, shown);
    assert_near(gap.ended_at.expect("closed"), fake.reached("back"), furthest, shown);
}

fn assert_near(told: i64, played: Option<i64>, furthest: &Furthest, shown: &str) {
    let played = played.expect("reached");
    let off = told - played;
    furthest.off(told, played);
    assert!((0..SILENCE.as_micros() as i64).contains(&off), "{shown}: off by {off} µs");
}

fn every_case(label: &str) {
    let source = find(label);
    let cases = source.cases();
    let furthest = Furthest::default();
    each(&cases, |case| check(source, case, &furthest));
    eprintln!("{label}: {} cases; no gap is off by more than {} ms", cases.len(), furthest.millis());
}

fn find(label: &str) -> &'static PushedSource {
    PUSHED.iter().find(|source| source.label == label).expect("in the table")
}

/// One connection that plays this, read until `enough`.
fn play(
    source: &PushedSource,
    script: Vec<Step>,
    set: impl FnOnce(&mut Socketed),
    enough: impl Fn(&Heard) -> bool,
) -> Heard {
    let (heard, _) = alone(Level::INFO, async {
        crate::heard::install_tls();
        let fake = FakeWs::start(vec![script]).await;
        let mut socketed = source.socketed(&fake.url);
        set(&mut socketed);
        let feed = Box::new(WebSocket { url: socketed.url.clone() });
        hear(source.name.as_str(), |way| listen(socketed, feed, way), enough).await
    });
    heard
}

#[test]
fn a_server_without_tls_is_a_gap() {
    for source in &PUSHED {
        let (heard, _) = alone(Level::INFO, async {
            crate::heard::install_tls();
            let socketed = source.socketed(&format!("wss://{}", plain_text().await));
            let feed = Box::new(WebSocket { url: socketed.url.clone() });
            let enough = |heard: &Heard| !heard.gaps.is_empty();
            hear(source.name.as_str(), |way| listen(socketed, feed, way), enough).await
        });
        let gap = heard.closed()[0];
        assert_eq!((gap.reason, gap.symbols.len()), (GapReason::Disconnected, 2), "{}", source.label);
        assert!(gap.detail.contains("InvalidContentType"), "{}: {}", source.label, gap.detail);
    }
}

/// OKX asks in words, and cuts who does not answer.
#[test]
fn a_ping_in_words_is_answered_in_words() {
    let okx = find("okx");
    let asked = vec![okx.trade(1), send("ping"), Step::Hears("pong"), okx.trade(2), Step::Silence];
    let heard = play(okx, [okx.hello(), asked].concat(), |_| {}, |heard| heard.ticks.len() == 2);
    assert_eq!((ids(&heard), heard.gaps.len()), (vec![1, 2], 0));
}

/// What we say to stay connected does not keep us connected by itself.
#[test]
fn a_ping_of_ours_without_an_answer_is_a_dead_socket() {
    for source in &PUSHED {
        let script = source.well_until(vec![Step::Hears("stay"), Step::Hears("stay"), Step::Silence]);
        let said = |socketed: &mut Socketed| socketed.ping = Some((SILENCE / 5, "stay".to_owned()));
        let heard = play(source, script, said, |heard| !heard.gaps.is_empty());
        let gap = heard.closed()[0];
        assert!(gap.detail.contains("no message for"), "{}: {}", source.label, gap.detail);
        assert_eq!(gap.started_at, heard.ticks[1].received_at, "{}", source.label);
    }
}

/// Coinbase's Advanced Trade numbers all messages of a connection.
#[test]
fn a_jump_in_a_connections_messages_is_a_gap_of_the_whole_source() {
    let advanced = find("coinbase advanced");
    let numbered = |step: Step, number: u32| match step {
        Step::Send(text) => send(text.replacen('{', &format!("{{\"sequence_num\":{number},"), 1)),
        other => other,
    };
    let beat = || send((advanced.heartbeat)(2));
    let steps = [(advanced.trade(1), 1), (advanced.trade(2), 2), (beat(), 6), (beat(), 7), (advanced.trade(3), 8)];
    let mut script = vec![numbered(send(advanced.greeting), 0)];
    script.extend(steps.into_iter().map(|(step, number)| numbered(step, number)));
    script.push(Step::Silence);
    let heard = play(advanced, script, |_| {}, |heard| heard.ticks.len() == 3);
    let closed = heard.closed();
    let [gap] = closed[..] else { panic!("{closed:?}") };
    assert_eq!((gap.reason, gap.symbols.len()), (GapReason::Sequence, 0), "all of the source");
    assert_eq!(gap.detail, "messages 3 to 5 of the connection did not come");
    assert_eq!(gap.started_at, heard.ticks[1].received_at);
    assert!(gap.ended_at <= Some(heard.ticks[2].received_at));
}

#[test]
fn binance_is_told_of_by_gaps_that_equal_its_faults() {
    every_case("binance");
}

#[test]
fn coinbase_exchange_is_told_of_by_gaps_that_equal_its_faults() {
    every_case("coinbase exchange");
}

#[test]
fn coinbase_advanced_is_told_of_by_gaps_that_equal_its_faults() {
    every_case("coinbase advanced");
}

#[test]
fn kraken_is_told_of_by_gaps_that_equal_its_faults() {
    every_case("kraken");
}

#[test]
fn okx_is_told_of_by_gaps_that_equal_its_faults() {
    every_case("okx");
}

#[test]
fn bitstamp_is_told_of_by_gaps_that_equal_its_faults() {
    every_case("bitstamp");
}
