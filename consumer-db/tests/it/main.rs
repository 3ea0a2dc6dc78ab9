//! The Postgres consumer against a real server (and, where it says so, a real broker). Each test has a database of its own.

mod bounded;
mod broker;
mod database;
mod faults;
mod log;
mod replay;
mod rules;
mod service;
mod unfit;
