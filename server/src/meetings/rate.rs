//! Rates: how often each client address may do something.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// The most addresses that are remembered at a time. Further ones share one budget.
const MAX_ADDRESSES: usize = 50_000;

/// A budget for each address: `burst` at once, then one every `every`.
#[derive(Debug)]
pub(super) struct Rate {
    burst: u32,
    every: Duration,
    /// When the budget of each address is whole again.
    whole_at: HashMap<IpAddr, Instant>,
    /// When the budget of the addresses that found no place is whole again.
    others: Option<Instant>,
}

impl Rate {
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst,
            every,
            whole_at: HashMap::new(),
            others: None,
        }
    }

    /// Checks whether the address has something left. If not, returns how long it has to wait.
    pub(super) fn check(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let network = network(address);
        let known = self.whole_at.get(&network);
        let crowded = self.whole_at.len() >= MAX_ADDRESSES;
        let whole_at = known.or(self.others.as_ref().filter(|_| crowded));
        let spent = whole_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        match (spent + self.every).checked_sub(self.every * self.burst) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }

    /// Takes one from the address's budget, if there is one.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.whole_at.len() >= MAX_ADDRESSES {
            self.whole_at.retain(|_, at| *at > now);
        }
        self.check(address, now)?;
        let network = network(address);
        let later = |at: Option<Instant>| at.map_or(now, |at| at.max(now)) + self.every;
        if self.whole_at.len() < MAX_ADDRESSES || self.whole_at.contains_key(&network) {
            let at = later(self.whole_at.get(&network).copied());
            self.whole_at.insert(network, at);
        } else {
            self.others = Some(later(self.others));
        }
        Ok(())
    }
}

/// The network that counts as one address. A customer of a provider gets a /48 of IPv6 addresses, which has 65,536
/// networks.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_may_n_at_once_and_then_one_at_a_time() {
        let mut rate = Rate::new(3, EVERY);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(rate.take(ip("192.0.2.1"), start), Ok(()));
        }
        assert_eq!(rate.take(ip("192.0.2.1"), start), Err(EVERY));
        assert_eq!(rate.check(ip("192.0.2.1"), start), Err(EVERY));
        assert_eq!(rate.take(ip("192.0.2.2"), start), Ok(()), "another address");
        let later = start + EVERY;
        assert_eq!(rate.take(ip("192.0.2.1"), later), Ok(()));
        assert!(rate.take(ip("192.0.2.1"), later).is_err());
        rate.take(ip("2001:db8:0:1::1"), start).unwrap();
        rate.take(ip("2001:db8:0:2::2"), start).unwrap();
        rate.take(ip("2001:db8:0:3::3"), start).unwrap();
        assert!(
            rate.take(ip("2001:db8:0:4::4"), start).is_err(),
            "the same provider's customer"
        );
        let long_after = start + EVERY * 100;
        for _ in 0..3 {
            assert_eq!(rate.take(ip("192.0.2.1"), long_after), Ok(()));
        }
        assert!(
            rate.take(ip("192.0.2.1"), long_after).is_err(),
            "no more than n are saved up"
        );
    }

    #[test]
    fn addresses_without_end_are_bounded_and_share_what_is_left() {
        let mut rate = Rate::new(3, EVERY);
        let now = Instant::now();
        let nth = |n: u128| IpAddr::from(Ipv6Addr::from_bits((0x2001 << 112) | (n << 80)));
        for n in 0..MAX_ADDRESSES as u128 {
            rate.take(nth(n), now).unwrap();
        }
        let beyond = MAX_ADDRESSES as u128;
        let taken = (beyond..beyond + 100).filter(|n| rate.take(nth(*n), now).is_ok());
        assert_eq!(taken.count(), 3);
        assert_eq!(rate.whole_at.len(), MAX_ADDRESSES);
        rate.take(nth(beyond), now + EVERY * 10).unwrap();
        assert!(rate.whole_at.len() < 10, "{}", rate.whole_at.len());
    }
}
