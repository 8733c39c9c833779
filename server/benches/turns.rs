//! What the media thread gives to something that concerns a whole room: `cargo bench -p server --bench turns`. Everybody is
//! really connected. The longest turn is what the media of others wait for.

#[path = "../../sfu/tests/rig/mod.rs"]
mod rig;

use std::{net::Ipv4Addr, net::SocketAddr, time::Duration};

use client::{DataChannel, media::MediaKind};
use protocol::{
    livekit::{DataPacket, UserPacket, data_packet::Value},
    prost::Message,
};
use rig::{Rig, VecBatch};
use sfu::{Config, DataCommand, Datagram, RoomCommand, ShardCommand, TransportProtocol};

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 9;

fn main() {
    println!("CPU time of the media thread in ms: its longest turn, all turns and their number\n");
    for people in [10, 100, 1000] {
        let mut rig = meeting(people);
        let median = |figures: &mut Vec<Figures>| {
            figures.sort_unstable_by_key(|figures| figures.longest_ns);
            figures[figures.len() / 2]
        };
        let mut said = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..ROUNDS {
            said.push(say(&mut rig));
            rig.run(Duration::from_millis(100));
            sent.push(send(&mut rig));
            rig.run(Duration::from_millis(100));
        }
        median(&mut said).print("a data packet of an application to so many", people);
        median(&mut sent).print("a data packet of a participant to so many", people);
        close(&mut rig).print("the end of a room of so many (once)", people);
    }
}

#[derive(Clone, Copy, Default)]
struct Figures {
    longest_ns: u64,
    all_ns: u64,
    turns: usize,
}

impl Figures {
    /// Counts a turn.
    fn turn(&mut self, work: impl FnOnce()) {
        let began = cpu_ns();
        work();
        let took = cpu_ns() - began;
        self.longest_ns = self.longest_ns.max(took);
        self.all_ns += took;
        self.turns += 1;
    }

    fn print(self, what: &str, count: usize) {
        println!(
            "{what:44} {count:5}: {:7.3}, {:8.3} in {:3}",
            self.longest_ns as f64 / 1e6,
            self.all_ns as f64 / 1e6,
            self.turns
        );
    }
}

/// A room in which one person has a voice and a picture, and the others get both.
fn meeting(people: usize) -> Rig {
    let mut rig = Rig::with(Config {
        max_peers: people + 1,
        consent_timeout_ms: u32::MAX,
        ..rig::config(1, rig::server())
    });
    let publisher = rig.join();
    rig.publish(publisher, MediaKind::Audio, &[]);
    rig.publish(publisher, MediaKind::Video, &client::media::Layer::ALL);
    rig.run(Duration::from_secs(1));
    for i in 1..people {
        let address = Ipv4Addr::new(127, 0, 1 + (i / 250) as u8, 1 + (i % 250) as u8);
        rig.join_from(SocketAddr::new(address.into(), 9));
    }
    rig.run(Duration::from_secs(4));
    assert!(
        rig.participants.iter().all(|p| p.connected),
        "everybody connects"
    );
    rig
}

/// An application sends a data packet to everybody.
fn say(rig: &mut Rig) -> Figures {
    let room = rig.room;
    let command = DataCommand::Send {
        room,
        to: Vec::new(),
        channel: sfu::DataChannel::Reliable,
        payload: vec![7; 1000],
    };
    let before = sent(rig);
    let figures = turns(rig, |rig, out| {
        let command: ShardCommand = command.into();
        rig.shard.handle_command(command, rig.now, out);
    });
    assert_eq!(sent(rig) - before, rig.participants.len(), "it goes out");
    figures
}

/// A participant sends one to all others.
fn send(rig: &mut Rig) -> Figures {
    let message = DataPacket {
        value: Some(Value::User(UserPacket {
            payload: vec![7; 900],
            ..UserPacket::default()
        })),
        ..DataPacket::default()
    }
    .encode_to_vec();
    let now = rig.now;
    let publisher = &mut rig.participants[0].connection;
    publisher
        .send_data(DataChannel::Reliable, &message, now)
        .expect("the channel is open");
    let remote = publisher.local();
    let datagrams: Vec<_> = std::iter::from_fn(|| publisher.poll_transmit()).collect();
    let before = sent(rig);
    let local = rig.server();
    let figures = turns(rig, |rig, out| {
        for datagram in &datagrams {
            let datagram = Datagram {
                remote,
                local,
                protocol: TransportProtocol::Udp,
                payload: &datagram.payload,
            };
            rig.shard.handle_datagram(datagram, rig.now, out);
        }
        rig.shard.flush(rig.now, out);
    });
    assert_eq!(
        sent(rig) - before,
        rig.participants.len() - 1,
        "it goes out"
    );
    figures
}

/// The room is closed.
fn close(rig: &mut Rig) -> Figures {
    let command = RoomCommand::Close { room: rig.room };
    let figures = turns(rig, |rig, out| {
        let command: ShardCommand = command.into();
        rig.shard.handle_command(command, rig.now, out);
    });
    assert_eq!(rig.shard.stats().peers, 0, "everybody has left");
    figures
}

/// What begins the work, and the turns that end it.
fn turns(rig: &mut Rig, begin: impl FnOnce(&mut Rig, &mut VecBatch)) -> Figures {
    let mut figures = Figures::default();
    let mut out = VecBatch::default();
    figures.turn(|| begin(rig, &mut out));
    while rig
        .shard
        .poll_timeout()
        .is_some_and(|(at, _)| at <= rig.now)
    {
        figures.turn(|| rig.shard.handle_timeout(rig.now, &mut out));
    }
    rig.post_all(out);
    figures
}

/// The number of data packets that have gone out.
fn sent(rig: &Rig) -> usize {
    rig.shard.stats().data_out as usize
}

fn cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the given timespec only.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
