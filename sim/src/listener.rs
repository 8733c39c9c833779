//! The listener: what a person hears and sees, and what they must not.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use client::media::{Frame, MediaKind};
use protocol::TrackSid;

use crate::media;

/// The time after a subscription in which packets of the section's former track may still be under way.
const LATE: Duration = Duration::from_secs(2);

/// The longest absence of a sound on a network without fault.
pub const SILENCE: Duration = Duration::from_millis(250);

/// The time that the first sound may take beyond that, from the subscription on: the sender may not have been asked
/// before, and where people come and go in a row, the description waits for up to a second to be read.
const FIRST: Duration = Duration::from_millis(1750);

/// A subscription as it is heard or seen.
#[derive(Debug)]
pub struct Heard {
    kind: MediaKind,
    since: Instant,
    /// Arrival of the last frame; before the first, when it could have come.
    pub last: Option<Instant>,
    /// Number of whole, decodable frames.
    pub frames: u64,
    /// The source of these frames.
    pub source: Option<u32>,
    pub size: (u16, u16),
}

/// A time in which a sound was not heard.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    pub source: u32,
    pub from: Instant,
    pub to: Instant,
    /// The longest gap that is allowed.
    pub allowed: Duration,
}

/// Everything that one person hears and sees.
#[derive(Debug, Default)]
pub struct Listener {
    heard: BTreeMap<TrackSid, Heard>,
    /// Last data message of each person in each life.
    data: BTreeMap<(u8, u32), u32>,
    pub gaps: Vec<Gap>,
    pub complaints: Vec<String>,
}

impl Listener {
    /// Forgets all subscriptions: nothing is heard any more.
    pub fn deafen(&mut self) {
        self.heard.clear();
        self.data.clear();
    }

    /// The connection is up: subscribed tracks should be heard from now on.
    pub fn connected(&mut self, now: Instant) {
        for heard in self.heard.values_mut() {
            heard.last.get_or_insert(now);
        }
    }

    /// A section carries the track from now on.
    pub fn subscribed(&mut self, track: TrackSid, kind: MediaKind, connected: bool, now: Instant) {
        let heard = Heard {
            kind,
            since: now,
            last: connected.then_some(now),
            frames: 0,
            source: None,
            size: (0, 0),
        };
        self.heard.insert(track, heard);
    }

    /// No section carries the track any more.
    pub fn unsubscribed(&mut self, track: TrackSid) {
        self.heard.remove(&track);
    }

    /// Takes a frame of `track`, which is called `name`.
    pub fn hear(&mut self, track: TrackSid, frame: &Frame, name: Option<(u8, u32)>, now: Instant) {
        let Some(heard) = self.heard.get_mut(&track) else {
            return;
        };
        if !frame.decodable {
            return;
        }
        let Some(mark) = media::mark(heard.kind, &frame.data) else {
            return self
                .complaints
                .push(format!("a frame of {track} is not what was sent"));
        };
        if name.is_some_and(|name| name != (mark.person, mark.source)) {
            if now - heard.since > LATE {
                let (person, source) = (mark.person, mark.source);
                self.complaints.push(format!(
                    "on {track} ({name:?}) comes {source} of person {person}"
                ));
            }
            return;
        }
        if let (MediaKind::Audio, Some(last)) = (heard.kind, heard.last) {
            let allowed = SILENCE
                + if heard.frames == 0 {
                    FIRST
                } else {
                    Duration::ZERO
                };
            if now - last > allowed {
                self.gaps.push(Gap {
                    source: mark.source,
                    from: last,
                    to: now,
                    allowed,
                });
            }
        }
        heard.source = Some(mark.source);
        heard.last = Some(now);
        heard.frames += 1;
        heard.size = frame.size;
    }

    /// Takes a data message.
    pub fn data(&mut self, person: u8, life: u32, count: u32) -> Result<(), String> {
        let last = self.data.insert((person, life), count);
        match last {
            Some(last) if count != last + 1 => Err(format!(
                "data of person {person}: {count} comes after {last}"
            )),
            _ => Ok(()),
        }
    }

    /// The last data message of a person in this life.
    pub fn last_data(&self, person: usize, life: u32) -> Option<u32> {
        self.data.get(&(person as u8, life)).copied()
    }

    /// The subscription to a source.
    pub fn of(&self, source: u32) -> Option<&Heard> {
        self.heard
            .values()
            .find(|heard| heard.source == Some(source))
    }

    /// The subscribed tracks.
    pub fn tracks(&self) -> Vec<TrackSid> {
        self.heard.keys().copied().collect()
    }
}
