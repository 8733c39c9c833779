//! Budgets of work: a message is charged for the work that it causes, to the person behind it and not to the connection
//! it came by. Messages of somebody who has spent everything wait; they keep their order, and where only the newest
//! state matters, only the newest is kept. Nobody is thrown out where waiting will do.
//!
//! One unit is about the cost of a kilobyte that somebody is sent, or of an object that is looked up.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{api::Config, descriptions::DescriptionBudgets};
use protocol::{ParticipantIdentity, budget::Budget, livekit::signal_request};

/// The bytes of a frame that count as one request. A long frame counts as several: to read it costs by its length. A
/// page in a meeting of 160 that each change the description of 900 kB stays below half of the limit.
pub(crate) const BYTES_PER_REQUEST: usize = 64 * 1024;

/// Units that a principal gets back each second: ten megabytes a second of messages to others.
pub(crate) const PER_SECOND: f64 = 10_000.0;

/// Units that a principal may spend at once. Joining a room of 5,000 tracks and asking for each of them fits.
pub(crate) const BURST: f64 = 50_000.0;

/// The deepest debt, units. The cost of a deed beyond that is forgiven: nobody waits longer than five seconds for it.
const DEEPEST_DEBT: f64 = 5.0 * PER_SECOND;

/// The least number of accounts at which those that are full again are forgotten.
const MANY_ACCOUNTS: usize = 1000;

/// The most messages of one participant that wait. A client that sends more than this while it has nothing to spend
/// reads no answers.
const MAX_WAITING: usize = 1000;

/// The most bytes of messages of one participant that wait: two of the longest frames.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// The account of each principal, whatever connection its messages come by.
#[derive(Debug)]
pub(crate) struct Ledger {
    config: Arc<Config>,
    accounts: BTreeMap<ParticipantIdentity, Account>,
    /// The number of accounts at which those that are full again are forgotten.
    forget_at: usize,
    opened: Instant,
}

/// The account of one principal.
#[derive(Debug)]
struct Account {
    balance: f64,
    at: Instant,
    /// The budget of messages, as [`Config::requests_per_second`] limits those of one connection.
    requests: Budget,
    descriptions: DescriptionBudgets,
}

impl Account {
    fn balance(&self, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.balance + gained).min(BURST)
    }

    /// Whether the account is as if it were new.
    fn is_full(&self, config: &Config, now: Instant) -> bool {
        let mut requests = self.requests.clone();
        self.balance(now) >= BURST
            && requests.take(config.request_burst, now)
            && self.descriptions.are_full(now)
    }
}

impl Ledger {
    /// A ledger in which nobody has spent anything.
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        Self {
            config,
            accounts: BTreeMap::new(),
            forget_at: MANY_ACCOUNTS,
            opened: now,
        }
    }

    fn account(&mut self, principal: &ParticipantIdentity, now: Instant) -> &mut Account {
        let config = &self.config;
        if self.accounts.len() >= self.forget_at && !self.accounts.contains_key(principal) {
            self.accounts
                .retain(|_, account| !account.is_full(config, now));
            // As many again may come before all are looked at once more.
            self.forget_at = MANY_ACCOUNTS.max(2 * self.accounts.len());
        }
        let new = || Account {
            balance: BURST,
            at: now,
            requests: Budget::new(config.requests_per_second, config.request_burst, now),
            descriptions: DescriptionBudgets::new(now),
        };
        self.accounts.entry(principal.clone()).or_insert_with(new)
    }

    /// Takes `units` from the account, if need be on credit.
    pub fn charge(&mut self, principal: &ParticipantIdentity, units: u64, now: Instant) {
        let account = self.account(principal, now);
        account.balance = (account.balance(now) - units as f64).max(-DEEPEST_DEBT);
        account.at = now;
    }

    /// Counts a message of `bytes` bytes. False: that is one too many.
    pub fn count(&mut self, principal: &ParticipantIdentity, bytes: usize, now: Instant) -> bool {
        let units = u32::try_from(1 + bytes / BYTES_PER_REQUEST).unwrap_or(u32::MAX);
        self.account(principal, now).requests.take(units, now)
    }

    /// The budgets of descriptions that the principal may still have read.
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

    /// When the principal owes nothing any more; `None`: it owes nothing now.
    pub fn owes_until(&self, principal: &ParticipantIdentity, now: Instant) -> Option<Instant> {
        let debt = -self.accounts.get(principal)?.balance(now);
        // One microsecond later than computed, so that rounding never makes it too early.
        let wait = Duration::from_secs_f64(debt.max(0.0) / PER_SECOND) + Duration::from_micros(1);
        (debt > 0.0).then(|| now + wait)
    }
}

/// The messages of a participant that wait for its budget, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub messages: VecDeque<(signal_request::Message, usize)>,
    pub bytes: usize,
}

impl Waiting {
    /// Adds a message. False: there is no room for it.
    pub fn push(&mut self, message: signal_request::Message) -> bool {
        let bytes = message.encoded_len();
        let same = |(known, _): &(signal_request::Message, usize)| replaces(&message, known);
        let known = self.messages.iter().position(same);
        if let Some((_, bytes)) = known.and_then(|place| self.messages.remove(place)) {
            self.bytes -= bytes;
        }
        // The audience of a track must be known before the track is. Any other message takes the place of its newest
        // version.
        let is_permission = matches!(message, signal_request::Message::SubscriptionPermission(_));
        let place = known.filter(|_| is_permission);
        let place = place.unwrap_or(self.messages.len());
        self.bytes += bytes;
        self.messages.insert(place, (message, bytes));
        self.messages.len() <= MAX_WAITING && self.bytes <= MAX_WAITING_BYTES
    }

    /// The oldest message.
    pub fn pop(&mut self) -> Option<signal_request::Message> {
        let (message, bytes) = self.messages.pop_front()?;
        self.bytes -= bytes;
        Some(message)
    }

    /// Drops the messages of a negotiation, which ends with the connection they came by.
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

/// Whether the new message makes the old one, which was not carried out yet, needless.
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
