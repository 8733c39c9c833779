//! Dispatches, the wishes that agents be in a room: from the server API, from the settings of rooms, from tokens.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use protocol::{
    DispatchSid, RoomName, RoomSid,
    error::Error,
    limits,
    livekit::{AgentDispatch, AgentDispatchState, JobStatus, RoomAgentDispatch},
};

use super::{Agents, Dispatch, Meeting, workers::is_deployment};

/// The most dispatches that one token or one room's settings may name.
const MAX_WISHES: usize = 16;

/// The most dispatches of one room.
const MAX_DISPATCHES: usize = 100;

/// The most bytes of names, metadata and attributes of all dispatches of a room together.
const MAX_DISPATCH_BYTES: usize = 4 * 1024 * 1024;

/// Checks whether these agents may be asked for.
///
/// # Errors
/// Says which of them is too many, or what is too long.
pub fn check_dispatches(wishes: &[RoomAgentDispatch]) -> Result<(), Error> {
    if wishes.len() > MAX_WISHES {
        return Err(Error::InvalidArgument("too many agents for one room"));
    }
    for wish in wishes {
        limits::check_name(&wish.agent_name)?;
        limits::check_metadata(&wish.metadata)?;
        limits::check_attributes(&wish.attributes)?;
        if !is_deployment(&wish.deployment) {
            return Err(Error::InvalidArgument(
                "a deployment is at most 64 letters, digits, dots and hyphens",
            ));
        }
    }
    Ok(())
}

impl Agents {
    /// `CreateDispatch`: an agent is wanted in an open room.
    ///
    /// # Errors
    /// [`Error`] when there is no such room, or a limit is reached.
    pub fn create_dispatch(
        &mut self,
        room: &RoomName,
        wish: RoomAgentDispatch,
        now: Instant,
    ) -> Result<AgentDispatch, Error> {
        check_dispatches(std::slice::from_ref(&wish))?;
        let room = self.find_room(room)?;
        let sid = self.add_dispatch(room, wish, false, now)?;
        self.launch(room, sid, None, now);
        let meeting = self.meetings.get(&room).ok_or(Error::RoomNotFound)?;
        let dispatch = meeting.dispatches.iter().find(|d| d.sid == sid);
        let dispatch = dispatch.ok_or(Error::Internal)?;
        Ok(self.describe(meeting, dispatch))
    }

    /// `DeleteDispatch`: the agents of a dispatch leave.
    ///
    /// # Errors
    /// [`Error`] when there is no such room or dispatch.
    pub fn delete_dispatch(
        &mut self,
        room: &RoomName,
        dispatch: &str,
        now: Instant,
    ) -> Result<AgentDispatch, Error> {
        let room = self.find_room(room)?;
        let sid: DispatchSid = dispatch.parse().map_err(|_| Error::DispatchNotFound)?;
        let meeting = self.meetings.get_mut(&room).ok_or(Error::RoomNotFound)?;
        let mut dispatches = meeting.dispatches.iter_mut();
        let dispatch = dispatches
            .find(|dispatch| dispatch.sid == sid && !dispatch.deleted)
            .ok_or(Error::DispatchNotFound)?;
        dispatch.deleted = true;
        let jobs: Vec<_> = dispatch.jobs.values().copied().collect();
        for job in jobs {
            self.terminate(job, JobStatus::JsSuccess, "", now);
        }
        let meeting = self.meetings.get(&room).ok_or(Error::RoomNotFound)?;
        let dispatch = meeting.dispatches.iter().find(|d| d.sid == sid);
        let dispatch = dispatch.ok_or(Error::Internal)?;
        let mut description = self.describe(meeting, dispatch);
        if let Some(state) = &mut description.state {
            state.deleted_at = self.nanoseconds(self.clock.unix(now));
        }
        self.forget_jobs(room, sid);
        self.serve_freed(now);
        Ok(description)
    }

