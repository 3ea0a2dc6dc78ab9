//! The local stack against real clients: the AWS SDK, librdkafka, sqlx.

mod outages;
mod s3;
mod s3_alone;
mod teardown;
