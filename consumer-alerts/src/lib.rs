//! Alerts on market data: rules from one file, judged on the ticks, gaps and health records of the log.
//!
//! `rules` reads the file, `engine` judges; both are pure: no I/O and no clock, so that the same input gives the same
//! alerts wherever and whenever it is read. `config` is the command line.
//! `notify` is a process of its own, which sends alerts to people and programs.

pub mod backtest;
mod check;
pub mod config;
pub mod engine;
pub mod notify;
pub mod rules;
pub mod service;

pub use check::check;
pub use config::{Cli, Command};
