//! Encrypted meetings over real sockets: members found a group through the server, and it goes on when the server starts anew.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use client::{
    ConnectOptions, GroupOptions, Options, PeerConfig, Publish,
    fixtures::{self, MovingPicture, PictureSize},
    play_picture, play_tone,
};
use e2ee::{
    base_key::BaseKey,
    client::{Client, Event, Now, Output, Reason, Wish},
    identity::Identity,
};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    livekit::{JoinRequest, RoomConfiguration, signal_response},
    signal::{Frame, decode_response, encode_join_request},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, http::StatusCode},
};

use crate::support::{PATIENCE, Server, grant, now, signed, token};

const ROOM: &str = "encrypted";
const SECRET: &str = "a secret of at least thirty-two bytes";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a member knows.
#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    epoch: u64,
    group: Vec<u8>,
    base_key: Option<BaseKey>,
    code: String,
    members: Vec<String>,
    heard: Vec<String>,
    out: Option<Reason>,
}

enum Command {
    Say(&'static str),
    Leave,
    Connect(SocketAddr),
}

/// A participant whose sockets a task holds.
struct Member {
    commands: mpsc::UnboundedSender<Command>,
    state: watch::Receiver<State>,
}

/// A token for an encrypted room.
fn encrypted_token(identity: &str, secret: &str) -> String {
    let settings = RoomConfiguration {
        tags: [("encryption".to_owned(), "mls".to_owned())].into(),
        ..Default::default()
    };
    let grant = protocol::token::Grant {
        room_config: Some(Box::new(settings)),
        ..grant(ROOM, identity)
    };
    signed(&grant, secret, now())
}

async fn signal(address: SocketAddr, token: &str, more: &str) -> Result<Socket, Error> {
    let request = encode_join_request(&JoinRequest::default());
    let url = format!("ws://{address}/rtc/v1?access_token={token}&join_request={request}{more}");
    Ok(connect_async(url).await?.0)
}

async fn sockets(address: SocketAddr, token: &str) -> Result<(Socket, Socket), Error> {
    let group = format!("ws://{address}/e2ee?access_token={token}");
    let group = connect_async(group).await?.0;
    Ok((signal(address, token, "&e2ee=mls").await?, group))
}

impl Member {
    fn join(server: &Server, identity: &str, secret: &str) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (sender, state) = watch::channel(State::default());
        let token = encrypted_token(identity, secret);
        let wish = Wish {
            moderated: false,
            ticket_seconds: 3600,
        };
        let client = Client::new(Identity::new(identity).unwrap(), wish, None);
        let _ = commands.send(Command::Connect(server.address));
        tokio::spawn(run(client, token, receiver, sender));
        Self { commands, state }
    }

    fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    async fn wait(&mut self, what: &str, is: impl FnMut(&State) -> bool) -> State {
        let waited = timeout(PATIENCE, self.state.wait_for(is)).await;
        let waited = waited.ok().and_then(Result::ok).map(|state| state.clone());
        waited.unwrap_or_else(|| panic!("{what}: {:?}", self.state.borrow()))
    }
}

async fn run(
    mut client: Client,
    token: String,
    mut commands: mpsc::UnboundedReceiver<Command>,
    state: watch::Sender<State>,
) {
    let started = Instant::now();
    let mut open: Option<(Socket, Socket)> = None;
    loop {
        let moment = Now {
            clock: started.elapsed(),
            unix: now(),
        };
        client.handle_timeout(moment);
        while let Some(output) = client.poll() {
            match output {
                Output::Send(frame) => {
                    if let Some((_, group)) = &mut open
                        && group.send(Message::Binary(frame.into())).await.is_err()
                    {
                        open = None;
                    }
                }
                Output::Event(event) => state.send_modify(|state| note(state, event)),
                Output::Reconnect => panic!("an entry is missing"),
            }
        }
        if let Some(group) = client.group() {
            state.send_modify(|state| {
                state.group = group.id().to_vec();
                state.code = group.code();
                state.members = group.members().map(|member| member.identity).collect();
            });
        }
        let due = client.due().map(|due| started + due);
        let sleep = tokio::time::sleep_until(due.unwrap_or_else(Instant::now));
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Say(text)) => client.say(text.as_bytes()).unwrap(),
                Some(Command::Leave) | None => return,
                Some(Command::Connect(address)) => {
                    open = sockets(address, &token).await.ok();
                    client.connected();
                }
            },
            message = next(&mut open) => match message {
                Some(frame) => client.receive(&frame, moment),
                None => open = None,
            },
            () = sleep, if due.is_some() => {}
        }
    }
}

/// The next frame of the delivery service. `None`: a connection has ended.
async fn next(open: &mut Option<(Socket, Socket)>) -> Option<Vec<u8>> {
    let Some((signal, group)) = open else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            message = signal.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            },
            message = group.next() => match message {
                Some(Ok(Message::Binary(frame))) => return Some(frame.to_vec()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            },
        }
    }
}

