//! From the state to every connection: WebSocket, Server-Sent Events and polling over one implementation of the protocol.

mod board;
pub mod cursor;
pub mod endpoints;
mod fanout;
pub mod hub;
pub mod latest;
pub mod limits;
mod mailbox;
pub mod schema;
pub mod session;
pub mod socket;
#[cfg(test)]
mod socket_tests;
pub mod sse;
#[cfg(test)]
mod tests;

pub use hub::{Hub, Showing};
pub use session::Session;
