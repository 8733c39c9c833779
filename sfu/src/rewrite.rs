//! Continuity of one subscriber's RTP stream while its source changes: layers of a simulcast, pauses, a publisher that
//! starts its stream anew.
//!
//! The output is cut into epochs. Within one epoch every number has a constant offset, so that losses and reordering
//! pass through unchanged and can be repaired; a new epoch continues where the one before ended. The last few epochs
//! are remembered to find the packet behind a NACK.
//!
//! Within the newest epoch packets can be left out on purpose (layers that the subscriber does not get): later packets
//! move up, so that the receiver sees no loss where there was none.

use std::time::{Duration, Instant};

use crate::gaps::Gaps;
use crate::layers::PictureIds;
use crate::rtcp::NtpTime;
use crate::rtp::{RtpTime, SeqNo, nearest};
use crate::stats::DropReason;
use crate::vp8::PICTURE_ID_MODULUS;

/// Index of the first packet. Well below 2^15, so that a receiver that misses the first packets still guesses the
/// roll-over counter right (RFC 3711, section 3.3.1).
const FIRST_INDEX: u64 = 1;

/// Number of epochs kept for NACKs: a subscriber whose layer changes more often within a round trip has other troubles.
const EPOCHS: usize = 4;

/// A longer run of lost packets is closed up: nobody could repair it (histories are shorter), and receivers take such
/// a jump for a new stream.
const MAX_GAP: u64 = 1000;

/// Words of the memory of packets that were left out: more of them than histories hold packets, and than [`MAX_GAP`].
const PACKET_WORDS: usize = 16;

/// Words of the memory of pictures that were left out: more pictures than a second has.
const PICTURE_WORDS: usize = 2;

/// The first unwrapped picture id of an epoch: a multiple of the modulus, so that the first can be stepped back from.
const PICTURE_ORIGIN: u64 = 1 << 20;

/// Sender reports of two layers that contradict the arrival times by more than this are not believed.
const MAX_REPORT_ERROR: Duration = Duration::from_secs(1);

/// A publisher's stream, by a number that its shard gives once. The SSRC is no name: the publisher chooses it, and may
/// use it again later for other packets with the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamId(u64);

/// The source of stream numbers.
#[derive(Debug, Default)]
pub struct StreamIds(u64);

impl StreamIds {
    /// A number that no stream had and none gets again.
    pub fn fresh(&mut self) -> StreamId {
        self.0 += 1;
        StreamId(self.0)
    }
}

/// The source of a packet: one stream of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Source {
    /// Layer of the up track.
    pub layer: u8,
    /// The publisher's stream.
    pub stream: StreamId,
}

/// The facts of a packet that are needed to rewrite it.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// The packet's source.
    pub source: Source,
    /// Index of the packet within the source: its unwrapped sequence number.
    pub index: u64,
    /// Timestamp.
    pub time: RtpTime,
    /// The picture numbers of a video packet, where it has any.
    pub picture: Option<PictureIds>,
    /// A decoder can start here: any audio packet, the first packet of a key frame.
    pub switch_point: bool,
    /// The source's last sender report: one moment on its wall clock and on its RTP clock.
    pub sender_report: Option<(NtpTime, RtpTime)>,
    /// When the packet arrived.
    pub arrival: Instant,
}

/// The numbers to write into the packet that goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// SRTP packet index: its low 16 bits are the sequence number, the rest is the roll-over counter.
    pub index: u64,
    /// Timestamp.
    pub time: RtpTime,
    /// Picture numbers, where the input had them.
    pub picture: Option<PictureIds>,
}

/// The packet behind an outgoing sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The packet's source. When the layer has another stream by now, the packet is gone.
    pub source: Source,
    /// Index of the packet within the source.
    pub index: u64,
    /// Index with which the packet went out.
    pub out_index: u64,
}

/// A part of the output in which every number has a constant offset.
#[derive(Debug, Clone, Copy, Default)]
struct Epoch {
    source: Source,
    in_first: u64,
    in_highest: u64,
    out_first: u64,
    time_offset: u32,
    picture_offset: u16,
    tl0_offset: u8,
    frame_offset: u16,
    /// Packets of the epoch were left out. Once a newer epoch began, they are forgotten, and no packet of this one is
    /// found.
    has_gaps: bool,
}

