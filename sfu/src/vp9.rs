//! The VP9 payload descriptor (RFC 9628, section 4.2): read, and rewritten in place. The frame itself is never read.

use crate::layers::{Picture, PictureIds};

/// A payload that is shorter than its descriptor says, or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("truncated VP9 payload descriptor")]
pub struct Truncated;

/// A parsed payload descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Length of the descriptor, bytes; the VP9 payload follows.
    pub len: u16,
    /// The numbers that [`rewrite`] changes.
    pub ids: PictureIds,
    /// P: the frame refers to earlier pictures.
    pub inter_picture_predicted: bool,
    /// B: first packet of a frame.
    pub starts_frame: bool,
    /// E: last packet of a frame.
    pub ends_frame: bool,
    /// TID: temporal layer.
    pub temporal_id: u8,
    /// SID: spatial layer.
    pub spatial_id: u8,
    /// U: later frames of higher temporal layers do not reach beyond this one.
    pub switch_up_point: bool,
    /// D: the frame refers to the spatial layer below.
    pub inter_layer_predicted: bool,
    /// Z: no higher spatial layer of the same picture refers to the frame.
    pub not_for_higher: bool,
    /// N_S + 1: spatial layers of the stream, where the packet has the scalability structure.
    pub spatial_layers: Option<u8>,
    /// M: the picture id has 15 bits.
    long_picture_id: bool,
    /// Offset of the picture id; 0: absent.
    picture_id_at: u8,
    tl0_pic_idx_at: u8,
}

/// A reader of byte after byte.
struct Cursor<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8, Truncated> {
        let byte = self.payload.get(self.at).copied().ok_or(Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, len: usize) -> Result<(), Truncated> {
        self.at += len;
        if self.at > self.payload.len() {
            Err(Truncated)
        } else {
            Ok(())
        }
    }
}

impl Descriptor {
    /// Reads the descriptor at the front of an RTP payload.
    pub fn parse(payload: &[u8]) -> Result<Descriptor, Truncated> {
        let mut cursor = Cursor { payload, at: 0 };
        let first = cursor.byte()?;
        let has = |bit: u8| first & bit != 0;
        let (flexible, structure) = (has(0x10), has(0x02));
        let mut descriptor = Descriptor {
            inter_picture_predicted: has(0x40),
            starts_frame: has(0x08),
            ends_frame: has(0x04),
            not_for_higher: has(0x01),
            ..Descriptor::default()
        };
        if has(0x80) {
            descriptor.picture_id_at = cursor.at as u8;
            let high = cursor.byte()?;
            descriptor.long_picture_id = high & 0x80 != 0;
            let mut id = u16::from(high & 0x7F);
            if descriptor.long_picture_id {
                id = id << 8 | u16::from(cursor.byte()?);
            }
            descriptor.ids.picture_id = Some(id);
        }
        if has(0x20) {
            let layers = cursor.byte()?;
            descriptor.temporal_id = layers >> 5;
            descriptor.switch_up_point = layers & 0x10 != 0;
            descriptor.spatial_id = layers >> 1 & 0x07;
            descriptor.inter_layer_predicted = layers & 0x01 != 0;
            if !flexible {
                descriptor.tl0_pic_idx_at = cursor.at as u8;
                descriptor.ids.tl0_pic_idx = Some(cursor.byte()?);
            }
        }
        if flexible && descriptor.inter_picture_predicted {
            // N: another reference follows; at most three.
            for _ in 0..3 {
                if cursor.byte()? & 1 == 0 {
                    break;
                }
            }
        }
        if structure {
            descriptor.spatial_layers = Some(read_structure(&mut cursor)?);
        }
        descriptor.len = cursor.at as u16;
        Ok(descriptor)
    }

