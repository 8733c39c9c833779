//! Which codecs, header extensions and simulcast layers are negotiated: tables, and the functions that read them.

use super::{CodecParameters, ExtensionIds, RidLayer};
use crate::{
    AudioFeatures, MediaKind, SpatialLayer,
    sdp::{Codec, Direction, ExtMap, MediaDescription, MediaType, Rid, Simulcast, SimulcastStream},
};

/// One row of the table of enabled codecs. To enable a codec, add a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnabledCodec {
    /// Audio or video.
    pub kind: MediaKind,
    /// As LiveKit writes it, for example `video/VP8`; the part after the slash is the encoding name.
    pub mime_type: &'static str,
    /// Hz.
    pub clock_rate: u32,
    /// Channels.
    pub channels: u8,
    /// fmtp parameters that tell variants apart, with the value an absent one has: `("profile-id", "0")` for VP9.
    /// An offered variant matches when all values are among ours; several rows may name one mime type.
    pub variant: &'static [(&'static str, &'static str, &'static str)],
    /// What the answer's fmtp says.
    pub fmtp: Fmtp,
}

/// How the fmtp line of an answer comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fmtp {
    /// None.
    Absent,
    /// That of the offer, for codecs whose parameters describe the stream.
    Echo,
    /// Opus (RFC 7587), with what the track's [`AudioFeatures`] ask for.
    Opus,
}

/// Opus and VP8, with retransmissions for video.
pub const OPUS_AND_VP8: &[EnabledCodec] = &[
    EnabledCodec {
        kind: MediaKind::Audio,
        mime_type: "audio/opus",
        clock_rate: 48_000,
        channels: 2,
        variant: &[],
        fmtp: Fmtp::Opus,
    },
    EnabledCodec {
        kind: MediaKind::Video,
        mime_type: "video/VP8",
        clock_rate: 90_000,
        channels: 1,
        variant: &[],
        fmtp: Fmtp::Absent,
    },
];

impl EnabledCodec {
    fn matches(&self, kind: MediaKind, codec: &Codec) -> bool {
        let name = self
            .mime_type
            .split_once('/')
            .map_or(self.mime_type, |(_, name)| name);
        self.kind == kind
            && codec.name.eq_ignore_ascii_case(name)
            && codec.clock_rate == self.clock_rate
            && codec.channels == self.channels
            && self.variant.iter().all(|(parameter, absent, ours)| {
                codec
                    .parameter(parameter)
                    .unwrap_or(absent)
                    .eq_ignore_ascii_case(ours)
            })
    }
}

/// The offered codecs that are enabled, in the offer's order, with what the offer allows for each; of several payload
/// types for one codec, the first.
pub(super) fn common_codecs(
    enabled: &[EnabledCodec],
    kind: MediaKind,
    offered: &[Codec],
) -> Vec<CodecParameters> {
    let mut common: Vec<CodecParameters> = Vec::new();
    let mut used = vec![false; enabled.len()];
    for codec in offered {
        let mut rows = enabled.iter().zip(&mut used);
        let Some((row, used)) = rows.find(|(row, used)| !**used && row.matches(kind, codec)) else {
            continue;
        };
        *used = true;
        let fmtp = match row.fmtp {
            Fmtp::Absent => String::new(),
            Fmtp::Echo => codec.fmtp.clone(),
            Fmtp::Opus => opus_fmtp(AudioFeatures::default()),
        };
        common.push(CodecParameters {
            payload_type: codec.payload_type,
            mime_type: row.mime_type,
            clock_rate: row.clock_rate,
            channels: row.channels,
            fmtp,
            rtx_payload_type: rtx_of(offered, codec.payload_type),
            // No client offers NACK for Opus, and all heed it in an answer; without it a lost word stays lost.
            nack: codec.has_feedback("nack") || row.fmtp == Fmtp::Opus,
            pli: codec.has_feedback("nack pli"),
            fir: codec.has_feedback("ccm fir"),
            transport_cc: codec.has_feedback("transport-cc"),
            remb: codec.has_feedback("goog-remb") && !codec.has_feedback("transport-cc"),
        });
    }
    common
}

