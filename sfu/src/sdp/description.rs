//! The data of a session description.

use std::{fmt, hash::BuildHasher};

use rustc_hash::FxBuildHasher;

/// The longest description that is read, bytes: what fits into a signal message. Chromium 156 writes 5.9 KB for each
/// pair of sections that receive.
pub const MAX_SDP_BYTES: usize = 2 * 1024 * 1024;
/// The most sections of a description. No client is asked for so many. The limit bounds the memory that a description
/// takes.
pub const MAX_SECTIONS: usize = 2048;

/// An offer or an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionDescription {
    /// `o=`: id of the session, the same in all descriptions of one side.
    pub session_id: u64,
    /// `o=`: number of the description, counted by its side.
    pub session_version: u64,
    /// `a=group:BUNDLE` (RFC 9143): the mids that share one transport, in order.
    pub bundle: Vec<String>,
    /// `a=ice-lite` (RFC 8839).
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed` (RFC 8285), at session level or in every section.
    pub extmap_allow_mixed: bool,
    /// Transport attributes at session level: defaults of all sections.
    pub transport: TransportAttributes,
    /// The `m=` sections, in order.
    pub media: Vec<MediaDescription>,
    /// Length of the text that the description was read from, bytes; 0 for one that was not read.
    pub text_bytes: usize,
}

/// ICE and DTLS attributes of a section, or of the session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportAttributes {
    /// `a=ice-ufrag` (RFC 8839).
    pub ice_ufrag: Option<String>,
    /// `a=ice-pwd`.
    pub ice_pwd: Option<String>,
    /// `a=ice-options`.
    pub ice_options: Vec<String>,
    /// `a=fingerprint` (RFC 8122), those with a hash that we know.
    pub fingerprints: Vec<Fingerprint>,
    /// `a=setup` (RFC 4145, RFC 8842).
    pub setup: Option<Setup>,
}

/// The first word of an `m=` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaType {
    /// `audio`.
    Audio,
    /// `video`.
    Video,
    /// `application`: data channels.
    Application,
    /// Anything else; always rejected.
    Other(String),
}

/// One `m=` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaDescription {
    /// The kind of media.
    pub kind: MediaType,
    /// Port; 0 without `a=bundle-only` means rejected (see [`Self::is_rejected`]).
    pub port: u16,
    /// Protocol, for example `UDP/TLS/RTP/SAVPF`.
    pub proto: String,
    /// The formats of the `m=` line in order of preference.
    pub formats: Vec<String>,
    /// `a=mid` (RFC 5888).
    pub mid: Option<String>,
    /// `a=bundle-only` (RFC 9143): a port of 0 does not reject.
    pub bundle_only: bool,
    /// Direction; `sendrecv` when absent.
    pub direction: Direction,
    /// ICE and DTLS attributes of this section.
    pub transport: TransportAttributes,
    /// `a=candidate` lines (RFC 8839).
    pub candidates: Vec<Candidate>,
    /// `a=end-of-candidates` (RFC 8840).
    pub end_of_candidates: bool,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize` (RFC 5506).
    pub rtcp_rsize: bool,
    /// `a=extmap-allow-mixed` in this section.
    pub extmap_allow_mixed: bool,
    /// The formats of an RTP section that have an `a=rtpmap`, in the order of the `m=` line.
    pub codecs: Vec<Codec>,
    /// `a=extmap` (RFC 8285).
    pub extensions: Vec<ExtMap>,
    /// `a=msid` (RFC 8830).
    pub msid: Option<Msid>,
    /// `a=ssrc` (RFC 5576), one entry per SSRC, in order of appearance.
    pub ssrcs: Vec<Ssrc>,
    /// `a=ssrc-group:FID`: (primary, retransmissions).
    pub fid_groups: Vec<(u32, u32)>,
    /// `a=rid` (RFC 8851).
    pub rids: Vec<Rid>,
    /// `a=simulcast` (RFC 8853).
    pub simulcast: Simulcast,
    /// `a=sctp-port` (RFC 8841).
    pub sctp_port: Option<u16>,
    /// `a=max-message-size` (RFC 8841), bytes; 0 means no limit.
    pub max_message_size: Option<u64>,
}

