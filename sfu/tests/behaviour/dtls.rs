//! Who begins DTLS, and what others can do about it before it is done.

use std::{net::SocketAddr, time::Duration};

use crate::attacker::{Attacker, VOICE, certificate, client_hello};
use crate::rig::Rig;
use client::media::MediaKind as ClientKind;
use sfu::{DisconnectReason, Event};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A record in the clear.
fn record(kind: u8, sequence: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = (body.len() as u16).to_be_bytes();
    let mut record = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, sequence, high, low];
    record.extend(body);
    record
}

/// A record with one message of a handshake.
fn message(kind: u8, sequence: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (body.len() as u32).to_be_bytes();
    let mut message = vec![kind, a, b, c, 0, sequence, 0, 0, 0, a, b, c];
    message.extend(body);
    record(22, sequence, &message)
}

/// A ServerHello of DTLS 1.2 or 1.3 that could be an answer to any ClientHello.
fn server_hello(random: u8, sequence: u8, version: [u8; 2]) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend([random; 32]);
    match version {
        // ECDHE_ECDSA_AES128_GCM_SHA256; extended master secret, AES-GCM for SRTP.
        [0xfe, 0xfd] => {
            body.extend([0, 0xc0, 0x2b, 0, 0, 13]);
            body.extend([0, 0x17, 0, 0, 0, 0x0e, 0, 5, 0, 2, 0, 7, 0]);
        }
        [high, low] => {
            // TLS_AES_128_GCM_SHA256; supported_versions, and a key share on X25519.
            body.extend([0, 0x13, 1, 0, 0, 46]);
            body.extend([0, 0x2b, 0, 2, high, low, 0, 0x33, 0, 36, 0, 0x1d, 0, 32]);
            body.extend([9; 32]);
        }
    }
    message(2, sequence, &body)
}

/// A HelloVerifyRequest.
fn hello_verify_request(cookie: u8) -> Vec<u8> {
    let mut body = vec![0xfe, 0xff, 20];
    body.extend([cookie; 20]);
    message(3, 0, &body)
}

/// What needs no knowledge of the handshake but that there will be one.
fn forgeries(rig: &Rig) -> Vec<Vec<u8>> {
    let hello = client_hello(rig);
    let mut noise = hello.clone();
    noise[40..].fill(0x5a);
    let mut forged = vec![
        // Fatal alerts, and goodbye.
        record(21, 0, &[2, 40]),
        record(21, 1, &[2, 10]),
        record(21, 2, &[1, 0]),
        record(23, 3, b"application data"),
        record(20, 4, &[1]),
        record(20, 5, &[7]),
        record(22, 6, &[0; 40]),
        record(22, 7, &[0xff; 40]),
        record(99, 8, &[1, 2, 3]),
        vec![22; 60],
        vec![45; 60],
        hello[..hello.len() / 2].to_vec(),
        noise,
        server_hello(1, 0, [0xfe, 0xfd]),
        server_hello(2, 1, [0xfe, 0xfd]),
        server_hello(3, 0, [0xfe, 0xfc]),
        hello_verify_request(1),
        hello_verify_request(2),
    ];
    // Certificate, key exchange and all others, of no sense and before their time.
    forged.extend(
        (0..=25)
            .filter(|kind| *kind != 1)
            .map(|kind| message(kind, 9, &[3; 70])),
    );
    forged
}

fn gone(rig: &Rig) -> Option<&Event> {
    let gone = |event: &&Event| matches!(event, Event::Disconnected { .. });
    rig.events.iter().find(gone)
}

