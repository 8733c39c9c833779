//! The codecs, header extensions and simulcast layers that are negotiated: tables, and the functions that read them.

use super::{
    h264::{self, Profile},
    types::{CodecParameters, ExtensionIds, RidLayer, SendTrack},
};
use crate::{
    api::{AudioFeatures, MediaKind, SpatialLayer, TrackCodec},
    sdp::{
        Codec, Direction, ExtMap, Feedback, MediaDescription, MediaType, Rid, Simulcast,
        SimulcastStream, parameter,
    },
};

/// One row of the table of enabled codecs. To enable a codec, add a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnabledCodec {
    /// Audio or video.
    pub kind: MediaKind,
    /// Mime type as LiveKit writes it, for example `video/VP8`; the part after the slash is the encoding name.
    pub mime_type: &'static str,
    /// Clock rate, Hz.
    pub clock_rate: u32,
    /// Number of channels.
    pub channels: u8,
    /// fmtp parameters that tell variants apart, with the value an absent one has: `("profile-id", "0")` for VP9. An
    /// offered variant matches when all its values mean the same as ours. Several rows may have one mime type.
    pub variant: &'static [(&'static str, &'static str, &'static str)],
    /// The fmtp line of the answer.
    pub fmtp: Fmtp,
}

/// The way in which the fmtp line of an answer is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fmtp {
    /// Only the parameters of the variant: others of the offer are limits of the client's own decoder.
    Variant,
    /// The fmtp line of the offer, for codecs whose parameters describe the stream.
    Echo,
    /// Opus (RFC 7587), with what the track's [`AudioFeatures`] ask for.
    Opus,
}

/// Codecs of all browsers and native SDKs, with retransmissions for video.
pub const ENABLED_CODECS: &[EnabledCodec] = {
    // Profiles of H.264: constrained baseline, baseline, main, constrained high, high; each stands for all spellings of
    // it.
    &[
        audio("audio/opus", Fmtp::Opus),
        audio(RED, Fmtp::Echo),
        video("video/VP8", &[], Fmtp::Variant),
        video("video/VP9", &[("profile-id", "0", "0")], Fmtp::Variant),
        video("video/VP9", &[("profile-id", "0", "2")], Fmtp::Variant),
        video("video/H264", &h264("42e01f", "1"), Fmtp::Echo),
        video("video/H264", &h264("42e01f", "0"), Fmtp::Echo),
        video("video/H264", &h264("42001f", "1"), Fmtp::Echo),
        video("video/H264", &h264("42001f", "0"), Fmtp::Echo),
        video("video/H264", &h264("4d001f", "1"), Fmtp::Echo),
        video("video/H264", &h264("4d001f", "0"), Fmtp::Echo),
        video("video/H264", &h264("640c1f", "1"), Fmtp::Echo),
        video("video/H264", &h264("640c1f", "0"), Fmtp::Echo),
        video("video/H264", &h264("64001f", "1"), Fmtp::Echo),
        video("video/H264", &h264("64001f", "0"), Fmtp::Echo),
        video("video/AV1", &[("profile", "0", "0")], Fmtp::Echo),
    ]
};

/// Mime type of redundant audio (RFC 2198).
pub(crate) const RED: &str = "audio/red";

/// Parameters of a codec that tell variants apart: name, value of an absent one, value here.
type Variant = [(&'static str, &'static str, &'static str)];

const fn audio(mime_type: &'static str, fmtp: Fmtp) -> EnabledCodec {
    EnabledCodec {
        kind: MediaKind::Audio,
        mime_type,
        clock_rate: 48_000,
        channels: 2,
        variant: &[],
        fmtp,
    }
}

const fn video(mime_type: &'static str, variant: &'static Variant, fmtp: Fmtp) -> EnabledCodec {
    EnabledCodec {
        kind: MediaKind::Video,
        mime_type,
        clock_rate: 90_000,
        channels: 1,
        variant,
        fmtp,
    }
}

/// A variant of H.264. Without profile-level-id a stream is baseline, without packetization-mode it is single NAL (RFC
/// 6184, section 8.1). The level is that of our offers.
const fn h264(
    profile: &'static str,
    mode: &'static str,
) -> [(&'static str, &'static str, &'static str); 2] {
    [
        (
            h264::PROFILE_LEVEL_ID,
            h264::DEFAULT_PROFILE_LEVEL_ID,
            profile,
        ),
        ("packetization-mode", "0", mode),
    ]
}

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
                let offered = codec.parameter(parameter).unwrap_or(absent);
                match *parameter {
                    h264::PROFILE_LEVEL_ID => {
                        let profile = Profile::of(offered);
                        profile.is_some() && profile == Profile::of(ours)
                    }
                    _ => offered == *ours,
                }
            })
    }
}

