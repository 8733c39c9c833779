//! The workers of agents: a task that owns the one [`signaling::Agents`], and the mailboxes of rooms, workers and
//! callers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use node::RoomKey;
use protocol::{
    RoomName, RoomSid,
    error::Error,
    livekit::{AgentDispatch, RoomAgentDispatch, ServerMessage, server_message, worker_message},
    token::{self, Grant, Keys},
};
use signaling::{AgentsInput, AgentsOutput, ApiCall, Config, RoomNews, WorkerFault, WorkerId};
use tokio::sync::{mpsc, oneshot};

use crate::{metrics::Metrics, rooms::Rooms};

/// The most messages that wait for one worker. A worker that is this far behind does not read: it is given up. Twice
/// the jobs that a worker may have to end at once.
const WORKER_MAILBOX: usize = 2048;

/// The most messages of all workers that wait to be read. Further ones wait in the worker's socket.
const MAILBOX: usize = 256;

/// The time in which an agent must join after it was sent. LiveKit's value.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

/// A handle to the agents. Cheap to clone.
#[derive(Clone)]
pub struct Agents {
    mail: mpsc::UnboundedSender<Mail>,
    workers: mpsc::Sender<WorkerMail>,
    next_worker: Arc<AtomicU64>,
}

/// Messages of rooms and of the server API. Unbounded: rooms have little to tell, and callers wait for the answer.
enum Mail {
    News(RoomSid, RoomNews),
    Call(DispatchCall, ReplySender),
    Shutdown,
}

/// Messages of workers' connections.
enum WorkerMail {
    Connected(WorkerId, String, mpsc::Sender<ToWorker>),
    Message(WorkerId, Box<worker_message::Message>),
    Gone(WorkerId),
}

/// A message for the task of a worker's connection.
pub enum ToWorker {
    /// A message for the worker.
    Message(Box<ServerMessage>),
    /// The connection is to be closed.
    Close(WorkerFault),
}

/// A call of `AgentDispatchService`.
pub enum DispatchCall {
    /// An agent is wanted in an open room.
    Create(RoomName, RoomAgentDispatch),
    /// An agent is not wanted any more.
    Delete(RoomName, String),
    /// The dispatches of a room, or the one of this id.
    List(RoomName, String),
}

type Reply = Result<Vec<AgentDispatch>, Error>;
type ReplySender = oneshot::Sender<Reply>;

/// One connection of a worker, as its task sees it.
pub struct WorkerLine {
    id: WorkerId,
    workers: mpsc::Sender<WorkerMail>,
    /// Messages for the worker. The end of the mailbox means that the worker does not read.
    pub mailbox: mpsc::Receiver<ToWorker>,
}

impl Agents {
    /// A handle to the agents, and the task behind it, which must be run.
    pub fn new(config: Arc<Config>, keys: Keys, metrics: Metrics) -> (Self, AgentsTask) {
        let (mail, from_server) = mpsc::unbounded_channel();
        let (workers, from_workers) = mpsc::channel(MAILBOX);
        let (unix_now, now) = (unix_now(), Instant::now());
        let task = AgentsTask {
            agents: signaling::Agents::new(config, rand::random(), unix_now, now),
            mail: from_server,
            workers: from_workers,
            lines: HashMap::new(),
            keys,
            metrics,
        };
        let handle = Self {
            mail,
            workers,
            next_worker: Arc::new(AtomicU64::new(1)),
        };
        (handle, task)
    }

    /// Passes on the news of a room.
    pub fn tell(&self, room: RoomSid, news: RoomNews) {
        let _ = self.mail.send(Mail::News(room, news));
    }

    /// Sends no more agents from now on.
    pub fn close(&self) {
        let _ = self.mail.send(Mail::Shutdown);
    }

    /// Carries out a call of `AgentDispatchService`.
    ///
    /// # Errors
    /// [`Error`] when there is no such room or dispatch, or there are too many.
    pub async fn call(&self, call: DispatchCall) -> Reply {
        let (reply, answer) = oneshot::channel();
        let _ = self.mail.send(Mail::Call(call, reply));
        answer.await.unwrap_or(Err(Error::ShuttingDown))
    }

    /// A worker has connected, with a token of this key.
    pub async fn connect(&self, api_key: String) -> WorkerLine {
        let id = WorkerId(self.next_worker.fetch_add(1, Relaxed));
        let (sender, mailbox) = mpsc::channel(WORKER_MAILBOX);
        let connected = WorkerMail::Connected(id, api_key, sender);
        let _ = self.workers.send(connected).await;
        WorkerLine {
            id,
            workers: self.workers.clone(),
            mailbox,
        }
    }
}

impl WorkerLine {
    /// Number of the worker, for logs.
    pub fn id(&self) -> u64 {
        self.id.0
    }

    /// Passes on a message of the worker.
    pub async fn say(&self, message: worker_message::Message) {
        let _ = self
            .workers
            .send(WorkerMail::Message(self.id, Box::new(message)))
            .await;
    }

