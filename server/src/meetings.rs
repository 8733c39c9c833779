//! Meetings by link: who may start one, who may enter, who may not any more.
//!
//! A meeting by link is a room whose name is a code that we gave out. Rooms that tokens or `CreateRoom` open are none: no
//! guest enters them here, whatever they are called.
//!
//! Somebody who has the link is known by a cookie, and in the meeting by a pseudonym made from it, another one in each
//! meeting. On disk are codes, times, and the pseudonyms of those who were removed (`store`), as long as the meeting can
//! be entered; no name and no address.

mod rate;
mod store;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use aws_lc_rs::hmac;
use protocol::{
    RoomName,
    error::Error,
    token::{Grant, Keys, VideoGrant},
};

use crate::config::{self, JoinMeetings, StartMeetings};
use rate::Rate;
use store::Store;

/// The API key that signs tokens of guests outside development mode: one of our own, so that no application's key is
/// used up or given away. `~` sorts it behind all others.
pub const OWN_KEY: &str = "~meetings";

/// Letters of codes: without i, l and o, which are read as digits.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz";

/// `xxxx-yyyy-zzz`: 23^11 codes, 49.7 bits. At one wrong code in ten seconds ([`MISSES`]) somebody with a thousand
/// addresses finds a given meeting in 300,000 years, and any of ten thousand meetings in thirty.
const GROUPS: [usize; 3] = [4, 4, 3];

/// New meetings from one address. An office is one address.
const STARTS: (u32, Duration) = (30, Duration::from_secs(60));

/// Entering from one address. A school is one address, and its classes begin at the same time.
const ENTRIES: (u32, Duration) = (300, Duration::from_millis(200));

/// Codes of no meeting from one address: a few are mistyped, more are guessed.
const MISSES: (u32, Duration) = (20, Duration::from_secs(10));

/// Meetings that are remembered.
const MAX_MEETINGS: usize = 100_000;

/// Guests that were removed from one meeting, as far as they are remembered.
const MAX_REMOVED: usize = 1_000;

/// A meeting that nobody entered is forgotten after this time.
const NEVER_ENTERED: Duration = Duration::from_secs(7 * 86_400);

/// A token is for joining now; who is in gets fresh ones.
pub const TOKEN_VALID_FOR: Duration = Duration::from_secs(600);

/// The time of the last entry is remembered to this many seconds: enough to forget by.
const ENTERED_STEP: u64 = 3600;

/// How often old meetings are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Characters of a guest's pseudonym.
const GUEST: usize = 22;

/// Meetings by link. Cheap to clone.
#[derive(Clone)]
pub struct Meetings(Arc<Inner>);

struct Inner {
    start: StartMeetings,
    join: JoinMeetings,
    keep: Duration,
    /// Signs tokens of guests.
    key: String,
    /// Makes pseudonyms.
    secret: hmac::Key,
    store: Store,
    table: Mutex<HashMap<String, Meeting>>,
    rates: Mutex<Rates>,
}

struct Rates {
    starts: Rate,
    entries: Rate,
    misses: Rate,
}

/// What is remembered of a meeting. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Meeting {
    created_at: u64,
    /// When somebody entered last; `None`: nobody did yet.
    entered_at: Option<u64>,
    /// For everyone and for good.
    ended: bool,
    /// Pseudonyms of guests that were removed.
    removed: BTreeSet<String>,
}

/// Why somebody may not start or enter a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Meetings are started by applications.
    #[error("meetings are started from an application here")]
    StartNotAllowed,
    /// Meetings are entered with tokens.
    #[error("meetings are entered with a token here")]
    TokenRequired,
    /// No meeting by link has this code.
    #[error("there is no meeting under this link")]
    Unknown,
    /// A moderator has removed this guest.
    #[error("you were removed from this meeting")]
    Removed,
    /// The meeting was ended for everyone.
    #[error("this meeting has ended")]
    Ended,
    /// Too many attempts from this address.
    #[error("too many attempts from your network; try again later")]
    TooMany {
        /// After so long.
        retry_after: Duration,
    },
    /// No more meetings fit.
    #[error("this server has as many meetings as it may")]
    Full,
    /// The disk takes nothing.
    #[error("the server cannot remember meetings at the moment")]
    Disk,
}

impl Refusal {
    /// For programs. Stays the same from version to version.
    pub fn reason(self) -> &'static str {
        match self {
            Self::StartNotAllowed => "start-not-allowed",
            Self::TokenRequired => "token-required",
            Self::Unknown => "unknown",
            Self::Removed => "removed",
            Self::Ended => "ended",
            Self::TooMany { .. } => "too-many",
            Self::Full => "full",
            Self::Disk => "unavailable",
        }
    }
}

