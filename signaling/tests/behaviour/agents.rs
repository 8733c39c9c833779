//! Workers of agents, and what they are given to do, in virtual time.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    ParticipantSid, RoomName, RoomSid,
    error::Error,
    livekit::{
        self, AgentDispatch, AvailabilityResponse, Job, JobAssignment, JobRestartPolicy, JobStatus,
        JobType, MigrateJobRequest, ParticipantInfo, ParticipantPermission, RegisterWorkerRequest,
        RoomAgentDispatch, SimulateJobRequest, UpdateJobStatus, UpdateParticipantRequest,
        UpdateWorkerStatus, WorkerPing, WorkerStatus, participant_info::Kind,
        server_message::Message as Told, worker_message::Message as Said,
    },
    token::Grant,
};
use rand::{SeedableRng, rngs::StdRng};
use signaling::{
    Agents, AgentsInput, AgentsOutput, ApiCall, Config, RoomNews, WorkerFault, WorkerId,
    check_dispatches,
};

use crate::meeting::{Ask, Meeting, camera, grant, join_request, offer};

const UNIX: Duration = Duration::from_secs(1_800_000_000);

/// The agents of a server, their workers, and its rooms.
struct Office {
    agents: Agents,
    now: Instant,
    rng: StdRng,
    told: BTreeMap<WorkerId, Vec<Told>>,
    given: Vec<(WorkerId, JobAssignment, Grant)>,
    closed: Vec<(WorkerId, WorkerFault)>,
    removed: Vec<String>,
    rooms: BTreeMap<String, RoomSid>,
    next: u64,
}

