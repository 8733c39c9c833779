//! The members of one room on one shard.

use protocol::{ParticipantIdentity, RoomSid};

use crate::{
    backlog::Broadcasts,
    data_track::DataTracks,
    keys::{MemberKey, UpTrackKey},
    loudest::Loudest,
    replay::ReplayBuffer,
    slow_readers::SlowReaders,
    speakers::Speakers,
};

/// The members of one room, and the state that they share.
pub struct Router {
    /// The room's sid.
    pub sid: RoomSid,
    /// Members, in order of arrival.
    pub members: Vec<MemberKey>,
    /// The person behind each member.
    pub principals: Vec<(MemberKey, ParticipantIdentity)>,
    /// The active speakers.
    pub speakers: Speakers<MemberKey>,
    /// Reliable data packets of the last seconds.
    pub replay: ReplayBuffer,
    /// The senders that wait for slow readers of those packets.
    pub slow_readers: SlowReaders,
    /// Data packets that have not gone to all their receivers yet.
    pub broadcasts: Broadcasts,
    /// Data tracks and their subscribers.
    pub data_tracks: DataTracks<MemberKey>,
    /// The voices that are forwarded.
    pub loudest: Loudest<UpTrackKey, MemberKey>,
}

impl Router {
    /// An empty room in which `audio_top_n` voices are forwarded; 0: all.
    pub fn new(sid: RoomSid, audio_top_n: usize) -> Self {
        Self {
            sid,
            members: Vec::new(),
            principals: Vec::new(),
            speakers: Speakers::new(),
            replay: ReplayBuffer::default(),
            slow_readers: SlowReaders::default(),
            broadcasts: Broadcasts::default(),
            data_tracks: DataTracks::default(),
            loudest: Loudest::new(audio_top_n),
        }
    }
}
