//! Offer and answer (RFC 9429) of one PeerConnection, as a state without IO: [`Negotiation`].
//!
//! The client offers, we answer; on the second PeerConnection of LiveKit's older protocol, which only sends to the
//! client, we offer and it answers. Each `m=` section has one job: it carries one track of the client, or one
//! subscription to it, or nothing for now. Published tracks and subscriptions come and go at any time; an answer
//! joins them with the sections the client offers. Nothing here knows ICE, DTLS or RTP: [`Negotiated`] and the
//! section lists say what the transport and the router have to do.
//!
//! `offer.rs` reads an offer, `answer.rs` writes the answer, `subscriber.rs` does both for the second PeerConnection,
//! `codecs.rs` has the tables.

mod answer;
mod codecs;
mod offer;
mod subscriber;
#[cfg(test)]
mod tests;
mod types;

use protocol::{ParticipantSid, TrackSid};

use codecs::Extensions;
pub use codecs::{ENABLED_CODECS, EnabledCodec, Fmtp};
pub use types::*;

use codecs::RED;
use subscriber::Offering;

use crate::{AudioFeatures, MediaKind, MediaSections, PublishedTrack, TrackCodec, sdp::Direction};

/// The state of offer and answer of one client.
#[derive(Debug, Clone)]
pub struct Negotiation {
    participant: ParticipantSid,
    enabled: &'static [EnabledCodec],
    sections: Vec<Section>,
    published: Vec<Published>,
    subscriptions: Vec<Subscription>,
    local_ice: Option<IceCredentials>,
    remote: Option<RemoteParameters>,
    /// Number of the last description of ours.
    version: u64,
    /// The client is known to have this answer and all before.
    arrived: u64,
    /// We offer, the client answers.
    offering: Option<Offering>,
}

/// One `m=` section, as of the last answer.
#[derive(Debug, Clone)]
struct Section {
    mid: String,
    /// `None` for data channels and for what we do not know.
    kind: Option<MediaKind>,
    role: Role,
    /// Direction in the last offer.
    offered: Direction,
    /// Track part of the msid in the last offer.
    offered_track: Option<String>,
    codecs: Vec<CodecParameters>,
    /// Hash of all codec lines of the last offer, also of codecs we do not know.
    offered_codecs: u64,
    extensions: Extensions,
    layers: Vec<RidLayer>,
    ssrcs: Vec<DeclaredSsrc>,
    /// Opus wishes the last answer expressed.
    answered_audio: AudioFeatures,
    /// Number of the answer that first had it; 0 for the first answer and for sections of ours.
    since: u64,
    /// Number of the answer that last took a track of ours out of it.
    ended: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Port 0: may come back as anything.
    Rejected,
    /// Data channels.
    Data,
    /// Carries nothing.
    Free,
    /// The client sends.
    Receiving(Binding),
    /// The client still offers a track that was unpublished.
    Retired,
    /// We offered to send this track; the answer has not come.
    Offered(TrackSid),
    /// We send this track.
    Sending(TrackSid),
    /// We sent until now; inactive in the next answer, free after it. Clients fire no event for a track that follows
    /// another one in a section without a pause.
    Draining,
    /// In our offer nothing is sent in it; free once that is answered.
    Pausing,
}

/// Which track a section of the client carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// `add_track` has not come yet.
    Unknown,
    /// Its msid is one of the track's cids.
    Named(TrackSid),
    /// No track named it: the first waiting one of its kind.
    Guessed(TrackSid),
}

impl Role {
    fn published(self) -> Option<TrackSid> {
        match self {
            Self::Receiving(Binding::Named(track) | Binding::Guessed(track)) => Some(track),
            _ => None,
        }
    }

