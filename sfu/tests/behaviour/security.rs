//! What attackers try at the media port, and what becomes of it. The table in docs/security-tests.md names these tests.

use std::{collections::BTreeMap, time::Duration};

use crate::attacker::{Attacker, EAR, EYE, LEVEL, MID, RID, Section, VOICE, client_hello};
use crate::rig::Rig;
use client::media::{Layer, MediaKind as ClientKind};
use sfu::{
    DisconnectReason, Event, MediaKind, MemberCommand, SpatialLayer, SubscriptionCommand,
    TrackSetting, TransportProtocol,
    internals::{
        rtp::{RtpHeader, SeqNo},
        srtp::SrtpProfile,
    },
    stats::DropReason,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

const LAYERS: Section = Section {
    mid: "1",
    kind: MediaKind::Video,
    cid: Some("picture"),
    rids: &["q", "h", "f"],
};

/// A ClientHello of DTLS 1.2 that offers nothing but a suite without encryption (TLS_RSA_WITH_NULL_SHA256).
fn null_hello(epoch: u8) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend([7; 32]);
    body.extend([0, 0, 0, 2, 0x00, 0x3b, 1, 0]);
    let len = body.len() as u8;
    let mut record = vec![22, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 9, 0, 12 + len];
    record.extend([1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len]);
    record.extend(body);
    record
}

fn heard(rig: &Rig, listener: usize, voice: protocol::TrackSid) -> u64 {
    rig.received(listener, voice).packets
}

#[test]
fn a_client_hello_from_elsewhere_disturbs_nobody_before_and_after_ice() {
    let mut rig = Rig::new(40);
    let (a, b) = (rig.join(), rig.join());
    let own = rig.participants[a].connection.local();
    let elsewhere = [
        "203.0.113.66:9000".parse().unwrap(),
        std::net::SocketAddr::new(own.ip(), own.port() + 1),
    ];
    for address in elsewhere {
        rig.strangers.insert(address, Vec::new());
    }
    let race = |rig: &mut Rig| {
        for _ in 0..50 {
            for from in elsewhere {
                let hello = client_hello(rig);
                rig.inject(from, &hello);
                rig.inject(from, &null_hello(0));
            }
            rig.run(10 * MS);
        }
    };
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    race(&mut rig);
    rig.run(SECOND);
    assert!(rig.participants.iter().all(|p| p.connected));
    race(&mut rig);
    let before = heard(&rig, b, voice);
    rig.run(2 * SECOND);
    assert!(heard(&rig, b, voice) > before + 95);
    assert_eq!(rig.shard.stats().drops(DropReason::NotValidated), 400);
    assert!(rig.strangers.values().all(Vec::is_empty), "nobody answered");
}

#[test]
fn a_client_hello_with_a_forged_address_does_not_end_the_call() {
    let mut rig = Rig::new(41);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    rig.run(2 * SECOND);
    let own = rig.participants[a].connection.local();
    for _ in 0..200 {
        let hello = client_hello(&rig);
        for record in [hello.clone(), null_hello(0), null_hello(1)] {
            rig.inject(own, &record);
        }
        // An alert in the clear that says goodbye, and half a record.
        rig.inject(own, &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 0]);
        rig.inject(own, &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 10, 0, 2, 1, 0]);
        rig.inject(own, &hello[..hello.len() / 2]);
        rig.run(5 * MS);
    }
    let before = heard(&rig, b, voice);
    rig.run(2 * SECOND);
    assert!(heard(&rig, b, voice) > before + 95);
    let gone = |event: &&Event| matches!(event, Event::Disconnected { .. });
    assert_eq!(rig.events.iter().find(gone), None);
}

#[test]
fn who_offers_nothing_but_a_null_suite_gets_no_association_and_others_get_aes_gcm() {
    let mut rig = Rig::new(62);
    let good = Attacker::join(&mut rig, 1, &[VOICE]).connected(&mut rig);
    assert!(matches!(
        good.profile,
        Some(SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm)
    ));
    let mut mallory = Attacker::join(&mut rig, 2, &[VOICE]);
    let check = mallory.check(true, None);
    mallory.send(&mut rig, &check);
    for _ in 0..20 {
        mallory.send(&mut rig, &null_hello(0));
        rig.run(100 * MS);
    }
    rig.run(20 * SECOND);
    assert!(!rig.events.contains(&Event::Connected { peer: mallory.sid }));
    let gone =
        |event: &&Event| matches!(event, Event::Disconnected { peer, .. } if *peer == mallory.sid);
    assert_eq!(rig.events.iter().filter(gone).count(), 1);
}

