//! The rooms of this node: a task for each, a mailbox before it, and the table that finds it by name.
//!
//! A room's task feeds its [`Room`] one input at a time and carries its outputs to the sessions and to the shard.

mod api;
mod draining;
mod mailbox;
mod revoked;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use protocol::{ParticipantIdentity, RoomName, RoomSid, error::Error, livekit};
use sfu::negotiator::Output;
use signaling::{
    ApiCall, CloseCause, Config, Join, Room, RoomInput, RoomMessage, RoomNews, RoomOutput,
    SessionId, SessionMessage,
};
use tokio::sync::{Notify, mpsc};
use tracing::Instrument;

use crate::{
    agents::Agents,
    media::{EventSender, Media},
    meetings::Meetings,
    webhooks::Webhooks,
};
use draining::Draining;
use mailbox::Undelivered;
pub use mailbox::{SessionMail, SessionReceiver, SessionSender, session_mailbox};
use revoked::Revoked;

/// A message for a room's task. Unbounded: sessions limit the rate of messages from clients.
enum RoomMail {
    Join(Box<Join>, SessionSender),
    Input(RoomInput),
    Api(ApiCall, api::ReplySender),
}

/// The mailbox of a room.
#[derive(Clone)]
pub struct RoomSender(mpsc::UnboundedSender<RoomMail>);

impl RoomSender {
    /// Hands an input to the room. A room that has ended reads no more.
    pub fn send(&self, input: RoomInput) {
        let _ = self.0.send(RoomMail::Input(input));
    }
}

/// The limits of open rooms.
#[derive(Debug, Clone, Copy)]
pub struct RoomLimits {
    /// The most open rooms on this node.
    pub all: usize,
    /// The most open rooms that tokens of one API key have opened.
    pub per_key: usize,
}

/// The rooms of this node. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(Arc<Inner>);

struct Inner {
    table: Mutex<Table>,
    media: Arc<Media>,
    config: Arc<Config>,
    limits: RoomLimits,
    webhooks: Webhooks,
    agents: Agents,
    meetings: Meetings,
    /// Signalled when a room has ended.
    ended: Notify,
    closing: AtomicBool,
    next_session: AtomicU64,
}

/// The open rooms.
#[derive(Default)]
struct Table {
    by_name: HashMap<RoomName, Entry>,
    /// Names of the open rooms.
    by_sid: HashMap<RoomSid, RoomName>,
    /// Number of rooms on each shard.
    per_shard: Vec<usize>,
    /// Number of rooms that each API key has opened.
    per_key: HashMap<String, usize>,
    revoked: Revoked,
}

struct Entry {
    sid: RoomSid,
    /// The API key that opened the room.
    key: String,
    mailbox: RoomSender,
}

impl Rooms {
    /// A table without rooms.
    pub fn new(
        media: Arc<Media>,
        config: Arc<Config>,
        limits: RoomLimits,
        webhooks: Webhooks,
        agents: Agents,
        meetings: Meetings,
    ) -> Self {
        let table = Table {
            per_shard: vec![0; media.shards().len()],
            ..Table::default()
        };
        Self(Arc::new(Inner {
            table: Mutex::new(table),
            media,
            config,
            limits,
            webhooks,
            agents,
            meetings,
            ended: Notify::new(),
            closing: AtomicBool::new(false),
            next_session: AtomicU64::new(1),
        }))
    }

    /// The settings of rooms.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The media threads.
    pub fn media(&self) -> &Media {
        &self.0.media
    }

    /// An id for a session, never given twice.
    pub fn next_session(&self) -> SessionId {
        SessionId(self.0.next_session.fetch_add(1, Relaxed))
    }

    /// Number of open rooms.
    pub fn count(&self) -> usize {
        self.0.table().by_name.len()
    }

    /// Whether [`Rooms::close`] has been called.
    pub fn is_closing(&self) -> bool {
        self.0.closing.load(Relaxed)
    }