impl Office {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            agents: Agents::new(Arc::new(Config::default()), [7; 32], UNIX, now),
            now,
            rng: StdRng::seed_from_u64(1),
            told: BTreeMap::new(),
            given: Vec::new(),
            closed: Vec::new(),
            removed: Vec::new(),
            rooms: BTreeMap::new(),
            next: 1,
        }
    }

    fn input(&mut self, input: AgentsInput) {
        self.agents.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.agents.poll_output() {
            match output {
                AgentsOutput::ToWorker { worker, message } => {
                    self.told.entry(worker).or_default().push(*message);
                }
                AgentsOutput::Assign {
                    worker,
                    assignment,
                    grant,
                } => self.given.push((worker, *assignment, *grant)),
                AgentsOutput::CloseWorker { worker, fault } => self.closed.push((worker, fault)),
                AgentsOutput::RemoveParticipant { identity, .. } => {
                    self.removed.push(identity.as_str().to_owned());
                }
            }
        }
    }

    /// Lets time pass.
    fn wait(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while let Some(at) = self.agents.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.agents.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn connect(&mut self, api_key: &str) -> WorkerId {
        let worker = WorkerId(self.next);
        self.next += 1;
        let api_key = api_key.to_owned();
        self.input(AgentsInput::WorkerConnected { worker, api_key });
        worker
    }

    fn say(&mut self, worker: WorkerId, message: Said) {
        let message = Box::new(message);
        self.input(AgentsInput::WorkerMessage { worker, message });
    }

    fn register(&mut self, request: RegisterWorkerRequest) -> WorkerId {
        let worker = self.connect("key");
        self.say(worker, Said::Register(request));
        assert!(matches!(self.told[&worker][0], Told::Register(_)));
        worker
    }

    /// A worker for rooms, whose agents have this name.
    fn worker(&mut self, agent_name: &str) -> WorkerId {
        self.register(registration(agent_name, JobType::JtRoom))
    }

    fn open(&mut self, name: &str, agents: Vec<RoomAgentDispatch>) -> RoomSid {
        let room = RoomSid::random(&mut self.rng);
        let info = Box::new(livekit::Room {
            sid: room.to_string(),
            name: name.to_owned(),
            ..livekit::Room::default()
        });
        self.rooms.insert(name.to_owned(), room);
        let news = RoomNews::Opened { info, agents };
        self.input(AgentsInput::Room { room, news });
        room
    }

    fn news(&mut self, room: &str, news: RoomNews) {
        let room = self.rooms[room];
        self.input(AgentsInput::Room { room, news });
    }

    fn join_as(&mut self, room: &str, identity: &str, kind: Kind) -> ParticipantSid {
        self.join_with(room, identity, kind, Vec::new())
    }

    fn join_with(
        &mut self,
        room: &str,
        identity: &str,
        kind: Kind,
        agents: Vec<RoomAgentDispatch>,
    ) -> ParticipantSid {
        let sid = ParticipantSid::random(&mut self.rng);
        let info = Box::new(ParticipantInfo {
            sid: sid.to_string(),
            identity: identity.to_owned(),
            kind: kind.into(),
            ..ParticipantInfo::default()
        });
        self.news(room, RoomNews::Joined { sid, info, agents });
        sid
    }

    fn join(&mut self, room: &str, identity: &str) -> ParticipantSid {
        self.join_as(room, identity, Kind::Standard)
    }

    fn publish(&mut self, room: &str, sid: ParticipantSid, identity: &str) {
        let info = Box::new(ParticipantInfo {
            sid: sid.to_string(),
            identity: identity.to_owned(),
            is_publisher: true,
            ..ParticipantInfo::default()
        });
        self.news(room, RoomNews::Published { sid, info });
    }

    /// The jobs a worker was asked about, in order.
    fn asked(&self, worker: WorkerId) -> Vec<(Job, bool)> {
        let told = self.told.get(&worker).into_iter().flatten();
        let asked = told.filter_map(|message| match message {
            Told::Availability(request) => Some((request.job.clone()?, request.resuming)),
            _ => None,
        });
        asked.collect()
    }

    /// The jobs a worker was told to end.
    fn terminated(&self, worker: WorkerId) -> Vec<String> {
        let told = self.told.get(&worker).into_iter().flatten();
        let ended = told.filter_map(|message| match message {
            Told::Termination(termination) => Some(termination.job_id.clone()),
            _ => None,
        });
        ended.collect()
    }

    /// The worker takes the job it was asked about last; its id.
    fn take(&mut self, worker: WorkerId) -> String {
        let job_id = self.asked(worker).last().unwrap().0.id.clone();
        self.answer(worker, yes(&job_id));
        assert_eq!(self.given.last().unwrap().0, worker);
        job_id
    }

    fn answer(&mut self, worker: WorkerId, answer: AvailabilityResponse) {
        self.say(worker, Said::Availability(answer));
    }

    fn report(&mut self, worker: WorkerId, load: f32, status: Option<WorkerStatus>) {
        let update = UpdateWorkerStatus {
            load,
            status: status.map(Into::into),
            ..UpdateWorkerStatus::default()
        };
        self.say(worker, Said::UpdateWorker(update));
    }

    fn done(&mut self, worker: WorkerId, job_id: &str, status: JobStatus, error: &str) {
        let update = UpdateJobStatus {
            job_id: job_id.to_owned(),
            status: status.into(),
            error: error.to_owned(),
        };
        self.say(worker, Said::UpdateJob(update));
    }

    /// The worker says that it still has the job.
    fn claim(&mut self, worker: WorkerId, job_id: &str) {
        let job_ids = vec![job_id.to_owned()];
        self.say(worker, Said::MigrateJob(MigrateJobRequest { job_ids }));
    }

    /// The agent of a job joins.
    fn arrive(&mut self, room: &str, job_id: &str) -> ParticipantSid {
        self.join_as(room, &format!("agent-{job_id}"), Kind::Agent)
    }

    fn gone(&mut self, worker: WorkerId) {
        self.input(AgentsInput::WorkerGone { worker });
    }

    fn create(&mut self, room: &str, agent_name: &str) -> Result<AgentDispatch, Error> {
        let created = self
            .agents
            .create_dispatch(&room.into(), wish(agent_name), self.now);
        self.drain();
        created
    }

    fn list(&self, room: &str) -> Vec<AgentDispatch> {
        self.agents.list_dispatches(&room.into(), "").unwrap()
    }

    /// State of the one job of the one dispatch of a room.
    fn state(&self, room: &str) -> (JobStatus, livekit::JobState) {
        let dispatches = self.list(room);
        assert_eq!(dispatches.len(), 1, "{dispatches:?}");
        let jobs = dispatches[0].state.clone().unwrap().jobs;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        let state = jobs[0].state.clone().unwrap();
        (state.status(), state)
    }

    fn worker_sid(&self, worker: WorkerId) -> String {
        match &self.told[&worker][0] {
            Told::Register(response) => response.worker_id.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn registration(agent_name: &str, kind: JobType) -> RegisterWorkerRequest {
    RegisterWorkerRequest {
        agent_name: agent_name.to_owned(),
        r#type: kind.into(),
        ..RegisterWorkerRequest::default()
    }
}

fn wish(agent_name: &str) -> RoomAgentDispatch {
    RoomAgentDispatch {
        agent_name: agent_name.to_owned(),
        metadata: format!("for {agent_name}"),
        ..RoomAgentDispatch::default()
    }
}

fn yes(job_id: &str) -> AvailabilityResponse {
    AvailabilityResponse {
        job_id: job_id.to_owned(),
        available: true,
        ..AvailabilityResponse::default()
    }
}

fn no(job_id: &str) -> AvailabilityResponse {
    AvailabilityResponse {
        available: false,
        ..yes(job_id)
    }
}

#[test]
fn a_worker_without_a_name_gets_a_job_for_each_new_room() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("one", Vec::new());
    office.open("two", Vec::new());
    let asked = office.asked(worker);
    let rooms = asked.iter().map(|(job, _)| job.room.clone().unwrap().name);
    assert_eq!(rooms.collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(asked[0].0.r#type(), JobType::JtRoom);
    let job = office.take(worker);
    assert!(job.starts_with("AJ_"));
    let (_, assignment, grant) = office.given.last().unwrap().clone();
    assert_eq!(assignment.job.unwrap().id, job);
    let video = grant.video();
    assert!(video.room_join && !video.agent && !video.room_admin);
    assert_eq!((grant.kind.as_str(), video.room.as_str()), ("agent", "two"));
    assert_eq!(grant.identity, format!("agent-{job}"));
    assert_eq!(grant.api_key, "key");
    let (status, state) = office.state("two");
    assert_eq!(status, JobStatus::JsRunning);
    assert_eq!(state.worker_id, office.worker_sid(worker));
    assert_eq!(state.participant_identity, format!("agent-{job}"));
    assert!(state.started_at >= UNIX.as_nanos() as i64);
}

#[test]
fn a_worker_with_a_name_gets_a_job_only_when_it_is_asked_for() {
    let mut office = Office::new();
    let worker = office.worker("scribe");
    let other = office.worker("");
    office.open("quiet", Vec::new());
    assert_eq!(office.asked(worker), []);
    assert_eq!(office.asked(other).len(), 1);
    let dispatch = office.create("quiet", "scribe").unwrap();
    assert!(dispatch.id.starts_with("AD_"));
    let (job, _) = office.asked(worker).pop().unwrap();
    assert_eq!(
        (job.dispatch_id, job.agent_name, job.metadata),
        (dispatch.id, "scribe".to_owned(), "for scribe".to_owned())
    );
    // A room that is opened with agents has those, and no others.
    office.open("told", vec![wish("scribe")]);
    assert_eq!(office.asked(worker).len(), 2);
    assert_eq!(office.asked(other).len(), 1);
}

#[test]
fn a_token_asks_once_for_its_agents_however_often_somebody_comes_with_it() {
    let mut office = Office::new();
    let worker = office.worker("scribe");
    office.open("room", Vec::new());
    let ada = office.join_with("room", "ada", Kind::Standard, vec![wish("scribe")]);
    office.take(worker);
    office.join_with("room", "bob", Kind::Standard, vec![wish("scribe")]);
    office.news("room", RoomNews::Left { sid: ada });
    office.join_with("room", "ada", Kind::Standard, vec![wish("scribe")]);
    assert_eq!(office.asked(worker).len(), 1);
    let dispatch = office.list("room")[0].id.clone();
    office
        .agents
        .delete_dispatch(&"room".into(), &dispatch, office.now)
        .unwrap();
    // Not even when a moderator has sent the agent away.
    office.join_with("room", "ada", Kind::Standard, vec![wish("scribe")]);
    assert_eq!(office.asked(worker).len(), 1);
    assert_eq!(office.list("room"), []);
}

#[test]
fn who_asks_for_the_same_agent_twice_gets_two_and_no_more_when_coming_back() {
    let mut office = Office::new();
    let worker = office.worker("scribe");
    office.open("room", vec![wish("scribe"); 2]);
    assert_eq!(office.asked(worker).len(), 2);
    for (wishes, jobs) in [(1, 2), (2, 2), (3, 3), (3, 3)] {
        office.join_with("room", "ada", Kind::Standard, vec![wish("scribe"); wishes]);
        assert_eq!(office.asked(worker).len(), jobs, "{wishes}");
    }
}

#[test]
fn publishers_and_participants_have_agents_of_their_own_and_agents_have_none() {
    let mut office = Office::new();
    let publishers = office.register(registration("", JobType::JtPublisher));
    let participants = office.register(registration("", JobType::JtParticipant));
    office.open("room", Vec::new());
    let ada = office.join("room", "ada");
    office.join_as("room", "robot", Kind::Agent);
    office.join_as("room", "recorder", Kind::Egress);
    let who = |office: &Office, worker| -> Vec<String> {
        let asked = office.asked(worker).into_iter();
        asked
            .map(|(job, _)| job.participant.unwrap().identity)
            .collect()
    };
    assert_eq!(who(&office, participants), ["ada"]);
    assert_eq!(office.asked(publishers), []);
    office.publish("room", ada, "ada");
    office.publish("room", ada, "ada");
    assert_eq!(who(&office, publishers), ["ada"]);
    assert_eq!(office.asked(publishers)[0].0.r#type(), JobType::JtPublisher);
    office.take(publishers);
    let jobs: Vec<_> = office.list("room").remove(0).state.unwrap().jobs;
    assert_eq!(jobs.len(), 2);
    // Whom nobody has been sent to yet needs nobody when it is gone.
    office.news("room", RoomNews::Left { sid: ada });
    let jobs = office.list("room").remove(0).state.unwrap().jobs;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].participant.clone().unwrap().identity, "ada");
}

#[test]
fn each_namespace_and_deployment_has_workers_of_its_own() {
    let mut office = Office::new();
    let staging = RegisterWorkerRequest {
        namespace: Some("staging".into()),
        ..registration("scribe", JobType::JtRoom)
    };
    let canary = RegisterWorkerRequest {
        deployment: "canary".into(),
        ..registration("scribe", JobType::JtRoom)
    };
    let (staging, canary) = (office.register(staging), office.register(canary));
    let plain = office.worker("scribe");
    office.open("room", Vec::new());
    office.create("room", "scribe").unwrap();
    let asked = |office: &Office| [staging, canary, plain].map(|worker| office.asked(worker).len());
    // A job for each namespace, as livekit-server has it.
    assert_eq!(asked(&office), [1, 0, 1]);
    let wish = RoomAgentDispatch {
        deployment: "canary".into(),
        ..wish("scribe")
    };
    office
        .agents
        .create_dispatch(&"room".into(), wish, office.now)
        .unwrap();
    office.drain();
    assert_eq!(asked(&office), [1, 1, 1]);
}

#[test]
fn the_worker_with_the_least_load_is_asked_and_full_ones_are_not() {
    let mut office = Office::new();
    let workers: [_; 4] = std::array::from_fn(|_| office.worker(""));
    for (worker, load) in workers.into_iter().zip([0.5, 0.2, 0.1, f32::NAN]) {
        office.report(worker, load, None);
    }
    office.report(workers[2], 0.0, Some(WorkerStatus::WsFull));
    let asked = |office: &Office| workers.map(|worker| office.asked(worker).len());
    office.open("a", Vec::new());
    assert_eq!(asked(&office), [0, 1, 0, 0]);
    // Who says nothing about its load, or what cannot be, is no better than an idle one.
    office.report(workers[3], -1.0, None);
    office.report(workers[1], 0.0, None);
    office.open("b", Vec::new());
    assert_eq!(asked(&office), [0, 1, 0, 1]);
    office.open("c", Vec::new());
    assert_eq!(asked(&office), [0, 2, 0, 1]);
}

#[test]
fn a_refusal_and_a_silence_bring_the_next_worker() {
    let mut office = Office::new();
    let workers: [_; 3] = std::array::from_fn(|_| office.worker(""));
    office.open("room", Vec::new());
    let job = office.asked(workers[0])[0].0.id.clone();
    office.answer(workers[0], no(&job));
    assert_eq!(office.asked(workers[1]).len(), 1);
    office.wait(4.9);
    assert_eq!(office.asked(workers[2]).len(), 0);
    office.wait(0.2);
    assert_eq!(office.take(workers[2]), job);
    // The silent one is not asked again at once.
    for room in ["next", "after"] {
        office.open(room, Vec::new());
        office.take(workers[0]);
    }
    assert_eq!(office.asked(workers[1]).len(), 1);
    office.wait(31.0);
    office.open("later", Vec::new());
    assert_eq!(office.asked(workers[1]).len(), 2);
}

#[test]
fn a_worker_that_answers_late_gets_the_job_that_nobody_else_wanted() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    office.wait(8.0);
    let job = office.take(worker);
    assert_eq!(office.state("room").1.worker_id, office.worker_sid(worker));
    office.wait(100.0);
    assert_eq!(office.asked(worker).len(), 1, "{job}");
}

#[test]
fn a_job_that_all_workers_refuse_is_offered_again_and_not_for_ever() {
    let mut office = Office::new();
    let worker = office.worker("scribe");
    office.open("room", vec![wish("scribe")]);
    let job = office.asked(worker)[0].0.id.clone();
    for _ in 0..2000 {
        let asked = office.asked(worker).len();
        office.answer(worker, no(&job));
        office.wait(1.0);
        assert!(office.asked(worker).len() <= asked + 1);
    }
    assert_eq!(office.asked(worker).len(), 6);
    assert_eq!(office.state("room").0, JobStatus::JsPending);
    // Another one is asked as soon as it is there, and the same when it is no longer full.
    let second = office.worker("scribe");
    office.answer(second, no(&job));
    office.report(worker, 0.9, Some(WorkerStatus::WsFull));
    office.report(worker, 0.1, Some(WorkerStatus::WsAvailable));
    assert_eq!(office.asked(worker).len(), 7);
    assert_eq!(office.take(worker), job);
}

#[test]
fn a_worker_may_end_a_job_instead_of_taking_it() {
    let mut office = Office::new();
    let workers: [_; 2] = std::array::from_fn(|_| office.worker(""));
    office.open("room", Vec::new());
    let job = office.asked(workers[0])[0].0.id.clone();
    let answer = AvailabilityResponse {
        terminate: true,
        ..no(&job)
    };
    office.answer(workers[0], answer);
    office.wait(600.0);
    assert_eq!(office.asked(workers[1]), []);
    assert_eq!(office.state("room").0, JobStatus::JsSuccess);
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_job_is_replaced_within_ten_seconds() {
    let mut office = Office::new();
    let first = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(first);
    let agent = office.join_as("room", &format!("agent-{job}"), Kind::Agent);
    let mute = office.worker("");
    let second = office.worker("");
    office.report(second, 0.5, None);
    office.gone(first);
    let (status, state) = office.state("room");
    assert_eq!(
        (status, state.error.as_str()),
        (JobStatus::JsRunning, "the worker is gone")
    );
    // Its agents die with it.
    office.news("room", RoomNews::Away { sid: agent });
    assert_eq!(office.state("room").0, JobStatus::JsPending);
    // Even when one of the others does not answer.
    office.wait(7.1);
    assert_eq!(office.asked(mute).len(), 1);
    let (asked, resuming) = office.asked(second).pop().unwrap();
    assert_eq!((asked.id.as_str(), resuming), (job.as_str(), true));
    office.take(second);
    let (status, state) = office.state("room");
    assert_eq!(status, JobStatus::JsRunning);
    assert_eq!(state.worker_id, office.worker_sid(second));
    assert_eq!(state.error, "");
    // The second takes the first one's place in the room, however long it needs to get there.
    let identity = format!("agent-{job}");
    assert_eq!(office.given.last().unwrap().2.identity, identity);
    office.news("room", RoomNews::Left { sid: agent });
    office.wait(60.0);
    office.join_as("room", &identity, Kind::Agent);
    assert_eq!(office.state("room").0, JobStatus::JsRunning);
    assert_eq!(office.terminated(second), Vec::<String>::new());
}

#[test]
fn without_another_worker_the_job_waits_for_one() {
    let mut office = Office::new();
    let first = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(first);
    office.gone(first);
    office.wait(300.0);
    assert_eq!(office.state("room").0, JobStatus::JsPending);
    let second = office.worker("");
    assert_eq!(office.take(second), job);
}

#[test]
fn a_job_that_is_never_to_be_restarted_fails_with_its_worker() {
    let mut office = Office::new();
    let workers: [_; 2] = std::array::from_fn(|_| office.worker("scribe"));
    let never = RoomAgentDispatch {
        restart_policy: JobRestartPolicy::JrpNever.into(),
        ..wish("scribe")
    };
    office.open("room", vec![never]);
    office.take(workers[0]);
    office.gone(workers[0]);
    office.wait(60.0);
    assert_eq!(office.asked(workers[1]), []);
    assert_eq!(office.state("room").0, JobStatus::JsFailed);
}

#[test]
fn a_worker_that_lost_its_connection_but_not_its_agents_keeps_its_jobs() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    office.join_as("room", &format!("agent-{job}"), Kind::Agent);
    let other = office.worker("");
    office.gone(worker);
    office.wait(0.5);
    let back = office.worker("");
    for job in [job.as_str(), "AJ_unknown", "nonsense"] {
        office.claim(back, job);
    }
    office.wait(60.0);
    assert_eq!(office.asked(other), []);
    assert_eq!(office.state("room").1.worker_id, office.worker_sid(back));
    // What it does not have any more it is told to end.
    assert_eq!(office.terminated(back), ["AJ_unknown"]);
    office.done(back, &job, JobStatus::JsSuccess, "");
    assert_eq!(office.state("room").0, JobStatus::JsSuccess);
}

#[test]
fn an_agent_that_outlives_its_workers_connection_is_left_alone() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    let agent = office.arrive("room", &job);
    let other = office.worker("");
    office.gone(worker);
    // A worker of livekit-agents registers as a new one, and says nothing of what it has.
    let back = office.worker("");
    office.wait(600.0);
    assert_eq!(office.asked(other).len() + office.asked(back).len(), 0);
    let (status, state) = office.state("room");
    assert_eq!((status, state.ended_at), (JobStatus::JsRunning, 0));
    // Until it has something to say of it.
    office.done(back, &job, JobStatus::JsRunning, "");
    let (_, state) = office.state("room");
    assert_eq!(state.worker_id, office.worker_sid(back));
    assert_eq!(state.error, "");
    office.gone(back);
    let again = office.worker("");
    office.news("room", RoomNews::Left { sid: agent });
    office.done(again, &job, JobStatus::JsSuccess, "");
    office.wait(60.0);
    assert_eq!(office.state("room").0, JobStatus::JsSuccess);
    assert_eq!(office.asked(other).len() + office.asked(again).len(), 0);
    assert_eq!(office.given.len(), 1);
}

#[test]
fn a_worker_that_is_back_before_its_old_connection_ends_keeps_its_jobs() {
    let mut office = Office::new();
    let worker = office.worker("");
    for room in ["claims", "reports", "is silent"] {
        office.open(room, Vec::new());
        let job = office.take(worker);
        office.arrive(room, &job);
    }
    let jobs: Vec<_> = office
        .given
        .iter()
        .map(|(_, given, _)| given.job.clone().unwrap().id)
        .collect();
    let back = office.worker("");
    office.claim(back, &jobs[0]);
    assert_eq!(office.state("claims").1.worker_id, office.worker_sid(back));
    office.done(back, &jobs[1], JobStatus::JsSuccess, "");
    assert_eq!(office.state("reports").0, JobStatus::JsSuccess);
    office.gone(worker);
    office.wait(60.0);
    assert_eq!(office.state("is silent").0, JobStatus::JsRunning);
    assert_eq!(office.state("claims").1.error, "");
    assert_eq!(
        (office.terminated(back), office.asked(back)),
        (vec![], vec![])
    );
}

#[test]
fn an_agent_that_is_back_in_time_is_not_replaced() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    let agent = office.arrive("room", &job);
    office.gone(worker);
    office.news("room", RoomNews::Away { sid: agent });
    office.wait(1.9);
    office.news("room", RoomNews::Back { sid: agent });
    office.wait(60.0);
    assert_eq!(office.state("room").0, JobStatus::JsRunning);
    // Nobody is there to replace it; when somebody comes, it is not needed.
    office.news("room", RoomNews::Left { sid: agent });
    office.wait(60.0);
    assert_eq!(office.agents.jobs(), (1, 0));
    let agent = office.arrive("room", &job);
    let other = office.worker("");
    assert_eq!(office.asked(other), []);
    // Somebody was asked, but has not answered yet.
    office.news("room", RoomNews::Away { sid: agent });
    office.wait(2.1);
    assert_eq!(office.asked(other).len(), 1);
    office.news("room", RoomNews::Back { sid: agent });
    office.answer(other, yes(&job));
    office.wait(60.0);
    assert_eq!(office.given.len(), 1);
    assert_eq!(
        (office.agents.jobs(), office.state("room").0),
        ((0, 0), JobStatus::JsRunning)
    );
}

