//! The dashboard as a browser meets it: a real broker, a real server on loopback, real WebSockets.

mod fixture;
mod limits;
mod outages;
mod serving;
