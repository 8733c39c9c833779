//! One up track to one subscriber: what was negotiated, and the continuity of its RTP stream.

mod egress;
mod seal;

use std::time::{Duration, Instant};

use protocol::TrackSid;

pub use self::egress::Egress;
use self::egress::{Sent, rewrite_payload};
use crate::{
    api::{SendBatch, SendParameters, TrackSetting},
    bwe::BandwidthEstimator,
    codec::Codec,
    delivery::{Delivery, Watch},
    history::Packet,
    keys::{ConnectionKey, UpTrackKey},
    layers::{LayerFilter, Picture},
    nack::NackThrottle,
    rewrite::{Input, Rewriter, Rewritten},
    rtp::{EgressHeader, RtpTime, SeqNo},
    sealed::SealedIndices,
    sent_headers::{SentHeader, SentHeaders},
    stats::DropReason,
};

/// The payload of a padding packet: its last byte says how long the padding is.
const PADDING: [u8; 224] = {
    let mut padding = [0; 224];
    padding[223] = 224;
    padding
};

/// Time between sender reports of one stream.
pub const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The part of a subscriber's network that a subscription may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Nothing.
    Paused,
    /// Layers up to this one.
    UpTo(u8),
}

impl Share {
    /// No limit.
    pub const ALL: Self = Self::UpTo(2);
}

/// A subscription.
pub struct DownTrack {
    /// The track that is forwarded.
    pub up: UpTrackKey,
    /// The track's sid.
    pub track: TrackSid,
    /// The subscriber.
    pub subscriber: ConnectionKey,
    /// The codec, which says how the payload is treated.
    pub codec: Codec,
    /// Our SSRC for the media.
    pub ssrc: u32,
    /// Our SSRC for retransmissions.
    pub rtx_ssrc: u32,
    /// The subscription's place in the up track's fan-out.
    pub slot: usize,
    /// The subscriber gets voices that are not among the loudest, too.
    pub hears_all: bool,
    /// The subscriber's wish.
    pub setting: TrackSetting,
    /// The share that the subscriber's network allows.
    pub share: Share,
    /// The subscriber's network has no room for redundant audio: the primary encoding alone is sent.
    pub primary_only: bool,
    /// The filter of the layers within the stream.
    pub filter: LayerFilter,
    /// The section's parameters, while a section of the subscriber's SDP carries the track.
    pub parameters: Option<SendParameters>,
    /// Continuity of sequence numbers, timestamps and picture ids.
    pub rewriter: Rewriter,
    /// Packets sent, and bytes of payload, for sender reports.
    pub sent: (u32, u32),
    /// When the next sender report is due.
    pub next_sender_report: Instant,
    /// Compact NTP time of the last sender report, and when it went out: for the round trip time.
    pub last_sender_report: Option<(u32, Instant)>,
    /// Ignores repeated NACKs of one packet.
    pub nack_throttle: NackThrottle,
    /// The first packet was sent, and the publisher was told so.
    pub announced: bool,
    /// The subscriber reported on our SSRC: it knows which section the packets belong to. Until then each packet says
    /// so itself (RFC 9143, section 9.2), for packets overtake the answer that announces their SSRC.
    pub recognised: bool,
    /// The evidence that the stream arrives.
    pub delivery: Delivery,
    /// The packet indices of this stream that are used.
    sealed: SealedIndices,
    /// The packet index of the next retransmission.
    rtx_index: u64,
    /// The headers of packets that went out, where there is no RTX.
    plain: SentHeaders,
}

impl DownTrack {
    /// A subscription that is not negotiated yet.
    pub fn new(
        up: UpTrackKey,
        track: TrackSid,
        subscriber: ConnectionKey,
        codec: Codec,
        (ssrc, rtx_ssrc): (u32, u32),
        setting: TrackSetting,
        now: Instant,
    ) -> Self {
        Self {
            up,
            track,
            subscriber,
            codec,
            ssrc,
            rtx_ssrc,
            slot: usize::MAX,
            hears_all: false,
            setting,
            share: Share::ALL,
            primary_only: false,
            filter: LayerFilter::default(),
            parameters: None,
            rewriter: Rewriter::new(codec.clock_rate()),
            sent: (0, 0),
            next_sender_report: now,
            last_sender_report: None,
            nack_throttle: NackThrottle::default(),
            announced: false,
            recognised: false,
            delivery: Delivery::default(),
            sealed: SealedIndices::default(),
            rtx_index: 0,
            plain: SentHeaders::default(),
        }
    }