    /// The frame that the packet belongs to.
    pub fn picture(&self) -> Picture {
        let key = self.starts_frame && self.spatial_id == 0 && !self.inter_picture_predicted;
        Picture {
            ids: self.ids,
            spatial: self.spatial_id,
            temporal: self.temporal_id,
            starts_frame: self.starts_frame,
            ends_frame: self.ends_frame,
            starts_key_frame: key,
            switch_up: if self.switch_up_point {
                0xFE_u8.checked_shl(self.temporal_id.into()).unwrap_or(0)
            } else {
                0
            },
            needless: match self.not_for_higher {
                // A subscriber without a limit gets every layer.
                true => 0x7E_u8.checked_shl(self.spatial_id.into()).unwrap_or(0) & 0x7F,
                false => 0,
            },
        }
    }
}

/// The scalability structure (section 4.2.1): sizes and a group of pictures, of which only the count of layers is used.
fn read_structure(cursor: &mut Cursor<'_>) -> Result<u8, Truncated> {
    let head = cursor.byte()?;
    let layers = (head >> 5) + 1;
    if head & 0x10 != 0 {
        cursor.skip(4 * usize::from(layers))?;
    }
    if head & 0x08 != 0 {
        for _ in 0..cursor.byte()? {
            let references = cursor.byte()? >> 2 & 0x03;
            cursor.skip(references.into())?;
        }
    }
    Ok(layers)
}

