//! One room with its negotiator, its sessions and those whom it talks to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{ParticipantIdentity, RoomName, RoomSid, error::Error, livekit};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sfu::{Event, Negotiator, RoomCommand, ShardCommand, negotiator};
use signaling::{
    ApiReply, CloseCause, Config, Encryption, Join, Leg, Revocations, Room, RoomInput, RoomMessage,
    RoomNews, RoomOutput, SessionId, SessionMessage, delivery_service::GroupInput,
};

use crate::{
    draining::Draining,
    mailbox::{Line, Mail, Undelivered},
};

/// All that a room needs to open.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Name of the room.
    pub name: RoomName,
    /// The settings of the token or API call that opens the room.
    pub settings: Option<&'a livekit::RoomConfiguration>,
    /// The settings of all rooms.
    pub config: Arc<Config>,
    /// The configuration of the shard that holds its media.
    pub shard: &'a sfu::Config,
    /// The tokens that the last room of this name had revoked.
    pub revoked: Revocations,
    /// The seed of its random ids.
    pub seed: [u8; 32],
    /// The time since 1970.
    pub unix_now: Duration,
}

/// An output of a room, for its owner to carry.
#[derive(Debug)]
pub enum Output<L> {
    /// Commands for the room's shard, in their order: all that one turn brings.
    Commands(Vec<ShardCommand>),
    /// An input for the room with this sid. Where there is none any more, [`RoomInput::RoomGone`] comes back.
    ToRoom {
        /// The other room.
        room: RoomSid,
        /// Its input.
        input: RoomInput,
    },
    /// The answer to an API call.
    ApiReply {
        /// Id of the call.
        id: u64,
        /// The result.
        reply: Result<ApiReply, Error>,
    },
    /// An event for the application.
    Webhook(Box<livekit::WebhookEvent>),
    /// News for those who send agents.
    Agents(RoomNews),
    /// News for the delivery service of an encrypted meeting.
    Group(GroupInput),
    /// The room has ended, and makes way for another of its key, which is to know these revoked tokens. Its owner hands
    /// over what was under way to it, carries out what follows, and then [`HostedRoom::end`].
    Closed(Revocations),
    /// A join that was under way: it opens the next room of the key. The mailbox is told first which one that is
    /// ([`Mail::Moved`]).
    Redirect(Box<Join>, L),
}

/// A session as its room sees it.
struct SessionEntry<L> {
    mailbox: L,
    /// The person behind it.
    principal: ParticipantIdentity,
}

/// One room with its negotiator, its sessions and those whom it talks to. `L` is the way to a session's mailbox. After
/// each input the owner carries out all of [`HostedRoom::poll_output`].
pub struct HostedRoom<L> {
    room: Room,
    sid: RoomSid,
    /// The negotiator between the room and its shard.
    negotiator: Negotiator,
    /// Index of the shard.
    shard: u16,
    config: Arc<Config>,
    sessions: BTreeMap<SessionId, SessionEntry<L>>,
    draining: Draining<L>,
    /// Rooms to which this one sent something: they hear of its end, however it ends.
    correspondents: BTreeSet<RoomSid>,
    /// Commands that wait for the end of the turn.
    commands: Vec<ShardCommand>,
}

impl<L: Line> HostedRoom<L> {
    /// Opens a room.
    pub fn open(opening: Opening<'_>, now: Instant) -> Self {
        let mut rng = StdRng::from_seed(opening.seed);
        let mut room = Room::new(
            opening.name,
            opening.settings,
            opening.config.clone(),
            rng.random(),
            opening.unix_now,
            now,
        );
        room.remember(&opening.revoked);
        Self {
            sid: room.sid(),
            room,
            negotiator: Negotiator::new(opening.shard, rng.random()),
            shard: opening.shard.index,
            config: opening.config,
            sessions: BTreeMap::new(),
            draining: Draining::default(),
            correspondents: BTreeSet::new(),
            commands: Vec::new(),
        }
    }

    /// The room's sid.
    pub fn sid(&self) -> RoomSid {
        self.sid
    }

    /// How its participants encrypt for each other.
    pub fn encryption(&self) -> Encryption {
        self.room.encryption()
    }

    /// Takes a join, with the mailbox of its session.
    pub fn join(&mut self, join: Box<Join>, mailbox: L, now: Instant) {
        let entry = SessionEntry {
            mailbox,
            principal: join.grant.principal(),
        };
        self.sessions.insert(join.session, entry);
        self.room.handle(RoomInput::Join(join), now);
    }

