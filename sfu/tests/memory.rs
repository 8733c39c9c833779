//! What the engine keeps of those who have not finished their handshake: little, and for strangers nothing.

mod attacker;
mod rig;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::SocketAddr,
    time::Duration,
};

use attacker::{Attacker, Section, client_hello};
use rig::Rig;
use sfu::{Command, MediaKind, stats::DropReason};

struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; only a counter of the thread is touched besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.with(|live| live.set(live.get() + layout.size() as i64));
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

const VOICE: Section = Section {
    mid: "0",
    kind: MediaKind::Audio,
    cid: Some("voice"),
    rids: &[],
};

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
        rig.command(Command::RemovePeer { peer });
    }
    let stats = rig.shard.stats();
    assert_eq!((stats.peers, stats.paths, stats.rooms), (0, 0, 0));
}
