//! The VP8 payload descriptor (RFC 7741, section 4.2): read, and rewritten in place. Of the frame itself only the
//! header of a key frame is read (RFC 6386, section 9.1).

use crate::layers::{Picture, PictureIds};

/// A payload that is shorter than its descriptor says, or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("truncated VP8 payload descriptor")]
pub struct Truncated;

/// Modulus of picture ids where the field has 15 bits.
pub const PICTURE_ID_MODULUS: u16 = 1 << 15;

/// A parsed payload descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Length of the descriptor, bytes; the VP8 payload follows.
    pub len: u8,
    /// S: this packet starts a partition.
    pub starts_partition: bool,
    /// PID: number of the partition.
    pub partition: u8,
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// The numbers that [`rewrite`] changes.
    pub ids: PictureIds,
    /// TID: temporal layer.
    pub temporal_id: Option<u8>,
    /// Y: the frame depends on temporal layer 0 only.
    pub layer_sync: bool,
    /// KEYIDX: temporal key frame index.
    pub key_idx: Option<u8>,
    /// M: the picture id has 15 bits.
    long_picture_id: bool,
    picture_id_at: u8,
    tl0_pic_idx_at: u8,
}

impl Descriptor {
    /// Reads the descriptor at the front of an RTP payload.
    pub fn parse(payload: &[u8]) -> Result<Descriptor, Truncated> {
        let byte = |at: usize| payload.get(at).copied().ok_or(Truncated);
        let first = byte(0)?;
        let mut descriptor = Descriptor {
            starts_partition: first & 0x10 != 0,
            partition: first & 0x07,
            non_reference: first & 0x20 != 0,
            ..Descriptor::default()
        };
        let mut at = 1;
        if first & 0x80 != 0 {
            let extension = byte(1)?;
            at = 2;
            if extension & 0x80 != 0 {
                let high = byte(at)?;
                descriptor.picture_id_at = at as u8;
                descriptor.long_picture_id = high & 0x80 != 0;
                let high = u16::from(high & 0x7F);
                if descriptor.long_picture_id {
                    descriptor.ids.picture_id = Some(high << 8 | u16::from(byte(at + 1)?));
                    at += 2;
                } else {
                    descriptor.ids.picture_id = Some(high);
                    at += 1;
                }
            }
            if extension & 0x40 != 0 {
                descriptor.ids.tl0_pic_idx = Some(byte(at)?);
                descriptor.tl0_pic_idx_at = at as u8;
                at += 1;
            }
            if extension & 0x30 != 0 {
                let layers = byte(at)?;
                descriptor.temporal_id = (extension & 0x20 != 0).then_some(layers >> 6);
                descriptor.layer_sync = extension & 0x20 != 0 && layers & 0x20 != 0;
                descriptor.key_idx = (extension & 0x10 != 0).then_some(layers & 0x1F);
                at += 1;
            }
        }
        descriptor.len = at as u8;
        Ok(descriptor)
    }

    /// Whether this is the first packet of a frame.
    pub fn starts_frame(&self) -> bool {
        self.starts_partition && self.partition == 0
    }

    /// Whether `payload`, whose descriptor this is, is the first packet of a key frame.
    pub fn starts_key_frame(&self, payload: &[u8]) -> bool {
        // P, the inverse key frame bit, is the lowest bit of the first payload byte.
        self.starts_frame()
            && payload
                .get(usize::from(self.len))
                .is_some_and(|first| first & 1 == 0)
    }

    /// The frame that `payload`, whose descriptor this is, belongs to.
    pub fn picture(&self, payload: &[u8]) -> Picture {
        // Frames of a layer can be left out only where pictures can be renumbered without notice: with wide picture
        // ids.
        let layer = self.temporal_id.filter(|_| self.long_picture_id);
        let temporal = layer.unwrap_or(0);
        Picture {
            ids: self.ids,
            temporal,
            starts_frame: self.starts_frame(),
            starts_key_frame: self.starts_key_frame(payload),
            switch_up: u8::from(self.layer_sync && layer.is_some()) << temporal,
            ..Picture::default()
        }
    }
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

    /// First packet of a 1280x720 key frame with a 15-bit picture id, as browsers send it.
    const KEY_FRAME: [u8; 16] = [
        0x90, 0xE0, 0xA2, 0x34, 0x56, 0x20, 0x50, 0x01, 0x02, 0x9D, 0x01, 0x2A, 0x00, 0x45, 0xD0,
        0x02,
    ];

    #[test]
    fn a_browsers_key_frame_is_read() {
        let descriptor = Descriptor::parse(&KEY_FRAME).unwrap();
        assert_eq!(descriptor.len, 6);
        assert_eq!(
            descriptor.ids,
            PictureIds {
                picture_id: Some(0x2234),
                tl0_pic_idx: Some(0x56),
                frame_number: None,
            }
        );
        assert_eq!(
            (descriptor.temporal_id, descriptor.layer_sync),
            (Some(0), true)
        );
        assert_eq!(descriptor.key_idx, None);
        assert!(descriptor.starts_key_frame(&KEY_FRAME));
    }

    #[test]
    fn only_the_first_packet_of_a_key_frame_starts_one() {
        for (first, payload, expected) in [
            (0x10, 0x00, true),
            (0x10, 0x01, false),
            (0x00, 0x00, false),
            (0x11, 0x00, false),
        ] {
            let bytes = [first, payload];
            let descriptor = Descriptor::parse(&bytes).unwrap();
            assert_eq!(descriptor.len, 1);
            assert_eq!(descriptor.starts_key_frame(&bytes), expected, "{bytes:x?}");
        }
        assert!(
            !Descriptor::parse(&[0x10])
                .unwrap()
                .starts_key_frame(&[0x10])
        );
    }

    #[test]
    fn short_picture_ids_and_key_indices_are_read() {
        let descriptor = Descriptor::parse(&[0xB0, 0xB0, 0x11, 0xD7, 0x01]).unwrap();
        assert_eq!(
            descriptor.ids,
            PictureIds {
                picture_id: Some(0x11),
                tl0_pic_idx: None,
                frame_number: None,
            }
        );
        assert_eq!(
            (descriptor.temporal_id, descriptor.key_idx),
            (Some(3), Some(0x17))
        );
        assert!(descriptor.non_reference);
        assert_eq!(descriptor.len, 4);
    }

    #[test]
    fn truncated_descriptors_are_refused() {
        for cut in 0..6 {
            assert_eq!(
                Descriptor::parse(&KEY_FRAME[..cut]),
                Err(Truncated),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn rewriting_keeps_length_and_width() {
        let ids = PictureIds {
            picture_id: Some(0x7FFF),
            tl0_pic_idx: Some(1),
            frame_number: None,
        };
        let mut payload = KEY_FRAME;
        rewrite(&mut payload, ids);
        assert_eq!(Descriptor::parse(&payload).unwrap().ids, ids);
        assert_eq!(payload[5..], KEY_FRAME[5..]);
        let mut short = [0x90, 0x80, 0x11, 0x01];
        rewrite(&mut short, ids);
        assert_eq!(short, [0x90, 0x80, 0x7F, 0x01]);
        let mut none = [0x10, 0x80, 0x11, 0x01];
        rewrite(&mut none, ids);
        assert_eq!(none, [0x10, 0x80, 0x11, 0x01]);
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused_and_rewritten_in_its_descriptor_only(
            mut payload in proptest::collection::vec(any::<u8>(), 0..12), id in 0u16..0x8000, tl0: u8,
        ) {
            let before = payload.clone();
            let Ok(descriptor) = Descriptor::parse(&payload) else { return Ok(()) };
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
