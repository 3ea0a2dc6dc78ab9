//! Records copied into another topic: each once, as it was, however often the copy is killed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use pipeline::stretches::{self, Stretch};
use pipeline::topics::TICKS;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::replay_generation::bulk;
use crate::replay_installation::{Installation, now};

const RECORDS: u32 = 40_000;
const KILLS: u64 = 6;

/// Time, key and value.
type Copied = (i64, Vec<u8>, Vec<u8>);

/// Every record of a topic by partition and offset, or by where a copy says that it is from.
async fn records(installation: &Installation, topic: &str) -> (BTreeMap<String, Copied>, usize) {
    let consumer: BaseConsumer = installation.args.consumer(None).create().expect("consumer");
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("metadata");
    let mut open = Vec::new();
    for partition in metadata.topics()[0].partitions() {
        let (start, end) =
            consumer.fetch_watermarks(topic, partition.id(), Duration::from_secs(10)).expect("watermarks");
        open.push(Stretch { partition: partition.id(), start, end });
    }
    let (mut found, mut count) = (BTreeMap::new(), 0);
    stretches::read(&installation.args, topic, &open, "it is there", async |partition, records| {
        for row in 0..records.len() {
            let from = records.headers(row).into_iter().find(|(key, _)| key == "tickstream-replayed-from");
            let place = match from {
                Some((_, value)) => String::from_utf8(value.expect("a place")).expect("text"),
                None => format!("{topic}:{partition}:{}", records.offsets().value(row)),
            };
            assert!(place.starts_with(&format!("{TICKS}:{partition}:")), "{place} lies in partition {partition}");
            let (key, value) = (records.keys().value(row).to_vec(), records.values().value(row).to_vec());
            found.insert(place, (records.timestamps_ms().value(row), key, value));
            count += 1;
        }
        Ok(())
    })
    .await
    .expect("read");
    (found, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_again_and_again_has_each_record_once() {
    let installation = Installation::without_services("copies").await;
    for ticks in bulk(RECORDS, now()).chunks(5_000) {
        installation.publish(ticks).await;
    }
    for topic in [TICKS, "market.ticks.v1.dlq", "__consumer_offsets"] {
        let target = format!("topic:{topic}");
        let asked = ["replay", "plan", "--from-earliest", "--name", "none", "--target", &target];
        let refused = installation.ends(2, &asked).await;
        assert!(refused.stderr.contains("is a topic that the system itself reads"), "{}", refused.stderr);
    }
    let plan = installation.stack.data_dir().join(format!("{}-copy.json", installation.prefix));
    let plan = plan.to_str().expect("text");
    let asked = ["replay", "plan", "--from-earliest", "--name", "copied", "--target", "topic:copy", "--out", plan];
    installation.ends(0, &asked).await;
    for kill in 0..KILLS {
        let mut copying = installation
            .command(&["replay", "execute", plan])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawned");
        tokio::time::sleep(Duration::from_millis(300 + 250 * kill)).await;
        drop(copying.kill());
        drop(copying.wait());
    }
    let executed = installation.ends(0, &["replay", "execute", plan]).await;
    assert_eq!(executed.stdout, format!("{RECORDS} records of copied are copied into copy\n"), "by all executions");
    let (original, _) = records(&installation, TICKS).await;
    let (copied, count) = records(&installation, "copy").await;
    assert_eq!(count, original.len(), "each once");
    assert!(copied == original, "byte for byte");
    let again = installation.ends(0, &["replay", "execute", plan]).await;
    assert!(again.stdout.contains("is executed already"), "{}", again.stdout);
    let (_, again) = records(&installation, "copy").await;
    assert_eq!(again, count, "nothing twice");

    // A name that was given back begins anew, wherever an earlier replay of that name had been.
    let dropped = installation.ends(0, &["replay", "drop", "copied"]).await;
    assert_eq!(dropped.stdout, "copied is dropped: nothing was left of it; copy stays as it is\n");
    let first = original.keys().next().expect("records").rsplit_once(':').expect("a place").0.to_owned();
    let (begin, end) = (format!("{first}=0"), format!("{first}=100"));
    let part = ["replay", "plan", "--from-offset", &begin, "--to-offset", &end, "--name", "copied", "--out", plan];
    installation.ends(0, &[&part[..], &["--target", "topic:copy"]].concat()).await;
    installation.ends(0, &["replay", "execute", plan]).await;
    let is_part = |place: &&String| {
        let of_it = place.rsplit_once(':').filter(|(of, _)| *of == first);
        of_it.is_some_and(|(_, offset)| offset.parse().is_ok_and(|offset: i64| offset < 100))
    };
    let (_, more) = records(&installation, "copy").await;
    assert_eq!(more - count, original.keys().filter(is_part).count(), "all that the new plan names");

    let beside = format!("{TICKS}:9=5");
    for (arguments, says) in [
        (&["--topic", "copy", "--from-earliest", "--target", "topic:copy"][..], "topic:copy is what is copied"),
        (&["--from-earliest", "--target", "topic:a/b"], "\"a/b\" is no name of a topic"),
        (&["--from-offset", &begin, "--to-offset", &beside], "market.ticks.v1[9], of which nothing is to be read"),
        (&["--from-earliest", "--symbol", ""], "--symbol"),
    ] {
        let refused = installation.ends(2, &[&["replay", "plan", "--name", "none"], arguments].concat()).await;
        assert!(refused.stderr.contains(says), "{arguments:?}: {}", refused.stderr);
    }
}
