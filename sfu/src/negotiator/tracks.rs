//! Tracks and subscriptions, and the sections they get.

use protocol::{ParticipantSid, TrackSid};

use super::{Negotiator, track::Track};
use crate::{
    api::{
        ConnectionCommand, DownTrackCommand, Event, MediaKind, PublishedTrack, TrackCodec,
        TrackCommand, TrackSetting,
    },
    negotiate::{Bound, PublishOutcome, SendTrack},
};

impl Negotiator {
    /// [`TrackCommand::Publish`]. The shard hears of tracks that are accepted.
    pub(super) fn publish(&mut self, peer: ParticipantSid, announced: PublishedTrack) {
        let sid = announced.sid;
        if self.tracks.contains_key(&sid) {
            return self.announce_backup(peer, announced);
        }
        let Ok(first) = self.backed_up(peer, &announced) else {
            return;
        };
        if first.is_none() && self.has_enough_tracks(peer) {
            return;
        }
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        let outcome = member.publisher.negotiation.publish(&announced);
        member.published.insert(sid);
        self.tracks.insert(sid, Track::new(peer, announced.clone()));
        if let Some(first) = first.and_then(|first| self.tracks.get_mut(&first)) {
            first.backup = Some(sid);
        }
        let track = announced;
        self.pass(TrackCommand::Publish { peer, track });
        self.after_publish(peer, sid, outcome);
    }

    /// [`TrackCommand::PublishRelayed`]. A relayed track needs no section.
    pub(super) fn publish_relayed(
        &mut self,
        peer: ParticipantSid,
        track: PublishedTrack,
        codec: TrackCodec,
    ) {
        let refused = self.tracks.contains_key(&track.sid) || self.has_enough_tracks(peer);
        let Some(published) = self.elsewhere.get_mut(&peer).filter(|_| !refused) else {
            return;
        };
        let known = Track {
            codec: Some(codec.clone()),
            ..Track::new(peer, track.clone())
        };
        published.insert(track.sid);
        self.tracks.insert(track.sid, known);
        self.pass(TrackCommand::PublishRelayed { peer, track, codec });
    }

    /// Whether a participant has as many tracks as it may. Each may have a backup that does not count.
    fn has_enough_tracks(&self, peer: ParticipantSid) -> bool {
        let member = self.members.get(&peer).map(|member| &member.published);
        let published = member.or_else(|| self.elsewhere.get(&peer));
        let tracks = published.into_iter().flatten();
        let known = tracks.filter_map(|track| self.tracks.get(track));
        let counts = known.filter(|track| track.announced.backup_of.is_none());
        counts.count() >= self.max_tracks
    }

    /// Carries out the outcome of a publication: the track may have been offered before.
    pub(super) fn after_publish(
        &mut self,
        peer: ParticipantSid,
        announced: TrackSid,
        outcome: PublishOutcome,
    ) {
        if outcome.bound.is_some() || outcome.unbound.is_some() {
            self.receive(peer);
        }
        if let Some(track) = outcome.unbound {
            self.tell(Event::TrackUnbound { peer, track });
        }
        if let Some(bound) = outcome.bound {
            self.bind(peer, bound);
        }
        if outcome.refused {
            self.tell(Event::TrackRefused {
                peer,
                track: announced,
            });
        }
    }

    /// Tells the shard in which sections the client sends.
    pub(super) fn receive(&mut self, peer: ParticipantSid) {
        if let Some(member) = self.members.get(&peer) {
            let sections = member.publisher.negotiation.receive_sections();
            self.pass(ConnectionCommand::Receive { peer, sections });
        }
    }

