//! Somebody is in two rooms: as the people and the applications of both see it.

use std::time::Duration;

use protocol::{
    ParticipantSid, RoomSid, TrackSid,
    error::Error,
    livekit::{
        self, DisconnectReason, MuteTrackRequest, ParticipantInfo, ParticipantPermission,
        PerformRpcRequest, SendDataRequest, SubscriptionPermission, TrackPermission,
        UpdateParticipantRequest, UpdateSubscriptionsRequest,
        participant_info::{KindDetail, State},
    },
};
use sfu::{Command, Event, MemberCommand, Quality, RelayCommand, TrackCommand};
use signaling::{ApiCall, ApiReply, Config, RoomInput, RoomMessage, SessionId};

use crate::meeting::*;

/// Where the media of the two rooms is.
const SHARDS: [u16; 2] = [3, 7];

/// Two rooms and what they say to each other.
struct Rooms {
    here: Meeting,
    there: Meeting,
}

impl Rooms {
    fn new() -> Self {
        Self::with(Config::default())
    }

    /// The other room with this configuration.
    fn with(config: Config) -> Self {
        let here = Meeting::new();
        let mut there = Meeting::seeded(config, 8);
        there.now = here.now;
        Self { here, there }
    }

    /// Carries what the rooms say to each other until they are silent.
    fn settle(&mut self) {
        loop {
            let from_here: Vec<_> = self.here.to_rooms.drain(..).collect();
            let from_there: Vec<_> = self.there.to_rooms.drain(..).collect();
            if from_here.is_empty() && from_there.is_empty() {
                // The news of both are out.
                self.here.advance(NEWS);
                self.there.advance(NEWS);
                if self.here.to_rooms.is_empty() && self.there.to_rooms.is_empty() {
                    return;
                }
                continue;
            }
            carry(&mut self.here, SHARDS[0], &mut self.there, from_here);
            carry(&mut self.there, SHARDS[1], &mut self.here, from_there);
        }
    }

    fn forward(&mut self, identity: &str) -> Result<ApiReply, Error> {
        self.here.call(ApiCall::ForwardParticipant {
            identity: identity.into(),
            destination: self.there.room.sid(),
        });
        self.settle();
        self.here.answer().expect("answered")
    }

    /// Alice in the one room, Bob in the other, Alice's camera; she is forwarded.
    fn met() -> (Self, SessionId, SessionId, TrackSid) {
        let mut rooms = Self::new();
        let alice = rooms.here.enter("alice");
        let bob = rooms.there.enter("bob");
        let camera = rooms.here.publish(alice, "cam");
        assert_eq!(rooms.forward("alice"), Ok(ApiReply::Done));
        (rooms, alice, bob, camera)
    }

    fn alice_there(&mut self) -> Option<ParticipantInfo> {
        let mut all = self.there.participants().into_iter();
        all.find(|person| person.identity == "alice")
    }

    /// The copies that the shard of the first room makes: track here, and its sid there.
    fn copies(&self) -> Vec<(TrackSid, TrackSid)> {
        let mut copies = Vec::new();
        for command in &self.here.shard.commands {
            match command {
                Command::Relay(RelayCommand::Start {
                    track,
                    relayed,
                    shard,
                    ..
                }) => {
                    assert_eq!(*shard, SHARDS[1]);
                    copies.push((*track, *relayed));
                }
                Command::Relay(RelayCommand::Stop { relayed }) => {
                    copies.retain(|(_, known)| known != relayed)
                }
                _ => {}
            }
        }
        copies
    }
}

fn carry(from: &mut Meeting, shard: u16, to: &mut Meeting, said: Vec<(RoomSid, RoomMessage)>) {
    let sid = from.room.sid();
    for (room, message) in said {
        if room == to.room.sid() && !to.closed {
            let room = sid;
            to.input(RoomInput::FromRoom {
                room,
                shard,
                message,
            });
        } else {
            from.input(RoomInput::RoomGone { room });
        }
    }
}

fn remove(identity: &str) -> ApiCall {
    ApiCall::RemoveParticipant {
        identity: identity.into(),
        revoke_before: None,
    }
}

