use super::{
    cipher::{apply_ctr, cm_iv, ctr_key, derive, gcm_rtp_nonce},
    replay::MAX_SSRCS,
    *,
};
use crate::rtp::{EgressHeader, RtpTime, SeqNo};
use proptest::prelude::*;

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::AeadAes256Gcm,
    SrtpProfile::AeadAes128Gcm,
    SrtpProfile::AesCm128HmacSha1_80,
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn pair(profile: SrtpProfile) -> (SrtpSender, SrtpReceiver) {
    let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
    let (sender, _) = from_keying_material(profile, &material, DtlsRole::Client).unwrap();
    let (_, receiver) = from_keying_material(profile, &material, DtlsRole::Server).unwrap();
    (sender, receiver)
}

/// Both directions on the same session keys, as the vectors of RFC 7714 have them.
fn session(key: &str) -> (SrtpSender, SrtpReceiver) {
    let profile = if key.len() > 32 {
        SrtpProfile::AeadAes256Gcm
    } else {
        SrtpProfile::AeadAes128Gcm
    };
    let cipher = || {
        let salt = hex("517569642070726f2071756f").try_into().unwrap();
        Cipher::gcm(&hex(key), salt).unwrap()
    };
    let keys = || SessionKeys {
        profile,
        rtp: cipher(),
        rtcp: cipher(),
    };
    (
        SrtpSender {
            keys: keys(),
            rtcp_index: 0x5d3,
        },
        SrtpReceiver::new(keys()),
    )
}

const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
    69736120 696e2070 61727465 73207472 6573";
const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
    deadbeef deadbeef deadbeef deadbeef deadbeef";

