//! Topic ids and the cluster id. A recreated topic has the same name and offsets from 0 again; only its id tells it apart.
//! rdkafka has no safe call for topic ids, librdkafka's DescribeTopics has, and is called here through C. A broker's metadata may
//! lag after a re-creation, so the id is asked of the partition's leader, who would refuse the old one; and that there is no
//! such topic is believed only of brokers that say so again and again.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rdkafka::admin::AdminClient;
use rdkafka::bindings as c;
use rdkafka::client::Client;
use uuid::Uuid;

use crate::kafka::{KafkaArgs, Plain, create, renew};

const TIMEOUT: Duration = Duration::from_secs(10);
/// A leader that moves while it is asked is asked for again this often.
const LEADER_MOVES: usize = 3;
/// A topic that is not known is asked for this often, …
const UNKNOWN: usize = 3;
/// … after a pause, in which a broker that lags catches up.
const CATCH_UP: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum TopicIdError {
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    /// The broker did not answer, or answered that it cannot now.
    #[error("cannot ask for the id of topic {topic}: {cause}")]
    Outage { topic: String, cause: anyhow::Error },
}

/// Asks a cluster for ids. Cheap to clone.
#[derive(Clone)]
pub struct TopicIds(Arc<Inner>);

struct Inner {
    client: AdminClient<Plain>,
    /// Where each partition's leader was last seen: a guess that the answer confirms or mends.
    leaders: Mutex<HashMap<(String, i32), i32>>,
}

/// What one DescribeTopics answer says.
struct Described {
    topic_id: Uuid,
    leader: Option<i32>,
}

impl TopicIds {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        let client = create(&kafka.admin(), Plain)?;
        Ok(Self(Arc::new(Inner { client, leaders: Mutex::default() })))
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// When no broker answers in time.
    pub async fn cluster_id(&self) -> anyhow::Result<String> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || inner.cluster_id()).await?
    }

    /// The id of `topic` as the leader of `partition` knows it.
    ///
    /// # Errors
    /// [`TopicIdError`]; an outage is worth another try.
    pub async fn topic_id(&self, topic: &str, partition: i32) -> Result<Uuid, TopicIdError> {
        let (inner, name) = (self.0.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || inner.topic_id(&name, partition))
            .await
            .unwrap_or_else(|error| Err(TopicIdError::Outage { topic: topic.to_owned(), cause: error.into() }))
    }

    /// The offsets at which the log of `topic` begins and ends now; the end is the high watermark.
    ///
    /// # Errors
    /// When the partition's leader does not answer in time.
    pub async fn log_range(&self, topic: &str, partition: i32) -> anyhow::Result<(i64, i64)> {
        let (inner, name) = (self.0.clone(), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || inner.renewed().fetch_watermarks(&name, partition, TIMEOUT));
        asked.await?.with_context(|| format!("cannot ask where the log of {topic}[{partition}] begins and ends"))
    }
}

impl Inner {
    /// Nobody polls it, so that it would never ask for the next token by itself.
    fn renewed(&self) -> &Client<Plain> {
        renew(&self.client);
        self.client.inner()
    }

    fn cluster_id(&self) -> anyhow::Result<String> {
        let client = self.renewed().native_ptr();
        // SAFETY: the client lives as long as self; the text is ours to free with rd_kafka_mem_free.
        unsafe {
            let text = c::rd_kafka_clusterid(client, millis(TIMEOUT));
            anyhow::ensure!(!text.is_null(), "no broker told its cluster id within {TIMEOUT:?}");
            let id = CStr::from_ptr(text).to_string_lossy().into_owned();
            c::rd_kafka_mem_free(client, text.cast());
            Ok(id)
        }
    }

    fn topic_id(&self, topic: &str, partition: i32) -> Result<Uuid, TopicIdError> {
        let key = (topic.to_owned(), partition);
        let guess = self.leaders.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let describe = |broker| self.describe(topic, partition, broker);
        let (leader, topic_id) = ask_leader(topic, partition, guess, CATCH_UP, describe)?;
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner).insert(key, leader);
        Ok(topic_id)
    }

    fn describe(&self, topic: &str, partition: i32, broker: Option<i32>) -> Result<Described, TopicIdError> {
        let outage = |cause| TopicIdError::Outage { topic: topic.to_owned(), cause };
        let name = CString::new(topic).map_err(|error| outage(error.into()))?;
        let client = self.renewed().native_ptr();
        // SAFETY: every object is made here, checked for null, used on this thread only, and freed below in the order that
        // librdkafka asks for: the event owns the result, so it is read before the event is destroyed.
        unsafe {
            let mut names = [name.as_ptr()];
            let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            let options =
                c::rd_kafka_AdminOptions_new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            let mut message: [c_char; 256] = [0; 256];
            c::rd_kafka_AdminOptions_set_request_timeout(options, millis(TIMEOUT), message.as_mut_ptr(), message.len());
            if let Some(broker) = broker {
                c::rd_kafka_AdminOptions_set_broker(options, broker, message.as_mut_ptr(), message.len());
            }
            let queue = c::rd_kafka_queue_new(client);
            c::rd_kafka_DescribeTopics(client, topics, options, queue);
            let event = c::rd_kafka_queue_poll(queue, millis(TIMEOUT * 2));
            let described = if event.is_null() {
                Err(outage(anyhow!("no answer within {:?}", TIMEOUT * 2)))
            } else {
                read_answer(event, topic, partition)
            };
            if !event.is_null() {
                c::rd_kafka_event_destroy(event);
            }
            c::rd_kafka_queue_destroy(queue);
            c::rd_kafka_AdminOptions_destroy(options);
            c::rd_kafka_TopicCollection_destroy(topics);
            described
        }
    }
}

