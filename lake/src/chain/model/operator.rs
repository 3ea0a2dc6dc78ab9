//! A person who runs a command when a writer stops, or by mistake when none did. The commands are the real ones, a request at
//! a time; a run may be interrupted, and another person may run one at the same moment.

use std::sync::Arc;

use pipeline::consume::Fault;

use super::End;
use super::invariants::{TABLE, TOPIC, epochs};
use super::sim::{Sim, State};
use crate::chain::operator::{accept_hole, new_epoch};

#[derive(Clone, Copy, Debug)]
pub enum Command {
    AcceptHole,
    NewEpoch,
}

/// What a person who reads the writer's message runs.
pub fn sensible(state: &State) -> Command {
    if epochs(state).last() == Some(&state.topic()) { Command::AcceptHole } else { Command::NewEpoch }
}

pub async fn operator(sim: Sim, command: Command) -> End {
    let world = Arc::new(sim);
    let done = match command {
        Command::AcceptHole => {
            accept_hole(world.clone(), TOPIC.into(), 0).await.map(|holes| (format!("{holes:?}"), !holes.is_empty()))
        }
        Command::NewEpoch => {
            new_epoch(world.clone(), TOPIC.into(), Some(TABLE)).await.map(|begun| (format!("{begun:?}"), true))
        }
    };
    match done {
        Ok((said, did)) => {
            if did {
                let what = match command {
                    Command::AcceptHole => "hole accepted",
                    Command::NewEpoch => "epoch begun",
                };
                world.lock().count(what);
            }
            End::Done(said)
        }
        Err(Fault::Outage(error) | Fault::Stop(error)) => End::Done(error.to_string()),
    }
}
