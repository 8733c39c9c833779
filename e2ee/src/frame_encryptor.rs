//! The frames that a member sends.

use std::collections::BTreeMap;

use sframe::{
    CipherSuite,
    frame::{MediaFrameView, SingleUseCounter},
};

use crate::{
    aead::EncryptionKey,
    base_key::BaseKey,
    codec::Codec,
    frame::Frame,
    key_id::{KeyId, MAX_LEAVES, Slot},
};

/// The cipher suite of all frames (RFC 9605, section 4.5): AES-256 with tags of 16 bytes, keys derived with SHA-512.
pub const SUITE: CipherSuite = CipherSuite::AesGcm256Sha512;

/// The number of frames of a key after which the group should have a new epoch.
const MANY: u64 = 1 << 24;

/// The number of frames of a key after which there are none any more.
const MOST: u64 = 1 << 32;

/// Why a frame is not sent. None ever goes out in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// There is no key yet.
    #[error("there is no key to encrypt with")]
    NoKey,
    /// The key has encrypted as many frames as a key may.
    #[error("the key has encrypted as many frames as it may")]
    Exhausted,
    /// The frame is none of the codec.
    #[error("the frame is none of its codec")]
    NotOfCodec,
    /// The cipher failed.
    #[error("the cipher failed")]
    Cipher,
}

/// The keys and counters with which a member encrypts. There is one of each for a slot and an epoch, whichever layer,
/// codec or source the frames have: no key encrypts two frames with the same counter.
#[derive(Default)]
pub struct FrameEncryptor {
    epoch: Option<Epoch>,
}

struct Epoch {
    number: u64,
    leaf: u32,
    base_key: BaseKey,
    slots: BTreeMap<Slot, Sending>,
}

struct Sending {
    key: EncryptionKey,
    /// The counter of the next frame.
    next: u64,
}

impl FrameEncryptor {
    /// An encryptor without a key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Encrypts with the keys of this epoch from now on, as the member of this leaf. Epochs only go up: where it is not
    /// above the one before, nothing changes, and counters go on.
    pub fn enter(&mut self, number: u64, leaf: u32, base_key: BaseKey) {
        let is_later = self.epoch.as_ref().is_none_or(|now| number > now.number);
        if is_later && leaf < MAX_LEAVES {
            self.epoch = Some(Epoch {
                number,
                leaf,
                base_key,
                slots: BTreeMap::new(),
            });
        }
    }

    /// Encrypts nothing any more: the member is no member now, or the group is another one, whose epochs begin anew.
    pub fn leave(&mut self) {
        self.epoch = None;
    }

    /// The epoch it encrypts with.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch.as_ref().map(|epoch| epoch.number)
    }

    /// Whether a key has encrypted so many frames that the group should have a new epoch.
    pub fn wants_new_epoch(&self) -> bool {
        let mut slots = self.epoch.iter().flat_map(|epoch| epoch.slots.values());
        slots.any(|sending| sending.next >= MANY)
    }

    /// Encrypts a frame as the codec's packetizers can carry it. `key`: it is a key frame.
    ///
    /// # Errors
    /// [`EncryptError`]; the frame must not be sent then.
    pub fn encrypt(
        &mut self,
        slot: Slot,
        codec: Codec,
        frame: &[u8],
        key: bool,
        out: &mut Frame,
    ) -> Result<(), EncryptError> {
        let encrypted = self.encrypt_into(slot, codec, frame, key, out);
        if encrypted.is_err() {
            out.clear();
        }
        encrypted
    }

    fn encrypt_into(
        &mut self,
        slot: Slot,
        codec: Codec,
        frame: &[u8],
        key: bool,
        out: &mut Frame,
    ) -> Result<(), EncryptError> {
        let sending = self.sending(slot)?;
        out.begin(|prefix| codec.write_prefix(frame, key, prefix))
            .map_err(|_| EncryptError::NotOfCodec)?;
        if sending.next >= MOST {
            return Err(EncryptError::Exhausted);
        }
        // Taken whatever comes: a counter is never used again.
        let mut counter = SingleUseCounter::new(sending.next);
        sending.next += 1;
        let frame = MediaFrameView::try_new(&mut counter, &frame);
        let frame = frame.map_err(|_| EncryptError::Cipher)?;
        if codec.escapes() {
            let encrypted = frame.encrypt(&sending.key);
            let encrypted = encrypted.map_err(|_| EncryptError::Cipher)?;
            codec.escape(encrypted.as_ref(), out.end());
        } else {
            let encrypted = frame.encrypt_into(&sending.key, out);
            encrypted.map_err(|_| EncryptError::Cipher)?;
        }
        Ok(())
    }

    fn sending(&mut self, slot: Slot) -> Result<&mut Sending, EncryptError> {
        let epoch = self.epoch.as_mut().ok_or(EncryptError::NoKey)?;
        let id = KeyId::new(epoch.number, epoch.leaf, slot).ok_or(EncryptError::NoKey)?;
        if !epoch.slots.contains_key(&slot) {
            let key = EncryptionKey::derive_from(SUITE, id.value(), &epoch.base_key);
            let key = key.map_err(|_| EncryptError::Cipher)?;
            epoch.slots.insert(slot, Sending { key, next: 0 });
        }
        epoch.slots.get_mut(&slot).ok_or(EncryptError::NoKey)
    }
}
