//! The verbs of commands: participants, tracks, subscriptions.

use std::time::Instant;

use protocol::{ParticipantIdentity, ParticipantSid, RoomSid, TrackSid};

use super::backup::codec_to_send;
use crate::{
    api::{
        DownTrackCommand, Event, MemberCommand, PeerPermissions, PublishedTrack, RoomCommand,
        SendBatch, ShardCommand, TrackCommand, TrackSetting,
    },
    bwe::HIGHEST,
    connection::{Connection, Incoming},
    down_track::DownTrack,
    keys::{ConnectionKey, DownTrackKey, MemberKey, UpTrackKey},
    member::Member,
    router::Router,
    shard::Shard,
    transport::{Transport, random_credentials},
    up_track::UpTrack,
};

impl Shard {
    /// Hands a command to its verb.
    pub(crate) fn route_command(
        &mut self,
        command: ShardCommand,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match command {
            ShardCommand::Member(command) => self.member_command(command, now, out),
            ShardCommand::Connection(command) => self.connection_command(command, now, out),
            ShardCommand::Track(command) => self.track_command(command),
            ShardCommand::DownTrack(command) => self.down_track_command(command, now, out),
            ShardCommand::Data(command) => self.data_command(command, now, out),
            ShardCommand::Relay(command) => self.relay_command(command, now),
            ShardCommand::Requested(request) => self.relay_request(request, now, out),
            ShardCommand::Room(RoomCommand::SetAudioTopN { room, limit }) => {
                self.set_audio_top_n(room, limit);
            }
            ShardCommand::Room(RoomCommand::Close { room }) => self.close_room(room, now, out),
        }
    }

    fn member_command(&mut self, command: MemberCommand, now: Instant, out: &mut impl SendBatch) {
        match command {
            MemberCommand::Add {
                room,
                peer,
                identity,
                principal,
                permissions,
            } => {
                let who = (identity, principal);
                let Some(member) = self.add_member(room, peer, who, permissions, now) else {
                    return;
                };
                let connection = self.connect(member, peer, false, now);
                if let Some(m) = self.members.get_mut(member) {
                    (m.sends, m.receives) = (Some(connection), Some(connection));
                }
            }
            MemberCommand::AddRelayed {
                room,
                peer,
                identity,
                principal,
                source,
            } => self.add_relayed_member(room, peer, (identity, principal), source, now),
            MemberCommand::AddSecondConnection { peer, primary } => {
                self.add_second_connection(peer, primary, now);
            }
            MemberCommand::Remove { peer } => {
                if let Some(member) = self.sids.get(&peer).copied() {
                    self.remove_member(member, now, out);
                }
            }
            MemberCommand::SetPermissions { peer, permissions } => {
                if let Some(m) = self.member_mut(peer) {
                    m.permissions = permissions;
                }
            }
            MemberCommand::LimitBandwidth { peer, limit } => {
                let key = self.receiver(peer);
                if let Some(c) = key.and_then(|key| self.connections.get_mut(key)) {
                    // No limit becomes `HIGHEST`, not `None`: without congestion control there is no estimator that
                    // would lift the pauses of the limit before.
                    c.bandwidth_limit = Some(limit.unwrap_or(HIGHEST));
                }
            }
        }
    }

    fn track_command(&mut self, command: TrackCommand) {
        match command {
            TrackCommand::Publish { peer, track } => self.publish(peer, track),
            TrackCommand::PublishRelayed { peer, track, codec } => {
                self.publish_relayed(peer, track, codec);
            }
            TrackCommand::Unpublish { peer, track } => {
                if let Some(up) = self.owned_track(peer, track) {
                    self.drop_up_track(up);
                }
            }
            TrackCommand::SetMuted { peer, track, muted } => self.set_muted(peer, track, muted),
        }
    }