impl Meetings {
    /// Opens what was kept. With the default settings nobody starts or enters a meeting by link, and no file is made; in
    /// development mode nothing is kept unless a file is named.
    ///
    /// # Errors
    /// When the file cannot be opened. The text is for the administrator.
    pub async fn open(config: &config::Config) -> anyhow::Result<(Self, Keys)> {
        let settings = &config.meetings;
        let wanted =
            settings.start != StartMeetings::Nobody || settings.join() != JoinMeetings::Token;
        let file = match settings.file.as_os_str().is_empty() {
            true if config.dev => None,
            true => Some("conclave-meetings.db".as_ref()),
            false => Some(settings.file.as_path()),
        };
        let file = file.filter(|_| wanted);
        let opening = || {
            let file = file.unwrap_or("".as_ref());
            format!("cannot open meetings.file {}", file.display())
        };
        let store = Store::open(file).await.with_context(opening)?;
        let secret = store.secret(rand::random()).await.with_context(opening)?;
        let (key, keys) = match config.dev {
            // Known to everybody anyway, and still the same when the server starts again.
            true => (
                config.keys.ids().next().unwrap_or_default(),
                config.keys.clone(),
            ),
            false if wanted => (OWN_KEY, config.keys.clone().with(OWN_KEY, secret.clone())),
            false => (OWN_KEY, config.keys.clone()),
        };
        let rate = |(burst, every)| Rate::new(burst, every);
        let meetings = Self(Arc::new(Inner {
            start: settings.start,
            join: settings.join(),
            keep: Duration::from_secs(u64::from(settings.keep_days) * 86_400),
            key: key.to_owned(),
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            table: Mutex::new(
                store
                    .all()
                    .await
                    .with_context(opening)?
                    .into_iter()
                    .collect(),
            ),
            store,
            rates: Mutex::new(Rates {
                starts: rate(STARTS),
                entries: rate(ENTRIES),
                misses: rate(MISSES),
            }),
        }));
        if wanted {
            tokio::spawn(meetings.clone().forget_old());
        }
        Ok((meetings, keys))
    }

    /// Who may start one.
    pub fn start_setting(&self) -> StartMeetings {
        self.0.start
    }

    /// How they are entered.
    pub fn join_setting(&self) -> JoinMeetings {
        self.0.join
    }

    /// Starts a meeting and returns its code. `unix_now` is seconds since 1970.
    ///
    /// # Errors
    /// Why not.
    pub async fn start(
        &self,
        address: IpAddr,
        unix_now: u64,
        now: Instant,
    ) -> Result<String, Refusal> {
        if self.0.start == StartMeetings::Nobody {
            return Err(Refusal::StartNotAllowed);
        }
        let taken = self.rates().starts.take(address, now);
        taken.map_err(|retry_after| Refusal::TooMany { retry_after })?;
        let slug = {
            let mut table = self.table();
            if table.len() >= MAX_MEETINGS {
                return Err(Refusal::Full);
            }
            let slug = loop {
                let slug = new_slug(rand::random);
                if !table.contains_key(&slug) {
                    break slug;
                }
            };
            let meeting = Meeting {
                created_at: unix_now,
                ..Meeting::default()
            };
            table.insert(slug.clone(), meeting);
            slug
        };
        if let Err(error) = self.0.store.insert(&slug, unix_now).await {
            tracing::error!(%error, "a new meeting cannot be written");
            self.table().remove(&slug);
            return Err(Refusal::Disk);
        }
        Ok(slug)
    }

    /// Lets a guest in: what its token is to grant. `guest` is its cookie; `tab` tells windows of one browser apart.
    ///
    /// # Errors
    /// Why not.
    pub async fn enter(
        &self,
        slug: &str,
        guest: &Guest,
        (name, tab): (&str, &str),
        address: IpAddr,
        (unix_now, now): (u64, Instant),
    ) -> Result<Grant, Refusal> {
        if self.0.join == JoinMeetings::Token {
            return Err(Refusal::TokenRequired);
        }
        {
            let mut rates = self.rates();
            let allowed = rates.misses.check(address, now);
            let allowed = allowed.and_then(|()| rates.entries.take(address, now));
            allowed.map_err(|retry_after| Refusal::TooMany { retry_after })?;
        }
        let pseudonym = self.pseudonym(slug, guest);
        let write = {
            let mut table = self.table();
            let Some(meeting) = table.get_mut(slug) else {
                let _ = self.rates().misses.take(address, now);
                return Err(Refusal::Unknown);
            };
            if meeting.ended {
                return Err(Refusal::Ended);
            }
            if meeting.removed.contains(&pseudonym) {
                return Err(Refusal::Removed);
            }
            let at = unix_now - unix_now % ENTERED_STEP;
            let news = meeting.entered_at < Some(at);
            meeting.entered_at = meeting.entered_at.max(Some(at));
            news.then_some(at)
        };
        if let Some(at) = write
            && let Err(error) = self.0.store.entered(slug, at).await
        {
            tracing::warn!(%error, "the use of a meeting cannot be written");
        }
        let identity = match tab {
            "" => pseudonym,
            tab => format!("{pseudonym}-{}", &self.mac(&[slug, &guest.0, tab])[..8]),
        };
        Ok(Grant {
            api_key: self.0.key.clone(),
            identity,
            name: name.to_owned(),
            video: Some(VideoGrant {
                room_join: true,
                room: slug.to_owned(),
                ..VideoGrant::default()
            }),
            ..Grant::default()
        })
    }

