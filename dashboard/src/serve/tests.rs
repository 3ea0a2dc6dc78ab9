//! Races and orders: what a client holds in the end is what is known, however it was carried.

mod filling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pipeline::events::PriceTick;
use serde_json::{Value, json};

use super::{Hub, Session, Showing};
use crate::protocol::Channel;
use crate::state::tests::{NOW, tick};
use crate::state::tick::{Position, Told};
use crate::state::{Live, Timeframe};

fn hub() -> Arc<Hub> {
    let mut live = Live::new(86_400_000_000, 100, NOW);
    live.set_whole_from(NOW - 100_000_000_000, false);
    let hub = Hub::new(live);
    hub.begin(Channel::Ticks, "aaaa", vec![Position { partition: 0, offset: -1 }]);
    Arc::new(hub)
}

fn put(hub: &Hub, tick: &PriceTick, offset: i64) {
    let at = Position { partition: 0, offset };
    hub.put_ticks(std::iter::once(Told::of(tick, NOW, at)), Showing::Each, &[at]);
}

fn publish(hub: &Hub, symbol: &str, number: i64) {
    put(hub, &tick(symbol, &number.to_string(), &number.to_string(), NOW + number), number);
}

/// A client that checks what every client may rely on.
struct Client {
    session: Session,
    seq: u64,
    rows: BTreeMap<(String, String), Value>,
    skipped: u64,
    updates: u64,
    cursor: String,
}

impl Client {
    fn new(hub: &Arc<Hub>) -> Self {
        let session = Session::new(hub.clone());
        Self { session, seq: 0, rows: BTreeMap::new(), skipped: 0, updates: 0, cursor: String::new() }
    }

    fn say(&mut self, message: Value) {
        assert_eq!(self.session.on_text(&message.to_string()), None);
    }

    fn next(&mut self) -> Option<Value> {
        let out = self.session.next().expect("goes on")?;
        let message: Value = serde_json::from_str(&out.text).expect("JSON");
        self.seq += 1;
        assert_eq!(message["seq"], self.seq);
        assert_eq!(message["type"], out.name);
        if message["type"] == "snapshot" && message["full"] == true && message["channel"] == "ticks" {
            self.rows.clear();
        }
        for row in message["ticks"].as_array().into_iter().flatten() {
            let key = (row["symbol"].to_string(), row["source"].to_string());
            let older = self.rows.insert(key, row.clone());
            let time = |row: &Value| row["event_time_us"].as_i64().expect("a time");
            if let Some(older) = older {
                assert!(time(&older) <= time(row), "{older} before {row}");
            }
            if message["type"] == "update" {
                self.updates += 1;
                self.skipped += row["skipped"].as_u64().expect("a number");
            }
        }
        if let Some(cursor) = message["cursor"].as_str() {
            self.cursor = cursor.to_owned();
        }
        Some(message)
    }

    fn read(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

#[tokio::test]
async fn a_client_that_keeps_up_gets_every_tick_in_order() {
    let hub = hub();
    publish(&hub, "BTC-USD", 0);
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "id": 1, "channel": "ticks", "symbols": ["BTC-USD"]}));
    let first = client.read();
    assert_eq!(
        (&first[0]["type"], &first[1]["reason"], &first[1]["cursor"]),
        (&json!("subscribed"), &json!("subscribed"), &json!("aaaa@0:0"))
    );
    for number in 1..=500 {
        publish(&hub, "BTC-USD", number);
        publish(&hub, "ETH-USD", number);
        if number % 50 == 0 {
            client.read();
        }
    }
    assert_eq!((client.updates, client.skipped), (500, 0));
    assert_eq!(client.cursor, "aaaa@0:500");
    assert_eq!(client.rows.len(), 1);
}

#[tokio::test]
async fn a_slow_client_gets_the_latest_and_how_much_it_missed() {
    let hub = hub();
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "ticks"}));
    client.read();
    for number in 1..=1000 {
        publish(&hub, "BTC-USD", number);
        if number % 2 == 0 {
            publish(&hub, "ETH-USD", number);
        }
    }
    client.read();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let conflated = client.read();
    assert!(
        conflated.iter().any(|message| message["ticks"].as_array().is_some_and(|rows| rows.len() == 2)),
        "{conflated:?}"
    );
    assert_eq!(client.updates + client.skipped, 1500, "what was sent and what was left out is everything");
    assert!(client.updates <= 4, "{}", client.updates);
    // On time for a while, it gets everything again.
    let mut number = 1000;
    let started = Instant::now();
    let (mut sent, mut calm) = (0, 0);
    // A slow machine is late more than once.
    while calm < 30 && started.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = client.updates;
        for _ in 0..2 {
            number += 1;
            sent += 1;
            publish(&hub, "BTC-USD", number);
        }
        client.read();
        calm = if client.updates == before + 2 { calm + 1 } else { 0 };
    }
    let skipped = client.skipped;
    for _ in 0..20 {
        number += 1;
        publish(&hub, "BTC-USD", number);
        publish(&hub, "BTC-USD", number + 10_000_000);
    }
    client.read();
    assert_eq!(client.skipped, skipped, "fast again");
    assert_eq!(client.updates + client.skipped, 1500 + sent + 40);
}

