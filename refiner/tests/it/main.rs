//! Silver and gold over a real S3 API; bronze is written as the lake's writer writes it.

mod bronze;
mod chains;
mod corrections;
#[path = "../../../consumer-lake/tests/it/fault_store.rs"]
#[expect(dead_code, reason = "the lake's writer is tried with more faults than the refiner")]
mod fault_store;
mod faults;
#[cfg(target_os = "linux")]
mod full_disk;
mod generations;
mod incremental;
mod interleaved;
mod rebuilding;
mod stepped;
mod store_faults;
mod versions;
