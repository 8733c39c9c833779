//! RTCP: compound packets read without allocation, and written into the caller's buffer.
//!
//! RFC 3550 (SR, RR, SDES, BYE), RFC 4585 (NACK, PLI), RFC 5104 (FIR), draft-alvestrand-rmcat-remb-03 (REMB),
//! draft-holmer-rmcat-transport-wide-cc-extensions-01 (transport-wide feedback). Unknown packets are skipped.

mod transport_cc;
mod words;

use std::time::Duration;

pub use transport_cc::{TransportCc, TransportCcStatuses};

use words::{be32, feedback};

use crate::rtp::{RtpTime, SeqNo};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
/// Transport layer feedback (RFC 4585, section 6.2).
pub(crate) const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

const FORMAT_NACK: u8 = 1;
pub(crate) const FORMAT_TRANSPORT_CC: u8 = 15;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;

const REPORT_BLOCK_LEN: usize = 24;
/// The largest count of a packet: the field has five bits.
const MAX_COUNT: usize = 31;

/// A moment as NTP has it: seconds since 1900 in 32.32 fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The middle 32 bits: 16.16 fixed point seconds, as in LSR.
    pub fn compact(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Signed seconds from `earlier` to `self`.
    pub fn seconds_since(self, earlier: NtpTime) -> f64 {
        self.0.wrapping_sub(earlier.0) as i64 as f64 / (1u64 << 32) as f64
    }
}

/// Length of time in 1/65536 s, as in DLSR; saturates after 18 hours.
pub fn to_compact(duration: Duration) -> u32 {
    u32::try_from((duration.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}

/// Length of time given in 1/65536 s.
pub fn from_compact(units: u32) -> Duration {
    Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16)
}

/// The sender's part of a sender report (RFC 3550, section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// The sender's wall clock.
    pub ntp: NtpTime,
    /// The same moment on the RTP clock of the stream.
    pub rtp_time: RtpTime,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// One reception report (RFC 3550, section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// SSRC of the stream reported on.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning (24 bits, may be negative with duplicates).
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the count of cycles in the upper half.
    pub highest_seq: u32,
    /// Interarrival jitter, ticks of the stream's clock.
    pub jitter: u32,
    /// [`NtpTime::compact`] of the last sender report, 0 when there was none.
    pub last_sr: u32,
    /// Time since that report, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8; REPORT_BLOCK_LEN]) -> ReportBlock {
        let word = |i: usize| be32(&bytes[i * 4..]);
        ReportBlock {
            ssrc: word(0),
            fraction_lost: bytes[4],
            cumulative_lost: (word(1) << 8) as i32 >> 8,
            highest_seq: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay_since_last_sr: word(5),
        }
    }

    fn write(&self, out: &mut [u8]) {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_seq,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        write_words(out, &words);
    }
}