impl Epoch {
    /// The numbers of a packet of this epoch. `left_out`: packets and pictures left out before it.
    fn apply(&self, input: &Input, left_out: (u64, u16)) -> Rewritten {
        Rewritten {
            index: self.out_first + (input.index - self.in_first) - left_out.0,
            time: input.time.offset(i64::from(self.time_offset)),
            picture: input.picture.map(|ids| PictureIds {
                picture_id: ids.picture_id.map(|id| {
                    let id = id.wrapping_add(self.picture_offset);
                    id.wrapping_sub(left_out.1) % PICTURE_ID_MODULUS
                }),
                tl0_pic_idx: ids
                    .tl0_pic_idx
                    .map(|index| index.wrapping_add(self.tl0_offset)),
                frame_number: ids
                    .frame_number
                    .map(|number| number.wrapping_add(self.frame_offset)),
            }),
        }
    }
}

/// The packet that went out with the highest index.
#[derive(Debug, Clone, Copy)]
struct Last {
    out: Rewritten,
    arrival: Instant,
}

/// The state of one subscriber's stream.
#[derive(Debug, Clone, Copy)]
pub struct Rewriter {
    clock_rate: u32,
    /// The epochs, newest first; the first `len` are in use.
    epochs: [Epoch; EPOCHS],
    len: u8,
    paused: bool,
    last: Option<Last>,
    /// The last sender report of the current source.
    sender_report: Option<(NtpTime, RtpTime)>,
    /// Packets of the newest epoch that were left out, by index.
    packets: Gaps<PACKET_WORDS>,
    /// Pictures of the newest epoch whose numbers were closed up, by unwrapped picture id.
    pictures: Gaps<PICTURE_WORDS>,
}