/// The payload type that retransmits `primary` (RFC 4588), at the same clock rate.
fn rtx_of(offered: &[Codec], primary: u8) -> Option<u8> {
    let is_rtx = |codec: &&Codec| {
        codec.name.eq_ignore_ascii_case("rtx")
            && codec.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(primary)
            && codec.payload_type != primary
    };
    offered.iter().find(is_rtx).map(|codec| codec.payload_type)
}

/// fmtp of Opus where we receive: these are wishes to the sender.
pub(super) fn opus_fmtp(features: AudioFeatures) -> String {
    let mut fmtp = String::from("minptime=10;useinbandfec=1");
    if features.dtx {
        fmtp.push_str(";usedtx=1");
    }
    if features.stereo {
        // 510 kb/s is the top of Opus: a stereo track is music, the sender's own limit decides.
        fmtp.push_str(";stereo=1;maxaveragebitrate=510000");
    }
    fmtp
}

/// `a=rtpmap` and what belongs to it, for the answer.
pub(super) fn describe(codec: &CodecParameters) -> Vec<Codec> {
    let (_, name) = codec
        .mime_type
        .split_once('/')
        .unwrap_or(("", codec.mime_type));
    let feedback = [
        (codec.transport_cc, "transport-cc"),
        (codec.remb, "goog-remb"),
        (codec.fir, "ccm fir"),
        (codec.nack, "nack"),
        (codec.pli, "nack pli"),
    ];
    let mut lines = vec![Codec {
        payload_type: codec.payload_type,
        name: name.to_owned(),
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        fmtp: codec.fmtp.clone(),
        feedback: feedback
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| (*name).to_owned())
            .collect(),
    }];
    if let Some(rtx) = codec.rtx_payload_type {
        lines.push(Codec {
            payload_type: rtx,
            name: "rtx".to_owned(),
            clock_rate: codec.clock_rate,
            channels: 1,
            fmtp: format!("apt={}", codec.payload_type),
            feedback: Vec::new(),
        });
    }
    lines
}

/// The header extensions we know: URI, and in which kind of section.
const EXTENSIONS: &[(&str, Extension, &[MediaKind])] = {
    use MediaKind::{Audio, Video};
    &[
        (
            "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Mid,
            &[Audio, Video],
        ),
        (
            "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::Rid,
            &[Video],
        ),
        (
            "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Extension::RepairedRid,
            &[Video],
        ),
        (
            "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Extension::TransportCc,
            &[Audio, Video],
        ),
        (
            "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::AbsSendTime,
            &[Video],
        ),
        (
            "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::AudioLevel,
            &[Audio],
        ),
        (
            "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
            Extension::DependencyDescriptor,
            &[Video],
        ),
    ]
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    Mid,
    Rid,
    RepairedRid,
    TransportCc,
    AbsSendTime,
    AudioLevel,
    DependencyDescriptor,
}

impl ExtensionIds {
    fn slot(&mut self, extension: Extension) -> &mut Option<u8> {
        match extension {
            Extension::Mid => &mut self.mid,
            Extension::Rid => &mut self.rid,
            Extension::RepairedRid => &mut self.repaired_rid,
            Extension::TransportCc => &mut self.transport_cc,
            Extension::AbsSendTime => &mut self.abs_send_time,
            Extension::AudioLevel => &mut self.audio_level,
            Extension::DependencyDescriptor => &mut self.dependency_descriptor,
        }
    }

    /// Ids in a fixed order.
    pub(super) fn all(&self) -> [Option<u8>; 7] {
        [
            self.mid,
            self.rid,
            self.repaired_rid,
            self.transport_cc,
            self.abs_send_time,
            self.audio_level,
            self.dependency_descriptor,
        ]
    }
}

