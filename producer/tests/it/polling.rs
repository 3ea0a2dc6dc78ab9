//! The polling driver over several polls, and over restarts; single faults are in `faults/`.

use std::sync::Arc;
use std::time::Duration;

use pipeline::admin::Health;
use pipeline::codec::{Encoder, Framing};
use pipeline::events::GapReason;
use producer::drive::Way;
use producer::drive::backoff::Backoff;
use producer::drive::budget::Plan;
use producer::drive::fetch::{Http, Server};
use producer::drive::poll::{Ask, History, Polled, Schedule, poll};
use producer::drive::status::Status;
use producer::gaps::ledger::{GapLedger, Scope};
use producer::gaps::open_gaps::OpenGaps;
use producer::publish::outbox::Outbox;
use producer::sources::coingecko::Coingecko;
use producer::symbols::Symbols;

use crate::fake_http::{Answer, FakeHttp, Request, ok};
use crate::heard::{Heard, hear};

const INTERVAL: Duration = Duration::from_millis(40);

fn polled(base_url: &str, currencies: &[&str]) -> Polled {
    let path = format!(
        "/api/v3/simple/price?ids=bitcoin&vs_currencies={}&include_last_updated_at=true&precision=full",
        currencies.join(",")
    );
    Polled {
        source: Arc::new(Coingecko { symbols: Arc::new(Symbols::built_in()) }),
        server: Server {
            source: "coingecko",
            base_url: base_url.to_owned(),
            key: Some(("x-cg-demo-api-key", "CG-hidden-key".into())),
            timeout: Duration::from_millis(500),
        },
        requests: vec![Ask { path, cost: 1 }],
        asked: currencies.iter().map(|currency| format!("BTC-{}", currency.to_uppercase())).collect(),
        schedule: Schedule::Every(INTERVAL),
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(40)),
        stale_after: Duration::from_secs(600),
        budget: Plan::default(),
        backfill: None,
    }
}

async fn run(polled: Polled, way: Way) -> anyhow::Result<()> {
    let http = Http::new(&polled.server)?;
    poll(polled, Box::new(http), way).await
}

fn bitcoin(price: &str) -> Answer {
    ok(&format!(r#"{{"bitcoin":{{"usd":{price}}}}}"#))
}

async fn play(script: Vec<Answer>, currencies: &[&str], enough: impl Fn(&Heard) -> bool) -> (Heard, FakeHttp) {
    let fake = FakeHttp::start(script).await;
    let polled = polled(&fake.url, currencies);
    let heard = hear("coingecko", |way| run(polled, way), enough).await;
    (heard, fake)
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
        let mut ledger = GapLedger::new(source, outbox.clone(), Status::new(source, Health::new()));
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
    let next = |way: Way| async move {
        let outbox = way.outbox.keeping(open_gaps);
        outbox.close_left(&["coingecko"], 7).await?;
        run(polled, Way { outbox, ..way }).await
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

/// The second poll of a symbol closes a gap; its history is then asked for in three calls. What was asked, in order: `now` or
/// `past`.
async fn with_history(past: Answer, enough: usize) -> Vec<&'static str> {
    let status = Answer::Status(500, vec![], Vec::new());
    let fake = FakeHttp::start(vec![status, bitcoin("1"), past, bitcoin("2")]).await;
    let mut polled = polled(&fake.url, &["usd"]);
    let chart = "/api/v3/coins/bitcoin/market_chart/range?vs_currency=usd&from=";
    let requests = move |_: &str, from: i64, _: i64| {
        (0..3).map(|call| Ask { path: format!("{chart}{}", from + call), cost: 1 }).collect::<Vec<_>>()
    };
    polled.backfill = Some(History { requests: Arc::new(requests) });
    drop(hear("coingecko", |way| run(polled, way), |_| fake.requests().len() >= enough).await);
    let kind = |request: &Request| if request.head.contains("market_chart") { "past" } else { "now" };
    fake.requests().iter().map(kind).collect()
}

#[tokio::test]
async fn the_past_is_asked_for_between_two_polls() {
    let asked = with_history(ok(r#"{"prices":[[1700000000000,1]]}"#), 7).await;
    assert_eq!(asked[..3], ["now", "now", "past"]);
    assert_eq!(asked.iter().filter(|kind| **kind == "past").count(), 3, "{asked:?}");
}

#[tokio::test]
async fn a_history_that_says_too_many_is_left_alone() {
    let asked = with_history(Answer::Status(429, vec![], Vec::new()), 6).await;
    assert_eq!(asked[..3], ["now", "now", "past"]);
    assert!(asked[3..].iter().all(|kind| *kind == "now"), "{asked:?}");
}
