//! The local stack against real clients: the AWS SDK, librdkafka, sqlx.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod demo;
mod outages;
mod s3;
mod s3_alone;
mod teardown;
mod traces;
