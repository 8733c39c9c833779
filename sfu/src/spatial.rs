//! The spatial layers within one stream: how many there are, which of them come, and the bit rate of each.
//!
//! The layers have the names of the layers of a simulcast, counted from the top: the highest layer of a stream is the
//! whole picture, however many there are below.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use crate::{bwe::Bitrate, layers::Picture, rate_meter::RateMeter, rtp::RtpTime};

/// Number of layers that have a name: see [`crate::api::SpatialLayer`].
const NAMES: usize = 3;

/// A layer was switched off by its sender when none of this many pictures had it, and [`LAYER_TIMEOUT`] has passed.
const MISSED_PICTURES: u64 = 12;

/// A layer is not taken for switched off within this time: an encoder short of bits drops frames of its top layer
/// first.
const LAYER_TIMEOUT: Duration = Duration::from_millis(600);

/// The spatial layers of one stream, by name.
#[derive(Debug)]
pub struct SpatialLayers {
    /// Number of layers as the stream says it: more than one for SVC.
    count: u8,
    /// Bit `n`: the layer with name `n` is received, as far as is known.
    alive: u8,
    /// Bit `n`: the layer fell silent although the stream says that it is sent. Only its own frames bring it back.
    silent: u8,
    /// The last packet of each layer: number of its picture, and arrival.
    seen: [(u64, Option<Instant>); NAMES],
    /// Number of pictures so far. `newest`: timestamp of the newest.
    pictures: u64,
    newest: Option<RtpTime>,
    /// Timestamp of the last key picture.
    key: Option<RtpTime>,
    /// Bit rate for a receiver of each layer, with the layers below that it needs.
    rates: [RateMeter; NAMES],
    /// `count` and `alive` as of the last choice of layers.
    settled: (u8, u8),
}

impl Default for SpatialLayers {
    fn default() -> Self {
        Self {
            count: 1,
            alive: u8::MAX,
            silent: 0,
            seen: Default::default(),
            pictures: 0,
            newest: None,
            key: None,
            rates: Default::default(),
            settled: (1, u8::MAX),
        }
    }
}

impl SpatialLayers {
    /// Number of layers.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// Names of the layers; of a stream that is one layer itself, the highest name.
    pub fn names(&self) -> Range<usize> {
        NAMES - usize::from(self.count).clamp(1, NAMES)..NAMES
    }

    /// Takes the stream's own description: it has `count` layers, and those in `active` (bit `s`: layer `s`) come for
    /// now.
    pub fn describe(&mut self, count: u8, active: u8) {
        if count != self.count {
            *self = Self {
                count,
                settled: self.settled,
                pictures: self.pictures,
                newest: self.newest,
                ..Self::default()
            };
        }
        let named = self.names().fold(0, |all, name| {
            all | (active >> self.within(name) & 1) << name
        });
        self.alive = named & !self.silent;
    }

    /// Takes note of a packet of `len` bytes.
    pub fn received(&mut self, picture: Option<&Picture>, time: RtpTime, len: usize, now: Instant) {
        let whole = Picture::default();
        let picture = picture.unwrap_or(&whole);
        if self.newest.is_none_or(|newest| time.is_newer_than(newest)) {
            self.newest = Some(time);
            self.pictures += 1;
        }
        if picture.starts_key_frame {
            self.key = Some(time);
        }
        for name in self.names() {
            let spatial = self.within(name);
            if !picture.is_for(spatial) {
                continue;
            }
            self.rates[name].add(len, now);
            // Below a layer that was switched off, key pictures come as if that layer were there.
            let is_own = picture.spatial == spatial;
            if is_own || self.key != Some(time) {
                self.seen[name] = (self.pictures, Some(now));
            }
            if is_own {
                self.silent &= !(1 << name);
                self.alive |= 1 << name;
            }
        }
    }

    /// Finds layers that fell silent.
    pub fn expire(&mut self, now: Instant) {
        for name in self.names() {
            let (picture, at) = self.seen[name];
            let is_late = at.is_none_or(|at| now >= at + LAYER_TIMEOUT);
            let comes = self.alive >> name & 1 != 0;
            if comes && is_late && self.pictures - picture >= MISSED_PICTURES {
                self.alive &= !(1 << name);
                self.silent |= 1 << name;
            }
        }
    }

    /// Whether another choice of layers is due: there are others, or others of them come.
    pub fn has_changed(&self) -> bool {
        self.settled != (self.count, self.alive)
    }

    /// The choice of layers is made. True when their number changed.
    pub fn settle(&mut self) -> bool {
        let before = std::mem::replace(&mut self.settled, (self.count, self.alive));
        before.0 != self.count
    }

    /// The layer for a subscriber that wants the one with this name: the best that comes and is not above it, else the
    /// lowest that comes.
    pub fn choose(&self, wanted: u8) -> u8 {
        let comes = |name: &usize| self.alive >> name & 1 != 0;
        let names = self.names();
        let limit = usize::from(wanted).clamp(names.start, names.end - 1);
        let best = (names.start..=limit).rev().find(comes);
        let best = best.or_else(|| (limit..names.end).find(comes));
        self.within(best.unwrap_or(limit))
    }

    /// Bit rate for a receiver of the layer with this name; `None` where the layer does not come.
    pub fn bitrate(&self, name: usize, now: Instant) -> Option<Bitrate> {
        let comes = self.names().contains(&name) && self.alive >> name & 1 != 0;
        comes.then(|| self.rates[name].bitrate(now))
    }

    /// Bit rate for a receiver of layer `spatial` within the stream.
    pub fn bitrate_within(&self, spatial: u8, now: Instant) -> Bitrate {
        let mut names = self.names();
        let name = names.find(|name| self.within(*name) >= spatial);
        self.rates[name.unwrap_or(NAMES - 1)].bitrate(now)
    }

