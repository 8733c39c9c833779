//! Data packets over the moments in which a participant is not quite there: before its channel is open, and after it was
//! away.

use std::time::Duration;

use crate::rig::Rig;
use protocol::{
    livekit::{self, data_packet::Value},
    prost::Message,
};
use sfu::{DataChannel, DataCommand, stats::DropReason};

const SECOND: Duration = Duration::from_secs(1);

fn packet(sequence: u32, to: &[&str]) -> Vec<u8> {
    livekit::DataPacket {
        sequence,
        destination_identities: to.iter().map(|to| to.to_string()).collect(),
        value: Some(Value::User(livekit::UserPacket {
            payload: sequence.to_be_bytes().to_vec(),
            ..Default::default()
        })),
        ..Default::default()
    }
    .encode_to_vec()
}

fn say(rig: &mut Rig, who: usize, sequence: u32, to: &[&str]) {
    let now = rig.now;
    let connection = &mut rig.participants[who].connection;
    connection
        .send_data(client::DataChannel::Reliable, &packet(sequence, to), now)
        .unwrap();
    rig.run(SECOND / 50);
}

/// The sequence numbers that `who` got since it was last asked.
fn heard(rig: &mut Rig, who: usize) -> Vec<u32> {
    rig.run(SECOND / 2);
    let data = std::mem::take(&mut rig.participants[who].data);
    let packets = data
        .iter()
        .map(|data| livekit::DataPacket::decode(data.as_slice()).unwrap());
    packets.map(|packet| packet.sequence).collect()
}

#[test]
fn who_comes_back_gets_what_it_missed_and_nothing_that_is_not_for_it() {
    let mut rig = Rig::new(80);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    let (sid_a, sid_b, sid_c) = (
        rig.participants[a].sid,
        rig.participants[b].sid,
        rig.participants[c].sid,
    );
    for sequence in 1..=5 {
        say(&mut rig, a, sequence, &[]);
    }
    say(&mut rig, a, 6, &["identity-2"]);
    say(&mut rig, b, 1, &[]);
    say(&mut rig, c, 1, &[]);
    assert_eq!(heard(&mut rig, b), [1, 2, 3, 4, 5, 1]);
    let replay = |rig: &mut Rig, received: Vec<_>| {
        rig.command(DataCommand::Replay {
            peer: sid_b,
            received,
        });
        heard(rig, b)
    };
    assert_eq!(replay(&mut rig, vec![(sid_a, 3), (sid_c, 0)]), [4, 5, 1]);
    assert_eq!(replay(&mut rig, vec![(sid_a, 6), (sid_c, 1)]), [0; 0]);
    assert_eq!(replay(&mut rig, vec![]), [1, 2, 3, 4, 5, 1]);
    // Somebody who came later was not meant.
    let late = rig.join();
    rig.run(SECOND);
    let peer = rig.participants[late].sid;
    let received = Vec::new();
    rig.command(DataCommand::Replay { peer, received });
    assert_eq!(heard(&mut rig, late), [0; 0]);
    rig.run(30 * SECOND);
    assert_eq!(replay(&mut rig, vec![]), [0; 0], "too old");
}

#[test]
fn what_a_publisher_repeats_after_a_resume_is_heard_once() {
    let mut rig = Rig::new(81);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    for sequence in [1, 2, 3, 1, 2, 3, 4, 4, 0, 0] {
        say(&mut rig, a, sequence, &[]);
    }
    assert_eq!(heard(&mut rig, b), [1, 2, 3, 4, 0, 0]);
}

#[test]
fn a_packet_for_somebody_who_is_just_connecting_waits_for_its_channel() {
    let mut rig = Rig::new(82);
    let a = rig.join();
    rig.run(SECOND);
    let b = rig.join();
    let room = rig.room;
    let to = vec![rig.participants[b].sid];
    let send = |rig: &mut Rig, channel, sequence| {
        rig.command(DataCommand::Send {
            room,
            to: to.clone(),
            channel,
            payload: packet(sequence, &[]),
        });
    };
    send(&mut rig, DataChannel::Reliable, 1);
    send(&mut rig, DataChannel::Lossy, 2);
    say(&mut rig, a, 3, &[]);
    let before = rig.shard.stats().drops(DropReason::DataUndelivered);
    assert_eq!(before, 1, "what is lossy is lost");
    rig.run(SECOND);
    send(&mut rig, DataChannel::Reliable, 4);
    assert_eq!(heard(&mut rig, b), [1, 3, 4]);
}

#[test]
fn what_waits_for_a_channel_is_bounded() {
    let mut rig = Rig::new(83);
    rig.join();
    let address = "198.51.100.77:1".parse().unwrap();
    rig.cut.push(address);
    let b = rig.join_from(address);
    let room = rig.room;
    let to = vec![rig.participants[b].sid];
    for sequence in 0..1000 {
        rig.command(DataCommand::Send {
            room,
            to: to.clone(),
            channel: DataChannel::Reliable,
            payload: packet(sequence, &[]),
        });
    }
    let dropped = rig.shard.stats().drops(DropReason::DataUndelivered);
    assert_eq!(dropped, 1000 - 256);
}

/// Somebody joins whom no datagram reaches and from whom none comes, and leaves the rig's part of signalling alone.
fn unreachable(rig: &mut Rig) -> (usize, std::net::SocketAddr) {
    let address = "198.51.100.77:1".parse().unwrap();
    rig.cut.push(address);
    (rig.join_from(address), address)
}

#[test]
fn who_resumes_before_its_channel_is_open_gets_everything_once() {
    let mut rig = Rig::new(84);
    let a = rig.join();
    rig.run(SECOND);
    let (b, address) = unreachable(&mut rig);
    // What waits, and as much again by a replay, would be more than may wait.
    for sequence in 1..=100 {
        say(&mut rig, a, sequence, &[]);
    }
    let (peer, received) = (rig.participants[b].sid, Vec::new());
    rig.command(DataCommand::Replay { peer, received });
    for sequence in 101..=180 {
        say(&mut rig, a, sequence, &[]);
    }
    rig.cut.retain(|cut| *cut != address);
    rig.offer(b);
    rig.run(10 * SECOND);
    assert_eq!(heard(&mut rig, b), (1..=180).collect::<Vec<_>>());
}

#[test]
fn what_does_not_fit_into_the_waiting_room_is_taken_from_what_the_room_keeps() {
    let mut rig = Rig::new(85);
    let a = rig.join();
    rig.run(SECOND);
    let (b, address) = unreachable(&mut rig);
    for sequence in 1..=300 {
        say(&mut rig, a, sequence, &[]);
    }
    rig.cut.retain(|cut| *cut != address);
    rig.offer(b);
    rig.run(10 * SECOND);
    assert_eq!(heard(&mut rig, b), (1..=300).collect::<Vec<_>>());
}
