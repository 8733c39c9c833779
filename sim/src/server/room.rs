//! The task of one room.

use std::{collections::VecDeque, time::Instant};

use node::{HostedRoom, Line, Mail, Opening, Output, RoomKey};
use protocol::{RoomName, RoomSid, error::Error};
use rand::Rng;
use sfu::Event;
use signaling::{Join, Revocations, RoomInput};

use super::{API_KEY, Server, session::SessionLine, shard::ToShard};

/// A message for a room's task.
pub enum RoomMail {
    Join(Box<Join>, SessionLine),
    Input(RoomInput),
}

/// A room with its queues.
pub struct RoomTask {
    room: HostedRoom<SessionLine>,
    shard: usize,
    mail: VecDeque<RoomMail>,
    pub events: VecDeque<Event>,
    pub has_timed_out: bool,
    /// The room has made way for another: it reads what came before, and no more.
    ended: bool,
    pub ready_at: Instant,
}

impl RoomTask {
    /// Whether there is something to do.
    pub fn is_busy(&self) -> bool {
        self.ended || self.has_timed_out || !self.mail.is_empty() || !self.events.is_empty()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.has_timed_out || self.ended {
            true => None,
            false => self.room.poll_timeout(),
        }
    }
}

impl Server {
    /// Hands a message to a room; one that has ended reads no more.
    pub fn tell(&mut self, room: RoomSid, mail: RoomMail) {
        if let Some(task) = self.rooms.get_mut(&room).filter(|task| !task.ended) {
            task.mail.push_back(mail);
        }
    }

    /// Hands a join to its room, which opens if need be; `None` where it may not.
    pub fn join(
        &mut self,
        join: Box<Join>,
        line: SessionLine,
        moved: bool,
        now: Instant,
    ) -> Option<RoomSid> {
        let name = join.grant.room()?;
        let key = RoomKey::new(API_KEY, name.clone());
        self.directory.admits(&key, API_KEY).ok()?;
        let room = self.find_or_open(&name, now).ok()?;
        if moved {
            // A session that does not read has an end of its own.
            let _ = line.with(|it| it.push(Mail::Moved(room)));
        }
        self.tell(room, RoomMail::Join(join, line));
        Some(room)
    }

    /// The room of this name, opened where there is none.
    pub fn find_or_open(&mut self, name: &RoomName, now: Instant) -> Result<RoomSid, Error> {
        let key = RoomKey::new(API_KEY, name.clone());
        let (unix_now, seed) = (self.unix(now), self.rng.random());
        let (threads, rooms) = (&self.threads, &mut self.rooms);
        let config = self.config.clone();
        let participants = |shard: usize| threads[shard].peers();
        let mut opened = None;
        let found = self
            .directory
            .find_or_open(&key, API_KEY, participants, |place| {
                let opening = Opening {
                    name: name.clone(),
                    settings: None,
                    config,
                    shard: threads[place.shard].config(),
                    revoked: place.revoked,
                    seed,
                    unix_now,
                };
                let room = HostedRoom::open(opening, now);
                let sid = room.sid();
                let task = RoomTask {
                    room,
                    shard: place.shard,
                    mail: VecDeque::new(),
                    events: VecDeque::new(),
                    has_timed_out: false,
                    ended: false,
                    ready_at: now,
                };
                rooms.insert(sid, task);
                opened = Some(place.shard);
                (sid, sid)
            });
        if let (Some(shard), Ok(sid)) = (opened, &found) {
            self.threads[shard].send(ToShard::Open(*sid));
        }
        found
    }

    /// One turn: one message, one event, or what is due.
    pub fn room_turn(&mut self, sid: RoomSid, ready_at: Instant, now: Instant) {
        let events_first = self.turns.random_bool(0.5);
        let Some(task) = self.rooms.get_mut(&sid) else {
            return;
        };
        task.ready_at = ready_at;
        if task.ended {
            match task.mail.pop_front() {
                Some(mail) => task.take(mail, now),
                None => return self.end_room(sid, now),
            }
        } else if std::mem::take(&mut task.has_timed_out) {
            task.room.handle_timeout(now);
        } else if !task.events.is_empty() && (events_first || task.mail.is_empty()) {
            if let Some(event) = task.events.pop_front() {
                task.room.handle_event(event);
            }
        } else if let Some(mail) = task.mail.pop_front() {
            task.take(mail, now);
        }
        while let Some(task) = self.rooms.get_mut(&sid)
            && let Some(output) = task.room.poll_output(now)
        {
            if let Some(input) = self.carry(sid, output, now)
                && let Some(task) = self.rooms.get_mut(&sid)
            {
                task.room.handle(input, now);
            }
        }
    }

    fn end_room(&mut self, sid: RoomSid, now: Instant) {
        let Some(task) = self.rooms.get_mut(&sid) else {
            return;
        };
        for output in task.room.end() {
            self.carry(sid, output, now);
        }
        self.rooms.remove(&sid);
    }

    /// Carries an output of a room. Returns what comes back.
    fn carry(
        &mut self,
        sid: RoomSid,
        output: Output<SessionLine>,
        now: Instant,
    ) -> Option<RoomInput> {
        match output {
            Output::Commands(commands) => {
                let thread = &mut self.threads[self.rooms[&sid].shard];
                for command in commands {
                    thread.send(ToShard::Command(Box::new(command)));
                }
            }
            Output::ToRoom { room, input } => {
                if self.directory.find_sid(room).is_none() {
                    return Some(RoomInput::RoomGone { room });
                }
                self.tell(room, RoomMail::Input(input));
            }
            Output::ApiReply { id, reply } => _ = self.replies.insert(id, reply),
            // Simulated rooms are not encrypted.
            Output::Webhook(_) | Output::Agents(_) | Output::Group(_) => {}
            Output::Closed(revoked) => self.close_room(sid, revoked),
            Output::Redirect(join, line) => {
                self.met.redirects += 1;
                self.join(join, line, true, now);
            }
        }
        None
    }

    fn close_room(&mut self, sid: RoomSid, revoked: Revocations) {
        self.directory.vacate(sid, revoked);
        if let Some(task) = self.rooms.get_mut(&sid) {
            task.ended = true;
        }
    }
}

impl RoomTask {
    fn take(&mut self, mail: RoomMail, now: Instant) {
        match mail {
            RoomMail::Input(input) => self.room.handle(input, now),
            RoomMail::Join(join, line) => self.room.join(join, line, now),
        }
    }
}
