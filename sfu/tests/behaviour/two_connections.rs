//! Participants of LiveKit's older protocol, who publish on one PeerConnection and receive on another, among others.

use std::time::Duration;

use crate::rig::Rig;
use client::media::MediaKind;
use protocol::{livekit, prost::Message};
use sfu::{Command, DataCommand, DescriptionCommand, Event, negotiator::Output, stats::DropReason};

const SECOND: Duration = Duration::from_secs(1);

fn user_packet() -> Vec<u8> {
    let user = livekit::UserPacket {
        payload: b"hello".to_vec(),
        ..Default::default()
    };
    livekit::DataPacket {
        value: Some(livekit::data_packet::Value::User(user)),
        ..Default::default()
    }
    .encode_to_vec()
}

#[test]
fn who_receives_on_a_second_connection_hears_sees_and_is_heard() {
    let mut rig = Rig::new(30);
    let one = rig.join();
    let voice = rig.publish(one, MediaKind::Audio, &[]);
    let picture = rig.publish(one, MediaKind::Video, &[]);
    rig.run(SECOND);
    let two = rig.join_with_two();
    // What there is already is in the first offer.
    let offered: Vec<_> = rig.participants[two].tracks.values().copied().collect();
    assert!(offered.contains(&voice) && offered.contains(&picture));
    rig.run(SECOND);
    // It has not published, and is connected all the same.
    let sid = rig.participants[two].sid;
    assert!(rig.events.contains(&Event::Connected { peer: sid }));
    assert!(!rig.participants[two].connection.is_connected());
    rig.run(30 * SECOND);
    let told = |event: &&Event| matches!(event, Event::Disconnected { peer, .. } if *peer == sid);
    assert_eq!(rig.events.iter().find(told), None);

    let answer = rig.publish(two, MediaKind::Audio, &[]);
    let camera = rig.publish(two, MediaKind::Video, &[]);
    rig.run(3 * SECOND);
    let heard = rig.received(two, voice);
    assert!(heard.packets > 1400 && heard.lost == 0, "{heard:?}");
    let seen = rig.received(two, picture);
    assert!(seen.decodable_frames > 900 && seen.lost == 0, "{seen:?}");
    let heard = rig.received(one, answer);
    assert!(heard.packets > 100 && heard.lost == 0, "{heard:?}");
    let seen = rig.received(one, camera);
    assert!(seen.decodable_frames > 60 && seen.lost == 0, "{seen:?}");
    assert_eq!(rig.shard.stats().peers, 2);
    // Another one comes and goes; a section that was his carries the next.
    for _ in 0..3 {
        let guest = rig.join();
        let words = rig.publish(guest, MediaKind::Audio, &[]);
        rig.run(SECOND);
        assert!(rig.received(two, words).packets > 20);
        rig.leave(guest);
        rig.run(SECOND / 10);
    }
    assert_eq!(
        rig.participants[two]
            .subscriber
            .as_ref()
            .unwrap()
            .receive_sections()
            .len(),
        3
    );
    rig.leave(two);
    let stats = rig.shard.stats();
    assert_eq!((stats.peers, stats.up_tracks, stats.down_tracks), (1, 2, 0));
}

#[test]
fn data_goes_out_on_the_second_connection_and_comes_in_on_the_first() {
    let mut rig = Rig::new(31);
    let (one, two) = (rig.join(), rig.join_with_two());
    rig.offer(two);
    rig.run(2 * SECOND);
    for channel in [client::DataChannel::Reliable, client::DataChannel::Lossy] {
        let packet = user_packet();
        let now = rig.now;
        rig.participants[one]
            .connection
            .send_data(channel, &packet, now)
            .unwrap();
        rig.participants[two]
            .connection
            .send_data(channel, &packet, now)
            .unwrap();
        rig.run(SECOND);
        for participant in [one, two] {
            let got = std::mem::take(&mut rig.participants[participant].data);
            assert_eq!(got.len(), 1, "{channel:?}: his own does not come back");
        }
    }
}

#[test]
fn who_connects_only_the_half_that_publishes_is_not_there_and_says_nothing() {
    let mut rig = Rig::new(34);
    let (one, two) = (rig.join(), rig.join_with_two());
    rig.run(SECOND / 100);
    rig.participants[two].subscriber = None;
    rig.offer(two);
    rig.run(2 * SECOND);
    let sid = rig.participants[two].sid;
    assert!(rig.participants[two].connection.is_connected());
    assert!(!rig.events.contains(&Event::Connected { peer: sid }));
    rig.command(DataCommand::AwaitReply { peer: sid });
    for channel in [client::DataChannel::Reliable, client::DataChannel::Lossy] {
        let (packet, now) = (user_packet(), rig.now);
        let connection = &mut rig.participants[two].connection;
        connection.send_data(channel, &packet, now).unwrap();
        rig.run(SECOND);
    }
    assert_eq!(rig.participants[one].data.len(), 0);
    let reply = |event: &Event| matches!(event, Event::Reply { .. });
    assert!(!rig.events.iter().any(reply));
}

