//! What is sent to each kind of channel, once, and what a rewind, garbage and a burst make of it.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use pipeline::events::{Alert, Severity};
use sha2::Sha256;

use super::broker::Room;
use super::server::{Answer, Request, SECRET, Server, TOKEN};

fn signed(request: &Request) -> bool {
    let timestamp = request.header("x-tickstream-timestamp").expect("a timestamp");
    let signature = request.header("x-tickstream-signature").expect("a signature");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(format!("{timestamp}.{}", request.body).as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    signature == format!("sha256={digits}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_is_sent_each_alert_once_and_a_rewind_sends_nothing_again() {
    let room = Room::new().await;
    let [telegram, webhook, slack] = [Server::start([]).await, Server::start([]).await, Server::start([]).await];
    let channels = [
        room.channel(
            "phone",
            &format!(
                "type = \"telegram\"\ntoken_env = \"TOKEN\"\nchat_id = -100\napi_url = \"{}\"\ngroup_by = \"nothing\"\n\
                 time_zone = \"Asia/Tokyo\"",
                telegram.url()
            ),
        ),
        room.channel(
            "hook",
            &format!("type = \"webhook\"\nurl = \"{}/in?k=v\"\nsecret_env = \"SECRET\"", webhook.url()),
        ),
        room.channel(
            "desk",
            &format!("type = \"slack\"\nurl = \"{}/services/T\"\ngroup_by = \"nothing\"", slack.url()),
        ),
    ];
    let running = room.start(&channels);
    let names = ["first <&>", "second", "third"];
    let alerts = room.alerts(&names, 0);
    room.fire(&alerts[..2]);
    room.send(&[b"garbage".to_vec()]);
    room.fire(&alerts[2..]);
    for server in [&telegram, &webhook, &slack] {
        server.wait_taken(3).await;
    }
    running.stop().await;

    let said = telegram.taken();
    assert_eq!(said[0].path, format!("/bot{TOKEN}/sendMessage"));
    let message = said[0].json();
    assert_eq!((&message["chat_id"], &message["parse_mode"]), (&"-100".into(), &"HTML".into()));
    let text = message["text"].as_str().expect("a text");
    for part in [
        "<b>WARNING BTC-USD 67187.34 on coinbase</b>",
        "first &lt;&amp;&gt;",
        "+3.37 %",
        "Asia/Tokyo)",
        "https://prices.example/?symbol=BTC-USD&amp;from=",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    for (request, alert) in webhook.taken().iter().zip(&alerts) {
        assert_eq!(
            (request.path.as_str(), request.header("idempotency-key")),
            ("/in?k=v", Some(alert.alert_id.to_string().as_str()))
        );
        assert!(signed(request), "{request:?}");
        assert_eq!(serde_json::from_value::<Alert>(request.json()["alert"].clone()).expect("the alert"), *alert);
    }
    assert!(slack.taken()[0].json()["text"].as_str().expect("a text").contains("first &lt;&amp;&gt;"));
    assert_eq!(slack.said(&["first", "second", "third"]), [["first"], ["second"], ["third"]]);

    // Each group has its letter, and its commit behind the garbage.
    assert_eq!(room.dead_letters(), vec![b"garbage".to_vec(); 3]);
    for channel in ["phone", "hook", "desk"] {
        assert_eq!(room.committed(channel), Some(4), "{channel}");
        let ledger = room.ledger(channel);
        assert!(alerts.iter().all(|alert| ledger[&alert.alert_id]["status"] == "delivered"), "{ledger:?}");
    }

    // As it is after a crash between the record in the ledger and the commit, and after a rewind to the beginning.
    for (round, to) in [(4, 3), (5, 0)] {
        for channel in ["phone", "hook", "desk"] {
            room.rewind(channel, to);
        }
        let running = room.start(&channels);
        room.fire(&room.alerts(&["another"], 0));
        for server in [&telegram, &webhook, &slack] {
            server.wait_taken(round).await;
        }
        running.stop().await;
        for server in [&telegram, &webhook, &slack] {
            assert_eq!(server.requests().len(), round, "only the new one");
            assert!(server.requests()[round - 1].body.contains("another"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_a_message_a_rule_and_what_is_more_is_counted() {
    let room = Room::new().await;
    let server = Server::start([]).await;
    let slack = format!(
        "type = \"slack\"\nurl = \"{}\"\ngroup_wait = \"1s\"\ngroup_most = 3\nmin_severity = \"warning\"",
        server.url()
    );
    let running = room.start(&[room.channel("desk", &slack)]);
    let names: Vec<String> = (0..25).map(|n| format!("burst {n:02}")).collect();
    let mut alerts = room.alerts(&names.iter().map(String::as_str).collect::<Vec<_>>(), 0);
    let other = Alert { rule: "another rule".to_owned(), ..room.alerts(&["other"], 0).remove(0) };
    let quiet = Alert { severity: Severity::Info, ..room.alerts(&["too quiet"], 0).remove(0) };
    alerts.insert(10, other.clone());
    alerts.insert(10, quiet.clone());
    room.fire(&alerts);
    server.wait_taken(2).await;
    running.stop().await;

    let said = server.taken();
    let text = said[0].json()["text"].as_str().expect("a text").to_owned();
    assert!(text.starts_with("*25 alerts by rule away-from-mean*\n") && text.contains("\nand 22 more\n"), "{text}");
    assert_eq!(
        server.said(&["burst 00", "burst 01", "burst 02", "burst 03", "other", "too quiet"]),
        [vec!["burst 00", "burst 01", "burst 02"], vec!["other"]]
    );
    let ledger = room.ledger("desk");
    let status = |alert: &Alert| ledger.get(&alert.alert_id).map(|entry| entry["status"].clone());
    assert_eq!(ledger.len(), 26);
    assert_eq!(alerts[..3].iter().map(status).collect::<Vec<_>>(), vec![Some("delivered".into()); 3]);
    assert_eq!(
        (status(&alerts[3]), status(&other), status(&quiet)),
        (Some("counted".into()), Some("delivered".into()), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_said() {
    let mut room = Room::new().await;
    room.deliveries = "no-such-topic".to_owned();
    let slack = room.channel("desk", "type = \"slack\"\nurl = \"http://127.0.0.1:9/\"");
    let error = room.start(&[slack]).ended().await;
    assert_eq!(pipeline::exit_code(&error), 2);
    let said = format!("{error:#}");
    assert!(said.contains("no-such-topic does not exist") && said.contains("tickstream topics apply"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_notifiers_one_sends_and_the_other_knows_what_was_sent() {
    let room = Room::new().await;
    let server = Server::start([]).await;
    let slack = format!("type = \"slack\"\nurl = \"{}\"\ngroup_by = \"nothing\"", server.url());
    let channels = [room.channel("desk", &slack)];
    let first = room.start(&channels);
    server.wait_for("readiness", |_| first.health.ready().is_ok()).await;
    let names = ["one", "two", "three", "four", "five", "six"];
    room.fire(&room.alerts(&names[..2], 0));
    server.wait_taken(2).await;
    let second = room.start(&channels);
    server.wait_for("readiness of the second", |_| second.health.ready().is_ok()).await;
    room.fire(&room.alerts(&names[2..4], 0));
    server.wait_taken(4).await;
    first.stop().await;
    room.fire(&room.alerts(&names[4..], 0));
    server.wait_taken(6).await;
    second.stop().await;
    let expected: Vec<Vec<String>> = names.iter().map(|name| vec![(*name).to_owned()]).collect();
    assert_eq!(server.said(&names), expected);
    assert_eq!(room.committed("desk"), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_partition_ends_with_the_message_that_is_on_its_way() {
    let room = Room::new().await;
    let names: Vec<String> = (0..12).map(|n| format!("number {n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = Server::start(vec![Answer::Slow(Duration::from_secs(1)); 8]).await;
    let slack = format!("type = \"slack\"\nurl = \"{}\"\ngroup_by = \"nothing\"", server.url());
    let channels = [room.channel("desk", &slack)];
    let first = room.start(&channels);
    server.wait_for("readiness", |_| first.health.ready().is_ok()).await;
    room.fire(&room.alerts(&names[..10], 0));
    server.wait_for("the first message", |server| !server.requests().is_empty()).await;
    // Partitions move twice while the ten are on their way: to whoever, and to whoever is left.
    let second = room.start(&channels);
    server.wait_taken(10).await;
    first.stop().await;
    room.fire(&room.alerts(&names[10..], 0));
    server.wait_for("the last message", |server| server.taken().iter().any(|it| it.body.contains("number 11"))).await;
    second.stop().await;
    let said: Vec<String> = server.said(&names).concat();
    let doubled = said.len() - names.len();
    println!("{} alerts, {doubled} of them twice", names.len());
    assert!(names.iter().all(|name| said.iter().any(|said| said == name)), "{said:?}");
    assert!(doubled <= 2, "one for each time that the partition moved: {said:?}");
}
