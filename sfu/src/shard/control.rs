//! The verbs of commands: participants, tracks, subscriptions.

use std::time::{Duration, Instant};

use protocol::{ParticipantIdentity, ParticipantSid, RoomSid, TrackSid, budget::Budget};

use super::{backup::codec_to_send, feedback::FEEDBACK};
use crate::{
    api::{Command, Event, PeerPermissions, PublishedTrack, SendBatch, TrackSetting},
    bwe::HIGHEST,
    delivery::Watch,
    down_track::DownTrack,
    keys::{DownTrackKey, PeerKey, RouterKey, UpTrackKey},
    pacer::Pacer,
    peer::{Incoming, Peer, RESTARTS},
    quality::QualityMeter,
    router::Router,
    shard::Shard,
    slow_readers::Reader,
    timers::Timer,
    transport::{Transport, random_credentials},
    twcc::TwccRecorder,
    up_track::UpTrack,
    waiting_data::WaitingData,
};

/// The round trip time assumed until the first receiver report.
const INITIAL_RTT: Duration = Duration::from_millis(50);

impl Shard {
    /// Hands a command to its verb.
    pub(crate) fn route_command(
        &mut self,
        command: Command,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match command {
            Command::AddPeer { .. } => self.add_peer(command, now),
            Command::AddRelayedPeer { .. }
            | Command::PublishRelayed { .. }
            | Command::Relay { .. }
            | Command::StopRelay { .. }
            | Command::RelayData { .. }
            | Command::RelayWanted { .. }
            | Command::RelayKeyFrame { .. }
            | Command::RelayMissing { .. } => self.relay_command(command, now, out),
            Command::AddSubscriber { peer, primary } => self.add_subscriber(peer, primary, now),
            Command::RemovePeer { peer } => self.remove_peer(peer, now, out),
            Command::SetPermissions { peer, permissions } => {
                let both = [self.sids.get(&peer).copied(), self.subscriber(peer)];
                for key in both.into_iter().flatten() {
                    if let Some(p) = self.peers.get_mut(key) {
                        p.permissions = permissions;
                    }
                }
            }
            Command::SetIce { .. }
            | Command::SetRemote { .. }
            | Command::Receive { .. }
            | Command::Bind { .. }
            | Command::Unbind { .. }
            | Command::Send { .. } => self.take_over(command, now, out),
            Command::Offer { .. }
            | Command::OfferSubscriber { .. }
            | Command::Answer { .. }
            | Command::Subscribe { .. }
            | Command::RestrictCandidates { .. } => {
                debug_assert!(false, "the negotiator has it");
            }
            Command::Publish { peer, track } => self.publish(peer, track),
            Command::Unpublish { peer, track } => self.unpublish(peer, track),
            Command::SetMuted { peer, track, muted } => self.set_muted(peer, track, muted),
            Command::AddDownTrack { .. } => self.add_down_track(command, now),
            Command::Unsubscribe { peer, track } => self.unsubscribe(peer, track),
            Command::SetTrackSetting {
                peer,
                track,
                setting,
            } => self.set_track_setting(peer, track, setting, now, out),
            Command::SetAudioTopN { room, limit } => self.set_audio_top_n(room, limit),
            Command::AwaitReply { peer } => {
                if let Some(p) = self.peer_mut(peer) {
                    // An acknowledgement and an answer.
                    p.awaited_replies = p.awaited_replies.saturating_add(2);
                }
            }
            Command::SendData { .. } => self.send_data(command, now, out),
            Command::ReplayData { peer, received } => {
                self.replay_data(peer, &received, now, out);
            }
            Command::LimitBandwidth { peer, limit } => {
                let key = self.receiver(peer);
                if let Some(p) = key.and_then(|key| self.peers.get_mut(key)) {
                    // No limit becomes `HIGHEST`, not `None`: without congestion control there is no estimator that
                    // would lift the pauses of the limit before.
                    p.bandwidth_limit = Some(limit.unwrap_or(HIGHEST));
                }
            }
            Command::PublishData { .. }
            | Command::UnpublishData { .. }
            | Command::SubscribeData { .. }
            | Command::UnsubscribeData { .. } => self.change_data_tracks(command),
            Command::CloseRoom { room } => {
                let members = self.rooms.get(&room).and_then(|key| self.routers.get(*key));
                let members = members
                    .map(|router| router.members.clone())
                    .unwrap_or_default();
                for member in members {
                    if let Some(sid) = self.peers.get(member).map(|p| p.sid) {
                        self.remove_peer(sid, now, out);
                    }
                }
            }
        }
    }

