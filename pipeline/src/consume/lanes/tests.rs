//! Lanes without a broker: what is asked of them in an order that only a rebalance at the wrong moment gives.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::around::Handed;
use super::super::around::tests::around;
use super::super::context::Shared;
use super::*;
use crate::records::Records;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a lane, or its opening, does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Works,
    Outage,
    /// It never answers.
    Hangs,
}

#[derive(Default)]
struct Script {
    /// What each call of [`Lanes::start`] does, in order; then it works.
    starts: Mutex<Vec<Does>>,
    started: Mutex<usize>,
    writes: Mutex<Vec<Does>>,
    /// Where the batches of all calls of [`Lane::write`] began.
    written: Mutex<Vec<i64>>,
}

fn next(of: &Mutex<Vec<Does>>) -> Does {
    let mut left = of.lock().expect("no test panics with the lock held");
    if left.is_empty() { Does::Works } else { left.remove(0) }
}

async fn done(does: Does) -> Result<(), Fault> {
    match does {
        Does::Works => Ok(()),
        Does::Outage => Err(Fault::Outage(anyhow!("away"))),
        Does::Hangs => std::future::pending().await,
    }
}

struct Fake(Arc<Script>);

#[async_trait]
impl Lanes for Fake {
    type Lane = Fake;

    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<OpenLane<Fake>>, Fault> {
        *self.0.started.lock().expect("unpoisoned") += 1;
        done(next(&self.0.starts)).await?;
        let open = |_: &Assigned| OpenLane { lane: Fake(self.0.clone()), start: 0, metadata: String::new() };
        Ok(assigned.iter().map(open).collect())
    }
}

#[async_trait]
impl Lane for Fake {
    type Begun = ();

    fn begin(&self, _batch: &PartitionBatch) {}

    async fn write(&self, batch: &PartitionBatch, (): &mut ()) -> Result<(Written, Vec<DeadLetter>), Fault> {
        self.0.written.lock().expect("unpoisoned").push(batch.start);
        done(next(&self.0.writes)).await?;
        let PartitionBatch { topic, partition, next_offset, .. } = batch.clone();
        let written =
            Written { topic, partition, commit: next_offset, metadata: String::new(), resume_at: next_offset };
        Ok((written, Vec::new()))
    }

    async fn idle(&self) -> Result<(), Fault> {
        Ok(())
    }
}

struct Trial {
    shared: Arc<Shared>,
    script: Arc<Script>,
    commands: UnboundedSender<Command>,
    answers: Receiver<Answer>,
    task: JoinHandle<()>,
}

impl Trial {
    /// In generation 1.
    fn new(script: Script) -> Self {
        let (shared, script) = (Arc::new(Shared::default()), Arc::new(script));
        shared.next_generation();
        let (commands, to_lanes) = unbounded_channel();
        let (answer, answers) = channel();
        let around = Arc::new(around(&shared));
        let lanes = LaneTask { lanes: Fake(script.clone()), around, idle_every: PATIENCE };
        let task = tokio::spawn(lanes.run(to_lanes, answer));
        Self { shared, script, commands, answers, task }
    }

    fn start(&self, generation: u64) {
        let topic = Arc::from("t");
        let assigned =
            vec![Assigned { topic, partition: 0, committed: None, metadata: String::new(), log_start: 0, log_end: 9 }];
        self.commands.send(Command::Start { generation, assigned, member: None }).expect("it listens");
    }

    fn write(&self, generation: u64, start: i64) {
        let (topic, records) = (Arc::from("t"), Records::empty());
        let batch = PartitionBatch { topic, partition: 0, start, next_offset: start + 1, records };
        let batches = vec![Handed { batch, run: 0 }];
        self.commands.send(Command::Write { generation, batches }).expect("it listens");
    }

    /// Waits until the script says so.
    async fn until(&self, so: impl Fn(&Script) -> bool) {
        let waiting = async {
            while !so(&self.script) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("it comes to that");
    }

    /// The answers up to the start of `generation`: of starts their generation, of writes where they end.
    async fn answers_until(&self, generation: u64) -> Vec<String> {
        let mut told = Vec::new();
        let waiting = async {
            loop {
                match self.answers.try_recv() {
                    Ok(Answer::Started { generation: of, .. }) => {
                        told.push(format!("started {of}"));
                        if of == generation {
                            return;
                        }
                    }
                    Ok(Answer::Written { written, .. }) => told.push(format!("written to {}", written[0].resume_at)),
                    Ok(Answer::Fenced { generation }) => told.push(format!("fenced {generation}")),
                    Ok(Answer::Stopped(error)) => told.push(format!("stopped: {error}")),
                    Err(_) => {
                        assert!(!self.task.is_finished(), "{told:?}");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        };
        timeout(PATIENCE, waiting).await.expect("an answer");
        told
    }
}

#[tokio::test]
async fn what_waits_behind_a_batch_whose_generation_ended_is_never_written() {
    let trial = Trial::new(Script { writes: Mutex::new(vec![Does::Outage]), ..Script::default() });
    trial.start(1);
    trial.write(1, 0);
    trial.until(|script| script.written.lock().expect("unpoisoned").len() == 1).await;
    let next = trial.shared.next_generation();
    trial.write(1, 1);
    trial.start(next);
    assert_eq!(trial.answers_until(next).await, ["started 1", "started 2"]);
    assert_eq!(*trial.script.written.lock().expect("unpoisoned"), [0], "tried once, and nothing after it");
}

#[tokio::test]
async fn an_outdated_start_is_passed_over() {
    let trial = Trial::new(Script::default());
    let next = trial.shared.next_generation();
    trial.start(1);
    trial.write(1, 0);
    trial.start(next);
    assert_eq!(trial.answers_until(next).await, ["started 2"]);
    assert_eq!(*trial.script.started.lock().expect("unpoisoned"), 1);
}

#[tokio::test]
async fn a_start_that_hangs_is_given_up_at_the_next_rebalance() {
    let trial = Trial::new(Script { starts: Mutex::new(vec![Does::Hangs]), ..Script::default() });
    trial.start(1);
    trial.until(|script| *script.started.lock().expect("unpoisoned") == 1).await;
    let next = trial.shared.next_generation();
    trial.start(next);
    assert_eq!(trial.answers_until(next).await, ["started 2"]);
}
