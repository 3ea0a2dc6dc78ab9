//! The switches that other crates' fault tests turn: a server goes and comes back on the same port with its data.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sqlx::Connection;
use stack::{Options, Stack};

#[tokio::test(flavor = "multi_thread")]
async fn servers_come_back_with_their_data_and_a_kept_folder_starts_again() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let options = Options { data_dir: Some(dir.path().join("kept")), ..Options::default() };
    let stack = Stack::start(options.clone()).await.unwrap();

    let admin: AdminClient<DefaultClientContext> = kafka_client(&stack).create().unwrap();
    let topic = NewTopic::new("kept", 3, TopicReplication::Fixed(1));
    let created = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert_eq!(created, [Ok("kept".to_owned())]);
    let mut database = sqlx::PgConnection::connect(&stack.database_url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)").execute(&mut database).await.unwrap();

    let (kafka, postgres) = (stack.kafka().unwrap(), stack.postgres().unwrap());
    postgres.stop().unwrap();
    assert!(sqlx::PgConnection::connect(&stack.database_url).await.is_err());
    postgres.restart().unwrap();
    kafka.signal(nix::sys::signal::Signal::SIGKILL);
    kafka.restart().unwrap();
    assert_eq!(partitions(&stack, "kept"), 3);
    assert_eq!(kept_row(&stack).await, 42);
    assert_eq!(stack.died(), None);

    let second = Stack::start(options.clone()).await.err().expect("two stacks share a folder");
    assert!(second.to_string().contains("in use by another stack"), "{second:#}");

    stack.stop().await.unwrap();
    let again = Stack::start(options).await.unwrap();
    assert_eq!(partitions(&again, "kept"), 3);
    assert_eq!(kept_row(&again).await, 42);
    assert!(again.env()["DATABASE_URL"].contains("127.0.0.1"));
}

fn kafka_client(stack: &Stack) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &stack.kafka_bootstrap_servers);
    config
}

fn partitions(stack: &Stack, topic: &str) -> usize {
    let client: BaseConsumer = kafka_client(stack).create().unwrap();
    let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    metadata.topics()[0].partitions().len()
}

async fn kept_row(stack: &Stack) -> i32 {
    let mut database = sqlx::PgConnection::connect(&stack.database_url).await.unwrap();
    sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut database).await.unwrap()
}
