//! A member of the group, as the consume loop drives a writer.

use std::sync::Arc;

use fastrand::Rng;
use pipeline::consume::Fault;
use pipeline::lake::LinkKind;

use super::End;
use super::invariants::{TABLE, TOPIC, epochs, raw};
use super::sim::{Row, SPAN, Sim, State};
use crate::chain::start::Given;
use crate::chain::{Batch, Chain, Step};
use crate::world::World;

/// What a fetch gave.
enum Fetched {
    Batch(Batch<Arc<Vec<Row>>>),
    Nothing,
    OutOfRange,
    Revoked,
}

pub async fn writer(sim: Sim, mut rng: Rng) -> End {
    let world = Arc::new(sim.clone());
    loop {
        let given = loop {
            if let Ok(given) = sim.ask(|state| given(state, sim.cluster)).await {
                break given;
            }
        };
        let mut chain = match tried(async || Chain::open(world.clone(), &given).await).await {
            Ok(chain) => chain,
            Err(stopped) => return End::Stopped(stopped),
        };
        let mut position = chain.tail();
        loop {
            let (cut, learns) = (rng.i64(1..=SPAN), rng.u8(0..4) == 0);
            let fetch = |state: &mut State| fetch(state, &sim, position, cut, learns);
            match sim.ask(fetch).await.unwrap_or(Fetched::Nothing) {
                Fetched::Revoked => return End::Revoked,
                Fetched::OutOfRange => break,
                Fetched::Nothing => {
                    if let Err(stopped) = tried(async || chain.check_topic_id().await).await {
                        return End::Stopped(stopped);
                    }
                }
                Fetched::Batch(batch) => {
                    // It comes again when the batch of another partition met an outage.
                    let again = rng.u8(0..4) == 0;
                    let mut step = match tried(async || chain.write(&batch).await).await {
                        Ok(step) => step,
                        Err(stopped) => return End::Stopped(stopped),
                    };
                    if again {
                        step = match tried(async || chain.write(&batch).await).await {
                            Ok(step) => step,
                            Err(stopped) => return End::Stopped(stopped),
                        };
                    }
                    let sent = async || {
                        world.dead_letters(chain.place(), &batch.records, &step.bad).await.map_err(Fault::Outage)
                    };
                    if !step.bad.is_empty() && tried(sent).await.is_err() {
                        return End::Revoked;
                    }
                    let metadata = chain.commit_metadata();
                    drop(sim.ask(|state| commit(state, &sim, &step, metadata)).await);
                    position = step.resume_at;
                }
            }
        }
    }
}

/// Tries again after each outage.
async fn tried<T>(mut attempt: impl AsyncFnMut() -> Result<T, Fault>) -> Result<T, String> {
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(Fault::Outage(_)) => {}
            Err(Fault::Stop(error)) => return Err(error.to_string()),
        }
    }
}

fn given(state: &mut State, cluster: usize) -> Given {
    let committed = state.commits[cluster].clone();
    let newest = u32::try_from(epochs(state).len()).unwrap_or(0).checked_sub(1);
    if let (Some((offset, _)), Some(epoch)) = (&committed, newest) {
        let objects = raw(state, epoch);
        let inside = objects.values().map(|stored| stored.link);
        if inside.clone().any(|link| link.kind == LinkKind::Data && link.start < *offset && *offset < link.next_offset)
        {
            state.count("start inside an object");
        }
    }
    let log = state.log(cluster);
    Given { topic: TOPIC.into(), partition: 0, table: Some(TABLE), committed, log_start: log.low, log_end: log.end }
}

/// Reads on from `position` and cuts at most `cut` offsets further on, as the loop does: over undelivered offsets too, but a
/// batch without rows only where the span is used up.
fn fetch(state: &mut State, sim: &Sim, position: i64, cut: i64, learns: bool) -> Fetched {
    if state.owners[sim.cluster] != Some(sim.writer) && learns {
        return Fetched::Revoked;
    }
    let log = state.log(sim.cluster);
    if position < log.low || position > log.end {
        return Fetched::OutOfRange;
    }
    let rows_to = |end: i64| -> Vec<Row> {
        let range = usize::try_from(position).expect("an offset")..usize::try_from(end).expect("an offset");
        log.rows[range].iter().flatten().copied().collect()
    };
    let mut end = (position + cut).min(log.end);
    if rows_to(end).is_empty() {
        end = (position + SPAN).min(log.end);
    }
    let records = rows_to(end);
    if records.is_empty() && end - position < SPAN {
        return Fetched::Nothing;
    }
    Fetched::Batch(Batch { start: position, next_offset: end, records: Arc::new(records) })
}

fn commit(state: &mut State, sim: &Sim, step: &Step, metadata: String) {
    if state.owners[sim.cluster] == Some(sim.writer) {
        state.note(format!("W{} commits {}", sim.writer, step.commit));
        state.commits[sim.cluster] = Some((step.commit, metadata));
        state.changed = true;
    }
}
