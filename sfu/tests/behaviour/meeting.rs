//! What participants of a meeting notice, with real WebRTC clients against one shard in virtual time.

use std::time::Duration;

use crate::rig::{Rig, server};
use client::media::{Layer, MediaKind};
use protocol::{ParticipantSid, TrackSid};
use rand::{SeedableRng, rngs::StdRng};
use sfu::{
    Command, DataChannel, DataCommand, DisconnectReason, Event, MemberCommand, PeerPermissions,
    SpatialLayer, SubscriptionCommand, TrackCommand, TrackSetting, stats::DropReason,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_participants_hear_and_see_each_other() {
    let mut rig = Rig::new(1);
    let (a, b) = (rig.join(), rig.join());
    let (voice_a, voice_b) = (
        rig.publish(a, MediaKind::Audio, &[]),
        rig.publish(b, MediaKind::Audio, &[]),
    );
    let picture = rig.publish(a, MediaKind::Video, &[]);
    rig.run(3 * SECOND);
    assert!(rig.participants.iter().all(|p| p.connected));
    for (listener, voice) in [(b, voice_a), (a, voice_b)] {
        let heard = rig.received(listener, voice);
        assert!(heard.packets > 120 && heard.lost == 0, "{heard:?}");
    }
    let seen = rig.received(b, picture);
    assert!(
        seen.decodable_frames > 70 && seen.dropped_frames == 0 && seen.lost == 0,
        "{seen:?}"
    );
    assert_eq!(seen.size, (640, 360));
}

#[test]
fn a_latecomer_has_existing_tracks_in_its_first_answer_and_a_picture_at_once() {
    let mut rig = Rig::new(2);
    let a = rig.join();
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    let picture = rig.publish(a, MediaKind::Video, &[]);
    rig.run(3 * SECOND);
    for _ in 0..8 {
        let started = rig.now;
        let late = rig.join();
        let tracks: Vec<_> = rig.participants[late].tracks.values().copied().collect();
        assert!(tracks.contains(&voice) && tracks.contains(&picture));
        assert!(
            rig.run_until(SECOND, |rig| rig.received(late, picture).decodable_frames
                > 0)
        );
        let waited = rig.now - started;
        // ICE and DTLS at 5 ms each way; no throttle of key frames between joiners.
        assert!(waited < Duration::from_millis(150), "{waited:?}");
        rig.run(Duration::from_millis(20));
        let seen = rig.received(late, picture);
        assert_eq!((seen.lost, seen.dropped_frames), (0, 0), "{seen:?}");
    }
}

#[test]
fn eight_participants_all_receive_all_others() {
    let mut rig = Rig::new(3);
    let everyone: Vec<_> = (0..8).map(|_| rig.join()).collect();
    let tracks: Vec<_> = everyone
        .iter()
        .map(|i| {
            (
                rig.publish(*i, MediaKind::Audio, &[]),
                rig.publish(*i, MediaKind::Video, &[]),
            )
        })
        .collect();
    rig.run(3 * SECOND);
    for listener in &everyone {
        for (speaker, (voice, picture)) in tracks
            .iter()
            .enumerate()
            .filter(|(speaker, _)| speaker != listener)
        {
            let (heard, seen) = (
                rig.received(*listener, *voice),
                rig.received(*listener, *picture),
            );
            assert!(
                heard.packets > 80,
                "{listener} does not hear {speaker}: {heard:?}"
            );
            assert!(
                seen.decodable_frames > 40,
                "{listener} does not see {speaker}: {seen:?}"
            );
        }
    }
}

#[test]
fn a_subscriber_gets_the_layer_it_asks_for_without_a_gap() {
    let mut rig = Rig::new(4);
    let (a, b) = (rig.join(), rig.join());
    let picture = rig.publish(a, MediaKind::Video, &Layer::ALL);
    rig.run(3 * SECOND);
    let mut active: Vec<_> = rig
        .events
        .iter()
        .filter_map(|event| match event {
            Event::TrackActive { layer, .. } => Some(*layer),
            _ => None,
        })
        .collect();
    active.sort();
    assert_eq!(
        active,
        [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High]
    );
    assert_eq!(rig.received(b, picture).size, (1280, 720));
    let wishes = [
        (SpatialLayer::Low, (320, 180)),
        (SpatialLayer::Medium, (640, 360)),
        (SpatialLayer::High, (1280, 720)),
    ];
    for (max_layer, size) in wishes {
        let setting = TrackSetting {
            max_layer,
            ..TrackSetting::default()
        };
        rig.command(SubscriptionCommand::SetSetting {
            peer: rig.participants[b].sid,
            track: picture,
            setting,
        });
        assert!(
            rig.run_until(SECOND, |rig| rig.received(b, picture).size == size),
            "{max_layer:?}"
        );
        rig.run(SECOND);
    }
    let seen = rig.received(b, picture);
    assert_eq!((seen.lost, seen.dropped_frames), (0, 0), "{seen:?}");
    assert!(
        seen.longest_gap < 90_000,
        "a freeze of {} ticks",
        seen.longest_gap
    );
}

#[test]
fn losses_are_repaired_in_both_directions() {
    let mut rig = Rig::new(5);
    let (a, b) = (rig.join(), rig.join());
    let picture = rig.publish(a, MediaKind::Video, &[]);
    rig.run(2 * SECOND);
    rig.loss = 0.05;
    rig.run(20 * SECOND);
    rig.loss = 0.0;
    rig.run(SECOND);
    let (seen, stats) = (rig.received(b, picture), rig.shard.stats());
    assert!(stats.retransmitted > 20 && stats.nacked > 20, "{stats:?}");
    assert!(seen.decodable_frames > 600, "{seen:?}");
}

#[test]
fn a_handshake_whose_end_is_lost_again_and_again_still_ends_soon() {
    let mut rig = Rig::new(7);
    let first = rig.join();
    let voice = rig.publish(first, MediaKind::Audio, &[]);
    rig.run(SECOND);
    rig.lost_handshake_ends = 3;
    let second = rig.join();
    rig.run(SECOND);
    assert_eq!(rig.lost_handshake_ends, 0);
    assert!(rig.received(second, voice).packets > 0);
}

#[test]
fn a_muted_track_is_silent_and_comes_back_without_a_gap() {
    let mut rig = Rig::new(6);
    let (a, b) = (rig.join(), rig.join());
    let (voice, picture) = (
        rig.publish(a, MediaKind::Audio, &[]),
        rig.publish(a, MediaKind::Video, &[]),
    );
    rig.run(2 * SECOND);
    let peer = rig.participants[a].sid;
    for (track, muted) in [(voice, true), (picture, true)] {
        rig.command(TrackCommand::SetMuted { peer, track, muted });
    }
    rig.run(SECOND / 10);
    let before = (
        rig.received(b, voice).packets,
        rig.received(b, picture).packets,
    );
    rig.run(2 * SECOND);
    assert_eq!(
        (
            rig.received(b, voice).packets,
            rig.received(b, picture).packets
        ),
        before
    );
    for track in [voice, picture] {
        rig.command(TrackCommand::SetMuted {
            peer,
            track,
            muted: false,
        });
    }
    rig.run(2 * SECOND);
    let (heard, seen) = (rig.received(b, voice), rig.received(b, picture));
    assert!(
        heard.packets > before.0 + 80 && heard.lost == 0,
        "{heard:?}"
    );
    assert!(
        seen.packets > before.1 + 40 && seen.lost == 0 && seen.dropped_frames == 0,
        "{seen:?}"
    );
}

#[test]
fn data_packets_carry_the_senders_name_whatever_they_claim() {
    use protocol::{livekit, prost::Message};
    let mut rig = Rig::new(7);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    let packet = |to: &[&str]| {
        livekit::DataPacket {
            participant_identity: "mallory".into(),
            destination_identities: to.iter().map(|to| to.to_string()).collect(),
            value: Some(livekit::data_packet::Value::ChatMessage(Default::default())),
            ..Default::default()
        }
        .encode_to_vec()
    };
    let now = rig.now;
    let send = |rig: &mut Rig, bytes: &[u8]| {
        rig.participants[a]
            .connection
            .send_data(client::DataChannel::Reliable, bytes, now)
            .unwrap();
    };
    send(&mut rig, &packet(&[]));
    send(&mut rig, &packet(&["identity-2"]));
    send(&mut rig, b"\xff\xff\xff");
    rig.run(SECOND);
    assert_eq!(rig.participants[a].data.len(), 0);
    assert_eq!(rig.participants[b].data.len(), 1);
    assert_eq!(rig.participants[c].data.len(), 2);
    let stamped = livekit::DataPacket::decode(rig.participants[b].data[0].as_slice()).unwrap();
    assert_eq!(stamped.participant_identity, "identity-0");
    assert_eq!(stamped.participant_sid, rig.participants[a].sid.as_str());
    assert_eq!(rig.shard.stats().drops(DropReason::Data), 1);
    rig.command(DataCommand::Send {
        room: rig.room,
        to: vec![],
        channel: DataChannel::Lossy,
        payload: vec![1],
    });
    rig.run(SECOND);
    assert!(
        rig.participants
            .iter()
            .all(|p| p.data.last() == Some(&vec![1]))
    );
}

#[test]
fn an_agent_writes_in_the_name_of_who_spoke_and_nobody_else_does() {
    use protocol::{
        livekit::{self, data_packet::Value, data_stream},
        prost::Message,
    };
    let mut rig = Rig::new(70);
    let (agent, listener) = (rig.join(), rig.join());
    rig.run(SECOND);
    let packet = |value| {
        livekit::DataPacket {
            participant_identity: "identity-9".into(),
            participant_sid: "PA_9".into(),
            value: Some(value),
            ..Default::default()
        }
        .encode_to_vec()
    };
    let header = Value::StreamHeader(data_stream::Header {
        content_header: Some(data_stream::header::ContentHeader::TextHeader(
            Default::default(),
        )),
        ..Default::default()
    });
    let chunk = Value::StreamChunk(data_stream::Chunk::default());
    let send = |rig: &mut Rig, value: &Value| {
        let now = rig.now;
        let bytes = packet(value.clone());
        let connection = &mut rig.participants[agent].connection;
        connection
            .send_data(client::DataChannel::Reliable, &bytes, now)
            .unwrap();
        rig.run(SECOND);
        let heard = rig.participants[listener].data.last().unwrap();
        livekit::DataPacket::decode(heard.as_slice()).unwrap()
    };
    assert_eq!(send(&mut rig, &header).participant_identity, "identity-0");
    let peer = rig.participants[agent].sid;
    let permissions = sfu::PeerPermissions {
        can_publish_data: true,
        hidden: false,
        agent: true,
        hears_all: false,
    };
    rig.command(MemberCommand::SetPermissions { peer, permissions });
    let heard = send(&mut rig, &header);
    assert_eq!(heard.participant_identity, "identity-9");
    assert_eq!(heard.participant_sid, peer.as_str());
    let Some(Value::StreamHeader(header)) = heard.value else {
        panic!("no header")
    };
    let Some(data_stream::header::ContentHeader::TextHeader(text)) = header.content_header else {
        panic!("no text")
    };
    assert!(text.generated);
    assert_eq!(send(&mut rig, &chunk).participant_identity, "identity-0");
}

#[test]
fn messages_wait_for_a_network_that_was_away_and_then_come_soon() {
    let mut rig = Rig::new(17);
    let (_, b) = (rig.join(), rig.join());
    rig.run(2 * SECOND);
    let away = rig.participants[b].connection.local();
    rig.cut.push(away);
    rig.command(DataCommand::Send {
        room: rig.room,
        to: Vec::new(),
        channel: DataChannel::Reliable,
        payload: vec![7; 100],
    });
    // The fifth repetition would be due 31 s after the first try.
    rig.run(16 * SECOND);
    rig.cut.clear();
    rig.run(5 * SECOND);
    assert_eq!(rig.participants[b].data, [vec![7; 100]]);
}

#[test]
fn who_speaks_is_told_and_who_stops_too() {
    let mut rig = Rig::new(8);
    let (a, _) = (rig.join(), rig.join());
    rig.publish(a, MediaKind::Audio, &[]);
    rig.run(2 * SECOND);
    let speakers = |rig: &Rig| {
        rig.events.iter().rev().find_map(|event| match event {
            Event::SpeakersChanged { speakers, .. } => {
                Some(speakers.iter().map(|s| s.peer).collect::<Vec<_>>())
            }
            _ => None,
        })
    };
    assert_eq!(speakers(&rig), Some(vec![rig.participants[a].sid]));
    rig.leave(a);
    rig.run(2 * SECOND);
    assert_eq!(speakers(&rig), Some(vec![]));
}

#[test]
fn an_ice_restart_keeps_the_media_flowing() {
    let mut rig = Rig::new(9);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    rig.run(2 * SECOND);
    for i in [a, b] {
        rig.participants[i].connection.restart_ice();
        rig.offer(i);
    }
    let before = rig.received(b, voice).packets;
    rig.run(2 * SECOND);
    let heard = rig.received(b, voice);
    assert!(
        heard.packets > before + 95 && heard.lost == 0,
        "{before} {heard:?}"
    );
}

#[test]
fn who_gets_another_address_from_its_nat_hears_again_with_its_next_check() {
    let mut rig = Rig::new(9);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    rig.run(3 * SECOND);
    rig.rebind(b, "203.0.113.9:40000".parse().unwrap());
    // Checks come every three seconds at least.
    rig.run(4 * SECOND);
    let before = rig.received(b, voice).packets;
    rig.run(2 * SECOND);
    let heard = rig.received(b, voice).packets - before;
    assert!((98..=102).contains(&heard), "{heard}");
}

#[test]
fn a_peer_that_falls_silent_is_lost_and_the_others_go_on() {
    let mut rig = Rig::new(10);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    rig.run(2 * SECOND);
    rig.cut.push(rig.participants[c].connection.local());
    rig.run(40 * SECOND);
    let lost = Event::Disconnected {
        peer: rig.participants[c].sid,
        reason: DisconnectReason::ConsentLost,
    };
    assert_eq!(rig.events.iter().filter(|event| **event == lost).count(), 1);
    assert!(rig.received(b, voice).packets > 1950);
}

#[test]
fn leaving_frees_everything() {
    let mut rig = Rig::new(11);
    for round in 0..5 {
        let (a, b) = (rig.join(), rig.join());
        rig.publish(a, MediaKind::Audio, &[]);
        rig.publish(b, MediaKind::Video, &Layer::ALL);
        rig.run(SECOND);
        rig.leave(a);
        rig.run(SECOND / 10);
        rig.leave(b);
        let stats = rig.shard.stats();
        assert_eq!(
            (stats.peers, stats.rooms, stats.up_tracks, stats.down_tracks),
            (0, 0, 0, 0),
            "round {round}"
        );
    }
}

#[test]
fn garbage_and_strangers_change_nothing() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let mut rig = Rig::new(12);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    rig.run(2 * SECOND);
    let mut rng = StdRng::seed_from_u64(12);
    let known = rig.participants[a].connection.local();
    for i in 0..20_000 {
        let mut bytes = vec![0; rng.random_range(0..200)];
        rng.fill(bytes.as_mut_slice());
        if let Some(first) = bytes.first_mut() {
            *first = [0, 1, 20, 22, 23, 63, 128, 129, 144, 191][i % 10];
        }
        let from = if i % 2 == 0 {
            known
        } else {
            "203.0.113.9:9".parse().unwrap()
        };
        rig.inject(from, &bytes);
    }
    let stats = rig.shard.stats();
    assert!(stats.drops(DropReason::NotValidated) > 5000, "{stats:?}");
    assert!(stats.drops(DropReason::Authentication) > 1000, "{stats:?}");
    assert_eq!(stats.panics, 0);
    let before = rig.received(b, voice).packets;
    rig.run(2 * SECOND);
    assert!(rig.received(b, voice).packets > before + 95);
    assert_eq!(server().port(), 7882);
}