    /// The number within the stream of the layer with this name.
    fn within(&self, name: usize) -> u8 {
        (name as u8 + self.count.max(1)).saturating_sub(NAMES as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame of a layer in a picture where layers above do without it, or not.
    fn frame(spatial: u8, is_reference: bool) -> Picture {
        Picture {
            spatial,
            needless: if is_reference {
                0
            } else {
                0x7F << (spatial + 1) & 0x7F
            },
            starts_frame: true,
            ends_frame: true,
            ..Picture::default()
        }
    }

    /// Sends pictures with these layers, 33 ms apart, the first a key picture; ends at a time.
    struct Stream {
        layers: SpatialLayers,
        now: Instant,
        time: u32,
    }

    impl Stream {
        fn new() -> Self {
            let mut layers = SpatialLayers::default();
            layers.describe(3, 0b111);
            Self {
                layers,
                now: Instant::now(),
                time: 0,
            }
        }

        fn picture(&mut self, spatial: Range<u8>, is_key: bool) {
            self.now += Duration::from_millis(33);
            self.time += 2970;
            for layer in spatial.clone() {
                let mut frame = frame(layer, is_key);
                frame.starts_key_frame = is_key && layer == spatial.start;
                let len = 100 << (2 * layer);
                self.layers
                    .received(Some(&frame), RtpTime(self.time), len, self.now);
            }
            self.layers.expire(self.now);
        }

        fn choices(&self) -> [u8; 3] {
            [0, 1, 2].map(|wanted| self.layers.choose(wanted))
        }
    }

    #[test]
    fn who_has_a_layer_pays_for_what_reaches_him() {
        let mut stream = Stream::new();
        stream.picture(0..3, true);
        (0..300).for_each(|_| stream.picture(0..3, false));
        let rates = [0, 1, 2].map(|name| stream.layers.bitrate(name, stream.now).unwrap());
        // 136, 436 and 1636 bytes a picture of which each has one, 30 times a second.
        for (rate, expected) in rates.into_iter().zip([33_000, 105_700, 396_600]) {
            assert!(rate.abs_diff(expected) < expected / 20, "{rates:?}");
        }
        assert_eq!(stream.layers.bitrate_within(1, stream.now), rates[1]);
    }

    #[test]
    fn a_layer_that_is_switched_off_is_not_chosen_until_it_comes_again() {
        let mut stream = Stream::new();
        stream.picture(0..3, true);
        assert_eq!(stream.choices(), [0, 1, 2]);
        (0..15).for_each(|_| stream.picture(0..2, false));
        assert_eq!(stream.choices(), [0, 1, 2], "a busy encoder drops frames");
        (0..10).for_each(|_| stream.picture(0..2, false));
        assert_eq!(stream.choices(), [0, 1, 1]);
        assert_eq!(stream.layers.bitrate(2, stream.now), None);
        // A key picture below it says nothing of it, nor does a structure that still has it.
        stream.layers.describe(3, 0b111);
        stream.picture(0..2, true);
        assert_eq!(stream.choices(), [0, 1, 1]);
        stream.picture(0..3, true);
        assert_eq!(stream.choices(), [0, 1, 2]);
        // Of those that are left, the lowest is better than nothing.
        (0..40).for_each(|_| stream.picture(2..3, false));
        assert_eq!(stream.choices(), [2, 2, 2]);
    }

    #[test]
    fn what_the_stream_says_of_its_layers_counts_at_once() {
        let mut stream = Stream::new();
        stream.picture(0..3, true);
        stream.layers.describe(3, 0b011);
        assert_eq!(stream.choices(), [0, 1, 1]);
        stream.layers.describe(3, 0b111);
        assert_eq!(stream.choices(), [0, 1, 2]);
        stream.layers.describe(2, 0b11);
        assert_eq!(stream.choices(), [0, 0, 1]);
        stream.layers.describe(1, 0);
        assert_eq!(
            stream.choices(),
            [0, 0, 0],
            "of one layer there is no choice"
        );
        // As many as the field can say: the highest three have names.
        stream.layers.describe(8, 0xFF);
        assert_eq!(stream.choices(), [5, 6, 7]);
    }

    #[test]
    fn where_layers_build_on_each_other_the_highest_is_what_is_left_of_it() {
        let mut stream = Stream::new();
        for _ in 0..40 {
            stream.now += Duration::from_millis(33);
            stream.time += 2970;
            for layer in 0..2 {
                let frame = frame(layer, true);
                stream
                    .layers
                    .received(Some(&frame), RtpTime(stream.time), 100, stream.now);
            }
            stream.layers.expire(stream.now);
            assert_eq!(stream.layers.choose(2), 2);
        }
        assert_eq!(stream.choices(), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn whatever_comes_a_choice_is_within_the_stream(
            steps in proptest::collection::vec((0u8..12, any::<u8>(), any::<u8>(), any::<bool>(), 0u32..4000, 0u64..900), 0..200),
        ) {
            let (mut layers, mut now, mut time) = (SpatialLayers::default(), Instant::now(), 0u32);
            for (count, active, spatial, key, ticks, ms) in steps {
                now += Duration::from_millis(ms);
                time = time.wrapping_add(ticks);
                if count < 9 {
                    layers.describe(count, active);
                }
                let picture = Picture { spatial, needless: active, starts_key_frame: key, ..Picture::default() };
                layers.received(Some(&picture), RtpTime(time), 1000, now);
                layers.expire(now);
                for wanted in 0..4 {
                    prop_assert!(layers.choose(wanted) < layers.count().max(1));
                }
                layers.bitrate_within(spatial, now);
                (0..3).for_each(|name| { layers.bitrate(name, now); });
            }
        }
    }
}
