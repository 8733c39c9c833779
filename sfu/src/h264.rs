//! Key frames in H.264 payloads (RFC 6184). Only NAL unit headers are read, which end-to-end encryption leaves in the
//! clear.

/// NAL unit types (ITU-T H.264, table 7-1; RFC 6184, section 5.2).
const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether the payload holds the beginning of an IDR picture or the parameters before it. Several packets of one key
/// frame may do so: a decoder starts at the first of them.
pub fn is_key(payload: &[u8]) -> bool {
    let is_key = |header: &u8| matches!(header & 0x1F, IDR | SPS);
    let Some((first, rest)) = payload.split_first() else {
        return false;
    };
    match first & 0x1F {
        STAP_A => units(rest).any(|unit| unit.first().is_some_and(is_key)),
        // Bit S: the first fragment.
        FU_A => rest
            .first()
            .is_some_and(|header| header & 0x80 != 0 && is_key(header)),
        _ => is_key(first),
    }
}

/// The units of an aggregation packet, each behind its length.
fn units(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let (unit, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = after;
        Some(unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn key_frames_are_found_in_each_form_of_packet() {
        for (payload, expected) in [
            (&[0x67, 0x42][..], true),
            (&[0x65, 0x88], true),
            (&[0x68, 0xCE], false),
            (&[0x41, 0x9A], false),
            (&[0x06, 0x05], false),
            (&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68], true),
            (&[0x78, 0, 1, 0x06, 0, 2, 0x65, 0x88], true),
            (&[0x78, 0, 1, 0x06, 0, 1, 0x41], false),
            (&[0x78, 0, 9, 0x67], false),
            (&[0x78, 0], false),
            (&[0x7C, 0x85, 0x88], true),
            (&[0x7C, 0x05, 0x88], false),
            (&[0x7C, 0x45], false),
            (&[0x5C, 0x81, 0x9A], false),
            (&[0x7C], false),
            (&[], false),
        ] {
            assert_eq!(is_key(payload), expected, "{payload:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_read(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            is_key(&payload);
        }
    }
}
