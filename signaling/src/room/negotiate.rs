//! Events of the shard: our offers and answers, and the rest.

use std::time::Instant;

use protocol::{
    ParticipantSid, TrackSid,
    livekit::{
        DisconnectReason, MediaSectionsRequirement, SessionDescription, SignalTarget,
        TrickleRequest, leave_request::Action, participant_info::State, signal_response::Message,
    },
};

use crate::{
    api::Leg, clock::seconds, deadlines::Deadline, farewell::Farewell, participant::Participant,
    room::Room,
};

impl Room {
    /// Offers all subscriptions to a participant that receives on a second PeerConnection.
    pub(crate) fn offer_subscriber(&mut self, sid: ParticipantSid, restart_ice: bool) {
        let two = |participant: &Participant| participant.two_connections;
        if self.participants.get(&sid).is_some_and(two) {
            self.command(sfu::DescriptionCommand::OfferSubscriber {
                peer: sid,
                restart_ice,
            });
        }
    }

    /// Takes a candidate of the client. Its content is not needed: with ICE-lite the client checks us, and we learn its
    /// addresses from the checks. It only shows that the client has candidates.
    pub(crate) fn trickle(&mut self, sid: ParticipantSid, trickle: &TrickleRequest, now: Instant) {
        if trickle.target() != SignalTarget::Publisher {
            return;
        }
        self.join_is_settled(sid, now);
    }

    pub(crate) fn media_event(&mut self, leg: Leg, event: sfu::Event, now: Instant) {
        use sfu::Event;
        match event {
            Event::Answer {
                peer,
                id,
                sdp,
                mid_to_track,
                missing,
            } => {
                self.answer(peer, id, sdp, mid_to_track);
                if missing != sfu::MediaSections::default() {
                    self.require_sections(peer, missing);
                }
            }
            Event::Offer {
                peer,
                id,
                sdp,
                mid_to_track,
            } => self.send_offer(peer, id, sdp, mid_to_track, now),
            Event::NegotiationFailed { peer, reason } => {
                self.negotiation_failed(peer, &reason, now)
            }
            Event::NegotiationNeeded { peer, missing } => self.require_sections(peer, missing),
            Event::Connected { peer } => self.connected(peer, now),
            Event::Disconnected { peer, reason } => self.media_gone(peer, reason, now),
            Event::TrackBound {
                peer,
                track,
                mid,
                codec,
                layers: _,
            } => {
                if !self.backup_bound(peer, track, &mid, &codec.mime_type) {
                    self.track_bound(peer, track, mid, codec, now);
                }
            }
            Event::TrackUnbound { peer, track } => {
                if !self.backup_unbound(peer, track) {
                    self.unpublish(peer, track, now);
                }
            }
            Event::TrackRefused { peer, track } => self.track_refused(peer, track, now),
            Event::SubscriptionFailed {
                peer,
                track,
                failure,
            } => self.subscription_failed(peer, track, failure),
            // Layers are known when the track is announced; this is of interest to recorders later.
            Event::TrackActive { .. } => {}
            Event::TrackSubscribed {
                peer,
                track,
                subscriber,
            } => self.track_subscribed(peer, track, subscriber),
            Event::QualityChanged { peer, quality } => self.quality_changed(peer, quality),
            Event::Unreachable { peer } => self.unreachable(peer, now),
            Event::WantedLayersChanged {
                peer,
                track,
                wanted,
            } => self.wanted_layers_changed(peer, track, wanted),
            Event::StreamStateChanged {
                peer,
                track,
                paused,
            } => self.stream_state_changed(peer, track, paused),
            Event::Reply { peer, payload } => self.rpc_reply(peer, &payload),
            // These events end at the negotiator.
            Event::OtherCodec { .. } | Event::Unbound { .. } | Event::Undelivered { .. } => {}
            Event::SpeakersChanged { room, speakers } => {
                if room == self.sid {
                    self.speakers_changed(leg, &speakers);
                }
            }
        }
    }

    fn answer(
        &mut self,
        sid: ParticipantSid,
        id: u32,
        sdp: String,
        mid_to_track: Vec<(String, TrackSid)>,
    ) {
        let answer = description("answer", id, sdp, mid_to_track);
        self.send(sid, Message::Answer(answer));
    }

    /// Sends our offer. Without a signal connection the offer is lost: a resume brings a new one.
    fn send_offer(
        &mut self,
        sid: ParticipantSid,
        id: u32,
        sdp: String,
        mid_to_track: Vec<(String, TrackSid)>,
        now: Instant,
    ) {
        let patience = seconds(self.config.media_timeout);
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        participant.awaited_answer = participant.session.map(|_| id);
        if participant.awaited_answer.is_some() {
            self.deadlines.set((sid, Deadline::Answer), now + patience);
        }
        let offer = description("offer", id, sdp, mid_to_track);
        self.send(sid, Message::Offer(offer));
    }

    /// Asks the client for sections. Zero and zero asks for a plain new offer.
    fn require_sections(&mut self, sid: ParticipantSid, missing: sfu::MediaSections) {
        let requirement = MediaSectionsRequirement {
            num_audios: missing.audios,
            num_videos: missing.videos,
        };
        self.send(sid, Message::MediaSectionsRequirement(requirement));
    }

    /// Removes a participant whose offer or answer we cannot read. Its client would send it again: it is told to stay
    /// away.
    pub(crate) fn negotiation_failed(&mut self, sid: ParticipantSid, reason: &str, now: Instant) {
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        tracing::info!(participant = %sid, reason, "offer or answer refused");
        // Nothing is negotiated with a participant that is connected elsewhere.
        if let Some(room) = participant.forwarded_from {
            return self.forwarded_failed(room, sid, now);
        }
        let cause = match participant.state {
            State::Active => DisconnectReason::MediaFailure,
            _ => DisconnectReason::JoinFailure,
        };
        // A client that lost an answer with its signal connection comes in anew; one that cannot make an offer stays
        // away.
        let action = match participant.resumed {
            true => Action::Reconnect,
            false => Action::Disconnect,
        };
        self.remove(sid, cause, Farewell::Leave(action), now);
    }

    /// The participant is connected: ICE and DTLS are up, or need not be. The first time, the others hear of the
    /// participant.
    pub(crate) fn connected(&mut self, sid: ParticipantSid, now: Instant) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        for deadline in [Deadline::Connect, Deadline::Media] {
            self.deadlines.cancel(&(sid, deadline));
        }
        participant.media_closed = false;
        if participant.state == State::Active {
            return;
        }
        participant.state = State::Active;
        let (info, forwarded_from) = (participant.info(), participant.forwarded_from);
        self.recount(sid);
        if let Some(room) = forwarded_from {
            self.forwarded_arrived(room, sid);
        }
        self.notify_joined(info.clone(), now);
        for track in &info.tracks {
            self.notify_published(&info, track.clone(), now);
        }
        self.introduce(sid, now);
        self.announce_count(None);
        self.announce_quality(sid);
    }
}

fn description(
    kind: &str,
    id: u32,
    sdp: String,
    mid_to_track: Vec<(String, TrackSid)>,
) -> SessionDescription {
    let name = |(mid, track): (String, TrackSid)| (mid, track.to_string());
    SessionDescription {
        r#type: kind.to_owned(),
        sdp,
        id,
        mid_to_track_id: mid_to_track.into_iter().map(name).collect(),
    }
}
