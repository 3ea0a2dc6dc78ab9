//! Quiet hours by a clock that the test sets: what is held, over a restart too, and what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use consumer_alerts::notify::Clock;
use jiff::civil::time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pipeline::events::{Alert, Severity};

use super::broker::Room;
use super::server::{Answer, Server};

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_hold_over_a_restart_and_end_in_one_summary() {
    let room = Room::new().await;
    let server = Server::start([]).await;
    let slack = format!(
        "type = \"slack\"\nurl = \"{}\"\ngroup_wait = \"0s\"\ngroup_most = 2\n\
         quiet_hours = {{ from = \"22:00\", to = \"07:00\", except = \"critical\" }}",
        server.url()
    );
    let channels = [room.channel("phone", &slack)];
    let evening = Timestamp::now().to_zoned(TimeZone::UTC).date().to_datetime(time(23, 0, 0, 0));
    let evening = evening.to_zoned(TimeZone::UTC).expect("a time").timestamp();
    let seconds = Arc::new(AtomicI64::new(evening.as_second()));
    let for_clock = seconds.clone();
    let clock: Clock =
        Arc::new(move || Timestamp::from_second(for_clock.load(Ordering::Relaxed)).expect("a time of this year"));

    let names = ["w1", "w2", "critical", "w3"];
    let mut alerts = room.alerts(&names, 0);
    alerts[2] = Alert { severity: Severity::Critical, ..alerts[2].clone() };
    let running = room.start_at(&channels, clock.clone());
    server.wait_for("readiness", |_| running.health.ready().is_ok()).await;
    room.fire(&alerts[..2]);
    room.fire(&alerts[2..]);
    server.wait_taken(1).await;
    running.stop().await;
    assert_eq!(server.said(&names), [["critical"]]);
    assert_eq!(room.committed("phone"), Some(0), "what is held is not committed");
    assert_eq!(room.ledger("phone").len(), 1);

    // Still night: nothing again, and then morning comes while it runs.
    let running = room.start_at(&channels, clock.clone());
    let fourth = Alert { severity: Severity::Critical, ..room.alerts(&["fourth"], 0).remove(0) };
    room.fire(&[fourth]);
    server.wait_taken(2).await;
    assert_eq!(server.said(&["w1", "w2", "critical", "w3", "fourth"]), [["critical"], ["fourth"]]);
    seconds.store((evening + SignedDuration::from_mins(8 * 60 + 1)).as_second(), Ordering::Relaxed);
    server.wait_taken(3).await;
    room.fire(&room.alerts(&["fifth"], 0));
    server.wait_taken(4).await;
    running.stop().await;
    let summary = server.taken()[2].json()["text"].as_str().expect("a text").to_owned();
    assert!(summary.starts_with("*3 alerts held over quiet hours, 22:00 to 07:00*\n"), "{summary}");
    assert!(summary.contains("\nand 1 more\n"), "{summary}");
    assert_eq!(server.said(&["w1", "w2", "w3", "fifth"])[2..], [vec!["w1", "w2"], vec!["fifth"]]);
    let ledger = room.ledger("phone");
    assert_eq!(
        (&ledger[&alerts[1].alert_id]["status"], &ledger[&alerts[3].alert_id]["status"]),
        (&"delivered".into(), &"counted".into())
    );
    assert_eq!(room.committed("phone"), Some(6));

    room.rewind("phone", 0);
    let running = room.start_at(&channels, clock);
    room.fire(&room.alerts(&["sixth"], 0));
    server.wait_taken(5).await;
    running.stop().await;
    assert_eq!(server.requests().len(), 5, "only the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_that_end_while_a_batch_is_tried_again_double_nothing() {
    let room = Room::new().await;
    let server = Server::start([Answer::Hung]).await;
    let slack = format!(
        "type = \"slack\"\nurl = \"{}\"\ngroup_wait = \"500ms\"\ntimeout = \"4s\"\n\
         quiet_hours = {{ from = \"22:00\", to = \"07:00\", except = \"critical\" }}",
        server.url()
    );
    let now = Timestamp::now();
    let night = now.to_zoned(TimeZone::UTC).date().to_datetime(time(23, 0, 0, 0));
    let night = night.to_zoned(TimeZone::UTC).expect("a time").timestamp();
    let seconds = Arc::new(AtomicI64::new(night.as_second()));
    let for_clock = seconds.clone();
    let clock: Clock =
        Arc::new(move || Timestamp::from_second(for_clock.load(Ordering::Relaxed)).expect("a time of this year"));
    let running = room.start_at(&[room.channel("desk", &slack)], clock);
    let names = ["held", "loud", "morning"];
    let mut alerts = room.alerts(&names, 0);
    alerts[1] = Alert { severity: Severity::Critical, ..alerts[1].clone() };
    room.fire(&alerts[..2]);
    // The loud one is on its way, and its answer does not come before the morning does.
    server.wait_for("a request", |server| server.requests().len() == 1).await;
    seconds.store((night + SignedDuration::from_hours(9)).as_second(), Ordering::Relaxed);
    server.wait_taken(2).await;
    room.fire(&alerts[2..]);
    server.wait_taken(3).await;
    running.stop().await;
    assert_eq!(server.said(&names), [["held"], ["loud"], ["morning"]]);
}
