//! Transport-wide congestion control feedback to a publisher (draft-holmer-rmcat-transport-wide-cc-extensions-01): when
//! each of its packets arrived, so that its bandwidth estimator can see queues grow.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    rtcp::{FORMAT_TRANSPORT_CC, RtcpWriter, TRANSPORT_FEEDBACK},
    rtp::{SeqNo, SeqUnwrapper},
};

/// The time between two feedback packets. Estimators want several per round trip; 20 a second cost a publisher 0.2 % of
/// a megabit.
const INTERVAL: Duration = Duration::from_millis(50);

/// The most packets of one feedback.
const MAX_COUNT: usize = 400;

/// The longest gap that is reported. A longer jump forward begins anew: the packets between are not reported.
const MAX_GAP: u64 = 2000;

/// Unit of arrival times, microseconds.
const TICK_MICROS: i64 = 250;

/// Unit of the reference time: 64 ms, in ticks.
const REFERENCE_TICKS: i64 = 256;

/// The arrivals of one publisher's packets.
#[derive(Debug)]
pub struct TwccRecorder {
    unwrapper: SeqUnwrapper,
    /// Arrival of packet `base`, `base + 1`, …, in ticks since `epoch`; `None`: not arrived.
    window: VecDeque<Option<i64>>,
    base: u64,
    epoch: Option<Instant>,
    next: Option<Instant>,
    count: u8,
    symbols: Vec<u8>,
    deltas: Vec<u8>,
    chunks: Vec<u8>,
}