    /// The track we send, or will send once the client agrees.
    fn sent(self) -> Option<TrackSid> {
        match self {
            Self::Offered(track) | Self::Sending(track) => Some(track),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Published {
    sid: TrackSid,
    kind: MediaKind,
    cids: Vec<String>,
    audio: AudioFeatures,
    mime_type: String,
    /// Was bound before: it only comes back by name.
    was_bound: bool,
}

impl Published {
    fn is_named(&self, section: &Section) -> bool {
        let named = |track: &String| self.cids.iter().any(|cid| cid == track);
        section.kind == Some(self.kind) && section.offered_track.as_ref().is_some_and(named)
    }
}

#[derive(Debug, Clone)]
struct Subscription {
    send: SendTrack,
    /// The codec in which its section carries it, or did so last.
    codec: Option<TrackCodec>,
    /// A free section was there, without the codec.
    unsupported: bool,
}

impl Subscription {
    /// With which the section carries its codec.
    fn payload_type(&self, section: &Section) -> Option<u8> {
        let parameters = section.codec_for(self.codec.as_ref()?)?;
        Some(parameters.payload_type)
    }
}

impl Negotiation {
    /// A client that has offered nothing yet. `enabled` is for example [`ENABLED_CODECS`].
    pub fn new(participant: ParticipantSid, enabled: &'static [EnabledCodec]) -> Self {
        Self {
            participant,
            enabled,
            sections: Vec::new(),
            published: Vec::new(),
            subscriptions: Vec::new(),
            local_ice: None,
            remote: None,
            version: 0,
            arrived: 0,
            offering: None,
        }
    }

    /// The client announced a track. It is bound at once when an earlier offer carries it, else by a later one.
    /// Called again for a known track, it replaces cids and wishes.
    pub fn publish(&mut self, track: &PublishedTrack) -> PublishOutcome {
        let known = self
            .published
            .iter_mut()
            .find(|known| known.sid == track.sid);
        let was_bound = known.as_ref().is_some_and(|known| known.was_bound);
        let new = Published {
            sid: track.sid,
            kind: track.kind,
            cids: track.cids.clone(),
            audio: track.audio,
            mime_type: track.mime_type.clone(),
            was_bound,
        };
        match known {
            Some(known) => *known = new.clone(),
            None => self.published.push(new.clone()),
        }
        let open = |section: &Section| match section.role {
            Role::Receiving(Binding::Unknown) | Role::Retired => true,
            Role::Receiving(Binding::Guessed(other)) => other != new.sid,
            _ => false,
        };
        let named = self
            .sections
            .iter()
            .position(|section| open(section) && new.is_named(section));
        let guessed = || {
            let unknown = Role::Receiving(Binding::Unknown);
            let fits =
                |section: &Section| section.role == unknown && section.kind == Some(new.kind);
            if was_bound || new.cids.is_empty() || self.section_of(new.sid).is_some() {
                None
            } else {
                self.sections.iter().position(fits)
            }
        };
        let (index, binding) = match named {
            Some(index) => (index, Binding::Named(new.sid)),
            None => match guessed() {
                Some(index) => (index, Binding::Guessed(new.sid)),
                None => return PublishOutcome::default(),
            },
        };
        let loser = self
            .sections
            .get(index)
            .and_then(|section| section.role.published());
        let bound = self.bind(index, binding);
        if let Some(loser) = loser {
            self.forget_guess(loser);
        }
        PublishOutcome {
            bound,
            unbound: loser,
        }
    }

    /// The track ends. Its section is answered `inactive` from the next offer on.
    pub fn unpublish(&mut self, track: TrackSid) {
        self.published.retain(|published| published.sid != track);
        for section in &mut self.sections {
            if section.role.published() == Some(track) {
                section.role = Role::Retired;
            }
        }
    }

    /// The client wants this track. It gets a section in the next answer that has a free one of its kind.
    /// A second subscription to the same track is ignored.
    pub fn subscribe(&mut self, send: SendTrack) {
        if !self
            .subscriptions
            .iter()
            .any(|known| known.send.track == send.track)
        {
            self.subscriptions.push(Subscription {
                send,
                codec: None,
                unsupported: false,
            });
        }
    }

    /// There is a track in these codecs now. Where its section should carry another one than it does, the next offer or
    /// answer says so, with other SSRCs; until then all stays as it is.
    pub fn set_codecs(&mut self, track: TrackSid, codecs: &[TrackCodec]) {
        let known = self
            .subscriptions
            .iter_mut()
            .find(|known| known.send.track == track);
        if let Some(known) = known.filter(|known| known.send.codecs != codecs) {
            known.send.codecs = codecs.to_vec();
            known.unsupported = false;
        }
    }

    /// The client does not want this track any longer: its section is no longer in [`Self::send_sections`], becomes
    /// inactive with the next answer and can be used again after it.
    pub fn unsubscribe(&mut self, track: TrackSid) {
        self.subscriptions.retain(|known| known.send.track != track);
        for section in &mut self.sections {
            if section.role.sent() == Some(track) {
                section.role = Role::Draining;
            }
        }
    }

    /// Answers an offer. Where it changes the codecs of a section in which we send a picture, the stream there gets
    /// SSRCs from `fresh_ssrc`, which never returns one twice: see [`Self::send_sections`].
    ///
    /// # Errors
    /// [`NegotiationError`]; everything is then as it was before.
    pub fn handle_offer(
        &mut self,
        sdp: &str,
        local: &LocalParameters,
        mut fresh_ssrc: impl FnMut() -> u32,
    ) -> Result<Negotiated, NegotiationError> {
        let mut next = self.clone();
        let negotiated = next.answer(sdp, local, &mut fresh_ssrc)?;
        *self = next;
        Ok(negotiated)
    }

    /// Sections the client must add before all its subscriptions fit. Zero before the first offer: it brings some.
    pub fn missing(&self) -> MediaSections {
        if self.sections.is_empty() {
            return MediaSections::default();
        }
        let count = |kind| {
            let waiting = self
                .waiting(kind)
                .filter(|subscription| !subscription.unsupported)
                .count();
            let free = self
                .sections
                .iter()
                .filter(|section| section.is_free(kind))
                .count();
            u32::try_from(waiting.saturating_sub(free)).unwrap_or(u32::MAX)
        };
        MediaSections {
            audios: count(MediaKind::Audio),
            videos: count(MediaKind::Video),
        }
    }

    /// The client should offer again: a subscription waits (for a free section, or for one that the client has to
    /// add: see [`Self::missing`]), a section must become inactive or change its codec, or an answered wish for Opus
    /// changed.
    /// False before the first offer.
    pub fn needs_renegotiation(&self) -> bool {
        let waits = |kind| {
            self.waiting(kind)
                .any(|subscription| !subscription.unsupported)
        };
        let stale = |section: &Section| match section.role {
            Role::Draining => true,
            Role::Sending(_) => self.is_outdated(section),
            Role::Receiving(_) => {
                section.kind == Some(MediaKind::Audio)
                    && section.answered_audio != self.wishes(section)
            }
            _ => false,
        };
        !self.sections.is_empty()
            && (waits(MediaKind::Audio)
                || waits(MediaKind::Video)
                || self.sections.iter().any(stale))
    }

    /// Sections in which the client sends, in order of sections; without those whose track is not announced yet.
    pub fn receive_sections(&self) -> Vec<ReceiveSection> {
        let section = |section: &Section| {
            Some(ReceiveSection {
                mid: section.mid.clone(),
                track: section.role.published()?,
                kind: section.kind?,
                codecs: section.codecs.clone(),
                extensions: section.extensions.received,
                layers: section.layers.clone(),
                ssrcs: section.ssrcs.clone(),
            })
        };
        self.sections.iter().filter_map(section).collect()
    }

    /// Sections in which we send, in order of sections. Their SSRCs may have changed with the last offer.
    pub fn send_sections(&self) -> Vec<SendSection> {
        self.sections
            .iter()
            .filter_map(|section| self.send_section(section))
            .collect()
    }

    fn send_section(&self, section: &Section) -> Option<SendSection> {
        match section.role {
            Role::Sending(track) => self.stream_in(section, track),
            _ => None,
        }
    }

    /// How `section` carries `track`.
    fn stream_in(&self, section: &Section, track: TrackSid) -> Option<SendSection> {
        let known = self.subscription(track)?;
        let send = &known.send;
        let (wanted, codec) = match (section.role, &known.codec) {
            (Role::Sending(_), Some(codec)) => (codec, section.codec_for(codec)?),
            _ => section.best_codec(&send.codecs)?,
        };
        let mut codec = codec.clone();
        // The blocks within say the publisher's payload types, which must be this client's too.
        let is_red = |other: &&CodecParameters| {
            let wrapped = other.fmtp.split('/').next().map(str::parse);
            let is_same = other.mime_type == wanted.mime_type && other.fmtp == wanted.fmtp;
            other.mime_type == RED && is_same && wrapped == Some(Ok(codec.payload_type))
        };
        let red = section.codecs.iter().find(is_red).cloned();
        if send.rtx_ssrc.is_none() {
            codec.rtx_payload_type = None;
        }
        Some(SendSection {
            mid: section.mid.clone(),
            track,
            kind: send.kind,
            ssrc: send.ssrc,
            rtx_ssrc: send.rtx_ssrc.filter(|_| codec.rtx_payload_type.is_some()),
            codec,
            red,
            extensions: section.extensions.sent,
            cname: send.publisher.as_str().to_owned(),
        })
    }

    fn subscription(&self, track: TrackSid) -> Option<&Subscription> {
        self.subscriptions
            .iter()
            .find(|known| known.send.track == track)
    }

    /// The section carries its track in another codec than it should.
    fn is_outdated(&self, section: &Section) -> bool {
        let Role::Sending(track) = section.role else {
            return false;
        };
        self.subscription(track).is_some_and(|known| {
            let best = section.best_codec(&known.send.codecs);
            best.is_some_and(|(_, best)| known.payload_type(section) != Some(best.payload_type))
        })
    }

    /// Its section carries the track in the best codec from now on, which [`Self::is_outdated`] compares with. True when
    /// that was another one before.
    fn take_codec(&mut self, index: usize) -> bool {
        let Some(section) = self.sections.get(index) else {
            return false;
        };
        let known = self
            .subscriptions
            .iter_mut()
            .find(|known| section.role.sent() == Some(known.send.track));
        let Some(known) = known else { return false };
        let Some((best, parameters)) = section.best_codec(&known.send.codecs) else {
            return false;
        };
        let is_other =
            known.codec.is_some() && known.payload_type(section) != Some(parameters.payload_type);
        known.codec = Some(best.clone());
        is_other
    }

    /// Subscriptions without a section, in order of arrival.
    fn waiting(&self, kind: MediaKind) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter().filter(move |subscription| {
            let track = Some(subscription.send.track);
            let has_section = |section: &Section| section.role.sent() == track;
            subscription.send.kind == kind && !self.sections.iter().any(has_section)
        })
    }

    fn section_of(&self, track: TrackSid) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| section.role.published() == Some(track))
    }

