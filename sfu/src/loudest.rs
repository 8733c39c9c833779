//! Which voices of a large room are forwarded: the few loudest. The rest would be mixed into a noise in which nobody is
//! understood, and costs each listener bandwidth and decoding. The decision is one per track and packet, not one per
//! subscriber.
//!
//! Voices take *seats*. As long as there is a free one, whoever sends sound takes it: a room with no more microphones
//! than seats is not touched. When all are taken, the quietest seat goes to whoever is louder by a margin. A voice
//! counts as loud as its loudest packet at once (it is heard from its first packet), and as less only slowly (it keeps
//! its seat over a pause).
//!
//! Levels are what clients say (RFC 6464), and clients may lie. Three rules bound what that gains:
//! louder than a clear voice counts as a clear voice, so that nobody who speaks loses the seat to a higher claim;
//! what does not waver for seconds (a fan, a tone, a made-up level) is no speech and counts as quiet, so that any voice
//! takes its seat; and one participant has at most half of the seats while others want them.
//!
//! What cannot be judged is forwarded: tracks without levels, and sound that belongs to a shared screen.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::{
    api::MediaKind,
    shard::{Shard, UpTrackKey},
};

/// Level of digital silence, -dBov.
const SILENCE: u8 = 127;

/// A clear voice, -dBov: what is louder counts the same.
const CLEAR: u8 = 30;

/// A quiet room, dB above digital silence: what steady sound counts as.
const QUIET: f32 = 57.0;

/// A voice that did not get louder counts as less by so many dB a second: a pause of a second between two sentences
/// costs no seat to somebody who murmurs.
const RELEASE: f32 = 10.0;

/// Louder by so many dB takes the seat.
const MARGIN: f32 = 6.0;

/// Speech wavers by more than this within every second, dB, …
const STEADY_RANGE: u8 = 6;

/// … and what did not for so long is none.
const STEADY_TIME: Duration = Duration::from_secs(5);

/// How loud one track is.
#[derive(Debug)]
struct Voice {
    /// dB above digital silence, at the moment `at`.
    loudness: f32,
    at: Instant,
    /// Lowest and highest level since it last wavered, and when that was.
    range: (u8, u8),
    steady_since: Instant,
}

impl Voice {
    fn new(now: Instant) -> Self {
        Self {
            loudness: 0.0,
            at: now,
            range: (SILENCE, 0),
            steady_since: now,
        }
    }

    fn hear(&mut self, level: u8, now: Instant) {
        let loudness = f32::from(SILENCE - level.clamp(CLEAR, SILENCE));
        self.loudness = self.released(now).max(loudness);
        self.at = now;
        self.range = (self.range.0.min(level), self.range.1.max(level));
        if self.range.1 - self.range.0 > STEADY_RANGE {
            self.range = (level, level);
            self.steady_since = now;
        }
    }

    fn released(&self, now: Instant) -> f32 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f32();
        (self.loudness - RELEASE * elapsed).max(0.0)
    }

    fn loudness(&self, now: Instant) -> f32 {
        let loudness = self.released(now);
        match now >= self.steady_since + STEADY_TIME {
            true => loudness.min(QUIET),
            false => loudness,
        }
    }
}

/// What a packet's level means for its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<K> {
    /// It is forwarded.
    Heard,
    /// It is forwarded from now on, instead of the other one.
    Replaces(K),
    /// It is not.
    NotAmongLoudest,
}

/// The seats of one room. `K` is a track, `O` who publishes it.
#[derive(Debug)]
pub struct Loudest<K, O> {
    limit: usize,
    voices: FxHashMap<K, Voice>,
    seats: Vec<(K, O)>,
}

