//! The client's offer, read into the state: sections, and the tracks they carry.

use std::{collections::BTreeSet, hash::BuildHasher};

use protocol::TrackSid;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::{
    Binding, Bound, CodecParameters, DeclaredSsrc, IceCredentials, LocalParameters,
    MAX_USED_SECTIONS, Negotiated, Negotiation, NegotiationError, RemoteParameters, Role,
    SctpParameters, Section,
    codecs::{common_codecs, common_extensions, media_kind, offered_layers},
};
use crate::{
    api::{AudioFeatures, MediaKind},
    sdp::{Direction, MediaDescription, MediaType, SessionDescription, Setup},
};

/// The format of an application section, in the place of a payload type (RFC 8841).
pub(super) const DATA_CHANNEL: &str = "webrtc-datachannel";
/// The largest message of a client that gives no size, bytes (RFC 8841, section 6.1).
const DEFAULT_MAX_MESSAGE_SIZE: u64 = 65_536;

/// The most different lists of codecs that are remembered while an offer is read.
const MAX_LISTS: usize = 8;

/// The lists of codecs in an offer, each read once: sections of one kind mostly have the same.
#[derive(Default)]
struct CodecLists<'o>(Vec<(&'o MediaDescription, u64, Vec<CodecParameters>)>);

impl<'o> CodecLists<'o> {
    /// A hash of all codec lines of a section, and the codecs among them that we know.
    fn read(
        &mut self,
        enabled: &[super::EnabledCodec],
        media: &'o MediaDescription,
    ) -> (u64, Vec<CodecParameters>) {
        let feedback = has_feedback(&media.proto);
        let is_same = |(other, ..): &&(&MediaDescription, _, _)| {
            other.kind == media.kind
                && has_feedback(&other.proto) == feedback
                && other.codecs == media.codecs
        };
        if let Some((_, hash, common)) = self.0.iter().find(is_same) {
            return (*hash, common.clone());
        }
        let hash = FxBuildHasher.hash_one(&media.codecs);
        let kind = media_kind(&media.kind);
        let common = kind.map(|kind| common_codecs(enabled, kind, &media.codecs, feedback));
        let common = common.unwrap_or_default();
        if self.0.len() < MAX_LISTS {
            self.0.push((media, hash, common.clone()));
        }
        (hash, common)
    }
}

/// What an offer says, before it is taken over.
pub(super) struct ReadOffer {
    sections: Vec<Section>,
    remote: RemoteParameters,
    /// The client took back the offer before, whose answer it did not use.
    is_rolled_back: bool,
    /// Published tracks that may have lost their section.
    lost: Vec<TrackSid>,
    /// Tracks that we send in sections whose codecs changed.
    rebuilt: Vec<TrackSid>,
}

impl Negotiation {
    /// Reads an offer, and finds everything that may be wrong with it.
    pub(super) fn read_offer(
        &self,
        offer: &SessionDescription,
    ) -> Result<ReadOffer, NegotiationError> {
        let mut lost = Vec::new();
        let (before, is_rolled_back) = self.roles_before(offer, &mut lost);
        self.check_sections(offer, &before)?;
        let (sections, rebuilt) = self.read_sections(offer, &before, &mut lost)?;
        let is_used = |section: &Section| section.role != Role::Rejected;
        let used: Vec<_> = sections.iter().map(is_used).collect();
        let remote = self.read_transport(&sections, &used, offer)?;
        check_sections_agree(&sections)?;
        Ok(ReadOffer {
            sections,
            remote,
            is_rolled_back,
            lost,
            rebuilt,
        })
    }

