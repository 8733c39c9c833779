//! Offer and answer (RFC 9429) of one PeerConnection, as a state without IO: [`Negotiation`].
//!
//! The client offers, we answer; on the second PeerConnection of LiveKit's older protocol, which only sends to the
//! client, we offer and it answers. Each `m=` section has one job: it carries one track of the client, or one
//! subscription to it, or nothing for now. Published tracks and subscriptions come and go at any time; an answer
//! joins them with the sections the client offers. Nothing here knows ICE, DTLS or RTP: [`Negotiated`] and the
//! section lists say what the transport and the router have to do.
//!
//! `offer.rs` reads an offer, `answer.rs` writes the answer, `subscriber.rs` does both for the second PeerConnection,
//! `subscriptions.rs` has the tracks that the client wants to receive, `codecs.rs` and `h264.rs` have the tables.

mod answer;
mod codecs;
mod h264;
mod offer;
mod offering;
mod section;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;
mod types;

use protocol::{ParticipantSid, TrackSid};
use rustc_hash::FxHashMap;

pub(crate) use codecs::RED;
pub use codecs::{ENABLED_CODECS, EnabledCodec};
pub use types::*;

use offering::Offering;
use section::{Binding, Published, Role, Section};
use subscriptions::{Subscription, Subscriptions};

use crate::{
    api::{
        AudioFeatures, MediaKind, MediaSections, PublishedTrack, SubscriptionFailure, TrackCodec,
    },
    sdp::{MAX_SDP_BYTES, SessionDescription},
};

/// The most sections that a description uses; the answer rejects further ones. It bounds the cost of a description.
const MAX_USED_SECTIONS: usize = 1024;

/// The number of those sections that are kept for publishing: a client is not asked to add them in order to receive.
const SECTIONS_TO_PUBLISH_IN: usize = 64;

/// The most that the descriptions of both sides may have together, bytes: a client that resumes sends both in one
/// message (`sync_state`), with other things.
const MAX_DESCRIBED: usize = MAX_SDP_BYTES - 128 * 1024;

/// The size of one more section in both descriptions, bytes, as a mean of sound and picture: 4.9 KB with Chromium 156.
const SECTION_BYTES: usize = 5_000;

/// The state of offer and answer of one client.
#[derive(Debug, Clone)]
pub struct Negotiation {
    participant: ParticipantSid,
    enabled: &'static [EnabledCodec],
    sections: Vec<Section>,
    published: Vec<Published>,
    subscriptions: Subscriptions,
    /// The sections in which we send a track, or offer to.
    sent: FxHashMap<TrackSid, usize>,
    /// Bytes of the last descriptions of both sides, together.
    described: usize,
    local_ice: Option<IceCredentials>,
    remote: Option<RemoteParameters>,
    /// Number of our last description.
    version: u64,
    /// Number of the last answer that the client has surely applied: it has offered again since.
    arrived: u64,
    /// Set where we offer and the client answers.
    offering: Option<Offering>,
}

impl Negotiation {
    /// The state of a client that has offered nothing yet. `enabled` is for example [`ENABLED_CODECS`].
    pub fn new(participant: ParticipantSid, enabled: &'static [EnabledCodec]) -> Self {
        Self {
            participant,
            enabled,
            sections: Vec::new(),
            published: Vec::new(),
            subscriptions: Subscriptions::default(),
            sent: FxHashMap::default(),
            described: 0,
            local_ice: None,
            remote: None,
            version: 0,
            arrived: 0,
            offering: None,
        }
    }

    /// The client announced a track. The track is bound at once when an earlier offer carries it, else by a later one.
    /// A call for a known track replaces cids and wishes.
    pub fn publish(&mut self, track: &PublishedTrack) -> PublishOutcome {
        let known = self
            .published
            .iter_mut()
            .find(|known| known.sid == track.sid);
        let was_bound = known.as_ref().is_some_and(|known| known.was_bound);
        let codec = known.as_ref().and_then(|known| known.codec.clone());
        let alone = known.as_ref().is_some_and(|known| known.alone);
        let new = Published {
            sid: track.sid,
            kind: track.kind,
            cids: track.cids.clone(),
            audio: track.audio,
            mime_type: track.mime_type.clone(),
            was_bound,
            codec,
            alone,
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
                None => {
                    let lacks_codec =
                        |section: &Section| section.lacks_codec && new.is_named(section);
                    return PublishOutcome {
                        refused: self.sections.iter().any(lacks_codec),
                        ..PublishOutcome::default()
                    };
                }
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
            refused: false,
        }
    }

