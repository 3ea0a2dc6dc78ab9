//! What runs the sources: one driver polls and one listens; both pace themselves, tell apart what failed, and say what is
//! missing. A source never has a loop of its own.

use std::path::PathBuf;

use futures::future::{BoxFuture, try_join_all};
use tokio_util::sync::CancellationToken;

use crate::drive::clock::Clock;
use crate::drive::feed::Feed;
use crate::drive::fetch::Fetch;
use crate::drive::poll::Polled;
use crate::drive::socket::Socketed;
use crate::drive::status::Status;
use crate::gaps::predecessor::Predecessor;
use crate::publish::outbox::Outbox;

pub mod backfill;
pub mod backoff;
pub mod budget;
pub mod clock;
pub mod failure;
pub mod feed;
pub mod fetch;
pub mod future;
pub mod one_way;
pub mod poll;
pub mod quiet;
pub mod socket;
pub mod status;
pub mod trade_runs;
pub mod unchanged;

/// A source with all that its driver needs of it.
pub enum Driven {
    Polled(Polled, Box<dyn Fetch>),
    Pushed(Socketed, Box<dyn Feed>),
    /// What was recorded of several, which come and go as one source.
    Several(Vec<Self>),
}

impl Driven {
    /// Reads the source until shutdown, or until it has no more.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub fn drive(self, way: Way) -> BoxFuture<'static, anyhow::Result<()>> {
        match self {
            Self::Polled(polled, fetch) => Box::pin(poll::poll(polled, fetch, way)),
            Self::Pushed(socketed, feed) => Box::pin(socket::listen(socketed, feed, way)),
            Self::Several(all) => {
                // Each is its own source in the log, so none of them goes on where this one ended.
                let way = Way { state_dir: None, predecessor: None, ..way };
                let driving: Vec<_> = all.into_iter().map(|driven| driven.drive(way.clone())).collect();
                Box::pin(async move { try_join_all(driving).await.map(drop) })
            }
        }
    }

    /// What it is asked for: canonical symbols, or names of indexes.
    #[must_use]
    pub fn asked(&self) -> &[String] {
        match self {
            Self::Polled(polled, _) => &polled.asked,
            Self::Pushed(socketed, _) => &socketed.asked,
            Self::Several(_) => &[],
        }
    }
}

/// What a driver needs of the producer around it.
#[derive(Clone)]
pub struct Way {
    pub outbox: Outbox,
    pub status: Status,
    pub clock: Clock,
    /// Whether payloads are published as they were received.
    pub keep_payloads: bool,
    /// Where what has to outlive the process is kept.
    pub state_dir: Option<PathBuf>,
    /// Who read this source before.
    pub predecessor: Option<Predecessor>,
    pub shutdown: CancellationToken,
}