    /// Takes over an offer, and answers it.
    pub(super) fn answer(
        &mut self,
        read: ReadOffer,
        offer: &SessionDescription,
        local: &LocalParameters,
        fresh_ssrc: &mut dyn FnMut() -> u32,
    ) -> Negotiated {
        let ReadOffer {
            sections,
            remote,
            is_rolled_back,
            mut lost,
            mut rebuilt,
        } = read;
        self.sections = sections;
        self.index_sections();
        // A client restarts ICE where its signal connection broke, with which our last answer may have been lost.
        if !remote.ice_restarted && !is_rolled_back {
            self.arrived = self.version;
        }
        self.end_again();
        let newly_bound = self.bind_published(&mut lost);
        // A track that only moved to another section was not lost.
        lost.retain(|track| self.section_of(*track).is_none());
        lost.sort_unstable();
        lost.dedup();
        let refused = self.refuse_published();
        self.bind_subscriptions(&mut rebuilt);
        self.renew_streams(&rebuilt, fresh_ssrc);

        if remote.ice_restarted || self.local_ice.is_none() {
            self.local_ice = Some(local.ice.clone());
        }
        let local_ice = self.local_ice.clone().unwrap_or_else(|| local.ice.clone());
        self.version += 1;
        let setup = remote.setup.reversed();
        let answer = self.write_answer(offer, local, &local_ice, setup);
        let answer = answer.to_text(offer.text_bytes);
        self.described = offer.text_bytes + answer.len();
        for section in &mut self.sections {
            if section.role == Role::Draining {
                section.role = Role::Free;
                section.ended = self.version;
            }
        }
        self.remote = Some(remote.clone());
        Negotiated {
            answer,
            mid_to_track: self.mid_to_track(),
            missing: self.missing(),
            remote,
            local_ice,
            newly_bound,
            unbound: lost,
            refused,
        }
    }

    /// The roles of the sections before this offer, and whether it shows that the client took back another one. A client
    /// may take back an offer whose answer it did not use (RFC 9429, section 4.1.10.2). The sections that came with it
    /// are gone then: the next offer lacks them, or has others in their places. The tracks they carried are added to
    /// `lost`.
    fn roles_before(
        &self,
        offer: &SessionDescription,
        lost: &mut Vec<TrackSid>,
    ) -> (Vec<Role>, bool) {
        let is_gone = |index: usize, section: &Section| {
            let media = offer.media.get(index);
            section.since > self.arrived && !media.is_some_and(|media| section.goes_on_in(media))
        };
        let (mut roles, mut any) = (Vec::new(), false);
        for (index, section) in self.sections.iter().enumerate() {
            let mut role = section.role;
            if is_gone(index, section) {
                any = true;
                lost.extend(role.published());
                role = Role::Rejected;
            }
            roles.push(role);
        }
        let taken_back = self.sections.iter().rev();
        let taken_back = taken_back.take_while(|section| section.since > self.arrived);
        let surplus = roles.len().saturating_sub(offer.media.len());
        roles.truncate(roles.len() - surplus.min(taken_back.count()));
        (roles, any)
    }

    /// Makes sections inactive once more before they carry something else, where the answer that made them so may not
    /// have arrived: see [`Role::Draining`].
    fn end_again(&mut self) {
        for section in &mut self.sections {
            if section.role == Role::Free && section.ended > self.arrived {
                section.role = Role::Draining;
            }
        }
    }

    /// Checks that sections keep place, mid and kind, as they must for ever. Only a rejected one may return as
    /// something else.
    fn check_sections(
        &self,
        offer: &SessionDescription,
        before: &[Role],
    ) -> Result<(), NegotiationError> {
        if offer.media.len() < before.len() {
            let (offered, known) = (offer.media.len(), before.len());
            return Err(NegotiationError::SectionsRemoved { offered, known });
        }
        let mut mids = BTreeSet::new();
        for (index, media) in offer.media.iter().enumerate() {
            let mid = media
                .mid
                .as_deref()
                .ok_or(NegotiationError::MidMissing(index))?;
            if !mids.insert(mid) {
                return Err(NegotiationError::MidRepeated(mid.to_owned()));
            }
            let is_used = before
                .get(index)
                .is_some_and(|role| *role != Role::Rejected);
            let Some(known) = self.sections.get(index).filter(|_| is_used) else {
                continue;
            };
            if known.mid != mid {
                let (known, offered) = (known.mid.clone(), mid.to_owned());
                return Err(NegotiationError::MidChanged {
                    index,
                    known,
                    offered,
                });
            }
            if !known.is_of_kind(media) {
                return Err(NegotiationError::KindChanged(mid.to_owned()));
            }
        }
        Ok(())
    }

