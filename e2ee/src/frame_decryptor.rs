//! The frames that a member receives.

use std::collections::{BTreeMap, BTreeSet};

use sframe::frame::{
    EncryptedFrameView,
    validation::{FrameValidation, ReplayAttackProtectionStore, Tolerance, UnvalidatedFrame},
};

use crate::{
    aead::DecryptionKey,
    base_key::BaseKey,
    codec::Codec,
    frame::Frame,
    frame_encryptor::SUITE,
    key_id::{KeyId, Slot},
};

/// The number of frames by which one may come late and still be taken: some eleven seconds of three layers.
const WINDOW: usize = 1024;

/// Why a frame is not shown. Nothing of it is: what cannot be decrypted is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// There is nothing in it. Some browsers hand out such frames of sound; they count as none.
    #[error("the frame is empty")]
    Empty,
    /// It is not encrypted, or not as frames of its codec are.
    #[error("the frame is not encrypted")]
    NotEncrypted,
    /// It is of an epoch whose keys are not here yet, or are forgotten.
    #[error("no keys of the frame's epoch")]
    UnknownEpoch,
    /// Its sender is no member of its epoch.
    #[error("the frame's sender is no member")]
    NotAMember,
    /// It is of another member or another slot than the track it came on.
    #[error("the frame belongs to another track")]
    OtherTrack,
    /// It was here before, or is too old to tell.
    #[error("the frame was here before")]
    Replayed,
    /// Its tag does not fit.
    #[error("the frame is forged")]
    Forged,
}

/// The keys with which a member decrypts, and what it has decrypted already.
pub struct FrameDecryptor {
    /// By the bits of its number that frames carry.
    epochs: BTreeMap<u8, Epoch>,
    seen: ReplayAttackProtectionStore,
}

struct Epoch {
    number: u64,
    base_key: BaseKey,
    /// The leaves of its members.
    members: BTreeSet<u32>,
    keys: BTreeMap<KeyId, DecryptionKey>,
}

impl Default for FrameDecryptor {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameDecryptor {
    /// A decryptor without keys.
    pub fn new() -> Self {
        Self {
            epochs: BTreeMap::new(),
            seen: ReplayAttackProtectionStore::new(Tolerance::new(WINDOW)),
        }
    }

    /// Takes the keys of an epoch. `members`: the leaf indices of its members. An epoch whose number looks the same in
    /// frames is forgotten.
    pub fn install(
        &mut self,
        number: u64,
        base_key: BaseKey,
        members: impl IntoIterator<Item = u32>,
    ) {
        let known = self.epochs.get(&(number as u8));
        if known.is_some_and(|epoch| epoch.number == number && epoch.base_key == base_key) {
            return;
        }
        self.forget_bits(number as u8);
        let epoch = Epoch {
            number,
            base_key,
            members: members.into_iter().collect(),
            keys: BTreeMap::new(),
        };
        self.epochs.insert(number as u8, epoch);
    }

    /// Forgets the keys of an epoch.
    pub fn forget(&mut self, number: u64) {
        let bits = number as u8;
        if self
            .epochs
            .get(&bits)
            .is_some_and(|epoch| epoch.number == number)
        {
            self.forget_bits(bits);
        }
    }

    fn forget_bits(&mut self, bits: u8) {
        self.epochs.remove(&bits);
        self.seen
            .retain(|id| KeyId::from_wire(id).is_some_and(|id| id.epoch() != bits));
    }

    /// Decrypts a frame of a track of this member and slot. `space` is where it is unescaped, if it has to be.
    ///
    /// # Errors
    /// [`DecryptError`]; there is nothing to show then.
    pub fn decrypt(
        &mut self,
        from: (u32, Slot),
        codec: Codec,
        wire: &[u8],
        space: &mut Vec<u8>,
        out: &mut Frame,
    ) -> Result<(), DecryptError> {
        out.clear();
        let decrypted = self.decrypt_into(from, codec, wire, space, out);
        if decrypted.is_err() {
            out.clear();
        }
        decrypted
    }

    fn decrypt_into(
        &mut self,
        (leaf, slot): (u32, Slot),
        codec: Codec,
        wire: &[u8],
        space: &mut Vec<u8>,
        out: &mut Frame,
    ) -> Result<(), DecryptError> {
        if wire.is_empty() {
            return Err(DecryptError::Empty);
        }
        let encrypted = codec.strip(wire, space);
        let encrypted = encrypted.map_err(|_| DecryptError::NotEncrypted)?;
        let frame = EncryptedFrameView::try_new(&encrypted);
        let frame = frame.map_err(|_| DecryptError::NotEncrypted)?;
        let id = KeyId::from_wire(frame.header().key_id()).ok_or(DecryptError::NotEncrypted)?;
        if (id.leaf(), id.slot()) != (leaf, slot) {
            return Err(DecryptError::OtherTrack);
        }
        let epoch = self.epochs.get_mut(&id.epoch());
        let epoch = epoch.ok_or(DecryptError::UnknownEpoch)?;
        let seen = self.seen.screen(UnvalidatedFrame::from(&frame));
        let seen = seen.map_err(|_| DecryptError::Replayed)?;
        let decrypted = frame.decrypt_into(epoch.key(id)?, out);
        decrypted.map_err(|_| DecryptError::Forged)?;
        self.seen.record(seen);
        Ok(())
    }
}

impl Epoch {
    fn key(&mut self, id: KeyId) -> Result<&DecryptionKey, DecryptError> {
        if !self.members.contains(&id.leaf()) {
            return Err(DecryptError::NotAMember);
        }
        if !self.keys.contains_key(&id) {
            let key = DecryptionKey::derive_from(SUITE, id.value(), &self.base_key);
            self.keys.insert(id, key.map_err(|_| DecryptError::Forged)?);
        }
        self.keys.get(&id).ok_or(DecryptError::NotAMember)
    }
}
