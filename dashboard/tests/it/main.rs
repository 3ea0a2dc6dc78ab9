//! The dashboard as a browser meets it: a real broker, a real server on loopback, real WebSockets.

mod fixture;
mod history;
mod limits;
mod live;
mod outages;
mod replay;
mod serving;