    /// Continues as another RTP stream, which begins with the next packet.
    pub fn renew(&mut self, ssrc: u32, rtx_ssrc: u32, now: Instant) {
        let fresh = Self::new(
            self.up,
            self.track,
            self.subscriber,
            self.codec,
            (ssrc, rtx_ssrc),
            self.setting,
            now,
        );
        *self = Self {
            slot: self.slot,
            hears_all: self.hears_all,
            share: self.share,
            primary_only: self.primary_only,
            filter: self.filter,
            parameters: self.parameters,
            announced: self.announced,
            ..fresh
        };
    }

    /// Forwards another track from now on, encoded with this codec.
    pub fn begin_with(&mut self, up: UpTrackKey, slot: usize, codec: Codec) {
        (self.up, self.slot) = (up, slot);
        self.set_codec(codec);
        self.filter = LayerFilter::default();
        self.rewriter.pause();
    }

    /// Sets the codec, which says how the payload is treated from now on.
    pub fn set_codec(&mut self, codec: Codec) {
        if std::mem::replace(&mut self.codec, codec) != codec {
            self.plain.clear();
        }
    }

    /// Sets what the section says now. True when the section said something else before.
    pub fn set_parameters(&mut self, parameters: Option<SendParameters>) -> bool {
        let changed = self.parameters != parameters;
        if changed {
            self.parameters = parameters;
            self.plain.clear();
        }
        changed
    }

    /// Forwards one packet of the up track. Returns the bytes sent.
    pub fn forward(
        &mut self,
        packet: &Packet<'_>,
        input: &Input,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        let mut input = *input;
        if let Some(picture) = &packet.picture {
            if !self.admits(picture, &input) {
                return self.leave_out(packet, &input, egress, out);
            }
            input.switch_point |= self.filter.take_opening(picture);
        }
        let rewritten = self.rewriter.rewrite(&input)?;
        let payload_type = self.payload_type_of(&parameters, packet);
        let sealed = self.copy(packet, &rewritten, payload_type, egress, out)?;
        self.sent = (
            self.sent.0.wrapping_add(1),
            self.sent.1.wrapping_add(self.content(packet).len() as u32),
        );
        Ok(sealed)
    }

    fn admits(&mut self, picture: &Picture, input: &Input) -> bool {
        if self.rewriter.is_next(input) {
            self.filter.next(picture, input.time)
        } else {
            self.filter.late(picture)
        }
    }

    /// Leaves out a packet of a layer that the subscriber does not get. A subscriber that waits for its number already
    /// gets the packet without content.
    fn leave_out(
        &mut self,
        packet: &Packet<'_>,
        input: &Input,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        let Some(rewritten) = self.rewriter.leave_out(input, self.codec.closes_pictures()) else {
            return Err(DropReason::LayerNotWanted);
        };
        let empty = packet.without_content();
        self.copy(&empty, &rewritten, parameters.payload_type, egress, out)
    }

