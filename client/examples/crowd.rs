//! Many people with microphone and camera in one room: mostly silent, a small picture a second.
//!
//!     cargo run -p client --example crowd -- ws://localhost:7880 ROOM PEOPLE SECONDS API_KEY SECRET [FRAMES]
//!
//! With FRAMES they are lively: so many pictures a second each, and they speak in turns.
//!
//! They come one after the other within SECONDS and stay until the standard input ends. For each line there one line of
//! JSON is printed: how many are in, how many were lost and why, and what those who are in receive.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use client::{
    Client, ConnectOptions, Error, Event, Handle, Options, PeerConfig, Publish,
    fixtures::{MovingPicture, OPUS_DTX, PictureSize, VIDEO_FRAME_TICKS, tone},
    media::{AudioLevel, MediaKind},
};
use protocol::livekit::{StreamState, signal_response};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Between two packets of silence, as an encoder with DTX sends them.
const SILENCE: Duration = Duration::from_millis(400);

// What makes 160 people fit into one machine beside their server. Each has 320 streams, and looks at all of them with each
// datagram, each report and each negotiation.

/// Tracks that come within this are negotiated together.
const SECTIONS: Duration = Duration::from_secs(5);

/// Datagrams that come within this are read together.
const DATAGRAMS: Duration = Duration::from_millis(20);

/// Between two reports on the streams.
const REPORTS: Duration = Duration::from_secs(5);

/// Between two packets of somebody who speaks.
const SOUND: Duration = Duration::from_millis(20);

/// The time for which one of a lively crowd speaks.
const TURN: Duration = Duration::from_secs(3);

/// Where they go, and how they get in.
struct Meeting {
    url: String,
    room: String,
    key: String,
    secret: String,
    people: u32,
    /// Pictures a second of a lively crowd.
    frames: Option<u32>,
    started: Instant,
}

impl Meeting {
    /// Whether it is this person's turn to speak.
    fn is_speaking(&self, index: u32) -> bool {
        let turn = self.started.elapsed().as_secs() / TURN.as_secs();
        self.frames.is_some() && turn % u64::from(self.people.max(1)) == u64::from(index)
    }
}

/// Who is in, and what became of the others.
#[derive(Default)]
struct Crowd {
    people: Vec<Handle>,
    lost: Vec<String>,
    /// Who had to come back.
    returned: Vec<String>,
    /// Tracks that the server does not send for want of bandwidth, by the number of the person.
    paused: BTreeMap<u32, BTreeSet<String>>,
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ([url, room, people, seconds, key, secret], frames) = (match arguments.as_slice() {
        [first @ .., frames] if first.len() == 6 => (first, Some(frames)),
        all => (all, None),
    }) else {
        eprintln!("usage: crowd URL ROOM PEOPLE SECONDS API_KEY SECRET [FRAMES]");
        std::process::exit(2);
    };
    let frames = frames.map(|frames| frames.parse::<u32>()).transpose();
    let (Ok(people), Ok(seconds), Ok(frames)) =
        (people.parse::<u32>(), seconds.parse::<f64>(), frames)
    else {
        eprintln!("PEOPLE, SECONDS and FRAMES are numbers");
        std::process::exit(2);
    };
    let (url, room, key, secret) = (url.clone(), room.clone(), key.clone(), secret.clone());
    let meeting = Meeting {
        url,
        room,
        key,
        secret,
        people,
        frames,
        started: Instant::now(),
    };
    let (meeting, crowd) = (Arc::new(meeting), Arc::new(Mutex::new(Crowd::default())));
    let between = Duration::from_secs_f64(seconds / f64::from(people.max(1)));
    tokio::spawn(come(meeting, crowd.clone(), people, between));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        println!("{}", report(&crowd).await);
    }
}

async fn come(meeting: Arc<Meeting>, crowd: Arc<Mutex<Crowd>>, people: u32, between: Duration) {
    for index in 0..people {
        let (meeting, crowd) = (meeting.clone(), crowd.clone());
        tokio::spawn(async move {
            let Err(error) = attend(&meeting, &crowd, index).await;
            let mut crowd = crowd.lock().expect("nobody panics with it");
            crowd.lost.push(format!("person {index}: {error}"));
        });
        sleep(between).await;
    }
}

/// What all who are in receive together: tracks that are subscribed, and pictures of which packets came.
async fn report(crowd: &Mutex<Crowd>) -> serde_json::Value {
    let (people, lost, returned, paused) = {
        let crowd = crowd.lock().expect("nobody panics with it");
        let Crowd {
            people,
            lost,
            returned,
            paused,
        } = &*crowd;
        let paused: usize = paused.values().map(BTreeSet::len).sum();
        (people.clone(), lost.clone(), returned.clone(), paused)
    };
    let (mut voices, mut pictures, mut seen) = (0, 0, 0);
    for person in &people {
        let Ok(stats) = person.stats().await else {
            continue;
        };
        for track in &stats.subscribed {
            match track.kind {
                MediaKind::Audio => voices += 1,
                MediaKind::Video => {
                    pictures += 1;
                    seen += u32::from(track.received.packets > 0);
                }
            }
        }
    }
    serde_json::json!({
        "in": people.len(), "lost": lost, "returned": returned, "voices": voices, "pictures": pictures,
        "paused": paused, "seen": seen,
    })
}

