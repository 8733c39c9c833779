//! What a participant may cause: a message is charged for what follows from it, to the person behind it and not to the
//! connection it came by. Who has spent all waits; its messages keep their order, and of what only the newest state matters
//! only the newest is kept. Nobody is thrown out for what can be waited for.
//!
//! The unit is about what a kilobyte costs that somebody is sent, or an object that is looked up.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{api::Config, descriptions::DescriptionBudgets};
use protocol::{ParticipantIdentity, budget::Budget, livekit::signal_request};

/// A long frame counts as several: to read it costs by its length. A page in a meeting of 160 that each change the
/// description of 900 kB stays below half of the limit.
pub(crate) const BYTES_PER_REQUEST: usize = 64 * 1024;

/// Units a principal gets back each second: ten megabytes a second of what others are sent.
pub(crate) const PER_SECOND: f64 = 10_000.0;

/// Units it may spend at once. Joining a room of 5,000 tracks and asking for each of them fits.
pub(crate) const BURST: f64 = 50_000.0;

/// What one deed costs beyond that is forgiven: nobody waits longer than five seconds for it.
const DEEPEST_DEBT: f64 = 5.0 * PER_SECOND;

/// Accounts that are kept before those that are full again are forgotten.
const MANY_ACCOUNTS: usize = 1000;

/// Messages of one participant that may wait. A client that sends more than this while it has nothing to spend reads no
/// answers.
const MAX_WAITING: usize = 1000;

/// The same in bytes: two of the longest frames.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// What each principal may still cause, by whatever connection it does.
#[derive(Debug)]
pub(crate) struct Ledger {
    config: Arc<Config>,
    accounts: BTreeMap<ParticipantIdentity, Account>,
    opened: Instant,
}

#[derive(Debug)]
struct Account {
    balance: f64,
    at: Instant,
    /// Its messages, as [`Config::requests_per_second`] limits those of one connection.
    requests: Budget,
    descriptions: DescriptionBudgets,
}

impl Account {
    fn balance(&self, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.balance + gained).min(BURST)
    }

    /// It is as if there were none.
    fn is_full(&self, config: &Config, now: Instant) -> bool {
        let mut requests = self.requests.clone();
        self.balance(now) >= BURST
            && requests.take(config.request_burst, now)
            && self.descriptions.are_full(now)
    }
}

impl Ledger {
    /// Nobody has spent anything.
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        Self {
            config,
            accounts: BTreeMap::new(),
            opened: now,
        }
    }

    fn account(&mut self, principal: &ParticipantIdentity, now: Instant) -> &mut Account {
        let config = &self.config;
        if self.accounts.len() >= MANY_ACCOUNTS && !self.accounts.contains_key(principal) {
            self.accounts
                .retain(|_, account| !account.is_full(config, now));
        }
        let new = || Account {
            balance: BURST,
            at: now,
            requests: Budget::new(config.requests_per_second, config.request_burst, now),
            descriptions: DescriptionBudgets::new(now),
        };
        self.accounts.entry(principal.clone()).or_insert_with(new)
    }

    /// Takes so many units, if need be on credit.
    pub fn charge(&mut self, principal: &ParticipantIdentity, units: u64, now: Instant) {
        let account = self.account(principal, now);
        account.balance = (account.balance(now) - units as f64).max(-DEEPEST_DEBT);
        account.at = now;
    }

    /// A message of so many bytes has come. False: that is one too many.
    pub fn count(&mut self, principal: &ParticipantIdentity, bytes: usize, now: Instant) -> bool {
        let units = u32::try_from(1 + bytes / BYTES_PER_REQUEST).unwrap_or(u32::MAX);
        self.account(principal, now).requests.take(units, now)
    }

    /// What it may still have read of descriptions.
    pub fn descriptions(
        &mut self,
        principal: &ParticipantIdentity,
        now: Instant,
    ) -> &mut DescriptionBudgets {
        &mut self.account(principal, now).descriptions
    }

    /// When an offer that waits may be read, and an answer.
    pub fn descriptions_ready(&self, principal: &ParticipantIdentity) -> (Instant, Instant) {
        match self.accounts.get(principal) {
            Some(account) => account.descriptions.ready(),
            None => (self.opened, self.opened),
        }
    }

    /// From when on it owes nothing; `None`: it owes nothing now.
    pub fn owes_until(&self, principal: &ParticipantIdentity, now: Instant) -> Option<Instant> {
        let debt = -self.accounts.get(principal)?.balance(now);
        // Not sooner than it is true, whatever is lost in rounding.
        let wait = Duration::from_secs_f64(debt.max(0.0) / PER_SECOND) + Duration::from_micros(1);
        (debt > 0.0).then(|| now + wait)
    }
}

/// Messages that wait for their participant to have something to spend, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub messages: VecDeque<(signal_request::Message, usize)>,
    pub bytes: usize,
    pub until: Option<Instant>,
}

impl Waiting {
    /// False: there is no room for it.
    pub fn push(&mut self, message: signal_request::Message) -> bool {
        let bytes = message.encoded_len();
        let same = |(known, _): &(signal_request::Message, usize)| replaces(&message, known);
        let known = self.messages.iter().position(same);
        if let Some((_, bytes)) = known.and_then(|place| self.messages.remove(place)) {
            self.bytes -= bytes;
        }
        // Who may receive a track must be known before the track is. Everything else is said when it was said last.
        let is_permission = matches!(message, signal_request::Message::SubscriptionPermission(_));
        let place = known.filter(|_| is_permission);
        let place = place.unwrap_or(self.messages.len());
        self.bytes += bytes;
        self.messages.insert(place, (message, bytes));
        self.messages.len() <= MAX_WAITING && self.bytes <= MAX_WAITING_BYTES
    }

    pub fn pop(&mut self) -> Option<signal_request::Message> {
        let (message, bytes) = self.messages.pop_front()?;
        self.bytes -= bytes;
        Some(message)
    }

    /// What belongs to a negotiation ends with the connection it came by.
    pub fn forget_negotiation(&mut self) {
        use signal_request::Message as M;
        let bytes = &mut self.bytes;
        self.messages.retain(|(message, length)| {
            let is_over = matches!(message, M::Offer(_) | M::Answer(_) | M::Trickle(_));
            *bytes -= if is_over { *length } else { 0 };
            !is_over
        });
    }
}

/// Does what the new message says make the old one, which was not carried out yet, needless?
fn replaces(new: &signal_request::Message, old: &signal_request::Message) -> bool {
    use signal_request::Message as M;
    match (new, old) {
        (M::SubscriptionPermission(_), M::SubscriptionPermission(_)) => true,
        (M::Mute(new), M::Mute(old)) => new.sid == old.sid,
        (M::UpdateAudioTrack(new), M::UpdateAudioTrack(old)) => new.track_sid == old.track_sid,
        (M::UpdateVideoTrack(new), M::UpdateVideoTrack(old)) => new.track_sid == old.track_sid,
        (M::TrackSetting(new), M::TrackSetting(old)) => new.track_sids == old.track_sids,
        _ => false,
    }
}
