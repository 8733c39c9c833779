//! Estimates of virtual networks: a link with a rate, a queue, a delay and loss, real feedback packets, a source that
//! sends what it is allowed to.

use std::collections::VecDeque;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    rtcp::{self, RtcpPacket, RtcpWriter},
    twcc::TwccRecorder,
};

const TICK: Duration = Duration::from_millis(5);

/// The least time a receiver that is short of processor needs for a packet.
const READ: Duration = Duration::from_micros(50);

struct Link {
    rate: Bitrate,
    /// Bytes that wait at most.
    queue: u64,
    delay: Duration,
    loss: f64,
}

struct World {
    now: Instant,
    link: Link,
    estimator: BandwidthEstimator,
    receiver: TwccRecorder,
    rng: StdRng,
    /// When the link has sent what it holds.
    free_at: Instant,
    arriving: VecDeque<(Instant, SeqNo)>,
    reporting: VecDeque<(Instant, Vec<u8>)>,
    /// What the source sends when nothing limits it.
    media: Bitrate,
    owed: f64,
    ticks: u64,
    highest_delay: Duration,
    /// The receiver is short of processor: now and then it reads nothing for so long at most.
    stalls: Duration,
    stalled_until: Instant,
}

impl World {
    fn new(link: Link, media: Bitrate) -> Self {
        let now = Instant::now();
        Self {
            now,
            link,
            estimator: BandwidthEstimator::new(now),
            receiver: TwccRecorder::new(),
            rng: StdRng::seed_from_u64(1),
            free_at: now,
            arriving: VecDeque::new(),
            reporting: VecDeque::new(),
            media,
            owed: 0.0,
            ticks: 0,
            highest_delay: Duration::ZERO,
            stalls: Duration::ZERO,
            stalled_until: now,
        }
    }

    /// Arrivals are stamped when the receiver reads them.
    fn read(&mut self) {
        if self.now < self.stalled_until {
            return;
        }
        if !self.stalls.is_zero() && self.rng.random_bool(0.03) {
            self.stalled_until = self.now + self.rng.random_range(TICK..self.stalls);
            return;
        }
        while let Some((at, seq)) = self.arriving.front().copied()
            && at <= self.now
        {
            self.arriving.pop_front();
            let read = at.max(self.stalled_until);
            if !self.stalls.is_zero() {
                // Catching up takes time as well.
                self.stalled_until = read + self.rng.random_range(READ..READ * 8);
            }
            self.receiver.record(seq, read);
        }
    }

    fn send(&mut self, len: usize) {
        let seq = self.estimator.next_seq();
        self.estimator.sent(len, Stream::Known, self.now);
        let start = self.free_at.max(self.now);
        let waiting = (start - self.now).as_secs_f64() * self.link.rate as f64 / 8.0;
        if waiting > self.link.queue as f64 || self.rng.random_bool(self.link.loss) {
            return;
        }
        self.free_at = start + Duration::from_secs_f64(len as f64 * 8.0 / self.link.rate as f64);
        let arrival = self.free_at + self.link.delay;
        self.highest_delay = self.highest_delay.max(arrival - self.now);
        self.arriving.push_back((arrival, seq));
    }

    fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.now += TICK;
            self.ticks += 1;
            let rate = self
                .estimator
                .bitrate()
                .unwrap_or(self.media)
                .min(self.media);
            self.owed += rate as f64 / 8.0 * TICK.as_secs_f64();
            while self.owed >= 1000.0 {
                self.owed -= 1000.0;
                self.send(1000);
            }
            if self.ticks.is_multiple_of(4) {
                let mut padding = self.estimator.probe_bytes(self.media, true, self.now);
                while padding > 0 {
                    self.send(1000);
                    padding = padding.saturating_sub(1000);
                }
            }
            self.read();
            loop {
                let mut buffer = [0; 1200];
                let mut writer = RtcpWriter::new(&mut buffer);
                if !self.receiver.write(1, 2, self.now, &mut writer) {
                    break;
                }
                let len = writer.len();
                self.reporting
                    .push_back((self.now + self.link.delay, buffer[..len].to_vec()));
            }
            while let Some((at, _)) = self.reporting.front()
                && *at <= self.now
            {
                let (_, bytes) = self.reporting.pop_front().unwrap();
                for packet in rtcp::parse(&bytes) {
                    if let RtcpPacket::TransportCc(feedback) = packet {
                        let rtt =
                            self.link.delay * 2 + self.free_at.saturating_duration_since(self.now);
                        self.estimator.handle_feedback(&feedback, rtt, self.now);
                    }
                }
            }
        }
    }

    fn bitrate(&self) -> Bitrate {
        self.estimator.bitrate().unwrap()
    }
}

