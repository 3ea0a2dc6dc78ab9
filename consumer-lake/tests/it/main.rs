//! The lake consumer as a process, against a real broker and a real S3 API. Each test has a topic and a prefix of its own;
//! what came out is read from the store's folder, past the service.

mod broker;
mod broker_faults;
mod drain;
mod fault_store;
mod faults;
mod lake;
mod operator;
mod rate;
mod refusals;
mod service;
mod store_faults;
mod verbatim;
