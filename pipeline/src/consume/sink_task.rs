//! The task that calls a [`Sink`], one call at a time: tries again after an outage until it works, a rebalance outdates the
//! call, or the loop is gone. Must never happen here: two calls at once.

use std::sync::mpsc::Sender;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedReceiver;

use super::around::{Answer, Around, Command};
use super::{Fault, PartitionBatch, Sink};
use crate::trace;

pub(super) struct SinkTask<S> {
    pub sink: S,
    pub around: Around,
}

impl<S: Sink> SinkTask<S> {
    pub async fn run(mut self, mut commands: UnboundedReceiver<Command>, answers: Sender<Answer>) {
        while let Some(command) = commands.recv().await {
            let answer = match self.carry_out(command).await {
                Ok(None) => continue,
                Ok(Some(answer)) => answer,
                Err(error) => Answer::Stopped(error),
            };
            if answers.send(answer).is_err() {
                return;
            }
        }
    }

    /// The answer, unless a rebalance outdated the question.
    async fn carry_out(&mut self, mut command: Command) -> anyhow::Result<Option<Answer>> {
        let Self { sink, around } = self;
        let generation = match &command {
            Command::Start { generation, .. }
            | Command::Write { generation, .. }
            | Command::Idle { generation }
            | Command::Fence { generation } => *generation,
        };
        if around.is_outdated(generation) {
            return Ok(None);
        }
        sink.asked(around.wanted(generation));
        if let Command::Start { member, .. } = &mut command
            && let Some(member) = member.take()
        {
            sink.joined(member);
        }
        let mut tries = around.tries(0, generation);
        let mut is_finished = false;
        let begun = trace::clock();
        loop {
            let result = match &command {
                Command::Start { assigned, .. } => sink.start(assigned).await.map(|starts| {
                    let commits = assigned.iter().map(|partition| sink.commit_start(partition)).collect();
                    Some(Answer::Started { generation, assigned: assigned.clone(), starts, commits })
                }),
                Command::Write { batches, .. } => {
                    let batches: Vec<PartitionBatch> = batches.iter().map(|handed| handed.batch.clone()).collect();
                    write(sink, around, generation, &batches, &mut is_finished).await.map(Some)
                }
                Command::Idle { .. } => sink.idle().await.map(|()| None),
                // Calls come one after the other: whatever was asked before is over.
                Command::Fence { .. } => Ok(Some(Answer::Fenced { generation })),
            };
            match result {
                Ok(answer) => {
                    tries.worked();
                    if let Command::Write { batches, .. } = &command {
                        around.trace(batches.iter().map(|handed| &handed.batch), begun);
                    }
                    return Ok(answer);
                }
                Err(fault) => {
                    if !tries.failed(fault).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

async fn write(
    sink: &mut impl Sink,
    around: &Around,
    generation: u64,
    batches: &[PartitionBatch],
    is_finished: &mut bool,
) -> Result<Answer, Fault> {
    let begun = Instant::now();
    let (written, letters) = sink.write(batches).await?;
    // Once, however often the commit is tried: letters are sent and counted, and what they say of the deployment, too.
    if !*is_finished {
        around.finish(&batches.iter().collect::<Vec<_>>(), &letters, None, begun).await?;
        *is_finished = true;
    }
    sink.commit(&written).await?;
    Ok(Answer::Written { generation, written })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use anyhow::anyhow;
    use async_trait::async_trait;
    use tokio::sync::mpsc::unbounded_channel;

    use super::super::around::Handed;
    use super::super::around::tests::around;
    use super::super::context::Shared;
    use super::super::{Assigned, DeadLetter, Wanted, Written};
    use super::*;
    use crate::records::{Record, RecordBuffer};

    /// Its commits fail so often.
    struct Commits {
        failing: usize,
        wanted: Option<Wanted>,
        shared: Arc<Shared>,
    }

    #[async_trait]
    impl Sink for Commits {
        const COMMITS: bool = true;

        fn asked(&mut self, wanted: Wanted) {
            self.wanted = Some(wanted);
        }

        async fn start(&mut self, _: &[Assigned]) -> Result<Vec<i64>, Fault> {
            Ok(Vec::new())
        }

        async fn write(&mut self, _: &[PartitionBatch]) -> Result<(Vec<Written>, Vec<DeadLetter>), Fault> {
            Ok((Vec::new(), Vec::new()))
        }

        async fn commit(&mut self, _: &[Written]) -> Result<(), Fault> {
            let wanted = self.wanted.as_ref().expect("given before");
            assert!(wanted.is_wanted());
            if self.failing == 0 {
                self.shared.next_generation();
                assert!(!wanted.is_wanted(), "a rebalance has begun");
                return Ok(());
            }
            self.failing -= 1;
            Err(Fault::Outage(anyhow!("away")))
        }
    }

    #[tokio::test]
    async fn a_batch_whose_commit_is_tried_again_is_counted_once_and_a_fence_waits_for_it() {
        let mut buffer = RecordBuffer::new();
        buffer.push_owned(Record { offset: 3, timestamp_ms: 0, key: None, value: Some(b"v") }, &[]);
        let batch =
            PartitionBatch { topic: "t".into(), partition: 0, start: 3, next_offset: 4, records: buffer.finish() };
        let shared = Arc::new(Shared::default());
        let sink = Commits { failing: 2, wanted: None, shared: shared.clone() };
        let (commands, asked) = unbounded_channel();
        let (answers, answered) = channel();
        let batches = vec![Handed { batch, run: 0 }];
        assert!(commands.send(Command::Write { generation: 0, batches }).is_ok());
        assert!(commands.send(Command::Fence { generation: 1 }).is_ok());
        drop(commands);
        SinkTask { sink, around: around(&shared) }.run(asked, answers).await;
        assert_eq!(shared.counts(), (1, 0));
        let answers: Vec<Answer> = answered.iter().collect();
        assert!(matches!(&answers[..], [Answer::Written { .. }, Answer::Fenced { generation: 1 }]));
    }
}
