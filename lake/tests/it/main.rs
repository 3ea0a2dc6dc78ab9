//! The lake as an earlier version left it, read and continued by today's code; and a lake of many objects.

mod golden;
mod large;
mod make_golden;
mod shelf;