#[test]
fn media_from_elsewhere_never_changes_where_we_send() {
    let mut rig = Rig::new(42);
    let a = rig.join();
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    rig.run(SECOND);
    let mut mallory = Attacker::join(&mut rig, 1, &[VOICE, EAR]).connected(&mut rig);
    mallory.publish(&mut rig, MediaKind::Audio, "voice");
    mallory.subscribe(&mut rig, voice);
    assert!(mallory.offer(&mut rig, &[VOICE, EAR], |sdp| sdp));
    let elsewhere = "203.0.113.99:4000".parse().unwrap();
    rig.strangers.insert(elsewhere, Vec::new());
    let before = rig.shard.stats().drops(DropReason::NotValidated);
    for index in 0..500 {
        // The right keys, the wrong address.
        let packet = mallory.rtp((77, index), 111, &[(MID, b"0")], b"sound");
        rig.inject(elsewhere, &packet);
        mallory.step(&mut rig);
    }
    assert_eq!(
        rig.shard.stats().drops(DropReason::NotValidated),
        before + 500
    );
    assert!(mallory.received.len() > 200, "{}", mallory.received.len());
    assert!(rig.strangers[&elsewhere].is_empty());
}

#[test]
fn a_hundred_thousand_wrong_tags_are_counted_and_the_call_lives() {
    let mut rig = Rig::new(43);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    rig.run(2 * SECOND);
    let own = rig.participants[a].connection.local();
    let events = rig.events.len();
    for i in 0..100_000u32 {
        let mut packet = [0x80, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4].to_vec();
        packet[2..4].copy_from_slice(&(i as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&(i % 1000).to_be_bytes());
        packet.extend([i as u8; 40]);
        // Every tenth is RTCP.
        if i % 10 == 0 {
            packet[1] = 201;
        }
        rig.inject(own, &packet);
    }
    let stats = rig.shard.stats();
    assert_eq!(stats.drops(DropReason::Authentication), 100_000);
    assert_eq!(stats.panics, 0);
    assert_eq!(rig.events.len(), events, "nothing is reported per packet");
    let before = heard(&rig, b, voice);
    rig.run(2 * SECOND);
    assert!(heard(&rig, b, voice) > before + 95);
}

#[test]
fn a_packet_that_was_recorded_is_not_taken_twice() {
    let mut rig = Rig::new(44);
    let mut mallory = Attacker::join(&mut rig, 1, &[VOICE]).connected(&mut rig);
    mallory.publish(&mut rig, MediaKind::Audio, "voice");
    assert!(mallory.offer(&mut rig, &[VOICE], |sdp| sdp));
    let mut recorded = Vec::new();
    // Around the wrap of the sequence number.
    for index in 65_400..65_700 {
        let packet = mallory.rtp((77, index), 111, &[(MID, b"0")], b"sound");
        mallory.send(&mut rig, &packet);
        recorded.push(packet);
    }
    let taken = rig.shard.stats().rtp_in;
    assert_eq!(taken, 300);
    for packet in &recorded {
        rig.inject(mallory.address, packet);
    }
    let stats = rig.shard.stats();
    assert_eq!(stats.rtp_in, taken);
    assert_eq!(stats.drops(DropReason::Replayed), 300);
}

/// What one subscriber was sent: no two different packets have the same SSRC and sequence number, hence none the same
/// nonce. Returns how often the very same packet came again.
fn nonces_are_unique(mallory: &Attacker) -> usize {
    let (mut seen, mut again) = (BTreeMap::new(), 0);
    for (ssrc, _, datagram) in &mallory.received {
        let seq = RtpHeader::parse(datagram).unwrap().seq.0;
        if let Some(before) = seen.insert((*ssrc, seq), datagram) {
            assert!(before == datagram, "one nonce, two packets: {ssrc} {seq}");
            again += 1;
        }
    }
    again
}

#[test]
fn a_repair_without_rtx_is_the_same_packet_bit_for_bit() {
    let mut rig = Rig::new(45);
    let a = rig.join();
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    rig.run(SECOND);
    let mut mallory = Attacker::join(&mut rig, 1, &[EAR]).connected(&mut rig);
    mallory.subscribe(&mut rig, voice);
    assert!(mallory.offer(&mut rig, &[EAR], |sdp| sdp));
    for round in 0..100 {
        (0..5).for_each(|_| mallory.step(&mut rig));
        let lately: Vec<_> = mallory.received.iter().rev().take(6).collect();
        let Some((ssrc, ..)) = lately.first().copied() else {
            continue;
        };
        let ssrc = *ssrc;
        let mut seqs: Vec<_> = lately
            .iter()
            .map(|(_, _, datagram)| RtpHeader::parse(datagram).unwrap().seq)
            .collect();
        seqs.sort_by_key(|seq| seq.0);
        seqs.dedup();
        mallory.rtcp(&mut rig, |writer| {
            writer.nack(1, ssrc, &seqs).unwrap();
        });
        // From now on packets go out without the name of their section; repairs of older ones keep it.
        if round == 50 {
            mallory.rtcp(&mut rig, |writer| {
                let report = sfu::internals::rtcp::ReportBlock {
                    ssrc,
                    ..Default::default()
                };
                writer.receiver_report(1, &[report]).unwrap();
            });
        }
    }
    assert!(nonces_are_unique(&mallory) > 100);
}

#[test]
fn no_nonce_is_used_twice_over_switches_and_repairs() {
    let mut rig = Rig::new(46);
    let a = rig.join();
    let picture = rig.publish(a, ClientKind::Video, &Layer::ALL);
    rig.run(SECOND);
    let mut mallory = Attacker::join(&mut rig, 1, &[EYE]).connected(&mut rig);
    mallory.subscribe(&mut rig, picture);
    assert!(mallory.offer(&mut rig, &[EYE], |sdp| sdp));
    let layers = [SpatialLayer::Low, SpatialLayer::High, SpatialLayer::Medium];
    for round in 0..60 {
        rig.command(SubscriptionCommand::SetSetting {
            peer: mallory.sid,
            track: picture,
            setting: TrackSetting {
                max_layer: layers[round % 3],
                disabled: round % 11 == 10,
                ..TrackSetting::default()
            },
        });
        (0..10).for_each(|_| mallory.step(&mut rig));
        let lately = mallory.received.iter().rev().step_by(3).take(10);
        let asked: Vec<_> = lately
            .map(|(ssrc, _, datagram)| (*ssrc, RtpHeader::parse(datagram).unwrap().seq))
            .collect();
        for (ssrc, seq) in asked {
            mallory.rtcp(&mut rig, |writer| {
                writer.nack(1, ssrc, &[seq]).unwrap();
            });
        }
    }
    let stats = rig.shard.stats();
    assert!(stats.retransmitted > 100, "{stats:?}");
    assert_eq!(nonces_are_unique(&mallory), 0, "RTX has numbers of its own");
    assert_eq!(mallory.refused, []);
}

#[test]
fn an_unauthenticated_check_is_not_answered_and_no_answer_is_larger_than_its_check() {
    let mut rig = Rig::new(47);
    let mut mallory = Attacker::join(&mut rig, 1, &[VOICE]);
    let own = mallory.address;
    let (right, wrong) = (
        mallory.check(true, None),
        mallory.check(true, Some("wrongwrongwrongwrongwron")),
    );
    let mut variants = vec![wrong];
    let mut truncated = right.clone();
    truncated.truncate(right.len() - 8);
    variants.push(truncated);
    let mut anonymous = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    anonymous.extend([9; 12]);
    variants.push(anonymous);
    // The last eight bytes are the FINGERPRINT, which is no secret.
    for at in 0..right.len() - 8 {
        let mut changed = right.clone();
        changed[at] ^= 0x20;
        variants.push(changed);
    }
    let variant_count = variants.len() as u64;
    for bytes in variants {
        rig.inject(own, &bytes);
        rig.run(20 * MS);
        assert_eq!(rig.strangers[&own], Vec::<Vec<u8>>::new(), "{bytes:02x?}");
    }
    let stats = rig.shard.stats();
    let dropped = stats.drops(DropReason::Stun) + stats.drops(DropReason::Malformed);
    let other = stats.drops(DropReason::NotValidated);
    assert_eq!(dropped + other, variant_count);
    assert_eq!(stats.paths, 0);
    mallory.send(&mut rig, &right);
    rig.run(20 * MS);
    let answers = &rig.strangers[&own];
    assert_eq!(answers.len(), 1);
    assert!(answers[0].len() <= right.len());
}

#[test]
fn checks_are_limited_for_each_client_and_no_stranger_can_use_up_the_limit() {
    let mut rig = Rig::new(48);
    let mut mallory = Attacker::join(&mut rig, 1, &[VOICE]).connected(&mut rig);
    rig.strangers.get_mut(&mallory.address).unwrap().clear();
    rig.run(20 * SECOND);
    for _ in 0..10_000 {
        let wrong = mallory.check(true, Some("wrongwrongwrongwrongwron"));
        rig.inject(mallory.address, &wrong);
    }
    for _ in 0..400 {
        let check = mallory.check(true, None);
        mallory.send(&mut rig, &check);
    }
    let stats = rig.shard.stats();
    assert_eq!(stats.drops(DropReason::Stun), 10_000);
    assert_eq!(stats.drops(DropReason::TooMany), 0, "n are taken");
    let check = mallory.check(true, None);
    mallory.send(&mut rig, &check);
    assert_eq!(rig.shard.stats().drops(DropReason::TooMany), 1, "n + 1");
    rig.run(SECOND);
    let check = mallory.check(true, None);
    mallory.send(&mut rig, &check);
    assert_eq!(rig.shard.stats().drops(DropReason::TooMany), 1);
}

#[test]
fn addresses_of_one_client_are_bounded_and_forgotten_with_it() {
    let mut rig = Rig::new(49);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    let mallory = Attacker::join(&mut rig, 1, &[VOICE]).connected(&mut rig);
    rig.run(SECOND);
    for second in 0..100 {
        for port in 0..100 {
            let check = mallory.check(false, None);
            let from = std::net::SocketAddr::new(mallory.address.ip(), 5000 + second * 100 + port);
            rig.inject(from, &check);
        }
        rig.run(SECOND / 4);
    }
    let stats = rig.shard.stats();
    assert_eq!(stats.paths, 8 + 2, "its own and those of two others");
    assert!(stats.drops(DropReason::TooMany) > 9_000);
    assert!(heard(&rig, b, voice) > 1000);
    rig.command(MemberCommand::Remove { peer: mallory.sid });
    assert_eq!(rig.shard.stats().paths, 2);
}

#[test]
fn a_certificate_that_is_not_the_one_of_the_offer_is_refused() {
    let mut rig = Rig::new(50);
    let voice = {
        let a = rig.join();
        rig.publish(a, ClientKind::Audio, &[])
    };
    rig.run(SECOND);
    // Somebody else's fingerprint, read out of an offer that went by.
    let stolen = crate::attacker::fingerprint(&crate::attacker::certificate());
    let replace = |sdp: String| {
        let lines = sdp.lines().map(|line| match line {
            line if line.starts_with("a=fingerprint:") => format!("a=fingerprint:{stolen}\r\n"),
            line => format!("{line}\r\n"),
        });
        lines.collect()
    };
    let mut mallory = Attacker::join_as(&mut rig, 1, &[VOICE, EAR], replace);
    mallory.subscribe(&mut rig, voice);
    mallory.connect(&mut rig);
    let failed = Event::Disconnected {
        peer: mallory.sid,
        reason: DisconnectReason::DtlsFailed,
    };
    assert!(rig.events.contains(&failed));
    assert!(!rig.events.contains(&Event::Connected { peer: mallory.sid }));
    assert_eq!(
        (mallory.received.len(), mallory.refused.len()),
        (0, 0),
        "no media"
    );
}

#[test]
fn an_offer_without_a_fingerprint_or_with_another_one_later_is_refused() {
    let mut rig = Rig::new(51);
    let without = |sdp: String| {
        let lines = sdp
            .lines()
            .filter(|line| !line.starts_with("a=fingerprint:"));
        lines.map(|line| format!("{line}\r\n")).collect()
    };
    let refused = |rig: &Rig, mallory: &Attacker| {
        let failed = |event: &&Event| matches!(event, Event::NegotiationFailed { peer, .. } if *peer == mallory.sid);
        rig.events.iter().filter(failed).count()
    };
    let mut bare = Attacker::join_as(&mut rig, 1, &[VOICE], without);
    assert_eq!(refused(&rig, &bare), 1);
    assert!(
        bare.offer(&mut rig, &[VOICE], |sdp| sdp),
        "a good one later is fine"
    );
    let mut mallory = Attacker::join(&mut rig, 2, &[VOICE]).connected(&mut rig);
    let other = crate::attacker::fingerprint(&crate::attacker::certificate());
    let changed = |sdp: String| {
        let lines = sdp.lines().map(|line| match line {
            line if line.starts_with("a=fingerprint:") => format!("a=fingerprint:{other}\r\n"),
            line => format!("{line}\r\n"),
        });
        lines.collect()
    };
    assert!(!mallory.offer(&mut rig, &[VOICE], changed));
    assert_eq!(refused(&rig, &mallory), 1);
}

#[test]
fn ten_thousand_ssrcs_a_second_are_bounded_and_others_go_on() {
    let mut rig = Rig::new(52);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    let mut mallory = Attacker::join(&mut rig, 1, &[VOICE, LAYERS]).connected(&mut rig);
    mallory.publish(&mut rig, MediaKind::Audio, "voice");
    mallory.publish(&mut rig, MediaKind::Video, "picture");
    rig.run(SECOND);
    let events = rig.events.len();
    let before = heard(&rig, b, voice);
    for i in 0..20_000u32 {
        let (mid, rid): (&[u8], &[u8]) = match i % 4 {
            0 => (b"0", b""),
            1 => (b"1", b"q"),
            2 => (b"1", b"f"),
            _ => (b"1", b"h"),
        };
        let (with, without) = ([(MID, mid), (RID, rid)], [(MID, mid)]);
        let extensions: &[_] = if rid.is_empty() { &without } else { &with };
        let payload_type = if rid.is_empty() { 111 } else { 96 };
        let packet = mallory.rtp((1000 + i, 1), payload_type, extensions, &[0x10, 0, 0, 0, 0]);
        mallory.send(&mut rig, &packet);
        if i % 100 == 0 {
            rig.run(10 * MS);
        }
    }
    let stats = rig.shard.stats();
    assert!(
        stats.drops(DropReason::UnknownStream) >= 20_000 - 256,
        "{stats:?}"
    );
    assert!(rig.events.len() - events < 300, "events are bounded too");
    assert!(heard(&rig, b, voice) > before + 95);
}

#[test]
fn two_ssrcs_in_turn_do_not_start_a_layer_anew_with_every_packet() {
    let mut rig = Rig::new(53);
    let mut mallory = Attacker::join(&mut rig, 1, &[LAYERS]).connected(&mut rig);
    mallory.publish(&mut rig, MediaKind::Video, "picture");
    let events = rig.events.len();
    for index in 0..5_000 {
        let ssrc = 1000 + (index % 2) as u32;
        let packet = mallory.rtp(
            (ssrc, index / 2),
            96,
            &[(MID, b"1"), (RID, b"f")],
            &[0x10, 0, 0, 0, 0],
        );
        mallory.send(&mut rig, &packet);
    }
    assert!(rig.events.len() - events < 200);
    assert!(rig.shard.stats().drops(DropReason::TooMany) > 2_000);
}

#[test]
fn nobody_speaks_with_another_ones_ssrc_mid_or_rid() {
    let mut rig = Rig::new(54);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    let picture = rig.publish(a, ClientKind::Video, &Layer::ALL);
    rig.run(SECOND);
    let mut mallory = Attacker::join(&mut rig, 1, &[VOICE, LAYERS]).connected(&mut rig);
    let own = mallory.publish(&mut rig, MediaKind::Audio, "voice");
    rig.run(SECOND);
    // The SSRC with which the server sends the victim's voice to others, and all that a publisher might use itself.
    let ssrcs: Vec<u32> = (1..200).chain([0, u32::MAX]).collect();
    let before = rig.shard.stats();
    for (i, ssrc) in ssrcs.iter().enumerate() {
        for (mid, rid) in [
            (&b"7"[..], &b"f"[..]),
            (b"1", b"f"),
            (b"1", b"x"),
            (b"", b""),
            (b"\xff\xfe", b"q"),
        ] {
            let packet = mallory.rtp(
                (*ssrc, i as u64),
                96,
                &[(MID, mid), (RID, rid)]
                    .map(|(id, value)| (id, if value.is_empty() { &b"9"[..] } else { value })),
                &[0x10, 0, 0, 0, 0],
            );
            mallory.send(&mut rig, &packet);
        }
    }
    // Section 1 belongs to a track that was never announced, the others do not exist.
    let after = rig.shard.stats();
    assert_eq!(after.rtp_in, before.rtp_in);
    assert!(after.drops(DropReason::UnknownStream) > 0);
    let counts = |rig: &Rig| (heard(rig, b, voice), rig.received(b, picture).packets);
    let then = counts(&rig);
    rig.run(SECOND);
    let now = counts(&rig);
    assert!(now.0 > then.0 + 45 && now.1 > then.1 + 30);
    assert_eq!(rig.received(b, own).packets, 0);
    assert_eq!(
        (rig.received(b, voice).lost, rig.received(b, picture).lost),
        (0, 0)
    );
}

#[test]
fn who_lies_about_loudness_does_not_silence_who_speaks() {
    let mut rig = Rig::new(55);
    let (a, _b) = (rig.join(), rig.join());
    rig.publish(a, ClientKind::Audio, &[]);
    let mut mallory = Attacker::join(&mut rig, 1, &[VOICE]).connected(&mut rig);
    mallory.publish(&mut rig, MediaKind::Audio, "voice");
    for index in 0..200 {
        // As loud as can be said, and speech in every packet.
        let packet = mallory.rtp(
            (77, index),
            111,
            &[(MID, b"0"), (LEVEL, &[0x80])],
            b"silence",
        );
        mallory.send(&mut rig, &packet);
        rig.run(20 * MS);
    }
    let speakers = rig.events.iter().rev().find_map(|event| match event {
        Event::SpeakersChanged { speakers, .. } => Some(speakers.clone()),
        _ => None,
    });
    let speakers = speakers.expect("somebody speaks");
    assert!(speakers.iter().all(|speaker| speaker.level <= 1.0));
    let honest = rig.participants[a].sid;
    assert!(speakers.iter().any(|speaker| speaker.peer == honest));
}

#[test]
fn a_check_with_a_forged_address_does_not_take_anothers_path() {
    let mut rig = Rig::new(63);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, ClientKind::Audio, &[]);
    let mallory = Attacker::join(&mut rig, 1, &[VOICE]).connected(&mut rig);
    rig.run(2 * SECOND);
    let victim = rig.participants[a].connection.local();
    let before = heard(&rig, b, voice);
    for _ in 0..100 {
        let check = mallory.check(true, None);
        rig.inject(victim, &check);
        rig.run(300 * MS);
    }
    let got = heard(&rig, b, voice) - before;
    assert!(got > 1490, "{got} of 1500");
    assert_eq!(rig.shard.stats().drops(DropReason::PathTaken), 100);
}

