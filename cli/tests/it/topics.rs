use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use stack::Stack;
use tokio::sync::{Mutex, OnceCell};

use crate::{Answer, tickstream};

const DLQ: &str = "market.health.v1.dlq";
/// Held by whoever changes topics.
static CHANGING: Mutex<()> = Mutex::const_new(());

fn admin(stack: &Stack) -> AdminClient<DefaultClientContext> {
    rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &stack.kafka_bootstrap_servers)
        .create()
        .expect("admin client")
}

/// The first `topics apply` of this broker, which has found market.ticks.v1 with two partitions and its defaults.
pub async fn applied(stack: &Stack) -> &'static Answer {
    static APPLIED: OnceCell<Answer> = OnceCell::const_new();
    APPLIED
        .get_or_init(|| async {
            let half_made = NewTopic::new("market.ticks.v1", 2, TopicReplication::Fixed(1));
            let made = admin(stack).create_topics([&half_made], &AdminOptions::new()).await.expect("create");
            assert!(made.iter().all(Result::is_ok), "{made:?}");
            let first = tickstream(stack, &["topics", "apply"]).await;
            assert_eq!(first.code, 0, "{}", first.stderr);
            first
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_creates_grows_and_mends_and_then_changes_nothing() {
    let stack = stack::shared().await;
    let first = applied(stack).await;
    let lines: Vec<&str> = first.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "market.ticks.v1: changed: partitions 2 -> 4, message.timestamp.type CreateTime -> LogAppendTime"
    );
    assert_eq!(lines[1], "market.ticks.v1.dlq: created: 1 partition, replication 1");
    let declared = pipeline::topics::declared().len();
    assert_eq!(lines.len(), declared);
    assert_eq!(lines[12], "market.sources.v1: created: 16 partitions, replication 1");
    assert_eq!(lines[13], "market.alert_state.v1: created: 1 partition, replication 1");

    let _changing = CHANGING.lock().await;
    let again = tickstream(stack, &["topics", "apply"]).await;
    assert!(
        again.stdout.lines().count() == declared && again.stdout.lines().all(|line| line.ends_with(": unchanged")),
        "{}",
        again.stdout
    );

    // Somebody compacts a topic, and sets something that is not ours to judge.
    let admin = admin(stack);
    let compact = AlterConfig::new(ResourceSpecifier::Topic(DLQ))
        .set("cleanup.policy", "compact")
        .set("message.timestamp.type", "LogAppendTime")
        .set("max.message.bytes", "20000000")
        .set("retention.ms", "2592000000")
        .set("segment.bytes", "1234567");
    admin.alter_configs([&compact], &AdminOptions::new()).await.expect("alter")[0].as_ref().expect("altered");
    let diff = tickstream(stack, &["topics", "diff", "-o", "csv"]).await;
    assert_eq!(
        (diff.code, diff.line()),
        (1, "tickstream: 1 topic is not as declared; `tickstream topics apply` mends it")
    );
    assert_eq!(diff.stdout, format!("topic,what,has,declared\n{DLQ},cleanup.policy,compact,delete\n"));
    let planned = tickstream(stack, &["topics", "apply", "--dry-run"]).await;
    let expected = format!("{DLQ}: would be changed: cleanup.policy compact -> delete");
    assert!(planned.stdout.lines().any(|line| line == expected), "{}", planned.stdout);
    let mended = tickstream(stack, &["topics", "apply"]).await;
    let expected = format!("{DLQ}: changed: cleanup.policy compact -> delete");
    assert!(mended.stdout.lines().any(|line| line == expected), "{}", mended.stdout);
    let diff = tickstream(stack, &["topics", "diff"]).await;
    assert_eq!(
        (diff.code, diff.stdout),
        (0, format!("all {declared} declared topics are as declared\n")),
        "{}",
        diff.stderr
    );
    let described =
        admin.describe_configs([&ResourceSpecifier::Topic(DLQ)], &AdminOptions::new()).await.expect("describe");
    let value =
        |name| described[0].as_ref().ok().and_then(|topic| topic.get(name)).and_then(|entry| entry.value.clone());
    assert_eq!(value("cleanup.policy").as_deref(), Some("delete"));
    assert_eq!(value("segment.bytes").as_deref(), Some("1234567"), "what others set stays");

    // A replication that the cluster cannot have is the user's mistake, said in one line.
    admin.delete_topics(&[DLQ], &AdminOptions::new()).await.expect("delete");
    while tickstream(stack, &["topics", "list"]).await.code == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let diff = tickstream(stack, &["topics", "diff", "-o", "json"]).await;
    assert_eq!(diff.code, 1);
    let gone = &diff.json()[0];
    assert_eq!((&gone["topic"], &gone["what"], &gone["has"]), (&DLQ.into(), &"topic".into(), &serde_json::Value::Null));
    let refused = tickstream(stack, &["topics", "apply", "--replication", "5"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.line().contains("5 replicas, set by --replication (TOPIC_REPLICATION)"), "{}", refused.stderr);
    // Two at once, as when several deployments start: both end well, and the topic is there.
    let as_json = ["topics", "apply", "-o", "json"];
    let (one, other) = tokio::join!(tickstream(stack, &as_json), tickstream(stack, &as_json));
    assert_eq!((one.code, other.code), (0, 0), "{} {}", one.stderr, other.stderr);
    let actions = [one, other].map(|answer| {
        let lines = answer.json();
        let line = lines.as_array().expect("lines").iter().find(|line| line["topic"] == DLQ).expect("the topic");
        line["action"].as_str().expect("an action").to_owned()
    });
    assert!(actions.contains(&"created".to_owned()), "{actions:?}");
    assert_eq!(tickstream(stack, &["topics", "list"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_shows_every_partition_with_its_topic_id() {
    let stack = stack::shared().await;
    applied(stack).await;
    let _changing = CHANGING.lock().await;
    let listed = tickstream(stack, &["topics", "list", "-o", "json"]).await.json();
    let ticks = &listed[0];
    assert_eq!((&ticks["topic"], ticks["partitions"].as_array().map(Vec::len)), (&"market.ticks.v1".into(), Some(4)));
    let id: uuid::Uuid = ticks["topic_id"].as_str().expect("an id").parse().expect("a UUID");
    assert!(!id.is_nil());
    let table = tickstream(stack, &["topics", "list"]).await;
    let csv = tickstream(stack, &["topics", "list", "-o", "csv"]).await;
    assert_eq!(csv.stdout.lines().next(), Some("topic,partition,start,end,topic_id"));
    assert_eq!(csv.stdout.lines().count(), table.stdout.lines().count());
    assert!(csv.stdout.lines().any(|line| line.starts_with("market.ticks.v1,3,") && line.ends_with(&id.to_string())));
    assert_eq!(
        table
            .stdout
            .lines()
            .filter(|line| line.starts_with("market.ticks.v1 ") && line.contains(&id.to_string()))
            .count(),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_one_line() {
    let stack = stack::shared().await;
    let asked =
        [vec!["topics", "apply"], vec!["topics", "diff"], vec!["topics", "list"], vec!["groups"], vec!["watch"]];
    let answers = asked.map(|mut arguments| async move {
        arguments.extend(["--kafka-bootstrap-servers", "127.0.0.1:1"]);
        tickstream(stack, &arguments).await
    });
    for answer in futures::future::join_all(answers).await {
        assert_eq!(answer.code, 2);
        assert!(answer.line().contains("no Kafka broker answers at 127.0.0.1:1, set by --kafka-bootstrap-servers"));
    }
}
