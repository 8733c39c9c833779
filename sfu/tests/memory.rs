//! What the engine keeps of those who have not finished their handshake: little, and for strangers nothing.

mod attacker;
mod rig;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::SocketAddr,
    time::Duration,
};

use attacker::{Attacker, VOICE, client_hello};
use rand::SeedableRng;
use rig::Rig;
use sfu::{
    DataChannel, DataCommand, DescriptionCommand, MemberCommand, sdp::MAX_SDP_BYTES,
    stats::DropReason,
};

struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; only a counter of the thread is touched besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get() + layout.size() as i64;
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get() - layout.size() as i64));
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_hundred_thousand_half_open_handshakes_of_strangers_leave_nothing_behind() {
    let mut rig = Rig::new(70);
    let mallory = Attacker::join(&mut rig, 1, &[VOICE]);
    let hello = client_hello(&rig);
    let check = mallory.check(true, Some("wrongwrongwrongwrongwron"));
    let address = |i: u32| SocketAddr::new(std::net::Ipv4Addr::from(0xc633_6400 + i).into(), 1024);
    let before = LIVE.get();
    for i in 0..100_000 {
        rig.inject(address(i), &check);
        rig.inject(address(i), &hello);
    }
    let stats = rig.shard.stats();
    assert_eq!(stats.drops(DropReason::NotValidated), 100_000);
    assert_eq!(stats.drops(DropReason::Stun), 100_000);
    assert_eq!((stats.paths, stats.peers), (0, 1));
    let grown = LIVE.get() - before;
    assert!(grown < 64 * 1024, "{grown} bytes");
}

#[test]
fn a_participant_in_the_middle_of_its_handshake_costs_a_bounded_amount_and_gives_it_back() {
    const PEERS: u8 = 200;
    let mut config = rig::config(71, rig::server());
    config.max_peers = PEERS.into();
    let mut rig = Rig::with(config);
    let before = LIVE.get();
    let mut half_open = Vec::new();
    for number in 0..PEERS {
        let mut one = Attacker::join(&mut rig, number, &[VOICE]);
        let check = one.check(true, None);
        one.send(&mut rig, &check);
        // A hundred different beginnings of a handshake; none goes on.
        let hello = client_hello(&rig);
        for at in 0..100 {
            let mut changed = hello.clone();
            changed[10] = at;
            changed[20] ^= at;
            rig.inject(one.address, &changed);
            // And those of others, by their random numbers.
            let mut other = hello.clone();
            other[30] = at;
            rig.inject(one.address, &other);
        }
        half_open.push(one.sid);
    }
    assert_eq!(rig.shard.stats().peers, usize::from(PEERS));
    let each = (LIVE.get() - before) / i64::from(PEERS);
    // The tester's own side is in it, too.
    assert!(each < 256 * 1024, "{each} bytes each");
    println!("{each} bytes for each half-open handshake, the attacker's own included");
    rig.run(Duration::from_secs(40));
    for peer in half_open {
        rig.command(MemberCommand::Remove { peer });
    }
    let stats = rig.shard.stats();
    assert_eq!((stats.peers, stats.paths, stats.rooms), (0, 0, 0));
}

/// The most bytes that `work` had at a time, beyond what was there before.
fn peak<R>(work: impl FnOnce() -> R) -> (i64, R) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (PEAK.get() - before, result)
}

