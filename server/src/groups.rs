//! The groups of encrypted meetings: a task for each with its [`DeliveryService`], and what is kept of it on disk.

mod store;

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::Bytes;
use node::RoomKey;
use protocol::ParticipantIdentity;
use signaling::delivery_service::{
    ConnectionId, DeliveryService, GroupInput, GroupOutput, MAX_FRAME, Profile,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Instrument;

use store::Store;

/// The most bytes of one client that wait for the group: further ones wait in its socket.
const MAX_UNREAD: usize = 2 * MAX_FRAME;

/// The most bytes that wait for a client. One that is this far behind does not read.
const MAX_WAITING: usize = 8 * 1024 * 1024;

/// A task without a group ends when for this long nobody was connected or in the meeting.
const LINGER: Duration = Duration::from_secs(60);

/// The groups of this node. Cheap to clone.
#[derive(Clone)]
pub struct Groups(Arc<Inner>);

struct Inner {
    senders: Mutex<HashMap<RoomKey, mpsc::UnboundedSender<GroupMail>>>,
    store: Store,
    next_connection: AtomicU64,
}

/// A message for a group's task. Unbounded: connections limit what comes from clients, rooms what comes from them.
enum GroupMail {
    Connect(ConnectionId, ParticipantIdentity, FrameSender),
    /// A frame of a client, which sends no further ones for as long as too many of these wait.
    Frame(ConnectionId, Bytes, OwnedSemaphorePermit),
    Input(GroupInput),
}

/// The group's end of a connection. When it is dropped, the connection's task writes what is left, and closes.
struct FrameSender {
    frames: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
}

/// A connection's end.
pub struct GroupConnection {
    id: ConnectionId,
    group: mpsc::UnboundedSender<GroupMail>,
    frames: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    unread: Arc<Semaphore>,
}

impl Groups {
    /// Opens the file in which groups are kept; without one they are forgotten with the process.
    ///
    /// # Errors
    /// When it cannot be opened. The text is for the administrator.
    pub async fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let opening = || {
            format!(
                "cannot open encryption.file {}",
                file.unwrap_or(Path::new("")).display()
            )
        };
        let store = Store::open(file).await.with_context(opening)?;
        let kept = store.rooms().await.with_context(opening)?;
        let groups = Self(Arc::new(Inner {
            senders: Mutex::new(HashMap::new()),
            store,
            next_connection: AtomicU64::new(1),
        }));
        // Those to which nobody comes back end soon, and are forgotten.
        let mut senders = groups.0.senders();
        for key in &kept {
            groups.sender(&mut senders, key);
        }
        drop(senders);
        Ok(groups)
    }

    /// Tells the delivery service of a meeting what happens there.
    pub fn tell(&self, key: &RoomKey, input: GroupInput) {
        let mut senders = self.0.senders();
        let _ = self.sender(&mut senders, key).send(GroupMail::Input(input));
    }

    /// Connects somebody whose token is valid for the meeting.
    pub fn connect(&self, key: &RoomKey, identity: ParticipantIdentity) -> GroupConnection {
        let id = ConnectionId(self.0.next_connection.fetch_add(1, Relaxed));
        let (sender, frames) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut senders = self.0.senders();
        let group = self.sender(&mut senders, key).clone();
        let sender = FrameSender {
            frames: sender,
            waiting: waiting.clone(),
        };
        let _ = group.send(GroupMail::Connect(id, identity, sender));
        GroupConnection {
            id,
            group,
            frames,
            waiting,
            unread: Arc::new(Semaphore::new(MAX_UNREAD)),
        }
    }

    fn sender<'a>(
        &self,
        senders: &'a mut HashMap<RoomKey, mpsc::UnboundedSender<GroupMail>>,
        key: &RoomKey,
    ) -> &'a mpsc::UnboundedSender<GroupMail> {
        match senders.entry(key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let (sender, mailbox) = mpsc::unbounded_channel();
                let groups = self.clone();
                let key = key.clone();
                let span = tracing::info_span!(parent: None, "group", room = ?key.name);
                tokio::spawn(run(groups, key, mailbox).instrument(span));
                entry.insert(sender)
            }
        }
    }
}

impl Inner {
    fn senders(&self) -> MutexGuard<'_, HashMap<RoomKey, mpsc::UnboundedSender<GroupMail>>> {
        // Every change of the map is complete before anything in it can panic.
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupConnection {
    /// Hands a frame of the client to the group, once that has read enough of those before.
    pub async fn say(&self, frame: Bytes) {
        // A small frame is work too.
        let size = u32::try_from(frame.len().clamp(1024, MAX_FRAME)).unwrap_or(u32::MAX);
        if let Ok(permit) = self.unread.clone().acquire_many_owned(size).await {
            let _ = self.group.send(GroupMail::Frame(self.id, frame, permit));
        }
    }

    /// The next frame for the client. `None`: there will be none.
    pub async fn recv(&mut self) -> Option<Bytes> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(frame.len(), Relaxed);
        Some(frame)
    }
}

