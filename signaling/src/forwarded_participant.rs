//! A participant as another room is told of it.

use protocol::{
    ParticipantSid,
    livekit::{ClientInfo, TrackInfo},
    token::Grant,
};

use crate::{audience::Audience, data_tracks::DataTrack};

/// A participant and what it publishes, as another room is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardedParticipant {
    /// Its sid there.
    pub(crate) sid: ParticipantSid,
    pub(crate) grant: Grant,
    pub(crate) client: ClientInfo,
    pub(crate) quality: sfu::Quality,
    pub(crate) audience: Audience,
    pub(crate) tracks: Vec<ForwardedTrack>,
    pub(crate) data: Vec<DataTrack>,
}

/// One of its tracks. All sids are those of the other room.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForwardedTrack {
    pub info: TrackInfo,
    pub media: sfu::PublishedTrack,
    pub codec: sfu::TrackCodec,
}