impl MediaDescription {
    /// An empty section.
    pub fn new(kind: MediaType, port: u16, proto: &str) -> Self {
        Self {
            kind,
            port,
            proto: proto.to_owned(),
            formats: Vec::new(),
            mid: None,
            bundle_only: false,
            direction: Direction::SendRecv,
            transport: TransportAttributes::default(),
            candidates: Vec::new(),
            end_of_candidates: false,
            rtcp_mux: false,
            rtcp_rsize: false,
            extmap_allow_mixed: false,
            codecs: Vec::new(),
            extensions: Vec::new(),
            msid: None,
            ssrcs: Vec::new(),
            fid_groups: Vec::new(),
            rids: Vec::new(),
            simulcast: Simulcast::default(),
            sctp_port: None,
            max_message_size: None,
        }
    }

    /// Whether the section is refused or was given up: port 0, unless `a=bundle-only` says that this is only caution.
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }
}

/// The direction of media, seen from the describing side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `sendrecv`.
    SendRecv,
    /// `sendonly`.
    SendOnly,
    /// `recvonly`.
    RecvOnly,
    /// `inactive`.
    Inactive,
}

impl Direction {
    /// Whether the describing side sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the describing side receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same direction, seen from the other side.
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn from_str(text: &str) -> Option<Self> {
        Some(match text {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }
}

/// The role in the DTLS handshake (`a=setup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// `active`: the client.
    Active,
    /// `passive`: the server.
    Passive,
    /// `actpass`: either of them.
    ActPass,
    /// `holdconn`: neither of them for now.
    HoldConn,
}

impl Setup {
    /// The role of the other side.
    pub fn reversed(self) -> Self {
        match self {
            Self::Active => Self::Passive,
            Self::Passive => Self::Active,
            other => other,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
            Self::HoldConn => "holdconn",
        }
    }
}

/// Hash of a certificate fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// `sha-256`.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
}

impl HashAlgorithm {
    /// Length of a digest, bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }
}

/// Fingerprint of a DTLS certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint {
    /// The hash algorithm.
    pub algorithm: HashAlgorithm,
    /// The digest, as long as the algorithm says.
    pub digest: Vec<u8>,
}

/// An ICE candidate (RFC 8839, section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Name of a group of candidates of one kind and base.
    pub foundation: String,
    /// Component: 1 for RTP (and RTCP, multiplexed).
    pub component: u16,
    /// Protocol: `udp` or `tcp`, lower case.
    pub transport: String,
    /// Priority; higher is better.
    pub priority: u32,
    /// IP address, or an mDNS name.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Type: `host`, `srflx`, `prflx` or `relay`.
    pub kind: String,
    /// `active`, `passive` or `so` of a TCP candidate (RFC 6544, section 4.5).
    pub tcp_type: Option<String>,
}

/// A payload type with its `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Codec {
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// Encoding name as written, for example `VP8`.
    pub name: String,
    /// Clock rate, Hz.
    pub clock_rate: u32,
    /// Number of channels; 1 when absent.
    pub channels: u8,
    /// `a=fmtp` parameters, empty when absent.
    pub fmtp: String,
    /// `a=rtcp-fb`.
    pub feedback: Feedback,
}

/// The feedback messages of a codec (RFC 4585, RFC 5104).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Feedback {
    /// `transport-cc`: arrival times.
    pub transport_cc: bool,
    /// `goog-remb`: a receiver's estimate of its bandwidth.
    pub remb: bool,
    /// `ccm fir`: full intra request.
    pub fir: bool,
    /// `nack`: lost packets.
    pub nack: bool,
    /// `nack pli`: lost picture.
    pub pli: bool,
    /// Hash of the messages that we do not know, so that a change of them is seen.
    pub other: u64,
}

