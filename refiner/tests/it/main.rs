//! Silver and gold over a real S3 API; bronze is written as the lake's writer writes it.

mod bronze;
mod corrections;
mod faults;
mod incremental;
mod rebuilding;
