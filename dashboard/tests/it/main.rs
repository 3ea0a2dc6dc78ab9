//! The dashboard as a browser meets it: a real broker, a real server on loopback, real WebSockets.

mod database;
mod filling;
mod fixture;
mod history;
mod limits;
mod live;
mod mending;
mod outages;
mod replay;
mod serving;
