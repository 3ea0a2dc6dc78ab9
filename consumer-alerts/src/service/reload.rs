//! The rules file, looked at every two seconds. A good change takes the place of what holds at the next batch; a bad one is
//! told once and what holds stays.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::rules::Rules;

const EVERY: Duration = Duration::from_secs(2);

/// The rules that hold, and those that will.
pub fn watch(file: Option<PathBuf>, rules: Rules, shutdown: CancellationToken) -> watch::Receiver<Rules> {
    tell_count(&rules);
    let (holds, held) = watch::channel(rules);
    if let Some(file) = file {
        tokio::spawn(shutdown.run_until_cancelled_owned(look(file, holds)));
    }
    held
}

async fn look(file: PathBuf, holds: watch::Sender<Rules>) {
    // The content, not its time: a mounted map is swapped by a link, and a link has a time of its own.
    let mut known = tokio::fs::read(&file).await.ok();
    loop {
        tokio::time::sleep(EVERY).await;
        let content = tokio::fs::read(&file).await.ok();
        if content == known {
            continue;
        }
        known = content;
        match config::read(&file) {
            Ok(rules) => {
                tell_count(&rules);
                tracing::info!(file = %file.display(), rules = rules.iter().count(), "the rules have changed");
                holds.send_replace(rules);
            }
            Err(error) => {
                metrics::counter!("tickstream_alert_rules_refused_total").increment(1);
                tracing::error!(file = %file.display(), "{error:#}; the rules before it stay");
            }
        }
    }
}

fn tell_count(rules: &Rules) {
    #[expect(clippy::cast_precision_loss, reason = "at most ten thousand")]
    metrics::gauge!("tickstream_alert_rules").set(rules.iter().filter(|rule| rule.enabled).count() as f64);
}
