//! One up track to one subscriber: what was negotiated, and the continuity of its RTP stream.

use std::time::{Duration, Instant};

use protocol::TrackSid;

use crate::{
    api::{Destination, SendBatch, TrackSetting},
    dependency_descriptor,
    history::Packet,
    layers::{LayerFilter, Picture, PictureIds, Target},
    nack::NackThrottle,
    rewrite::{Input, Rewriter, Rewritten},
    rtp::{EgressHeader, FIXED_HEADER_LEN, RtpTime, SeqNo},
    shard::{PeerKey, UpTrackKey},
    srtp::{MAX_RTP_OVERHEAD, SrtpSender},
    stats::DropReason,
    up_track::Codec,
    vp8, vp9,
};

/// Most bytes that a header extension adds besides its value: the head of the block, its own, and padding.
const MAX_ELEMENT_OVERHEAD: usize = 4 + 2 + 3;

/// The longest Dependency Descriptor: what the length field of a two-byte element can say.
const MAX_DEPENDENCIES: usize = 255;

/// Time between sender reports of one stream.
pub const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What the subscriber's SDP allows for this stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendParameters {
    /// Payload type of the codec.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), where negotiated.
    pub rtx_payload_type: Option<u8>,
    /// How its packets name their section, where that was negotiated.
    pub mid: Option<MidElement>,
    /// Header extension of the Dependency Descriptor, where negotiated.
    pub dependencies: Option<u8>,
    /// Payload type of RED (RFC 2198), where the subscriber takes it as the publisher sends it.
    pub red: Option<u8>,
}

impl SendParameters {
    fn payload_type_of(&self, packet: &Packet<'_>) -> u8 {
        match self.red {
            Some(red) if packet.primary != 0 => red,
            _ => self.payload_type,
        }
    }
}

/// The MID header extension of a section's packets (RFC 9143, section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MidElement {
    id: u8,
    len: u8,
    value: [u8; Self::MAX_LEN],
}

impl MidElement {
    /// What an element with a one-byte header can hold.
    const MAX_LEN: usize = 16;

    /// `None` when the name does not fit.
    pub fn new(id: u8, mid: &str) -> Option<Self> {
        let len = u8::try_from(mid.len()).ok()?;
        let mut value = [0; Self::MAX_LEN];
        value.get_mut(..mid.len())?.copy_from_slice(mid.as_bytes());
        Some(Self { id, len, value })
    }

    fn element(&self) -> (u8, &[u8]) {
        (self.id, &self.value[..usize::from(self.len)])
    }
}

/// A subscription.
pub struct DownTrack {
    /// The track.
    pub up: UpTrackKey,
    /// Its sid.
    pub track: TrackSid,
    /// Who receives it.
    pub subscriber: PeerKey,
    /// How its payload is treated.
    pub codec: Codec,
    /// Our SSRC for it.
    pub ssrc: u32,
    /// Our SSRC for its retransmissions.
    pub rtx_ssrc: u32,
    /// Where it stands in the up track's fan-out.
    pub slot: usize,
    /// The subscriber's wish.
    pub setting: TrackSetting,
    /// The most that can be sent of it.
    pub limit: Target,
    /// Which layers of its stream go out.
    pub filter: LayerFilter,
    /// Set while a section of the subscriber's SDP carries it.
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
    /// Its first packet was sent, and the publisher told so.
    pub announced: bool,
    /// The subscriber spoke of our SSRC: it knows where the packets belong. Until then each says so itself (RFC 9143,
    /// section 9.2), for packets overtake the answer that announces their SSRC.
    pub recognised: bool,
    rtx_index: u64,
}

/// Where and with which keys a subscriber's packets go.
#[derive(Clone, Copy)]
pub struct Egress<'a> {
    /// Outbound keys.
    pub sender: &'a SrtpSender,
    /// The nominated path.
    pub to: Destination,
}