#[tokio::test]
async fn a_cursor_gives_what_has_changed_since() {
    let hub = hub();
    publish(&hub, "BTC-USD", 0);
    publish(&hub, "ETH-USD", 1);
    publish(&hub, "SOL-USD", 2);
    let resume = |cursor: &str| {
        let mut client = Client::new(&hub);
        client.say(json!({"type": "subscribe", "channel": "ticks", "cursor": cursor}));
        let snapshot = client.read().remove(1);
        (snapshot["full"] == true, snapshot["ticks"].as_array().expect("rows").len(), snapshot["reason"].clone())
    };
    assert_eq!(resume("aaaa@0:0"), (false, 2, json!("resumed")));
    assert_eq!(resume("aaaa@0:2"), (false, 0, json!("resumed")));
    assert_eq!(resume("bbbb@0:2"), (true, 3, json!("resumed")), "another topic");
    assert_eq!(resume("aaaa@0:9"), (true, 3, json!("resumed")), "an offset that is not there");
    assert_eq!(resume("nonsense"), (true, 3, json!("resumed")));
    assert_eq!(resume("aaaa@"), (false, 3, json!("resumed")), "nothing of any partition was read");
}

/// Subscriptions, losses and resumptions while ticks are pushed from another thread.
#[test]
fn nothing_is_lost_between_a_snapshot_and_the_updates() {
    let hub = hub();
    let is_over = Arc::new(AtomicBool::new(false));
    let publisher = std::thread::spawn({
        let (hub, is_over) = (hub.clone(), is_over.clone());
        move || {
            for number in 0..6000 {
                publish(&hub, ["BTC-USD", "ETH-USD", "SOL-USD"][number as usize % 3], number);
                if number % 16 == 0 {
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
            is_over.store(true, Ordering::Release);
        }
    });
    let clients: Vec<_> = (0..3_u64)
        .map(|which| {
            let (hub, is_over) = (hub.clone(), is_over.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
                let _entered = runtime.enter();
                let mut client = Client::new(&hub);
                client.say(json!({"type": "subscribe", "channel": "ticks"}));
                let mut round = 0;
                while !is_over.load(Ordering::Acquire) {
                    client.read();
                    round += 1;
                    if round % 7 == 0 {
                        // A reconnect: what is known is kept, the rest comes by the cursor.
                        let mut next = Client::new(&hub);
                        (next.rows, next.cursor) = (std::mem::take(&mut client.rows), client.cursor.clone());
                        next.say(json!({"type": "subscribe", "channel": "ticks", "cursor": next.cursor.clone()}));
                        client = next;
                    }
                    // One of them is slow.
                    std::thread::sleep(Duration::from_micros(if which == 2 { 30_000 } else { 700 }));
                }
                for _ in 0..80 {
                    client.read();
                    std::thread::sleep(Duration::from_millis(10));
                }
                client
                    .rows
                    .into_values()
                    .map(|row| (row["symbol"].to_string(), row["price"].to_string()))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    publisher.join().expect("published");
    let expected: Vec<(String, String)> = [("BTC-USD", 5997), ("ETH-USD", 5998), ("SOL-USD", 5999)]
        .map(|(symbol, price)| (format!("{symbol:?}"), format!("\"{price}\"")))
        .into();
    for client in clients {
        assert_eq!(client.join().expect("no panic"), expected);
    }
}

#[tokio::test]
async fn candles_come_with_each_change_and_late_ones_too() {
    let hub = hub();
    publish(&hub, "BTC-USD", 0);
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "candles", "tf": "1m", "symbols": ["BTC-USD"]}));
    let snapshot = client.read().remove(1);
    assert_eq!((&snapshot["tf"], &snapshot["candles"][0]["trades"]), (&json!("1m"), &json!(1)));
    let minute = Timeframe::Minute.width_us();
    put(&hub, &tick("BTC-USD", "late", "7", NOW - 10 * minute), 1);
    let late = client.read().remove(0);
    assert_eq!(late["candles"][0]["start_us"], Timeframe::Minute.bucket(NOW - 10 * minute));
    hub.advance(NOW + minute);
    let closed = client.read().remove(0);
    assert_eq!((&closed["type"], &closed["candles"][0]["complete"]), (&json!("update"), &json!(true)));
    client.say(json!({"type": "subscribe", "channel": "candles"}));
    assert_eq!(client.read()[0]["code"], "bad_message", "without a tf");
}

#[tokio::test]
async fn subscriptions_are_bounded_and_leave_nothing_behind() {
    let hub = hub();
    let mut client = Client::new(&hub);
    let many = |from: usize| (from..from + 400).map(|i| format!("S{i}-USD")).collect::<Vec<_>>();
    client.say(json!({"type": "subscribe", "id": 4, "channel": "ticks", "symbols": many(0)}));
    client.say(json!({"type": "subscribe", "id": 5, "channel": "gaps", "symbols": many(0)}));
    let answers = client.read();
    assert_eq!((&answers[2]["code"], &answers[2]["id"]), (&json!("too_much"), &json!(5)));
    assert!(hub.fanout().has_board("S7-USD"));
    client.say(json!({"type": "unsubscribe", "channel": "ticks"}));
    client.read();
    assert!(!hub.fanout().has_board("S7-USD"), "what nobody wants is forgotten");
    client.say(json!({"type": "subscribe", "channel": "ticks", "symbols": ["A-B"]}));
    drop(client);
    assert!(!hub.fanout().has_board("A-B"));
}

#[tokio::test]
async fn heartbeats_come_each_second_and_messages_have_a_rate() {
    let hub = hub();
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "health"}));
    client.say(json!({"type": "ping", "id": 3, "sent_us": 9}));
    client.say(json!({"type": "surprise", "id": 8}));
    let said: Vec<Value> = client.read();
    assert_eq!((&said[2]["type"], &said[2]["sent_us"]), (&json!("pong"), &json!(9)));
    assert_eq!((&said[3]["code"], &said[3]["id"]), (&json!("unknown_type"), &json!(8)));
    let started = Instant::now();
    let mut heartbeats = 0;
    while heartbeats < 3 {
        client.session.ready().await;
        heartbeats += client.read().iter().filter(|message| message["type"] == "heartbeat").count();
    }
    assert!(started.elapsed() > Duration::from_millis(1500), "not more often");
    assert_eq!((0..100).filter(|_| client.session.allows_message()).count(), 20, "a burst passes, a flood does not");
}