/// Somebody who publishes a voice by hand: whether a packet of it is taken now.
fn is_heard(rig: &mut Rig, who: &mut Attacker, index: u64) -> bool {
    let before = rig.shard.stats().rtp_in;
    let packet = who.rtp((77, index), 111, &[(MID, b"0")], b"sound");
    who.send(rig, &packet);
    rig.shard.stats().rtp_in > before
}

fn speaker(rig: &mut Rig, number: u8) -> Attacker {
    let mut who = Attacker::join(rig, number, &[VOICE]).connected(rig);
    who.publish(rig, MediaKind::Audio, "voice");
    assert!(who.offer(rig, &[VOICE], |sdp| sdp));
    who
}

#[test]
fn who_lost_a_path_by_a_silence_has_it_back_with_its_first_check() {
    let mut rig = Rig::new(64);
    let mut victim = speaker(&mut rig, 1);
    let mallory = Attacker::join(&mut rig, 2, &[VOICE]).connected(&mut rig);
    assert!(is_heard(&mut rig, &mut victim, 1));
    // Somebody else may have got the address from the same router by now.
    rig.run(8 * SECOND);
    let forged = mallory.check(true, None);
    rig.inject(victim.address, &forged);
    assert!(!is_heard(&mut rig, &mut victim, 2));
    let check = victim.check(true, None);
    victim.send(&mut rig, &check);
    assert!(is_heard(&mut rig, &mut victim, 3));
    for index in 0..20 {
        let forged = mallory.check(true, None);
        rig.inject(victim.address, &forged);
        // Packets keep a path as well as checks do.
        assert!(is_heard(&mut rig, &mut victim, 4 + index));
        rig.run(SECOND);
    }
}

