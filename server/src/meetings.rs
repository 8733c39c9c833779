//! Meetings by link: the people who may start one, enter one, or enter one no longer.
//!
//! A meeting by link is a room whose name is a code that we gave out. Rooms that tokens or `CreateRoom` open are no
//! such meetings: no guest enters them here, whatever they are called.
//!
//! Somebody who has the link is known by a cookie, and in the meeting by a pseudonym made from it, another one in each
//! meeting. On disk are codes, times, and the pseudonyms of those who were removed (`store`), as long as the meeting
//! can be entered; no name and no address.

mod attempts;
mod rate;
mod recent;
mod store;

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
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
use attempts::Attempts;
use store::Store;

/// The API key that signs tokens of guests outside development mode: one of our own, so that no application's key is
/// used up or given away. `~` sorts it behind all others.
pub const OWN_KEY: &str = "~meetings";

/// The letters of codes: without i, l and o, which are read as digits.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz";

/// Lengths of a code's groups, `xxxx-yyyy-zzz`: 23^11 codes, 49.7 bits. At one wrong code in ten seconds ([`Attempts`])
/// somebody with a thousand addresses finds a given meeting in 300,000 years, and any of ten thousand meetings in
/// thirty.
const GROUPS: [usize; 3] = [4, 4, 3];

/// The most meetings that are remembered.
const MAX_MEETINGS: usize = 100_000;

/// The most guests that are remembered as removed from one meeting: the last ones.
const MAX_REMOVED: usize = 1_000;

/// The time after which a meeting that nobody entered is forgotten.
const NEVER_ENTERED: Duration = Duration::from_secs(7 * 86_400);

/// The time after which a meeting that was ended is forgotten, when all tokens for it have expired.
const ENDED_KEPT: Duration = Duration::from_secs(86_400);

/// The lifetime of a token. It is for joining now; participants get fresh ones.
pub const TOKEN_VALID_FOR: Duration = Duration::from_secs(600);

/// The precision of the time of the last entry, seconds: enough to forget by.
const ENTERED_STEP: u64 = 3600;

/// The time between two looks for old meetings.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Length of a guest's pseudonym, characters.
const GUEST: usize = 22;

/// Meetings by link. Cheap to clone.
#[derive(Clone)]
pub struct Meetings(Arc<Inner>);

struct Inner {
    start: StartMeetings,
    join: JoinMeetings,
    keep: Duration,
    /// The time for which any token of a guest is valid.
    token_ttl: Duration,
    /// Wrong codes are counted. Not in development mode, where each join of any room asks here first.
    counts_misses: bool,
    /// The API key that signs tokens of guests.
    key: String,
    /// The key that makes pseudonyms.
    secret: hmac::Key,
    store: Store,
    table: Mutex<HashMap<String, Meeting>>,
    attempts: Mutex<Attempts>,
}

/// A meeting as it is remembered. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Meeting {
    created_at: u64,
    /// When somebody entered last; `None`: nobody did yet.
    entered_at: Option<u64>,
    /// When the meeting was ended, for everyone and for good.
    ended_at: Option<u64>,
    /// Pseudonyms of guests that were removed, in the order of removal.
    removed: VecDeque<String>,
}

