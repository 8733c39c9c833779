//! Layers within one RTP stream: a packet's place among them ([`Picture`]), the layers that a subscriber shall have
//! ([`Target`]), and the decision packet by packet ([`LayerFilter`]).
//!
//! Layers of a simulcast are streams of their own: the fan-out chooses among those. Here are the spatial layers of an
//! SVC stream and the temporal layers of any stream.

use std::cmp::Ordering;

use crate::rtp::RtpTime;

/// Numbers in a payload or its descriptor that must stay continuous for a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureIds {
    /// Picture id of VP8 or VP9, 7 or 15 bits, as the field has.
    pub picture_id: Option<u16>,
    /// Running index of the frames of temporal layer 0.
    pub tl0_pic_idx: Option<u8>,
    /// Frame number of the Dependency Descriptor.
    pub frame_number: Option<u16>,
}

/// The frame that a video packet belongs to, as the packet says. A frame is one spatial layer of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Picture {
    /// The frame's numbers.
    pub ids: PictureIds,
    /// Spatial layer within the stream, 0 where there is only one.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// The packet is the first of the frame.
    pub starts_frame: bool,
    /// The packet is the last of the frame.
    pub ends_frame: bool,
    /// The packet is the first of a picture in which every layer can begin.
    pub starts_key_frame: bool,
    /// Bit `t`: with this frame a decoder may begin temporal layer `t`. For the frame's own layer it must have the
    /// layer below, for higher layers the frame's own.
    pub switch_up: u8,
    /// Bit `s`: a receiver of spatial layer `s` does not need this frame, although it is of a lower layer. Where
    /// nothing is known, higher layers build on it.
    pub needless: u8,
}

impl Picture {
    /// Whether a receiver of this spatial layer needs the frame.
    pub fn is_for(&self, spatial: u8) -> bool {
        self.spatial <= spatial && self.needless.checked_shr(spatial.into()).unwrap_or(0) & 1 == 0
    }
}

/// The highest layers of a track that a subscriber shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Highest spatial layer.
    pub spatial: u8,
    /// Highest temporal layer.
    pub temporal: u8,
}

impl Target {
    /// All layers: the fields of all formats have three bits.
    pub const ALL: Target = Target {
        spatial: 7,
        temporal: 7,
    };
}

/// The filter of one subscriber: it decides which packets of the subscriber's present stream go out.
///
/// Where higher spatial layers build on lower ones at each picture, the lower ones go too, and the target can fall at
/// any picture, without waiting for a key frame that only adds to a jam. Where they do so at key pictures only
/// (`L3T3_KEY`), or never (`S3T3`), the layer goes out alone, and another one begins with a key picture.
#[derive(Debug, Clone, Copy)]
pub struct LayerFilter {
    target: Target,
    current: Target,
    /// Timestamp of the picture under way; `None` before the first.
    time: Option<RtpTime>,
    /// The picture under way is a key picture, of which nothing went out yet.
    opens: bool,
    /// Bit `s`: all frames that are for spatial layer `s` went out since the key picture.
    whole: u8,
    /// Highest spatial layer that went out of the picture before, and of this one so far.
    top: u8,
    seen: u8,
}

impl Default for LayerFilter {
    fn default() -> Self {
        Self {
            target: Target::ALL,
            current: Target::ALL,
            time: None,
            opens: false,
            whole: u8::MAX,
            top: 0,
            seen: 0,
        }
    }
}

impl LayerFilter {
    /// Sets the target, which counts from the next legal switch point on. Of temporal layers: lower ones from the next
    /// picture, higher ones from where the stream allows it. Another spatial layer: from the next picture where every
    /// layer that it builds on went out, else from the next key picture.
    pub fn set_target(&mut self, target: Target) {
        self.target = Target {
            spatial: target.spatial.min(Target::ALL.spatial),
            temporal: target.temporal.min(Target::ALL.temporal),
        };
    }

    /// The layers that go out now.
    pub fn current(&self) -> Target {
        self.current
    }