#[test]
fn a_page_that_loads_anew_under_the_same_address_is_in_within_seconds() {
    for (protocol, limit) in [
        (TransportProtocol::Udp, 8 * SECOND),
        (TransportProtocol::Relay, 8 * SECOND),
        // Nobody else has the two ends of a connection.
        (TransportProtocol::Tcp, SECOND / 2),
    ] {
        let mut rig = Rig::new(65);
        rig.protocol = protocol;
        // It was not said that this one is gone.
        let old = speaker(&mut rig, 1);
        let mut new = Attacker::join(&mut rig, 2, &[VOICE]);
        new.address = old.address;
        let end = rig.now + limit;
        rig.strangers.get_mut(&new.address).unwrap().clear();
        // A STUN response.
        let is_answered = |rig: &Rig| rig.strangers[&new.address].iter().any(|d| d[0] == 1);
        while !is_answered(&rig) && rig.now < end {
            let check = new.check(true, None);
            rig.inject(new.address, &check);
            rig.run(SECOND / 5);
        }
        new.connect(&mut rig);
        assert!(new.connected, "{protocol:?}");
        assert!(rig.events.contains(&Event::Connected { peer: new.sid }));
    }
}

#[test]
fn a_packet_for_more_receivers_than_one_may_name_goes_to_nobody_and_is_counted() {
    use protocol::{livekit, prost::Message};
    let mut rig = Rig::new(66);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    for (count, received) in [(256, 1), (257, 0)] {
        let names = (1..count).map(|i| format!("nobody-{i}"));
        let packet = livekit::DataPacket {
            destination_identities: names.chain(["identity-1".into()]).collect(),
            value: Some(livekit::data_packet::Value::User(Default::default())),
            ..Default::default()
        };
        let now = rig.now;
        let sender = &mut rig.participants[a].connection;
        sender
            .send_data(client::DataChannel::Reliable, &packet.encode_to_vec(), now)
            .unwrap();
        rig.run(SECOND);
        assert_eq!(rig.participants[b].data.drain(..).count(), received);
        assert_eq!(rig.participants[c].data.len(), 0);
    }
    assert_eq!(rig.shard.stats().drops(DropReason::TooManyReceivers), 1);
}

