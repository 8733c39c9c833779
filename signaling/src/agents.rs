//! Agents: programs that take part in meetings because a room, a token or the server API wants them there.
//!
//! A *worker* is a program of the application that stays connected to us and starts agents when it is asked to. A
//! *dispatch* is the wish that the agent of some name be in a room. A *job* is one agent at work: for the room, or for
//! one publisher or participant in it. [`Agents`] knows the workers and, from the news of rooms ([`RoomNews`]), who is
//! where. It decides which worker gets which job.
//!
//! This file holds the boundary and the state, and routes; each group of verbs has its own file: `workers` (their
//! messages), `jobs` (asked, given, ended), `comeback` (workers and agents that are gone, and back), `dispatches` (the
//! server API), `meetings` (the news of rooms) and `wire` (jobs in messages).
//!
//! The owner feeds an input, then drains `poll_output` until it is `None`, and calls `handle_timeout` when the instant
//! of `poll_timeout` has come.

mod comeback;
pub mod dispatches;
mod jobs;
mod meetings;
mod wire;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    DispatchSid, JobSid, ParticipantIdentity, ParticipantSid, RoomName, RoomSid, WorkerSid,
    budget::Budget,
    livekit::{
        self, JobAssignment, JobStatus, JobType, ParticipantInfo, ParticipantPermission,
        RoomAgentDispatch, server_message, worker_message,
    },
    token::Grant,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{api::Config, clock::Clock, room_news::RoomNews};

/// The longest message of a worker, bytes: the metadata and attributes of an agent, each as long as it may be.
pub const MAX_WORKER_FRAME: usize = 640 * 1024;

/// One connection of a worker. Chosen by the owner, never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// An input of [`Agents`].
#[derive(Debug, Clone, PartialEq)]
pub enum AgentsInput {
    /// A worker has connected. The owner has checked its token (`VideoGrant::agent`).
    WorkerConnected {
        /// The worker.
        worker: WorkerId,
        /// The key that signed the worker's token. The tokens of its agents are signed with it.
        api_key: String,
    },
    /// A message of a worker.
    WorkerMessage {
        /// The worker.
        worker: WorkerId,
        /// The message.
        message: Box<worker_message::Message>,
    },
    /// A worker's connection has ended.
    WorkerGone {
        /// The worker.
        worker: WorkerId,
    },
    /// News of a room, in the order of its [`RoomOutput::Agents`](crate::RoomOutput::Agents).
    Room {
        /// The room.
        room: RoomSid,
        /// The news.
        news: RoomNews,
    },
    /// The server stops: no worker is asked any more.
    Shutdown,
}

/// An output of [`Agents`].
#[derive(Debug, Clone, PartialEq)]
pub enum AgentsOutput {
    /// A message for a worker. Ignored when the worker is gone.
    ToWorker {
        /// The worker.
        worker: WorkerId,
        /// The message.
        message: Box<server_message::Message>,
    },
    /// A job is given to a worker. The owner signs the token for the agent and fills it in.
    Assign {
        /// The worker.
        worker: WorkerId,
        /// The message, without a token.
        assignment: Box<JobAssignment>,
        /// The contents of the token.
        grant: Box<Grant>,
    },
    /// A worker broke the protocol: its connection is to be closed. [`AgentsInput::WorkerGone`] need not follow.
    CloseWorker {
        /// The worker.
        worker: WorkerId,
        /// The fault.
        fault: WorkerFault,
    },
    /// An agent that should have left by itself is to be removed.
    RemoveParticipant {
        /// The room.
        room: RoomName,
        /// The agent.
        identity: ParticipantIdentity,
    },
}

/// A fault of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerFault {
    /// The worker did not register in time.
    Unregistered,
    /// The first message was another one, or the worker registered twice.
    OutOfOrder,
    /// The registration is not valid: an unknown kind of job, or a name that is too long.
    BadRegistration,
    /// The worker sent more messages than allowed.
    TooMany,
    /// There are as many workers as allowed.
    TooManyWorkers,
}

