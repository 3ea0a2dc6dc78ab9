//! The open gaps on disk, beside the spill, so that a producer that was killed leaves none open for ever: the next one takes
//! them over and closes each under its own id. Must never happen here: a gap that is published open and is not in the file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pipeline::events::Gap;
use uuid::Uuid;

use crate::gaps::ledger::Scope;

const FILE: &str = "open-gaps.json";

/// Without a folder (the default) it forgets with the process.
#[derive(Default)]
pub struct OpenGaps {
    path: Option<PathBuf>,
    open: Mutex<Vec<(Scope, Gap)>>,
}

impl OpenGaps {
    /// What the last producer left open. A file that cannot be read is set aside: it may cost old closings, never the start.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let read = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)),
        };
        let open = read.unwrap_or_else(|error| {
            let aside = dir.join(format!("{FILE}.unreadable"));
            let moved = fs::rename(&path, &aside).map_or_else(|error| error.to_string(), |()| aside.display().to_string());
            tracing::warn!(path = %path.display(), %error, moved, "gaps that an earlier run left open cannot be read and stay open");
            Vec::new()
        });
        Self { path: Some(path), open: Mutex::new(open) }
    }

    /// The gaps of this source that are open.
    #[must_use]
    pub fn of(&self, source: &str) -> Vec<(Scope, Gap)> {
        self.lock().iter().filter(|(_, gap)| gap.source == source).cloned().collect()
    }

    /// The gaps of sources other than these.
    #[must_use]
    pub fn of_others(&self, sources: &[&str]) -> Vec<Gap> {
        self.lock().iter().map(|(_, gap)| gap).filter(|gap| !sources.contains(&gap.source.as_str())).cloned().collect()
    }

    /// Call it before the opening is published.
    pub fn opened(&self, scope: &Scope, gap: &Gap) {
        let mut open = self.lock();
        open.push((scope.clone(), gap.clone()));
        self.write(&open);
    }

    /// Call it after the closing was handed to the publisher: a closing told twice is harmless, one never told is not.
    pub fn closed(&self, id: Uuid) {
        let mut open = self.lock();
        let before = open.len();
        open.retain(|(_, gap)| gap.id != id);
        if open.len() < before {
            self.write(&open);
        }
    }

    /// A disk that refuses is no reason to stop: the next change writes all of it again.
    fn write(&self, open: &[(Scope, Gap)]) {
        let Some(path) = &self.path else { return };
        if let Err(error) = replace(path, open) {
            tracing::warn!(path = %path.display(), %error, "open gaps cannot be kept on disk; a crash now leaves them open");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Scope, Gap)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of the file or none of it, whenever the process or the machine stops.
fn replace(path: &Path, open: &[(Scope, Gap)]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(open)?)?;
    file.sync_data()?;
    fs::rename(&new, path)
}
