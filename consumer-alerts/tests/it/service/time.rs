//! What time alone brings about: silence, and producers that are gone.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pipeline::events::{AlertKind, AlertState};

use super::room::Room;

const SILENT: &str = r#"
[[rule]]
name = "silent"
kind = "stale_feed"
silent_for = "6s"
cooldown = "0s"
"#;

const DOWN: &str = r#"
[[rule]]
name = "nobody reads"
kind = "open_gap"
open_for = "30s"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_told_and_a_service_that_was_away_is_none() {
    let room = Room::new(1, SILENT).await;
    let service = room.start();
    room.wait_begun();
    room.tick("A-USD", "99");
    room.flush();
    room.wait_judged();
    service.stop();
    // The market goes on while nobody judges it, for longer than a silence.
    for _ in 0..8 {
        room.tick("A-USD", "99");
        room.flush();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let service = room.start();
    room.wait_judged();
    assert_eq!(room.alerts().await, [], "it was not silent, only not heard");

    let alerts = room.wait_alerts(1).await;
    assert_eq!((alerts[0].kind, alerts[0].state), (AlertKind::StaleFeed, AlertState::Firing));
    room.tick("A-USD", "99");
    room.flush();
    let alerts = room.wait_alerts(2).await;
    assert_eq!(alerts[1].state, AlertState::Resolved);
    service.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_health_is_missed_three_times_has_lost_its_producer() {
    let room = Room::new(1, DOWN).await;
    room.health();
    let service = room.start();
    room.wait_begun();
    room.health();
    let alerts = room.wait_alerts(1).await;
    assert_eq!((alerts[0].kind, alerts[0].source.as_deref()), (AlertKind::OpenGap, Some("coinbase")));
    assert!(alerts[0].message.contains("PRODUCER_DOWN"), "{}", alerts[0].message);
    service.kill();

    // Told is told; and the next producer ends it.
    let service = room.start();
    let ended = async {
        loop {
            room.health();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let alerts = tokio::select! {
        alerts = room.wait_alerts(2) => alerts,
        () = ended => unreachable!("a producer speaks on"),
    };
    assert_eq!(alerts.iter().map(|alert| alert.state).collect::<Vec<_>>(), [AlertState::Firing, AlertState::Resolved]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fell_silent_while_nobody_judged_is_missed() {
    let room = Room::of_times_sent(SILENT).await;
    let hours_ago = |hours| Timestamp::now() - SignedDuration::from_hours(hours);
    room.tick_at("A-USD", "99", hours_ago(3));
    room.tick_at("B-USD", "99", hours_ago(3));
    room.flush();
    // Two were judged by a member that has ended since. Only one of them is heard from again.
    room.reset(2);
    room.tick_at("B-USD", "99", Timestamp::now());
    room.flush();
    let service = room.start();
    let alerts = room.wait_alerts(1).await;
    assert_eq!((alerts[0].kind, alerts[0].symbol.as_deref()), (AlertKind::StaleFeed, Some("A-USD")));
    service.stop();
}
