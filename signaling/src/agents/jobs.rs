//! Jobs: a worker is asked, gets a job, loses it, another takes it over.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use protocol::{
    DispatchSid, JobSid, ParticipantIdentity, ParticipantSid, RoomSid,
    livekit::{
        AvailabilityRequest, AvailabilityResponse, JobAssignment, JobStatus, JobType,
        participant_info::Kind, server_message::Message as Told,
    },
};

use super::{
    Agents, AgentsOutput, Dispatch, Due, Job, Meeting, Person, Pool, Stage, Target, Worker,
    WorkerId, wire::grant,
};

/// The time in which a worker must say whether it takes a job: after it, the worker is passed over. Short enough for a
/// second one to be asked before anybody waits ten seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The time for which a worker that left a question unanswered is not asked again.
const SILENCE: Duration = Duration::from_secs(30);

/// When all workers have refused a job they are asked again after this time, then after twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const MAX_ROUNDS: u32 = 5;

/// The time for which a room, a participant or a publisher is new: agents without a name are sent to new ones only.
/// Workers that lost their server together with everybody else are back by then.
const NEW: Duration = Duration::from_secs(10);

/// The time in which an agent that was told to end must have left: after it, the agent is removed. LiveKit's value.
const FAREWELL: Duration = Duration::from_secs(3);

/// The most unanswered questions of a worker at a time: a worker that does not answer holds up no more jobs.
const MAX_ASKED: usize = 16;

/// The most jobs of one worker.
const MAX_WORKER_JOBS: usize = 1000;
const MAX_ROOM_JOBS: usize = 2000;

/// The most jobs of each dispatch that `ListDispatch` still tells though they are done and their participant has left.
const MAX_PAST: usize = 64;

/// The longest error of a job that is kept, bytes.
const MAX_ERROR: usize = 1024;

impl Agents {
    /// Launches the jobs that wait for workers of this kind: the first of them is there.
    pub(super) fn launch_pool(&mut self, pool: &Pool, now: Instant) {
        let is_wanted = |dispatch: &Dispatch| {
            dispatch.wish.agent_name == pool.agent_name
                && dispatch.wish.deployment == pool.deployment
        };
        let mut wanted = Vec::new();
        for (room, meeting) in &self.meetings {
            let dispatches = meeting.dispatches.iter().filter(|one| is_wanted(one));
            wanted.extend(dispatches.map(|dispatch| (*room, dispatch.sid)));
        }
        for (room, dispatch) in wanted {
            self.launch(room, dispatch, Some(pool), now);
        }
    }

    /// Makes sure that everything a room's dispatches ask for has a job.
    pub(super) fn launch_all(&mut self, room: RoomSid, now: Instant) {
        let meeting = self.meetings.get(&room);
        let dispatches = meeting.into_iter().flat_map(|meeting| &meeting.dispatches);
        let dispatches: Vec<_> = dispatches.map(|dispatch| dispatch.sid).collect();
        for dispatch in dispatches {
            self.launch(room, dispatch, None, now);
        }
    }

    /// Makes sure that everything a dispatch asks for has a job: of each kind of worker there is, or of one.
    pub(super) fn launch(
        &mut self,
        room: RoomSid,
        dispatch: DispatchSid,
        only: Option<&Pool>,
        now: Instant,
    ) {
        let Some(meeting) = self.meetings.get(&room) else {
            return;
        };
        let known: usize = meeting.dispatches.iter().map(|one| one.jobs.len()).sum();
        let Some(wanted) = meeting.dispatches.iter().find(|one| one.sid == dispatch) else {
            return;
        };
        if wanted.deleted || self.closing {
            return;
        }
        let mut jobs = Vec::new();
        let pools = self.pools.keys().filter(|pool| {
            pool.agent_name == wanted.wish.agent_name && pool.deployment == wanted.wish.deployment
        });
        for pool in pools.filter(|pool| only.is_none_or(|only| only == *pool)) {
            for (participant, since) in meeting.targets(pool.kind) {
                let target = Target {
                    namespace: pool.namespace.clone(),
                    kind: pool.kind,
                    participant: participant.as_ref().map(|(sid, _)| *sid),
                };
                let is_late = wanted.automatic && since + NEW <= now;
                if !is_late && !wanted.jobs.contains_key(&target) {
                    jobs.push((pool.clone(), target, participant));
                }
            }
        }
        let left = MAX_ROOM_JOBS.saturating_sub(known);
        if jobs.len() > left {
            tracing::warn!(%room, "the room has as many agents as it may");
            jobs.truncate(left);
        }
        for (pool, target, participant) in jobs {
            let job = Job {
                sid: JobSid::random(&mut self.rng),
                dispatch,
                room,
                pool,
                participant,
                stage: Stage::Waiting(None),
                status: JobStatus::JsPending,
                error: String::new(),
                started_at: None,
                ended_at: None,
                updated_at: self.clock.unix(now),
                identity: None,
                worker: None,
                api_key: None,
                resuming: false,
                refused_by: BTreeSet::new(),
                rounds: 0,
                arrived: false,
                left_until: None,
                report: None,
            };
            let sid = job.sid;
            if let Some(dispatch) = self.dispatch_mut(room, dispatch) {
                dispatch.jobs.insert(target, sid);
            }
            self.jobs.insert(sid, job);
            self.place(sid, now);
        }
    }

