//! Statistics of one incoming stream for its receiver reports (RFC 3550, sections 6.4.1 and A.8).

use std::time::{Duration, Instant};

use crate::{
    rtcp::{NtpTime, ReportBlock, to_compact},
    rtp::RtpTime,
};

/// The reception of one stream.
#[derive(Debug)]
pub struct ReceiveStats {
    clock_rate: u32,
    /// Index of the first and of the highest packet.
    range: Option<(u64, u64)>,
    received: u64,
    /// Packets expected and received, as of the last report.
    reported: (u64, u64),
    /// Packets expected and received, as of the last [`ReceiveStats::measure`].
    measured: (u64, u64),
    /// Jitter in RTP ticks, times 16 (RFC 3550, section A.8).
    jitter: u32,
    last_packet: Option<(RtpTime, Instant)>,
    last_sender_report: Option<(NtpTime, Instant)>,
}

impl ReceiveStats {
    /// The statistics of a stream of which nothing has arrived; `clock_rate` in Hz.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            range: None,
            received: 0,
            reported: (0, 0),
            measured: (0, 0),
            jitter: 0,
            last_packet: None,
            last_sender_report: None,
        }
    }

    /// A packet arrived.
    pub fn received(&mut self, index: u64, time: RtpTime, now: Instant) {
        self.received += 1;
        self.range = Some(match self.range {
            None => (index, index),
            Some((first, highest)) => (first.min(index), highest.max(index)),
        });
        if let Some((last_time, last_at)) = self.last_packet {
            let arrived =
                now.saturating_duration_since(last_at).as_secs_f64() * f64::from(self.clock_rate);
            let sent = f64::from(time.since(last_time));
            // The difference is bounded, so that one absurd timestamp does not spoil the figure for minutes.
            let difference = (arrived - sent).abs().min(f64::from(self.clock_rate)) as u32;
            self.jitter = self.jitter + difference - ((self.jitter + 8) >> 4);
        }
        self.last_packet = Some((time, now));
    }

    /// A sender report arrived.
    pub fn sender_report(&mut self, ntp: NtpTime, now: Instant) {
        self.last_sender_report = Some((ntp, now));
    }

    /// Index of the highest packet.
    pub fn highest(&self) -> Option<u64> {
        self.range.map(|(_, highest)| highest)
    }

    /// Number of packets that should have arrived and that did, since the last call.
    pub fn measure(&mut self) -> (u64, u64) {
        let expected = self.range.map_or(0, |(first, highest)| highest - first + 1);
        let before = std::mem::replace(&mut self.measured, (expected, self.received));
        (expected - before.0, self.received - before.1)
    }

    /// The jitter: by how much packets come earlier or later than they should, on average.
    pub fn jitter(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.jitter >> 4) / f64::from(self.clock_rate))
    }

    /// The next report block; `None` before the first packet.
    pub fn report(&mut self, ssrc: u32, now: Instant) -> Option<ReportBlock> {
        let (first, highest) = self.range?;
        let expected = highest - first + 1;
        let (expected_before, received_before) =
            std::mem::replace(&mut self.reported, (expected, self.received));
        let expected_since = expected - expected_before;
        let lost_since = expected_since.saturating_sub(self.received - received_before);
        let fraction_lost = (lost_since * 256)
            .checked_div(expected_since)
            .unwrap_or(0)
            .min(255) as u8;
        let (last_sr, delay_since_last_sr) = match self.last_sender_report {
            Some((ntp, at)) => (ntp.compact(), to_compact(now.saturating_duration_since(at))),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: i32::try_from(expected as i64 - self.received as i64).unwrap_or(0),
            highest_seq: highest as u32,
            jitter: self.jitter >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_reported_per_interval_and_in_total() {
        let (mut stats, now) = (ReceiveStats::new(90_000), Instant::now());
        assert_eq!(stats.report(1, now), None);
        for index in (65_530..65_540).filter(|index| *index != 65_533) {
            stats.received(index, RtpTime(0), now);
        }
        let report = stats.report(1, now).unwrap();
        assert_eq!(
            (
                report.fraction_lost,
                report.cumulative_lost,
                report.highest_seq
            ),
            (25, 1, 65_539)
        );
        stats.received(65_540, RtpTime(0), now);
        let report = stats.report(1, now).unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 1));
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_an_uneven_one_has() {
        let (mut stats, start) = (ReceiveStats::new(48_000), Instant::now());
        for i in 0..50 {
            stats.received(
                i,
                RtpTime(i as u32 * 960),
                start + Duration::from_millis(20 * i),
            );
        }
        assert_eq!(stats.report(1, start).unwrap().jitter, 0);
        for i in 50..150u64 {
            let late = if i % 2 == 0 { 10 } else { 0 };
            stats.received(
                i,
                RtpTime(i as u32 * 960),
                start + Duration::from_millis(20 * i + late),
            );
        }
        let jitter = stats.report(1, start).unwrap().jitter;
        assert!((400..=480).contains(&jitter), "{jitter}");
    }

    #[test]
    fn the_delay_since_the_sender_report_is_told() {
        let (mut stats, now) = (ReceiveStats::new(90_000), Instant::now());
        stats.received(1, RtpTime(0), now);
        stats.sender_report(NtpTime(0x0001_0002_8000_0000), now);
        let report = stats.report(9, now + Duration::from_millis(500)).unwrap();
        assert_eq!(
            (report.last_sr, report.delay_since_last_sr),
            (0x0002_8000, 0x8000)
        );
    }
}