fn update(identity: &str) -> UpdateParticipantRequest {
    UpdateParticipantRequest {
        identity: identity.into(),
        ..Default::default()
    }
}

fn webhooks(meeting: &Meeting) -> Vec<String> {
    let text = |event: &livekit::WebhookEvent| {
        let person = event.participant.as_ref().map(|p| p.identity.as_str());
        format!("{} {}", event.event, person.unwrap_or_default())
    };
    meeting.events.iter().map(text).collect()
}

#[test]
fn who_is_forwarded_is_in_the_other_room_as_it_is_here() {
    let (mut rooms, alice, bob, camera) = Rooms::met();
    let here = rooms.here.participants().remove(0);
    let there = rooms.alice_there().expect("she is there");
    assert_eq!(there.name, here.name);
    assert_eq!(there.permission, here.permission);
    assert_eq!(there.state(), State::Active);
    assert!(there.is_publisher);
    assert_eq!(there.kind_details, [KindDetail::Forwarded as i32]);
    assert_eq!(here.kind_details, [0; 0]);
    assert_ne!(there.sid, here.sid);
    // Her camera has a sid of its own there, and is the same camera.
    let [track] = there.tracks.as_slice() else {
        panic!("{there:?}")
    };
    assert_ne!(track.sid, camera.to_string());
    assert_eq!(track.source(), TrackSource::Camera);
    assert_eq!(track.mime_type, "video/VP8");
    assert_eq!(rooms.copies(), [(camera, track.sid.parse().unwrap())]);
    // Bob has heard of her and receives the camera; she receives nothing.
    let news = updates(&rooms.there.clients[&bob].heard);
    assert_eq!(news.last().unwrap().identity, "alice");
    let (bob_there, alice_there) = (rooms.there.sid(bob), there.sid.parse().unwrap());
    let shard = &rooms.there.shard;
    assert!(
        shard.peers[&bob_there]
            .subscriptions
            .contains_key(&track.sid.parse().unwrap())
    );
    let added = shard.commands.iter().any(|command| {
        matches!(command, Command::Member(MemberCommand::AddRelayed { peer, source, .. })
            if *peer == alice_there && *source == SHARDS[0])
    });
    assert!(added);
    rooms.there.publish(bob, "cam");
    assert!(
        rooms.there.shard.peers[&alice_there]
            .subscriptions
            .is_empty()
    );
    assert_eq!(
        webhooks(&rooms.there),
        [
            "room_started ",
            "participant_joined bob",
            "participant_joined alice",
            "track_published alice",
            "track_published bob",
        ]
    );
    // Who joins later finds her.
    let carol = rooms.there.enter("carol");
    let others = &rooms.there.join_response(carol).other_participants;
    assert!(others.iter().any(|other| other.identity == "alice"));
    assert_eq!(rooms.here.leave_of(alice), None);
}

#[test]
fn her_rights_over_the_one_room_do_not_go_to_the_other() {
    let mut rooms = Rooms::new();
    let mut powerful = grant("alice");
    let video = powerful.video.as_mut().unwrap();
    (video.room_admin, video.room_create, video.room_list) = (true, true, true);
    let alice = rooms.here.open(powerful, join_request("v=0"));
    rooms.here.connect(alice);
    rooms.here.call(ApiCall::ForwardParticipant {
        identity: "alice".into(),
        destination: rooms.there.room.sid(),
    });
    let Some((_, message @ RoomMessage::Forward(_))) = rooms.here.to_rooms.last() else {
        panic!("not forwarded")
    };
    // How a grant prints says nothing of the person, but what it allows.
    let said = format!("{message:?}");
    for right in ["room_admin", "room_create", "room_list"] {
        assert!(said.contains(&format!("{right}: false")), "{said}");
    }
}