    /// The worker's connection has ended.
    pub async fn end(self) {
        let _ = self.workers.send(WorkerMail::Gone(self.id)).await;
    }
}

/// The task behind [`Agents`].
pub struct AgentsTask {
    agents: signaling::Agents,
    mail: mpsc::UnboundedReceiver<Mail>,
    workers: mpsc::Receiver<WorkerMail>,
    lines: HashMap<WorkerId, mpsc::Sender<ToWorker>>,
    keys: Keys,
    metrics: Metrics,
}

impl AgentsTask {
    /// Runs until all handles are dropped. Agents that do not leave are removed from `rooms`.
    pub async fn run(mut self, rooms: Rooms) {
        loop {
            let deadline = self.agents.poll_timeout();
            let sleep = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into());
            tokio::select! {
                Some(mail) = self.mail.recv() => self.handle(mail),
                Some(mail) = self.workers.recv() => self.hear(mail),
                () = sleep, if deadline.is_some() => self.agents.handle_timeout(Instant::now()),
                else => return,
            }
            self.drain(&rooms);
        }
    }

    fn handle(&mut self, mail: Mail) {
        let now = Instant::now();
        match mail {
            Mail::News(room, news) => self.agents.handle(AgentsInput::Room { room, news }, now),
            Mail::Shutdown => self.agents.handle(AgentsInput::Shutdown, now),
            Mail::Call(call, reply) => {
                // The caller may have gone.
                let _ = reply.send(self.carry_out(call, now));
            }
        }
    }

    fn carry_out(&mut self, call: DispatchCall, now: Instant) -> Reply {
        let agents = &mut self.agents;
        match call {
            DispatchCall::Create(room, wish) => {
                agents.create_dispatch(&room, wish, now).map(|it| vec![it])
            }
            DispatchCall::Delete(room, dispatch) => agents
                .delete_dispatch(&room, &dispatch, now)
                .map(|it| vec![it]),
            DispatchCall::List(room, dispatch) => agents.list_dispatches(&room, &dispatch),
        }
    }

    fn hear(&mut self, mail: WorkerMail) {
        let input = match mail {
            WorkerMail::Connected(worker, api_key, sender) => {
                self.lines.insert(worker, sender);
                AgentsInput::WorkerConnected { worker, api_key }
            }
            WorkerMail::Message(worker, message) => AgentsInput::WorkerMessage { worker, message },
            WorkerMail::Gone(worker) => {
                self.lines.remove(&worker);
                AgentsInput::WorkerGone { worker }
            }
        };
        self.agents.handle(input, Instant::now());
    }

    fn drain(&mut self, rooms: &Rooms) {
        while let Some(output) = self.agents.poll_output() {
            match output {
                AgentsOutput::ToWorker { worker, message } => self.send(worker, *message),
                AgentsOutput::Assign {
                    worker,
                    mut assignment,
                    grant,
                } => {
                    if let Some(token) = self.sign(&grant) {
                        assignment.token = token;
                        self.send(worker, server_message::Message::Assignment(*assignment));
                    }
                }
                AgentsOutput::CloseWorker { worker, fault } => {
                    tracing::warn!(
                        worker = worker.0,
                        reason = fault.as_str(),
                        "an agent's worker is closed"
                    );
                    self.post(worker, ToWorker::Close(fault));
                    self.lines.remove(&worker);
                }
                AgentsOutput::RemoveParticipant { room, identity } => {
                    let rooms = rooms.clone();
                    tokio::spawn(async move {
                        let removal = ApiCall::RemoveParticipant {
                            identity,
                            revoke_before: None,
                        };
                        // The agent may have left meanwhile.
                        let _ = rooms.call(&RoomKey::from(room), removal).await;
                    });
                }
            }
        }
        let (waiting, running) = self.agents.jobs();
        self.metrics.agent_workers.set(self.agents.workers() as i64);
        self.metrics.agent_jobs_waiting.set(waiting as i64);
        self.metrics.agent_jobs_running.set(running as i64);
    }

    fn send(&mut self, worker: WorkerId, message: server_message::Message) {
        let message = Box::new(ServerMessage {
            message: Some(message),
        });
        self.post(worker, ToWorker::Message(message));
    }

    fn post(&mut self, worker: WorkerId, mail: ToWorker) {
        let Some(line) = self.lines.get(&worker) else {
            return;
        };
        if line.try_send(mail).is_err() {
            // Without a sender the connection's task reads what is left and ends.
            self.lines.remove(&worker);
            tracing::warn!(
                worker = worker.0,
                "an agent's worker does not read: it is closed"
            );
            let gone = AgentsInput::WorkerGone { worker };
            self.agents.handle(gone, Instant::now());
        }
    }

    fn sign(&self, grant: &Grant) -> Option<String> {
        let token = token::sign(grant, &self.keys, unix_now().as_secs(), Some(TOKEN_TTL));
        token
            .inspect_err(|error| tracing::error!(%error, "cannot sign an agent's token"))
            .ok()
    }
}

/// Time since 1970.
fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