#[test]
fn who_still_has_an_agent_in_the_room_keeps_the_job_and_the_next_is_told() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    let agent = office.arrive("room", &job);
    office.gone(worker);
    office.news("room", RoomNews::Away { sid: agent });
    let next = office.worker("");
    office.wait(2.1);
    office.take(next);
    office.news("room", RoomNews::Back { sid: agent });
    let back = office.worker("");
    office.claim(back, &job);
    assert_eq!(office.terminated(next), std::slice::from_ref(&job));
    assert_eq!(office.terminated(back), Vec::<String>::new());
    // What the next one says of its own agent does not end the other.
    office.done(next, &job, JobStatus::JsFailed, "");
    office.wait(60.0);
    let (status, state) = office.state("room");
    assert_eq!(status, JobStatus::JsRunning);
    assert_eq!(state.worker_id, office.worker_sid(back));
    office.gone(next);
    office.wait(60.0);
    assert_eq!(office.state("room").0, JobStatus::JsRunning);
}

#[test]
fn the_end_of_the_agent_before_does_not_end_the_job() {
    // The second agent arrives, and ends by itself; or it never arrives.
    for arrives in [true, false] {
        let mut office = Office::new();
        let worker = office.worker("");
        office.open("room", Vec::new());
        let job = office.take(worker);
        let old = office.arrive("room", &job);
        office.gone(worker);
        office.news("room", RoomNews::Away { sid: old });
        office.wait(5.0);
        let back = office.worker("");
        assert_eq!(office.take(back), job);
        office.done(back, &job, JobStatus::JsRunning, "");
        office.done(back, &job, JobStatus::JsFailed, "thrown out");
        office.news("room", RoomNews::Left { sid: old });
        office.wait(29.0);
        assert_eq!(office.state("room").0, JobStatus::JsRunning);
        if !arrives {
            office.wait(2.0);
            let (status, state) = office.state("room");
            assert_eq!(
                (status, state.error.as_str()),
                (JobStatus::JsFailed, "thrown out")
            );
            continue;
        }
        let agent = office.arrive("room", &job);
        office.done(back, &job, JobStatus::JsFailed, "thrown out");
        office.wait(600.0);
        assert_eq!(office.state("room").0, JobStatus::JsRunning);
        office.news("room", RoomNews::Left { sid: agent });
        office.done(back, &job, JobStatus::JsSuccess, "");
        assert_eq!(office.state("room").0, JobStatus::JsSuccess);
    }
}

