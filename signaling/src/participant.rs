//! One participant as the room knows it: identity, rights, tracks and subscriptions.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use protocol::{
    ParticipantIdentity, ParticipantSid, RoomSid, TrackSid,
    livekit::{
        CandidateProtocol, ClientInfo, DisconnectReason, ParticipantInfo, ParticipantPermission,
        TrackSource,
        participant_info::{Kind, KindDetail, State},
    },
    prost::Message as _,
    token::Grant,
};
use sfu::{MediaKind, TrackSetting};

use crate::{
    announcements::Announced,
    api::{Response, SessionId},
    audience::Audience,
    budget::Waiting,
    data_tracks::DataTracks,
    descriptions::Descriptions,
    forwarding::Forward,
    track::Track,
};

/// One participant's stay in the room.
pub(crate) struct Participant {
    pub sid: ParticipantSid,
    pub identity: ParticipantIdentity,
    /// The participant's signal connection; `None` while it may resume.
    pub session: Option<SessionId>,
    /// Identity and rights now. The grant starts as the token says, and follows moderators and the participant's own
    /// updates.
    pub grant: Grant,
    pub client: ClientInfo,
    /// The participant receives on another PeerConnection than the one on which it publishes.
    pub two_connections: bool,
    pub auto_subscribe: bool,
    pub adaptive_stream: bool,
    pub state: State,
    /// When the participant joined, since 1970.
    pub joined_at: Duration,
    /// Number of the last `update` about the participant; clients drop older ones.
    pub version: u32,
    /// Published tracks, in the order of publication.
    pub tracks: Vec<Track>,
    pub subscriptions: BTreeMap<TrackSid, Subscription>,
    /// Number of active subscriptions.
    pub active_subscriptions: usize,
    /// Tracks that would be sent, were there not as many subscriptions as allowed.
    pub unfilled: BTreeSet<TrackSid>,
    /// The data tracks that the participant publishes and receives.
    pub data: DataTracks,
    /// Quality of the participant's connection.
    pub quality: sfu::Quality,
    /// The participants that may receive its tracks.
    pub audience: Audience,
    /// The announcement state: what others know of the participant.
    pub announced: Announced,
    /// Messages of the client that wait to be carried out.
    pub waiting: Waiting,
    /// Messages that a resumed session still has to hear, oldest first.
    pub missed: Vec<Response>,
    /// The participant came back once. Its client has then taken back an offer whose answer was lost meanwhile, and we
    /// have not.
    pub resumed: bool,
    /// The participant came back, and has not said yet which data packets it got.
    pub replay_due: bool,
    /// The client closed the media transport.
    pub media_closed: bool,
    /// Our offer that the client has not answered.
    pub awaited_answer: Option<u32>,
    /// Offers and answers of the client that are not read yet.
    pub descriptions: Descriptions,
    /// Other rooms that the participant is forwarded to from this one.
    pub forwards: Vec<Forward>,
    /// The room that the participant is connected to, where that is another one: here it only publishes.
    pub forwarded_from: Option<RoomSid>,
    /// A simulation that the client asked for: it is reached over this protocol only.
    pub protocol: Option<CandidateProtocol>,
    /// A simulation that the client asked for: the signal connection is cut at the next resume.
    pub cut_on_resume: Option<CutOnResume>,
}

/// The cut of `SimulateScenario.disconnect_signal_on_resume`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutOnResume {
    pub until: Instant,
    /// The connection is cut before a single message.
    pub silently: bool,
}

/// A participant's wish for one track, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    /// The wish; `None`: whatever `auto_subscribe` says.
    pub wish: Option<bool>,
    /// The shard was told to send the track.
    pub active: bool,
    /// The setting that the participant asked for in `track_setting`.
    pub setting: Option<TrackSetting>,
    /// The last answer of the publisher's [`Audience`], as the subscriber knows it.
    pub refused: bool,
}

impl Participant {
    /// The track with this backup.
    pub(crate) fn track_with_backup(&mut self, backup: TrackSid) -> Option<&mut Track> {
        let has_it = |track: &&mut Track| track.backup.as_ref().is_some_and(|b| b.sid == backup);
        self.tracks.iter_mut().find(has_it)
    }

    /// A digest that differs when others would see the participant differently, and the number of bytes digested.
    /// `version` is not part of it.
    pub fn digest(&self) -> (u64, usize) {
        let mut info = self.info();
        info.version = 0;
        // Attributes are in no order here; the grant has them in one.
        info.attributes.clear();
        let mut hasher = DefaultHasher::new();
        let bytes = info.encode_to_vec();
        bytes.hash(&mut hasher);
        self.grant.attributes.hash(&mut hasher);
        (hasher.finish(), bytes.len())
    }

