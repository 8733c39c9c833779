//! The data tracks that a participant publishes and receives.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use protocol::{DataTrackSid, livekit::DataTrackInfo};
use sfu::DataTrackHandle as Handle;

/// The data tracks that a participant publishes and receives.
#[derive(Debug, Default)]
pub(crate) struct DataTracks {
    /// The participant receives tracks for which it has expressed no wish.
    pub auto_subscribe: bool,
    /// Published tracks, in the order of publication.
    pub published: Vec<DataTrack>,
    pub subscriptions: DataSubscriptions,
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

/// The data tracks that a participant receives, or wants to, or wants not to.
#[derive(Debug, Default)]
pub(crate) struct DataSubscriptions {
    all: BTreeMap<DataTrackSid, DataSubscription>,
    /// Number of those that the shard was told to send.
    active: usize,
    /// The handles in use.
    handles: BTreeSet<u16>,
    /// The last handle that was given out.
    last_handle: u16,
}

/// A participant's wish for one data track, and what came of it.
#[derive(Debug, Default)]
struct DataSubscription {
    /// The wish; `None`: whatever [`DataTracks::auto_subscribe`] says.
    wish: Option<bool>,
    /// The handle in the packets to the participant, once it got any: the same until the track ends.
    handle: Option<Handle>,
    /// The shard was told to send the track.
    active: bool,
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
        let known = self.subscriptions.all.get(&track);
        let wish = known.and_then(|known| known.wish);
        wish.unwrap_or(self.auto_subscribe)
    }

    /// Whether others have heard of a track that the participant publishes.
    pub fn is_announced(&self, track: DataTrackSid) -> bool {
        let mut published = self.published.iter();
        published.any(|known| known.sid == track && known.announced)
    }
}

impl DataSubscriptions {
    /// The participant wants to receive a track, or wants not to.
    pub fn wish(&mut self, track: DataTrackSid, wish: bool) {
        self.all.entry(track).or_default().wish = Some(wish);
    }

    /// Number of data tracks that the shard sends to the participant.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Whether the shard sends the track to the participant.
    pub fn is_active(&self, track: DataTrackSid) -> bool {
        self.all.get(&track).is_some_and(|known| known.active)
    }

    /// The tracks that the shard sends, with their handles.
    pub fn handles(&self) -> impl Iterator<Item = (&DataTrackSid, Handle)> {
        let active = self.all.iter().filter(|(_, known)| known.active);
        active.filter_map(|(track, known)| Some((track, known.handle?)))
    }

    /// The shard is told to send a track that it does not send. Returns the handle, a new one where the subscription has
    /// none. `None`: there is none left.
    pub fn begin(&mut self, track: DataTrackSid) -> Option<Handle> {
        let known = self.all.get(&track).and_then(|known| known.handle);
        let handle = known.or_else(|| self.free_handle())?;
        self.handles.insert(handle.get());
        let subscription = self.all.entry(track).or_default();
        (subscription.handle, subscription.active) = (Some(handle), true);
        self.active += 1;
        Some(handle)
    }

    /// The shard is told to send the track no longer. Its handle stays.
    pub fn end(&mut self, track: DataTrackSid) {
        let known = self.all.get_mut(&track);
        if known.is_some_and(|known| std::mem::take(&mut known.active)) {
            self.active -= 1;
        }
    }

    /// Forgets a track that is gone. True: the shard sent it.
    pub fn remove(&mut self, track: DataTrackSid) -> bool {
        let Some(known) = self.all.remove(&track) else {
            return false;
        };
        if let Some(handle) = known.handle {
            self.handles.remove(&handle.get());
        }
        self.active -= usize::from(known.active);
        known.active
    }

    /// A handle that is not in use. Each is used once before one is used again: packets of the former track may still be
    /// under way.
    fn free_handle(&mut self) -> Option<Handle> {
        let next = (1..=u16::MAX).map(|step| self.last_handle.wrapping_add(step));
        let handle = next
            .filter_map(Handle::new)
            .find(|handle| !self.handles.contains(&handle.get()))?;
        self.last_handle = handle.get();
        Some(handle)
    }
}
