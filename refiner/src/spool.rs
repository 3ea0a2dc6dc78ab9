//! Objects of the lake as local files, for DataFusion to read. Invariant: a file holds the bytes that the store gave with
//! exactly that ETag. What was read longest ago goes first when the room is used up; what a query reads is linked into the
//! query's own folder, so it stays until the query is done. A disk that is full takes back what no query reads. Must never
//! happen here: bytes without their ETag.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use pipeline::misconfigured;
use tempfile::TempDir;

use crate::disk;
use crate::objects::Objects;

/// The local files.
#[derive(Debug)]
pub struct Spool {
    folder: TempDir,
    room: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, File>,
    bytes: u64,
    clock: u64,
}

#[derive(Debug)]
struct File {
    etag: String,
    path: PathBuf,
    bytes: u64,
    used: u64,
}

impl Spool {
    /// A spool in a folder of its own below `parent` (the system's temporary folder when `None`), of about `room` bytes.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when the folder cannot be made; that the disk is full is no such mistake.
    pub fn new(parent: Option<&Path>, room: u64) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("refiner-");
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = builder.tempdir_in(&parent).context("a folder for local copies").map_err(|error| {
            if disk::is_full(&error) {
                return disk::failed(error, &parent);
            }
            let parent = parent.display();
            misconfigured(format!("nothing can be kept in {parent}, set by --temp-dir (REFINER_TEMP_DIR): {error:#}"))
        })?;
        Ok(Self { folder, room, state: Mutex::default() })
    }

    /// Where everything of it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A fresh folder for one query, gone when it is dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn query_folder(&self) -> anyhow::Result<TempDir> {
        let folder =
            tempfile::Builder::new().prefix("query-").tempdir_in(self.folder()).context("a folder for a query");
        folder.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: anyhow::Error) -> anyhow::Error {
        disk::failed(error, self.folder())
    }

    /// Puts the object under `key` at `place`: from here when it is known to have `etag` still, else from the store, whatever
    /// is there now. Gives its ETag; `None` when there is no such object.
    ///
    /// # Errors
    /// When the store does not answer, the object is damaged, or the disk cannot be written ([`disk::Disk`]).
    pub async fn fetch(
        &self,
        objects: &Objects,
        key: &str,
        etag: Option<&str>,
        place: &Path,
    ) -> anyhow::Result<Option<String>> {
        if let Some(etag) = etag
            && self.link(key, etag, place)?
        {
            return Ok(Some(etag.to_owned()));
        }
        let Some(object) = objects.get(key).await? else { return Ok(None) };
        anyhow::ensure!(
            object.is_as_written() != Some(false),
            "{key} is damaged: its bytes are not those that were written; `tickstream audit --deep` tells more"
        );
        self.write(key, &object.bytes, place)?;
        self.remember(key, &object.head.etag, object.bytes.len() as u64, place)?;
        Ok(Some(object.head.etag))
    }

    /// An object's ETag and bytes: as [`Spool::fetch`], for who reads it at once.
    ///
    /// # Errors
    /// As [`Spool::fetch`].
    pub async fn read(
        &self,
        objects: &Objects,
        key: &str,
        etag: Option<&str>,
    ) -> anyhow::Result<Option<(String, Bytes)>> {
        let folder = self.query_folder()?;
        let place = folder.path().join("read");
        let Some(etag) = self.fetch(objects, key, etag, &place).await? else { return Ok(None) };
        let bytes = tokio::fs::read(&place).await.with_context(|| format!("a local copy of {key}"));
        Ok(Some((etag, Bytes::from(bytes.map_err(|error| self.failed(error))?))))
    }

    /// How many bytes the object has, where a copy of it is here.
    pub fn bytes(&self, key: &str) -> Option<u64> {
        self.state().files.get(key).map(|file| file.bytes)
    }

    /// Keeps bytes that were just written to the store. Where that cannot be, whoever reads them asks the store.
    pub fn keep(&self, key: &str, etag: &str, bytes: &Bytes) {
        let keep = || {
            let folder = self.query_folder()?;
            let place = folder.path().join("kept");
            self.write(key, bytes, &place)?;
            self.remember(key, etag, bytes.len() as u64, &place)
        };
        if let Err(error) = keep() {
            tracing::debug!(key, "no local copy of {key} is kept: {error:#}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: &str, bytes: &Bytes, place: &Path) -> anyhow::Result<()> {
        let write = || std::fs::write(place, bytes).with_context(|| format!("a local copy of {key}"));
        let written = write().or_else(|error| {
            let again = disk::is_full(&error) && self.state().forget_all();
            if again { write() } else { Err(error) }
        });
        written.map_err(|error| self.failed(error))
    }

    /// Whether the file is here; then it is linked to `place`.
    fn link(&self, key: &str, etag: &str, place: &Path) -> anyhow::Result<bool> {
        let mut state = self.state();
        state.clock += 1;
        let now = state.clock;
        let Some(file) = state.files.get_mut(key).filter(|file| file.etag == etag) else { return Ok(false) };
        file.used = now;
        let linked = std::fs::hard_link(&file.path, place);
        linked.with_context(|| format!("a link to the local copy of {key}")).map_err(|error| self.failed(error))?;
        Ok(true)
    }

    fn remember(&self, key: &str, etag: &str, bytes: u64, place: &Path) -> anyhow::Result<()> {
        let mut state = self.state();
        state.clock += 1;
        let used = state.clock;
        let path = self.folder.path().join(format!("{used:012}.parquet"));
        let linked = std::fs::hard_link(place, &path);
        linked.with_context(|| format!("a link to the local copy of {key}")).map_err(|error| self.failed(error))?;
        state.bytes += bytes;
        if let Some(old) = state.files.insert(key.to_owned(), File { etag: etag.to_owned(), path, bytes, used }) {
            state.forget(&old);
        }
        while state.bytes > self.room {
            let oldest = state.files.iter().min_by_key(|(_, file)| file.used).map(|(name, _)| name.clone());
            let Some(old) = oldest.and_then(|name| state.files.remove(&name)) else { break };
            state.forget(&old);
        }
        Ok(())
    }
}

impl State {
    /// Whether there was anything.
    fn forget_all(&mut self) -> bool {
        let files = std::mem::take(&mut self.files);
        files.values().for_each(|file| self.forget(file));
        !files.is_empty()
    }

    fn forget(&mut self, file: &File) {
        self.bytes -= file.bytes;
        drop(std::fs::remove_file(&file.path));
    }
}
