//! The messages of workers.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use protocol::{
    WorkerSid,
    budget::Budget,
    limits,
    livekit::{
        JobType, ParticipantPermission, RegisterWorkerRequest, RegisterWorkerResponse,
        UpdateWorkerStatus, WorkerPing, WorkerPong, WorkerStatus, server_message::Message as Told,
        worker_message::Message as Said,
    },
};

use super::{Agents, AgentsOutput, Due, Pool, Worker, WorkerFault, WorkerId};
use crate::server_info::server_info;

/// The time in which a worker must register. LiveKit's value.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);

/// The most workers.
const MAX_WORKERS: usize = 1000;

/// The messages of one worker per second. An honest one sends its load every 2.5 s, and three messages for each job.
const MESSAGES_PER_SECOND: u32 = 100;
const MESSAGE_BURST: u32 = 1000;

/// The longest name of a deployment, bytes. LiveKit's value.
const MAX_DEPLOYMENT: usize = 64;

impl Agents {
    pub(super) fn worker_connected(&mut self, id: WorkerId, api_key: String, now: Instant) {
        if self.workers.len() >= MAX_WORKERS {
            let fault = WorkerFault::TooManyWorkers;
            let worker = id;
            self.outputs
                .push_back(AgentsOutput::CloseWorker { worker, fault });
            return;
        }
        let worker = Worker {
            sid: WorkerSid::random(&mut self.rng),
            api_key,
            pool: None,
            permissions: ParticipantPermission::default(),
            load: 0.0,
            available: true,
            silent_until: None,
            jobs: BTreeSet::new(),
            asked: BTreeSet::new(),
            messages: Budget::new(MESSAGES_PER_SECOND, MESSAGE_BURST, now),
        };
        self.workers.insert(id, worker);
        let due = (now + REGISTER_TIMEOUT, Due::Registration(id));
        self.due.insert(due);
    }

    pub(super) fn registration_due(&mut self, id: WorkerId, now: Instant) {
        if self.workers.get(&id).is_some_and(|w| w.pool.is_none()) {
            self.close_worker(id, WorkerFault::Unregistered, now);
        }
    }

    fn close_worker(&mut self, worker: WorkerId, fault: WorkerFault, now: Instant) {
        self.outputs
            .push_back(AgentsOutput::CloseWorker { worker, fault });
        self.worker_gone(worker, now);
    }

    pub(super) fn worker_message(&mut self, id: WorkerId, message: Said, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if !worker.messages.take(1, now) {
            return self.close_worker(id, WorkerFault::TooMany, now);
        }
        let registered = worker.pool.is_some();
        match message {
            Said::Ping(ping) => self.ping(id, ping, now),
            Said::Register(request) if !registered => self.register(id, request, now),
            _ if !registered => self.close_worker(id, WorkerFault::OutOfOrder, now),
            Said::Register(_) => self.close_worker(id, WorkerFault::OutOfOrder, now),
            Said::Availability(answer) => self.answered(id, answer, now),
            Said::UpdateWorker(update) => self.update_worker(id, &update, now),
            Said::UpdateJob(update) => self.update_job(id, update, now),
            Said::MigrateJob(claim) => self.claim_jobs(id, &claim, now),
            // The answer would contain a token for whichever room the worker names.
            Said::SimulateJob(_) => {}
        }
    }

    fn ping(&mut self, id: WorkerId, ping: WorkerPing, now: Instant) {
        let pong = WorkerPong {
            last_timestamp: ping.timestamp,
            timestamp: self.clock.unix_millis(now),
        };
        self.send(id, Told::Pong(pong));
    }

    fn register(&mut self, id: WorkerId, request: RegisterWorkerRequest, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let Some(pool) = pool_of(&request) else {
            return self.close_worker(id, WorkerFault::BadRegistration, now);
        };
        worker.pool = Some(pool.clone());
        // A registration that names no permissions gets all of them. LiveKit's default.
        worker.permissions = request
            .allowed_permissions
            .unwrap_or_else(|| ParticipantPermission {
                can_subscribe: true,
                can_publish: true,
                can_publish_data: true,
                can_update_metadata: true,
                ..ParticipantPermission::default()
            });
        let response = RegisterWorkerResponse {
            worker_id: worker.sid.to_string(),
            server_info: Some(server_info(&self.config)),
            endpoint_settings: None,
        };
        tracing::info!(worker = %worker.sid, kind = pool.kind.as_str_name(), "an agent's worker has registered");
        self.send(id, Told::Register(response));
        let count = self.pools.entry(pool.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.launch_pool(&pool, now);
        }
        self.serve(&pool, now);
    }

    fn update_worker(&mut self, id: WorkerId, update: &UpdateWorkerStatus, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        // A load that is no number counts as the highest: a worker that does not know its load gets no more jobs.
        worker.load = match update.load.is_nan() {
            true => 1.0,
            false => update.load.clamp(0.0, 1.0),
        };
        let before = worker.available;
        if let Some(status) = update.status {
            worker.available = status == i32::from(WorkerStatus::WsAvailable);
        }
        worker.available &= !update.draining;
        if worker.available && !before {
            self.ask_again(id);
            self.serve_worker(id, now);
        }
    }

    /// Lets a worker be asked again about the jobs that it refused because it was full.
    fn ask_again(&mut self, id: WorkerId) {
        let pool = self.workers.get(&id).and_then(|worker| worker.pool.clone());
        let waiting = pool.and_then(|pool| self.waiting.get(&pool));
        for job in waiting.into_iter().flatten() {
            if let Some(job) = self.jobs.get_mut(job) {
                job.refused_by.remove(&id);
            }
        }
    }

    pub(super) fn silence_over(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if worker.silent_until.is_some_and(|until| until <= now) {
            worker.silent_until = None;
            self.ask_again(id);
            self.serve_worker(id, now);
        }
    }

    fn serve_worker(&mut self, id: WorkerId, now: Instant) {
        let pool = self.workers.get(&id).and_then(|worker| worker.pool.clone());
        if let Some(pool) = pool {
            self.serve(&pool, now);
        }
    }

    /// A worker is gone, or is to be treated so.
    pub(super) fn worker_gone(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        let Some(pool) = worker.pool else { return };
        if let Some(count) = self.pools.get_mut(&pool) {
            *count -= 1;
            if *count == 0 {
                self.pools.remove(&pool);
            }
        }
        tracing::info!(worker = %worker.sid, jobs = worker.jobs.len(), "an agent's worker is gone");
        for job in worker.jobs {
            self.orphan(job, now);
        }
        for job in worker.asked {
            self.place(job, now);
        }
    }
}

fn pool_of(request: &RegisterWorkerRequest) -> Option<Pool> {
    let kind = JobType::try_from(request.r#type).ok()?;
    let namespace = request.namespace.clone().unwrap_or_default();
    let names = [&request.agent_name, &namespace, &request.version];
    let fit = names.iter().all(|name| name.len() <= limits::MAX_NAME);
    (fit && is_deployment(&request.deployment)).then(|| Pool {
        agent_name: request.agent_name.clone(),
        deployment: request.deployment.clone(),
        namespace,
        kind,
    })
}

/// Whether the name may be a deployment's. LiveKit's rule: a segment of a path.
pub(super) fn is_deployment(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    name.len() <= MAX_DEPLOYMENT && name.bytes().all(fits)
}
