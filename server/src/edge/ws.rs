//! One signal connection: a task that pumps between a WebSocket, a [`Session`] and its room.

use std::{
    error::Error as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Error,
    body::Bytes,
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code},
};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    signal::{Frame, MAX_FRAME_BYTES},
    token,
};
use signaling::{CloseCause, Join, RoomInput, Session, SessionMessage, SessionOutput};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite;
use tracing::{Instrument, Span};

use super::{Edge, rtc::Admitted};
use crate::{
    metrics::Cause,
    rooms::{RoomSender, SessionMail, SessionReceiver, SessionSender, session_mailbox},
};

/// The time between two pings on the WebSocket itself: proxies between us and the client close connections that are
/// silent.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The time after which a client of which nothing was heard, not even the answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// The time in which a client must take one message. The longest takes half of it at 300 kbit/s.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The most messages of the room that are written before they are flushed.
const MAX_BATCH: usize = 64;

/// The most bytes of messages that are written before they are flushed. A newer state may still replace a message in
/// the mailbox, but not one that was taken out.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// Serves the connection of an admitted client until it ends.
pub(super) async fn converse(edge: Edge, socket: WebSocket, admitted: Admitted) {
    let Some(_alive) = edge.0.alive.upgrade() else {
        return;
    };
    let id = edge.0.rooms.next_session();
    let span = tracing::info_span!("session", id = id.0, participant = tracing::field::Empty);
    let join = Join {
        session: id,
        grant: admitted.grant,
        request: admitted.request,
        two_connections: admitted.two_connections,
        mls: admitted.mls,
    };
    let unix_now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let session = Session::new(join, edge.0.rooms.config(), unix_now, Instant::now());
    edge.0.metrics.sessions.inc();
    let (sender, mailbox) = session_mailbox();
    let cut_off = mailbox.cut_off();
    let task = SessionTask {
        edge: edge.clone(),
        session,
        socket,
        mailbox,
        sender: Some(sender),
        room: None,
        heard: Instant::now(),
        lost: false,
    };
    let conversation = async {
        tokio::select! {
            cause = task.run() => cause,
            // The room has let go of the session, and the client reads too slowly.
            () = cut_off => CloseCause::Room,
        }
    };
    let cause = conversation.instrument(span.clone()).await;
    edge.0.metrics.sessions.dec();
    edge.0
        .metrics
        .sessions_closed
        .get_or_create(&Cause {
            cause: cause.as_str(),
        })
        .inc();
    if cause.is_misbehaviour() {
        tracing::warn!(parent: &span, cause = cause.as_str(), "the client broke the protocol: session closed");
    } else {
        tracing::info!(parent: &span, cause = cause.as_str(), "session closed");
    }
}

/// The task of one signal connection.
struct SessionTask {
    edge: Edge,
    session: Session,
    socket: WebSocket,
    mailbox: SessionReceiver,
    /// The mailbox's sender, which goes with the join; from then on only the room can write into the mailbox.
    sender: Option<SessionSender>,
    room: Option<RoomSender>,
    /// When something was last heard of the client.
    heard: Instant,
    /// The connection is gone, and the session knows that.
    lost: bool,
}

impl SessionTask {
    async fn run(mut self) -> CloseCause {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        loop {
            if let Some(cause) = self.drain().await {
                return cause;
            }
            if self.lost {
                // Reading on would find the end again and again, without ever letting another task run.
                debug_assert!(false, "a session outlives its connection");
                return CloseCause::Connection;
            }
            let deadline = self.session.poll_timeout();
            let sleep = sleep_until(deadline.unwrap_or_else(Instant::now).into());
            tokio::select! {
                message = self.socket.recv() => self.hear_client(message),
                mail = self.mailbox.recv() => self.hear_room(mail),
                () = sleep, if deadline.is_some() => self.session.handle_timeout(Instant::now()),
                _ = ping.tick() => self.ping().await,
            }
        }
    }

