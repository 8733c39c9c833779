//! The boundary of signalling: what goes into a [`Session`](crate::Session) and a [`Room`](crate::Room), and what comes
//! out. Read this file first.
//!
//! Both are state machines. Their owner (one task each) feeds an input, then drains `poll_output` until it is `None`,
//! and calls `handle_timeout` when the instant of `poll_timeout` has come.
//!
//! ```text
//!           frames            SessionOutput::ToRoom            RoomOutput::ToMedia
//!  client <--------> Session ------------------------> Room ------------------------> sfu::Shard
//!                            <------------------------      <------------------------
//!                             RoomOutput::ToSession            RoomInput::Media
//! ```
//!
//! The owner (the crate `node`) keeps: the order of messages on each of these arrows; a map from [`SessionId`] to the
//! session's mailbox; a map from `ParticipantSid` to the room for events of the shard (learnt from the
//! `sfu::MemberCommand`s that pass by); a map from `RoomSid` to the room for messages between rooms. A session
//! whose client does not read is closed by the owner (`Session::handle_closed`).

use std::sync::Arc;

use bytes::Bytes;
use protocol::{
    ParticipantIdentity, ParticipantSid, RoomSid,
    error::Error,
    livekit::{self, SignalResponse, signal_request, signal_response},
    prost::Message,
    signal::Frame,
    token::Grant,
};
use serde::Deserialize;

use crate::{
    delivery_service::GroupInput, forwarded_participant::ForwardedParticipant, room_news::RoomNews,
};

/// One signal connection (not one participant: a resumed participant has a new session). Chosen by the owner, never
/// used twice in a process; a connection that was opened later has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A part of a room's media that is on one shard. What several legs say of the same thing are partial results, which the
/// room merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg(pub u16);

impl Leg {
    /// The only leg of a room today.
    pub const HOME: Self = Self(0);
}

/// Clients send a ping this often, seconds.
pub const PING_INTERVAL_SECONDS: u32 = 3;

/// The time without a message after which a client takes its connection for dead, seconds: by this it notices that its
/// network has changed, and resumes. A needless resume is not noticed, a silence is.
pub const PONG_TIMEOUT_SECONDS: u32 = 8;

/// The time without a message after which we take a connection for dead, seconds: browsers put off what hidden pages
/// want to do.
pub const PING_TIMEOUT_SECONDS: u32 = 15;

/// The version that we claim in `ServerInfo`. Clients switch features on by it: below 1.8.0 they refuse RPC, above
/// 1.13.6 they publish VP9 and AV1 as rid simulcast where an app asks for it.
pub const COMPATIBLE_VERSION: &str = "1.13.7";

/// The codecs clients may publish with unless configured otherwise. Clients that know none of the list take the first
/// of a kind.
const ENABLED_CODECS: [&str; 6] = [
    "audio/opus",
    "audio/red",
    "video/VP8",
    "video/H264",
    "video/VP9",
    "video/AV1",
];

/// The signal protocol that we speak (`ServerInfo.protocol`).
pub const PROTOCOL_VERSION: i32 = 17;

/// The protocol of agents' workers that we speak (`ServerInfo.agent_protocol`).
pub const AGENT_PROTOCOL: i32 = 1;

