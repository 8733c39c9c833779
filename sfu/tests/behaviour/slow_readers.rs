//! Readers of reliable data who are slower than its sender: it waits for them, within reason.

use std::time::Duration;

use crate::rig::Rig;
use protocol::{
    livekit::{self, data_packet::Value},
    prost::Message,
};
use sfu::{DataChannel, DataCommand, Event, stats::DropReason};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// What clients put into one packet of a file.
const CHUNK: usize = 15_000;
/// What may wait for one reader, what is on its way to it, and what it has itself behind a packet that was lost.
const AHEAD: usize = (512 + 1024) * 1024;

fn chunk(sequence: u32, to: &[String]) -> Vec<u8> {
    let mut payload = vec![sequence as u8; CHUNK];
    payload[..4].copy_from_slice(&sequence.to_be_bytes());
    let value = Some(Value::User(livekit::UserPacket {
        payload,
        ..Default::default()
    }));
    livekit::DataPacket {
        sequence,
        destination_identities: to.to_vec(),
        value,
        ..Default::default()
    }
    .encode_to_vec()
}

/// A file under way, chunk by chunk, numbered from 1.
struct File {
    from: usize,
    to: Vec<String>,
    chunks: u32,
    sent: u32,
}

impl File {
    fn new(from: usize, to: &[usize], bytes: usize) -> Self {
        Self {
            from,
            to: to.iter().map(|to| format!("identity-{to}")).collect(),
            chunks: bytes.div_ceil(CHUNK) as u32,
            sent: 0,
        }
    }

    /// Sends what the client takes.
    fn push(&mut self, rig: &mut Rig) {
        let now = rig.now;
        let connection = &mut rig.participants[self.from].connection;
        while self.sent < self.chunks {
            let packet = chunk(self.sent + 1, &self.to);
            let taken = connection.send_data(client::DataChannel::Reliable, &packet, now);
            if taken.is_err() {
                break;
            }
            self.sent += 1;
        }
    }
}

/// Lets the file travel until `done`, at most for `limit`; the time it took.
fn send(
    rig: &mut Rig,
    files: &mut [File],
    limit: Duration,
    mut done: impl FnMut(&Rig) -> bool,
) -> Duration {
    let start = rig.now;
    while rig.now < start + limit && !done(rig) {
        files.iter_mut().for_each(|file| file.push(rig));
        rig.run(20 * MS);
    }
    rig.now - start
}

fn all_of(file: &File, rig: &Rig, who: usize) {
    let data = &rig.participants[who].data;
    assert_eq!(data.len() as u32, file.chunks);
    for (data, sequence) in data.iter().zip(1..) {
        let packet = livekit::DataPacket::decode(data.as_slice()).unwrap();
        let Some(Value::User(user)) = packet.value else {
            panic!("a chunk");
        };
        assert_eq!((packet.sequence, user.payload.len()), (sequence, CHUNK));
        assert_eq!(user.payload[..4], sequence.to_be_bytes());
        assert!(user.payload[4..].iter().all(|byte| *byte == sequence as u8));
    }
}

fn told_to_reconnect(rig: &Rig, who: usize) -> usize {
    let sid = rig.participants[who].sid;
    let events = rig.events.iter();
    events
        .filter(|event| matches!(event, Event::Unreachable { peer } if *peer == sid))
        .count()
}

fn undelivered(rig: &Rig) -> u64 {
    rig.shard.stats().drops(DropReason::DataUndelivered)
}