#[test]
fn an_agent_whose_worker_is_gone_leaves_with_its_dispatch() {
    let mut office = Office::new();
    let worker = office.worker("scribe");
    office.open("room", Vec::new());
    let dispatch = office.create("room", "scribe").unwrap().id;
    let job = office.take(worker);
    office.arrive("room", &job);
    office.gone(worker);
    let room = RoomName::from("room");
    office
        .agents
        .delete_dispatch(&room, &dispatch, office.now)
        .unwrap();
    office.wait(3.1);
    assert_eq!(office.removed, [format!("agent-{job}")]);
}

#[test]
fn nobody_is_sent_to_somebody_who_left_while_the_worker_was_gone() {
    let mut office = Office::new();
    let worker = office.register(registration("", JobType::JtParticipant));
    office.open("room", Vec::new());
    let ada = office.join("room", "ada");
    let job = office.take(worker);
    let agent = office.arrive("room", &job);
    office.gone(worker);
    let other = office.register(registration("", JobType::JtParticipant));
    office.news("room", RoomNews::Left { sid: ada });
    assert_eq!(office.state("room").0, JobStatus::JsRunning);
    office.news("room", RoomNews::Left { sid: agent });
    office.wait(60.0);
    assert_eq!(office.asked(other), []);
    assert_eq!(office.state("room").0, JobStatus::JsFailed);
}

