//! The virtual network: for each person a line up and a line down, with what lines do to datagrams.
//!
//! The fate of a datagram depends on the seed, the line and how many datagrams the line has carried, not on its bytes.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The properties of a network, one way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// The least delay.
    pub delay: Duration,
    /// The most delay beyond that, without overtaking.
    pub jitter: Duration,
    /// Share of datagrams lost one by one.
    pub loss: f64,
    /// Losses in a row (Gilbert): the chance that a bad time begins with a datagram, and that it ends with one.
    pub burst: Option<(f64, f64)>,
    /// Share of datagrams that are overtaken by those behind them.
    pub reorder: f64,
    /// Share of datagrams that come twice.
    pub duplicate: f64,
    /// Bits per second.
    pub rate: Option<u64>,
    /// The longest wait in the queue: datagrams that would wait longer are lost.
    pub queue: Duration,
}

impl Profile {
    /// The profile of a network that gives no cause for complaint.
    pub const GOOD: Self = Self {
        delay: Duration::from_millis(8),
        jitter: Duration::ZERO,
        loss: 0.0,
        burst: None,
        reorder: 0.0,
        duplicate: 0.0,
        rate: None,
        queue: Duration::ZERO,
    };

    /// Whether some datagrams do not arrive.
    pub fn loses(&self) -> bool {
        self.loss > 0.0 || self.burst.is_some()
    }

    /// The longest time that such a network keeps a sound away.
    pub fn longest_silence(&self) -> Duration {
        let mut silence = self.jitter + self.queue;
        if self.loss > 0.0 {
            silence += Duration::from_millis(400);
        }
        if self.burst.is_some() {
            silence += Duration::from_millis(1000);
        }
        if self.rate.is_some() {
            silence += Duration::from_millis(800);
        }
        silence
    }
}

/// The time until the sender of a TCP connection misses an acknowledgement (the least that Linux waits).
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);

/// One direction of one person's network.
#[derive(Debug)]
pub struct Line {
    pub profile: Profile,
    rng: StdRng,
    bad_time: bool,
    /// When the line will have sent everything that waits for it.
    free_at: Option<Instant>,
    /// Arrival of the last datagram that was not overtaken.
    last_arrival: Option<Instant>,
    /// Number of datagrams that the line was given.
    pub carried: u64,
    /// Number of datagrams that were lost.
    pub lost: u64,
}

impl Line {
    pub fn new(profile: Profile, seed: u64) -> Self {
        Self {
            profile,
            rng: StdRng::seed_from_u64(seed),
            bad_time: false,
            free_at: None,
            last_arrival: None,
            carried: 0,
            lost: 0,
        }
    }

    /// The arrivals of a datagram of `bits` sent at `now`: none, one, or two.
    pub fn carry(&mut self, bits: u64, now: Instant) -> [Option<Instant>; 2] {
        self.carried += 1;
        let p = self.profile;
        // Every question draws a number, asked or not: the fate of the next datagram must not depend on the profile.
        let mut draw = || self.rng.random::<f64>();
        let [turn, loss, jitter, late, twice] = [draw(), draw(), draw(), draw(), draw()];
        if let Some((begin, end)) = p.burst {
            self.bad_time = match self.bad_time {
                true => turn >= end,
                false => turn < begin,
            };
        } else {
            self.bad_time = false;
        }
        if self.bad_time || loss < p.loss {
            self.lost += 1;
            return [None, None];
        }
        let mut leaves = now;
        if let Some(rate) = p.rate {
            let start = self.free_at.map_or(now, |at| at.max(now));
            if start - now > p.queue {
                self.lost += 1;
                return [None, None];
            }
            leaves = start + Duration::from_nanos(bits * 1_000_000_000 / rate);
            self.free_at = Some(leaves);
        }
        let mut arrives = leaves + p.delay + p.jitter.mul_f64(jitter);
        if late < p.reorder {
            arrives += Duration::from_millis(30);
        } else {
            arrives = self.last_arrival.map_or(arrives, |last| last.max(arrives));
            self.last_arrival = Some(arrives);
        }
        let again = (twice < p.duplicate).then(|| arrives + Duration::from_millis(3));
        [Some(arrives), again]
    }

