//! The lake as an earlier version left it, read and continued by today's code; a lake of many objects,
//! and stores that are not what they seem.

mod golden;
mod large;
mod make_golden;
mod shelf;
mod spoilt;