/// One packet of a compound.
#[derive(Debug, Clone)]
pub enum RtcpPacket<'a> {
    /// Sender report (SR).
    SenderReport {
        /// SSRC of the sender.
        ssrc: u32,
        /// Clocks and counts.
        info: SenderInfo,
        /// Reports on streams that the sender receives.
        reports: ReportBlocks<'a>,
    },
    /// Receiver report (RR).
    ReceiverReport {
        /// SSRC of the receiver.
        ssrc: u32,
        /// Reports on streams that the receiver receives.
        reports: ReportBlocks<'a>,
    },
    /// BYE: these streams end.
    Bye(Ssrcs<'a>),
    /// Generic NACK.
    Nack(Nack<'a>),
    /// Picture loss: a key frame is wanted.
    Pli {
        /// SSRC of the stream of which a key frame is wanted.
        media_ssrc: u32,
    },
    /// Full intra request: a key frame is wanted of each of these streams.
    Fir(FirEntries<'a>),
    /// Receiver estimated maximum bitrate.
    Remb {
        /// Bits per second.
        bitrate: u64,
        /// The streams that share the bitrate.
        ssrcs: Ssrcs<'a>,
    },
    /// Transport-wide feedback.
    TransportCc(TransportCc<'a>),
}

/// Reads a compound packet. Ends at the first packet whose length is wrong; a packet that is malformed inside is
/// skipped, and [`Packets::malformed`] counts both.
pub fn parse(compound: &[u8]) -> Packets<'_> {
    Packets {
        rest: compound,
        malformed: 0,
    }
}

/// Iterator over the packets of a compound.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
    malformed: u32,
}

impl Packets<'_> {
    /// Number of malformed packets met so far.
    pub fn malformed(&self) -> u32 {
        self.malformed
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        while !self.rest.is_empty() {
            let Some((packet, rest)) = split_packet(self.rest) else {
                self.malformed += 1;
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            match read_packet(packet) {
                Read::Packet(packet) => return Some(packet),
                Read::Skip => {}
                Read::Malformed => self.malformed += 1,
            }
        }
        None
    }
}

fn split_packet(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = bytes.first_chunk::<4>()?;
    let len = (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1) * 4;
    (header[0] >> 6 == 2 && bytes.len() >= len).then(|| bytes.split_at(len))
}

enum Read<'a> {
    Packet(RtcpPacket<'a>),
    Skip,
    Malformed,
}

/// `packet` is at least four bytes, a multiple of four.
fn read_packet(packet: &[u8]) -> Read<'_> {
    let (count, kind) = (packet[0] & 0x1F, packet[1]);
    let mut body = &packet[4..];
    if packet[0] & 0x20 != 0 {
        let padding = body.last().map_or(0, |count| usize::from(*count));
        match body.len().checked_sub(padding) {
            Some(len) if padding > 0 => body = &body[..len],
            _ => return Read::Malformed,
        }
    }
    let read = match (kind, count) {
        (SENDER_REPORT, _) => read_sender_report(count, body),
        (RECEIVER_REPORT, _) => read_receiver_report(count, body),
        (BYE, _) => body
            .get(..usize::from(count) * 4)
            .map(|ssrcs| RtcpPacket::Bye(Ssrcs { rest: ssrcs })),
        (TRANSPORT_FEEDBACK, FORMAT_NACK) => {
            feedback(body).map(|(_, media_ssrc, fci)| RtcpPacket::Nack(Nack { media_ssrc, fci }))
        }
        (TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_CC) => {
            transport_cc::read(body).map(RtcpPacket::TransportCc)
        }
        (PAYLOAD_FEEDBACK, FORMAT_PLI) => {
            feedback(body).map(|(_, media_ssrc, _)| RtcpPacket::Pli { media_ssrc })
        }
        (PAYLOAD_FEEDBACK, FORMAT_FIR) => {
            feedback(body).map(|(_, _, fci)| RtcpPacket::Fir(FirEntries { rest: fci }))
        }
        (PAYLOAD_FEEDBACK, FORMAT_APPLICATION) => match feedback(body) {
            Some((_, _, fci)) if fci.starts_with(b"REMB") => read_remb(fci),
            Some(_) => return Read::Skip,
            None => None,
        },
        _ => return Read::Skip,
    };
    read.map_or(Read::Malformed, Read::Packet)
}

fn read_sender_report(count: u8, body: &[u8]) -> Option<RtcpPacket<'_>> {
    let (head, rest) = body.split_first_chunk::<24>()?;
    let info = SenderInfo {
        ntp: NtpTime(u64::from(be32(&head[4..])) << 32 | u64::from(be32(&head[8..]))),
        rtp_time: RtpTime(be32(&head[12..])),
        packets: be32(&head[16..]),
        octets: be32(&head[20..]),
    };
    let reports = ReportBlocks::new(count, rest)?;
    Some(RtcpPacket::SenderReport {
        ssrc: be32(head),
        info,
        reports,
    })
}

fn read_receiver_report(count: u8, body: &[u8]) -> Option<RtcpPacket<'_>> {
    let (ssrc, rest) = body.split_first_chunk::<4>()?;
    let reports = ReportBlocks::new(count, rest)?;
    Some(RtcpPacket::ReceiverReport {
        ssrc: be32(ssrc),
        reports,
    })
}

fn read_remb(fci: &[u8]) -> Option<RtcpPacket<'_>> {
    let (head, rest) = fci.split_first_chunk::<8>()?;
    let exponent = u32::from(head[5] >> 2);
    let mantissa = u64::from(be32(&head[4..]) & 0x3_FFFF);
    let bitrate = mantissa
        .checked_shl(exponent)
        .filter(|bits| bits >> exponent == mantissa);
    let ssrcs = rest.get(..usize::from(head[4]) * 4)?;
    Some(RtcpPacket::Remb {
        bitrate: bitrate.unwrap_or(u64::MAX),
        ssrcs: Ssrcs { rest: ssrcs },
    })
}