impl DownTrack {
    /// A subscription that is not negotiated yet.
    pub fn new(
        up: UpTrackKey,
        track: TrackSid,
        subscriber: PeerKey,
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
            setting,
            limit: Target::ALL,
            filter: LayerFilter::default(),
            parameters: None,
            rewriter: Rewriter::new(codec.clock_rate()),
            sent: (0, 0),
            next_sender_report: now,
            last_sender_report: None,
            nack_throttle: NackThrottle::default(),
            announced: false,
            recognised: false,
            rtx_index: 0,
        }
    }

    /// Goes on as another stream, which begins with its next packet.
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
            parameters: self.parameters,
            announced: self.announced,
            limit: self.limit,
            filter: self.filter,
            ..fresh
        };
    }

    /// Forwards one packet of the up track. Returns the bytes sent.
    pub fn forward(
        &mut self,
        packet: &Packet<'_>,
        input: &Input,
        egress: Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        if let Some(picture) = &packet.picture
            && !self.admits(picture, input)
        {
            return self.leave_out(packet, input, egress, out);
        }
        let rewritten = self.rewriter.rewrite(input)?;
        let plain = Plain {
            packet,
            rewritten: &rewritten,
            original: None,
        };
        let (payload_type, index) = (parameters.payload_type_of(packet), rewritten.index);
        let sealed = self.seal(&plain, payload_type, self.ssrc, index, egress, out)?;
        self.sent = (
            self.sent.0.wrapping_add(1),
            self.sent.1.wrapping_add(packet.payload.len() as u32),
        );
        Ok(sealed)
    }

    fn admits(&mut self, picture: &Picture, input: &Input) -> bool {
        if self.rewriter.is_next(input) {
            self.filter.next(picture)
        } else {
            self.filter.admits(picture)
        }
    }

    /// Does not send a packet of a layer that the subscriber does not get. Where it has been waiting for that number
    /// already, it gets it without content.
    fn leave_out(
        &mut self,
        packet: &Packet<'_>,
        input: &Input,
        egress: Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        let Some(rewritten) = self.rewriter.leave_out(input, self.codec.closes_pictures()) else {
            return Err(DropReason::LayerNotWanted);
        };
        let plain = Plain {
            packet: &packet.without_content(),
            rewritten: &rewritten,
            original: None,
        };
        let (payload_type, index) = (parameters.payload_type, rewritten.index);
        self.seal(&plain, payload_type, self.ssrc, index, egress, out)
    }

    /// Sends a packet again, because the subscriber asked for `out_index`: as RTX (RFC 4588) where negotiated, else as
    /// it was.
    pub fn retransmit(
        &mut self,
        packet: &Packet<'_>,
        input: &Input,
        out_index: u64,
        egress: Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        let rewritten = self
            .rewriter
            .replay(input, out_index)
            .ok_or(DropReason::NotInHistory)?;
        let mut plain = Plain {
            packet,
            rewritten: &rewritten,
            original: None,
        };
        let Some(payload_type) = parameters.rtx_payload_type else {
            let payload_type = parameters.payload_type_of(packet);
            return self.seal(&plain, payload_type, self.ssrc, out_index, egress, out);
        };
        plain.original = Some((out_index as u16).to_be_bytes());
        let (ssrc, index) = (self.rtx_ssrc, self.rtx_index);
        let sealed = self.seal(&plain, payload_type, ssrc, index, egress, out)?;
        self.rtx_index += 1;
        Ok(sealed)
    }

    /// Writes header, prefix and payload into the send buffer and seals them there: the only copy of the payload.
    fn seal(
        &self,
        plain: &Plain<'_>,
        payload_type: u8,
        ssrc: u32,
        index: u64,
        egress: Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let Plain {
            packet,
            rewritten,
            original,
        } = plain;
        let ends_picture = packet
            .picture
            .is_some_and(|picture| self.filter.ends_picture(&picture));
        let header = EgressHeader {
            marker: packet.marker || (ends_picture && !packet.payload.is_empty()),
            payload_type,
            seq: SeqNo(index as u16),
            time: rewritten.time,
            ssrc,
            padding: false,
        };
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        let mid = parameters.mid.filter(|_| !self.recognised);
        let prefix = original.as_ref().map_or(&[][..], |seq| &seq[..]);
        let content = match parameters.red {
            None => packet
                .payload
                .get(usize::from(packet.primary)..)
                .unwrap_or_default(),
            Some(_) => packet.payload,
        };
        let payload_len = prefix.len() + content.len();
        let mut dependencies = [0; MAX_DEPENDENCIES];
        let mut elements: [(u8, &[u8]); 2] = [(0, &[]); 2];
        let mut count = 0;
        if let Some(mid) = &mid {
            elements[count] = mid.element();
            count += 1;
        }
        if let Some(id) = parameters
            .dependencies
            .filter(|_| !packet.dependencies.is_empty())
        {
            elements[count] = (
                id,
                rewrite_dependencies(packet, rewritten.picture, &mut dependencies),
            );
            count += 1;
        }
        let elements = &elements[..count];
        let extensions: usize = elements
            .iter()
            .map(|(_, value)| MAX_ELEMENT_OVERHEAD + value.len())
            .sum();
        let len = FIXED_HEADER_LEN + extensions + payload_len + MAX_RTP_OVERHEAD;
        let buffer = out
            .reserve(egress.to, len)
            .ok_or(DropReason::SendBufferFull)?;
        let header_len = header
            .write(buffer, elements)
            .map_err(|_| DropReason::Malformed)?;
        let ids = rewritten
            .picture
            .filter(|_| matches!(self.codec, Codec::Vp8 | Codec::Vp9));
        let sealed = if prefix.is_empty() && ids.is_none() {
            egress
                .sender
                .seal_rtp_from(buffer, header_len, content, ssrc, index)
        } else {
            let (before, payload) =
                buffer[header_len..header_len + payload_len].split_at_mut(prefix.len());
            before.copy_from_slice(prefix);
            payload.copy_from_slice(content);
            match (self.codec, ids) {
                (Codec::Vp8, Some(ids)) => vp8::rewrite(payload, ids),
                (Codec::Vp9, Some(ids)) => vp9::rewrite(payload, ids),
                _ => {}
            }
            egress
                .sender
                .seal_rtp(buffer, header_len, payload_len, ssrc, index)
        };
        let sealed = sealed.map_err(|_| DropReason::Malformed)?;
        out.commit(sealed);
        Ok(sealed)
    }

    /// The subscriber's view of an RTP time of the layer it gets now.
    pub fn translate_time(&self, time: RtpTime) -> RtpTime {
        self.rewriter.translate_time(time)
    }
}

/// The packet's Dependency Descriptor with the subscriber's frame number.
fn rewrite_dependencies<'a>(
    packet: &Packet<'_>,
    ids: Option<PictureIds>,
    buffer: &'a mut [u8; MAX_DEPENDENCIES],
) -> &'a [u8] {
    let Some(value) = buffer.get_mut(..packet.dependencies.len()) else {
        return &[];
    };
    value.copy_from_slice(packet.dependencies);
    if let Some(number) = ids.and_then(|ids| ids.frame_number) {
        dependency_descriptor::rewrite(value, number);
    }
    value
}

/// A packet before it is sealed.
struct Plain<'a> {
    packet: &'a Packet<'a>,
    rewritten: &'a Rewritten,
    /// Its sequence number, when it is sent again as RTX.
    original: Option<[u8; 2]>,
}
