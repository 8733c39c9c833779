//! One participant as the room knows it: who it is, what it may do, what it publishes and what it receives.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use protocol::{
    DataTrackSid, ParticipantIdentity, ParticipantSid, RoomSid, TrackSid,
    livekit::{
        CandidateProtocol, ClientInfo, DisconnectReason, ParticipantInfo, ParticipantPermission,
        SubscriptionPermission, TrackInfo, TrackSource,
        participant_info::{Kind, KindDetail, State},
    },
    token::Grant,
};
use sfu::{MediaKind, SpatialLayer, TrackSetting};

use crate::{
    announce::Announced,
    api::{Response, SessionId},
    backup::Backup,
    budget::Waiting,
    data_tracks::DataTracks,
    descriptions::Descriptions,
    forward::Forward,
};

/// One participant's stay in the room.
pub(crate) struct Participant {
    pub sid: ParticipantSid,
    pub identity: ParticipantIdentity,
    /// Its signal connection; `None` while it may resume.
    pub session: Option<SessionId>,
    /// What it is and may do now. Starts as its token says, and follows moderators and its own updates.
    pub grant: Grant,
    pub client: ClientInfo,
    /// It receives on another PeerConnection than the one on which it publishes.
    pub two_connections: bool,
    pub auto_subscribe: bool,
    pub adaptive_stream: bool,
    pub state: State,
    /// Since 1970.
    pub joined_at: Duration,
    /// Grows with each `update` about it; clients drop older ones.
    pub version: u32,
    /// In the order of publication.
    pub tracks: Vec<Track>,
    pub subscriptions: BTreeMap<TrackSid, Subscription>,
    /// How many of them are active.
    pub active_subscriptions: usize,
    /// What it publishes and receives of data tracks.
    pub data: DataTracks,
    /// How good its connection is.
    pub quality: sfu::Quality,
    /// Who may receive its tracks.
    pub audience: Audience,
    /// What others know of it.
    pub announced: Announced,
    /// Messages of its client that wait to be carried out.
    pub waiting: Waiting,
    /// Messages that a resumed session still has to hear, oldest first.
    pub missed: Vec<Response>,
    /// It came back once. An offer whose answer was lost meanwhile it has taken back, and we have not.
    pub resumed: bool,
    /// It came back, and has not said yet which data packets it got.
    pub replay_due: bool,
    /// Removed at this time if its media has not connected.
    pub connect_by: Option<Instant>,
    /// Removed at this time if it has not resumed.
    pub resume_by: Option<Instant>,
    /// Told to reconnect at this time if its media transport has not come back.
    pub media_by: Option<Instant>,
    /// Its client closed the media transport.
    pub media_closed: bool,
    /// The offer it has not answered, and when it is told to reconnect for that.
    pub awaited_answer: Option<(u32, Instant)>,
    /// Its offers and answers, as far as they are not read.
    pub descriptions: Descriptions,
    /// Rooms that it is in too, from this one.
    pub forwards: Vec<Forward>,
    /// The room it is connected to, where that is another one: here it only publishes.
    pub forwarded_from: Option<RoomSid>,
    /// A simulation its client asked for: it is reached over this protocol only.
    pub protocol: Option<CandidateProtocol>,
    /// A simulation its client asked for: cut the signal connection at the next resume.
    pub cut_on_resume: Option<CutOnResume>,
}

/// See `SimulateScenario.disconnect_signal_on_resume`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutOnResume {
    pub until: Instant,
    /// Cut before a single message.
    pub silently: bool,
}