#[test]
fn sections_are_used_again_for_other_tracks() {
    let mut rig = Rig::new(13);
    let (a, b) = (rig.join(), rig.join());
    let pictures: Vec<_> = (0..6)
        .map(|_| rig.publish(a, MediaKind::Video, &[]))
        .collect();
    rig.run(3 * SECOND);
    let peer = rig.participants[b].sid;
    for round in 0..4 {
        for (i, track) in pictures.iter().enumerate() {
            let command = match (i + round) % 2 {
                0 => Command::Subscription(SubscriptionCommand::Subscribe {
                    peer,
                    track: *track,
                    setting: TrackSetting::default(),
                }),
                _ => Command::Subscription(SubscriptionCommand::Unsubscribe {
                    peer,
                    track: *track,
                }),
            };
            rig.command(command);
        }
        rig.run(SECOND);
        for (i, track) in pictures.iter().enumerate() {
            let before = rig.received(b, *track).packets;
            rig.run(SECOND / 5);
            let subscribed = (i + round) % 2 == 0;
            assert_eq!(
                rig.received(b, *track).packets > before,
                subscribed,
                "round {round} track {i}"
            );
        }
    }
}

#[test]
fn a_decoder_that_an_offer_changes_gets_a_new_stream_that_begins_with_a_key_frame() {
    let mut rig = Rig::new(14);
    let (a, b) = (rig.join(), rig.join());
    let picture = rig.publish(a, MediaKind::Video, &[]);
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    rig.run(2 * SECOND);
    let told = |rig: &Rig| {
        let told = |event: &&Event| matches!(event, Event::TrackSubscribed { .. });
        rig.events.iter().filter(told).count()
    };
    let told_before = told(&rig);
    let streams = |answer: &str| -> Vec<String> {
        let lines = answer.lines().filter(|line| line.starts_with("a=ssrc:"));
        lines.map(str::to_owned).collect()
    };
    let last_answer = |rig: &Rig| {
        let answer = rig.events.iter().rev().find_map(|event| match event {
            Event::Answer { peer, sdp, .. } if *peer == rig.participants[b].sid => {
                Some(streams(sdp))
            }
            _ => None,
        });
        answer.unwrap()
    };
    rig.offer(b);
    rig.run(SECOND);
    let before = last_answer(&rig);
    let (seen, heard) = (rig.received(b, picture), rig.received(b, voice));

    // As the native SDKs do when they publish their first picture.
    let start_bitrate = |sdp: String| {
        let rtpmap = sdp
            .lines()
            .find(|line| line.contains(" VP8/90000"))
            .unwrap();
        let payload_type = rtpmap.split([':', ' ']).nth(1).unwrap();
        let fmtp = format!("{rtpmap}\r\na=fmtp:{payload_type} x-google-start-bitrate=1000");
        sdp.replace(rtpmap, &fmtp)
    };
    rig.offer_as(b, start_bitrate);
    rig.run(SECOND);
    let after = last_answer(&rig);
    let kept: Vec<_> = before.iter().filter(|line| after.contains(line)).collect();
    assert_eq!(
        (before.len(), after.len(), kept.len()),
        (3, 3, 1),
        "the voice keeps its stream"
    );
    let (seen_now, heard_now) = (rig.received(b, picture), rig.received(b, voice));
    assert!(
        seen_now.decodable_frames >= seen.decodable_frames + 20,
        "{seen_now:?} after {seen:?}"
    );
    assert!(
        heard_now.packets >= heard.packets + 45 && heard_now.lost == 0,
        "{heard_now:?}"
    );
    assert_eq!(told(&rig), told_before, "the publisher is told once");

    // The same offer again changes nothing.
    rig.offer_as(b, start_bitrate);
    rig.run(SECOND);
    assert_eq!(last_answer(&rig), after);
}