    /// Takes any other input.
    pub fn handle(&mut self, input: RoomInput, now: Instant) {
        match &input {
            RoomInput::SessionGone { session, .. } => self.end_session(*session),
            RoomInput::RoomGone { room } => _ = self.correspondents.remove(room),
            _ => {}
        }
        self.room.handle(input, now);
    }

    /// Takes an event of the shard.
    pub fn handle_event(&mut self, event: Event) {
        self.negotiator.handle_event(event);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.room.handle_timeout(now);
    }

    /// When [`HostedRoom::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.room.poll_timeout()
    }

    /// The next output. Messages for sessions are in their mailboxes then.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output<L>> {
        loop {
            if let Some(output) = self.room.poll_output() {
                match self.route(output, now) {
                    Some(output) => return Some(output),
                    None => continue,
                }
            }
            match self.negotiator.poll() {
                Some(negotiator::Output::Command(command)) => self.commands.push(command),
                Some(negotiator::Output::Event(event)) => {
                    let leg = Leg::HOME;
                    self.room.handle(RoomInput::Media { leg, event }, now);
                }
                None if self.commands.is_empty() => return None,
                None => return Some(Output::Commands(std::mem::take(&mut self.commands))),
            }
        }
    }

    /// The last outputs, when the room is dropped, however it ended.
    pub fn end(&mut self) -> Vec<Output<L>> {
        let close = ShardCommand::Room(RoomCommand::Close { room: self.sid });
        let mut outputs = vec![
            Output::Commands(vec![close]),
            Output::Agents(RoomNews::Closed),
        ];
        let gone = RoomInput::RoomGone { room: self.sid };
        let rooms = std::mem::take(&mut self.correspondents).into_iter();
        outputs.extend(rooms.map(|room| Output::ToRoom {
            room,
            input: gone.clone(),
        }));
        outputs
    }

    fn route(&mut self, output: RoomOutput, now: Instant) -> Option<Output<L>> {
        match output {
            RoomOutput::ToSession { session, message } => self.deliver(session, message, now),
            RoomOutput::ToMedia { leg, command } => {
                debug_assert_eq!(leg, Leg::HOME);
                self.negotiator.handle_command(command);
            }
            RoomOutput::ToRoom { room, message } => return Some(self.tell_room(room, message)),
            RoomOutput::ApiReply { id, reply } => return Some(Output::ApiReply { id, reply }),
            RoomOutput::Webhook(event) => return Some(Output::Webhook(event)),
            RoomOutput::Agents(news) => return Some(Output::Agents(news)),
            RoomOutput::Group(input) => return Some(Output::Group(input)),
            RoomOutput::Closed => return Some(Output::Closed(self.room.revocations().clone())),
            RoomOutput::Redirect(join) => {
                // A session without a mailbox has given up.
                let entry = self.sessions.remove(&join.session)?;
                return Some(Output::Redirect(join, entry.mailbox));
            }
        }
        None
    }

    fn deliver(&mut self, session: SessionId, message: SessionMessage, now: Instant) {
        let Some(entry) = self.sessions.get(&session) else {
            return;
        };
        let last = message == SessionMessage::Close;
        let sent = entry.mailbox.with(|it| it.push(Mail::Message(message)));
        if sent == Err(Undelivered::Full) {
            tracing::warn!(
                session = session.0,
                "the client does not read: its session is closed"
            );
        }
        if sent.is_err() || last {
            // The session reads what is left and ends.
            self.end_session(session);
        }
        if sent.is_err() {
            let cause = CloseCause::Connection;
            self.room
                .handle(RoomInput::SessionGone { session, cause }, now);
        }
    }

    fn end_session(&mut self, session: SessionId) {
        if let Some(entry) = self.sessions.remove(&session) {
            let companions = self.config.max_companions;
            self.draining
                .add(entry.principal, entry.mailbox, companions);
        }
    }

    fn tell_room(&mut self, room: RoomSid, message: RoomMessage) -> Output<L> {
        self.correspondents.insert(room);
        let input = RoomInput::FromRoom {
            room: self.sid,
            shard: self.shard,
            message,
        };
        Output::ToRoom { room, input }
    }
}

#[cfg(test)]
mod tests;
