//! From bytes to rows: JSON by its text, fields with each way they can be wrong named, and the problems themselves. Knows
//! no source. Must never happen here: I/O, a clock, a float.

pub mod grouped;
pub mod json;
pub mod payload;
pub mod problem;
pub mod query;
pub mod row;
mod scan;
pub mod tick;
