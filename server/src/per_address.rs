//! How many connections each client address holds: one of them must not have all there are.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts connections by address. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PerAddress {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max: usize,
}

impl PerAddress {
    /// At most `max` connections of one address.
    pub fn new(max: usize) -> Self {
        Self {
            counts: Arc::default(),
            max,
        }
    }

    /// A place for one more connection of `address`, until it is dropped; `None` when it has as many as it may.
    pub fn admit(&self, address: IpAddr) -> Option<Admission> {
        let network = network(address);
        let mut counts = self.counts();
        let count = counts.entry(network).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Admission {
            of: self.clone(),
            network,
        })
    }

    /// Nobody holds a connection.
    pub fn is_empty(&self) -> bool {
        self.counts().is_empty()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Every change is complete before anything can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
#[derive(Debug)]
pub struct Admission {
    of: PerAddress,
    network: IpAddr,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// Who has an IPv6 address usually has 2^64 of them: a /64 network counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_n_connections_and_not_one_more_until_one_ends() {
        let addresses = PerAddress::new(3);
        let mut held: Vec<_> = (0..3)
            .map(|_| addresses.admit(ip("192.0.2.1")).unwrap())
            .collect();
        assert!(addresses.admit(ip("192.0.2.1")).is_none());
        assert!(addresses.admit(ip("::ffff:192.0.2.1")).is_none());
        assert!(addresses.admit(ip("192.0.2.2")).is_some());
        held.pop();
        held.push(addresses.admit(ip("192.0.2.1")).unwrap());
        drop(held);
        assert!(addresses.counts().is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_network_of_ipv6_addresses_counts_as_one() {
        let addresses = PerAddress::new(1);
        let _held = addresses.admit(ip("2001:db8::1")).unwrap();
        assert!(addresses.admit(ip("2001:db8::ffff:ffff:2")).is_none());
        assert!(addresses.admit(ip("2001:db8:0:1::1")).is_some());
    }
}
