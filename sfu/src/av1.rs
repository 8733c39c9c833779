//! AV1 payloads without a Dependency Descriptor (AV1 RTP specification, section 4.4): the aggregation header.

/// Bit N: the packet is the first of a coded video sequence, which begins with a key frame.
const NEW_SEQUENCE: u8 = 0x08;
/// Bit Z: the first element continues one of the packet before.
const CONTINUES: u8 = 0x80;

/// Whether the payload begins a coded video sequence.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    payload
        .first()
        .is_some_and(|header| header & (NEW_SEQUENCE | CONTINUES) == NEW_SEQUENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_sequence_begins_where_the_header_says_so() {
        for (payload, expected) in [
            (&[0x28, 0x0A][..], true),
            (&[0x68, 0x0A], true),
            (&[0x20, 0x0A], false),
            // Contradicts itself (section 4.4): N forbids Z.
            (&[0x88, 0x0A], false),
            (&[], false),
        ] {
            assert_eq!(starts_key_frame(payload), expected, "{payload:x?}");
        }
    }
}
