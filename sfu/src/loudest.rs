//! The few loudest voices of a large room, which are forwarded. The rest would be mixed into a noise in which nobody is
//! understood, and costs each listener bandwidth and decoding. The decision is one per track and packet, not one per
//! subscriber.
//!
//! Voices take *seats*. As long as there is a free one, whoever sends sound takes it: a room with no more microphones
//! than seats is not touched. When all are taken, the quietest seat goes to whoever is louder by a margin. A voice
//! counts as loud as its loudest packet at once (it is heard from its first packet), and as less only slowly (it keeps
//! its seat over a pause).
//!
//! Levels are what clients say (RFC 6464), and clients may lie. These rules bound what that gains: louder than a clear
//! voice counts as a clear voice, so that nobody who speaks loses the seat to a higher claim; what does not waver for
//! seconds (a fan, a tone, a made-up level) is no speech and counts as quiet, so that any voice takes its seat; all but
//! one of a participant's seats (with its companions') go to any voice that has none; and, for a level is a claim and
//! time is not, somebody who speaks and was refused for a moment takes the seat of somebody who pauses, or else of
//! somebody who has spoken without a pause for longer than people do.
//!
//! Sound that cannot be judged is forwarded: tracks without levels, and sound that belongs to a shared screen.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// Level of digital silence, -dBov.
const SILENCE: u8 = 127;

/// The level of a clear voice, -dBov: a louder one counts the same.
const CLEAR: u8 = 30;

/// The loudness of a quiet room, dB above digital silence: steady sound counts as no louder.
const QUIET: f32 = 57.0;

/// A voice that did not get louder counts as less by so many dB a second: a pause of a second between two sentences
/// costs no seat to somebody who murmurs.
const RELEASE: f32 = 10.0;

/// A voice takes a seat when it is louder by this, dB.
const MARGIN: f32 = 6.0;

/// Speech wavers by more than this within every second, dB.
const STEADY_RANGE: u8 = 6;

/// Sound that did not waver by [`STEADY_RANGE`] for this long is no speech.
const STEADY_TIME: Duration = Duration::from_secs(5);

/// A voice that speaks and is refused for this long has waited: a pause of another voice, otherwise too short to cost a
/// seat, now costs it.
const PATIENCE: Duration = Duration::from_millis(400);

/// A pause is at least this long, and at most twice as long until it is noticed.
const PAUSE: Duration = Duration::from_millis(300);

/// A pause is quieter by this than the voice before it, dB.
const PAUSE_DEPTH: f32 = 12.0;

/// Nobody speaks for this long without a pause: a seat that was held that way goes to a clear voice that waits.
const MONOLOGUE: Duration = Duration::from_secs(30);

/// A voice is clear enough for the seat of a monologue when it is at most this much below [`CLEAR`], dB.
const CLEARLY: f32 = 20.0;

/// A voice that got a seat by waiting keeps it for this long while it speaks: the voice that made way is as loud as
/// before.
const TURN: Duration = Duration::from_secs(5);

/// The loudness of one track.
#[derive(Debug)]
struct Voice {
    /// Loudness in dB above digital silence, at the moment `at`.
    loudness: f32,
    at: Instant,
    /// Lowest and highest level since the voice last wavered, and when that was.
    range: (u8, u8),
    steady_since: Instant,
    /// Highest loudness in this stretch of [`PAUSE`] and in the one before, and when this one began.
    peaks: (f32, f32),
    peaks_at: Instant,
    /// Since when the voice speaks and is refused.
    waits_since: Option<Instant>,
    /// Since when the voice has its seat and did not pause.
    holds_since: Instant,
    /// The voice was let in for having waited, and keeps its seat until then.
    turn_until: Option<Instant>,
}