impl<K: Copy + Eq + std::hash::Hash, O: Copy + Eq> Loudest<K, O> {
    /// A room with `limit` seats; 0: everybody is heard.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            voices: FxHashMap::default(),
            seats: Vec::new(),
        }
    }

    /// A packet of `track`, published by `owner`, with this level (-dBov: 0 is loudest, 127 silence).
    pub fn hear(&mut self, track: K, owner: O, level: u8, now: Instant) -> Verdict<K> {
        if self.limit == 0 {
            return Verdict::Heard;
        }
        let voice = self.voices.entry(track).or_insert_with(|| Voice::new(now));
        voice.hear(level, now);
        if self.seats.iter().any(|(seated, _)| *seated == track) {
            return Verdict::Heard;
        }
        if self.seats.len() < self.limit {
            self.seats.push((track, owner));
            return Verdict::Heard;
        }
        let wanted = voice.loudness(now) - MARGIN;
        let share = self.limit.div_ceil(2);
        let seats_of = |owner: O| self.seats.iter().filter(|(_, o)| *o == owner).count();
        let has_its_share = seats_of(owner) >= share;
        let claim = |(track, other): &(K, O)| {
            if *other != owner && has_its_share {
                return f32::INFINITY;
            }
            if *other != owner && seats_of(*other) > share {
                return QUIET;
            }
            self.voices.get(track).map_or(0.0, |v| v.loudness(now))
        };
        let claims = self.seats.iter().map(claim).enumerate();
        match claims.min_by(|a, b| a.1.total_cmp(&b.1)) {
            Some((seat, claim)) if claim < wanted => {
                let (before, _) = std::mem::replace(&mut self.seats[seat], (track, owner));
                Verdict::Replaces(before)
            }
            _ => Verdict::NotAmongLoudest,
        }
    }

    /// The track is muted or gone: its seat is free.
    pub fn remove(&mut self, track: K) {
        self.voices.remove(&track);
        self.seats.retain(|(seated, _)| *seated != track);
    }
}

impl Shard {
    /// Decides by the level of a packet whether its track is forwarded.
    pub(crate) fn rank_voice(&mut self, up: UpTrackKey, level: u8, now: Instant) {
        let Some(track) = self.ups.get(up) else {
            return;
        };
        let may_be_left_out = track.kind == MediaKind::Audio && !track.is_screen();
        let Some(router) = self
            .routers
            .get_mut(track.router)
            .filter(|_| may_be_left_out)
        else {
            return;
        };
        let verdict = router.loudest.hear(up, track.publisher, level, now);
        self.set_audible(up, verdict != Verdict::NotAmongLoudest);
        if let Verdict::Replaces(other) = verdict {
            self.set_audible(other, false);
        }
    }

