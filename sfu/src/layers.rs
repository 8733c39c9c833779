//! Layers within one RTP stream: what a packet says of them ([`Picture`]), what a subscriber shall have ([`Target`]),
//! and the decision packet by packet ([`LayerFilter`]).
//!
//! Layers of a simulcast are streams of their own: the fan-out chooses among those. Here are the spatial layers of an SVC
//! stream and the temporal layers of any stream.

use std::cmp::Ordering;

/// The numbers that must stay continuous for a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureIds {
    /// Picture id of VP8 or VP9, 7 or 15 bits as the field has.
    pub picture_id: Option<u16>,
    /// Running index of the frames of temporal layer 0.
    pub tl0_pic_idx: Option<u8>,
    /// Frame number of the Dependency Descriptor.
    pub frame_number: Option<u16>,
}

/// What a video packet says of the frame it belongs to. A frame is one spatial layer of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Picture {
    /// Its numbers.
    pub ids: PictureIds,
    /// Spatial layer within the stream, 0 where there is only one.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// First packet of the frame.
    pub starts_frame: bool,
    /// Last packet of the frame.
    pub ends_frame: bool,
    /// First packet of a picture in which every layer can begin.
    pub starts_key_frame: bool,
    /// Bit `t`: with this frame a decoder may begin temporal layer `t`. For the frame's own layer it must have the one
    /// below, for higher ones it must have the frame's.
    pub switch_up: u8,
}

/// The most of a track that a subscriber shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Highest spatial layer.
    pub spatial: u8,
    /// Highest temporal layer.
    pub temporal: u8,
}

impl Target {
    /// Everything there is: the fields of all formats have three bits.
    pub const ALL: Target = Target {
        spatial: 7,
        temporal: 7,
    };
}

/// Which packets of the stream that it has now go to one subscriber. Lower layers than the target always go too: so the
/// target can fall at any picture, without waiting for a key frame that only adds to a jam.
#[derive(Debug, Clone, Copy)]
pub struct LayerFilter {
    target: Target,
    current: Target,
    /// Highest spatial layer that went out of the picture before, and of this one so far.
    top: u8,
    seen: u8,
}

impl Default for LayerFilter {
    fn default() -> Self {
        Self {
            target: Target::ALL,
            current: Target::ALL,
            top: 0,
            seen: 0,
        }
    }
}

impl LayerFilter {
    /// Wants this from the next legal switch point on: lower layers from the next picture, a higher temporal layer from
    /// where the stream allows it, a higher spatial layer from the next key picture.
    pub fn set_target(&mut self, target: Target) {
        self.target = Target {
            spatial: target.spatial.min(Target::ALL.spatial),
            temporal: target.temporal.min(Target::ALL.temporal),
        };
    }

    /// What goes out now.
    pub fn current(&self) -> Target {
        self.current
    }

    /// Only a key picture helps to reach the target.
    pub fn awaits_key_frame(&self) -> bool {
        self.current.spatial < self.target.spatial
    }

    /// A packet that came in order: it may switch layers. Whether it goes out.
    pub fn next(&mut self, picture: &Picture) -> bool {
        if picture.starts_frame && picture.spatial == 0 {
            self.top = std::mem::take(&mut self.seen);
        }
        if picture.starts_key_frame {
            self.current = self.target;
        } else if picture.starts_frame {
            if picture.spatial == 0 {
                self.current.spatial = self.current.spatial.min(self.target.spatial);
                self.current.temporal = self.current.temporal.min(self.target.temporal);
            }
            self.switch_up_temporally(picture);
        }
        let admitted = self.admits(picture);
        if admitted {
            self.seen = self.seen.max(picture.spatial);
        }
        admitted
    }

    /// Whether a packet goes out that came late: it switches nothing.
    pub fn admits(&self, picture: &Picture) -> bool {
        picture.spatial <= self.current.spatial && picture.temporal <= self.current.temporal
    }

    /// Whether the packet is the last of the picture as the subscriber gets it.
    pub fn ends_picture(&self, picture: &Picture) -> bool {
        picture.ends_frame && picture.spatial == self.current.spatial
    }

