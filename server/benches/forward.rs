//! What forwarding costs: CPU time per packet with and without sending, instructions, allocations, memory.
//!
//! One publisher and its subscribers join a shard through real handshakes; then the publisher's packets go through
//! `Shard::handle_datagram` and `Shard::flush` into the real send buffer and over loopback sockets. Feedback and timers
//! run as in the server, under a virtual clock of one batch per millisecond.

#[path = "../../sfu/tests/rig/mod.rs"]
mod rig;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use client::media::{MediaKind, OutgoingPacket};
use rig::Rig;
use serde_json::{Value, json};
use server::udp::{Batch, MediaSockets, Receiver};
use sfu::{Config, Datagram, Destination, SendBatch, TransportProtocol};

/// RTP payload of the packets that are forwarded.
const PAYLOAD: usize = 1200;

/// Packets forwarded in one timed run, about.
const FORWARDED: usize = 300_000;

/// Timed runs of each case; the median counts.
const RUNS: usize = 9;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call goes to the system allocator unchanged; only counters are touched besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A send buffer that sends nothing: what is left is the shard's own work.
struct Discard {
    slab: Vec<u8>,
    head: usize,
}

impl SendBatch for Discard {
    fn reserve(&mut self, _: Destination, len: usize) -> Option<&mut [u8]> {
        if self.head + len > self.slab.len() {
            self.head = 0;
        }
        self.slab.get_mut(self.head..self.head + len)
    }

    fn commit(&mut self, len: usize) {
        self.head += len;
    }
}

/// What is forwarded to how many, and how.
#[derive(Clone, Copy)]
struct Shape {
    subscribers: usize,
    per_flush: usize,
    congestion_control: bool,
}

/// A shard with one publisher and its subscribers, ready to forward.
struct Case {
    rig: Rig,
    cid: String,
    sequence: u64,
    shape: Shape,
}

impl Case {
    fn new(server: SocketAddr, sink_port: u16, shape: Shape) -> Self {
        let Shape {
            subscribers,
            per_flush,
            congestion_control,
        } = shape;
        // The subscribers are not played while packets are timed: their silence must not count.
        let consent_timeout_ms = u32::MAX;
        let mut rig = Rig::with(Config {
            consent_timeout_ms,
            congestion_control,
            ..rig::config(1, server)
        });
        let publisher = rig.join_from(SocketAddr::new(Ipv4Addr::new(127, 0, 0, 1).into(), 9));
        rig.run(Duration::from_secs(1));
        let (_, cid) = rig.announce(publisher, MediaKind::Video, &[]);
        rig.run(Duration::from_secs(1));
        for i in 0..subscribers {
            let address = Ipv4Addr::new(127, 0, 1 + (i / 250) as u8, 1 + (i % 250) as u8);
            rig.join_from(SocketAddr::new(address.into(), sink_port));
        }
        rig.run(Duration::from_secs(2));
        assert!(
            rig.participants.iter().all(|p| p.connected),
            "everybody connects"
        );
        let mut case = Self {
            rig,
            cid,
            sequence: 100,
            shape,
        };
        let before = case.rig.shard.stats().rtp_out;
        let mut discard = Discard {
            slab: vec![0; 1 << 20],
            head: 0,
        };
        let packets = case.packets(1);
        case.forward(&packets, &mut discard, |_| {});
        let forwarded = case.rig.shard.stats().rtp_out - before;
        assert_eq!(
            forwarded as usize,
            per_flush * subscribers,
            "everybody receives"
        );
        case
    }

    /// Sealed packets of the publisher, for so many batches. The first is the start of a key frame.
    fn packets(&mut self, batches: usize) -> Vec<Vec<u8>> {
        let publisher = &mut self.rig.participants[0].connection;
        let mid = publisher
            .mid_of(&self.cid)
            .expect("the track is negotiated");
        let mut payload = [0; PAYLOAD];
        for i in 0..batches * self.shape.per_flush {
            self.sequence += 1;
            let picture = (self.sequence / 5) as u16;
            // X and S bits, I bit, 15-bit picture id; then the payload header of a key frame or of another.
            let delta = u8::from(self.sequence != 101);
            payload[..5].copy_from_slice(&[
                0x90,
                0x80,
                0x80 | (picture >> 8) as u8 & 0x7f,
                picture as u8,
                delta,
            ]);
            let packet = OutgoingPacket {
                sequence: self.sequence,
                timestamp: (self.sequence / 5 * 3000) as u32,
                marker: i % 5 == 4,
                payload: payload.as_slice().into(),
                audio_level: None,
            };
            publisher
                .write_rtp(&mid, None, packet, self.rig.now)
                .expect("the publisher sends");
        }
        let rtp = |bytes: &Vec<u8>| bytes.len() > PAYLOAD;
        std::iter::from_fn(|| publisher.poll_transmit())
            .map(|transmit| transmit.payload)
            .filter(rtp)
            .collect()
    }