    fn dispatch_mut(&mut self, room: RoomSid, dispatch: DispatchSid) -> Option<&mut Dispatch> {
        let mut dispatches = self.meetings.get_mut(&room)?.dispatches.iter_mut();
        dispatches.find(|candidate| candidate.sid == dispatch)
    }

    /// Asks the next worker for a job; where there is none, the job waits.
    pub(super) fn place(&mut self, sid: JobSid, now: Instant) {
        let chosen = self.choose(sid, now);
        let Some(job) = self.jobs.get_mut(&sid) else {
            return;
        };
        stop_waiting(&mut self.waiting, job);
        if job.stage == Stage::Ended {
            return;
        }
        let Some(worker) = chosen else {
            let again = !job.refused_by.is_empty() && job.rounds < MAX_ROUNDS;
            let again = again.then(|| now + FIRST_RETRY * 2u32.pow(job.rounds));
            job.stage = Stage::Waiting(again);
            self.due.extend(again.map(|at| (at, Due::Job(sid))));
            let waiting = self.waiting.entry(job.pool.clone()).or_default();
            waiting.insert(sid);
            return;
        };
        let until = now + ANSWER_TIMEOUT;
        job.stage = Stage::Asked { worker, until };
        let resuming = job.resuming;
        self.due.insert((until, Due::Job(sid)));
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.asked.insert(sid);
        }
        let job = self.wire(sid);
        self.send(
            worker,
            Told::Availability(AvailabilityRequest { job, resuming }),
        );
    }

    /// The worker with the least load among those that could do the job and are not full.
    fn choose(&self, sid: JobSid, now: Instant) -> Option<WorkerId> {
        let job = self.jobs.get(&sid)?;
        let suits = |(id, worker): &(&WorkerId, &Worker)| {
            worker.pool.as_ref() == Some(&job.pool)
                && worker.can_be_asked(now)
                && !job.refused_by.contains(id)
        };
        let suitable = self.workers.iter().filter(suits);
        let least = suitable.min_by(|(_, a), (_, b)| a.by_load(b));
        least.map(|(id, _)| *id).filter(|_| !self.closing)
    }

    /// Tries jobs that wait for workers of which a job was taken.
    pub(super) fn serve_freed(&mut self, now: Instant) {
        while let Some(pool) = self.freed.pop_first() {
            self.serve(&pool, now);
        }
    }

    /// Tries jobs that wait for a worker of this kind: one may have become free.
    pub(super) fn serve(&mut self, pool: &Pool, now: Instant) {
        let waiting = self.waiting.get(pool).into_iter().flatten();
        let waiting: Vec<_> = waiting.copied().collect();
        for job in waiting {
            let mut workers = self.workers.values();
            if !workers.any(|w| w.pool.as_ref() == Some(pool) && w.can_be_asked(now)) {
                return;
            }
            if self.choose(job, now).is_some() {
                self.place(job, now);
            }
        }
    }

    /// Takes a worker's answer whether it takes a job.
    pub(super) fn answered(&mut self, id: WorkerId, answer: AvailabilityResponse, now: Instant) {
        let Ok(sid) = answer.job_id.parse::<JobSid>() else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&sid) else {
            return;
        };
        let was_asked = match &job.stage {
            Stage::Asked { worker, .. } => *worker == id,
            // The answer is late, and no other worker was found meanwhile.
            Stage::Waiting(_) => answer.available && job.refused_by.contains(&id),
            _ => false,
        };
        if !was_asked {
            return;
        }
        job.refused_by.insert(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.asked.remove(&sid);
            worker.silent_until = None;
        }
        if answer.terminate {
            self.end(sid, JobStatus::JsSuccess, "", now);
        } else if !answer.available {
            self.place(sid, now);
        } else if let Err(reason) = self.assign(id, sid, answer, now) {
            tracing::warn!(job = %sid, reason, "an agent's worker takes a job in a way that cannot be");
            self.place(sid, now);
        }
        let pool = self.workers.get(&id).and_then(|worker| worker.pool.clone());
        if let Some(pool) = pool {
            self.serve(&pool, now);
        }
    }

    fn assign(
        &mut self,
        id: WorkerId,
        sid: JobSid,
        answer: AvailabilityResponse,
        now: Instant,
    ) -> Result<(), &'static str> {
        let identity = match answer.participant_identity.as_str() {
            "" => format!("agent-{sid}").into(),
            given => ParticipantIdentity::from(given),
        };
        let unix_now = self.clock.unix(now);
        let (Some(job), Some(worker)) = (self.jobs.get_mut(&sid), self.workers.get_mut(&id)) else {
            return Err("it is gone");
        };
        let meeting = self.meetings.get_mut(&job.room).ok_or("no room")?;
        if !meeting.is_free(&identity, sid) {
            return Err("the identity is somebody else's");
        }
        let grant = grant(worker, meeting, &identity, answer)?;
        worker.asked.remove(&sid);
        worker.jobs.insert(sid);
        stop_waiting(&mut self.waiting, job);
        if let Some(before) = job.identity.replace(identity.clone()) {
            meeting.agents.remove(&before);
        }
        meeting.agents.insert(identity, sid);
        job.stage = Stage::Running { worker: id };
        job.status = JobStatus::JsRunning;
        job.error.clear();
        job.worker = Some(worker.sid);
        job.api_key = Some(worker.api_key.clone());
        job.started_at = Some(unix_now);
        job.updated_at = unix_now;
        job.refused_by.clear();
        job.rounds = 0;
        job.arrived = false;
        job.left_until = None;
        job.report = None;
        tracing::info!(job = %sid, room = %job.room, worker = %worker.sid, "an agent is sent");
        let assignment = JobAssignment {
            job: self.wire(sid),
            ..JobAssignment::default()
        };
        self.outputs.push_back(AgentsOutput::Assign {
            worker: id,
            assignment: Box::new(assignment),
            grant: Box::new(grant),
        });
        Ok(())
    }

    /// Whether the job's agent is in the room.
    fn agent_is_there(&self, job: &Job) -> bool {
        let meeting = self.meetings.get(&job.room);
        let identities = meeting.map(|meeting| &meeting.identities);
        let identity = job.identity.as_ref();
        identity.is_some_and(|identity| identities.is_some_and(|all| all.contains_key(identity)))
    }

    /// Acts on a deadline of a job.
    pub(super) fn job_due(&mut self, sid: JobSid, now: Instant) {
        self.report_due(sid, now);
        let Some(job) = self.jobs.get_mut(&sid) else {
            return;
        };
        match job.stage {
            Stage::Asked { worker: id, until } if until <= now => {
                let silent = now + SILENCE;
                tracing::warn!(job = %sid, "an agent's worker does not say whether it takes a job");
                job.refused_by.insert(id);
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.asked.remove(&sid);
                    worker.silent_until = Some(silent);
                    self.due.insert((silent, Due::Silence(id)));
                }
                self.place(sid, now);
            }
            Stage::Waiting(Some(at)) if at <= now => {
                job.refused_by.clear();
                job.rounds += 1;
                self.place(sid, now);
            }
            Stage::Orphaned { until: Some(until) } if until <= now => self.replace(sid, now),
            Stage::Running { .. } if job.left_until.is_some_and(|until| until <= now) => {
                self.terminate(sid, JobStatus::JsFailed, "the agent left the room", now);
            }
            _ => {}
        }
    }

    /// Ends a job and makes its agent leave: the worker may not know that the job is over.
    pub(super) fn terminate(&mut self, sid: JobSid, status: JobStatus, error: &str, now: Instant) {
        let Some(job) = self.jobs.get(&sid) else {
            return;
        };
        if job.stage == Stage::Ended {
            return;
        }
        let (room, identity) = (job.room, job.identity.clone());
        let is_there = self.agent_is_there(job);
        if let Stage::Running { worker } = job.stage {
            self.terminate_at(worker, sid.to_string());
        }
        if let Some(identity) = identity.filter(|_| is_there) {
            let removal = Due::Removal(room, identity);
            self.due.insert((now + FAREWELL, removal));
        }
        self.end(sid, status, error, now);
    }

    /// Removes an agent that was told to leave, unless its identity is another job's by now.
    pub(super) fn remove_agent(&mut self, room: RoomSid, identity: ParticipantIdentity) {
        let Some(meeting) = self.meetings.get(&room) else {
            return;
        };
        if meeting.identities.contains_key(&identity) && !meeting.agents.contains_key(&identity) {
            let room = meeting.name.clone();
            let output = AgentsOutput::RemoveParticipant { room, identity };
            self.outputs.push_back(output);
        }
    }

    /// Ends a job.
    pub(super) fn end(&mut self, sid: JobSid, status: JobStatus, error: &str, now: Instant) {
        let unix_now = self.clock.unix(now);
        self.detach(sid);
        let Some(job) = self.jobs.get_mut(&sid) else {
            return;
        };
        job.stage = Stage::Ended;
        job.status = status;
        job.error = shortened(error);
        job.ended_at = Some(unix_now);
        job.updated_at = unix_now;
        job.left_until = None;
        job.report = None;
        let (room, dispatch) = (job.room, job.dispatch);
        self.forget_past(room, dispatch);
    }

    /// Takes a job from the workers that have it, were asked about it or could do it. One that had it may have been
    /// full.
    pub(super) fn release(&mut self, sid: JobSid) {
        let Some(job) = self.jobs.get(&sid) else {
            return;
        };
        if let Stage::Running { worker } | Stage::Asked { worker, .. } = job.stage
            && let Some(worker) = self.workers.get_mut(&worker)
        {
            worker.jobs.remove(&sid);
            worker.asked.remove(&sid);
            self.freed.insert(job.pool.clone());
        }
        stop_waiting(&mut self.waiting, job);
    }

    /// Detaches a job, which is over or was never begun, from its room.
    fn detach(&mut self, sid: JobSid) {
        self.release(sid);
        let Some(job) = self.jobs.get(&sid) else {
            return;
        };
        if let Some(meeting) = self.meetings.get_mut(&job.room)
            && let Some(identity) = &job.identity
            && meeting.agents.get(identity) == Some(&sid)
        {
            meeting.agents.remove(identity);
        }
    }

    /// The participant that jobs were for has left. An agent that is at work finds out by itself; others are not sent
    /// any more.
    pub(super) fn target_left(&mut self, room: RoomSid, participant: ParticipantSid, now: Instant) {
        let Some(meeting) = self.meetings.get(&room) else {
            return;
        };
        let mut idle = Vec::new();
        for dispatch in &meeting.dispatches {
            let jobs = dispatch.jobs.iter();
            let jobs = jobs.filter(|(target, _)| target.participant == Some(participant));
            idle.extend(jobs.map(|(target, job)| (dispatch.sid, target.clone(), *job)));
        }
        for (dispatch, target, sid) in idle {
            match self.jobs.get(&sid).map(|job| job.stage) {
                Some(Stage::Asked { .. } | Stage::Waiting(_)) => {
                    self.detach(sid);
                    self.jobs.remove(&sid);
                    if let Some(dispatch) = self.dispatch_mut(room, dispatch) {
                        dispatch.jobs.remove(&target);
                    }
                }
                Some(Stage::Orphaned { until: Some(_) }) => {
                    self.end(sid, JobStatus::JsFailed, "the worker is gone", now);
                }
                _ => self.forget_past(room, dispatch),
            }
        }
    }

    /// Forgets old jobs of people who are gone.
    fn forget_past(&mut self, room: RoomSid, dispatch: DispatchSid) {
        let Some(meeting) = self.meetings.get_mut(&room) else {
            return;
        };
        let people = &meeting.people;
        let mut dispatches = meeting.dispatches.iter_mut();
        let Some(dispatch) = dispatches.find(|one| one.sid == dispatch) else {
            return;
        };
        let jobs = dispatch.jobs.iter();
        let gone = jobs.filter(|(target, _)| {
            let participant = target.participant;
            participant.is_some_and(|sid| !people.contains_key(&sid))
        });
        let ended = |job: &JobSid| self.jobs.get(job).and_then(|job| job.ended_at);
        let past = gone.filter_map(|(target, job)| Some((ended(job)?, target.clone(), *job)));
        let mut past: Vec<_> = past.collect();
        past.sort();
        let surplus = past.len().saturating_sub(MAX_PAST);
        for (_, target, job) in past.into_iter().take(surplus) {
            dispatch.jobs.remove(&target);
            self.jobs.remove(&job);
        }
    }

    /// Forgets the jobs of a dispatch that is gone.
    pub(super) fn forget_jobs(&mut self, room: RoomSid, dispatch: DispatchSid) {
        let jobs = self.dispatch_mut(room, dispatch);
        let jobs = jobs.map(|dispatch| std::mem::take(&mut dispatch.jobs));
        for job in jobs.unwrap_or_default().values() {
            self.detach(*job);
            self.jobs.remove(job);
        }
    }
}

