//! A producer is killed and another one takes its source over, with nothing but the log to go by: what nobody read is a gap,
//! and what was left open is closed, once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pipeline::codec::{Encoder, Framing};
use pipeline::events::{Gap, GapReason, SourceHealth, event_id};
use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use producer::drive::clock::now_micros;
use producer::gaps::predecessor::{Before, find};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::sync::Semaphore;

use crate::fake_http::Answer;
use crate::heard;
use crate::outages::{Producer, broker, read, say};
use crate::sharing::{Exchanges, last_words, prices, start, states};

/// Puts records about a source into the log, as a producer does that is then killed.
async fn tell(kafka: &KafkaArgs, topic: &str, source: &str, payloads: &[Vec<u8>]) {
    let client: BaseProducer = kafka.producer().create().expect("a producer");
    for payload in payloads {
        client.send(BaseRecord::to(topic).key(source).payload(payload)).expect("it is taken");
    }
    client.flush(Duration::from_secs(20)).expect("it is written");
}

/// Waits until the source is in this state, in this producer's own words.
async fn until_state(producer: &Producer, state: &str) {
    let until = Instant::now() + Duration::from_secs(40);
    while states(producer).await.get("coingecko").is_none_or(|now| now != state) {
        assert!(Instant::now() < until, "never {state}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the log has a health record of this state and from after `since`, and kills.
async fn kill_after_word(producer: Producer, kafka: &KafkaArgs, state: &str, since: i64) -> i64 {
    let until = Instant::now() + Duration::from_secs(40);
    while !heard::healths(&read(kafka, topics::HEALTH))
        .await
        .iter()
        .any(|health| (health.source.as_str(), health.state.as_str()) == ("coingecko", state) && health.at > since)
    {
        assert!(Instant::now() < until, "no word on the source's health");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let at = now_micros();
    producer.signal(Signal::SIGKILL);
    producer.end().await;
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_producer_closes_what_the_killed_one_left_in_the_log() {
    let (_guard, _stack, kafka) = broker().await;
    let exchanges = Exchanges::open().await;
    let args = exchanges.args("coingecko");
    let spill = tempfile::tempdir().expect("a folder");
    let producer = start(&kafka, &spill, &args);
    until_state(&producer, "OK").await;
    let at = kill_after_word(producer, &kafka, "OK", exchanges.began_at).await;
    let overflow = Gap {
        id: event_id("coingecko", "gap", "", &format!("OVERFLOW|{at}")),
        source: "coingecko".to_owned(),
        symbols: Vec::new(),
        reason: GapReason::Overflow,
        started_at: at - 1_000_000,
        ended_at: None,
        detail: "records are dropped: the spill is full".to_owned(),
    };
    // And of one that came after it and was killed before it had read anything, or read another source.
    let health = |state: &str| SourceHealth {
        source: "coingecko".to_owned(),
        at: at + 2_000_000,
        last_answer_at: None,
        state: state.to_owned(),
        budget_left: None,
        used_today: None,
        used_this_month: None,
        producer: Some("another".to_owned()),
    };
    let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
    tell(&kafka, topics::GAPS, "coingecko", &[encoder.gap(&overflow)]).await;
    tell(&kafka, topics::HEALTH, "coingecko", &["CONNECTING", "STANDBY"].map(|state| encoder.health(&health(state))))
        .await;
    let last_read = *exchanges.reads("coingecko").last().expect("it was polled");
    tokio::time::sleep(Duration::from_secs(3)).await;

    // On another machine: nothing is left but the log.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let producer = start(&kafka, &elsewhere, &args);
    until_state(&producer, "OK").await;
    let again = *exchanges.reads("coingecko").iter().find(|read| **read > last_read).expect("it was polled again");
    producer.signal(Signal::SIGTERM);
    assert_eq!(producer.end().await, Some(0));

    let gaps = last_words(&kafka, "coingecko", at).await;
    let down: Vec<&Gap> = gaps.iter().filter(|gap| gap.reason == GapReason::ProducerDown).collect();
    let [down] = down[..] else { panic!("one time without a producer: {gaps:?}") };
    assert!((at - 12_000_000..=at).contains(&down.started_at), "{down:?} after a kill at {at}");
    let ended_at = down.ended_at.expect("the first answer ends it");
    assert!((again..again + 2_000_000).contains(&ended_at), "{down:?}, read again at {again}");
    assert_eq!(down.symbols, ["BTC-USD"]);
    let closed = gaps.iter().find(|gap| gap.id == overflow.id).expect("it is in the log");
    assert_eq!((closed.ended_at, closed.reason), (Some(ended_at), GapReason::Overflow), "{closed:?}");
    say(&format!(
        "killed: the gap begins {:.1} s before the kill and ends {:.3} s after the first poll",
        (at - down.started_at) as f64 / 1e6,
        (ended_at - again) as f64 / 1e6
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_never_read_has_no_predecessor_and_one_with_a_gap_has() {
    let (_guard, _stack, kafka) = broker().await;
    let at_once = Semaphore::new(1);
    let before = async |source, asked| find(&kafka, None, source, asked, &at_once).await.expect("the log is there");
    assert_eq!(before("nobody", Vec::new()).await, Before::default());
    let at = now_micros();
    let id = event_id("nobody", "gap", "", "1");
    let (source, detail) = ("nobody".to_owned(), "HTTP 503".to_owned());
    let reason = GapReason::PollFailed;
    let gap = Gap { id, source, symbols: Vec::new(), reason, started_at: at, ended_at: None, detail };
    let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
    tell(&kafka, topics::GAPS, "nobody", &[encoder.gap(&gap)]).await;
    let known = before("nobody", vec![id]).await;
    assert_eq!(known.predecessor.map(|one| (one.at, one.open)), Some((at - 1_000_000, vec![gap.clone()])));
    assert!(known.closed.is_empty(), "it is still open");
    let closing = Gap { ended_at: Some(at + 1), ..gap };
    tell(&kafka, topics::GAPS, "nobody", &[encoder.gap(&closing)]).await;
    let known = before("nobody", vec![id]).await;
    assert_eq!((known.predecessor.map(|one| one.open), known.closed), (Some(Vec::new()), vec![id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_another_producer_has_closed_is_not_closed_again() {
    let (_guard, _stack, kafka) = broker().await;
    let away = Answer::Status(503, Vec::new(), b"away".to_vec());
    let failing = Exchanges::answering(vec![prices(), prices(), away]).await;
    let well = Exchanges::open().await;
    let [here, elsewhere] = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let producer = start(&kafka, &here, &failing.args("coingecko"));
    until_state(&producer, "FAILING").await;
    kill_after_word(producer, &kafka, "FAILING", failing.began_at).await;
    let gaps = last_words(&kafka, "coingecko", failing.began_at).await;
    // Other tests may have left some of their own.
    let ours = |gap: &&Gap| gap.ended_at.is_none() && gap.started_at >= failing.began_at;
    let [left] = &gaps.iter().filter(ours).collect::<Vec<_>>()[..] else { panic!("one is left open: {gaps:?}") };
    let left = (*left).clone();
    assert_eq!(left.reason, GapReason::PollFailed);
    let closings = async || {
        let told = heard::gaps(&read(&kafka, topics::GAPS)).await;
        told.into_iter().filter(|gap| gap.id == left.id).filter_map(|gap| gap.ended_at).collect::<Vec<i64>>()
    };

    let producer = start(&kafka, &elsewhere, &well.args("coingecko"));
    until_state(&producer, "OK").await;
    producer.signal(Signal::SIGTERM);
    assert_eq!(producer.end().await, Some(0));
    let closed = closings().await;
    assert_eq!(closed.len(), 1, "{closed:?}");

    // The first machine is back: its folder has the gap open.
    let producer = start(&kafka, &here, &well.args("coingecko"));
    until_state(&producer, "OK").await;
    producer.signal(Signal::SIGTERM);
    assert_eq!(producer.end().await, Some(0));
    assert_eq!(closings().await, closed);
}
