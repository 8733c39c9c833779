//! A peer connection against str0m as answerer, in virtual time and without sockets.

use std::time::{Duration, Instant};

use crate::support::{Answerer, Pair, events, is_rtp};
use client::{
    DataChannel, Error, PeerConfig, PeerConnection, PeerEvent, SendTrack,
    fixtures::{self, PictureSize},
    media::{AudioLevel, Layer, MediaKind, OutgoingPacket, Vp8Packetizer},
};

fn track(cid: &str, kind: MediaKind, layers: &[Layer]) -> SendTrack {
    SendTrack {
        cid: cid.into(),
        stream: "-".into(),
        kind,
        layers: layers.to_vec(),
    }
}

/// A connection that sends `tracks` from its first offer on.
fn connected(config: PeerConfig, tracks: &[SendTrack]) -> Pair<PeerConnection> {
    let now = Instant::now();
    let mut client = PeerConnection::new(config, "10.0.0.1:4000".parse().unwrap(), now).unwrap();
    for track in tracks {
        client.add_track(track.clone());
    }
    let mut pair = Pair::new(client, Answerer::new("10.0.0.2:7882", now), now);
    negotiate(&mut pair);
    pair.run(Duration::from_secs(1));
    assert!(pair.client.is_connected() && pair.server.connected);
    pair
}

fn negotiate(pair: &mut Pair<PeerConnection>) {
    let offer = pair.client.create_offer(pair.now).unwrap();
    let answer = pair.server.answer(&offer, pair.now);
    pair.client.accept_answer(&answer, pair.now).unwrap();
}

fn media_lines(sdp: &str) -> Vec<&str> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("m=")?.split(' ').next())
        .collect()
}

#[test]
fn the_first_offer_is_laid_out_as_livekit_clients_do() {
    let now = Instant::now();
    let mut client =
        PeerConnection::new(PeerConfig::default(), "10.0.0.1:4000".parse().unwrap(), now).unwrap();
    client.add_track(track("mic", MediaKind::Audio, &[]));
    client.add_track(track("cam", MediaKind::Video, &Layer::ALL));
    let offer = client.create_offer(now).unwrap();
    let expected = [
        "audio",
        "audio",
        "audio",
        "video",
        "video",
        "video",
        "application",
        "audio",
        "video",
    ];
    assert_eq!(media_lines(&offer), expected);
    assert_eq!(offer.matches("a=recvonly").count(), 6);
    assert!(offer.contains("a=msid:- mic") && offer.contains("a=msid:- cam"));
    assert!(offer.contains("a=simulcast:send q;h;f"));
    assert_eq!(
        offer.matches("a=msid:").count(),
        2,
        "only sections that send have a msid"
    );
    let camera = offer.rsplit("m=video").next().unwrap();
    assert!(
        !camera.contains("a=ssrc"),
        "simulcast sections declare no SSRC"
    );
    assert!(matches!(client.create_offer(now), Err(Error::OfferPending)));
}

#[test]
fn packets_arrive_as_they_were_written() {
    let mut pair = connected(
        PeerConfig::default(),
        &[track("mic", MediaKind::Audio, &[])],
    );
    let mid = pair.client.mid_of("mic").unwrap();
    for sequence in 65_530..65_560 {
        let packet = OutgoingPacket {
            sequence,
            timestamp: (sequence * 960) as u32,
            marker: sequence == 65_530,
            payload: fixtures::OPUS_SILENCE.into(),
            audio_level: Some(AudioLevel {
                dbov: -30,
                voice: true,
            }),
        };
        pair.client.write_rtp(&mid, None, packet, pair.now).unwrap();
        pair.run(Duration::from_millis(20));
    }
    pair.run(Duration::from_millis(50));
    let packets = &pair.server.packets;
    assert_eq!(packets.len(), 30);
    for (index, (_, _, packet)) in packets.iter().enumerate() {
        let sequence = 65_530 + index as u64;
        assert_eq!(packet.header.sequence_number, sequence as u16);
        assert_eq!(packet.header.timestamp, (sequence * 960) as u32);
        assert_eq!(&packet.payload[..], fixtures::OPUS_SILENCE);
        assert_eq!(packet.header.ext_vals.audio_level, Some(-30));
    }
    assert_eq!(pair.client.send_stats(&mid)[0].1.packets, 30);
}