#[test]
fn every_change_is_seen_in_the_other_room() {
    let (mut rooms, alice, bob, camera) = Rooms::met();
    // What she publishes.
    let second = rooms.here.publish(alice, "second");
    rooms.settle();
    let there = rooms.alice_there().unwrap();
    // The offer of the second does not name the first: it ended.
    let copies = rooms.copies();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].0, second);
    assert_eq!(there.tracks.len(), 1);
    assert_eq!(there.tracks[0].sid, copies[0].1.to_string());
    assert_ne!(camera, second);
    // Muted and unmuted: the shard there is told too.
    for muted in [true, false] {
        let mute = MuteTrackRequest {
            sid: second.to_string(),
            muted,
        };
        rooms.here.ask(alice, Ask::Mute(mute));
        rooms.settle();
        assert_eq!(rooms.alice_there().unwrap().tracks[0].muted, muted);
        let told = rooms.there.shard.commands.last();
        assert!(
            matches!(told, Some(Command::Track(TrackCommand::SetMuted { muted: m, .. })) if *m == muted)
        );
    }
    // Who she is, by herself or by a moderator.
    let request = UpdateParticipantRequest {
        name: "Alicia".into(),
        metadata: "m".into(),
        attributes: [("hand".to_owned(), "up".to_owned())].into(),
        ..update("alice")
    };
    let changed = rooms
        .here
        .api(ApiCall::UpdateParticipant(Box::new(request)));
    assert!(changed.is_ok());
    rooms.settle();
    let there = rooms.alice_there().unwrap();
    assert_eq!(
        (there.name.as_str(), there.metadata.as_str()),
        ("Alicia", "m")
    );
    assert_eq!(there.attributes["hand"], "up");
    assert_eq!(
        updates(&rooms.there.clients[&bob].heard)
            .last()
            .unwrap()
            .name,
        "Alicia"
    );
    // How she is connected.
    let peer = rooms.here.sid(alice);
    let quality = Quality::Poor;
    rooms.here.media(Event::QualityChanged { peer, quality });
    rooms.settle();
    let heard = rooms.there.clients[&bob].heard.last();
    assert!(
        matches!(heard, Some(Told::ConnectionQuality(update)) if update.updates[0].participant_sid == there.sid)
    );
    // A permission that is taken ends what it allowed.
    let permission = Some(ParticipantPermission {
        can_subscribe: true,
        ..Default::default()
    });
    let request = UpdateParticipantRequest {
        permission,
        ..update("alice")
    };
    let changed = rooms
        .here
        .api(ApiCall::UpdateParticipant(Box::new(request)));
    assert!(changed.is_ok());
    rooms.settle();
    let there = rooms.alice_there().unwrap();
    assert!(there.tracks.is_empty() && !there.is_publisher);
    assert_eq!(rooms.copies(), []);
}

#[test]
fn whom_she_does_not_want_to_be_seen_by_does_not_see_her_there_either() {
    let (mut rooms, alice, bob, camera) = Rooms::met();
    let bob_there = rooms.there.sid(bob);
    let receives = |rooms: &Rooms| rooms.there.shard.peers[&bob_there].subscriptions.len();
    assert_eq!(receives(&rooms), 1);
    let permit = |who: &str, tracks: Vec<String>| {
        Ask::SubscriptionPermission(SubscriptionPermission {
            all_participants: false,
            track_permissions: vec![TrackPermission {
                participant_identity: who.into(),
                track_sids: tracks,
                ..Default::default()
            }],
        })
    };
    rooms.here.ask(alice, permit("carol", Vec::new()));
    rooms.settle();
    assert_eq!(receives(&rooms), 0);
    // By the sid that the track has here.
    rooms
        .here
        .ask(alice, permit("bob", vec![camera.to_string()]));
    rooms.settle();
    assert_eq!(receives(&rooms), 1);
}