#[test]
fn a_slow_network_costs_its_owner_pixels_and_the_others_nothing() {
    let mut rig = Rig::new(15);
    let (a, slow, other) = (rig.join(), rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    let picture = rig.publish(a, MediaKind::Video, &Layer::ALL);
    rig.run(4 * SECOND);
    let top = (1280, 720);
    assert_eq!(rig.received(slow, picture).size, top);

    rig.narrow(slow, 300_000, SECOND / 5);
    let smaller = |rig: &Rig| rig.received(slow, picture).size == (320, 180);
    assert!(
        rig.run_until(5 * SECOND, smaller),
        "the picture is smaller soon"
    );
    rig.run(5 * SECOND);
    let before = [slow, other].map(|i| (rig.received(i, voice), rig.received(i, picture)));
    rig.run(10 * SECOND);
    let after = [slow, other].map(|i| (rig.received(i, voice), rig.received(i, picture)));
    let heard = |i: usize| after[i].0.packets - before[i].0.packets;
    let seen = |i: usize| after[i].1.decodable_frames - before[i].1.decodable_frames;
    assert!(heard(0) >= 490, "{:?}", after[0].0);
    assert!(seen(0) >= 200, "{} frames: {:?}", seen(0), after[0].1);
    assert!(heard(1) >= 495 && seen(1) >= 290, "{:?}", after[1]);
    assert_eq!(
        (after[1].1.size, after[1].1.lost, after[1].0.lost),
        (top, 0, 0)
    );

    rig.widen(slow);
    let large = |rig: &Rig| rig.received(slow, picture).size == top;
    assert!(
        rig.run_until(10 * SECOND, large),
        "the large picture comes back"
    );
    let began = rig.received(slow, picture).decodable_frames;
    rig.run(5 * SECOND);
    let seen = rig.received(slow, picture);
    assert!(
        seen.decodable_frames >= began + 140 && seen.size == top,
        "{seen:?}"
    );
}

#[test]
fn a_network_that_carries_no_picture_still_carries_the_voice_and_says_so() {
    let mut rig = Rig::new(16);
    let (a, slow) = (rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    let picture = rig.publish(a, MediaKind::Video, &[]);
    rig.run(3 * SECOND);
    rig.narrow(slow, 120_000, SECOND / 4);
    let states = |rig: &Rig| -> Vec<bool> {
        let state = |event: &Event| match event {
            Event::StreamStateChanged { track, paused, .. } if *track == picture => Some(*paused),
            _ => None,
        };
        rig.events.iter().filter_map(state).collect()
    };
    assert!(rig.run_until(5 * SECOND, |rig| states(rig) == [true]));
    rig.run(SECOND);
    let before = rig.received(slow, voice);
    rig.run(5 * SECOND);
    let after = rig.received(slow, voice);
    assert!(
        after.packets - before.packets >= 245,
        "{after:?} after {before:?}"
    );

    rig.widen(slow);
    assert!(rig.run_until(10 * SECOND, |rig| states(rig).last() == Some(&false)));
    let before = rig.received(slow, picture).decodable_frames;
    rig.run(3 * SECOND);
    let seen = rig.received(slow, picture);
    assert!(seen.decodable_frames > before + 40, "{seen:?}");
}

/// Somebody tells whether the picture is paused for him.
fn is_paused(rig: &Rig, picture: TrackSid) -> bool {
    let state = |event: &Event| match event {
        Event::StreamStateChanged { track, paused, .. } if *track == picture => Some(*paused),
        _ => None,
    };
    rig.events.iter().rev().find_map(state) == Some(true)
}

#[test]
fn a_picture_that_its_receiver_does_not_know_yet_is_not_taken_for_a_slow_network() {
    let mut rig = Rig::new(17);
    let (a, b) = (rig.join(), rig.join());
    rig.publish(a, MediaKind::Audio, &[]);
    rig.run(2 * SECOND);
    let picture = rig.publish(a, MediaKind::Video, &[]);
    // Browsers need a while to digest an answer: until then nothing of what it describes is theirs.
    rig.lost_ssrcs = rig.ssrcs(b, picture);
    rig.run(SECOND);
    rig.lost_ssrcs.clear();
    rig.run(SECOND);
    let events = format!("{:?}", rig.events);
    assert!(!events.contains("StreamStateChanged"), "it was paused");
    let seen = rig.received(b, picture);
    assert!(seen.decodable_frames > 20, "{seen:?}");
}

#[test]
fn a_picture_comes_also_where_none_fitted_and_none_is_left() {
    let mut rig = Rig::new(18);
    // The last one keeps the picture alive.
    let (a, slow, _) = (rig.join(), rig.join(), rig.join());
    rig.publish(a, MediaKind::Audio, &[]);
    let picture = rig.publish(a, MediaKind::Video, &[]);
    rig.run(3 * SECOND);
    rig.narrow(slow, 120_000, SECOND / 4);
    assert!(rig.run_until(5 * SECOND, |rig| is_paused(rig, picture)));
    // With it goes all that padding could be sent with.
    let (peer, track) = (rig.participants[slow].sid, picture);
    rig.command(SubscriptionCommand::Unsubscribe { peer, track });
    rig.run(SECOND);
    rig.widen(slow);
    rig.run(SECOND);
    // The key frame is not there before it is decided what fits.
    rig.narrow(a, 12_000, SECOND);
    rig.command(SubscriptionCommand::Subscribe {
        peer,
        track,
        setting: TrackSetting::default(),
    });
    rig.run(SECOND / 5);
    let before = rig.received(slow, picture).decodable_frames;
    let is_seen = |rig: &Rig| rig.received(slow, picture).decodable_frames > before + 60;
    assert!(rig.run_until(10 * SECOND, is_seen));
}

#[test]
fn who_never_describes_its_side_is_not_lost_and_who_does_and_does_not_connect_is() {
    let mut rig = Rig::new(12);
    let idle = ParticipantSid::random(&mut StdRng::from_seed([9; 32]));
    rig.command(MemberCommand::Add {
        room: rig.room,
        peer: idle,
        principal: "idle".into(),
        identity: "idle".into(),
        permissions: PeerPermissions {
            can_publish_data: false,
            hidden: false,
            agent: false,
            hears_all: false,
        },
    });
    rig.run(SECOND);
    let lost = rig.join();
    rig.cut.push(rig.participants[lost].connection.local());
    rig.run(60 * SECOND);
    let gone = rig.events.iter().filter_map(|event| match event {
        Event::Disconnected { peer, reason } => Some((*peer, *reason)),
        _ => None,
    });
    let lost = rig.participants[lost].sid;
    assert_eq!(
        gone.collect::<Vec<_>>(),
        [(lost, DisconnectReason::ConnectTimeout)]
    );
}