impl Rewriter {
    /// A stream that has not begun. `clock_rate` is the RTP clock of the codec, Hz.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            epochs: [Epoch::default(); EPOCHS],
            len: 0,
            paused: false,
            last: None,
            sender_report: None,
            packets: Gaps::new(1),
            pictures: Gaps::new(1),
        }
    }

    /// Rewrites the next packet. A packet of another source than the last, or the first after
    /// [`Rewriter::pause`], starts a new epoch if it is a switch point.
    ///
    /// # Errors [`DropReason::BeforeSwitch`]: the packet is older than the epoch's first one, or an epoch must begin
    /// and it cannot begin here.
    pub fn rewrite(&mut self, input: &Input) -> Result<Rewritten, DropReason> {
        if !self.continues(input) {
            self.begin(input)?;
        }
        if self.packets.contains(input.index) {
            return Err(DropReason::BeforeSwitch);
        }
        self.advance(input);
        let out = self.apply(input).ok_or(DropReason::BeforeSwitch)?;
        if self.last.is_none_or(|last| out.index > last.out.index) {
            self.last = Some(Last {
                out,
                arrival: input.arrival,
            });
        }
        if input.sender_report.is_some() {
            self.sender_report = input.sender_report;
        }
        Ok(out)
    }

    /// Leaves out the next packet, because the subscriber does not get its layer; later packets move up. With
    /// `close_picture`, pictures are renumbered too, as if the packet's picture had never been.
    ///
    /// A packet that came late has a number already, and a receiver that waits for it. That number is returned, so that
    /// a packet without content can go out with it.
    pub fn leave_out(&mut self, input: &Input, close_picture: bool) -> Option<Rewritten> {
        if !self.continues(input) {
            return None;
        }
        if !self.packets.leave_out(input.index) {
            let out = self
                .apply(input)
                .filter(|_| !self.packets.contains(input.index))?;
            return (Some(out.index) <= self.highest()).then_some(out);
        }
        let epoch = &mut self.epochs[0];
        epoch.has_gaps = true;
        epoch.in_highest = input.index;
        if let Some(id) = input.picture.and_then(|ids| ids.picture_id) {
            let picture = self.unwrap_picture(id);
            if close_picture {
                self.pictures.leave_out(picture);
            } else {
                self.pictures.advance(picture);
            }
        }
        None
    }

    /// Whether a packet is ahead of all that came before.
    pub fn is_next(&self, input: &Input) -> bool {
        !self.continues(input)
            || self
                .current()
                .is_none_or(|epoch| input.index > epoch.in_highest)
    }

    /// The stream stops (disabled, muted, no layer to send): the next packet continues it without a gap.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// The stream that is forwarded now; `None` before the first packet.
    pub fn source(&self) -> Option<Source> {
        self.current().map(|epoch| epoch.source)
    }

    /// Whether the stream is in the middle of this source, so that its next packet need not be a switch point.
    pub fn is_in(&self, source: Source) -> bool {
        !self.paused && self.source() == Some(source)
    }

    /// The highest index that went out.
    pub fn highest(&self) -> Option<u64> {
        self.last.map(|last| last.out.index)
    }

    /// RTP time of the packet that went out with the highest index; 0 before the first packet.
    pub fn last_time(&self) -> RtpTime {
        self.last.map_or(RtpTime(0), |last| last.out.time)
    }

    /// The packet that a subscriber means by `seq` in a NACK; `None` when it was never sent or is long gone.
    pub fn origin(&self, seq: SeqNo) -> Option<Origin> {
        let highest = self.highest()?;
        let out_index = nearest(highest, seq);
        if out_index > highest {
            return None;
        }
        let (number, epoch) = self.epoch_of(out_index)?;
        let nth = out_index - epoch.out_first;
        let index = if number == 0 {
            self.packets.nth(nth)?
        } else {
            epoch.in_first + nth
        };
        Some(Origin {
            source: epoch.source,
            index,
            out_index,
        })
    }

    /// The numbers that a packet found by [`Rewriter::origin`] had (or would have had) when it went out. `None` when
    /// `input` is not that packet. Changes nothing.
    pub fn replay(&self, input: &Input, out_index: u64) -> Option<Rewritten> {
        let (number, epoch) = self.epoch_of(out_index)?;
        if epoch.source != input.source || input.index < epoch.in_first {
            return None;
        }
        let out = if number == 0 {
            self.apply(input)
        } else {
            Some(epoch.apply(input, (0, 0)))
        };
        out.filter(|out| out.index == out_index)
    }

    /// An RTP time of the current source in the subscriber's stream: for sender reports.
    pub fn translate_time(&self, time: RtpTime) -> RtpTime {
        time.offset(
            self.current()
                .map_or(0, |epoch| i64::from(epoch.time_offset)),
        )
    }

    fn current(&self) -> Option<&Epoch> {
        self.epochs[..usize::from(self.len)].first()
    }

    /// The epoch of an outgoing index, and its position: 0 is the newest.
    fn epoch_of(&self, out_index: u64) -> Option<(usize, &Epoch)> {
        self.epochs[..usize::from(self.len)]
            .iter()
            .enumerate()
            .find(|(_, epoch)| epoch.out_first <= out_index)
            .filter(|(number, epoch)| *number == 0 || !epoch.has_gaps)
    }

    /// Whether the packet belongs to the newest epoch.
    fn continues(&self, input: &Input) -> bool {
        self.current().is_some_and(|epoch| {
            epoch.source == input.source
                && !self.paused
                && input.index <= epoch.in_highest.saturating_add(MAX_GAP)
        })
    }

    fn advance(&mut self, input: &Input) {
        let epoch = &mut self.epochs[0];
        epoch.in_highest = epoch.in_highest.max(input.index);
        self.packets.advance(input.index);
        if let Some(id) = input.picture.and_then(|ids| ids.picture_id) {
            self.pictures.advance(self.unwrap_picture(id));
        }
    }

    /// The packet's numbers, by the newest epoch.
    fn apply(&self, input: &Input) -> Option<Rewritten> {
        let epoch = self
            .current()
            .filter(|epoch| input.index >= epoch.in_first)?;
        let packets = self.packets.before(input.index)?;
        let pictures = match input.picture.and_then(|ids| ids.picture_id) {
            Some(id) => self.pictures.before(self.unwrap_picture(id))?,
            None => 0,
        };
        Some(epoch.apply(input, (packets, pictures as u16)))
    }

    /// The unwrapped picture id of `id`: the one nearest to the highest of the epoch.
    fn unwrap_picture(&self, id: u16) -> u64 {
        let highest = self.pictures.highest();
        // Shifted up and down again: the sign of a difference of 15 bits.
        let ahead = (id.wrapping_sub(highest as u16) << 1) as i16 >> 1;
        highest.saturating_add_signed(ahead.into())
    }

    fn begin(&mut self, input: &Input) -> Result<(), DropReason> {
        let known = &self.epochs[..usize::from(self.len)];
        let seen = known.iter().find(|epoch| epoch.source == input.source);
        // The same packet must not go out twice.
        if seen.is_some_and(|epoch| input.index <= epoch.in_highest) {
            return Err(DropReason::BeforeSwitch);
        }
        let previous = known.first().copied();
        let same_source = previous.is_some_and(|epoch| epoch.source == input.source);
        let only_lost = same_source && !self.paused;
        if !input.switch_point && !only_lost {
            return Err(DropReason::BeforeSwitch);
        }
        let mut epoch = Epoch {
            source: input.source,
            in_first: input.index,
            in_highest: input.index,
            out_first: FIRST_INDEX,
            ..Epoch::default()
        };
        if let (Some(previous), Some(last)) = (previous, self.last) {
            epoch.out_first = last.out.index + 1;
            epoch.time_offset = self.time_offset(input, &previous, same_source, &last);
            // After a loss the decoder must see that pictures are missing; at a switch point none is missing.
            (epoch.picture_offset, epoch.tl0_offset, epoch.frame_offset) = if input.switch_point {
                picture_offsets(input.picture, last.out.picture)
            } else {
                let closed = self.pictures.before(u64::MAX).unwrap_or(0) as u16;
                let picture_offset = previous.picture_offset.wrapping_sub(closed);
                (picture_offset, previous.tl0_offset, previous.frame_offset)
            };
        }
        self.packets = Gaps::new(input.index.max(1));
        let first = input.picture.and_then(|ids| ids.picture_id).unwrap_or(0);
        self.pictures = Gaps::new(PICTURE_ORIGIN + u64::from(first));
        self.epochs.copy_within(..EPOCHS - 1, 1);
        self.epochs[0] = epoch;
        self.len = (self.len + 1).min(EPOCHS as u8);
        self.paused = false;
        self.sender_report = None;
        Ok(())
    }

    /// Offset from the input's clock to the output's, such that `input` comes after every packet that went out.
    fn time_offset(&self, input: &Input, previous: &Epoch, same_source: bool, last: &Last) -> u32 {
        let elapsed = input.arrival.saturating_duration_since(last.arrival);
        let by_arrival = last.out.time.offset(self.ticks(elapsed));
        let wanted = if same_source {
            input.time.offset(i64::from(previous.time_offset))
        } else {
            self.by_sender_reports(input, previous, by_arrival)
                .unwrap_or(by_arrival)
        };
        let time = if wanted.is_newer_than(last.out.time) {
            wanted
        } else {
            last.out.time.offset(1)
        };
        time.0.wrapping_sub(input.time.0)
    }

    /// The input's capture time on the previous source's clock, by the sender reports of both.
    fn by_sender_reports(
        &self,
        input: &Input,
        previous: &Epoch,
        by_arrival: RtpTime,
    ) -> Option<RtpTime> {
        let (old_ntp, old_time) = self.sender_report?;
        let (new_ntp, new_time) = input.sender_report?;
        let between_reports = new_ntp.seconds_since(old_ntp) * f64::from(self.clock_rate);
        let ticks = between_reports.round() as i64 + i64::from(input.time.since(new_time));
        let time = old_time
            .offset(ticks)
            .offset(i64::from(previous.time_offset));
        let error = i64::from(time.since(by_arrival)).abs();
        (error <= self.ticks(MAX_REPORT_ERROR)).then_some(time)
    }

    fn ticks(&self, duration: Duration) -> i64 {
        // A pause of weeks is not worth a wider type; the timestamp wraps anyway.
        (duration.as_micros() as u64).wrapping_mul(u64::from(self.clock_rate)) as i64 / 1_000_000
    }
}

/// Offsets that make `input` follow `last`: of the picture id, of TL0PICIDX, of the frame number.
fn picture_offsets(input: Option<PictureIds>, last: Option<PictureIds>) -> (u16, u8, u16) {
    let (Some(input), Some(last)) = (input, last) else {
        return (0, 0, 0);
    };
    let picture = match (input.picture_id, last.picture_id) {
        (Some(input), Some(last)) => last.wrapping_add(1).wrapping_sub(input) % PICTURE_ID_MODULUS,
        _ => 0,
    };
    let tl0 = match (input.tl0_pic_idx, last.tl0_pic_idx) {
        (Some(input), Some(last)) => last.wrapping_add(1).wrapping_sub(input),
        _ => 0,
    };
    let frame = match (input.frame_number, last.frame_number) {
        (Some(input), Some(last)) => last.wrapping_add(1).wrapping_sub(input),
        _ => 0,
    };
    (picture, tl0, frame)
}

#[cfg(test)]
mod tests;
