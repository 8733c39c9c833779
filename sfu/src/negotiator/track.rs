//! A published track, as far as it is negotiated.

use std::collections::BTreeMap;

use protocol::{ParticipantSid, TrackSid};

use crate::api::{PublishedTrack, TrackCodec, TrackSetting};

/// A published track.
pub(super) struct Track {
    pub publisher: ParticipantSid,
    pub announced: PublishedTrack,
    /// What it is encoded with, once that is known.
    pub codec: Option<TrackCodec>,
    /// The same picture in another codec.
    pub backup: Option<TrackSid>,
    /// Everybody gets the backup who can decode it.
    pub regressed: bool,
    /// Who subscribes to it, and what they want of it; of a backup, nobody.
    pub subscribers: BTreeMap<ParticipantSid, TrackSetting>,
}

impl Track {
    /// Nobody subscribes to it, and its codec is not known.
    pub fn new(publisher: ParticipantSid, announced: PublishedTrack) -> Self {
        Self {
            publisher,
            announced,
            codec: None,
            backup: None,
            regressed: false,
            subscribers: BTreeMap::new(),
        }
    }
}