    /// A moderator removes somebody: if it is a guest, it does not come back. False: this is no meeting by link.
    pub async fn remove(&self, room: &RoomName, identity: &str) -> bool {
        let slug = room.as_str();
        let Some(guest) = guest_of(identity) else {
            return self.table().contains_key(slug);
        };
        {
            let mut table = self.table();
            let Some(meeting) = table.get_mut(slug) else {
                return false;
            };
            if meeting.removed.len() >= MAX_REMOVED && !meeting.removed.contains(guest) {
                tracing::warn!(
                    slug,
                    "{MAX_REMOVED} guests were removed from this meeting; no more are kept out: end it"
                );
                return true;
            }
            if !meeting.removed.insert(guest.to_owned()) {
                return true;
            }
        }
        if let Err(error) = self.0.store.removed(slug, guest).await {
            tracing::error!(%error, "who was removed from a meeting cannot be written");
        }
        true
    }

    /// The meeting is ended for everyone and for good. False: this is no meeting by link.
    pub async fn end(&self, room: &RoomName) -> bool {
        let slug = room.as_str();
        match self.table().get_mut(slug) {
            Some(meeting) => meeting.ended = true,
            None => return false,
        }
        if let Err(error) = self.0.store.ended(slug).await {
            tracing::error!(%error, "the end of a meeting cannot be written");
        }
        true
    }

    /// May the holder of this token join? Tokens of guests end with the meeting and with their removal; in other rooms, into
    /// which somebody was moved, they are tokens like others.
    ///
    /// # Errors
    /// [`Error::TokenRevoked`].
    pub fn admits(&self, grant: &Grant, room: &RoomName) -> Result<(), Error> {
        // Its further devices go with a guest.
        let principal = grant.principal();
        let guest = guest_of(principal.as_str()).filter(|_| grant.api_key == self.0.key);
        let Some(guest) = guest else {
            return Ok(());
        };
        match self.table().get(room.as_str()) {
            Some(meeting) if meeting.ended || meeting.removed.contains(guest) => {
                Err(Error::TokenRevoked)
            }
            _ => Ok(()),
        }
    }

    async fn forget_old(self) {
        let mut interval = tokio::time::interval(FORGET_EVERY);
        loop {
            interval.tick().await;
            let unix_now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            if let Err(error) = self.forget(unix_now.as_secs()).await {
                tracing::warn!(%error, "old meetings cannot be forgotten; trying again later");
            }
        }
    }

    /// Forgets meetings that were not used for long.
    async fn forget(&self, unix_now: u64) -> anyhow::Result<()> {
        let is_old = |meeting: &Meeting| {
            let (since, keep) = match meeting.entered_at {
                Some(at) => (at, self.0.keep),
                None => (meeting.created_at, NEVER_ENTERED.min(self.0.keep)),
            };
            since.saturating_add(keep.as_secs()) < unix_now
        };
        let old: Vec<String> = {
            let mut table = self.table();
            table
                .extract_if(|_, meeting| is_old(meeting))
                .map(|(slug, _)| slug)
                .collect()
        };
        if !old.is_empty() {
            self.0.store.forget(&old).await?;
            tracing::info!(
                meetings = old.len(),
                "meetings that were not used for long were forgotten"
            );
        }
        Ok(())
    }

    fn pseudonym(&self, slug: &str, guest: &Guest) -> String {
        format!("g-{}", &self.mac(&[slug, &guest.0])[..GUEST - 2])
    }

    /// In hexadecimal digits.
    fn mac(&self, parts: &[&str]) -> String {
        let tag = hmac::sign(&self.0.secret, parts.join("/").as_bytes());
        tag.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Meeting>> {
        // Every change is complete before anything can panic.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.0.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The secret by which a browser is known: its cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct Guest(String);

impl Guest {
    /// Digits of a cookie: 128 bits.
    const DIGITS: usize = 32;

    /// Somebody we have not seen before.
    pub fn new() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// Who has this cookie; `None`: it is none of ours.
    pub fn read(cookie: &str) -> Option<Self> {
        let digits = cookie
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (cookie.len() == Self::DIGITS && digits).then(|| Self(cookie.to_owned()))
    }

    /// The cookie's value.
    pub fn as_cookie(&self) -> &str {
        &self.0
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

/// The pseudonym in an identity that we gave out.
pub fn guest_of(identity: &str) -> Option<&str> {
    let guest = identity.get(..GUEST)?;
    let digits = guest.strip_prefix("g-")?;
    digits
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        .then_some(guest)
}

/// A code, from random bytes.
fn new_slug(mut random: impl FnMut() -> u8) -> String {
    // Bytes past the last full multiple would favour the first letters.
    let limit = 256 - 256 % LETTERS.len();
    let mut letter = || loop {
        let byte = usize::from(random());
        if byte < limit {
            return char::from(LETTERS[byte % LETTERS.len()]);
        }
    };
    let groups = GROUPS.map(|length| (0..length).map(|_| letter()).collect::<String>());
    groups.join("-")
}

#[cfg(test)]
mod tests;