    /// A participant that joins, of which nothing is known but its grant and its client. `joined_at`: since 1970.
    pub fn new(sid: ParticipantSid, grant: Grant, client: ClientInfo, joined_at: Duration) -> Self {
        Self {
            sid,
            identity: grant.identity(),
            session: None,
            grant,
            client,
            two_connections: false,
            auto_subscribe: false,
            adaptive_stream: false,
            state: State::Joining,
            joined_at,
            version: 1,
            tracks: Vec::new(),
            subscriptions: BTreeMap::new(),
            active_subscriptions: 0,
            unfilled: BTreeSet::new(),
            data: DataTracks::default(),
            quality: sfu::Quality::Excellent,
            audience: Audience::default(),
            announced: Announced::default(),
            waiting: Waiting::default(),
            missed: Vec::new(),
            resumed: false,
            replay_due: false,
            media_closed: false,
            awaited_answer: None,
            descriptions: Descriptions::default(),
            forwards: Vec::new(),
            forwarded_from: None,
            protocol: None,
            cut_on_resume: None,
        }
    }

    /// Whether the room stays open for this participant.
    pub fn holds_room(&self) -> bool {
        self.forwarded_from.is_none() && !self.is_dependent()
    }

    /// Whether this is an agent or a recorder, which are here for others only.
    pub fn is_dependent(&self) -> bool {
        is_dependent(&self.grant)
    }

    /// Drops the descriptions and messages of a negotiation, which ends with its connection.
    pub fn forget_negotiation(&mut self) {
        self.descriptions.forget();
        self.waiting.forget_negotiation();
    }

    /// Whether others see the participant.
    pub fn is_visible(&self) -> bool {
        self.state == State::Active && !self.is_hidden()
    }

    /// Whether the grant hides the participant from others.
    pub fn is_hidden(&self) -> bool {
        self.grant.video.as_ref().is_some_and(|video| video.hidden)
    }

    /// Whether the participant may receive tracks.
    pub fn can_subscribe(&self) -> bool {
        self.forwarded_from.is_none() && self.grant.video().may_subscribe()
    }

    /// The person who is charged for this participant ([`Grant::principal`]).
    pub fn principal(&self) -> ParticipantIdentity {
        self.grant.principal()
    }

    /// Whether the participant may publish sound or picture as this source. Where its grant names sources, a microphone
    /// must be sound, and so on; a track without a source is none of them.
    pub fn can_publish(&self, source: TrackSource, kind: MediaKind) -> bool {
        let video = self.grant.video();
        let sources = &video.can_publish_sources;
        let is_named = || {
            let mut names = sources.iter();
            kind_of_source(source) == Some(kind)
                && names.any(|name| source_named(name) == Some(source))
        };
        video.may_publish() && (sources.is_empty() || is_named())
    }

    /// Whether the participant may neither publish nor receive tracks. Its client has nothing to connect.
    pub fn is_without_media(&self) -> bool {
        let video = self.grant.video();
        !video.may_publish() && !video.may_subscribe()
    }

    pub fn track(&self, sid: TrackSid) -> Option<&Track> {
        self.tracks.iter().find(|track| track.sid == sid)
    }

    pub fn track_mut(&mut self, sid: TrackSid) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.sid == sid)
    }

    /// Whether the participant wants to receive `track`.
    pub fn wants(&self, track: TrackSid) -> bool {
        self.subscriptions
            .get(&track)
            .and_then(|subscription| subscription.wish)
            .unwrap_or(self.auto_subscribe)
    }

    /// Whether the participant publishes anything that others can receive.
    pub fn is_publisher(&self) -> bool {
        self.tracks.iter().any(|track| track.bound)
    }

    /// The participant's rights as the media engine enforces them.
    pub fn media_permissions(&self) -> sfu::PeerPermissions {
        sfu::PeerPermissions {
            can_publish_data: self.grant.video().may_publish_data(),
            hidden: self.is_hidden(),
            agent: self.kind() == Kind::Agent,
            // A transcript or a recording must not depend on who was the loudest.
            hears_all: self.is_dependent(),
        }
    }

    pub fn kind(&self) -> Kind {
        kind_of(&self.grant)
    }

    /// Whether the participant records. Agents and others may be marked by a flag alone.
    pub fn is_recorder(&self) -> bool {
        self.kind() == Kind::Egress || self.grant.video().recorder
    }

    fn kind_details(&self) -> Vec<i32> {
        let mut details = kind_details_of(&self.grant);
        let forwarded = KindDetail::Forwarded.into();
        if self.forwarded_from.is_some() && !details.contains(&forwarded) {
            details.push(forwarded);
        }
        details
    }

    /// The participant as others see it.
    pub fn info(&self) -> ParticipantInfo {
        ParticipantInfo {
            sid: self.sid.to_string(),
            identity: self.identity.as_str().to_owned(),
            state: self.state.into(),
            tracks: self
                .tracks
                .iter()
                .filter(|track| track.bound)
                .map(|track| track.info.clone())
                .collect(),
            data_tracks: self
                .data
                .published
                .iter()
                .map(|track| track.info.clone())
                .collect(),
            metadata: self.grant.metadata.clone(),
            joined_at: self.joined_at.as_secs() as i64,
            joined_at_ms: self.joined_at.as_millis() as i64,
            name: self.grant.name.clone(),
            version: self.version,
            permission: Some(permission_of(&self.grant)),
            is_publisher: self.is_publisher(),
            kind: self.kind().into(),
            kind_details: self.kind_details(),
            attributes: self.grant.attributes.clone().into_iter().collect(),
            client_protocol: self.client.client_protocol,
            // Values that we do not know could not be written as JSON.
            capabilities: self.client.capabilities().map(Into::into).collect(),
            ..ParticipantInfo::default()
        }
    }

    /// The participant as others see it last. Without the long parts: many are kept, for clients that come back.
    pub fn farewell(&self, reason: DisconnectReason) -> ParticipantInfo {
        ParticipantInfo {
            metadata: String::new(),
            attributes: Default::default(),
            ..self.last_info(reason)
        }
    }

    /// The participant as the application sees it last.
    pub fn last_info(&self, reason: DisconnectReason) -> ParticipantInfo {
        ParticipantInfo {
            state: State::Disconnected.into(),
            disconnect_reason: reason.into(),
            tracks: Vec::new(),
            data_tracks: Vec::new(),
            is_publisher: false,
            ..self.info()
        }
    }
}

