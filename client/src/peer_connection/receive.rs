//! Received packets: to their section, into frames, into the figures.

use std::time::{Duration, Instant};

use str0m::{media::KeyframeRequestKind, rtp::RtpPacket};

use super::{PeerConnection, PeerEvent};
use crate::{
    Error,
    media::{AudioLevel, FrameAssembler, IncomingPacket, Layer, MediaKind, ReceiveStats},
};

/// The time after which a decoder that waits for a key frame asks again.
const KEY_FRAME_RETRY: Duration = Duration::from_millis(500);

/// The time after which a key frame is asked for when a stream does not begin with one: it is probably on its way, for
/// it was asked for when we subscribed.
const KEY_FRAME_PATIENCE: Duration = Duration::from_millis(200);

impl PeerConnection {
    /// Figures of the stream received on `mid`.
    pub fn receive_stats(&self, mid: &str) -> Option<&ReceiveStats> {
        self.section(mid).map(|section| section.assembler.stats())
    }

    /// The sections that receive, in the order of the offer.
    pub fn receive_sections(&self) -> Vec<(String, MediaKind)> {
        let receiving = self
            .sections
            .iter()
            .filter(|section| section.track.is_none());
        receiving
            .map(|section| (section.mid.to_string(), section.kind))
            .collect()
    }

    /// Begins frames and figures of `mid` anew: another track is received there from now on.
    pub fn restart_receiving(&mut self, mid: &str) {
        if let Some(section) = self.section_mut(mid) {
            section.assembler = FrameAssembler::new(section.kind);
            section.last_key_frame_request = None;
        }
    }

    /// Asks for a key frame (PLI) of the stream received on `mid`.
    ///
    /// # Errors
    /// [`Error::UnknownSection`] when nothing was received there yet.
    pub fn request_key_frame(&mut self, mid: &str, now: Instant) -> Result<(), Error> {
        let unknown = || Error::UnknownSection(mid.to_owned());
        self.ask_for_key_frame(mid, now).ok_or_else(unknown)?;
        self.settle(Ok(()), now);
        Ok(())
    }

    fn ask_for_key_frame(&mut self, mid: &str, now: Instant) -> Option<()> {
        let section = self
            .sections
            .iter_mut()
            .find(|section| &*section.mid == mid)?;
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_rx(&section.assembler.ssrc()?.into())?;
        stream.request_keyframe(KeyframeRequestKind::Pli);
        section.last_key_frame_request = Some(now);
        section.assembler.count_key_frame_request();
        Some(())
    }

    pub(super) fn on_packet(&mut self, packet: &RtpPacket, now: Instant) {
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_rx(&packet.header.ssrc) else {
            return;
        };
        let (mid, rid) = (stream.mid(), stream.rid());
        let levels = &packet.header.ext_vals;
        let incoming = IncomingPacket {
            ssrc: *packet.header.ssrc,
            sequence: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload.clone(),
            audio_level: levels.audio_level.map(|dbov| AudioLevel {
                dbov,
                voice: levels.voice_activity.unwrap_or(false),
            }),
            layer: rid.as_ref().and_then(|rid| Layer::from_rid(rid)),
            received: now,
        };
        // A packet without payload is padding of a bandwidth probe; it still counts as a sequence number.
        if self.config.packets && !incoming.payload.is_empty() {
            self.events.push_back(PeerEvent::Packet {
                mid: mid.to_string(),
                packet: incoming.clone(),
            });
        }
        let Some(section) = self.sections.iter_mut().find(|section| section.mid == mid) else {
            return;
        };
        let mut frames = Vec::new();
        section.assembler.push(incoming, &mut frames);
        if self.config.frames {
            let mid = mid.to_string();
            self.events
                .extend(frames.into_iter().map(|frame| PeerEvent::Frame {
                    mid: mid.clone(),
                    frame,
                }));
        }
        let section = &*section;
        let since_start = section
            .assembler
            .stats()
            .first_packet
            .map(|first| now.saturating_duration_since(first));
        let retry = section
            .last_key_frame_request
            .is_none_or(|last| now.saturating_duration_since(last) > KEY_FRAME_RETRY);
        let patient = since_start.is_none_or(|since| since < KEY_FRAME_PATIENCE);
        // An owner that wants no frames judges the packets itself.
        if section.kind == MediaKind::Video
            && self.config.frames
            && section.assembler.needs_key_frame()
            && retry
            && !patient
        {
            let mid = section.mid;
            self.ask_for_key_frame(&mid, now);
        }
    }
}