#[test]
fn all_three_simulcast_layers_are_told_apart() {
    let mut pair = connected(
        PeerConfig::default(),
        &[track("cam", MediaKind::Video, &Layer::ALL)],
    );
    let mid = pair.client.mid_of("cam").unwrap();
    for index in 0..30 {
        for (layer, size) in Layer::ALL.into_iter().zip(PictureSize::ALL) {
            let frame = fixtures::moving_picture(size)[index];
            pair.client
                .write_frame(
                    &mid,
                    Some(layer),
                    frame,
                    3000 * index as u32,
                    None,
                    pair.now,
                )
                .unwrap();
        }
        pair.run(Duration::from_millis(33));
    }
    pair.run(Duration::from_millis(50));
    for (layer, stats) in pair.client.send_stats(&mid) {
        let rid = layer.unwrap().rid();
        let received = pair
            .server
            .packets
            .iter()
            .filter(|(_, r, _)| r.as_deref() == Some(rid))
            .count();
        assert_eq!(received as u64, stats.packets, "{rid}");
        assert_eq!(stats.frames, 30);
    }
}

#[test]
fn received_packets_become_the_frames_that_were_sent() {
    let mut pair = connected(
        PeerConfig {
            packets: true,
            ..Default::default()
        },
        &[],
    );
    let frames = fixtures::moving_picture(PictureSize::Medium);
    let mut packetizer = Vp8Packetizer::new(7);
    for (index, frame) in frames.iter().enumerate() {
        for packet in packetizer.packetize(frame, 3000 * index as u32) {
            let kind = str0m::media::MediaKind::Video;
            pair.server.send(
                kind,
                packet.timestamp,
                packet.marker,
                &packet.payload,
                pair.now,
            );
        }
        pair.run(Duration::from_millis(33));
    }
    pair.run(Duration::from_millis(50));
    let mut mids = Vec::new();
    let mut received = Vec::new();
    let mut packets = 0;
    for event in events(&mut pair.client) {
        match event {
            PeerEvent::Frame { mid, frame } => {
                mids.push(mid);
                received.push(frame);
            }
            PeerEvent::Packet { .. } => packets += 1,
            _ => {}
        }
    }
    assert_eq!(
        received
            .iter()
            .map(|frame| &frame.data[..])
            .collect::<Vec<_>>(),
        frames
    );
    assert!(
        received
            .iter()
            .all(|frame| frame.decodable && frame.size == (640, 360))
    );
    let stats = pair.client.receive_stats(&mids[0]).unwrap();
    assert_eq!(
        (stats.frames, stats.key_frames, stats.lost, stats.packets),
        (30, 1, 0, packets)
    );
    assert_eq!(stats.longest_gap, 3000);
}

#[test]
fn a_lost_key_frame_is_asked_for_again() {
    let mut pair = connected(PeerConfig::default(), &[]);
    let frames = fixtures::moving_picture(PictureSize::Low);
    let mut packetizer = Vp8Packetizer::new(7);
    // The first second comes without its first packet, a key frame's; then the sender obliges.
    for index in 0..60 {
        let frame = frames[index % 30];
        for (number, packet) in packetizer
            .packetize(frame, 3000 * index as u32)
            .iter()
            .enumerate()
        {
            if index + number > 0 {
                let kind = str0m::media::MediaKind::Video;
                pair.server.send(
                    kind,
                    packet.timestamp,
                    packet.marker,
                    &packet.payload,
                    pair.now,
                );
            }
        }
        pair.run(Duration::from_millis(33));
    }
    let received: Vec<_> = events(&mut pair.client)
        .into_iter()
        .filter_map(|event| match event {
            PeerEvent::Frame { mid, frame } => Some((mid, frame)),
            _ => None,
        })
        .collect();
    let stats = pair.client.receive_stats(&received[0].0).unwrap();
    assert!(stats.key_frame_requests >= 1);
    let first_decodable = received
        .iter()
        .position(|(_, frame)| frame.decodable)
        .unwrap();
    assert!(received[first_decodable].1.key);
}

