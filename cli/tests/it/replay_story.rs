//! A normalizer's bug from its first wrong price to its end, while ticks go on arriving: a plan from payloads, a generation
//! beside what is live, the difference, the promotion, its rollback, and the promotion again. `--nocapture` prints it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::Answer;
use crate::replay_installation::{Installation, expected, ids};

/// What a user sees, for docs/replay.md.
#[expect(clippy::print_stdout, reason = "docs/replay.md shows this")]
pub fn told(command: &str, answer: &Answer) {
    println!("$ {command}\n{}{}", answer.stderr, answer.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_prices_are_put_right_and_back_and_right_again_while_ticks_arrive() {
    let installation = Arc::new(Installation::start("replay-story").await);
    let live = installation.live();
    installation.right_trades(1, 20).await;
    let (wrong, span) = installation.wrong_trades(1_000, 6).await;
    installation.right_trades(5_000, 20).await;
    let (ids, [published, right, back]) = (ids(&wrong), expected(&wrong));
    installation
        .wait_for("what was published is in Postgres", async || installation.shown(&ids).await == published)
        .await;
    installation.audit_is_clean().await;
    let others = format!(
        "source = 'coinbase' and event_id not in ({})",
        ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ")
    );
    let outside = installation.checksum(&others).await;
    assert!(outside.starts_with("40 "), "{outside}");

    let [plan, executed] = installation.generation("fix_coinbase", &span).await;
    told("tickstream replay plan --name fix_coinbase --renormalize --payloads-of coinbase …", &plan);
    told("tickstream replay execute fix_coinbase.json", &executed);
    assert_eq!(installation.shown(&ids).await, published, "nothing live has changed");

    let diff = ["replay", "diff", "fix_coinbase", "--limit", "5"];
    told("tickstream replay diff fix_coinbase --limit 5", &installation.ends(1, &diff).await);
    let diff = installation.ends(1, &["replay", "diff", "fix_coinbase", "-o", "json"]).await;
    let differs: BTreeSet<String> = diff
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok().filter(|line| line["layer"] == "postgres"))
        .filter_map(|line| line["event_id"].as_str().map(str::to_owned))
        .collect();
    let changed = right.iter().filter(|(id, shown)| published.get(*id) != Some(*shown));
    let changed: BTreeSet<String> = changed.map(|(id, _)| id.to_string()).collect();
    assert_eq!(differs, changed, "exactly the wrong ones");

    let promote = ["replay", "promote", "fix_coinbase"];
    let promoted = installation.ends(0, &promote).await;
    told("tickstream replay promote fix_coinbase", &promoted);
    for target in ["topic", "postgres", "lake raw and bronze", "lake silver and gold"] {
        assert!(promoted.stdout.contains(target), "{}", promoted.stdout);
    }
    assert_eq!(installation.shown(&ids).await, right);
    told("tickstream audit --topic market.ticks.v1", &installation.audit_is_clean().await);
    let again = installation.ends(0, &promote).await;
    assert!(again.stderr.contains("promoted already"), "{}", again.stderr);

    let rollback = ["replay", "rollback", "fix_coinbase"];
    told("tickstream replay rollback fix_coinbase", &installation.ends(0, &rollback).await);
    assert_eq!(installation.shown(&ids).await, back);
    installation.audit_is_clean().await;

    told("tickstream replay promote fix_coinbase", &installation.ends(0, &promote).await);
    assert_eq!(installation.shown(&ids).await, right);
    let sent = live.end().await;
    told("tickstream audit --topic market.ticks.v1", &installation.audit_is_clean().await);
    assert_eq!(installation.checksum(&others).await, outside, "nothing outside was touched");
    let arrived = installation.checksum("source = 'live'").await;
    assert_eq!(arrived.split(' ').next(), Some(&*sent.to_string()), "no live tick is lost");
}
