//! Following the latest prices. A notification is no more than a hint to ask again: it may be of something else, or one
//! of many, or be missed in an outage, so the same statement is asked in any case every few seconds, and never more
//! often than a person can read. Invariant: a price is printed once for each change that a question saw; what changed
//! twice between two questions is printed as it stands. Must never happen here: an end that nobody asked for, or an
//! outage that nobody is told.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail};
use pipeline::Misconfigured;
use serde::Deserialize;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::{Asked, LatestPrice, Printer};
use crate::database::{DatabaseArgs, explain};
use crate::output;

const CHANNEL: &str = "latest_prices";
/// Asked no more often than this, …
const AT_MOST_EVERY: Duration = Duration::from_millis(200);
/// … and no less, heard of or not.
const AT_LEAST_EVERY: Duration = Duration::from_secs(3);
/// A database that has not answered for so long is away.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Follows until nobody reads any more.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the database is there, and has not what is asked or does not show it.
pub async fn follow(
    database: &DatabaseArgs,
    asked: &Asked,
    printed: Vec<LatestPrice>,
    mut printer: Printer,
) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    seen.changed(printed);
    let mut pause = None;
    loop {
        let Err(error) = listen(database, asked, &mut seen, &mut printer, &mut pause).await else { return Ok(()) };
        if error.chain().any(|cause| cause.is::<Misconfigured>()) {
            return Err(error);
        }
        if pause.is_none() {
            output::note(&format!("the database is away ({error:#}); it is asked again until it is back"));
        }
        let now = pause.unwrap_or(FIRST_PAUSE);
        sleep(now).await;
        pause = Some((now * 2).min(LONGEST_PAUSE));
    }
}

/// One connection's time: ends well when nobody reads any more. `pause` is set in an outage, and taken at its end.
async fn listen(
    database: &DatabaseArgs,
    asked: &Asked,
    seen: &mut Seen,
    printer: &mut Printer,
    pause: &mut Option<Duration>,
) -> anyhow::Result<()> {
    // One connection both listens and asks.
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
    let pool = pool.connect_with(database.options()?).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    loop {
        let since = Instant::now();
        while listener.next_buffered().is_some() {}
        let prices = timeout(PATIENCE, asked.prices(&mut listener)).await.context("no answer")?.map_err(explain)?;
        if pause.take().is_some() {
            output::note("the database is back");
        }
        if !printer.print(&seen.changed(prices))? {
            return Ok(());
        }
        match timeout(AT_LEAST_EVERY, hint(&mut listener, asked)).await {
            Ok(heard) => heard?,
            Err(_nothing_heard) => {}
        }
        sleep_until(since + AT_MOST_EVERY).await;
    }
}

/// Waits for a notification that concerns what is asked.
async fn hint(listener: &mut PgListener, asked: &Asked) -> anyhow::Result<()> {
    loop {
        match listener.try_recv().await? {
            Some(notification) if asked.may_concern(notification.payload()) => return Ok(()),
            Some(_) => {}
            None => bail!("the connection was lost"),
        }
    }
}

#[derive(Deserialize)]
struct Hint {
    symbol: String,
    source: String,
}

impl Asked {
    /// A payload that says nothing of symbol and source may be of any.
    fn may_concern(&self, payload: &str) -> bool {
        let Ok(hint) = serde_json::from_str::<Hint>(payload) else { return true };
        let is_among = |names: &Option<Vec<String>>, name| names.as_ref().is_none_or(|names| names.contains(name));
        is_among(&self.symbols, &hint.symbol) && is_among(&self.sources, &hint.source)
    }
}

/// What was printed last of each symbol and source.
#[derive(Default)]
struct Seen(HashMap<(String, String), (Uuid, i32)>);

impl Seen {
    /// Those that were not printed as they are now.
    fn changed(&mut self, prices: Vec<LatestPrice>) -> Vec<LatestPrice> {
        let is_new = |price: &LatestPrice| {
            let now = (price.event_id, price.revision);
            self.0.insert((price.symbol.clone(), price.source.clone()), now) != Some(now)
        };
        prices.into_iter().filter(is_new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_of_something_else_is_passed_over() {
        let text =
            |symbol: &str, source: &str| format!("{{\"symbol\":{symbol:?},\"source\":{source:?},\"price\":\"1\"}}");
        let asked = Asked::new(&["btc-usd".to_owned()], &["kraken".to_owned()]);
        assert!(asked.may_concern(&text("BTC-USD", "kraken")));
        assert!(!asked.may_concern(&text("BTC-USD", "coinbase")) && !asked.may_concern(&text("BTC-EUR", "kraken")));
        assert!(asked.may_concern("") && asked.may_concern("[1]"), "who knows");
        assert!(Asked::new(&[], &[]).may_concern(&text("BTC-EUR", "kraken")));
    }
}
