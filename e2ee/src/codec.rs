//! What stands in the clear before an encrypted frame, so that packetizers, servers and jitter buffers that know its codec
//! find what they look for. It is thrown away where the frame is decrypted: nothing in it needs to be true, and the whole
//! frame is inside the ciphertext.
//!
//! | codec | key frame | other frame |
//! |---|---|---|
//! | Opus, VP9 | nothing | nothing |
//! | VP8 | ten bytes: frame tag, start code, width and height (RFC 6386, section 9.1) | one byte of a frame tag |
//! | AV1 | a sequence header that is always the same, and the header of a frame OBU (AV1, section 5.3) | the latter |
//! | H.264 | its parameter sets, and a slice's NAL header with four bytes | the latter |

use crate::nal::{self, Nal};

/// A codec of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Opus, and whatever else sends its frames as they are.
    Opus,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
    /// H.264, as a byte stream (ITU-T H.264, annex B).
    H264,
}

/// The frame tag of a VP8 frame that is no key frame: version 0, shown, without a size of its first partition.
const VP8_DELTA: [u8; 1] = [0x11];

/// The frame tag and the start code of a VP8 key frame. Width and height follow.
const VP8_KEY: [u8; 6] = [0x10, 0x00, 0x00, 0x9d, 0x01, 0x2a];

/// The bytes of a VP8 key frame up to the end of its height.
const VP8_KEY_LEN: usize = 10;

/// The header of a frame OBU without a size: it goes to the end.
const AV1_FRAME: u8 = 0x30;

/// A sequence header OBU with its size: profile 0, a small picture.
const AV1_SEQUENCE: [u8; 12] = [
    0x0a, 0x0a, 0x00, 0x00, 0x00, 0x0c, 0xc4, 0xff, 0x67, 0x00, 0x68, 0x02,
];

/// The bytes after the NAL header of a slice that stay in the clear: packetizers read where the slice begins, of which
/// type it is, and its frame number.
const SLICE_BYTES: usize = 4;

/// The end of an encrypted slice: a NAL unit must not end in zeros.
const SLICE_END: u8 = 0x80;

/// The refusal of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of its codec")]
pub struct NotOfCodec;

impl Codec {
    /// Writes what stands before the encrypted frame. `key`: it is a key frame.
    ///
    /// # Errors
    /// When the frame is none of its codec: it cannot be said what should stand there.
    pub fn write_prefix(
        self,
        frame: &[u8],
        key: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NotOfCodec> {
        match (self, key) {
            (Self::Opus | Self::Vp9, _) => {}
            (Self::Vp8, false) => out.extend(VP8_DELTA),
            (Self::Vp8, true) => {
                out.extend(VP8_KEY);
                let size = frame.get(VP8_KEY.len()..VP8_KEY_LEN);
                out.extend(size.ok_or(NotOfCodec)?);
            }
            (Self::Av1, key) => {
                out.extend(key.then_some(AV1_SEQUENCE).into_iter().flatten());
                out.push(AV1_FRAME);
            }
            (Self::H264, _) => {
                let mut nals = nal::split(frame);
                let slice = nals.find(|nal| {
                    if nal.is_parameter_set() {
                        nal::write(nal.bytes, out);
                    }
                    nal.is_slice()
                });
                let head = slice.and_then(|nal| nal.bytes.get(..1 + SLICE_BYTES));
                nal::write(head.ok_or(NotOfCodec)?, out);
            }
        }
        Ok(())
    }

    /// Whether the encrypted frame has to be written otherwise than it is.
    pub fn escapes(self) -> bool {
        self == Self::H264
    }

    /// Writes the encrypted frame behind its prefix, where [`Codec::escapes`] says so: no three bytes in it may look like the
    /// start of a NAL unit.
    pub fn escape(self, encrypted: &[u8], out: &mut Vec<u8>) {
        nal::escape(encrypted, out);
        out.push(SLICE_END);
    }

    /// The encrypted frame behind its prefix. It is written to `space` where it was escaped.
    ///
    /// # Errors
    /// When there is no such prefix.
    pub fn strip<'a>(self, wire: &'a [u8], space: &'a mut Vec<u8>) -> Result<&'a [u8], NotOfCodec> {
        match self {
            Self::Opus | Self::Vp9 => Ok(wire),
            Self::Vp8 => {
                let is_key = wire.first().ok_or(NotOfCodec)? & 1 == 0;
                wire.get(if is_key { VP8_KEY_LEN } else { VP8_DELTA.len() }..)
                    .ok_or(NotOfCodec)
            }
            Self::Av1 => strip_av1(wire).ok_or(NotOfCodec),
            Self::H264 => {
                let slice = nal::split(wire).find(Nal::is_slice).ok_or(NotOfCodec)?;
                // Some depacketizers put zeros behind a unit.
                let end = slice.bytes.iter().rposition(|byte| *byte != 0);
                let end = end.filter(|at| slice.bytes[*at] == SLICE_END);
                let body = slice.bytes.get(..end.ok_or(NotOfCodec)?);
                let (head, body) = body
                    .and_then(|body| body.split_at_checked(1 + SLICE_BYTES))
                    .ok_or(NotOfCodec)?;
                nal::unescape(head, body, space);
                Ok(space)
            }
        }
    }
}

/// What follows the first header of a frame OBU.
fn strip_av1(mut wire: &[u8]) -> Option<&[u8]> {
    loop {
        let (&header, rest) = wire.split_first()?;
        let (kind, has_extension, has_size) = (header >> 3 & 0xf, header & 4 != 0, header & 2 != 0);
        let rest = rest.get(usize::from(has_extension)..)?;
        let (size, rest) = if has_size {
            leb128(rest)?
        } else {
            (rest.len(), rest)
        };
        // Whether its size is written depends on who packed it last.
        if kind == AV1_FRAME >> 3 {
            return rest.get(..size);
        }
        wire = rest.get(size..)?;
    }
}

/// A number in the variable length of AV1 (section 4.10.5), and what follows it.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The frame as it goes over the wire when `encrypted` is what became of it.
    fn wire(codec: Codec, frame: &[u8], key: bool, encrypted: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        codec.write_prefix(frame, key, &mut out).unwrap();
        match codec.escapes() {
            true => codec.escape(encrypted, &mut out),
            false => out.extend(encrypted),
        }
        out
    }

