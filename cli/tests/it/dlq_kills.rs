//! `dlq redrive` killed in the middle, again and again, and two of it at once: afterwards each record stands again once.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::join_all;
use pipeline::codec::{Encoder, Framing};
use pipeline::dead_letter::{DeadLetter, DeadLetters};
use pipeline::events::Alert;
use pipeline::example;
use pipeline::records::{Record, RecordBuffer};
use pipeline::topics::ALERTS;
use rdkafka::consumer::{BaseConsumer, Consumer};
use uuid::Uuid;

use crate::dlq::{Broker, Placed};

/// Fifteen transactions' worth.
const LETTERS: u128 = 3000;
const KILLS: usize = 5;

/// Offsets taken so far, markers and aborted records included.
fn high_watermark(broker: &Broker) -> i64 {
    let mut settings = broker.args.admin();
    settings.set("isolation.level", "read_uncommitted").set("group.id", "unused");
    let consumer: BaseConsumer = settings.create().expect("consumer");
    consumer.fetch_watermarks(ALERTS, 0, Duration::from_secs(10)).expect("watermarks").1
}

/// Starts it, and kills it when it has written something more, `later` than that.
fn start_and_kill(broker: &Broker, mut command: Command, later: Duration) -> bool {
    let before = high_watermark(broker);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while high_watermark(broker) == before {
        if let Some(ended) = running.try_wait().expect("a child") {
            assert!(ended.success(), "{ended}");
            return false;
        }
        assert!(Instant::now() < deadline, "it writes nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(later);
    running.kill().expect("killed");
    running.wait().expect("a child").code().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_has_sent_each_record_once_in_the_end() {
    let broker = Broker::shared().await;
    let _writing = Broker::writing().await;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
    let alert = |id: u128| encoder.alert(&Alert { alert_id: Uuid::from_u128(id), ..example::alert() });
    let placed: Vec<Placed> = join_all((0..LETTERS).map(|id| broker.send(ALERTS, 0, alert(id)))).await;
    let topic_id = broker.ids.topic_id(ALERTS, 0).await.expect("a topic id");
    let letters = DeadLetters::new(&broker.args, "consumer-db").expect("producer");
    let mut buffer = RecordBuffer::new();
    let mut in_order: Vec<&Placed> = placed.iter().collect();
    in_order.sort_by_key(|placed| placed.offset);
    for placed in &in_order {
        let record = Record { offset: placed.offset, timestamp_ms: 0, key: None, value: Some(&placed.value) };
        buffer.push_owned(record, &[]);
    }
    let named: Vec<DeadLetter> = in_order
        .iter()
        .map(|placed| DeadLetter {
            topic: ALERTS.to_owned(),
            partition: 0,
            offset: placed.offset,
            reason: "mended".to_owned(),
        })
        .collect();
    letters.send(&buffer.finish(), Some(topic_id), &named.iter().collect::<Vec<_>>()).await.expect("sent");

    let redrive = ["dlq", "redrive", "--topic", ALERTS, "--execute"];
    let mut killed = 0;
    for round in 0..KILLS {
        let command = broker.command(&redrive);
        let later = Duration::from_millis(13 * round as u64);
        killed += usize::from(tokio::task::block_in_place(|| start_and_kill(broker, command, later)));
    }
    assert!(killed > 0, "each run ended before it was killed");
    // Two at once: one shuts the other out, or comes after it.
    let (one, other) = tokio::join!(broker.run(&redrive), broker.run(&redrive));
    assert!([0, 1].contains(&one.code) && [0, 1].contains(&other.code), "{}\n{}", one.stderr, other.stderr);
    broker.ends(0, &redrive).await;
    let nothing_left = broker.ends(0, &redrive).await;
    let says = format!("0 letters redriven (0 records), 0 refused, {LETTERS} settled before");
    assert!(nothing_left.stderr.contains(&says), "{}", nothing_left.stderr);

    let (again, marks) = (broker.redriven(ALERTS).await, broker.marks(ALERTS).await);
    assert_eq!((again.len(), marks.len()), (placed.len(), placed.len()), "{killed} kills");
    for placed in &placed {
        let of = format!("0:{}", placed.offset);
        assert_eq!((again[&of].len(), marks[&of].len()), (1, 1), "{of}, {killed} kills");
        assert_eq!(again[&of][0].value, placed.value);
        assert_eq!(marks[&of][0]["offset"], again[&of][0].offset);
    }
}
