//! What `replay promote` and `rollback` refuse, whom they leave alone, and that nobody else need be at work for them.

use pipeline::events::PriceTick;

use crate::replay_installation::{Installation, expected, ids};

#[tokio::test(flavor = "multi_thread")]
async fn what_others_corrected_since_is_left_alone_and_named() {
    let mut installation = Installation::without_services("replay-promote").await;
    let (wrong, span) = installation.wrong_trades(1, 2).await;
    let (ids, [_, mut right, mut back]) = (ids(&wrong), expected(&wrong));
    installation.generation("fix", &span).await;
    let was = wrong[0].was.clone().expect("it was published");
    let foreign = PriceTick { revision: 1, price: "5".parse().expect("a price"), ..was };
    let event_id = foreign.event_id.to_string();
    installation.publish(std::slice::from_ref(&foreign)).await;

    let no_such = installation.ends(2, &["replay", "promote", "nobody"]).await;
    assert!(no_such.line().contains("nobody is no replay"), "{}", no_such.stderr);
    let too_early = installation.ends(2, &["replay", "rollback", "fix"]).await;
    assert!(too_early.line().contains("is not promoted"), "{}", too_early.stderr);
    let no_lake = installation.ends(2, &["replay", "promote", "fix"]).await;
    assert!(no_lake.line().contains("the lake is not written from market.ticks.v1"), "{}", no_lake.stderr);
    let empty = installation.checksum("true").await;
    assert!(empty.is_empty() || empty.starts_with("0 "), "nothing is written before everything is known: {empty}");

    let promoted = installation.ends(0, &["replay", "promote", "fix", "--no-wait"]).await;
    let says = "17 corrections are published, 0 stood so already, 1 were corrected by others since";
    assert!(promoted.stderr.contains(says), "{}", promoted.stderr);
    assert!(promoted.stderr.contains(&format!("left alone: {event_id}")), "{}", promoted.stderr);
    let switching = installation.ends(2, &["replay", "drop", "fix"]).await;
    assert!(switching.line().contains("fix is switching"), "{}", switching.stderr);
    // Nobody but the command has written to Postgres. consumer-db meets what it knows.
    let written = installation.checksum("revision > 0 and price <> 5").await;
    assert!(written.starts_with("15 "), "{written}: two of the seventeen are new");
    installation.serve("consumer-db");
    for shown in [&mut right, &mut back] {
        shown.entry(foreign.event_id).and_modify(|shown| shown.0 = foreign.price);
    }
    installation.wait_for("everything is there", async || installation.shown(&ids).await == right).await;
    assert_eq!(installation.checksum("revision > 0 and price <> 5").await, written, "the same, byte for byte");

    let rolled_back = installation.ends(0, &["replay", "rollback", "fix", "--no-wait"]).await;
    assert!(rolled_back.stderr.contains(&format!("left alone: {event_id}")), "{}", rolled_back.stderr);
    assert_eq!(installation.shown(&ids).await, back, "at once");
}
