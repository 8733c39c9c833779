//! Connections by client address: one address must not have all there are.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

/// A counter of connections by address. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PerAddress {
    counts: Arc<Mutex<HashMap<IpAddr, Count>>>,
    max: usize,
    max_strangers: usize,
    /// Addresses of proxies, which carry many users.
    trusted: Arc<[IpAddr]>,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    /// Number of connections at work that have not shown that they belong here.
    strangers: usize,
    /// Idle strangers, between two requests, the one that has waited longest first: they make room for others.
    idle: VecDeque<Arc<Notify>>,
}

impl PerAddress {
    /// A counter with at most `max` connections of one address, and at most `max_strangers` of them that are not
    /// introduced.
    pub fn new(max: usize, max_strangers: usize) -> Self {
        Self {
            counts: Arc::default(),
            max,
            max_strangers,
            trusted: Arc::default(),
        }
    }

    /// Counts connections of these proxies, not of their neighbours, for no address: they are of many clients.
    #[must_use]
    pub fn trusting(mut self, addresses: &[IpAddr]) -> Self {
        self.trusted = addresses.iter().map(IpAddr::to_canonical).collect();
        self
    }

    /// A place for one more connection of `address`, a stranger's at first, until it is dropped; `None` when the
    /// address has as many as it may. A stranger that is between two requests makes room for it.
    pub fn admit(&self, address: IpAddr) -> Option<Admission> {
        let mut admission = Admission {
            of: self.clone(),
            network: None,
            is_introduced: AtomicBool::new(false),
            is_stranger: AtomicBool::new(false),
            unwanted: Arc::default(),
        };
        if self.trusted.contains(&address.to_canonical()) {
            return Some(admission);
        }
        let network = network(address);
        let mut counts = self.counts();
        let count = counts.entry(network).or_default();
        if count.all >= self.max || !count.has_room(self.max_strangers) {
            return None;
        }
        count.all += 1;
        count.strangers += 1;
        (admission.network, admission.is_stranger) = (Some(network), AtomicBool::new(true));
        Some(admission)
    }