#[test]
fn it_ends_when_she_leaves_the_room_she_joined() {
    let (mut rooms, alice, bob, _) = Rooms::met();
    rooms.here.ask(alice, Ask::Leave(Default::default()));
    rooms.settle();
    assert_eq!(rooms.alice_there(), None);
    let news = updates(&rooms.there.clients[&bob].heard);
    let last = news.last().unwrap();
    assert_eq!(last.identity, "alice");
    assert_eq!(last.disconnect_reason(), DisconnectReason::ClientInitiated);
    let told = webhooks(&rooms.there);
    assert_eq!(
        told[told.len() - 2..],
        ["track_unpublished alice", "participant_left alice"]
    );
    // And when that room ends.
    let (mut rooms, ..) = Rooms::met();
    assert_eq!(rooms.here.api(ApiCall::DeleteRoom), Ok(ApiReply::Done));
    rooms.settle();
    assert_eq!(rooms.alice_there(), None);
    // However it ends.
    let (mut rooms, ..) = Rooms::met();
    let room = rooms.here.room.sid();
    rooms.there.input(RoomInput::RoomGone { room });
    assert_eq!(rooms.alice_there(), None);
}

#[test]
fn it_ends_when_she_is_removed_there_and_can_begin_again() {
    let (mut rooms, alice, _, camera) = Rooms::met();
    assert_eq!(rooms.there.api(remove("alice")), Ok(ApiReply::Done));
    // A change that is on its way does not bring her back.
    let request = UpdateParticipantRequest {
        name: "Alicia".into(),
        ..update("alice")
    };
    let changed = rooms
        .here
        .api(ApiCall::UpdateParticipant(Box::new(request)));
    assert!(changed.is_ok());
    rooms.settle();
    assert_eq!(rooms.alice_there(), None);
    assert_eq!(rooms.copies(), []);
    assert_eq!(rooms.here.leave_of(alice), None, "here she stays");
    assert_eq!(rooms.forward("alice"), Ok(ApiReply::Done));
    assert_eq!(rooms.copies().len(), 1);
    assert_eq!(rooms.copies()[0].0, camera);
    // Or the room there is deleted: she stays here.
    assert_eq!(rooms.there.api(ApiCall::DeleteRoom), Ok(ApiReply::Done));
    rooms.settle();
    assert_eq!(rooms.copies(), []);
    assert_eq!(rooms.here.leave_of(alice), None);
    let gone = rooms.forward("alice");
    assert!(matches!(gone, Err(Error::Unavailable(_))), "{gone:?}");
    assert_eq!(rooms.here.participants().len(), 1);
    // Or a bug ended her peer there.
    let (mut rooms, ..) = Rooms::met();
    let peer = rooms.alice_there().unwrap().sid.parse().unwrap();
    let reason = sfu::DisconnectReason::Internal;
    rooms.there.media(Event::Disconnected { peer, reason });
    rooms.settle();
    assert_eq!((rooms.alice_there(), rooms.copies()), (None, vec![]));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let (mut rooms, alice, bob, _) = Rooms::met();
    let before = rooms.there.participants();
    let exists = |answer: Result<ApiReply, Error>| matches!(answer, Err(Error::AlreadyExists(_)));
    assert!(exists(rooms.forward("alice")), "twice");
    assert_eq!(rooms.forward("nobody"), Err(Error::ParticipantNotFound));
    rooms.here.enter("bob");
    assert!(exists(rooms.forward("bob")), "there is one there");
    rooms.here.join("carol");
    let early = rooms.forward("carol");
    assert!(matches!(early, Err(Error::Unavailable(_))), "{early:?}");
    // Who is forwarded is governed where it is connected.
    let identity = || "alice".into();
    let track_sid = before[1].tracks.first().or(before[0].tracks.first());
    let track_sid = track_sid.unwrap().sid.clone();
    for call in [
        ApiCall::MuteTrack {
            identity: identity(),
            track_sid,
            muted: true,
        },
        ApiCall::UpdateParticipant(Box::new(update("alice"))),
        ApiCall::UpdateSubscriptions(Box::new(UpdateSubscriptionsRequest {
            identity: "alice".into(),
            ..Default::default()
        })),
        ApiCall::MoveParticipant {
            identity: identity(),
            destination: Box::default(),
        },
        ApiCall::PerformRpc(Box::new(PerformRpcRequest {
            destination_identity: "alice".into(),
            method: "m".into(),
            ..Default::default()
        })),
        ApiCall::ForwardParticipant {
            identity: identity(),
            destination: rooms.here.room.sid(),
        },
    ] {
        rooms.there.call(call);
        assert_eq!(rooms.there.answer(), Some(Err(Error::Forwarded)));
    }
    let data = ApiCall::SendData(Box::new(SendDataRequest {
        destination_identities: vec!["alice".into()],
        ..Default::default()
    }));
    assert_eq!(rooms.there.api(data), Err(Error::ParticipantNotFound));
    rooms.settle();
    assert_eq!(rooms.there.participants(), before);
    // Nobody takes her place with the sid that everybody there knows.
    let sid = rooms.alice_there().unwrap().sid;
    let request = livekit::JoinRequest {
        reconnect: true,
        participant_sid: sid,
        ..join_request("")
    };
    let thief = rooms.there.open(grant("alice"), request);
    assert!(rooms.there.leave_of(thief).is_some());
    assert!(rooms.alice_there().is_some());
    assert_eq!(
        rooms.here.leave_of(alice).or(rooms.there.leave_of(bob)),
        None
    );
}