/// Who leads the partition, and the topic id as that broker knows it; `guess` is asked first, `None` being any broker.
fn ask_leader(
    topic: &str,
    partition: i32,
    guess: Option<i32>,
    catch_up: Duration,
    describe: impl Fn(Option<i32>) -> Result<Described, TopicIdError>,
) -> Result<(i32, Uuid), TopicIdError> {
    let outage = |cause| TopicIdError::Outage { topic: topic.to_owned(), cause };
    let (mut asked, mut unknown, mut moves) = (guess, 0, 0);
    while moves < LEADER_MOVES {
        let described = match describe(asked) {
            Ok(described) => described,
            Err(TopicIdError::UnknownTopic(_)) if unknown + 1 < UNKNOWN => {
                unknown += 1;
                asked = None;
                std::thread::sleep(catch_up);
                continue;
            }
            // The broker asked may be gone; any other one tells who leads now.
            Err(TopicIdError::Outage { .. }) if asked.is_some() => {
                (asked, moves) = (None, moves + 1);
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(leader) = described.leader else {
            return Err(outage(anyhow!("partition {partition} has no leader")));
        };
        if asked == Some(leader) {
            return Ok((leader, described.topic_id));
        }
        (asked, moves) = (Some(leader), moves + 1);
    }
    Err(outage(anyhow!("the leader of partition {partition} keeps moving")))
}

/// # Safety
/// `event` is a live event of a DescribeTopics call for one topic.
unsafe fn read_answer(event: *mut c::rd_kafka_event_t, topic: &str, partition: i32) -> Result<Described, TopicIdError> {
    let outage = |cause| TopicIdError::Outage { topic: topic.to_owned(), cause };
    // SAFETY: the pointers come from the event and live as long as it does.
    unsafe {
        if c::rd_kafka_event_error(event) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let text = c::rd_kafka_event_error_string(event);
            let cause = if text.is_null() { "no reason".into() } else { CStr::from_ptr(text).to_string_lossy() };
            return Err(outage(anyhow!("{cause}")));
        }
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = if result.is_null() {
            ptr::null_mut()
        } else {
            c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count)
        };
        if topics.is_null() || count == 0 {
            return Err(outage(anyhow!("an answer without a topic")));
        }
        let described = *topics;
        let error = c::rd_kafka_TopicDescription_error(described);
        if !error.is_null() {
            let code = c::rd_kafka_error_code(error);
            if code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART {
                return Err(TopicIdError::UnknownTopic(topic.to_owned()));
            }
            if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(outage(anyhow!("{}", CStr::from_ptr(c::rd_kafka_error_string(error)).to_string_lossy())));
            }
        }
        let id = c::rd_kafka_TopicDescription_topic_id(described);
        if id.is_null() {
            return Err(outage(anyhow!("the broker tells no topic id (Kafka before 2.8)")));
        }
        let topic_id = Uuid::from_u64_pair(
            c::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned(),
            c::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned(),
        );
        let mut partitions = 0;
        let infos = c::rd_kafka_TopicDescription_partitions(described, &raw mut partitions);
        let leader = (0..partitions)
            .map(|i| *infos.add(i))
            .find(|info| c::rd_kafka_TopicPartitionInfo_partition(*info) == partition)
            .map(|info| c::rd_kafka_TopicPartitionInfo_leader(info))
            .filter(|node| !node.is_null())
            .map(|node| c::rd_kafka_Node_id(node));
        Ok(Described { topic_id, leader })
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    /// What is told when the brokers answer so, in turn: `None` for one that does not know the topic.
    fn told(answers: &[Option<i32>]) -> (Result<(i32, Uuid), TopicIdError>, usize) {
        let left = RefCell::new(answers.iter());
        let describe = |_| match left.borrow_mut().next().expect("an answer") {
            Some(leader) => Ok(Described { topic_id: ID, leader: Some(*leader) }),
            None => Err(TopicIdError::UnknownTopic("t".to_owned())),
        };
        let told = ask_leader("t", 0, None, Duration::ZERO, describe);
        (told, left.into_inner().len())
    }

    #[test]
    fn a_broker_that_lags_is_not_believed_and_brokers_that_agree_are() {
        for lags in [&[None, Some(1), Some(1)][..], &[Some(1), None, None, Some(1), Some(1)]] {
            assert!(matches!(told(lags), (Ok((1, id)), 0) if id == ID), "{lags:?}");
        }
        assert!(matches!(told(&[None, None, None]), (Err(TopicIdError::UnknownTopic(_)), 0)));
        assert!(matches!(told(&[Some(1), Some(2), Some(3)]), (Err(TopicIdError::Outage { .. }), 0)));
    }
}
