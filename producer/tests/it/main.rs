//! The producer against fake exchanges on loopback and a real broker.

mod fake_http;
mod fake_ws;
mod heard;
mod listening;
mod normalizing;
mod outages;
mod polling;
mod recorded;