/// Replaces the numbers of the descriptor at the front of `payload`, keeping its length: a 7-bit picture id stays one,
/// and a number that the descriptor does not have is not added. A payload without a descriptor is left alone.
pub fn rewrite(payload: &mut [u8], ids: PictureIds) {
    let Ok(descriptor) = Descriptor::parse(payload) else {
        return;
    };
    if let (Some(id), Some(_)) = (ids.picture_id, descriptor.ids.picture_id) {
        let at = usize::from(descriptor.picture_id_at);
        let [high, low] = id.to_be_bytes();
        if descriptor.long_picture_id {
            payload[at] = 0x80 | high;
            payload[at + 1] = low;
        } else {
            payload[at] = low & 0x7F;
        }
    }
    if let (Some(index), Some(_)) = (ids.tl0_pic_idx, descriptor.ids.tl0_pic_idx) {
        payload[usize::from(descriptor.tl0_pic_idx_at)] = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// First packet of an L3T3 key picture, non-flexible, with structure: three sizes, a group of four pictures.
    const KEY: [u8; 31] = [
        0xAA, 0x92, 0x34, 0x10, 0x07, 0x58, 0x01, 0x40, 0x00, 0xB4, 0x02, 0x80, 0x01, 0x68, 0x05,
        0x00, 0x02, 0xD0, 0x04, 0x14, 0x04, 0x54, 0x01, 0x34, 0x02, 0x54, 0x01, 0xEE, 0xEE, 0xEE,
        0xEE,
    ];

    #[test]
    fn a_key_picture_of_three_layers_is_read() {
        let descriptor = Descriptor::parse(&KEY).unwrap();
        assert_eq!((descriptor.len, descriptor.spatial_layers), (27, Some(3)));
        assert_eq!(
            (descriptor.ids.picture_id, descriptor.ids.tl0_pic_idx),
            (Some(0x1234), Some(7))
        );
        let picture = descriptor.picture();
        assert!(picture.starts_key_frame && picture.starts_frame && !picture.ends_frame);
        assert_eq!(
            (picture.spatial, picture.temporal, picture.switch_up),
            (0, 0, 0xFE)
        );
        for cut in 0..27 {
            assert_eq!(
                Descriptor::parse(&KEY[..cut]),
                Err(Truncated),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn the_fields_of_each_form_are_read() {
        // First byte: I P L F B E V Z.
        let cases: [(&[u8], Descriptor); 5] = [
            (
                // Plain: a 7-bit picture id, an inter frame in one packet.
                &[0xCC, 0x11],
                Descriptor {
                    len: 2,
                    ids: PictureIds {
                        picture_id: Some(0x11),
                        ..PictureIds::default()
                    },
                    inter_picture_predicted: true,
                    starts_frame: true,
                    ends_frame: true,
                    picture_id_at: 1,
                    ..Descriptor::default()
                },
            ),
            (
                // Flexible, inter-picture with two references, TID 2, U, SID 1, D.
                &[0xF8, 0x05, 0x53, 0x03, 0x04],
                Descriptor {
                    len: 5,
                    ids: PictureIds {
                        picture_id: Some(5),
                        ..PictureIds::default()
                    },
                    inter_picture_predicted: true,
                    starts_frame: true,
                    temporal_id: 2,
                    switch_up_point: true,
                    spatial_id: 1,
                    inter_layer_predicted: true,
                    picture_id_at: 1,
                    ..Descriptor::default()
                },
            ),
            (
                // Non-flexible without picture id, SID 2 with inter-layer prediction.
                &[0x24, 0x05, 0x09],
                Descriptor {
                    len: 3,
                    ids: PictureIds {
                        tl0_pic_idx: Some(9),
                        ..PictureIds::default()
                    },
                    ends_frame: true,
                    spatial_id: 2,
                    inter_layer_predicted: true,
                    tl0_pic_idx_at: 2,
                    ..Descriptor::default()
                },
            ),
            (
                &[0x00],
                Descriptor {
                    len: 1,
                    ..Descriptor::default()
                },
            ),
            (
                // A structure of one layer without sizes or group.
                &[0x0A, 0x00],
                Descriptor {
                    len: 2,
                    starts_frame: true,
                    spatial_layers: Some(1),
                    ..Descriptor::default()
                },
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Descriptor::parse(bytes), Ok(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn a_key_picture_begins_with_the_base_of_a_frame_that_refers_to_none_before() {
        for (bytes, expected) in [
            (&[0x28, 0x00, 0x00][..], true),
            (&[0x68, 0x00, 0x00], false),
            (&[0x28, 0x02, 0x00], false),
            (&[0x20, 0x00, 0x00], false),
            (&[0x08], true),
        ] {
            let picture = Descriptor::parse(bytes).unwrap().picture();
            assert_eq!(picture.starts_key_frame, expected, "{bytes:x?}");
        }
    }

    #[test]
    fn a_frame_that_no_higher_layer_refers_to_is_for_its_own_layer_only() {
        // L3T3_KEY between key pictures: Z is set.
        for spatial in 0..8 {
            let of = |first: u8| {
                Descriptor::parse(&[first, spatial << 1, 0])
                    .unwrap()
                    .picture()
            };
            let layers = |first: u8| {
                (0..7)
                    .filter(|layer| of(first).is_for(*layer))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                layers(0x6D),
                Vec::from_iter((spatial..=spatial).filter(|s| *s < 7))
            );
            assert_eq!(layers(0x6C), Vec::from_iter(spatial..7));
            assert!(of(0x6D).is_for(7), "who has no limit");
        }
    }

    #[test]
    fn rewriting_keeps_length_and_width() {
        let ids = PictureIds {
            picture_id: Some(0x7FFF),
            tl0_pic_idx: Some(1),
            frame_number: None,
        };
        let mut payload = KEY;
        rewrite(&mut payload, ids);
        assert_eq!(Descriptor::parse(&payload).unwrap().ids, ids);
        assert_eq!((payload[3], &payload[5..]), (KEY[3], &KEY[5..]));
        let mut short = [0xCC, 0x11, 0x01];
        rewrite(&mut short, ids);
        assert_eq!(short, [0xCC, 0x7F, 0x01]);
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused_and_rewritten_in_its_descriptor_only(
            mut payload in proptest::collection::vec(any::<u8>(), 0..60), id in 0u16..0x8000, tl0: u8,
        ) {
            let before = payload.clone();
            let Ok(descriptor) = Descriptor::parse(&payload) else { return Ok(()) };
            descriptor.picture();
            rewrite(&mut payload, PictureIds { picture_id: Some(id), tl0_pic_idx: Some(tl0), frame_number: None });
            let after = Descriptor::parse(&payload).unwrap();
            let len = usize::from(descriptor.len);
            prop_assert_eq!(&payload[len..], &before[len..]);
            prop_assert_eq!(after.len, descriptor.len);
            prop_assert_eq!(after.ids.tl0_pic_idx, descriptor.ids.tl0_pic_idx.map(|_| tl0));
            if descriptor.long_picture_id {
                prop_assert_eq!(after.ids.picture_id, Some(id));
            }
        }
    }
}
