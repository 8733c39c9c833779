use super::*;
use proptest::prelude::*;

fn egress() -> EgressHeader {
    EgressHeader {
        seq: SeqNo(0x1234),
        time: RtpTime(0x8765_4321),
        ssrc: 0xDEAD_BEEF,
        payload_type: 111,
        marker: true,
        padding: false,
    }
}

#[test]
fn reads_csrcs_one_byte_extensions_and_their_padding() {
    let mut packet = vec![0x92, 0x60, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];
    packet.extend([9; 8]);
    // id 1 with two bytes, two padding bytes, id 3 with one byte, id 15 ends, then what would be id 4.
    packet.extend([
        0xBE, 0xDE, 0, 3, 0x11, 0xAA, 0xBB, 0, 0, 0x30, 0xCC, 0xF0, 0x40, 1, 0, 0,
    ]);
    packet.extend([1, 2, 3]);
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(usize::from(header.header_len), packet.len() - 3);
    assert_eq!(
        (header.seq, header.time, header.ssrc),
        (SeqNo(7), RtpTime(1), 2)
    );
    assert_eq!(
        (header.payload_type, header.marker, header.padding),
        (96, false, false)
    );
    assert_eq!(header.extension(&packet, 1), Some(&[0xAA, 0xBB][..]));
    assert_eq!(header.extension(&packet, 3), Some(&[0xCC][..]));
    assert_eq!(header.extension(&packet, 4), None);
    assert_eq!(header.extensions(&packet).count(), 2);
}

#[test]
fn reads_two_byte_extensions_with_empty_values() {
    let mut packet = vec![0x90, 0x60, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];
    packet.extend([0x10, 0x05, 0, 2, 200, 0, 0, 15, 3, 7, 8, 9]);
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.extension(&packet, 200), Some(&[][..]));
    assert_eq!(header.extension(&packet, 15), Some(&[7, 8, 9][..]));
}

#[test]
fn an_element_longer_than_the_block_ends_it() {
    let mut packet = vec![0x90, 0x60, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];
    packet.extend([0xBE, 0xDE, 0, 1, 0x10, 5, 0x2F, 0, 1, 2, 3, 4, 5, 6]);
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(
        header.extensions(&packet).collect::<Vec<_>>(),
        [(1, &[5][..])]
    );
}

#[test]
fn every_truncation_and_wrong_version_is_refused() {
    let mut out = [0; 64];
    let len = egress().write(&mut out, &[(1, b"abc"), (2, b"d")]).unwrap();
    for cut in 0..len {
        assert_eq!(
            RtpHeader::parse(&out[..cut]),
            Err(RtpError::Truncated),
            "cut at {cut}"
        );
    }
    out[0] = 0x50;
    assert_eq!(RtpHeader::parse(&out), Err(RtpError::Version));
}

#[test]
fn padding_counts_are_checked() {
    let header = RtpHeader {
        padding: true,
        ..RtpHeader::default()
    };
    assert_eq!(header.padding_len(&[1, 2, 3, 2]), Ok(2));
    assert_eq!(header.padding_len(&[1, 2, 3, 4]), Ok(4));
    assert_eq!(header.padding_len(&[1, 2, 3, 5]), Err(RtpError::Padding));
    assert_eq!(header.padding_len(&[0]), Err(RtpError::Padding));
    assert_eq!(header.padding_len(&[]), Err(RtpError::Padding));
    assert_eq!(RtpHeader::default().padding_len(&[7]), Ok(0));
}

#[test]
fn writes_the_short_form_when_it_can_and_the_long_one_when_it_must() {
    let mut out = [0xFF; 300];
    let len = egress().write(&mut out, &[(14, &[7; 16])]).unwrap();
    assert_eq!(
        RtpHeader::parse(&out[..len]).unwrap().extension_profile,
        PROFILE_ONE_BYTE
    );
    for long in [&[(15, &b"x"[..])][..], &[(1, &[7; 17])], &[(1, &[])]] {
        let len = egress().write(&mut out, long).unwrap();
        let header = RtpHeader::parse(&out[..len]).unwrap();
        assert_eq!(header.extension_profile, PROFILE_TWO_BYTE);
        assert_eq!(header.extensions(&out).collect::<Vec<_>>(), long);
    }
    assert_eq!(egress().write(&mut out, &[]), Ok(FIXED_HEADER_LEN));
    assert_eq!(
        egress().write(&mut out, &[(0, b"x")]),
        Err(RtpError::DoesNotFit)
    );
    assert_eq!(
        egress().write(&mut out, &[(1, &[0; 256])]),
        Err(RtpError::DoesNotFit)
    );
}

