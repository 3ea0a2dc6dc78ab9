//! History that is filled in behind the newest, as clients see it.

use super::*;

#[tokio::test]
async fn what_fills_in_is_shown_where_it_is_the_newest_and_all_of_it_at_the_end() {
    let hub = hub();
    hub.begin_filling(Channel::Ticks, "aaaa", vec![Position { partition: 0, offset: 1999 }]);
    hub.live().set_whole_from(NOW - 300_000_000, true);
    publish(&hub, "BTC-USD", 2000);
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "ticks"}));
    client.read();
    let from = NOW - 10_000_000_000;
    let mut older: Vec<PriceTick> =
        (0..1000).map(|i| tick("BTC-USD", &format!("old{i}"), &(3000 + i).to_string(), from + i)).collect();
    older.push(tick("ETH-USD", "old", "7", from));
    let at = |i: usize| Position { partition: 0, offset: i as i64 };
    let told = older.iter().enumerate().map(|(i, tick)| Told::of(tick, from, at(i)));
    hub.put_ticks(told, Showing::Older, &[at(1000)]);
    let shown = client.read();
    assert_eq!((client.updates, &shown[0]["ticks"][0]["symbol"]), (1, &json!("ETH-USD")), "{shown:?}");
    assert_eq!(hub.cursor(Channel::Ticks).read, [at(2000)], "the cursor does not go back");
    hub.set_filled(NOW - 20_000_000_000);
    let shown = client.read();
    assert_eq!((client.updates, client.skipped, client.cursor.as_str()), (3, 0, "aaaa@0:2000"), "{shown:?}");
    let high = |symbol: &str| client.rows[&(format!("{symbol:?}"), "\"test\"".to_owned())]["high"].clone();
    assert_eq!((high("BTC-USD"), high("ETH-USD")), (json!("3999"), json!("7")));
}

#[tokio::test]
async fn what_was_deleted_unread_ends_the_cursors_from_before() {
    let hub = hub();
    publish(&hub, "BTC-USD", 5);
    hub.skip_lost(Channel::Ticks, Position { partition: 0, offset: 99 });
    publish(&hub, "BTC-USD", 100);
    let is_full = |cursor: &str| {
        let mut client = Client::new(&hub);
        client.say(json!({"type": "subscribe", "channel": "ticks", "cursor": cursor}));
        client.read().remove(1)["full"] == true
    };
    assert!(is_full("aaaa@0:5") && !is_full("aaaa@0:99") && !is_full("aaaa@0:100"));
}
