//! A room into which many come at once: `cargo bench -p server --bench crowd`. What they are told, all kinds of messages
//! together, and what that takes of the processor, for each join; and what an input takes that changes nothing.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    livekit::{
        ConnectionSettings, JoinRequest, LeaveRequest, MuteTrackRequest,
        signal_request::Message as Ask, signal_response::Message,
    },
    token::{Grant, VideoGrant},
};
use sfu::{Command, Event, MemberCommand};
use signaling::{Config, Join, Room, RoomInput, RoomOutput, SessionId, SessionMessage};

/// They come within this time, …
const ARRIVE: Duration = Duration::from_secs(10);

/// … and are told of it within this.
const SETTLE: Duration = Duration::from_secs(5);

fn main() {
    println!("for each join: messages, KB, ms of CPU; the three kinds that are most of it");
    for people in [10, 100, 1000] {
        let mut crowd = Crowd::new();
        let began = cpu_ns();
        for person in 0..people {
            crowd.join(person);
            crowd.advance(ARRIVE / people);
        }
        crowd.advance(SETTLE);
        let took = cpu_ns() - began;
        let each = |total: usize| total as f64 / f64::from(people);
        let mut kinds: Vec<_> = crowd.told.into_iter().collect();
        let messages = kinds.iter().map(|(_, told)| told.0).sum();
        let bytes = kinds.iter().map(|(_, told)| told.1).sum();
        kinds.sort_by_key(|(_, told)| std::cmp::Reverse(told.1));
        kinds.truncate(3);
        let kinds: Vec<_> = kinds
            .into_iter()
            .map(|(kind, told)| {
                format!("{kind} {:.0} ({:.1} KB)", each(told.0), each(told.1) / 1e3)
            })
            .collect();
        println!(
            "{people:5} people: {:7.1}, {:8.2}, {:7.3}; {}",
            each(messages),
            each(bytes) / 1e3,
            took as f64 / 1e6 / f64::from(people),
            kinds.join(", ")
        );
    }
    println!("\na message that changes nothing, and a leave: us of CPU each");
    for people in [10, 100, 1000] {
        let mut crowd = Crowd::new();
        for person in 0..people {
            crowd.join(person);
            crowd.advance(ARRIVE / people);
        }
        crowd.advance(SETTLE);
        let nothing = crowd.ask((0..1000).map(|turn| turn % people), || {
            Ask::Mute(MuteTrackRequest::default())
        });
        let leave = crowd.ask(0..people / 2, || Ask::Leave(LeaveRequest::default()));
        println!("{people:5} people: {nothing:8.2}, {leave:8.2}");
    }
}

struct Crowd {
    room: Room,
    now: Instant,
    /// Messages and bytes by kind.
    told: BTreeMap<&'static str, (usize, usize)>,
}

impl Crowd {
    fn new() -> Self {
        let (config, now) = (Arc::new(Config::default()), Instant::now());
        let unix = Duration::from_secs(1_700_000_000);
        Self {
            room: Room::new("Room".into(), None, config, [7; 32], unix, now),
            now,
            told: BTreeMap::new(),
        }
    }

    fn join(&mut self, person: u32) {
        let identity = format!("person-{person:04}");
        let grant = Grant {
            api_key: "key".into(),
            name: format!("Name of {identity}"),
            identity,
            video: Some(VideoGrant {
                room_join: true,
                room: "Room".into(),
                ..VideoGrant::default()
            }),
            ..Grant::default()
        };
        let request = JoinRequest {
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: true,
                ..ConnectionSettings::default()
            }),
            ..JoinRequest::default()
        };
        let join = Join {
            session: SessionId(u64::from(person) + 1),
            grant,
            request,
            two_connections: false,
            mls: false,
        };
        self.room.handle(RoomInput::Join(Box::new(join)), self.now);
        self.drain();
    }

    /// Each of these says this. Returns microseconds of each, with the look for the next timeout that follows an input.
    fn ask(&mut self, people: impl Iterator<Item = u32>, message: impl Fn() -> Ask) -> f64 {
        let (mut count, began) = (0, cpu_ns());
        for person in people {
            let input = RoomInput::Request {
                session: SessionId(u64::from(person) + 1),
                request: Box::new(message()),
            };
            self.room.handle(input, self.now);
            self.drain();
            std::hint::black_box(self.room.poll_timeout());
            count += 1;
        }
        (cpu_ns() - began) as f64 / 1e3 / f64::from(count)
    }

    fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.room.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.room.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(output) = self.room.poll_output() {
            match output {
                RoomOutput::ToSession {
                    message: SessionMessage::Response(response),
                    ..
                } => {
                    let told = self.told.entry(kind(response.message())).or_default();
                    told.0 += 1;
                    told.1 += response.binary().len();
                }
                // Everybody is connected at once.
                RoomOutput::ToMedia {
                    leg,
                    command: Command::Member(MemberCommand::Add { peer, .. }),
                } => {
                    let event = Event::Connected { peer };
                    let connected = RoomInput::Media { leg, event };
                    self.room.handle(connected, self.now);
                }
                _ => {}
            }
        }
    }
}

fn kind(message: Option<&Message>) -> &'static str {
    match message {
        Some(Message::Join(_)) => "join",
        Some(Message::Update(_)) => "update",
        Some(Message::RoomUpdate(_)) => "room_update",
        Some(Message::ConnectionQuality(_)) => "connection_quality",
        Some(Message::SpeakersChanged(_)) => "speakers_changed",
        _ => "others",
    }
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
