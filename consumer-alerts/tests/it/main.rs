//! The alerting parts against a real broker.

mod notify;
