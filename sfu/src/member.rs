//! A member of a room: who it is, what it may, and what it publishes. How its media travels is in its
//! [`Connection`](crate::connection::Connection)s: most members have one, some have two, and one who is connected to
//! another shard has none.

use std::time::{Duration, Instant};

use protocol::{ParticipantIdentity, ParticipantSid, budget::Budget};

use crate::{
    api::PeerPermissions,
    keys::{ConnectionKey, MemberKey, RouterKey, UpTrackKey},
};

/// The number of a member's streams that may begin anew under another SSRC: per second, and at once.
const RESTARTS: (u32, u32) = (1, 64);

/// The round trip time assumed until the first receiver report.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// A member of a room.
pub struct Member {
    /// The participant's sid.
    pub sid: ParticipantSid,
    /// The participant's identity, which is stamped on its data packets.
    pub identity: ParticipantIdentity,
    /// A key of the person behind the participant, the same for all participants of that person in the room.
    pub principal: MemberKey,
    /// The participant is a companion of somebody, and is there only to publish.
    pub is_companion: bool,
    /// Rights of the participant.
    pub permissions: PeerPermissions,
    /// The member's room.
    pub router: RouterKey,
    /// When the member was added.
    pub joined: Instant,
    /// The shard that the participant is connected to, where that is not this room's: packets come from there, and
    /// there is no connection here.
    pub source: Option<u16>,
    /// The connection on which the member publishes.
    pub sends: Option<ConnectionKey>,
    /// The connection on which the member receives: the same, unless it has two.
    pub receives: Option<ConnectionKey>,
    /// The member has been connected: packets that it sends count.
    pub is_there: bool,
    /// The member is about to be removed: nothing that it sends waits for anybody.
    pub leaves: bool,
    /// Tracks that the member publishes.
    pub ups: Vec<UpTrackKey>,
    /// The budget of streams that begin anew: two SSRCs in turn would do so with each packet.
    pub restarts: Budget,
    /// Round trip time, from the client's receiver reports. All its connections take the same path.
    pub rtt: Duration,
    /// Number of packets to itself that the control side still wants to read.
    pub awaited_replies: u32,
    /// Number of the member's last reliable data packet, 0 before the first. A client that comes back repeats packets
    /// that it is not sure about.
    pub last_reliable: u32,
    /// Rooms elsewhere that get the member's data tracks: the participant's sid there, and the shard.
    pub data_taps: Vec<(ParticipantSid, u16)>,
}

impl Member {
    /// A member without a connection.
    pub fn new(
        key: MemberKey,
        sid: ParticipantSid,
        identity: ParticipantIdentity,
        permissions: PeerPermissions,
        router: RouterKey,
        now: Instant,
    ) -> Self {
        Self {
            sid,
            identity,
            principal: key,
            is_companion: false,
            permissions,
            router,
            joined: now,
            source: None,
            sends: None,
            receives: None,
            is_there: false,
            leaves: false,
            ups: Vec::new(),
            restarts: Budget::new(RESTARTS.0, RESTARTS.1, now),
            rtt: INITIAL_RTT,
            awaited_replies: 0,
            last_reliable: 0,
            data_taps: Vec::new(),
        }
    }

    /// The member's connections: none, one or two.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionKey> + Clone + use<> {
        self.sends.into_iter().chain(self.second())
    }

    /// The connection on which the member only receives, where it has two.
    pub fn second(&self) -> Option<ConnectionKey> {
        self.receives.filter(|_| self.receives != self.sends)
    }

    /// The tracks that are published on this connection: all of them, or none.
    pub fn ups_on(&self, connection: ConnectionKey) -> &[UpTrackKey] {
        match self.sends == Some(connection) {
            true => &self.ups,
            false => &[],
        }
    }
}
