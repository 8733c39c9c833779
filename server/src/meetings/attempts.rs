//! What each client address may try: how many meetings it starts, how often it enters, and how many wrong codes it learns to
//! be wrong.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    Refusal,
    rate::{self, Rate},
    recent::Recent,
};

/// New meetings from one address. An office is one address.
pub(super) const STARTS: (u32, Duration) = (30, Duration::from_secs(60));

/// And in the long run: 300 a day. One address alone does not fill the table.
const STARTS_OF_DAYS: (u32, Duration) = (300, Duration::from_secs(288));

/// Entering from one address. A school is one address, and its classes begin at the same time.
const ENTRIES: (u32, Duration) = (300, Duration::from_millis(200));

/// Codes of no meeting from one address: a few are mistyped, more are guessed.
pub(super) const MISSES: (u32, Duration) = (20, Duration::from_secs(10));

/// Codes that are tried from one address when it has no wrong ones left. Only those of meetings that were entered from there
/// are let through; with 200 of these, an attacker at that address is hardly better off than with others' codes elsewhere.
const AGAIN: (u32, Duration) = (100, Duration::from_millis(200));

/// A wrong code counts once within this time, however often it is tried from one address: a class that has a mistyped link
/// does not guess, and who guesses does not repeat itself.
pub(super) const SAME_MISS: Duration = Duration::from_secs(600);

/// Wrong codes that are remembered for it.
const MAX_MISSES: usize = 50_000;

/// Who entered a meeting is let in again, and others of the same address, whatever was tried there since. Browsers and
/// addresses that are remembered for it, and for how long at least.
const MAX_ENTERED: usize = 100_000;
const ENTERED_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What client addresses did lately.
pub(super) struct Attempts {
    starts: Rate,
    starts_of_days: Rate,
    entries: Rate,
    misses: Rate,
    again: Rate,
    /// Addresses and the wrong codes that were counted.
    wrong: Recent,
    /// Addresses and the codes by which somebody entered from there; pseudonyms, which are of one meeting each.
    entered: Recent,
}

impl Default for Attempts {
    fn default() -> Self {
        let rate = |(burst, every)| Rate::new(burst, every);
        Self {
            starts: rate(STARTS),
            starts_of_days: rate(STARTS_OF_DAYS),
            entries: rate(ENTRIES),
            misses: rate(MISSES),
            again: rate(AGAIN),
            wrong: Recent::new(MAX_MISSES, SAME_MISS),
            entered: Recent::new(MAX_ENTERED, ENTERED_KEPT),
        }
    }
}

impl Attempts {
    pub(super) fn start(&mut self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        let allowed = self.starts_of_days.check(address, now);
        let allowed = allowed.and_then(|()| self.starts.take(address, now));
        let allowed = allowed.and_then(|()| self.starts_of_days.take(address, now));
        allowed.map_err(|retry_after| Refusal::TooMany { retry_after })
    }

    /// May this code be looked up? Where wrong ones are counted, `counted` is who asks. An address that has none left tries
    /// no code but those by which somebody has entered from there, or this guest from wherever.
    pub(super) fn enter(
        &mut self,
        slug: &str,
        counted: Option<&str>,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut allowed = Ok(());
        if let Some(guest) = counted {
            let here = (rate::network(address), slug);
            if self.wrong.contains(here, now) {
                return Err(Refusal::Unknown);
            }
            allowed = self.misses.check(address, now);
            // Nobody has a guest's pseudonym of a meeting without its code and its cookie: that may be tried at any rate.
            let is_back = |attempts: &mut Self| {
                attempts.entered.contains(guest, now)
                    || attempts.again.take(address, now).is_ok()
                        && attempts.entered.contains(here, now)
            };
            if allowed.is_err() && is_back(self) {
                allowed = Ok(());
            }
        }
        let allowed = allowed.and_then(|()| self.entries.take(address, now));
        allowed.map_err(|retry_after| Refusal::TooMany { retry_after })
    }

    pub(super) fn missed(&mut self, slug: &str, address: IpAddr, now: Instant) {
        self.wrong.insert((rate::network(address), slug), now);
        let _ = self.misses.take(address, now);
    }

    pub(super) fn entered(&mut self, slug: &str, guest: &str, address: IpAddr, now: Instant) {
        self.entered.insert((rate::network(address), slug), now);
        self.entered.insert(guest, now);
    }
}
