//! What comes over HTTP, WebSockets and data channels.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use protocol::{
    RoomName,
    api::{Format, decode},
    data_packet::{self as packet, DataPacketView},
    livekit::{
        ConnectionSettings, CreateAgentDispatchRequest, CreateRoomRequest, DataPacket, JoinRequest,
        ParticipantInfo, RoomAgentDispatch, SendDataRequest, UpdateParticipantRequest,
    },
    prost::Message,
    signal::{Frame, decode_join_request, decode_worker_message, encode_join_request},
    token::{Grant, Keys, VideoGrant, verify},
};
use signaling::{
    Config, Join, Room, RoomInput, RoomNews, RoomOutput, Session, SessionId, SessionOutput,
    agents::{Agents, AgentsInput, AgentsOutput, WorkerId},
};

use crate::parts;

/// The payload of a data channel: what is stamped is a packet with the sender that was stamped.
pub fn data_packet(data: &[u8]) {
    if let Ok(view) = DataPacketView::parse(data) {
        view.is_addressed_to("identity", "PA_sid");
        view.is_addressed_only_to("identity");
        view.is_reserved_for_agents();
    }
    let Ok(stamped) = packet::stamp(data, "identity", "PA_sid") else {
        return;
    };
    if let Ok(decoded) = DataPacket::decode(stamped.as_slice()) {
        assert_eq!(decoded.participant_identity, "identity");
        assert_eq!(decoded.participant_sid, "PA_sid");
    }
}

/// An access token: as it is, and as signed claims.
pub fn token(data: &[u8]) {
    const NOW: u64 = 1_800_000_000;
    let keys = Keys::new([("key", "secret")]);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = verify(text, &keys, NOW);
    }
    let signed = format!(
        "{}.{}",
        BASE64.encode(br#"{"alg":"HS256","typ":"JWT"}"#),
        BASE64.encode(data)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let tag = hmac::sign(&key, signed.as_bytes());
    let _ = verify(&format!("{signed}.{}", BASE64.encode(tag)), &keys, NOW);
}

/// The `join_request` of a URL: as it is, as wrapped bytes, and as a request that must survive being written again.
pub fn join_request(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = decode_join_request(text);
    }
    let _ = decode_join_request(&BASE64.encode(data));
    if let Ok(request) = JoinRequest::decode(data) {
        let text = encode_join_request(&request);
        if let Ok(again) = decode_join_request(&text) {
            // Not as bytes: a map is written in any order.
            assert_eq!(again, request);
        }
    }
}

/// A conversation: the first byte says how messages are written, each part is a frame of one of two participants.
pub fn signal_request(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    let now = Instant::now();
    let config = Arc::new(Config::default());
    let (name, unix) = (RoomName::from("room"), Duration::from_secs(1_800_000_000));
    let mut room = Room::new(name, None, config.clone(), [7; 32], unix, now);
    let mut sessions = [0, 1].map(|id| Session::new(join(id), &config, unix, now));
    drain(&mut sessions, &mut room, now);
    for (index, bytes) in parts(data).enumerate() {
        let frame = match kind & 1 {
            0 => Frame::Binary(bytes::Bytes::copy_from_slice(bytes)),
            _ => Frame::Text(String::from_utf8_lossy(bytes).into_owned()),
        };
        let at = now + Duration::from_millis(100) * index as u32;
        sessions[index % 2].handle_frame(frame, at);
        drain(&mut sessions, &mut room, at);
    }
    let late = now + Duration::from_secs(120);
    for session in &mut sessions {
        session.handle_timeout(late);
    }
    room.handle_timeout(late);
    drain(&mut sessions, &mut room, late);
}

fn join(id: u64) -> Join {
    let video = VideoGrant {
        room_join: true,
        room: "room".into(),
        can_update_own_metadata: Some(true),
        ..VideoGrant::default()
    };
    Join {
        session: SessionId(id),
        two_connections: id % 2 == 1,
        mls: id % 3 == 1,
        grant: Grant {
            identity: format!("identity-{id}"),
            video: Some(video),
            ..Grant::default()
        },
        request: JoinRequest {
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: true,
                ..Default::default()
            }),
            ..Default::default()
        },
    }
}

/// The body of a call of the server API, in both of its forms: what is read from it is read again from what is written.
pub fn api_request(data: &[u8]) {
    round_trip::<CreateRoomRequest>(data);
    round_trip::<UpdateParticipantRequest>(data);
    round_trip::<SendDataRequest>(data);
    round_trip::<CreateAgentDispatchRequest>(data);
}

fn round_trip<M>(data: &[u8])
where
    M: Message + Default + PartialEq + Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let body = bytes::Bytes::copy_from_slice(data);
    for format in [Format::Json, Format::Protobuf] {
        if let Some(request) = decode::<M>(format, &body, &[], &[]) {
            let again = bytes::Bytes::from(request.encode_to_vec());
            assert!(M::decode(again).as_ref() == Ok(&request));
        }
    }
}

