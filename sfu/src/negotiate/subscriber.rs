//! The second PeerConnection of a participant, on which it only receives: we offer, the client answers.
//!
//! One section per subscription, made when it is first needed and used again after one offer in which nothing is sent
//! in it; the data channels have the first. One offer is under way at a time: what changes meanwhile is in the next.

use super::{
    Answered, CodecParameters, ENABLED_CODECS, LocalParameters, Negotiation, NegotiationError,
    Offered, Role, Section,
    answer::{DISCARD_PORT, SCTP_PORT, candidates, describe_stream, our_transport},
    codecs::{
        accepted_codecs, accepted_extensions, describe, media_kind, offered_codecs,
        offered_extensions,
    },
    offer::{DATA_CHANNEL, is_srtp},
    offering::Offering,
};
use crate::{
    api::{AudioFeatures, MediaKind, TrackCodec},
    sdp::{Direction, MediaDescription, MediaType, SessionDescription, Setup, TransportAttributes},
};
use protocol::{ParticipantSid, TrackSid};
use rustc_hash::FxHashSet;

impl Negotiation {
    /// A PeerConnection on which the client only receives: call [`Self::create_offer`] first.
    pub fn subscriber(participant: ParticipantSid) -> Self {
        Self {
            offering: Some(Offering::default()),
            ..Self::new(participant, ENABLED_CODECS)
        }
    }

    /// Whether we offer here, and the client answers.
    pub fn is_subscriber(&self) -> bool {
        self.offering.is_some()
    }

    /// Whether something changed that an offer must say, and no offer is under way. False before the first offer.
    pub fn wants_offer(&self) -> bool {
        let is_idle = self.offering.as_ref().is_some_and(|o| !o.outstanding);
        let drains = |section: &Section| section.role == Role::Draining;
        is_idle
            && !self.sections.is_empty()
            && (self.sections.iter().any(drains)
                || self.waits(MediaKind::Audio)
                || self.waits(MediaKind::Video)
                || self
                    .sections
                    .iter()
                    .any(|section| self.is_outdated(section)))
    }

    /// The next offer, with all subscriptions. An offer that is under way is forgotten: its answer will be ignored.
    /// `local.ice` is used as it is: other credentials than before restart ICE. A stream that continues in another
    /// codec gets SSRCs from `fresh_ssrc`, which never returns one twice.
    pub fn create_offer(
        &mut self,
        local: &LocalParameters,
        mut fresh_ssrc: impl FnMut() -> u32,
    ) -> Offered {
        if self.sections.is_empty() {
            self.add_section(None, Role::Data, Vec::new());
        }
        let rebuilt = self.offer_other_codecs();
        self.renew_streams(&rebuilt, &mut fresh_ssrc);
        self.offer_subscriptions();
        for section in &mut self.sections {
            if section.role == Role::Draining {
                section.role = Role::Pausing;
            }
        }
        self.version += 1;
        self.local_ice = Some(local.ice.clone());
        let offering = self.offering.get_or_insert_default();
        offering.id += 1;
        offering.outstanding = true;
        let id = offering.id;
        let bytes = self.offering.as_ref().map_or(0, |offering| offering.bytes);
        let sdp = self.write_offer(local).to_text(bytes);
        if let Some(offering) = &mut self.offering {
            offering.bytes = sdp.len();
        }
        Offered {
            id,
            sdp,
            mid_to_track: self.mid_to_track(),
        }
    }

    /// Takes the answer to the offer under way; `None` for an answer to another offer. Clients that know no ids send 0.
    ///
    /// # Errors
    /// [`NegotiationError`]; everything is then as it was before.
    pub fn handle_answer(
        &mut self,
        id: u32,
        answer: &SessionDescription,
    ) -> Result<Option<Answered>, NegotiationError> {
        let offering = self
            .offering
            .as_ref()
            .ok_or(NegotiationError::NothingOffered)?;
        if !offering.outstanding || (id != 0 && id != offering.id) {
            return Ok(None);
        }
        self.read_answer(answer).map(Some)
    }

