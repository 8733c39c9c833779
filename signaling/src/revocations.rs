//! Revoked tokens, which do not let anybody in.

use std::collections::BTreeMap;

use protocol::{ParticipantIdentity, token::Grant};

/// The most identities that one room remembers.
const MAX: usize = 1000;

/// Tokens that a moderator has revoked, of one room. They outlive it: a room of the same name that opens later knows
/// them, as far as its owner keeps them ([`Room::revocations`](crate::Room::revocations), ///
/// [`Room::remember`](crate::Room::remember)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations(BTreeMap<ParticipantIdentity, u64>);

impl Revocations {
    /// Revokes tokens. Those of this identity, and of its companions, that are valid since before a time (seconds since
    /// 1970) do not let anybody in.
    pub fn add(&mut self, identity: &ParticipantIdentity, before: u64) {
        if self.0.len() >= MAX && !self.0.contains_key(identity) {
            // The oldest goes: its tokens are the likeliest to have expired.
            let oldest = self.0.iter().min_by_key(|(_, before)| **before);
            if let Some(oldest) = oldest.map(|(identity, _)| identity.clone()) {
                self.0.remove(&oldest);
            }
        }
        let known = self.0.entry(identity.clone()).or_default();
        *known = before.max(*known);
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: &Self) {
        for (identity, before) in &others.0 {
            self.add(identity, *before);
        }
    }

    /// Whether the token of this grant is revoked.
    pub fn covers(&self, grant: &Grant) -> bool {
        let valid_since = grant.not_before.unwrap_or(0);
        let revoked = |identity| self.0.get(&identity);
        let named = [revoked(grant.identity()), revoked(grant.principal())];
        let mut known = named.into_iter().flatten();
        known.any(|before| valid_since < *before)
    }

    /// Number of identities.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no token is revoked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(identity: &str, not_before: u64) -> Grant {
        Grant {
            identity: identity.into(),
            not_before: Some(not_before),
            ..Grant::default()
        }
    }

    #[test]
    fn older_tokens_are_revoked_and_newer_ones_are_not() {
        let mut revocations = Revocations::default();
        revocations.add(&"mallory".into(), 100);
        revocations.add(&"mallory".into(), 50);
        assert!(revocations.covers(&grant("mallory", 99)));
        assert!(!revocations.covers(&grant("mallory", 100)));
        assert!(!revocations.covers(&grant("alice", 1)));
    }

    #[test]
    fn of_too_many_the_oldest_is_forgotten() {
        let mut revocations = Revocations::default();
        for time in 1..=MAX as u64 + 1 {
            revocations.add(&format!("person {time}").into(), time);
        }
        assert_eq!(revocations.len(), MAX);
        assert!(!revocations.covers(&grant("person 1", 0)));
        assert!(revocations.covers(&grant("person 2", 0)));
    }
}