impl WorkerFault {
    /// The fault in words: for logs and metrics, and for the worker.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unregistered => "no registration",
            Self::OutOfOrder => "a message out of order",
            Self::BadRegistration => "a registration that cannot be",
            Self::TooMany => "too many messages",
            Self::TooManyWorkers => "too many workers",
        }
    }
}

/// The key of a group of workers that can all do the same jobs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pool {
    agent_name: String,
    deployment: String,
    /// The namespace. A dispatch gets a job from each namespace.
    namespace: String,
    kind: JobType,
}

/// A worker that is connected.
struct Worker {
    sid: WorkerSid,
    api_key: String,
    /// The group of the worker, once it has registered.
    pool: Option<Pool>,
    /// Rights of the worker's agents in a room.
    permissions: ParticipantPermission,
    /// Load as the worker reports it: 0 (idle) to 1.
    load: f32,
    /// The worker takes jobs.
    available: bool,
    /// Set when the worker left a question unanswered: it is asked nothing until then.
    silent_until: Option<Instant>,
    /// Jobs that the worker has.
    jobs: BTreeSet<JobSid>,
    /// Jobs that the worker was asked about.
    asked: BTreeSet<JobSid>,
    messages: Budget,
}

/// The wish that an agent be in a room.
struct Dispatch {
    sid: DispatchSid,
    wish: RoomAgentDispatch,
    /// The dispatch was made without a request: each new room wants the agents without a name.
    automatic: bool,
    /// When the dispatch was made, since 1970.
    created_at: Duration,
    /// The dispatch was deleted, and is remembered so that the token it came from does not bring it back.
    deleted: bool,
    jobs: BTreeMap<Target, JobSid>,
}

/// The target of a job: at most one job of a dispatch for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    namespace: String,
    kind: JobType,
    /// The participant; `None`: the room.
    participant: Option<ParticipantSid>,
}

/// One agent at work.
struct Job {
    sid: JobSid,
    dispatch: DispatchSid,
    room: RoomSid,
    pool: Pool,
    participant: Option<(ParticipantSid, ParticipantIdentity)>,
    stage: Stage,
    status: JobStatus,
    error: String,
    /// When the job began, since 1970.
    started_at: Option<Duration>,
    ended_at: Option<Duration>,
    updated_at: Duration,
    /// Identity of the agent, once the job was assigned.
    identity: Option<ParticipantIdentity>,
    /// The worker that has the job, or had it last.
    worker: Option<WorkerSid>,
    /// The key with which that worker registered.
    api_key: Option<String>,
    /// The job had another worker before.
    resuming: bool,
    /// Workers that refused the job.
    refused_by: BTreeSet<WorkerId>,
    /// How many times all workers refused it.
    rounds: u32,
    /// The agent that the worker sent has joined the room.
    arrived: bool,
    /// Set when the agent has left the room: if the worker does not say why until then, the job has failed.
    left_until: Option<Instant>,
    /// A worker's report that the job is over, which may mean the agent before.
    report: Option<Report>,
}

/// A report on how a job ended.
struct Report {
    status: JobStatus,
    error: String,
    /// When it is known whether the report counts.
    until: Instant,
}

/// The stage of a job.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// No worker could be asked. With a time: the workers that refused are asked again then.
    Waiting(Option<Instant>),
    /// A worker was asked, and has until then to answer.
    Asked { worker: WorkerId, until: Instant },
    /// A worker has the job.
    Running { worker: WorkerId },
    /// The worker is gone. Without a time, the agent works on. With a time, the agent is gone too, and one of them may
    /// come back until then.
    Orphaned { until: Option<Instant> },
    /// The job has ended, whichever way.
    Ended,
}

