//! Data tracks: packets go to subscribers only, under each one's own handle, and only those of whoever owns the handle.

use std::time::Duration;

use crate::rig::{Rig, config, server};
use protocol::DataTrackSid;
use rand::{SeedableRng, rngs::StdRng};
use sfu::{DataCommand, DataTrackHandle, MemberCommand, PeerPermissions, stats::DropReason};

const SECOND: Duration = Duration::from_secs(1);

fn handle(number: u16) -> DataTrackHandle {
    DataTrackHandle::new(number).unwrap()
}

/// A packet that is a whole frame, with extensions, as clients write it.
fn packet(handle: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0b0001_1100, 0];
    packet.extend(handle.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend([1, 2, 3, 4]);
    packet.extend([0, 2, 2, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    packet.extend(payload);
    packet
}

fn send(rig: &mut Rig, who: usize, packet: &[u8]) {
    let now = rig.now;
    let connection = &mut rig.participants[who].connection;
    connection
        .send_data(client::DataChannel::DataTrack, packet, now)
        .unwrap();
    rig.run(SECOND / 20);
}

/// What `who` got since it was last asked.
fn got(rig: &mut Rig, who: usize) -> Vec<Vec<u8>> {
    rig.run(SECOND / 10);
    std::mem::take(&mut rig.participants[who].data)
}

fn publish(rig: &mut Rig, who: usize, number: u16) -> DataTrackSid {
    let mut rng = StdRng::seed_from_u64(u64::from(number) << 8 | who as u64);
    let track = DataTrackSid::random(&mut rng);
    let peer = rig.participants[who].sid;
    rig.command(DataCommand::Publish {
        peer,
        track,
        handle: handle(number),
    });
    track
}

fn subscribe(rig: &mut Rig, who: usize, track: DataTrackSid, number: u16) {
    let peer = rig.participants[who].sid;
    rig.command(DataCommand::Subscribe {
        peer,
        track,
        handle: handle(number),
    });
}

#[test]
fn a_packet_goes_to_subscribers_only_and_under_their_handles() {
    let mut rig = Rig::new(90);
    let (a, b, c, idle) = (rig.join(), rig.join(), rig.join_with_two(), rig.join());
    rig.run(SECOND);
    let [first, second] = [1, 2].map(|number| publish(&mut rig, a, number));
    let others = publish(&mut rig, b, 1);
    subscribe(&mut rig, b, first, 10);
    subscribe(&mut rig, c, first, 20);
    subscribe(&mut rig, c, second, 21);
    subscribe(&mut rig, c, others, 22);
    send(&mut rig, a, &packet(1, 7, b"one"));
    send(&mut rig, a, &packet(2, 8, b"two"));
    send(&mut rig, b, &packet(1, 9, b"three"));
    assert_eq!(got(&mut rig, b), [packet(10, 7, b"one")]);
    let expected = [
        packet(20, 7, b"one"),
        packet(21, 8, b"two"),
        packet(22, 9, b"three"),
    ];
    assert_eq!(got(&mut rig, c), expected, "on its second connection");
    assert!(got(&mut rig, a).is_empty() && got(&mut rig, idle).is_empty());

    let peer = rig.participants[c].sid;
    rig.command(DataCommand::Unsubscribe { peer, track: first });
    let peer = rig.participants[a].sid;
    rig.command(DataCommand::Unpublish {
        peer,
        track: second,
    });
    let before = rig.shard.stats().drops(DropReason::Data);
    send(&mut rig, a, &packet(1, 10, b"four"));
    send(&mut rig, a, &packet(2, 11, b"five"));
    assert_eq!(got(&mut rig, b), [packet(10, 10, b"four")]);
    assert!(got(&mut rig, c).is_empty());
    let after = rig.shard.stats().drops(DropReason::Data);
    assert_eq!(after - before, 1, "of a track that has ended");
}

#[test]
fn a_packet_of_no_track_of_its_sender_is_dropped_and_counted() {
    let mut rig = Rig::new(91);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    let track = publish(&mut rig, a, 1);
    subscribe(&mut rig, b, track, 5);
    let mut of_tomorrow = packet(1, 0, b"x");
    of_tomorrow[0] |= 0x20;
    let bad = [
        packet(2, 0, b"a handle that is nobody's"),
        packet(0, 0, b"the reserved one"),
        packet(1, 0, b"short")[..11].to_vec(),
        of_tomorrow,
    ];
    for bad in &bad {
        send(&mut rig, a, bad);
    }
    send(&mut rig, b, &packet(1, 0, b"another's handle"));
    send(&mut rig, b, &packet(5, 0, b"the handle it gets it under"));
    assert!(got(&mut rig, b).is_empty() && got(&mut rig, a).is_empty());
    assert_eq!(rig.shard.stats().drops(DropReason::Data), 6);
    send(&mut rig, a, &packet(1, 1, b"good"));
    assert_eq!(got(&mut rig, b), [packet(5, 1, b"good")]);
}

#[test]
fn who_may_not_send_data_sends_none_on_its_data_tracks_either() {
    let mut rig = Rig::new(92);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    let track = publish(&mut rig, a, 1);
    subscribe(&mut rig, b, track, 1);
    let permissions = PeerPermissions {
        can_publish_data: false,
        hidden: false,
        agent: false,
        hears_all: false,
    };
    let peer = rig.participants[a].sid;
    rig.command(MemberCommand::SetPermissions { peer, permissions });
    send(&mut rig, a, &packet(1, 1, b"x"));
    assert!(got(&mut rig, b).is_empty());
    assert_eq!(rig.shard.stats().drops(DropReason::Data), 1);
}

#[test]
fn who_leaves_gets_and_sends_nothing_more_and_the_others_go_on() {
    let mut rig = Rig::new(93);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    let track = publish(&mut rig, a, 1);
    subscribe(&mut rig, b, track, 1);
    subscribe(&mut rig, c, track, 2);
    rig.leave(b);
    send(&mut rig, a, &packet(1, 1, b"x"));
    assert_eq!(got(&mut rig, c), [packet(2, 1, b"x")]);
    rig.leave(a);
    // Its sid leads nowhere any more.
    subscribe(&mut rig, c, track, 3);
    send(&mut rig, c, &packet(1, 1, b"y"));
    assert_eq!(rig.shard.stats().panics, 0);
}

#[test]
fn more_than_a_participant_may_send_waits_or_is_lost_and_is_never_forwarded_faster() {
    let mut slow = config(94, server());
    slow.max_data_rate = 10_000;
    let mut rig = Rig::with(slow);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    let track = publish(&mut rig, a, 1);
    subscribe(&mut rig, b, track, 1);
    let payload = [7; 1000];
    let mut received = 0;
    for sequence in 0..100 {
        let now = rig.now;
        let connection = &mut rig.participants[a].connection;
        // What the channel does not take is lost with the sender.
        let _ = connection.send_data(
            client::DataChannel::DataTrack,
            &packet(1, sequence, &payload),
            now,
        );
        rig.run(SECOND / 50);
        received += got(&mut rig, b).len();
    }
    // 12 s have passed at 10 kB/s, with twice as much at once.
    assert!((30..=145).contains(&received), "{received} packets");
}