/// A room with one picture, and somebody who receives it by hand.
fn watched(rig: &mut Rig) -> (Attacker, u32) {
    let (a, _b) = (rig.join(), rig.join());
    let picture = rig.publish(a, ClientKind::Video, &[]);
    rig.run(SECOND);
    let mut mallory = Attacker::join(rig, 1, &[EYE]).connected(rig);
    mallory.subscribe(rig, picture);
    assert!(mallory.offer(rig, &[EYE], |sdp| sdp));
    (0..200).for_each(|_| mallory.step(rig));
    let ssrc = mallory.received.first().expect("a picture").0;
    (mallory, ssrc)
}

#[test]
fn a_nack_storm_at_most_doubles_the_stream() {
    let mut rig = Rig::new(56);
    let (mut mallory, ssrc) = watched(&mut rig);
    let bytes = |mallory: &Attacker, of_rtx: bool| -> usize {
        let stream = mallory
            .received
            .iter()
            .filter(|(other, ..)| (*other != ssrc) == of_rtx);
        stream.map(|(_, _, datagram)| datagram.len()).sum()
    };
    let all: Vec<SeqNo> = (0..u16::MAX).step_by(1).map(SeqNo).collect();
    for _ in 0..300 {
        let newest = RtpHeader::parse(&mallory.received.last().unwrap().2)
            .unwrap()
            .seq
            .0;
        let lately: Vec<SeqNo> = (0..2000)
            .map(|back| SeqNo(newest.wrapping_sub(2000 - back)))
            .collect();
        for chunk in [&lately[..], &all[..4000]] {
            mallory.rtcp(&mut rig, |writer| {
                writer.nack(1, ssrc, chunk).unwrap();
            });
        }
        mallory.step(&mut rig);
    }
    let (stream, repairs) = (bytes(&mallory, false), bytes(&mallory, true));
    assert!(
        repairs > 0 && repairs < stream + 600 * 1024,
        "{repairs} for {stream}"
    );
    let stats = rig.shard.stats();
    assert!(stats.drops(DropReason::TooMany) > 0, "{stats:?}");
}

