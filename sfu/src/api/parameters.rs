//! The results of negotiation that a shard needs: plain parameters, without descriptions.

use protocol::TrackSid;

use super::track::{MediaKind, SpatialLayer};
use crate::sdp::{Fingerprint, Setup};

/// A PeerConnection of a participant (LiveKit's `SignalTarget`). A participant with one PeerConnection receives on the
/// first too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The first PeerConnection, on which the participant publishes.
    Publisher,
    /// The second PeerConnection, on which the participant receives, where it has one.
    Subscriber,
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

/// The client's side of a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteParameters {
    /// The client's ICE credentials.
    pub ice: IceCredentials,
    /// Hashes of the client's certificate, which must match at least one of each hash function. Not empty; constant
    /// over the association.
    pub fingerprints: Vec<Fingerprint>,
    /// The client's DTLS role: passive, or active, also where the client leaves us the choice. Constant over the
    /// association; a restart of ICE may change it, and begins another association then.
    pub setup: Setup,
    /// The credentials differ from those of the offer before: ICE starts again, DTLS stays. False for the first offer.
    pub ice_restarted: bool,
    /// The client's SCTP parameters, when it offered data channels.
    pub sctp: Option<SctpParameters>,
}

/// The client's side of the SCTP association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SctpParameters {
    /// SCTP port within DTLS.
    pub port: u16,
    /// The largest message that the client takes, bytes; 0 means any.
    pub max_message_size: u64,
}

/// A published track that found its section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The track.
    pub track: TrackSid,
    /// The section's mid.
    pub mid: String,
    /// The section's preferred codec.
    pub mime_type: &'static str,
    /// The `fmtp` that was answered for this codec, which tells its variants apart.
    pub fmtp: String,
    /// Payload type of RED (RFC 2198), where the client may send it.
    pub red: Option<u8>,
    /// Simulcast layers, in the offer's order; empty for one stream without rid.
    pub layers: Vec<RidLayer>,
}

/// A simulcast stream of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RidLayer {
    /// The stream's rid.
    pub rid: String,
    /// The stream's layer: by LiveKit's names (`q`, `h`, `f`), else by order. A single one is [`SpatialLayer::High`];
    /// of `q` and `h`, `h` stays [`SpatialLayer::Medium`] and is the top of what there is.
    pub layer: SpatialLayer,
}

/// A codec both sides agreed on for one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecParameters {
    /// RTP payload type, the client's choice.
    pub payload_type: u8,
    /// Mime type, for example `video/VP8`.
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
    /// Section: the MID (RFC 9143).
    pub mid: Option<u8>,
    /// Simulcast stream: the RID (RFC 8852).
    pub rid: Option<u8>,
    /// Simulcast stream that a retransmission repairs (RFC 8852).
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

/// An SSRC that the client declared in its description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredSsrc {
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of its retransmissions.
    pub rtx: Option<u32>,
}

/// A section in which the client sends a published track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveSection {
    /// The section's mid.
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
    /// SSRCs, where the client declares them. Their rids are not known.
    pub ssrcs: Vec<DeclaredSsrc>,
}

/// The parameters of a stream that the subscriber's SDP allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendParameters {
    /// Payload type of the codec.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), where negotiated.
    pub rtx_payload_type: Option<u8>,
    /// The element with which packets name their section, where it was negotiated.
    pub mid: Option<MidElement>,
    /// Extension id of transport-wide sequence numbers, where the subscriber reports on them.
    pub transport_cc: Option<u8>,
    /// Header extension of the Dependency Descriptor, where negotiated.
    pub dependencies: Option<u8>,
    /// Payload type of RED (RFC 2198), where the subscriber takes it as the publisher sends it.
    pub red: Option<u8>,
}

/// The MID header extension of a section's packets (RFC 9143, section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MidElement {
    id: u8,
    len: u8,
    value: [u8; Self::MAX_LEN],
}

impl MidElement {
    /// The longest value of an element with a one-byte header, bytes (RFC 8285, section 4.2).
    const MAX_LEN: usize = 16;

    /// An element; `None` when `mid` does not fit into it.
    pub fn new(id: u8, mid: &str) -> Option<Self> {
        let len = u8::try_from(mid.len()).ok()?;
        let mut value = [0; Self::MAX_LEN];
        value.get_mut(..mid.len())?.copy_from_slice(mid.as_bytes());
        Some(Self { id, len, value })
    }

    pub(crate) fn element(&self) -> (u8, &[u8]) {
        (self.id, &self.value[..usize::from(self.len)])
    }
}

/// The sending of a subscription: its SSRCs and the parameters of its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendStream {
    /// The track.
    pub track: TrackSid,
    /// The section takes the track's backup, not the track itself.
    pub in_backup: bool,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of retransmissions, used where `parameters` have a payload type for them.
    pub rtx_ssrc: u32,
    /// The subscriber reports which packets arrive, or how much its network carries.
    pub reports: bool,
    /// The format of the packets.
    pub parameters: SendParameters,
}