#[test]
fn an_offer_takes_at_most_sixteen_times_its_bytes_and_8_mb() {
    let sections = |section: &str| {
        let mids = 0..MAX_SDP_BYTES / (section.len() + 24);
        let mids = mids.take(sfu::sdp::MAX_SECTIONS);
        let bundle: String = mids.clone().map(|mid| format!(" {mid}")).collect();
        let mut text = format!(
            "v=0\na=group:BUNDLE{bundle}\na=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuv\n\
             a=fingerprint:sha-256 {}\n",
            ["00"; 32].join(":")
        );
        for mid in mids {
            let section = section.replace("MID", &mid.to_string());
            if text.len() + section.len() > MAX_SDP_BYTES {
                break;
            }
            text += &section;
        }
        text
    };
    let repeated = |line: &str| {
        let head = "v=0\nm=video 9 RTP/SAVPF 96\n";
        format!(
            "{head}{}",
            line.repeat((MAX_SDP_BYTES - head.len()) / line.len())
        )
    };
    let codecs: String = (0..128)
        .map(|pt| format!("a=rtpmap:{pt} VP8/90000\n"))
        .collect();
    let formats: String = (0..128).map(|pt| format!(" {pt}")).collect();
    let texts = [
        // As short as sections can be, of which one carries anything.
        sections("m=audio 9 RTP/SAVPF 0\na=mid:MID\na=rtcp-mux\n"),
        sections("m=audio 9 RTP/SAVPF 111\na=mid:MID\na=rtcp-mux\na=rtpmap:111 opus/48000/2\n"),
        // Codecs without end, with feedback for all of them.
        sections(&format!(
            "m=video 9 RTP/SAVPF{formats}\na=mid:MID\na=rtcp-mux\n{codecs}a=rtcp-fb:* nack\na=rtcp-fb:* nack pli\n"
        )),
        sections(
            "m=video 9 RTP/SAVPF 1 2 3 4 5 6\na=mid:MID\na=rtcp-mux\na=rtpmap:1 VP8/90000\na=rtpmap:2 VP9/90000\n\
             a=rtpmap:3 AV1/90000\na=rtpmap:4 H264/90000\na=rtpmap:5 rtx/90000\na=fmtp:5 apt=1\na=rtcp-fb:* nack\n",
        ),
        repeated("a=ssrc:1\n"),
        repeated("a=rtcp-fb:* x\n"),
        repeated("a=simulcast:send a;b;c;d;e;f;g;h;i;j;k;l;m;n;o;p\n"),
        repeated("a=candidate:1 1 u 1 1 1 typ h\n"),
        repeated("m=x 1 y z\n"),
        format!("v=0\nm=video 9 RTP/SAVPF{}\n", " 1".repeat(2000)),
    ];
    for text in texts {
        let mut rig = Rig::new(72);
        let peer = protocol::ParticipantSid::random(&mut rand::rngs::StdRng::from_seed([9; 32]));
        rig.command(MemberCommand::Add {
            room: rig.room,
            peer,
            identity: "mallory".into(),
            principal: "mallory".into(),
            permissions: sfu::PeerPermissions {
                can_publish_data: true,
                hidden: false,
                agent: false,
                hears_all: false,
            },
        });
        let allowed = 16 * text.len() as i64 + 8_000_000;
        let mut out = rig::VecBatch::default();
        // Read, answered, and what is kept of it.
        let (most, ()) = peak(|| {
            for id in 1..=2 {
                if let Ok(offer) = DescriptionCommand::offer(peer, id, &text) {
                    rig.negotiator.handle_command(offer);
                }
                while let Some(output) = rig.negotiator.poll() {
                    if let sfu::negotiator::Output::Command(command) = output {
                        rig.shard.handle_command(command, rig.now, &mut out);
                    }
                }
                while rig.shard.poll_event().is_some() {}
            }
        });
        let end = &text[text.len().saturating_sub(60)..];
        println!("{} bytes take {most}: … {end:?}", text.len());
        assert!(
            most <= allowed,
            "{most} > {allowed}: {} bytes, … {end:?}",
            text.len()
        );
    }
}

#[test]
fn what_waits_for_a_reader_is_bounded_however_often_it_opens_its_channel() {
    let mut rig = Rig::new(73);
    let reader = rig.join();
    rig.run(Duration::from_secs(1));
    rig.narrow(reader, 50_000, Duration::from_millis(200));
    let (room, before) = (rig.room, LIVE.get());
    for _ in 0..20 {
        for _ in 0..20 {
            rig.command(DataCommand::Send {
                room,
                to: Vec::new(),
                channel: DataChannel::Reliable,
                payload: vec![7; 60_000],
            });
        }
        let now = rig.now;
        let connection = &mut rig.participants[reader].connection;
        connection.open_channel("_reliable", now);
        rig.run(Duration::from_secs(1));
    }
    assert_eq!(rig.shard.stats().slow_readers, 1);
    // 4 MB, as they are kept in packets.
    let grown = LIVE.get() - before;
    assert!(grown < 8_000_000, "{grown} bytes");
}