fn whole_file(bytes: usize, rate: u64) {
    let mut rig = Rig::new(90);
    let (a, slow, fast) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    rig.narrow(slow, rate, 100 * MS);
    let mut files = [File::new(a, &[], bytes)];
    let chunks = files[0].chunks;
    let mut ahead = 0;
    let limit = SECOND * (bytes as u64 * 8 * 2 / rate) as u32 + 20 * SECOND;
    let took = send(&mut rig, &mut files, limit, |rig| {
        let [slow, fast] = [slow, fast].map(|who| rig.participants[who].data.len());
        ahead = ahead.max(fast - slow.min(fast));
        slow as u32 == chunks
    });
    all_of(&files[0], &rig, slow);
    all_of(&files[0], &rig, fast);
    assert!(
        ahead * CHUNK <= AHEAD,
        "{ahead} chunks ahead of the slow one"
    );
    let used = bytes as f64 * 8.0 / took.as_secs_f64() / rate as f64;
    assert!(used > 0.7, "{used} of the link was used");
    assert_eq!((undelivered(&rig), told_to_reconnect(&rig, slow)), (0, 0));
    assert!(rig.shard.stats().data_held > 0);
}

#[test]
fn a_file_arrives_whole_at_a_slow_reader_and_at_the_others() {
    whole_file(8_000_000, 2_000_000);
}

#[test]
fn a_file_of_100_megabytes_arrives_whole_at_a_slow_reader() {
    whole_file(100_000_000, 4_000_000);
}

#[test]
fn who_stops_reading_holds_its_senders_up_for_ten_seconds_and_is_told() {
    let mut rig = Rig::new(91);
    let (a, dead, fast) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    rig.deaf.push(rig.participants[dead].connection.local());
    let mut files = [File::new(a, &[], 8_000_000)];
    let chunks = files[0].chunks;
    let arrived = |rig: &Rig| rig.participants[fast].data.len() as u32 == chunks;
    let told = send(&mut rig, &mut files, 60 * SECOND, |rig| {
        told_to_reconnect(rig, dead) > 0
    });
    assert!(told > 10 * SECOND && told < 12 * SECOND, "{told:?}");
    let took = told + send(&mut rig, &mut files, 60 * SECOND, arrived);
    all_of(&files[0], &rig, fast);
    // 8 MB at the rate of one sender take 6 s, and its client tries its closed window less and less often.
    assert!(took < 26 * SECOND, "{took:?}");
    assert_eq!(told_to_reconnect(&rig, dead), 1);
    assert_eq!(rig.shard.stats().slow_readers, 1);
    assert!(undelivered(&rig) > 0, "what it missed is counted");

    // It comes back, and does it again: nobody waits for it a second time.
    let sid = rig.participants[dead].sid;
    rig.leave(dead);
    let identity = format!("identity-{dead}");
    let again = rig.join_as(&identity);
    rig.run(2 * SECOND);
    rig.deaf.push(rig.participants[again].connection.local());
    rig.participants[fast].data.clear();
    files[0] = File::new(a, &[], 8_000_000);
    files[0].sent = chunks;
    files[0].chunks = 2 * chunks;
    let took = send(&mut rig, &mut files, 60 * SECOND, arrived);
    assert!(arrived(&rig) && took < 9 * SECOND, "{took:?}");
    assert_ne!(rig.participants[again].sid, sid);
    assert_eq!(told_to_reconnect(&rig, again), 0, "it knows");
}

#[test]
fn a_trickle_is_as_good_as_nothing() {
    let mut rig = Rig::new(92);
    let (a, trickle, fast) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    // A packet now and then.
    rig.narrow(trickle, 20_000, 2 * SECOND);
    let mut files = [File::new(a, &[], 4_000_000)];
    let chunks = files[0].chunks;
    let took = send(&mut rig, &mut files, 60 * SECOND, |rig| {
        rig.participants[fast].data.len() as u32 == chunks
    });
    all_of(&files[0], &rig, fast);
    assert!(took < 20 * SECOND, "{took:?}");
    assert_eq!(told_to_reconnect(&rig, trickle), 1);
}