/// The kind in a grant. Agents and recorders are told by their kind, or by flags of older tokens.
pub(crate) fn kind_of(grant: &Grant) -> Kind {
    let video = grant.video();
    match Kind::from_str_name(&grant.kind.to_ascii_uppercase()) {
        Some(kind) if kind != Kind::Standard => kind,
        _ if video.agent => Kind::Agent,
        _ if video.recorder => Kind::Egress,
        _ => Kind::Standard,
    }
}

/// Whether the grant is an agent's or a recorder's: they keep no room open, take no seat and are not counted.
pub(crate) fn is_dependent(grant: &Grant) -> bool {
    let video = grant.video();
    matches!(kind_of(grant), Kind::Agent | Kind::Egress) || video.agent || video.recorder
}

fn kind_details_of(grant: &Grant) -> Vec<i32> {
    let parse = |name: &String| KindDetail::from_str_name(&name.to_ascii_uppercase());
    grant
        .kind_details
        .iter()
        .filter_map(parse)
        .map(Into::into)
        .collect()
}

#[allow(deprecated)] // Older clients read `recorder` and `agent`.
fn permission_of(grant: &Grant) -> ParticipantPermission {
    let video = grant.video();
    ParticipantPermission {
        can_subscribe: video.may_subscribe(),
        can_publish: video.may_publish(),
        can_publish_data: video.may_publish_data(),
        can_publish_sources: video
            .can_publish_sources
            .iter()
            .filter_map(|name| source_named(name))
            .map(Into::into)
            .collect(),
        hidden: video.hidden,
        recorder: video.recorder,
        can_update_metadata: video.may_update_own_metadata(),
        agent: kind_of(grant) == Kind::Agent,
        can_subscribe_metrics: video.can_subscribe_metrics.unwrap_or(false),
        can_manage_agent_session: video.can_manage_agent_session.unwrap_or(false),
    }
}

/// Writes a moderator's permission into the grant. An agent is marked by its kind from then on: in a token the flag
/// would also say that its holder is a worker.
#[allow(deprecated)] // See `permission_of`.
pub(crate) fn set_permission(grant: &mut Grant, permission: &ParticipantPermission) {
    let sources = permission
        .can_publish_sources
        .iter()
        .filter_map(|source| TrackSource::try_from(*source).ok());
    let video = grant.video.get_or_insert_default();
    video.can_subscribe = Some(permission.can_subscribe);
    video.can_publish = Some(permission.can_publish);
    video.can_publish_data = Some(permission.can_publish_data);
    video.can_publish_sources = sources
        .map(|source| source.as_str_name().to_ascii_lowercase())
        .collect();
    video.hidden = permission.hidden;
    video.recorder = permission.recorder;
    video.agent = permission.agent;
    video.can_update_own_metadata = Some(permission.can_update_metadata);
    video.can_subscribe_metrics = Some(permission.can_subscribe_metrics);
    video.can_manage_agent_session = Some(permission.can_manage_agent_session);
    if kind_of(grant) == Kind::Agent {
        grant.kind = "agent".to_owned();
    }
    grant.video.get_or_insert_default().agent = false;
}

/// The kind of media of a source; `None` for no source in particular.
fn kind_of_source(source: TrackSource) -> Option<MediaKind> {
    match source {
        TrackSource::Microphone | TrackSource::ScreenShareAudio => Some(MediaKind::Audio),
        TrackSource::Camera | TrackSource::ScreenShare => Some(MediaKind::Video),
        TrackSource::Unknown => None,
    }
}

/// The source with this name: `camera`, `microphone`, `screen_share` or `screen_share_audio`, in any case.
fn source_named(name: &str) -> Option<TrackSource> {
    TrackSource::from_str_name(&name.to_ascii_uppercase())
}
