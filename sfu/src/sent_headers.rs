//! The headers of packets that went out, for subscribers that do not know RTX.
//!
//! A repair without RTX has the sequence number of the packet it repairs, and with it the nonce. Sealed twice with
//! anything in it changed, AES-GCM gives its authentication key away (RFC 7714, section 10): such a repair is the same
//! packet bit for bit, or it is not sent.

use crate::{
    layers::PictureIds,
    rewrite::Rewritten,
    rtp::{RtpTime, SeqNo},
};

/// Number of packets that are remembered: two seconds of sound.
const REMEMBERED: usize = 128;

/// The end of a packet's authentication tag, which depends on each bit of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal([u8; 8]);

impl Seal {
    /// The seal of a sealed packet.
    pub fn of(packet: &[u8]) -> Self {
        Self(packet.last_chunk().copied().unwrap_or_default())
    }
}

/// The parts of a packet that may differ from one moment to the next though the payload is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentHeader {
    /// The packet's numbers.
    pub rewritten: Rewritten,
    /// Transport-wide number of the packet.
    pub transport_cc: Option<SeqNo>,
    /// The packet named its section.
    pub mid: bool,
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// The packet went out with redundancy (RED).
    pub red: bool,
    /// The packet went out without content.
    pub empty: bool,
    /// The seal, by which a repair is known to be the same packet.
    pub seal: Seal,
}

/// The headers of one subscription's last packets. Small: each subscriber has one for each voice.
#[derive(Debug, Default)]
pub struct SentHeaders {
    /// The packets, by the low bits of the index; empty until the first packet.
    slots: Vec<Slot>,
    /// Picture numbers, in the same places; empty until a packet has some.
    pictures: Vec<PictureIds>,
}

/// A [`SentHeader`], packed.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// One more than the index divided by [`REMEMBERED`]; 0: no packet.
    round: u32,
    time: RtpTime,
    seal: [u8; 8],
    transport_cc: u16,
    payload_type: u8,
    flags: u8,
}

const HAS_NUMBER: u8 = 1;
const HAS_PICTURE: u8 = 2;
const MID: u8 = 4;
const MARKER: u8 = 8;
const IS_RED: u8 = 16;
const IS_EMPTY: u8 = 32;

/// The slot of an index, and its round.
fn place(index: u64) -> (usize, u32) {
    let remembered = REMEMBERED as u64;
    (
        (index % remembered) as usize,
        ((index / remembered) as u32).wrapping_add(1),
    )
}

impl SentHeaders {
    /// Remembers a packet that went out.
    pub fn remember(&mut self, header: &SentHeader) {
        let Rewritten {
            index,
            time,
            picture,
        } = header.rewritten;
        let (at, round) = place(index);
        if self.slots.is_empty() {
            self.slots.resize(REMEMBERED, Slot::default());
        }
        if let Some(picture) = picture {
            self.pictures.resize(REMEMBERED, PictureIds::default());
            self.pictures[at] = picture;
        }
        let flags = [
            (header.transport_cc.is_some(), HAS_NUMBER),
            (picture.is_some(), HAS_PICTURE),
            (header.mid, MID),
            (header.marker, MARKER),
            (header.red, IS_RED),
            (header.empty, IS_EMPTY),
        ];
        self.slots[at] = Slot {
            round,
            time,
            seal: header.seal.0,
            transport_cc: header.transport_cc.map_or(0, |number| number.0),
            payload_type: header.payload_type,
            flags: flags
                .into_iter()
                .filter(|(is_set, _)| *is_set)
                .fold(0, |flags, (_, flag)| flags | flag),
        };
    }

    /// The header of the packet with this index; `None` when it did not go out, or too long ago.
    pub fn get(&self, index: u64) -> Option<SentHeader> {
        let (at, round) = place(index);
        let slot = self.slots.get(at).filter(|slot| slot.round == round)?;
        let has = |flag| slot.flags & flag != 0;
        let picture = self.pictures.get(at).filter(|_| has(HAS_PICTURE));
        Some(SentHeader {
            rewritten: Rewritten {
                index,
                time: slot.time,
                picture: picture.copied(),
            },
            transport_cc: has(HAS_NUMBER).then_some(SeqNo(slot.transport_cc)),
            mid: has(MID),
            marker: has(MARKER),
            payload_type: slot.payload_type,
            red: has(IS_RED),
            empty: has(IS_EMPTY),
            seal: Seal(slot.seal),
        })
    }

    /// Forgets everything: no packet that went out can be written like that any more.
    pub fn clear(&mut self) {
        (self.slots, self.pictures) = (Vec::new(), Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(index: u64, flags: u8) -> SentHeader {
        let is = |bit: u8| flags & (1 << bit) != 0;
        let ids = PictureIds {
            picture_id: Some(index as u16),
            tl0_pic_idx: None,
            frame_number: Some(!index as u16),
        };
        SentHeader {
            rewritten: Rewritten {
                index,
                time: RtpTime(index as u32 * 960),
                picture: is(0).then_some(ids),
            },
            transport_cc: is(1).then_some(SeqNo((index as u16).wrapping_add(7))),
            mid: is(2),
            marker: is(3),
            payload_type: index as u8 % 128,
            red: is(4),
            empty: is(5),
            seal: Seal::of(&[flags; 20]),
        }
    }

    #[test]
    fn only_what_went_out_lately_is_known() {
        let mut sent = SentHeaders::default();
        assert_eq!(sent.get(0), None);
        (0..200).for_each(|index| sent.remember(&header(index, 0)));
        assert_eq!(sent.get(71), None);
        assert_eq!(sent.get(72), Some(header(72, 0)));
        assert_eq!(sent.get(72 + REMEMBERED as u64), None);
        sent.clear();
        assert_eq!(sent.get(199), None);
    }

    #[test]
    fn whatever_a_packet_was_is_known_whole() {
        let mut sent = SentHeaders::default();
        for flags in 0..64 {
            let index = 65_500 + 2 * u64::from(flags);
            sent.remember(&header(index, flags));
            assert_eq!(sent.get(index), Some(header(index, flags)));
            assert_eq!(sent.get(index + 1), None);
        }
    }

    #[test]
    fn a_voice_costs_less_than_three_kilobytes() {
        assert!(REMEMBERED * size_of::<Slot>() < 3000);
    }
}
