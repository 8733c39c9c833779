//! What the examples have in common.

use std::time::{Duration, SystemTime};

use protocol::token::{Grant, Keys, VideoGrant, sign};

/// A token for an hour in `room`, signed with this key of the server's.
pub fn token((key, secret): (&str, &str), room: &str, identity: &str) -> String {
    let video = VideoGrant {
        room_join: true,
        room: room.to_owned(),
        ..Default::default()
    };
    let grant = Grant {
        api_key: key.to_owned(),
        identity: identity.to_owned(),
        video: Some(video),
        ..Default::default()
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    let keys = Keys::new([(key, secret)]);
    sign(&grant, &keys, now, Some(Duration::from_secs(3600))).expect("the key is known")
}