#[test]
fn rtcp_is_told_from_rtp() {
    assert!(is_rtcp(&[0x80, 200]));
    assert!(is_rtcp(&[0x81, 205]));
    assert!(!is_rtcp(&[0x80, 111]));
    assert!(!is_rtcp(&[0x80, 0x80 | 111]));
    assert!(!is_rtcp(&[0x80]));
}

#[test]
fn the_extension_map_works_both_ways() {
    let mut map = ExtensionMap::default();
    map.set(Extension::Mid, 4);
    map.set(Extension::TransportCc, 9);
    assert_eq!(map.id(Extension::Mid), Some(4));
    assert_eq!(map.id(Extension::Rid), None);
}

#[test]
fn small_values_are_read() {
    assert_eq!(
        AudioLevel::parse(&[0x80 | 30]),
        Some(AudioLevel {
            level: 30,
            voice: true
        })
    );
    assert_eq!(AudioLevel::parse(&[]), None);
    assert_eq!(transport_cc_seq(&[1, 2]), Some(SeqNo(0x102)));
    assert_eq!(transport_cc_seq(&[1]), None);
}

#[test]
fn unwrapping_survives_wraps_and_reordering() {
    let mut unwrapper = SeqUnwrapper::new();
    assert_eq!(unwrapper.unwrap(SeqNo(2)), 0x1_0002);
    assert_eq!(
        unwrapper.unwrap(SeqNo(65_535)),
        0xFFFF,
        "sent before the first that arrived"
    );
    assert_eq!(unwrapper.unwrap(SeqNo(30_000)), 0x1_0000 + 30_000);
    assert_eq!(unwrapper.unwrap(SeqNo(60_000)), 0x1_0000 + 60_000);
    assert_eq!(unwrapper.unwrap(SeqNo(10)), 0x2_000A);
    assert_eq!(unwrapper.unwrap(SeqNo(59_999)), 0x1_0000 + 59_999);
    assert_eq!(unwrapper.highest(), Some(0x2_000A));
    assert_eq!(nearest(3, SeqNo(65_000)), 65_000, "never negative");
}

#[test]
fn half_the_number_space_away_is_in_the_same_round() {
    for (reference, seq, found) in [
        (0x1_0000, 0x8000, 0x1_8000),
        (0x1_7FFF, 0xFFFF, 0x1_FFFF),
        (0x1_8000, 0, 0x1_0000),
        (0x1_FFFF, 0x7FFF, 0x1_7FFF),
        (0x8000, 0, 0),
        (0, 0x8000, 0x8000),
    ] {
        assert_eq!(nearest(reference, SeqNo(seq)), found, "{reference:#x}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        values in proptest::collection::vec((1u8..=255, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        seq: u16, time: u32, ssrc: u32, payload_type in 0u8..128, marker: bool, padding: bool,
    ) {
        let header = EgressHeader {
            seq: SeqNo(seq), time: RtpTime(time), ssrc, payload_type, marker, padding,
        };
        let extensions: Vec<(u8, &[u8])> = values.iter().map(|(id, value)| (*id, &value[..])).collect();
        let mut out = [0xA5; 400];
        let len = header.write(&mut out, &extensions).unwrap();
        let parsed = RtpHeader::parse(&out[..len]).unwrap();
        prop_assert_eq!(usize::from(parsed.header_len), len);
        prop_assert_eq!(parsed.extensions(&out).collect::<Vec<_>>(), extensions);
        let again = EgressHeader {
            seq: parsed.seq, time: parsed.time, ssrc: parsed.ssrc,
            payload_type: parsed.payload_type, marker: parsed.marker, padding: parsed.padding,
        };
        prop_assert_eq!(again, header);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), force: bool) {
        if force && bytes.len() > 20 {
            bytes[0] = bytes[0] & 0x3F | 0x80;
            bytes[12..14].copy_from_slice(&[0xBE, 0xDE]);
        }
        if let Ok(header) = RtpHeader::parse(&bytes) {
            prop_assert!(usize::from(header.header_len) <= bytes.len());
            for (_, value) in header.extensions(&bytes) {
                AudioLevel::parse(value);
                transport_cc_seq(value);
            }
            let _ = header.padding_len(&bytes[usize::from(header.header_len)..]);
        }
    }

    #[test]
    fn unwrapping_follows_a_walk(start in 0u64..1_000_000, steps in proptest::collection::vec(-3000i64..20_000, 1..200)) {
        let mut unwrapper = SeqUnwrapper::new();
        let mut at = start + 0x1_0000;
        let first = unwrapper.unwrap(SeqNo(at as u16));
        let mut highest = at;
        for step in steps {
            at = highest.saturating_add_signed(step).max(start);
            prop_assert_eq!(unwrapper.unwrap(SeqNo(at as u16)) + start + 0x1_0000, at + first);
            highest = highest.max(at);
        }
    }
}
