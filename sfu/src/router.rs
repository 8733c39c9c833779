//! The members of one room on one shard.

use protocol::{ParticipantIdentity, RoomSid};

use crate::{
    data_track::DataTracks,
    keys::{PeerKey, UpTrackKey},
    loudest::Loudest,
    replay::ReplayBuffer,
    slow_readers::SlowReaders,
    speakers::Speakers,
};

/// A room's members, and who of them speaks.
pub struct Router {
    /// Its sid.
    pub sid: RoomSid,
    /// Members, in order of arrival.
    pub members: Vec<PeerKey>,
    /// Whose participant each of them is.
    pub principals: Vec<(PeerKey, ParticipantIdentity)>,
    /// Active speakers.
    pub speakers: Speakers<PeerKey>,
    /// Reliable data packets of the last seconds.
    pub replay: ReplayBuffer,
    /// Who waits for slow readers of them.
    pub slow_readers: SlowReaders,
    /// Data tracks, and who gets them.
    pub data_tracks: DataTracks<PeerKey>,
    /// Whose sound is forwarded.
    pub loudest: Loudest<UpTrackKey, PeerKey>,
}

impl Router {
    /// An empty room, of which so many voices are forwarded; 0: all.
    pub fn new(sid: RoomSid, audio_top_n: usize) -> Self {
        Self {
            sid,
            members: Vec::new(),
            principals: Vec::new(),
            speakers: Speakers::new(),
            replay: ReplayBuffer::default(),
            slow_readers: SlowReaders::default(),
            data_tracks: DataTracks::default(),
            loudest: Loudest::new(audio_top_n),
        }
    }
}