    /// Reads all sections. Adds the tracks that lose their section to `lost`. Returns the sections, and the tracks that we
    /// send in those whose codecs changed.
    fn read_sections(
        &self,
        offer: &SessionDescription,
        before: &[Role],
        lost: &mut Vec<TrackSid>,
    ) -> Result<(Vec<Section>, Vec<TrackSid>), NegotiationError> {
        let mut rebuilt = Vec::new();
        let mut sections = Vec::with_capacity(offer.media.len());
        let is_first = before.is_empty();
        let mut codecs = CodecLists::default();
        let mut data = false;
        let bundle: FxHashSet<&str> = offer.bundle.iter().map(String::as_str).collect();
        for (index, media) in offer.media.iter().enumerate() {
            let mid = media.mid.clone().unwrap_or_default();
            let bundled = bundle.contains(mid.as_str()) && index < MAX_USED_SECTIONS;
            let known = self.sections.get(index).zip(before.get(index));
            let (known, before) = match known {
                Some((known, role)) => (Some(known), *role),
                None => (None, Role::Free),
            };
            let mut section = Section::read(self.enabled, media, mid, &mut codecs);
            let is_data = media.kind == MediaType::Application
                && media.formats.iter().any(|f| f == DATA_CHANNEL);
            section.lacks_codec = section.kind.is_some()
                && section.codecs.is_empty()
                && media.direction.sends()
                && !media.is_rejected();
            section.role = match section.kind {
                _ if media.is_rejected() || !bundled => Role::Rejected,
                None if is_data && is_dtls(&media.proto) && !data => Role::Data,
                Some(_) if !section.codecs.is_empty() && is_srtp(&media.proto) => {
                    if !media.rtcp_mux {
                        return Err(NegotiationError::RtcpMuxMissing(section.mid));
                    }
                    role_after(before, known, &section)
                }
                _ => Role::Rejected,
            };
            data |= section.role == Role::Data;
            if let Some(track) = before
                .published()
                .filter(|_| section.role.published().is_none())
            {
                lost.push(track);
            }
            if let (Role::Sending(track), Some(known)) = (section.role, known)
                && known.offered_codecs != section.offered_codecs
            {
                rebuilt.push(track);
            }
            section.answered_audio = known.map(|s| s.answered_audio).unwrap_or_default();
            section.answered_alone = known.is_some_and(|s| s.answered_alone);
            section.ended = known.map_or(0, |s| s.ended);
            section.since = match known {
                // A PeerConnection whose first offer came to nothing is not used again.
                _ if is_first => 0,
                Some(known) if before != Role::Rejected => known.since,
                _ => self.version + 1,
            };
            sections.push(section);
        }
        Ok((sections, rebuilt))
    }

    /// Gives new SSRCs to the pictures in sections whose codecs changed, if only by a parameter. libwebrtc replaces its
    /// decoder then, and a packet that arrives at that moment detaches the picture from its track for good; a stream
    /// with another SSRC is attached anew. The native SDKs change all sections when they first publish a picture.
    pub(super) fn renew_streams(
        &mut self,
        rebuilt: &[TrackSid],
        fresh_ssrc: &mut dyn FnMut() -> u32,
    ) {
        let rebuilt: FxHashSet<TrackSid> = rebuilt.iter().copied().collect();
        for subscription in self.subscriptions.iter_mut() {
            let send = &mut subscription.send;
            if send.kind == MediaKind::Video && rebuilt.contains(&send.track) {
                send.ssrc = fresh_ssrc();
                send.rtx_ssrc = send.rtx_ssrc.map(|_| fresh_ssrc());
            }
        }
    }

