//! The sections of a description, and the tracks they carry.

use protocol::TrackSid;

use super::{
    codecs::{Extensions, RED},
    types::{CodecParameters, DeclaredSsrc, RidLayer},
};
use crate::{
    api::{AudioFeatures, MediaKind, TrackCodec},
    sdp::Direction,
};

/// One `m=` section, as of the last answer.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) mid: String,
    /// Audio or video; `None` for data channels and for media that we do not know.
    pub(super) kind: Option<MediaKind>,
    pub(super) role: Role,
    /// Direction in the last offer.
    pub(super) offered: Direction,
    /// Track part of the msid in the last offer.
    pub(super) offered_track: Option<String>,
    pub(super) codecs: Vec<CodecParameters>,
    /// Hash of all codec lines of the last offer, also of codecs we do not know.
    pub(super) offered_codecs: u64,
    pub(super) extensions: Extensions,
    pub(super) layers: Vec<RidLayer>,
    pub(super) ssrcs: Vec<DeclaredSsrc>,
    /// The client sends here, in codecs that we do not know.
    pub(super) lacks_codec: bool,
    /// Opus wishes in the last answer.
    pub(super) answered_audio: AudioFeatures,
    /// The last answer allowed one codec only.
    pub(super) answered_alone: bool,
    /// Number of the answer that first had the section; 0 for the first answer and for sections of ours.
    pub(super) since: u64,
    /// Number of the answer that last took a track of ours out of the section.
    pub(super) ended: u64,
}

/// The use of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing, with port 0. May come back as anything.
    Rejected,
    /// Data channels.
    Data,
    /// Nothing.
    Free,
    /// A track that the client sends.
    Receiving(Binding),
    /// A track that the client still offers, though it was unpublished.
    Retired,
    /// A track that we offered to send; the answer has not come.
    Offered(TrackSid),
    /// A track that we send.
    Sending(TrackSid),
    /// A track that we sent until now; inactive in the next answer, free after it. Clients fire no event for a track
    /// that follows another one in a section without a pause.
    Draining,
    /// Nothing is sent in it according to our offer; free once that is answered.
    Pausing,
}

/// The track that a section of the client carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// Unknown: `add_track` has not come yet.
    Unknown,
    /// The track that has the section's msid among its cids.
    Named(TrackSid),
    /// The first waiting track of this kind: no track had the msid.
    Guessed(TrackSid),
}

impl Role {
    pub(super) fn published(self) -> Option<TrackSid> {
        match self {
            Self::Receiving(Binding::Named(track) | Binding::Guessed(track)) => Some(track),
            _ => None,
        }
    }

    /// The track that we send, or will send once the client agrees.
    pub(super) fn sent(self) -> Option<TrackSid> {
        match self {
            Self::Offered(track) | Self::Sending(track) => Some(track),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
/// A published track.
pub(super) struct Published {
    pub(super) sid: TrackSid,
    pub(super) kind: MediaKind,
    pub(super) cids: Vec<String>,
    pub(super) audio: AudioFeatures,
    pub(super) mime_type: String,
    /// The track was bound before: it only comes back by name.
    pub(super) was_bound: bool,
    /// The codec of the track since it was bound: mime type and `fmtp`.
    pub(super) codec: Option<(&'static str, String)>,
    /// The publisher sent another codec than this: the answer allows no other any more.
    pub(super) alone: bool,
}

impl Published {
    pub(super) fn is_named(&self, section: &Section) -> bool {
        let named = |track: &String| self.cids.iter().any(|cid| cid == track);
        section.kind == Some(self.kind) && section.offered_track.as_ref().is_some_and(named)
    }
}

impl Section {
    /// The first of these codecs that this section takes, and its parameters here.
    pub(super) fn best_codec<'c>(
        &self,
        codecs: &'c [TrackCodec],
    ) -> Option<(&'c TrackCodec, &CodecParameters)> {
        let mut takes = codecs
            .iter()
            .filter_map(|wanted| Some((wanted, self.codec_for(wanted)?)));
        takes.next()
    }

    /// The parameters with which this section takes a codec best.
    pub(super) fn codec_for(&self, wanted: &TrackCodec) -> Option<&CodecParameters> {
        // RED is a wrapping: the codec within decides.
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

    /// The codecs that the client may send here, the wanted one first, with RED around it where the track wants that.
    /// All codecs of its offer that we know, for some clients take a first description for all that will come; a
    /// publisher that changes its codec in mid-stream is answered one codec.
    pub(super) fn receivable(&self, published: Option<&Published>) -> Vec<&CodecParameters> {
        let red = published.is_some_and(|published| published.audio.red);
        let alone = published.is_some_and(|published| published.alone);
        let wanted = self.plain_codec(published);
        let plain = self.codecs.iter().filter(|codec| codec.mime_type != RED);
        let others = plain.filter(|codec| !alone && Some(*codec) != wanted);
        let wrapping = self
            .codecs
            .iter()
            .find(|codec| red && codec.mime_type == RED);
        wrapping.into_iter().chain(wanted).chain(others).collect()
    }

    /// The codec that a track is to be encoded with here: the one since it was bound, else the one that the client
    /// announced, where it offers that, else the first.
    pub(super) fn plain_codec(&self, published: Option<&Published>) -> Option<&CodecParameters> {
        let announced = |codec: &&CodecParameters| {
            published
                .is_some_and(|published| codec.mime_type.eq_ignore_ascii_case(&published.mime_type))
        };
        let mut plain = self.codecs.iter().filter(|codec| codec.mime_type != RED);
        let bound = published.and_then(|published| self.bound_codec(published));
        bound
            .or_else(|| plain.clone().find(announced))
            .or_else(|| plain.next())
    }

    /// The codec with which the track was bound, if the client still offers it.
    pub(super) fn bound_codec(&self, published: &Published) -> Option<&CodecParameters> {
        let (mime_type, fmtp) = published.codec.as_ref()?;
        let same = |codec: &&CodecParameters| codec.fitness(mime_type, fmtp) == Some(0);
        self.codecs.iter().find(same)
    }

    /// Whether a subscription of this kind may use the section, in the next answer.
    pub(super) fn is_free(&self, kind: MediaKind) -> bool {
        self.kind == Some(kind) && self.role == Role::Free && self.offered.receives()
    }
}
