//! The task that calls a [`Sink`], one call at a time: tries again after an outage until it works, a rebalance outdates the
//! call, or the loop is gone. Must never happen here: two calls at once.

use std::sync::mpsc::Sender;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedReceiver;

use super::around::{Answer, Around, Command};
use super::{Fault, PartitionBatch, Sink};

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
            Command::Start { generation, .. } | Command::Write { generation, .. } | Command::Idle { generation } => {
                *generation
            }
        };
        if around.is_outdated(generation) {
            return Ok(None);
        }
        if let Command::Start { member, .. } = &mut command
            && let Some(member) = member.take()
        {
            sink.joined(member);
        }
        let mut tries = around.tries(0, generation);
        loop {
            let result = match &command {
                Command::Start { assigned, .. } => sink.start(assigned).await.map(|starts| {
                    let commits = assigned.iter().map(|partition| sink.commit_start(partition)).collect();
                    Some(Answer::Started { generation, assigned: assigned.clone(), starts, commits })
                }),
                Command::Write { batches, .. } => {
                    let batches: Vec<PartitionBatch> = batches.iter().map(|handed| handed.batch.clone()).collect();
                    write(sink, around, generation, &batches).await.map(Some)
                }
                Command::Idle { .. } => sink.idle().await.map(|()| None),
            };
            match result {
                Ok(answer) => {
                    tries.worked();
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
) -> Result<Answer, Fault> {
    let begun = Instant::now();
    let (written, letters) = sink.write(batches).await?;
    around.finish(&batches.iter().collect::<Vec<_>>(), &letters, None, begun).await?;
    sink.commit(&written).await?;
    Ok(Answer::Written { generation, written })
}