    /// Reads the transport of a description with these sections, of which `used` are used. All share the transport of the
    /// first one in the bundle group (RFC 9143, section 7.3.1).
    pub(super) fn read_transport(
        &self,
        sections: &[Section],
        used: &[bool],
        description: &SessionDescription,
    ) -> Result<RemoteParameters, NegotiationError> {
        let described = sections.iter().zip(&description.media).zip(used);
        let used = described.filter_map(|(section, used)| used.then_some(section));
        let by_mid: FxHashMap<&str, &MediaDescription> = used
            .clone()
            .map(|(section, media)| (section.mid.as_str(), media))
            .collect();
        let used_as = |mid: &String| by_mid.get(mid.as_str()).copied();
        let media: Vec<_> = description.bundle.iter().filter_map(used_as).collect();
        if media.is_empty() {
            return Err(NegotiationError::NothingUsable);
        }
        let transports = || {
            media
                .iter()
                .map(|media| &media.transport)
                .chain([&description.transport])
        };
        let ice = transports()
            .find_map(|t| {
                let (ufrag, pwd) = (t.ice_ufrag.clone()?, t.ice_pwd.clone()?);
                Some(IceCredentials { ufrag, pwd })
            })
            .ok_or(NegotiationError::IceMissing)?;
        let mut fingerprints = transports()
            .map(|transport| &transport.fingerprints)
            .find(|fingerprints| !fingerprints.is_empty())
            .ok_or(NegotiationError::FingerprintMissing)?
            .clone();
        fingerprints.sort_unstable();
        let setup = transports()
            .find_map(|transport| transport.setup)
            .unwrap_or(Setup::ActPass);
        let before = self.remote.as_ref();
        if before.is_some_and(|before| before.fingerprints != fingerprints) {
            return Err(NegotiationError::FingerprintChanged);
        }
        let mut data = used.filter(|(section, _)| section.role == Role::Data);
        let sctp = data.next().map(|(_, media)| SctpParameters {
            port: media.sctp_port.unwrap_or(5000),
            max_message_size: media.max_message_size.unwrap_or(DEFAULT_MAX_MESSAGE_SIZE),
        });
        let ice_restarted = before.is_some_and(|before| before.ice != ice);
        let setup = match (setup, before) {
            (Setup::HoldConn, _) => return Err(NegotiationError::SetupUnusable),
            // The choice is the answer's (RFC 8842, section 5.3).
            (Setup::ActPass, _) if self.is_subscriber() => {
                return Err(NegotiationError::SetupUnusable);
            }
            // The roles are those of the association, which goes on (RFC 8842, section 5.5).
            (_, Some(before)) if setup == Setup::ActPass || !ice_restarted => before.setup,
            (Setup::Passive, _) => Setup::Passive,
            _ => Setup::Active,
        };
        Ok(RemoteParameters {
            ice,
            fingerprints,
            setup,
            ice_restarted,
            sctp,
        })
    }

    /// Binds published tracks to sections: first by name, over all sections, then by guess, for clients whose ids
    /// changed on the way. A track that was bound by guess and loses its section to the one that is named there goes to
    /// `lost`.
    fn bind_published(&mut self, lost: &mut Vec<TrackSid>) -> Vec<Bound> {
        let mut bound = Vec::new();
        for index in 0..self.sections.len() {
            let Some(section) = self.sections.get(index) else {
                break;
            };
            if !matches!(
                section.role,
                Role::Receiving(Binding::Unknown | Binding::Guessed(_)) | Role::Retired
            ) {
                continue;
            }
            let carried = |track| {
                let named = Role::Receiving(Binding::Named(track));
                self.sections.iter().any(|other| {
                    other.role == named && other.offered_track == section.offered_track
                })
            };
            let named = self
                .published
                .iter()
                .find(|published| published.is_named(section) && !carried(published.sid));
            let before = section.role.published();
            let Some(track) = named.map(|published| published.sid) else {
                continue;
            };
            let now = self.bind(index, Binding::Named(track));
            if let Some(loser) = before.filter(|before| *before != track) {
                self.forget_guess(loser);
                lost.push(loser);
            }
            bound.extend(now.filter(|_| before != Some(track)));
        }
        for index in 0..self.sections.len() {
            let Some(section) = self.sections.get(index) else {
                break;
            };
            if section.role != Role::Receiving(Binding::Unknown) {
                continue;
            }
            let waits = self.published.iter().find(|published| {
                Some(published.kind) == section.kind
                    && !published.was_bound
                    && !published.cids.is_empty()
                    && self.section_of(published.sid).is_none()
            });
            if let Some(track) = waits.map(|published| published.sid) {
                bound.extend(self.bind(index, Binding::Guessed(track)));
            }
        }
        bound
    }

