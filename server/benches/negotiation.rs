//! What descriptions and subscriptions cost, and where: `cargo bench -p server --bench negotiation`. The time of the processor
//! that a media thread gives for them is taken from everybody's media; that of a room's task is not.

use std::{fmt::Write as _, time::Instant};

use protocol::{ParticipantSid, RoomSid, TrackSid};
use rand::{SeedableRng, rngs::StdRng};
use sfu::{
    AudioFeatures, Command, Config, DescriptionCommand, Destination, Event, MediaKind,
    MemberCommand, Negotiator, PeerPermissions, PublishedTrack, SendBatch, Shard, ShardCommand,
    SubscriptionCommand, TrackCodec, TrackCommand, TrackSetting, negotiator::Output,
};

const OFFER: &str = include_str!("../../sfu/tests/sdp/firefox-join.sdp");

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 9;

fn main() {
    println!("CPU time in ms, median of {ROUNDS}: media thread (its longest turn), room's task\n");
    for tracks in [10, 100, 1000] {
        let figures = rounds(|seed| {
            let mut meeting = Meeting::new(seed);
            let member = meeting.join();
            let published = meeting.publish(tracks);
            meeting.subscribe(member, &published);
            meeting.measure(|meeting| meeting.offer(member, tracks / 2))
        });
        print("an offer with so many sections", tracks, figures);
    }
    for tracks in [10, 100, 1000] {
        let figures = rounds(|seed| {
            let mut meeting = Meeting::new(seed);
            let member = meeting.join();
            let published = meeting.publish(tracks);
            meeting.subscribe(member, &published);
            meeting.offer(member, tracks / 2);
            meeting.measure(|meeting| {
                meeting.unsubscribe(member, &published);
                meeting.subscribe(member, &published);
            })
        });
        print(
            "an UpdateSubscription, off and on, of so many",
            tracks,
            figures,
        );
    }
    let figures = rounds(|seed| {
        let mut meeting = Meeting::new(seed);
        let members: Vec<_> = (0..50).map(|_| meeting.join()).collect();
        let published = meeting.publish(98);
        for member in &members {
            meeting.subscribe(*member, &published);
            meeting.offer(*member, 55);
        }
        meeting.measure(|meeting| {
            let camera = meeting.publish(2);
            for member in &members {
                meeting.subscribe(*member, &camera[1..]);
            }
            for member in &members {
                meeting.offer(*member, 55);
            }
        })
    });
    print("a camera turned on in a room of so many", 50, figures);
}

/// Nanoseconds of the media thread, of its longest turn, and of the room's task.
type Figures = [u64; 3];

fn rounds(mut run: impl FnMut(u8) -> Figures) -> Figures {
    let all: Vec<_> = (0..ROUNDS).map(|round| run(round as u8)).collect();
    [0, 1, 2].map(|figure| {
        let mut values: Vec<_> = all.iter().map(|figures| figures[figure]).collect();
        values.sort_unstable();
        values[ROUNDS / 2]
    })
}

fn print(what: &str, count: usize, [media, longest, room]: Figures) {
    let ms = |ns: u64| ns as f64 / 1e6;
    println!(
        "{what:46} {count:5}: {:8.3} ({:7.3}), {:8.3}",
        ms(media),
        ms(longest),
        ms(room)
    );
}

struct Meeting {
    negotiator: Negotiator,
    shard: Shard,
    room: RoomSid,
    rng: StdRng,
    now: Instant,
    figures: Figures,
}

struct Discard(Vec<u8>);

impl SendBatch for Discard {
    fn reserve(&mut self, _: Destination, len: usize) -> Option<&mut [u8]> {
        self.0.resize(len, 0);
        Some(&mut self.0)
    }

    fn commit(&mut self, _: usize) {}
}

impl Meeting {
    fn new(seed: u8) -> Self {
        let dtls = dimpl::certificate::generate_self_signed_certificate().expect("a certificate");
        let config = Config {
            addresses: vec!["192.0.2.1:7882".parse().expect("an address")],
            tcp_addresses: Vec::new(),
            index: 0,
            seed: [seed; 32],
            certificate: sfu::Certificate {
                certificate: dtls.certificate,
                private_key: dtls.private_key,
            },
            connect_timeout_ms: 15_000,
            consent_timeout_ms: 30_000,
            max_peers: 10_000,
            max_tracks_per_peer: 10_000,
            max_data_rate: 1 << 20,
            congestion_control: true,
            audio_top_n: 5,
        };
        let mut rng = StdRng::from_seed([seed; 32]);
        Self {
            negotiator: Negotiator::new(&config, [seed; 32]),
            shard: Shard::new(config),
            room: RoomSid::random(&mut rng),
            rng,
            now: Instant::now(),
            figures: [0; 3],
        }
    }

    /// What `work` costs.
    fn measure(&mut self, work: impl FnOnce(&mut Self)) -> Figures {
        self.figures = [0; 3];
        work(self);
        self.figures
    }

