//! Jobs as workers and the API see them, and the token of an agent.

use std::{collections::BTreeMap, time::Duration};

use protocol::{
    JobSid, ParticipantIdentity, ParticipantSid, limits,
    livekit::{self, AvailabilityResponse, JobState, ParticipantInfo, ParticipantPermission},
    token::{Grant, VideoGrant},
};

use super::{Agents, Dispatch, Job, Meeting, Worker};
use crate::participant::set_permission;

/// The attribute by which clients know an agent's name (LiveKit).
const AGENT_NAME: &str = "lk.agent_name";

impl Agents {
    /// The job as workers see it: complete.
    pub(super) fn wire(&self, sid: JobSid) -> Option<livekit::Job> {
        let job = self.jobs.get(&sid)?;
        let meeting = self.meetings.get(&job.room)?;
        let mut dispatches = meeting.dispatches.iter();
        let dispatch = dispatches.find(|dispatch| dispatch.sid == job.dispatch)?;
        let participant = job.participant.as_ref();
        Some(livekit::Job {
            room: Some(meeting.room_info()),
            participant: participant.map(|(sid, name)| meeting.participant_info(*sid, name)),
            metadata: dispatch.wish.metadata.clone(),
            attributes: dispatch.wish.attributes.clone(),
            ..self.job_info(job, meeting, dispatch)
        })
    }

    /// The job as the API tells it, as one of many: room and participant by name only, and without what all jobs share,
    /// which is in the dispatch.
    #[allow(deprecated)] // Workers of older SDKs read the namespace.
    pub(super) fn job_info(
        &self,
        job: &Job,
        meeting: &Meeting,
        dispatch: &Dispatch,
    ) -> livekit::Job {
        let state = JobState {
            status: job.status.into(),
            error: job.error.clone(),
            started_at: job.started_at.map_or(0, |at| self.nanoseconds(at)),
            ended_at: job.ended_at.map_or(0, |at| self.nanoseconds(at)),
            updated_at: self.nanoseconds(job.updated_at),
            participant_identity: text(job.identity.as_ref().map(|identity| identity.as_str())),
            worker_id: text(job.worker.as_ref().map(|worker| worker.as_str())),
            agent_id: String::new(),
        };
        let wish = &dispatch.wish;
        livekit::Job {
            id: job.sid.to_string(),
            dispatch_id: job.dispatch.to_string(),
            r#type: job.pool.kind.into(),
            room: Some(livekit::Room {
                sid: job.room.to_string(),
                name: meeting.name.as_str().to_owned(),
                ..livekit::Room::default()
            }),
            participant: job
                .participant
                .as_ref()
                .map(|(sid, identity)| named(*sid, identity)),
            namespace: job.pool.namespace.clone(),
            agent_name: wish.agent_name.clone(),
            state: Some(state),
            deployment: wish.deployment.clone(),
            ..livekit::Job::default()
        }
    }

    /// A time since 1970 in nanoseconds, as LiveKit writes times of jobs.
    pub(super) fn nanoseconds(&self, unix: Duration) -> i64 {
        i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX)
    }
}

impl Meeting {
    fn room_info(&self) -> livekit::Room {
        let publishers = self.people.values().filter(|one| one.published.is_some());
        livekit::Room {
            num_participants: self.people.len() as u32,
            num_publishers: publishers.count() as u32,
            ..self.info.clone()
        }
    }

    /// A participant for a job. Of a participant that has left only the name is known.
    fn participant_info(
        &self,
        sid: ParticipantSid,
        identity: &ParticipantIdentity,
    ) -> ParticipantInfo {
        let known = self.people.get(&sid).map(|person| person.info.clone());
        known.unwrap_or_else(|| named(sid, identity))
    }
}

/// The grant of an agent: the rights that its worker registered for, in this room, and nothing else.
#[allow(deprecated)] // `recorder` is a right like others here.
pub(super) fn grant(
    worker: &Worker,
    meeting: &Meeting,
    identity: &ParticipantIdentity,
    answer: AvailabilityResponse,
) -> Result<Grant, &'static str> {
    let mut attributes: BTreeMap<_, _> = answer.participant_attributes.into_iter().collect();
    let name = worker.pool.as_ref().map(|pool| pool.agent_name.clone());
    attributes.insert(AGENT_NAME.to_owned(), name.unwrap_or_default());
    let checks = [
        limits::check_identity(identity.as_str()),
        limits::check_name(&answer.participant_name),
        limits::check_metadata(&answer.participant_metadata),
        limits::check_attributes(&attributes),
    ];
    if checks.iter().any(Result::is_err) {
        return Err("a text is too long");
    }
    let mut grant = Grant {
        api_key: worker.api_key.clone(),
        identity: identity.as_str().to_owned(),
        name: answer.participant_name,
        metadata: answer.participant_metadata,
        attributes,
        kind: "agent".to_owned(),
        video: Some(VideoGrant {
            room_join: true,
            room: meeting.name.as_str().to_owned(),
            ..VideoGrant::default()
        }),
        ..Grant::default()
    };
    let permission = ParticipantPermission {
        recorder: false,
        can_manage_agent_session: false,
        ..worker.permissions.clone()
    };
    set_permission(&mut grant, &permission);
    Ok(grant)
}

fn named(sid: ParticipantSid, identity: &ParticipantIdentity) -> ParticipantInfo {
    ParticipantInfo {
        sid: sid.to_string(),
        identity: identity.as_str().to_owned(),
        ..ParticipantInfo::default()
    }
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}
