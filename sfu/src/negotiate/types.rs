//! The words of [`Negotiation`](super::Negotiation): what goes in, what comes out, what can be wrong.

use std::net::SocketAddr;

use protocol::{ParticipantSid, TrackSid};

pub use crate::api::{
    Bound, CodecParameters, DeclaredSsrc, ExtensionIds, IceCredentials, ReceiveSection,
    RemoteParameters, RidLayer, SctpParameters,
};
use crate::api::{MediaKind, MediaSections, TrackCodec};

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
