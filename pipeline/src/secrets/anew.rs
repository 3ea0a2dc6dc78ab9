//! A service whose secrets change begins anew: it drains as after SIGTERM, then the process replaces itself by the same program with
//! the same arguments, which reads its files afresh. Kafka clients, certificates and pools thus take a new secret up in one way.
//! Invariant: a process that was told to end does not begin anew. A file that is gone, empty or half written changes nothing.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Content, note_named_by, remembered};

#[derive(Args, Clone, Copy, Debug)]
pub struct SecretArgs {
    /// How often the files that secrets were read from are looked at; 0: never. When one has changed the service drains and begins
    /// anew with it.
    #[arg(long, env = "SECRETS_CHECK_SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub secrets_check_seconds: u64,
    /// It waits up to so many seconds more, by chance, so that not all replicas do it at once.
    #[arg(long, env = "SECRETS_SPREAD_SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub secrets_spread_seconds: u64,
}

/// A service has drained because a secret changed: the process is to begin anew.
#[derive(Debug, thiserror::Error)]
#[error("a secret has changed")]
pub struct Anew;

impl SecretArgs {
    /// Runs a service until `shutdown`, or until a secret that it has read changes.
    ///
    /// # Errors
    /// The service's own; [`Anew`] where it has drained for a secret's sake.
    pub async fn watch<F>(
        self,
        shutdown: CancellationToken,
        service: impl FnOnce(CancellationToken) -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let drain = shutdown.child_token();
        let running = service(drain.clone());
        let watching = tokio::spawn({
            let drain = drain.clone();
            async move {
                let has_changed = drain.run_until_cancelled(self.changed()).await.is_some();
                drain.cancel();
                has_changed
            }
        });
        let result = running.await;
        drain.cancel();
        let has_changed = watching.await.unwrap_or(false);
        ended(result, has_changed && !shutdown.is_cancelled())
    }

    /// Returns once a secret has changed, and stayed as it is now.
    async fn changed(self) {
        if self.secrets_check_seconds == 0 {
            return std::future::pending().await;
        }
        // What the system's roots are replaced by.
        note_named_by("SSL_CERT_FILE");
        let every = Duration::from_secs(self.secrets_check_seconds);
        let mut look = Look::default();
        loop {
            tokio::time::sleep(every).await;
            let Some(file) = look.again(&remembered()) else { continue };
            let spread = Duration::from_secs(self.secrets_spread_seconds).mul_f64(fastrand::f64());
            tracing::info!(file = %file.display(), in_seconds = spread.as_secs(), "a secret has changed: the service will begin anew");
            tokio::time::sleep(spread).await;
            if look.again(&remembered()).is_some() {
                tracing::info!("beginning anew with the changed secret: draining");
                return;
            }
        }
    }
}

/// How a service has ended. A drain that failed keeps no process from its new secret: the old one may be why.
fn ended(result: anyhow::Result<()>, for_a_secret: bool) -> anyhow::Result<()> {
    if !for_a_secret {
        return result;
    }
    if let Err(error) = result {
        tracing::warn!("the service did not drain well, and begins anew all the same: {error:#}");
    }
    Err(Anew.into())
}

/// The looks at the files, one after the other.
#[derive(Default)]
struct Look {
    last: BTreeMap<PathBuf, Content>,
    said: Option<String>,
}

impl Look {
    /// A file that holds another secret than was read from it, where none of them can be half written: the files were the same
    /// at the look before.
    fn again(&mut self, read: &BTreeMap<PathBuf, Content>) -> Option<PathBuf> {
        let now: Result<BTreeMap<PathBuf, Content>, String> = read
            .iter()
            .map(|(path, content)| match content.now(path) {
                Ok(now) => Ok((path.clone(), now)),
                Err(why) => Err(format!("{} {why}", path.display())),
            })
            .collect();
        metrics::gauge!("tickstream_secrets_unusable").set(f64::from(u8::from(now.is_err())));
        let now = match now {
            Ok(now) => now,
            Err(why) => {
                if self.said.as_ref() != Some(&why) {
                    tracing::warn!("going on with the secret as it was: {why}");
                }
                self.said = Some(why);
                self.last.clear();
                return None;
            }
        };
        if self.said.take().is_some() {
            tracing::info!("the files of the secrets can be read again");
        }
        let changed = read.iter().find(|(path, content)| now.get(*path) != Some(content)).map(|(path, _)| path.clone());
        let is_settled = now == self.last;
        self.last = now;
        changed.filter(|_| is_settled)
    }
}

/// Replaces the process by the same program with the same arguments. Returns only when that is not possible.
pub fn begin_anew() -> std::io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    // A program that was replaced where it stood has no file any more, and another one has its name.
    let itself = std::env::current_exe().ok().filter(|program| program.is_file());
    let Some(program) = itself.or_else(|| name.as_ref().map(PathBuf::from)) else {
        return std::io::ErrorKind::NotFound.into();
    };
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    if let Some(name) = name {
        command.arg0(name);
    }
    command.exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_that_failed_begins_anew_as_well() {
        let failed = || Err(anyhow::anyhow!("the broker is away"));
        for result in [Ok(()), failed()] {
            assert!(ended(result, true).is_err_and(|error| error.is::<Anew>()));
        }
        assert!(ended(Ok(()), false).is_ok());
        assert!(ended(failed(), false).is_err_and(|error| !error.is::<Anew>()));
    }

    #[test]
    fn a_change_counts_once_it_has_settled_and_no_other_file_is_half_written() {
        const PEM: &str = "-----BEGIN KEY-----\n-----END KEY-----";
        let folder = tempfile::tempdir().expect("a folder");
        let (password, key) = (folder.path().join("password"), folder.path().join("key"));
        std::fs::write(&password, "old").expect("written");
        std::fs::write(&key, PEM).expect("written");
        let read = [(password.clone(), Content::of(b"old")), (key.clone(), Content::of(PEM.as_bytes()))].into();
        let mut looks = Look::default();
        let mut look = || looks.again(&read);
        assert_eq!((look(), look()), (None, None), "nothing has changed");
        std::fs::write(&password, "new").expect("written");
        assert_eq!(look(), None, "it may be written still");
        std::fs::write(&password, "newer").expect("written");
        assert_eq!(look(), None, "it was written still");
        std::fs::write(&key, "-----BEGIN KEY-----\n").expect("written");
        assert_eq!((look(), look()), (None, None), "the key is half written");
        std::fs::remove_file(&key).expect("removed");
        assert_eq!((look(), look()), (None, None), "the key is gone");
        std::fs::write(&key, PEM).expect("written");
        assert_eq!((look(), look()), (None, Some(password.clone())));
        std::fs::write(&password, "old").expect("written");
        assert_eq!((look(), look()), (None, None), "it is what was read");
    }
}