    fn hear_client(&mut self, message: Option<Result<Message, Error>>) {
        let now = Instant::now();
        self.heard = now;
        match message {
            Some(Ok(Message::Binary(bytes))) => self.frame(Frame::Binary(bytes), now),
            Some(Ok(Message::Text(text))) => self.frame(Frame::Text(text.as_str().to_owned()), now),
            // The library answers pings itself. Our pings keep the connection open; the session has pings of its own.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.session.handle_control_frame(now),
            // The session decides what follows from a message that is too long; its content does not matter.
            Some(Err(error)) if is_too_long(&error) => {
                self.session
                    .handle_frame(Frame::Binary(vec![0; MAX_FRAME_BYTES + 1].into()), now);
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => self.lose(),
        }
    }

    fn frame(&mut self, frame: Frame, now: Instant) {
        self.edge.0.metrics.messages_in.inc();
        self.session.handle_frame(frame, now);
    }

    fn hear_room(&mut self, mail: Option<SessionMail>) {
        let now = Instant::now();
        let mut next = Some(mail);
        let (mut count, mut bytes) = (0, 0);
        while let Some(mail) = next {
            bytes += mail.as_ref().map_or(0, SessionMail::bytes);
            match mail {
                Some(SessionMail::Message(message)) => {
                    self.note_participant(&message);
                    self.session.handle_message(message, now);
                }
                Some(SessionMail::Moved(room)) => self.room = Some(room),
                // The room ended, or gave us up.
                None => return self.lose(),
            }
            count += 1;
            // Other messages that wait are written with this one; the end of the mailbox is seen the next time.
            next = if count < MAX_BATCH && bytes < MAX_BATCH_BYTES {
                self.mailbox.try_recv().map(Some)
            } else {
                None
            };
        }
    }

    /// Notes the participant's sid for the log.
    fn note_participant(&self, message: &SessionMessage) {
        use protocol::livekit::signal_response::Message;
        if let SessionMessage::Response(response) = message
            && let Some(Message::Join(join)) = response.message()
            && let Some(participant) = &join.participant
        {
            Span::current().record("participant", participant.sid.as_str());
        }
    }

    /// Carries out the outputs of the session. Returns the cause when it has ended.
    async fn drain(&mut self) -> Option<CloseCause> {
        let mut unflushed = false;
        loop {
            match self.session.poll_output() {
                Some(SessionOutput::Send(frame)) => {
                    self.edge.0.metrics.messages_out.inc();
                    let message = match frame {
                        Frame::Binary(bytes) => Message::Binary(bytes),
                        Frame::Text(text) => Message::Text(text.into()),
                    };
                    self.feed(message).await;
                    unflushed = true;
                }
                Some(SessionOutput::ToRoom(input)) => self.tell_room(input),
                Some(SessionOutput::SignToken(grant)) => self.sign(&grant),
                Some(SessionOutput::Close(cause)) => {
                    self.close().await;
                    return Some(cause);
                }
                // A flush that fails closes the session, which then has more outputs.
                None if unflushed => {
                    unflushed = false;
                    self.flush().await;
                }
                None => return None,
            }
        }
    }

    fn tell_room(&mut self, input: RoomInput) {
        match (input, self.sender.take()) {
            (RoomInput::Join(join), Some(sender)) => {
                self.room = self.edge.0.rooms.join(join, sender);
                if self.room.is_none() {
                    self.lose();
                }
            }
            (input, sender) => {
                self.sender = sender;
                if let Some(room) = &self.room {
                    room.send(input);
                }
            }
        }
    }

    fn sign(&mut self, grant: &token::Grant) {
        let ttl = Duration::from_secs(self.edge.0.rooms.config().token_ttl.into());
        match token::sign(
            grant,
            &self.edge.0.keys,
            super::rtc::unix_seconds(),
            Some(ttl),
        ) {
            Ok(token) => self.session.handle_token(token, Instant::now()),
            Err(error) => tracing::error!(%error, "cannot sign a token"),
        }
    }

    async fn feed(&mut self, message: Message) {
        let written = timeout(WRITE_TIMEOUT, self.socket.feed(message)).await;
        self.check(written.is_ok_and(|result| result.is_ok()));
    }

    async fn flush(&mut self) {
        let written = timeout(WRITE_TIMEOUT, self.socket.flush()).await;
        self.check(written.is_ok_and(|result| result.is_ok()));
    }

    async fn ping(&mut self) {
        if self.heard.elapsed() > SILENCE {
            self.lose();
        } else {
            self.feed(Message::Ping(Bytes::new())).await;
            self.flush().await;
        }
    }

    fn check(&mut self, written: bool) {
        if !written {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        self.session.handle_closed(Instant::now());
    }

    /// Flushes, says goodbye, and gives the client a moment to hear it: closing at once may discard what is in flight.
    async fn close(&mut self) {
        let goodbye = Message::Close(Some(CloseFrame {
            code: close_code::NORMAL,
            reason: Utf8Bytes::default(),
        }));
        let socket = &mut self.socket;
        let _ = timeout(WRITE_TIMEOUT, async {
            if socket.send(goodbye).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        })
        .await;
    }
}

fn is_too_long(error: &Error) -> bool {
    // Axum's error contains that of its WebSocket library. Were it of another version than ours, a test would fail.
    let inner = error.source().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(tungstenite::Error::Capacity(_)))
}
