//! The rights of a token's holder.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{ParticipantIdentity, RoomName, livekit::RoomConfiguration};

/// Identity and rights of the holder of a valid token.
#[derive(Clone, PartialEq, Default)]
pub struct Grant {
    /// Id of the API key that signed the token (`iss`).
    pub api_key: String,
    /// Identity (`sub`). May be empty in tokens for the server API.
    pub identity: String,
    /// Identity of the person whose further device this is; empty for nobody's ([`Grant::principal`]).
    pub principal: String,
    /// Display name.
    pub name: String,
    /// Free text of the application.
    pub metadata: String,
    /// Free key/value pairs of the application.
    pub attributes: BTreeMap<String, String>,
    /// Kind: `standard`, `agent`, `sip`, …; empty means standard.
    pub kind: String,
    /// Details of the kind: `cloud_agent`, `forwarded`, ….
    pub kind_details: Vec<String>,
    /// Rights over rooms and media. `None` when the token has no `video` claim.
    pub video: Option<VideoGrant>,
    /// Rights over telephony. `None` when the token has no `sip` claim.
    pub sip: Option<SipGrant>,
    /// Settings of the room, when this token opens it. Ignored where they are not readable.
    pub room_config: Option<Box<RoomConfiguration>>,
    /// Name of a preset of room settings.
    pub room_preset: String,
    /// Base64 of the SHA-256 of the body the token belongs to (webhooks).
    pub sha256: String,
    /// `nbf`, seconds since 1970: since when the token is valid.
    pub not_before: Option<u64>,
    /// `exp`, seconds since 1970; `None` when the token never expires.
    pub expires_at: Option<u64>,
}

impl Grant {
    /// The holder's identity.
    pub fn identity(&self) -> ParticipantIdentity {
        self.identity.as_str().into()
    }

    /// The person to whom the holder's doing is charged, and with whom the holder leaves: the holder itself, unless it
    /// is a companion, which publishes from another device of the same person.
    pub fn principal(&self) -> ParticipantIdentity {
        match self.principal.as_str() {
            "" => self.identity(),
            principal => principal.into(),
        }
    }

    /// The room the token is for; `None` without a `video` claim or when that names no room.
    pub fn room(&self) -> Option<RoomName> {
        let room = self.video.as_ref()?.room.as_str();
        (!room.is_empty()).then(|| room.into())
    }

    /// The `video` claim; without one, a claim that allows nothing that must be granted.
    pub fn video(&self) -> VideoGrant {
        self.video.clone().unwrap_or_default()
    }
}

impl fmt::Debug for Grant {
    /// Writes neither names nor metadata of people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("identity", &self.identity())
            .field("video", &self.video)
            .field("sip", &self.sip)
            .finish_non_exhaustive()
    }
}

/// The `video` claim. An unset option means yes, except for `can_update_own_metadata`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VideoGrant {
    /// The holder may create and delete rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    /// The holder may list rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    /// The holder may start recordings.
    #[serde(skip_serializing_if = "is_false")]
    pub room_record: bool,
    /// The holder may moderate [`VideoGrant::room`].
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    /// The holder may join [`VideoGrant::room`].
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// The room that the rights are for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    /// The holder may publish tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// The holder may receive tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// The holder may send data packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// The sources it may publish (`camera`, `microphone`, `screen_share`, `screen_share_audio`); empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    /// The holder may change its own name, metadata and attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// The holder may manage ingress.
    #[serde(skip_serializing_if = "is_false")]
    pub ingress_admin: bool,
    /// The holder is not visible to others.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// The holder records.
    #[serde(skip_serializing_if = "is_false")]
    pub recorder: bool,
    /// The holder is an agent or, with a token that is for no room, may register as a worker.
    #[serde(skip_serializing_if = "is_false")]
    pub agent: bool,
    /// The holder may receive metrics of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    /// The holder may control an agent's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_manage_agent_session: Option<bool>,
    /// The room that a participant may be moved or forwarded to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_room: String,
}

impl VideoGrant {
    /// Whether the holder may publish tracks.
    pub fn may_publish(&self) -> bool {
        self.can_publish.unwrap_or(true)
    }

    /// Whether the holder may receive tracks.
    pub fn may_subscribe(&self) -> bool {
        self.can_subscribe.unwrap_or(true)
    }

    /// Whether the holder may send data packets.
    pub fn may_publish_data(&self) -> bool {
        // LiveKit: unset follows can_publish.
        self.can_publish_data.unwrap_or_else(|| self.may_publish())
    }

    /// Whether the holder may change its own name, metadata and attributes.
    pub fn may_update_own_metadata(&self) -> bool {
        self.can_update_own_metadata.unwrap_or(false)
    }
}

impl fmt::Debug for VideoGrant {
    /// Writes no names of rooms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VideoGrant")
            .field("room_create", &self.room_create)
            .field("room_list", &self.room_list)
            .field("room_admin", &self.room_admin)
            .field("room_join", &self.room_join)
            .field("can_publish", &self.can_publish)
            .field("can_subscribe", &self.can_subscribe)
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

/// The `sip` claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SipGrant {
    /// The holder may manage trunks and dispatch rules.
    #[serde(skip_serializing_if = "is_false")]
    pub admin: bool,
    /// The holder may make calls.
    #[serde(skip_serializing_if = "is_false")]
    pub call: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}
