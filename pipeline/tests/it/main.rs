//! The consume loop, dead letters and topic ids against a real broker.

mod bounded;
mod broker;
mod consuming;
mod topic_ids;
