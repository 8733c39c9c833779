//! A participant as its room describes it to another room.

use protocol::{
    ParticipantSid,
    livekit::{ClientInfo, TrackInfo},
    token::Grant,
};

use crate::{audience::Audience, data_tracks::DataTrack};

/// A participant and what it publishes, as its room describes it to another room.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardedParticipant {
    /// The participant's sid in the other room.
    pub(crate) sid: ParticipantSid,
    pub(crate) grant: Grant,
    pub(crate) client: ClientInfo,
    pub(crate) quality: sfu::Quality,
    pub(crate) audience: Audience,
    pub(crate) tracks: Vec<ForwardedTrack>,
    pub(crate) data: Vec<DataTrack>,
}

/// A track of a forwarded participant. All sids are those of the other room.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForwardedTrack {
    pub info: TrackInfo,
    pub media: sfu::PublishedTrack,
    pub codec: sfu::TrackCodec,
}