    /// Checks whether a join to `room` with a token of API key `key` would be taken.
    ///
    /// # Errors
    /// When the server is about to stop, the room would have to be created first, or a new room would be one too many,
    /// for all or for this key.
    pub fn admits(&self, room: &RoomName, key: &str) -> Result<(), Error> {
        let table = self.0.table();
        self.admitted(&table, room, key)?;
        self.may_be_joined(&table, room)
    }

    /// Checks whether a join may open the room: some administrators want only rooms that the application has created.
    fn may_be_joined(&self, table: &Table, room: &RoomName) -> Result<(), Error> {
        match self.0.config.auto_create || table.by_name.contains_key(room) {
            true => Ok(()),
            false => Err(Error::RoomNotFound),
        }
    }

    fn admitted(&self, table: &Table, room: &RoomName, key: &str) -> Result<(), Error> {
        let limits = &self.0.limits;
        if self.is_closing() {
            Err(Error::ShuttingDown)
        } else if table.by_name.contains_key(room) {
            Ok(())
        } else if table.by_name.len() >= limits.all {
            Err(Error::Overloaded("too many rooms"))
        } else if table.per_key.get(key).is_some_and(|n| *n >= limits.per_key) {
            Err(Error::TooManyRooms)
        } else {
            Ok(())
        }
    }

    /// Hands a join to its room, which opens if need be, and returns that room's mailbox; `None` when [`Rooms::admits`]
    /// no longer holds.
    pub fn join(&self, join: Box<Join>, session: SessionSender) -> Option<RoomSender> {
        let name = join.grant.room()?;
        self.may_be_joined(&self.0.table(), &name).ok()?;
        let mailbox = self
            .find_or_open(
                &name,
                join.grant.room_config.as_deref(),
                &join.grant.api_key,
            )
            .ok()?;
        let _ = mailbox.0.send(RoomMail::Join(join, session));
        Some(mailbox)
    }

    fn find(&self, name: &RoomName) -> Option<RoomSender> {
        let table = self.0.table();
        table.by_name.get(name).map(|entry| entry.mailbox.clone())
    }

    /// Hands an input to the room with this sid. False: there is no such room any more.
    fn tell(&self, room: RoomSid, input: RoomInput) -> bool {
        let table = self.0.table();
        let name = table.by_sid.get(&room);
        name.and_then(|name| table.by_name.get(name))
            .is_some_and(|entry| entry.mailbox.0.send(RoomMail::Input(input)).is_ok())
    }

    fn find_or_open(
        &self,
        name: &RoomName,
        settings: Option<&livekit::RoomConfiguration>,
        key: &str,
    ) -> Result<RoomSender, Error> {
        let mut table = self.0.table();
        self.admitted(&table, name, key)?;
        Ok(match table.by_name.get(name) {
            Some(entry) => entry.mailbox.clone(),
            None => self.open(&mut table, name.clone(), settings, key),
        })
    }

    fn open(
        &self,
        table: &mut Table,
        name: RoomName,
        settings: Option<&livekit::RoomConfiguration>,
        key: &str,
    ) -> RoomSender {
        let unix_now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let config = self.0.config.clone();
        let mut room = Room::new(
            name.clone(),
            settings,
            config,
            rand::random(),
            unix_now,
            Instant::now(),
        );
        room.remember(&table.revoked.take(&name));
        let sid = room.sid();
        let shard = self.0.media.least_loaded(&table.per_shard);
        let (sender, mailbox) = mpsc::unbounded_channel();
        let (events, from_media) = mpsc::unbounded_channel();
        self.0.media.shards()[shard].open(sid, EventSender::clone(&events));
        let place = Place {
            rooms: self.clone(),
            name: name.clone(),
            sid,
            shard,
            correspondents: HashSet::new(),
        };
        let task = RoomTask {
            room,
            negotiator: self.0.media.shards()[shard].negotiator(),
            mailbox,
            from_media,
            sessions: HashMap::new(),
            draining: Draining::default(),
            calls: HashMap::new(),
            next_call: 0,
            place,
        };
        let span = tracing::info_span!(parent: None, "room", %sid);
        tracing::info!(parent: &span, shard, "room opened");
        tokio::spawn(task.run().instrument(span));
        let mailbox = RoomSender(sender);
        table.per_shard[shard] += 1;
        table.by_sid.insert(sid, name.clone());
        *table.per_key.entry(key.to_owned()).or_default() += 1;
        table.by_name.insert(
            name,
            Entry {
                sid,
                key: key.to_owned(),
                mailbox: mailbox.clone(),
            },
        );
        mailbox
    }