#[test]
fn many_who_stop_reading_hold_their_sender_up_no_longer_than_one() {
    let mut rig = Rig::new(93);
    let a = rig.join();
    let dead: Vec<_> = (0..8).map(|_| rig.join()).collect();
    let fast = rig.join();
    rig.run(2 * SECOND);
    for dead in &dead {
        let address = rig.participants[*dead].connection.local();
        rig.deaf.push(address);
    }
    let mut files = [File::new(a, &[], 4_000_000)];
    let chunks = files[0].chunks;
    let took = send(&mut rig, &mut files, 60 * SECOND, |rig| {
        rig.participants[fast].data.len() as u32 == chunks
    });
    all_of(&files[0], &rig, fast);
    assert!(took < 20 * SECOND, "{took:?}");
    assert!(dead.iter().all(|dead| told_to_reconnect(&rig, *dead) == 1));
    assert_eq!(rig.shard.stats().slow_readers, 8);
}

#[test]
fn who_writes_to_others_does_not_wait_and_all_wait_in_turn() {
    let mut rig = Rig::new(94);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    let (slow, fast) = (rig.join(), rig.join());
    rig.run(SECOND);
    rig.narrow(slow, 1_000_000, 100 * MS);
    // Two write to the slow one, a third one to somebody else.
    let mut files = [
        File::new(a, &[slow], 100_000_000),
        File::new(b, &[slow], 100_000_000),
        File::new(c, &[fast], 4_000_000),
    ];
    let chunks = files[2].chunks;
    let took = send(&mut rig, &mut files, 60 * SECOND, |rig| {
        rig.participants[fast].data.len() as u32 == chunks
    });
    all_of(&files[2], &rig, fast);
    assert!(took < 5 * SECOND, "as if there were no others: {took:?}");
    send(&mut rig, &mut files, 60 * SECOND, |_| false);
    let mut of = [0, 0];
    for data in &rig.participants[slow].data {
        let packet = livekit::DataPacket::decode(data.as_slice()).unwrap();
        let from = usize::from(packet.participant_identity == "identity-1");
        of[from] += 1;
        assert_eq!(packet.sequence, of[from], "nothing is missing");
    }
    let [least, most] = [of[0].min(of[1]), of[0].max(of[1])];
    assert!(least * 3 >= most && least > 100, "{of:?}");
}

#[test]
fn what_may_be_lost_passes_by_what_waits() {
    let mut rig = Rig::new(95);
    let (a, slow) = (rig.join(), rig.join());
    let fast = rig.join();
    rig.run(SECOND);
    rig.narrow(slow, 300_000, 100 * MS);
    // Less than the sender's window: more would close it, for all channels.
    let mut files = [File::new(a, &[slow], 1_200_000)];
    send(&mut rig, &mut files, 5 * SECOND, |_| false);
    assert!(rig.shard.stats().data_held > 0);
    let to = vec![format!("identity-{fast}")];
    let lossy = chunk(7, &to);
    let now = rig.now;
    let connection = &mut rig.participants[a].connection;
    connection
        .send_data(client::DataChannel::Lossy, &lossy[..], now)
        .unwrap();
    let came = rig.run_until(10 * SECOND, |rig| !rig.participants[fast].data.is_empty());
    assert!(came);
}

#[test]
fn who_leaves_while_others_wait_for_it_is_waited_for_no_longer() {
    let mut rig = Rig::new(96);
    let (a, dead, fast) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    rig.deaf.push(rig.participants[dead].connection.local());
    let mut files = [File::new(a, &[], 2_000_000)];
    let chunks = files[0].chunks;
    send(&mut rig, &mut files, 3 * SECOND, |_| false);
    assert!(
        rig.participants[fast].data.len() < chunks as usize,
        "it waits"
    );
    rig.leave(dead);
    let took = send(&mut rig, &mut files, 60 * SECOND, |rig| {
        rig.participants[fast].data.len() as u32 == chunks
    });
    all_of(&files[0], &rig, fast);
    assert!(took < 4 * SECOND, "{took:?}");
    assert_eq!(rig.shard.stats().slow_readers, 0);
    // And a sender who leaves while it waits leaves nothing behind.
    let dead = rig.join();
    rig.run(SECOND);
    rig.deaf.push(rig.participants[dead].connection.local());
    files[0] = File::new(a, &[], 2_000_000);
    files[0].sent = chunks;
    files[0].chunks = 2 * chunks;
    send(&mut rig, &mut files, 3 * SECOND, |_| false);
    rig.leave(a);
    rig.run(20 * SECOND);
    assert_eq!(rig.shard.stats().panics, 0);
}

