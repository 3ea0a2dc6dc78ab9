//! The binary itself: killed while it waits for an answer, a trial of a channel, and what it says when it cannot start.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::broker::Room;
use super::server::{Answer, SECRET, Server, TOKEN, telegram_error};

struct File(tempfile::NamedTempFile);

impl File {
    fn new(channels: &[String]) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(channels.concat().as_bytes()).expect("written");
        Self(file)
    }

    fn command(&self, room: &Room) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-alerts"));
        command
            .arg("notify")
            .env("ALERT_CHANNELS", self.0.path())
            .env("KAFKA_BOOTSTRAP_SERVERS", &room.kafka.kafka_bootstrap_servers)
            .env("ALERT_ALERTS_TOPIC", &room.alerts)
            .env("ALERT_DELIVERIES_TOPIC", &room.deliveries)
            .envs([("TOKEN", TOKEN), ("SECRET", SECRET), ("RUST_LOG", "debug"), ("ADMIN_ADDR", "127.0.0.1:0")]);
        command
    }
}

/// Ends with the test.
struct Service(Child);

impl Service {
    fn start(file: &File, room: &Room) -> Self {
        Self(file.command(room).stderr(Stdio::null()).spawn().expect("started"))
    }

    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn telegram(server: &Server) -> String {
    format!(
        "type = \"telegram\"\ntoken_env = \"TOKEN\"\nchat_id = -100\napi_url = \"{}\"\ngroup_by = \"nothing\"",
        server.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_an_answer_is_awaited_doubles_that_message_and_no_other() {
    let room = Room::new().await;
    let ok = super::server::ok;
    let server = Server::start([ok(), ok(), Answer::Slow(Duration::from_secs(60))]).await;
    let file = File::new(&[room.channel("phone", &telegram(&server))]);
    let names = ["first", "second", "third", "fourth"];
    room.fire(&room.alerts(&names, 0));
    let service = Service::start(&file, &room);
    server.wait_taken(3).await;
    service.kill();
    let service = Service::start(&file, &room);
    server.wait_taken(5).await;
    server.wait_for("the fourth in the ledger", |_| room.ledger("phone").len() == 4).await;
    service.kill();
    assert_eq!(server.said(&names), [["first"], ["second"], ["third"], ["third"], ["fourth"]]);
    assert_eq!(server.requests().len(), 5);
}

async fn run(file: &File, room: &Room, args: &[&str]) -> Output {
    let mut command = file.command(room);
    command.args(args);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("ran");
    let all = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!all.contains("hunter2") && !all.contains("panicked"), "{all}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_says_what_came_of_it_and_mistakes_are_told_with_their_place() {
    let room = Room::new().await;
    let server = Server::start([]).await;
    let file = File::new(&[room.channel("phone", &telegram(&server))]);
    let name = format!("phone-{}", room.suffix);
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().last().unwrap_or_default().to_owned();

    let output = run(&file, &room, &["--test", &name]).await;
    assert_eq!(
        (output.status.code(), line(&output.stdout)),
        (Some(0), format!("channel {name}: the message was taken"))
    );
    assert!(server.taken()[0].json()["text"].as_str().expect("a text").contains("A trial of the channel"));

    server.next([telegram_error(400, 400, "Bad Request: chat not found", &serde_json::json!({}))]);
    let output = run(&file, &room, &["--test", &name]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = line(&output.stderr);
    assert!(said.contains("refuses messages: 400: Bad Request: chat not found: is chat_id right"), "{said}");

    server.next([Answer::Lost]);
    let output = run(&file, &room, &["--test", &name]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(line(&output.stderr).contains("cannot be reached now"), "{}", line(&output.stderr));

    let output = run(&file, &room, &["--test", "nobody"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(line(&output.stderr).contains("there is no channel \"nobody\""), "{}", line(&output.stderr));

    let wrong = File::new(&["[[channel]]\nname = \"c\"\ntype = \"telegram\"\ntoken = \"1:hunter2\"\n".to_owned()]);
    let output = run(&wrong, &room, &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(line(&output.stderr).contains(":4:1: a secret does not stand in this file"), "{}", line(&output.stderr));
}