impl Drop for GroupConnection {
    fn drop(&mut self) {
        let connection = self.id;
        let _ = self
            .group
            .send(GroupMail::Input(GroupInput::Disconnect { connection }));
    }
}

impl FrameSender {
    /// False: the client does not read, or is gone.
    fn send(&self, frame: Bytes) -> bool {
        let len = frame.len();
        let is_in_time = self.waiting.fetch_add(len, Relaxed) + len <= MAX_WAITING;
        is_in_time && self.frames.send(frame).is_ok()
    }
}

/// The task of one group.
struct GroupTask {
    groups: Groups,
    key: RoomKey,
    service: DeliveryService,
    connections: HashMap<ConnectionId, FrameSender>,
}

async fn run(groups: Groups, key: RoomKey, mut mailbox: mpsc::UnboundedReceiver<GroupMail>) {
    let Some(service) = begin(&groups, &key).await else {
        tracing::error!("there is no randomness for a group");
        groups.0.senders().remove(&key);
        return;
    };
    let mut task = GroupTask {
        groups,
        key,
        service,
        connections: HashMap::new(),
    };
    let mut idle_since = Instant::now();
    loop {
        let is_idle = task.connections.is_empty() && task.service.is_idle();
        if !is_idle {
            idle_since = Instant::now();
        }
        let end = is_idle.then(|| idle_since + LINGER);
        let deadline = task.service.poll_timeout().into_iter().chain(end).min();
        let sleep = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into());
        tokio::select! {
            mail = mailbox.recv() => match mail {
                Some(mail) => task.take(mail),
                None => return,
            },
            () = sleep, if deadline.is_some() => {
                let now = Instant::now();
                task.service.handle_timeout(now);
                if end.is_some_and(|end| end <= now) {
                    // Whoever sends has looked up this task under the lock.
                    let mut senders = task.groups.0.senders();
                    if mailbox.is_empty() {
                        senders.remove(&task.key);
                        return;
                    }
                }
            }
        }
        task.drain().await;
    }
}

/// The delivery service of a meeting: where it went on before this server started, with the group it had.
async fn begin(groups: &Groups, key: &RoomKey) -> Option<DeliveryService> {
    let unix_now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = Instant::now();
    let seed = rand::random();
    match groups.0.store.load(key).await {
        Ok(Some(saved)) => match DeliveryService::restore(saved, seed, unix_now, now) {
            Some(service) => {
                tracing::info!("the group goes on");
                return Some(service);
            }
            None => {
                tracing::error!("the group that was kept cannot be read: there will be a new one");
                let _ = groups.0.store.forget(key).await;
            }
        },
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "the group that was kept cannot be read"),
    }
    DeliveryService::new(Profile::Hybrid, seed, unix_now, now)
}

impl GroupTask {
    fn take(&mut self, mail: GroupMail) {
        let now = Instant::now();
        match mail {
            GroupMail::Connect(connection, identity, sender) => {
                self.connections.insert(connection, sender);
                let input = GroupInput::Connect {
                    connection,
                    identity,
                };
                self.service.handle(input, now);
            }
            GroupMail::Frame(connection, frame, _permit) => {
                self.service
                    .handle(GroupInput::Frame { connection, frame }, now);
            }
            GroupMail::Input(input) => {
                if let GroupInput::Disconnect { connection } = &input {
                    self.connections.remove(connection);
                }
                self.service.handle(input, now);
            }
        }
    }

    /// Carries all that the service wants. What is to be kept is on disk before anybody hears of what follows.
    async fn drain(&mut self) {
        while let Some(output) = self.service.poll_output() {
            match output {
                GroupOutput::Send { connection, frame } => {
                    let Some(sender) = self.connections.get(&connection) else {
                        continue;
                    };
                    if !sender.send(frame) {
                        self.connections.remove(&connection);
                        let gone = GroupInput::Disconnect { connection };
                        self.service.handle(gone, Instant::now());
                    }
                }
                GroupOutput::Close { connection } => _ = self.connections.remove(&connection),
                GroupOutput::Keep(record) => {
                    if let Err(error) = self.groups.0.store.keep(&self.key, record).await {
                        // The meeting goes on; after a restart its members found another group.
                        tracing::error!(%error, "the group cannot be kept");
                    }
                }
            }
        }
    }
}