#[test]
fn repairs_are_given_as_long_as_they_are_in_proportion_and_not_one_more() {
    let mut rig = Rig::new(57);
    let (mut mallory, ssrc) = watched(&mut rig);
    let mut before = 0;
    // Every packet again and again: what is repaired never exceeds what was sent by more than the credit.
    for _ in 0..400 {
        let lately: Vec<_> = mallory
            .received
            .iter()
            .rev()
            .filter(|(other, ..)| *other == ssrc)
            .take(60)
            .map(|(_, _, datagram)| RtpHeader::parse(datagram).unwrap().seq)
            .collect();
        for seq in lately {
            mallory.rtcp(&mut rig, |writer| {
                writer.nack(1, ssrc, &[seq]).unwrap();
            });
        }
        mallory.step(&mut rig);
        let refused = rig.shard.stats().drops(DropReason::TooManyRepairs);
        before = before.max(refused);
    }
    assert!(before > 0, "the limit was reached");
    assert!(rig.shard.stats().retransmitted > 100);
}

#[test]
fn storms_of_picture_loss_cost_the_publisher_a_few_key_frames() {
    let mut rig = Rig::new(58);
    let (mut mallory, ssrc) = watched(&mut rig);
    let before = rig.shard.stats().key_frame_requests;
    for round in 0..200u8 {
        for command in 0..50u8 {
            mallory.rtcp(&mut rig, |writer| {
                writer.pli(1, ssrc).unwrap();
                writer
                    .fir(1, ssrc, round.wrapping_mul(50).wrapping_add(command))
                    .unwrap();
            });
        }
        mallory.step(&mut rig);
    }
    let asked = rig.shard.stats().key_frame_requests - before;
    assert!(asked > 0 && asked < 20, "{asked} key frames in 2 s");
}

