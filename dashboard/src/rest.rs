//! What is answered to a plain GET, as JSON: each endpoint by the cache, each error one plain sentence.

pub mod answer;
pub mod asked;
pub mod cache;
pub mod events;
pub mod flask;
pub mod forecasts;
pub mod live;
pub mod market;
pub mod openapi;
pub mod status;
