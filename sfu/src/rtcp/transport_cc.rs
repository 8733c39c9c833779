//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01), read.

use super::words::{be32, feedback};
use crate::rtp::SeqNo;

/// A transport-wide feedback packet.
#[derive(Debug, Clone, Copy)]
pub struct TransportCc<'a> {
    /// First transport-wide sequence number reported on.
    pub base_seq: SeqNo,
    /// Number of packets reported on, from `base_seq`.
    pub count: u16,
    /// Reference time in units of 64 ms, 24 bits, signed; wraps.
    pub reference_time: i32,
    /// Number of this feedback packet; wraps.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportCc<'a> {
    /// Each reported sequence number, and the arrival of its packet: in ticks of 250 us on the clock of
    /// `reference_time` (whose unit is 256 ticks), or `None` when the packet did not arrive. Ends early when deltas are
    /// missing.
    pub fn statuses(&self) -> TransportCcStatuses<'a> {
        TransportCcStatuses {
            seq: self.base_seq,
            left: self.count,
            ticks: i64::from(self.reference_time) * 256,
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk::Run { symbol: 0, left: 0 },
        }
    }
}

pub(super) fn read(body: &[u8]) -> Option<TransportCc<'_>> {
    let (_, _, fci) = feedback(body)?;
    let (head, rest) = fci.split_first_chunk::<8>()?;
    let count = u16::from_be_bytes([head[2], head[3]]);
    let mut covered = 0;
    let mut chunks_len = 0;
    while covered < usize::from(count) {
        let bytes = rest.get(chunks_len..chunks_len + 2)?;
        covered += Chunk::read([bytes[0], bytes[1]]).len();
        chunks_len += 2;
    }
    let (chunks, deltas) = rest.split_at(chunks_len);
    Some(TransportCc {
        base_seq: SeqNo(u16::from_be_bytes([head[0], head[1]])),
        count,
        reference_time: be32(&head[4..]) as i32 >> 8,
        feedback_count: head[7],
        chunks,
        deltas,
    })
}

/// A packet status chunk, partly consumed.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    Run {
        symbol: u8,
        left: u16,
    },
    /// `bits` per symbol, the next symbol in the highest bits of `symbols`.
    Vector {
        bits: u8,
        symbols: u16,
        left: u8,
    },
}

impl Chunk {
    fn read(bytes: [u8; 2]) -> Chunk {
        let word = u16::from_be_bytes(bytes);
        match word >> 14 {
            0 | 1 => Chunk::Run {
                symbol: (word >> 13 & 3) as u8,
                left: word & 0x1FFF,
            },
            2 => Chunk::Vector {
                bits: 1,
                symbols: word << 2,
                left: 14,
            },
            _ => Chunk::Vector {
                bits: 2,
                symbols: word << 2,
                left: 7,
            },
        }
    }

    fn len(&self) -> usize {
        match self {
            Chunk::Run { left, .. } => usize::from(*left),
            Chunk::Vector { left, .. } => usize::from(*left),
        }
    }

    fn next(&mut self) -> Option<u8> {
        match self {
            Chunk::Run { symbol, left } => {
                *left = left.checked_sub(1)?;
                Some(*symbol)
            }
            Chunk::Vector {
                bits,
                symbols,
                left,
            } => {
                *left = left.checked_sub(1)?;
                let symbol = (*symbols >> (16 - *bits)) as u8;
                *symbols <<= *bits;
                Some(symbol)
            }
        }
    }
}

/// Iterator of [`TransportCc::statuses`].
#[derive(Debug, Clone)]
pub struct TransportCcStatuses<'a> {
    seq: SeqNo,
    left: u16,
    ticks: i64,
    chunks: &'a [u8],
    deltas: &'a [u8],
    chunk: Chunk,
}

impl Iterator for TransportCcStatuses<'_> {
    type Item = (SeqNo, Option<i64>);

    fn next(&mut self) -> Option<(SeqNo, Option<i64>)> {
        self.left = self.left.checked_sub(1)?;
        let symbol = loop {
            if let Some(symbol) = self.chunk.next() {
                break symbol;
            }
            let (bytes, rest) = self.chunks.split_first_chunk::<2>()?;
            self.chunks = rest;
            self.chunk = Chunk::read(*bytes);
        };
        let delta = match symbol {
            1 => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i64::from(*delta))
            }
            2 => {
                let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
                self.deltas = rest;
                Some(i64::from(i16::from_be_bytes(*delta)))
            }
            _ => None,
        };
        let seq = self.seq;
        self.seq = seq.next();
        Some((
            seq,
            delta.map(|delta| {
                self.ticks += delta;
                self.ticks
            }),
        ))
    }
}
