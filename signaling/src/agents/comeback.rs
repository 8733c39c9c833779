//! Workers and agents that are gone, and those that come back. An agent has a connection of its own to the room, which
//! often outlives that of its worker: another one is sent only when both are gone.

use std::time::{Duration, Instant};

use protocol::{
    JobSid,
    livekit::{
        JobRestartPolicy, JobStatus, JobTermination, MigrateJobRequest, UpdateJobStatus,
        server_message::Message as Told,
    },
};

use super::{Agents, Due, Job, Report, Stage, WorkerId, jobs::shortened};

/// The time in which a worker or its agent must be back when neither is connected: after it, both count as gone.
/// Clients try again at once; a job is in other hands before anybody waits ten seconds, even when one worker does not
/// answer.
const COMEBACK: Duration = Duration::from_secs(2);

/// The time in which an agent that left the room must be back, or its worker must have said that the job is done: after
/// it, the job has failed.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The time in which a second agent of a job must be in the room. After it, a report that the job has ended counts for
/// the second agent.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The most jobs that a worker that comes back may claim in one message.
const MAX_CLAIMS: usize = 1000;

impl Agents {
    /// The job's worker is gone.
    pub(super) fn orphan(&mut self, sid: JobSid, now: Instant) {
        let updated_at = self.clock.unix(now);
        let Some(job) = self.jobs.get_mut(&sid) else {
            return;
        };
        job.stage = Stage::Orphaned { until: None };
        job.error = "the worker is gone".to_owned();
        job.updated_at = updated_at;
        job.left_until = None;
        self.await_comeback(sid, now);
    }

    /// Gives the job some time in which its worker or its agent may come back, when both are gone.
    pub(super) fn await_comeback(&mut self, sid: JobSid, now: Instant) {
        let is_alive = self.jobs.get(&sid).is_some_and(|job| self.is_alive(job));
        let Some(job) = self.jobs.get_mut(&sid) else {
            return;
        };
        if job.stage == (Stage::Orphaned { until: None }) && !is_alive {
            let until = now + COMEBACK;
            job.stage = Stage::Orphaned { until: Some(until) };
            job.status = JobStatus::JsPending;
            self.due.insert((until, Due::Job(sid)));
        }
    }

    /// Asks another worker for the job: neither worker nor agent came back.
    pub(super) fn replace(&mut self, sid: JobSid, now: Instant) {
        let Some(job) = self.jobs.get_mut(&sid) else {
            return;
        };
        let meeting = self.meetings.get(&job.room);
        let mut dispatches = meeting.into_iter().flat_map(|meeting| &meeting.dispatches);
        let dispatch = dispatches.find(|dispatch| dispatch.sid == job.dispatch);
        let is_wanted =
            dispatch.is_some_and(|d| d.wish.restart_policy() != JobRestartPolicy::JrpNever);
        let target = job.participant.as_ref().map(|(sid, _)| *sid);
        let has_target = target.is_none_or(|target| {
            meeting.is_some_and(|meeting| meeting.people.contains_key(&target))
        });
        if !is_wanted || !has_target {
            return self.end(sid, JobStatus::JsFailed, "the worker is gone", now);
        }
        job.worker = None;
        job.resuming = true;
        self.place(sid, now);
    }

    /// The job's agent is in the room.
    pub(super) fn agent_joined(&mut self, sid: JobSid) {
        if let Some(job) = self.jobs.get_mut(&sid) {
            job.arrived = true;
            job.left_until = None;
        }
        self.agent_is_back(sid);
    }

    /// The job's agent is connected. A worker that was asked to replace it need not do so.
    pub(super) fn agent_is_back(&mut self, sid: JobSid) {
        let stage = self.jobs.get(&sid).map(|job| job.stage);
        if let Some(Stage::Orphaned { .. } | Stage::Waiting(_) | Stage::Asked { .. }) = stage {
            self.release(sid);
            if let Some(job) = self.jobs.get_mut(&sid) {
                job.arrived = true;
                job.stage = Stage::Orphaned { until: None };
                job.status = JobStatus::JsRunning;
            }
        }
    }

    /// The job's agent has left the room: by itself, or because somebody removed it.
    pub(super) fn agent_left(&mut self, sid: JobSid, now: Instant) {
        let Some(job) = self.jobs.get_mut(&sid) else {
            return;
        };
        let is_held = matches!(job.stage, Stage::Running { .. });
        // The agent before may be leaving only now.
        if is_held && !job.arrived {
            return;
        }
        if let Some(report) = job.report.take() {
            return self.end(sid, report.status, &report.error, now);
        }
        if is_held {
            let until = now + REPORT_TIMEOUT;
            job.left_until = Some(until);
            self.due.insert((until, Due::Job(sid)));
        }
        self.await_comeback(sid, now);
    }

    /// Whether the job's agent is in the room, and connected.
    fn is_alive(&self, job: &Job) -> bool {
        let person = || {
            let meeting = self.meetings.get(&job.room)?;
            let sid = meeting.identities.get(job.identity.as_ref()?)?;
            meeting.people.get(sid)
        };
        person().is_some_and(|person| !person.away)
    }