#[test]
fn rtp_vectors_of_rfc_7714_section_16() {
    for (key, sealed) in [
        (
            KEY_128,
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
             42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            KEY_256,
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
             b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ] {
        let (sender, mut receiver) = session(key);
        let (plain, sealed) = (hex(RTP), hex(sealed));
        let mut out = plain.clone();
        out.resize(plain.len() + 16, 0);
        let len = sender
            .seal_rtp(&mut out, 12, plain.len() - 12, 0x5501a0b2, 0xf17b)
            .unwrap();
        assert_eq!(out[..len], sealed);
        out.fill(0);
        out[..12].copy_from_slice(&plain[..12]);
        sender
            .seal_rtp_from(&mut out, 12, &plain[12..], 0x5501a0b2, 0xf17b)
            .unwrap();
        assert_eq!(out, sealed);
        let header = RtpHeader::parse(&sealed).unwrap();
        let opened = receiver.open_rtp(&sealed, &header, &mut out);
        assert_eq!(opened, Ok((plain.len() - 12, 0xf17b)));
        assert_eq!(out[..plain.len() - 12], plain[12..]);
    }
}

#[test]
fn rtcp_vectors_of_rfc_7714_section_17() {
    let tagged = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
        deadbeef deadbeef deadbeef deadbeef deadbeef 841dd968 3dd78ec9 2ae58790 125f62b3 000005d4";
    for (key, sealed) in [
        (
            KEY_128,
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
             730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            KEY_256,
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1
             110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        ),
    ] {
        let (mut sender, mut receiver) = session(key);
        let (plain, sealed) = (hex(RTCP), hex(sealed));
        let mut out = plain.clone();
        out.resize(plain.len() + 20, 0);
        assert_eq!(sender.seal_rtcp(&mut out, plain.len()), Ok(sealed.len()));
        assert_eq!(out, sealed);
        assert_eq!(receiver.open_rtcp(&sealed, &mut out), Ok(plain.len()));
        assert_eq!(out[..plain.len()], plain);
        assert_eq!(
            receiver.open_rtcp(&sealed, &mut out),
            Err(SrtpError::Replayed)
        );
    }
    let (_, mut receiver) = session(KEY_128);
    let (mut tagged, mut out) = (hex(tagged), [0; 100]);
    assert_eq!(
        receiver.open_rtcp(&tagged, &mut out),
        Ok(52),
        "authenticated only"
    );
    assert_eq!(out[..52], tagged[..52]);
    tagged[30] ^= 1;
    let (_, mut receiver) = session(KEY_128);
    assert_eq!(
        receiver.open_rtcp(&tagged, &mut out),
        Err(SrtpError::Authentication)
    );
}

#[test]
fn key_derivation_and_keystream_vectors_of_rfc_3711_appendix_b() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    for (label, expected) in [
        (0, "C61E7A93744F39EE10734AFE3FF7A087"),
        (2, "30CBBC08863D8C85D49DB34A9AE1"),
        (1, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"),
    ] {
        let expected = hex(expected);
        let mut out = vec![0; expected.len()];
        derive(&key, &salt, label, &mut out).unwrap();
        assert_eq!(out, expected, "label {label}");
    }
    let key = ctr_key(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let mut stream = [0; 48];
    apply_ctr(&key, cm_iv(&salt, 0, 0), &mut stream).unwrap();
    let expected = hex(
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
        41E95B3BB0A2E8DD477901E4FCA894C0",
    );
    assert_eq!(stream, expected[..]);
}

#[test]
fn a_whole_aes_cm_packet_as_libsrtp_makes_it() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    let keys = SessionKeys::derive(SrtpProfile::AesCm128HmacSha1_80, &key, &salt).unwrap();
    let mut sender = SrtpSender {
        keys,
        rtcp_index: 0,
    };
    let mut out = hex("800f1234 decafbad cafebabe abababab abababab abababab abababab");
    out.resize(38, 0);
    assert_eq!(
        sender.seal_rtp(&mut out, 12, 16, 0xcafebabe, 0x1234),
        Ok(38)
    );
    let expected = hex(
        "800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402
        b78d6acc 99ea179b 8dbb",
    );
    assert_eq!(out, expected);
    let mut out = hex("81c8000b cafebabe abababab abababab abababab abababab");
    out.resize(38, 0);
    assert_eq!(sender.seal_rtcp(&mut out, 24), Ok(38));
    let expected = hex(
        "81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8 80000001
        993e08cd 54d6c123 0798",
    );
    assert_eq!(out, expected);
}

fn sealed(sender: &SrtpSender, ssrc: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    let header = EgressHeader {
        seq: SeqNo(index as u16),
        time: RtpTime(index as u32),
        ssrc,
        payload_type: 96,
        marker: false,
        padding: false,
    };
    let mut out = vec![0; 12 + 8 + payload.len() + MAX_RTP_OVERHEAD];
    let header_len = header.write(&mut out, &[(3, b"xyz")]).unwrap();
    let len = sender
        .seal_rtp_from(&mut out, header_len, payload, ssrc, index)
        .unwrap();
    out.truncate(len);
    out
}

fn open(receiver: &mut SrtpReceiver, packet: &[u8]) -> Result<(Vec<u8>, u64), SrtpError> {
    let header = RtpHeader::parse(packet).unwrap();
    let mut out = vec![0; 2000];
    let (len, index) = receiver.open_rtp(packet, &header, &mut out)?;
    Ok((out[..len].to_vec(), index))
}

#[test]
fn the_roll_over_counter_follows_with_loss_and_reordering() {
    for profile in PROFILES {
        let (sender, mut receiver) = pair(profile);
        for index in [
            65_000, 65_535, 65_537, 65_534, 65_536, 98_000, 130_000, 131_072, 131_070,
        ] {
            let packet = sealed(&sender, 7, index, b"payload");
            assert_eq!(
                open(&mut receiver, &packet),
                Ok((b"payload".to_vec(), index))
            );
            assert_eq!(open(&mut receiver, &packet), Err(SrtpError::Replayed));
        }
        assert_eq!(
            open(&mut receiver, &sealed(&sender, 7, 130_900, b"")),
            Err(SrtpError::TooOld)
        );
    }
}

#[test]
fn a_wrong_tag_changes_nothing() {
    for profile in PROFILES {
        let (sender, mut receiver) = pair(profile);
        let good = sealed(&sender, 7, 100, b"payload");
        for at in 12..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            if RtpHeader::parse(&bad).is_ok() {
                assert_eq!(open(&mut receiver, &bad), Err(SrtpError::Authentication));
            }
        }
        let mut far = sealed(&sender, 7, 30_000, b"payload");
        *far.last_mut().unwrap() ^= 1;
        assert_eq!(open(&mut receiver, &far), Err(SrtpError::Authentication));
        assert!(receiver.rtp.is_empty());
        assert!(open(&mut receiver, &good).is_ok());
        assert_eq!(open(&mut receiver, &far), Err(SrtpError::Authentication));
        assert!(
            open(&mut receiver, &sealed(&sender, 7, 99, b"")).is_ok(),
            "window did not move"
        );
    }
}