fn note(state: &mut State, event: Event) {
    match event {
        Event::Epoch {
            epoch, base_key, ..
        } => {
            state.epoch = epoch;
            state.base_key = Some(base_key);
        }
        Event::Said { bytes, .. } => state.heard.push(String::from_utf8(bytes).unwrap()),
        Event::Out(reason) => state.out = Some(reason),
        _ => {}
    }
}

#[tokio::test]
async fn members_agree_on_keys_that_the_server_does_not_have_and_change_them_when_somebody_leaves()
{
    let server = Server::dev(&[]);
    let mut ada = Member::join(&server, "ada", "secret");
    ada.wait("the group is founded", |state| state.members == ["ada"])
        .await;
    let mut ben = Member::join(&server, "ben", "secret");
    let mut cleo = Member::join(&server, "cleo", "secret");
    let all = |state: &State| state.members.len() == 3;
    let epoch = ada.wait("all are in", all).await.epoch;
    for other in [&mut ben, &mut cleo] {
        let theirs = other
            .wait("all are in", |state| all(state) && state.epoch == epoch)
            .await;
        let own = ada.state.borrow().clone();
        assert_eq!((theirs.base_key, theirs.code), (own.base_key, own.code));
    }
    ben.tell(Command::Say("hello"));
    ada.wait("Ben is heard", |state| state.heard == ["hello"])
        .await;
    let before = ada.state.borrow().base_key.clone();
    cleo.tell(Command::Leave);
    let two = |state: &State| state.members == ["ada", "ben"];
    let after = ada.wait("Cleo is out", two).await;
    assert!(after.base_key != before && after.epoch == epoch + 1);
    let theirs = ben.wait("Cleo is out", two).await;
    assert_eq!(theirs.base_key, after.base_key);
}

#[tokio::test]
async fn who_does_not_speak_mls_is_refused_with_the_reason_and_so_is_a_misspelt_encryption() {
    let server = Server::dev(&[]);
    let token = encrypted_token("ada", "secret");
    let refusal = |result: Result<Socket, Error>| match result {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status(), String::from_utf8(body).unwrap())
        }
        other => panic!("not refused: {:?}", other.map(|_| ())),
    };
    let (status, words) = refusal(signal(server.address, &token, "").await);
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    assert!(words.contains("end-to-end encrypted"), "{words}");
    // The room is open; a token without its settings is for the same room.
    let mut ada = Member::join(&server, "ada", "secret");
    ada.wait("the group is founded", |state| state.members == ["ada"])
        .await;
    let plain = crate::support::token(ROOM, "ben");
    let (status, _) = refusal(signal(server.address, &plain, "").await);
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    let settings = RoomConfiguration {
        tags: [("encryption".to_owned(), "MLS".to_owned())].into(),
        ..Default::default()
    };
    let misspelt = protocol::token::Grant {
        room_config: Some(Box::new(settings)),
        ..grant("other", "ben")
    };
    let misspelt = signed(&misspelt, "secret", now());
    let (status, words) = refusal(signal(server.address, &misspelt, "&e2ee=mls").await);
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(words.contains("none, livekit or mls"), "{words}");
    // Other rooms are as they were, for those who speak it too.
    for more in ["", "&e2ee=mls"] {
        let mut socket = signal(server.address, &token_of("plain"), more)
            .await
            .unwrap();
        let first = socket.next().await.unwrap().unwrap();
        let frame = Frame::Binary(first.into_data());
        let first = decode_response(&frame).unwrap().message;
        assert!(
            matches!(first, Some(signal_response::Message::Join(_))),
            "{first:?}"
        );
    }
}

fn token_of(room: &str) -> String {
    token(room, "ada")
}

#[tokio::test]
async fn who_is_not_in_the_meeting_hears_nothing_of_its_group() {
    let server = Server::dev(&[]);
    let mut ada = Member::join(&server, "ada", "secret");
    ada.wait("the group is founded", |state| state.members == ["ada"])
        .await;
    let unsigned = format!("ws://{}/e2ee", server.address);
    assert!(matches!(connect_async(unsigned).await, Err(Error::Http(_))));
    let token = encrypted_token("mallory", "secret");
    let url = format!("ws://{}/e2ee?access_token={token}", server.address);
    let mut socket = connect_async(url).await.unwrap().0;
    let me = Identity::new("mallory").unwrap();
    let wish = Wish {
        moderated: false,
        ticket_seconds: 60,
    };
    let mut client = Client::new(me, wish, None);
    client.connected();
    while let Some(output) = client.poll() {
        if let Output::Send(frame) = output {
            socket.send(Message::Binary(frame.into())).await.unwrap();
        }
    }
    let heard = timeout(Duration::from_secs(1), async {
        loop {
            if let Some(Ok(Message::Binary(frame))) = socket.next().await {
                return frame;
            }
        }
    });
    assert!(heard.await.is_err());
    assert_eq!(ada.state.borrow().members, ["ada"]);
}