    /// Whether this may be the worker that has or had the job, on another connection. A worker does not say who it was
    /// before.
    fn may_be_its_own(&self, id: WorkerId, job: &Job) -> bool {
        self.workers.get(&id).is_some_and(|worker| {
            job.api_key.as_ref() == Some(&worker.api_key) && worker.pool.as_ref() == Some(&job.pool)
        })
    }

    /// Takes a worker's report on a job of its own, or on one that it had before its connection broke. Reports on jobs
    /// of other workers are ignored.
    pub(super) fn update_job(&mut self, id: WorkerId, update: UpdateJobStatus, now: Instant) {
        let Ok(sid) = update.job_id.parse::<JobSid>() else {
            return;
        };
        let Some(job) = self.jobs.get(&sid) else {
            return;
        };
        let is_held = matches!(job.stage, Stage::Running { .. });
        let is_owner = job.stage == Stage::Running { worker: id };
        if job.stage == Stage::Ended || !is_owner && !self.may_be_its_own(id, job) {
            return;
        }
        match update.status() {
            status @ (JobStatus::JsSuccess | JobStatus::JsFailed) => {
                let is_over = match (job.arrived, self.is_alive(job)) {
                    (true, false) => true,
                    (false, false) => !is_held,
                    (_, true) => false,
                };
                // A job that had one agent only can only mean that one.
                if is_over || !job.resuming {
                    self.end(sid, status, &update.error, now);
                } else if is_owner || !is_held || job.arrived {
                    self.doubt(sid, status, &update.error, now);
                }
            }
            JobStatus::JsRunning => {
                if !is_held {
                    self.take_back(sid, id, now);
                }
                if let Some(job) = self.jobs.get_mut(&sid).filter(|_| is_owner) {
                    job.updated_at = self.clock.unix(now);
                    job.error = shortened(&update.error);
                }
            }
            JobStatus::JsPending => {}
        }
    }

    /// Keeps a report that a job is over which had an agent before: the report may mean that agent, which ends when the
    /// next takes its place. It did, if the next agent is in the room after some time.
    fn doubt(&mut self, sid: JobSid, status: JobStatus, error: &str, now: Instant) {
        let until = now + ARRIVAL_TIMEOUT;
        if let Some(job) = self.jobs.get_mut(&sid) {
            job.report = Some(Report {
                status,
                error: shortened(error),
                until,
            });
            self.due.insert((until, Due::Job(sid)));
        }
    }

    /// Decides on a kept report: the time in which a second agent arrives is over.
    pub(super) fn report_due(&mut self, sid: JobSid, now: Instant) {
        let is_alive = self.jobs.get(&sid).is_some_and(|job| self.is_alive(job));
        let job = self.jobs.get_mut(&sid);
        let due = job.and_then(|job| job.report.take_if(|report| report.until <= now));
        if let Some(report) = due.filter(|_| !is_alive) {
            self.end(sid, report.status, &report.error, now);
        }
    }

    /// A worker that lost its connection, but not its agents, says which jobs it still has. Those that it cannot have
    /// any more, because the job has ended or never was its own, it is told to end.
    pub(super) fn claim_jobs(&mut self, id: WorkerId, claim: &MigrateJobRequest, now: Instant) {
        for text in claim.job_ids.iter().take(MAX_CLAIMS) {
            let Ok(sid) = text.parse::<JobSid>() else {
                continue;
            };
            let job = self.jobs.get(&sid);
            let job = job.filter(|job| job.stage != Stage::Ended && self.may_be_its_own(id, job));
            match job {
                // The worker's agent may be on the way, and another worker's too.
                Some(job) if matches!(job.stage, Stage::Running { .. }) && !self.is_alive(job) => {}
                Some(_) => self.take_back(sid, id, now),
                None => self.terminate_at(id, text.clone()),
            }
        }
    }

    /// Gives a job back to its worker, which is back and still has it. The worker's connection before may not have
    /// ended yet. A worker that was to send another agent, which is not there yet, is told not to.
    fn take_back(&mut self, sid: JobSid, id: WorkerId, now: Instant) {
        let updated_at = self.clock.unix(now);
        let Some(job) = self.jobs.get(&sid) else {
            return;
        };
        let is_alive = self.is_alive(job);
        match job.stage {
            Stage::Running { worker } if worker == id => return,
            Stage::Running { worker } if !job.arrived => self.terminate_at(worker, sid.to_string()),
            _ => {}
        }
        self.release(sid);
        let (Some(job), Some(worker)) = (self.jobs.get_mut(&sid), self.workers.get_mut(&id)) else {
            return;
        };
        worker.jobs.insert(sid);
        job.arrived |= is_alive;
        job.stage = Stage::Running { worker: id };
        job.status = JobStatus::JsRunning;
        job.error.clear();
        job.worker = Some(worker.sid);
        job.updated_at = updated_at;
    }

    /// A worker is told to end an agent.
    pub(super) fn terminate_at(&mut self, worker: WorkerId, job_id: String) {
        self.send(worker, Told::Termination(JobTermination { job_id }));
    }
}