/// Iterator over reception reports.
#[derive(Debug, Clone)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> ReportBlocks<'a> {
    fn new(count: u8, bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.get(..usize::from(count) * REPORT_BLOCK_LEN)?;
        Some(Self { rest })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.rest.split_first_chunk::<REPORT_BLOCK_LEN>()?;
        self.rest = rest;
        Some(ReportBlock::read(block))
    }
}

/// Iterator over SSRCs.
#[derive(Debug, Clone)]
pub struct Ssrcs<'a> {
    rest: &'a [u8],
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (ssrc, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*ssrc))
    }
}

/// A generic NACK (RFC 4585, section 6.2.1).
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    /// The stream with the losses.
    pub media_ssrc: u32,
    fci: &'a [u8],
}

impl<'a> Nack<'a> {
    /// The missing sequence numbers, in the order written: at most 17 for every four bytes.
    pub fn seqs(&self) -> impl Iterator<Item = SeqNo> + use<'a> {
        self.fci.chunks_exact(4).flat_map(|entry| {
            let first = u16::from_be_bytes([entry[0], entry[1]]);
            let mask = u16::from_be_bytes([entry[2], entry[3]]);
            let others = (0..16u16).filter(move |bit| mask >> bit & 1 == 1);
            std::iter::once(SeqNo(first))
                .chain(others.map(move |bit| SeqNo(first.wrapping_add(bit + 1))))
        })
    }
}

/// Iterator over the entries of a FIR: media SSRC and command sequence number (RFC 5104, section 4.3.1).
#[derive(Debug, Clone)]
pub struct FirEntries<'a> {
    rest: &'a [u8],
}

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let (entry, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some((be32(entry), entry[4]))
    }
}

/// The caller's buffer is too small for the packet; packets written before it stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("RTCP packet does not fit")]
pub struct DoesNotFit;