#[test]
fn who_waits_for_a_full_worker_is_served_when_one_of_its_jobs_ends() {
    let mut office = Office::new();
    let worker = office.worker("");
    let mut jobs = Vec::new();
    let asked = |office: &Office| match office.told[&worker].last() {
        Some(Told::Availability(request)) => request.job.clone().map(|job| job.id),
        _ => None,
    };
    for i in 0..1000 {
        office.open(&i.to_string(), Vec::new());
        jobs.push(asked(&office).unwrap());
        office.answer(worker, yes(&jobs[i]));
        office.told.insert(worker, Vec::new());
        office.wait(0.1);
    }
    for room in ["one", "two", "three"] {
        office.open(room, Vec::new());
        assert_eq!(asked(&office), None, "{room}");
    }
    let mut seen = Vec::new();
    // It is done, its room is closed, its dispatch is deleted.
    office.done(worker, &jobs[0], JobStatus::JsSuccess, "");
    seen.extend(asked(&office));
    office.answer(worker, yes(&seen[0]));
    office.news("1", RoomNews::Closed);
    seen.extend(asked(&office));
    office.answer(worker, yes(&seen[1]));
    let dispatch = office.list("2")[0].id.clone();
    office
        .agents
        .delete_dispatch(&"2".into(), &dispatch, office.now)
        .unwrap();
    office.drain();
    seen.extend(asked(&office));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[test]
fn nobody_claims_a_job_that_is_not_its_own() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    office.join_as("room", &format!("agent-{job}"), Kind::Agent);
    // Not with another key, not for another agent.
    let stranger = office.connect("other key");
    office.say(stranger, Said::Register(registration("", JobType::JtRoom)));
    let scribe = office.worker("scribe");
    let owner = office.worker_sid(worker);
    for has_worker in [true, false] {
        if !has_worker {
            office.gone(worker);
        }
        for thief in [stranger, scribe] {
            for status in [JobStatus::JsRunning, JobStatus::JsSuccess] {
                office.done(thief, &job, status, "");
            }
            office.claim(thief, &job);
            assert_eq!(office.terminated(thief).last(), Some(&job));
            let (status, state) = office.state("room");
            assert_eq!((status, &state.worker_id), (JobStatus::JsRunning, &owner));
        }
    }
    // Nor one that nobody has had yet.
    office.open("quiet", Vec::new());
    let waiting = office.asked(stranger).last().unwrap().0.id.clone();
    let thief = office.worker("");
    office.claim(thief, &waiting);
    assert_eq!(office.terminated(thief), [waiting]);
}

#[test]
fn an_agent_that_leaves_by_itself_is_not_sent_again() {
    let mut office = Office::new();
    let worker = office.worker("");
    let other = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    let agent = office.join_as("room", &format!("agent-{job}"), Kind::Agent);
    office.news("room", RoomNews::Left { sid: agent });
    office.wait(3.0);
    office.done(worker, &job, JobStatus::JsSuccess, "");
    let (status, state) = office.state("room");
    assert_eq!(status, JobStatus::JsSuccess);
    assert!(state.ended_at >= state.started_at + 3_000_000_000);
    office.gone(worker);
    office.join("room", "ada");
    office.wait(60.0);
    assert_eq!(office.asked(other), []);
    assert_eq!(office.terminated(worker), Vec::<String>::new());
}

#[test]
fn a_job_that_fails_says_why() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    office.done(worker, &job, JobStatus::JsFailed, &"é".repeat(2000));
    let (status, state) = office.state("room");
    assert_eq!(status, JobStatus::JsFailed);
    assert_eq!(state.error, "é".repeat(512));
}

#[test]
fn an_agent_that_is_gone_without_a_word_has_failed_unless_it_comes_back() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    let identity = format!("agent-{job}");
    let agent = office.join_as("room", &identity, Kind::Agent);
    office.news("room", RoomNews::Left { sid: agent });
    office.wait(9.0);
    let agent = office.join_as("room", &identity, Kind::Agent);
    office.wait(60.0);
    assert_eq!(office.state("room").0, JobStatus::JsRunning);
    office.news("room", RoomNews::Left { sid: agent });
    office.wait(10.1);
    assert_eq!(office.state("room").0, JobStatus::JsFailed);
    assert_eq!(office.terminated(worker), [job]);
}

#[test]
fn a_job_ends_with_its_room() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(worker);
    office.open("other", Vec::new());
    office.news("room", RoomNews::Closed);
    office.news("room", RoomNews::Closed);
    assert_eq!(office.terminated(worker), std::slice::from_ref(&job));
    let room = RoomName::from("room");
    assert_eq!(
        office.agents.list_dispatches(&room, ""),
        Err(Error::RoomNotFound)
    );
    assert_eq!(office.create("room", "x"), Err(Error::RoomNotFound));
    office.done(worker, &job, JobStatus::JsSuccess, "");
    office.wait(60.0);
    assert_eq!(office.agents.jobs(), (1, 0));
}

#[test]
fn a_dispatch_that_is_deleted_ends_its_jobs_and_removes_who_stays() {
    let mut office = Office::new();
    let worker = office.worker("scribe");
    office.open("room", Vec::new());
    let dispatch = office.create("room", "scribe").unwrap().id;
    let job = office.take(worker);
    office.join_as("room", &format!("agent-{job}"), Kind::Agent);
    let room = RoomName::from("room");
    let delete = |office: &mut Office, id: &str| {
        let deleted = office.agents.delete_dispatch(&room, id, office.now);
        office.drain();
        deleted
    };
    for unknown in ["", "AD_", "AD_unknown", "nonsense"] {
        assert_eq!(delete(&mut office, unknown), Err(Error::DispatchNotFound));
    }
    let deleted = delete(&mut office, &dispatch).unwrap();
    let state = deleted.state.unwrap();
    assert!(state.deleted_at >= state.created_at && state.created_at > 0);
    assert_eq!(
        state.jobs[0].state.clone().unwrap().status(),
        JobStatus::JsSuccess
    );
    assert_eq!(office.terminated(worker), std::slice::from_ref(&job));
    assert_eq!(office.list("room"), []);
    assert_eq!(delete(&mut office, &dispatch), Err(Error::DispatchNotFound));
    office.wait(2.9);
    assert_eq!(office.removed, Vec::<String>::new());
    office.wait(0.2);
    assert_eq!(office.removed, [format!("agent-{job}")]);
}