    /// A room says all this at once.
    fn say(&mut self, commands: Vec<Command>) {
        let began = cpu_ns();
        let mut for_shard = Vec::new();
        for command in commands {
            self.negotiator.handle_command(command);
        }
        while let Some(output) = self.negotiator.poll() {
            if let Output::Command(command) = output {
                for_shard.push(command);
            }
        }
        self.figures[2] += cpu_ns() - began;
        self.turn(for_shard);
    }

    /// The media thread has this to do.
    fn turn(&mut self, commands: Vec<ShardCommand>) {
        let mut out = Discard(Vec::new());
        let began = cpu_ns();
        for command in commands {
            self.shard.handle_command(command, self.now, &mut out);
        }
        while let Some(event) = self.shard.poll_event() {
            drop::<Event>(event);
        }
        let took = cpu_ns() - began;
        self.figures[0] += took;
        self.figures[1] = self.figures[1].max(took);
    }

    fn join(&mut self) -> ParticipantSid {
        let peer = ParticipantSid::random(&mut self.rng);
        self.say(vec![Command::Member(MemberCommand::Add {
            room: self.room,
            peer,
            identity: peer.as_str().into(),
            principal: peer.as_str().into(),
            permissions: PeerPermissions {
                can_publish_data: true,
                hidden: false,
                agent: false,
                hears_all: false,
            },
        })]);
        peer
    }

    /// Somebody who is connected elsewhere publishes so many tracks: a voice and a picture in turn.
    fn publish(&mut self, count: usize) -> Vec<TrackSid> {
        let peer = ParticipantSid::random(&mut self.rng);
        let mut commands = vec![Command::Member(MemberCommand::AddRelayed {
            room: self.room,
            peer,
            identity: peer.as_str().into(),
            principal: peer.as_str().into(),
            source: 0,
        })];
        let tracks: Vec<_> = (0..count)
            .map(|index| match index % 2 {
                0 => (
                    TrackSid::random("AM", &mut self.rng),
                    MediaKind::Audio,
                    "audio/opus",
                ),
                _ => (
                    TrackSid::random("VC", &mut self.rng),
                    MediaKind::Video,
                    "video/VP8",
                ),
            })
            .collect();
        commands.extend(tracks.iter().map(|(sid, kind, mime_type)| {
            Command::Track(TrackCommand::PublishRelayed {
                peer,
                track: PublishedTrack {
                    sid: *sid,
                    kind: *kind,
                    cids: Vec::new(),
                    stream: "camera".into(),
                    muted: false,
                    audio: AudioFeatures::default(),
                    mime_type: String::new(),
                    layers: Vec::new(),
                    backup_of: None,
                },
                codec: TrackCodec {
                    mime_type: (*mime_type).into(),
                    ..TrackCodec::default()
                },
            })
        }));
        self.say(commands);
        tracks.into_iter().map(|(sid, ..)| sid).collect()
    }

    fn subscribe(&mut self, peer: ParticipantSid, tracks: &[TrackSid]) {
        let command = |track: &TrackSid| {
            Command::Subscription(SubscriptionCommand::Subscribe {
                peer,
                track: *track,
                setting: TrackSetting::default(),
            })
        };
        self.say(tracks.iter().map(command).collect());
    }

    fn unsubscribe(&mut self, peer: ParticipantSid, tracks: &[TrackSid]) {
        let command = |track: &TrackSid| {
            Command::Subscription(SubscriptionCommand::Unsubscribe {
                peer,
                track: *track,
            })
        };
        self.say(tracks.iter().map(command).collect());
    }

    /// The member offers so many pairs of sections to receive in. Its text was read elsewhere.
    fn offer(&mut self, peer: ParticipantSid, pairs: usize) {
        let text = offer_of(pairs);
        self.say(vec![
            DescriptionCommand::offer(peer, 1, &text)
                .expect("readable")
                .into(),
        ]);
    }
}

/// An offer as Firefox writes it, with so many pairs of sections. Those of Chromium are longer, and 1,000 of them are too long.
fn offer_of(pairs: usize) -> String {
    let mut sections: Vec<&str> = OFFER.split("m=").collect();
    let head = sections.remove(0);
    let of_kind = |kind: &str| *sections.iter().find(|s| s.starts_with(kind)).expect(kind);
    let (audio, video, data) = (of_kind("audio"), of_kind("video"), of_kind("application"));
    let pairs = (0..pairs).flat_map(|_| [audio, video]);
    let (mut body, mut bundle) = (String::new(), String::from("a=group:BUNDLE"));
    for (mid, section) in [data].into_iter().chain(pairs).enumerate() {
        write!(bundle, " {mid}").expect("text");
        let old = section.lines().find(|line| line.starts_with("a=mid:"));
        let line = format!("a=mid:{mid}");
        write!(body, "m={}", section.replace(old.expect("mid"), &line)).expect("text");
    }
    let old = head.lines().find(|line| line.starts_with("a=group:"));
    head.replace(old.expect("group"), &bundle) + &body
}

fn cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the given timespec only.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
