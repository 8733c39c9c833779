//! The packets that were received before, by stream.

use super::profile::SrtpError;

/// The most streams with replay state, for each direction of a transport. Ten simulcast videos with retransmissions are
/// 60; the rest is for streams that ended: one that is forgotten and resumes after its first round can no longer be
/// opened.
pub(super) const MAX_SSRCS: usize = 256;

/// The packet indices among the last 128 that were received (RFC 3711, section 3.3.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// Bit `i` stands for index `highest - i`.
    seen: u128,
}

impl ReplayWindow {
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        match self.highest.checked_sub(index) {
            None => Ok(()),
            Some(age) if age >= 128 => Err(SrtpError::TooOld),
            Some(age) if self.seen >> age & 1 == 1 => Err(SrtpError::Replayed),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn accept(&mut self, index: u64) {
        if index <= self.highest {
            self.seen |= 1 << (self.highest - index);
            return;
        }
        let ahead = index - self.highest;
        self.seen = if ahead >= 128 {
            1
        } else {
            self.seen << ahead | 1
        };
        self.highest = index;
    }
}

/// Replay state of one stream.
#[derive(Debug, Clone, Copy)]
struct StreamState {
    window: ReplayWindow,
    last_used: u64,
}

/// Replay state by SSRC. Only authenticated packets get here, so only the peer itself can fill it; then the stream
/// that was silent the longest goes. (Its first round could be replayed after that: to a stream long gone.)
#[derive(Debug, Default)]
pub(super) struct SsrcTable {
    ssrcs: Vec<u32>,
    /// Parallel to `ssrcs`.
    streams: Vec<StreamState>,
    uses: u64,
}

impl SsrcTable {
    /// Number of streams that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ssrcs.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.ssrcs.is_empty()
    }

    /// The replay window of the stream that [`SsrcTable::find`] found.
    pub(super) fn window(&self, slot: usize) -> &ReplayWindow {
        &self.streams[slot].window
    }

    pub(super) fn find(&self, ssrc: u32) -> Option<usize> {
        self.ssrcs.iter().position(|known| *known == ssrc)
    }

    pub(super) fn accept(&mut self, slot: Option<usize>, ssrc: u32, index: u64) {
        self.uses += 1;
        if let Some(slot) = slot {
            let stream = &mut self.streams[slot];
            stream.window.accept(index);
            stream.last_used = self.uses;
            return;
        }
        let window = ReplayWindow {
            highest: index,
            seen: 1,
        };
        let stream = StreamState {
            window,
            last_used: self.uses,
        };
        if self.ssrcs.len() < MAX_SSRCS {
            self.ssrcs.push(ssrc);
            self.streams.push(stream);
            return;
        }
        let idlest = (0..self.streams.len()).min_by_key(|slot| self.streams[*slot].last_used);
        if let Some(idlest) = idlest {
            self.ssrcs[idlest] = ssrc;
            self.streams[idlest] = stream;
        }
    }
}