    /// The server's loop over these packets.
    fn forward<B: SendBatch>(&mut self, packets: &[Vec<u8>], out: &mut B, send: impl Fn(&mut B)) {
        let (remote, local) = (
            self.rig.participants[0].connection.local(),
            self.rig.server(),
        );
        for batch in packets.chunks(self.shape.per_flush) {
            self.rig.now += Duration::from_millis(1);
            for payload in batch {
                self.rig.shard.handle_datagram(
                    Datagram {
                        remote,
                        local,
                        protocol: TransportProtocol::Udp,
                        payload,
                    },
                    self.rig.now,
                    out,
                );
            }
            self.rig.shard.flush(self.rig.now, out);
            if self
                .rig
                .shard
                .poll_timeout()
                .is_some_and(|(at, _)| at <= self.rig.now)
            {
                self.rig.shard.handle_timeout(self.rig.now, out);
            }
            send(out);
        }
        while self.rig.shard.poll_event().is_some() {}
    }

    fn batches(&self) -> usize {
        FORWARDED / (self.shape.subscribers * self.shape.per_flush)
    }
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a run costs against the run beside it: the median of the quotients, in hundredths.
fn ratio(on: &[f64], off: &[f64]) -> f64 {
    let quotients = on.iter().zip(off).map(|(on, off)| on / off).collect();
    (median(quotients) * 100.0).round() / 100.0
}

/// Receives what is sent, on one socket for all subscribers' addresses, so that the kernel delivers every packet.
fn drain(sink: Arc<MediaSockets>, done: Arc<AtomicBool>) {
    let mut receiver = Receiver::new();
    while !done.load(Relaxed) {
        if !receiver.receive(&sink, 0, |_| {}) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// One row of the table: with congestion control, as a server has it, and beside it without.
fn measure(subscribers: usize, per_flush: usize) -> Value {
    let sockets = Arc::new(
        MediaSockets::bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).expect("a media socket"),
    );
    let sink =
        Arc::new(MediaSockets::bind(&[IpAddr::V4(Ipv4Addr::UNSPECIFIED)], 0).expect("a sink"));
    let done = Arc::new(AtomicBool::new(false));
    let drainer = std::thread::spawn({
        let (sink, done) = (sink.clone(), done.clone());
        move || drain(sink, done)
    });
    let mut cases = [true, false].map(|congestion_control| {
        let shape = Shape {
            subscribers,
            per_flush,
            congestion_control,
        };
        let case = Case::new(sockets.addresses()[0], sink.port(), shape);
        (case, Timed::default())
    });
    let mut batch = Batch::new(sockets);
    // In turns, so that whatever else the machine does meets both alike.
    for _ in 0..RUNS {
        for (case, timed) in &mut cases {
            timed.run(case, &mut batch);
        }
    }
    done.store(true, Relaxed);
    drainer.join().expect("the sink ends");
    let [on, off] = &cases;
    let ratios = [
        ratio(&on.1.user, &off.1.user),
        ratio(&on.1.total, &off.1.total),
    ];
    let [on, off] = cases.map(|(case, timed)| timed.report(case.shape));
    let mut row = on;
    row["without_congestion_control"] = off;
    row["on_to_off"] = json!({ "ns_user": ratios[0], "ns_total": ratios[1] });
    row
}

/// The runs of one case: CPU time per packet, without sending and with it, and allocations.
#[derive(Default)]
struct Timed {
    user: Vec<f64>,
    total: Vec<f64>,
    allocations: f64,
}

impl Timed {
    fn run(&mut self, case: &mut Case, batch: &mut Batch) {
        let mut discard = Discard {
            slab: vec![0; 1 << 20],
            head: 0,
        };
        let packets = case.packets(case.batches());
        let before = case.rig.shard.stats().rtp_out;
        let (cpu, allocated) = (cpu_ns(), ALLOCATIONS.load(Relaxed));
        case.forward(&packets, &mut discard, |_| {});
        let (cpu, allocated) = (cpu_ns() - cpu, ALLOCATIONS.load(Relaxed) - allocated);
        let forwarded = (case.rig.shard.stats().rtp_out - before) as f64;
        self.user.push(cpu as f64 / forwarded);
        self.allocations = allocated as f64 / forwarded;

        let packets = case.packets(case.batches());
        let before = case.rig.shard.stats().rtp_out;
        let cpu = cpu_ns();
        case.forward(&packets, batch, Batch::send);
        let cpu = cpu_ns() - cpu;
        self.total
            .push(cpu as f64 / (case.rig.shard.stats().rtp_out - before) as f64);
    }

    fn report(self, shape: Shape) -> Value {
        let spread = (
            self.total.iter().copied().fold(f64::MAX, f64::min),
            self.total.iter().copied().fold(0.0, f64::max),
        );
        let (user, total) = (median(self.user), median(self.total));
        json!({
            "subscribers": shape.subscribers,
            "payload": PAYLOAD,
            "per_flush": shape.per_flush,
            "ns_user": user.round(),
            "ns_send": (total - user).round(),
            "ns_total": total.round(),
            "ns_total_min": spread.0.round(),
            "ns_total_max": spread.1.round(),
            "instructions": instructions(shape),
            "allocations": self.allocations,
        })
    }
}

/// Runs under callgrind: twice with different numbers of batches, so that the handshakes cancel out.
fn instructions(shape: Shape) -> Option<f64> {
    let Shape {
        subscribers,
        per_flush,
        congestion_control,
    } = shape;
    // Long enough that the handshakes' own differences (random signatures) do not show.
    let batches = (50_000 / (subscribers * per_flush)).max(50);
    let count = |forwarded: usize| -> Option<f64> {
        let congestion_control = usize::from(congestion_control);
        let numbers = [
            subscribers,
            per_flush,
            congestion_control,
            2 * batches,
            forwarded,
        ]
        .map(|number| number.to_string());
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .arg("--count")
            .args(numbers)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr);
        text.lines()
            .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
    };
    let packets = (batches * subscribers * per_flush) as f64;
    Some(((count(2 * batches)? - count(batches)?) / packets).round())
}

/// The part that callgrind counts: as many packets are made in any case, and so many batches of them forwarded.
fn count(shape: Shape, made: usize, forwarded: usize) {
    let mut case = Case::new(rig::server(), 9, shape);
    let mut discard = Discard {
        slab: vec![0; 1 << 20],
        head: 0,
    };
    let packets = case.packets(made);
    case.forward(
        &packets[..forwarded * shape.per_flush],
        &mut discard,
        |_| {},
    );
}

/// Live bytes of a shard with `participants`, and of their room's negotiator; the clients are gone.
fn live_bytes(participants: usize, publish: bool) -> [i64; 2] {
    let mut rig = Rig::new(1);
    let first = rig.join();
    if publish {
        rig.publish(first, MediaKind::Video, &client::media::Layer::ALL);
    }
    for _ in 0..participants {
        rig.join();
        rig.run(Duration::from_millis(20));
    }
    rig.run(Duration::from_secs(3));
    assert!(
        rig.participants.iter().all(|p| p.connected),
        "everybody connects"
    );
    let Rig {
        shard, negotiator, ..
    } = rig;
    let freed = |drop: &mut dyn FnMut()| {
        let before = LIVE.load(Relaxed);
        drop();
        before - LIVE.load(Relaxed)
    };
    let (mut shard, mut negotiator) = (Some(shard), Some(negotiator));
    [
        freed(&mut || shard = None),
        freed(&mut || negotiator = None),
    ]
}

/// Of the shard and of the negotiator.
fn memory() -> Value {
    let many = 100;
    let more = |publish| {
        let (few, twice) = (live_bytes(many, publish), live_bytes(2 * many, publish));
        [0, 1].map(|part| (twice[part] - few[part]) / many as i64)
    };
    let (idle, subscribed) = (more(false), more(true));
    let subscription = [0, 1].map(|part| subscribed[part] - idle[part]);
    json!({ "idle_participant": idle, "video_subscription": subscription })
}

/// CPU time that the shard spends on each subscriber and second with congestion control and without: a voice and a
/// picture of three layers, which reach everybody, and the receivers' reports on them.
fn congestion(subscribers: usize) -> Value {
    let mut cases = [false, true].map(|congestion_control| {
        let mut rig = Rig::with(Config {
            congestion_control,
            max_peers: subscribers + 1,
            ..rig::config(1, rig::server())
        });
        let publisher = rig.join();
        rig.publish(publisher, MediaKind::Audio, &[]);
        rig.publish(publisher, MediaKind::Video, &client::media::Layer::ALL);
        rig.run(Duration::from_secs(1));
        for i in 0..subscribers {
            let address = Ipv4Addr::new(127, 0, 1 + (i / 250) as u8, 1 + (i % 250) as u8);
            rig.join_from(SocketAddr::new(address.into(), 9));
        }
        rig.run(Duration::from_secs(4));
        assert!(
            rig.participants.iter().all(|p| p.connected),
            "everybody connects"
        );
        rig.stopwatch = Some(cpu_ns);
        rig
    });
    let mut spent = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for (rig, spent) in cases.iter_mut().zip(&mut spent) {
            let (before, packets) = (rig.shard_ns, rig.shard.stats().rtp_out);
            rig.run(Duration::from_secs(1));
            let forwarded = rig.shard.stats().rtp_out - packets;
            assert!(
                forwarded as usize > subscribers * 70,
                "everybody hears and sees"
            );
            spent.push((rig.shard_ns - before) as f64 / 1000.0 / subscribers as f64);
        }
    }
    let [off, on] = spent.map(median);
    json!({
        "subscribers": subscribers,
        "us_per_subscriber_second_off": off.round(),
        "us_per_subscriber_second_on": on.round(),
    })
}