#[test]
fn who_comes_in_person_takes_the_place() {
    let (mut rooms, alice, _, _) = Rooms::met();
    let person = rooms.there.enter("alice");
    rooms.settle();
    let there = rooms.alice_there().unwrap();
    assert_eq!(there.sid, rooms.there.sid(person).to_string());
    assert_eq!(there.kind_details, [0; 0]);
    assert_eq!(rooms.copies(), []);
    assert_eq!(rooms.here.leave_of(alice), None);
}

#[test]
fn a_full_room_takes_nobody() {
    let mut rooms = Rooms::with(Config {
        max_participants: 1,
        ..Config::default()
    });
    let alice = rooms.here.enter("alice");
    rooms.here.publish(alice, "cam");
    rooms.there.enter("bob");
    assert_eq!(rooms.forward("alice"), Err(Error::RoomFull));
    assert_eq!((rooms.alice_there(), rooms.copies()), (None, vec![]));
    assert_eq!(rooms.there.participants().len(), 1);
}

#[test]
fn data_tracks_are_in_the_other_room_too() {
    use livekit::{PublishDataTrackRequest, UnpublishDataTrackRequest};
    let (mut rooms, alice, bob, _) = Rooms::met();
    let publish = |rooms: &mut Rooms, pub_handle, name: &str| {
        let request = PublishDataTrackRequest {
            pub_handle,
            name: name.into(),
            ..Default::default()
        };
        rooms.here.ask(alice, Ask::PublishDataTrackRequest(request));
        rooms.settle();
    };
    publish(&mut rooms, 7, "position");
    publish(&mut rooms, 8, "speed");
    let there = rooms.alice_there().unwrap();
    let names = |info: &ParticipantInfo| -> Vec<String> {
        let tracks = info.data_tracks.iter();
        tracks.map(|track| track.name.clone()).collect()
    };
    assert_eq!(names(&there), ["position", "speed"]);
    let here = rooms.here.participants();
    assert_ne!(here[0].data_tracks[0].sid, there.data_tracks[0].sid);
    // Packets come from the one shard, with her handles, to the other.
    let relayed = |rooms: &Rooms| {
        let commands = rooms.here.shard.commands.iter().rev();
        let shard = commands.filter_map(|command| match command {
            Command::Relay(RelayCommand::SetData { relayed, shard, .. }) => {
                Some((relayed.to_string(), *shard))
            }
            _ => None,
        });
        shard.take(1).last().unwrap()
    };
    assert_eq!(relayed(&rooms), (there.sid.clone(), Some(SHARDS[1])));
    let track = there.data_tracks[0].sid.parse().unwrap();
    assert_eq!(rooms.there.shard.data_tracks[&track].1, 7);
    let update = livekit::UpdateDataSubscription {
        updates: vec![livekit::update_data_subscription::Update {
            track_sid: track.to_string(),
            subscribe: true,
            options: None,
        }],
    };
    rooms.there.ask(bob, Ask::UpdateDataSubscription(update));
    let received = |rooms: &Rooms| {
        let peer = &rooms.there.shard.peers[&rooms.there.sid(bob)];
        peer.data.keys().copied().collect::<Vec<_>>()
    };
    assert_eq!(received(&rooms), [track]);
    // She wants Bob to have the other one only.
    let other = here[0].data_tracks[1].sid.clone();
    let permission = SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![TrackPermission {
            participant_identity: "bob".into(),
            track_sids: vec![other],
            ..Default::default()
        }],
    };
    let everybody = SubscriptionPermission {
        all_participants: true,
        ..Default::default()
    };
    for (permission, expected) in [(permission, vec![]), (everybody, vec![track])] {
        rooms
            .here
            .ask(alice, Ask::SubscriptionPermission(permission));
        rooms.settle();
        assert_eq!(received(&rooms), expected);
    }
    let end = UnpublishDataTrackRequest { pub_handle: 7 };
    rooms.here.ask(alice, Ask::UnpublishDataTrackRequest(end));
    rooms.settle();
    assert_eq!(names(&rooms.alice_there().unwrap()), ["speed"]);
    assert_eq!(received(&rooms), []);
    // Who comes later finds what is there; and it all ends with her being there.
    assert_eq!(rooms.there.api(remove("alice")), Ok(ApiReply::Done));
    rooms.settle();
    assert_eq!(relayed(&rooms), (there.sid, None));
    assert!(rooms.there.shard.data_tracks.is_empty());
    assert_eq!(rooms.forward("alice"), Ok(ApiReply::Done));
    assert_eq!(names(&rooms.alice_there().unwrap()), ["speed"]);
    assert_eq!(rooms.there.shard.data_tracks.len(), 1);
}

