//! Frames as members send and receive them.

use std::collections::BTreeSet;

use e2ee::{
    base_key::BaseKey,
    codec::Codec,
    frame::Frame,
    frame_decryptor::{DecryptError, FrameDecryptor},
    frame_encryptor::{EncryptError, FrameEncryptor},
    key_id::Slot,
};
use proptest::prelude::*;

fn key(epoch: u64) -> BaseKey {
    BaseKey::new([epoch as u8; 32])
}

/// A sender at leaf 3 and somebody who receives, both in epoch 1.
fn pair() -> (FrameEncryptor, FrameDecryptor) {
    let (mut sender, mut receiver) = (FrameEncryptor::new(), FrameDecryptor::new());
    sender.enter(1, 3, key(1));
    receiver.install(1, key(1), [0, 3]);
    (sender, receiver)
}

fn encrypt(sender: &mut FrameEncryptor, slot: Slot, frame: &[u8]) -> Vec<u8> {
    let mut out = Frame::new();
    sender
        .encrypt(slot, Codec::Opus, frame, false, &mut out)
        .unwrap();
    out.bytes().to_vec()
}

fn decrypt(
    receiver: &mut FrameDecryptor,
    from: (u32, Slot),
    wire: &[u8],
) -> Result<Vec<u8>, DecryptError> {
    let mut out = Frame::new();
    let decrypted = receiver.decrypt(from, Codec::Opus, wire, &mut Vec::new(), &mut out);
    assert!(
        decrypted.is_ok() || out.bytes().is_empty(),
        "nothing of it is left"
    );
    decrypted.map(|()| out.bytes().to_vec())
}

const CAMERA: (u32, Slot) = (3, Slot::CAMERA);

#[test]
fn without_a_key_nothing_goes_out() {
    let mut out = Frame::new();
    let sent = FrameEncryptor::new().encrypt(Slot::CAMERA, Codec::Opus, b"x", false, &mut out);
    assert_eq!((sent, out.bytes()), (Err(EncryptError::NoKey), &[][..]));
    let (mut sender, _) = pair();
    sender
        .encrypt(Slot::CAMERA, Codec::Opus, b"x", false, &mut out)
        .unwrap();
    sender.leave();
    let sent = sender.encrypt(Slot::CAMERA, Codec::Opus, b"x", false, &mut out);
    assert_eq!((sent, out.bytes()), (Err(EncryptError::NoKey), &[][..]));
}

#[test]
fn a_frame_comes_through_once_and_to_its_own_track_only() {
    let (mut sender, mut receiver) = pair();
    let wire = encrypt(&mut sender, Slot::CAMERA, b"a picture");
    assert!(!wire.windows(4).any(|four| four == b"pict"));
    assert_eq!(
        decrypt(&mut receiver, (3, Slot::SCREEN_SHARE), &wire),
        Err(DecryptError::OtherTrack)
    );
    assert_eq!(
        decrypt(&mut receiver, (0, Slot::CAMERA), &wire),
        Err(DecryptError::OtherTrack)
    );
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &wire).as_deref(),
        Ok(&b"a picture"[..])
    );
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &wire),
        Err(DecryptError::Replayed)
    );
}

#[test]
fn what_is_no_frame_of_ours_is_shown_in_no_part() {
    let (mut sender, mut receiver) = pair();
    let wire = encrypt(&mut sender, Slot::CAMERA, b"a picture");
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &[]),
        Err(DecryptError::Empty)
    );
    for len in 1..wire.len() {
        assert!(
            decrypt(&mut receiver, CAMERA, &wire[..len]).is_err(),
            "{len} bytes"
        );
    }
    for at in 0..wire.len() {
        let mut bent = wire.clone();
        bent[at] ^= 1;
        assert!(decrypt(&mut receiver, CAMERA, &bent).is_err(), "byte {at}");
    }
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &wire).as_deref(),
        Ok(&b"a picture"[..]),
        "none of them counted"
    );
}

#[test]
fn frames_of_another_epoch_need_its_keys_and_frames_of_no_member_have_none() {
    let (mut sender, mut receiver) = pair();
    sender.enter(2, 3, key(2));
    let wire = encrypt(&mut sender, Slot::CAMERA, b"later");
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &wire),
        Err(DecryptError::UnknownEpoch)
    );
    receiver.install(2, key(2), [0]);
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &wire),
        Err(DecryptError::NotAMember)
    );
    receiver.forget(2);
    receiver.install(2, key(2), [0, 3]);
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &wire).as_deref(),
        Ok(&b"later"[..])
    );
    receiver.forget(2);
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &wire),
        Err(DecryptError::UnknownEpoch)
    );
}

#[test]
fn an_epoch_whose_number_looks_the_same_takes_the_place_of_the_old_one() {
    let (mut sender, mut receiver) = pair();
    let old = encrypt(&mut sender, Slot::CAMERA, b"old");
    receiver.install(257, key(7), [0, 3]);
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &old),
        Err(DecryptError::Forged)
    );
    sender.enter(257, 3, key(7));
    let new = encrypt(&mut sender, Slot::CAMERA, b"new");
    assert_eq!(
        decrypt(&mut receiver, CAMERA, &new).as_deref(),
        Ok(&b"new"[..])
    );
}

proptest! {
    /// Whatever layers, sources and epochs there are in which order: no key encrypts two frames with one counter.
    #[test]
    fn no_counter_is_used_twice(steps in prop::collection::vec((0_u8..6, 0_u64..4, any::<bool>()), 1..200)) {
        let mut sender = FrameEncryptor::new();
        let (mut seen, mut entered) = (BTreeSet::new(), 0);
        sender.enter(0, 3, key(0));
        for (slot, epoch, enters) in steps {
            if enters {
                // Also back to epochs that were there: a server may say anything.
                sender.enter(epoch, 3, key(epoch));
                entered = entered.max(epoch);
            }
            prop_assert_eq!(sender.epoch(), Some(entered));
            let wire = encrypt(&mut sender, Slot::new(slot).unwrap(), b"frame");
            // The header is key id and counter: with the epoch's key it tells a nonce.
            let header = wire[..wire.len() - 5 - 16].to_vec();
            prop_assert!(seen.insert(header), "a counter was used twice");
        }
    }

    #[test]
    fn frames_come_through_in_any_order_and_none_of_them_twice(
        order in Just((0..100_usize).collect::<Vec<_>>()).prop_shuffle(),
        repeats in prop::collection::vec(0..100_usize, 0..50),
    ) {
        let (mut sender, mut receiver) = pair();
        let frames: Vec<_> = (0..100_u8).map(|n| encrypt(&mut sender, Slot::CAMERA, &[n; 40])).collect();
        for at in &order {
            prop_assert_eq!(decrypt(&mut receiver, CAMERA, &frames[*at]), Ok(vec![*at as u8; 40]));
        }
        for at in repeats {
            prop_assert_eq!(decrypt(&mut receiver, CAMERA, &frames[at]), Err(DecryptError::Replayed));
        }
    }
}
