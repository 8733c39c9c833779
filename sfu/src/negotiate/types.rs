//! The words of [`Negotiation`](super::Negotiation): what goes in, what comes out, what can be wrong.

use std::net::SocketAddr;

use protocol::{ParticipantSid, TrackSid};

use crate::{
    api::{MediaKind, MediaSections, SpatialLayer, TrackCodec},
    sdp::{Fingerprint, Setup},
};

/// What our descriptions say about us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalParameters {
    /// ICE credentials. Those of an offer are taken as they are. An answer needs fresh ones: they are used in the first
    /// answer and where the client restarts ICE (RFC 8839 demands new ones then); otherwise the ones in use stay.
    /// [`Negotiated::local_ice`] says which.
    pub ice: IceCredentials,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// SHA-256 of our DTLS certificate.
    pub fingerprint: [u8; 32],
    /// Host candidates (UDP), best first.
    pub candidates: Vec<SocketAddr>,
    /// Passive TCP candidates (RFC 6544), best first; all are worse than those for UDP.
    pub tcp_candidates: Vec<SocketAddr>,
    /// The largest data channel message we take, bytes.
    pub max_message_size: u64,
}

/// ICE user fragment and password.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 4 to 256 ice-chars.
    pub ufrag: String,
    /// 22 to 256 ice-chars.
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IceCredentials({}, …)", self.ufrag)
    }
}

/// A track to be sent to this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendTrack {
    /// The track.
    pub track: TrackSid,
    /// Who publishes it: first part of the msid, and the cname.
    pub publisher: ParticipantSid,
    /// Stream part of the msid (`camera`, `screen`, …). Characters an msid cannot hold are replaced.
    pub stream: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Codecs in which there is the track, preferred first: only sections that offer one of them are used, with the first
    /// that they offer; variants that the client cannot take are not sent to it.
    pub codecs: Vec<TrackCodec>,
    /// SSRC we send with.
    pub ssrc: u32,
    /// SSRC of retransmissions, used where the client takes RTX.
    pub rtx_ssrc: Option<u32>,
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// SDP.
    pub answer: String,
    /// Section and track, for each section that carries one, in the order of sections.
    pub mid_to_track: Vec<(String, TrackSid)>,
    /// Sections the client must add before all its subscriptions fit.
    pub missing: MediaSections,
    /// The client's transport.
    pub remote: RemoteParameters,
    /// The credentials of this answer.
    pub local_ice: IceCredentials,
    /// Published tracks that found a section in this offer.
    pub newly_bound: Vec<Bound>,
    /// Published tracks whose section the client gave up. They may come back in a later offer with the same cid.
    pub unbound: Vec<TrackSid>,
    /// Published tracks whose section has no codec that we know, or not the one any more that they are encoded with.
    pub refused: Vec<TrackSid>,
}

/// An offer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Told apart from other offers by it; the answer names it.
    pub id: u32,
    /// SDP.
    pub sdp: String,
    /// Section and track, for each section that carries one, in the order of sections.
    pub mid_to_track: Vec<(String, TrackSid)>,
}

/// What the client answered to an offer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The client's transport.
    pub remote: RemoteParameters,
}

/// The client's side of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteParameters {
    /// Its ICE credentials.
    pub ice: IceCredentials,
    /// The certificate must match at least one of each hash that is given. Not empty; constant over the association.
    pub fingerprints: Vec<Fingerprint>,
    /// Its DTLS role: active, where it leaves us the choice, or passive. Constant over the association: only with
    /// restarted ICE it may be another than before, and then the association is another too.
    pub setup: Setup,
    /// The credentials differ from those of the offer before: ICE starts again, DTLS stays. False for the first offer.
    pub ice_restarted: bool,
    /// Data channels, when offered.
    pub sctp: Option<SctpParameters>,
}

/// The client's side of the SCTP association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SctpParameters {
    /// Port within DTLS.
    pub port: u16,
    /// The largest message it takes, bytes; 0 means any.
    pub max_message_size: u64,
}

/// A published track found its section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The track.
    pub track: TrackSid,
    /// The section.
    pub mid: String,
    /// The section's preferred codec.
    pub mime_type: &'static str,
    /// What was answered for it, which tells variants apart.
    pub fmtp: String,
    /// Payload type of RED (RFC 2198), where the client may send it.
    pub red: Option<u8>,
    /// Simulcast layers, in the offer's order; empty for one stream without rid.
    pub layers: Vec<RidLayer>,
}

/// What a late [`Negotiation::publish`] changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishOutcome {
    /// The track was offered already: it is bound now.
    pub bound: Option<Bound>,
    /// A track that had been bound to this section by guess lost it to the one that names it.
    pub unbound: Option<TrackSid>,
    /// The track was offered already, without a codec that we know.
    pub refused: bool,
}

/// A simulcast stream of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RidLayer {
    /// Its rid.
    pub rid: String,
    /// Its layer: by LiveKit's names (`q`, `h`, `f`), else by order. A single one is [`SpatialLayer::High`];
    /// of `q` and `h`, `h` stays [`SpatialLayer::Medium`] and is the top of what there is.
    pub layer: SpatialLayer,
}