/// Transport-wide feedback that says nothing about `count` packets in a few bytes.
fn hollow_feedback(base: u16, count: u16) -> Vec<u8> {
    let mut chunks = Vec::new();
    let mut left = count;
    while left > 0 {
        let run = left.min(0x1fff);
        chunks.extend(run.to_be_bytes());
        left -= run;
    }
    chunks.resize(chunks.len().next_multiple_of(4), 0);
    let words = (16 + chunks.len()) / 4;
    let mut packet = vec![0x8f, 205, 0, words as u8];
    packet.extend([0; 8]);
    packet.extend(base.to_be_bytes());
    packet.extend(count.to_be_bytes());
    packet.extend([0, 0, 0, 0]);
    packet.extend(chunks);
    packet
}

#[test]
fn a_storm_of_transport_feedback_is_bounded_by_what_it_claims() {
    let mut rig = Rig::new(59);
    let (mut mallory, _) = watched(&mut rig);
    let one = hollow_feedback(0, u16::MAX);
    let compound: Vec<u8> = one.iter().copied().cycle().take(one.len() * 30).collect();
    let before = rig.shard.stats().drops(DropReason::TooMany);
    for _ in 0..100 {
        mallory.raw_rtcp(&mut rig, &compound);
    }
    let refused = rig.shard.stats().drops(DropReason::TooMany) - before;
    // 65,535 statuses each: 4,096 units of work, of which 40,000 may be done at once.
    assert_eq!(refused, 3000 - 9);
    let received = mallory.received.len();
    (0..200).for_each(|_| mallory.step(&mut rig));
    assert!(
        mallory.received.len() > received + 50,
        "its picture goes on"
    );
}

