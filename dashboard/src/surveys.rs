//! What the cluster says there is: of each topic its id and its partitions. It is asked on a thread of its own, for an answer takes
//! the time of a few round trips, and seconds where a broker is away, and the thread that reads must not wait for it.
//! Must never happen here: an answer to what was asked before an outage that is taken for its end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use pipeline::topic_id::{TopicIdError, TopicIds};
use rdkafka::consumer::Consumer as _;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::positions::Consumer;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Of each topic its id and its partitions.
pub type Survey = Vec<(Uuid, Vec<i32>)>;

/// Asks.
pub struct Surveyor {
    pub consumer: Arc<Consumer>,
    pub ids: TopicIds,
    pub names: Vec<Arc<str>>,
}

impl Surveyor {
    /// Blocking.
    ///
    /// # Errors
    /// When a broker does not answer, a topic is missing or a partition has no leader.
    pub fn survey(&self, runtime: &Handle) -> anyhow::Result<Survey> {
        self.names.iter().map(|name| Ok((self.id(name, runtime)?, self.partitions(name)?))).collect()
    }

    fn id(&self, name: &str, runtime: &Handle) -> anyhow::Result<Uuid> {
        match runtime.block_on(self.ids.topic_id(name, 0)) {
            Ok(id) => Ok(id),
            Err(TopicIdError::UnknownTopic(name)) => {
                anyhow::bail!("topic {name} does not exist; make it with `tickstream topics apply`")
            }
            Err(error @ TopicIdError::Outage { .. }) => Err(error.into()),
        }
    }

    fn partitions(&self, name: &str) -> anyhow::Result<Vec<i32>> {
        let metadata = self.consumer.fetch_metadata(Some(name), TIMEOUT).context("no broker answers")?;
        let topic = metadata.topics().first().with_context(|| format!("no broker tells of topic {name}"))?;
        anyhow::ensure!(!topic.partitions().is_empty(), "topic {name} has no partitions");
        topic
            .partitions()
            .iter()
            .map(|partition| {
                anyhow::ensure!(partition.leader() >= 0, "topic {name} partition {} has no leader", partition.id());
                Ok(partition.id())
            })
            .collect()
    }
}

/// Surveys that are made elsewhere, one at a time.
pub struct Surveys {
    ask: Sender<()>,
    told: Receiver<anyhow::Result<Survey>>,
    is_asked: bool,
    /// What was asked is of before.
    is_void: bool,
}

impl Surveys {
    /// `survey` is called on a thread of its own, which ends with this.
    pub fn begin(runtime: &Handle, survey: impl Fn() -> anyhow::Result<Survey> + Send + 'static) -> Self {
        let (ask, asked) = channel();
        let (tell, told) = channel();
        runtime.spawn_blocking(move || while asked.recv().is_ok() && tell.send(survey()).is_ok() {});
        Self { ask, told, is_asked: false, is_void: false }
    }

    /// Asks, unless an answer is awaited.
    pub fn ask(&mut self) {
        if !self.is_asked {
            // The thread ends with this alone.
            self.is_asked = self.ask.send(()).is_ok();
        }
    }

    /// An answer that is awaited tells of before.
    pub fn make_void(&mut self) {
        self.is_void = self.is_asked;
    }

    /// The answer, when it has come.
    pub fn told(&mut self) -> Option<anyhow::Result<Survey>> {
        let told = self.told.try_recv().ok()?;
        self.is_asked = false;
        (!std::mem::take(&mut self.is_void)).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    fn wait(surveys: &mut Surveys) -> Survey {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if let Some(told) = surveys.told() {
                return told.expect("a survey");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nothing was told");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_asks_does_not_wait_and_what_is_void_is_not_told() {
        let (answer, answers) = channel::<i32>();
        let answers = Mutex::new(answers);
        let mut surveys = Surveys::begin(&Handle::current(), move || {
            let next = answers.lock().expect("not poisoned").recv()?;
            Ok(vec![(Uuid::nil(), vec![next])])
        });
        surveys.ask();
        surveys.ask();
        assert!(surveys.told().is_none(), "nobody has answered");
        answer.send(1).expect("sent");
        assert_eq!(wait(&mut surveys)[0].1, [1]);
        surveys.ask();
        surveys.make_void();
        answer.send(2).expect("sent");
        while surveys.is_asked {
            assert!(surveys.told().is_none(), "it tells of before");
            std::thread::sleep(Duration::from_millis(1));
        }
        surveys.make_void();
        surveys.ask();
        answer.send(3).expect("sent");
        assert_eq!(wait(&mut surveys)[0].1, [3], "asked once more, answered once more");
    }
}
