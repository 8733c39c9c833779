//! What packets looked like when they went out, for subscribers that do not know RTX.
//!
//! A repair without RTX has the sequence number of the packet it repairs, and with it the nonce. Sealed twice with
//! anything in it changed, AES-GCM gives its authentication key away (RFC 7714, section 10): such a repair is the same
//! packet bit for bit, or it is not sent.

use crate::{rewrite::Rewritten, rtp::SeqNo};

/// Packets that are remembered: two seconds of sound.
const REMEMBERED: usize = 128;

/// The end of a packet's authentication tag, which depends on each bit of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal(u64);

impl Seal {
    /// Of a sealed packet.
    pub fn of(packet: &[u8]) -> Self {
        Self(
            packet
                .last_chunk()
                .map_or(0, |end| u64::from_be_bytes(*end)),
        )
    }
}

/// What may differ from one moment to the next in a packet with the same payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentHeader {
    /// Its numbers.
    pub rewritten: Rewritten,
    /// Its transport-wide number.
    pub transport_cc: Option<SeqNo>,
    /// It named its section.
    pub mid: bool,
    /// Its marker bit.
    pub marker: bool,
    /// Its payload type.
    pub payload_type: u8,
    /// It went out with redundancy (RED).
    pub red: bool,
    /// It went out without content.
    pub empty: bool,
    /// Whether a repair is the same is seen by this.
    pub seal: Seal,
}

/// See the module.
#[derive(Debug, Default)]
pub struct SentHeaders {
    /// By the low bits of the index; empty until the first packet.
    slots: Vec<Option<(u64, SentHeader)>>,
}

impl SentHeaders {
    /// The packet with this index went out like this.
    pub fn remember(&mut self, index: u64, header: SentHeader) {
        if self.slots.is_empty() {
            self.slots.resize(REMEMBERED, None);
        }
        self.slots[index as usize % REMEMBERED] = Some((index, header));
    }

    /// How the packet with this index went out; `None` when it did not, or too long ago.
    pub fn get(&self, index: u64) -> Option<SentHeader> {
        let slot = self.slots.get(index as usize % REMEMBERED)?;
        slot.filter(|(known, _)| *known == index)
            .map(|(_, header)| header)
    }

    /// Nothing of what went out can be written like that any more.
    pub fn clear(&mut self) {
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::RtpTime;

    #[test]
    fn only_what_went_out_lately_is_known() {
        let header = |payload_type| SentHeader {
            rewritten: Rewritten {
                index: 0,
                time: RtpTime(0),
                picture: None,
            },
            transport_cc: Some(SeqNo(7)),
            mid: true,
            marker: false,
            payload_type,
            red: false,
            empty: false,
            seal: Seal::of(&[payload_type; 20]),
        };
        let mut sent = SentHeaders::default();
        assert_eq!(sent.get(0), None);
        (0..200).for_each(|index| sent.remember(index, header(index as u8)));
        assert_eq!(sent.get(71), None);
        assert_eq!(sent.get(72), Some(header(72)));
        assert_eq!(sent.get(72 + REMEMBERED as u64), None);
        sent.clear();
        assert_eq!(sent.get(199), None);
    }
}