#[test]
fn who_cannot_be_made_to_wait_loses_nothing_in_silence() {
    let mut rig = Rig::new(97);
    let (dead, fast) = (rig.join(), rig.join());
    rig.run(SECOND);
    rig.deaf.push(rig.participants[dead].connection.local());
    // The server API, 8 MB of it.
    for sequence in 1..=540 {
        let payload = chunk(sequence, &[]);
        let room = rig.room;
        rig.command(DataCommand::Send {
            room,
            to: Vec::new(),
            channel: DataChannel::Reliable,
            payload,
        });
        rig.run(20 * MS);
    }
    rig.run(5 * SECOND);
    assert_eq!(rig.participants[fast].data.len(), 540);
    assert!(undelivered(&rig) > 0);
    assert_eq!(told_to_reconnect(&rig, dead), 1);
}

#[test]
fn a_message_of_a_channel_of_ones_own_reaches_the_others_as_a_users_packet() {
    let mut rig = Rig::new(98);
    let (a, b, c) = (rig.join(), rig.join(), rig.join_with_two());
    rig.run(SECOND);
    let now = rig.now;
    rig.participants[a].connection.open_channel("pubraw", now);
    rig.run(SECOND);
    let now = rig.now;
    let connection = &mut rig.participants[a].connection;
    for message in [&b"one"[..], &[0xff; 15_000], b"three"] {
        connection.send_raw("pubraw", message, now).unwrap();
    }
    rig.run(SECOND);
    for who in [b, c] {
        let data = std::mem::take(&mut rig.participants[who].data);
        let packets = data.iter().map(|data| {
            let packet = livekit::DataPacket::decode(data.as_slice()).unwrap();
            assert_eq!(packet.participant_identity, "identity-0");
            let Some(Value::User(user)) = packet.value else {
                panic!("a user's packet");
            };
            user.payload.len()
        });
        assert_eq!(packets.collect::<Vec<_>>(), [3, 15_000, 5], "{who}");
    }
    assert!(rig.participants[a].data.is_empty());
}

#[test]
fn channels_of_ones_own_without_end_are_answered_and_no_more_than_a_few_are_read() {
    let mut rig = Rig::new(99);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    for i in 0..40 {
        let now = rig.now;
        let connection = &mut rig.participants[a].connection;
        connection.open_channel(&format!("own-{i}"), now);
        rig.run(100 * MS);
    }
    for i in 0..40 {
        let now = rig.now;
        let connection = &mut rig.participants[a].connection;
        let _ = connection.send_raw(&format!("own-{i}"), &[i], now);
        rig.run(50 * MS);
    }
    rig.run(SECOND);
    assert_eq!(rig.participants[b].data.len(), 16);
}

fn packet_of(sequence: u32, len: usize) -> Vec<u8> {
    let user = livekit::UserPacket {
        payload: vec![sequence as u8; len],
        ..Default::default()
    };
    livekit::DataPacket {
        sequence,
        value: Some(Value::User(user)),
        ..Default::default()
    }
    .encode_to_vec()
}

