//! What a participant publishes and receives of data tracks.

use std::{collections::BTreeMap, time::Instant};

use protocol::{DataTrackSid, livekit::DataTrackInfo};
use sfu::DataTrackHandle as Handle;

/// What a participant publishes and receives of data tracks.
#[derive(Debug, Default)]
pub(crate) struct DataTracks {
    /// It receives what it has said nothing about.
    pub auto_subscribe: bool,
    /// In the order of publication.
    pub published: Vec<DataTrack>,
    pub subscriptions: BTreeMap<DataTrackSid, DataSubscription>,
    /// The last handle that was given out for a subscription.
    pub last_handle: u16,
    /// It hears what its handles mean not before.
    pub handles_at: Option<Instant>,
}

/// A published data track.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DataTrack {
    pub sid: DataTrackSid,
    /// In the publisher's packets; also in `info`.
    pub handle: Handle,
    pub info: DataTrackInfo,
    /// Others have heard of it.
    pub announced: bool,
}

impl DataTrack {
    /// As it is in another room: under another sid, and the same handle.
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

/// What a participant wants of one data track, and has.
#[derive(Debug, Default)]
pub(crate) struct DataSubscription {
    /// What it asked for; `None`: whatever [`DataTracks::auto_subscribe`] says.
    pub wish: Option<bool>,
    /// In the packets it gets, once it got any: the same until the track ends.
    pub handle: Option<Handle>,
    /// The shard was told to send it.
    pub active: bool,
}

impl DataTracks {
    /// Nothing yet.
    pub fn new(auto_subscribe: bool) -> Self {
        Self {
            auto_subscribe,
            ..Self::default()
        }
    }

    pub fn wants(&self, track: DataTrackSid) -> bool {
        let wish = self
            .subscriptions
            .get(&track)
            .and_then(|wanted| wanted.wish);
        wish.unwrap_or(self.auto_subscribe)
    }

    pub fn is_announced(&self, track: DataTrackSid) -> bool {
        let mut published = self.published.iter();
        published.any(|known| known.sid == track && known.announced)
    }

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
        // Each is used once before one is used again: packets of the former track may still be under way.
        let next = (1..=u16::MAX).map(|step| self.last_handle.wrapping_add(step));
        let handle = next
            .filter_map(Handle::new)
            .find(|handle| !taken(*handle))?;
        self.last_handle = handle.get();
        Some(handle)
    }
}