    /// The arrival of bytes sent over TCP at `now`: late where datagrams are lost, and so is all behind them, but
    /// certain.
    pub fn carry_in_order(&mut self, now: Instant) -> Instant {
        let p = self.profile;
        let (mut arrives, mut wait) = (now, RETRANSMIT_AFTER + p.delay);
        while self.carry(0, now)[0].is_none() && wait < Duration::from_secs(1) {
            arrives += wait;
            wait *= 2;
        }
        arrives += p.delay + p.jitter / 2;
        let arrives = self.last_arrival.map_or(arrives, |last| last.max(arrives));
        self.last_arrival = Some(arrives);
        arrives
    }
}

/// The size of a datagram on a line, bits. Handshakes differ in length from run to run, so all of DTLS has the same
/// size.
pub fn bits(datagram: &[u8]) -> u64 {
    const HEADERS: usize = 28;
    let len = match datagram.first() {
        Some(20..=63) => 200,
        _ => datagram.len(),
    };
    8 * (len + HEADERS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(profile: Profile, every: Duration, count: u32) -> Vec<Option<Duration>> {
        let (mut line, start) = (Line::new(profile, 1), Instant::now());
        let send = |i| {
            let sent = start + every * i;
            line.carry(8_000, sent)[0].map(|at| at - sent)
        };
        (0..count).map(send).collect()
    }

    #[test]
    fn a_good_network_is_only_a_delay() {
        let all = arrivals(Profile::GOOD, Duration::from_millis(1), 1000);
        assert!(all.iter().all(|delay| *delay == Some(Profile::GOOD.delay)));
    }

    #[test]
    fn a_slow_line_queues_and_then_loses_what_it_does_not_carry() {
        let profile = Profile {
            rate: Some(400_000),
            queue: Duration::from_millis(200),
            ..Profile::GOOD
        };
        // 800 kbit/s into 400.
        let all = arrivals(profile, Duration::from_millis(10), 1000);
        let lost = all.iter().filter(|delay| delay.is_none()).count();
        assert!((450..510).contains(&lost), "{lost}");
        let longest = all.iter().flatten().max().unwrap();
        assert!(
            *longest <= Duration::from_millis(200 + 20 + 8),
            "{longest:?}"
        );
    }

    #[test]
    fn burst_losses_come_in_a_row() {
        let profile = Profile {
            burst: Some((0.01, 0.1)),
            ..Profile::GOOD
        };
        let all = arrivals(profile, Duration::from_millis(10), 20_000);
        let lost = all.iter().filter(|delay| delay.is_none()).count();
        let bursts = all
            .windows(2)
            .filter(|w| w[0].is_some() && w[1].is_none())
            .count();
        let mean = lost as f64 / bursts as f64;
        assert!((8.0..12.0).contains(&mean), "{mean}");
    }

    #[test]
    fn over_tcp_what_is_lost_is_late_and_so_is_all_behind_it() {
        let profile = Profile {
            loss: 0.05,
            reorder: 0.1,
            duplicate: 0.1,
            ..Profile::GOOD
        };
        let (mut line, start) = (Line::new(profile, 1), Instant::now());
        let mut late = 0;
        let mut last = start;
        for i in 0..1000 {
            let now = start + Duration::from_millis(10) * i;
            let at = line.carry_in_order(now);
            assert!(at >= last && at >= now + profile.delay);
            late += u32::from(at > now + RETRANSMIT_AFTER);
            last = at;
        }
        // About fifty are lost, and hold up several each.
        assert!((100..400).contains(&late), "{late}");
    }

    #[test]
    fn jitter_alone_does_not_reorder() {
        let profile = Profile {
            jitter: Duration::from_millis(50),
            ..Profile::GOOD
        };
        let mut line = Line::new(profile, 3);
        let start = Instant::now();
        let at: Vec<_> = (0..500)
            .map(|i| line.carry(800, start + Duration::from_millis(i))[0].unwrap())
            .collect();
        assert!(at.is_sorted());
    }
}
