//! The ground floor of every service: events and their Avro codecs, Kafka client arguments, the consume loop and its one
//! trait [`consume::Sink`], dead letters, the admin server, telemetry, traces, lake keys and the object store. Knows no
//! source, no sink and no service, and must never import one.

pub mod admin;
#[cfg(test)]
mod arbitrary;
pub mod asking;
pub mod codec;
pub mod consume;
pub mod dead_letter;
pub mod decimal;
pub mod decode;
mod epoch_day;
pub mod events;
pub mod example;
pub mod fits;
pub mod headers;
pub mod kafka;
pub mod lake;
mod memory;
pub mod moment;
pub mod payload;
pub mod records;
pub mod registry;
pub mod secrets;
pub mod store;
pub mod stretches;
pub mod telemetry;
pub mod topic_id;
pub mod topics;
pub mod trace;

pub use telemetry::{Misconfigured, exit_code, main, misconfigured};
