//! A published track, as the negotiator knows it.

use std::collections::BTreeMap;

use protocol::{ParticipantSid, TrackSid};

use crate::api::{PublishedTrack, TrackCodec, TrackSetting};

/// A published track.
pub(super) struct Track {
    pub publisher: ParticipantSid,
    pub announced: PublishedTrack,
    /// The codec of the track, once it is known.
    pub codec: Option<TrackCodec>,
    /// The backup: the same picture in another codec.
    pub backup: Option<TrackSid>,
    /// The track is to be sent in one codec: every subscriber that can decode the backup gets it.
    pub regressed: bool,
    /// The subscribers and their wishes; a backup has none.
    pub subscribers: BTreeMap<ParticipantSid, TrackSetting>,
}

impl Track {
    /// A track without subscribers, of an unknown codec.
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