/// The reason why somebody may not start or enter a meeting.
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
    /// There were too many attempts from this address.
    #[error("too many attempts from your network; try again later")]
    TooMany {
        /// The time after which to try again.
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
    /// The reason for programs. Stays the same from version to version.
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
    /// Opens the database. With the default settings nobody starts or enters a meeting by link, and no file is made; in
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
            _ => Some(settings.path()),
        };
        let file = file.filter(|_| wanted);
        let opening = || {
            let file = file.unwrap_or("".as_ref());
            format!("cannot open meetings.file {}", file.display())
        };
        let store = Store::open(file).await.with_context(opening)?;
        let secret = store.secret(rand::random()).await.with_context(opening)?;
        let (key, keys) = match config.dev {
            // The keys are known to everybody anyway, and still the same when the server starts again.
            true => (
                config.keys.ids().next().unwrap_or_default(),
                config.keys.clone(),
            ),
            false if wanted => (OWN_KEY, config.keys.clone().with(OWN_KEY, secret.clone())),
            false => (OWN_KEY, config.keys.clone()),
        };
        let meetings = Self(Arc::new(Inner {
            start: settings.start,
            join: settings.join(),
            keep: Duration::from_secs(u64::from(settings.keep_days) * 86_400),
            token_ttl: TOKEN_VALID_FOR.max(Duration::from_secs(config.room.token_ttl.into())),
            counts_misses: !config.dev,
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
            attempts: Mutex::default(),
        }));
        if wanted {
            tokio::spawn(meetings.clone().forget_old());
        }
        Ok((meetings, keys))
    }

    /// The people who may start a meeting.
    pub fn start_setting(&self) -> StartMeetings {
        self.0.start
    }

    /// The ways into meetings.
    pub fn join_setting(&self) -> JoinMeetings {
        self.0.join
    }

    /// Checks whether starting is allowed at all.
    ///
    /// # Errors
    /// [`Refusal`] when it is not.
    pub fn may_start(&self) -> Result<(), Refusal> {
        match self.0.start {
            StartMeetings::Nobody => Err(Refusal::StartNotAllowed),
            StartMeetings::Anyone => Ok(()),
        }
    }

    /// Checks whether entering by link is allowed at all.
    ///
    /// # Errors
    /// [`Refusal`] when it is not.
    pub fn may_enter(&self) -> Result<(), Refusal> {
        match self.0.join {
            JoinMeetings::Token => Err(Refusal::TokenRequired),
            JoinMeetings::Link => Ok(()),
        }
    }

    /// Starts a meeting and returns its code. `unix_now` is seconds since 1970.
    ///
    /// # Errors
    /// [`Refusal`] when no meeting may be started.
    pub async fn start(
        &self,
        address: IpAddr,
        unix_now: u64,
        now: Instant,
    ) -> Result<String, Refusal> {
        self.may_start()?;
        self.attempts().start(address, now)?;
        let (slug, evicted) = {
            let mut table = self.table();
            let mut evicted = None;
            if table.len() >= MAX_MEETINGS {
                let least = self.least_needed(&table, unix_now).ok_or(Refusal::Full)?;
                table.remove(&least);
                evicted = Some(least);
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
            (slug, evicted)
        };
        let written = slug.clone();
        let written = self.write(async move |store| {
            if let Some(evicted) = evicted {
                store.forget(&[evicted]).await?;
            }
            store.insert(&written, unix_now).await
        });
        if let Err(error) = written.await {
            tracing::error!(%error, "a new meeting cannot be written");
            self.table().remove(&slug);
            return Err(Refusal::Disk);
        }
        Ok(slug)
    }

    /// The meeting that makes room where all places are taken: one that was ended, if no token for it is good any more,
    /// or else the oldest that nobody ever entered.
    fn least_needed(&self, table: &HashMap<String, Meeting>, unix_now: u64) -> Option<String> {
        let is_over = |meeting: &Meeting| {
            let good_until = |at: u64| at.saturating_add(self.0.token_ttl.as_secs());
            meeting.ended_at.is_some_and(|at| good_until(at) < unix_now)
        };
        let is_unused =
            |meeting: &Meeting| meeting.ended_at.is_none() && meeting.entered_at.is_none();
        let mut candidates: Vec<_> = table
            .iter()
            .filter(|(_, meeting)| is_over(meeting) || is_unused(meeting))
            .collect();
        candidates.sort_unstable_by_key(|(_, meeting)| (!is_over(meeting), meeting.created_at));
        candidates.first().map(|(slug, _)| (*slug).clone())
    }

    /// Lets a guest in: returns the grant of its token. `guest` is its cookie; `tab` tells windows of one browser
    /// apart.
    ///
    /// # Errors
    /// [`Refusal`] when the guest may not enter.
    pub async fn enter(
        &self,
        slug: &str,
        guest: &Guest,
        (name, tab): (&str, &str),
        address: IpAddr,
        (unix_now, now): (u64, Instant),
    ) -> Result<Grant, Refusal> {
        self.may_enter()?;
        let pseudonym = self.pseudonym(slug, guest);
        // Until here it makes no difference whether the code is right.
        let counted = self.0.counts_misses.then_some(pseudonym.as_str());
        self.attempts().enter(slug, counted, address, now)?;
        let write = {
            let mut table = self.table();
            let meeting = self.open_to(&mut table, slug, &pseudonym, (address, now))?;
            let at = unix_now - unix_now % ENTERED_STEP;
            let news = meeting.entered_at < Some(at);
            meeting.entered_at = meeting.entered_at.max(Some(at));
            news.then_some(at)
        };
        self.attempts().entered(slug, &pseudonym, address, now);
        if let Some(at) = write {
            let slug = slug.to_owned();
            let written = self.write(async move |store| store.entered(&slug, at).await);
            if let Err(error) = written.await {
                tracing::warn!(%error, "the use of a meeting cannot be written");
            }
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

    /// Checks whether a guest may learn who is in a meeting: whoever could enter it may.
    ///
    /// # Errors
    /// [`Refusal`] when the guest could not enter.
    pub fn look(
        &self,
        slug: &str,
        guest: &Guest,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.may_enter()?;
        let pseudonym = self.pseudonym(slug, guest);
        let counted = self.0.counts_misses.then_some(pseudonym.as_str());
        self.attempts().look(slug, counted, address, now)?;
        let mut table = self.table();
        self.open_to(&mut table, slug, &pseudonym, (address, now))?;
        Ok(())
    }

    /// The meeting with this code, if it is open to this guest. A wrong code is counted.
    fn open_to<'a>(
        &self,
        table: &'a mut HashMap<String, Meeting>,
        slug: &str,
        pseudonym: &String,
        (address, now): (IpAddr, Instant),
    ) -> Result<&'a mut Meeting, Refusal> {
        let Some(meeting) = table.get_mut(slug) else {
            if self.0.counts_misses {
                self.attempts().missed(slug, address, now);
            }
            return Err(Refusal::Unknown);
        };
        if meeting.ended_at.is_some() {
            return Err(Refusal::Ended);
        }
        if meeting.removed.contains(pseudonym) {
            return Err(Refusal::Removed);
        }
        Ok(meeting)
    }

    /// Removes a participant for a moderator: if it is a guest, it does not come back. False: this is no meeting by
    /// link.
    ///
    /// # Errors
    /// The removal could not be written, and is forgotten when the server starts again: a further call writes it again.
    pub async fn remove(&self, room: &RoomName, identity: &str) -> Result<bool, Error> {
        let slug = room.as_str();
        let Some(guest) = guest_of(identity) else {
            return Ok(self.table().contains_key(slug));
        };
        match self.table().get_mut(slug) {
            None => return Ok(false),
            Some(meeting) if meeting.removed.iter().any(|removed| removed == guest) => {}
            Some(meeting) => {
                if meeting.removed.len() >= MAX_REMOVED {
                    meeting.removed.pop_front();
                }
                meeting.removed.push_back(guest.to_owned());
            }
        }
        let (slug, guest) = (slug.to_owned(), guest.to_owned());
        let written = self.write(async move |store| store.removed(&slug, &guest).await);
        written.await.map(|()| true).map_err(|error| {
            tracing::error!(%error, "who was removed from a meeting cannot be written");
            NOT_WRITTEN
        })
    }

    /// Ends a meeting for everyone and for good. False: this is no meeting by link.
    ///
    /// # Errors
    /// As for [`Meetings::remove`].
    pub async fn end(&self, room: &RoomName, unix_now: u64) -> Result<bool, Error> {
        let slug = room.as_str().to_owned();
        let ended_at = match self.table().get_mut(&slug) {
            None => return Ok(false),
            Some(meeting) => *meeting.ended_at.get_or_insert(unix_now),
        };
        let written = self.write(async move |store| store.ended(&slug, ended_at).await);
        written.await.map(|()| true).map_err(|error| {
            tracing::error!(%error, "the end of a meeting cannot be written");
            NOT_WRITTEN
        })
    }

    /// Checks whether the holder of this token may join. Tokens of guests end with the meeting and with their removal;
    /// in other rooms, into which a guest was moved, they are tokens like others.
    ///
    /// # Errors
    /// [`Error::TokenRevoked`] when it may not.
    pub fn admits(&self, grant: &Grant, room: &RoomName) -> Result<(), Error> {
        // A guest's companions go with the guest.
        let principal = grant.principal();
        let guest = guest_of(principal.as_str()).filter(|_| grant.api_key == self.0.key);
        let Some(guest) = guest else {
            return Ok(());
        };
        match self.table().get(room.as_str()) {
            Some(meeting)
                if meeting.ended_at.is_some()
                    || meeting.removed.iter().any(|removed| removed == guest) =>
            {
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

    /// Forgets meetings that were not used for long, and those that were ended.
    async fn forget(&self, unix_now: u64) -> anyhow::Result<()> {
        let is_old = |meeting: &Meeting| {
            let (since, keep) = match (meeting.ended_at, meeting.entered_at) {
                (Some(at), _) => (at, ENDED_KEPT.max(self.0.token_ttl)),
                (None, Some(at)) => (at, self.0.keep),
                (None, None) => (meeting.created_at, NEVER_ENTERED.min(self.0.keep)),
            };
            since.saturating_add(keep.as_secs()) < unix_now
        };
        // Removed from memory first: nobody enters a meeting that is about to be deleted.
        let old: Vec<(String, Meeting)> = self
            .table()
            .extract_if(|_, meeting| is_old(meeting))
            .collect();
        if old.is_empty() {
            return Ok(());
        }
        let slugs: Vec<String> = old.iter().map(|(slug, _)| slug.clone()).collect();
        if let Err(error) = self.0.store.forget(&slugs).await {
            self.table().extend(old);
            return Err(error.into());
        }
        tracing::info!(
            meetings = old.len(),
            "old and ended meetings were forgotten"
        );
        Ok(())
    }

    /// Writes, also when the caller has gone meanwhile.
    async fn write<E, F>(&self, write: impl FnOnce(Store) -> F) -> anyhow::Result<()>
    where
        E: Into<anyhow::Error> + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let written = tokio::spawn(write(self.0.store.clone())).await;
        written?.map_err(Into::into)
    }

    fn pseudonym(&self, slug: &str, guest: &Guest) -> String {
        format!("g-{}", &self.mac(&[slug, &guest.0])[..GUEST - 2])
    }

    /// A MAC of these parts, in hexadecimal digits.
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

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        let attempts = self.0.attempts.lock();
        attempts.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error for a caller when the disk takes nothing.
const NOT_WRITTEN: Error = Error::Unavailable(
    "it holds until the server starts again, but cannot be written: ask once more",
);

/// A guest, by the secret in the browser's cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct Guest(String);

impl Guest {
    /// Number of digits of a cookie: 128 bits.
    const DIGITS: usize = 32;

    /// A guest that we have not seen before.
    pub fn new() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// The guest with this cookie; `None`: the cookie is not ours.
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