#[test]
fn a_message_longer_than_its_readers_take_makes_no_slow_readers_of_them() {
    let mut rig = Rig::new(100);
    rig.longest_message = Some(65_536);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    for reader in [b, c] {
        rig.narrow(reader, 300_000, 100 * MS);
    }
    // The first of the long ones is so only with its stamp.
    let lengths = [[60_000; 6].as_slice(), &[65_500, 100_000, 10]].concat();
    for (len, sequence) in lengths.into_iter().zip(1..) {
        let packet = packet_of(sequence, len);
        let taken = (0..10_000).any(|_| {
            let now = rig.now;
            let connection = &mut rig.participants[a].connection;
            let taken = connection.send_data(client::DataChannel::Reliable, &packet, now);
            rig.run(MS);
            taken.is_ok()
        });
        assert!(taken, "{sequence}");
    }
    assert!(rig.run_until(5 * SECOND, |rig| undelivered(rig) == 4));
    assert!(
        rig.participants[b].data.len() < 6,
        "the others wait for their network still"
    );
    for len in [100_000, 300_000] {
        let (room, channel) = (rig.room, DataChannel::Reliable);
        rig.command(DataCommand::Send {
            room,
            to: Vec::new(),
            channel,
            payload: packet_of(0, len),
        });
    }
    assert_eq!(undelivered(&rig), 7);
    let dropped = rig.shard.stats().drops(DropReason::Data);
    assert_eq!(dropped, 1, "nobody takes it");
    rig.run(30 * SECOND);
    for reader in [b, c] {
        assert_eq!(rig.participants[reader].data.len(), 7);
        assert_eq!(told_to_reconnect(&rig, reader), 0);
    }
    assert_eq!(rig.shard.stats().slow_readers, 0);
}

#[test]
fn nobody_waits_for_a_companion() {
    let mut rig = Rig::new(101);
    let (a, fast) = (rig.join(), rig.join());
    rig.companion_of = Some("identity-1");
    let companion = rig.join();
    rig.run(SECOND);
    rig.deaf
        .push(rig.participants[companion].connection.local());
    let mut files = [File::new(a, &[], 4_000_000)];
    let chunks = files[0].chunks;
    send(&mut rig, &mut files, 60 * SECOND, |rig| {
        rig.participants[fast].data.len() as u32 == chunks
    });
    all_of(&files[0], &rig, fast);
    assert_eq!(rig.shard.stats().data_held, 0);
    assert_eq!(told_to_reconnect(&rig, companion), 0);
    assert!(undelivered(&rig) > 0, "what it missed is counted");
}

#[test]
fn what_a_sender_had_to_wait_with_when_it_left_reaches_who_is_ready() {
    let mut rig = Rig::new(102);
    let (a, dead, fast) = (rig.join(), rig.join(), rig.join());
    rig.run(SECOND);
    rig.deaf.push(rig.participants[dead].connection.local());
    let mut files = [File::new(a, &[], 900_000)];
    let chunks = files[0].chunks;
    send(&mut rig, &mut files, 5 * SECOND, |_| false);
    let before = rig.participants[fast].data.len();
    assert!(before < 50 && files[0].sent == chunks, "it waits");
    rig.leave(a);
    rig.run(5 * SECOND);
    all_of(&files[0], &rig, fast);
    assert_eq!(
        undelivered(&rig),
        u64::from(chunks) - before as u64,
        "nothing of it waits for who does not read"
    );
}

#[test]
fn openings_of_channels_are_paid_for_like_messages() {
    let mut config = crate::rig::config(103, crate::rig::server());
    config.max_data_rate = 2_000;
    let mut rig = Rig::with(config);
    let a = rig.join();
    rig.run(5 * SECOND);
    for i in 0..40 {
        let now = rig.now;
        let connection = &mut rig.participants[a].connection;
        connection.open_channel(&format!("own-{i}"), now);
    }
    let open = |rig: &mut Rig| {
        let now = rig.now;
        let connection = &mut rig.participants[a].connection;
        let names = (0..40).map(|i| format!("own-{i}"));
        names
            .filter(|name| connection.send_raw(name, b"x", now).is_ok())
            .count()
    };
    rig.run(SECOND);
    let at_once = open(&mut rig);
    assert!((10..=30).contains(&at_once), "{at_once}");
    rig.run(60 * SECOND);
    assert_eq!(open(&mut rig), 40);
}