    fn down_track_command(
        &mut self,
        command: DownTrackCommand,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match command {
            DownTrackCommand::Add {
                peer,
                track,
                setting,
                ssrcs,
                in_backup,
                repaired,
            } => {
                let Some(down) = self.add_down_track(peer, track, setting, ssrcs, in_backup, now)
                else {
                    return;
                };
                if let Some(d) = self.downs.get_mut(down).filter(|_| repaired) {
                    d.delivery.mark_repaired();
                }
                self.wish_changed(down, now);
            }
            DownTrackCommand::Send {
                peer,
                changed,
                stopped,
            } => {
                if let Some(key) = self.receiver(peer) {
                    self.guard(key, now, |shard| shard.send(key, &changed, &stopped, now));
                }
            }
            DownTrackCommand::SetSetting {
                peer,
                track,
                setting,
            } => self.set_track_setting(peer, track, setting, now, out),
            DownTrackCommand::Remove { peer, track } => {
                if let Some(down) = self.down_track_of(peer, track) {
                    self.drop_down_track(down);
                }
            }
        }
    }

    pub(super) fn member(&self, sid: ParticipantSid) -> Option<&Member> {
        self.members.get(*self.sids.get(&sid)?)
    }

    pub(super) fn member_mut(&mut self, sid: ParticipantSid) -> Option<&mut Member> {
        self.members.get_mut(*self.sids.get(&sid)?)
    }

    /// The connection on which a participant publishes.
    pub(super) fn sender(&self, sid: ParticipantSid) -> Option<ConnectionKey> {
        self.member(sid)?.sends
    }

    /// The connection on which a participant receives.
    pub(super) fn receiver(&self, sid: ParticipantSid) -> Option<ConnectionKey> {
        self.member(sid)?.receives
    }

    /// Adds a member to a room, which is created when it is new. The member has no connection yet.
    pub(crate) fn add_member(
        &mut self,
        room: RoomSid,
        sid: ParticipantSid,
        (identity, principal): (ParticipantIdentity, ParticipantIdentity),
        permissions: PeerPermissions,
        now: Instant,
    ) -> Option<MemberKey> {
        if self.sids.contains_key(&sid) {
            return None;
        }
        if self.members.len() >= self.config.max_peers {
            let reason = "the server carries as many participants as it may".to_owned();
            self.events
                .push_back(Event::NegotiationFailed { peer: sid, reason });
            return None;
        }
        let router = match self.rooms.get(&room) {
            Some(key) => *key,
            None => {
                let key = self
                    .routers
                    .insert(Router::new(room, self.config.audio_top_n));
                self.rooms.insert(room, key);
                key
            }
        };
        let key = self
            .members
            .insert_with_key(|key| Member::new(key, sid, identity, permissions, router, now));
        self.sids.insert(sid, key);
        if let Some(router) = self.routers.get_mut(router) {
            let known = router
                .principals
                .iter()
                .find(|(_, name)| *name == principal);
            let known = known.map(|(member, _)| self.members.get(*member).map(|m| m.principal));
            if let Some(m) = self.members.get_mut(key) {
                m.principal = known.flatten().unwrap_or(key);
                m.is_companion = m.identity != principal;
            }
            router.principals.push((key, principal));
            router.members.push(key);
        }
        Some(key)
    }

    /// Adds a connection that waits for its first description. `opens_channels`: we open its data channels.
    pub(super) fn connect(
        &mut self,
        member: MemberKey,
        sid: ParticipantSid,
        opens_channels: bool,
        now: Instant,
    ) -> ConnectionKey {
        // `SetIce` replaces them. Until then nobody knows them, so nothing reaches this transport; and they seed DTLS.
        let credentials = random_credentials(self.config.index, &mut self.rng);
        let transport = Transport::new(&self.context, credentials, opens_channels, now);
        let ufrag = transport.ice_ufrag().to_owned();
        let connection = Connection::new(member, sid, transport, now);
        let key = self.connections.insert(connection);
        self.demux.add_ufrag(&ufrag, key);
        self.reschedule(key, now);
        key
    }

