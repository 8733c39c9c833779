//! Sending media: packets as they are, or frames that are cut into packets here.

use std::time::Instant;

use str0m::{
    media::{Mid, Pt, Rid},
    rtp::{ExtensionValues, RtpWrite},
};

use super::PeerConnection;
use crate::{
    Error,
    media::{AudioLevel, Layer, MediaKind, OutgoingPacket, Packetizer},
};

/// Figures of one stream that we send: a track, or one of its layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendStats {
    /// Packets written (retransmissions are not counted).
    pub packets: u64,
    /// Payload bytes of these packets.
    pub bytes: u64,
    /// Frames written as frames.
    pub frames: u64,
    /// Number of PLI and FIR received.
    pub key_frame_requests: u64,
}

/// A stream that we send.
#[derive(Debug)]
pub(super) struct SendStream {
    pub(super) layer: Option<Layer>,
    pub(super) packetizer: Packetizer,
    pub(super) stats: SendStats,
}

impl PeerConnection {
    /// Sends one RTP packet on the section `mid`, of a simulcast track on `layer`.
    ///
    /// # Errors
    /// [`Error::UnknownSection`], [`Error::NotNegotiated`].
    pub fn write_rtp(
        &mut self,
        mid: &str,
        layer: Option<Layer>,
        packet: OutgoingPacket,
        now: Instant,
    ) -> Result<(), Error> {
        self.queue_packet(mid, layer, packet, now)?;
        self.flush(now);
        Ok(())
    }

    /// Sends one frame: Opus on an audio section (with its loudness), VP8 on a video section. A stream carries frames
    /// or packets, not both: each counts its own sequence numbers.
    ///
    /// # Errors
    /// [`Error::UnknownSection`], [`Error::NotNegotiated`].
    pub fn write_frame(
        &mut self,
        mid: &str,
        layer: Option<Layer>,
        frame: &[u8],
        timestamp: u32,
        level: Option<AudioLevel>,
        now: Instant,
    ) -> Result<(), Error> {
        self.check_negotiated(mid)?;
        let stream = self.stream_mut(mid, layer)?;
        stream.stats.frames += 1;
        for packet in stream.packetizer.packetize(frame, timestamp, level) {
            self.queue_packet(mid, layer, packet, now)?;
        }
        self.flush(now);
        Ok(())
    }

    /// Whether the server accepted the section of the track `cid`, so that it may be written.
    pub fn can_send(&self, cid: &str) -> bool {
        self.mid_of(cid)
            .is_some_and(|mid| self.check_negotiated(&mid).is_ok())
    }

    /// Figures of the streams sent on `mid`, one entry for each layer.
    pub fn send_stats(&self, mid: &str) -> Vec<(Option<Layer>, SendStats)> {
        let streams = self
            .section(mid)
            .map(|section| section.streams.as_slice())
            .unwrap_or_default();
        streams
            .iter()
            .map(|stream| (stream.layer, stream.stats.clone()))
            .collect()
    }

    pub(super) fn count_key_frame_request(&mut self, mid: Mid, layer: Option<Layer>) {
        if let Ok(stream) = self.stream_mut(&mid, layer) {
            stream.stats.key_frame_requests += 1;
        }
    }

    fn queue_packet(
        &mut self,
        mid: &str,
        layer: Option<Layer>,
        packet: OutgoingPacket,
        now: Instant,
    ) -> Result<(), Error> {
        let kind = self
            .section(mid)
            .ok_or_else(|| Error::UnknownSection(mid.to_owned()))?
            .kind;
        self.check_negotiated(mid)?;
        let not_negotiated = || Error::NotNegotiated(mid.to_owned());
        let media = self.rtc.media(Mid::from(mid)).ok_or_else(not_negotiated)?;
        let accepted = media.remote_pts();
        let audio = kind == MediaKind::Audio;
        // The first of several codecs in the answer, as browsers choose.
        let config = self.rtc.codec_config();
        let is_codec = |number: &&Pt| {
            let mut params = config.params().iter();
            params.any(|p| p.spec().codec.is_audio() == audio && p.pt() == **number)
        };
        let payload_type = *accepted.iter().find(is_codec).ok_or_else(not_negotiated)?;
        let extensions = ExtensionValues {
            audio_level: packet.audio_level.map(|level| level.dbov),
            voice_activity: packet.audio_level.map(|level| level.voice),
            ..Default::default()
        };
        let stream = self.stream_mut(mid, layer)?;
        stream.stats.packets += 1;
        stream.stats.bytes += packet.payload.len() as u64;
        let rid = layer.map(|layer| Rid::from(layer.rid()));
        let mut direct = self.rtc.direct_api();
        let tx = direct
            .stream_tx_by_mid(Mid::from(mid), rid)
            .ok_or_else(not_negotiated)?;
        tx.write_rtp(
            RtpWrite::new(
                payload_type,
                packet.sequence.into(),
                packet.timestamp,
                now,
                packet.payload,
            )
            .marker(packet.marker)
            .ext_vals(extensions)
            .nackable(true),
        );
        Ok(())
    }

    /// Makes str0m send what was written: it does so at the next moment of time, which is now.
    fn flush(&mut self, now: Instant) {
        self.settle(Ok(()), now);
        self.handle_timeout(now);
    }

    fn check_negotiated(&self, mid: &str) -> Result<(), Error> {
        match self.rtc.media(Mid::from(mid)) {
            Some(media) if media.direction().is_sending() => Ok(()),
            _ => Err(Error::NotNegotiated(mid.to_owned())),
        }
    }

    fn stream_mut(&mut self, mid: &str, layer: Option<Layer>) -> Result<&mut SendStream, Error> {
        self.section_mut(mid)
            .and_then(|section| {
                section
                    .streams
                    .iter_mut()
                    .find(|stream| stream.layer == layer)
            })
            .ok_or_else(|| Error::UnknownSection(mid.to_owned()))
    }
}