#[test]
fn what_was_asked_for_before_a_worker_came_is_done_when_it_comes() {
    let mut office = Office::new();
    office.open("room", vec![wish("scribe")]);
    office.open("empty", Vec::new());
    assert_eq!(office.list("room")[0].state.clone().unwrap().jobs, []);
    // Nobody asked for an agent here.
    assert_eq!(office.list("empty"), []);
    office.wait(3600.0);
    let worker = office.worker("scribe");
    office.take(worker);
    // Whoever is sent without being asked for comes to new rooms only.
    let anybody = office.worker("");
    assert_eq!(office.asked(anybody), []);
    office.open("new", Vec::new());
    assert_eq!(office.asked(anybody).len(), 1);
}

#[test]
fn a_worker_gets_the_rights_it_allows_its_agents_and_no_others() {
    let mut office = Office::new();
    let worker = office.connect("key A");
    let request = RegisterWorkerRequest {
        allowed_permissions: Some(ParticipantPermission {
            can_subscribe: true,
            hidden: true,
            can_manage_agent_session: true,
            ..ParticipantPermission::default()
        }),
        ..registration("", JobType::JtRoom)
    };
    office.say(worker, Said::Register(request));
    office.open("room", Vec::new());
    let job = office.asked(worker)[0].0.id.clone();
    let answer = AvailabilityResponse {
        participant_identity: "scribe-1".into(),
        participant_name: "Scribe".into(),
        participant_metadata: "m".into(),
        participant_attributes: [("lk.agent_name".to_owned(), "forged".to_owned())].into(),
        ..yes(&job)
    };
    office.answer(worker, answer);
    let grant = &office.given[0].2;
    assert_eq!(grant.api_key, "key A");
    assert_eq!(
        (grant.identity.as_str(), grant.name.as_str()),
        ("scribe-1", "Scribe")
    );
    assert_eq!(grant.attributes["lk.agent_name"], "");
    let video = grant.video();
    assert!(video.may_subscribe() && video.hidden);
    assert!(!video.may_publish() && !video.may_publish_data() && !video.may_update_own_metadata());
    assert!(!video.room_admin && !video.room_create && !video.room_list && !video.recorder);
    assert_eq!(video.can_manage_agent_session, Some(false));
    assert_eq!((grant.sip, grant.room_config.clone()), (None, None));
}

#[test]
fn an_agent_does_not_take_somebody_elses_place() {
    let mut office = Office::new();
    let worker = office.worker("");
    let next = office.worker("");
    office.open("room", Vec::new());
    office.join("room", "ada");
    let job = office.asked(worker)[0].0.id.clone();
    let answer = AvailabilityResponse {
        participant_identity: "ada".into(),
        ..yes(&job)
    };
    office.answer(worker, answer);
    assert_eq!(office.given, []);
    assert_eq!(office.take(next), job);
}

#[test]
fn what_a_worker_says_of_others_jobs_counts_for_nothing() {
    let mut office = Office::new();
    let worker = office.worker("");
    let hostile = office.worker("hostile");
    office.open("room", Vec::new());
    let job = office.asked(worker)[0].0.id.clone();
    office.answer(hostile, yes(&job));
    assert_eq!(office.given, []);
    office.take(worker);
    for status in [
        JobStatus::JsFailed,
        JobStatus::JsSuccess,
        JobStatus::JsPending,
    ] {
        office.done(hostile, &job, status, "ha");
    }
    office.answer(hostile, no(&job));
    office.answer(worker, yes(&job));
    office.answer(
        hostile,
        AvailabilityResponse {
            terminate: true,
            ..no(&job)
        },
    );
    assert_eq!(office.given.len(), 1);
    assert_eq!(office.state("room").0, JobStatus::JsRunning);
    // Nor does it get a token for a room of its choice.
    let room = Some(livekit::Room {
        name: "secret".into(),
        ..livekit::Room::default()
    });
    let simulate = SimulateJobRequest {
        room,
        ..SimulateJobRequest::default()
    };
    office.say(hostile, Said::SimulateJob(simulate));
    office.wait(60.0);
    assert_eq!((office.asked(hostile).len(), office.given.len()), (0, 1));
}

#[test]
fn texts_of_a_worker_that_are_too_long_are_a_refusal() {
    let mut office = Office::new();
    let worker = office.worker("");
    let next = office.worker("");
    let long = |n| "x".repeat(n);
    let cases: [fn(&mut AvailabilityResponse, String); 3] = [
        |answer, text| answer.participant_identity = text[..257].to_owned(),
        |answer, text| answer.participant_name = text[..257].to_owned(),
        |answer, text| answer.participant_metadata = text,
    ];
    for (i, lengthen) in cases.into_iter().enumerate() {
        office.open(&i.to_string(), Vec::new());
        office.report(next, 1.0, None);
        let job = office.asked(worker).last().unwrap().0.id.clone();
        let mut answer = yes(&job);
        lengthen(&mut answer, long(512 * 1024 + 1));
        office.answer(worker, answer);
        assert_eq!(office.take(next), job);
    }
    for request in [
        registration(&long(257), JobType::JtRoom),
        RegisterWorkerRequest {
            namespace: Some(long(257)),
            ..registration("", JobType::JtRoom)
        },
        RegisterWorkerRequest {
            deployment: "a/b".into(),
            ..registration("", JobType::JtRoom)
        },
        RegisterWorkerRequest {
            r#type: 7,
            ..registration("", JobType::JtRoom)
        },
    ] {
        let worker = office.connect("key");
        office.say(worker, Said::Register(request));
        let closed = office.closed.pop();
        assert_eq!(closed, Some((worker, WorkerFault::BadRegistration)));
    }
}

#[test]
fn a_worker_registers_once_and_in_time() {
    let mut office = Office::new();
    let silent = office.connect("key");
    office.wait(10.1);
    assert_eq!(office.closed, [(silent, WorkerFault::Unregistered)]);
    let hasty = office.connect("key");
    office.report(hasty, 0.0, None);
    assert_eq!(office.closed.pop(), Some((hasty, WorkerFault::OutOfOrder)));
    let twice = office.worker("");
    office.say(
        twice,
        Said::Register(registration("other", JobType::JtRoom)),
    );
    assert_eq!(office.closed.pop(), Some((twice, WorkerFault::OutOfOrder)));
    assert_eq!(office.agents.workers(), 0);
    // A ping is answered whenever it comes.
    let worker = office.connect("key");
    office.say(worker, Said::Ping(WorkerPing { timestamp: 5 }));
    let Told::Pong(pong) = &office.told[&worker][0] else {
        panic!()
    };
    assert_eq!(pong.last_timestamp, 5);
    assert!(pong.timestamp > UNIX.as_millis() as i64);
}