impl Voice {
    fn new(now: Instant) -> Self {
        Self {
            loudness: 0.0,
            at: now,
            range: (SILENCE, 0),
            steady_since: now,
            peaks: (0.0, 0.0),
            peaks_at: now,
            waits_since: None,
            holds_since: now,
            turn_until: None,
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
        let stretch = now.saturating_duration_since(self.peaks_at);
        if stretch < PAUSE {
            self.peaks.0 = self.peaks.0.max(loudness);
        } else {
            let before = if stretch < 2 * PAUSE {
                self.peaks.0
            } else {
                0.0
            };
            (self.peaks, self.peaks_at) = ((loudness, before), now);
        }
        if self.pauses(now) {
            self.holds_since = now;
        }
    }

    /// The loudness of a moment ago, over pauses between syllables.
    fn lately(&self, now: Instant) -> f32 {
        let peak = match now.saturating_duration_since(self.peaks_at) {
            since if since < PAUSE => self.peaks.0.max(self.peaks.1),
            since if since < 2 * PAUSE => self.peaks.0,
            _ => 0.0,
        };
        peak.min(self.loudness(now))
    }

    fn pauses(&self, now: Instant) -> bool {
        self.lately(now) + PAUSE_DEPTH < self.loudness(now)
    }

    /// The voice has a seat from now on.
    fn sit(&mut self, turn_until: Option<Instant>, now: Instant) {
        (self.waits_since, self.holds_since, self.turn_until) = (None, now, turn_until);
    }

    /// Whether the voice has a turn that is not over. Another voice may take its seat only after that, or when it
    /// pauses.
    fn has_its_turn(&self, now: Instant) -> bool {
        self.turn_until.is_some_and(|until| now < until) && !self.pauses(now)
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

/// The decision on a packet of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<K> {
    /// The packet is forwarded.
    Heard,
    /// The packet is forwarded, and the track has the seat of this other one from now on.
    Replaces(K),
    /// The packet is not forwarded.
    NotAmongLoudest,
}

/// The seats of one room. `K` is a track, `O` its owner: a person with all companions.
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
            voice.sit(None, now);
            self.seats.push((track, owner));
            return Verdict::Heard;
        }
        let (loudness, lately) = (voice.loudness(now), voice.lately(now));
        let has_seat = self.seats.iter().any(|(_, other)| *other == owner);
        if let Some(seat) = self.quietest(owner, has_seat, loudness - MARGIN, now) {
            return self.replace(seat, (track, owner), None, now);
        }
        // A voice that has a seat waits for nothing; one that murmurs waits for a pause in which it would be heard.
        let waits = !has_seat && lately > QUIET + MARGIN;
        if !self.has_waited(track, waits, now) {
            return Verdict::NotAmongLoudest;
        }
        if let Some(seat) = self.pausing(lately - MARGIN, now) {
            return self.replace(seat, (track, owner), None, now);
        }
        let is_clear = lately + CLEARLY >= f32::from(SILENCE - CLEAR);
        match self.longest(now).filter(|_| is_clear) {
            Some(seat) => self.replace(seat, (track, owner), Some(now + TURN), now),
            None => Verdict::NotAmongLoudest,
        }
    }

    /// The seat with the least claim to it, if that is less than `wanted`.
    fn quietest(&self, owner: O, has_seat: bool, wanted: f32, now: Instant) -> Option<usize> {
        let seats_of = |owner: O| self.seats.iter().filter(|(_, o)| *o == owner).count();
        let claim = |(track, other): &(K, O)| {
            if !has_seat && seats_of(*other) > 1 {
                return QUIET;
            }
            let Some(voice) = self.voices.get(track) else {
                return 0.0;
            };
            // A second seat is never taken from somebody who speaks: a voice without any seat would take it back at
            // once.
            let is_second = has_seat && voice.lately(now) > QUIET + MARGIN;
            if *other != owner && (is_second || voice.has_its_turn(now)) {
                return f32::INFINITY;
            }
            voice.loudness(now)
        };
        let claims = self.seats.iter().map(claim).enumerate();
        let least = claims.min_by(|a, b| a.1.total_cmp(&b.1));
        least
            .filter(|(_, claim)| *claim < wanted)
            .map(|(seat, _)| seat)
    }

    /// The quietest seat of a voice that pauses.
    fn pausing(&self, wanted: f32, now: Instant) -> Option<usize> {
        let lately = |(track, _): &(K, O)| self.voices.get(track).map_or(0.0, |v| v.lately(now));
        let all = self.seats.iter().map(lately).enumerate();
        let least = all.min_by(|a, b| a.1.total_cmp(&b.1));
        least
            .filter(|(_, lately)| *lately < wanted)
            .map(|(seat, _)| seat)
    }

    /// The seat that was held the longest without a pause, if that is too long for speech.
    fn longest(&self, now: Instant) -> Option<usize> {
        let since = |(track, _): &(K, O)| self.voices.get(track).map(|voice| voice.holds_since);
        let all = self.seats.iter().map(since).enumerate();
        let (seat, since) = all.min_by_key(|(_, since)| *since)?;
        since
            .is_none_or(|since| now >= since + MONOLOGUE)
            .then_some(seat)
    }

    /// A voice is refused once more. Returns whether it has been refused for long enough.
    fn has_waited(&mut self, track: K, waits: bool, now: Instant) -> bool {
        let Some(voice) = self.voices.get_mut(&track) else {
            return false;
        };
        if !waits {
            voice.waits_since = None;
            return false;
        }
        let since = *voice.waits_since.get_or_insert(now);
        now >= since + PATIENCE
    }

    fn replace(
        &mut self,
        seat: usize,
        next: (K, O),
        turn_until: Option<Instant>,
        now: Instant,
    ) -> Verdict<K> {
        let (before, _) = std::mem::replace(&mut self.seats[seat], next);
        if let Some(voice) = self.voices.get_mut(&next.0) {
            voice.sit(turn_until, now);
        }
        Verdict::Replaces(before)
    }

    /// The track is muted or gone: its seat is free.
    pub fn remove(&mut self, track: K) {
        self.voices.remove(&track);
        self.seats.retain(|(seated, _)| *seated != track);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng, rngs::StdRng};

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

    /// People who take turns in a room with liars: tracks below 1000, of whom each principal has several, at any level
    /// that is louder than speech; at times they pretend to pause.
    struct Liars {
        room: Room,
        rng: StdRng,
        /// Track, principal, and whether it is silent until then.
        tracks: Vec<(u32, u32, u64)>,
    }

    impl Liars {
        fn new(seed: u64, seats: usize, principals: u32, streams: u32) -> Self {
            let tracks = (0..principals * streams).map(|track| (track, track % principals, 0));
            let mut liars = Self {
                room: Room::new(seats),
                rng: StdRng::seed_from_u64(seed),
                tracks: tracks.collect(),
            };
            (0..600).for_each(|_| {
                liars.tick(&[]);
            });
            liars
        }

        /// A packet of everybody; who of those that speak (track, loudest level) is heard.
        fn tick(&mut self, speaking: &[(u32, u8)]) -> Vec<bool> {
            self.room.now += Duration::from_millis(20);
            self.room.packet += 1;
            let (packet, now) = (self.room.packet, self.room.now);
            for (track, principal, silent_until) in &mut self.tracks {
                if self.rng.random_bool(0.001) {
                    *silent_until = packet + self.rng.random_range(10..60);
                }
                let level = match packet < *silent_until {
                    true => SILENCE,
                    false => self.rng.random_range(0..=25),
                };
                self.room.loudest.hear(*track, *principal, level, now);
            }
            let mut heard = Vec::new();
            for person in 1000..1012 {
                let speaks = speaking.iter().find(|(track, _)| *track == person);
                let level = match speaks {
                    Some((_, level)) => speech(*level, packet + u64::from(person) * 3),
                    None => self.rng.random_range(80..=SILENCE),
                };
                let verdict = self.room.loudest.hear(person, person, level, now);
                if speaks.is_some() {
                    heard.push(verdict != Verdict::NotAmongLoudest);
                }
            }
            heard
        }

        /// These speak for five seconds. Packets until the last of them was heard, and how many of the rest were not.
        fn turn(&mut self, speaking: &[(u32, u8)]) -> (usize, usize) {
            let mut first = vec![None; speaking.len()];
            let mut unheard = 0;
            for packet in 0..250 {
                for (first, heard) in first.iter_mut().zip(self.tick(speaking)) {
                    match first {
                        None if heard => *first = Some(packet),
                        None => {}
                        Some(_) => unheard += usize::from(!heard),
                    }
                }
            }
            let last = first.iter().map(|first| first.unwrap_or(250)).max();
            (last.unwrap_or(0), unheard)
        }
    }

    #[test]
    fn fewer_liars_than_seats_keep_nobody_waiting_for_longer_than_a_second() {
        for seed in 0..16 {
            let mut rng = StdRng::seed_from_u64(seed);
            let seats = rng.random_range(2..7);
            let principals = rng.random_range(1..seats as u32);
            let streams = rng.random_range(1..8);
            let mut liars = Liars::new(seed, seats, principals, streams);
            for turn in 0..8 {
                // As many at once as there are seats that no liar has.
                let count = rng.random_range(1..=seats as u32 - principals).min(3);
                let first = rng.random_range(1000..1012);
                let speaking: Vec<_> = (0..count)
                    .map(|i| (1000 + (first + 5 * i) % 12, rng.random_range(20..50)))
                    .collect();
                let (waited, unheard) = liars.turn(&speaking);
                let room = format!("{principals} with {streams} streams each, {seats} seats");
                assert!(
                    waited <= 50,
                    "seed {seed}, turn {turn}: {waited} packets; {room}"
                );
                let share = unheard as f64 / (250.0 * f64::from(count));
                assert!(
                    share < 0.1,
                    "seed {seed}, turn {turn}: {share} unheard; {room}"
                );
            }
        }
    }

    #[test]
    fn two_identities_with_six_streams_do_not_silence_people_who_take_turns() {
        let mut liars = Liars::new(1, 5, 2, 3);
        for turn in 0..24 {
            let (waited, unheard) = liars.turn(&[(1000 + turn % 12, 25 + turn as u8)]);
            assert!(
                waited <= 50 && unheard < 10,
                "turn {turn}: {waited}, {unheard}"
            );
        }
    }

    #[test]
    fn a_pause_costs_no_seat_while_nobody_waits() {
        let mut room = Room::new(2);
        room.run(2000, &voices([28, 28, SILENCE]), false);
        let heard = room.run(900, &voices([28, 60, 70]), false);
        assert_eq!(heard, [0, 1]);
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