/// A published track.
pub(crate) struct Track {
    pub sid: TrackSid,
    /// The client's id of it, from `add_track`.
    pub cid: String,
    pub info: TrackInfo,
    /// As the shard was told.
    pub media: sfu::PublishedTrack,
    /// What it is encoded with, once it is bound.
    pub encoding: sfu::TrackCodec,
    /// Bound to a section of an offer: others may hear of it.
    pub bound: bool,
    /// Others have heard of it.
    pub announced: bool,
    /// Somebody receives it, and the publisher was told.
    pub subscribed: bool,
    /// The codec its client announced, by [`protocol::codec::name`].
    pub codec: String,
    /// The codecs its client could send, if it is a sound; likewise.
    pub audio_codecs: Vec<String>,
    /// Somebody needs one of them, as the publisher was told.
    pub needed: Option<bool>,
    /// The layers that somebody wants, as the publisher was told.
    pub wanted: Option<WantedLayers>,
    /// Its second codec, where it has one.
    pub backup: Option<Backup>,
}

/// Layers up to this one, or none.
pub(crate) type WantedLayers = Option<SpatialLayer>;

/// What a participant wants of one track, and has.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    /// What it asked for; `None`: whatever `auto_subscribe` says.
    pub wish: Option<bool>,
    /// The shard was told to send it.
    pub active: bool,
    /// It would be, were there not as many as there may be.
    pub waiting: bool,
    /// What it asked for in `track_setting`.
    pub setting: Option<TrackSetting>,
    /// The last answer of the publisher's [`Audience`], as the subscriber knows it.
    pub refused: bool,
}

/// A publisher's `subscription_permission`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) enum Audience {
    #[default]
    Everybody,
    /// By identity: the tracks, or all.
    Only(BTreeMap<ParticipantIdentity, Tracks>),
}

/// Tracks somebody may receive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tracks {
    All,
    Some {
        media: BTreeSet<TrackSid>,
        data: BTreeSet<DataTrackSid>,
    },
}

impl Tracks {
    fn some(sids: &[String]) -> Self {
        Self::Some {
            media: sids.iter().filter_map(|sid| sid.parse().ok()).collect(),
            data: sids.iter().filter_map(|sid| sid.parse().ok()).collect(),
        }
    }
}

impl Audience {
    /// From the wire. `identity_of` resolves the deprecated form by sid.
    pub fn new(
        permission: SubscriptionPermission,
        identity_of: impl Fn(ParticipantSid) -> Option<ParticipantIdentity>,
    ) -> Self {
        if permission.all_participants {
            return Self::Everybody;
        }
        let mut allowed = BTreeMap::new();
        for entry in permission.track_permissions {
            let identity = match entry.participant_identity.as_str() {
                "" => entry.participant_sid.parse().ok().and_then(&identity_of),
                identity => Some(identity.into()),
            };
            let Some(identity) = identity else { continue };
            let tracks = match entry.all_tracks {
                true => Tracks::All,
                false => Tracks::some(&entry.track_sids),
            };
            allowed.insert(identity, tracks);
        }
        Self::Only(allowed)
    }

    /// May `identity` receive `track`?
    pub fn allows(&self, identity: &ParticipantIdentity, track: TrackSid) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only(allowed) => match allowed.get(identity) {
                None => false,
                Some(Tracks::All) => true,
                Some(Tracks::Some { media, .. }) => media.contains(&track),
            },
        }
    }

    /// The same of a data track.
    pub fn allows_data(&self, identity: &ParticipantIdentity, track: DataTrackSid) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only(allowed) => match allowed.get(identity) {
                None => false,
                Some(Tracks::All) => true,
                Some(Tracks::Some { data, .. }) => data.contains(&track),
            },
        }
    }
}