/// CPU time of the plainest send there is, for comparison: one `sendto` of such a datagram to a drained socket.
fn plain_send() -> f64 {
    let sink = Arc::new(MediaSockets::bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).expect("a sink"));
    let done = Arc::new(AtomicBool::new(false));
    let drainer = std::thread::spawn({
        let (sink, done) = (sink.clone(), done.clone());
        move || drain(sink, done)
    });
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let datagram = [0; PAYLOAD + 28];
    let run = |_| {
        let cpu = cpu_ns();
        for _ in 0..10_000 {
            let _ = socket.send_to(&datagram, sink.addresses()[0]);
        }
        (cpu_ns() - cpu) as f64 / 10_000.0
    };
    let figure = median((0..RUNS).map(run).collect());
    done.store(true, Relaxed);
    drainer.join().expect("the sink ends");
    figure.round()
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores",
        model.map_or("unknown", |(_, name)| name.trim())
    )
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--count") {
        let number = |i: usize| -> usize { arguments[at + i].parse().expect("a number") };
        let shape = Shape {
            subscribers: number(1),
            per_flush: number(2),
            congestion_control: number(3) != 0,
        };
        return count(shape, number(4), number(5));
    }
    let machine = machine();
    println!("Forwarding a {PAYLOAD}-byte payload: {machine}");
    println!(
        "subscribers  per flush   congestion control   ns user   ns send  ns total (min-max)   instructions  allocations"
    );
    let mut rows = Vec::new();
    for subscribers in [10, 50, 200] {
        for per_flush in [1, 5] {
            let row = measure(subscribers, per_flush);
            for (name, row) in [("on", &row), ("off", &row["without_congestion_control"])] {
                println!(
                    "{subscribers:>11} {per_flush:>10} {name:>20} {:>9} {:>9} {:>9} ({}-{}) {:>14} {:>12.5}",
                    row["ns_user"],
                    row["ns_send"],
                    row["ns_total"],
                    row["ns_total_min"],
                    row["ns_total_max"],
                    row["instructions"],
                    row["allocations"].as_f64().unwrap_or_default(),
                );
            }
            println!(
                "{subscribers:>11} {per_flush:>10} {:>20} {:>9} {:>19}",
                "on / off", row["on_to_off"]["ns_user"], row["on_to_off"]["ns_total"],
            );
            rows.push(row);
        }
    }
    let memory = memory();
    println!(
        "bytes in the shard and in the negotiator, per idle participant: {}, per video subscription: {}",
        memory["idle_participant"], memory["video_subscription"]
    );
    let congestion = congestion(1000);
    println!(
        "CPU per subscriber and second, us, at {} subscribers of a voice and a picture: {} with congestion control, {} without",
        congestion["subscribers"],
        congestion["us_per_subscriber_second_on"],
        congestion["us_per_subscriber_second_off"],
    );
    let plain = plain_send();
    println!("for comparison, one plain sendto of such a datagram on this machine: {plain} ns");
    let report = json!({
        "machine": machine,
        "rows": rows,
        "memory": memory,
        "congestion": congestion,
        "ns_plain_sendto": plain,
    });
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder).expect("target/bench");
    std::fs::write(folder.join("forward.json"), format!("{report:#}\n")).expect("forward.json");
}