    /// Whether no connection is held.
    pub fn is_empty(&self) -> bool {
        self.counts().is_empty()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, Count>> {
        // Every change is complete before anything can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Whether there is room for one more stranger. Idle ones are asked to go if need be, the one that has waited
    /// longest first.
    fn has_room(&mut self, max_strangers: usize) -> bool {
        if self.strangers + self.idle.len() < max_strangers {
            return true;
        }
        let oldest = self.idle.pop_front();
        oldest.inspect(|oldest| oldest.notify_one()).is_some()
    }
}

/// One connection's place.
#[derive(Debug)]
pub struct Admission {
    of: PerAddress,
    /// The network; `None`: the connection is a proxy's.
    network: Option<IpAddr>,
    is_introduced: AtomicBool,
    /// The connection is at work, and counts as a stranger. Changed under the lock of the counts only.
    is_stranger: AtomicBool,
    /// Signalled when another connection has got this place.
    unwanted: Arc<Notify>,
}

impl Admission {
    /// The connection has shown that it belongs here, for example by a valid token: it is a stranger no more.
    pub fn introduce(&self) {
        self.change(|count, admission| {
            admission.is_introduced.store(true, Relaxed);
            admission.leave(count);
        });
    }

    /// The connection is answered and says nothing: until it is at work again, it keeps its place only while nobody
    /// else wants it.
    pub fn rest(&self) {
        self.change(|count, admission| {
            if admission.is_stranger.load(Relaxed) {
                admission.leave(count);
                count.idle.push_back(admission.unwanted.clone());
            }
        });
    }

    /// The connection is at work again. False: its place is somebody else's.
    pub fn work(&self) -> bool {
        let mut may = true;
        self.change(|count, admission| {
            if admission.is_introduced.load(Relaxed) || admission.is_stranger.load(Relaxed) {
                return;
            }
            let had_place = admission.leave(count);
            may = had_place || count.has_room(admission.of.max_strangers);
            count.strangers += usize::from(may);
            admission.is_stranger.store(may, Relaxed);
        });
        may
    }

    /// Waits until another connection has got its place.
    pub async fn unwanted(&self) {
        self.unwanted.notified().await;
    }

    /// The network that the connection counts for; `None`: it is a proxy's.
    pub fn network(&self) -> Option<IpAddr> {
        self.network
    }

    fn change(&self, change: impl FnOnce(&mut Count, &Self)) {
        if let Some(network) = self.network
            && let Some(count) = self.of.counts().get_mut(&network)
        {
            change(count, self);
        }
    }

    /// The connection is no stranger any more, at work or idle. False: it was none.
    fn leave(&self, count: &mut Count) -> bool {
        if self.is_stranger.swap(false, Relaxed) {
            count.strangers -= 1;
            return true;
        }
        let is_this = |idle: &Arc<Notify>| Arc::ptr_eq(idle, &self.unwanted);
        let place = count.idle.iter().position(is_this);
        place.and_then(|place| count.idle.remove(place)).is_some()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(network) = self.network else {
            return;
        };
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&network) {
            self.leave(count);
            count.all -= 1;
            if count.all == 0 {
                counts.remove(&network);
            }
        }
    }
}

/// The network that counts as one address: the owner of an IPv6 address usually has 2^64 of them, a /64.
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
        drop(one);
        assert!(
            admit().is_none(),
            "a guest that leaves makes no room for a stranger"
        );
    }

    #[test]
    fn a_stranger_between_two_requests_makes_room_and_one_at_work_does_not() {
        let addresses = PerAddress::new(100, 3);
        let admit = || addresses.admit(ip("192.0.2.1"));
        let held: Vec<_> = (0..3).map(|_| admit().unwrap()).collect();
        assert!(admit().is_none(), "all three are at work");
        held.iter().for_each(Admission::rest);
        held.iter().for_each(Admission::rest);
        // The first one is asked again, and has its place as before.
        assert!(held[0].work() && held[0].work());
        let new: Vec<_> = (0..2).map(|_| admit().unwrap()).collect();
        assert!(admit().is_none(), "three are at work");
        let is_unwanted = |admission: &Admission| {
            use futures_util::FutureExt;
            admission.unwanted().now_or_never().is_some()
        };
        assert_eq!(
            held.iter().map(is_unwanted).collect::<Vec<_>>(),
            [false, true, true]
        );
        assert!(!held[1].work(), "its place is somebody else's");
        drop(new);
        assert!(held[1].work());
        held[1].introduce();
        held[1].rest();
        assert!(held[1].work(), "who is introduced needs no such place");
        drop(held);
        assert!(addresses.is_empty());
    }

    #[test]
    fn ten_thousand_pages_an_address_are_loaded_one_after_the_other() {
        // A browser's connections stay open after their answers.
        let addresses = PerAddress::new(20_000, 256);
        let loaded = (0..10_000).map_while(|_| {
            let connection = addresses.admit(ip("192.0.2.1"))?;
            connection.rest();
            Some(connection)
        });
        assert_eq!(loaded.collect::<Vec<_>>().len(), 10_000);
    }

    #[test]
    fn a_proxy_is_counted_with_nobody_and_its_neighbour_with_everybody() {
        let addresses =
            PerAddress::new(3, 1).trusting(&[ip("::ffff:192.0.2.9"), ip("2001:db8::9")]);
        for proxy in ["192.0.2.9", "2001:db8::9"] {
            let held: Vec<_> = (0..9).map_while(|_| addresses.admit(ip(proxy))).collect();
            assert_eq!(held.len(), 9);
            held.iter().for_each(Admission::introduce);
        }
        for neighbour in ["192.0.2.1", "2001:db8::8"] {
            let _one = addresses.admit(ip(neighbour)).unwrap();
            assert!(addresses.admit(ip(neighbour)).is_none());
        }
        assert!(addresses.is_empty());
    }
}