    /// A track found its section, and with it its codec.
    pub(super) fn bind(&mut self, peer: ParticipantSid, bound: Bound) {
        let Some(track) = self.tracks.get_mut(&bound.track) else {
            return;
        };
        let codec = TrackCodec {
            mime_type: bound.mime_type.to_owned(),
            fmtp: bound.fmtp.clone(),
            red: bound.red,
        };
        track.codec = Some(codec.clone());
        let sid = bound.track;
        self.pass(ConnectionCommand::Bind {
            peer,
            bound: Box::new(bound.clone()),
        });
        self.tell(Event::TrackBound {
            peer,
            track: sid,
            mid: bound.mid,
            codec,
            layers: bound.layers.iter().map(|layer| layer.layer).collect(),
        });
        self.codecs_changed(sid);
    }

    /// [`TrackCommand::Unpublish`]: the track ends, and its backup with it.
    pub(super) fn unpublish(&mut self, peer: ParticipantSid, track: TrackSid) {
        let is_own = |track: &&Track| track.publisher == peer;
        let Some(known) = self.tracks.get(&track).filter(is_own) else {
            return;
        };
        if let Some(backup) = known.backup {
            self.unpublish(peer, backup);
        }
        let first = self.first_of(track);
        if first != track {
            // Subscribers that have the picture in the backup's codec get it no longer.
            for subscriber in self.receivers_of_backup(first) {
                self.unsubscribe(subscriber, first);
            }
            if let Some(first) = self.tracks.get_mut(&first) {
                first.backup = None;
            }
        }
        let Some(known) = self.tracks.remove(&track) else {
            return;
        };
        for subscriber in known.subscribers.into_keys() {
            self.forget_subscription(subscriber, track);
        }
        if let Some(member) = self.members.get_mut(&peer) {
            member.published.remove(&track);
            member.publisher.negotiation.unpublish(track);
        }
        if let Some(published) = self.elsewhere.get_mut(&peer) {
            published.remove(&track);
        }
    }

    /// [`SubscriptionCommand::Subscribe`](crate::SubscriptionCommand::Subscribe): the subscription gets SSRCs of its own,
    /// and a section when there is one.
    pub(super) fn subscribe(
        &mut self,
        peer: ParticipantSid,
        track: TrackSid,
        setting: TrackSetting,
        repaired: bool,
    ) {
        let (codecs, in_backup) = self.codecs(track);
        let (Some(known), Some(member)) =
            (self.tracks.get_mut(&track), self.members.get_mut(&peer))
        else {
            return;
        };
        let is_none = known.codec.is_none() || known.announced.backup_of.is_some();
        let is_known = known.subscribers.contains_key(&peer);
        if is_none || known.publisher == peer || is_known {
            return;
        }
        known.subscribers.insert(peer, setting);
        member.subscribed.insert(track);
        let receiver = member.receiver();
        let ssrcs = (receiver.ssrcs.fresh(), receiver.ssrcs.fresh());
        let kind = known.announced.kind;
        receiver.negotiation.subscribe(SendTrack {
            track,
            publisher: known.publisher,
            stream: known.announced.stream.clone(),
            kind,
            codecs,
            ssrc: ssrcs.0,
            rtx_ssrc: (kind == MediaKind::Video).then_some(ssrcs.1),
        });
        self.changed.insert(peer);
        self.pass(DownTrackCommand::Add {
            peer,
            track,
            setting,
            ssrcs,
            in_backup,
            repaired,
        });
    }

    /// [`SubscriptionCommand::Unsubscribe`](crate::SubscriptionCommand::Unsubscribe).
    pub(super) fn unsubscribe(&mut self, peer: ParticipantSid, track: TrackSid) {
        let known = self.tracks.get_mut(&track);
        if known.is_some_and(|known| known.subscribers.remove(&peer).is_some()) {
            self.forget_subscription(peer, track);
        }
    }

    fn forget_subscription(&mut self, peer: ParticipantSid, track: TrackSid) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.sending.remove(&track);
            member.subscribed.remove(&track);
            member.receiver().negotiation.unsubscribe(track);
            self.changed.insert(peer);
        }
    }
}
