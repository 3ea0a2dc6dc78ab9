//! The polling driver against an exchange with faults.

use std::sync::Arc;
use std::time::Duration;

use pipeline::codec::{Encoder, Framing};
use pipeline::events::GapReason;
use producer::backoff::Backoff;
use producer::gap_ledger::{GapLedger, Scope};
use producer::open_gaps::OpenGaps;
use producer::outbox::Outbox;
use producer::poll::{Polled, poll};
use producer::sources::coingecko::{self, Asked, Coin};

use crate::fake_http::{Answer, FakeHttp, ok};
use crate::heard::{Heard, hear};

const INTERVAL: Duration = Duration::from_millis(40);

fn polled(base_url: &str, currencies: &[&str]) -> Polled {
    let asked = Asked {
        coins: vec![Coin { id: "bitcoin".to_owned(), base: "BTC".to_owned() }],
        currencies: currencies.iter().map(|currency| (*currency).to_owned()).collect(),
        anything: false,
    };
    Polled {
        source: "coingecko",
        url: format!("{base_url}{}", asked.path()),
        key: Some(("x-cg-demo-api-key", "CG-hidden-key".into())),
        interval: INTERVAL,
        timeout: Duration::from_millis(500),
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(40)),
        asked: asked.symbols(),
        stale_after: Duration::from_secs(600),
        parse: Box::new(move |body, received_at| coingecko::parse(body, received_at, &asked)),
    }
}