    /// Admits nobody from now on, and tells everybody to reconnect (elsewhere, or here after a restart).
    pub fn close(&self) {
        self.0.closing.store(true, Relaxed);
        for entry in self.0.table().by_name.values() {
            entry.mailbox.send(RoomInput::Shutdown);
        }
    }

    /// Waits until the last room has ended; after [`Rooms::close`] that is soon.
    pub async fn ended(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change of the table is complete before anything in it can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A room's place in the table and on its shard, given up when its task ends, however it ends.
struct Place {
    rooms: Rooms,
    name: RoomName,
    sid: RoomSid,
    shard: usize,
    /// Rooms to which this one sent something: they hear of its end, however it ends.
    correspondents: HashSet<RoomSid>,
}

impl Place {
    fn command(&self, commands: impl IntoIterator<Item = sfu::Command>) {
        self.rooms.0.media.shards()[self.shard].command(commands);
    }

    /// Makes room for another room of this name.
    fn vacate(&self) {
        let mut table = self.rooms.0.table();
        let is_ours = |entry: &Entry| entry.sid == self.sid;
        if table.by_name.get(&self.name).is_some_and(is_ours)
            && let Some(entry) = table.by_name.remove(&self.name)
        {
            table.per_shard[self.shard] -= 1;
            table.by_sid.remove(&self.sid);
            if let Some(count) = table.per_key.get_mut(&entry.key) {
                *count -= 1;
                if *count == 0 {
                    table.per_key.remove(&entry.key);
                }
            }
            self.rooms.0.ended.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.vacate();
        self.command([sfu::Command::CloseRoom { room: self.sid }]);
        self.rooms.0.agents.tell(self.sid, RoomNews::Closed);
        for room in self.correspondents.drain() {
            let gone = RoomInput::RoomGone { room: self.sid };
            self.rooms.tell(room, gone);
        }
        tracing::info!("room closed");
    }
}

/// The task of one room.
struct RoomTask {
    room: Room,
    /// The negotiator between the room and its shard.
    negotiator: sfu::Negotiator,
    mailbox: mpsc::UnboundedReceiver<RoomMail>,
    from_media: mpsc::UnboundedReceiver<sfu::Event>,
    /// The mailboxes of the sessions, and the persons behind them.
    sessions: HashMap<SessionId, (SessionSender, ParticipantIdentity)>,
    draining: Draining,
    /// Calls of the server API that wait for the room's answer.
    calls: HashMap<u64, api::ReplySender>,
    next_call: u64,
    place: Place,
}

impl RoomTask {
    async fn run(mut self) {
        loop {
            let deadline = self.room.poll_timeout();
            let sleep = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into());
            tokio::select! {
                Some(mail) = self.mailbox.recv() => self.handle(mail),
                Some(event) = self.from_media.recv() => self.negotiator.handle_event(event),
                () = sleep, if deadline.is_some() => self.room.handle_timeout(Instant::now()),
                else => return,
            }
            if self.drain() {
                break;
            }
        }
        // Joins that were under way open the next room of the name; the room hands them out again.
        self.place.vacate();
        self.mailbox.close();
        while let Ok(mail) = self.mailbox.try_recv() {
            self.handle(mail);
            self.drain();
        }
    }

    fn handle(&mut self, mail: RoomMail) {
        let input = match mail {
            RoomMail::Input(input) => input,
            RoomMail::Api(call, reply) => self.ask(call, reply),
            RoomMail::Join(join, mailbox) => {
                // A guest may have been removed since its join was admitted. Without a mailbox its session ends.
                let meetings = &self.place.rooms.0.meetings;
                if meetings.admits(&join.grant, &self.place.name).is_err() {
                    return;
                }
                let principal = join.grant.principal();
                self.sessions.insert(join.session, (mailbox, principal));
                RoomInput::Join(join)
            }
        };
        if let RoomInput::SessionGone { session, .. } = &input {
            self.end_session(*session);
        }
        self.room.handle(input, Instant::now());
    }

    /// Carries out the outputs of the room and of its negotiator. True: the room has ended.
    fn drain(&mut self) -> bool {
        let (mut closed, mut commands) = (false, Vec::new());
        loop {
            closed |= self.drain_room();
            match self.negotiator.poll() {
                Some(Output::Command(command)) => commands.push(command),
                Some(Output::Event(event)) => {
                    self.room.handle(RoomInput::Media(event), Instant::now());
                }
                None => break,
            }
        }
        if !commands.is_empty() {
            self.place.command(commands);
        }
        closed
    }

    fn drain_room(&mut self) -> bool {
        let mut closed = false;
        while let Some(output) = self.room.poll_output() {
            match output {
                RoomOutput::ToSession { session, message } => self.deliver(session, message),
                RoomOutput::ToMedia(command) => self.negotiator.handle_command(command),
                RoomOutput::Redirect(join) => self.redirect(join),
                RoomOutput::Closed => {
                    closed = true;
                    let revoked = self.room.revocations().clone();
                    let mut table = self.place.rooms.0.table();
                    table.revoked.keep(&self.place.name, revoked);
                    drop(table);
                    self.place.vacate();
                }
                RoomOutput::Webhook(event) => self.place.rooms.0.webhooks.send(*event),
                RoomOutput::Agents(news) => self.place.rooms.0.agents.tell(self.place.sid, news),
                RoomOutput::ApiReply { id, reply } => self.answer(id, reply),
                RoomOutput::ToRoom { room, message } => self.tell_room(room, message),
            }
        }
        closed
    }

    fn deliver(&mut self, session: SessionId, message: SessionMessage) {
        let last = message == SessionMessage::Close;
        let Some((mailbox, _)) = self.sessions.get(&session) else {
            return;
        };
        let failed = match mailbox.send(SessionMail::Message(message)) {
            Ok(()) => false,
            Err(Undelivered::Gone) => true,
            Err(Undelivered::Full) => {
                tracing::warn!(
                    session = session.0,
                    "the client does not read: its session is closed"
                );
                true
            }
        };
        if failed || last {
            // Without a sender the session's task reads what is left and ends.
            self.end_session(session);
        }
        if failed {
            self.room.handle(
                RoomInput::SessionGone {
                    session,
                    cause: CloseCause::Connection,
                },
                Instant::now(),
            );
        }
    }

    fn end_session(&mut self, session: SessionId) {
        if let Some((mailbox, principal)) = self.sessions.remove(&session) {
            let companions = self.place.rooms.config().max_companions;
            self.draining.add(principal, mailbox, companions);
        }
    }

    fn tell_room(&mut self, room: RoomSid, message: RoomMessage) {
        let place = &mut self.place;
        place.correspondents.insert(room);
        let input = RoomInput::FromRoom {
            room: place.sid,
            shard: u16::try_from(place.shard).unwrap_or(u16::MAX),
            message,
        };
        if !place.rooms.tell(room, input) {
            place.correspondents.remove(&room);
            let gone = RoomInput::RoomGone { room };
            self.room.handle(gone, Instant::now());
        }
    }

    fn redirect(&mut self, join: Box<Join>) {
        let Some((session, _)) = self.sessions.remove(&join.session) else {
            return;
        };
        if let Some(room) = self.place.rooms.join(join, session.clone()) {
            let _ = session.send(SessionMail::Moved(room));
        }
    }
}

#[cfg(test)]
mod tests;
