//! The Postgres consumer against a real server (and, where it says so, a real broker). Each test has a database of its own.

mod alone;
mod bounded;
mod broker;
mod candles;
mod database;
mod documents;
mod faults;
mod kills;
mod log;
mod poison;
mod positions;
mod replay;
mod retention;
mod roles;
mod rules;
mod service;
mod unfit;
mod views;
