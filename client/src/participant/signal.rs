//! The signal protocol: join parameter, messages of the server, heartbeat, resume and full reconnect, leaving.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE};
use flate2::{Compression, write::GzEncoder};
use protocol::{
    livekit::{
        ClientInfo, ConnectionSettings, DisconnectReason, JoinRequest, JoinResponse, LeaveRequest,
        Ping, Pong, ReconnectReason, SignalResponse, WrappedJoinRequest, client_info,
        leave_request, signal_request, signal_response, wrapped_join_request,
    },
    prost::Message,
};

use super::{Event, Participant, Phase, Reconnect};
use crate::Error;

/// The version of the signal protocol that we speak, as LiveKit's Rust SDK.
const PROTOCOL_VERSION: i32 = 18;

/// The version of the client protocol: RPC version 2 and data streams of one packet are understood by the layers above
/// us.
const CLIENT_PROTOCOL: i32 = 2;

/// The time between two pings where the server gives none: that of LiveKit's server.
const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(15);

/// The pings of the signal connection.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    next: Option<Instant>,
    last_heard: Option<Instant>,
    round_trip: Option<Duration>,
}

impl Heartbeat {
    fn start(&mut self, join: &JoinResponse, now: Instant) {
        let seconds = |value: i32, default| match u64::try_from(value) {
            Ok(0) | Err(_) => default,
            Ok(seconds) => Duration::from_secs(seconds),
        };
        self.interval = seconds(join.ping_interval, DEFAULT_PING_INTERVAL);
        self.timeout = seconds(join.ping_timeout, DEFAULT_PING_TIMEOUT);
        self.restart(now);
    }

    fn restart(&mut self, now: Instant) {
        self.next = Some(now);
        self.last_heard = Some(now);
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.last_heard
            .is_some_and(|heard| now.saturating_duration_since(heard) > self.timeout)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }
}

