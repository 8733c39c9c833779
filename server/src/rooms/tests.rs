use protocol::{RoomName, livekit::JoinRequest, token::Grant};

use super::*;
use crate::{
    config::Config as Settings,
    groups::Groups,
    media::{ShardSettings, bind},
    meetings::Guest,
    metrics::Metrics,
};

/// Rooms, and the meetings by link that they ask.
async fn rooms() -> (Rooms, Meetings) {
    let sockets = bind(&[[127, 0, 0, 1].into()], 0, 1).unwrap();
    let shard = ShardSettings::small();
    let media = Arc::new(Media::start(sockets, &shard).unwrap());
    let settings = Settings::default().into_dev(None);
    let (meetings, keys) = Meetings::open(&settings).await.unwrap();
    let metrics = Metrics::default();
    let config = Arc::new(settings.room.clone());
    let (agents, _) = Agents::new(config.clone(), keys.clone(), metrics.clone());
    let webhooks = Webhooks::start(&settings.webhook, &keys, &metrics).await;
    let limits = Limits {
        all: 10,
        per_key: 10,
    };
    let rooms = Rooms::new(
        media,
        config,
        limits,
        webhooks.unwrap(),
        agents,
        (meetings.clone(), Groups::open(None).await.unwrap()),
    );
    (rooms, meetings)
}

/// Joins with this token; what its session hears first.
async fn join(rooms: &Rooms, grant: &Grant) -> Option<SessionMail> {
    let (sender, mut mailbox) = session_mailbox();
    let join = Join {
        session: rooms.next_session(),
        grant: grant.clone(),
        request: JoinRequest::default(),
        two_connections: false,
        mls: false,
    };
    rooms.join(Box::new(join), sender).unwrap();
    mailbox.recv().await
}

#[tokio::test]
async fn who_is_removed_between_the_door_and_the_room_does_not_get_in() {
    let (rooms, meetings) = rooms().await;
    let (address, now) = ([127, 0, 0, 1].into(), Instant::now());
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let unix_now = since_1970.as_secs();
    let slug = meetings.start(address, unix_now, now).await.unwrap();
    let enter = || async {
        let guest = Guest::new();
        let entered = meetings.enter(&slug, &guest, ("", ""), address, (unix_now, now));
        entered.await.unwrap()
    };
    let (ada, ben) = (enter().await, enter().await);
    assert!(join(&rooms, &ada).await.is_some());
    let room = RoomName::from(slug.as_str());
    assert_eq!(meetings.remove(&room, &ben.identity).await, Ok(true));
    assert!(join(&rooms, &ben).await.is_none());
}
