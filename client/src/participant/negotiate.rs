//! Offers and answers over the signal connection: one offer in flight, ids that match.

use std::time::Instant;

use protocol::livekit::{
    DataChannelInfo, DataChannelReceiveState, SessionDescription, SignalTarget, SyncState,
    TrackPublishedResponse, UpdateSubscription, signal_request,
};

use super::{Participant, Phase};
use crate::Error;

/// The state of offers of the peer connection that we offer.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    /// Id of the last offer; the first is 1.
    id: u32,
    /// An offer is wanted even without a change of ours.
    renew: bool,
    /// Number of sections that the server lacks and that are not offered yet: audio, video.
    lacking: (u32, u32),
    /// When those sections are offered, if no other offer comes first.
    offer_at: Option<Instant>,
    last_offer: Option<SessionDescription>,
    last_answer: Option<SessionDescription>,
}

impl Negotiation {
    /// When [`Participant::offer_gathered`] has something to do.
    pub(super) fn gathered_at(&self) -> Option<Instant> {
        self.offer_at
    }
}

impl Participant {
    /// The next offer as a message.
    pub(super) fn next_offer(&mut self, now: Instant) -> Result<SessionDescription, Error> {
        let (audios, videos) = std::mem::take(&mut self.negotiation.lacking);
        self.peer.add_receive_sections(audios, videos);
        self.negotiation.offer_at = None;
        let sdp = self.peer.create_offer(now)?;
        self.negotiation.id += 1;
        self.negotiation.renew = false;
        let offer = SessionDescription {
            r#type: "offer".into(),
            sdp,
            id: self.negotiation.id,
            ..Default::default()
        };
        self.negotiation.last_offer = Some(offer.clone());
        Ok(offer)
    }

    /// Sends an offer if one is wanted and none is in flight.
    pub(super) fn offer_if_needed(&mut self, now: Instant) -> Result<(), Error> {
        let wanted = self.negotiation.renew || self.peer.has_changes();
        if self.phase == Phase::Joined && wanted && !self.peer.is_offer_pending() {
            let offer = self.next_offer(now)?;
            self.send(signal_request::Message::Offer(offer));
        }
        Ok(())
    }

    pub(super) fn on_answer(
        &mut self,
        answer: SessionDescription,
        now: Instant,
    ) -> Result<(), Error> {
        if answer.id != self.negotiation.id || !self.peer.is_offer_pending() {
            // This is the answer to an offer that was rolled back.
            tracing::debug!(id = answer.id, "late answer dropped");
            return Ok(());
        }
        self.peer.accept_answer(&answer.sdp, now)?;
        if self.subscriber.is_none() {
            self.update_subscriptions(&answer.mid_to_track_id);
        }
        for publication in &mut self.publications {
            publication.negotiated = self.peer.can_send(&publication.cid);
        }
        self.negotiation.last_answer = Some(answer);
        self.report_published();
        self.pump(now);
        self.offer_if_needed(now)
    }

    /// Takes the server's offer of the peer connection on which we receive.
    pub(super) fn on_offer(
        &mut self,
        offer: SessionDescription,
        now: Instant,
    ) -> Result<(), Error> {
        let Some(subscriber) = &mut self.subscriber else {
            return Err(Error::Protocol(
                "an offer on a single peer connection".into(),
            ));
        };
        let sdp = subscriber.accept_offer(&offer.sdp, now)?;
        self.update_subscriptions(&offer.mid_to_track_id);
        self.send(signal_request::Message::Answer(SessionDescription {
            r#type: "answer".into(),
            sdp,
            id: offer.id,
            ..Default::default()
        }));
        self.pump(now);
        Ok(())
    }

    /// Offers anew without a change, or to restart ICE, as clients do that believe their network to have changed. An
    /// offer in flight that adds nothing is rolled back for a restart; otherwise its answer is waited for.
    ///
    /// # Errors
    /// As [`PeerConnection::create_offer`](crate::PeerConnection::create_offer).
    pub fn renegotiate(&mut self, restart_ice: bool, now: Instant) -> Result<(), Error> {
        self.negotiation.renew = true;
        if restart_ice {
            if self.peer.is_pending_offer_plain() {
                self.peer.roll_back();
            }
            self.peer.restart_ice();
        }
        self.offer_if_needed(now)
    }

    /// Takes the server's request for sections for our subscriptions; zero and zero asks for a plain renegotiation.
    pub(super) fn on_sections_required(
        &mut self,
        audios: u32,
        videos: u32,
        now: Instant,
    ) -> Result<(), Error> {
        const MOST: u32 = 1000;
        if audios > MOST || videos > MOST {
            return Err(Error::Protocol(format!(
                "{audios} and {videos} more sections required"
            )));
        }
        let (lacking_audios, lacking_videos) = &mut self.negotiation.lacking;
        *lacking_audios = lacking_audios.saturating_add(audios).min(MOST);
        *lacking_videos = lacking_videos.saturating_add(videos).min(MOST);
        let gathered = now + self.options.gather_sections;
        self.negotiation.offer_at.get_or_insert(gathered);
        self.offer_gathered(now)
    }

    /// Offers the sections that the server lacks, once they have gathered long enough.
    pub(super) fn offer_gathered(&mut self, now: Instant) -> Result<(), Error> {
        let is_due = |offer_at: &mut Instant| *offer_at <= now;
        if self.negotiation.offer_at.take_if(is_due).is_some() {
            self.negotiation.renew = true;
        }
        self.offer_if_needed(now)
    }

    /// Sends, after the server resumed us, our state, then an offer that restarts ICE, then messages that had to wait.
    pub(super) fn send_sync_state(&mut self, now: Instant) -> Result<(), Error> {
        let mut waiting = std::mem::take(&mut self.signals);
        waiting
            .retain(|request| !matches!(request.message, Some(signal_request::Message::Offer(_))));
        let state = self.sync_state();
        self.send(signal_request::Message::SyncState(state));
        self.peer.restart_ice();
        let offered = self.offer_if_needed(now);
        self.signals.append(&mut waiting);
        offered
    }

    fn sync_state(&mut self) -> SyncState {
        let publish_tracks = self
            .publications
            .iter()
            .filter(|publication| publication.track.is_some());
        let publish_tracks = publish_tracks
            .map(|publication| TrackPublishedResponse {
                cid: publication.cid.clone(),
                track: publication.info.clone(),
            })
            .collect();
        // The exceptions from the automatic: every track that we have when none comes by itself.
        let track_sids = match self.options.auto_subscribe {
            true => Vec::new(),
            false => self
                .subscriptions
                .iter()
                .map(|subscription| subscription.track.to_string())
                .collect(),
        };
        let data_channels = self
            .peer
            .data_channel_ids()
            .into_iter()
            .map(|(channel, id)| DataChannelInfo {
                label: channel.label().into(),
                id: id.into(),
                target: SignalTarget::Publisher.into(),
            });
        SyncState {
            answer: self.negotiation.last_answer.clone(),
            offer: self.negotiation.last_offer.clone(),
            subscription: Some(UpdateSubscription {
                track_sids,
                subscribe: !self.options.auto_subscribe,
                ..Default::default()
            }),
            publish_tracks,
            data_channels: data_channels.collect(),
            datachannel_receive_states: self
                .received
                .iter()
                .map(|(publisher_sid, last_seq)| DataChannelReceiveState {
                    publisher_sid: publisher_sid.clone(),
                    last_seq: *last_seq,
                })
                .collect(),
            ..Default::default()
        }
    }
}
