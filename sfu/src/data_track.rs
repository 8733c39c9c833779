//! Data tracks of one room: who publishes them, who gets them, and under which handles.
//!
//! A packet of the channel `_data_track` names its track by a handle of 16 bits. Publishers choose theirs; a subscriber
//! gets its own for each track it receives. Of the header (12 bytes, big endian: version and flags, a reserved byte,
//! the handle, sequence and frame number, timestamp) only version and handle are read; what follows, encrypted or not,
//! is opaque.

use std::{hash::Hash, num::NonZeroU16};

use protocol::DataTrackSid;
use rustc_hash::FxHashMap;

/// The name of a data track in packets of one sender, or to one receiver. 0 is reserved.
pub type Handle = NonZeroU16;

/// Bytes of a header without extensions.
const HEADER: usize = 12;

/// The version that we know, in the three highest bits of the first byte.
const VERSION: u8 = 0;

/// The handle in a packet. `None`: the bytes are no packet, or one of another version.
pub fn handle(packet: &[u8]) -> Option<Handle> {
    let header = packet.first_chunk::<HEADER>()?;
    if header[0] >> 5 != VERSION {
        return None;
    }
    Handle::new(u16::from_be_bytes([header[2], header[3]]))
}

/// Writes another handle into a packet. A packet that is too short to have one is left alone.
pub fn set_handle(packet: &mut [u8], handle: Handle) {
    if let Some(field) = packet.get_mut(2..4) {
        field.copy_from_slice(&handle.get().to_be_bytes());
    }
}

/// The data tracks of one room; `K` is a member of it.
#[derive(Debug)]
pub struct DataTracks<K> {
    /// The tracks, by publisher and the handle in its packets.
    tracks: FxHashMap<(K, Handle), DataTrack<K>>,
    published: FxHashMap<DataTrackSid, (K, Handle)>,
}

#[derive(Debug)]
struct DataTrack<K> {
    sid: DataTrackSid,
    /// The subscribers, each with the handle in the packets to it.
    subscribers: Vec<(K, Handle)>,
}

impl<K> Default for DataTracks<K> {
    fn default() -> Self {
        Self {
            tracks: FxHashMap::default(),
            published: FxHashMap::default(),
        }
    }
}

impl<K: Copy + Eq + Hash> DataTracks<K> {
    /// Adds a track, unless its sid or handle is taken.
    pub fn publish(&mut self, sid: DataTrackSid, publisher: K, handle: Handle) {
        let key = (publisher, handle);
        if self.published.contains_key(&sid) || self.tracks.contains_key(&key) {
            return;
        }
        self.published.insert(sid, key);
        let subscribers = Vec::new();
        self.tracks.insert(key, DataTrack { sid, subscribers });
    }

    /// Removes a track of this publisher.
    pub fn unpublish(&mut self, sid: DataTrackSid, publisher: K) {
        let Some(key) = self.published.get(&sid).copied() else {
            return;
        };
        if key.0 == publisher {
            self.published.remove(&sid);
            self.tracks.remove(&key);
        }
    }

    /// A member receives a track from now on, under this handle.
    pub fn subscribe(&mut self, sid: DataTrackSid, subscriber: K, handle: Handle) {
        self.unsubscribe(sid, subscriber);
        if let Some(track) = self.track_mut(sid) {
            track.subscribers.push((subscriber, handle));
        }
    }

    /// A member receives a track no longer.
    pub fn unsubscribe(&mut self, sid: DataTrackSid, subscriber: K) {
        if let Some(track) = self.track_mut(sid) {
            track.subscribers.retain(|(other, _)| *other != subscriber);
        }
    }

    /// The subscribers of the publisher's track with this handle, and the handles in the packets to them. `None`: the
    /// publisher has no such track.
    pub fn subscribers(&self, publisher: K, handle: Handle) -> Option<&[(K, Handle)]> {
        let track = self.tracks.get(&(publisher, handle))?;
        Some(&track.subscribers)
    }

    /// Removes a member, with what it published and what it received.
    pub fn remove(&mut self, member: K) {
        self.published.retain(|_, (other, _)| *other != member);
        self.tracks.retain(|(other, _), track| {
            track.subscribers.retain(|(other, _)| *other != member);
            *other != member
        });
        debug_assert_eq!(self.published.len(), self.tracks.len());
    }