    /// Sends a packet again, because the subscriber asked for `out_index`: as RTX (RFC 4588) where negotiated, and then
    /// without content where its layer is not `admitted` any more; else bit for bit as it was.
    pub fn retransmit(
        &mut self,
        packet: &Packet<'_>,
        admitted: bool,
        input: &Input,
        out_index: u64,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        let rewritten = self
            .rewriter
            .replay(input, out_index)
            .ok_or(DropReason::NotInHistory)?;
        let Some(payload_type) = parameters.rtx_payload_type else {
            let was = self.plain.get(out_index).ok_or(DropReason::NotInHistory)?;
            return self.repeat(packet, &was, egress, out);
        };
        let packet = if admitted {
            *packet
        } else {
            packet.without_content()
        };
        let header = EgressHeader {
            seq: SeqNo(self.rtx_index as u16),
            ssrc: self.rtx_ssrc,
            ..self.header(&packet, &rewritten, payload_type)
        };
        let content = self.content(&packet);
        let len = 2 + content.len();
        let sent = Sent {
            header: &header,
            index: self.rtx_index,
            dependencies: self.dependencies(&packet, &rewritten),
            transport_cc: self.next_number(egress),
            mid: !self.recognised,
            again: None,
        };
        let codec = self.codec;
        let gone = self.seal(&sent, len, egress, out, |room| {
            let (original, payload) = room.split_at_mut(2);
            original.copy_from_slice(&(out_index as u16).to_be_bytes());
            payload.copy_from_slice(content);
            rewrite_payload(codec, payload, &rewritten);
        })?;
        Ok(gone.len)
    }

    /// Sends a packet in the stream itself.
    fn copy(
        &mut self,
        packet: &Packet<'_>,
        rewritten: &Rewritten,
        payload_type: u8,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let sent = Sent {
            header: &self.header(packet, rewritten, payload_type),
            index: rewritten.index,
            dependencies: self.dependencies(packet, rewritten),
            transport_cc: self.next_number(egress),
            mid: !self.recognised,
            again: None,
        };
        let content = self.content(packet);
        let gone = self.seal_content(&sent, content, rewritten, egress, out)?;
        if self
            .parameters
            .is_some_and(|parameters| parameters.rtx_payload_type.is_none())
        {
            let header = SentHeader {
                rewritten: *rewritten,
                transport_cc: sent.transport_cc,
                mid: sent.mid,
                marker: sent.header.marker,
                payload_type,
                red: self.sends_red(),
                empty: content.is_empty() && sent.dependencies.is_none(),
                seal: gone.seal,
            };
            self.plain.remember(&header);
        }
        Ok(gone.len)
    }

    /// Sends a packet of the stream itself once more. Its sequence number and nonce are taken: it must be the same bit
    /// for bit.
    fn repeat(
        &mut self,
        packet: &Packet<'_>,
        was: &SentHeader,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let packet = match was.empty {
            true => packet.without_content(),
            false => *packet,
        };
        let header = EgressHeader {
            marker: was.marker,
            ..self.header(&packet, &was.rewritten, was.payload_type)
        };
        let sent = Sent {
            header: &header,
            index: was.rewritten.index,
            dependencies: self.dependencies(&packet, &was.rewritten),
            transport_cc: was.transport_cc,
            mid: was.mid,
            again: Some(was.seal),
        };
        let content = match was.red {
            true => packet.payload,
            false => primary(&packet),
        };
        let gone = self.seal_content(&sent, content, &was.rewritten, egress, out)?;
        Ok(gone.len)
    }

    fn header(&self, packet: &Packet<'_>, rewritten: &Rewritten, payload_type: u8) -> EgressHeader {
        let ends_picture = packet
            .picture
            .is_some_and(|picture| self.filter.ends_picture(&picture));
        EgressHeader {
            marker: packet.marker || (ends_picture && !packet.payload.is_empty()),
            payload_type,
            seq: SeqNo(rewritten.index as u16),
            time: rewritten.time,
            ssrc: self.ssrc,
            padding: false,
        }
    }

    /// Whether the subscriber takes retransmissions in a stream of their own (RFC 4588).
    pub fn takes_rtx(&self) -> bool {
        self.parameters
            .is_some_and(|parameters| parameters.rtx_payload_type.is_some())
    }

    /// Whether retransmissions have transport-wide numbers of their own, on which the subscriber reports.
    pub fn repairs_are_numbered(&self) -> bool {
        self.takes_rtx()
            && self
                .parameters
                .is_some_and(|parameters| parameters.transport_cc.is_some())
    }

    /// Whether the subscriber could have redundant audio.
    pub fn takes_red(&self) -> bool {
        self.parameters
            .is_some_and(|parameters| parameters.red.is_some())
    }

