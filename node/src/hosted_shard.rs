//! One shard, and the rooms that its events are for.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use protocol::{ParticipantSid, RoomSid};
use sfu::{
    Config, DisconnectReason, Event, MemberCommand, RoomCommand, SendBatch, Shard, ShardCommand,
};

/// A shard with the rooms that it holds. `R` is the way back to a room. The owner hands datagrams and timeouts to
/// [`HostedShard::shard`] itself.
pub struct HostedShard<R> {
    shard: Shard,
    rooms: BTreeMap<RoomSid, R>,
    /// The rooms of participants: an event names a participant only.
    peers: BTreeMap<ParticipantSid, RoomSid>,
    /// Events that are not the shard's own.
    events: VecDeque<Event>,
}

impl<R> HostedShard<R> {
    /// A shard without rooms.
    pub fn new(config: Config) -> Self {
        Self {
            shard: Shard::new(config),
            rooms: BTreeMap::new(),
            peers: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// The shard itself.
    pub fn shard(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// The shard itself, to look at.
    pub fn state(&self) -> &Shard {
        &self.shard
    }

    /// Number of participants.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// A room opens on this shard: its events go this way until [`RoomCommand::Close`].
    pub fn open(&mut self, room: RoomSid, back: R) {
        self.rooms.insert(room, back);
    }

    /// Carries out a command of a room, or of another shard.
    pub fn handle_command(
        &mut self,
        command: ShardCommand,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match &command {
            ShardCommand::Member(MemberCommand::Add { room, peer, .. })
            | ShardCommand::Member(MemberCommand::AddRelayed { room, peer, .. }) => {
                self.peers.insert(*peer, *room);
            }
            ShardCommand::Member(MemberCommand::Remove { peer }) => {
                self.peers.remove(peer);
            }
            ShardCommand::Room(RoomCommand::Close { room }) => {
                self.rooms.remove(room);
                self.peers.retain(|_, of| of != room);
            }
            _ => {}
        }
        self.shard.handle_command(command, now, out);
    }

    /// Goes on with an empty shard, after a bug of ours: the participants hear that their media is gone.
    pub fn restart(&mut self, config: Config) {
        self.shard = Shard::new(config);
        let gone = self.peers.keys().map(|&peer| Event::Disconnected {
            peer,
            reason: DisconnectReason::Internal,
        });
        self.events.extend(gone);
    }

    /// The next event, and the room that it is for.
    pub fn poll_event(&mut self) -> Option<(&R, Event)> {
        loop {
            let event = self.events.pop_front();
            let event = event.or_else(|| self.shard.poll_event())?;
            let room = match event.peer() {
                Some(peer) => self.peers.get(&peer).copied(),
                None => event.room(),
            };
            // An event about a participant that is gone crossed with the command that removed it.
            if let Some(room) = room.filter(|room| self.rooms.contains_key(room)) {
                return Some((&self.rooms[&room], event));
            }
        }
    }
}
