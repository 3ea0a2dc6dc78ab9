//! One source's open gaps. A failure is one gap from its first failed try to the first good answer: published at once when
//! it opens, and with its end under the same id when it closes. Must never happen here: a gap that closes because time
//! passed rather than because the source answered (or because this producer stopped, from when on it is itself missing).
//! What a producer that was killed left open is taken over and closed here too.

use std::collections::BTreeMap;

use pipeline::events::{Gap, GapReason, event_id};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::drive::status::Status;
use crate::gaps::predecessor::Predecessor;
use crate::publish::outbox::Outbox;

/// What a gap is about. One gap is open at most for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// The source does not answer.
    Source,
    /// The source answers without this symbol.
    Symbol(String),
    /// The source's own time for this symbol stands still.
    Stale(String),
    /// Nobody read the source.
    Producer,
    /// What an earlier producer left open elsewhere than in our own folder.
    Left(Uuid),
}

pub struct GapLedger {
    source: &'static str,
    outbox: Outbox,
    status: Status,
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
    pub fn new(source: &'static str, outbox: Outbox, status: Status) -> Self {
        let adopted = |(scope, gap): (Scope, Gap)| {
            tracing::info!(source, gap = %gap.id, "an earlier run left a gap open");
            (scope, Open { tries: 1, latest: gap.detail.clone(), gap })
        };
        let open = outbox.open_gaps().of(source).into_iter().map(adopted).collect();
        let ledger = Self { source, outbox, status, open };
        ledger.show();
        ledger
    }

    /// Takes over from whoever read the source before: what it left open is closed by the next good answer, and so is the
    /// time since its last sign of life, when `missed` says that something may have been missed in it.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn take_over(&mut self, before: &Predecessor, missed: bool, asked: &[String]) -> anyhow::Result<()> {
        for gap in &before.open {
            let known = self.open.values().any(|open| open.gap.id == gap.id);
            // A gap that says when something was missing in the past is not ours to stretch until now.
            if !known {
                let open = Open { gap: gap.clone(), tries: 1, latest: gap.detail.clone() };
                self.open.insert(Scope::Left(gap.id), open);
            }
        }
        self.show();
        if missed {
            let detail = "no producer read the source".to_owned();
            self.failed(Scope::Producer, asked.to_vec(), GapReason::ProducerDown, before.at, detail).await?;
        }
        Ok(())
    }

    /// Closes what an earlier run left open about symbols that are no longer asked for: no answer will tell of them.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn keep_asked(&mut self, asked: &[String], at: i64) -> anyhow::Result<()> {
        let is_asked = |scope: &Scope| match scope {
            Scope::Source | Scope::Producer | Scope::Left(_) => true,
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

    /// The source as a whole answers again. The time that is known to be missing, when there is any.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn source_answered(&mut self, ended_at: i64) -> anyhow::Result<Option<(i64, i64)>> {
        let of_source = |scope: &Scope| matches!(scope, Scope::Source | Scope::Producer | Scope::Left(_));
        // Called with each frame: nothing is collected while nothing is open.
        if self.open.is_empty() {
            return Ok(None);
        }
        let closed: Vec<Open> = self.open.extract_if(.., |scope, _| of_source(scope)).map(|(_, open)| open).collect();
        let since = closed.iter().map(|open| open.gap.started_at).min();
        for open in closed {
            self.close(open, ended_at, "").await?;
        }
        Ok(since.map(|since| (since, ended_at.max(since))))
    }

    /// Whether a gap is open for any symbol alone.
    #[must_use]
    pub fn misses_symbols(&self) -> bool {
        self.open.keys().any(|scope| matches!(scope, Scope::Symbol(_) | Scope::Stale(_)))
    }

    /// The producer stops: from now on it is the producer that is missing, so nothing stays open under its name. A
    /// single run leaves it to the next one.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn stop(&mut self, at: i64) -> anyhow::Result<()> {
        if self.outbox.leaves_gaps_open() {
            return Ok(());
        }
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
        self.status.open_gaps(self.open.len());
    }
}