impl Feedback {
    fn flag(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "transport-cc" => &mut self.transport_cc,
            "goog-remb" => &mut self.remb,
            "ccm fir" => &mut self.fir,
            "nack" => &mut self.nack,
            "nack pli" => &mut self.pli,
            _ => return None,
        })
    }

    pub(super) fn add(&mut self, name: &str) {
        match self.flag(name) {
            Some(flag) => *flag = true,
            None => self.other = self.other.rotate_left(5) ^ FxBuildHasher.hash_one(name),
        }
    }

    pub(super) fn and(self, more: Self) -> Self {
        Self {
            transport_cc: self.transport_cc || more.transport_cc,
            remb: self.remb || more.remb,
            fir: self.fir || more.fir,
            nack: self.nack || more.nack,
            pli: self.pli || more.pli,
            other: self.other ^ more.other,
        }
    }
}

impl Codec {
    /// Value of an fmtp parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.fmtp, name)
    }

    /// Whether this feedback message is listed.
    pub fn has_feedback(&self, feedback: &str) -> bool {
        let mut known = self.feedback;
        known.flag(feedback).is_some_and(|listed| *listed)
    }
}

/// Value of a parameter of an `a=fmtp` line.
pub(crate) fn parameter<'f>(fmtp: &'f str, name: &str) -> Option<&'f str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then_some(value.trim())
    })
}

/// A header extension (RFC 8285).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtMap {
    /// Local identifier.
    pub id: u16,
    /// Direction, when it differs from the section's.
    pub direction: Option<Direction>,
    /// URI.
    pub uri: String,
}

/// `a=msid` (RFC 8830).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Msid {
    /// Stream, `-` for none.
    pub stream: String,
    /// Track, absent in some clients' descriptions.
    pub track: Option<String>,
}

/// A declared SSRC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssrc {
    /// The SSRC.
    pub ssrc: u32,
    /// `cname` (RFC 5576).
    pub cname: Option<String>,
}

/// `a=rid` (RFC 8851).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rid {
    /// The stream's name, at most 16 letters, digits, `-`, `_`: it travels in an RTP header extension.
    pub id: String,
    /// The describing side sends the stream; otherwise it receives it.
    pub send: bool,
}

/// `a=simulcast` (RFC 8853), only the first alternative of each stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Simulcast {
    /// Streams that the describing side sends.
    pub send: Vec<SimulcastStream>,
    /// Streams that the describing side receives.
    pub receive: Vec<SimulcastStream>,
}

/// One stream of `a=simulcast`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulcastStream {
    /// Rid.
    pub rid: String,
    /// Written `~rid`: paused at first.
    pub paused: bool,
}

/// A fault of a description, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpError {
    /// Line of the fault, counted from 1; 0 for the whole description.
    pub line: usize,
    /// The fault. Never contains the line's text: it may hold addresses or credentials.
    pub problem: SdpProblem,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "SDP: {}", self.problem),
            line => write!(f, "SDP line {line}: {}", self.problem),
        }
    }
}

impl std::error::Error for SdpError {}

/// A fault of a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpProblem {
    /// The description is longer than [`MAX_SDP_BYTES`].
    #[error("longer than {MAX_SDP_BYTES} bytes")]
    TooLong,
    /// A line other than an attribute has more than 4096 bytes.
    #[error("line too long")]
    LineTooLong,
    /// The description has more than [`MAX_SECTIONS`].
    #[error("more than {MAX_SECTIONS} sections")]
    TooManySections,
    /// One section has too many of this.
    #[error("too many {0} lines in one section")]
    TooMany(&'static str),
    /// The text does not begin with `v=0`, or a line is not `x=…`.
    #[error("not an SDP line")]
    NotSdp,
    /// This line or attribute is malformed.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// This attribute appears twice with different values.
    #[error("{0} given twice")]
    Repeated(&'static str),
}