    pub(super) fn remove_member(&mut self, key: MemberKey, now: Instant, out: &mut impl SendBatch) {
        let Some(m) = self.members.get_mut(key) else {
            return;
        };
        m.leaves = true;
        let connections = m.connections();
        for connection in connections.clone() {
            self.send_held(connection, now, out);
        }
        connections.for_each(|connection| self.disconnect(connection, now, out));
        let Some(m) = self.members.get_mut(key) else {
            return;
        };
        for up in std::mem::take(&mut m.ups) {
            self.drop_up_track(up);
        }
        let Some(m) = self.members.remove(key) else {
            return;
        };
        self.sids.remove(&m.sid);
        self.relay.forget_member(m.sid, key);
        let Some(router) = self.routers.get_mut(m.router) else {
            return;
        };
        router.members.retain(|member| *member != key);
        router.principals.retain(|(member, _)| *member != key);
        router.speakers.remove(key);
        router.data_tracks.remove(key);
        if router.members.is_empty()
            && let Some(key) = self.rooms.remove(&router.sid)
        {
            self.routers.remove(key);
        }
    }

    /// Closes a connection and ends what is sent on it.
    fn disconnect(&mut self, key: ConnectionKey, now: Instant, out: &mut impl SendBatch) {
        let Some(c) = self.connections.get_mut(key) else {
            return;
        };
        c.transport.close(now, out);
        for down in std::mem::take(&mut c.downs) {
            self.drop_down_track(down);
        }
        if let Some(c) = self.connections.remove(key) {
            self.demux
                .remove(key, c.transport.ice_ufrag(), c.transport.validated());
        }
    }

    /// Adds a track that the negotiator accepted; or announces a backup once more.
    fn publish(&mut self, sid: ParticipantSid, track: PublishedTrack) {
        let Some(key) = self.sids.get(&sid).copied() else {
            return;
        };
        if let Some(up) = self.tracks.get(&track.sid) {
            let known = self.ups.get_mut(*up);
            if let Some(known) = known.filter(|known| known.publisher == key) {
                known.announced = track;
            }
            return;
        }
        let first = track
            .backup_of
            .map(|of| self.tracks.get(&of.track).copied());
        let Some(m) = self.members.get_mut(key) else {
            return;
        };
        let track_sid = track.sid;
        let up = self.ups.insert(UpTrack::new(track, key, m.router));
        m.ups.push(up);
        self.tracks.insert(track_sid, up);
        if let Some(first) = first.flatten().and_then(|first| self.ups.get_mut(first)) {
            first.backup = Some(up);
        }
    }

    fn set_muted(&mut self, sid: ParticipantSid, track: TrackSid, muted: bool) {
        let Some(up) = self.owned_track(sid, track) else {
            return;
        };
        let backup = self.ups.get(up).and_then(|track| track.backup);
        for up in [Some(up), backup].into_iter().flatten() {
            if let Some(track) = self.ups.get_mut(up) {
                track.muted = muted;
                if let Some(router) = self.routers.get_mut(track.router) {
                    router.loudest.remove(up);
                }
            }
            self.retarget_track(up);
        }
    }

    pub(crate) fn owned_track(&self, sid: ParticipantSid, track: TrackSid) -> Option<UpTrackKey> {
        let up = *self.tracks.get(&track)?;
        let publisher = self.sids.get(&sid)?;
        (self.ups.get(up)?.publisher == *publisher).then_some(up)
    }

    fn add_down_track(
        &mut self,
        peer: ParticipantSid,
        track: TrackSid,
        setting: TrackSetting,
        ssrcs: (u32, u32),
        in_backup: bool,
        now: Instant,
    ) -> Option<DownTrackKey> {
        let (key, first) = (self.receiver(peer)?, *self.tracks.get(&track)?);
        let backup = self.ups.get(first).and_then(|track| track.backup);
        let up = backup.filter(|_| in_backup).unwrap_or(first);
        let c = self.connections.get_mut(key)?;
        let (m, source) = (self.members.get(c.member)?, self.ups.get_mut(up)?);
        if source.router != m.router || c.subscriptions.contains_key(&track) {
            return None;
        }
        let codec = codec_to_send(source);
        let mut down = DownTrack::new(up, track, key, codec, ssrcs, setting, now);
        down.hears_all = m.permissions.hears_all;
        source.full_ears += usize::from(down.hears_all);
        let down = self.downs.insert(down);
        let slot = source.fanout.add(down);
        if let Some(d) = self.downs.get_mut(down) {
            d.slot = slot;
        }
        c.downs.push(down);
        c.subscriptions.insert(track, down);
        c.outgoing.insert(ssrcs.0, down);
        c.outgoing.insert(ssrcs.1, down);
        Some(down)
    }

