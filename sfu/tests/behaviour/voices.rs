//! Which voices of a large room are forwarded, and to whom: by participants who say truly how loud they are, and by others.

use std::time::Duration;

use crate::attacker::{Attacker, LEVEL, MID, Section};
use crate::rig::Rig;
use client::media::MediaKind as ClientKind;
use protocol::TrackSid;
use rand::{Rng as _, SeedableRng, rngs::StdRng};
use sfu::{Config, MediaKind, MemberCommand, RoomCommand};

const SECOND: Duration = Duration::from_secs(1);

/// Levels of somebody who speaks, -dBov.
const SPEECH: [u8; 8] = [25, 28, 34, 39, 29, 26, 45, 33];

const SILENCE: [u8; 1] = [127];

fn room(seed: u64, audio_top_n: usize) -> Rig {
    Rig::with(Config {
        audio_top_n,
        ..crate::rig::config(seed, crate::rig::server())
    })
}

fn speakers(rig: &mut Rig, count: usize) -> Vec<(usize, TrackSid)> {
    let speakers = (0..count).map(|_| rig.join()).collect::<Vec<_>>();
    speakers
        .into_iter()
        .map(|who| (who, rig.publish(who, ClientKind::Audio, &[])))
        .collect()
}

#[test]
fn who_writes_down_or_records_gets_every_voice_and_others_the_loudest() {
    let mut rig = room(1, 2);
    rig.hears_all = true;
    let early = rig.join();
    rig.hears_all = false;
    let voices = speakers(&mut rig, 6);
    for (i, (who, _)) in voices.iter().enumerate() {
        let quieter = if i < 2 { 0 } else { 25 };
        rig.participants[*who].levels = Some(SPEECH.map(|level| level + quieter).to_vec());
    }
    let guest = rig.join();
    rig.run(3 * SECOND);
    rig.hears_all = true;
    let late = rig.join();
    rig.run(5 * SECOND);
    for agent in [early, late] {
        for (_, voice) in &voices {
            let got = rig.received(agent, *voice);
            assert!(got.packets > 220 && got.lost == 0, "{got:?}");
        }
    }
    let heard = |rig: &Rig| {
        let packets = voices
            .iter()
            .map(|(_, voice)| rig.received(guest, *voice).packets);
        packets.collect::<Vec<_>>()
    };
    let before = heard(&rig);
    assert!(before[0] > 350 && before[1] > 350, "{before:?}");
    assert!(
        before[2..].iter().all(|packets| *packets < 100),
        "{before:?}"
    );
    // Another one becomes louder: nothing is missing to anybody.
    rig.participants[voices[0].0].levels = Some(SILENCE.to_vec());
    rig.participants[voices[5].0].levels = Some(SPEECH.to_vec());
    rig.run(4 * SECOND);
    let after = heard(&rig);
    assert!(after[5] > before[5] + 140, "{after:?}");
    assert_eq!(rig.received(guest, voices[5].1).lost, 0);
    for agent in [early, late] {
        for (_, voice) in &voices {
            assert_eq!(rig.received(agent, *voice).lost, 0);
        }
    }
    let repairs = rig.shard.stats().repairs;
    assert_eq!((repairs.restarted, repairs.resubscribed), (0, 0));
    // Without them, what is too quiet ends where it comes in.
    for agent in [early, late] {
        rig.leave(agent);
    }
    let out = rig.shard.stats().rtp_out;
    rig.run(SECOND);
    let out = rig.shard.stats().rtp_out - out;
    // Two voices to five others each, and to the guest; one of six and five of five are for oneself.
    assert!(out < 700, "{out}");
}

static SECTIONS: [[Section; 3]; 2] = {
    const fn voice(mid: &'static str, cid: &'static str) -> Section {
        Section {
            mid,
            kind: MediaKind::Audio,
            cid: Some(cid),
            rids: &[],
        }
    }
    [
        [voice("0", "a0"), voice("1", "a1"), voice("2", "a2")],
        [voice("0", "e0"), voice("1", "e1"), voice("2", "e2")],
    ]
};

/// Participants who send silence and say that it is speech.
struct Liars {
    liars: Vec<Attacker>,
    rng: StdRng,
    index: u64,
}

