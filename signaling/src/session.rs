//! One participant's conversation: frames in, frames out.
//!
//! The session knows the wire (encodings, limits, pings, the messages allowed before `join`), the room knows the
//! meeting.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use protocol::{
    budget::Budget,
    livekit::{
        self, DisconnectReason, LeaveRequest, Pong, RoomMovedResponse, SignalResponse,
        leave_request::Action, signal_request, signal_response,
    },
    signal::{self, Encoding, Frame, FrameError},
    token::Grant,
};

use crate::{
    api::{
        CloseCause, Config, Join, PING_TIMEOUT_SECONDS, Response, RoomInput, SessionId,
        SessionMessage, SessionOutput,
    },
    budget::BYTES_PER_REQUEST,
    clock::{Clock, earliest, seconds},
    farewell::leave,
};

/// The most messages kept for a client whose `join` is not out yet. The room sends `join` first, so that there are
/// hardly any.
const MAX_HELD_BACK: usize = 64;

/// The largest metadata and attributes that go into refreshed tokens, bytes: the token must still fit into a URL.
const MAX_TOKEN_TEXT: usize = 16 * 1024;

/// One signal connection.
pub struct Session {
    id: SessionId,
    clock: Clock,
    encoding: Option<Encoding>,
    phase: Phase,
    held_back: Vec<Response>,
    requests: Budget,
    /// Set by the first ping: a client that never pings is watched by the socket's own pings.
    silent_at: Option<Instant>,
    grant: Option<Box<Grant>>,
    /// Set when the participant goes to another room: sent as soon as there is a token for it.
    moved: Option<Box<RoomMovedResponse>>,
    refresh_every: Duration,
    refresh_at: Option<Instant>,
    outputs: VecDeque<SessionOutput>,
}

/// The phase of a signal connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Neither `join` nor `reconnect` is out.
    Opening,
    Open,
    Closed,
}

impl Session {
    /// The session of a connection whose token and join request were read. Its first output is the join for the room of
    /// the grant. `unix_now` (time since 1970) and `now` name the same moment.
    pub fn new(join: Join, config: &Config, unix_now: Duration, now: Instant) -> Self {
        Self {
            id: join.session,
            clock: Clock::new(unix_now, now),
            encoding: None,
            phase: Phase::Opening,
            held_back: Vec::new(),
            requests: Budget::new(config.requests_per_second, config.request_burst, now),
            silent_at: None,
            grant: None,
            moved: None,
            refresh_every: seconds(config.token_refresh),
            refresh_at: None,
            outputs: VecDeque::from([SessionOutput::ToRoom(RoomInput::Join(Box::new(join)))]),
        }
    }

    /// The client sent a frame.
    pub fn handle_frame(&mut self, frame: Frame, now: Instant) {
        if self.phase == Phase::Closed {
            return;
        }
        let units = u32::try_from(1 + frame.len() / BYTES_PER_REQUEST).unwrap_or(u32::MAX);
        if !self.requests.take(units, now) {
            return self.misbehaved(CloseCause::TooMany);
        }
        self.encoding.get_or_insert(frame.encoding());
        match signal::decode_request(&frame) {
            Ok(request) => self.handle_request(request.message, now),
            Err(FrameError::TooLong | FrameError::TooManyFields) => {
                self.misbehaved(CloseCause::TooLong)
            }
            Err(FrameError::Malformed) => self.misbehaved(CloseCause::Malformed),
        }
    }

    /// The client sent a frame of the connection itself, such as a ping of the WebSocket. It counts as any other.
    pub fn handle_control_frame(&mut self, now: Instant) {
        if self.phase != Phase::Closed && !self.requests.take(1, now) {
            self.misbehaved(CloseCause::TooMany);
        }
    }

