//! Only what changed is made again.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::bronze::{DAY, HOUR, Lake, MONDAY, SECOND, refine, trade};

/// Keys that were written, changed or added from `before` to `after`.
fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    after.iter().filter(|(key, etag)| before.get(*key) != Some(etag)).map(|(key, _)| key.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_writes_nothing() {
    let lake = Lake::new(stack::shared().await, "refine-idle").await;
    lake.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "1", MONDAY)]).await;
    let refiner = lake.refiner().await;
    assert!(!refine(&refiner).await.done.written.is_empty());
    let before = lake.layers().await;
    assert!(refine(&refiner).await.done.written.is_empty());
    // Without what it knows, it looks through everything and finds everything so already.
    lake.store.delete("silver/_refiner/state.json").await.expect("deleted");
    assert!(refine(&lake.refiner().await).await.done.written.is_empty());
    assert_eq!(lake.layers().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_three_days_late_corrects_its_own_day_and_nothing_else() {
    let lake = Lake::new(stack::shared().await, "refine-late").await;
    for day in 0..4 {
        let at = MONDAY + day * DAY;
        let number = u32::try_from(day).expect("few") * 10;
        lake.ticks(0, at + 9 * HOUR, &[trade("kraken", "BTC-USD", number, "100", at + 9 * HOUR)]).await;
        lake.ticks(0, at + 10 * HOUR, &[trade("kraken", "BTC-USD", number + 1, "101", at + 10 * HOUR)]).await;
    }
    let refiner = lake.refiner().await;
    refine(&refiner).await;
    let before = lake.layers().await;
    let late = trade("kraken", "BTC-USD", 99, "250", MONDAY + 9 * HOUR + SECOND);
    lake.ticks(1, MONDAY + 3 * DAY + 11 * HOUR, &[late]).await;
    refine(&refiner).await;
    let after = lake.layers().await;
    // A minute of its own, the hour, the day; the cross rates of the day list the hourly candles that they were made of.
    let day = "dt=2026-03-02";
    let mut expected: Vec<String> = ["1m", "5m", "1h", "1d"]
        .iter()
        .map(|timeframe| format!("gold/candles/timeframe={timeframe}/{day}/part.parquet"))
        .collect();
    expected
        .extend(["daily_stats", "cross_rates", "data_quality"].map(|table| format!("gold/{table}/{day}/part.parquet")));
    expected.push(format!("silver/ticks/{day}/hour=09/part.parquet"));
    expected.retain(|key| after.contains_key(key));
    expected.sort();
    let mut written = changed(&before, &after);
    written.sort();
    assert_eq!(written, expected);
    assert_eq!(lake.partition(&format!("gold/daily_stats/{day}")).await[0]["max"], "250.000000000000000000");
    assert_eq!(lake.partition(&format!("gold/candles/timeframe=1d/{day}")).await[0]["high"], "250.000000000000000000");
}

/// One new tick costs the same number of requests in a lake of one day and in one of forty.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_costs_what_changed_and_not_the_lake() {
    let stack = stack::shared().await;
    let mut costs = Vec::new();
    for days in [4, 40] {
        let lake = Lake::new(stack, &format!("refine-cost-{days}")).await;
        let at = |day: i64| MONDAY + (day - days) * DAY + 9 * HOUR;
        for day in 0..days {
            // Too few hours for a forecast, which would read the 28 days before.
            lake.ticks(0, at(day), &[trade("kraken", "BTC-USD", u32::try_from(day).expect("few"), "100", at(day))])
                .await;
        }
        refine(&lake.refiner().await).await;
        lake.ticks(0, at(days - 1) + SECOND, &[trade("kraken", "BTC-USD", 999, "101", at(days - 1))]).await;
        let refiner = lake.refiner().await;
        let written = refine(&refiner).await.done.written.len();
        costs.push((refiner.objects.requests(), written));
    }
    println!("requests and objects written for one tick more, in a lake of 4 and of 40 days: {costs:?}");
    let (few, many) = (costs[0], costs[1]);
    assert_eq!(few.1, many.1);
    // The day's forecast asks for the candles of the 28 days before it, which the smaller lake has not.
    assert!(many.0 <= few.0 + 28, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_taken_up_and_the_next_run_finds_nothing_to_do() {
    let stack = stack::shared().await;
    let lake = Lake::new(stack, "refine-event").await;
    let key = lake.ticks(0, MONDAY, &[trade("kraken", "BTC-USD", 1, "1", MONDAY)]).await;
    let encoded = format!("refine-event/{key}").replace('=', "%3D").replace('+', "%2B");
    let record = serde_json::json!({"s3": {"bucket": {"name": stack.s3.bucket}, "object": {"key": encoded}}});
    let body = serde_json::json!({"Records": [record]}).to_string();
    let message = serde_json::json!({"Messages": [{"Body": body}]}).to_string();
    let refiner = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refiner"));
        command
            .args(args)
            .envs(stack.env())
            .env("S3_PREFIX", "refine-event")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let mut child = refiner(&["handle-event", "-"]).stdin(Stdio::piped()).spawn().expect("started");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), message.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && told.contains("1 of 1 objects"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let before = lake.layers().await;
    assert!(before.contains_key("silver/ticks/dt=2026-03-02/hour=00/part.parquet"), "{before:?}");
    let output = refiner(&["once"]).output().expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lake.layers().await, before);
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("event.json");
    std::fs::write(&wrong, "{}").expect("written");
    let output = refiner(&["handle-event", wrong.to_str().expect("UTF-8")]).output().expect("ended");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "one plain line");
}