/// Two people, on one PeerConnection or two, who begin DTLS or do not, hear and see each other.
#[test]
fn whoever_begins_dtls_people_hear_and_see_each_other_and_data_arrives() {
    for (two, servers) in [(false, true), (true, true), (true, false)] {
        let mut rig = Rig::new(90);
        let one = rig.join();
        rig.dtls_servers = servers;
        let other = match two {
            true => rig.join_with_two(),
            false => rig.join(),
        };
        rig.offer(other);
        rig.run(SECOND);
        let own = [one, other].map(|p| rig.publish(p, ClientKind::Audio, &[]));
        let seen = [one, other].map(|p| rig.publish(p, ClientKind::Video, &[]));
        rig.run(3 * SECOND);
        for (listener, speaker) in [(one, 1), (other, 0)] {
            let heard = rig.received(listener, own[speaker]);
            assert!(
                heard.packets > 100 && heard.lost == 0,
                "{two} {servers}: {heard:?}"
            );
            let seen = rig.received(listener, seen[speaker]);
            assert!(seen.decodable_frames > 60, "{two} {servers}: {seen:?}");
        }
        for (from, to) in [(one, other), (other, one)] {
            let now = rig.now;
            let packet = protocol::livekit::DataPacket {
                value: Some(protocol::livekit::data_packet::Value::User(
                    protocol::livekit::UserPacket::default(),
                )),
                ..Default::default()
            };
            let packet = protocol::prost::Message::encode_to_vec(&packet);
            for channel in [client::DataChannel::Reliable, client::DataChannel::Lossy] {
                let sender = &mut rig.participants[from].connection;
                sender.send_data(channel, &packet, now).unwrap();
            }
            rig.run(SECOND / 2);
            assert_eq!(rig.participants[to].data.len(), 2, "{two} {servers}");
        }
        assert_eq!(gone(&rig), None);
    }
}

#[test]
fn a_client_hello_of_ours_that_is_lost_is_sent_again() {
    for lost in 1..6 {
        let mut rig = Rig::new(91);
        rig.dtls_servers = true;
        rig.lost_dtls = lost;
        let one = rig.join();
        assert!(rig.run_until(5 * SECOND, |rig| rig.participants[one].connected));
        assert_eq!((rig.lost_dtls, gone(&rig)), (0, None));
    }
}

#[test]
fn who_does_not_begin_dtls_gets_through_a_network_that_loses_a_fifth() {
    for seed in 0..20 {
        let mut rig = Rig::new(100 + seed);
        rig.dtls_servers = true;
        rig.loss = 0.2;
        let people = [rig.join(), rig.join_with_two()];
        rig.offer(people[1]);
        rig.run(12 * SECOND);
        assert!(
            people.iter().all(|p| rig.participants[*p].connected),
            "seed {seed}"
        );
    }
}

/// The choice holds as long as the association; with ICE restarted there may be another.
#[test]
fn a_change_of_who_begins_dtls_waits_until_ice_is_restarted() {
    let mut rig = Rig::new(92);
    let (one, other) = (rig.join(), rig.join());
    let voice = rig.publish(one, ClientKind::Audio, &[]);
    rig.run(2 * SECOND);
    rig.offer_as(one, |sdp| sdp.replace("a=setup:actpass", "a=setup:passive"));
    let before = rig.received(other, voice).packets;
    rig.run(2 * SECOND);
    assert!(rig.participants[one].answer.contains("a=setup:passive"));
    assert!(rig.received(other, voice).packets > before + 95);
    assert_eq!(gone(&rig), None);

    // What nobody can do costs that offer only.
    rig.offer_as(one, |sdp| {
        sdp.replace("a=setup:actpass", "a=setup:holdconn")
    });
    rig.participants[one].connection.roll_back();
    let picture = rig.publish(one, ClientKind::Video, &[]);
    let before = rig.received(other, voice).packets;
    rig.run(2 * SECOND);
    assert!(rig.received(other, voice).packets > before + 95);
    assert!(rig.received(other, picture).decodable_frames > 30);
    let refused = |event: &&Event| matches!(event, Event::NegotiationFailed { .. });
    assert_eq!(rig.events.iter().find(refused), None);

    let sections = [VOICE];
    let mut attacker = Attacker::join(&mut rig, 1, &sections).connected(&mut rig);
    let restarted = |sdp: String| {
        sdp.replace("a=setup:actpass", "a=setup:passive")
            .replace("attk", "back")
    };
    attacker.offer(&mut rig, &sections, restarted);
    attacker.serve(&rig);
    let check = attacker.check_as("back");
    attacker.send(&mut rig, &check);
    for _ in 0..40 {
        attacker.step(&mut rig);
    }
    assert!(attacker.connected, "a second association");
    let connected = Event::Connected { peer: attacker.sid };
    assert!(rig.events.contains(&connected));
}

