//! One up track to one subscriber: what was negotiated, and the continuity of its RTP stream.

use std::time::{Duration, Instant};

use protocol::TrackSid;

use crate::{
    api::{Destination, SendBatch, TrackSetting},
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

/// Time between sender reports of one stream.
pub const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What the subscriber's SDP allows for this stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendParameters {
    /// Payload type of the codec.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), where negotiated.
    pub rtx_payload_type: Option<u8>,
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
            parameters: None,
            rewriter: Rewriter::new(codec.clock_rate()),
            sent: (0, 0),
            next_sender_report: now,
            last_sender_report: None,
            nack_throttle: NackThrottle::default(),
            rtx_index: 0,
        }
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
        let rewritten = self.rewriter.rewrite(input)?;
        let header = EgressHeader {
            marker: packet.marker,
            payload_type: parameters.payload_type,
            seq: SeqNo(rewritten.index as u16),
            time: rewritten.time,
            ssrc: self.ssrc,
            padding: false,
        };
        let sealed = seal(
            packet,
            &[],
            &rewritten,
            &header,
            rewritten.index,
            egress,
            out,
        )?;
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
        egress: Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<usize, DropReason> {
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        let rewritten = self
            .rewriter
            .replay(input, out_index)
            .ok_or(DropReason::NotInHistory)?;
        let Some(payload_type) = parameters.rtx_payload_type else {
            let header = EgressHeader {
                marker: packet.marker,
                payload_type: parameters.payload_type,
                seq: SeqNo(out_index as u16),
                time: rewritten.time,
                ssrc: self.ssrc,
                padding: false,
            };
            return seal(packet, &[], &rewritten, &header, out_index, egress, out);
        };
        let header = EgressHeader {
            marker: packet.marker,
            payload_type,
            seq: SeqNo(self.rtx_index as u16),
            time: rewritten.time,
            ssrc: self.rtx_ssrc,
            padding: false,
        };
        let original = (out_index as u16).to_be_bytes();
        let sealed = seal(
            packet,
            &original,
            &rewritten,
            &header,
            self.rtx_index,
            egress,
            out,
        )?;
        self.rtx_index += 1;
        Ok(sealed)
    }

    /// The subscriber's view of an RTP time of the layer it gets now.
    pub fn translate_time(&self, time: RtpTime) -> RtpTime {
        self.rewriter.translate_time(time)
    }
}

/// Writes header, prefix and payload into the send buffer and seals them there: the only copy of the payload.
fn seal(
    packet: &Packet<'_>,
    prefix: &[u8],
    rewritten: &Rewritten,
    header: &EgressHeader,
    index: u64,
    egress: Egress<'_>,
    out: &mut impl SendBatch,
) -> Result<usize, DropReason> {
    let payload_len = prefix.len() + packet.payload.len();
    let len = FIXED_HEADER_LEN + payload_len + MAX_RTP_OVERHEAD;
    let buffer = out
        .reserve(egress.to, len)
        .ok_or(DropReason::SendBufferFull)?;
    let header_len = header
        .write(buffer, &[])
        .map_err(|_| DropReason::Malformed)?;
    let sealed = if prefix.is_empty() && rewritten.picture.is_none() {
        egress
            .sender
            .seal_rtp_from(buffer, header_len, packet.payload, header.ssrc, index)
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
            .seal_rtp(buffer, header_len, payload_len, header.ssrc, index)
    };
    let sealed = sealed.map_err(|_| DropReason::Malformed)?;
    out.commit(sealed);
    Ok(sealed)
}
