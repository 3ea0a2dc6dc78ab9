//! What stood before, below `generations/NAME/kept/PROMOTION/NUMBER/` and its own key: its bytes, its metadata, and the checksum of
//! what takes its place, in one object, created and never replaced. A promotion that finds another object than the one it kept
//! earlier keeps that too, under the next number. Must never happen here: something kept that is overwritten.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, ensure};
use bytes::Bytes;
use pipeline::store::{Condition, Head, Object, Put, Store};
use sha2::{Digest, Sha256};

use crate::replay::generation::lake::keys;

/// SHA-256 of the bytes that were kept; [`NOTHING`] where there was no object.
const WAS: &str = "tickstream-replay-was";
/// SHA-256 of the bytes that take their place.
const MADE: &str = "tickstream-replay-made";
const NOTHING: &str = "nothing";
/// The bytes were not those that had been written: kept with a checksum of their own, they would be taken for sound.
const DAMAGED: &str = "tickstream-replay-damaged";

/// What one promotion kept.
pub struct Kept {
    store: Store,
    promotion: u64,
    /// By live key: the numbers under which it was kept.
    numbers: BTreeMap<String, Vec<u64>>,
}

/// What stood there before.
pub enum Before {
    Nothing,
    Damaged,
    Object(Bytes, HashMap<String, String>),
}

pub fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Kept {
    pub async fn read(store: Store, promotion: u64) -> anyhow::Result<Self> {
        let mut kept = Self { store, promotion, numbers: BTreeMap::new() };
        for key in keys(&kept.store, &kept.prefix(), ".parquet").await? {
            let rest = key.strip_prefix(&kept.prefix()).and_then(|rest| rest.split_once('/'));
            if let Some((number, live)) = rest
                && let Ok(number) = number.parse()
            {
                kept.numbers.entry(live.to_owned()).or_default().push(number);
            }
        }
        Ok(kept)
    }

    fn prefix(&self) -> String {
        format!("kept/{:04}/", self.promotion)
    }

    fn place(&self, live: &str, number: u64) -> String {
        format!("{}{number:04}/{live}", self.prefix())
    }

    /// The live keys of which something was kept.
    pub fn keys(&self) -> Vec<String> {
        self.numbers.keys().cloned().collect()
    }

    /// Keeps `stored`, whose place `made` takes, unless it is kept for that already.
    pub async fn keep(&mut self, live: &str, stored: Option<&Object>, made: &Bytes) -> anyhow::Result<()> {
        let was = stored.map_or_else(|| NOTHING.to_owned(), |stored| checksum(&stored.bytes));
        let made = checksum(made);
        let last = self.numbers.get(live).and_then(|numbers| numbers.last()).copied();
        if let Some(number) = last
            && self.head(live, number).await?.is_some_and(|head| says(&head, &was, &made))
        {
            return Ok(());
        }
        let number = last.map_or(1, |last| last + 1);
        let mut metadata = stored.map(|stored| stored.head.metadata.clone()).unwrap_or_default();
        metadata.extend([(WAS.to_owned(), was.clone()), (MADE.to_owned(), made.clone())]);
        if stored.is_some_and(|stored| stored.is_as_written() == Some(false)) {
            metadata.insert(DAMAGED.to_owned(), true.to_string());
        }
        let bytes = stored.map(|stored| stored.bytes.clone()).unwrap_or_default();
        let put = self.store.put(&self.place(live, number), bytes, metadata, Condition::IfNoneMatch).await;
        if !matches!(put, Ok(Put::Done { .. })) {
            let stands = self.head(live, number).await?;
            ensure!(
                stands.is_some_and(|head| says(&head, &was, &made)),
                "what stands there could not be kept ({put:?}): is another `tickstream replay` at work on this generation?"
            );
        }
        self.numbers.entry(live.to_owned()).or_default().push(number);
        Ok(())
    }

    /// What stood there before the object of this checksum was made of it; nothing where the promotion made no such object.
    pub async fn before(&self, live: &str, made: &str) -> anyhow::Result<Option<Before>> {
        for number in self.numbers.get(live).into_iter().flatten().rev() {
            let head = self.head(live, *number).await?.context("what was kept is gone")?;
            if head.metadata.get(MADE).map(String::as_str) != Some(made) {
                continue;
            }
            if head.metadata.get(WAS).map(String::as_str) == Some(NOTHING) {
                return Ok(Some(Before::Nothing));
            }
            if head.metadata.contains_key(DAMAGED) {
                return Ok(Some(Before::Damaged));
            }
            let object = self.store.get(&self.place(live, *number)).await?.context("what was kept is gone")?;
            ensure!(object.is_as_written() == Some(true), "what was kept of it is damaged: it is not put back");
            let mut metadata = object.head.metadata;
            metadata.retain(|name, _| name != WAS && name != MADE);
            return Ok(Some(Before::Object(object.bytes, metadata)));
        }
        Ok(None)
    }

    /// Whether the object of this checksum was kept: then it stands there again, or still.
    pub async fn is_known(&self, live: &str, was: &str) -> anyhow::Result<bool> {
        for number in self.numbers.get(live).into_iter().flatten() {
            let head = self.head(live, *number).await?;
            if head.is_some_and(|head| head.metadata.get(WAS).map(String::as_str) == Some(was)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn head(&self, live: &str, number: u64) -> anyhow::Result<Option<Head>> {
        Ok(self.store.head(&self.place(live, number)).await?)
    }
}

fn says(head: &Head, was: &str, made: &str) -> bool {
    head.metadata.get(WAS).map(String::as_str) == Some(was) && head.metadata.get(MADE).map(String::as_str) == Some(made)
}