#[test]
fn a_full_shard_takes_nobody_and_the_caller_is_told() {
    let mut rooms = Rooms::new();
    let alice = rooms.here.enter("alice");
    let camera = rooms.here.publish(alice, "cam");
    let bob = rooms.there.enter("bob");
    rooms.there.shard.full = true;
    let answer = rooms.forward("alice");
    let error = answer.expect_err("refused");
    assert!(matches!(error, Error::Overloaded(_)), "{error:?}");
    assert_eq!(error.row().code.as_str(), "unavailable");
    assert_eq!((rooms.alice_there(), rooms.copies()), (None, vec![]));
    assert_eq!(
        rooms.here.leave_of(alice).or(rooms.there.leave_of(bob)),
        None
    );
    // When there is room again.
    rooms.there.shard.full = false;
    assert_eq!(rooms.forward("alice"), Ok(ApiReply::Done));
    assert_eq!(rooms.copies().len(), 1);
    assert_eq!(rooms.copies()[0].0, camera);
}

#[test]
fn nobody_is_taken_with_more_tracks_than_people_there_may_have() {
    let mut rooms = Rooms::with(Config {
        max_tracks: 1,
        ..Config::default()
    });
    let alice = rooms.here.enter("alice");
    rooms.here.ask(alice, Ask::AddTrack(camera("front")));
    rooms.here.ask(alice, Ask::AddTrack(camera("back")));
    rooms
        .here
        .ask(alice, Ask::Offer(offer(2, "v=0 front back")));
    let answer = rooms.forward("alice");
    assert!(matches!(answer, Err(Error::Overloaded(_))), "{answer:?}");
    assert_eq!((rooms.alice_there(), rooms.copies()), (None, vec![]));
}

#[test]
fn what_happens_before_the_shard_has_taken_her_is_told_once() {
    let (mut rooms, alice) = (Rooms::new(), SessionId(1));
    assert_eq!(rooms.here.enter("alice"), alice);
    let bob = rooms.there.enter("bob");
    rooms.there.shard.silent = true;
    rooms.here.call(ApiCall::ForwardParticipant {
        identity: "alice".into(),
        destination: rooms.there.room.sid(),
    });
    rooms.settle();
    rooms.here.publish(alice, "cam");
    rooms.settle();
    assert_eq!(rooms.here.answer(), None);
    assert_eq!(rooms.copies(), []);
    let peer = rooms.alice_there().unwrap().sid.parse().unwrap();
    rooms.there.media(Event::Connected { peer });
    rooms.settle();
    assert_eq!(rooms.here.answer(), Some(Ok(ApiReply::Done)));
    assert_eq!(rooms.copies().len(), 1);
    let told = webhooks(&rooms.there);
    assert_eq!(
        told[told.len() - 2..],
        ["participant_joined alice", "track_published alice"]
    );
    assert_eq!(rooms.there.leave_of(bob), None);
}

