//! Kills, members that come and go, rewinds.

use std::collections::BTreeSet;
use std::time::Duration;

use pipeline::events::AlertState;
use pipeline::topics;

use super::room::Room;

pub const CROSSED: &str = r#"
[[rule]]
name = "above a hundred"
kind = "threshold"
above = 100
cooldown = "0s"
"#;

const SYMBOLS: [&str; 8] = ["A-USD", "B-USD", "C-USD", "D-USD", "E-USD", "F-USD", "G-USD", "H-USD"];

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_tells_each_crossing_once() {
    let room = Room::new(4, CROSSED).await;
    let kills: usize = std::env::var("TICKSTREAM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    let mut rng = fastrand::Rng::with_seed(11);
    let mut services = vec![room.start()];
    room.wait_begun();
    let mut crossings = 0;
    for round in 0..kills {
        // Two members most of the time: one of them dies, a new one comes, and partitions move.
        services.push(room.start());
        for _ in 0..25 {
            for symbol in SYMBOLS {
                room.tick(symbol, "99");
                room.tick(symbol, "101");
                crossings += 1;
            }
            room.flush();
            std::thread::sleep(Duration::from_millis(rng.u64(0..20)));
        }
        services.remove(if round % 2 == 0 { 0 } else { services.len() - 1 }).kill();
    }
    services.push(room.start());
    room.wait_judged();
    let alerts = room.alerts().await;
    let ids: BTreeSet<_> = alerts.iter().map(|alert| alert.alert_id).collect();
    println!("{kills} kills: {crossings} crossings, {} alerts, {} ids", alerts.len(), ids.len());
    assert_eq!((alerts.len(), ids.len()), (crossings, crossings));
    services.into_iter().for_each(super::room::Service::stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_no_cooldown_and_a_rewind_says_the_same_again() {
    let room = Room::new(1, &CROSSED.replace("0s", "1h")).await;
    let service = room.start();
    room.wait_begun();
    room.tick("A-USD", "99");
    room.tick("A-USD", "101");
    room.send(&room.ticks, "A-USD", b"garbage");
    room.flush();
    let first = room.wait_alerts(1).await;
    assert_eq!((first[0].state, first[0].symbol.as_deref()), (AlertState::Firing, Some("A-USD")));
    assert_eq!((first[0].trigger_topic.as_str(), first[0].trigger_offset), (room.ticks.as_str(), 1));
    assert_eq!(first[0].price.map(|price| price.to_string()).as_deref(), Some("101"));
    room.wait_judged();
    service.kill();

    let service = room.start();
    room.tick("A-USD", "99");
    room.tick("A-USD", "102");
    room.tick("B-USD", "99");
    room.tick("B-USD", "103");
    room.flush();
    let alerts = room.wait_alerts(2).await;
    room.wait_judged();
    assert_eq!(alerts[1].symbol.as_deref(), Some("B-USD"), "A-USD is silent for an hour");
    assert_eq!(room.alerts().await.len(), 2);
    service.stop();
    assert_eq!(room.read(&topics::dlq(&room.ticks)), [b"garbage"]);

    room.reset(0);
    let service = room.start();
    room.wait_judged();
    let ids: BTreeSet<_> = room.alerts().await.iter().map(|alert| alert.alert_id).collect();
    assert_eq!(ids.len(), 2, "nothing that was not told before");
    service.stop();
}
