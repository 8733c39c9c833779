//! The bandwidth of one subscriber's network: a send-side estimate in the manner of GoogCC (draft-ietf-rmcat-gcc-02),
//! from transport-wide feedback.
//!
//! Three estimates, of which the lowest wins: the delay gradient ([`trendline`]) steers a rate that grows slowly and
//! falls to what arrived when queues build up ([`aimd`]); loss that is not the link's nature caps it ([`loss`]); and
//! since a forwarding unit sends what publishers send and not what the network could take, short bursts of padding
//! ([`probe`]) find out how much more there is.

pub mod aimd;
mod bitrate;
pub mod loss;
pub mod probe;
pub mod sent;
pub mod throughput;
pub mod trendline;

use std::time::{Duration, Instant};

use crate::{rtcp::TransportCc, rtp::SeqNo};
pub use bitrate::{Bitrate, HIGHEST, INITIAL, LOWEST};

use aimd::RateControl;
use loss::LossControl;
use probe::{Begin, Prober};
use sent::{Acked, SentPackets, Stream};
use throughput::Throughput;
use trendline::{DelayDetector, Usage};

/// The longest round trip that anything waits for.
const LONGEST_RTT: Duration = Duration::from_secs(2);

/// A network that was too slow within this time is not trusted with bursts.
const CONGESTION_MEMORY: Duration = Duration::from_secs(10);

/// The state of one subscriber's estimate.
#[derive(Debug)]
pub struct BandwidthEstimator {
    sent: SentPackets,
    throughput: Throughput,
    delay: DelayDetector,
    rate: RateControl,
    loss: LossControl,
    prober: Prober,
    /// The receiver's own estimate (REMB), used where there is no transport-wide feedback.
    remb: Option<Bitrate>,
    feedback_at: Option<Instant>,
    congested_at: Option<Instant>,
    acked: Vec<Acked>,
    rtt: Duration,
    bitrate: Bitrate,
}

impl BandwidthEstimator {
    /// An estimator for a network of which nothing is known.
    pub fn new(now: Instant) -> Self {
        Self {
            sent: SentPackets::new(now),
            throughput: Throughput::default(),
            delay: DelayDetector::default(),
            rate: RateControl::new(INITIAL),
            loss: LossControl::default(),
            prober: Prober::default(),
            remb: None,
            feedback_at: None,
            congested_at: None,
            acked: Vec::new(),
            rtt: Duration::ZERO,
            bitrate: INITIAL,
        }
    }

    /// Packets take another path from now on: what was learnt of the one before is void. Transport-wide numbers go on.
    pub fn moved(&mut self) {
        self.throughput = Throughput::default();
        self.delay = DelayDetector::default();
        self.rate = RateControl::new(INITIAL);
        self.loss = LossControl::default();
        self.prober = Prober::default();
        self.remb = None;
        self.congested_at = None;
        self.bitrate = INITIAL;
    }

    /// The transport-wide number of the next packet; it is used once [`Self::sent`] is called.
    pub fn next_seq(&self) -> SeqNo {
        self.sent.next_seq()
    }

    /// The packet with the number of [`Self::next_seq`] went out; `len` in bytes as on the wire.
    pub fn sent(&mut self, len: usize, stream: Stream, now: Instant) {
        let probe = self.prober.sent(len);
        self.sent.record(len, probe, stream, now);
    }

    /// Transport-wide feedback came.
    pub fn handle_feedback(&mut self, feedback: &TransportCc<'_>, rtt: Duration, now: Instant) {
        self.feedback_at = Some(now);
        self.rtt = rtt.min(LONGEST_RTT);
        let mut acked = std::mem::take(&mut self.acked);
        let reported = self.sent.handle_feedback(feedback, now, &mut acked);
        for packet in &acked {
            self.throughput.arrived(packet);
            self.delay.arrived(packet);
            self.prober.arrived(packet);
        }
        acked.clear();
        self.acked = acked;
        self.loss.reported(reported.received, reported.lost, now);
        self.update(rtt, now);
    }

    /// The receiver's estimate came (REMB).
    pub fn handle_remb(&mut self, bitrate: Bitrate) {
        self.remb = Some(bitrate.clamp(LOWEST, HIGHEST));
        if self.feedback_at.is_none() {
            self.bitrate = bitrate.clamp(LOWEST, HIGHEST);
        }
    }

    fn update(&mut self, rtt: Duration, now: Instant) {
        let acked = self.throughput.bitrate();
        let usage = self.delay.usage();
        if usage == Usage::Over {
            self.congested_at = Some(now);
            self.prober.abort();
        }
        self.rate
            .update(&self.delay, &self.loss, &self.throughput, rtt, now);
        if let Some(found) = self.prober.take_result()
            && usage != Usage::Over
        {
            self.rate.probed(found);
            self.loss.probed();
        }
        let limit = self.loss.update(self.rate.bitrate(), acked, now);
        if limit < self.rate.bitrate() {
            self.congested_at = Some(now);
            self.rate.limit(limit);
        }
        let bitrate = self.rate.bitrate().clamp(LOWEST, HIGHEST);
        if bitrate < self.bitrate {
            let (queue, loss) = (self.delay.queue(), self.loss.fraction());
            tracing::debug!(
                bitrate,
                was = self.bitrate,
                ?acked,
                ?usage,
                queue,
                loss,
                "estimate fell"
            );
        }
        self.bitrate = bitrate;
    }

    /// The estimate; `None` while nobody reports anything: nothing is known then, and nothing is held back.
    pub fn bitrate(&self) -> Option<Bitrate> {
        (self.feedback_at.is_some() || self.remb.is_some()).then_some(self.bitrate)
    }

    /// The network was too slow lately: what exceeds the estimate had better wait.
    pub fn is_congested(&self, now: Instant) -> bool {
        self.congested_at
            .is_some_and(|at| now < at + CONGESTION_MEMORY)
    }

    /// Share of packets that did not arrive lately, 0 to 1.
    #[cfg(test)]
    pub fn loss(&self) -> f64 {
        self.loss.fraction()
    }

    /// Bytes of padding to send now in order to find out whether the network carries `wanted` bits per second; 0 when
    /// there is no need or it is not the time. Call about every 20 ms while more is wanted than is sent. `is_idle`:
    /// nothing waits for the network.
    pub fn probe_bytes(&mut self, wanted: Bitrate, is_idle: bool, now: Instant) -> usize {
        if self.feedback_at.is_none() {
            return 0;
        }
        let begin = match (is_idle && !self.delay.must_drain(), self.is_congested(now)) {
            (false, _) => Begin::Not,
            (true, true) => Begin::Careful,
            (true, false) => Begin::Free,
        };
        self.prober.poll(self.bitrate, wanted, begin, self.rtt, now)
    }
}

#[cfg(test)]
mod tests;