/// Settings of rooms and sessions. An empty table gives the defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A join opens a room that does not exist. Otherwise only `CreateRoom` opens rooms. Heeded by the owner.
    pub auto_create: bool,
    /// A room that nobody joined is closed after this many seconds.
    pub empty_timeout: u32,
    /// A room that everybody left is closed after this many seconds.
    pub departure_timeout: u32,
    /// The most participants of a room, agents not counted; 0 means no limit.
    pub max_participants: u32,
    /// A participant whose media did not connect within this many seconds is removed.
    pub join_timeout: u32,
    /// A participant whose signal connection broke may resume for this many seconds; then it is removed.
    ///
    /// 20 s: clients retry after 0, 0.3, 1.2, 2.7, 4.8 and 7 s, and nobody wants to look at a ghost for longer.
    pub resume_timeout: u32,
    /// A participant whose media transport is gone is told to reconnect after this many seconds.
    pub media_timeout: u32,
    /// The most further devices as which one person publishes at a time (`publish` in the older protocol's query).
    pub max_companions: usize,
    /// Clients may simulate faults (`SimulateScenario`), as SDKs do to test themselves. True in development mode.
    pub simulations: bool,
    /// The most tracks of one participant, and the most data tracks beside them.
    pub max_tracks: usize,
    /// The most tracks that one participant receives at a time, and the most data tracks beside them. A further track
    /// waits until the participant gives one up; a further data track is refused.
    pub max_subscriptions: usize,
    /// The codecs that clients may publish with, in order of preference, as MIME types.
    pub enabled_codecs: Vec<String>,
    /// Moderators may unmute a participant's track.
    pub enable_remote_unmute: bool,
    /// Signal messages that a client may send per second in the long run.
    pub requests_per_second: u32,
    /// Signal messages that a client may send at once. A page of 300 tiles that become visible sends 300.
    pub request_burst: u32,
    /// A fresh token is sent this often, seconds. It is valid for [`Config::token_ttl`].
    pub token_refresh: u32,
    /// Lifetime of refreshed tokens, seconds.
    pub token_ttl: u32,
    /// `ServerInfo.region`.
    pub region: String,
    /// `ServerInfo.node_id`.
    pub node_id: String,
    /// The TURN server that clients are told of. Set by the owner, not by the administrator.
    #[serde(skip)]
    pub turn: Option<protocol::turn::TurnServers>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auto_create: true,
            empty_timeout: 300,
            departure_timeout: 20,
            max_participants: 0,
            join_timeout: 60,
            resume_timeout: 20,
            media_timeout: 15,
            max_companions: 1,
            simulations: false,
            max_tracks: 128,
            max_subscriptions: 1000,
            enabled_codecs: ENABLED_CODECS.map(String::from).to_vec(),
            enable_remote_unmute: false,
            requests_per_second: 100,
            request_burst: 1000,
            token_refresh: 300,
            token_ttl: 600,
            region: String::new(),
            node_id: String::new(),
            turn: None,
        }
    }
}

/// A client asks to join, or to resume (`request.reconnect` with `request.participant_sid`).
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// The session of the client's connection.
    pub session: SessionId,
    /// The contents of the client's token. The owner has checked `room_join`, that `room()` is this room, and that
    /// there is an identity.
    pub grant: Grant,
    /// The client's `join_request`, or the query in its place.
    pub request: livekit::JoinRequest,
    /// The client speaks the older protocol, without a `join_request`: it publishes on one PeerConnection and receives
    /// on another.
    pub two_connections: bool,
    /// The client encrypts by MLS ([`Encryption::Mls`](crate::Encryption::Mls)).
    pub mls: bool,
}

/// A message for one client or many, encoded once.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    message: Arc<SignalResponse>,
    binary: Bytes,
    subject: Option<Subject>,
    /// The messages that this one is put together of.
    parts: Arc<[Response]>,
}

/// The subject of which a message says everything: a newer message of the same subject replaces it, where the client
/// has not got it yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Another participant, by its sid.
    Participant(Arc<str>),
    /// The quality of a participant's connection.
    Quality(Arc<str>),
    /// The room.
    Room,
    /// Permission to receive a track.
    Permission(Arc<str>),
    /// Whether the network carries a track.
    StreamState(Arc<str>),
    /// The layers that others want of a track.
    Layers(Arc<str>),
    /// The codecs that others need of a track.
    AudioCodecs(Arc<str>),
    /// The sections that an offer has to have.
    Sections,
    /// The reason why a track is not received.
    Subscription(Arc<str>),
    /// The meaning of data track handles.
    DataHandles,
}

