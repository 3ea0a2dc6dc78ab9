//! The lake's rules and its two lowest layers, a library: [`chain`] holds the rules of the create-only chain, and says first
//! what they are; [`raw`] and [`bronze`] make the objects, [`encodings`] on blocking threads; [`world`] is what the chain asks of S3 and Kafka, [`outside`] how
//! they answer. Knows no service: consumer-lake writes by it, `tickstream lake` mends by it, the refiner rebuilds by it.

pub mod bronze;
pub mod chain;
pub mod encodings;
mod gap;
pub mod outside;
pub mod raw;
pub mod remake;
pub mod world;

pub use encodings::Encodings;
pub use outside::Outside;
