//! The inputs, results and errors of [`Negotiation`](super::Negotiation).

use std::net::SocketAddr;

use protocol::{ParticipantSid, TrackSid};

pub use crate::api::{
    Bound, CodecParameters, DeclaredSsrc, ExtensionIds, IceCredentials, ReceiveSection,
    RemoteParameters, RidLayer, SctpParameters,
};
use crate::api::{MediaKind, MediaSections, TrackCodec};

/// Our side of a transport, as our descriptions say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalParameters {
    /// ICE credentials. Those of an offer are taken as they are. An answer needs fresh ones: they are used in the first
    /// answer and where the client restarts ICE (RFC 8839 demands new ones then); otherwise the ones in use stay.
    /// [`Negotiated::local_ice`] says which.
    pub ice: IceCredentials,
    /// We are an ICE-lite agent (`a=ice-lite`).
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
    /// The track's sid.
    pub track: TrackSid,
    /// The publisher: first part of the msid, and the cname.
    pub publisher: ParticipantSid,
    /// Stream part of the msid (`camera`, `screen`, …). Characters that an msid cannot hold are replaced.
    pub stream: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Codecs in which the track is available, preferred first. Only sections that offer one of them are used, with the
    /// first that they offer; variants that the client cannot take are not sent to it.
    pub codecs: Vec<TrackCodec>,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of retransmissions, used where the client takes RTX.
    pub rtx_ssrc: Option<u32>,
}

/// The result of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Our answer, as SDP.
    pub answer: String,
    /// Section and track, for each section that carries one, in the order of sections.
    pub mid_to_track: Vec<(String, TrackSid)>,
    /// Sections the client must add before all its subscriptions fit.
    pub missing: MediaSections,
    /// The client's side of the transport.
    pub remote: RemoteParameters,
    /// The credentials of this answer.
    pub local_ice: IceCredentials,
    /// Published tracks that found a section in this offer.
    pub newly_bound: Vec<Bound>,
    /// Published tracks whose section the client gave up. They may come back in a later offer with the same cid.
    pub unbound: Vec<TrackSid>,
    /// Published tracks whose section has no codec that we know, or has lost the codec that they are encoded with.
    pub refused: Vec<TrackSid>,
}

/// An offer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Id of the offer, which the answer repeats.
    pub id: u32,
    /// SDP.
    pub sdp: String,
    /// Section and track, for each section that carries one, in the order of sections.
    pub mid_to_track: Vec<(String, TrackSid)>,
}

/// The result of the client's answer to an offer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The client's side of the transport.
    pub remote: RemoteParameters,
}

/// The effect of a late [`Negotiation::publish`](super::Negotiation::publish).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishOutcome {
    /// Set when the track was offered already: it is bound now.
    pub bound: Option<Bound>,
    /// A track that had been bound to this section by guess lost it to the one that names it.
    pub unbound: Option<TrackSid>,
    /// The track was offered already, without a codec that we know.
    pub refused: bool,
}

/// A section in which we send a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendSection {
    /// The section's mid.
    pub mid: String,
    /// The track.
    pub track: TrackSid,
    /// Audio or video.
    pub kind: MediaKind,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of retransmissions; present when and only when `codec.rtx_payload_type` is.
    pub rtx_ssrc: Option<u32>,
    /// The codec that we send.
    pub codec: CodecParameters,
    /// RED around it (RFC 2198), where the client takes that.
    pub red: Option<CodecParameters>,
    /// Extensions of our packets.
    pub extensions: ExtensionIds,
    /// RTCP canonical name: the publisher's sid.
    pub cname: String,
}

/// The reason for refusing a description. The state is then as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// A section has no `a=mid`.
    #[error("section {0} has no mid")]
    MidMissing(usize),
    /// Two sections have the same mid.
    #[error("mid {0:?} is used twice")]
    MidRepeated(String),
    /// Sections of the description before are missing.
    #[error(
        "the offer has {offered} sections, {known} were negotiated: sections are never removed"
    )]
    SectionsRemoved {
        /// Number of sections in this offer.
        offered: usize,
        /// Number of sections before.
        known: usize,
    },
    /// An answer with more or fewer sections than its offer.
    #[error("the answer has {answered} sections, the offer had {offered}")]
    SectionsDiffer {
        /// Number of sections in the answer.
        answered: usize,
        /// Number of sections in the offer.
        offered: usize,
    },
    /// This side of the connection never offers.
    #[error("an answer, where we answer ourselves")]
    NothingOffered,
    /// A section that is in use has another mid than before.
    #[error("section {index} was {known:?} and is {offered:?} now")]
    MidChanged {
        /// Index of the section, from 0.
        index: usize,
        /// Mid before.
        known: String,
        /// Mid in this offer.
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