#[test]
fn forged_datagrams_between_check_and_hello_neither_end_a_participant_nor_keep_it_out() {
    let mut rig = Rig::new(93);
    let mut number = 0;
    for forged in forgeries(&rig) {
        number += 1;
        let mut one = Attacker::join(&mut rig, number, &[VOICE]);
        let check = one.check(true, None);
        one.send(&mut rig, &check);
        for _ in 0..20 {
            rig.inject(one.address, &forged);
        }
        // A client that has not begun looks at none of what comes for others.
        rig.strangers.insert(one.address, Vec::new());
        one.connect(&mut rig);
        assert!(one.connected, "{number}: {forged:02x?}");
        assert!(rig.events.contains(&Event::Connected { peer: one.sid }));
    }
    assert_eq!(gone(&rig), None);
}

#[test]
fn other_peoples_hellos_with_a_forged_address_do_not_keep_a_participant_out() {
    let mut rig = Rig::new(94);
    let mut one = Attacker::join(&mut rig, 1, &[VOICE]);
    let check = one.check(true, None);
    one.send(&mut rig, &check);
    for _ in 0..50 {
        let hello = client_hello(&rig);
        rig.inject(one.address, &hello);
        rig.run(20 * MS);
    }
    rig.strangers.insert(one.address, Vec::new());
    one.connect(&mut rig);
    assert!(one.connected);
    // And while its own handshake is under way.
    let other = rig.join();
    let own = rig.participants[other].connection.local();
    rig.run(11 * MS);
    for _ in 0..3 {
        let hello = client_hello(&rig);
        rig.inject(own, &hello);
    }
    assert!(rig.run_until(SECOND, |rig| rig.participants[other].connected));
    assert_eq!(gone(&rig), None);
}

/// At each moment of the handshake, whoever begins it.
#[test]
fn forged_datagrams_during_the_handshake_do_not_end_it() {
    for servers in [false, true] {
        for moment in 0..12 {
            let mut rig = Rig::new(95);
            rig.dtls_servers = servers;
            let one = rig.join();
            let own: SocketAddr = rig.participants[one].connection.local();
            rig.run(3 * MS * moment);
            // Of the messages in the clear those that a handshake has at this time can be told from nothing.
            let early = |forged: &Vec<u8>| {
                !servers
                    || forged[13..]
                        .first()
                        .is_none_or(|kind| forged[0] != 22 || [2, 3].contains(kind))
            };
            for forged in forgeries(&rig).into_iter().filter(early) {
                rig.inject(own, &forged);
            }
            let joined = rig.run_until(3 * SECOND, |rig| rig.participants[one].connected);
            assert!(joined, "servers: {servers}, after {} ms", 3 * moment);
            assert_eq!(gone(&rig), None);
        }
    }
}

#[test]
fn a_server_of_dtls_with_another_certificate_is_refused_and_told_nothing() {
    let mut rig = Rig::new(96);
    let stolen = crate::attacker::fingerprint(&certificate());
    let change = |sdp: String| {
        let lines = sdp.lines().map(|line| match line {
            line if line.starts_with("a=fingerprint:") => format!("a=fingerprint:{stolen}\r\n"),
            "a=setup:actpass" => "a=setup:passive\r\n".to_owned(),
            line => format!("{line}\r\n"),
        });
        lines.collect()
    };
    let mut mallory = Attacker::join_as(&mut rig, 1, &[VOICE], change);
    mallory.serve(&rig);
    mallory.connect(&mut rig);
    let failed = Event::Disconnected {
        peer: mallory.sid,
        reason: DisconnectReason::DtlsFailed,
    };
    assert!(rig.events.contains(&failed));
    assert!(!mallory.connected);
}

#[test]
fn handshakes_that_somebody_else_begins_are_bounded() {
    let mut rig = Rig::new(97);
    let mut one = Attacker::join(&mut rig, 1, &[VOICE]);
    let check = one.check(true, None);
    one.send(&mut rig, &check);
    for _ in 0..1000 {
        let hello = client_hello(&rig);
        rig.inject(one.address, &hello);
    }
    rig.run(10 * MS);
    let answered = rig.strangers[&one.address].len();
    assert!(answered < 100, "{answered} datagrams");
    rig.strangers.insert(one.address, Vec::new());
    rig.run(SECOND);
    rig.strangers.insert(one.address, Vec::new());
    one.connect(&mut rig);
    assert!(one.connected);
    assert_eq!(gone(&rig), None);
}