/// Extensions of an answered section: for its lines, for packets the client sends, for packets we send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// The answer's.
    pub(super) lines: Vec<ExtMap>,
    /// What packets of the client may carry.
    pub(super) received: ExtensionIds,
    /// What our packets may carry.
    pub(super) sent: ExtensionIds,
}

/// Ids beyond 14 need two-byte headers, which no client uses when there is room below.
const MAX_EXTENSION_ID: u16 = 14;

/// Accepts what we know, whatever the section is used for: libwebrtc publishes simulcast later only when the first
/// sections were answered with MID, RID and repaired RID.
pub(super) fn common_extensions(kind: MediaKind, offered: &[ExtMap]) -> Extensions {
    let mut common = Extensions::default();
    for offer in offered {
        let Some((_, extension, kinds)) = EXTENSIONS.iter().find(|(uri, ..)| *uri == offer.uri)
        else {
            continue;
        };
        let direction = offer.direction.unwrap_or(Direction::SendRecv);
        let known = common
            .lines
            .iter()
            .any(|line| line.id == offer.id || line.uri == offer.uri);
        let valid = (1..=MAX_EXTENSION_ID).contains(&offer.id);
        if !kinds.contains(&kind) || known || !valid || direction == Direction::Inactive {
            continue;
        }
        common.lines.push(ExtMap {
            id: offer.id,
            direction: offer.direction.map(Direction::reversed),
            uri: offer.uri.clone(),
        });
        let id = u8::try_from(offer.id).ok();
        if direction.sends() {
            *common.received.slot(*extension) = id;
        }
        if direction.receives() {
            *common.sent.slot(*extension) = id;
        }
    }
    common
}

/// The rids the client sends, in the offer's order, with their layers; at most three.
///
/// Paused ones (`~`) count: dynacast pauses and resumes without asking again.
pub(super) fn offered_layers(rids: &[Rid], simulcast: &Simulcast) -> Vec<RidLayer> {
    let sent = |rid: &str| rids.iter().any(|known| known.send && known.id == rid);
    let mut names: Vec<&str> = simulcast
        .send
        .iter()
        .map(|stream| stream.rid.as_str())
        .filter(|rid| sent(rid))
        .collect();
    if simulcast.send.is_empty() {
        names = rids
            .iter()
            .filter(|rid| rid.send)
            .map(|rid| rid.id.as_str())
            .collect();
    }
    names.truncate(3);
    let by_name = |rid: &str| match rid {
        "q" => Some(SpatialLayer::Low),
        "h" => Some(SpatialLayer::Medium),
        "f" => Some(SpatialLayer::High),
        _ => None,
    };
    let by_order = [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High];
    let all_known = names.iter().all(|rid| by_name(rid).is_some());
    let single = names.len() == 1;
    names
        .into_iter()
        .zip(by_order)
        .map(|(rid, position)| {
            let layer = match by_name(rid) {
                _ if single => SpatialLayer::High,
                Some(named) if all_known => named,
                _ => position,
            };
            RidLayer {
                rid: rid.to_owned(),
                layer,
            }
        })
        .collect()
}

/// Accepts the layers in the answer.
pub(super) fn answer_layers(
    answer: &mut MediaDescription,
    layers: &[RidLayer],
    offered: &Simulcast,
) {
    answer.rids = layers
        .iter()
        .map(|layer| Rid {
            id: layer.rid.clone(),
            send: false,
        })
        .collect();
    if !offered.send.is_empty() {
        let accept = |layer: &RidLayer| SimulcastStream {
            rid: layer.rid.clone(),
            paused: false,
        };
        answer.simulcast.receive = layers.iter().map(accept).collect();
    }
}

/// Audio or video, if it is one of them.
pub(super) fn media_kind(kind: &MediaType) -> Option<MediaKind> {
    match kind {
        MediaType::Audio => Some(MediaKind::Audio),
        MediaType::Video => Some(MediaKind::Video),
        MediaType::Application | MediaType::Other(_) => None,
    }
}