impl Participant {
    /// The value of the URL's `join_request` parameter for the next WebSocket (base64url, so it needs no escaping but
    /// for the padding): a join with the first offer, or a resume.
    ///
    /// # Errors
    /// [`Error::OfferPending`] never, unless called twice for one connection.
    pub fn join_parameter(&mut self, now: Instant) -> Result<String, Error> {
        let resume = self.phase == Phase::Resuming;
        let offers = self.options.offer_with_join && self.subscriber.is_none();
        let offer = match !resume && offers {
            true => Some(self.next_offer(now)?),
            false => None,
        };
        let request = JoinRequest {
            client_info: Some(ClientInfo {
                sdk: client_info::Sdk::Rust.into(),
                version: env!("CARGO_PKG_VERSION").into(),
                protocol: PROTOCOL_VERSION,
                client_protocol: CLIENT_PROTOCOL,
                os: std::env::consts::OS.into(),
                ..Default::default()
            }),
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: self.options.auto_subscribe,
                adaptive_stream: self.options.adaptive_stream,
                ..Default::default()
            }),
            metadata: self.options.metadata.clone(),
            participant_attributes: self.options.attributes.clone(),
            publisher_offer: offer,
            reconnect: resume,
            reconnect_reason: match resume {
                true => ReconnectReason::RrSignalDisconnected.into(),
                false => ReconnectReason::RrUnknown.into(),
            },
            participant_sid: match (&self.me, resume) {
                (Some(me), true) => me.sid.clone(),
                _ => String::new(),
            },
            ..Default::default()
        };
        Ok(wrap(&request))
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    /// [`Error::Protocol`] and [`Error::Answer`]: the server's fault; the session may go on or be left.
    pub fn handle_signal(&mut self, response: SignalResponse, now: Instant) -> Result<(), Error> {
        use signal_response::Message as M;
        self.heartbeat.last_heard = Some(now);
        let Some(message) = response.message else {
            return Ok(());
        };
        match self.phase {
            Phase::Left => return Ok(()),
            Phase::Joining if !matches!(message, M::Join(_) | M::Leave(_)) => {
                return Err(Error::Protocol(
                    "the first message was no join response".into(),
                ));
            }
            // Messages that were under way on the old connection are ignored.
            Phase::Resuming if !matches!(message, M::Reconnect(_) | M::Leave(_)) => return Ok(()),
            _ => {}
        }
        match message {
            M::Join(join) => self.on_join(join, now)?,
            M::Answer(answer) => self.on_answer(answer, now)?,
            M::Offer(offer) => self.on_offer(offer, now)?,
            M::Trickle(trickle) => self.on_trickle(&trickle.candidate_init, now),
            M::Update(update) => self.update_participants(update.participants)?,
            M::TrackPublished(response) => self.on_track_published(response)?,
            M::TrackUnpublished(response) => self.on_track_unpublished(&response.track_sid, now)?,
            M::Mute(request) => self.on_mute(request),
            M::SpeakersChanged(changed) => self
                .events
                .push_back(Event::SpeakersChanged(changed.speakers)),
            M::RefreshToken(token) => self.events.push_back(Event::TokenRefreshed(token)),
            M::MediaSectionsRequirement(required) => {
                self.on_sections_required(required.num_audios, required.num_videos, now)?;
            }
            M::Reconnect(_) => {
                self.phase = Phase::Joined;
                self.heartbeat.restart(now);
                self.events.push_back(Event::Resumed);
                self.note_lost();
                self.send_sync_state(now)?;
                self.repeat_track_settings();
                self.announce(now);
            }
            M::Leave(leave) => self.on_leave(&leave, now),
            M::Pong(_) => {}
            M::PongResp(pong) => self.on_pong(pong, now),
            other => self.events.push_back(Event::Signal(Box::new(other))),
        }
        Ok(())
    }

    /// The WebSocket broke. [`Event::Reconnecting`] follows; where the session cannot be resumed, a full reconnect.
    pub fn signal_lost(&mut self, now: Instant) {
        match self.phase {
            Phase::Joined => {
                self.phase = Phase::Resuming;
                self.peer.roll_back();
                self.events
                    .push_back(Event::Reconnecting(Reconnect::Resume));
            }
            // An attempt failed: the next may be of the same kind.
            Phase::Resuming => self
                .events
                .push_back(Event::Reconnecting(Reconnect::Resume)),
            Phase::Joining => self.reconnect_fully(now),
            Phase::Left => {}
        }
    }

    /// Gives the session up and starts another: a new peer connection, on which published tracks are published again.
    /// [`Event::Reconnecting`] follows.
    pub fn reconnect_fully(&mut self, now: Instant) {
        if self.phase == Phase::Left {
            return;
        }
        match super::connections(&self.options, self.local, now) {
            Ok((peer, subscriber)) => (self.peer, self.subscriber) = (peer, subscriber),
            Err(error) => {
                // The same address was good before.
                debug_assert!(false, "{error}");
                return self.end(DisconnectReason::UnknownReason);
            }
        }
        self.phase = Phase::Joining;
        self.negotiation = Default::default();
        self.heartbeat = Heartbeat::default();
        self.signals.clear();
        self.others.clear();
        self.me = None;
        self.connected = None;
        self.lost = false;
        self.settings.clear();
        for subscription in std::mem::take(&mut self.subscriptions) {
            self.events.push_back(Event::TrackUnsubscribed {
                track: subscription.track,
            });
        }
        for publication in &mut self.publications {
            publication.announced = false;
            publication.lost = false;
            publication.track = None;
            publication.info = None;
            publication.negotiated = false;
            publication.reported = false;
        }
        self.events.push_back(Event::Reconnecting(Reconnect::Full));
    }

    /// Leaves the room. The last message of [`Self::poll_signal`] is the goodbye.
    pub fn leave(&mut self, now: Instant) {
        if self.phase == Phase::Left {
            return;
        }
        self.signals.clear();
        self.send(signal_request::Message::Leave(LeaveRequest {
            reason: DisconnectReason::ClientInitiated.into(),
            action: leave_request::Action::Disconnect.into(),
            ..Default::default()
        }));
        self.close(now);
        self.end(DisconnectReason::ClientInitiated);
    }

    /// Sends the ping that is due, and detects a silent server.
    pub(super) fn beat(&mut self, now: Instant) {
        if self.phase != Phase::Joined {
            return;
        }
        if self.heartbeat.is_silent(now) {
            return self.signal_lost(now);
        }
        if self.heartbeat.next.is_some_and(|next| next <= now) {
            self.heartbeat.next = Some(now + self.heartbeat.interval);
            let timestamp = self.milliseconds(now);
            let rtt = self
                .heartbeat
                .round_trip
                .map_or(0, |rtt| rtt.as_millis() as i64);
            self.send(signal_request::Message::PingReq(Ping { timestamp, rtt }));
        }
    }

    fn on_join(&mut self, join: JoinResponse, now: Instant) -> Result<(), Error> {
        if self.phase != Phase::Joining {
            return Err(Error::Protocol("a second join response".into()));
        }
        let me = join.participant.clone();
        self.me =
            Some(me.ok_or_else(|| Error::Protocol("a join response without participant".into()))?);
        self.phase = Phase::Joined;
        self.joined = Some(now);
        self.others = join.other_participants.clone();
        self.heartbeat.start(&join, now);
        self.events.push_back(Event::Joined(Box::new(join)));
        self.announce(now);
        self.offer_if_needed(now)
    }

    fn on_trickle(&mut self, candidate_init: &str, now: Instant) {
        let init = serde_json::from_str::<serde_json::Value>(candidate_init).unwrap_or_default();
        if let Some(candidate) = init
            .get("candidate")
            .and_then(|candidate| candidate.as_str())
        {
            self.peer.add_remote_candidate(candidate, now);
        }
    }

    fn on_pong(&mut self, pong: Pong, now: Instant) {
        let elapsed = self
            .milliseconds(now)
            .saturating_sub(pong.last_ping_timestamp);
        self.heartbeat.round_trip = u64::try_from(elapsed).ok().map(Duration::from_millis);
    }

    fn on_leave(&mut self, leave: &LeaveRequest, now: Instant) {
        use leave_request::Action;
        let reason = leave.reason();
        match leave.action() {
            // A refusal before the join is final, whatever it says: there is no session to continue.
            _ if self.phase == Phase::Joining => {
                self.close(now);
                self.end(reason);
            }
            Action::Resume if self.phase == Phase::Joined => self.signal_lost(now),
            Action::Resume | Action::Reconnect => self.reconnect_fully(now),
            Action::Disconnect => {
                self.close(now);
                self.end(reason);
            }
        }
    }

    fn close(&mut self, now: Instant) {
        for peer in std::iter::once(&mut self.peer).chain(&mut self.subscriber) {
            peer.close(now);
        }
    }

    fn end(&mut self, reason: DisconnectReason) {
        self.phase = Phase::Left;
        self.events.push_back(Event::Left(reason));
    }

    fn milliseconds(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.started).as_millis() as i64
    }
}

/// `base64url(WrappedJoinRequest{GZIP, gzip(JoinRequest)})`, as LiveKit's clients send it.
fn wrap(request: &JoinRequest) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let compressed = gzip
        .write_all(&request.encode_to_vec())
        .and_then(|()| gzip.finish());
    let wrapped = WrappedJoinRequest {
        compression: wrapped_join_request::Compression::Gzip.into(),
        join_request: compressed.unwrap_or_default(),
    };
    URL_SAFE.encode(wrapped.encode_to_vec())
}