fn link(rate: Bitrate, queue: u64) -> Link {
    Link {
        rate,
        queue,
        delay: Duration::from_millis(20),
        loss: 0.0,
    }
}

#[test]
fn packets_of_a_stream_that_the_receiver_does_not_know_yet_are_no_loss() {
    let report_all_lost = |stream| {
        let mut now = Instant::now();
        let mut estimator = BandwidthEstimator::new(now);
        let mut receiver = TwccRecorder::new();
        for i in 0..400 {
            now += Duration::from_millis(5);
            // A voice arrives, and between its packets nothing of a picture.
            let is_voice = i % 4 == 0;
            let seq = estimator.next_seq();
            let (len, stream) = if is_voice {
                (100, Stream::Known)
            } else {
                (1000, stream)
            };
            estimator.sent(len, stream, now);
            if is_voice {
                receiver.record(seq, now);
            }
            let mut buffer = [0; 1200];
            let mut writer = RtcpWriter::new(&mut buffer);
            while receiver.write(1, 2, now, &mut writer) {}
            let len = writer.len();
            for packet in rtcp::parse(&buffer[..len]) {
                if let RtcpPacket::TransportCc(feedback) = packet {
                    estimator.handle_feedback(&feedback, Duration::from_millis(10), now);
                }
            }
        }
        estimator.bitrate()
    };
    assert!(report_all_lost(Stream::New) >= Some(INITIAL));
    assert!(report_all_lost(Stream::Known) < Some(INITIAL / 10));
}

#[test]
fn a_slow_link_is_found_in_two_seconds_and_its_queue_stays_short() {
    for (rate, longest) in [(300_000, 400), (1_000_000, 300)] {
        let mut world = World::new(link(rate, 40_000), 4_000_000);
        world.run(3.0);
        let found = world.bitrate();
        assert!(
            (rate * 5 / 10..rate * 11 / 10).contains(&found),
            "{found} of {rate}"
        );
        world.run(5.0);
        world.highest_delay = Duration::ZERO;
        world.run(20.0);
        let found = world.bitrate();
        assert!(
            (rate * 6 / 10..rate * 12 / 10).contains(&found),
            "{found} of {rate}"
        );
        let delay = world.highest_delay;
        assert!(
            delay < Duration::from_millis(longest),
            "{delay:?} at {rate}"
        );
    }
}

#[test]
fn a_fast_link_is_used_at_once_and_probed_for_what_is_wanted() {
    let mut world = World::new(link(20_000_000, 100_000), 8_000_000);
    world.run(1.0);
    assert!(world.bitrate() >= INITIAL, "{}", world.bitrate());
    world.run(5.0);
    assert!(world.bitrate() >= 8_000_000, "{}", world.bitrate());
    assert!(!world.estimator.is_congested(world.now));
}

#[test]
fn a_link_that_was_slow_for_a_while_is_used_in_full_within_seconds() {
    let mut world = World::new(link(5_000_000, 60_000), 3_000_000);
    world.run(5.0);
    world.link.rate = 300_000;
    world.run(20.0);
    assert!(world.bitrate() < 400_000, "{}", world.bitrate());
    world.link.rate = 5_000_000;
    world.run(8.0);
    assert!(world.bitrate() >= 2_500_000, "{}", world.bitrate());
}