    fn track_mut(&mut self, sid: DataTrackSid) -> Option<&mut DataTrack<K>> {
        let key = self.published.get(&sid)?;
        let track = self.tracks.get_mut(key)?;
        debug_assert_eq!(track.sid, sid);
        Some(track)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    fn number(handle: u16) -> Handle {
        Handle::new(handle).unwrap()
    }

    fn sids<const N: usize>() -> [DataTrackSid; N] {
        let mut rng = StdRng::from_seed([9; 32]);
        [(); N].map(|()| DataTrackSid::random(&mut rng))
    }

    #[test]
    fn of_a_packet_only_the_handle_is_read_and_changed() {
        let packet = [
            0x18, 0, 0x01, 0x02, 0, 7, 0, 8, 1, 2, 3, 4, b'x', b'y', b'z',
        ];
        assert_eq!(handle(&packet), Some(number(0x0102)));
        let mut changed = packet;
        set_handle(&mut changed, number(0xfffe));
        assert_eq!(handle(&changed), Some(number(0xfffe)));
        let mut expected = packet;
        expected[2..4].fill(0xff);
        expected[3] = 0xfe;
        assert_eq!(changed, expected);
    }

    #[test]
    fn what_is_no_packet_has_no_handle() {
        let packet = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(handle(&packet), Some(number(1)));
        assert_eq!(handle(&packet[..11]), None, "too short");
        let of_tomorrow = [&[0x20], &packet[1..]].concat();
        assert_eq!(handle(&of_tomorrow), None, "another version");
        assert_eq!(handle(&[0; 12]), None, "a reserved handle");
        set_handle(&mut [0; 3], number(1));
    }

    #[test]
    fn a_track_goes_to_its_subscribers_under_their_handles() {
        let ([first, second], mut tracks) = (sids(), DataTracks::default());
        tracks.publish(first, 'a', number(1));
        tracks.publish(second, 'b', number(1));
        tracks.subscribe(first, 'b', number(5));
        tracks.subscribe(first, 'c', number(6));
        tracks.subscribe(second, 'c', number(7));
        // Once more, under another handle.
        tracks.subscribe(first, 'b', number(8));
        let of = |tracks: &DataTracks<char>, publisher, handle| {
            let subscribers = tracks.subscribers(publisher, number(handle));
            subscribers.map(<[_]>::to_vec)
        };
        assert_eq!(
            of(&tracks, 'a', 1),
            Some(vec![('c', number(6)), ('b', number(8))])
        );
        assert_eq!(of(&tracks, 'b', 1), Some(vec![('c', number(7))]));
        assert_eq!(of(&tracks, 'a', 2), None);
        assert_eq!(of(&tracks, 'c', 1), None, "another's handle");
        tracks.unsubscribe(first, 'c');
        tracks.unpublish(second, 'a');
        assert_eq!(of(&tracks, 'a', 1), Some(vec![('b', number(8))]));
        assert!(of(&tracks, 'b', 1).is_some(), "not a's to end");
        tracks.remove('b');
        assert_eq!(
            (of(&tracks, 'a', 1), of(&tracks, 'b', 1)),
            (Some(vec![]), None)
        );
        tracks.unpublish(first, 'a');
        assert!(tracks.tracks.is_empty() && tracks.published.is_empty());
    }

    #[test]
    fn a_handle_or_sid_that_is_taken_stays_what_it_was() {
        let ([first, second], mut tracks) = (sids(), DataTracks::default());
        tracks.publish(first, 'a', number(1));
        tracks.subscribe(first, 'b', number(2));
        tracks.publish(second, 'a', number(1));
        tracks.publish(first, 'c', number(1));
        assert_eq!(tracks.subscribers('a', number(1)).unwrap().len(), 1);
        assert_eq!(tracks.subscribers('c', number(1)), None);
        assert_eq!((tracks.tracks.len(), tracks.published.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn whatever_bytes_come_nothing_else_changes(mut bytes in proptest::collection::vec(any::<u8>(), 0..40), to in 1u16..) {
            let before = bytes.clone();
            if handle(&bytes).is_some() {
                set_handle(&mut bytes, number(to));
                prop_assert_eq!(handle(&bytes), Some(number(to)));
                prop_assert_eq!((&bytes[..2], &bytes[4..]), (&before[..2], &before[4..]));
            }
        }
    }
}