/// A codec both sides agreed on for one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecParameters {
    /// RTP payload type, the client's choice.
    pub payload_type: u8,
    /// For example `video/VP8`.
    pub mime_type: &'static str,
    /// Hz.
    pub clock_rate: u32,
    /// Channels.
    pub channels: u8,
    /// fmtp of the answer.
    pub fmtp: String,
    /// Payload type of its retransmissions (RFC 4588); `None` means that they travel as plain copies.
    pub rtx_payload_type: Option<u8>,
    /// Generic NACK (RFC 4585).
    pub nack: bool,
    /// Picture loss indication (RFC 4585).
    pub pli: bool,
    /// Full intra request (RFC 5104).
    pub fir: bool,
    /// Transport-wide feedback, both ways.
    pub transport_cc: bool,
    /// Receiver's bandwidth estimate: the fallback where transport-wide feedback is missing.
    pub remb: bool,
}

/// Header extension ids (RFC 8285), 1 to 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionIds {
    /// Section (RFC 9143).
    pub mid: Option<u8>,
    /// Simulcast stream (RFC 8852).
    pub rid: Option<u8>,
    /// Simulcast stream that is repaired (RFC 8852).
    pub repaired_rid: Option<u8>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u8>,
    /// Absolute send time.
    pub abs_send_time: Option<u8>,
    /// Audio level (RFC 6464).
    pub audio_level: Option<u8>,
    /// Dependency descriptor (AV1 RTP).
    pub dependency_descriptor: Option<u8>,
}

/// An SSRC the client declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredSsrc {
    /// Media.
    pub ssrc: u32,
    /// Retransmissions of it.
    pub rtx: Option<u32>,
}

/// A section in which the client sends a published track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveSection {
    /// The section.
    pub mid: String,
    /// The track.
    pub track: TrackSid,
    /// Audio or video.
    pub kind: MediaKind,
    /// Codecs, preferred first; at least one.
    pub codecs: Vec<CodecParameters>,
    /// Extensions of the client's packets. The same id means the same in all sections.
    pub extensions: ExtensionIds,
    /// Simulcast streams; empty for one stream without rid.
    pub layers: Vec<RidLayer>,
    /// SSRCs, where the client declares them. Which rid one has is not known.
    pub ssrcs: Vec<DeclaredSsrc>,
}

/// A section in which we send a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendSection {
    /// The section.
    pub mid: String,
    /// The track.
    pub track: TrackSid,
    /// Audio or video.
    pub kind: MediaKind,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of retransmissions; present when and only when `codec.rtx_payload_type` is.
    pub rtx_ssrc: Option<u32>,
    /// The codec.
    pub codec: CodecParameters,
    /// RED around it (RFC 2198), where the client takes that.
    pub red: Option<CodecParameters>,
    /// Extensions of our packets.
    pub extensions: ExtensionIds,
    /// RTCP canonical name: the publisher's sid.
    pub cname: String,
}

/// Why a description is refused. The state is then as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// A section has no `a=mid`.
    #[error("section {0} has no mid")]
    MidMissing(usize),
    /// Two sections have the same mid.
    #[error("mid {0:?} is used twice")]
    MidRepeated(String),
    /// Sections of the offer before are gone.
    #[error(
        "the offer has {offered} sections, {known} were negotiated: sections are never removed"
    )]
    SectionsRemoved {
        /// In this offer.
        offered: usize,
        /// Before.
        known: usize,
    },
    /// An answer with more or fewer sections than its offer.
    #[error("the answer has {answered} sections, the offer had {offered}")]
    SectionsDiffer {
        /// In the answer.
        answered: usize,
        /// In the offer.
        offered: usize,
    },
    /// This side of the connection never offers.
    #[error("an answer, where we answer ourselves")]
    NothingOffered,
    /// A section that is in use has another mid than before.
    #[error("section {index} was {known:?} and is {offered:?} now")]
    MidChanged {
        /// Of the section, from 0.
        index: usize,
        /// Before.
        known: String,
        /// In this offer.
        offered: String,
    },
    /// A section that is in use carries another kind of media than before.
    #[error("section {0:?} changed its kind of media")]
    KindChanged(String),
    /// No section of the offer can be used.
    #[error("no section of the offer can be used")]
    NothingUsable,
    /// `a=rtcp-mux` is missing.
    #[error("section {0:?} lacks rtcp-mux")]
    RtcpMuxMissing(String),
    /// ICE credentials are missing.
    #[error("no ICE credentials")]
    IceMissing,
    /// No fingerprint with a known hash.
    #[error("no SHA-2 certificate fingerprint")]
    FingerprintMissing,
    /// The fingerprint of an established association changed.
    #[error("the certificate fingerprint changed")]
    FingerprintChanged,
    /// An offer must not say `holdconn`, an answer must say `active` or `passive`.
    #[error("the description leaves nobody to begin DTLS")]
    SetupUnusable,
    /// One header extension id means different things in different sections.
    #[error("header extension {0} differs between sections")]
    ExtensionConflict(u8),
    /// Two sections declare the same SSRC.
    #[error("SSRC {0} is declared twice")]
    SsrcRepeated(u32),
}