/// A room, as its news describe it.
struct Meeting {
    name: RoomName,
    info: livekit::Room,
    opened: Instant,
    people: BTreeMap<ParticipantSid, Person>,
    identities: BTreeMap<ParticipantIdentity, ParticipantSid>,
    /// Dispatches, in the order in which they were made.
    dispatches: Vec<Dispatch>,
    /// Jobs, by the identity of their agent.
    agents: BTreeMap<ParticipantIdentity, JobSid>,
}

/// A participant of a room.
struct Person {
    info: ParticipantInfo,
    joined: Instant,
    published: Option<Instant>,
    /// The participant has no signal connection.
    away: bool,
}

/// A deadline. Whether it still counts is checked when it comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Job(JobSid),
    Registration(WorkerId),
    Silence(WorkerId),
    Removal(RoomSid, ParticipantIdentity),
}

/// The workers, the dispatches of all rooms, and their jobs.
pub struct Agents {
    config: Arc<Config>,
    clock: Clock,
    rng: StdRng,
    workers: BTreeMap<WorkerId, Worker>,
    /// Number of workers in each group.
    pools: BTreeMap<Pool, usize>,
    meetings: BTreeMap<RoomSid, Meeting>,
    by_name: BTreeMap<RoomName, RoomSid>,
    jobs: BTreeMap<JobSid, Job>,
    /// Jobs for which no worker could be asked, by the group that could do them.
    waiting: BTreeMap<Pool, BTreeSet<JobSid>>,
    /// Groups in which a worker has fewer jobs than before.
    freed: BTreeSet<Pool>,
    due: BTreeSet<(Instant, Due)>,
    closing: bool,
    outputs: VecDeque<AgentsOutput>,
}

impl Agents {
    /// A state without workers and rooms. `seed` is the seed of random ids; `unix_now` (time since 1970) and `now` name
    /// the same moment.
    pub fn new(config: Arc<Config>, seed: [u8; 32], unix_now: Duration, now: Instant) -> Self {
        Self {
            config,
            clock: Clock::new(unix_now, now),
            rng: StdRng::from_seed(seed),
            workers: BTreeMap::new(),
            pools: BTreeMap::new(),
            meetings: BTreeMap::new(),
            by_name: BTreeMap::new(),
            jobs: BTreeMap::new(),
            waiting: BTreeMap::new(),
            freed: BTreeSet::new(),
            due: BTreeSet::new(),
            closing: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: AgentsInput, now: Instant) {
        match input {
            AgentsInput::WorkerConnected { worker, api_key } => {
                self.worker_connected(worker, api_key, now);
            }
            AgentsInput::WorkerMessage { worker, message } => {
                self.worker_message(worker, *message, now);
            }
            AgentsInput::WorkerGone { worker } => self.worker_gone(worker, now),
            AgentsInput::Room { room, news } => self.room_news(room, news, now),
            AgentsInput::Shutdown => self.closing = true,
        }
        self.serve_freed(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, _)) = self.due.first()
            && *at <= now
        {
            match self.due.pop_first() {
                Some((_, Due::Job(job))) => self.job_due(job, now),
                Some((_, Due::Registration(worker))) => self.registration_due(worker, now),
                Some((_, Due::Silence(worker))) => self.silence_over(worker, now),
                Some((_, Due::Removal(room, identity))) => self.remove_agent(room, identity),
                None => return,
            }
        }
        self.serve_freed(now);
    }

    /// When [`Agents::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<AgentsOutput> {
        self.outputs.pop_front()
    }

    /// Number of workers that are connected.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Number of jobs that wait for a worker, and of those that have one.
    pub fn jobs(&self) -> (usize, usize) {
        let waiting = self.waiting.values().map(BTreeSet::len).sum();
        let running = self.workers.values().map(|worker| worker.jobs.len()).sum();
        (waiting, running)
    }

    fn send(&mut self, worker: WorkerId, message: server_message::Message) {
        self.outputs.push_back(AgentsOutput::ToWorker {
            worker,
            message: Box::new(message),
        });
    }
}
