//! Files that secrets were read from. Whoever reads one says so here, so that the process can begin anew with what
//! stands in it later. Invariants: what is kept of a secret is a keyed hash that means nothing outside this process;
//! what is no regular file, such as a pipe, gives its content once and is not looked at again. Must never happen here:
//! a secret in a message.

mod anew;
mod twins;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

pub use anew::{Anew, SecretArgs, begin_anew};
pub use twins::{parse, parse_from, with_files};

static READ: LazyLock<Mutex<BTreeMap<PathBuf, Content>>> = LazyLock::new(Mutex::default);
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// What a file held: enough to tell whether it holds something else now, and whether that can be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    hash: u64,
    is_text: bool,
    is_pem: bool,
}

/// Why a file that a secret was read from cannot be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unusable {
    Gone(std::io::ErrorKind),
    Empty,
    HalfWritten,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(kind) => write!(f, "cannot be read: {kind}"),
            Self::Empty => f.write_str("is empty"),
            Self::HalfWritten => f.write_str("seems to be half written"),
        }
    }
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes);
        Self {
            hash: KEY.hash_one(bytes),
            is_text: text.is_ok(),
            is_pem: text.is_ok_and(|text| text.contains("-----BEGIN")),
        }
    }

    /// What stands in a file that held `self`.
    fn now(self, path: &Path) -> Result<Self, Unusable> {
        let bytes = std::fs::read(path).map_err(|error| Unusable::Gone(error.kind()))?;
        if bytes.trim_ascii().is_empty() {
            return Err(Unusable::Empty);
        }
        let now = Self::of(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let is_whole_pem = now.is_pem && text.matches("-----BEGIN").count() == text.matches("-----END").count();
        if (self.is_text && !now.is_text) || (self.is_pem && !is_whole_pem) {
            return Err(Unusable::HalfWritten);
        }
        Ok(now)
    }
}

/// The text of a file that holds a secret.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    remember(path, text.as_bytes());
    Ok(text)
}

/// Says that a library reads this file. One that cannot be read is for the library to tell.
pub fn note(path: impl AsRef<Path>) {
    let path = path.as_ref();
    if is_file(path)
        && let Ok(bytes) = std::fs::read(path)
    {
        remember(path, &bytes);
    }
}

/// Whether it can be read more than once: of a pipe a second reader waits, and takes what is another's.
fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file())
}

/// Says which files a Postgres client reads because of this URL: certificates, and libpq's file of passwords.
pub fn note_postgres(url: &str) {
    if let Ok(url) = reqwest::Url::parse(url) {
        let names = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
        url.query_pairs().filter(|(name, _)| names.contains(&name.as_ref())).for_each(|(_, path)| note(path.as_ref()));
    }
    for name in ["PGPASSFILE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"] {
        note_named_by(name);
    }
}

/// Says which file of keys the AWS SDK reads, where it reads one.
pub fn note_aws() {
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some_and(|id| !id.is_empty()) {
        return;
    }
    note_named_by("AWS_SHARED_CREDENTIALS_FILE");
    if let (None, Some(home)) = (std::env::var_os("AWS_SHARED_CREDENTIALS_FILE"), std::env::home_dir()) {
        note(home.join(".aws/credentials"));
    }
}

fn note_named_by(variable: &str) {
    if let Some(path) = std::env::var_os(variable) {
        note(PathBuf::from(path));
    }
}

/// The first to read a file counts: whoever reads it later has the newer secret, and those before do not.
fn remember(path: &Path, bytes: &[u8]) {
    if !is_file(path) {
        return;
    }
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    read.entry(path.to_owned()).or_insert_with(|| Content::of(bytes));
}

fn remembered() -> BTreeMap<PathBuf, Content> {
    READ.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_told_apart_from_a_new_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let before = |bytes: &[u8]| Content::of(bytes);
        let pem = b"-----BEGIN KEY-----\nAA\n-----END KEY-----\n";
        type Case<'a> = (&'a [u8], Option<&'a [u8]>, Result<bool, Unusable>);
        let cases: [Case<'_>; 8] = [
            (b"old", Some(b"old"), Ok(false)),
            (b"old", Some(b"new"), Ok(true)),
            (b"old", Some(b" \n"), Err(Unusable::Empty)),
            (b"old", Some(b"\xff\xfe"), Err(Unusable::HalfWritten)),
            (b"\xff\xfe", Some(b"\xff\xfd"), Ok(true)),
            (pem, Some(b"-----BEGIN KEY-----\nAA"), Err(Unusable::HalfWritten)),
            (pem, Some(b"-----BEGIN KEY-----\nBB\n-----END KEY-----\n"), Ok(true)),
            (b"old", None, Err(Unusable::Gone(std::io::ErrorKind::NotFound))),
        ];
        for (old, new, expected) in cases {
            drop(std::fs::remove_file(&path));
            if let Some(new) = new {
                std::fs::write(&path, new).expect("written");
            }
            let found = before(old).now(&path).map(|now| now != before(old));
            assert_eq!(
                found,
                expected,
                "{:?} after {:?}",
                new.map(String::from_utf8_lossy),
                String::from_utf8_lossy(old)
            );
        }
    }

    #[test]
    fn what_is_no_regular_file_is_not_looked_at_again() {
        let pipe = Path::new("/dev/null");
        assert_eq!(read(pipe).expect("it can be read"), "");
        note(pipe);
        assert!(!remembered().contains_key(pipe));
    }

    #[test]
    fn the_files_of_a_database_url_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("ca.pem");
        std::fs::write(&root, "x").expect("written");
        note_postgres(&format!("postgres://u:p@h/d?sslmode=verify-full&sslrootcert={}&sslkey=/gone", root.display()));
        let read = remembered();
        assert!(read.contains_key(&root) && !read.contains_key(Path::new("/gone")), "{:?}", read.keys());
    }
}