    /// Offers another codec in sections that should carry their track in it. Returns those tracks.
    fn offer_other_codecs(&mut self) -> Vec<TrackSid> {
        let mut rebuilt = Vec::new();
        for index in 0..self.sections.len() {
            let Some(section) = self.sections.get(index).filter(|s| self.is_outdated(s)) else {
                continue;
            };
            let Some(known) = section.role.sent().and_then(|t| self.subscriptions.get(t)) else {
                continue;
            };
            let (track, codecs) = (known.send.track, offered_codecs(self.enabled, &known.send));
            if let Some(section) = self.sections.get_mut(index) {
                section.role = Role::Offered(track);
                section.codecs = codecs;
                rebuilt.push(track);
            }
        }
        rebuilt
    }

    /// Gives each subscription without a section a free one, or a new one.
    fn offer_subscriptions(&mut self) {
        let mut room = self.room();
        for track in self.unsent() {
            let known = self.subscriptions.get(track);
            let Some(known) = known.filter(|known| !known.unsupported) else {
                continue;
            };
            let kind = known.send.kind;
            let codecs = offered_codecs(self.enabled, &known.send);
            if codecs.is_empty() {
                if let Some(known) = self.subscriptions.get_mut(track) {
                    known.unsupported = true;
                }
                continue;
            }
            let free = |section: &Section| section.is_free(kind);
            let index = match self.sections.iter().position(free) {
                Some(free) => {
                    if let Some(section) = self.sections.get_mut(free) {
                        section.role = Role::Offered(track);
                        section.codecs = codecs;
                    }
                    free
                }
                None if room > 0 => {
                    room -= 1;
                    self.add_section(Some(kind), Role::Offered(track), codecs);
                    self.sections.len() - 1
                }
                None => continue,
            };
            self.sent.insert(track, index);
        }
    }

    fn add_section(&mut self, kind: Option<MediaKind>, role: Role, codecs: Vec<CodecParameters>) {
        let index = self.sections.len();
        self.sections.push(Section {
            mid: index.to_string(),
            kind,
            role,
            // The direction that the client is able to answer.
            offered: Direction::RecvOnly,
            offered_track: None,
            codecs,
            offered_codecs: 0,
            extensions: kind.map(offered_extensions).unwrap_or_default(),
            layers: Vec::new(),
            ssrcs: Vec::new(),
            lacks_codec: false,
            answered_audio: AudioFeatures::default(),
            answered_alone: false,
            since: 0,
            ended: 0,
        });
    }

    fn write_offer(&self, local: &LocalParameters) -> SessionDescription {
        let transport = our_transport(local, &local.ice, Setup::ActPass);
        let mut media: Vec<MediaDescription> = self
            .sections
            .iter()
            .map(|section| self.offered_section(section, &transport, local))
            .collect();
        let used = self.sections.iter().filter(|s| s.role != Role::Rejected);
        let bundle: Vec<String> = used.map(|section| section.mid.clone()).collect();
        if let Some(first) = media.iter_mut().find(|m| m.mid.as_ref() == bundle.first()) {
            first.candidates = candidates(local);
            first.end_of_candidates = true;
        }
        SessionDescription {
            session_id: self.session_id(),
            session_version: self.version,
            bundle,
            ice_lite: local.ice_lite,
            extmap_allow_mixed: false,
            transport: TransportAttributes::default(),
            media,
            text_bytes: 0,
        }
    }

    fn offered_section(
        &self,
        section: &Section,
        transport: &TransportAttributes,
        local: &LocalParameters,
    ) -> MediaDescription {
        let (kind, proto) = match section.kind {
            Some(MediaKind::Audio) => (MediaType::Audio, "UDP/TLS/RTP/SAVPF"),
            Some(MediaKind::Video) => (MediaType::Video, "UDP/TLS/RTP/SAVPF"),
            None => (MediaType::Application, "UDP/DTLS/SCTP"),
        };
        let mut offer = MediaDescription::new(kind, DISCARD_PORT, proto);
        offer.mid = Some(section.mid.clone());
        offer.direction = Direction::Inactive;
        if section.kind.is_none() {
            offer.formats = vec![DATA_CHANNEL.to_owned()];
            offer.sctp_port = Some(SCTP_PORT);
            offer.max_message_size = Some(local.max_message_size);
        } else {
            offer.codecs = section.codecs.iter().flat_map(describe).collect();
            let number = |codec: &crate::sdp::Codec| codec.payload_type.to_string();
            offer.formats = offer.codecs.iter().map(number).collect();
        }
        if section.role == Role::Rejected {
            offer.port = 0;
            return offer;
        }
        offer.transport = transport.clone();
        if section.kind.is_none() {
            return offer;
        }
        offer.rtcp_mux = true;
        offer.rtcp_rsize = true;
        // Receive-only rather than inactive: at an inactive section pion stops the transceiver for good.
        offer.direction = Direction::RecvOnly;
        offer.extensions.clone_from(&section.extensions.lines);
        if let Some(send) = section.role.sent().and_then(|t| self.stream_in(section, t)) {
            offer.direction = Direction::SendOnly;
            // The msid has the track's sid in place of a stream name: clients see no other name of the track in a
            // section that is used again.
            describe_stream(&mut offer, &send, send.track.as_str());
        }
        offer
    }