#[test]
fn the_table_of_streams_is_bounded_and_keeps_the_busy_ones() {
    let (sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
    for ssrc in 0..1000 {
        assert!(open(&mut receiver, &sealed(&sender, ssrc, 1, b"x")).is_ok());
        let busy = sealed(&sender, 0, u64::from(ssrc) + 2, b"x");
        assert!(open(&mut receiver, &busy).is_ok());
        assert_eq!(open(&mut receiver, &busy), Err(SrtpError::Replayed));
    }
    assert_eq!(receiver.rtp.len(), MAX_SSRCS);
}

#[test]
fn the_two_directions_have_different_keys() {
    for profile in PROFILES {
        let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
        let (client, mut client_receiver) =
            from_keying_material(profile, &material, DtlsRole::Client).unwrap();
        let packet = sealed(&client, 7, 1, b"own");
        assert_eq!(
            open(&mut client_receiver, &packet),
            Err(SrtpError::Authentication)
        );
        assert!(matches!(
            from_keying_material(profile, &material[1..], DtlsRole::Client),
            Err(SrtpError::KeyLength)
        ));
    }
}

#[test]
fn nonces_are_unique_over_streams_indices_and_rollovers() {
    let salt = [0x5A; 12];
    let mut seen = std::collections::BTreeSet::new();
    for ssrc in [0, 1, 2, 1 << 16, u32::MAX] {
        for index in [
            0,
            1,
            0xFFFF,
            0x1_0000,
            0x1_0001,
            0xFFFF_FFFF,
            1 << 32,
            MAX_RTP_INDEX,
        ] {
            assert!(seen.insert(*gcm_rtp_nonce(&salt, ssrc, index).as_ref()));
        }
    }
}

#[test]
fn exhausted_keys_and_short_buffers_are_refused() {
    let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes256Gcm);
    let mut out = [0x80; 60];
    assert_eq!(
        sender.seal_rtp(&mut out, 12, 33, 1, 1),
        Err(SrtpError::DoesNotFit)
    );
    assert_eq!(
        sender.seal_rtp(&mut out, 12, 3, 1, MAX_RTP_INDEX + 1),
        Err(SrtpError::KeyExhausted)
    );
    assert_eq!(sender.seal_rtcp(&mut out, 41), Err(SrtpError::DoesNotFit));
    assert_eq!(sender.seal_rtcp(&mut out, 7), Err(SrtpError::Truncated));
    sender.rtcp_index = RTCP_ENCRYPTED - 2;
    assert_eq!(sender.seal_rtcp(&mut out, 20), Ok(40));
    assert_eq!(sender.seal_rtcp(&mut out, 20), Err(SrtpError::KeyExhausted));
    let packet = sealed(&sender, 7, 1, b"12345");
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(
        receiver.open_rtp(&packet, &header, &mut [0; 4]),
        Err(SrtpError::DoesNotFit)
    );
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(
        payload in proptest::collection::vec(any::<u8>(), 0..1400),
        start in 0u64..40_000,
        steps in proptest::collection::vec(1u64..20_000, 1..30),
    ) {
        for profile in PROFILES {
            let (sender, mut receiver) = pair(profile);
            let mut index = start;
            for step in &steps {
                let packet = sealed(&sender, 0xABCD, index, &payload);
                prop_assert_eq!(open(&mut receiver, &packet), Ok((payload.clone(), index)));
                index += step;
            }
        }
    }

    #[test]
    fn a_packet_is_opened_once_in_whatever_order_it_comes(
        start in 0u64..65_536, offsets in proptest::collection::vec(0u64..300, 1..400),
    ) {
        for profile in PROFILES {
            let (sender, mut receiver) = pair(profile);
            let (mut opened, mut highest) = (std::collections::BTreeSet::new(), 0);
            prop_assert!(open(&mut receiver, &sealed(&sender, 7, start, b"first")).is_ok());
            opened.insert(start);
            for offset in &offsets {
                let index = start + offset;
                match open(&mut receiver, &sealed(&sender, 7, index, b"x")) {
                    Ok((_, at)) => prop_assert!(at == index && opened.insert(index)),
                    Err(SrtpError::Replayed) => prop_assert!(opened.contains(&index)),
                    Err(error) => {
                        prop_assert_eq!(error, SrtpError::TooOld);
                        prop_assert!(index + 64 <= highest);
                    }
                }
                highest = highest.max(index);
            }
        }
    }

    #[test]
    fn rtcp_survives_the_round_trip(
        mut packet in proptest::collection::vec(any::<u8>(), 8..200), rounds in 1usize..5,
    ) {
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            for _ in 0..rounds {
                let len = packet.len();
                let mut sealed = packet.clone();
                sealed.resize(len + MAX_RTCP_OVERHEAD, 0);
                let sealed_len = sender.seal_rtcp(&mut sealed, len).unwrap();
                let mut out = [0; 300];
                prop_assert_eq!(receiver.open_rtcp(&sealed[..sealed_len], &mut out), Ok(len));
                prop_assert_eq!(&out[..len], &packet[..]);
                packet[7] ^= 1;
            }
        }
    }

    #[test]
    fn random_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        for profile in PROFILES {
            let (_, mut receiver) = pair(profile);
            let mut out = [0; 100];
            prop_assert!(receiver.open_rtcp(&bytes, &mut out).is_err());
            let mut bytes = bytes.clone();
            if let Some(first) = bytes.first_mut() {
                *first = 0x80;
            }
            if let Ok(header) = RtpHeader::parse(&bytes) {
                prop_assert!(receiver.open_rtp(&bytes, &header, &mut out).is_err());
            }
            prop_assert!(receiver.rtp.is_empty() && receiver.rtcp.is_empty());
        }
    }
}
