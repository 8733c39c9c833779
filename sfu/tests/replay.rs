//! Data packets over the moments in which a participant is not quite there: before its channel is open, and after it was
//! away.

mod rig;

use std::time::Duration;

use protocol::{
    livekit::{self, data_packet::Value},
    prost::Message,
};
use rig::Rig;
use sfu::{Command, DataChannel, stats::DropReason};

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
    rig.run(SECOND / 10);
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
        rig.command(Command::ReplayData {
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
    rig.command(Command::ReplayData { peer, received });
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
        rig.command(Command::SendData {
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
        rig.command(Command::SendData {
            room,
            to: to.clone(),
            channel: DataChannel::Reliable,
            payload: packet(sequence, &[]),
        });
    }
    let dropped = rig.shard.stats().drops(DropReason::DataUndelivered);
    assert_eq!(dropped, 1000 - 256);
}