#[test]
fn a_second_connection_survives_a_restart_of_ice() {
    let mut rig = Rig::new(32);
    let (one, two) = (rig.join(), rig.join_with_two());
    let voice = rig.publish(one, MediaKind::Audio, &[]);
    rig.run(2 * SECOND);
    let peer = rig.participants[two].sid;
    rig.command(DescriptionCommand::OfferSubscriber {
        peer,
        restart_ice: true,
    });
    let before = rig.received(two, voice).packets;
    // Longer than a client may be silent.
    rig.run(60 * SECOND);
    let heard = rig.received(two, voice);
    assert!(
        heard.packets > before + 2900 && heard.lost == 0,
        "{heard:?}"
    );
    let told = |event: &&Event| matches!(event, Event::Disconnected { .. });
    assert_eq!(rig.events.iter().find(told), None);
}

#[test]
fn a_bad_answer_is_refused_and_touches_nobody() {
    let mut rig = Rig::new(33);
    let (one, two, other) = (rig.join(), rig.join_with_two(), rig.join_with_two());
    let voice = rig.publish(one, MediaKind::Audio, &[]);
    rig.run(2 * SECOND);
    let peer = rig.participants[two].sid;
    let bad = |peer, id| DescriptionCommand::answer(peer, id, "v=0").unwrap();
    // No offer waits for these: they are late, or to nothing.
    for (peer, id) in [(peer, 1), (peer, 77), (rig.participants[one].sid, 1)] {
        rig.command(bad(peer, id));
    }
    let negotiator = &mut rig.negotiator;
    negotiator.handle_command(Command::Description(DescriptionCommand::OfferSubscriber {
        peer,
        restart_ice: false,
    }));
    let Some(Output::Event(Event::Offer { id, .. })) = negotiator.poll() else {
        panic!("no offer")
    };
    negotiator.handle_command(bad(peer, id));
    let refused = negotiator.poll();
    assert!(
        matches!(&refused, Some(Output::Event(Event::NegotiationFailed { peer: about, .. })) if *about == peer),
        "{refused:?}"
    );
    let before = [two, other].map(|listener| rig.received(listener, voice).packets);
    rig.run(SECOND);
    for (listener, before) in [two, other].into_iter().zip(before) {
        assert!(rig.received(listener, voice).packets > before + 40);
    }
}

#[test]
fn a_reliable_packet_for_somebody_whose_channels_are_not_open_yet_waits() {
    for two in [false, true] {
        let mut rig = Rig::new(34);
        let one = rig.join();
        rig.run(2 * SECOND);
        let late = match two {
            true => rig.join_with_two(),
            false => rig.join(),
        };
        let peer = rig.participants[late].sid;
        let is_connected = |rig: &Rig| rig.events.contains(&Event::Connected { peer });
        assert!(rig.run_until(SECOND, is_connected));
        let now = rig.now;
        for _ in 0..3 {
            let sender = &mut rig.participants[one].connection;
            sender
                .send_data(client::DataChannel::Reliable, &user_packet(), now)
                .unwrap();
        }
        rig.run(SECOND / 5);
        assert_eq!(rig.participants[late].data.len(), 3, "two: {two}");
    }
}

#[test]
fn who_connects_only_to_publish_is_heard_once_it_is_there_and_not_before() {
    let mut rig = Rig::new(35);
    let (one, two) = (rig.join(), rig.join_with_two());
    let receiving = rig.participants[two].subscriber.as_ref().unwrap().local();
    rig.cut.push(receiving);
    let voice = rig.publish(two, MediaKind::Audio, &[]);
    rig.run(SECOND);
    assert!(rig.participants[two].connection.is_connected());
    let sid = rig.participants[two].sid;
    // Its channels may be open by now, or not; what they take must not be lost.
    let mut taken = 0;
    for _ in 0..8 {
        for channel in [client::DataChannel::Reliable, client::DataChannel::Lossy] {
            let now = rig.now;
            let speaker = &mut rig.participants[two].connection;
            taken += usize::from(speaker.send_data(channel, &user_packet(), now).is_ok());
        }
        rig.run(SECOND / 4);
    }
    let is_there = |rig: &Rig| rig.events.contains(&Event::Connected { peer: sid });
    assert!(!is_there(&rig));
    assert_eq!(rig.participants[one].data.len(), 0);
    assert_eq!(rig.received(one, voice).packets, 0);
    let names = |event: &Event| matches!(event, Event::SpeakersChanged { speakers, .. } if speakers.iter().any(|s| s.peer == sid));
    assert!(!rig.events.iter().any(names));
    assert!(rig.shard.stats().drops(DropReason::NotConnected) > 50);

    rig.cut.clear();
    assert!(rig.run_until(10 * SECOND, is_there));
    rig.run(SECOND);
    let now = rig.now;
    let speaker = &mut rig.participants[two].connection;
    speaker
        .send_data(client::DataChannel::Reliable, &user_packet(), now)
        .unwrap();
    rig.run(SECOND / 2);
    assert_eq!(rig.participants[one].data.len(), taken + 1);
    assert!(rig.received(one, voice).packets > 40);
}