    fn peer_mut(&mut self, sid: ParticipantSid) -> Option<&mut Peer> {
        self.sids.get(&sid).and_then(|key| self.peers.get_mut(*key))
    }

    fn add_peer(&mut self, command: Command, now: Instant) {
        let Command::AddPeer {
            room,
            peer: sid,
            identity,
            principal,
            permissions,
        } = command
        else {
            return;
        };
        let who = (identity, principal);
        self.add_member(room, sid, who, permissions, now);
    }

    /// Adds a member to a room, which is created when it is new.
    pub(crate) fn add_member(
        &mut self,
        room: RoomSid,
        sid: ParticipantSid,
        (identity, principal): (ParticipantIdentity, ParticipantIdentity),
        permissions: PeerPermissions,
        now: Instant,
    ) -> Option<PeerKey> {
        if self.sids.contains_key(&sid) {
            return None;
        }
        if self.sids.len() >= self.config.max_peers {
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
        let key = self.insert_peer(sid, identity, permissions, router, false, now);
        self.sids.insert(sid, key);
        if let Some(router) = self.routers.get_mut(router) {
            let known = router
                .principals
                .iter()
                .find(|(_, name)| *name == principal);
            let known = known.map(|(member, _)| self.peers.get(*member).map(|p| p.principal));
            if let (Some(Some(principal)), Some(p)) = (known, self.peers.get_mut(key)) {
                p.principal = principal;
            }
            router.principals.push((key, principal));
            router.members.push(key);
        }
        Some(key)
    }

    /// Adds a PeerConnection that waits for its first description. `opens_channels`: we open its data channels.
    pub(crate) fn insert_peer(
        &mut self,
        sid: ParticipantSid,
        identity: ParticipantIdentity,
        permissions: PeerPermissions,
        router: RouterKey,
        opens_channels: bool,
        now: Instant,
    ) -> PeerKey {
        // `SetIce` replaces them. Until then nobody knows them, so nothing reaches this transport; and they seed DTLS.
        let credentials = random_credentials(self.config.index, &mut self.rng);
        let transport = Transport::new(&self.context, credentials, opens_channels, now);
        let ufrag = transport.ice_ufrag().to_owned();
        let key = self.peers.insert_with_key(|key| Peer {
            sid,
            identity,
            principal: key,
            permissions,
            awaited_replies: 0,
            joined: now,
            last_reliable: 0,
            waiting: WaitingData::default(),
            reader: Reader::default(),
            held: None,
            leaves: false,
            router,
            source: None,
            data_taps: Vec::new(),
            subscriber: None,
            primary: true,
            is_there: false,
            lost: false,
            transport,
            sections: Vec::new(),
            ups: Vec::new(),
            downs: Vec::new(),
            subscriptions: Default::default(),
            restarts: Budget::new(RESTARTS.0, RESTARTS.1, now),
            incoming: Default::default(),
            feedback: Budget::new(FEEDBACK.0, FEEDBACK.1, now),
            outgoing: Default::default(),
            extensions: Default::default(),
            twcc: TwccRecorder::new(),
            twcc_ssrc: 0,
            timer: Timer::default(),
            next_receiver_report: now,
            rtt: INITIAL_RTT,
            estimator: None,
            bandwidth_limit: None,
            pacer: Pacer::default(),
            wanted_bitrate: 0,
            primary_only: false,
            next_allocation: now,
            watch: Watch::new(now),
            quality: QualityMeter::default(),
        });
        self.demux.add_ufrag(&ufrag, key);
        self.reschedule(key, now);
        key
    }

    fn remove_peer(&mut self, sid: ParticipantSid, now: Instant, out: &mut impl SendBatch) {
        let Some(key) = self.sids.get(&sid).copied() else {
            return;
        };
        let subscriber = self.peers.get(key).and_then(|p| p.subscriber);
        if let Some(p) = self.peers.get_mut(key) {
            p.leaves = true;
        }
        for connection in [Some(key), subscriber].into_iter().flatten() {
            self.send_held(connection, now, out);
        }
        self.sids.remove(&sid);
        if let Some(subscriber) = subscriber {
            self.close_peer(subscriber, now, out);
        }
        let Some(router) = self.close_peer(key, now, out) else {
            return;
        };
        let Some(router) = self.routers.get_mut(router) else {
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

    /// Closes one PeerConnection and ends what is sent on it. Returns its room.
    fn close_peer(
        &mut self,
        key: PeerKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Option<RouterKey> {
        let p = self.peers.get_mut(key)?;
        p.transport.close(now, out);
        let (ups, downs) = (p.ups.clone(), p.downs.clone());
        downs
            .into_iter()
            .for_each(|down| self.drop_down_track(down));
        ups.into_iter().for_each(|up| self.drop_up_track(up));
        let p = self.peers.remove(key)?;
        self.demux
            .remove_peer(key, p.transport.ice_ufrag(), p.transport.validated());
        Some(p.router)
    }

    fn publish(&mut self, sid: ParticipantSid, track: PublishedTrack) {
        let limit = self.config.max_tracks_per_peer;
        let Some(key) = self.sids.get(&sid).copied() else {
            return;
        };
        if self.tracks.contains_key(&track.sid) {
            if let Some(up) = self.owned_track(sid, track.sid) {
                self.announce_backup(up, track);
            }
            return;
        }
        let Ok(first) = self.backed_up(key, &track) else {
            return;
        };
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        // Each track may have a backup that does not count.
        let is_track = |up: &&UpTrackKey| {
            let track = self.ups.get(**up);
            track.is_some_and(|track| track.announced.backup_of.is_none())
        };
        if first.is_none() && p.ups.iter().filter(is_track).count() >= limit {
            return;
        }
        let track_sid = track.sid;
        let up = self.ups.insert(UpTrack::new(track, key, p.router));
        p.ups.push(up);
        self.tracks.insert(track_sid, up);
        if let Some(first) = first.and_then(|first| self.ups.get_mut(first)) {
            first.backup = Some(up);
        }
    }

    fn unpublish(&mut self, sid: ParticipantSid, track: TrackSid) {
        let Some(up) = self.owned_track(sid, track) else {
            return;
        };
        self.drop_up_track(up);
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

    /// [`Command::AddDownTrack`].
    fn add_down_track(&mut self, command: Command, now: Instant) {
        let Command::AddDownTrack {
            peer,
            track,
            setting,
            ssrcs,
            in_backup,
            repaired,
        } = command
        else {
            return;
        };
        let (Some(key), Some(first)) = (self.receiver(peer), self.tracks.get(&track).copied())
        else {
            return;
        };
        let backup = self.ups.get(first).and_then(|track| track.backup);
        let up = backup.filter(|_| in_backup).unwrap_or(first);
        let (Some(p), Some(source)) = (self.peers.get_mut(key), self.ups.get_mut(up)) else {
            return;
        };
        if source.router != p.router || p.subscriptions.contains_key(&track) {
            return;
        }
        let codec = codec_to_send(source);
        let mut down = DownTrack::new(up, track, key, codec, ssrcs, setting, now);
        down.hears_all = p.permissions.hears_all;
        if repaired {
            down.delivery.mark_repaired();
        }
        source.full_ears += usize::from(down.hears_all);
        let down = self.downs.insert(down);
        let slot = source.fanout.add(down);
        if let Some(d) = self.downs.get_mut(down) {
            d.slot = slot;
        }
        p.downs.push(down);
        p.subscriptions.insert(track, down);
        p.outgoing.insert(ssrcs.0, down);
        p.outgoing.insert(ssrcs.1, down);
        self.wish_changed(down, now);
    }

    /// The subscription of a participant to a track.
    pub(crate) fn down_track_of(
        &self,
        peer: ParticipantSid,
        track: TrackSid,
    ) -> Option<DownTrackKey> {
        let receiver = self.peers.get(self.receiver(peer)?)?;
        receiver.subscriptions.get(&track).copied()
    }

    fn unsubscribe(&mut self, sid: ParticipantSid, track: TrackSid) {
        if let Some(down) = self.down_track_of(sid, track) {
            self.drop_down_track(down);
        }
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
        if let Some(p) = self.peers.get_mut(d.subscriber) {
            p.pacer.forget(down);
            p.downs.retain(|other| *other != down);
            p.outgoing.remove(&d.ssrc);
            p.outgoing.remove(&d.rtx_ssrc);
            p.subscriptions.remove(&d.track);
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
        for tap in &track.taps {
            self.taps.remove(&tap.relayed);
        }
        if let Some(p) = self.peers.get_mut(track.publisher) {
            p.ups.retain(|other| *other != up);
            p.incoming.retain(|_, stream| match stream {
                Incoming::Media { up: other, .. } | Incoming::Rtx { up: other, .. } => *other != up,
            });
        }
        if let Some(router) = self.routers.get_mut(track.router) {
            router.speakers.remove(track.publisher);
            router.loudest.remove(up);
        }
    }
}
