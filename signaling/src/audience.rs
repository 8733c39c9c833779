//! The audience of a publisher: the participants that may receive its tracks.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    DataTrackSid, ParticipantIdentity, ParticipantSid, TrackSid, livekit::SubscriptionPermission,
};

/// A publisher's `subscription_permission`.
#[derive(Debug, Default, Clone, PartialEq)]
pub enum Audience {
    #[default]
    Everybody,
    /// Only these identities, each with the tracks that it may receive.
    Only(BTreeMap<ParticipantIdentity, Tracks>),
}

/// The tracks that an identity may receive.
#[derive(Debug, Clone, PartialEq)]
pub enum Tracks {
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
    /// Reads an audience from the wire. `identity_of` resolves the deprecated form by sid.
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

    /// Whether `identity` may receive `track`.
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

    /// Whether `identity` may receive the data track.
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
