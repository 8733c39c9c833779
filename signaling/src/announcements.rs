//! The announcements of participants: what others have heard of each, and what they are yet to hear.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use protocol::{ParticipantIdentity, ParticipantSid, livekit::SubscriptionPermission};

use crate::{api::Response, deadlines::Deadlines};

/// The shortest time between two announcements of one participant, and between two of the room.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// The number of sessions up to which they hear of each participant at once, and by itself: those are few messages.
pub(crate) const FEW: usize = 32;

/// The time between two announcements to a crowd: changes in between are in one message, which is encoded once.
pub(crate) const TOGETHER: Duration = Duration::from_millis(50);

/// The bytes per second that announcements of one participant may make everybody read: long ones are further apart.
pub(crate) const BYTES_PER_SECOND: f64 = 128.0 * 1024.0;

/// The longest time between two announcements of one participant, however long they are.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);

/// The announcements that are due.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub participants: BTreeMap<ParticipantSid, Change>,
    /// When each of those changes may be announced; in a crowd not before [`News::together_at`] either.
    pub due: Deadlines<ParticipantSid>,
    /// The farewells of participants that have left a crowd.
    pub departures: Vec<(ParticipantSid, Response)>,
    /// Set when the room changed: the participant who had read that already, if any.
    pub room: Option<Option<ParticipantSid>>,
    /// The room is not announced before this time.
    pub room_at: Option<Instant>,
    /// The participants that are to hear the meaning of their data track handles, and the person who is charged for
    /// each.
    pub handles: BTreeMap<ParticipantSid, Option<ParticipantIdentity>>,
    /// When each of those may hear it.
    pub handles_due: Deadlines<ParticipantSid>,
    /// The participants that have just connected: those who hear of them are to hear how well.
    pub qualities: BTreeSet<ParticipantSid>,
    /// In a crowd, nothing is announced before this time.
    pub together_at: Option<Instant>,
    /// A moderator is the cause of the present changes: nobody is charged.
    pub by_moderator: bool,
}

/// A change of a participant that is yet to be announced.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Change {
    /// Something changed besides the audience: something that others see.
    pub info: bool,
    pub to_itself: bool,
    /// The participant's token changed.
    pub grant: bool,
    /// The change is the participant's own doing, at least in part.
    pub charged: bool,
}

/// The announcement state of one participant.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// Digest of the last announcement.
    pub digest: Option<u64>,
    /// The next announcement is not made before this time.
    pub next: Option<Instant>,
    /// The audience that the publisher named last, which is not in force yet.
    pub audience: Option<SubscriptionPermission>,
    /// That audience is not in force before this time.
    pub audience_at: Option<Instant>,
}

impl Announced {
    /// When the next announcement may be made; `None`: at once.
    pub fn due(&self) -> Option<Instant> {
        match self.audience {
            // Nobody hears of a new track before its audience is known.
            Some(_) => self.audience_at,
            None => self.next,
        }
    }
}

/// The time until the next announcement, after one of `bytes` bytes.
pub(crate) fn interval(bytes: usize) -> Duration {
    let reading = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
    reading.clamp(INTERVAL, LONGEST_INTERVAL)
}
