//! How many connections there may be: in all, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::Gauge;

use crate::http::ApiError;

pub struct Limits {
    most: usize,
    most_per_address: usize,
    gauge: Gauge,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place, given back when it ends.
pub struct Place {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Limits {
    /// `gauge`: the metric that says how many there are.
    pub fn new(most: u32, most_per_address: u32, gauge: &'static str) -> Arc<Self> {
        Arc::new(Self {
            most: most as usize,
            most_per_address: most_per_address as usize,
            gauge: metrics::gauge!(gauge),
            open: Mutex::default(),
        })
    }

    /// # Errors
    /// When there is no place.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return Err(ApiError::TooManyConnections);
        }
        let address = counted(address);
        let of_address = open.by_address.entry(address).or_default();
        if *of_address >= self.most_per_address {
            return Err(ApiError::TooManyOfAddress);
        }
        *of_address += 1;
        open.all += 1;
        self.gauge.set(open.all as f64);
        Ok(Place { limits: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        self.limits.gauge.set(open.all as f64);
        if let Some(of_address) = open.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// By what an address is counted: who has one of IPv6 has 2^64 of them.
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) & !u128::from(u64::MAX)).to_be_bytes()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let check = |address: &str, expected: &str| {
            assert_eq!(counted(address.parse().expect("an address")).to_string(), expected);
        };
        check("10.0.0.1", "10.0.0.1");
        check("::ffff:10.0.0.1", "10.0.0.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    }

    #[test]
    fn places_are_given_back() {
        let limits = Limits::new(3, 2, "test");
        let address = |last| IpAddr::from([127, 0, 0, last]);
        let first = limits.enter(address(1)).expect("a place");
        let _second = limits.enter(address(1)).expect("a place");
        assert!(matches!(limits.enter(address(1)), Err(ApiError::TooManyOfAddress)));
        let _third = limits.enter(address(2)).expect("a place");
        assert!(matches!(limits.enter(address(3)), Err(ApiError::TooManyConnections)));
        drop(first);
        assert!(limits.enter(address(1)).is_ok());
        assert_eq!(limits.open.lock().expect("not poisoned").by_address.len(), 2);
    }
}