/// Writes a compound packet to the front of a buffer. RFC 3550 wants SR or RR first; reduced-size packets
/// (RFC 5506) are for the caller to decide.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> RtcpWriter<'a> {
    /// A writer of an empty compound.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes still free.
    pub fn free(&self) -> usize {
        self.out.len() - self.len
    }

    /// A sender report with at most 31 reception reports (more are left out: use [`RtcpWriter::receiver_report`]).
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        info: &SenderInfo,
        reports: &[ReportBlock],
    ) -> Result<(), DoesNotFit> {
        let reports = &reports[..reports.len().min(MAX_COUNT)];
        let body = self.packet(
            reports.len() as u8,
            SENDER_REPORT,
            24 + reports.len() * REPORT_BLOCK_LEN,
        )?;
        let ntp = info.ntp.0;
        let words = [
            ssrc,
            (ntp >> 32) as u32,
            ntp as u32,
            info.rtp_time.0,
            info.packets,
            info.octets,
        ];
        write_words(body, &words);
        write_reports(&mut body[24..], reports);
        Ok(())
    }

    /// A receiver report; several packets when there are more than 31 blocks, all or none of them.
    pub fn receiver_report(
        &mut self,
        ssrc: u32,
        reports: &[ReportBlock],
    ) -> Result<(), DoesNotFit> {
        let packets = reports.len().div_ceil(MAX_COUNT).max(1);
        if self.free() < packets * 8 + reports.len() * REPORT_BLOCK_LEN {
            return Err(DoesNotFit);
        }
        let mut chunks = reports.chunks(MAX_COUNT);
        for _ in 0..packets {
            let chunk = chunks.next().unwrap_or_default();
            let len = 4 + chunk.len() * REPORT_BLOCK_LEN;
            let body = self.packet(chunk.len() as u8, RECEIVER_REPORT, len)?;
            write_words(body, &[ssrc]);
            write_reports(&mut body[4..], chunk);
        }
        Ok(())
    }

    /// An SDES with the canonical name of one source (RFC 3550, section 6.5). Names are cut at 255 bytes.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> Result<(), DoesNotFit> {
        let cname = &cname.as_bytes()[..cname.len().min(255)];
        // At least one zero byte ends the items.
        let len = (4 + 2 + cname.len() + 1).next_multiple_of(4);
        let body = self.packet(1, SDES, len)?;
        write_words(body, &[ssrc]);
        body[4] = 1;
        body[5] = cname.len() as u8;
        body[6..6 + cname.len()].copy_from_slice(cname);
        body[6 + cname.len()..].fill(0);
        Ok(())
    }

    /// A BYE of one source.
    pub fn bye(&mut self, ssrc: u32) -> Result<(), DoesNotFit> {
        let body = self.packet(1, BYE, 4)?;
        write_words(body, &[ssrc]);
        Ok(())
    }

    /// A generic NACK of `seqs`, ascending (in serial order) and without duplicates. Writes nothing when it is empty.
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        seqs: &[SeqNo],
    ) -> Result<(), DoesNotFit> {
        let entries = nack_entries(seqs).count();
        if entries == 0 {
            return Ok(());
        }
        let body = self.packet(FORMAT_NACK, TRANSPORT_FEEDBACK, 8 + entries * 4)?;
        write_words(body, &[sender_ssrc, media_ssrc]);
        for (out, (first, mask)) in body[8..].chunks_exact_mut(4).zip(nack_entries(seqs)) {
            write_words(out, &[u32::from(first) << 16 | u32::from(mask)]);
        }
        Ok(())
    }

    /// A picture loss indication.
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), DoesNotFit> {
        let body = self.packet(FORMAT_PLI, PAYLOAD_FEEDBACK, 8)?;
        write_words(body, &[sender_ssrc, media_ssrc]);
        Ok(())
    }

    /// A full intra request; `command` goes up by one with each new request (not with its repetitions).
    pub fn fir(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        command: u8,
    ) -> Result<(), DoesNotFit> {
        let body = self.packet(FORMAT_FIR, PAYLOAD_FEEDBACK, 16)?;
        write_words(
            body,
            &[sender_ssrc, 0, media_ssrc, u32::from(command) << 24],
        );
        Ok(())
    }

    /// Receiver estimated maximum bitrate, bits per second, for at most 255 streams.
    pub fn remb(
        &mut self,
        sender_ssrc: u32,
        bitrate: u64,
        ssrcs: &[u32],
    ) -> Result<(), DoesNotFit> {
        let ssrcs = &ssrcs[..ssrcs.len().min(255)];
        let body = self.packet(FORMAT_APPLICATION, PAYLOAD_FEEDBACK, 16 + ssrcs.len() * 4)?;
        let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
        let mantissa = (bitrate >> exponent) as u32;
        let word = (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa;
        write_words(body, &[sender_ssrc, 0, u32::from_be_bytes(*b"REMB"), word]);
        write_words(&mut body[16..], ssrcs);
        Ok(())
    }

    /// Adds a packet with a body of `body_len` bytes (a multiple of four) and returns the body to be filled.
    pub(crate) fn packet(
        &mut self,
        count: u8,
        kind: u8,
        body_len: usize,
    ) -> Result<&mut [u8], DoesNotFit> {
        debug_assert!(body_len.is_multiple_of(4) && usize::from(count) <= MAX_COUNT);
        let words = u16::try_from(body_len / 4).map_err(|_| DoesNotFit)?;
        let end = self.len + 4 + body_len;
        let packet = self.out.get_mut(self.len..end).ok_or(DoesNotFit)?;
        self.len = end;
        let (header, body) = packet.split_at_mut(4);
        header[0] = 0x80 | count;
        header[1] = kind;
        header[2..].copy_from_slice(&words.to_be_bytes());
        Ok(body)
    }
}

fn write_reports(out: &mut [u8], reports: &[ReportBlock]) {
    for (out, report) in out.chunks_exact_mut(REPORT_BLOCK_LEN).zip(reports) {
        report.write(out);
    }
}

/// The (PID, BLP) pairs that cover `seqs`.
fn nack_entries(seqs: &[SeqNo]) -> impl Iterator<Item = (u16, u16)> {
    let mut rest = seqs;
    std::iter::from_fn(move || {
        let (first, mut others) = rest.split_first()?;
        let mut mask = 0;
        while let Some((next, after)) = others.split_first() {
            let distance = next.0.wrapping_sub(first.0);
            if distance > 16 {
                break;
            }
            if distance > 0 {
                mask |= 1 << (distance - 1);
            }
            others = after;
        }
        rest = others;
        Some((first.0, mask))
    })
}

fn write_words(out: &mut [u8], words: &[u32]) {
    for (out, word) in out.chunks_exact_mut(4).zip(words) {
        out.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
