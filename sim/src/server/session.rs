//! The task of one signal connection.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Instant};

use node::{Bounds, Line, Mail, Mailbox};
use protocol::{RoomSid, signal::Frame};
use rand::Rng;
use signaling::{RoomInput, Session, SessionId, SessionOutput};

use super::{Outbox, Server, WireId, room::RoomMail};

/// The most messages of the room that are read in one turn.
const MAX_BATCH: usize = 64;

/// The room's end of a mailbox.
#[derive(Debug)]
pub struct SessionLine(Rc<RefCell<Mailbox<RoomSid>>>);

impl Line for SessionLine {
    type Room = RoomSid;

    fn with<T>(&self, act: impl FnOnce(&mut Mailbox<RoomSid>) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }
}

impl Drop for SessionLine {
    fn drop(&mut self) {
        self.with(Mailbox::finish);
    }
}

/// A session with its WebSocket, its mailbox and its room.
pub struct SessionTask {
    session: Session,
    pub wire: WireId,
    mailbox: Rc<RefCell<Mailbox<RoomSid>>>,
    /// The other end of the mailbox, which goes with the join.
    line: Option<SessionLine>,
    room: Option<RoomSid>,
    /// Frames that came; `None`: the WebSocket is closed.
    pub frames: VecDeque<Option<Frame>>,
    /// A frame that the client does not take: until it does, the task does nothing else.
    unsent: Option<Frame>,
    /// The client has closed the WebSocket.
    closed: bool,
    /// The first turn has been.
    begun: bool,
    pub has_timed_out: bool,
    pub ready_at: Instant,
}

impl SessionTask {
    pub fn new(session: Session, wire: WireId, bounds: Bounds, now: Instant) -> Self {
        let mailbox = Rc::new(RefCell::new(Mailbox::new(bounds)));
        Self {
            session,
            wire,
            line: Some(SessionLine(mailbox.clone())),
            mailbox,
            room: None,
            frames: VecDeque::new(),
            unsent: None,
            closed: false,
            begun: false,
            has_timed_out: false,
            ready_at: now,
        }
    }

    /// Whether the client does not take a frame, and nothing has ended the wait for it.
    pub fn is_blocked(&self) -> bool {
        let is_closed = self.frames.contains(&None);
        self.unsent.is_some() && !is_closed && !self.mailbox.borrow().is_cut_off()
    }

    /// Whether there is something to do.
    pub fn is_busy(&self) -> bool {
        let mailbox = self.mailbox.borrow();
        let has_mail = !mailbox.is_empty() || mailbox.is_finished();
        !self.begun
            || self.has_timed_out
            || self.unsent.is_some()
            || !self.frames.is_empty()
            || has_mail
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.has_timed_out || self.unsent.is_some() {
            true => None,
            false => self.session.poll_timeout(),
        }
    }

    fn lose(&mut self, now: Instant) {
        self.closed = true;
        self.session.handle_closed(now);
    }
}

impl Server {
    /// One turn: what the client or the room says, or what is due.
    pub fn session_turn(
        &mut self,
        id: SessionId,
        ready_at: Instant,
        now: Instant,
        out: &mut Outbox,
    ) {
        let frames_first = self.turns.random_bool(0.5);
        let Some(task) = self.sessions.get_mut(&id) else {
            return;
        };
        task.begun = true;
        task.ready_at = ready_at;
        if task.mailbox.borrow().is_cut_off() {
            return self.end_session(id, out);
        }
        if let Some(frame) = task.unsent.take() {
            if task.frames.contains(&None) {
                task.lose(now);
            } else {
                out.frames.push((task.wire, Some(frame)));
            }
        }
        if !self.drain_session(id, now, out) {
            return;
        }
        let Some(task) = self.sessions.get_mut(&id) else {
            return;
        };
        if std::mem::take(&mut task.has_timed_out) {
            task.session.handle_timeout(now);
        } else if !task.frames.is_empty() && (frames_first || task.mailbox.borrow().is_empty()) {
            match task.frames.pop_front().flatten() {
                Some(frame) => task.session.handle_frame(frame, now),
                None => task.lose(now),
            }
        } else {
            task.read(now);
        }
        self.drain_session(id, now, out);
    }

    /// Carries out the outputs of a session. False: it has ended, or waits for its client.
    fn drain_session(&mut self, id: SessionId, now: Instant, out: &mut Outbox) -> bool {
        loop {
            let Some(task) = self.sessions.get_mut(&id) else {
                return false;
            };
            let Some(output) = task.session.poll_output() else {
                return true;
            };
            match output {
                SessionOutput::Send(_) if task.closed => {}
                SessionOutput::Send(frame) => {
                    let stall = self.stalled.get(&task.wire);
                    if stall.is_some_and(|until| *until > now) {
                        task.unsent = Some(frame);
                        return false;
                    }
                    out.frames.push((task.wire, Some(frame)));
                }
                SessionOutput::SignToken(grant) => {
                    let token = self.tokens.len().to_string();
                    self.tokens.push(*grant);
                    task.session.handle_token(token, now);
                }
                SessionOutput::ToRoom(RoomInput::Join(join)) => {
                    let Some(line) = task.line.take() else {
                        continue;
                    };
                    let room = self.join(join, line, false, now);
                    if let Some(task) = self.sessions.get_mut(&id) {
                        task.room = room;
                        if room.is_none() {
                            task.session.handle_closed(now);
                        }
                    }
                }
                SessionOutput::ToRoom(input) => {
                    if let Some(room) = task.room {
                        self.tell(room, RoomMail::Input(input));
                    }
                }
                SessionOutput::Close(_) => {
                    self.end_session(id, out);
                    return false;
                }
            }
        }
    }

    fn end_session(&mut self, id: SessionId, out: &mut Outbox) {
        if let Some(task) = self.sessions.remove(&id) {
            let mut mailbox = task.mailbox.borrow_mut();
            self.met.overflows += u32::from(mailbox.has_overflowed());
            mailbox.abandon();
            out.frames.push((task.wire, None));
            self.wires.remove(&task.wire);
            self.stalled.remove(&task.wire);
        }
    }
}

impl SessionTask {
    fn read(&mut self, now: Instant) {
        for _ in 0..MAX_BATCH {
            let mail = self.mailbox.borrow_mut().pop();
            match mail {
                Some(Mail::Message(message)) => self.session.handle_message(message, now),
                Some(Mail::Moved(room)) => self.room = Some(room),
                None => {
                    // The room ended, or gave us up.
                    if self.mailbox.borrow().is_finished() {
                        self.session.handle_closed(now);
                    }
                    return;
                }
            }
        }
    }
}
