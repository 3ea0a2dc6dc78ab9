//! The local disk, which holds copies and what does not fit into memory. Nothing on it is needed after a run: one that fails
//! costs the run, and no object. Invariant: a disk that cannot be written is never taken for a damaged object, or for one
//! that says nothing. Must never happen here: a retry.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The local disk did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Disk {
    #[error(
        "the disk below {} is full: give it room, or name another folder by REFINER_TEMP_DIR; nothing is half written, and \
         the next run goes on where this one ended",
        .0.display()
    )]
    Full(PathBuf),
    #[error("the disk below {} does not work", .0.display())]
    Failed(PathBuf),
}

/// Says of an error of the disk's own which disk it is.
pub fn failed(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    if error.is::<Disk>() {
        return error;
    }
    let folder = folder.to_owned();
    let disk = if is_full(&error) { Disk::Full(folder) } else { Disk::Failed(folder) };
    error.context(disk)
}

/// The same of an error that may have other reasons: those stay as they are.
pub fn told(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    if is_full(&error) { failed(error, folder) } else { error }
}

/// Whether nothing more can be written, by the disk, a quota, or a bound on a file's size.
pub fn is_full(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kinds
        .into_iter()
        .any(|kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_known_whoever_wrote_to_it() {
        use arrow::error::ArrowError;
        use datafusion::error::DataFusionError;

        let full = || std::fs::write("/dev/full", b"x").expect_err("it is always full");
        let spilled = ArrowError::IoError("spill".to_owned(), full());
        for error in [
            anyhow::Error::new(full()).context("a local copy"),
            anyhow::Error::new(DataFusionError::ArrowError(Box::new(spilled), None)),
        ] {
            let error = told(error, Path::new("/tmp/here"));
            let error = told(error, Path::new("/tmp/there")).context("ticks/2026-03-02/00");
            assert!(matches!(error.downcast_ref(), Some(Disk::Full(folder)) if folder == Path::new("/tmp/here")));
        }
    }

    #[test]
    fn other_errors_keep_their_own_words() {
        let gone = std::fs::read("/nowhere/at/all").context("a local copy").expect_err("it is not there");
        let error = told(gone, Path::new("/tmp"));
        assert!(!error.is::<Disk>());
        assert!(matches!(failed(error, Path::new("/tmp")).downcast_ref(), Some(Disk::Failed(_))));
    }
}