impl Liars {
    fn join(rig: &mut Rig) -> Self {
        let liars = [1, 2].map(|number| {
            let sections = &SECTIONS[usize::from(number) - 1];
            let mut liar = Attacker::join(rig, number, sections).connected(rig);
            for section in sections {
                liar.publish(rig, MediaKind::Audio, section.cid.unwrap());
            }
            assert!(liar.offer(rig, sections, |sdp| sdp));
            liar
        });
        Self {
            liars: liars.into(),
            rng: StdRng::seed_from_u64(7),
            index: 0,
        }
    }

    fn run(&mut self, rig: &mut Rig, duration: Duration) {
        let end = rig.now + duration;
        while rig.now < end {
            self.index += 1;
            for liar in &mut self.liars {
                if self.index.is_multiple_of(250) {
                    let check = liar.check(true, None);
                    liar.send(rig, &check);
                }
                for (ssrc, mid) in [(71, b"0"), (72, b"1"), (73, b"2")] {
                    let level = [0x80 | self.rng.random_range(0..=25u8)];
                    let extensions: [(u8, &[u8]); 2] = [(MID, mid), (LEVEL, &level)];
                    let packet = liar.rtp((ssrc, self.index), 111, &extensions, b"silence");
                    liar.send(rig, &packet);
                }
                liar.sent.clear();
            }
            rig.run(Duration::from_millis(20));
        }
    }
}

/// People take turns in speaking, five seconds each; packets of them that a listener got in the first second, and in the
/// rest.
fn take_turns(rig: &mut Rig, liars: &mut Liars, voices: &[(usize, TrackSid)]) -> Vec<(u64, u64)> {
    let listener = rig.join();
    let mut heard = Vec::new();
    for (who, voice) in voices {
        rig.participants[*who].levels = Some(SPEECH.to_vec());
        let before = rig.received(listener, *voice).packets;
        liars.run(rig, SECOND);
        let first = rig.received(listener, *voice).packets;
        liars.run(rig, 4 * SECOND);
        let all = rig.received(listener, *voice).packets;
        heard.push((first - before, all - first));
        rig.participants[*who].levels = Some(SILENCE.to_vec());
    }
    heard
}

#[test]
fn two_liars_with_three_voices_each_silence_nobody() {
    let mut rig = room(2, 5);
    let mut liars = Liars::join(&mut rig);
    liars.run(&mut rig, 2 * SECOND);
    let voices = speakers(&mut rig, 8);
    for (who, _) in &voices {
        rig.participants[*who].levels = Some(SILENCE.to_vec());
    }
    liars.run(&mut rig, 10 * SECOND);
    let heard = take_turns(&mut rig, &mut liars, &voices);
    for (first, rest) in &heard {
        assert!(*first > 10 && *rest > 180, "{heard:?}");
    }
}

#[test]
fn companions_have_together_the_voice_of_one() {
    let mut rig = room(3, 3);
    rig.companion_of = Some("mallory");
    let mut liars = Liars::join(&mut rig);
    liars.run(&mut rig, SECOND);
    rig.companion_of = None;
    let voices = speakers(&mut rig, 2);
    for (who, _) in &voices {
        rig.participants[*who].levels = Some(SPEECH.map(|level| level + 20).to_vec());
    }
    let listener = rig.join();
    liars.run(&mut rig, 3 * SECOND);
    // Three seats: two for those who speak from their first packet on, and one for all the others.
    for (_, voice) in &voices {
        let got = rig.received(listener, *voice);
        assert!(got.packets > 130 && got.lost == 0, "{got:?}");
    }
    let room = rig.room;
    rig.command(RoomCommand::SetAudioTopN { room, limit: 0 });
    liars.run(&mut rig, SECOND);
}

#[test]
fn who_is_made_an_agent_gets_every_voice_on_a_second_connection_too() {
    for two in [false, true] {
        let mut rig = room(9, 2);
        let agent = match two {
            false => rig.join(),
            true => rig.join_with_two(),
        };
        rig.run(SECOND);
        rig.command(MemberCommand::SetPermissions {
            peer: rig.participants[agent].sid,
            permissions: sfu::PeerPermissions {
                can_publish_data: true,
                hidden: false,
                agent: true,
                hears_all: true,
            },
        });
        let voices = speakers(&mut rig, 6);
        for (i, (who, _)) in voices.iter().enumerate() {
            let quieter = if i < 2 { 0 } else { 25 };
            rig.participants[*who].levels = Some(SPEECH.map(|level| level + quieter).to_vec());
        }
        rig.run(6 * SECOND);
        for (_, voice) in &voices {
            let got = rig.received(agent, *voice);
            assert!(got.packets > 220, "two: {two}, {got:?}");
        }
    }
}