impl CodecParameters {
    /// The fitness of a receiver with this codec for a stream that was negotiated as `mime_type` with `fmtp`: 0 is
    /// best, `None` not at all.
    pub(crate) fn fitness(&self, mime_type: &str, fmtp: &str) -> Option<u8> {
        if !self.mime_type.eq_ignore_ascii_case(mime_type) {
            return None;
        }
        match self.mime_type {
            "video/VP9" => {
                let profile = |fmtp| parameter(fmtp, "profile-id").unwrap_or("0");
                (profile(&self.fmtp) == profile(fmtp)).then_some(0)
            }
            "video/H264" => h264::fitness(&self.fmtp, fmtp),
            _ => Some(0),
        }
    }
}

/// The offered codecs that are enabled, in the offer's order, with what the offer allows for each; of several payload
/// types for one codec, the first. `has_feedback`: the section's profile has it.
pub(super) fn common_codecs(
    enabled: &[EnabledCodec],
    kind: MediaKind,
    offered: &[Codec],
    has_feedback: bool,
) -> Vec<CodecParameters> {
    let mut common: Vec<CodecParameters> = Vec::new();
    let mut used = vec![false; enabled.len()];
    for codec in offered {
        let mut rows = enabled.iter().zip(&mut used);
        let Some((row, used)) = rows.find(|(row, used)| !**used && row.matches(kind, codec)) else {
            continue;
        };
        // RED names the payload types of what it wraps (RFC 2198, section 5).
        if row.mime_type == RED && !wraps_one_of(codec, &common) {
            continue;
        }
        *used = true;
        let fmtp = match row.fmtp {
            Fmtp::Variant => variant_fmtp(row, codec),
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
            nack: codec.has_feedback("nack") || (has_feedback && row.fmtp == Fmtp::Opus),
            pli: codec.has_feedback("nack pli"),
            fir: codec.has_feedback("ccm fir"),
            transport_cc: codec.has_feedback("transport-cc"),
            remb: codec.has_feedback("goog-remb") && !codec.has_feedback("transport-cc"),
        });
    }
    common
}

/// The fmtp line of an answer from the parameters of the offer that tell variants apart.
fn variant_fmtp(row: &EnabledCodec, codec: &Codec) -> String {
    let pairs = row.variant.iter().filter_map(|(name, ..)| {
        let value = codec.parameter(name)?;
        Some(format!("{name}={value}"))
    });
    pairs.collect::<Vec<_>>().join(";")
}

