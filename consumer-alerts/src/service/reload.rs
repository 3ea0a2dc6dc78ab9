//! The rules file, looked at every second. A change that is the same at two looks, so that nobody is in the middle of writing
//! it, takes the place of what holds at the next batch; a bad one is told once and what holds stays.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::rules::Rules;

const EVERY: Duration = Duration::from_secs(1);

/// The rules that hold, and those that will.
#[derive(Clone, Debug)]
pub struct Holding(watch::Receiver<Rules>);

impl Holding {
    /// Those that hold now. Whoever asks this is told of a change all the same.
    pub fn now(&self) -> Rules {
        self.0.borrow().clone()
    }

    /// Those that hold now, if they have changed since this was asked last.
    pub fn changed(&mut self) -> Option<Rules> {
        self.0.has_changed().unwrap_or(false).then(|| self.0.borrow_and_update().clone())
    }
}

/// Follows the file until `shutdown`.
pub fn watch(file: Option<PathBuf>, rules: Rules, shutdown: CancellationToken) -> Holding {
    tell_count(&rules);
    // There from the start: of a counter that appears with its first refusal nobody sees that it has grown.
    metrics::counter!("tickstream_alert_rules_refused_total").increment(0);
    let (holds, held) = watch::channel(rules);
    if let Some(file) = file {
        tokio::spawn(shutdown.run_until_cancelled_owned(look(file, holds)));
    }
    Holding(held)
}

async fn look(file: PathBuf, holds: watch::Sender<Rules>) {
    // The content, not its time: a mounted map is swapped by a link, and a link has a time of its own.
    let first = content(&file).await;
    let mut seen = Seen { taken: first.clone(), last: first };
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(changed) = seen.look(content(&file).await).cloned() else { continue };
        // The largest file that is allowed takes a while.
        let parsed = tokio::task::spawn_blocking(move || changed.and_then(|bytes| config::parse(&bytes))).await;
        match parsed.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(rules) => {
                tell_count(&rules);
                tracing::info!(file = %file.display(), rules = rules.iter().count(), "the rules have changed");
                holds.send_replace(rules);
            }
            Err(why) => {
                metrics::counter!("tickstream_alert_rules_refused_total").increment(1);
                tracing::error!(
                    file = %file.display(),
                    "cannot use the rules in {}: {why}; the rules before it stay",
                    file.display()
                );
            }
        }
    }
}

/// What a file says, or why it cannot be read.
type Content = Result<Vec<u8>, String>;

struct Seen {
    taken: Content,
    last: Content,
}

impl Seen {
    /// What the file says, if that is something else than what was taken up, and the same as at the last look.
    fn look(&mut self, now: Content) -> Option<&Content> {
        let is_still = now == self.last;
        self.last = now;
        if !is_still || self.last == self.taken {
            return None;
        }
        self.taken.clone_from(&self.last);
        Some(&self.taken)
    }
}

async fn content(file: &Path) -> Content {
    let file = file.to_owned();
    let read = tokio::task::spawn_blocking(move || config::content(&file)).await;
    read.unwrap_or_else(|error| Err(error.to_string()))
}

fn tell_count(rules: &Rules) {
    #[expect(clippy::cast_precision_loss, reason = "at most ten thousand")]
    metrics::gauge!("tickstream_alert_rules").set(rules.iter().filter(|rule| rule.enabled).count() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_up_once_it_is_the_same_at_two_looks() {
        let text = |text: &str| Ok(text.as_bytes().to_vec());
        let mut seen = Seen { taken: text("a"), last: text("a") };
        let mut look = |now: &Content| seen.look(now.clone()).cloned();
        assert_eq!(look(&text("a")), None);
        assert_eq!(look(&text("half of")), None, "somebody writes");
        assert_eq!(look(&text("half of b")), None);
        assert_eq!(look(&text("half of b")), Some(text("half of b")));
        assert_eq!(look(&text("half of b")), None, "once");
        let gone: Content = Err("gone".to_owned());
        assert_eq!(look(&gone), None, "a link is swapped");
        assert_eq!(look(&text("half of b")), None);
        assert_eq!(look(&text("half of b")), None, "what holds already");
        assert_eq!((look(&gone), look(&gone), look(&gone)), (None, Some(gone.clone()), None));
    }

    #[test]
    fn who_asks_what_holds_is_told_of_a_change_all_the_same() {
        let rules = |name: &str| {
            Rules::parse(&format!("[[rule]]\nname = \"{name}\"\nkind = \"stale_feed\"\n")).expect("good rules")
        };
        let name = |rules: &Rules| rules.iter().next().map(|rule| rule.name.clone());
        let (holds, held) = watch::channel(rules("before"));
        let mut holding = Holding(held);
        assert_eq!(name(&holding.now()).as_deref(), Some("before"));
        assert!(holding.changed().is_none());
        // One engine has begun, another begins.
        holds.send_replace(rules("after"));
        assert_eq!(name(&holding.now()).as_deref(), Some("after"));
        assert_eq!(holding.changed().as_ref().and_then(name).as_deref(), Some("after"), "the first one hears of it");
        assert!(holding.changed().is_none());
    }
}
