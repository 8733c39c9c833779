//! The verbs of work that concerns many: each turn does a share of it.

use std::time::Instant;

use protocol::RoomSid;

use crate::{
    api::{DataChannel, SendBatch},
    backlog::{Broadcast, CLOSING, LEAVING, RECEIVERS},
    data_track::{self, Handle},
    keys::{MemberKey, RouterKey},
    shard::Shard,
};

impl Shard {
    /// Does the next share.
    pub(super) fn work_off(&mut self, now: Instant, out: &mut impl SendBatch) {
        if let Some(room) = self.backlog.rooms.pop_front() {
            self.send_broadcasts(room, RECEIVERS, now, out);
        }
        self.remove_leaving(now, out);
        self.backlog.settle(now);
    }

    /// Sends a data packet to members of a room, behind those that wait: to as many as there is time for at once, to
    /// the others in the next turns. Of a data track, each gets it with a handle of its own.
    pub(super) fn broadcast(
        &mut self,
        room: RouterKey,
        channel: DataChannel,
        message: Vec<u8>,
        receivers: impl IntoIterator<Item = (MemberKey, Option<Handle>)>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(router) = self.routers.get_mut(room) else {
            return;
        };
        let share = router.broadcasts.push(Broadcast {
            channel,
            message,
            receivers: receivers.into_iter().collect(),
        });
        self.send_broadcasts(room, share, now, out);
        self.backlog.settle(now);
    }

    /// Sends the packets of a room that wait, to `share` receivers.
    fn send_broadcasts(
        &mut self,
        room: RouterKey,
        mut share: usize,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        while let Some(router) = self.routers.get_mut(room) {
            let Some(mut first) = router.broadcasts.pop() else {
                return;
            };
            while let Some((member, handle)) =
                (share > 0).then(|| first.receivers.pop_front()).flatten()
            {
                share -= 1;
                if let Some(handle) = handle {
                    data_track::set_handle(&mut first.message, handle);
                }
                self.guard_member(member, now, |shard| {
                    shard.deliver(member, first.channel, &first.message, now, out);
                });
            }
            if first.receivers.is_empty() {
                continue;
            }
            if let Some(router) = self.routers.get_mut(room) {
                router.broadcasts.put_back(first);
            }
            if !self.backlog.rooms.contains(&room) {
                self.backlog.rooms.push_back(room);
            }
            return;
        }
    }

    /// Removes the members of a room that has ended.
    pub(super) fn close_room(&mut self, room: RoomSid, now: Instant, out: &mut impl SendBatch) {
        let router = self.rooms.get(&room).and_then(|key| self.routers.get(*key));
        if let Some(router) = router {
            self.backlog.leaving.extend(&router.members);
        }
        self.remove_leaving(now, out);
        self.backlog.settle(now);
    }

    fn remove_leaving(&mut self, now: Instant, out: &mut impl SendBatch) {
        let mut left = CLOSING;
        while left > 0
            && let Some(member) = self.backlog.leaving.pop_front()
        {
            let receiver = self.receiving(member);
            let receiver = receiver.and_then(|key| self.connections.get(key));
            left = left.saturating_sub(LEAVING + receiver.map_or(0, |c| c.downs.len()));
            self.remove_member(member, now, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use protocol::{ParticipantSid, RoomSid};
    use rand::{SeedableRng, rngs::StdRng};

    use super::{
        super::tests::{Discard, add, shard_with_peers},
        *,
    };
    use crate::api::{DataCommand, MemberCommand, Reason, RoomCommand};

    /// A room of `people` whose channels are not open: what they get waits for them.
    struct Crowd {
        shard: Shard,
        out: Discard,
        now: Instant,
        room: RoomSid,
        people: Vec<ParticipantSid>,
    }

    impl Crowd {
        fn new(people: usize) -> Self {
            let (now, mut out) = (Instant::now(), Discard(Vec::new()));
            let (mut shard, others) = shard_with_peers(now, &mut out);
            shard.config.max_peers = people + others.len();
            let mut rng = StdRng::seed_from_u64(5);
            let room = RoomSid::random(&mut rng);
            let people: Vec<_> = (0..people)
                .map(|_| ParticipantSid::random(&mut rng))
                .collect();
            for &peer in &people {
                shard.handle_command(add(room, peer), now, &mut out);
            }
            Self {
                shard,
                out,
                now,
                room,
                people,
            }
        }

        fn say(&mut self, packet: &[u8]) {
            let command = DataCommand::Send {
                room: self.room,
                to: Vec::new(),
                channel: DataChannel::Reliable,
                payload: packet.to_vec(),
            };
            self.shard.handle_command(command, self.now, &mut self.out);
        }

        /// Number of people who have got this many packets.
        fn have(&mut self, packets: usize) -> usize {
            let connections = self.shard.connections.values_mut();
            connections.filter(|c| c.waiting.len() == packets).count()
        }

        fn turns(&mut self) -> usize {
            let mut turns = 0;
            while let Some((at, Reason::Backlog)) = self.shard.poll_timeout() {
                assert!(at <= self.now, "it is due at once");
                self.shard.handle_timeout(self.now, &mut self.out);
                turns += 1;
            }
            turns
        }
    }

    #[test]
    fn a_packet_for_many_goes_to_a_share_of_them_in_each_turn_and_behind_those_before_it() {
        let mut crowd = Crowd::new(3 * RECEIVERS + 1);
        crowd.say(b"first");
        assert_eq!(crowd.have(1), RECEIVERS);
        crowd.say(b"second");
        assert_eq!((crowd.have(1), crowd.have(2)), (RECEIVERS, 0));
        assert_eq!(crowd.turns(), 6);
        assert_eq!(crowd.have(2), crowd.people.len());
        for peer in crowd.people.clone() {
            let key = crowd.shard.receiver(peer).unwrap();
            let (packets, _) = crowd.shard.connections[key].waiting.take();
            assert_eq!(packets, [b"first".to_vec(), b"second".to_vec()]);
        }
    }

    #[test]
    fn packets_that_come_faster_than_they_go_out_do_not_pile_up() {
        let mut crowd = Crowd::new(2 * RECEIVERS);
        (0..70).for_each(|_| crowd.say(b"more"));
        // Six were finished to make room: of the first one half had gone out at once.
        assert_eq!(crowd.have(6), 2 * RECEIVERS);
        crowd.turns();
        assert_eq!(crowd.have(70), 2 * RECEIVERS);
    }

    #[test]
    fn who_leaves_before_its_turn_gets_nothing_and_others_do() {
        let mut crowd = Crowd::new(2 * RECEIVERS);
        crowd.say(b"hello");
        let last = *crowd.people.last().unwrap();
        let remove = MemberCommand::Remove { peer: last };
        crowd
            .shard
            .handle_command(remove, crowd.now, &mut crowd.out);
        crowd.turns();
        assert_eq!(crowd.have(1), 2 * RECEIVERS - 1);
    }

    #[test]
    fn a_large_room_closes_a_few_people_a_turn_and_leaves_nothing() {
        let mut crowd = Crowd::new(100);
        let close = RoomCommand::Close { room: crowd.room };
        crowd.shard.handle_command(close, crowd.now, &mut crowd.out);
        let at_once = 100 - (crowd.shard.stats().peers - 2);
        assert_eq!(at_once, CLOSING / LEAVING);
        assert_eq!(crowd.turns(), 100_usize.div_ceil(at_once) - 1);
        let stats = crowd.shard.stats();
        assert_eq!((stats.peers, stats.rooms), (2, 1));
    }
}
