//! The one way to the broker: an outbox that encodes, a publisher with a bounded memory, and the disk behind it.

pub mod broker;
pub mod cross_check;
pub mod implied;
pub mod meters;
pub mod outbox;
pub mod publisher;
pub mod spill;
