//! The newest row of each source of one symbol, shared by all who want it: what a slow connection looks at instead of a queue.

use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::Json;
use crate::state::tick::Position;

/// A row as it was after one record.
#[derive(Clone, Debug)]
pub struct Shown {
    pub symbol: Arc<str>,
    pub source: Arc<str>,
    pub row: Json,
    /// How often the row has changed, this time included.
    pub ticks: u64,
    pub at: Position,
}

#[derive(Debug, Default)]
pub struct Board {
    rows: Mutex<Vec<Arc<Shown>>>,
}

impl Board {
    pub fn put(&self, shown: Arc<Shown>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        match rows.iter_mut().find(|row| row.source == shown.source) {
            Some(row) => *row = shown,
            None => rows.push(shown),
        }
    }

    pub fn clear(&self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub fn rows(&self) -> Vec<Arc<Shown>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
