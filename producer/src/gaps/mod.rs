//! What is missing, and that it is known: each source's ledger of gaps, the open ones on disk, and what had to be dropped.

pub mod ledger;
pub mod log;
pub mod open_gaps;
pub mod overflow;
pub mod predecessor;