    fn read_answer(&mut self, answer: &SessionDescription) -> Result<Answered, NegotiationError> {
        let (answered, offered) = (answer.media.len(), self.sections.len());
        if answered != offered {
            return Err(NegotiationError::SectionsDiffer { answered, offered });
        }
        let bundle: FxHashSet<&str> = answer.bundle.iter().map(String::as_str).collect();
        let is_used = |(section, media): (&Section, &MediaDescription)| {
            section.role != Role::Rejected
                && !media.is_rejected()
                && bundle.contains(section.mid.as_str())
        };
        let used = self.sections.iter().zip(&answer.media).map(is_used);
        let used: Vec<bool> = used.collect();
        let sections = self.sections.iter().zip(&answer.media).zip(&used);
        for (index, ((section, media), used)) in sections.enumerate() {
            section.check(index, media, *used)?;
        }
        let remote = self.read_transport(&self.sections, &used, answer)?;
        // Nothing fails from here on, and nothing has changed so far.
        let sections = self.sections.iter_mut().zip(&answer.media).zip(used);
        for ((section, media), used) in sections {
            let track = section.role.sent();
            let known = track.and_then(|track| self.subscriptions.get_mut(track));
            let wanted = known.as_ref().map_or(&[][..], |k| k.send.codecs.as_slice());
            let accepted = section.accept(media, used, wanted);
            if let Some(known) = known.filter(|_| !accepted) {
                known.unsupported = true;
            }
        }
        self.index_sections();
        for index in 0..self.sections.len() {
            self.take_codec(index);
        }
        self.remote = Some(remote.clone());
        if let Some(offering) = &mut self.offering {
            offering.outstanding = false;
            self.described = offering.bytes + answer.text_bytes;
        }
        Ok(Answered { remote })
    }
}

impl Section {
    /// Checks a section of an answer, which must have the offer's sections in their order.
    fn check(
        &self,
        index: usize,
        media: &MediaDescription,
        is_used: bool,
    ) -> Result<(), NegotiationError> {
        match media.mid.as_deref() {
            None if media.is_rejected() => {}
            None => return Err(NegotiationError::MidMissing(index)),
            Some(mid) if mid == self.mid => {}
            Some(mid) => {
                return Err(NegotiationError::MidChanged {
                    index,
                    known: self.mid.clone(),
                    offered: mid.to_owned(),
                });
            }
        }
        let is_data = media.kind == MediaType::Application;
        if self.kind != media_kind(&media.kind) || is_data != self.kind.is_none() {
            return Err(NegotiationError::KindChanged(self.mid.clone()));
        }
        if is_used && self.kind.is_some() && !(media.rtcp_mux && is_srtp(&media.proto)) {
            return Err(NegotiationError::RtcpMuxMissing(self.mid.clone()));
        }
        Ok(())
    }

    /// Sets the section's role by the answer. `wanted` are the codecs of the track that it is to carry. False: it does
    /// not carry the track.
    fn accept(&mut self, media: &MediaDescription, is_used: bool, wanted: &[TrackCodec]) -> bool {
        let track = self.role.sent();
        if !is_used {
            self.role = Role::Rejected;
            return track.is_none();
        }
        let Some(kind) = self.kind else {
            return true;
        };
        let Some(track) = track else {
            if self.role == Role::Pausing {
                self.role = Role::Free;
            }
            return true;
        };
        let codecs = accepted_codecs(&self.codecs, &media.codecs);
        let offered = std::mem::replace(&mut self.codecs, codecs);
        if self.best_codec(wanted).is_none() || !media.direction.receives() {
            self.codecs = offered;
            self.role = Role::Draining;
            return false;
        }
        self.extensions = accepted_extensions(kind, &media.extensions);
        self.role = Role::Sending(track);
        true
    }
}
