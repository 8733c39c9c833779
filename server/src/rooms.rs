//! The rooms of this node: a task for each, a mailbox before it, and the directory that finds it.
//!
//! A room's task takes one input at a time, hands it to its [`HostedRoom`], and carries the outputs. What goes where is
//! decided in `node`.

mod api;
mod mailbox;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use node::{Directory, HostedRoom, Limits, Line, Mail, Opening, Output, Placement, RoomKey};
use protocol::{RoomSid, error::Error, livekit};
use signaling::{ApiCall, Config, Encryption, Join, Revocations, RoomInput, SessionId};
use tokio::sync::{Notify, mpsc, watch};
use tracing::Instrument;

use crate::{
    agents::Agents,
    groups::Groups,
    media::{EventSender, Media},
    meetings::Meetings,
    webhooks::Webhooks,
};
pub use mailbox::{SessionMail, SessionReceiver, SessionSender, session_mailbox};

/// A message for a room's task. Unbounded: sessions limit the rate of messages from clients.
enum RoomMail {
    Join(Box<Join>, SessionSender),
    Input(RoomInput),
    Api(ApiCall, api::ReplySender),
}

/// The mailbox of a room.
#[derive(Clone)]
pub struct RoomSender {
    mail: mpsc::UnboundedSender<RoomMail>,
    encryption: Encryption,
}

impl RoomSender {
    /// Hands an input to the room. A room that has ended reads no more.
    pub fn send(&self, input: RoomInput) {
        let _ = self.mail.send(RoomMail::Input(input));
    }
}

/// The rooms of this node. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(Arc<Inner>);

struct Inner {
    directory: Mutex<Directory<RoomSender>>,
    media: Arc<Media>,
    config: Arc<Config>,
    webhooks: Webhooks,
    agents: Agents,
    meetings: Meetings,
    groups: Groups,
    /// Signalled when a room has ended.
    ended: Notify,
    /// The server stops.
    closing: watch::Sender<bool>,
    next_session: AtomicU64,
}

