//! Starts and stops the sources' drivers as the sources are shared out. Invariant: a source has one driver here at most;
//! one that comes back while its driver is still ending waits for that end. Must never happen here: a source that is ours
//! and not read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, SourceName};
use crate::drive::Way;
use crate::drive::clock::Clock;
use crate::drive::status::Status;
use crate::gaps::predecessor::Predecessors;
use crate::publish::outbox::Outbox;
use crate::symbols::Symbols;

/// The sources that are ours now.
pub type Ours = BTreeSet<SourceName>;

pub struct Runner {
    pub config: Arc<Config>,
    pub symbols: Arc<Symbols>,
    pub outbox: Outbox,
    pub statuses: BTreeMap<SourceName, Status>,
    pub predecessors: Predecessors,
    /// Whether the sources may come and go: then having none is no end.
    pub shared: bool,
}

type Ended = (SourceName, anyhow::Result<()>);

impl Runner {
    /// Runs until `shutdown`, or, when the sources are not shared, until each has ended by itself. The first that fails stops
    /// the others.
    ///
    /// # Errors
    /// The first failure of a driver.
    pub async fn run(self, mut ours: watch::Receiver<Ours>, shutdown: CancellationToken) -> anyhow::Result<()> {
        let ending = shutdown.child_token();
        let mut drivers: JoinSet<Ended> = JoinSet::new();
        let mut running: BTreeMap<SourceName, CancellationToken> = BTreeMap::new();
        let mut finished = Ours::new();
        let (mut stopping, mut sharing) = (false, true);
        let mut result = Ok(());
        loop {
            stopping |= ending.is_cancelled();
            let wanted = if stopping { Ours::new() } else { ours.borrow_and_update().clone() };
            self.apply(&wanted, &finished, &mut running, &mut drivers, &ending)?;
            if drivers.is_empty() && (stopping || !self.shared) {
                return result;
            }
            tokio::select! {
                () = ending.cancelled(), if !stopping => stopping = true,
                // When nobody shares out any more, what is ours stays so.
                changed = ours.changed(), if sharing && !stopping => sharing = changed.is_ok(),
                Some(ended) = drivers.join_next(), if !drivers.is_empty() => {
                    let (name, ended) = ended.context("a source panicked")?;
                    let stopped = running.remove(&name).is_some_and(|token| token.is_cancelled());
                    if !stopped {
                        finished.insert(name);
                    }
                    if ended.is_err() {
                        ending.cancel();
                        result = result.and(ended);
                    }
                }
            }
        }
    }

    /// Starts what is wanted and does not run, and stops what runs and is not wanted.
    fn apply(
        &self,
        wanted: &Ours,
        finished: &Ours,
        running: &mut BTreeMap<SourceName, CancellationToken>,
        drivers: &mut JoinSet<Ended>,
        ending: &CancellationToken,
    ) -> anyhow::Result<()> {
        for (name, token) in running.iter() {
            if !wanted.contains(name) && !token.is_cancelled() {
                tracing::info!(source = name.as_str(), "the source is no longer ours");
                token.cancel();
            }
        }
        for (name, status) in &self.statuses {
            if !wanted.contains(name) && !running.contains_key(name) {
                status.standby();
            }
        }
        for name in wanted {
            if running.contains_key(name) || finished.contains(name) {
                continue;
            }
            let Some(status) = self.statuses.get(name).cloned() else { continue };
            tracing::info!(source = name.as_str(), "reading the source");
            status.connecting();
            let driven = self.config.driven(*name, &self.symbols)?;
            let token = ending.child_token();
            let way = Way {
                outbox: self.outbox.clone(),
                status,
                clock: Clock::Wall,
                keep_payloads: self.config.keeps_payloads(*name),
                state_dir: Some(self.config.spill_dir.clone()),
                predecessor: None,
                shutdown: token.clone(),
            };
            let (name, predecessors) = (*name, self.predecessors.clone());
            running.insert(name, token.clone());
            drivers.spawn(async move {
                // In the source's own task: what the log is slow to tell of one source holds up no other.
                match token.run_until_cancelled(taking_over(way, &predecessors)).await {
                    Some(way) => (name, driven.drive(way).await),
                    None => (name, Ok(())),
                }
            });
        }
        Ok(())
    }
}

/// The way with what the log knows of the time before.
async fn taking_over(way: Way, predecessors: &Predecessors) -> Way {
    let source = way.status.source();
    let left_open = way.outbox.open_gaps().of(source).into_iter().map(|(_, gap)| gap.id).collect();
    let before = predecessors.of(source, left_open).await;
    for id in before.closed {
        // Another producer has read the source since we were killed and has closed it: closed again, it would be too long.
        way.outbox.open_gaps().closed(id);
    }
    Way { predecessor: before.predecessor, ..way }
}
