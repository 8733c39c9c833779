//! Whatever clients, the engine and moderators do, in whatever order: nobody panics, nobody is forgotten.

use std::time::Duration;

use proptest::prelude::*;
use protocol::{
    error::Error,
    livekit::{
        self, MuteTrackRequest, SimulateScenario, SubscriptionPermission, SyncState,
        TrackPermission, UpdateSubscription, UpdateTrackSettings, participant_info::State,
        simulate_scenario::Scenario,
    },
    signal::Frame,
};
use sfu::Event;
use signaling::{ApiCall, RoomInput, SessionId};

use crate::meeting::*;

const IDENTITIES: [&str; 4] = ["ada", "bob", "cyd", "dan"];

/// One step: what happens, to whom, with which detail.
type Step = (u8, u8, u8);

fn identity(who: u8) -> &'static str {
    IDENTITIES[who as usize % IDENTITIES.len()]
}

/// The participant and track a step is about, when there are any.
fn target(meeting: &mut Meeting, who: u8, what: u8) -> Option<(livekit::ParticipantInfo, String)> {
    let participants = meeting.participants();
    let participant = participants
        .get(who as usize % participants.len().max(1))?
        .clone();
    let tracks: Vec<_> = participants
        .iter()
        .flat_map(|participant| &participant.tracks)
        .collect();
    let track = tracks
        .get(what as usize % tracks.len().max(1))
        .map(|track| track.sid.clone());
    Some((participant, track.unwrap_or_default()))
}

fn act(meeting: &mut Meeting, sessions: &mut Vec<SessionId>, (kind, who, what): Step) {
    if kind < 4 || sessions.is_empty() {
        let mut grant = grant(identity(who));
        let video = grant.video.as_mut().unwrap();
        video.hidden = what % 7 == 0;
        video.can_publish = Some(what % 5 != 0);
        video.can_subscribe = Some(what % 11 != 0);
        let mut request = join_request(if what % 3 == 0 { "" } else { "v=0 a" });
        request.connection_settings.as_mut().unwrap().auto_subscribe = what % 2 == 0;
        return sessions.push(meeting.open(grant, request));
    }
    let session = sessions[who as usize % sessions.len()];
    let Some((participant, track)) = target(meeting, who, what) else {
        return;
    };
    let peer = participant.sid.parse().unwrap();
    let cid = ["a", "b", "c"][what as usize % 3];
    let track_sids = vec![track.clone()];
    match kind {
        4 => meeting.ask(session, Ask::AddTrack(camera(cid))),
        5 => {
            let codec = |codec: &str, cid: &str| livekit::SimulcastCodec {
                codec: codec.into(),
                cid: cid.into(),
                ..Default::default()
            };
            let mut request = camera(cid);
            request.simulcast_codecs = match what % 2 {
                0 => vec![codec("vp9", cid), codec("vp8", "")],
                _ => vec![codec("vp8", cid)],
            };
            if what % 2 == 1 {
                request.sid = track;
            }
            meeting.ask(session, Ask::AddTrack(request));
        }
        6..9 => {
            let sdp = ["v=0", "v=0 a", "v=0 a b c", "v=0 b", "broken"][what as usize % 5];
            meeting.ask(session, Ask::Offer(offer(what.into(), sdp)));
        }
        9..12 => meeting.media(Event::Connected { peer }),
        12 => {
            use sfu::DisconnectReason as Gone;
            let reasons = [
                Gone::ClosedByPeer,
                Gone::ConsentLost,
                Gone::DtlsFailed,
                Gone::ConnectTimeout,
            ];
            meeting.media(Event::Disconnected {
                peer,
                reason: reasons[what as usize % 4],
            });
        }
        13 => meeting.cut(session),
        14 => {
            let participant_sid = participant.sid.clone();
            let request = livekit::JoinRequest {
                reconnect: true,
                participant_sid,
                ..join_request("")
            };
            sessions.push(meeting.open(grant(&participant.identity), request));
        }
        15 => meeting.ask(session, Ask::Leave(Default::default())),
        16 => meeting.ask(
            session,
            Ask::Mute(MuteTrackRequest {
                sid: track,
                muted: what % 2 == 0,
            }),
        ),
        17 => {
            let update = UpdateSubscription {
                track_sids,
                subscribe: what % 2 == 0,
                ..Default::default()
            };
            meeting.ask(session, Ask::Subscription(update));
        }
        18 => {
            let settings = UpdateTrackSettings {
                track_sids,
                quality: what.into(),
                ..Default::default()
            };
            meeting.ask(session, Ask::TrackSetting(settings));
        }
        19 => {
            let permission = TrackPermission {
                participant_identity: participant.identity,
                all_tracks: what % 2 == 0,
                track_sids,
                ..Default::default()
            };
            let all_participants = what % 3 == 0;
            let permission = SubscriptionPermission {
                all_participants,
                track_permissions: vec![permission],
            };
            meeting.ask(session, Ask::SubscriptionPermission(permission));
        }
        20 => meeting.ask(
            session,
            Ask::SyncState(SyncState {
                track_sids_disabled: track_sids,
                ..Default::default()
            }),
        ),
        21 => {
            let scenario = Some(match what % 5 {
                0 => Scenario::SpeakerUpdate(what.into()),
                1 => Scenario::NodeFailure(true),
                2 => Scenario::DisconnectSignalOnResume(true),
                3 => Scenario::DisconnectSignalOnResumeNoMessages(true),
                _ => Scenario::LeaveRequestFullReconnect(true),
            });
            meeting.ask(session, Ask::Simulate(SimulateScenario { scenario }));
        }
        22 => meeting.frame(session, Frame::Binary(vec![what, who, kind].into())),
        23 => meeting.advance(Duration::from_secs(what.into())),
        24 => {
            let level = f32::from(what % 9) / 8.0;
            let room = meeting.room.sid();
            meeting.media(Event::SpeakersChanged {
                room,
                speakers: vec![sfu::Speaker { peer, level }],
            });
        }
        25 => {
            let permission = livekit::ParticipantPermission {
                can_publish: what % 2 == 0,
                can_subscribe: what % 3 == 0,
                hidden: what % 5 == 0,
                ..Default::default()
            };
            let identity = participant.identity;
            let request = livekit::UpdateParticipantRequest {
                identity,
                permission: Some(permission),
                ..Default::default()
            };
            let answer = meeting.api(ApiCall::UpdateParticipant(Box::new(request)));
            assert!(matches!(answer, Ok(_) | Err(Error::Forwarded)));
        }
        26 => {
            let _ = meeting.api(ApiCall::MuteTrack {
                identity: participant.identity.into(),
                track_sid: track,
                muted: true,
            });
        }
        27 => forward(meeting, participant.identity, who, what),
        _ => {
            let _ = meeting.api(ApiCall::RemoveParticipant {
                identity: participant.identity.into(),
                revoke_before: None,
            });
        }
    }
}