    /// `ListDispatch`: the dispatches of a room, or the one with this id, with their jobs.
    ///
    /// # Errors
    /// [`Error`] when there is no such room.
    pub fn list_dispatches(
        &self,
        room: &RoomName,
        dispatch: &str,
    ) -> Result<Vec<AgentDispatch>, Error> {
        let room = self.find_room(room)?;
        let meeting = self.meetings.get(&room).ok_or(Error::RoomNotFound)?;
        // An automatic dispatch is listed only once it has led to a job.
        let is_listed = |candidate: &&Dispatch| {
            !candidate.deleted
                && (!candidate.automatic || !candidate.jobs.is_empty())
                && (dispatch.is_empty() || candidate.sid.as_str() == dispatch)
        };
        let listed = meeting.dispatches.iter().filter(is_listed);
        Ok(listed.map(|one| self.describe(meeting, one)).collect())
    }

    fn find_room(&self, room: &RoomName) -> Result<RoomSid, Error> {
        let room = self.by_name.get(room).copied();
        room.ok_or(Error::RoomNotFound)
    }

    pub(super) fn add_dispatch(
        &mut self,
        room: RoomSid,
        wish: RoomAgentDispatch,
        automatic: bool,
        now: Instant,
    ) -> Result<DispatchSid, Error> {
        let created_at = self.clock.unix(now);
        let meeting = self.meetings.get_mut(&room).ok_or(Error::RoomNotFound)?;
        let wishes = meeting.dispatches.iter().map(|dispatch| &dispatch.wish);
        let bytes: usize = wishes.chain([&wish]).map(length).sum();
        if meeting.dispatches.len() >= MAX_DISPATCHES || bytes > MAX_DISPATCH_BYTES {
            // A deleted dispatch that is remembered for tokens only gives way.
            let deleted = meeting.dispatches.iter().position(|d| d.deleted);
            let Some(deleted) = deleted else {
                return Err(Error::TooManyDispatches);
            };
            meeting.dispatches.remove(deleted);
            return self.add_dispatch(room, wish, automatic, now);
        }
        let sid = DispatchSid::random(&mut self.rng);
        meeting.dispatches.push(Dispatch {
            sid,
            wish,
            automatic,
            created_at,
            deleted: false,
            jobs: BTreeMap::new(),
        });
        Ok(sid)
    }

    /// Adds the dispatches that a token asks for, unless that was done already: people come back with the same token. A
    /// token that asks for the same agent twice gets two, as with livekit-server.
    pub(super) fn add_wishes(
        &mut self,
        room: RoomSid,
        wishes: Vec<RoomAgentDispatch>,
        now: Instant,
    ) {
        let mut met = BTreeSet::new();
        for wish in wishes {
            let meeting = self.meetings.get(&room);
            let mut dispatches = meeting.into_iter().flat_map(|meeting| &meeting.dispatches);
            let known = dispatches.find(|one| one.wish == wish && !met.contains(&one.sid));
            match known.map(|known| known.sid) {
                Some(known) => met.insert(known),
                None => match self.add_dispatch(room, wish, false, now) {
                    Ok(new) => met.insert(new),
                    Err(error) => {
                        return tracing::warn!(%room, %error, "an agent that a token asks for is not sent");
                    }
                },
            };
        }
    }

    fn describe(&self, meeting: &Meeting, dispatch: &Dispatch) -> AgentDispatch {
        let jobs = dispatch.jobs.values().filter_map(|job| self.jobs.get(job));
        let jobs = jobs.map(|job| self.job_info(job, meeting, dispatch));
        let state = AgentDispatchState {
            jobs: jobs.collect(),
            created_at: self.nanoseconds(dispatch.created_at),
            deleted_at: 0,
        };
        let wish = dispatch.wish.clone();
        AgentDispatch {
            id: dispatch.sid.to_string(),
            agent_name: wish.agent_name,
            room: meeting.name.as_str().to_owned(),
            metadata: wish.metadata,
            state: Some(state),
            restart_policy: wish.restart_policy,
            deployment: wish.deployment,
            attributes: wish.attributes,
        }
    }
}

fn length(wish: &RoomAgentDispatch) -> usize {
    let attributes = wish.attributes.iter();
    let attributes: usize = attributes.map(|(key, value)| key.len() + value.len()).sum();
    wish.agent_name.len() + wish.metadata.len() + wish.deployment.len() + attributes
}
