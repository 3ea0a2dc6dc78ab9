use std::time::{Duration, Instant};

use pipeline::topic_id::{TopicIdError, TopicIds};

use crate::broker;

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_has_another_id() {
    let kafka = broker::kafka().await;
    let ids = TopicIds::new(&kafka).expect("client");
    assert!(!ids.cluster_id().await.expect("cluster id").is_empty());

    let topic = broker::unique("ids");
    assert!(matches!(ids.topic_id(&topic, 0).await, Err(TopicIdError::UnknownTopic(name)) if name == topic));
    broker::create(&kafka, &topic, 2).await;
    let first = ids.topic_id(&topic, 1).await.expect("first id");
    assert_eq!(ids.topic_id(&topic, 0).await.expect("same topic"), first);

    broker::delete(&kafka, &topic).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while ids.topic_id(&topic, 0).await.is_ok() {
        assert!(Instant::now() < deadline, "the topic is still there");
    }
    broker::create(&kafka, &topic, 2).await;
    assert_ne!(ids.topic_id(&topic, 0).await.expect("second id"), first);
}
