//! How long each hop took over the last minute, of one source: histograms of ten seconds each, the oldest of which gives way.
//! A clock that is ahead of the next one's gives no time below zero: such a hop counts as 0.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const SLICE_US: i64 = 10_000_000;
const SLICES: usize = 6;
/// Ten minutes: longer hops count as that.
const MOST_US: u64 = 600_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quantiles {
    pub p50_us: u64,
    pub p99_us: u64,
    pub count: u64,
}

/// The hops to this server; null where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HopQuantiles {
    #[schema(required)]
    pub exchange_to_received: Option<Quantiles>,
    #[schema(required)]
    pub received_to_broker: Option<Quantiles>,
    #[schema(required)]
    pub broker_to_server: Option<Quantiles>,
}

/// One hop.
#[derive(Debug, Default)]
struct Recent {
    /// By the number of the slice.
    slices: Vec<(i64, Histogram<u32>)>,
}

impl Recent {
    fn record(&mut self, took_us: i64, now_us: i64) {
        let number = now_us.div_euclid(SLICE_US);
        let took = u64::try_from(took_us).unwrap_or(0);
        if let Some((_, slice)) = self.slices.iter_mut().find(|(found, _)| *found == number) {
            slice.saturating_record(took);
            return;
        }
        self.slices.retain(|(found, _)| number - found < SLICES as i64 && *found < number);
        let Ok(mut slice) = Histogram::new_with_bounds(1, MOST_US, 2) else { return };
        slice.saturating_record(took);
        self.slices.push((number, slice));
    }

    fn quantiles(&self, now_us: i64) -> Option<Quantiles> {
        let number = now_us.div_euclid(SLICE_US);
        let mut recent = self.slices.iter().filter(|(found, _)| number - found < SLICES as i64).map(|(_, slice)| slice);
        let mut all = recent.next()?.clone();
        for slice in recent {
            all.add(slice).ok()?;
        }
        Some(Quantiles { p50_us: all.value_at_quantile(0.5), p99_us: all.value_at_quantile(0.99), count: all.len() })
    }
}

#[derive(Debug, Default)]
pub struct Hops {
    exchange_to_received: Recent,
    received_to_broker: Recent,
    broker_to_server: Recent,
}

impl Hops {
    /// `exchange_to_received`: only where the source has a clock of its own. `broker_to_server`: not where it is replayed.
    pub fn record(
        &mut self,
        exchange_to_received: Option<i64>,
        received_to_broker: i64,
        broker_to_server: Option<i64>,
        now_us: i64,
    ) {
        if let Some(took) = exchange_to_received {
            self.exchange_to_received.record(took, now_us);
        }
        self.received_to_broker.record(received_to_broker, now_us);
        if let Some(took) = broker_to_server {
            self.broker_to_server.record(took, now_us);
        }
    }

    pub fn quantiles(&self, now_us: i64) -> HopQuantiles {
        HopQuantiles {
            exchange_to_received: self.exchange_to_received.quantiles(now_us),
            received_to_broker: self.received_to_broker.quantiles(now_us),
            broker_to_server: self.broker_to_server.quantiles(now_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_remembered_and_no_more() {
        let mut hops = Hops::default();
        let start = 1_800_000_000_000_000;
        for i in 0..100 {
            hops.record(None, 1000 * (i + 1), Some(5000), start);
        }
        let found = hops.quantiles(start + 30_000_000);
        assert_eq!(found.exchange_to_received, None);
        let hop = found.received_to_broker.expect("measured");
        assert_eq!(hop.count, 100);
        // Two significant digits.
        assert!((49_000..=51_000).contains(&hop.p50_us) && (98_000..=101_000).contains(&hop.p99_us), "{hop:?}");
        hops.record(Some(-3), 5, None, start + 50_000_000);
        let later = hops.quantiles(start + 65_000_000);
        assert_eq!(later.received_to_broker.map(|hop| hop.count), Some(1));
        assert_eq!(later.exchange_to_received.map(|hop| hop.p99_us), Some(0));
        assert_eq!(hops.quantiles(start + 200_000_000), HopQuantiles::default());
    }
}
