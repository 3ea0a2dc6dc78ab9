//! A rules file that changes under a running service.

use super::room::Room;

fn above(level: &str) -> String {
    format!("[[rule]]\nname = \"above {level}\"\nkind = \"threshold\"\nabove = {level}\ncooldown = \"0s\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_change_is_taken_up_and_a_bad_one_changes_nothing() {
    let room = Room::new(1, &above("100")).await;
    let service = room.start();
    room.wait_begun();
    let mut told = 0;
    // Each rule is crossed until it has been told, or the test's patience ends.
    for (file, expected, low, high) in [
        (None, "above 100", "99", "101"),
        (Some("[[rule]]\nname = 7".to_owned()), "above 100", "99", "101"),
        (Some(above("200")), "above 200", "150", "250"),
    ] {
        if let Some(file) = file {
            room.write_rules(&file);
            // Longer than two looks at the file.
            tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        }
        room.tick("A-USD", low);
        room.tick("A-USD", high);
        room.flush();
        told += 1;
        let alerts = room.wait_alerts(told).await;
        assert_eq!(alerts[told - 1].rule, expected);
    }
    assert_eq!(room.alerts().await.len(), told);
    service.stop();
}