impl Worker {
    fn can_be_asked(&self, now: Instant) -> bool {
        self.available
            && self.silent_until.is_none_or(|until| until <= now)
            && self.asked.len() < MAX_ASKED
            && self.asked.len() + self.jobs.len() < MAX_WORKER_JOBS
    }

    /// Orders workers by load. They report it now and then: where it is equal, the jobs that they have or were asked
    /// about count.
    fn by_load(&self, other: &Self) -> Ordering {
        let jobs = |worker: &Self| worker.jobs.len() + worker.asked.len();
        let load = self.load.total_cmp(&other.load);
        load.then(jobs(self).cmp(&jobs(other)))
    }
}

impl Meeting {
    /// The targets in the room for workers of this kind, and since when each is there.
    fn targets(
        &self,
        kind: JobType,
    ) -> Vec<(Option<(ParticipantSid, ParticipantIdentity)>, Instant)> {
        let people = self.people.iter().filter(|(_, person)| !person.is_agent());
        let named = |(sid, person): (&ParticipantSid, &Person), since| {
            let identity = person.info.identity.as_str().into();
            (Some((*sid, identity)), since)
        };
        match kind {
            JobType::JtRoom => vec![(None, self.opened)],
            JobType::JtParticipant => people.map(|one| named(one, one.1.joined)).collect(),
            JobType::JtPublisher => people
                .filter_map(|one| Some(named(one, one.1.published?)))
                .collect(),
        }
    }

    /// Whether the agent of a job may have this identity. An agent that joined under the identity of somebody else
    /// would throw that one out.
    fn is_free(&self, identity: &ParticipantIdentity, job: JobSid) -> bool {
        match self.agents.get(identity) {
            Some(owner) => *owner == job,
            None => !self.identities.contains_key(identity),
        }
    }
}

impl Person {
    /// Whether this is an agent or a recorder, which are there for others: no agent is sent to them.
    fn is_agent(&self) -> bool {
        matches!(self.info.kind(), Kind::Agent | Kind::Egress)
    }
}

fn stop_waiting(waiting: &mut BTreeMap<Pool, BTreeSet<JobSid>>, job: &Job) {
    if let Some(others) = waiting.get_mut(&job.pool) {
        others.remove(&job.sid);
        if others.is_empty() {
            waiting.remove(&job.pool);
        }
    }
}

/// The beginning of an error that is not longer than [`MAX_ERROR`].
pub(super) fn shortened(error: &str) -> String {
    let end = error.floor_char_boundary(MAX_ERROR.min(error.len()));
    error[..end].to_owned()
}