    fn handle_request(&mut self, request: Option<signal_request::Message>, now: Instant) {
        use signal_request::Message;
        if self.silent_at.is_some() {
            self.silent_at = Some(now + seconds(PING_TIMEOUT_SECONDS));
        }
        match request {
            // A message of a newer protocol.
            None => {}
            Some(Message::Ping(_)) => {
                self.silent_at = Some(now + seconds(PING_TIMEOUT_SECONDS));
                self.pong(signal_response::Message::Pong(self.clock.unix_millis(now)));
            }
            Some(Message::PingReq(ping)) => {
                self.silent_at = Some(now + seconds(PING_TIMEOUT_SECONDS));
                self.pong(signal_response::Message::PongResp(Pong {
                    last_ping_timestamp: ping.timestamp,
                    timestamp: self.clock.unix_millis(now),
                }));
            }
            Some(request) => {
                let request = Box::new(request);
                self.forward(RoomInput::Request {
                    session: self.id,
                    request,
                });
            }
        }
    }

    /// The room sent a message.
    pub fn handle_message(&mut self, message: SessionMessage, now: Instant) {
        match (self.phase, message) {
            (Phase::Closed, _) => {}
            // The client has yet to hear where the participant goes.
            (_, SessionMessage::Close) if self.moved.is_some() => {}
            (_, SessionMessage::Close) => self.close(CloseCause::Room),
            (_, SessionMessage::Move { grant, moved }) => {
                self.moved = Some(moved);
                self.sign(grant);
            }
            (_, SessionMessage::Grant(grant)) => {
                self.grant = Some(grant);
                // Before `join` the client takes no token.
                if self.phase == Phase::Open {
                    self.refresh_token(now);
                }
            }
            (Phase::Open, SessionMessage::Response(response)) => self.send(&response),
            (Phase::Opening, SessionMessage::Response(response)) => self.open_with(response, now),
        }
    }

    /// Nothing but `leave` goes out before `join` or `reconnect`: clients would take it for a refusal or drop it.
    fn open_with(&mut self, response: Response, now: Instant) {
        use signal_response::Message;
        match response.message() {
            Some(Message::Join(_) | Message::Reconnect(_)) => {
                self.send(&response);
                self.phase = Phase::Open;
                for response in std::mem::take(&mut self.held_back) {
                    self.send(&response);
                }
                self.refresh_token(now);
            }
            Some(Message::Leave(_)) => self.send(&response),
            _ if self.held_back.len() < MAX_HELD_BACK => self.held_back.push(response),
            _ => debug_assert!(false, "the room talks before it joins"),
        }
    }

    /// Takes the token that [`SessionOutput::SignToken`] asked for.
    pub fn handle_token(&mut self, token: String, _now: Instant) {
        if let Some(mut moved) = self.moved.take() {
            // Some clients take the token from one message, some from the other.
            moved.token = token.clone();
            self.reply(signal_response::Message::RefreshToken(token));
            self.reply(signal_response::Message::RoomMoved(*moved));
            self.reply(leave(DisconnectReason::Migration, Action::Reconnect));
            self.close(CloseCause::Room);
        } else if self.phase == Phase::Open {
            self.reply(signal_response::Message::RefreshToken(token));
        }
    }

    /// The socket is closed (by the client, by an error, or because the client does not read).
    pub fn handle_closed(&mut self, _now: Instant) {
        self.end(CloseCause::Connection);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.silent_at.is_some_and(|at| at <= now) {
            return self.end(CloseCause::PingTimeout);
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_token(now);
        }
    }