#[tokio::test]
async fn another_time_begins_with_snapshots() {
    let hub = hub();
    publish(&hub, "BTC-USD", 5);
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "ticks"}));
    client.read();
    publish(&hub, "BTC-USD", 6);
    hub.restart(Live::new(86_400_000_000, 100, NOW));
    publish(&hub, "BTC-USD", 2);
    let said = client.read();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((&said[0]["reason"], &said[0]["ticks"][0]["price"]), (&json!("seek"), &json!("2")));
}

#[tokio::test]
async fn a_cursor_from_before_what_was_read_or_of_a_history_that_filled_in_is_none() {
    let hub = hub();
    hub.begin_filling(Channel::Ticks, "aaaa", vec![Position { partition: 0, offset: 99 }]);
    hub.live().set_whole_from(NOW - 300_000_000, true);
    publish(&hub, "BTC-USD", 100);
    let resumed = |cursor: &str| {
        let mut client = Client::new(&hub);
        client.say(json!({"type": "subscribe", "channel": "ticks", "cursor": cursor}));
        let snapshot = client.read().remove(1);
        (snapshot["full"] == true, snapshot["ticks"].as_array().expect("rows").len(), client.cursor)
    };
    let (_, _, while_filling) = resumed("");
    assert_eq!(while_filling, "aaaa~@0:100");
    assert!(resumed(&while_filling).0, "what came in since may stand before it");
    // Behind every cursor: the newest price of a series that is silent since.
    publish(&hub, "ETH-USD", 7);
    hub.set_filled(NOW - 3_000_000_000);
    assert_eq!(resumed(&while_filling), (true, 2, "aaaa@0:100".to_owned()));
    assert_eq!(resumed("aaaa@0:100"), (false, 0, "aaaa@0:100".to_owned()));
    assert!(resumed("aaaa@0:98").0, "what came between that and the beginning was never read");
}

#[tokio::test]
async fn rows_of_old_batches_come_in_the_order_of_the_log() {
    let hub = hub();
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "ticks"}));
    client.read();
    let ticks: Vec<PriceTick> = (0..100).map(|i| tick(&format!("S{i}-USD"), "1", "1", NOW + i)).collect();
    let at = |i: usize| Position { partition: 0, offset: i as i64 };
    hub.put_ticks(ticks.iter().enumerate().map(|(i, tick)| Told::of(tick, NOW, at(i))), Showing::Latest, &[at(99)]);
    let mut highest = -1;
    for message in client.read().iter().filter(|message| message["type"] == "update") {
        let offsets: Vec<i64> =
            message["ticks"].as_array().expect("rows").iter().map(|row| row["offset"].as_i64().expect("one")).collect();
        assert!(offsets.iter().all(|offset| *offset > highest), "{offsets:?} behind {highest}");
        highest =
            message["cursor"].as_str().and_then(|c| c.rsplit_once(':')).expect("a cursor").1.parse().expect("one");
    }
}

