//! The tracks that a client wants to receive, in order of arrival, and found by track.

use protocol::TrackSid;
use rustc_hash::FxHashMap;

use super::{section::Section, types::SendTrack};
use crate::api::{SubscriptionFailure, TrackCodec};

#[derive(Debug, Clone)]
/// A track that the client wants to receive.
pub(super) struct Subscription {
    pub(super) send: SendTrack,
    /// The codec in which the section carries the track, or did so last.
    pub(super) codec: Option<TrackCodec>,
    /// A free section was there, and did not have the codec.
    pub(super) unsupported: bool,
    /// The reason for having no section that the client was told.
    pub(super) told: Option<SubscriptionFailure>,
}

impl Subscription {
    /// The payload type with which the section carries the subscription's codec.
    pub(super) fn payload_type(&self, section: &Section) -> Option<u8> {
        let parameters = section.codec_for(self.codec.as_ref()?)?;
        Some(parameters.payload_type)
    }
}

#[derive(Debug, Clone, Default)]
/// The tracks that a client wants to receive.
pub(super) struct Subscriptions {
    list: Vec<Subscription>,
    index: FxHashMap<TrackSid, usize>,
}

impl Subscriptions {
    pub(super) fn get(&self, track: TrackSid) -> Option<&Subscription> {
        self.list.get(*self.index.get(&track)?)
    }

    pub(super) fn get_mut(&mut self, track: TrackSid) -> Option<&mut Subscription> {
        self.list.get_mut(*self.index.get(&track)?)
    }

    /// Adds a subscription. A second one to the same track is ignored.
    pub(super) fn add(&mut self, send: SendTrack) {
        let next = self.list.len();
        if *self.index.entry(send.track).or_insert(next) == next {
            self.list.push(Subscription {
                send,
                codec: None,
                unsupported: false,
                told: None,
            });
        }
    }

    pub(super) fn remove(&mut self, track: TrackSid) {
        let Some(at) = self.index.remove(&track) else {
            return;
        };
        self.list.remove(at);
        for (at, later) in self.list.iter().enumerate().skip(at) {
            self.index.insert(later.send.track, at);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn at(&self, position: usize) -> Option<&Subscription> {
        self.list.get(position)
    }

    pub(super) fn at_mut(&mut self, position: usize) -> Option<&mut Subscription> {
        self.list.get_mut(position)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.list.iter_mut()
    }
}