impl Default for TwccRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl TwccRecorder {
    /// A recorder that has recorded nothing.
    pub fn new() -> Self {
        Self {
            unwrapper: SeqUnwrapper::new(),
            window: VecDeque::new(),
            base: 0,
            epoch: None,
            next: None,
            count: 0,
            symbols: Vec::new(),
            deltas: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// The packet with this transport-wide sequence number arrived. One that was reported as lost already, or that
    /// arrives twice, changes nothing.
    pub fn record(&mut self, seq: SeqNo, now: Instant) {
        let index = self.unwrapper.unwrap(seq);
        let epoch = *self.epoch.get_or_insert(now);
        let ticks = now.saturating_duration_since(epoch).as_micros() as i64 / TICK_MICROS;
        let end = self.base + self.window.len() as u64;
        if self.next.is_none() || index >= end + MAX_GAP {
            self.window.clear();
            self.base = index;
        }
        let Some(offset) = index.checked_sub(self.base) else {
            return;
        };
        let offset = offset as usize;
        if offset >= self.window.len() {
            self.window.resize(offset + 1, None);
        }
        self.window[offset].get_or_insert(ticks);
        self.next.get_or_insert(now + INTERVAL);
    }

    /// Writes one feedback packet if one is due; call until false.
    pub fn write(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        now: Instant,
        writer: &mut RtcpWriter<'_>,
    ) -> bool {
        if self.window.is_empty() || self.next.is_none_or(|next| now < next) {
            return false;
        }
        let Some(first) = self.window.iter().flatten().next().copied() else {
            return false;
        };
        let reference = first.div_euclid(REFERENCE_TICKS);
        let count = self.fill(reference * REFERENCE_TICKS);
        self.encode_chunks();
        let fixed = 16;
        let body_len = (fixed + self.chunks.len() + self.deltas.len()).next_multiple_of(4);
        let Ok(body) = writer.packet(FORMAT_TRANSPORT_CC, TRANSPORT_FEEDBACK, body_len) else {
            return false;
        };
        body[..4].copy_from_slice(&sender_ssrc.to_be_bytes());
        body[4..8].copy_from_slice(&media_ssrc.to_be_bytes());
        body[8..10].copy_from_slice(&(self.base as u16).to_be_bytes());
        body[10..12].copy_from_slice(&(count as u16).to_be_bytes());
        body[12..16]
            .copy_from_slice(&((reference as u32) << 8 | u32::from(self.count)).to_be_bytes());
        let (chunks, rest) = body[fixed..].split_at_mut(self.chunks.len());
        chunks.copy_from_slice(&self.chunks);
        let (deltas, padding) = rest.split_at_mut(self.deltas.len());
        deltas.copy_from_slice(&self.deltas);
        padding.fill(0);
        self.count = self.count.wrapping_add(1);
        self.base += count as u64;
        self.window.drain(..count);
        if self.window.is_empty() {
            self.next = Some(now + INTERVAL);
        }
        true
    }

    /// Fills in symbols and deltas of the packets that fit into one feedback; returns their number.
    fn fill(&mut self, reference: i64) -> usize {
        self.symbols.clear();
        self.deltas.clear();
        let mut last = reference;
        for arrival in self.window.iter().take(MAX_COUNT) {
            let Some(ticks) = arrival else {
                self.symbols.push(0);
                continue;
            };
            let delta = ticks - last;
            match (u8::try_from(delta), i16::try_from(delta)) {
                (Ok(small), _) => {
                    self.symbols.push(1);
                    self.deltas.push(small);
                }
                (_, Ok(large)) => {
                    self.symbols.push(2);
                    self.deltas.extend_from_slice(&large.to_be_bytes());
                }
                // Eight seconds of silence: the next feedback has a reference time of its own.
                _ => break,
            }
            last = *ticks;
        }
        self.symbols.len()
    }

    /// Encodes the symbols: run lengths where a symbol repeats, else vectors of 14 or 7 symbols.
    fn encode_chunks(&mut self) {
        self.chunks.clear();
        let mut rest = self.symbols.as_slice();
        while let Some(symbol) = rest.first().copied() {
            let run = rest.iter().take_while(|other| **other == symbol).count();
            let (word, used) = if run >= 14 || run == rest.len() {
                (u16::from(symbol) << 13 | run as u16, run)
            } else if rest.iter().take(14).all(|symbol| *symbol < 2) {
                (0x8000 | vector(rest, 14, 1), 14)
            } else {
                (0xC000 | vector(rest, 7, 2), 7)
            };
            self.chunks.extend_from_slice(&word.to_be_bytes());
            rest = &rest[used.min(rest.len())..];
        }
    }
}

/// A vector chunk of `len` symbols of `bits` each, the first in the highest bits; missing ones are zero.
fn vector(symbols: &[u8], len: u16, bits: u16) -> u16 {
    let placed = |(i, symbol): (usize, &u8)| u16::from(*symbol) << (bits * (len - 1 - i as u16));
    symbols
        .iter()
        .take(len.into())
        .enumerate()
        .map(placed)
        .fold(0, |word, bits| word | bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{self, RtcpPacket};
    use proptest::prelude::*;

    /// All feedback that is due, as (sequence number, arrival in ticks).
    fn feedback(recorder: &mut TwccRecorder, now: Instant) -> Vec<(u16, Option<i64>)> {
        let mut statuses = Vec::new();
        loop {
            let mut buffer = [0; 1200];
            let mut writer = RtcpWriter::new(&mut buffer);
            if !recorder.write(1, 2, now, &mut writer) {
                return statuses;
            }
            let len = writer.len();
            let Some(RtcpPacket::TransportCc(packet)) = rtcp::parse(&buffer[..len]).next() else {
                panic!("no feedback")
            };
            statuses.extend(packet.statuses().map(|(seq, ticks)| (seq.0, ticks)));
        }
    }

    #[test]
    fn nothing_is_said_before_it_is_due_and_nothing_twice() {
        let (mut recorder, now) = (TwccRecorder::new(), Instant::now());
        assert!(feedback(&mut recorder, now).is_empty());
        recorder.record(SeqNo(65_535), now);
        assert!(feedback(&mut recorder, now + INTERVAL / 2).is_empty());
        recorder.record(SeqNo(1), now + Duration::from_millis(10));
        let reported = feedback(&mut recorder, now + INTERVAL);
        assert_eq!(reported, [(65_535, Some(0)), (0, None), (1, Some(40))]);
        assert!(feedback(&mut recorder, now + 2 * INTERVAL).is_empty());
    }

    #[test]
    fn a_jump_begins_anew_and_a_latecomer_is_ignored() {
        let (mut recorder, now) = (TwccRecorder::new(), Instant::now());
        recorder.record(SeqNo(10), now);
        recorder.record(SeqNo(10_000), now);
        recorder.record(SeqNo(9_999), now);
        assert_eq!(feedback(&mut recorder, now + INTERVAL), [(10_000, Some(0))]);
    }

    #[test]
    fn a_long_silence_does_not_break_the_deltas() {
        let (mut recorder, now) = (TwccRecorder::new(), Instant::now());
        recorder.record(SeqNo(1), now);
        let later = now + Duration::from_secs(20);
        recorder.record(SeqNo(2), later);
        assert_eq!(
            feedback(&mut recorder, later),
            [(1, Some(0)), (2, Some(80_000))]
        );
    }

    proptest! {
        #[test]
        fn every_arrival_comes_back_from_the_parser(gaps in prop::collection::vec((1u16..40, 0u64..100_000), 1..800), start in any::<u16>()) {
            let (mut recorder, mut now) = (TwccRecorder::new(), Instant::now());
            let mut epoch = None;
            let (mut seq, mut sent) = (start, Vec::new());
            for (skip, micros) in gaps {
                now += Duration::from_micros(micros);
                seq = seq.wrapping_add(skip);
                recorder.record(SeqNo(seq), now);
                let since = now - *epoch.get_or_insert(now);
                sent.push((seq, since.as_micros() as i64 / TICK_MICROS));
            }
            let reported: Vec<_> = feedback(&mut recorder, now + INTERVAL)
                .into_iter()
                .filter_map(|(seq, ticks)| Some((seq, ticks?)))
                .collect();
            prop_assert_eq!(reported, sent);
        }
    }
}