    /// The subscription of a participant to a track.
    pub(crate) fn down_track_of(
        &self,
        peer: ParticipantSid,
        track: TrackSid,
    ) -> Option<DownTrackKey> {
        let receiver = self.connections.get(self.receiver(peer)?)?;
        receiver.subscriptions.get(&track).copied()
    }

    fn set_track_setting(
        &mut self,
        sid: ParticipantSid,
        track: TrackSid,
        setting: TrackSetting,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(down) = self.down_track_of(sid, track) else {
            return;
        };
        let Some(d) = self.downs.get_mut(down) else {
            return;
        };
        d.setting = setting;
        let up = d.up;
        self.retarget(down);
        self.wish_changed(down, now);
        self.request_key_frames(up, now, out);
    }

    /// Takes a subscription out of the fan-out of its track, which forwards nothing to it any more.
    pub(crate) fn leave_fanout(&mut self, down: DownTrackKey) {
        let Some(d) = self.downs.get(down) else {
            return;
        };
        let (up, slot, hears_all) = (d.up, d.slot, d.hears_all);
        if let Some(track) = self.ups.get_mut(up) {
            track.dynacast.touch();
            track.full_ears -= usize::from(hears_all);
            let moved = track.fanout.remove(slot);
            if let Some(moved) = moved.and_then(|moved| self.downs.get_mut(moved)) {
                moved.slot = slot;
            }
        }
    }

    pub(crate) fn drop_down_track(&mut self, down: DownTrackKey) {
        self.leave_fanout(down);
        let Some(d) = self.downs.remove(down) else {
            return;
        };
        if let Some(c) = self.connections.get_mut(d.subscriber) {
            c.pacer.forget(down);
            c.downs.retain(|other| *other != down);
            c.outgoing.remove(&d.ssrc);
            c.outgoing.remove(&d.rtx_ssrc);
            c.subscriptions.remove(&d.track);
        }
    }

    fn drop_up_track(&mut self, up: UpTrackKey) {
        let first = self.first_of(up);
        match self.ups.get(first).and_then(|track| track.backup) {
            Some(backup) if first == up => self.drop_up_track(backup),
            Some(_) => self
                .ups
                .get_mut(first)
                .iter_mut()
                .for_each(|t| t.backup = None),
            None => {}
        }
        let downs = self
            .ups
            .get(up)
            .map(|track| track.fanout.downs().to_vec())
            .unwrap_or_default();
        downs
            .into_iter()
            .for_each(|down| self.drop_down_track(down));
        let Some(track) = self.ups.remove(up) else {
            return;
        };
        self.tracks.remove(&track.sid);
        self.relay.forget_track(track.sid, up);
        for tap in &track.taps {
            self.relay.taps.remove(&tap.relayed);
        }
        let publisher = self.members.get_mut(track.publisher);
        let connection = publisher.and_then(|m| {
            m.ups.retain(|other| *other != up);
            m.sends
        });
        if let Some(c) = connection.and_then(|key| self.connections.get_mut(key)) {
            c.incoming.retain(|_, stream| match stream {
                Incoming::Media { up: other, .. } | Incoming::Rtx { up: other, .. } => *other != up,
            });
        }
        if let Some(router) = self.routers.get_mut(track.router) {
            router.speakers.remove(track.publisher);
            router.loudest.remove(up);
        }
    }
}