impl Participant {
    /// Somebody of whom nothing is known but its grant and its client, and who joins (`joined_at`: since 1970).
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
            data: DataTracks::default(),
            quality: sfu::Quality::Excellent,
            audience: Audience::default(),
            announced: Announced::default(),
            waiting: Waiting::default(),
            missed: Vec::new(),
            resumed: false,
            replay_due: false,
            connect_by: None,
            resume_by: None,
            media_by: None,
            media_closed: false,
            awaited_answer: None,
            descriptions: Descriptions::default(),
            forwards: Vec::new(),
            forwarded_from: None,
            protocol: None,
            cut_on_resume: None,
        }
    }

    /// Does the room stay open for it?
    pub fn holds_room(&self) -> bool {
        self.forwarded_from.is_none() && !self.is_dependent()
    }

    /// Is it here for others only: an agent or a recorder?
    pub fn is_dependent(&self) -> bool {
        is_dependent(&self.grant)
    }

    /// What it sent to negotiate is given up with its connection.
    pub fn forget_negotiation(&mut self) {
        self.descriptions.forget();
        self.waiting.forget_negotiation();
    }

    /// Do others see it?
    pub fn is_visible(&self) -> bool {
        self.state == State::Active && !self.is_hidden()
    }

    pub fn is_hidden(&self) -> bool {
        self.grant.video.as_ref().is_some_and(|video| video.hidden)
    }

    pub fn can_subscribe(&self) -> bool {
        self.forwarded_from.is_none() && self.grant.video().may_subscribe()
    }

    /// Who is charged for what it does ([`Grant::principal`]).
    pub fn principal(&self) -> ParticipantIdentity {
        self.grant.principal()
    }

    /// May it publish a sound or a picture as this source? Where its sources are named, what it calls a microphone is a
    /// sound, and what it does not name is none of them.
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

    /// May it neither publish nor receive tracks? Its client has nothing to connect.
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

    /// Does it want to receive `track`?
    pub fn wants(&self, track: TrackSid) -> bool {
        self.subscriptions
            .get(&track)
            .and_then(|subscription| subscription.wish)
            .unwrap_or(self.auto_subscribe)
    }

    /// Does it publish anything that others can receive?
    pub fn is_publisher(&self) -> bool {
        self.tracks.iter().any(|track| track.bound)
    }

    pub fn media_permissions(&self) -> sfu::PeerPermissions {
        sfu::PeerPermissions {
            can_publish_data: self.grant.video().may_publish_data(),
            hidden: self.is_hidden(),
            agent: self.kind() == Kind::Agent,
            // What a room says in writing, or is recorded to have said, is not up to who was the loudest.
            hears_all: self.is_dependent(),
        }
    }

    pub fn kind(&self) -> Kind {
        kind_of(&self.grant)
    }

    /// Does it record? Agents and others may be told to by a flag alone.
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

    /// As others see it.
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
            // Values we do not know could not be written as JSON.
            capabilities: self.client.capabilities().map(Into::into).collect(),
            ..ParticipantInfo::default()
        }
    }

    /// As others see it last. Without what may be long: many are kept, for those who come back.
    pub fn farewell(&self, reason: DisconnectReason) -> ParticipantInfo {
        ParticipantInfo {
            metadata: String::new(),
            attributes: Default::default(),
            ..self.last_info(reason)
        }
    }

    /// As the application sees it last.
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

/// Agents and recorders are told by their kind, or by older tokens' flags.
pub(crate) fn kind_of(grant: &Grant) -> Kind {
    let video = grant.video();
    match Kind::from_str_name(&grant.kind.to_ascii_uppercase()) {
        Some(kind) if kind != Kind::Standard => kind,
        _ if video.agent => Kind::Agent,
        _ if video.recorder => Kind::Egress,
        _ => Kind::Standard,
    }
}

/// Agents and recorders, of whatever kind else: they keep no room open, take no seat and are not counted.
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

/// Writes a moderator's permission into the grant. That it is an agent its kind says from then on: in a token the flag
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

/// What a source gives; `None` for no source in particular.
fn kind_of_source(source: TrackSource) -> Option<MediaKind> {
    match source {
        TrackSource::Microphone | TrackSource::ScreenShareAudio => Some(MediaKind::Audio),
        TrackSource::Camera | TrackSource::ScreenShare => Some(MediaKind::Video),
        TrackSource::Unknown => None,
    }
}

/// `camera`, `microphone`, `screen_share`, `screen_share_audio`, in any case.
fn source_named(name: &str) -> Option<TrackSource> {
    TrackSource::from_str_name(&name.to_ascii_uppercase())
}