#[test]
fn a_worker_that_floods_is_closed_and_its_job_goes_to_another() {
    let mut office = Office::new();
    let hostile = office.worker("");
    office.open("room", Vec::new());
    let job = office.take(hostile);
    let honest = office.worker("");
    for _ in 0..2000 {
        office.report(hostile, 0.0, None);
    }
    assert_eq!(office.closed, [(hostile, WorkerFault::TooMany)]);
    office.wait(2.1);
    assert_eq!(office.take(honest), job);
}

#[test]
fn workers_questions_and_dispatches_are_bounded() {
    let mut office = Office::new();
    let mute = office.worker("mute");
    office.open("room", Vec::new());
    for i in 0..100 {
        office.now += Duration::from_millis(1);
        // The one that nobody asked for counts too.
        assert_eq!(office.create("room", "mute").is_ok(), i < 99, "{i}");
    }
    assert_eq!(office.create("room", "mute"), Err(Error::TooManyDispatches));
    assert_eq!(office.asked(mute).len(), 16);
    let many = vec![wish("x"); 17];
    assert!(check_dispatches(&many).is_err());
    assert!(check_dispatches(&many[..16]).is_ok());
    let long = RoomAgentDispatch {
        metadata: "x".repeat(512 * 1024 + 1),
        ..wish("x")
    };
    assert!(check_dispatches(&[long]).is_err());
    for _ in 0..1100 {
        office.worker_or_refusal();
    }
    assert_eq!(office.agents.workers(), 1000);
}

impl Office {
    fn worker_or_refusal(&mut self) {
        let worker = self.connect("key");
        self.say(worker, Said::Register(registration("", JobType::JtRoom)));
    }
}

#[test]
fn long_metadata_of_dispatches_is_bounded_for_a_room_as_a_whole() {
    let mut office = Office::new();
    office.open("room", Vec::new());
    let long = RoomAgentDispatch {
        metadata: "x".repeat(500 * 1024),
        ..wish("x")
    };
    let mut taken = 0;
    for _ in 0..20 {
        let wish = long.clone();
        let created = office
            .agents
            .create_dispatch(&"room".into(), wish, office.now);
        taken += usize::from(created.is_ok());
    }
    assert_eq!(taken, 8);
    // What all jobs of a dispatch have in common is told once.
    let worker = office.register(registration("x", JobType::JtParticipant));
    office.join("room", "ada");
    office.join("room", "ben");
    let told = office.list("room");
    assert_eq!(told.len(), 8);
    for dispatch in told {
        let jobs = dispatch.state.unwrap().jobs;
        assert_eq!((dispatch.metadata.len(), jobs.len()), (500 * 1024, 2));
        assert!(jobs.iter().all(|job| job.metadata.is_empty()));
    }
    assert_eq!(office.asked(worker)[0].0.metadata.len(), 500 * 1024);
}

#[test]
fn people_who_come_and_go_leave_no_jobs_behind() {
    let mut office = Office::new();
    let worker = office.register(registration("", JobType::JtParticipant));
    office.open("room", Vec::new());
    for i in 0..500 {
        office.wait(0.1);
        let sid = office.join("room", &format!("guest {i}"));
        let job = office.take(worker);
        office.news("room", RoomNews::Left { sid });
        office.done(worker, &job, JobStatus::JsSuccess, "");
    }
    assert_eq!(office.list("room")[0].state.clone().unwrap().jobs.len(), 64);
    assert_eq!(office.agents.jobs(), (0, 0));
}

#[test]
fn a_server_that_stops_sends_nobody() {
    let mut office = Office::new();
    let worker = office.worker("");
    office.input(AgentsInput::Shutdown);
    office.open("room", Vec::new());
    office.wait(60.0);
    assert_eq!(office.asked(worker), []);
}

#[test]
fn a_random_crowd_of_workers_never_loses_a_job_or_does_it_twice() {
    use rand::Rng;
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut office = Office::new();
        let mut workers: Vec<WorkerId> = Vec::new();
        let mut holders: BTreeMap<String, WorkerId> = BTreeMap::new();
        office.open("room", vec![wish("scribe"); 1]);
        for step in 0..300 {
            match rng.random_range(0..10) {
                0 if workers.len() < 5 => workers.push(office.worker("scribe")),
                1 if !workers.is_empty() => {
                    let worker = workers.swap_remove(rng.random_range(0..workers.len()));
                    holders.retain(|_, holder| *holder != worker);
                    office.gone(worker);
                }
                2..=5 if !workers.is_empty() => {
                    let worker = workers[rng.random_range(0..workers.len())];
                    if let Some((job, _)) = office.asked(worker).pop() {
                        let given = office.given.len();
                        let answer = match rng.random_bool(0.5) {
                            true => yes(&job.id),
                            false => no(&job.id),
                        };
                        office.answer(worker, answer);
                        if office.given.len() > given {
                            let before = holders.insert(job.id.clone(), worker);
                            assert_eq!(before, None, "seed {seed}, step {step}: given twice");
                        }
                    }
                }
                6 => office.wait(rng.random_range(0.0..20.0)),
                _ => office.wait(0.1),
            }
        }
        // With one honest worker left, everything is at work.
        for worker in std::mem::take(&mut workers) {
            office.gone(worker);
        }
        let worker = office.worker("scribe");
        office.wait(3.0);
        office.take(worker);
        assert_eq!(office.state("room").0, JobStatus::JsRunning, "seed {seed}");
    }
}

