//! The data tracks that a participant publishes and receives.

use std::{collections::BTreeMap, time::Instant};

use protocol::{DataTrackSid, livekit::DataTrackInfo};
use sfu::DataTrackHandle as Handle;

/// The data tracks that a participant publishes and receives.
#[derive(Debug, Default)]
pub(crate) struct DataTracks {
    /// The participant receives tracks for which it has expressed no wish.
    pub auto_subscribe: bool,
    /// Published tracks, in the order of publication.
    pub published: Vec<DataTrack>,
    pub subscriptions: BTreeMap<DataTrackSid, DataSubscription>,
    /// The last handle that was given out for a subscription.
    pub last_handle: u16,
    /// The participant hears the meaning of its handles not before this time.
    pub handles_at: Option<Instant>,
}

/// A published data track.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DataTrack {
    pub sid: DataTrackSid,
    /// The handle in the publisher's packets; also in `info`.
    pub handle: Handle,
    pub info: DataTrackInfo,
    /// Others have heard of the track.
    pub announced: bool,
}

impl DataTrack {
    /// The track as it is in another room: under another sid, and the same handle.
    pub fn elsewhere(&self, sid: DataTrackSid) -> Self {
        let mut info = self.info.clone();
        info.sid = sid.to_string();
        Self {
            sid,
            info,
            announced: false,
            ..*self
        }
    }
}

/// A participant's wish for one data track, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct DataSubscription {
    /// The wish; `None`: whatever [`DataTracks::auto_subscribe`] says.
    pub wish: Option<bool>,
    /// The handle in the packets to the participant, once it got any: the same until the track ends.
    pub handle: Option<Handle>,
    /// The shard was told to send the track.
    pub active: bool,
}

impl DataTracks {
    /// No data tracks yet.
    pub fn new(auto_subscribe: bool) -> Self {
        Self {
            auto_subscribe,
            ..Self::default()
        }
    }

    /// Whether the participant wants to receive the track.
    pub fn wants(&self, track: DataTrackSid) -> bool {
        let wish = self
            .subscriptions
            .get(&track)
            .and_then(|wanted| wanted.wish);
        wish.unwrap_or(self.auto_subscribe)
    }

    /// Whether others have heard of a track that the participant publishes.
    pub fn is_announced(&self, track: DataTrackSid) -> bool {
        let mut published = self.published.iter();
        published.any(|known| known.sid == track && known.announced)
    }

    /// Number of data tracks that the shard sends to the participant.
    pub fn active(&self) -> usize {
        let subscriptions = self.subscriptions.values();
        subscriptions
            .filter(|subscription| subscription.active)
            .count()
    }

    /// The handle of a subscription, a new one where it has none. `None`: there is none left.
    pub fn handle_for(&mut self, track: DataTrackSid) -> Option<Handle> {
        if let Some(known) = self
            .subscriptions
            .get(&track)
            .and_then(|known| known.handle)
        {
            return Some(known);
        }
        let taken = |handle: Handle| {
            let mut subscriptions = self.subscriptions.values();
            subscriptions.any(|subscription| subscription.handle == Some(handle))
        };
        // Each handle is used once before one is used again: packets of the former track may still be under way.
        let next = (1..=u16::MAX).map(|step| self.last_handle.wrapping_add(step));
        let handle = next
            .filter_map(Handle::new)
            .find(|handle| !taken(*handle))?;
        self.last_handle = handle.get();
        Some(handle)
    }
}
