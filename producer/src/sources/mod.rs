//! The sources, one file each: what to ask, and a pure parser of what comes back. A parser takes bytes and gives ticks and
//! problems; it does no I/O, keeps no state and reads no clock. Must never happen here: a panic, a retry loop, or a good
//! row that is lost because its neighbour was bad.

use pipeline::events::PriceTick;
use uuid::Uuid;

use crate::problem::Problem;

pub mod coinbase;
pub mod coingecko;
pub mod simulated;

/// The largest body or frame that is read. What is longer is refused before it is held in memory.
pub const MAX_BODY_BYTES: usize = 20 * 1024 * 1024;

/// A source's parser, with what it was asked for bound in: bytes and the time of receipt (micros UTC) to what they say.
pub type Parse = Box<dyn Fn(&[u8], i64) -> Parsed + Send + Sync>;

/// What one payload says.
#[derive(Debug, Default)]
pub struct Parsed {
    pub ticks: Vec<PriceTick>,
    pub problems: Vec<Problem>,
    /// The source said something that only a working source says, be it a price, a heartbeat or an acknowledgement.
    pub answered: bool,
    /// The source says that it will not serve us.
    pub refusal: Option<Refusal>,
    /// The trade that the source calls its latest, told apart from the trade itself.
    pub latest_trade: Option<LatestTrade>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many calls: later ones may be served.
    RateLimited(String),
    /// Anything else, in the source's words.
    Refused(String),
}

impl Refusal {
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::RateLimited(detail) | Self::Refused(detail) => detail,
        }
    }
}

/// A heartbeat's word on a product's trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestTrade {
    pub source_symbol: String,
    pub trade_id: i64,
    /// Micros UTC.
    pub at: i64,
}

/// Names the payload that a tick was read from: the same bytes received at the same time have the same id.
#[must_use]
pub fn payload_id(source: &str, received_at: i64, bytes: &[u8]) -> Uuid {
    let mut name = Vec::with_capacity(bytes.len() + 48);
    name.extend_from_slice(source.as_bytes());
    name.push(0);
    name.extend_from_slice(&received_at.to_be_bytes());
    name.extend_from_slice(bytes);
    Uuid::new_v5(&pipeline::events::EVENT_NAMESPACE, &name)
}
