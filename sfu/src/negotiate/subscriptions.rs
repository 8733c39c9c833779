//! The tracks that a client wants to receive, in order of arrival, and found by track.

use std::collections::BTreeMap;

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
    by_place: BTreeMap<u64, Subscription>,
    places: FxHashMap<TrackSid, u64>,
    next: u64,
}

impl Subscriptions {
    pub(super) fn get(&self, track: TrackSid) -> Option<&Subscription> {
        self.by_place.get(self.places.get(&track)?)
    }

    pub(super) fn get_mut(&mut self, track: TrackSid) -> Option<&mut Subscription> {
        self.by_place.get_mut(self.places.get(&track)?)
    }

    /// Adds a subscription. A second one to the same track is ignored.
    pub(super) fn add(&mut self, send: SendTrack) {
        let next = self.next;
        if *self.places.entry(send.track).or_insert(next) == next {
            self.next += 1;
            let subscription = Subscription {
                send,
                codec: None,
                unsupported: false,
                told: None,
            };
            self.by_place.insert(next, subscription);
        }
    }

    pub(super) fn remove(&mut self, track: TrackSid) {
        if let Some(place) = self.places.remove(&track) {
            self.by_place.remove(&place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_place.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.by_place.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.by_place.values_mut()
    }
}