/// Whether RED wraps a codec that is among those found before it, and nothing else.
fn wraps_one_of(red: &Codec, found: &[CodecParameters]) -> bool {
    let is_found = |number: &str| {
        found
            .iter()
            .any(|codec| number.trim().parse() == Ok(codec.payload_type))
    };
    !red.fmtp.is_empty() && red.fmtp.split('/').all(is_found)
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

/// Payload type of Opus in our offers: the one most publishers have, which RED of theirs names.
const OPUS: u8 = 111;
/// Payload type of Opus in stereo in our offers. Another number, since a payload type means the same in the whole
/// bundle (RFC 9143, section 9.1).
const OPUS_STEREO: u8 = 110;
/// Payload type of RED around [`OPUS`] in our offers.
const OPUS_RED: u8 = 63;

/// The codecs of a section that we offer for this track, best first; none for a codec that is not enabled. The codecs
/// of other tracks follow, for clients that take the first description for all that will come. Numbers and parameters
/// are the same in all offers: those of decoders are wide enough for every stream of the codec.
pub(super) fn offered_codecs(enabled: &[EnabledCodec], send: &SendTrack) -> Vec<CodecParameters> {
    if send.kind == MediaKind::Audio {
        return send.codecs.iter().flat_map(offered_audio).collect();
    }
    let rows = enabled.iter().filter(|row| row.kind == MediaKind::Video);
    let codecs = rows.enumerate().filter_map(|(index, row)| {
        let payload_type = video_payload_type(index)?;
        Some(CodecParameters {
            rtx_payload_type: send.rtx_ssrc.map(|_| payload_type + 1),
            pli: true,
            fir: true,
            ..offered(row.mime_type, payload_type, offered_fmtp(row), 90_000, 1)
        })
    });
    // Sorted by the first codec of the track that this one takes, and by how well it takes it.
    let rank = |codec: &CodecParameters| {
        let wanted = send.codecs.iter().enumerate();
        let mut fits = wanted.filter_map(|(index, wanted)| {
            Some((index, codec.fitness(&wanted.mime_type, &wanted.fmtp)?))
        });
        fits.next().unwrap_or((usize::MAX, u8::MAX))
    };
    let mut codecs: Vec<_> = codecs.collect();
    codecs.sort_by_key(rank);
    match codecs.first().map(rank) {
        Some((usize::MAX, _)) | None => Vec::new(),
        Some(_) => codecs,
    }
}

fn offered_audio(wanted: &TrackCodec) -> Vec<CodecParameters> {
    let opus = |payload_type, fmtp: String| offered("audio/opus", payload_type, fmtp, 48_000, 2);
    let plain = opus_fmtp(AudioFeatures::default());
    let wraps_opus = wanted.fmtp == format!("{OPUS}/{OPUS}");
    match wanted.mime_type.as_str() {
        // Opus with another payload type than [`OPUS`] is sent without RED.
        RED if wraps_opus => {
            let red = CodecParameters {
                nack: false,
                ..offered(RED, OPUS_RED, wanted.fmtp.clone(), 48_000, 2)
            };
            vec![red, opus(OPUS, plain)]
        }
        "audio/opus" if parameter(&wanted.fmtp, "stereo") == Some("1") => {
            vec![opus(OPUS_STEREO, format!("{plain};sprop-stereo=1"))]
        }
        "audio/opus" | RED => vec![opus(OPUS, plain)],
        _ => Vec::new(),
    }
}

/// Payload type of the n-th video codec of the table; its retransmissions have the next number. The numbers are dynamic
/// ones (RFC 3551, section 6) without those of Opus.
fn video_payload_type(index: usize) -> Option<u8> {
    let first = match index {
        0..=6 => 96,
        7..=14 => 98,
        _ => {
            debug_assert!(
                false,
                "the table has more video codecs than there are numbers"
            );
            return None;
        }
    };
    Some(first + 2 * u8::try_from(index).ok()?)
}

fn offered(
    mime_type: &'static str,
    payload_type: u8,
    fmtp: String,
    clock_rate: u32,
    channels: u8,
) -> CodecParameters {
    CodecParameters {
        payload_type,
        mime_type,
        clock_rate,
        channels,
        fmtp,
        rtx_payload_type: None,
        nack: true,
        pli: false,
        fir: false,
        transport_cc: true,
        remb: false,
    }
}

/// The fmtp line of an offer: what a decoder must be able to do for any stream of this variant.
fn offered_fmtp(row: &EnabledCodec) -> String {
    // H.264 has level 3.1, which nobody takes for a limit where levels may be asymmetric (RFC 6184, section 8.2.2).
    let pairs = row
        .variant
        .iter()
        .map(|(name, _, value)| format!("{name}={value}"));
    let asymmetry = (row.mime_type == "video/H264").then(|| "level-asymmetry-allowed=1".to_owned());
    asymmetry
        .into_iter()
        .chain(pairs)
        .collect::<Vec<_>>()
        .join(";")
}

/// The codecs of our offer that the client takes, in our order.
pub(super) fn accepted_codecs(
    ours: &[CodecParameters],
    answered: &[Codec],
) -> Vec<CodecParameters> {
    let accepted = ours.iter().filter_map(|codec| {
        let name = codec.mime_type.split_once('/').map_or("", |(_, name)| name);
        let answer = answered.iter().find(|answer| {
            answer.payload_type == codec.payload_type && answer.name.eq_ignore_ascii_case(name)
        })?;
        let rtx = rtx_of(answered, codec.payload_type);
        Some(CodecParameters {
            rtx_payload_type: codec.rtx_payload_type.filter(|ours| rtx == Some(*ours)),
            nack: codec.nack && answer.has_feedback("nack"),
            pli: codec.pli && answer.has_feedback("nack pli"),
            fir: codec.fir && answer.has_feedback("ccm fir"),
            transport_cc: codec.transport_cc && answer.has_feedback("transport-cc"),
            ..codec.clone()
        })
    });
    accepted.collect()
}

/// The fmtp line of Opus where we receive: wishes to the sender.
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
    let mut lines = vec![Codec {
        payload_type: codec.payload_type,
        name: name.to_owned(),
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        fmtp: codec.fmtp.clone(),
        feedback: Feedback {
            transport_cc: codec.transport_cc,
            remb: codec.remb,
            fir: codec.fir,
            nack: codec.nack,
            pli: codec.pli,
            other: 0,
        },
    }];
    if let Some(rtx) = codec.rtx_payload_type {
        lines.push(Codec {
            payload_type: rtx,
            name: "rtx".to_owned(),
            clock_rate: codec.clock_rate,
            channels: 1,
            fmtp: format!("apt={}", codec.payload_type),
            feedback: Feedback::default(),
        });
    }
    lines
}