    const VP8_FRAME: [u8; 12] = [0x50, 1, 2, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1, 7, 7];

    /// Parameter sets, supplemental information, and a slice of a key picture.
    fn h264(slice: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        for unit in [
            &[0x67, 0x42, 0, 0x1f, 0xe9][..],
            &[0x68, 0xce, 6],
            &[6, 5, 4],
            slice,
        ] {
            nal::write(unit, &mut frame);
        }
        frame
    }

    proptest! {
        #[test]
        fn what_is_put_behind_a_prefix_is_found_there(
            encrypted in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..200),
            key: bool,
            slice in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 4..40),
        ) {
            let mut unit = vec![0x65];
            nal::escape(&slice, &mut unit);
            unit.push(SLICE_END);
            let h264 = h264(&unit);
            for (codec, frame) in [
                (Codec::Opus, &[][..]),
                (Codec::Vp9, &[]),
                (Codec::Vp8, &VP8_FRAME),
                (Codec::Av1, &[]),
                (Codec::H264, &h264),
            ] {
                let wire = wire(codec, frame, key, &encrypted);
                let mut space = Vec::new();
                prop_assert_eq!(codec.strip(&wire, &mut space), Ok(&encrypted[..]));
            }
        }

        #[test]
        fn nothing_in_an_encrypted_slice_looks_like_the_start_of_a_unit(
            encrypted in prop::collection::vec(0_u8..4, 0..200),
        ) {
            let wire = wire(Codec::H264, &h264(&[0x65, 0, 0, 3, 0, 0, 9]), true, &encrypted);
            prop_assert_eq!(nal::split(&wire).count(), 3);
            let slice = nal::split(&wire).find(Nal::is_slice).unwrap();
            prop_assert!(!slice.bytes.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3));
        }

        #[test]
        fn no_bytes_are_too_strange_to_be_looked_at(
            bytes in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..60),
        ) {
            for codec in [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264] {
                let _ = codec.strip(&bytes, &mut Vec::new());
                let _ = codec.write_prefix(&bytes, true, &mut Vec::new());
            }
        }
    }

    #[test]
    fn a_key_frame_of_vp8_says_its_size_and_no_more() {
        let wire = wire(Codec::Vp8, &VP8_FRAME, true, &[]);
        assert_eq!(wire, [0x10, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1]);
        assert_eq!(
            Codec::Vp8.write_prefix(&VP8_FRAME[..9], true, &mut Vec::new()),
            Err(NotOfCodec)
        );
    }

    #[test]
    fn a_frame_of_av1_is_found_whether_its_size_is_written_or_not() {
        let mut with_size = AV1_SEQUENCE.to_vec();
        with_size.extend([0x32, 3, 7, 8, 9, 0x12, 0]);
        assert_eq!(
            Codec::Av1.strip(&with_size, &mut Vec::new()),
            Ok(&[7, 8, 9][..])
        );
        assert_eq!(
            Codec::Av1.strip(&AV1_SEQUENCE, &mut Vec::new()),
            Err(NotOfCodec)
        );
    }

    #[test]
    fn zeros_behind_a_slice_are_no_part_of_it() {
        let mut wire = wire(Codec::H264, &h264(&[0x65, 9, 9, 9, 9, 9]), true, &[1, 0, 0]);
        wire.extend([0, 0]);
        assert_eq!(
            Codec::H264.strip(&wire, &mut Vec::new()),
            Ok(&[1, 0, 0][..])
        );
    }
}
