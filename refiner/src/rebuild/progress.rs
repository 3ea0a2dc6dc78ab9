//! How far a rebuild is, so that the same command goes on after a kill. Invariant: a day counts as done only once the state holds
//! what it leaves to the next run. Must never happen here: progress of another range, layer or version that is taken for this.

use std::collections::BTreeSet;
use std::future::ready;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::config::RebuildArgs;
use crate::objects::New;
use crate::refiner::Refiner;
use crate::service::say;
use crate::state::State;
use crate::tables::Table;

/// How far a rebuild is: the days that were begun and those that are done, by layer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    what: String,
    #[serde(default)]
    begun: BTreeSet<String>,
    done: BTreeSet<String>,
}

impl Progress {
    fn key(refiner: &Refiner) -> String {
        refiner.prefixes.state("rebuild")
    }

    pub async fn read(refiner: &Refiner, args: &RebuildArgs) -> anyhow::Result<Self> {
        let layer = args.layer.map_or_else(|| "all".to_owned(), |layer| format!("{layer:?}").to_lowercase());
        let versions: Vec<String> = Table::ALL.iter().map(|table| table.version().to_string()).collect();
        let what = format!(
            "{} to {}, {layer} in {} and {}, decoder {}, tables {}",
            args.from,
            args.to,
            refiner.prefixes.silver,
            refiner.prefixes.gold,
            lake::bronze::VERSION,
            versions.join(" ")
        );
        let stored = if args.dry_run { None } else { refiner.objects.get(&Self::key(refiner)).await? };
        let stored: Option<Self> = stored.and_then(|object| serde_json::from_slice(&object.bytes).ok());
        match stored.filter(|stored| stored.what == what) {
            Some(stored) => {
                let days = stored.done.len();
                let key = Self::key(refiner);
                say(&format!(
                    "going on with a rebuild that was ended: {days} days of layers were done by it and are left out; to make them \
                     again too, delete {key} first"
                ))?;
                Ok(stored)
            }
            None => Ok(Self { what, ..Self::default() }),
        }
    }

    pub fn has(&self, layer: &str, day: Date) -> bool {
        self.done.contains(&format!("{layer}/{day}"))
    }

    /// Whether it was begun before, and not done.
    pub async fn begin(&mut self, refiner: &Refiner, layer: &str, day: Date) -> anyhow::Result<bool> {
        let new = self.begun.insert(format!("{layer}/{day}"));
        if new {
            self.write(refiner).await?;
        }
        Ok(!new)
    }

    pub async fn finish(&mut self, refiner: &Refiner, layer: &str, day: Date) -> anyhow::Result<()> {
        let name = format!("{layer}/{day}");
        self.begun.remove(&name);
        self.done.insert(name);
        self.write(refiner).await
    }

    async fn write(&self, refiner: &Refiner) -> anyhow::Result<()> {
        if refiner.objects.is_dry() {
            return Ok(());
        }
        // Two rebuilds at once only repeat each other's work: whose progress is remembered does not matter.
        refiner.objects.update(&Self::key(refiner), |_| ready(New::json(self).map(Some))).await.map(drop)
    }

    pub async fn end(self, refiner: &Refiner) -> anyhow::Result<()> {
        if refiner.objects.is_dry() {
            return Ok(());
        }
        Ok(refiner.objects.store().delete(&Self::key(refiner)).await?)
    }
}

/// The refiner's state, as it stands in the store and as it is to be.
pub(super) struct Stored {
    pub state: State,
    standing: State,
    etag: Option<String>,
}

impl Stored {
    pub async fn read(refiner: &Refiner) -> anyhow::Result<Self> {
        let (state, etag) = State::read(refiner.objects.store(), &refiner.prefixes.state("state")).await?;
        Ok(Self { standing: state.clone(), state, etag })
    }

    pub async fn write(&mut self, refiner: &Refiner) -> anyhow::Result<()> {
        if self.state == self.standing || refiner.objects.is_dry() {
            return Ok(());
        }
        self.state.write(&refiner.objects, &refiner.prefixes.state("state"), &mut self.etag).await?;
        self.standing = self.state.clone();
        Ok(())
    }
}