/// One person's whole meeting. It ends only by an error: who stays until the end stays for good.
async fn attend(
    meeting: &Meeting,
    crowd: &Mutex<Crowd>,
    index: u32,
) -> Result<std::convert::Infallible, Error> {
    let options = ConnectOptions {
        participant: Options {
            peer: PeerConfig {
                frames: false,
                report_interval: Some(REPORTS),
                ..PeerConfig::default()
            },
            gather_sections: SECTIONS,
            ..Options::default()
        },
        gather_datagrams: DATAGRAMS,
        ..ConnectOptions::default()
    };
    let key = (meeting.key.as_str(), meeting.secret.as_str());
    let token = support::token(key, &meeting.room, &format!("person-{index}"));
    let mut client = Client::connect(&meeting.url, &token, options).await?;
    let microphone = client.publish(Publish::microphone()).await?;
    let camera = client.publish(Publish::camera(320, 180)).await?;
    for _ in 0..2 {
        let published = |event| matches!(event, Event::TrackPublished { .. }).then_some(());
        client
            .wait_for("a publication", PATIENCE, published)
            .await?;
    }
    crowd
        .lock()
        .expect("nobody panics with it")
        .people
        .push(client.handle());
    // Not all at once: nobody's camera waits for another's.
    let offset = Duration::from_millis(u64::from(index) * 37 % 1000);
    let every = |period| {
        let mut clock = interval_at(Instant::now() + offset, period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock
    };
    let shots = Duration::from_secs(1) / meeting.frames.unwrap_or(1).max(1);
    let (mut silence, mut shutter) = (every(SILENCE), every(shots));
    let mut sound = every(SOUND);
    let mut voice = tone().into_iter().cycle();
    let loud = Some(AudioLevel {
        dbov: -20,
        voice: true,
    });
    let mut picture = MovingPicture::single(PictureSize::Low);
    let level = Some(AudioLevel {
        dbov: -127,
        voice: false,
    });
    let started = Instant::now();
    loop {
        tokio::select! {
            event = client.next_event() => match event {
                Some(Event::KeyFrameRequested { layer, .. }) => picture.restart(layer),
                Some(Event::Signal(message)) => note_paused(crowd, index, *message),
                Some(Event::Reconnecting(how)) => {
                    let mut crowd = crowd.lock().expect("nobody panics with it");
                    crowd.returned.push(format!("person {index}: {how:?}"));
                }
                Some(_) => {}
                None => return Err(Error::Ended),
            },
            at = sound.tick(), if meeting.frames.is_some() => {
                if meeting.is_speaking(index)
                    && let Some(frame) = voice.next()
                {
                    let timestamp = ticks(at - started, 48_000);
                    let sent = client.write_frame(&microphone, None, frame.to_vec(), timestamp, loud).await;
                    unless_returning(sent)?;
                }
            }
            at = silence.tick(), if !meeting.is_speaking(index) => {
                let timestamp = ticks(at - started, 48_000);
                let sent = client.write_frame(&microphone, None, OPUS_DTX.to_vec(), timestamp, level).await;
                unless_returning(sent)?;
            }
            at = shutter.tick() => {
                let timestamp = ticks(at - started, VIDEO_FRAME_TICKS * 30);
                for (layer, frame) in picture.next_frames().1 {
                    let sent = client.write_frame(&camera, layer, frame.to_vec(), timestamp, None).await;
                    unless_returning(sent)?;
                }
            }
        }
    }
}

fn note_paused(crowd: &Mutex<Crowd>, index: u32, message: signal_response::Message) {
    let signal_response::Message::StreamStateUpdate(update) = message else {
        return;
    };
    let mut crowd = crowd.lock().expect("nobody panics with it");
    let paused = crowd.paused.entry(index).or_default();
    for stream in update.stream_states {
        match stream.state() {
            StreamState::Paused => _ = paused.insert(stream.track_sid),
            StreamState::Active => _ = paused.remove(&stream.track_sid),
        }
    }
}

/// Who is coming back has nothing to send on for a while.
fn unless_returning(sent: Result<(), Error>) -> Result<(), Error> {
    match sent {
        Err(Error::NotNegotiated(_)) => Ok(()),
        other => other,
    }
}

/// The RTP timestamp of a moment, at `rate` a second.
fn ticks(since: Duration, rate: u32) -> u32 {
    (since.as_secs_f64() * f64::from(rate)) as u64 as u32
}
