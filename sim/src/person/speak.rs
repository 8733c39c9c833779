//! The media and data that a person sends.

use std::time::{Duration, Instant};

use client::{
    DataChannel, Publish,
    media::{AudioLevel, Layer},
};
use protocol::livekit::{DataPacket, TrackSource, UserPacket, data_packet};

use super::{DATA_EVERY, Person, Source};
use crate::media::{self, Kind, Mark, PICTURE_EVERY, SOUND_EVERY, name, write_data};

impl Person {
    /// Sends the frames that are due.
    pub(super) fn play(&mut self, now: Instant) {
        let Some(participant) = self.participant.as_mut().filter(|p| !p.has_left()) else {
            return;
        };
        let elapsed = now - self.start;
        for source in self.sources.iter_mut().filter(|s| s.live && s.next <= now) {
            let every = match source.kind {
                Kind::Sound => SOUND_EVERY,
                _ => PICTURE_EVERY,
            };
            source.next = now + Duration::from_millis(every);
            if source.muted || !participant.is_connected() {
                continue;
            }
            if let Some(sent) = source
                .sent
                .filter(|sent| now - *sent > Duration::from_millis(2 * every))
            {
                self.pauses.push((source.id, sent, now));
            } else if source.sent.is_none() {
                self.pauses.push((source.id, self.start, now));
            }
            source.sent = Some(now);
            let mark = Mark {
                person: self.index as u8,
                source: source.id,
                count: source.count,
            };
            source.count += 1;
            let ticks = |clock: u128| (elapsed.as_micros() * clock / 1_000_000) as u32;
            for layer in source.kind.layers() {
                let written = if source.kind == Kind::Sound {
                    let level = AudioLevel {
                        dbov: -20,
                        voice: true,
                    };
                    let frame = media::sound(mark);
                    participant.write_frame(
                        &source.cid,
                        None,
                        &frame,
                        ticks(48_000),
                        Some(level),
                        now,
                    )
                } else {
                    let size = source.kind.size(layer.unwrap_or(Layer::High));
                    let key = source.keys.contains(layer);
                    let frame = media::picture(mark, size, key);
                    participant.write_frame(&source.cid, *layer, &frame, ticks(90_000), None, now)
                };
                if let Err(error) = written {
                    self.complaints.push(format!("cannot send: {error}"));
                }
            }
            source.keys.clear();
        }
    }

    /// Sends a data message when one is due.
    pub(super) fn talk(&mut self, now: Instant) {
        if !self.data_open || !self.talkative || self.data_next > now {
            return;
        }
        self.data_next = now + DATA_EVERY;
        let (count, life) = self.data_sent;
        let user = UserPacket {
            payload: write_data(self.index as u8, life, count),
            ..Default::default()
        };
        let packet = DataPacket {
            value: Some(data_packet::Value::User(user)),
            ..Default::default()
        };
        let Some(participant) = self.participant.as_mut().filter(|p| !p.has_left()) else {
            return;
        };
        match participant.send_data(DataChannel::Reliable, packet, now) {
            Ok(()) => self.data_sent.0 += 1,
            Err(error) => self.complaints.push(format!("cannot send data: {error}")),
        }
    }
}

/// The source as the client announces it.
pub(super) fn publish(person: usize, source: &Source) -> Publish {
    let base = match source.kind {
        Kind::Sound => Publish::microphone(),
        Kind::Picture => Publish::camera(1280, 720),
        Kind::Simulcast => Publish::simulcast_camera(1280, 720),
    };
    let from = match source.kind {
        Kind::Picture => TrackSource::ScreenShare,
        _ => base.source,
    };
    Publish {
        name: name(person, source.id),
        source: from,
        muted: source.muted,
        ..base
    }
}
