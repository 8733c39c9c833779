//! The active speakers of a room, by the audio levels that clients put on their packets (RFC 6464).
//!
//! Each participant's loudness is smoothed over its packets. A participant begins to speak above one threshold and ends
//! below a lower one, so that a breath between two words changes nothing. Changes are reported every 400 ms.

use std::time::{Duration, Instant};

/// The time between reports: what LiveKit clients are used to.
const INTERVAL: Duration = Duration::from_millis(400);

/// Loudness, 0 to 1, above which somebody begins to speak: about -42 dBov.
const ATTACK: f32 = 0.34;

/// Loudness below which somebody ends: about -52 dBov.
const RELEASE: f32 = 0.18;

/// Level that counts as silence, -dBov. Levels run from 0 (loudest) to 127 (digital silence).
const SILENCE: f32 = 64.0;

/// Share of a new packet in the smoothed loudness while it rises: a word is heard within some 60 ms.
const RISE: f32 = 0.3;
/// Share of a new packet in the smoothed loudness while it falls: a pause of 300 ms ends no speech.
const FALL: f32 = 0.06;

/// Number of steps of the level that is reported.
const STEPS: f32 = 8.0;

/// A voice ends when no packet came for this long: packets stop with DTX, and with the publisher.
const TIMEOUT: Duration = Duration::from_millis(600);

#[derive(Debug)]
struct Voice<K> {
    key: K,
    loudness: f32,
    last: Instant,
    speaking: bool,
}

/// A participant who speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActiveSpeaker<K> {
    /// Key of the participant.
    pub key: K,
    /// Loudness, 0 to 1 in steps of 1/8, at least 1/8.
    pub level: f32,
}

/// The voices of one room.
#[derive(Debug)]
pub struct Speakers<K> {
    voices: Vec<Voice<K>>,
    reported: Vec<ActiveSpeaker<K>>,
    next: Option<Instant>,
}

impl<K: Copy + PartialEq> Default for Speakers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + PartialEq> Speakers<K> {
    /// A room in which nobody speaks.
    pub fn new() -> Self {
        Self {
            voices: Vec::new(),
            reported: Vec::new(),
            next: None,
        }
    }

    /// Records a packet with this level (-dBov: 0 is loudest, 127 silence).
    pub fn record(&mut self, key: K, level: u8, now: Instant) {
        let loudness = (1.0 - f32::from(level) / SILENCE).max(0.0);
        self.next.get_or_insert(now + INTERVAL);
        let Some(voice) = self.voices.iter_mut().find(|voice| voice.key == key) else {
            self.voices.push(Voice {
                key,
                loudness: loudness * RISE,
                last: now,
                speaking: false,
            });
            return;
        };
        let share = if loudness > voice.loudness {
            RISE
        } else {
            FALL
        };
        voice.loudness += (loudness - voice.loudness) * share;
        voice.last = now;
    }

    /// Whether [`Speakers::poll`] may report something.
    pub fn is_active(&self) -> bool {
        self.next.is_some()
    }

    /// Removes a participant that left or stopped publishing.
    pub fn remove(&mut self, key: K) {
        self.voices.retain(|voice| voice.key != key);
    }

    /// All participants who speak, loudest first, when that changed since the last call; at most every 400 ms.
    pub fn poll(&mut self, now: Instant) -> Option<&[ActiveSpeaker<K>]> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        self.next = Some(now + INTERVAL);
        for voice in &mut self.voices {
            if now >= voice.last + TIMEOUT {
                voice.loudness = 0.0;
            }
            voice.speaking = voice.loudness > if voice.speaking { RELEASE } else { ATTACK };
        }
        let active = |voice: &Voice<K>| ActiveSpeaker {
            key: voice.key,
            level: ((voice.loudness * STEPS).round() / STEPS).clamp(1.0 / STEPS, 1.0),
        };
        let mut speakers: Vec<_> = self
            .voices
            .iter()
            .filter(|voice| voice.speaking)
            .map(active)
            .collect();
        speakers.sort_by(|a, b| b.level.total_cmp(&a.level));
        if self.voices.is_empty() {
            self.next = None;
        }
        if speakers == self.reported {
            return None;
        }
        self.reported = speakers;
        Some(&self.reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds packets of 20 ms for `ms` milliseconds and collects the reports.
    fn speak(
        speakers: &mut Speakers<u8>,
        now: &mut Instant,
        ms: u64,
        levels: &[(u8, u8)],
    ) -> Vec<Vec<u8>> {
        let mut reports = Vec::new();
        for _ in 0..ms / 20 {
            *now += Duration::from_millis(20);
            levels
                .iter()
                .for_each(|(key, level)| speakers.record(*key, *level, *now));
            if let Some(report) = speakers.poll(*now) {
                reports.push(report.iter().map(|speaker| speaker.key).collect());
            }
        }
        reports
    }

    #[test]
    fn a_voice_is_reported_within_half_a_second_and_once() {
        let (mut speakers, mut now) = (Speakers::new(), Instant::now());
        assert_eq!(
            speak(&mut speakers, &mut now, 420, &[(1, 25), (2, 127)]),
            [[1]]
        );
        let steady = speak(&mut speakers, &mut now, 2000, &[(1, 25), (2, 127)]);
        assert!(steady.len() <= 1, "{steady:?}");
    }

    #[test]
    fn a_breath_does_not_end_a_speech_and_silence_does() {
        let (mut speakers, mut now) = (Speakers::new(), Instant::now());
        speak(&mut speakers, &mut now, 1000, &[(1, 20)]);
        let breath = speak(&mut speakers, &mut now, 200, &[(1, 127)]);
        assert!(breath.iter().all(|report| report == &[1]), "{breath:?}");
        speak(&mut speakers, &mut now, 400, &[(1, 20)]);
        let silence = speak(&mut speakers, &mut now, 2000, &[(1, 127)]);
        assert_eq!(silence.last(), Some(&vec![]));
    }

    #[test]
    fn background_noise_is_not_speech() {
        let (mut speakers, mut now) = (Speakers::new(), Instant::now());
        assert!(speak(&mut speakers, &mut now, 3000, &[(1, 60)]).is_empty());
    }

    #[test]
    fn the_loudest_comes_first_and_a_leaver_is_gone() {
        let (mut speakers, mut now) = (Speakers::new(), Instant::now());
        let reports = speak(&mut speakers, &mut now, 2000, &[(1, 35), (2, 5)]);
        assert_eq!(reports.last(), Some(&vec![2, 1]));
        speakers.remove(2);
        assert_eq!(speak(&mut speakers, &mut now, 420, &[(1, 35)]), [[1]]);
    }

    #[test]
    fn who_sends_nothing_any_more_stops_speaking() {
        let (mut speakers, mut now) = (Speakers::<u8>::new(), Instant::now());
        speak(&mut speakers, &mut now, 1000, &[(1, 20)]);
        now += Duration::from_secs(1);
        assert_eq!(speakers.poll(now).map(<[_]>::len), Some(0));
    }
}
