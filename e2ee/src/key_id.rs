//! The key id of a frame: of which epoch its key is, who sends it, and what it carries (RFC 9605, section 5.2).

use std::fmt;

/// The number of bits of an epoch's number that a key id carries, the lowest ones.
const EPOCH_BITS: u32 = 8;

/// The number of bits of a sender's leaf index.
const LEAF_BITS: u32 = 10;

/// The number of bits of a slot.
const SLOT_BITS: u32 = 6;

/// The most leaves that a group may have: a key id has no room for more.
pub const MAX_LEAVES: u32 = 1 << LEAF_BITS;

/// What a frame of a participant belongs to. All layers and codecs of one picture share a slot, and with it a key and a
/// counter. As it is part of the key id, nobody can pass a participant's screen off as its camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

impl Slot {
    /// The microphone.
    pub const MICROPHONE: Self = Self(0);
    /// The camera.
    pub const CAMERA: Self = Self(1);
    /// A shared screen.
    pub const SCREEN_SHARE: Self = Self(2);
    /// The sound of a shared screen.
    pub const SCREEN_SHARE_AUDIO: Self = Self(3);

    /// The slot of this number. The first four have names; further tracks of a participant take those from four on.
    /// `None`: there are 64.
    pub fn new(number: u8) -> Option<Self> {
        (number < 1 << SLOT_BITS).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// A key id. From its lowest bit on: eight bits of the epoch, ten of the leaf index, six of the slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u32);

impl KeyId {
    /// The key id of frames of this leaf and slot in an epoch. `None`: a group has no such leaf.
    pub fn new(epoch: u64, leaf: u32, slot: Slot) -> Option<Self> {
        let epoch = epoch as u32 & ((1 << EPOCH_BITS) - 1);
        (leaf < MAX_LEAVES).then_some(Self(
            epoch | leaf << EPOCH_BITS | u32::from(slot.0) << (EPOCH_BITS + LEAF_BITS),
        ))
    }

    /// The key id with this value on the wire. `None`: it has more bits than ours have.
    pub fn from_wire(value: u64) -> Option<Self> {
        (value >> (EPOCH_BITS + LEAF_BITS + SLOT_BITS) == 0).then_some(Self(value as u32))
    }

    /// Its value on the wire.
    pub fn value(self) -> u64 {
        self.0.into()
    }

    /// The lowest bits of its epoch.
    pub fn epoch(self) -> u8 {
        self.0 as u8
    }

    /// The leaf index of its sender.
    pub fn leaf(self) -> u32 {
        self.0 >> EPOCH_BITS & (MAX_LEAVES - 1)
    }

    /// What it carries.
    pub fn slot(self) -> Slot {
        Slot((self.0 >> (EPOCH_BITS + LEAF_BITS)) as u8)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, leaf, slot) = (self.epoch(), self.leaf(), self.slot().0);
        write!(f, "epoch {epoch}, leaf {leaf}, slot {slot}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(epoch: u64, leaf in 0..MAX_LEAVES, slot in 0..64_u8) {
            let slot = Slot::new(slot).unwrap();
            let id = KeyId::new(epoch, leaf, slot).unwrap();
            prop_assert_eq!((id.epoch(), id.leaf(), id.slot()), (epoch as u8, leaf, slot));
            prop_assert_eq!(KeyId::from_wire(id.value()), Some(id));
            prop_assert!(id.value() < 1 << 24);
        }
    }

    #[test]
    fn what_has_no_place_in_it_is_refused() {
        assert_eq!(KeyId::new(0, MAX_LEAVES, Slot::CAMERA), None);
        assert_eq!(KeyId::from_wire(1 << 24), None);
        assert_eq!(Slot::new(64), None);
    }
}
