//! Many rounds of people who join, leave, reload their page, publish, stop, mute and lose their network for a moment, all
//! at once. At the end of each round everybody hears everybody and sees everybody who has a picture.
//!
//! A failure names its seed; `SEED=… cargo test -p sfu --test behaviour race` repeats it.

use std::time::Duration;

use crate::rig::Rig;
use client::media::MediaKind;
use protocol::TrackSid;
use rand::{Rng as _, SeedableRng, rngs::StdRng};
use sfu::{Config, TrackCommand};

/// Rooms with so many rounds each: 500 in all.
const ROOMS: u64 = 20;
const ROUNDS_OF_ROOM: u64 = 25;

/// The most people of a room: as many as have seats among the loudest, …
const PEOPLE: usize = 5;

/// … and the least.
const FEW: usize = 2;

/// Until everything has found together after the last change.
const SETTLED: Duration = Duration::from_secs(3);

/// A published track, as its publisher has it.
struct Published {
    sid: TrackSid,
    kind: MediaKind,
    muted: bool,
}

struct Person {
    index: usize,
    tracks: Vec<Published>,
}

struct Room {
    rig: Rig,
    rng: StdRng,
    people: Vec<Person>,
}

impl Room {
    fn new(seed: u64) -> Self {
        let rig = Rig::with(Config {
            audio_top_n: PEOPLE,
            ..crate::rig::config(seed, crate::rig::server())
        });
        Self {
            rig,
            rng: StdRng::seed_from_u64(seed),
            people: Vec::new(),
        }
    }

    fn enter(&mut self) {
        let index = self.rig.join();
        self.people.push(Person {
            index,
            tracks: Vec::new(),
        });
        let person = self.people.len() - 1;
        // Some publish with their first breath, some when they are in.
        if self.rng.random_bool(0.5) {
            self.pause(200);
        }
        self.publish(person, MediaKind::Audio);
        if self.rng.random_bool(0.4) {
            self.publish(person, MediaKind::Video);
        }
    }

    fn leave(&mut self, person: usize) {
        let person = self.people.remove(person);
        self.rig.leave(person.index);
    }

    fn publish(&mut self, person: usize, kind: MediaKind) {
        let person = &mut self.people[person];
        if person.tracks.iter().all(|track| track.kind != kind) {
            let sid = self.rig.publish(person.index, kind, &[]);
            person.tracks.push(Published {
                sid,
                kind,
                muted: false,
            });
        }
    }

    fn mute(&mut self, person: usize) {
        let person = &mut self.people[person];
        for track in &mut person.tracks {
            track.muted = !track.muted;
            let peer = self.rig.participants[person.index].sid;
            self.rig.command(TrackCommand::SetMuted {
                peer,
                track: track.sid,
                muted: track.muted,
            });
        }
    }

    fn unpublish(&mut self, person: usize) {
        let person = &mut self.people[person];
        if let Some(track) = person.tracks.pop() {
            self.rig.unpublish(person.index, track.sid);
        }
    }

    fn lose_network(&mut self, person: usize) {
        let address = self.rig.participants[self.people[person].index]
            .connection
            .local();
        self.rig.cut.push(address);
        self.pause(1500);
        self.rig.cut.clear();
    }

    fn pause(&mut self, most: u64) {
        let time = Duration::from_millis(self.rng.random_range(0..most));
        self.rig.run(time);
    }

    fn act(&mut self) {
        let person = self.rng.random_range(0..self.people.len());
        let count = self.people.len();
        match self.rng.random_range(0..8) {
            0 | 1 if count < PEOPLE => self.enter(),
            2 if count > FEW => self.leave(person),
            // A reload: gone and back at once.
            3 | 4 => {
                self.leave(person);
                self.enter();
            }
            5 => {
                self.publish(person, MediaKind::Audio);
                self.publish(person, MediaKind::Video);
            }
            6 if self.rng.random_bool(0.5) => self.unpublish(person),
            6 => self.mute(person),
            _ if self.rng.random_bool(0.2) => self.lose_network(person),
            _ => {}
        }
    }

    /// Pairs of whom one should hear or see the other and has got nothing for half a second.
    fn unheard(&self) -> Vec<String> {
        let mut unheard = Vec::new();
        for listener in &self.people {
            let others = self.people.iter().filter(|p| p.index != listener.index);
            for (other, track) in others.flat_map(|p| p.tracks.iter().map(move |t| (p, t))) {
                let got = self.rig.received(listener.index, track.sid);
                let fresh = |at| self.rig.now - at < Duration::from_millis(500);
                if !track.muted && !got.last_packet.is_some_and(fresh) {
                    let (listener, other, kind) = (listener.index, other.index, track.kind);
                    unheard.push(format!("{listener} gets no {kind:?} of {other}: {got:?}"));
                }
            }
        }
        unheard
    }

    fn round(&mut self) -> Result<(), Vec<String>> {
        self.rig.loss = if self.rng.random_bool(0.3) { 0.02 } else { 0.0 };
        for _ in 0..self.rng.random_range(1..6) {
            self.act();
            self.pause(120);
        }
        let mut left = SETTLED;
        // Nothing that is older than this round counts.
        self.rig.run(Duration::from_millis(500));
        while !self.unheard().is_empty() {
            if left.is_zero() {
                return Err(self.unheard());
            }
            let step = Duration::from_millis(100);
            self.rig.run(step);
            left = left.saturating_sub(step);
        }
        Ok(())
    }
}

fn run(seeds: std::ops::Range<u64>) {
    let chosen = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    for seed in chosen.map_or(seeds, |seed: u64| seed..seed + 1) {
        let mut room = Room::new(seed);
        (0..3).for_each(|_| room.enter());
        for round in 0..ROUNDS_OF_ROOM {
            if let Err(unheard) = room.round() {
                panic!("SEED={seed}, round {round}: {unheard:#?}");
            }
        }
        let repairs = room.rig.shard.stats().repairs;
        assert_eq!(repairs.resubscribed, 0, "SEED={seed}: without repairs, too");
    }
}

// Two, so that they share the cores of a small machine.

#[test]
fn after_every_race_of_joins_leaves_and_reloads_everybody_hears_everybody() {
    run(0..ROOMS / 2);
}

#[test]
fn after_every_other_race_of_joins_leaves_and_reloads_everybody_hears_everybody() {
    run(ROOMS / 2..ROOMS);
}