    /// Whether the target cannot be reached without a key picture.
    pub fn awaits_key_frame(&self) -> bool {
        self.current.spatial != self.target.spatial && !self.is_whole(self.target.spatial)
    }

    /// Decides on a packet that came in order, of the picture with this timestamp. It may switch layers. Returns
    /// whether it goes out.
    pub fn next(&mut self, picture: &Picture, time: RtpTime) -> bool {
        if self.time != Some(time) {
            self.begin_picture(time);
        }
        if picture.starts_key_frame {
            self.current = self.target;
            self.whole = u8::MAX;
            self.opens = true;
        } else if picture.starts_frame {
            self.switch_up_temporally(picture);
        }
        let admitted = self.admits(picture);
        if admitted {
            self.seen = self.seen.max(picture.spatial);
        } else {
            self.leave_out(picture);
        }
        admitted
    }

    /// Decides on a packet that came late: it switches nothing. Returns whether it goes out.
    pub fn late(&mut self, picture: &Picture) -> bool {
        let admitted = self.admits(picture);
        if !admitted {
            self.leave_out(picture);
        }
        admitted
    }

    /// Whether a packet goes out with the present layers.
    pub fn admits(&self, picture: &Picture) -> bool {
        picture.is_for(self.current.spatial) && picture.temporal <= self.current.temporal
    }

    /// Whether a packet that goes out is the first of a key picture for this subscriber: a decoder can start here,
    /// although the picture itself began with layers that do not go out.
    pub fn take_opening(&mut self, picture: &Picture) -> bool {
        std::mem::take(&mut self.opens) && picture.starts_frame
    }

    /// Whether the packet is the last of the picture as the subscriber gets it.
    pub fn ends_picture(&self, picture: &Picture) -> bool {
        picture.ends_frame && picture.spatial == self.current.spatial
    }

    fn begin_picture(&mut self, time: RtpTime) {
        self.time = Some(time);
        self.opens = false;
        self.top = std::mem::take(&mut self.seen);
        if self.is_whole(self.target.spatial) {
            self.current.spatial = self.target.spatial;
        }
        self.current.temporal = self.current.temporal.min(self.target.temporal);
    }

    fn is_whole(&self, spatial: u8) -> bool {
        self.whole >> spatial.min(Target::ALL.spatial) & 1 != 0
    }

    /// Marks the layers that need a frame which does not go out: they cannot begin without a key picture. A frame of a
    /// temporal layer that nobody gets is missing nowhere.
    fn leave_out(&mut self, picture: &Picture) {
        if picture.temporal > self.current.temporal {
            return;
        }
        for spatial in 0..=Target::ALL.spatial {
            if picture.is_for(spatial) {
                self.whole &= !(1 << spatial);
            }
        }
    }