    /// The publisher of this track sends another of its section's codecs. The next answer allows the track's codec
    /// only.
    pub fn insist(&mut self, track: TrackSid) {
        let mut published = self.published.iter_mut();
        if let Some(known) = published.find(|published| published.sid == track) {
            known.alone = true;
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

    /// The client wants this track. The track gets a section in the next answer that has a free one of its kind. A
    /// second subscription to the same track is ignored.
    pub fn subscribe(&mut self, send: SendTrack) {
        self.subscriptions.add(send);
    }

    /// A track is available in these codecs now. Where its section should carry another codec than it does, the next
    /// offer or answer says so, with other SSRCs; until then the section stays as it is.
    pub fn set_codecs(&mut self, track: TrackSid, codecs: &[TrackCodec]) {
        let known = self.subscriptions.get_mut(track);
        if let Some(known) = known.filter(|known| known.send.codecs != codecs) {
            known.send.codecs = codecs.to_vec();
            known.unsupported = false;
            known.told = None;
        }
    }

    /// The client does not want this track any longer: its section is no longer in [`Self::send_sections`], becomes
    /// inactive with the next answer and can be used again after it.
    pub fn unsubscribe(&mut self, track: TrackSid) {
        self.subscriptions.remove(track);
        let section = self.sent.remove(&track);
        if let Some(section) = section.and_then(|index| self.sections.get_mut(index)) {
            section.role = Role::Draining;
        }
    }

    /// Answers an offer. Where it changes the codecs of a section in which we send a picture, the stream there gets
    /// SSRCs from `fresh_ssrc`, which never returns one twice: see [`Self::send_sections`].
    ///
    /// # Errors
    /// [`NegotiationError`]; everything is then as it was before.
    pub fn handle_offer(
        &mut self,
        offer: &SessionDescription,
        local: &LocalParameters,
        mut fresh_ssrc: impl FnMut() -> u32,
    ) -> Result<Negotiated, NegotiationError> {
        let read = self.read_offer(offer)?;
        // Nothing fails from here on, and nothing has changed so far.
        Ok(self.answer(read, offer, local, &mut fresh_ssrc))
    }

    /// Sections the client must add before all its subscriptions fit, as far as they may. Zero before the first offer,
    /// which brings some.
    pub fn missing(&self) -> MediaSections {
        if self.sections.is_empty() {
            return MediaSections::default();
        }
        let mut room = self.room();
        let mut count = |kind| {
            let waiting = self.waiting(kind).filter(|known| !known.unsupported);
            let free = self.sections.iter().filter(|section| section.is_free(kind));
            let missing = waiting.count().saturating_sub(free.count()).min(room);
            room -= missing;
            u32::try_from(missing).unwrap_or(u32::MAX)
        };
        MediaSections {
            audios: count(MediaKind::Audio),
            videos: count(MediaKind::Video),
        }
    }

    /// Number of sections that may still be added to receive in.
    fn room(&self) -> usize {
        let in_bytes = MAX_DESCRIBED.saturating_sub(self.described) / SECTION_BYTES;
        let most = MAX_USED_SECTIONS - SECTIONS_TO_PUBLISH_IN;
        in_bytes.min(most.saturating_sub(self.sections.len()))
    }

    /// Whether a subscription of this kind waits that could have a section: a free one, or one more.
    fn waits(&self, kind: MediaKind) -> bool {
        let mut waiting = self.waiting(kind);
        let is_free = |section: &Section| section.is_free(kind);
        waiting.any(|known| !known.unsupported)
            && (self.room() > 0 || self.sections.iter().any(is_free))
    }

    /// Whether the client should offer again: a subscription waits (for a free section, or for one that the client has
    /// to add: see [`Self::missing`]), a section must become inactive or change its codec, or an answered wish for Opus
    /// or for one codec only changed. False before the first offer.
    pub fn needs_renegotiation(&self) -> bool {
        let drains = |section: &Section| section.role == Role::Draining;
        let stale = |section: &Section| match section.role {
            Role::Sending(_) => self.is_outdated(section),
            Role::Receiving(_) => {
                section.kind == Some(MediaKind::Audio)
                    && section.answered_audio != self.wishes(section)
                    || section.answered_alone != self.is_alone(section)
            }
            _ => false,
        };
        !self.sections.is_empty()
            && (self.sections.iter().any(drains)
                || self.waits(MediaKind::Audio)
                || self.waits(MediaKind::Video)
                || self.sections.iter().any(stale))
    }

    /// Subscriptions that got no section, and why, each once. They wait for a section or for another codec of their
    /// track.
    pub fn take_failures(&mut self) -> Vec<(TrackSid, SubscriptionFailure)> {
        if self.sections.is_empty() {
            return Vec::new();
        }
        let is_full = |kind| {
            let comes_free = |section: &Section| {
                let soon = matches!(section.role, Role::Draining | Role::Pausing);
                section.is_free(kind) || (section.kind == Some(kind) && soon)
            };
            self.room() == 0 && !self.sections.iter().any(comes_free)
        };
        let full = [MediaKind::Audio, MediaKind::Video].map(|kind| (kind, is_full(kind)));
        let mut failures = Vec::new();
        for known in self.subscriptions.iter_mut() {
            if self.sent.contains_key(&known.send.track) {
                known.told = None;
                continue;
            }
            let failure = match known.unsupported {
                true => SubscriptionFailure::CodecUnsupported,
                false if full.contains(&(known.send.kind, true)) => {
                    SubscriptionFailure::TooManySections
                }
                false => continue,
            };
            if known.told.replace(failure) != Some(failure) {
                failures.push((known.send.track, failure));
            }
        }
        failures
    }

    /// Sections in which the client sends, in order of sections; without those whose track is not announced yet.
    pub fn receive_sections(&self) -> Vec<ReceiveSection> {
        let section = |section: &Section| {
            Some(ReceiveSection {
                mid: section.mid.clone(),
                track: section.role.published()?,
                kind: section.kind?,
                codecs: self.receivable(section),
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

    /// The way in which `section` carries `track`: codec, SSRCs and extensions.
    fn stream_in(&self, section: &Section, track: TrackSid) -> Option<SendSection> {
        let known = self.subscriptions.get(track)?;
        let send = &known.send;
        let (wanted, codec) = match (section.role, &known.codec) {
            (Role::Sending(_), Some(codec)) => (codec, section.codec_for(codec)?),
            _ => section.best_codec(&send.codecs)?,
        };
        let mut codec = codec.clone();
        // The blocks within RED contain the publisher's payload types, which must be this client's too.
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

    /// Whether the section carries its track in another codec than it should.
    fn is_outdated(&self, section: &Section) -> bool {
        let Role::Sending(track) = section.role else {
            return false;
        };
        self.subscriptions.get(track).is_some_and(|known| {
            let best = section.best_codec(&known.send.codecs);
            best.is_some_and(|(_, best)| known.payload_type(section) != Some(best.payload_type))
        })
    }

    /// The section at `index` carries its track in the best codec from now on, with which [`Self::is_outdated`]
    /// compares. True when the codec was another one before.
    fn take_codec(&mut self, index: usize) -> bool {
        let Some(section) = self.sections.get(index) else {
            return false;
        };
        let track = section.role.sent();
        let Some(known) = track.and_then(|track| self.subscriptions.get_mut(track)) else {
            return false;
        };
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
            let send = &subscription.send;
            send.kind == kind && !self.sent.contains_key(&send.track)
        })
    }

    /// The tracks without a section, in order of arrival.
    fn unsent(&self) -> Vec<TrackSid> {
        let tracks = self.subscriptions.iter().map(|known| known.send.track);
        tracks
            .filter(|track| !self.sent.contains_key(track))
            .collect()
    }

    /// Number of tracks that the client wants.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Finds anew which section carries which subscription: roles changed.
    fn index_sections(&mut self) {
        let sections = self.sections.iter().enumerate();
        let sent = sections.filter_map(|(index, section)| Some((section.role.sent()?, index)));
        self.sent = sent.collect();
    }

    fn section_of(&self, track: TrackSid) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| section.role.published() == Some(track))
    }

    /// The published track that a section carries.
    fn published_in(&self, section: &Section) -> Option<&Published> {
        let track = section.role.published()?;
        self.published
            .iter()
            .find(|published| published.sid == track)
    }

    /// Opus wishes of the track that a section carries.
    fn wishes(&self, section: &Section) -> AudioFeatures {
        self.published_in(section)
            .map_or_else(AudioFeatures::default, |p| p.audio)
    }

    /// Whether the publisher may send one codec only in this section.
    fn is_alone(&self, section: &Section) -> bool {
        let published = self.published_in(section);
        published.is_some_and(|published| published.alone)
    }

    /// The codecs that the client may send in this section.
    fn receivable(&self, section: &Section) -> Vec<CodecParameters> {
        let receivable = section.receivable(self.published_in(section));
        receivable.into_iter().cloned().collect()
    }

    /// The track's section turned out to be another's: the track has not been seen in any offer.
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
            // The guess about this section was wrong.
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
        let plain = section.plain_codec(Some(published))?;
        published.codec = Some((plain.mime_type, plain.fmtp.clone()));
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
