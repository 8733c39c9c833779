//! The packet path of an established meeting allocates nothing.

mod rig;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::SocketAddr,
    time::Duration,
};

use client::media::{MediaKind, OutgoingPacket};
use protocol::{ParticipantSid, TrackSid};
use rand::{SeedableRng, rngs::StdRng};
use rig::{Rig, server};
use sfu::{
    AudioFeatures, Datagram, Destination, MemberCommand, PublishedTrack, RelayCommand, SendBatch,
    SubscriptionCommand, TrackCodec, TrackCommand, TrackSetting, TransportProtocol,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; only a counter of the thread is touched besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A send buffer that forgets what it is given.
struct Discard(Vec<u8>);

impl SendBatch for Discard {
    fn reserve(&mut self, _: Destination, len: usize) -> Option<&mut [u8]> {
        self.0.get_mut(..len)
    }

    fn commit(&mut self, _: usize) {}
}

/// A picture of 4000 packets, sealed, and where it comes from.
fn picture(rig: &mut Rig, publisher: usize, cid: &str) -> (SocketAddr, Vec<Vec<u8>>) {
    let connection = &mut rig.participants[publisher].connection;
    let (mid, remote) = (connection.mid_of(cid).unwrap(), connection.local());
    // A VP8 descriptor with a 15-bit picture id; the first packet begins a key frame, the others do not.
    for i in 0..4000u64 {
        let mut payload = [0; 1100];
        payload[..5].copy_from_slice(&[
            0x90,
            0x80,
            0x80 | (i >> 8) as u8,
            i as u8,
            u8::from(i != 0),
        ]);
        let packet = OutgoingPacket {
            sequence: 100 + i,
            timestamp: i as u32 * 90,
            marker: true,
            payload: payload.as_slice().into(),
            audio_level: None,
        };
        connection.write_rtp(&mid, None, packet, rig.now).unwrap();
    }
    let sent = std::iter::from_fn(|| connection.poll_transmit());
    (remote, sent.map(|transmit| transmit.payload).collect())
}

#[test]
fn forwarding_allocates_nothing() {
    const SUBSCRIBERS: usize = 20;
    let mut rig = Rig::new(1);
    let publisher = rig.join();
    let (_, cid) = rig.announce(publisher, MediaKind::Video, &[]);
    for _ in 0..SUBSCRIBERS {
        rig.join();
    }
    rig.run(Duration::from_secs(3));
    let (remote, datagrams) = picture(&mut rig, publisher, &cid);
    let (mut out, mut on_path) = (Discard(vec![0; 2048]), 0);
    for (i, batch) in datagrams.chunks(5).enumerate() {
        rig.now += Duration::from_millis(5);
        let before = ALLOCATIONS.get();
        for payload in batch {
            rig.shard.handle_datagram(
                Datagram {
                    remote,
                    local: server(),
                    protocol: TransportProtocol::Udp,
                    payload,
                },
                rig.now,
                &mut out,
            );
        }
        rig.shard.flush(rig.now, &mut out);
        // Buffers have found their size after the first half.
        if i > datagrams.len() / 10 {
            on_path += ALLOCATIONS.get() - before;
        }
        rig.shard.handle_timeout(rig.now, &mut out);
    }
    assert!(
        rig.shard.stats().rtp_out >= 3999 * SUBSCRIBERS as u64,
        "{:?}",
        rig.shard.stats()
    );
    assert_eq!(on_path, 0);
}

#[test]
fn a_copy_for_a_room_of_another_shard_allocates_nothing() {
    const SUBSCRIBERS: usize = 5;
    let (mut here, mut there) = (Rig::new(1), Rig::new(2));
    let mut rng = StdRng::seed_from_u64(3);
    let publisher = here.join();
    let (track, cid) = here.announce(publisher, MediaKind::Video, &[]);
    here.run(Duration::from_secs(1));
    let (peer, relayed) = (
        ParticipantSid::random(&mut rng),
        TrackSid::random("", &mut rng),
    );
    there.now = here.now;
    there.command(MemberCommand::AddRelayed {
        room: there.room,
        peer,
        identity: "somebody".into(),
        principal: "somebody".into(),
        source: 0,
    });
    there.command(TrackCommand::PublishRelayed {
        peer,
        track: PublishedTrack {
            sid: relayed,
            kind: sfu::MediaKind::Video,
            cids: Vec::new(),
            stream: "camera".into(),
            muted: false,
            audio: AudioFeatures::default(),
            mime_type: String::new(),
            backup_of: None,
            layers: Vec::new(),
        },
        codec: TrackCodec {
            mime_type: "video/VP8".into(),
            ..TrackCodec::default()
        },
    });
    for _ in 0..SUBSCRIBERS {
        let index = there.join();
        there.command(SubscriptionCommand::Subscribe {
            peer: there.participants[index].sid,
            track: relayed,
            setting: TrackSetting::default(),
        });
    }
    here.command(RelayCommand::Start {
        peer: here.participants[publisher].sid,
        track,
        relayed,
        shard: 0,
    });
    there.run(Duration::from_secs(3));
    here.run(Duration::from_secs(3));
    let (remote, datagrams) = picture(&mut here, publisher, &cid);
    let (mut out, mut on_path) = (Discard(vec![0; 2048]), 0);
    for (i, batch) in datagrams.chunks(5).enumerate() {
        here.now += Duration::from_millis(5);
        let now = here.now;
        let before = ALLOCATIONS.get();
        for payload in batch {
            let datagram = Datagram {
                remote,
                local: server(),
                protocol: TransportProtocol::Udp,
                payload,
            };
            here.shard.handle_datagram(datagram, now, &mut out);
        }
        here.shard.flush(now, &mut out);
        here.shard
            .drain_relayed(|_, packet| there.shard.handle_relayed(packet, now, &mut out));
        there.shard.flush(now, &mut out);
        // Buffers have found their size after the first half.
        if i > datagrams.len() / 10 {
            on_path += ALLOCATIONS.get() - before;
        }
        here.shard.handle_timeout(now, &mut out);
        there.shard.handle_timeout(now, &mut out);
        while there.shard.poll_request().is_some() {}
    }
    let stats = there.shard.stats();
    assert!(stats.rtp_out >= 3999 * SUBSCRIBERS as u64, "{stats:?}");
    assert_eq!(on_path, 0);
}
