//! Redundant audio (RFC 2198): finds the primary encoding, for receivers that do not know RED.

/// A payload that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed redundant audio")]
pub struct Malformed;

/// The place of the primary encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Primary {
    /// Offset of the encoding, which reaches to the end of the payload. Never 0.
    pub offset: u16,
    /// Payload type of the encoding.
    pub payload_type: u8,
}

/// Finds the primary encoding by the block headers.
pub fn primary(payload: &[u8]) -> Result<Primary, Malformed> {
    let (mut at, mut redundant) = (0, 0);
    loop {
        let first = *payload.get(at).ok_or(Malformed)?;
        let payload_type = first & 0x7F;
        if first & 0x80 == 0 {
            let offset = at + 1 + redundant;
            if offset > payload.len() {
                return Err(Malformed);
            }
            let offset = u16::try_from(offset).map_err(|_| Malformed)?;
            return Ok(Primary {
                offset,
                payload_type,
            });
        }
        let header = payload.get(at..at + 4).ok_or(Malformed)?;
        redundant += usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x03FF);
        at += 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_primary_encoding_follows_the_redundant_ones() {
        let alone = [0x6F, 1, 2, 3];
        let primary_alone = Primary {
            offset: 1,
            payload_type: 111,
        };
        assert_eq!(primary(&alone), Ok(primary_alone));
        // Two redundant blocks of two and one bytes.
        let both = [
            0xEF, 0x0F, 0x00, 0x02, 0xEF, 0x07, 0x80, 0x01, 0x6F, 1, 1, 2, 3, 3, 3,
        ];
        assert_eq!(
            primary(&both),
            Ok(Primary {
                offset: 12,
                payload_type: 111
            })
        );
        for cut in 0..12 {
            assert_eq!(primary(&both[..cut]), Err(Malformed), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn the_primary_encoding_lies_within_any_payload(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(primary) = primary(&payload) {
                prop_assert!((1..=payload.len()).contains(&usize::from(primary.offset)));
            }
        }
    }
}