    /// Tracks that cannot be received: those named in a section without a codec that we know, and those whose section
    /// lost their codec and carries them no longer.
    fn refuse_published(&mut self) -> Vec<TrackSid> {
        let mut refused = Vec::new();
        for section in self.sections.iter().filter(|section| section.lacks_codec) {
            let named = self.published.iter().find(|p| p.is_named(section));
            let named = named.filter(|p| self.section_of(p.sid).is_none());
            refused.extend(named.map(|published| published.sid));
        }
        for index in 0..self.sections.len() {
            let Some(section) = self.sections.get(index) else {
                break;
            };
            let Some(published) = self.published_in(section) else {
                continue;
            };
            if section.bound_codec(published).is_none() {
                refused.push(published.sid);
                if let Some(section) = self.sections.get_mut(index) {
                    section.role = Role::Retired;
                }
            }
        }
        refused.sort_unstable();
        refused.dedup();
        refused
    }

    /// Gives free sections, in order, to waiting subscriptions, in order of arrival. Adds tracks that continue in
    /// another codec to `rebuilt`.
    fn bind_subscriptions(&mut self, rebuilt: &mut Vec<TrackSid>) {
        for index in 0..self.sections.len() {
            let Some(section) = self.sections.get(index) else {
                break;
            };
            let Role::Sending(track) = section.role else {
                continue;
            };
            let known = self.subscriptions.get(track);
            let speaks = known.is_some_and(|k| section.best_codec(&k.send.codecs).is_some());
            if !speaks {
                // The client no longer offers a codec of the track here.
                self.release(index);
            } else if self.take_codec(index) {
                rebuilt.push(track);
            }
        }
        let free = |kind| {
            let sections = self.sections.iter().enumerate();
            let free = sections.filter(move |(_, section)| section.is_free(kind));
            free.map(|(index, _)| index).collect::<Vec<_>>()
        };
        let (mut audios, mut videos) = (free(MediaKind::Audio), free(MediaKind::Video));
        for track in self.unsent() {
            let Some(known) = self.subscriptions.get(track) else {
                continue;
            };
            let kind = known.send.kind;
            let free = match kind {
                MediaKind::Audio => &mut audios,
                MediaKind::Video => &mut videos,
            };
            let speaks = |index: &usize| {
                let section = self.sections.get(*index);
                section.is_some_and(|s| s.best_codec(&known.send.codecs).is_some())
            };
            let fits = free.iter().position(speaks);
            let lacks_codec = fits.is_none() && !free.is_empty();
            let found = fits.is_some();
            if let Some(index) = fits.map(|at| free.remove(at))
                && let Some(section) = self.sections.get_mut(index)
            {
                section.role = Role::Sending(track);
                self.sent.insert(track, index);
                if self.take_codec(index) {
                    rebuilt.push(track);
                }
            }
            if let Some(known) = self.subscriptions.get_mut(track) {
                // The mark stays once it is set: otherwise each further section would be asked for in vain.
                known.unsupported = lacks_codec || (known.unsupported && !found);
            }
        }
    }

    fn release(&mut self, index: usize) {
        if let Some(section) = self.sections.get_mut(index) {
            if let Some(track) = section.role.sent() {
                self.sent.remove(&track);
            }
            section.role = Role::Draining;
        }
    }

    pub(super) fn mid_to_track(&self) -> Vec<(String, TrackSid)> {
        let track = |section: &Section| match section.role {
            Role::Offered(track) | Role::Sending(track) => Some(track),
            role => role.published(),
        };
        self.sections
            .iter()
            .filter_map(|section| Some((section.mid.clone(), track(section)?)))
            .collect()
    }
}