/// Somebody goes to another room, which repeats what it was told as if it were its own: people come, change and leave.
fn forward(meeting: &mut Meeting, identity: String, who: u8, what: u8) {
    let room = "RM_another".parse().unwrap();
    let said = meeting.to_rooms.len();
    if what.is_multiple_of(3) || said == 0 {
        meeting.call(ApiCall::ForwardParticipant {
            identity: identity.into(),
            destination: room,
        });
        // At once or later.
        meeting.answer();
    } else if what == 1 {
        meeting.input(RoomInput::RoomGone { room });
    } else {
        let (_, message) = meeting.to_rooms[usize::from(who) % said].clone();
        meeting.input(RoomInput::FromRoom {
            room,
            shard: 1,
            message,
        });
    }
}

/// The room and the shard agree on who is there and who receives what; nobody receives what it may not.
fn check(meeting: &mut Meeting) {
    if meeting.closed {
        assert!(meeting.shard.peers.is_empty());
        return;
    }
    let participants = meeting.participants();
    let known: Vec<_> = participants
        .iter()
        .map(|participant| participant.sid.clone())
        .collect();
    let peers: Vec<_> = meeting
        .shard
        .peers
        .keys()
        .map(|sid| sid.to_string())
        .collect();
    assert_eq!(known, peers);
    let mut identities: Vec<_> = participants
        .iter()
        .map(|participant| &participant.identity)
        .collect();
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), participants.len());
    for participant in &participants {
        let peer = &meeting.shard.peers[&participant.sid.parse().unwrap()];
        let allowed = participant.permission.as_ref().unwrap().can_subscribe;
        assert!(allowed || peer.subscriptions.is_empty());
        for track in peer.subscriptions.keys() {
            let owner = participants
                .iter()
                .find(|other| other.tracks.iter().any(|t| t.sid == track.to_string()));
            let owner = owner.expect("a subscribed track is published");
            assert_eq!(owner.state(), State::Active);
            assert!(!owner.permission.as_ref().unwrap().hidden && owner.sid != participant.sid);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn random_meetings_never_panic_and_never_leak(steps in prop::collection::vec((0u8..29, any::<u8>(), any::<u8>()), 1..80)) {
        let mut meeting = Meeting::new();
        let mut sessions = Vec::new();
        for step in steps {
            if meeting.closed {
                break;
            }
            act(&mut meeting, &mut sessions, step);
            check(&mut meeting);
        }
        // When everybody is gone for long enough, nothing is left.
        for session in sessions {
            meeting.cut(session);
        }
        meeting.advance(Duration::from_secs(120));
        prop_assert!(meeting.closed);
        prop_assert!(meeting.shard.peers.is_empty());
        prop_assert!(meeting.clients.values().all(|client| client.closed.is_some()) || !meeting.redirected.is_empty());
        prop_assert_eq!(meeting.room.poll_timeout(), None);
    }

    #[test]
    fn random_frames_end_at_most_their_session(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..20)) {
        let mut meeting = Meeting::new();
        let alice = meeting.enter("alice");
        let mallory = meeting.enter("mallory");
        for bytes in frames {
            meeting.frame(mallory, Frame::Text(String::from_utf8_lossy(&bytes).into_owned()));
            meeting.frame(mallory, Frame::Binary(bytes.into()));
        }
        prop_assert_eq!(meeting.clients[&alice].closed, None);
    }
}