    fn switch_up_temporally(&mut self, picture: &Picture) {
        let (have, own) = (self.current.temporal, picture.temporal);
        // Of several spatial layers, the highest that is forwarded decides: its references reach furthest.
        let is_top = picture.spatial >= self.top && picture.is_for(self.current.spatial);
        if have >= self.target.temporal || !is_top {
            return;
        }
        let may_begin = |layer: &u8| {
            let has_what_it_needs = match layer.cmp(&own) {
                Ordering::Greater => have >= own,
                Ordering::Equal => have + 1 >= own,
                Ordering::Less => false,
            };
            picture.switch_up >> layer & 1 != 0 && has_what_it_needs
        };
        if let Some(layer) = (have + 1..=self.target.temporal).rev().find(may_begin) {
            self.current.temporal = layer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(spatial: u8, temporal: u8, switch_up: u8) -> Picture {
        Picture {
            spatial,
            temporal,
            starts_frame: true,
            ends_frame: true,
            switch_up,
            ..Picture::default()
        }
    }

    fn key(spatial: u8) -> Picture {
        Picture {
            starts_key_frame: spatial == 0,
            ..frame(spatial, 0, 0)
        }
    }

    /// A filter, and the stream before it: a frame that is not above the last one begins another picture.
    struct Stream {
        filter: LayerFilter,
        time: u32,
        last: u8,
    }

    impl Stream {
        fn begin(spatial: u8, temporal: u8) -> Self {
            let filter = LayerFilter::default();
            let mut stream = Self {
                filter,
                time: 0,
                last: 0,
            };
            stream.target(spatial, temporal);
            stream.next(&key(0));
            stream
        }

        fn target(&mut self, spatial: u8, temporal: u8) {
            self.filter.set_target(Target { spatial, temporal });
        }

        fn next(&mut self, picture: &Picture) -> bool {
            if picture.spatial <= self.last {
                self.time += 3000;
            }
            self.last = picture.spatial;
            self.filter.next(picture, RtpTime(self.time))
        }

        /// Which layers of a picture go out.
        fn picture(&mut self, frames: &[Picture]) -> Vec<u8> {
            let out: Vec<_> = frames.iter().filter(|frame| self.next(frame)).collect();
            let ends = |frame: &&&Picture| self.filter.ends_picture(frame);
            assert_eq!(out.iter().filter(ends).count(), out.len().min(1), "one end");
            assert!(out.last().is_none_or(|last| self.filter.ends_picture(last)));
            out.iter().map(|frame| frame.spatial).collect()
        }
    }

    /// A picture of three layers; which of them those above need.
    fn three(references: [bool; 3], is_key: bool) -> [Picture; 3] {
        [0, 1, 2].map(|spatial| Picture {
            needless: match references[usize::from(spatial)] {
                true => 0,
                false => 0x7E << spatial & 0x7F,
            },
            starts_key_frame: is_key && spatial == 0,
            ..frame(spatial, 0, 0)
        })
    }

    #[test]
    fn a_spatial_layer_falls_at_the_next_picture_and_rises_at_a_key_picture() {
        let mut stream = Stream::begin(2, 9);
        stream.target(0, 9);
        assert!(!stream.filter.awaits_key_frame());
        assert!(
            stream.next(&frame(1, 0, 0)),
            "the picture that began goes on"
        );
        assert!(stream.next(&frame(0, 0, 0)) && !stream.next(&frame(1, 0, 0)));
        assert!(stream.filter.ends_picture(&frame(0, 0, 0)));
        stream.target(1, 9);
        assert!(stream.filter.awaits_key_frame());
        assert!(stream.next(&frame(0, 0, 0xff)) && !stream.next(&frame(1, 0, 0xff)));
        assert!(stream.next(&key(0)) && stream.next(&key(1)) && !stream.next(&key(2)));
        assert!(
            !stream.filter.awaits_key_frame()
                && stream.filter.ends_picture(&key(1))
                && !stream.filter.ends_picture(&key(0))
        );
    }

    #[test]
    fn between_key_pictures_who_has_a_layer_gets_what_it_builds_on_and_no_more() {
        let (key, inter) = (three([true; 3], true), three([false; 3], false));
        for layer in 0..3 {
            let mut stream = Stream::begin(layer, 9);
            assert_eq!(stream.picture(&key), Vec::from_iter(0..=layer));
            for _ in 0..5 {
                assert_eq!(stream.picture(&inter), [layer]);
            }
        }
        // L3T3, and one in which only the lowest layer is built on.
        let mut stream = Stream::begin(2, 9);
        assert_eq!(stream.picture(&three([true; 3], false)), [0, 1, 2]);
        assert_eq!(stream.picture(&three([true, false, false], false)), [0, 2]);
    }

    #[test]
    fn what_was_left_out_can_be_begun_with_a_key_picture_only() {
        let (key, inter) = (three([true; 3], true), three([false; 3], false));
        let mut stream = Stream::begin(2, 9);
        stream.picture(&key);
        // Nothing was left out yet: it falls at once.
        stream.target(1, 9);
        assert!(!stream.filter.awaits_key_frame());
        assert_eq!(stream.picture(&inter), [1]);
        for (target, out) in [(0, 1), (2, 1)] {
            stream.target(target, 9);
            assert!(stream.filter.awaits_key_frame());
            assert_eq!(stream.picture(&inter), [out], "what there was goes on");
            assert_eq!(stream.picture(&key), Vec::from_iter(0..=target));
            assert!(!stream.filter.awaits_key_frame());
            assert_eq!(stream.picture(&inter), [target]);
            stream.target(1, 9);
            stream.picture(&key);
            stream.picture(&inter);
        }
        // One that came late was left out just as well.
        let mut stream = Stream::begin(2, 9);
        stream.picture(&key);
        assert!(!stream.filter.late(&inter[0]));
        stream.target(0, 9);
        assert!(stream.filter.awaits_key_frame());
    }

    #[test]
    fn of_a_simulcast_in_one_stream_each_layer_opens_by_itself() {
        let (key, inter) = (three([false; 3], true), three([false; 3], false));
        let mut stream = Stream::begin(0, 9);
        for layer in [0, 2, 1] {
            stream.target(layer, 9);
            stream.time += 3000;
            stream.last = 0;
            for picture in &key {
                let out = stream.filter.next(picture, RtpTime(stream.time));
                assert_eq!(out, picture.spatial == layer);
                if out {
                    assert!(stream.filter.take_opening(picture), "a decoder begins here");
                    assert!(!stream.filter.take_opening(picture), "and only here");
                }
            }
            assert_eq!(stream.picture(&inter), [layer]);
            assert!(!stream.filter.take_opening(&inter[usize::from(layer)]));
        }
        // A key picture without the layer opens nothing.
        stream.target(2, 9);
        assert!(stream.picture(&key[..2]).is_empty());
        assert_eq!(stream.picture(&inter), [2]);
        assert!(!stream.filter.take_opening(&inter[2]));
    }

    #[test]
    fn a_late_key_picture_switches_nothing() {
        let mut stream = Stream::begin(0, 9);
        assert!(!stream.next(&key(1)));
        stream.target(2, 9);
        assert!(stream.filter.late(&key(0)) && stream.filter.awaits_key_frame());
    }

    #[test]
    fn temporal_layers_fall_at_once_and_rise_one_by_one_where_a_frame_needs_only_the_base() {
        // VP8: a frame of layer t with the sync bit has switch_up = 1 << t.
        let mut stream = Stream::begin(0, 2);
        stream.target(0, 0);
        assert!(
            !stream.next(&frame(0, 2, 1 << 2)),
            "falls with the very next frame"
        );
        assert!(!stream.next(&frame(0, 1, 1 << 1)));
        stream.target(0, 2);
        assert!(stream.next(&frame(0, 0, 0)));
        assert!(
            !stream.next(&frame(0, 2, 1 << 2)),
            "layer 1 is not there yet"
        );
        assert!(!stream.next(&frame(0, 1, 0)), "no switch point");
        assert!(stream.next(&frame(0, 1, 1 << 1)));
        assert!(!stream.next(&frame(0, 2, 0)));
        assert!(stream.next(&frame(0, 2, 1 << 2)) && stream.next(&frame(0, 2, 0)));
    }

    #[test]
    fn temporal_layers_rise_behind_a_frame_that_later_ones_do_not_reach_beyond() {
        // VP9's U bit and the switch indication of a Dependency Descriptor: all layers above the frame's own.
        let mut stream = Stream::begin(0, 0);
        stream.filter.set_target(Target::ALL);
        assert!(
            !stream.next(&frame(0, 1, 0b1111_1100)),
            "its own layer is missing"
        );
        assert!(stream.next(&frame(0, 0, 0b1111_1110)));
        assert!(stream.next(&frame(0, 2, 0)));
    }

    #[test]
    fn of_several_spatial_layers_the_top_one_decides_when_to_rise() {
        let mut stream = Stream::begin(1, 0);
        assert!(stream.next(&key(1)));
        stream.target(1, 2);
        assert!(stream.next(&frame(0, 0, 0b110)));
        assert!(!stream.next(&frame(0, 1, 0)));
        assert!(stream.next(&frame(1, 0, 0b110)) && stream.next(&frame(0, 1, 0)));
    }
}
