//! Servers that fail in each way: what waits, what comes twice, what is given up, and that the others do not notice.

use std::time::Duration;

use serde_json::json;

use super::broker::Room;
use super::server::{Answer, Server, ok, telegram_error};

/// The lines of a channel of one kind.
type Kind = fn(&Server) -> String;

fn refused(status: u16, header: &str) -> Answer {
    Answer::Refused(status, header.to_owned(), "<html>not now</html>".to_owned())
}

fn telegram(server: &Server) -> String {
    telegram_at(&server.url())
}

fn telegram_at(url: &str) -> String {
    format!(
        "type = \"telegram\"\ntoken_env = \"TOKEN\"\nchat_id = -100\napi_url = \"{url}\"\ngroup_by = \"nothing\"\ntimeout = \"1s\""
    )
}

fn webhook(server: &Server) -> String {
    format!("type = \"webhook\"\nurl = \"{}\"\ntimeout = \"1s\"", server.url())
}

fn slack(server: &Server) -> String {
    format!("type = \"slack\"\nurl = \"{}\"\ngroup_by = \"nothing\"\ntimeout = \"2s\"", server.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_waited_out_and_each_alert_comes_once() {
    let room = Room::new().await;
    let elsewhere = Server::start([]).await;
    let redirect = |status| refused(status, &format!("location: {}/elsewhere\r\n", elsewhere.url()));
    let flood = telegram_error(429, 429, "Too Many Requests: retry after 1", &json!({"retry_after": 1}));
    let html = Answer::Refused(200, String::new(), "<html>log in first</html>".to_owned());
    let not_ok = Answer::Refused(200, String::new(), "{\"ok\":false}".to_owned());
    let cases: Vec<(Kind, [Answer; 2])> = vec![
        (telegram, [flood, telegram_error(500, 500, "Internal Server Error", &json!({}))]),
        (telegram, [html.clone(), redirect(302)]),
        (telegram, [Answer::Dropped, not_ok]),
        (telegram, [telegram_error(401, 401, "Unauthorized", &json!({})), Answer::Hung]),
        (webhook, [refused(429, "retry-after: 1\r\n"), Answer::Hung]),
        (webhook, [refused(401, ""), redirect(307)]),
        (slack, [refused(403, ""), Answer::Dropped]),
        (webhook, [refused(404, ""), refused(503, "")]),
        (slack, [html, refused(502, "")]),
    ];
    let (mut channels, mut servers) = (Vec::new(), Vec::new());
    for (number, (kind, answers)) in cases.into_iter().enumerate() {
        let server = Server::start(answers).await;
        channels.push(room.channel(&format!("c{number}"), &kind(&server)));
        servers.push(server);
    }
    let names = ["first", "second"];
    let alerts = room.alerts(&names, 0);
    room.fire(&alerts);
    let running = room.start(&channels);
    for (number, server) in servers.iter().enumerate() {
        server.wait_taken(2).await;
        assert_eq!(server.said(&names), [["first"], ["second"]], "channel {number}");
    }
    running.stop().await;
    for number in 0..servers.len() {
        let entry = &room.ledger(&format!("c{number}"))[&alerts[0].alert_id];
        assert_eq!((&entry["status"], &entry["attempts"]), (&"delivered".into(), &3.into()), "channel {number}");
    }
    // The wait that was asked for, in JSON or as a header, was kept.
    for asked in [&servers[0], &servers[4]] {
        let requests = asked.requests();
        assert!(requests[1].at.duration_since(requests[0].at) >= Duration::from_secs(1));
    }
    assert!(elsewhere.requests().is_empty(), "a redirect was followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_may_double_one_message_and_a_strange_one_none() {
    let room = Room::new().await;
    let lost = [Server::start([ok(), Answer::Lost]).await, Server::start([ok(), Answer::Lost]).await];
    let strange = [
        Server::start([Answer::Huge(200), Answer::Slow(Duration::from_millis(300))]).await,
        Server::start([Answer::Huge(202), Answer::Slow(Duration::from_millis(300))]).await,
    ];
    let channels = [
        room.channel("lost-telegram", &telegram(&lost[0])),
        room.channel("lost-webhook", &webhook(&lost[1])),
        room.channel("strange-telegram", &telegram(&strange[0])),
        room.channel("strange-webhook", &webhook(&strange[1])),
    ];
    let names = ["first", "second", "third"];
    room.fire(&room.alerts(&names, 0));
    let running = room.start(&channels);
    for server in &lost {
        server.wait_taken(4).await;
    }
    for server in &strange {
        server.wait_taken(3).await;
    }
    running.stop().await;
    for server in &lost {
        assert_eq!(server.said(&names), [["first"], ["second"], ["second"], ["third"]]);
    }
    let keys: Vec<_> =
        lost[1].taken().iter().map(|request| request.header("idempotency-key").map(str::to_owned)).collect();
    assert!(keys[1].is_some() && keys[1] == keys[2], "the receiver can tell: {keys:?}");
    for server in &strange {
        assert_eq!(server.said(&names), [["first"], ["second"], ["third"]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_is_given_up_and_said_and_a_rewind_tries_it_again() {
    let room = Room::new().await;
    let blocked = telegram_error(403, 403, "Forbidden: bot was blocked by the user", &json!({}));
    let moved =
        telegram_error(400, 400, "Bad Request: group chat was upgraded", &json!({"migrate_to_chat_id": -100_777}));
    let phone = Server::start([blocked, moved]).await;
    let hook = Server::start([refused(410, "")]).await;
    let channels = [room.channel("phone", &telegram(&phone)), room.channel("hook", &webhook(&hook))];
    let names = ["first", "second"];
    let alerts = room.alerts(&names, 0);
    room.fire(&alerts);
    let running = room.start(&channels);
    phone.wait_taken(1).await;
    hook.wait_taken(1).await;
    running.stop().await;
    for (server, channel, reason) in [(&phone, "phone", "blocked by the user"), (&hook, "hook", "HTTP 410")] {
        assert_eq!(server.said(&names), [["second"]]);
        let ledger = room.ledger(channel);
        let given_up = &ledger[&alerts[0].alert_id];
        assert_eq!(given_up["status"], "given_up");
        assert!(given_up["reason"].as_str().expect("a reason").contains(reason), "{given_up}");
        assert_eq!(ledger[&alerts[1].alert_id]["status"], "delivered");
        assert_eq!(room.committed(channel), Some(2));
    }
    assert_eq!(phone.taken()[0].json()["chat_id"], "-100777", "it went where the chat had moved to");

    room.rewind("hook", 0);
    let running = room.start(&channels[1..]);
    hook.wait_taken(2).await;
    running.stop().await;
    assert_eq!(hook.said(&names), [["second"], ["first"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_hour_without_telegram_all_comes_oldest_first_late_and_once_and_others_do_not_wait() {
    let room = Room::new().await;
    let desk = Server::start([]).await;
    let away = {
        let [port] = stack::free_ports().expect("a free port");
        std::net::SocketAddr::from(([127, 0, 0, 1], port))
    };
    let channels =
        [room.channel("phone", &telegram_at(&format!("http://{away}"))), room.channel("desk", &slack(&desk))];
    let running = room.start(&channels);
    let names = ["a1", "a2", "a3", "b1", "b2", "b3"];
    room.fire(&room.alerts(&names[..3], 61));
    desk.wait_taken(3).await;
    let phone = format!("channel phone-{}", room.suffix);
    desk.wait_for("readiness says what is wrong", |_| {
        running.health.ready().is_err_and(|reasons| reasons.contains(&phone) && reasons.contains("refused"))
    })
    .await;
    let reasons = running.health.ready().expect_err("still away");
    assert!(!reasons.contains("hunter2") && !reasons.contains("channel desk"), "{reasons}");
    room.fire(&room.alerts(&names[3..], 30));
    desk.wait_taken(6).await;
    assert_eq!(room.committed("phone"), Some(0), "nothing is passed over");

    let back = Server::start_on(away).await;
    back.wait_taken(6).await;
    let expected: Vec<Vec<String>> = names.iter().map(|name| vec![(*name).to_owned()]).collect();
    back.wait_for("readiness", |_| running.health.ready().is_ok()).await;
    running.stop().await;
    for server in [&back, &desk] {
        assert_eq!(server.said(&names), expected);
        assert!(
            server
                .taken()
                .iter()
                .all(|request| request.body.contains("late: happened ") && request.body.contains(" minutes ago"))
        );
    }
    assert_eq!(room.committed("phone"), Some(6));
}
