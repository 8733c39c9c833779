//! How long a native client takes to connect, to its first sound and to its first decoded picture.
//!
//!     cargo run -p client --example probe -- ws://localhost:7880 [receivers] [api key] [secret]
//!
//! One participant publishes a tone and a simulcast picture; then receivers join, first each alone, then all in a row.
//! Times are from the call of connect(), milliseconds.

mod support;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use client::{
    Client, ConnectOptions, Error, Event, Publish, fixtures::MovingPicture, media::MediaKind,
};

const PATIENCE: Duration = Duration::from_secs(10);

struct Times {
    connected: Duration,
    sound: Duration,
    picture: Duration,
    size: (u16, u16),
}

struct Target {
    url: String,
    key: String,
    secret: String,
    room: String,
}

impl Target {
    async fn connect(&self, identity: &str) -> Result<Client, Error> {
        let key = (self.key.as_str(), self.secret.as_str());
        let token = support::token(key, &self.room, identity);
        Client::connect(&self.url, &token, ConnectOptions::default()).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .unwrap_or_else(|| "ws://localhost:7880".into());
    let receivers = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(5);
    let target = Target {
        url,
        key: arguments.next().unwrap_or_else(|| "devkey".into()),
        secret: arguments.next().unwrap_or_else(|| "secret".into()),
        room: format!("probe-{}", std::process::id()),
    };

    let mut publisher = target.connect("publisher").await?;
    let microphone = publisher.publish(Publish::microphone()).await?;
    let camera = publisher
        .publish(Publish::simulcast_camera(1280, 720))
        .await?;
    let mut published = Vec::new();
    while published.len() < 2 {
        let cid = publisher.wait_for("the publication", PATIENCE, |event| match event {
            Event::TrackPublished { cid, .. } => Some(cid),
            _ => None,
        });
        published.push(cid.await?);
    }
    tokio::spawn(client::play_tone(publisher.handle(), microphone));
    tokio::spawn(client::play_picture(
        publisher.handle(),
        camera.clone(),
        MovingPicture::simulcast(),
    ));
    let events = tokio::spawn(async move { while publisher.next_event().await.is_some() {} });
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut alone = Vec::new();
    for index in 0..receivers {
        let (times, client) = join(&target, format!("alone-{index}")).await?;
        alone.push(times);
        client.leave().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    print("alone", &alone);

    let mut in_a_row = Vec::new();
    let mut clients = Vec::new();
    for index in 0..receivers {
        let (times, client) = join(&target, format!("row-{index}")).await?;
        in_a_row.push(times);
        clients.push(client);
    }
    print("in a row", &in_a_row);

    let joins = (0..receivers).map(|index| join(&target, format!("together-{index}")));
    let mut together = Vec::new();
    for joined in futures_util::future::join_all(joins).await {
        let (times, client) = joined?;
        together.push(times);
        clients.push(client);
    }
    print("together", &together);

    tokio::time::sleep(Duration::from_secs(2)).await;
    if let Some(client) = clients.last_mut() {
        reconnect(client).await?;
    }
    for client in clients {
        for track in client.stats().await?.subscribed {
            let r = track.received;
            if r.lost > 0 || r.dropped_frames > 0 {
                println!(
                    "{:?}: {} packets, {} lost, {} frames dropped",
                    track.kind, r.packets, r.lost, r.dropped_frames
                );
            }
        }
        client.leave().await;
    }
    events.abort();
    Ok(())
}

async fn join(target: &Target, identity: String) -> Result<(Times, Client), Error> {
    let started = Instant::now();
    let mut client = target.connect(&identity).await?;
    let connected = started.elapsed();
    let mut kinds = BTreeMap::new();
    let (mut sound, mut picture) = (None, None);
    let both = client.wait_for("sound and picture", PATIENCE, |event| {
        match event {
            Event::TrackSubscribed { track, kind, .. } => {
                kinds.insert(track, kind);
            }
            Event::Frame { track, frame } if frame.decodable => {
                let after = frame.received.saturating_duration_since(started);
                match kinds.get(&track) {
                    Some(MediaKind::Audio) => drop(sound.get_or_insert(after)),
                    Some(MediaKind::Video) => drop(picture.get_or_insert((after, frame.size))),
                    None => {}
                }
            }
            _ => {}
        }
        Some((sound?, picture?))
    });
    match both.await {
        Ok((sound, (picture, size))) => Ok((
            Times {
                connected,
                sound,
                picture,
                size,
            },
            client,
        )),
        Err(error) => {
            eprintln!(
                "{identity}: connected after {connected:?}, {:#?}",
                client.stats().await?
            );
            Err(error)
        }
    }
}

/// Cuts the signal connection as a lost network would, then asks for a session anew.
async fn reconnect(client: &mut Client) -> Result<(), Error> {
    let lost = |stats: &client::Stats| {
        stats
            .subscribed
            .iter()
            .map(|track| track.received.lost)
            .sum::<u64>()
    };
    let before = client.stats().await?;
    let started = Instant::now();
    client
        .call(|participant, now| participant.signal_lost(now))
        .await?;
    client
        .wait_for("the resume", PATIENCE, |event| {
            (event == Event::Resumed).then_some(())
        })
        .await?;
    println!("resumed after {:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = client.stats().await?;
    for (before, after) in before.subscribed.iter().zip(&after.subscribed) {
        println!(
            "  {:?}: {} packets since",
            after.kind,
            after.received.packets - before.received.packets
        );
    }
    println!("  {} lost", lost(&after) - lost(&before));

    let started = Instant::now();
    client
        .call(|participant, now| participant.reconnect_fully(now))
        .await?;
    client
        .wait_for("the new session", PATIENCE, |event| {
            (event == Event::Connected).then_some(())
        })
        .await?;
    println!("reconnected after {:?}", started.elapsed());
    let picture = client.wait_for("a picture", PATIENCE, |event| match event {
        Event::Frame { frame, .. } if frame.size != (0, 0) && frame.decodable => Some(()),
        _ => None,
    });
    picture.await?;
    println!("  picture after {:?}", started.elapsed());
    Ok(())
}

fn print(title: &str, times: &[Times]) {
    let column = |value: fn(&Times) -> Duration| {
        let mut sorted: Vec<_> = times
            .iter()
            .map(|t| value(t).as_secs_f64() * 1000.0)
            .collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let (first, last) = (
            sorted.first().copied().unwrap_or_default(),
            sorted.last().copied().unwrap_or_default(),
        );
        format!("{median:7.1} ({first:.1}–{last:.1})")
    };
    let size = times.first().map(|t| t.size).unwrap_or_default();
    println!(
        "{title:10} connected {}  sound {}  picture {}  {}x{}",
        column(|t| t.connected),
        column(|t| t.sound),
        column(|t| t.picture),
        size.0,
        size.1
    );
}
