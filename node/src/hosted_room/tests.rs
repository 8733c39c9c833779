use std::{cell::RefCell, rc::Rc};

use protocol::{
    livekit::{AddTrackRequest, JoinRequest, signal_request},
    token::{Grant, VideoGrant},
};
use signaling::ApiCall;

use super::*;
use crate::mailbox::{Bounds, Mailbox};

/// A mailbox whose other end the test keeps.
#[derive(Clone, Debug)]
struct Own(Rc<RefCell<Mailbox<()>>>);

impl Line for Own {
    type Room = ();

    fn with<T>(&self, act: impl FnOnce(&mut Mailbox<()>) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }
}

fn mailbox(messages: usize) -> Own {
    let bounds = Bounds {
        messages,
        bytes: 1 << 20,
    };
    Own(Rc::new(RefCell::new(Mailbox::new(bounds))))
}

struct Host {
    room: HostedRoom<Own>,
    outputs: Vec<Output<Own>>,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        let shard = sfu::Config {
            addresses: vec!["192.0.2.1:7882".parse().unwrap()],
            tcp_addresses: Vec::new(),
            index: 3,
            seed: [1; 32],
            certificate: sfu::Certificate {
                certificate: vec![0; 32],
                private_key: vec![0; 32],
            },
            connect_timeout_ms: 15_000,
            consent_timeout_ms: 30_000,
            max_peers: 10,
            max_tracks_per_peer: 10,
            max_data_rate: 1 << 20,
            congestion_control: false,
            audio_top_n: 0,
        };
        let opening = Opening {
            name: "room".into(),
            settings: None,
            config: Arc::new(Config::default()),
            shard: &shard,
            revoked: Revocations::default(),
            seed: [2; 32],
            unix_now: Duration::ZERO,
        };
        let now = Instant::now();
        Self {
            room: HostedRoom::open(opening, now),
            outputs: Vec::new(),
            now,
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.room.poll_output(self.now) {
            self.outputs.push(output);
        }
    }

    fn join(&mut self, session: u64, identity: &str, mailbox: &Own) {
        let grant = Grant {
            identity: identity.into(),
            video: Some(VideoGrant {
                room_join: true,
                room: "room".into(),
                ..VideoGrant::default()
            }),
            ..Grant::default()
        };
        let join = Join {
            session: SessionId(session),
            grant,
            request: JoinRequest::default(),
            two_connections: false,
            mls: false,
        };
        self.room.join(Box::new(join), mailbox.clone(), self.now);
        self.drain();
    }

    fn ask(&mut self, call: ApiCall) -> Result<ApiReply, Error> {
        self.room.handle(RoomInput::Api { id: 5, call }, self.now);
        self.drain();
        let is_reply = |output: &Output<Own>| matches!(output, Output::ApiReply { id: 5, .. });
        let place = self.outputs.iter().position(is_reply).expect("an answer");
        match self.outputs.remove(place) {
            Output::ApiReply { reply, .. } => reply,
            _ => unreachable!(),
        }
    }

    fn people(&mut self) -> Vec<livekit::ParticipantInfo> {
        match self.ask(ApiCall::ListParticipants) {
            Ok(ApiReply::Participants(people)) => people,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_that_does_not_read_loses_its_session_and_keeps_its_place() {
    let mut host = Host::new();
    let (reads, does_not) = (mailbox(100), mailbox(100));
    host.join(1, "alice", &reads);
    host.join(2, "bob", &does_not);
    for person in host.people() {
        let peer = person.sid.parse().unwrap();
        host.room.handle_event(Event::Connected { peer });
    }
    host.drain();
    let mut publish = |session| {
        let track = AddTrackRequest {
            cid: format!("of {session}"),
            ..Default::default()
        };
        let request = RoomInput::Request {
            session: SessionId(session),
            request: Box::new(signal_request::Message::AddTrack(track)),
        };
        host.room.handle(request, host.now);
        host.drain();
    };
    while does_not.with(|it| it.push(Mail::Moved(()))).is_ok() {}
    publish(1);
    assert!(!does_not.with(|it| it.is_finished()), "news are replaced");
    publish(2);
    assert!(does_not.with(|it| it.is_finished()));
    assert!(!reads.with(|it| it.is_finished()));
    assert!(
        does_not.with(|it| it.pop()).is_some(),
        "what it was told before can be read"
    );
    assert_eq!(host.people().len(), 2, "its client may resume");
}

#[test]
fn a_join_that_comes_after_the_end_goes_to_the_next_room_with_its_mailbox() {
    let mut host = Host::new();
    let (alice, late) = (mailbox(100), mailbox(100));
    host.join(1, "alice", &alice);
    host.ask(ApiCall::DeleteRoom).unwrap();
    let closed = |output: &Output<Own>| matches!(output, Output::Closed(_));
    assert_eq!(host.outputs.iter().filter(|it| closed(it)).count(), 1);
    assert!(alice.with(|it| it.is_finished()));
    host.outputs.clear();
    host.join(2, "late", &late);
    let redirected = host.outputs.iter().find_map(|output| match output {
        Output::Redirect(join, mailbox) => Some((join.session, mailbox)),
        _ => None,
    });
    let (session, mailbox) = redirected.expect("a redirection");
    assert_eq!(session, SessionId(2));
    assert!(Rc::ptr_eq(&mailbox.0, &late.0));
    assert!(!late.with(|it| it.is_finished()));
}

#[test]
fn commands_of_one_turn_go_together_and_the_shard_hears_of_the_end() {
    let mut host = Host::new();
    host.join(1, "alice", &mailbox(100));
    host.outputs.clear();
    host.join(2, "bob", &mailbox(100));
    let batches = host.outputs.iter();
    let batches = batches.filter(|output| matches!(output, Output::Commands(_)));
    assert_eq!(batches.count(), 1);
    let room = host.room.sid();
    let end = host.room.end();
    let closes = end.iter().any(|output| match output {
        Output::Commands(commands) => {
            matches!(commands[..], [ShardCommand::Room(RoomCommand::Close { room: of })] if of == room)
        }
        _ => false,
    });
    assert!(closes, "{end:?}");
}