impl Subject {
    fn of(message: &signal_response::Message) -> Option<Self> {
        use signal_response::Message as M;
        Some(match message {
            M::Update(update) => match update.participants.as_slice() {
                [one] => Self::Participant(one.sid.as_str().into()),
                _ => return None,
            },
            M::ConnectionQuality(update) => match update.updates.as_slice() {
                [one] => Self::Quality(one.participant_sid.as_str().into()),
                _ => return None,
            },
            M::RoomUpdate(_) => Self::Room,
            M::SubscriptionPermissionUpdate(update) => {
                Self::Permission(update.track_sid.as_str().into())
            }
            M::StreamStateUpdate(update) => match update.stream_states.as_slice() {
                [one] => Self::StreamState(one.track_sid.as_str().into()),
                _ => return None,
            },
            M::SubscribedQualityUpdate(update) => Self::Layers(update.track_sid.as_str().into()),
            M::SubscribedAudioCodecUpdate(update) => {
                Self::AudioCodecs(update.track_sid.as_str().into())
            }
            M::MediaSectionsRequirement(_) => Self::Sections,
            M::SubscriptionResponse(response) => {
                Self::Subscription(response.track_sid.as_str().into())
            }
            M::DataTrackSubscriberHandles(_) => Self::DataHandles,
            _ => return None,
        })
    }

    /// Whether the newer message may be read in the place of the older one. The meaning of handles must be read after
    /// the `update` that names the tracks.
    pub fn keeps_its_place(&self) -> bool {
        *self != Self::DataHandles
    }
}

impl Response {
    /// The message inside (always `Some` in responses of a room).
    pub fn message(&self) -> Option<&signal_response::Message> {
        self.message.message.as_ref()
    }

    /// The subject of the message, if it says everything about one.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Puts several messages into one: updates of participants, or of the quality of their connections. `None`: there
    /// is no message.
    pub fn together(parts: Vec<Self>) -> Option<Self> {
        use signal_response::Message as M;
        let (mut participants, mut qualities) = (Vec::new(), Vec::new());
        if let [_] = parts.as_slice() {
            return parts.into_iter().next();
        }
        for part in &parts {
            match part.message() {
                Some(M::Update(update)) => participants.extend(update.participants.iter().cloned()),
                Some(M::ConnectionQuality(update)) => {
                    qualities.extend(update.updates.iter().cloned());
                }
                _ => debug_assert!(false, "not of those that can be put together"),
            }
        }
        let message = match (participants.is_empty(), qualities.is_empty()) {
            (false, _) => M::Update(livekit::ParticipantUpdate { participants }),
            (true, false) => {
                M::ConnectionQuality(livekit::ConnectionQualityUpdate { updates: qualities })
            }
            (true, true) => return None,
        };
        Some(Self {
            parts: parts.into(),
            ..Self::from(message)
        })
    }

    /// The messages that this one was put together of, each with a subject of its own; empty for one that was not.
    /// Where its client is behind, a newer message about a subject takes the place of an older one.
    pub fn parts(&self) -> &[Response] {
        &self.parts
    }

    /// The same response without its subject: its place among other messages matters to the client.
    pub(crate) fn by_itself(self) -> Self {
        Self {
            subject: None,
            ..self
        }
    }

    /// The response as protobuf.
    pub fn binary(&self) -> Bytes {
        self.binary.clone()
    }

    /// The response as a value, for other encodings.
    pub fn response(&self) -> &SignalResponse {
        &self.message
    }
}

impl From<signal_response::Message> for Response {
    fn from(message: signal_response::Message) -> Self {
        let subject = Subject::of(&message);
        let message = SignalResponse {
            message: Some(message),
        };
        Self {
            binary: message.encode_to_vec().into(),
            message: Arc::new(message),
            subject,
            parts: Arc::new([]),
        }
    }
}

/// A message of a room to a session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionMessage {
    /// A message for the client.
    Response(Response),
    /// Identity and rights of the participant now: the content of its next token. The first comes with `join`.
    Grant(Box<Grant>),
    /// The participant goes to another room: the client is told so, and connects there with a token for this grant.
    Move {
        /// The grant for the other room.
        grant: Box<Grant>,
        /// The message for the client; the session fills in the token.
        moved: Box<livekit::RoomMovedResponse>,
    },
    /// The room is done with this session: it flushes and closes.
    Close,
}

