//! How many connections there may be: in all, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::ApiError;

#[derive(Debug)]
pub struct Limits {
    most: usize,
    most_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place, given back when it ends.
#[derive(Debug)]
pub struct Place {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Limits {
    pub fn new(most: u32, most_per_address: u32) -> Arc<Self> {
        Arc::new(Self { most: most as usize, most_per_address: most_per_address as usize, open: Mutex::default() })
    }

    /// # Errors
    /// When there is no place.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return Err(ApiError::TooManyConnections);
        }
        let of_address = open.by_address.entry(address).or_default();
        if *of_address >= self.most_per_address {
            return Err(ApiError::TooManyOfAddress);
        }
        *of_address += 1;
        open.all += 1;
        metrics::gauge!("tickstream_dashboard_connections").set(open.all as f64);
        Ok(Place { limits: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        metrics::gauge!("tickstream_dashboard_connections").set(open.all as f64);
        if let Some(of_address) = open.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let limits = Limits::new(3, 2);
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