    /// The track is among the loudest or not. A stream that begins again goes on without a gap: what was left out was
    /// not lost.
    pub(crate) fn set_audible(&mut self, up: UpTrackKey, audible: bool) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        if std::mem::replace(&mut track.audible, audible) == audible || !audible {
            return;
        }
        for down in track.fanout.downs() {
            if let Some(d) = self.downs.get_mut(*down) {
                d.rewriter.pause();
            }
        }
    }

    /// Seats of a room from now on; 0: everybody is heard.
    pub(crate) fn set_audio_top_n(&mut self, room: protocol::RoomSid, limit: usize) {
        let Some(key) = self.rooms.get(&room).copied() else {
            return;
        };
        if let Some(router) = self.routers.get_mut(key) {
            router.loudest = Loudest::new(limit);
        }
        let tracks: Vec<_> = self
            .ups
            .iter()
            .filter(|(_, track)| track.router == key)
            .map(|(up, _)| up)
            .collect();
        for up in tracks {
            self.set_audible(up, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Level of speech: syllables and gaps.
    fn speech(loudest: u8, packet: u64) -> u8 {
        loudest + [0, 3, 9, 14, 4, 1, 20, 8][packet as usize % 8]
    }

    struct Room {
        loudest: Loudest<u32, u32>,
        now: Instant,
        packet: u64,
    }

    impl Room {
        fn new(limit: usize) -> Self {
            let loudest = Loudest::new(limit);
            Self {
                loudest,
                now: Instant::now(),
                packet: 0,
            }
        }

        /// Packets of 20 ms; who was heard in the last one.
        fn run(&mut self, ms: u64, voices: &[(u32, u32, u8)], steady: bool) -> Vec<u32> {
            for _ in 0..ms / 20 {
                self.now += Duration::from_millis(20);
                self.packet += 1;
                for (track, owner, level) in voices {
                    let level = match steady || *level == SILENCE {
                        true => *level,
                        false => speech(*level, self.packet + u64::from(*track) * 3),
                    };
                    self.loudest.hear(*track, *owner, level, self.now);
                }
            }
            let mut heard: Vec<_> = self.loudest.seats.iter().map(|(key, _)| *key).collect();
            heard.sort();
            heard
        }
    }

    fn voices(levels: impl IntoIterator<Item = u8>) -> Vec<(u32, u32, u8)> {
        (0..).zip(levels).map(|(i, level)| (i, i, level)).collect()
    }

    #[test]
    fn in_a_room_with_a_seat_for_everybody_everybody_is_heard() {
        let mut room = Room::new(5);
        let heard = room.run(20, &voices([127, 90, 0, 127, 60]), true);
        assert_eq!(heard, [0, 1, 2, 3, 4]);
        let mut all = Room::new(0);
        all.run(1000, &voices([60; 50]), false);
        let verdict = all.loudest.hear(49, 49, SILENCE, all.now);
        assert_eq!(verdict, Verdict::Heard);
    }

    #[test]
    fn of_twenty_the_five_loudest_are_heard() {
        let mut room = Room::new(5);
        let mut levels = [55; 20];
        [3, 7, 8, 12, 19]
            .iter()
            .for_each(|loud: &usize| levels[*loud] = 25);
        assert_eq!(room.run(1000, &voices(levels), false), [3, 7, 8, 12, 19]);
        for second in 0..60 {
            let heard = room.run(1000, &voices(levels), false);
            assert_eq!(heard, [3, 7, 8, 12, 19], "second {second}");
        }
    }

    #[test]
    fn who_begins_to_speak_is_heard_from_the_first_packet() {
        let mut room = Room::new(5);
        let mut levels = [SILENCE; 20];
        levels[..4].fill(25);
        room.run(10_000, &voices(levels), false);
        let verdict = room.loudest.hear(17, 17, 35, room.now);
        assert!(matches!(verdict, Verdict::Replaces(quiet) if quiet > 3));
    }

    #[test]
    fn nobody_who_speaks_loses_the_seat_to_a_higher_claim() {
        let mut room = Room::new(2);
        assert_eq!(room.run(2000, &voices([28, 28]), false), [0, 1]);
        let heard = room.run(20_000, &voices([28, 28, 0, 5]), false);
        assert_eq!(heard, [0, 1]);
    }

    #[test]
    fn made_up_and_steady_levels_silence_nobody_for_long() {
        let mut room = Room::new(5);
        let liars = voices([0; 8]);
        room.run(1000, &liars, true);
        let mut silenced = 0;
        for _ in 0..500 {
            room.run(20, &liars, true);
            let heard = room.run(20, &[(20, 20, 40)], false);
            silenced += u64::from(!heard.contains(&20));
        }
        assert!(silenced * 40 < 6000, "{silenced} of 500");
    }

    #[test]
    fn one_participant_does_not_take_all_seats() {
        let mut room = Room::new(5);
        let many: Vec<_> = (0..8).map(|track| (track, 99, 0)).collect();
        room.run(1000, &many, false);
        let mut all = many.clone();
        all.extend([(20, 20, 40), (21, 21, 45)]);
        room.loudest.remove(0);
        room.loudest.remove(1);
        let heard = room.run(2000, &all[2..], false);
        assert!(heard.contains(&20) && heard.contains(&21), "{heard:?}");
    }

    #[test]
    fn a_seat_is_free_when_its_track_is_gone() {
        let mut room = Room::new(1);
        room.run(1000, &voices([25]), false);
        room.loudest.remove(0);
        assert_eq!(room.run(20, &[(1, 1, SILENCE)], true), [1]);
        assert_eq!(room.loudest.voices.len(), 1);
    }
}