/// An output of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionOutput {
    /// A frame for the client.
    Send(Frame),
    /// An input for the room.
    ToRoom(RoomInput),
    /// Sign a token for this grant, valid for [`Config::token_ttl`], and hand it to `Session::handle_token`.
    SignToken(Box<Grant>),
    /// The last output: flush what was sent, close the socket (1000), forget the session.
    Close(CloseCause),
}

/// The reason why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// The room ended it: the participant left, was removed, was refused or resumed elsewhere.
    Room,
    /// The client closed the connection, or it broke.
    Connection,
    /// The client sent nothing for [`PING_TIMEOUT_SECONDS`].
    PingTimeout,
    /// A message that is none.
    Malformed,
    /// The client sent a message that cannot be read.
    TooLong,
    /// The client sent a message that is too long, or has too many parts.
    TooMany,
}

impl CloseCause {
    /// Whether the client broke the protocol: its participant is removed without a chance to resume.
    pub fn is_misbehaviour(self) -> bool {
        matches!(self, Self::Malformed | Self::TooLong | Self::TooMany)
    }

    /// The cause in words: for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Connection => "connection",
            Self::PingTimeout => "ping_timeout",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
        }
    }
}

/// An input of a room.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomInput {
    /// A client asks to join or to resume.
    Join(Box<Join>),
    /// A client's message, other than those its session answers itself (pings).
    Request {
        /// The session.
        session: SessionId,
        /// The message.
        request: Box<signal_request::Message>,
    },
    /// A session ended.
    SessionGone {
        /// The session.
        session: SessionId,
        /// The cause.
        cause: CloseCause,
    },
    /// An event of the shard that holds a part of the room's media.
    Media {
        /// The part.
        leg: Leg,
        /// The event.
        event: sfu::Event,
    },
    /// A message of another room, in the order of its [`RoomOutput::ToRoom`].
    FromRoom {
        /// The other room.
        room: RoomSid,
        /// The shard that holds the other room's media (`sfu::Config::index`).
        shard: u16,
        /// The message.
        message: RoomMessage,
    },
    /// A room to which this one sent something does not exist (any more).
    RoomGone {
        /// The room that does not exist.
        room: RoomSid,
    },
    /// A call of the server API. Answered by [`RoomOutput::ApiReply`], in the same turn except for
    /// [`ApiCall::PerformRpc`] and [`ApiCall::ForwardParticipant`].
    Api {
        /// Echoed in the reply.
        id: u64,
        /// The call.
        call: ApiCall,
    },
    /// The server stops: everybody is told to reconnect, and the room closes.
    Shutdown,
}

/// A message of a room to another one, about participants of the one who are in the other too.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomMessage {
    /// A participant is to be in the other room. Answered by [`RoomMessage::ForwardTaken`] or
    /// [`RoomMessage::ForwardRefused`].
    Forward(Box<ForwardedParticipant>),
    /// A participant that is in the other room has changed.
    ForwardChanged(Box<ForwardedParticipant>),
    /// A participant that is in the other room has left.
    ForwardEnded {
        /// The participant's sid in the other room.
        participant: ParticipantSid,
        /// The reason.
        reason: livekit::DisconnectReason,
    },
    /// The answer to `Forward`: the participant is in the other room.
    ForwardTaken {
        /// The participant's sid in the other room.
        participant: ParticipantSid,
    },
    /// The answer to `Forward`: the participant may not be in the other room; or later: it is there no longer.
    ForwardRefused {
        /// The participant's sid in the other room.
        participant: ParticipantSid,
        /// The reason.
        error: Error,
    },
}

