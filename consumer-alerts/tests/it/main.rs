//! The alerting parts against a real broker.

mod backtest;
mod notify;
mod service;