/// A client with media.
async fn connect(server: &Server, identity: &str) -> client::Client {
    let group = GroupOptions {
        identity: Identity::new(identity).unwrap(),
        wish: Wish {
            moderated: false,
            ticket_seconds: 3600,
        },
        ticket: None,
    };
    let peer = PeerConfig {
        frames: true,
        packets: true,
        ..PeerConfig::default()
    };
    let options = ConnectOptions {
        participant: Options {
            peer,
            ..Options::default()
        },
        group: Some(group),
        ..ConnectOptions::default()
    };
    let url = format!("ws://{}", server.address);
    let token = encrypted_token(identity, "secret");
    client::Client::connect(&url, &token, options)
        .await
        .unwrap()
}

/// Some bytes of each frame that is sent.
fn samples() -> Vec<Vec<u8>> {
    let frames = fixtures::tone()
        .into_iter()
        .chain(fixtures::moving_picture(PictureSize::Low));
    let sampled = frames.filter(|frame| frame.len() > 60);
    sampled.map(|frame| frame[30..54].to_vec()).collect()
}

#[tokio::test]
async fn what_members_send_is_understood_by_members_and_nobody_on_the_way() {
    let server = Server::dev(&[]);
    let mut ada = connect(&server, "ada").await;
    let mut ben = connect(&server, "ben").await;
    let sound = ada.publish(Publish::microphone()).await.unwrap();
    let picture = ada.publish(Publish::camera(320, 180));
    let picture = picture.await.unwrap();
    for _ in 0..2 {
        let is_published =
            |event| matches!(event, client::Event::TrackPublished { .. }).then_some(());
        ada.wait_for("a track is published", PATIENCE, is_published)
            .await
            .unwrap();
    }
    tokio::spawn(play_tone(ada.handle(), sound));
    let low = MovingPicture::single(PictureSize::Low);
    tokio::spawn(play_picture(ada.handle(), picture, low));
    let (tone, samples) = (fixtures::tone(), samples());
    let pictures = fixtures::moving_picture(PictureSize::Low);
    let (mut heard, mut seen, mut packets) = (0, 0, 0);
    let all = async {
        while heard < 30 || seen < 30 {
            match ben.next_event().await.unwrap() {
                client::Event::Frame { frame, .. } if tone.contains(&frame.data.as_slice()) => {
                    heard += 1
                }
                client::Event::Frame { frame, .. } if pictures.contains(&frame.data.as_slice()) => {
                    seen += 1
                }
                client::Event::Frame { frame, .. } => panic!("a frame nobody sent: {frame:?}"),
                client::Event::Packet { packet, .. } => {
                    packets += 1;
                    let is_within = |sample: &Vec<u8>| {
                        let mut windows = packet.payload.windows(sample.len());
                        windows.any(|window| window == sample)
                    };
                    assert!(!samples.iter().any(is_within), "in the clear");
                }
                _ => {}
            }
        }
    };
    if timeout(PATIENCE, all).await.is_err() {
        let (sent, received) = (ada.stats().await.unwrap(), ben.stats().await.unwrap());
        panic!("{heard} of sound, {seen} of the picture; sent {sent:?}, received {received:?}");
    }
    assert!(packets >= 60);
    let stats = ben.stats().await.unwrap().encryption;
    assert!(stats.decrypted >= 60, "{stats:?}");
    assert!(ada.stats().await.unwrap().encryption.encrypted >= 60);
}

/// A file of this test's own, removed with it.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}

#[tokio::test]
async fn a_meeting_goes_on_in_the_same_group_when_the_server_starts_anew() {
    let name = format!("conclave-groups-{}.db", std::process::id());
    let file = File(std::env::temp_dir().join(name));
    let keys = format!("devkey: {SECRET}");
    let environment = [
        ("CONCLAVE_KEYS", keys.as_str()),
        ("CONCLAVE_ENCRYPTION_FILE", file.0.to_str().unwrap()),
    ];
    let server = Server::start(&[], &environment);
    let mut ada = Member::join(&server, "ada", SECRET);
    ada.wait("the group is founded", |state| state.members == ["ada"])
        .await;
    let mut ben = Member::join(&server, "ben", SECRET);
    let two = |state: &State| state.members == ["ada", "ben"];
    let before = ada.wait("both are in", two).await;
    ben.wait("both are in", two).await;
    ben.tell(Command::Say("before"));
    ada.wait("Ben is heard", |state| state.heard == ["before"])
        .await;
    server.signal("TERM");
    // Members close their connections meanwhile.
    tokio::task::spawn_blocking(move || server.wait())
        .await
        .unwrap();
    // It is not there: what is said waits.
    ben.tell(Command::Say("between"));
    let server = Server::start(&[], &environment);
    for member in [&ada, &ben] {
        member.tell(Command::Connect(server.address));
    }
    let after = ada
        .wait("Ben is heard", |state| state.heard == ["before", "between"])
        .await;
    assert_eq!((&after.group, after.epoch), (&before.group, before.epoch));
    let mut cleo = Member::join(&server, "cleo", SECRET);
    let three = |state: &State| state.members == ["ada", "ben", "cleo"];
    let last = cleo.wait("Cleo is in", three).await;
    assert_eq!(last.group, before.group);
    assert_eq!(ada.wait("Cleo is in", three).await.base_key, last.base_key);
    assert_eq!(ada.state.borrow().out, None);
}