/// Frames of two workers, while a room with two people wants agents: the first byte of each says whose it is, what happens
/// first, and how it is written.
pub fn worker_message(data: &[u8]) {
    let unix = Duration::from_secs(1_800_000_000);
    let (config, mut now) = (Arc::new(Config::default()), Instant::now());
    let mut agents = Agents::new(config, [7; 32], unix, now);
    let room = "RM_room00000000".parse().expect("a sid");
    let wish = |name: &str| RoomAgentDispatch {
        agent_name: name.to_owned(),
        ..Default::default()
    };
    let news =
        |agents: &mut Agents, news, now| agents.handle(AgentsInput::Room { room, news }, now);
    let opened = RoomNews::Opened {
        info: Box::default(),
        agents: vec![wish(""), wish("echo")],
    };
    news(&mut agents, opened, now);
    let people = ["PA_ada000000000", "PA_ben000000000"].map(|sid| sid.parse().expect("a sid"));
    for (index, sid) in people.into_iter().enumerate() {
        let info = ParticipantInfo {
            identity: format!("identity-{index}"),
            ..Default::default()
        };
        let (info, agents_wanted) = (Box::new(info), vec![wish("echo")]);
        news(
            &mut agents,
            RoomNews::Joined {
                sid,
                info: info.clone(),
                agents: agents_wanted,
            },
            now,
        );
        news(&mut agents, RoomNews::Published { sid, info }, now);
    }
    for worker in [WorkerId(0), WorkerId(1)] {
        let api_key = "key".to_owned();
        agents.handle(AgentsInput::WorkerConnected { worker, api_key }, now);
    }
    // The name of who was sent last.
    let (mut sent, agent) = (String::new(), "PA_agent0000000".parse().expect("a sid"));
    for part in parts(data) {
        let Some((&how, bytes)) = part.split_first() else {
            continue;
        };
        let worker = WorkerId(u64::from(how & 1));
        match how >> 2 & 7 {
            0 => now += Duration::from_secs(30),
            1 => agents.handle(AgentsInput::WorkerGone { worker }, now),
            2 => {
                let api_key = "key".to_owned();
                agents.handle(AgentsInput::WorkerConnected { worker, api_key }, now);
            }
            3 => news(&mut agents, RoomNews::Left { sid: people[0] }, now),
            4 => {
                let info = Box::new(ParticipantInfo {
                    identity: sent.clone(),
                    ..Default::default()
                });
                let joined = RoomNews::Joined {
                    sid: agent,
                    info,
                    agents: Vec::new(),
                };
                news(&mut agents, joined, now);
            }
            5 => news(&mut agents, RoomNews::Away { sid: agent }, now),
            6 => news(&mut agents, RoomNews::Left { sid: agent }, now),
            _ => now += Duration::from_millis(100),
        }
        agents.handle_timeout(now);
        let frame = match how & 2 {
            0 => Frame::Binary(bytes::Bytes::copy_from_slice(bytes)),
            _ => Frame::Text(String::from_utf8_lossy(bytes).into_owned()),
        };
        if let Ok(message) = decode_worker_message(&frame)
            && let Some(message) = message.message
        {
            let message = Box::new(message);
            agents.handle(AgentsInput::WorkerMessage { worker, message }, now);
        }
        while let Some(output) = agents.poll_output() {
            match output {
                AgentsOutput::CloseWorker { worker, .. } => {
                    agents.handle(AgentsInput::WorkerGone { worker }, now);
                }
                AgentsOutput::Assign { grant, .. } => sent = grant.identity,
                _ => {}
            }
        }
    }
    news(&mut agents, RoomNews::Closed, now);
    for _ in 0..100 {
        let Some(due) = agents.poll_timeout() else {
            break;
        };
        agents.handle_timeout(due);
    }
    assert_eq!(agents.jobs(), (0, 0), "jobs outlive their room");
}

/// Carries messages between sessions and room; nobody is behind the shard.
fn drain(sessions: &mut [Session; 2], room: &mut Room, now: Instant) {
    loop {
        let mut idle = true;
        for session in sessions.iter_mut() {
            while let Some(output) = session.poll_output() {
                idle = false;
                match output {
                    SessionOutput::ToRoom(input) => {
                        room.handle(input, now);
                    }
                    SessionOutput::SignToken(_) => session.handle_token("token".into(), now),
                    SessionOutput::Send(_) | SessionOutput::Close(_) => {}
                }
            }
        }
        while let Some(output) = room.poll_output() {
            idle = false;
            match output {
                RoomOutput::ToSession { session, message } => {
                    sessions[session.0 as usize].handle_message(message, now);
                }
                RoomOutput::ToMedia {
                    leg,
                    command: sfu::Command::Member(sfu::MemberCommand::Add { peer, .. }),
                } => {
                    let event = sfu::Event::Connected { peer };
                    room.handle(RoomInput::Media { leg, event }, now);
                }
                RoomOutput::ToMedia {
                    leg,
                    command: sfu::Command::Track(sfu::TrackCommand::Publish { peer, track }),
                } => {
                    let bound = sfu::Event::TrackBound {
                        peer,
                        track: track.sid,
                        mid: "7".into(),
                        codec: sfu::TrackCodec {
                            mime_type: "video/VP8".into(),
                            ..Default::default()
                        },
                        layers: Vec::new(),
                    };
                    room.handle(RoomInput::Media { leg, event: bound }, now);
                }
                _ => {}
            }
        }
        if idle {
            return;
        }
    }
}