/// An output of a room.
#[derive(Debug, Clone)]
pub enum RoomOutput {
    /// A message for a session. Ignored when the session is gone.
    ToSession {
        /// The session.
        session: SessionId,
        /// The message.
        message: SessionMessage,
    },
    /// A command for the shard that holds a part of the room's media.
    ToMedia {
        /// The part.
        leg: Leg,
        /// The command.
        command: sfu::Command,
    },
    /// A message for another room: [`RoomInput::FromRoom`] there, or [`RoomInput::RoomGone`] here.
    ToRoom {
        /// The other room.
        room: RoomSid,
        /// The message.
        message: RoomMessage,
    },
    /// The answer to an API call.
    ApiReply {
        /// Id of the call.
        id: u64,
        /// The result.
        reply: Result<ApiReply, Error>,
    },
    /// An event for the application, if it wants such events. A room's events come in the order in which things
    /// happened.
    Webhook(Box<livekit::WebhookEvent>),
    /// News for [`Agents`](crate::Agents), in the order in which things happened.
    Agents(RoomNews),
    /// News for the delivery service of an encrypted room.
    Group(GroupInput),
    /// The room has ended; forget it. Nothing but [`RoomOutput::Redirect`], refused API calls and refusals for other
    /// rooms follow.
    Closed,
    /// A join that came after [`RoomOutput::Closed`]: hand it to a new room of the name.
    Redirect(Box<Join>),
}

/// A call of the server API (RoomService) to one room. The owner has checked the grant.
#[derive(Debug, Clone, PartialEq)]
pub enum ApiCall {
    /// The room, as ListRooms tells it. → [`ApiReply::Room`]
    GetRoom,
    /// Replaces the room's metadata. → [`ApiReply::Room`]
    UpdateRoomMetadata {
        /// The new metadata.
        metadata: String,
    },
    /// Ends the room. → [`ApiReply::Done`]
    DeleteRoom,
    /// All participants. → [`ApiReply::Participants`]
    ListParticipants,
    /// One participant. → [`ApiReply::Participant`]
    GetParticipant {
        /// The participant.
        identity: ParticipantIdentity,
    },
    /// Removes a participant. → [`ApiReply::Done`]
    RemoveParticipant {
        /// The participant.
        identity: ParticipantIdentity,
        /// The participant's tokens that are valid since before this time (`nbf`, seconds since 1970) do not let it in
        /// again ([`Room::revocations`](crate::Room::revocations)).
        revoke_before: Option<u64>,
    },
    /// Mutes or unmutes a track. → [`ApiReply::Track`]
    MuteTrack {
        /// The publisher.
        identity: ParticipantIdentity,
        /// The track's sid, as the caller wrote it.
        track_sid: String,
        /// The track is to be muted; otherwise unmuted.
        muted: bool,
    },
    /// Changes name, metadata, attributes or permissions of a participant. → [`ApiReply::Participant`]
    UpdateParticipant(Box<livekit::UpdateParticipantRequest>),
    /// Subscribes a participant to tracks, or ends subscriptions. → [`ApiReply::Done`]
    UpdateSubscriptions(Box<livekit::UpdateSubscriptionsRequest>),
    /// Sends a data packet to participants. → [`ApiReply::Done`]
    SendData(Box<livekit::SendDataRequest>),
    /// Calls a method that a participant has registered, and waits for its answer. → [`ApiReply::Rpc`]
    PerformRpc(Box<livekit::PerformRpcRequest>),
    /// A participant leaves for another room, with a token for it. → [`ApiReply::Done`]
    MoveParticipant {
        /// The participant.
        identity: ParticipantIdentity,
        /// The room that the participant goes to, which is open.
        destination: Box<livekit::Room>,
    },
    /// A participant is in another room too, as long as it is in this one. Answered when the other room has answered. →
    /// [`ApiReply::Done`]
    ForwardParticipant {
        /// The participant.
        identity: ParticipantIdentity,
        /// The other room, which is open.
        destination: RoomSid,
    },
}

/// The answer to an [`ApiCall`].
#[derive(Debug, Clone, PartialEq)]
pub enum ApiReply {
    /// The call is carried out.
    Done,
    /// The room.
    Room(Box<livekit::Room>),
    /// All participants, hidden ones too.
    Participants(Vec<livekit::ParticipantInfo>),
    /// One participant.
    Participant(Box<livekit::ParticipantInfo>),
    /// The result of a participant's method.
    Rpc {
        /// The result as the participant wrote it.
        payload: String,
    },
    /// A track; `None` when the track is unknown.
    Track(Option<Box<livekit::TrackInfo>>),
}