    fn switch_up_temporally(&mut self, picture: &Picture) {
        let (have, own) = (self.current.temporal, picture.temporal);
        // Of several spatial layers, the highest that is forwarded decides: its references reach furthest.
        let is_top = picture.spatial >= self.top && picture.spatial <= self.current.spatial;
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

    fn begin(spatial: u8, temporal: u8) -> LayerFilter {
        let mut filter = LayerFilter::default();
        filter.set_target(Target { spatial, temporal });
        filter.next(&key(0));
        filter
    }

    #[test]
    fn a_spatial_layer_falls_at_the_next_picture_and_rises_at_a_key_picture() {
        let mut filter = begin(2, 9);
        filter.set_target(Target {
            spatial: 0,
            temporal: 9,
        });
        assert!(
            filter.next(&frame(1, 0, 0)),
            "the picture that began goes on"
        );
        assert!(filter.next(&frame(0, 0, 0)) && !filter.next(&frame(1, 0, 0)));
        assert!(filter.ends_picture(&frame(0, 0, 0)));
        filter.set_target(Target {
            spatial: 1,
            temporal: 9,
        });
        assert!(filter.awaits_key_frame());
        assert!(filter.next(&frame(0, 0, 0xff)) && !filter.next(&frame(1, 0, 0xff)));
        assert!(filter.next(&key(0)) && filter.next(&key(1)) && !filter.next(&key(2)));
        assert!(
            !filter.awaits_key_frame()
                && filter.ends_picture(&key(1))
                && !filter.ends_picture(&key(0))
        );
    }

    #[test]
    fn a_late_key_picture_switches_nothing() {
        let mut filter = begin(0, 9);
        filter.set_target(Target {
            spatial: 2,
            temporal: 9,
        });
        assert!(filter.admits(&key(0)) && filter.awaits_key_frame());
    }

    #[test]
    fn temporal_layers_fall_at_once_and_rise_one_by_one_where_a_frame_needs_only_the_base() {
        // VP8: a frame of layer t with the sync bit has switch_up = 1 << t.
        let mut filter = begin(0, 2);
        filter.set_target(Target {
            spatial: 0,
            temporal: 0,
        });
        assert!(
            !filter.next(&frame(0, 2, 1 << 2)),
            "falls with the very next frame"
        );
        assert!(!filter.next(&frame(0, 1, 1 << 1)));
        filter.set_target(Target {
            spatial: 0,
            temporal: 2,
        });
        assert!(filter.next(&frame(0, 0, 0)));
        assert!(
            !filter.next(&frame(0, 2, 1 << 2)),
            "layer 1 is not there yet"
        );
        assert!(!filter.next(&frame(0, 1, 0)), "no switch point");
        assert!(filter.next(&frame(0, 1, 1 << 1)));
        assert!(!filter.next(&frame(0, 2, 0)));
        assert!(filter.next(&frame(0, 2, 1 << 2)) && filter.next(&frame(0, 2, 0)));
    }

    #[test]
    fn temporal_layers_rise_behind_a_frame_that_later_ones_do_not_reach_beyond() {
        // VP9's U bit and the switch indication of a Dependency Descriptor: all layers above the frame's own.
        let mut filter = begin(0, 0);
        filter.set_target(Target::ALL);
        assert!(
            !filter.next(&frame(0, 1, 0b1111_1100)),
            "its own layer is missing"
        );
        assert!(filter.next(&frame(0, 0, 0b1111_1110)));
        assert!(filter.next(&frame(0, 2, 0)));
    }

    #[test]
    fn of_several_spatial_layers_the_top_one_decides_when_to_rise() {
        let mut filter = begin(1, 0);
        assert!(filter.next(&key(1)));
        filter.set_target(Target {
            spatial: 1,
            temporal: 2,
        });
        assert!(filter.next(&frame(0, 0, 0b110)));
        assert!(!filter.next(&frame(0, 1, 0)));
        assert!(filter.next(&frame(1, 0, 0b110)) && filter.next(&frame(0, 1, 0)));
    }
}
