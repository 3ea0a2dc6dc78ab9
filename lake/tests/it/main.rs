//! The lake as an earlier version left it, read and continued by today's code.

mod golden;
mod make_golden;
mod shelf;
