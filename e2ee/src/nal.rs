//! NAL units of H.264 as a byte stream (ITU-T H.264, annex B), and how bytes in them are kept from looking like the start of
//! the next one (section 7.4.1.1).

/// A start code of four bytes.
const START: [u8; 4] = [0, 0, 0, 1];

/// The byte that goes between two zeros and what must not follow them.
const EMULATION_PREVENTION: u8 = 3;

/// A NAL unit.
#[derive(Debug, Clone, Copy)]
pub struct Nal<'a> {
    /// Its bytes: a header, and what follows. Never empty.
    pub bytes: &'a [u8],
}

impl Nal<'_> {
    fn kind(&self) -> u8 {
        self.bytes[0] & 0x1f
    }

    /// Whether it is a slice: of a key picture or of another.
    pub fn is_slice(&self) -> bool {
        matches!(self.kind(), 1 | 5)
    }

    /// Whether it is a parameter set: of a sequence or of a picture.
    pub fn is_parameter_set(&self) -> bool {
        matches!(self.kind(), 7 | 8)
    }
}

/// The units of a byte stream. What stands before the first start code is none of them.
pub fn split(stream: &[u8]) -> impl Iterator<Item = Nal<'_>> {
    let mut rest = start_code(stream).map(|(_, end)| &stream[end..]);
    std::iter::from_fn(move || {
        loop {
            let unit = rest?;
            let (len, next) = match start_code(unit) {
                Some((begin, end)) => (begin, Some(&unit[end..])),
                None => (unit.len(), None),
            };
            rest = next;
            if len > 0 {
                return Some(Nal {
                    bytes: &unit[..len],
                });
            }
        }
    })
}

/// The bounds of the first start code, of three bytes or of four.
fn start_code(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = bytes.windows(3).position(|three| three == &START[1..])?;
    let begin = if at > 0 && bytes[at - 1] == 0 {
        at - 1
    } else {
        at
    };
    Some((begin, at + 3))
}

/// Writes a unit behind a start code.
pub fn write(unit: &[u8], out: &mut Vec<u8>) {
    out.extend(START);
    out.extend(unit);
}

/// Writes bytes behind those of a unit that are there already, with whatever keeps them from being misread.
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut zeros = trailing_zeros(out);
    for &byte in bytes {
        if zeros >= 2 && byte <= EMULATION_PREVENTION {
            out.push(EMULATION_PREVENTION);
            zeros = 0;
        }
        out.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

/// Undoes [`escape`] of `bytes` behind `head`.
pub fn unescape(head: &[u8], bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.reserve(bytes.len());
    let mut zeros = trailing_zeros(head);
    for &byte in bytes {
        if zeros >= 2 && byte == EMULATION_PREVENTION {
            zeros = 0;
            continue;
        }
        out.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

fn trailing_zeros(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_lie_between_start_codes_of_three_or_four_bytes() {
        let stream = [
            9, 9, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 0, 0, 1, 0, 0, 1, 0x65, 0,
        ];
        let units: Vec<_> = split(&stream).map(|nal| nal.bytes).collect();
        assert_eq!(units, [&[0x67, 1][..], &[0x68], &[0x65, 0]]);
        assert_eq!(split(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn three_bytes_that_would_be_misread_are_taken_apart() {
        let mut out = vec![0x65, 7, 0, 0];
        escape(&[1, 0, 0, 0, 0, 0], &mut out);
        assert_eq!(out, [0x65, 7, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 0]);
        let mut back = Vec::new();
        unescape(&out[..4], &out[4..], &mut back);
        assert_eq!(back, [1, 0, 0, 0, 0, 0]);
    }
}