    /// The track a section carries.
    fn published_in(&self, section: &Section) -> Option<&Published> {
        let track = section.role.published()?;
        self.published
            .iter()
            .find(|published| published.sid == track)
    }

    /// Opus wishes of the track a section carries.
    fn wishes(&self, section: &Section) -> AudioFeatures {
        self.published_in(section)
            .map_or_else(AudioFeatures::default, |p| p.audio)
    }

    /// The track's section was another's: it has not been seen in any offer after all.
    fn forget_guess(&mut self, track: TrackSid) {
        if let Some(published) = self
            .published
            .iter_mut()
            .find(|published| published.sid == track)
        {
            published.was_bound = false;
        }
    }

    fn bind(&mut self, index: usize, binding: Binding) -> Option<Bound> {
        if let Binding::Named(track) = binding {
            // The guess about it was wrong.
            for section in &mut self.sections {
                if section.role == Role::Receiving(Binding::Guessed(track)) {
                    section.role = Role::Receiving(Binding::Unknown);
                }
            }
        }
        let section = self.sections.get_mut(index)?;
        section.role = Role::Receiving(binding);
        let track = section.role.published()?;
        let published = self
            .published
            .iter_mut()
            .find(|published| published.sid == track)?;
        published.was_bound = true;
        let codecs = section.receivable(Some(published));
        let codec = codecs.first()?;
        let red = codecs.iter().find(|codec| codec.mime_type == RED);
        Some(Bound {
            track,
            mid: section.mid.clone(),
            mime_type: codec.mime_type,
            fmtp: codec.fmtp.clone(),
            red: red.map(|codec| codec.payload_type),
            layers: section.layers.clone(),
        })
    }
}

