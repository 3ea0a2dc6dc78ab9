//! The producer against fake exchanges on loopback and a real broker.

mod a_day;
mod alone;
mod fake_http;
mod fake_ws;
mod faults;
mod fuzz;
mod heard;
mod listening;
mod normalizing;
mod once;
mod outages;
mod payloads;
mod polling;
mod predecessors;
mod recorded;
mod recorded_replay;
mod renormalize;
mod sharing;
mod simulated;