    /// When [`Session::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Closed {
            return None;
        }
        earliest([self.silent_at, self.refresh_at])
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    fn refresh_token(&mut self, now: Instant) {
        self.refresh_at = Some(now + self.refresh_every);
        if let Some(grant) = self.grant.clone() {
            self.sign(grant);
        }
    }

    fn sign(&mut self, mut grant: Box<Grant>) {
        // The new token is as old as the one that it replaces: a revocation of that one covers this one too.
        grant.not_before.get_or_insert(0);
        let attributes: usize = grant
            .attributes
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if grant.metadata.len() + attributes > MAX_TOKEN_TEXT {
            grant.metadata.clear();
            grant.attributes.clear();
        }
        self.outputs.push_back(SessionOutput::SignToken(grant));
    }

    fn send(&mut self, response: &Response) {
        let frame = match self.encoding.unwrap_or_default() {
            Encoding::Protobuf => Frame::Binary(response.binary()),
            Encoding::Json => signal::encode_response(response.response(), Encoding::Json),
        };
        if !frame.is_empty() {
            self.outputs.push_back(SessionOutput::Send(frame));
        }
    }

    fn reply(&mut self, message: signal_response::Message) {
        let response = SignalResponse {
            message: Some(message),
        };
        let frame = signal::encode_response(&response, self.encoding.unwrap_or_default());
        self.outputs.push_back(SessionOutput::Send(frame));
    }

    fn pong(&mut self, message: signal_response::Message) {
        // Nothing may overtake `join`.
        if self.phase == Phase::Open {
            self.reply(message);
        }
    }

    fn forward(&mut self, input: RoomInput) {
        self.outputs.push_back(SessionOutput::ToRoom(input));
    }

    fn misbehaved(&mut self, cause: CloseCause) {
        tracing::info!(
            session = self.id.0,
            cause = cause.as_str(),
            "session ended: the client broke the protocol"
        );
        self.reply(signal_response::Message::Leave(LeaveRequest {
            reason: DisconnectReason::StateMismatch.into(),
            action: Action::Disconnect.into(),
            ..livekit::LeaveRequest::default()
        }));
        self.end(cause);
    }

    /// Ends the session, and tells the room.
    fn end(&mut self, cause: CloseCause) {
        if self.phase != Phase::Closed {
            self.forward(RoomInput::SessionGone {
                session: self.id,
                cause,
            });
            self.close(cause);
        }
    }

    fn close(&mut self, cause: CloseCause) {
        self.phase = Phase::Closed;
        self.held_back.clear();
        self.outputs.push_back(SessionOutput::Close(cause));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // The start of the virtual clock is a real instant.
mod tests {
    use super::*;
    use protocol::livekit::{JoinResponse, Ping, ReconnectResponse, RoomUpdate, SignalRequest};
    use signal_response::Message as Told;

    fn session() -> (Session, Instant) {
        let now = Instant::now();
        let join = Join {
            session: SessionId(1),
            grant: Grant::default(),
            request: livekit::JoinRequest::default(),
            two_connections: false,
            mls: false,
        };
        let mut session = Session::new(join, &Config::default(), Duration::ZERO, now);
        let first = session.poll_output();
        assert!(matches!(
            first,
            Some(SessionOutput::ToRoom(RoomInput::Join(_)))
        ));
        (session, now)
    }

    fn tell(session: &mut Session, message: Told, now: Instant) {
        session.handle_message(SessionMessage::Response(message.into()), now);
    }

    fn sent(session: &mut Session) -> Vec<Told> {
        let outputs = std::iter::from_fn(|| session.poll_output());
        let frames = outputs.filter_map(|output| match output {
            SessionOutput::Send(frame) => Some(signal::decode_response(&frame).unwrap()),
            _ => None,
        });
        frames.filter_map(|response| response.message).collect()
    }

    #[test]
    fn nothing_overtakes_join() {
        for opening in [
            Told::Join(JoinResponse::default()),
            Told::Reconnect(ReconnectResponse::default()),
        ] {
            let (mut session, now) = session();
            let ping = SignalRequest {
                message: Some(signal_request::Message::PingReq(Ping::default())),
            };
            session.handle_frame(signal::encode_request(&ping, Encoding::Protobuf), now);
            tell(&mut session, Told::RoomUpdate(RoomUpdate::default()), now);
            session.handle_message(SessionMessage::Grant(Box::default()), now);
            session.handle_token("early".into(), now);
            assert_eq!(sent(&mut session), []);
            tell(&mut session, opening.clone(), now);
            assert_eq!(
                sent(&mut session),
                [opening, Told::RoomUpdate(RoomUpdate::default())]
            );
        }
    }

    #[test]
    fn a_refusal_needs_no_join() {
        let (mut session, now) = session();
        tell(&mut session, Told::Leave(LeaveRequest::default()), now);
        session.handle_message(SessionMessage::Close, now);
        assert!(matches!(
            session.poll_output(),
            Some(SessionOutput::Send(_))
        ));
        assert_eq!(
            session.poll_output(),
            Some(SessionOutput::Close(CloseCause::Room))
        );
        session.handle_closed(now);
        assert_eq!(
            (session.poll_output(), session.poll_timeout()),
            (None, None)
        );
    }
}
