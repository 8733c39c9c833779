//! Participants who are in rooms of other shards too.
//!
//! Where such a participant's packets come in, a [`Tap`] copies each of them, opened, into the shard's [`RelayQueue`];
//! the owner carries them to the other shard. There a member without a connection publishes them: from the
//! history on, its packets are treated like those of any other publisher, with layers, repairs and speakers of its own.
//! Only three wishes go back, as commands: the layers that somebody wants, key frames, and packets that were lost on
//! the way.
//!
//! Packets of its data tracks go the same way; those that are lost stay lost, as on their channel.
//!
//! A packet between shards is never seen by a network, and nothing from a network is taken for one.

pub mod wire;

use std::collections::VecDeque;

use protocol::{ParticipantSid, TrackSid};
use rustc_hash::FxHashMap;

use self::wire::{Handle, Relayed};
use crate::{
    api::{MediaKind, RelayRequest, SpatialLayer},
    keys::{MemberKey, UpTrackKey},
    nack::NackThrottle,
};

/// The most bytes that wait for the owner. The owner takes them after each batch of datagrams, of which the queue holds
/// several.
const MAX_QUEUED: usize = 1 << 20;

/// Length of the prefix of each packet in the queue, bytes: the shard it goes to, and the packet's length.
const PREFIX: usize = 4;

/// A copy of a track for a room of another shard.
#[derive(Debug)]
pub struct Tap {
    /// The track's sid in that room.
    pub relayed: TrackSid,
    /// The track in packets to that room.
    pub handle: Handle,
    /// The shard of that room.
    pub shard: u16,
    /// Layers of a picture that somebody in that room wants: those up to this one; `None`: nobody wants any.
    pub wanted: Option<SpatialLayer>,
    /// Bit for each layer whose last packet was left out.
    left_out: u8,
    /// Bytes that went to that room, a count that wraps.
    sent: u32,
    repairs: NackThrottle,
}

impl Tap {
    /// A tap through which nothing has gone yet.
    pub fn new(relayed: TrackSid, shard: u16, wanted: Option<SpatialLayer>) -> Self {
        Self {
            relayed,
            handle: Handle::of(relayed.as_str()),
            shard,
            wanted,
            left_out: 0,
            sent: 0,
            repairs: NackThrottle::default(),
        }
    }

    /// Whether packets of a layer go to the room. Where the room wants the picture, the lowest layer that is sent goes
    /// even when it is above the wanted one: everybody gets that layer then.
    pub fn wants(&self, kind: MediaKind, layer: u8, is_lowest: bool) -> bool {
        kind == MediaKind::Audio
            || self
                .wanted
                .is_some_and(|wanted| layer <= wanted as u8 || is_lowest)
    }

    /// A packet of the layer is left out of this tap.
    pub fn leave_out(&mut self, layer: u8) {
        self.left_out |= 1 << layer;
    }

    /// Whether packets of the layer were left out before this one.
    pub fn resumes(&self, layer: u8) -> bool {
        self.left_out & (1 << layer) != 0
    }

    /// A packet of the layer went to the room, of `len` bytes. `resumed`: the packet says that others were left out
    /// before it.
    pub fn sent(&mut self, layer: u8, len: usize, resumed: bool) {
        self.sent = self.sent.wrapping_add(len as u32);
        if resumed {
            self.left_out &= !(1 << layer);
        }
    }

    /// Whether a packet may be sent again: repairs never outweigh what was sent.
    pub fn may_repair(&mut self) -> bool {
        self.repairs.has_credit(self.sent)
    }

    /// A packet of `len` bytes was sent again.
    pub fn repaired(&mut self, len: usize) {
        self.repairs.spend(len);
    }
}

/// What a shard has to do with other shards.
#[derive(Debug, Default)]
pub struct Relay {
    /// Tracks that are copied to rooms elsewhere, by the sids they have there.
    pub taps: FxHashMap<TrackSid, UpTrackKey>,
    /// Packets for other shards.
    pub queue: RelayQueue,
    /// Requests to other shards, with their index.
    pub requests: VecDeque<(u16, RelayRequest)>,
    /// Tracks whose packets come from other shards.
    pub tracks: FxHashMap<Handle, UpTrackKey>,
    /// The members who are connected to other shards.
    pub members: FxHashMap<Handle, MemberKey>,
}

impl Relay {
    /// A track ended.
    pub fn forget_track(&mut self, sid: TrackSid, up: UpTrackKey) {
        let handle = Handle::of(sid.as_str());
        if self.tracks.get(&handle) == Some(&up) {
            self.tracks.remove(&handle);
        }
    }

    /// A member left.
    pub fn forget_member(&mut self, sid: ParticipantSid, member: MemberKey) {
        let handle = Handle::of(sid.as_str());
        if self.members.get(&handle) == Some(&member) {
            self.members.remove(&handle);
        }
    }
}

/// Packets for other shards, until the owner takes them.
#[derive(Debug, Default)]
pub struct RelayQueue(Vec<u8>);

impl RelayQueue {
    /// Queues a packet for a shard. False: the queue is full.
    pub fn push(&mut self, shard: u16, packet: &Relayed<'_>) -> bool {
        let Some(size) = packet.size() else {
            return false;
        };
        let queue = &mut self.0;
        if queue.len() + PREFIX + usize::from(size) > MAX_QUEUED {
            return false;
        }
        queue.extend_from_slice(&shard.to_be_bytes());
        queue.extend_from_slice(&size.to_be_bytes());
        packet.write(queue);
        true
    }

    /// Hands over every packet, with the shard it goes to, and empties the queue.
    pub fn drain(&mut self, mut carry: impl FnMut(u16, &[u8])) {
        let mut rest = self.0.as_slice();
        while let Some(([s0, s1, l0, l1], after)) = rest.split_first_chunk::<PREFIX>() {
            let Some((packet, after)) =
                after.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))
            else {
                debug_assert!(false, "packets are queued whole");
                break;
            };
            carry(u16::from_be_bytes([*s0, *s1]), packet);
            rest = after;
        }
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{wire::Kind, *};
    use crate::received::Received;

    fn packet(payload: &[u8]) -> Relayed<'_> {
        Relayed {
            handle: Handle::of("TR_VCabcdefghijkl"),
            kind: Kind::Media,
            layer: 0,
            packet: Received {
                payload,
                ..Received::default()
            },
        }
    }

    #[test]
    fn packets_come_out_in_their_order_for_whom_they_are() {
        let mut queue = RelayQueue::default();
        assert!(queue.push(3, &packet(b"sound")));
        assert!(queue.push(700, &packet(b"")));
        let mut carried = Vec::new();
        queue.drain(|shard, bytes| carried.push((shard, bytes.to_vec())));
        let carried: Vec<_> = carried
            .iter()
            .map(|(shard, bytes)| (*shard, Relayed::parse(bytes).unwrap()))
            .collect();
        assert_eq!(carried, [(3, packet(b"sound")), (700, packet(b""))]);
        queue.drain(|_, _| panic!("nothing is left"));
    }

    #[test]
    fn a_queue_that_nobody_empties_is_bounded() {
        let mut queue = RelayQueue::default();
        let payload = [0; 1200];
        let taken = (0..2000).filter(|_| queue.push(0, &packet(&payload)));
        let taken = taken.count();
        assert!((800..880).contains(&taken), "{taken}");
        assert!(queue.0.len() <= MAX_QUEUED);
    }
}
