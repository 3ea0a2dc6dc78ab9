//! The one folder under which a stack keeps everything: `kafka/`, `postgres/`, `s3/`, `logs/`, and the credentials that
//! a kept folder needs again. Invariant: one stack at a time owns a folder (a file lock says so); a temporary folder is
//! gone once its stack is. Never put a secret here in a file that others may read.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};

pub struct DataFolder {
    path: PathBuf,
    temporary: bool,
    _lock: Flock<File>,
}

impl DataFolder {
    /// Opens `kept`, creating it if it is not there, or makes a temporary folder.
    pub(crate) fn open(kept: Option<&Path>) -> anyhow::Result<Self> {
        let path = match kept {
            Some(path) => fs::create_dir_all(path)
                .and_then(|()| path.canonicalize())
                .map_err(|err| pipeline::misconfigured(format!("cannot use data folder {}: {err}", path.display())))?,
            None => tempfile::Builder::new()
                .prefix("tickstream-")
                .tempdir()
                .context("cannot make a temporary data folder")?
                .keep(),
        };
        // Postgres may run as another user and has to pass through, not to look around.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
        fs::create_dir_all(path.join("logs"))?;
        let lock =
            Flock::lock(File::create(path.join("lock"))?, FlockArg::LockExclusiveNonblock).map_err(|(_, _)| {
                pipeline::misconfigured(format!(
                    "data folder {} is in use by another stack: stop that one or choose another --data-dir",
                    path.display()
                ))
            })?;
        Ok(Self { path, temporary: kept.is_none(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    pub fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// The secret called `name`: random, made once a folder.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path.join(format!("{name}.secret"));
        match fs::read_to_string(&path) {
            Ok(secret) => return Ok(secret),
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            Err(err) => return Err(err).with_context(|| format!("cannot read {}", path.display())),
        }
        let secret = uuid::Uuid::new_v4().simple().to_string();
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        std::io::Write::write_all(&mut file, secret.as_bytes())?;
        Ok(secret)
    }
}
