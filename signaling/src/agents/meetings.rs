//! The news of rooms, taken in.

use std::{collections::BTreeMap, time::Instant};

use protocol::{
    ParticipantIdentity, ParticipantSid, RoomSid,
    livekit::{self, JobStatus, ParticipantInfo, RoomAgentDispatch},
};

use super::{Agents, Meeting, Person, dispatches::check_dispatches};
use crate::room_news::RoomNews;

impl Agents {
    /// Takes one piece of news of a room.
    pub(super) fn room_news(&mut self, room: RoomSid, news: RoomNews, now: Instant) {
        match news {
            RoomNews::Opened { info, agents } => self.room_opened(room, *info, agents, now),
            RoomNews::MetadataChanged { metadata } => {
                if let Some(meeting) = self.meetings.get_mut(&room) {
                    meeting.info.metadata = metadata;
                }
            }
            RoomNews::Joined { sid, info, agents } => self.joined(room, sid, *info, agents, now),
            RoomNews::Published { sid, info } => self.published(room, sid, *info, now),
            RoomNews::Away { sid } => self.connection_changed(room, sid, true, now),
            RoomNews::Back { sid } => self.connection_changed(room, sid, false, now),
            RoomNews::Left { sid } => self.left(room, sid, now),
            RoomNews::Closed => self.room_closed(room, now),
        }
    }

    fn room_opened(
        &mut self,
        room: RoomSid,
        info: livekit::Room,
        wishes: Vec<RoomAgentDispatch>,
        now: Instant,
    ) {
        let meeting = Meeting {
            name: info.name.as_str().into(),
            info,
            opened: now,
            people: BTreeMap::new(),
            identities: BTreeMap::new(),
            dispatches: Vec::new(),
            agents: BTreeMap::new(),
        };
        self.by_name.insert(meeting.name.clone(), room);
        self.meetings.insert(room, meeting);
        if wishes.is_empty() {
            let everybody = RoomAgentDispatch::default();
            let _ = self.add_dispatch(room, everybody, true, now);
        }
        self.take_wishes(room, wishes, now);
    }

    fn take_wishes(&mut self, room: RoomSid, wishes: Vec<RoomAgentDispatch>, now: Instant) {
        match check_dispatches(&wishes) {
            Ok(()) => self.add_wishes(room, wishes, now),
            Err(error) => {
                tracing::warn!(%room, %error, "the agents that a token asks for are not sent")
            }
        }
        self.launch_all(room, now);
    }

    fn joined(
        &mut self,
        room: RoomSid,
        sid: ParticipantSid,
        info: ParticipantInfo,
        wishes: Vec<RoomAgentDispatch>,
        now: Instant,
    ) {
        let Some(meeting) = self.meetings.get_mut(&room) else {
            return;
        };
        let identity = ParticipantIdentity::from(info.identity.as_str());
        let job = meeting.agents.get(&identity).copied();
        meeting.identities.insert(identity, sid);
        let published = info.is_publisher.then_some(now);
        let person = Person {
            info,
            joined: now,
            published,
            away: false,
        };
        meeting.people.insert(sid, person);
        if let Some(job) = job {
            self.agent_joined(job);
        }
        self.take_wishes(room, wishes, now);
    }

    fn published(
        &mut self,
        room: RoomSid,
        sid: ParticipantSid,
        info: ParticipantInfo,
        now: Instant,
    ) {
        let meeting = self.meetings.get_mut(&room);
        let Some(person) = meeting.and_then(|meeting| meeting.people.get_mut(&sid)) else {
            return;
        };
        person.info = info;
        if person.published.is_none() {
            person.published = Some(now);
            self.launch_all(room, now);
        }
    }

    fn connection_changed(&mut self, room: RoomSid, sid: ParticipantSid, away: bool, now: Instant) {
        let Some(meeting) = self.meetings.get_mut(&room) else {
            return;
        };
        let Some(person) = meeting.people.get_mut(&sid) else {
            return;
        };
        person.away = away;
        let identity = person.info.identity.as_str().into();
        let job = meeting.agents.get(&identity).copied();
        match job.filter(|_| meeting.identities.get(&identity) == Some(&sid)) {
            Some(job) if away => self.await_comeback(job, now),
            Some(job) => self.agent_is_back(job),
            None => {}
        }
    }

    fn left(&mut self, room: RoomSid, sid: ParticipantSid, now: Instant) {
        let Some(meeting) = self.meetings.get_mut(&room) else {
            return;
        };
        let Some(person) = meeting.people.remove(&sid) else {
            return;
        };
        let identity = ParticipantIdentity::from(person.info.identity.as_str());
        if meeting.identities.get(&identity) == Some(&sid) {
            meeting.identities.remove(&identity);
            if let Some(job) = meeting.agents.get(&identity).copied() {
                self.agent_left(job, now);
            }
        }
        self.target_left(room, sid, now);
    }

    /// The room has ended. Its agents are told to end: not all of them notice that they were thrown out with everybody
    /// else.
    fn room_closed(&mut self, room: RoomSid, now: Instant) {
        let Some(meeting) = self.meetings.get(&room) else {
            return;
        };
        let dispatches = meeting.dispatches.iter();
        let jobs = dispatches.flat_map(|dispatch| dispatch.jobs.values());
        let jobs: Vec<_> = jobs.copied().collect();
        for job in jobs {
            self.terminate(job, JobStatus::JsSuccess, "", now);
            self.jobs.remove(&job);
        }
        if let Some(meeting) = self.meetings.remove(&room)
            && self.by_name.get(&meeting.name) == Some(&room)
        {
            self.by_name.remove(&meeting.name);
        }
    }
}
