//! The service against a real broker: what it tells, exactly once, whatever becomes of it on the way.

mod exactly_once;
mod lost_answers;
mod room;
mod rules;
mod time;