#[test]
fn lost_packets_are_asked_for_and_come_again() {
    let mut pair = connected(
        PeerConfig::default(),
        &[track("cam", MediaKind::Video, &[])],
    );
    let mid = pair.client.mid_of("cam").unwrap();
    let mut count = 0;
    pair.lose = Box::new(move |datagram, to_client| {
        count += u32::from(is_rtp(datagram) && !to_client);
        is_rtp(datagram) && !to_client && count % 10 == 0
    });
    for index in 0..90 {
        let frame = fixtures::moving_picture(PictureSize::High)[index % 30];
        pair.client
            .write_frame(&mid, None, frame, 3000 * index as u32, None, pair.now)
            .unwrap();
        pair.run(Duration::from_millis(33));
    }
    pair.lose = Box::new(|_, _| false);
    pair.run(Duration::from_secs(1));
    let sent = pair.client.send_stats(&mid)[0].1.packets;
    let mut received: Vec<_> = pair
        .server
        .packets
        .iter()
        .map(|(_, _, packet)| *packet.seq_no)
        .collect();
    received.sort_unstable();
    received.dedup();
    assert_eq!(received.len() as u64, sent);
}

#[test]
fn data_goes_both_ways_on_every_channel() {
    let mut pair = connected(PeerConfig::default(), &[]);
    for channel in [
        DataChannel::Reliable,
        DataChannel::Lossy,
        DataChannel::DataTrack,
    ] {
        pair.client
            .send_data(channel, channel.label().as_bytes(), pair.now)
            .unwrap();
        pair.server.send_data(channel.label(), b"back", pair.now);
    }
    pair.run(Duration::from_millis(200));
    let mut got: Vec<_> = pair.server.data.clone();
    got.sort();
    let expected =
        ["_data_track", "_lossy", "_reliable"].map(|l| (l.to_owned(), l.as_bytes().to_vec()));
    assert_eq!(got, expected);
    let back = events(&mut pair.client)
        .into_iter()
        .filter(|e| matches!(e, PeerEvent::Data { .. }))
        .count();
    assert_eq!(back, 3);
}

#[test]
fn data_before_the_channel_is_open_is_refused() {
    let now = Instant::now();
    let mut client =
        PeerConnection::new(PeerConfig::default(), "10.0.0.1:4000".parse().unwrap(), now).unwrap();
    let refused = client.send_data(DataChannel::Lossy, b"x", now);
    assert!(matches!(refused, Err(Error::DataChannel("_lossy", _))));
}

#[test]
fn sections_and_tracks_are_added_while_connected() {
    let mut pair = connected(
        PeerConfig {
            audio_sections: 1,
            video_sections: 1,
            ..Default::default()
        },
        &[],
    );
    pair.client.add_receive_sections(2, 1);
    negotiate(&mut pair);
    pair.client.add_track(track("cam", MediaKind::Video, &[]));
    let offer = pair.client.create_offer(pair.now).unwrap();
    assert_eq!(
        media_lines(&offer),
        [
            "audio",
            "video",
            "application",
            "audio",
            "audio",
            "video",
            "video"
        ]
    );
    let mid = pair.client.mid_of("cam").unwrap();
    let early = pair.client.write_frame(&mid, None, &[1], 0, None, pair.now);
    assert!(matches!(early, Err(Error::NotNegotiated(_))));
    let answer = pair.server.answer(&offer, pair.now);
    pair.client.accept_answer(&answer, pair.now).unwrap();
    let frame = fixtures::moving_picture(PictureSize::Low)[0];
    pair.client
        .write_frame(&mid, None, frame, 0, None, pair.now)
        .unwrap();
    pair.run(Duration::from_millis(50));
    assert!(
        pair.server
            .packets
            .iter()
            .all(|(received, ..)| &**received == mid.as_str())
    );
    assert!(!pair.server.packets.is_empty());
}

#[test]
fn a_plain_offer_renews_the_same_sections() {
    let mut pair = connected(PeerConfig::default(), &[]);
    assert!(!pair.client.has_changes());
    let offer = pair.client.create_offer(pair.now).unwrap();
    assert_eq!(media_lines(&offer).len(), 7);
    assert_eq!(offer.matches("a=recvonly").count(), 6);
}

#[test]
fn a_section_turned_inactive_by_the_answer_is_offered_again() {
    let mut pair = connected(PeerConfig::default(), &[]);
    let offer = pair.client.create_offer(pair.now).unwrap();
    let answer = pair
        .server
        .answer(&offer, pair.now)
        .replace("a=sendonly", "a=inactive");
    pair.client.accept_answer(&answer, pair.now).unwrap();
    let offer = pair.client.create_offer(pair.now).unwrap();
    assert_eq!(offer.matches("a=recvonly").count(), 6);
}

