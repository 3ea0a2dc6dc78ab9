//! One source's open gaps. A failure is one gap from its first failed try to the first good answer: published at once when
//! it opens, and with its end under the same id when it closes. Must never happen here: a gap that closes because time
//! passed rather than because the source answered (or because this producer stopped, from when on it is itself missing).
//! What a producer that was killed left open is taken over and closed here too.

use std::collections::BTreeMap;

use pipeline::events::{Gap, GapReason, event_id};
use serde::{Deserialize, Serialize};

use crate::outbox::Outbox;

/// What a gap is about. One gap is open at most for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// The source does not answer.
    Source,
    /// The source answers without this symbol.
    Symbol(String),
    /// The source's own time for this symbol stands still.
    Stale(String),
}

pub struct GapLedger {
    source: &'static str,
    outbox: Outbox,
    open: BTreeMap<Scope, Open>,
}

struct Open {
    gap: Gap,
    tries: u64,
    latest: String,
}

impl GapLedger {
    /// Begins with what an earlier run left open: the next good answer ends it.
    #[must_use]
    pub fn new(source: &'static str, outbox: Outbox) -> Self {
        let adopted = |(scope, gap): (Scope, Gap)| {
            tracing::info!(source, gap = %gap.id, "an earlier run left a gap open");
            (scope, Open { tries: 1, latest: gap.detail.clone(), gap })
        };
        let open = outbox.open_gaps().of(source).into_iter().map(adopted).collect();
        let ledger = Self { source, outbox, open };
        ledger.show();
        ledger
    }

    /// Closes what an earlier run left open about symbols that are no longer asked for: no answer will tell of them.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn keep_asked(&mut self, asked: &[String], at: i64) -> anyhow::Result<()> {
        let is_asked = |scope: &Scope| match scope {
            Scope::Source => true,
            Scope::Symbol(symbol) | Scope::Stale(symbol) => asked.is_empty() || asked.contains(symbol),
        };
        let unasked: Vec<Open> = self.open.extract_if(.., |scope, _| !is_asked(scope)).map(|(_, open)| open).collect();
        for open in unasked {
            self.close(open, at, "; closed at restart").await?;
        }
        Ok(())
    }

    /// A try failed. The first one opens the gap; later ones are told at its end.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn failed(
        &mut self,
        scope: Scope,
        symbols: Vec<String>,
        reason: GapReason,
        started_at: i64,
        detail: String,
    ) -> anyhow::Result<()> {
        if let Some(open) = self.open.get_mut(&scope) {
            open.tries += 1;
            open.latest = detail;
            return Ok(());
        }
        let gap = self.gap(symbols, reason, started_at, None, detail.clone());
        tracing::warn!(source = self.source, gap = %gap.id, ?reason, symbols = gap.symbols.join(","), "gap opened: {detail}");
        self.outbox.open_gaps().opened(&scope, &gap);
        self.outbox.gap(self.source, &gap).await?;
        self.open.insert(scope, Open { gap, tries: 1, latest: detail });
        self.show();
        Ok(())
    }

    /// A good answer came: closes the gap when one is open.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn answered(&mut self, scope: &Scope, ended_at: i64) -> anyhow::Result<()> {
        let Some(open) = self.open.remove(scope) else { return Ok(()) };
        self.close(open, ended_at, "").await
    }

    /// The producer stops: from now on it is the producer that is missing, so nothing stays open under its name.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn stop(&mut self, at: i64) -> anyhow::Result<()> {
        for open in std::mem::take(&mut self.open).into_values() {
            self.close(open, at, "; the producer stopped before the source answered").await?;
        }
        Ok(())
    }

    /// A loss that is over when it is noticed: opened and closed at once.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn lost(
        &mut self,
        symbols: Vec<String>,
        reason: GapReason,
        started_at: i64,
        ended_at: i64,
        detail: String,
    ) -> anyhow::Result<()> {
        let gap = self.gap(symbols, reason, started_at, None, detail);
        self.outbox.gap(self.source, &gap).await?;
        self.close(Open { latest: gap.detail.clone(), gap, tries: 1 }, ended_at, "").await
    }

    /// Why the source as a whole is failing, if it is.
    #[must_use]
    pub fn failing(&self) -> Option<&str> {
        self.open.get(&Scope::Source).map(|open| open.latest.as_str())
    }

    /// What an open gap is about.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.open.keys()
    }

    fn gap(
        &self,
        symbols: Vec<String>,
        reason: GapReason,
        started_at: i64,
        ended_at: Option<i64>,
        detail: String,
    ) -> Gap {
        // The id is made of what is known at the opening, so that a gap told twice is one gap.
        let id = event_id(self.source, "gap", &symbols.join(","), &format!("{reason:?}|{started_at}|{detail}"));
        Gap { id, source: self.source.to_owned(), symbols, reason, started_at, ended_at, detail }
    }

    async fn close(&mut self, open: Open, ended_at: i64, note: &str) -> anyhow::Result<()> {
        let Open { mut gap, tries, latest } = open;
        gap.ended_at = Some(ended_at.max(gap.started_at));
        if tries > 1 {
            gap.detail = format!("{}; {tries} failed tries, the last: {latest}", gap.detail);
        }
        gap.detail.push_str(note);
        let seconds = (ended_at.max(gap.started_at) - gap.started_at) as f64 / 1e6;
        tracing::info!(source = self.source, gap = %gap.id, reason = ?gap.reason, seconds, "gap closed: {}", gap.detail);
        metrics::counter!("tickstream_producer_gaps_total", "source" => self.source, "reason" => format!("{:?}", gap.reason))
            .increment(1);
        self.show();
        self.outbox.gap(self.source, &gap).await?;
        self.outbox.open_gaps().closed(gap.id);
        Ok(())
    }

    fn show(&self) {
        metrics::gauge!("tickstream_producer_open_gaps", "source" => self.source).set(self.open.len() as f64);
    }
}