impl Section {
    fn read<'o>(
        enabled: &[super::EnabledCodec],
        media: &'o MediaDescription,
        mid: String,
        lists: &mut CodecLists<'o>,
    ) -> Self {
        let kind = media_kind(&media.kind);
        let (offered_codecs, codecs) = lists.read(enabled, media);
        let rtx = |ssrc: u32| {
            media
                .fid_groups
                .iter()
                .find(|(primary, _)| *primary == ssrc)
                .map(|(_, rtx)| *rtx)
        };
        let is_rtx = |ssrc: u32| media.fid_groups.iter().any(|(_, rtx)| *rtx == ssrc);
        let primaries = media
            .ssrcs
            .iter()
            .map(|declared| declared.ssrc)
            .filter(|ssrc| !is_rtx(*ssrc));
        Self {
            mid,
            kind,
            role: Role::Free,
            offered: media.direction,
            offered_track: media.msid.as_ref().and_then(|msid| msid.track.clone()),
            codecs,
            offered_codecs,
            extensions: kind
                .map(|kind| common_extensions(kind, &media.extensions))
                .unwrap_or_default(),
            layers: match kind {
                Some(MediaKind::Video) => offered_layers(&media.rids, &media.simulcast),
                _ => Vec::new(),
            },
            ssrcs: primaries
                .map(|ssrc| DeclaredSsrc {
                    ssrc,
                    rtx: rtx(ssrc),
                })
                .collect(),
            lacks_codec: false,
            answered_audio: AudioFeatures::default(),
            answered_alone: false,
            since: 0,
            ended: 0,
        }
    }

    /// Whether the offered section is this one.
    fn goes_on_in(&self, media: &MediaDescription) -> bool {
        let track = media.msid.as_ref().and_then(|msid| msid.track.as_ref());
        let both = track.zip(self.offered_track.as_ref());
        media.mid.as_ref() == Some(&self.mid)
            && self.is_of_kind(media)
            && both.is_none_or(|(offered, known)| offered == known)
    }

    fn is_of_kind(&self, media: &MediaDescription) -> bool {
        let is_data = self.role == Role::Data;
        self.kind == media_kind(&media.kind) && is_data == (media.kind == MediaType::Application)
    }
}

/// Checks that sections agree on header extension ids and SSRCs, which are shared by the whole transport.
fn check_sections_agree(sections: &[Section]) -> Result<(), NegotiationError> {
    let mut meaning: [Option<usize>; 16] = [None; 16];
    let mut ids: [Option<u8>; 7] = [None; 7];
    let mut ssrcs = BTreeSet::new();
    for section in sections {
        if section.role == Role::Rejected {
            continue;
        }
        for extensions in [&section.extensions.received, &section.extensions.sent] {
            for (extension, id) in extensions.all().into_iter().enumerate() {
                let Some(id) = id else { continue };
                let (Some(meaning), Some(known)) =
                    (meaning.get_mut(usize::from(id)), ids.get_mut(extension))
                else {
                    continue;
                };
                if *meaning.get_or_insert(extension) != extension || *known.get_or_insert(id) != id
                {
                    return Err(NegotiationError::ExtensionConflict(id));
                }
            }
        }
        if matches!(section.role, Role::Receiving(_)) {
            for ssrc in section
                .ssrcs
                .iter()
                .flat_map(|declared| [Some(declared.ssrc), declared.rtx])
                .flatten()
            {
                if !ssrcs.insert(ssrc) {
                    return Err(NegotiationError::SsrcRepeated(ssrc));
                }
            }
        }
    }
    Ok(())
}

/// The role of a usable media section after this offer.
fn role_after(before: Role, known: Option<&Section>, now: &Section) -> Role {
    let same_track = known.is_some_and(|known| known.offered_track == now.offered_track);
    match (before, now.offered) {
        // A section that sends is the client's own, even where it could also receive: one job each.
        (Role::Receiving(binding), Direction::SendOnly | Direction::SendRecv) => {
            Role::Receiving(binding)
        }
        (Role::Retired, Direction::SendOnly | Direction::SendRecv) if same_track => Role::Retired,
        (_, Direction::SendOnly | Direction::SendRecv) => Role::Receiving(Binding::Unknown),
        (Role::Sending(track), Direction::RecvOnly) => Role::Sending(track),
        (Role::Draining, _) => Role::Draining,
        // A subscription whose section the client closed waits for another one.
        (_, Direction::RecvOnly | Direction::Inactive) => Role::Free,
    }
}

/// Whether the protocol is RTP over DTLS, with feedback (RFC 5124) or without (RFC 5764); browsers say
/// `UDP/TLS/RTP/SAVPF` whatever the transport.
pub(super) fn is_srtp(proto: &str) -> bool {
    let profile = ["UDP/TLS/", "TCP/TLS/"]
        .iter()
        .find_map(|transport| proto.strip_prefix(transport));
    matches!(profile.unwrap_or(proto), "RTP/SAVPF" | "RTP/SAVP")
}

/// Whether the profile has `a=rtcp-fb` (RFC 4585).
fn has_feedback(proto: &str) -> bool {
    proto.ends_with("AVPF")
}

fn is_dtls(proto: &str) -> bool {
    matches!(proto, "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP")
}