#[test]
fn a_receiver_that_is_short_of_processor_is_not_taken_for_a_slow_network() {
    let cases = [
        (60, 400_000),
        (150, 600_000),
        (400, 600_000),
        (400, 3_000_000),
    ];
    for ((longest, media), seed) in cases
        .into_iter()
        .flat_map(|case| (0..8).map(move |seed| (case, seed)))
    {
        let mut world = World::new(link(50_000_000, 1_000_000), media);
        world.rng = StdRng::seed_from_u64(seed);
        world.stalls = Duration::from_millis(longest);
        for second in 0..60 {
            world.run(1.0);
            let found = world.bitrate();
            assert!(
                found >= media,
                "{found} of {media} with stalls up to {longest} ms, second {second}, seed {seed}"
            );
        }
    }
}

#[test]
fn a_way_that_becomes_longer_is_not_taken_for_a_queue_for_long() {
    let mut world = World::new(link(5_000_000, 60_000), 1_000_000);
    world.run(5.0);
    world.link.delay += Duration::from_millis(400);
    world.run(12.0);
    let found = world.bitrate();
    assert!(found >= 900_000, "{found}");
}

#[test]
fn on_another_way_nothing_is_known_and_packets_are_numbered_on() {
    let mut world = World::new(link(300_000, 40_000), 4_000_000);
    world.run(5.0);
    assert!(world.bitrate() < 400_000, "{}", world.bitrate());
    let next = world.estimator.next_seq();
    world.estimator.moved();
    assert_eq!(world.bitrate(), INITIAL);
    assert!(!world.estimator.is_congested(world.now));
    assert_eq!(world.estimator.next_seq(), next);
    world.link.rate = 20_000_000;
    world.run(5.0);
    assert!(world.bitrate() >= 4_000_000, "{}", world.bitrate());
}

#[test]
fn a_policer_without_a_queue_is_seen_by_its_losses() {
    let mut world = World::new(link(600_000, 3_000), 2_000_000);
    world.run(8.0);
    let found = world.bitrate();
    assert!((300_000..750_000).contains(&found), "{found}");
    assert!(world.estimator.loss() < 0.2, "{}", world.estimator.loss());
}

#[test]
fn a_link_that_loses_at_random_is_not_starved() {
    for loss in [0.05, 0.1, 0.2] {
        let mut world = World::new(
            Link {
                loss,
                ..link(10_000_000, 100_000)
            },
            2_000_000,
        );
        world.run(20.0);
        let found = world.bitrate();
        assert!(found >= 1_000_000, "{found} at {loss}");
    }
}

#[test]
fn without_feedback_nothing_is_known_and_remb_is_believed() {
    let now = Instant::now();
    let mut estimator = BandwidthEstimator::new(now);
    estimator.sent(1000, Stream::Known, now);
    assert_eq!(estimator.bitrate(), None);
    assert_eq!(estimator.probe_bytes(5_000_000, true, now), 0);
    estimator.handle_remb(0);
    assert_eq!(estimator.bitrate(), Some(LOWEST));
    estimator.handle_remb(u64::MAX);
    assert_eq!(estimator.bitrate(), Some(HIGHEST));
    estimator.handle_remb(700_000);
    assert_eq!(estimator.bitrate(), Some(700_000));
}

#[test]
fn feedback_that_lies_changes_nothing_and_never_panics() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut now = Instant::now();
    let mut estimator = BandwidthEstimator::new(now);
    for _ in 0..3000 {
        now += Duration::from_millis(3);
        estimator.sent(rng.random_range(0..2000), Stream::Known, now);
        let mut packet = vec![0x8f, 205, 0, 0];
        packet.extend((0..rng.random_range(4..30) * 4).map(|_| rng.random::<u8>()));
        let words = (packet.len() / 4 - 1) as u16;
        packet[2..4].copy_from_slice(&words.to_be_bytes());
        for packet in rtcp::parse(&packet) {
            if let RtcpPacket::TransportCc(feedback) = packet {
                estimator.handle_feedback(&feedback, Duration::from_millis(10), now);
            }
        }
        if let Some(bitrate) = estimator.bitrate() {
            assert!((LOWEST..=HIGHEST).contains(&bitrate));
        }
        estimator.probe_bytes(rng.random(), rng.random(), now);
    }
}