impl Rooms {
    /// A directory without rooms.
    pub fn new(
        media: Arc<Media>,
        config: Arc<Config>,
        limits: Limits,
        webhooks: Webhooks,
        agents: Agents,
        (meetings, groups): (Meetings, Groups),
    ) -> Self {
        let directory = Directory::new(media.shards().len(), limits, config.auto_create);
        Self(Arc::new(Inner {
            directory: Mutex::new(directory),
            media,
            config,
            webhooks,
            agents,
            meetings,
            groups,
            ended: Notify::new(),
            closing: watch::Sender::new(false),
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
        self.0.directory().len()
    }

    /// Whether [`Rooms::close`] has been called.
    pub fn is_closing(&self) -> bool {
        self.0.directory().is_closing()
    }

    /// Checks whether a join to `room` with a token of this API key would be taken.
    ///
    /// # Errors
    /// See [`Directory::admits`].
    pub fn admits(&self, room: &RoomKey, api_key: &str) -> Result<(), Error> {
        self.0.directory().admits(room, api_key)
    }

    /// How participants of this room encrypt for each other, where it is open; else how they would if these settings opened
    /// it.
    ///
    /// # Errors
    /// See [`Encryption::of`].
    pub fn encryption(
        &self,
        room: &RoomKey,
        settings: Option<&livekit::RoomConfiguration>,
    ) -> Result<Encryption, Error> {
        match self.find(room) {
            Some(room) => Ok(room.encryption),
            None => Encryption::of(settings),
        }
    }

    /// The groups of encrypted meetings.
    pub fn groups(&self) -> &Groups {
        &self.0.groups
    }

    /// Resolves when the server stops.
    pub fn closing(&self) -> impl Future<Output = ()> + use<> {
        let mut closing = self.0.closing.subscribe();
        async move {
            // The sender lives as long as the rooms.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }

    /// Hands a join to its room, which opens if need be, and returns that room's mailbox; `None` when [`Rooms::admits`]
    /// no longer holds.
    pub fn join(&self, join: Box<Join>, session: SessionSender) -> Option<RoomSender> {
        let mailbox = self.room_for(&join)?;
        let _ = mailbox.mail.send(RoomMail::Join(join, session));
        Some(mailbox)
    }

    /// Hands a join that was under way to the next room, of which the session hears before anything that the room says.
    fn redirect(&self, join: Box<Join>, session: SessionSender) {
        if let Some(mailbox) = self.room_for(&join) {
            let moved = Mail::Moved(mailbox.clone());
            // A session that does not read has an end of its own.
            let _ = session.with(|it| it.push(moved));
            let _ = mailbox.mail.send(RoomMail::Join(join, session));
        }
    }

    fn room_for(&self, join: &Join) -> Option<RoomSender> {
        let api_key = &join.grant.api_key;
        let key = RoomKey::new(api_key, join.grant.room()?);
        let mut directory = self.0.directory();
        directory.admits(&key, api_key).ok()?;
        let settings = join.grant.room_config.as_deref();
        self.find_or_open(&mut directory, &key, settings, api_key)
            .ok()
    }

    fn find(&self, key: &RoomKey) -> Option<RoomSender> {
        self.0.directory().find(key).cloned()
    }

    /// Hands an input to the room with this sid. False: there is no such room any more.
    fn tell(&self, room: RoomSid, input: RoomInput) -> bool {
        let directory = self.0.directory();
        let mailbox = directory.find_sid(room);
        mailbox.is_some_and(|mailbox| mailbox.mail.send(RoomMail::Input(input)).is_ok())
    }

    fn find_or_open(
        &self,
        directory: &mut Directory<RoomSender>,
        key: &RoomKey,
        settings: Option<&livekit::RoomConfiguration>,
        api_key: &str,
    ) -> Result<RoomSender, Error> {
        let participants = |shard: usize| self.0.media.shards()[shard].participants();
        directory.find_or_open(key, api_key, participants, |place| {
            self.open(key.clone(), settings, place)
        })
    }

    fn open(
        &self,
        key: RoomKey,
        settings: Option<&livekit::RoomConfiguration>,
        place: Placement,
    ) -> (RoomSid, RoomSender) {
        let index = place.shard;
        let shard = &self.0.media.shards()[index];
        let opening = Opening {
            name: key.name.clone(),
            settings,
            config: self.0.config.clone(),
            shard: shard.config(),
            revoked: place.revoked,
            seed: rand::random(),
            unix_now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        };
        let room = HostedRoom::open(opening, Instant::now());
        let (sid, encryption) = (room.sid(), room.encryption());
        let (sender, mailbox) = mpsc::unbounded_channel();
        let (events, from_media) = mpsc::unbounded_channel();
        shard.open(sid, EventSender::clone(&events));
        let task = RoomTask {
            room,
            sid,
            key,
            shard: index,
            rooms: self.clone(),
            mailbox,
            from_media,
            calls: HashMap::new(),
            next_call: 0,
        };
        let span = tracing::info_span!(parent: None, "room", %sid);
        tracing::info!(parent: &span, shard = index, "room opened");
        tokio::spawn(task.run().instrument(span));
        let sender = RoomSender {
            mail: sender,
            encryption,
        };
        (sid, sender)
    }

    /// Makes way for another room of the key of this one.
    fn vacate(&self, sid: RoomSid, revoked: Revocations) {
        if self.0.directory().vacate(sid, revoked) {
            self.0.ended.notify_waiters();
        }
    }

    /// Admits nobody from now on, and tells everybody to reconnect (elsewhere, or here after a restart).
    pub fn close(&self) {
        let mut directory = self.0.directory();
        directory.close();
        self.0.closing.send_replace(true);
        for (_, mailbox) in directory.iter() {
            mailbox.send(RoomInput::Shutdown);
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
    fn directory(&self) -> MutexGuard<'_, Directory<RoomSender>> {
        // Every change of the directory is complete before anything in it can panic.
        self.directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of one room.
struct RoomTask {
    room: HostedRoom<SessionSender>,
    sid: RoomSid,
    key: RoomKey,
    /// Index of the shard that holds its media.
    shard: usize,
    rooms: Rooms,
    mailbox: mpsc::UnboundedReceiver<RoomMail>,
    from_media: mpsc::UnboundedReceiver<sfu::Event>,
    /// Calls of the server API that wait for the room's answer.
    calls: HashMap<u64, api::ReplySender>,
    next_call: u64,
}

impl RoomTask {
    async fn run(mut self) {
        loop {
            let deadline = self.room.poll_timeout();
            let sleep = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into());
            tokio::select! {
                Some(mail) = self.mailbox.recv() => self.handle(mail),
                Some(event) = self.from_media.recv() => self.room.handle_event(event),
                () = sleep, if deadline.is_some() => self.room.handle_timeout(Instant::now()),
                else => return,
            }
            if self.drain() {
                break;
            }
        }
        // Joins that were under way open the next room of the name; the room hands them out again.
        self.mailbox.close();
        while let Ok(mail) = self.mailbox.try_recv() {
            self.handle(mail);
            self.drain();
        }
    }

    fn handle(&mut self, mail: RoomMail) {
        match mail {
            RoomMail::Input(input) => self.room.handle(input, Instant::now()),
            RoomMail::Api(call, reply) => self.ask(call, reply),
            RoomMail::Join(join, mailbox) => {
                // A guest may have been removed since its join was admitted. Without a mailbox its session ends.
                let meetings = &self.rooms.0.meetings;
                if meetings.admits(&join.grant, &self.key.name).is_ok() {
                    self.room.join(join, mailbox, Instant::now());
                }
            }
        }
    }

    /// Carries all outputs of the room. True: it has ended.
    fn drain(&mut self) -> bool {
        let mut ended = false;
        while let Some(output) = self.room.poll_output(Instant::now()) {
            ended |= matches!(output, Output::Closed(_));
            if let Some(input) = self.carry(output) {
                self.room.handle(input, Instant::now());
            }
        }
        ended
    }

    /// Carries an output. Returns what comes back.
    fn carry(&mut self, output: Output<SessionSender>) -> Option<RoomInput> {
        let rooms = &self.rooms;
        match output {
            Output::Commands(commands) => rooms.0.media.shards()[self.shard].command(commands),
            Output::ToRoom { room, input } => {
                let gone = RoomInput::RoomGone { room };
                return (!rooms.tell(room, input)).then_some(gone);
            }
            Output::ApiReply { id, reply } => self.answer(id, reply),
            Output::Webhook(event) => rooms.0.webhooks.send(*event),
            Output::Agents(news) => rooms.0.agents.tell(self.sid, news),
            Output::Group(input) => rooms.0.groups.tell(&self.key, input),
            Output::Closed(revoked) => rooms.vacate(self.sid, revoked),
            Output::Redirect(join, session) => rooms.redirect(join, session),
        }
        None
    }
}

impl Drop for RoomTask {
    /// Gives up the room's place, however it ended.
    fn drop(&mut self) {
        self.rooms.vacate(self.sid, Revocations::default());
        for output in self.room.end() {
            self.carry(output);
        }
        tracing::info!("room closed");
    }
}

#[cfg(test)]
mod tests;
