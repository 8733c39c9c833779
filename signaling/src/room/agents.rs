//! News for those who send agents.

use protocol::{ParticipantSid, livekit::ParticipantInfo};

use crate::{api::RoomOutput, room::Room, room_news::RoomNews};

impl Room {
    /// Sends news to [`Agents`].
    pub(crate) fn tell_agents(&mut self, news: RoomNews) {
        self.outputs.push_back(RoomOutput::Agents(news));
    }

    /// Tells that a participant is there; its token may ask for agents.
    pub(crate) fn tell_agents_joined(&mut self, info: &ParticipantInfo) {
        let Ok(sid) = info.sid.parse::<ParticipantSid>() else {
            return;
        };
        let participant = self.participants.get(&sid);
        let settings = participant.and_then(|participant| participant.grant.room_config.as_ref());
        let agents = settings.map(|settings| settings.agents.clone());
        self.tell_agents(RoomNews::Joined {
            sid,
            info: Box::new(info.clone()),
            agents: agents.unwrap_or_default(),
        });
    }
}