#[tokio::test]
async fn a_candle_without_a_tick_left_is_told_to_be_gone() {
    let hub = hub();
    let wrong = tick("BTC-USD", "1", "9", NOW);
    put(&hub, &wrong, 0);
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "candles", "tf": "1m"}));
    assert_eq!(client.read().remove(1)["candles"][0]["trades"], 1);
    put(&hub, &PriceTick { revision: 1, retracted: true, ..wrong.clone() }, 1);
    let gone = client.read().remove(0);
    let expected = json!([{"symbol": "BTC-USD", "source": "test", "price_basis": wrong.kind.as_str(),
        "start_us": Timeframe::Minute.bucket(NOW)}]);
    assert_eq!((&gone["gone"], &gone["candles"]), (&expected, &json!([])));
    // Of a time that memory does not hold nothing is known to be gone.
    let old = PriceTick { revision: 1, retracted: true, ..tick("BTC-USD", "2", "9", NOW - 90 * 3_600_000_000) };
    put(&hub, &old, 2);
    assert!(client.read().is_empty());
}

#[tokio::test]
async fn candles_of_which_memory_holds_a_part_are_not_told_before_it_holds_all() {
    let hub = hub();
    let day = Timeframe::Day.bucket(NOW);
    hub.live().set_whole_from(NOW - 200_000_000, true);
    publish(&hub, "BTC-USD", 0);
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "candles", "tf": "1d"}));
    assert_eq!(client.read().remove(1)["candles"], json!([]));
    publish(&hub, "BTC-USD", 1);
    assert!(client.read().is_empty());
    hub.live().set_whole_from(day - 400_000_000, false);
    hub.advance(NOW + 1);
    let told = client.read();
    assert_eq!((&told[0]["candles"][0]["start_us"], &told[0]["candles"][0]["trades"]), (&json!(day), &json!(2)));
}

#[tokio::test]
async fn hops_of_a_replay_are_those_of_its_time() {
    let hub = hub();
    hub.set_replayed_us(NOW);
    let came = PriceTick {
        event_time: NOW - 40_000,
        received_at: NOW - 30_000,
        event_time_origin: pipeline::events::EventTimeOrigin::Source,
        ..tick("BTC-USD", "1", "1", NOW)
    };
    put(&hub, &came, 0);
    let health = pipeline::events::SourceHealth { source: "test".to_owned(), ..pipeline::example::health() };
    hub.put_healths(std::iter::once((health, NOW)), &[]);
    let hops = |at: i64| hub.live().sources.rows(at)[0].hops;
    let found = hops(NOW + 1_000_000);
    let p50 = |hop: Option<crate::state::hops::Quantiles>| hop.expect("measured").p50_us;
    assert!((9_000..=11_000).contains(&p50(found.exchange_to_received)), "{found:?}");
    assert!((29_000..=31_000).contains(&p50(found.received_to_broker)), "{found:?}");
    assert_eq!(found.broker_to_server, None, "it is the replay's, not the log's");
    assert_eq!(hops(NOW + 120_000_000).received_to_broker, None, "a minute of the replay's time later");
}

#[tokio::test]
async fn a_gap_that_closes_mends_what_lies_behind_its_end() {
    let hub = hub();
    publish(&hub, "BTC-USD", 0);
    let gap = |ended_at| pipeline::events::Gap {
        id: uuid::Uuid::from_u128(1),
        source: "test".to_owned(),
        symbols: vec![],
        reason: pipeline::events::GapReason::Disconnected,
        started_at: NOW - 600_000_000,
        ended_at,
        detail: String::new(),
    };
    hub.put_gaps(std::iter::once((gap(None), Position::default())), &[]);
    let mut client = Client::new(&hub);
    client.say(json!({"type": "subscribe", "channel": "candles", "tf": "1m"}));
    client.read();
    hub.advance(NOW + 120_000_000);
    assert_eq!(client.read().remove(0)["candles"][0]["complete"], false, "it goes on as far as anybody knows");
    let closing = (gap(Some(NOW - 300_000_000)), Position { partition: 0, offset: 1 });
    hub.put_gaps(std::iter::once(closing), &[]);
    let told = client.read();
    let open = Timeframe::Minute.bucket(NOW);
    let mended = told.iter().find(|message| message["candles"][0]["start_us"] == open);
    assert_eq!(mended.map(|message| &message["candles"][0]["complete"]), Some(&json!(true)), "{told:?}");
}