#[test]
fn a_room_with_only_forwarded_people_closes_as_an_empty_one() {
    let config = Config::default();
    let mut rooms = Rooms::new();
    rooms.here.enter("alice");
    assert_eq!(rooms.forward("alice"), Ok(ApiReply::Done));
    let wait = Duration::from_secs(config.empty_timeout.into());
    rooms.there.advance(wait - Duration::from_secs(1));
    assert!(!rooms.there.closed);
    rooms.there.advance(Duration::from_secs(2));
    assert!(rooms.there.closed);
    // And after the last person has left.
    let (mut rooms, alice, bob, _) = Rooms::met();
    rooms.there.ask(bob, Ask::Leave(Default::default()));
    let wait = Duration::from_secs(config.departure_timeout.into());
    rooms.there.advance(wait + Duration::from_secs(1));
    assert!(rooms.there.closed);
    rooms.settle();
    assert_eq!(rooms.copies(), []);
    assert_eq!(rooms.here.leave_of(alice), None);
}

#[test]
fn a_call_is_answered_however_it_ends() {
    // She leaves before the other room has answered.
    let mut rooms = Rooms::new();
    let alice = rooms.here.enter("alice");
    let destination = rooms.there.room.sid();
    let call = ApiCall::ForwardParticipant {
        identity: "alice".into(),
        destination,
    };
    rooms.here.call(call.clone());
    assert_eq!(rooms.here.answer(), None);
    rooms.here.ask(alice, Ask::Leave(Default::default()));
    assert_eq!(rooms.here.answer(), Some(Err(Error::ParticipantNotFound)));
    rooms.settle();
    assert_eq!(rooms.alice_there(), None);
    // The room she is in ends.
    rooms.here.enter("alice");
    rooms.here.call(call.clone());
    assert_eq!(rooms.here.api(ApiCall::DeleteRoom), Ok(ApiReply::Done));
    rooms.settle();
    assert_eq!(rooms.alice_there(), None);
    rooms.here.call(call);
    assert_eq!(rooms.here.answer(), Some(Err(Error::RoomNotFound)));
}

#[test]
fn what_another_room_says_of_people_who_are_not_its_own_changes_nothing() {
    let (mut rooms, _, bob, _) = Rooms::met();
    let alice: ParticipantSid = rooms.alice_there().unwrap().sid.parse().unwrap();
    let stranger = "RM_strangersroom".parse().unwrap();
    for participant in [alice, rooms.there.sid(bob)] {
        rooms.there.input(RoomInput::FromRoom {
            room: stranger,
            shard: 0,
            message: RoomMessage::ForwardEnded {
                participant,
                reason: DisconnectReason::ClientInitiated,
            },
        });
        rooms.there.input(RoomInput::FromRoom {
            room: stranger,
            shard: 0,
            message: RoomMessage::ForwardRefused {
                participant,
                error: Error::RoomFull,
            },
        });
    }
    rooms.there.input(RoomInput::RoomGone { room: stranger });
    assert_eq!(rooms.there.participants().len(), 2);
}

#[test]
fn what_changes_nothing_is_not_told_to_the_other_room() {
    let (mut rooms, alice, _, camera) = Rooms::met();
    rooms.here.advance(10 * NEWS);
    rooms.here.to_rooms.clear();
    for width in [0, 0, 640] {
        let update = livekit::UpdateLocalVideoTrack {
            track_sid: camera.to_string(),
            width,
            ..Default::default()
        };
        rooms.here.ask(alice, Ask::UpdateVideoTrack(update));
        rooms.here.advance(NEWS);
        assert_eq!(rooms.here.to_rooms.len(), usize::from(width > 0));
    }
}
