//! Made again from raw alone.

use std::process::{Command, Output};

use bytes::Bytes;
use pipeline::store::Condition;
use stack::Stack;

use crate::bronze::{DAY, HOUR, Lake, MONDAY, refine, trade};
use crate::fault_store::{Fault, FaultStore, when};

fn rebuild(stack: &Stack, prefix: &str, args: &[&str]) -> Output {
    rebuild_at(stack, &stack.s3.endpoint_url, prefix, args)
}

fn rebuild_at(stack: &Stack, url: &str, prefix: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refiner"));
    command.arg("rebuild").args(args).envs(stack.env()).env("S3_PREFIX", prefix).env("RUST_LOG", "warn");
    // No broker is needed.
    command.env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1").env("S3_ENDPOINT_URL", url).output().expect("ended")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn three_days(lake: &Lake) {
    for day in 0..3 {
        let at = MONDAY + day * DAY + 9 * HOUR;
        let number = u32::try_from(day).expect("few");
        lake.ticks(0, at, &[trade("kraken", "BTC-USD", number, "100", at), trade("okx", "BTC-USD", number, "101", at)])
            .await;
        lake.ticks(0, at + HOUR, &[trade("kraken", "BTC-USD", 50 + number, "7", at - DAY)]).await;
    }
    let gap = pipeline::events::Gap { source: "okx".to_owned(), started_at: MONDAY + HOUR, ..pipeline::example::gap() };
    lake.gaps(MONDAY + 2 * DAY, &[gap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_raw_alone_comes_what_streaming_made() {
    let stack = stack::shared().await;
    let lake = Lake::new(stack, "rebuild-all").await;
    three_days(&lake).await;
    refine(&lake.refiner().await).await;
    let (bronze, layers) = (lake.etags("bronze/").await, lake.layers().await);
    let range = ["--from", "2026-03-01", "--to", "2026-03-04"];

    let same = rebuild(stack, "rebuild-all", &range);
    assert!(same.status.success(), "{}", text(&same));
    for layer in ["bronze: 0", "silver: 0", "gold: 0"] {
        assert!(text(&same).contains(&format!("{layer} objects written")), "{}", text(&same));
    }
    for key in bronze.keys().chain(layers.keys()) {
        lake.store.delete(key).await.expect("deleted");
    }
    lake.store.delete("silver/_refiner/state.json").await.expect("deleted");
    let dry = rebuild(stack, "rebuild-all", &[&range[..], &["--dry-run"]].concat());
    assert!(dry.status.success(), "{}", text(&dry));
    assert!(text(&dry).contains(&format!("bronze: {} objects would be written", bronze.len())), "{}", text(&dry));
    assert!(lake.layers().await.is_empty() && lake.etags("bronze/").await.is_empty(), "a dry run writes nothing");

    let made = rebuild(stack, "rebuild-all", &range);
    assert!(made.status.success(), "{}", text(&made));
    let told = |output: &Output| {
        text(output).split_whitespace().filter_map(|word| word.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    assert_eq!(told(&made), told(&dry), "a dry run counts what then happens");
    assert_eq!(lake.layers().await, layers, "the same bytes");
    assert!(refine(&lake.refiner().await).await.done.written.is_empty(), "and streaming goes on with nothing to do");
    assert_eq!(lake.etags("bronze/").await, bronze, "the notes are closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_named_and_made_again() {
    let stack = stack::shared().await;
    let lake = Lake::new(stack, "rebuild-damaged").await;
    three_days(&lake).await;
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    let layers = lake.layers().await;
    let key = "silver/ticks/dt=2026-03-02/hour=09/part.parquet";
    let half = lake.store.get(key).await.expect("a store").expect("there");
    let bytes: Bytes = half.bytes.slice(..half.bytes.len() / 2);
    lake.store.put(key, bytes, Default::default(), Condition::IfMatch(&half.head.etag)).await.expect("replaced");
    let at = MONDAY + 9 * HOUR;
    lake.ticks(0, at + 3 * DAY, &[trade("kraken", "BTC-USD", 77, "100", at)]).await;
    let report = refiner::run::run(&refiner, |_, _| true).await.expect("a run");
    assert_eq!(report.failed.len(), 1);
    let error = format!("{:#}", report.failed[0].1);
    assert!(error.contains(key) && error.contains("refiner rebuild"), "{error}");
    let made = rebuild(stack, "rebuild-damaged", &["--from", "2026-03-02", "--to", "2026-03-02"]);
    assert!(made.status.success(), "{}", text(&made));
    refine(&lake.refiner().await).await;
    let after = lake.layers().await;
    assert_ne!(after[key], layers[key], "the late tick is in it");
    assert_eq!(lake.rows(key).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_of_an_older_decoder_is_made_again_and_silver_follows_its_note() {
    let stack = stack::shared().await;
    let lake = Lake::new(stack, "rebuild-note").await;
    let key = lake.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "1", MONDAY)]).await;
    // What an older decoder made: another row, in another hour.
    let other = Lake::new(stack, "rebuild-note-other").await;
    let wrong = other.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "9", MONDAY + 5 * HOUR)]).await;
    let wrong = other.store.get(&wrong).await.expect("a store").expect("there");
    let head = lake.store.head(&key).await.expect("a store").expect("there");
    let old = [("tickstream-decoder-version".to_owned(), "1".to_owned())].into_iter().collect();
    lake.store.put(&key, wrong.bytes, old, Condition::IfMatch(&head.etag)).await.expect("replaced");
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    assert_eq!(lake.partition("silver/ticks/dt=2026-03-02/hour=05").await.len(), 1);

    let made = rebuild(stack, "rebuild-note", &["--from", "2026-03-02", "--to", "2026-03-02", "--layer", "bronze"]);
    assert!(text(&made).contains("bronze: 1 objects written"), "{}", text(&made));
    assert_eq!(lake.etags("bronze/_notes/").await.len(), 1);
    refine(&refiner).await;
    assert!(lake.partition("silver/ticks/dt=2026-03-02/hour=05").await.is_empty(), "the old row is gone");
    assert_eq!(lake.partition("silver/ticks/dt=2026-03-02/hour=00").await[0]["price"], "1.000000000000000000");
    assert!(lake.etags("bronze/_notes/").await.is_empty(), "the note is closed");
}

async fn closes(lake: &Lake, day: &str) -> Vec<String> {
    let rows = lake.partition(&format!("gold/candles/timeframe=1d/dt={day}")).await;
    rows.iter().map(|row| row["close"].trim_end_matches('0').to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn gold_follows_silver_that_was_made_again_alone() {
    let stack = stack::shared().await;
    let faults = FaultStore::start(stack).await;
    let prefix = "rebuild-silver";
    let lake = Lake::new(stack, prefix).await;
    let (morning, evening) = (MONDAY + 9 * HOUR, MONDAY + 20 * HOUR);
    lake.ticks(0, morning, &[trade("kraken", "BTC-USD", 1, "5", morning)]).await;
    let wrong = lake.ticks(0, evening, &[trade("kraken", "BTC-USD", 2, "7", evening)]).await;
    refine(&lake.refiner().await).await;
    assert_eq!(closes(&lake, "2026-03-02").await, ["7."]);
    lake.store.delete(&wrong).await.expect("deleted");
    let silver = ["--from", "2026-03-02", "--to", "2026-03-02", "--layer", "silver"];
    // It ends after silver was written and before the state was: as a kill would end it.
    faults.set([when(
        |request| request.method == "PUT" && request.key.ends_with("state.json"),
        Fault::Refused(403, "AccessDenied"),
    )]);
    let ended = rebuild_at(stack, &faults.url, prefix, &silver);
    assert!(!ended.status.success(), "{}", text(&ended));
    assert!(lake.partition("silver/ticks/dt=2026-03-02/hour=20").await.is_empty());
    faults.lift();
    let made = rebuild_at(stack, &faults.url, prefix, &silver);
    assert!(made.status.success(), "{}", text(&made));
    assert!(text(&made).contains("delete silver/_refiner/rebuild.json first"), "{}", text(&made));
    refine(&lake.refiner().await).await;
    assert_eq!(closes(&lake, "2026-03-02").await, ["5."], "gold is that of the silver that stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rates_of_the_next_day_follow_a_day_that_is_made_again() {
    let stack = stack::shared().await;
    let lake = Lake::new(stack, "rebuild-rates").await;
    let (evening, after) = (MONDAY + 23 * HOUR, MONDAY + DAY);
    let rate = lake.ticks(0, evening, &[trade("awesome", "USD-BRL", 1, "5", evening)]).await;
    let prices = [trade("kraken", "BTC-USD", 2, "100", after), trade("mercado", "BTC-BRL", 3, "500", after)];
    lake.ticks(0, after, &prices).await;
    refine(&lake.refiner().await).await;
    let observed = async || -> Vec<String> {
        let rows = lake.partition("gold/cross_rates/dt=2026-03-03").await;
        rows.iter().map(|row| row["observed_rate"].clone()).collect()
    };
    assert_eq!(observed().await, ["5.0"]);
    lake.store.delete(&rate).await.expect("deleted");
    for layer in ["silver", "gold"] {
        let made = rebuild(stack, "rebuild-rates", &["--from", "2026-03-02", "--to", "2026-03-02", "--layer", layer]);
        assert!(made.status.success(), "{}", text(&made));
    }
    assert_eq!(observed().await, [""], "nobody knows the rate any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_of_bronze_that_is_still_to_come_outlasts_a_run() {
    let stack = stack::shared().await;
    let faults = FaultStore::start(stack).await;
    let prefix = "rebuild-same-version";
    let lake = Lake::new(stack, prefix).await;
    let key = lake.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "1", MONDAY)]).await;
    // Of today's decoder, which did not know the schema of the record.
    let other = Lake::new(stack, "rebuild-same-version-other").await;
    let unread = other.append(pipeline::topics::TICKS, 0, MONDAY, vec![b"unread".to_vec()]).await;
    let unread = other.store.get(&unread).await.expect("a store").expect("there");
    let stored = lake.store.head(&key).await.expect("a store").expect("there");
    let condition = Condition::IfMatch(&stored.etag);
    lake.store.put(&key, unread.bytes, stored.metadata.clone(), condition).await.expect("replaced");
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    assert!(lake.layers().await.keys().all(|key| !key.contains("hour=00")), "nothing is of that hour yet");

    // It ends between the note and the object.
    faults.set([when(|request| request.puts("bronze/ticks"), Fault::Refused(403, "AccessDenied"))]);
    let range = ["--from", "2026-03-02", "--to", "2026-03-02", "--layer", "bronze"];
    let ended = rebuild_at(stack, &faults.url, prefix, &range);
    assert!(!ended.status.success(), "{}", text(&ended));
    refine(&refiner).await;
    assert_eq!(lake.etags("bronze/_notes/").await.len(), 1, "what it speaks of has not come");
    faults.lift();
    let made = rebuild_at(stack, &faults.url, prefix, &range);
    assert!(text(&made).contains("bronze: 1 objects written"), "{}", text(&made));
    refine(&refiner).await;
    assert_eq!(lake.partition("silver/ticks/dt=2026-03-02/hour=00").await.len(), 1);
    assert!(lake.etags("bronze/_notes/").await.is_empty(), "the note is closed");
}
