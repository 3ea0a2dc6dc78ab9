//! Rewinds: stale plans, groups that read, two at once, kills, and a database that a rewind leaves as it is.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pipeline::events::PriceTick;
use pipeline::example;
use pipeline::topics::{REPLAYS, TICKS};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::json;
use uuid::Uuid;

use crate::dlq::Broker;
use crate::replay_installation::Installation;
use crate::replay_plan::{commit, committed, delete_before, delete_topic, folder, plan, send, topic};

/// What one says that is shut out.
const TOOK_OVER: &str = "another `tickstream replay` began to write and took over";

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Two partitions of a hundred records, read by a group to their ends.
async fn read_to_the_end(broker: &Broker, name: &str, group: &str) {
    topic(broker, name, 2).await;
    let from = Timestamp::now().checked_sub(SignedDuration::from_hours(5)).expect("a time");
    for partition in [0, 1] {
        send(broker, name, partition, 100, from).await;
    }
    commit(broker, group, name, &[(0, 100), (1, 100)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_does_not_fit_any_more_is_refused_and_one_that_does_is_carried_out_once() {
    let broker = Broker::shared().await;
    let (name, group) = ("cli.replay.stale", "cli-replay-stale");
    let folder = folder(broker, "cli-replay-stale");
    read_to_the_end(broker, name, group).await;
    let new_plan = async |replay: &str| {
        let out = folder.join(format!("{replay}.json"));
        let offsets = format!("{name}:0=10,{name}:1=20");
        let answer = plan(broker, &out, &["--group", group, "--name", replay, "--from-offset", &offsets]).await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        out
    };
    let refused = async |path: &Path, says: &str| {
        for execute in [&["replay", "execute", text(path)][..], &["replay", "execute", text(path), "--execute"]] {
            let answer = broker.ends(2, execute).await;
            assert!(answer.line().contains(says), "{}", answer.stderr);
        }
    };

    // Somebody reads.
    let path = new_plan("stale_members").await;
    let consumer: BaseConsumer = broker.args.consumer(Some(group)).create().expect("consumer");
    consumer.subscribe(&[name]).expect("subscribed");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while consumer.assignment().expect("asked").count() == 0 {
        drop(consumer.poll(Duration::from_millis(50)));
        assert!(tokio::time::Instant::now() < deadline, "not assigned");
    }
    refused(&path, "has 1 live member (tickstream 127.0.0.1): stop it").await;
    let said =
        plan(broker, &folder.join("live.json"), &["--group", group, "--name", "live", "--topic", name, "--to-latest"])
            .await;
    assert!(said.stdout.contains("has 1 live member (tickstream 127.0.0.1): stop it before"), "{}", said.stdout);
    consumer.unsubscribe();
    drop(consumer);

    // It went on, and came back.
    commit(broker, group, name, &[(0, 99)]);
    refused(&path, "stood at offset 100 of cli.replay.stale[0] when it was made, and stands at offset 99 now").await;
    commit(broker, group, name, &[(0, 100)]);

    // Edited by hand.
    let plain = std::fs::read_to_string(&path).expect("a plan");
    let edited = folder.join("edited.json");
    std::fs::write(&edited, plain.replace("\"new\": 10,", "\"new\": 1,").replace("\"new\": 10\n", "\"new\": 1\n"))
        .expect("written");
    assert_ne!(std::fs::read_to_string(&edited).expect("a plan"), plain);
    refused(&edited, "the plan was edited after it was made").await;

    // Another cluster.
    let elsewhere =
        ["replay", "execute", text(&path), "--kafka-bootstrap-servers", &broker.stack.kafka_bootstrap_servers];
    let answer = broker.ends(2, &elsewhere).await;
    assert!(answer.line().contains("the plan is stale: it was made of cluster"), "{}", answer.stderr);

    // A preview, then what it showed, once.
    let preview = broker.ends(0, &["replay", "execute", text(&path)]).await;
    assert!(
        preview.stdout.contains("cli-replay-stale  cli.replay.stale          1        100   20    -80\n"),
        "{}",
        preview.stdout
    );
    assert!(preview.line().contains("a preview: nothing was written, --execute does it"), "{}", preview.stderr);
    assert_eq!(committed(broker, group, name, 2), [Some(100), Some(100)]);
    broker.ends(0, &["replay", "execute", text(&path), "--execute"]).await;
    assert_eq!(committed(broker, group, name, 2), [Some(10), Some(20)]);
    commit(broker, group, name, &[(0, 50)]);
    let again = broker.ends(0, &["replay", "execute", text(&path), "--execute"]).await;
    assert_eq!(again.stdout, "stale_members is executed already: it is executed\n");
    assert_eq!(committed(broker, group, name, 2), [Some(50), Some(20)]);

    // The name is taken, and what it did is told.
    let taken = folder.join("taken.json");
    plan(broker, &taken, &["--group", group, "--name", "stale_members", "--topic", name, "--from-earliest"]).await;
    let answer = broker.ends(2, &["replay", "execute", text(&taken), "--execute"]).await;
    assert!(answer.line().contains("the name of a replay of another plan, which is executed"), "{}", answer.stderr);
    let list = broker.ends(0, &["replay", "list", "-o", "json"]).await.json();
    let row = list.as_array().expect("rows").iter().find(|row| row["name"] == "stale_members").expect("a row").clone();
    assert_eq!((&row["state"], &row["targets"], &row["records"]), (&json!("executed"), &json!(group), &json!(170)));
    let show = broker.ends(0, &["replay", "show", "stale_members"]).await.stdout;
    assert!(show.starts_with("stale_members is executed: rewind, from topic, into cli-replay-stale\n"), "{show}");
    assert!(show.contains("2 offsets\n"), "{show}");
    let unknown = broker.ends(2, &["replay", "show", "stale_member"]).await;
    assert!(
        unknown.line().contains("no replay stale_member is known; the nearest names are stale_members"),
        "{}",
        unknown.stderr
    );

    // Retention, then a topic of the same name.
    let path = new_plan("stale_topic").await;
    delete_before(broker, name, 1, 30).await;
    refused(&path, "retention has removed offsets 20 to 29 of cli.replay.stale[1] since").await;
    delete_topic(broker, name).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while broker.run(&["replay", "execute", text(&path)]).await.stderr.contains("retention") {
        assert!(tokio::time::Instant::now() < deadline, "it is there still");
    }
    topic(broker, name, 2).await;
    refused(&path, "cli.replay.stale was made anew since: it had id").await;
}

/// Offsets taken in the topic of records, those of open transactions included.
fn records_end(broker: &Broker) -> i64 {
    let mut settings = broker.args.admin();
    settings.set("isolation.level", "read_uncommitted").set("group.id", "unused");
    let consumer: BaseConsumer = settings.create().expect("consumer");
    consumer.fetch_watermarks(REPLAYS, 0, Duration::from_secs(30)).expect("watermarks").1
}

/// Or as long as it takes to have nothing left to write.
async fn wait_for_a_record(broker: &Broker, before: i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while records_end(broker) == before && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_or_two_at_once_the_offsets_are_those_of_the_plan() {
    let broker = Broker::shared().await;
    let (name, group, other) = ("cli.replay.kills", "cli-replay-kills", "cli-replay-kills-2");
    let folder = folder(broker, "cli-replay-kills");
    read_to_the_end(broker, name, group).await;
    commit(broker, other, name, &[(0, 60), (1, 70)]);
    let (mut killed, mut shut) = (0, 0);
    for round in 0..6_i64 {
        let (out, replay) = (folder.join(format!("{round}.json")), format!("kills_{round}"));
        let offsets = format!("{name}:0={},{name}:1={}", 10 + round, 20 + round);
        let both = format!("{group},{other}");
        let answer = plan(broker, &out, &["--group", &both, "--name", &replay, "--from-offset", &offsets]).await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let execute = ["replay", "execute", text(&out), "--execute"];
        let before = records_end(broker);
        let mut command = broker.command(&execute);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
        wait_for_a_record(broker, before).await;
        tokio::time::sleep(Duration::from_millis(7 * round.unsigned_abs())).await;
        running.kill().expect("killed");
        killed += usize::from(running.wait().expect("a child").code().is_none());
        for group in [group, other] {
            let now = committed(broker, group, name, 2);
            let is_new = now == [Some(10 + round), Some(20 + round)];
            let was_before =
                |offset: &Option<i64>| offset.is_some_and(|offset| offset != 10 + round && offset != 20 + round);
            assert!(is_new || now.iter().all(was_before), "{now:?}: a group is set whole");
        }
        // One that slept while another one carried out the plan has nothing left to say.
        let before = records_end(broker);
        let asleep = broker.command(&execute).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let pid = nix::unistd::Pid::from_raw(asleep.id().cast_signed());
        wait_for_a_record(broker, before).await;
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("stopped");
        let awake = broker.run(&execute).await;
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).expect("goes on");
        let asleep =
            tokio::task::spawn_blocking(|| asleep.wait_with_output().expect("a child")).await.expect("no panic");
        let said = String::from_utf8_lossy(&asleep.stderr).into_owned();
        assert!(awake.code == 0, "{}", awake.stderr);
        shut += usize::from(said.contains(TOOK_OVER));
        assert!(asleep.status.success() || said.contains(TOOK_OVER), "{said}");
        // Two at once: one is shut out, or comes after the other.
        let (one, two) = tokio::join!(broker.run(&execute), broker.run(&execute));
        for answer in [&one, &two] {
            assert!(answer.code == 0 || (answer.code == 1 && answer.stderr.contains(TOOK_OVER)), "{}", answer.stderr);
        }
        broker.ends(0, &execute).await;
        for group in [group, other] {
            assert_eq!(committed(broker, group, name, 2), [Some(10 + round), Some(20 + round)]);
        }
        let record = broker.ends(0, &["replay", "show", &replay, "-o", "json"]).await.json();
        assert_eq!((&record["state"], &record["counts"]["offsets"]), (&json!("executed"), &json!(4)));
    }
    println!("{killed} of 6 were killed before they ended, {shut} of 6 that slept were shut out");
}

/// consumer-db until everything is written.
async fn catch_up(installation: &Installation) {
    let program = Path::new(env!("CARGO_BIN_EXE_tickstream")).with_file_name("consumer-db");
    assert!(program.exists(), "{} is not built: cargo build --workspace", program.display());
    let mut command = Command::new(program);
    command
        .arg("--until-caught-up")
        .env_clear()
        .envs(installation.stack.env())
        .env("KAFKA_BOOTSTRAP_SERVERS", &installation.args.kafka_bootstrap_servers)
        .env("DATABASE_URL", &installation.database_url)
        .env("ADMIN_ADDR", "127.0.0.1:0");
    let ended = tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.expect("no panic");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// The sum of what consumer-db has committed.
async fn committed_in_all(installation: &Installation) -> i64 {
    let lags = installation.ends(0, &["groups", "consumer-db", "--topic", TICKS, "-o", "json"]).await.json();
    lags.as_array().expect("rows").iter().filter_map(|row| row["committed"].as_i64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_reads_everything_again_is_the_same() {
    let installation = Installation::without_services("cli-replay-rewind").await;
    let at = Timestamp::now().as_microsecond();
    let tick = |number: u32| PriceTick {
        event_id: Uuid::new_v4(),
        symbol: format!("S{}-USD", number % 7),
        event_time: at - i64::from(number) * 1_000_000,
        received_at: at,
        ..example::tick()
    };
    installation.publish(&(0..2_000).map(tick).collect::<Vec<_>>()).await;
    catch_up(&installation).await;
    assert_eq!(committed_in_all(&installation).await, 2_000);
    let before = installation.checksum("true").await;
    assert!(before.starts_with("2000 "), "{before}");

    let out = installation.stack.data_dir().join("cli-replay-rewind-plan.json");
    let plan = ["replay", "plan", "--mode", "rewind", "--target", "db", "--from-earliest", "--name", "again"];
    let planned = installation.ends(0, &[&plan[..], &["--out", text(&out)]].concat()).await;
    let says = "consumer-db reads 2000 offsets again: rows that stand are left";
    assert!(planned.stdout.contains(says), "{}", planned.stdout);
    installation.ends(0, &["replay", "execute", text(&out), "--execute"]).await;
    assert_eq!(committed_in_all(&installation).await, 0);
    catch_up(&installation).await;
    assert_eq!(committed_in_all(&installation).await, 2_000, "they were read again");
    assert_eq!(installation.checksum("true").await, before);
}