/// The header extensions that we know: URI, field, and kinds of section.
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

/// A header extension that we know.
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

    /// The ids, in a fixed order.
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

/// Extensions of an answered section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// The extension lines of the answer.
    pub(super) lines: Vec<ExtMap>,
    /// Ids that packets of the client may carry.
    pub(super) received: ExtensionIds,
    /// Ids that our packets may carry.
    pub(super) sent: ExtensionIds,
}

/// The highest id that is accepted. Ids beyond 14 need two-byte headers, which no client uses when there is room below.
const MAX_EXTENSION_ID: u16 = 14;

/// Accepts every extension that we know, whatever the section is used for: libwebrtc publishes simulcast later only
/// when the first sections were answered with MID, RID and repaired RID.
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

/// The extensions of sections that we offer: those that our packets carry, with our own ids.
pub(super) fn offered_extensions(kind: MediaKind) -> Extensions {
    let carried = EXTENSIONS
        .iter()
        .zip(1..)
        .filter(|((_, extension, kinds), _)| {
            kinds.contains(&kind)
                && matches!(
                    extension,
                    Extension::Mid | Extension::TransportCc | Extension::DependencyDescriptor
                )
        });
    let mut extensions = Extensions::default();
    for ((uri, extension, _), id) in carried {
        extensions.lines.push(ExtMap {
            id: id.into(),
            direction: None,
            uri: (*uri).to_owned(),
        });
        *extensions.sent.slot(*extension) = Some(id);
    }
    extensions
}

/// The extensions of our offer that the client takes.
pub(super) fn accepted_extensions(kind: MediaKind, answered: &[ExtMap]) -> Extensions {
    let mut extensions = offered_extensions(kind);
    let is_answered = |line: &ExtMap| {
        let same = |answer: &&ExtMap| answer.id == line.id && answer.uri == line.uri;
        answered.iter().any(|answer| same(&answer))
    };
    for (uri, extension, _) in EXTENSIONS {
        let line = extensions.lines.iter().find(|line| line.uri == *uri);
        if line.is_some_and(|line| !is_answered(line)) {
            *extensions.sent.slot(*extension) = None;
        }
    }
    extensions
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
