//! One up track to one subscriber: what was negotiated, and the continuity of its RTP stream.

use std::time::{Duration, Instant};

use protocol::TrackSid;

use crate::{
    api::{Destination, SendBatch, TrackSetting},
    bwe::BandwidthEstimator,
    history::Packet,
    nack::NackThrottle,
    rewrite::{Input, Rewriter, Rewritten},
    rtp::{EgressHeader, FIXED_HEADER_LEN, RtpTime, SeqNo},
    shard::{PeerKey, UpTrackKey},
    srtp::{MAX_RTP_OVERHEAD, SrtpSender},
    stats::DropReason,
    up_track::Codec,
    vp8,
};

/// Bytes that a transport-wide number adds to a header, …
const NUMBER_EXTENSION: usize = 8;

/// … and the most that it and the MID add together.
const MAX_EXTENSIONS: usize = 4 + (1 + 2 + 1 + MidElement::MAX_LEN).next_multiple_of(4);

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
    /// Extension id of transport-wide sequence numbers, where the subscriber reports on them.
    pub transport_cc: Option<u8>,
}

/// What a subscription may have of its subscriber's network.
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
    /// What its network allows.
    pub share: Share,
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
pub struct Egress<'a> {
    /// Outbound keys.
    pub sender: &'a SrtpSender,
    /// The nominated path.
    pub to: Destination,
    /// Numbers the packets, and remembers them until it is told of their arrival.
    pub estimator: Option<&'a mut BandwidthEstimator>,
    /// When they go.
    pub now: Instant,
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
            share: Share::ALL,
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
            share: self.share,
            parameters: self.parameters,
            announced: self.announced,
            ..fresh
        };
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
        let rewritten = self.rewriter.rewrite(input)?;
        let plain = Plain {
            packet,
            rewritten: &rewritten,
            original: None,
        };
        let (payload_type, index) = (parameters.payload_type, rewritten.index);
        let sealed = self.seal(&plain, payload_type, self.ssrc, index, egress, out)?;
        self.sent = (
            self.sent.0.wrapping_add(1),
            self.sent.1.wrapping_add(packet.payload.len() as u32),
        );
        Ok(sealed)
    }

    /// Sends a packet again, because the subscriber asked for `out_index`: as RTX (RFC 4588) where negotiated, else as
    /// it was.
    pub fn retransmit(
        &mut self,
        packet: &Packet<'_>,
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
        let mut plain = Plain {
            packet,
            rewritten: &rewritten,
            original: None,
        };
        let Some(payload_type) = parameters.rtx_payload_type else {
            let payload_type = parameters.payload_type;
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
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let Plain {
            packet,
            rewritten,
            original,
        } = plain;
        let header = EgressHeader {
            marker: packet.marker,
            payload_type,
            seq: SeqNo(index as u16),
            time: rewritten.time,
            ssrc,
            padding: false,
        };
        let mid = self.parameters.and_then(|parameters| parameters.mid);
        let mid = mid.filter(|_| !self.recognised);
        let number = self.parameters.and_then(|parameters| {
            let seq = egress.estimator.as_ref()?.next_seq();
            Some((parameters.transport_cc?, seq.0.to_be_bytes()))
        });
        let prefix = original.as_ref().map_or(&[][..], |seq| &seq[..]);
        let payload_len = prefix.len() + packet.payload.len();
        let extensions = if mid.is_some() {
            MAX_EXTENSIONS
        } else {
            NUMBER_EXTENSION
        };
        let len = FIXED_HEADER_LEN + extensions + payload_len + MAX_RTP_OVERHEAD;
        let buffer = out
            .reserve(egress.to, len)
            .ok_or(DropReason::SendBufferFull)?;
        let header_len = match (&mid, &number) {
            (None, None) => header.write(buffer, &[]),
            (None, Some((id, number))) => header.write(buffer, &[(*id, number)]),
            (Some(mid), None) => header.write(buffer, &[mid.element()]),
            (Some(mid), Some((id, number))) => {
                header.write(buffer, &[(*id, number), mid.element()])
            }
        };
        let header_len = header_len.map_err(|_| DropReason::Malformed)?;
        let sealed = if prefix.is_empty() && rewritten.picture.is_none() {
            egress
                .sender
                .seal_rtp_from(buffer, header_len, packet.payload, ssrc, index)
        } else {
            let (before, payload) =
                buffer[header_len..header_len + payload_len].split_at_mut(prefix.len());
            before.copy_from_slice(prefix);
            payload.copy_from_slice(packet.payload);
            if let Some(ids) = rewritten.picture {
                vp8::rewrite(payload, ids);
            }
            egress
                .sender
                .seal_rtp(buffer, header_len, payload_len, ssrc, index)
        };
        let sealed = sealed.map_err(|_| DropReason::Malformed)?;
        out.commit(sealed);
        if number.is_some()
            && let Some(estimator) = &mut egress.estimator
        {
            estimator.sent(sealed, egress.now);
        }
        Ok(sealed)
    }

    /// The subscriber's view of an RTP time of the layer it gets now.
    pub fn translate_time(&self, time: RtpTime) -> RtpTime {
        self.rewriter.translate_time(time)
    }
}

/// A packet before it is sealed.
struct Plain<'a> {
    packet: &'a Packet<'a>,
    rewritten: &'a Rewritten,
    /// Its sequence number, when it is sent again as RTX.
    original: Option<[u8; 2]>,
}
