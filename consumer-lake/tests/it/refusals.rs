//! When it must not go on: it says in one line what is wrong and where, exit code 2 for what the user can mend at once.

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;

use crate::broker::Broker;
use crate::lake::Lake;
use crate::service::{Service, command, run_to_end, wait_for};

/// The last line, and nothing like a panic before it.
fn last_line(said: &str) -> &str {
    assert!(!said.contains("panicked"), "{said}");
    said.lines().last().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_is_refused() {
    // It says yes to everything.
    let answer = async |method: Method| match method {
        Method::PUT | Method::HEAD => (StatusCode::OK, [("etag", "\"0\"")]).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let stack = stack::shared().await;
    let lake = Lake::of(stack, "ignorant");
    let (code, said) = run_to_end(command(stack, &lake, "lake.ignorant", "ignorant").env("S3_ENDPOINT_URL", url));
    assert_eq!(code, 2, "{said}");
    assert!(last_line(&said).contains("ignores If-None-Match"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_is_named() {
    let stack = stack::shared().await;
    let lake = Lake::of(stack, "wrong");
    let check = |name: &str, value: &str, expected: &[&str]| {
        let (code, said) = run_to_end(command(stack, &lake, "lake.wrong", "wrong").env(name, value));
        assert_eq!(code, 2, "{name}={value}: {said}");
        let line = last_line(&said);
        assert!(expected.iter().all(|part| line.contains(part)), "{name}={value}: {line}");
    };
    check("S3_BUCKET", "nowhere", &["bucket nowhere does not exist", "S3_BUCKET"]);
    check("S3_ENDPOINT_URL", "http://127.0.0.1:1", &["127.0.0.1:1", "cannot be reached", "S3_ENDPOINT_URL"]);
    check("AWS_SECRET_ACCESS_KEY", "wrong", &["AWS_SECRET_ACCESS_KEY"]);
    check("RUST_LOG", "info", &["topic lake.wrong does not exist"]);
    check("LAKE_MAX_ROWS", "many", &["--help"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_stops_and_nothing_of_it_is_written() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "recreated"), "lake.recreated", "recreated");
    broker.create(topic, 1).await;
    broker.send(topic, 1, &[b"old".to_vec(), b"old".to_vec()]);
    let service = Service::start(&mut command(stack, &lake, topic, group));
    wait_for("two records", || broker.committed(group, topic, 0).is_some_and(|(offset, _)| offset == 2));
    service.terminate();
    broker.delete(topic).await;
    wait_for("the deletion", || {
        let consumer: rdkafka::consumer::BaseConsumer = broker.args.consumer(None).create().expect("consumer");
        let list = rdkafka::consumer::Consumer::fetch_metadata(&consumer, None, std::time::Duration::from_secs(10))
            .expect("metadata");
        !list.topics().iter().any(|found| found.name() == topic)
    });
    broker.create(topic, 1).await;
    broker.send(topic, 1, &(0..5u8).map(|index| vec![index]).collect::<Vec<_>>());
    let (code, said) = run_to_end(&mut command(stack, &lake, topic, group));
    assert_eq!(code, 1, "{said}");
    assert!(last_line(&said).contains("S3_PREFIX") && last_line(&said).contains("recreated"), "{said}");
    assert_eq!(lake.values(topic, 0), [Some(b"old".to_vec()), Some(b"old".to_vec())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_hole_stops_and_says_what_to_do() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "hole"), "lake.hole", "hole");
    broker.create(topic, 1).await;
    broker.send(topic, 1, &[vec![0], vec![1]]);
    let service = Service::start(&mut command(stack, &lake, topic, group));
    wait_for("two records", || broker.committed(group, topic, 0).is_some_and(|(offset, _)| offset == 2));
    service.terminate();
    broker.send(topic, 1, &(2..9u8).map(|index| vec![index]).collect::<Vec<_>>());
    broker.delete_below(topic, 6).await;
    let (code, said) = run_to_end(&mut command(stack, &lake, topic, group));
    assert_eq!(code, 1, "{said}");
    assert!(
        last_line(&said).contains("offsets 2 to 5 of lake.hole[0]") && last_line(&said).contains("S3_PREFIX"),
        "{said}"
    );
    assert_eq!(lake.values(topic, 0).len(), 2);
}
