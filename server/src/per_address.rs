//! How many connections each client address holds: one of them must not have all there are.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Counts connections by address. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PerAddress {
    counts: Arc<Mutex<HashMap<IpAddr, Count>>>,
    max: usize,
    max_strangers: usize,
    /// Networks that are no strangers: proxies, which carry many users.
    trusted: Arc<[IpAddr]>,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    /// Those of which nothing has shown yet that they belong here.
    strangers: usize,
}

impl PerAddress {
    /// At most `max` connections of one address, and at most `max_strangers` of them that are not introduced.
    pub fn new(max: usize, max_strangers: usize) -> Self {
        Self {
            counts: Arc::default(),
            max,
            max_strangers,
            trusted: Arc::default(),
        }
    }

    /// Connections of these addresses need not be introduced.
    #[must_use]
    pub fn trusting(mut self, addresses: &[IpAddr]) -> Self {
        self.trusted = addresses.iter().map(|address| network(*address)).collect();
        self
    }

    /// A place for one more connection of `address`, a stranger's at first, until it is dropped; `None` when it has as many
    /// as it may.
    pub fn admit(&self, address: IpAddr) -> Option<Admission> {
        let network = network(address);
        let mut counts = self.counts();
        let count = counts.entry(network).or_default();
        let is_stranger = !self.trusted.contains(&network);
        if count.all >= self.max || is_stranger && count.strangers >= self.max_strangers {
            return None;
        }
        count.all += 1;
        count.strangers += usize::from(is_stranger);
        Some(Admission {
            of: self.clone(),
            network,
            is_stranger: AtomicBool::new(is_stranger),
        })
    }

    /// Nobody holds a connection.
    pub fn is_empty(&self) -> bool {
        self.counts().is_empty()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, Count>> {
        // Every change is complete before anything can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
#[derive(Debug)]
pub struct Admission {
    of: PerAddress,
    network: IpAddr,
    is_stranger: AtomicBool,
}

impl Admission {
    /// It has shown that it belongs here, by a valid token say: it counts as a stranger's no more.
    pub fn introduce(&self) {
        if self.is_stranger.swap(false, Relaxed)
            && let Some(count) = self.of.counts().get_mut(&self.network)
        {
            count.strangers -= 1;
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.introduce();
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&self.network) {
            count.all -= 1;
            if count.all == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// Who has an IPv6 address usually has 2^64 of them: a /64 network counts as one.
pub(crate) fn network(address: IpAddr) -> IpAddr {
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
        let addresses = PerAddress::new(3, 3);
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
        let addresses = PerAddress::new(1, 1);
        let _held = addresses.admit(ip("2001:db8::1")).unwrap();
        assert!(addresses.admit(ip("2001:db8::ffff:ffff:2")).is_none());
        assert!(addresses.admit(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn who_is_introduced_makes_room_for_another_stranger() {
        let addresses = PerAddress::new(3, 2);
        let admit = || addresses.admit(ip("192.0.2.1"));
        let (one, _two) = (admit().unwrap(), admit().unwrap());
        assert!(admit().is_none());
        one.introduce();
        one.introduce();
        let _three = admit().unwrap();
        assert!(admit().is_none(), "so many strangers, and so many in all");
        let proxy = PerAddress::new(3, 0).trusting(&[ip("192.0.2.9")]);
        assert!(proxy.admit(ip("192.0.2.1")).is_none());
        let held: Vec<_> = (0..4).map_while(|_| proxy.admit(ip("192.0.2.9"))).collect();
        assert_eq!(held.len(), 3, "a proxy that is known is no stranger");
        drop(one);
        assert!(
            admit().is_none(),
            "a guest that leaves makes no room for a stranger"
        );
    }
}
