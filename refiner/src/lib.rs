//! Silver and gold: plain SQL over bronze, kept up to date partition by partition.
//!
//! The way of a change: [`discover`] finds new bronze by the raw chains, [`touched`] says which partitions its rows belong
//! to, [`refiner`] makes each of them again whole and swaps it by one conditional PUT ([`engine`] runs the SELECT of
//! [`tables`]), [`run`] goes on to the days of gold above, and [`state`] remembers how far that was. The rules of
//! correctness stand in [`refiner`] and [`state`].

mod config;
pub mod discover;
pub mod disk;
pub mod engine;
pub mod forecast;
mod functions;
mod gaps;
mod notes;
mod notifications;
pub mod object;
pub mod objects;
mod rebuild;
pub mod refiner;
pub mod refused;
pub mod run;
mod service;
pub mod spool;
pub mod state;
pub mod tables;
pub mod touched;

pub use config::{Cli, Command, Config};
pub use service::serve;
