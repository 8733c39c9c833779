//! What of a participant the others have heard, and what they are yet to hear.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use protocol::{ParticipantIdentity, ParticipantSid, livekit::SubscriptionPermission};

/// Between two announcements of one participant, and between two of the room.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// Up to so many sessions hear of each participant at once, and by itself: those are few messages.
pub(crate) const FEW: usize = 32;

/// Between two announcements to a crowd: what changed meanwhile is in one message, which is encoded once.
pub(crate) const TOGETHER: Duration = Duration::from_millis(50);

/// Bytes a second that announcements of one participant may make everybody read: long ones are further apart.
pub(crate) const BYTES_PER_SECOND: f64 = 128.0 * 1024.0;

/// But not further than this.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);

/// What is yet to be said.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub participants: BTreeMap<ParticipantSid, Change>,
    /// Who had read it already when the room changed, if the room did.
    pub room: Option<Option<ParticipantSid>>,
    /// Not before.
    pub room_at: Option<Instant>,
    /// Who is to hear what the handles of its data tracks mean, and who pays for it.
    pub handles: BTreeMap<ParticipantSid, Option<ParticipantIdentity>>,
    /// Who has just connected: how well, those hear who hear of it.
    pub qualities: BTreeSet<ParticipantSid>,
    /// In a crowd: nothing before.
    pub together_at: Option<Instant>,
    /// A moderator is doing what is done just now: nobody pays.
    pub by_moderator: bool,
}

/// A change of a participant that is yet to be announced.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Change {
    /// What others see of it, or rather not only who may receive its tracks.
    pub info: bool,
    pub to_itself: bool,
    /// Its token changed.
    pub grant: bool,
    /// It is the participant's own doing, at least in part.
    pub charged: bool,
}

/// What is known of a participant.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// A digest of the last announcement.
    pub digest: Option<u64>,
    /// The next one not before.
    pub next: Option<Instant>,
    /// Who may receive its tracks, as it said last; not in force yet.
    pub audience: Option<SubscriptionPermission>,
    /// In force not before.
    pub audience_at: Option<Instant>,
}

/// Until the next announcement, after one of so many bytes.
pub(crate) fn interval(bytes: usize) -> Duration {
    let reading = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
    reading.clamp(INTERVAL, LONGEST_INTERVAL)
}