    fn payload_type_of(&self, parameters: &SendParameters, packet: &Packet<'_>) -> u8 {
        match parameters.red {
            Some(red) if self.sends_red() && packet.primary != 0 => red,
            _ => parameters.payload_type,
        }
    }

    /// The part of the payload that the subscriber gets: all of it, or the primary block where it does not get RED.
    fn content<'p>(&self, packet: &Packet<'p>) -> &'p [u8] {
        match self.sends_red() {
            true => packet.payload,
            false => primary(packet),
        }
    }

    fn sends_red(&self) -> bool {
        self.takes_red() && !self.primary_only
    }

    /// Sends a packet that is only padding (RFC 3550, section 5.1), in the stream of retransmissions.
    pub fn pad(
        &mut self,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let payload_type = self
            .parameters
            .and_then(|parameters| parameters.rtx_payload_type)
            .ok_or(DropReason::UnknownStream)?;
        let header = EgressHeader {
            marker: false,
            payload_type,
            seq: SeqNo(self.rtx_index as u16),
            time: self.rewriter.last_time(),
            ssrc: self.rtx_ssrc,
            padding: true,
        };
        let sent = Sent {
            header: &header,
            index: self.rtx_index,
            dependencies: None,
            transport_cc: self.next_number(egress),
            mid: !self.recognised,
            again: None,
        };
        let gone = self.seal(&sent, PADDING.len(), egress, out, |room| {
            room.copy_from_slice(&PADDING);
        })?;
        Ok(gone.len)
    }

    /// A packet of the stream went out. Returns the transport-wide number by which it is followed, if it is.
    pub fn follow(
        &mut self,
        estimator: Option<&BandwidthEstimator>,
        watch: &Watch,
        now: Instant,
    ) -> Option<SeqNo> {
        let is_numbered = self
            .parameters
            .is_some_and(|parameters| parameters.transport_cc.is_some());
        let is_followed = self.delivery.sent(is_numbered, watch.reports(), now);
        let next = estimator.map_or(watch.number, BandwidthEstimator::next_seq);
        is_followed.then(|| SeqNo(next.0.wrapping_sub(1)))
    }

    /// An RTP time of the present layer, in the subscriber's stream.
    pub fn translate_time(&self, time: RtpTime) -> RtpTime {
        self.rewriter.translate_time(time)
    }
}

/// A packet's payload without redundancy.
fn primary<'p>(packet: &Packet<'p>) -> &'p [u8] {
    let primary = packet.payload.get(usize::from(packet.primary)..);
    primary.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};
    use slotmap::SlotMap;

    #[test]
    fn redundant_audio_goes_out_as_it_came_only_to_who_takes_it_and_has_room_for_it() {
        let mut ups = SlotMap::<UpTrackKey, ()>::with_key();
        let mut connections = SlotMap::<ConnectionKey, ()>::with_key();
        let mut down = DownTrack::new(
            ups.insert(()),
            TrackSid::random("AM", &mut StdRng::seed_from_u64(1)),
            connections.insert(()),
            Codec::Opus,
            (1, 2),
            TrackSetting::default(),
            Instant::now(),
        );
        let packet = Packet {
            index: 0,
            time: RtpTime(0),
            marker: false,
            picture: None,
            primary: 3,
            dependencies: &[],
            payload: &[1, 2, 3, 4, 5],
        };
        let parameters = |red| SendParameters {
            payload_type: 111,
            rtx_payload_type: None,
            mid: None,
            transport_cc: None,
            dependencies: None,
            red,
        };
        for (red, primary_only, payload_type, content) in [
            (Some(63), false, 63, &[1, 2, 3, 4, 5][..]),
            (Some(63), true, 111, &[4, 5]),
            (None, false, 111, &[4, 5]),
        ] {
            down.parameters = Some(parameters(red));
            down.primary_only = primary_only;
            let known = down.parameters.unwrap();
            assert_eq!(down.payload_type_of(&known, &packet), payload_type);
            assert_eq!(down.content(&packet), content);
        }
    }
}
