//! The attempts of each client address: how many meetings it starts, how often it enters, and how many wrong codes it
//! tries.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    Refusal,
    rate::{self, Rate},
    recent::Recent,
};

/// The new meetings of one address. An office is one address.
pub(super) const STARTS: (u32, Duration) = (30, Duration::from_secs(60));

/// The new meetings of one address in the long run: 300 a day. One address alone does not fill the table.
const STARTS_OF_DAYS: (u32, Duration) = (300, Duration::from_secs(288));

/// The entries of one address. A school is one address, and its classes begin at the same time.
const ENTRIES: (u32, Duration) = (300, Duration::from_millis(200));

/// The looks at who is in a meeting, of one address: they leave its entries alone.
const LOOKS: (u32, Duration) = (300, Duration::from_millis(200));

/// The wrong codes of one address: a few are mistyped, more are guessed.
pub(super) const MISSES: (u32, Duration) = (20, Duration::from_secs(10));

/// The codes that are tried from one address when it has used up its wrong ones. Only those of meetings that were
/// entered from there are let through; with 200 of these, an attacker at that address is hardly better off than with
/// others' codes elsewhere.
const AGAIN: (u32, Duration) = (100, Duration::from_millis(200));

/// A wrong code counts once within this time, however often it is tried from one address: a class that has a mistyped
/// link does not guess, and a guesser does not repeat itself.
pub(super) const SAME_MISS: Duration = Duration::from_secs(600);

/// The most wrong codes that are remembered for that.
const MAX_MISSES: usize = 50_000;

/// The most browsers and addresses that are remembered as having entered a meeting: they are let in again, whatever was
/// tried there since.
const MAX_ENTERED: usize = 100_000;
/// The time for which they are remembered at least.
const ENTERED_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// The recent attempts of client addresses.
pub(super) struct Attempts {
    starts: Rate,
    starts_of_days: Rate,
    entries: Rate,
    looks: Rate,
    misses: Rate,
    again: Rate,
    /// Pairs of an address and a wrong code that was counted.
    wrong: Recent,
    /// Pairs of an address and the code of a meeting entered from there; and pseudonyms, which are of one meeting each.
    entered: Recent,
}

impl Default for Attempts {
    fn default() -> Self {
        let rate = |(burst, every)| Rate::new(burst, every);
        Self {
            starts: rate(STARTS),
            starts_of_days: rate(STARTS_OF_DAYS),
            entries: rate(ENTRIES),
            looks: rate(LOOKS),
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

    /// Checks whether this code may be entered. Where wrong ones are counted, `counted` is the guest's pseudonym.
    pub(super) fn enter(
        &mut self,
        slug: &str,
        counted: Option<&str>,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.tries(slug, counted, address, now)?;
        let allowed = self.entries.take(address, now);
        allowed.map_err(|retry_after| Refusal::TooMany { retry_after })
    }

    /// Checks whether one may look who is in the meeting with this code; as [`Attempts::enter`].
    pub(super) fn look(
        &mut self,
        slug: &str,
        counted: Option<&str>,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.tries(slug, counted, address, now)?;
        let allowed = self.looks.take(address, now);
        allowed.map_err(|retry_after| Refusal::TooMany { retry_after })
    }

    /// Checks whether this code may be looked up. An address that has used up its wrong codes tries only codes of
    /// meetings that were entered from there, or by this guest from anywhere.
    fn tries(
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
            // A guest's pseudonym of a meeting takes the meeting's code and the guest's cookie: that may be tried at
            // any rate.
            let is_back = |attempts: &mut Self| {
                attempts.entered.contains(guest, now)
                    || attempts.again.take(address, now).is_ok()
                        && attempts.entered.contains(here, now)
            };
            if allowed.is_err() && is_back(self) {
                allowed = Ok(());
            }
        }
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
