//! Agents: programs that take part in meetings because a room, a token or the server API wants them there.
//!
//! A *worker* is a program of the application that stays connected to us and starts agents when it is asked to. A
//! *dispatch* is the wish that the agent of some name be in a room. A *job* is one agent at work: for the room, or for one
//! publisher or participant in it. [`Agents`] knows the workers and, from what rooms tell ([`RoomNews`]), who is where; it
//! decides which worker gets which job.
//!
//! This file holds the boundary and the state, and routes; each group of verbs has its own file: `workers` (what they say),
//! `jobs` (asked, given, ended), `comeback` (workers and agents that are gone, and back), `dispatches` (the server API),
//! `meetings` (what rooms tell) and `wire` (how that reads).
//!
//! Its owner feeds an input, then drains `poll_output` until it is `None`, and calls `handle_timeout` when the instant of
//! `poll_timeout` has come.

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

/// Into [`Agents`].
#[derive(Debug, Clone, PartialEq)]
pub enum AgentsInput {
    /// A worker has connected. The owner has checked its token (`VideoGrant::agent`).
    WorkerConnected {
        /// Which.
        worker: WorkerId,
        /// The key that signed its token: what its agents' tokens are signed with.
        api_key: String,
    },
    /// A worker says something.
    WorkerMessage {
        /// Which.
        worker: WorkerId,
        /// What.
        message: Box<worker_message::Message>,
    },
    /// A worker's connection has ended.
    WorkerGone {
        /// Which.
        worker: WorkerId,
    },
    /// A room tells what happened in it, in the order of its [`RoomOutput::Agents`](crate::RoomOutput::Agents).
    Room {
        /// Which.
        room: RoomSid,
        /// What happened.
        news: RoomNews,
    },
    /// The server stops: nobody is asked any more.
    Shutdown,
}

/// Out of [`Agents`].
#[derive(Debug, Clone, PartialEq)]
pub enum AgentsOutput {
    /// For a worker. Ignored when it is gone.
    ToWorker {
        /// Which.
        worker: WorkerId,
        /// What.
        message: Box<server_message::Message>,
    },
    /// For a worker: this job is its own. The token for the agent is the owner's to sign and to fill in.
    Assign {
        /// Which.
        worker: WorkerId,
        /// The message.
        assignment: Box<JobAssignment>,
        /// What the token says.
        grant: Box<Grant>,
    },
    /// A worker broke the protocol: its connection is to be closed. [`AgentsInput::WorkerGone`] need not follow.
    CloseWorker {
        /// Which.
        worker: WorkerId,
        /// Why.
        fault: WorkerFault,
    },
    /// An agent that should have left by itself is to be removed.
    RemoveParticipant {
        /// From where.
        room: RoomName,
        /// Who.
        identity: ParticipantIdentity,
    },
}

/// What a worker did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerFault {
    /// It did not register in time.
    Unregistered,
    /// Its first message was another one, or it registered twice.
    OutOfOrder,
    /// Its registration cannot be: an unknown kind of job, a name that is too long.
    BadRegistration,
    /// More messages than allowed.
    TooMany,
    /// There are as many workers as there may be.
    TooManyWorkers,
}

impl WorkerFault {
    /// For logs and metrics, and for the worker.
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

/// Workers that could all do the same jobs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pool {
    agent_name: String,
    deployment: String,
    /// A dispatch gets a job from each.
    namespace: String,
    kind: JobType,
}

/// A worker that is connected.
struct Worker {
    sid: WorkerSid,
    api_key: String,
    /// What it is for, once it has registered.
    pool: Option<Pool>,
    /// What its agents may do in a room.
    permissions: ParticipantPermission,
    /// As it says: 0 (idle) to 1.
    load: f32,
    /// It takes jobs.
    available: bool,
    /// It left a question unanswered: nothing is asked until then.
    silent_until: Option<Instant>,
    /// Those it has.
    jobs: BTreeSet<JobSid>,
    /// Those it was asked about.
    asked: BTreeSet<JobSid>,
    messages: Budget,
}

/// The wish that an agent be in a room.
struct Dispatch {
    sid: DispatchSid,
    wish: RoomAgentDispatch,
    /// Nobody asked for it: each new room wants the agents without a name.
    automatic: bool,
    /// Since 1970.
    created_at: Duration,
    /// Remembered, so that the token it came from does not bring it back.
    deleted: bool,
    jobs: BTreeMap<Target, JobSid>,
}

/// What a job of a dispatch is for: at most one job for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    namespace: String,
    kind: JobType,
    /// `None`: the room.
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
    /// Since 1970.
    started_at: Option<Duration>,
    ended_at: Option<Duration>,
    updated_at: Duration,
    /// The agent's, once it was assigned.
    identity: Option<ParticipantIdentity>,
    /// Who has it, or had it last.
    worker: Option<WorkerSid>,
    /// With which that one registered.
    api_key: Option<String>,
    /// It had another worker before.
    resuming: bool,
    /// Workers that did not want it.
    refused_by: BTreeSet<WorkerId>,
    /// How often all of them did not.
    rounds: u32,
    /// The agent that its worker sent has joined the room.
    arrived: bool,
    /// Its agent has left the room. If its worker does not say until then why, the job has failed.
    left_until: Option<Instant>,
    /// A worker says that it is over, and may speak of the agent before.
    report: Option<Report>,
}

/// How a job is said to have ended.
struct Report {
    status: JobStatus,
    error: String,
    /// By then it is known what to make of it.
    until: Instant,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// No worker could be asked. With a time: then those who refused are asked again.
    Waiting(Option<Instant>),
    /// A worker was asked.
    Asked { worker: WorkerId, until: Instant },
    /// A worker has it.
    Running { worker: WorkerId },
    /// Its worker is gone. Its agent works on; or, with a time, it is gone too, and one of them may come back until then.
    Orphaned { until: Option<Instant> },
    /// It is done, whichever way.
    Ended,
}

/// A room as it was told.
struct Meeting {
    name: RoomName,
    info: livekit::Room,
    opened: Instant,
    people: BTreeMap<ParticipantSid, Person>,
    identities: BTreeMap<ParticipantIdentity, ParticipantSid>,
    /// In the order in which they were made.
    dispatches: Vec<Dispatch>,
    /// Jobs by the identity of their agent.
    agents: BTreeMap<ParticipantIdentity, JobSid>,
}

/// Somebody in a room.
struct Person {
    info: ParticipantInfo,
    joined: Instant,
    published: Option<Instant>,
    /// It has no signal connection.
    away: bool,
}

/// What is due at a time. Whether it still is, is seen then.
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
    /// How many workers each has.
    pools: BTreeMap<Pool, usize>,
    meetings: BTreeMap<RoomSid, Meeting>,
    by_name: BTreeMap<RoomName, RoomSid>,
    jobs: BTreeMap<JobSid, Job>,
    /// Jobs that no worker could be asked about, by who could do them.
    waiting: BTreeMap<Pool, BTreeSet<JobSid>>,
    /// Workers of these have fewer jobs than before.
    freed: BTreeSet<Pool>,
    due: BTreeSet<(Instant, Due)>,
    closing: bool,
    outputs: VecDeque<AgentsOutput>,
}

impl Agents {
    /// Nobody yet. `seed` is the seed of random ids; `unix_now` (time since 1970) and `now` name the same moment.
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

    /// Workers that are connected.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Jobs that wait for a worker, and those that have one.
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