#[test]
fn a_removed_track_leaves_an_inactive_section() {
    let mut pair = connected(
        PeerConfig::default(),
        &[track("mic", MediaKind::Audio, &[])],
    );
    let mid = pair.client.mid_of("mic").unwrap();
    pair.client.remove_track("mic");
    negotiate(&mut pair);
    let late = pair
        .client
        .write_frame(&mid, None, fixtures::OPUS_SILENCE, 0, None, pair.now);
    assert!(matches!(late, Err(Error::NotNegotiated(_))));
    assert_eq!(pair.client.mid_of("mic"), None);
}

#[test]
fn an_offer_that_was_rolled_back_is_made_again_whole() {
    let mut pair = connected(PeerConfig::default(), &[]);
    pair.client.add_track(track("mic", MediaKind::Audio, &[]));
    pair.client.create_offer(pair.now).unwrap();
    pair.client.roll_back();
    assert_eq!(pair.client.mid_of("mic"), None);
    negotiate(&mut pair);
    let mid = pair.client.mid_of("mic").unwrap();
    pair.client
        .write_frame(&mid, None, fixtures::OPUS_SILENCE, 0, None, pair.now)
        .unwrap();
}

#[test]
fn an_ice_restart_revives_a_connection_that_was_cut() {
    let mut pair = connected(
        PeerConfig::default(),
        &[track("mic", MediaKind::Audio, &[])],
    );
    let mid = pair.client.mid_of("mic").unwrap();
    pair.lose = Box::new(|_, _| true);
    pair.run(Duration::from_secs(60));
    assert!(events(&mut pair.client).contains(&PeerEvent::Disconnected));
    pair.lose = Box::new(|_, _| false);
    pair.client.restart_ice();
    negotiate(&mut pair);
    pair.run(Duration::from_secs(2));
    assert!(events(&mut pair.client).contains(&PeerEvent::Reconnected));
    pair.client
        .write_frame(&mid, None, fixtures::OPUS_SILENCE, 0, None, pair.now)
        .unwrap();
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.server.packets.len(), 1);
}

#[test]
fn key_frame_requests_name_the_layer() {
    let mut pair = connected(
        PeerConfig::default(),
        &[track("cam", MediaKind::Video, &Layer::ALL)],
    );
    let mid = pair.client.mid_of("cam").unwrap();
    let frame = fixtures::moving_picture(PictureSize::Low)[0];
    for layer in Layer::ALL {
        pair.client
            .write_frame(&mid, Some(layer), frame, 0, None, pair.now)
            .unwrap();
    }
    pair.run(Duration::from_millis(50));
    let (received, rid, _) = pair
        .server
        .packets
        .iter()
        .find(|(_, rid, _)| rid.as_deref() == Some("h"))
        .unwrap();
    let (received, rid) = (*received, *rid);
    let mut direct = pair.server.rtc.direct_api();
    let stream = direct.stream_rx_by_mid(received, rid).unwrap();
    stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
    pair.server.handle_timeout(pair.now);
    pair.run(Duration::from_millis(50));
    let expected = PeerEvent::KeyFrameRequested {
        mid,
        layer: Some(Layer::Medium),
    };
    assert!(events(&mut pair.client).contains(&expected));
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    let mut pair = connected(PeerConfig::default(), &[]);
    let (local, remote) = (pair.client.local(), pair.server.address);
    for len in 0..200usize {
        let datagram: Vec<u8> = (0..len).map(|i| (i * 7 + len * 13) as u8).collect();
        pair.client
            .handle_datagram(local, remote, &datagram, pair.now);
    }
    assert!(pair.client.malformed_datagrams() > 0);
    pair.run(Duration::from_secs(1));
    assert!(pair.client.is_connected());
}

#[test]
fn closing_tells_the_other_side() {
    let mut pair = connected(PeerConfig::default(), &[]);
    pair.client.close(pair.now);
    assert_eq!(events(&mut pair.client).last(), Some(&PeerEvent::Closed));
    assert!(!pair.client.is_connected());
    pair.run(Duration::from_secs(1));
    assert!(!pair.server.rtc.is_alive() || !pair.server.rtc.is_connected());
}