impl Section {
    /// The first of these codecs that this section takes, and how.
    fn best_codec<'c>(
        &self,
        codecs: &'c [TrackCodec],
    ) -> Option<(&'c TrackCodec, &CodecParameters)> {
        let mut takes = codecs
            .iter()
            .filter_map(|wanted| Some((wanted, self.codec_for(wanted)?)));
        takes.next()
    }

    /// How this section takes a codec best.
    fn codec_for(&self, wanted: &TrackCodec) -> Option<&CodecParameters> {
        // RED is a wrapping: what is wrapped decides.
        let mime_type = match wanted.mime_type.as_str() {
            RED => "audio/opus",
            other => other,
        };
        let fitness = |codec: &CodecParameters| codec.fitness(mime_type, &wanted.fmtp);
        let takes = |codec: &&CodecParameters| fitness(codec).is_some();
        self.codecs
            .iter()
            .filter(takes)
            .min_by_key(|codec| fitness(codec))
    }

    /// What the client may send here: one codec and no other, so that nobody changes it in mid-stream. The one it
    /// announced, where it offers that, else the first; with RED around it where the track wants that.
    fn receivable(&self, published: Option<&Published>) -> Vec<&CodecParameters> {
        let red = published.is_some_and(|published| published.audio.red);
        let announced = |codec: &&CodecParameters| {
            published
                .is_some_and(|published| codec.mime_type.eq_ignore_ascii_case(&published.mime_type))
        };
        let mut plain = self.codecs.iter().filter(|codec| codec.mime_type != RED);
        let codec = plain.clone().find(announced).or_else(|| plain.next());
        let wrapping = self
            .codecs
            .iter()
            .find(|codec| red && codec.mime_type == RED);
        wrapping.into_iter().chain(codec).collect()
    }

    /// A subscription of this kind may use it, in the next answer.
    fn is_free(&self, kind: MediaKind) -> bool {
        self.kind == Some(kind) && self.role == Role::Free && self.offered.receives()
    }
}