#[test]
fn receiver_estimates_of_nothing_and_of_everything_are_survived() {
    for bitrate in [0, 1, u64::MAX, 1 << 63] {
        let mut rig = Rig::new(60);
        let (mut mallory, ssrc) = watched(&mut rig);
        for _ in 0..50 {
            mallory.rtcp(&mut rig, |writer| {
                writer.remb(1, bitrate, &[ssrc]).unwrap();
            });
            mallory.step(&mut rig);
        }
        // A mantissa and exponent that no integer holds: 2^18 - 1 times 2^63.
        let mut word = (1u32 << 24 | 63 << 18 | 0x3ffff).to_be_bytes().to_vec();
        let mut packet = vec![0x8f, 206, 0, 5];
        packet.extend([0; 8]);
        packet.extend(b"REMB");
        packet.append(&mut word);
        packet.extend(ssrc.to_be_bytes());
        mallory.raw_rtcp(&mut rig, &packet);
        (0..100).for_each(|_| mallory.step(&mut rig));
        assert_eq!(rig.shard.stats().panics, 0);
        let (a, b) = (0, 1);
        let picture = *rig.participants[b].tracks.values().next().unwrap();
        let seen = rig.received(b, picture).decodable_frames;
        rig.run(SECOND);
        assert!(
            rig.received(b, picture).decodable_frames > seen + 25,
            "{bitrate}"
        );
        assert!(rig.participants[a].connected);
    }
}

#[test]
fn data_above_the_rate_waits_at_its_sender_and_is_not_lost() {
    let mut config = crate::rig::config(61, crate::rig::server());
    config.max_data_rate = 50_000;
    let mut rig = Rig::with(config);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    let packet = |number: u32| {
        use protocol::{livekit, prost::Message};
        let user = livekit::UserPacket {
            payload: vec![number as u8; 9_700],
            ..Default::default()
        };
        livekit::DataPacket {
            value: Some(livekit::data_packet::Value::User(user)),
            ..Default::default()
        }
        .encode_to_vec()
    };
    let start = rig.now;
    let (mut sent, mut at_once) = (0, None);
    while rig.participants[b].data.len() < 40 && rig.now < start + 60 * SECOND {
        // The client's own buffer is smaller than all of it.
        let now = rig.now;
        let connection = &mut rig.participants[a].connection;
        while sent < 40
            && connection
                .send_data(client::DataChannel::Reliable, &packet(sent), now)
                .is_ok()
        {
            sent += 1;
        }
        rig.run(MS);
        if rig.now >= start + SECOND / 2 {
            at_once.get_or_insert(rig.participants[b].data.len());
        }
    }
    // Twice the rate at once, the rest as the rate allows: 40 packets of 10 KB.
    let at_once = at_once.expect("half a second passed");
    assert!((10..=14).contains(&at_once), "{at_once}");
    let took = rig.now - start;
    assert!(took > 5 * SECOND && took < 12 * SECOND, "{took:?}");
    assert_eq!(rig.participants[b].data.len(), 40, "nothing is lost");
}
