//! The registry of allocations: relayed addresses, and quotas.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

/// The first port of relayed addresses, as RFC 8656 (section 7.2) recommends.
const FIRST_PORT: u16 = 49_152;

/// Number of ports.
const PORTS: usize = (u16::MAX - FIRST_PORT) as usize + 1;

/// The limits of allocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// The most allocations of one user. A browser makes one for each of its interfaces and each of our TURN addresses.
    pub per_user: usize,
    /// The most allocations in all.
    pub total: usize,
}

/// The reason why there is no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocationError {
    /// The user has as many as allowed.
    UserQuota,
    /// There are as many as allowed.
    Total,
    /// No media address of this family.
    Family,
}

/// The allocations of the process.
#[derive(Debug)]
pub struct Registry {
    quotas: Quotas,
    /// The IP addresses of relayed addresses, the first of each family.
    addresses: Vec<IpAddr>,
    users: HashMap<String, usize>,
    taken: HashSet<SocketAddr>,
    next: usize,
}

impl Registry {
    /// A registry without allocations; relayed addresses will have an IP address of `addresses`.
    pub fn new(addresses: Vec<IpAddr>, quotas: Quotas) -> Self {
        Self {
            quotas,
            addresses,
            users: HashMap::new(),
            taken: HashSet::new(),
            next: 0,
        }
    }

    /// A relayed address for `user`.
    ///
    /// # Errors
    /// [`AllocationError`] when a quota is used up, or there is no address of the family.
    pub fn allocate(&mut self, user: &str, ipv6: bool) -> Result<SocketAddr, AllocationError> {
        let ip = self
            .addresses
            .iter()
            .copied()
            .find(|ip| ip.is_ipv6() == ipv6);
        let ip = ip.ok_or(AllocationError::Family)?;
        if self.taken.len() >= self.quotas.total {
            return Err(AllocationError::Total);
        }
        if self
            .users
            .get(user)
            .is_some_and(|count| *count >= self.quotas.per_user)
        {
            return Err(AllocationError::UserQuota);
        }
        for _ in 0..PORTS {
            let port = FIRST_PORT + (self.next % PORTS) as u16;
            self.next = self.next.wrapping_add(1);
            let address = SocketAddr::new(ip, port);
            if self.taken.insert(address) {
                *self.users.entry(user.to_owned()).or_default() += 1;
                return Ok(address);
            }
        }
        Err(AllocationError::Total)
    }

    /// Takes `relayed` back from `user`.
    pub fn release(&mut self, user: &str, relayed: SocketAddr) {
        if !self.taken.remove(&relayed) {
            return;
        }
        if let Some(count) = self.users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(user);
            }
        }
    }

    /// Number of allocations.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether there are no allocations.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(per_user: usize, total: usize) -> Registry {
        Registry::new(
            vec!["198.51.100.7".parse().unwrap()],
            Quotas { per_user, total },
        )
    }

    #[test]
    fn a_user_has_as_many_as_it_may_and_not_one_more() {
        let mut registry = registry(3, 100);
        let all: Vec<_> = (0..3)
            .map(|_| registry.allocate("ada", false).unwrap())
            .collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 3);
        assert_eq!(
            registry.allocate("ada", false),
            Err(AllocationError::UserQuota)
        );
        assert!(registry.allocate("ben", false).is_ok());
        registry.release("ada", all[1]);
        // Twice is once.
        registry.release("ada", all[1]);
        assert!(registry.allocate("ada", false).is_ok());
        assert_eq!(
            registry.allocate("ada", false),
            Err(AllocationError::UserQuota)
        );
    }

    #[test]
    fn all_together_have_as_many_as_they_may_and_not_one_more() {
        let mut registry = registry(10, 4);
        let all: Vec<_> = (0..4)
            .map(|i| registry.allocate(&format!("user{i}"), false).unwrap())
            .collect();
        assert_eq!(
            registry.allocate("another", false),
            Err(AllocationError::Total)
        );
        registry.release("user0", all[0]);
        assert!(registry.allocate("another", false).is_ok());
        assert_eq!(registry.len(), 4);
    }

    #[test]
    fn ports_are_used_up_before_one_is_given_twice() {
        let mut registry = registry(usize::MAX, usize::MAX);
        let all: HashSet<_> = (0..PORTS)
            .map(|_| registry.allocate("ada", false).unwrap())
            .collect();
        assert_eq!(all.len(), PORTS);
        assert_eq!(registry.allocate("ada", false), Err(AllocationError::Total));
        assert!(all.iter().all(|address| address.port() >= FIRST_PORT));
    }

    #[test]
    fn a_family_we_do_not_have_is_not_given() {
        assert_eq!(
            registry(1, 1).allocate("ada", true),
            Err(AllocationError::Family)
        );
    }
}