#[test]
fn a_random_crowd_takes_no_place_of_an_agent_that_is_there() {
    use rand::Rng;
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut office = Office::new();
        let mut workers: Vec<WorkerId> = Vec::new();
        let mut agent: Option<(ParticipantSid, bool)> = None;
        office.open("room", vec![wish("scribe")]);
        let questions = |office: &Office| -> usize {
            let told = office.told.values().flatten();
            told.filter(|told| matches!(told, Told::Availability(_)))
                .count()
        };
        for step in 0..300 {
            let (before, was_there) = (questions(&office), agent.is_some_and(|(_, here)| here));
            let worker = match workers.len() {
                0 => None,
                many => Some(workers[rng.random_range(0..many)]),
            };
            let job = office
                .given
                .last()
                .map(|(_, given, _)| given.job.clone().unwrap().id);
            match (rng.random_range(0..12), worker, &job, agent) {
                (0, ..) if workers.len() < 4 => workers.push(office.worker("scribe")),
                (1, Some(worker), ..) => {
                    workers.retain(|other| *other != worker);
                    office.gone(worker);
                }
                (2 | 3, Some(worker), ..) => {
                    if let Some((job, _)) = office.asked(worker).pop() {
                        let answer = if rng.random() {
                            yes(&job.id)
                        } else {
                            no(&job.id)
                        };
                        office.answer(worker, answer);
                    }
                }
                (4, _, Some(job), old) => {
                    if let Some((sid, _)) = old {
                        office.news("room", RoomNews::Left { sid });
                    }
                    agent = Some((office.arrive("room", job), true));
                }
                (5, _, _, Some((sid, true))) => {
                    office.news("room", RoomNews::Away { sid });
                    agent = Some((sid, false));
                }
                (6, _, _, Some((sid, _))) => {
                    office.news("room", RoomNews::Back { sid });
                    agent = Some((sid, true));
                }
                (7, _, _, Some((sid, _))) if rng.random_bool(0.3) => {
                    office.news("room", RoomNews::Left { sid });
                    agent = None;
                }
                (8, Some(worker), Some(job), _) => {
                    office.done(worker, job, JobStatus::JsRunning, "");
                }
                (9, Some(worker), Some(job), _) => office.claim(worker, job),
                (10, ..) => office.wait(rng.random_range(0.0..9.0)),
                _ => office.wait(0.1),
            }
            let is_there = agent.is_some_and(|(_, here)| here);
            if was_there && is_there {
                assert_eq!(questions(&office), before, "seed {seed}, step {step}");
            }
        }
        // Once all are gone, the next worker sends another; an agent that left a living worker is done.
        for worker in std::mem::take(&mut workers) {
            office.gone(worker);
        }
        if let Some((sid, _)) = agent {
            office.news("room", RoomNews::Left { sid });
        }
        let is_done = office
            .list("room")
            .iter()
            .flat_map(|one| &one.state)
            .any(|state| {
                let mut jobs = state.jobs.iter().flat_map(|job| &job.state);
                jobs.any(|job| job.ended_at > 0)
            });
        let worker = office.worker("scribe");
        office.wait(3.0);
        if !is_done {
            office.take(worker);
        }
    }
}

#[test]
fn a_room_tells_those_who_send_agents_whose_connection_broke_and_is_back() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let sid = meeting.sid(alice);
    let known = meeting.news.len();
    meeting.cut(alice);
    assert_eq!(meeting.news[known..], [RoomNews::Away { sid }]);
    meeting.resume("alice", alice);
    assert_eq!(meeting.news[known + 1..], [RoomNews::Back { sid }]);
}

#[test]
fn a_room_tells_those_who_send_agents_who_comes_publishes_and_leaves() {
    let mut meeting = Meeting::new();
    let settings = livekit::RoomConfiguration {
        agents: vec![wish("scribe")],
        ..livekit::RoomConfiguration::default()
    };
    let mut invited = grant("alice");
    invited.room_config = Some(Box::new(settings));
    let alice = meeting.open(invited, join_request("v=0"));
    // Who is not connected yet is not there.
    assert_eq!(meeting.news.len(), 1);
    let sid = meeting.sid(alice);
    meeting.connect(alice);
    meeting.publish(alice, "cam");
    let metadata = "new".to_owned();
    let update = ApiCall::UpdateRoomMetadata {
        metadata: metadata.clone(),
    };
    meeting.api(update).unwrap();
    meeting.ask(alice, Ask::Leave(Default::default()));
    meeting.advance(Duration::from_secs(60));
    let news = &meeting.news;
    let RoomNews::Opened { info, agents } = &news[0] else {
        panic!()
    };
    assert_eq!((info.name.as_str(), agents.len()), ("Room", 0));
    let RoomNews::Joined { agents, .. } = &news[1] else {
        panic!()
    };
    assert_eq!(agents, &[wish("scribe")]);
    let RoomNews::Published { info, .. } = &news[2] else {
        panic!()
    };
    assert!(info.is_publisher && info.tracks.len() == 1);
    assert_eq!(news[3], RoomNews::MetadataChanged { metadata });
    assert_eq!(news[4..], [RoomNews::Left { sid }, RoomNews::Closed]);
}

#[test]
fn a_publisher_is_described_once_however_many_tracks_it_brings() {
    let mut meeting = Meeting::new();
    let alice = meeting.join("alice");
    let cids: Vec<_> = (0..20).map(|i| format!("cam{i}")).collect();
    for cid in &cids {
        meeting.ask(alice, Ask::AddTrack(camera(cid)));
    }
    let all = format!("v=0 {}", cids.join(" "));
    meeting.ask(alice, Ask::Offer(offer(2, &all)));
    meeting.connect(alice);
    meeting.ask(alice, Ask::AddTrack(camera("late")));
    meeting.ask(alice, Ask::Offer(offer(3, &format!("{all} late"))));
    let bob = meeting.enter("bob");
    meeting.publish(bob, "cam");
    meeting.ask(bob, Ask::AddTrack(camera("cam2")));
    meeting.ask(bob, Ask::Offer(offer(3, "v=0 cam cam2")));
    let told = meeting.news.iter().filter_map(|news| match news {
        RoomNews::Joined { info, .. } => Some(("joined", info.tracks.len())),
        RoomNews::Published { info, .. } => Some(("published", info.tracks.len())),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [("joined", 20), ("joined", 0), ("published", 1)]);
    // To the application each is an event.
    let published = meeting.events.iter();
    let published = published.filter(|event| event.event == "track_published");
    assert_eq!(published.count(), 23);
}

#[allow(deprecated)] // Older clients read `agent`.
#[test]
fn a_moderator_makes_an_agent_of_nobody_who_could_then_register_as_a_worker() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let agent = ParticipantPermission {
        agent: true,
        can_subscribe: true,
        ..ParticipantPermission::default()
    };
    let update = UpdateParticipantRequest {
        room: "Room".into(),
        identity: "alice".into(),
        permission: Some(agent),
        ..UpdateParticipantRequest::default()
    };
    meeting
        .api(ApiCall::UpdateParticipant(Box::new(update)))
        .unwrap();
    let signed = meeting.clients[&alice].signed.last().unwrap();
    assert!(signed.video().room_join && !signed.video().agent);
    assert_eq!(signed.kind, "agent");
    let alice = meeting.participants().remove(0);
    assert_eq!(alice.kind(), Kind::Agent);
    assert!(alice.permission.unwrap().agent);
}

#[test]
fn agents_do_not_keep_a_room_for_themselves() {
    let agent = |meeting: &mut Meeting| {
        let mut agent = grant("agent");
        agent.kind = "agent".into();
        let agent = meeting.open(agent, join_request("v=0"));
        meeting.connect(agent);
    };
    // Nobody ever came: the time for empty rooms runs, whatever agents do.
    let mut meeting = Meeting::new();
    agent(&mut meeting);
    meeting.advance(Duration::from_secs(290));
    agent(&mut meeting);
    meeting.advance(Duration::from_secs(9));
    assert!(!meeting.closed);
    meeting.advance(Duration::from_secs(2));
    assert!(meeting.closed);
    // Everybody but the agent has left.
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    agent(&mut meeting);
    meeting.advance(Duration::from_secs(2));
    meeting.ask(alice, Ask::Leave(Default::default()));
    meeting.advance(Duration::from_secs(19));
    assert!(!meeting.closed);
    meeting.advance(Duration::from_secs(2));
    assert!(meeting.closed);
}
