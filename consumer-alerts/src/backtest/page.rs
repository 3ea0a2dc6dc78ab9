//! Decoded records on their way from a partition to the engine, a page at a time. Whatever they come from is read on a thread
//! a partition, one page ahead.

use std::sync::Arc;

use anyhow::anyhow;
use arrow::array::RecordBatch;
use pipeline::codec::RecordType;
use pipeline::decode::{Gaps, Healths, Ticks};
use pipeline::events::{Gap, SourceHealth};
use tokio::sync::mpsc;

use super::range::{Cut, Span};
use crate::engine::{Event, Place, Tick};

/// Records that are decoded at a time.
pub const ROWS: usize = 8192;

/// What is read, in the order in which records of one time are judged: what is told of a source before its prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Gaps,
    Health,
    Ticks,
}

impl Table {
    pub const ALL: [Self; 3] = [Self::Gaps, Self::Health, Self::Ticks];

    pub fn record(self) -> RecordType {
        match self {
            Self::Gaps => RecordType::Gap,
            Self::Health => RecordType::SourceHealth,
            Self::Ticks => RecordType::PriceTick,
        }
    }
}

/// Records of one partition, in their order.
#[derive(Debug)]
pub struct Page {
    topic: Arc<str>,
    partition: i32,
    offsets: Vec<i64>,
    times: Vec<i64>,
    /// The times by which they are merged: never falling.
    pub order: Vec<i64>,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Ticks(RecordBatch),
    Gaps(Vec<Gap>),
    Healths(Vec<SourceHealth>),
}

/// A page with its columns looked up.
#[derive(Debug)]
pub struct View<'a> {
    page: &'a Page,
    ticks: Option<Ticks<'a>>,
}

impl Page {
    pub fn view(&self) -> View<'_> {
        let ticks = match &self.rows {
            Rows::Ticks(batch) => Some(Ticks::new(batch)),
            Rows::Gaps(_) | Rows::Healths(_) => None,
        };
        View { page: self, ticks }
    }
}

impl<'a> View<'a> {
    pub fn len(&self) -> usize {
        self.page.order.len()
    }

    /// The time that a record is merged by.
    pub fn order(&self, row: usize) -> i64 {
        self.page.order[row]
    }

    pub fn place(&self, row: usize) -> Place<'a> {
        let Page { topic, partition, offsets, times, .. } = self.page;
        Place { topic, partition: *partition, offset: offsets[row], at: times[row] }
    }

    pub fn event(&self, row: usize) -> Option<Event<'a>> {
        Some(match (&self.page.rows, &self.ticks) {
            (Rows::Ticks(_), ticks) => Event::Tick(Tick::of(ticks.as_ref()?, row)),
            (Rows::Gaps(gaps), _) => Event::Gap(&gaps[row]),
            (Rows::Healths(healths), _) => Event::Health(&healths[row]),
        })
    }
}

/// What comes next of a partition.
#[derive(Debug)]
pub enum Next {
    Page(Page),
    /// No more; whether there is a record behind the range.
    End {
        goes_on: bool,
    },
}

/// One partition that is read.
#[derive(Debug)]
pub struct Stream {
    pub table: Table,
    pub partition: i32,
    pub pages: mpsc::Receiver<anyhow::Result<Next>>,
}

/// Where a reading thread puts what it read.
pub struct Outlet {
    table: Table,
    topic: Arc<str>,
    partition: i32,
    cut: Cut,
    pages: mpsc::Sender<anyhow::Result<Next>>,
}

impl Stream {
    /// Reads on a thread of its own. `read` says whether there is a record behind the range.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        table: Table,
        topic: &str,
        partition: i32,
        span: Span,
        read: impl FnOnce(&mut Outlet) -> anyhow::Result<bool> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, pages) = mpsc::channel(1);
        let mut outlet = Outlet { table, topic: topic.into(), partition, cut: Cut::new(span), pages: sender };
        std::thread::Builder::new().name(format!("{topic}[{partition}]")).spawn(move || {
            let ended = read(&mut outlet).map(|goes_on| Next::End { goes_on: goes_on || outlet.cut.is_past });
            drop(outlet.pages.blocking_send(ended));
        })?;
        Ok(Self { table, partition, pages })
    }

    /// # Errors
    /// What stopped the reading.
    pub async fn next(&mut self) -> anyhow::Result<Next> {
        self.pages.recv().await.unwrap_or_else(|| Err(anyhow!("a reading thread ended without a word")))
    }
}

impl Outlet {
    /// Gives the next records, with the columns that the newest schema has; waits for room. False when no more are wanted.
    pub fn push(&mut self, offsets: &[i64], times: &[i64], batch: &RecordBatch) -> bool {
        let (rows, order) = self.cut.of(times);
        if !order.is_empty() {
            let batch = batch.slice(rows.start, rows.len());
            let page = Page {
                topic: self.topic.clone(),
                partition: self.partition,
                offsets: offsets[rows.clone()].to_vec(),
                times: times[rows].to_vec(),
                order,
                rows: match self.table {
                    Table::Gaps => Rows::Gaps(Gaps::new(&batch).iter().collect()),
                    Table::Health => Rows::Healths(Healths::new(&batch).iter().collect()),
                    Table::Ticks => Rows::Ticks(batch),
                },
            };
            if self.pages.blocking_send(Ok(Next::Page(page))).is_err() {
                return false;
            }
        }
        !self.cut.is_past
    }

    /// Whether nobody reads on.
    pub fn is_closed(&self) -> bool {
        self.pages.is_closed()
    }
}