fn bitcoin(price: &str) -> Answer {
    ok(&format!(r#"{{"bitcoin":{{"usd":{price}}}}}"#))
}

async fn play(script: Vec<Answer>, currencies: &[&str], enough: impl Fn(&Heard) -> bool) -> (Heard, FakeHttp) {
    let fake = FakeHttp::start(script).await;
    let polled = polled(&fake.url, currencies);
    let heard = hear("coingecko", |outbox, status, shutdown| poll(polled, outbox, status, shutdown), enough).await;
    (heard, fake)
}

#[tokio::test]
async fn each_fault_is_one_gap_with_its_reason_and_no_price_is_made_up() {
    let status =
        |status, headers: Vec<(&'static str, String)>, body: &str| Answer::Status(status, headers, body.into());
    let html = "<!DOCTYPE html><html><body>Just a moment</body></html>";
    let elsewhere = vec![("location", "http://elsewhere.example/".to_owned())];
    for (fault, reason, said) in [
        (ok(html), GapReason::PollFailed, "not JSON"),
        (ok("{}"), GapReason::PollFailed, "the answer is {}"),
        (ok(""), GapReason::PollFailed, "empty body"),
        (ok(r#"{"bitcoin":{"us"#), GapReason::PollFailed, "breaks off"),
        (ok(r#"{"bitcoin":{"usd":-1}}"#), GapReason::PollFailed, "a price of"),
        (
            ok(r#"{"status":{"error_code":429,"error_message":"slow"}}"#),
            GapReason::RateLimited,
            "HTTP 200: error_code 429",
        ),
        (status(429, vec![], "{}"), GapReason::RateLimited, "HTTP 429"),
        (status(500, vec![], html), GapReason::PollFailed, "HTTP 500"),
        (status(403, vec![], r#"{"error":"no"}"#), GapReason::PollFailed, "HTTP 403: \"no\""),
        (status(302, elsewhere, ""), GapReason::PollFailed, "is not followed"),
        (Answer::CutOff { body: r#"{"bitcoin":{"usd":5}}"#, sent: 12 }, GapReason::PollFailed, ""),
        (Answer::Silent, GapReason::PollFailed, ""),
        (Answer::Long(21 * 1024 * 1024), GapReason::PollFailed, "longer than"),
    ] {
        let script = vec![bitcoin("1"), fault.clone(), bitcoin("2")];
        let (heard, fake) = play(script, &["usd"], |heard| heard.ticks.len() == 2).await;
        assert_eq!(heard.prices(), ["BTC-USD 1", "BTC-USD 2"], "{fault:?}");
        let closed = heard.closed();
        let [gap] = closed[..] else { panic!("{fault:?}: {closed:?}") };
        assert_eq!((gap.reason, gap.symbols.as_slice()), (reason, ["BTC-USD".to_owned()].as_slice()), "{fault:?}");
        assert!(gap.detail.contains(said), "{fault:?}: {}", gap.detail);
        assert!(!gap.detail.contains("CG-hidden-key"));
        // From the failed try to the answer after it.
        let (first, second) = (heard.ticks[0].received_at, heard.ticks[1].received_at);
        assert!(gap.started_at >= first && gap.ended_at == Some(second), "{fault:?}");
        assert!(heard.ready.iter().any(Result::is_ok) && heard.ready.last().is_some_and(Result::is_ok));
        assert!(fake.requests().iter().all(|request| request.head.contains("x-cg-demo-api-key: CG-hidden-key")));
    }
}

#[tokio::test]
async fn a_run_of_failures_is_one_gap() {
    let status = |status| Answer::Status(status, vec![], Vec::new());
    let script = vec![bitcoin("1"), status(500), ok("{}"), status(429), status(502), bitcoin("2")];
    let (heard, _) = play(script, &["usd"], |heard| heard.ticks.len() == 2).await;
    let closed = heard.closed();
    let [gap] = closed[..] else { panic!("{closed:?}") };
    assert_eq!(gap.reason, GapReason::PollFailed);
    assert!(gap.detail.contains("4 failed tries, the last: HTTP 502"), "{}", gap.detail);
    assert_eq!(heard.gaps.len(), 2, "one opening and one closing");
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let limited = Answer::Status(429, vec![("retry-after", "1".to_owned())], Vec::new());
    let (_, fake) = play(vec![bitcoin("1"), limited, bitcoin("2")], &["usd"], |heard| heard.ticks.len() == 2).await;
    let requests = fake.requests();
    let waited = requests[2].at - requests[1].at;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
}

#[tokio::test]
async fn an_unchanged_answer_is_not_published_again_and_is_no_failure() {
    let script = vec![bitcoin("1"), bitcoin("1"), bitcoin("1"), bitcoin("1"), bitcoin("2")];
    let (heard, fake) = play(script, &["usd"], |heard| heard.ticks.len() == 2).await;
    assert_eq!(heard.prices(), ["BTC-USD 1", "BTC-USD 2"]);
    assert!(heard.gaps.is_empty(), "{:?}", heard.gaps);
    assert!(fake.requests().len() >= 5);
}

#[tokio::test]
async fn a_symbol_that_is_left_out_has_a_gap_of_its_own() {
    let both = |price: &str| ok(&format!(r#"{{"bitcoin":{{"usd":{price},"brl":6}}}}"#));
    let script = vec![both("1"), bitcoin("2"), bitcoin("3"), both("4")];
    let (heard, _) = play(script, &["usd", "brl"], |heard| heard.ticks.len() >= 5 && heard.gaps.len() >= 2).await;
    let closed = heard.closed();
    let [gap] = closed[..] else { panic!("{closed:?}") };
    assert_eq!(gap.symbols, ["BTC-BRL"]);
    assert!(heard.prices().contains(&"BTC-USD 3".to_owned()), "the other symbol goes on");
}

#[tokio::test]
async fn a_time_that_stands_still_is_stale() {
    let now = jiff::Timestamp::now().as_second();
    let at = |price: u32, seconds: i64| ok(&format!(r#"{{"bitcoin":{{"usd":{price},"last_updated_at":{seconds}}}}}"#));
    let script = vec![at(1, now), at(2, now - 700), at(3, now)];
    let (heard, _) = play(script, &["usd"], |heard| heard.ticks.len() >= 3 && heard.gaps.len() >= 2).await;
    let closed = heard.closed();
    let [gap] = closed[..] else { panic!("{closed:?}") };
    assert_eq!((gap.reason, gap.started_at), (GapReason::Stale, (now - 700) * 1_000_000));
}

#[tokio::test]
async fn a_gap_that_is_open_at_the_end_is_closed_and_says_why() {
    let script = vec![Answer::Status(500, vec![], Vec::new())];
    let (heard, _) = play(script, &["usd"], |heard| heard.gaps.len() == 1).await;
    let closed = heard.closed();
    let [gap] = closed[..] else { panic!("{closed:?}") };
    assert!(gap.detail.contains("the producer stopped"), "{}", gap.detail);
    assert!(heard.ready.iter().any(|ready| ready.as_ref().is_err_and(|why| why.contains("HTTP 500"))));
}

#[tokio::test]
async fn gaps_that_a_killed_producer_left_open_are_closed_by_the_next_one_under_their_own_ids() {
    let dir = tempfile::tempdir().expect("a folder");
    let encoder = Arc::new(Encoder::new(Framing::SingleObject).await.expect("an encoder"));
    let (outbox, _batches) = Outbox::new(encoder);
    let outbox = outbox.keeping(OpenGaps::read(dir.path()));
    let symbol = |symbol: &str| Scope::Symbol(symbol.to_owned());
    let left = [
        ("coingecko", Scope::Source),
        ("coingecko", symbol("BTC-USD")),
        ("coingecko", symbol("ETH-USD")),
        ("coinbase", Scope::Source),
    ];
    for (at, (source, scope)) in left.into_iter().enumerate() {
        let mut ledger = GapLedger::new(source, outbox.clone());
        let detail = format!("{scope:?}");
        ledger.failed(scope, vec![], GapReason::PollFailed, at as i64, detail).await.expect("handed on");
    }
    let mut opened: Vec<_> =
        ["coingecko", "coinbase"].iter().flat_map(|source| outbox.open_gaps().of(source)).collect();
    opened.sort_by_key(|(_, gap)| gap.started_at);
    // Killed: no ledger was stopped.
    drop(outbox);

    let fake = FakeHttp::start(vec![bitcoin("1")]).await;
    let polled = polled(&fake.url, &["usd"]);
    let open_gaps = OpenGaps::read(dir.path());
    let next = |outbox: Outbox, status, shutdown| async move {
        let outbox = outbox.keeping(open_gaps);
        outbox.close_left(&["coingecko"], 7).await?;
        poll(polled, outbox, status, shutdown).await
    };
    let mut heard = hear("coingecko", next, |heard| !heard.ticks.is_empty()).await;
    heard.gaps.sort_by_key(|gap| gap.started_at);
    let ids = |gaps: Vec<&pipeline::events::Gap>| gaps.iter().map(|gap| gap.id).collect::<Vec<_>>();
    assert_eq!(ids(heard.gaps.iter().collect()), ids(opened.iter().map(|(_, gap)| gap).collect()));
    let answered_at = Some(heard.ticks[0].received_at);
    let [source, asked, unasked, unread] = &heard.gaps[..] else { panic!("{:?}", heard.gaps) };
    assert_eq!((source.ended_at, asked.ended_at, unread.ended_at), (answered_at, answered_at, Some(7)));
    assert!(unasked.ended_at < answered_at && unasked.detail.ends_with("closed at restart"), "{unasked:?}");
    assert!(unread.source == "coinbase" && unread.detail.ends_with("closed at restart"), "{unread:?}");
    assert!(OpenGaps::read(dir.path()).of_others(&[]).is_empty(), "each is closed once");
}

#[test]
fn open_gaps_that_cannot_be_read_are_set_aside() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("open-gaps.json"), "[{").expect("writable");
    assert!(OpenGaps::read(dir.path()).of_others(&[]).is_empty());
    assert_eq!(std::fs::read(dir.path().join("open-gaps.json.unreadable")).expect("kept"), b"[{");
}
