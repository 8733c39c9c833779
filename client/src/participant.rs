//! A participant of a LiveKit room, without sockets: signal messages and datagrams go in, signal messages, datagrams
//! and events come out.
//!
//! The life of a participant: [`Participant::join_parameter`] goes into the WebSocket's URL; each message of that
//! WebSocket goes to [`Participant::handle_signal`], each datagram to [`Participant::handle_datagram`]; after every
//! call the owner drains [`Participant::poll_signal`], [`Participant::poll_transmit`] and [`Participant::poll_event`],
//! and calls [`Participant::handle_timeout`] at [`Participant::poll_timeout`]. When [`Event::Reconnecting`] comes, the
//! owner opens a WebSocket again with a fresh join parameter.

mod encryption;
mod negotiate;
mod publish;
mod signal;
mod subscribe;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use protocol::{
    ParticipantSid, TrackSid,
    livekit::{
        DataPacket, DisconnectReason, JoinResponse, ParticipantInfo, SignalRequest, SpeakerInfo,
        data_packet, signal_request, signal_response,
    },
    prost::Message,
};

use crate::{
    Error,
    media::{AudioLevel, Frame, IncomingPacket, Layer, MediaKind, OutgoingPacket, ReceiveStats},
    peer_connection::{DataChannel, PeerConfig, PeerConnection, PeerEvent, SendStats, Transmit},
};

pub use encryption::EncryptionStats;
pub use publish::{LayerSpec, Publish};
pub use subscribe::TrackSetting;

use publish::Publication;
use subscribe::Subscription;

/// Options of a participant.
#[derive(Debug, Clone)]
pub struct Options {
    /// Every track of the room is received without asking.
    pub auto_subscribe: bool,
    /// The server is told that sizes are asked for with [`Participant::set_track_setting`].
    pub adaptive_stream: bool,
    /// The first offer is in the join request. Firefox does not do so; servers must cope with both.
    pub offer_with_join: bool,
    /// The time that sections which the server lacks for our subscriptions gather before they are offered: one offer is
    /// made for the tracks that come within it. Zero offers at once, as LiveKit's clients do.
    pub gather_sections: Duration,
    /// Metadata of the participant (needs the grant).
    pub metadata: String,
    /// Attributes of the participant (needs the grant).
    pub attributes: HashMap<String, String>,
    /// Frames are encrypted between participants ([`Participant::install_keys`]): without a key none is sent.
    pub encrypted: bool,
    /// Options of the peer connection.
    pub peer: PeerConfig,
    /// Set for the older protocol, with two peer connections: the address of the one on which we receive, and which the
    /// server offers. The other, at the address of [`Participant::new`], sends. Not with [`Client`](crate::Client),
    /// which has one socket.
    pub subscriber: Option<SocketAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auto_subscribe: true,
            adaptive_stream: false,
            offer_with_join: true,
            gather_sections: Duration::ZERO,
            metadata: String::new(),
            attributes: HashMap::new(),
            encrypted: false,
            peer: PeerConfig::default(),
            subscriber: None,
        }
    }
}

/// The way in which a broken session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// The session is resumed: same participant sid, same peer connection with ICE restarted.
    Resume,
    /// The session begins anew; published tracks are published again.
    Full,
}

/// An event of a participant.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The server took us in.
    Joined(Box<JoinResponse>),
    /// ICE and DTLS are up.
    Connected,
    /// ICE lost the server.
    ConnectionLost,
    /// ICE found the server again.
    ConnectionRestored,
    /// The signal connection is gone or useless: open another with a new [`Participant::join_parameter`].
    Reconnecting(Reconnect),
    /// The server resumed the session.
    Resumed,
    /// The session is over.
    Left(DisconnectReason),
    /// People came, went (state `DISCONNECTED`) or changed.
    ParticipantsChanged(Vec<ParticipantInfo>),
    /// A track of ours has its sid and is negotiated: it may be written.
    TrackPublished {
        /// Our id of the track.
        cid: String,
        /// The server's id of the track.
        track: TrackSid,
    },
    /// The server ended a track of ours.
    TrackUnpublished {
        /// Our id of the track.
        cid: String,
    },
    /// The server muted a track of ours (or a moderator through it).
    TrackMuted {
        /// Our id of the track.
        cid: String,
        /// The track is muted now.
        muted: bool,
    },
    /// A track has a section and its packets may come.
    TrackSubscribed {
        /// The track.
        track: TrackSid,
        /// The publisher, where known.
        publisher: Option<ParticipantSid>,
        /// Audio or video.
        kind: MediaKind,
    },
    /// A track has no section any more.
    TrackUnsubscribed {
        /// The track.
        track: TrackSid,
    },
    /// An RTP packet (only with [`PeerConfig::packets`]).
    Packet {
        /// The track.
        track: TrackSid,
        /// The packet.
        packet: IncomingPacket,
    },
    /// A whole frame (only with [`PeerConfig::frames`]).
    Frame {
        /// The track.
        track: TrackSid,
        /// The frame.
        frame: Frame,
    },
    /// A key frame of a track of ours is wanted.
    KeyFrameRequested {
        /// Our id of the track.
        cid: String,
        /// The layer, of a simulcast track.
        layer: Option<Layer>,
    },
    /// A data channel takes packets now.
    ChannelOpen(DataChannel),
    /// A data packet.
    Data {
        /// `_reliable` or `_lossy`.
        channel: DataChannel,
        /// The packet.
        packet: Box<DataPacket>,
    },
    /// A packet of the channel `_data_track`, opaque.
    DataTrack(Vec<u8>),
    /// Changes of active speakers, as the server sent them.
    SpeakersChanged(Vec<SpeakerInfo>),
    /// A newer token, for the next connection.
    TokenRefreshed(String),
    /// News of the group of an encrypted meeting (with [`Client`](crate::Client)).
    Group(Box<e2ee::client::Event>),
    /// Any other message of the server.
    Signal(Box<signal_response::Message>),
}

/// Figures of a participant.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// When [`Participant::new`] was called.
    pub started: Option<Instant>,
    /// When the join response came.
    pub joined: Option<Instant>,
    /// When ICE and DTLS came up.
    pub connected: Option<Instant>,
    /// Round-trip time of the last ping over the signal connection.
    pub signal_round_trip: Option<Duration>,
    /// Figures of the tracks that we publish.
    pub published: Vec<PublishedStats>,
    /// Figures of the tracks that we receive.
    pub subscribed: Vec<SubscribedStats>,
    /// What became of frames of an encrypted meeting.
    pub encryption: EncryptionStats,
}

/// Figures of a track that we publish.
#[derive(Debug, Clone)]
pub struct PublishedStats {
    /// Our id of the track.
    pub cid: String,
    /// The server's id of the track.
    pub track: Option<TrackSid>,
    /// One entry for each layer; one with `None` for a track without layers.
    pub streams: Vec<(Option<Layer>, SendStats)>,
}

/// Figures of a track that we receive.
#[derive(Debug, Clone)]
pub struct SubscribedStats {
    /// The track.
    pub track: TrackSid,
    /// The publisher, where known.
    pub publisher: Option<ParticipantSid>,
    /// Audio or video.
    pub kind: MediaKind,
    /// Figures since the track was subscribed.
    pub received: ReceiveStats,
}

/// The phase of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The join response has not come.
    Joining,
    Joined,
    /// A new WebSocket is being opened for the same session.
    Resuming,
    Left,
}

/// A participant of a LiveKit room, as a state machine without sockets and clock.
#[derive(Debug)]
pub struct Participant {
    options: Options,
    local: SocketAddr,
    peer: PeerConnection,
    /// The second peer connection, on which we receive, if there are two.
    subscriber: Option<PeerConnection>,
    /// ICE lost the server, on one of the peer connections.
    lost: bool,
    phase: Phase,
    me: Option<ParticipantInfo>,
    others: Vec<ParticipantInfo>,
    publications: Vec<Publication>,
    published: u32,
    subscriptions: Vec<Subscription>,
    /// Our settings of tracks, which are repeated after a resume.
    settings: BTreeMap<TrackSid, TrackSetting>,
    negotiation: negotiate::Negotiation,
    heartbeat: signal::Heartbeat,
    reliable_sequence: u32,
    encryption: Option<encryption::Encryption>,
    /// The number of the last reliable packet of each sender, by its sid: packets that come again are dropped.
    received: BTreeMap<String, u32>,
    signals: VecDeque<SignalRequest>,
    events: VecDeque<Event>,
    started: Instant,
    joined: Option<Instant>,
    connected: Option<Instant>,
}

impl Participant {
    /// A participant whose media uses `local`, a specific address.
    ///
    /// # Errors
    /// [`Error::LocalAddress`] when `local` is not specific.
    pub fn new(options: Options, local: SocketAddr, now: Instant) -> Result<Self, Error> {
        let (peer, subscriber) = connections(&options, local, now)?;
        Ok(Self {
            encryption: options.encrypted.then(Default::default),
            options,
            local,
            peer,
            subscriber,
            lost: false,
            phase: Phase::Joining,
            me: None,
            others: Vec::new(),
            publications: Vec::new(),
            published: 0,
            subscriptions: Vec::new(),
            settings: BTreeMap::new(),
            negotiation: negotiate::Negotiation::default(),
            heartbeat: signal::Heartbeat::default(),
            reliable_sequence: 0,
            received: BTreeMap::new(),
            signals: VecDeque::new(),
            events: VecDeque::new(),
            started: now,
            joined: None,
            connected: None,
        })
    }

    /// Our own participant, once joined.
    pub fn me(&self) -> Option<&ParticipantInfo> {
        self.me.as_ref()
    }

    /// The other participants.
    pub fn others(&self) -> &[ParticipantInfo] {
        &self.others
    }

    /// Whether ICE and DTLS are up, on both peer connections where there are two.
    pub fn is_connected(&self) -> bool {
        let subscriber = self.subscriber.as_ref();
        self.peer.is_connected() && subscriber.is_none_or(PeerConnection::is_connected)
    }

    /// Whether the session is over.
    pub fn has_left(&self) -> bool {
        self.phase == Phase::Left
    }

    /// Takes a datagram.
    pub fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) {
        self.peer_at(local)
            .handle_datagram(local, remote, payload, now);
        self.pump(now);
    }

    /// Takes datagrams that came together, each with its sender.
    pub fn handle_datagrams<'a>(
        &mut self,
        local: SocketAddr,
        datagrams: impl IntoIterator<Item = (SocketAddr, &'a [u8])>,
        now: Instant,
    ) {
        self.peer_at(local).handle_datagrams(local, datagrams, now);
        self.pump(now);
    }

    fn peer_at(&mut self, local: SocketAddr) -> &mut PeerConnection {
        match &mut self.subscriber {
            Some(subscriber) if subscriber.local() == local => subscriber,
            _ => &mut self.peer,
        }
    }

    /// Does what is due. Called when the instant of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        for peer in std::iter::once(&mut self.peer).chain(&mut self.subscriber) {
            if peer.poll_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now);
            }
        }
        self.beat(now);
        let is_due = |at: Instant| at <= now;
        if self.negotiation.gathered_at().is_some_and(is_due)
            && let Err(error) = self.offer_gathered(now)
        {
            tracing::debug!(%error, "offer failed");
        }
        self.pump(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let beat = (self.phase == Phase::Joined)
            .then(|| self.heartbeat.due())
            .flatten();
        let subscriber = self.subscriber.as_ref();
        let subscriber = subscriber.and_then(PeerConnection::poll_timeout);
        let gathered = self.negotiation.gathered_at();
        let wakes = [self.peer.poll_timeout(), subscriber, beat, gathered];
        wakes.into_iter().flatten().min()
    }

    /// The next message for the server. While a resume is under way there is none.
    pub fn poll_signal(&mut self) -> Option<SignalRequest> {
        match self.phase {
            Phase::Joined | Phase::Left => self.signals.pop_front(),
            Phase::Joining | Phase::Resuming => None,
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let subscriber = &mut self.subscriber;
        let sent = self.peer.poll_transmit();
        sent.or_else(|| subscriber.as_mut()?.poll_transmit())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends a data packet on `_reliable` or `_lossy`; a reliable one gets its sequence number here.
    ///
    /// # Errors
    /// [`Error::DataChannel`] while the channel is not open ([`Event::ChannelOpen`]) or its buffer is full.
    pub fn send_data(
        &mut self,
        channel: DataChannel,
        mut packet: DataPacket,
        now: Instant,
    ) -> Result<(), Error> {
        let reliable = channel == DataChannel::Reliable;
        #[allow(deprecated)] // Older clients read the kind.
        packet.set_kind(match reliable {
            true => data_packet::Kind::Reliable,
            false => data_packet::Kind::Lossy,
        });
        if reliable {
            packet.sequence = self.reliable_sequence + 1;
        }
        self.peer.send_data(channel, &packet.encode_to_vec(), now)?;
        self.reliable_sequence += u32::from(reliable);
        self.pump(now);
        Ok(())
    }

    /// Whether a packet came before. Reliable packets of one sender are numbered from 1; after a lost connection some
    /// come again.
    fn is_repeated(&mut self, channel: DataChannel, packet: &DataPacket) -> bool {
        if channel != DataChannel::Reliable || packet.sequence == 0 {
            return false;
        }
        let last = self
            .received
            .entry(packet.participant_sid.clone())
            .or_default();
        let repeated = packet.sequence <= *last;
        *last = packet.sequence.max(*last);
        repeated
    }

    /// Sends an opaque packet on `_data_track`.
    ///
    /// # Errors
    /// As [`Self::send_data`].
    pub fn send_data_track(&mut self, payload: &[u8], now: Instant) -> Result<(), Error> {
        self.peer.send_data(DataChannel::DataTrack, payload, now)
    }

    /// Sends one RTP packet of the published track `cid`. A muted track sends nothing.
    ///
    /// # Errors
    /// [`Error::UnknownPublication`], [`Error::NotNegotiated`], [`Error::UnknownSection`] for a layer that the track
    /// has not; [`Error::Encrypted`] where frames are to be encrypted.
    pub fn write_rtp(
        &mut self,
        cid: &str,
        layer: Option<Layer>,
        packet: OutgoingPacket,
        now: Instant,
    ) -> Result<(), Error> {
        if self.encryption.is_some() {
            return Err(Error::Encrypted);
        }
        if let Some(mid) = self.writable(cid)? {
            self.peer.write_rtp(&mid, layer, packet, now)?;
            self.pump(now);
        }
        Ok(())
    }

    /// Sends one frame of the published track `cid`: VP8, or Opus with its loudness. A muted track sends nothing.
    ///
    /// # Errors
    /// As [`Self::write_rtp`].
    pub fn write_frame(
        &mut self,
        cid: &str,
        layer: Option<Layer>,
        frame: &[u8],
        timestamp: u32,
        level: Option<AudioLevel>,
        now: Instant,
    ) -> Result<(), Error> {
        if let Some(mid) = self.writable(cid)?
            && let Some(frame) = self.encrypt(cid, frame)?
        {
            self.peer
                .write_frame(&mid, layer, &frame, timestamp, level, now)?;
            self.pump(now);
        }
        Ok(())
    }

    /// The figures up to now.
    pub fn stats(&self) -> Stats {
        let published = self.publications.iter().map(|publication| PublishedStats {
            cid: publication.cid.clone(),
            track: publication.track,
            streams: self
                .peer
                .mid_of(&publication.cid)
                .map(|mid| self.peer.send_stats(&mid))
                .unwrap_or_default(),
        });
        let subscribed = self
            .subscriptions
            .iter()
            .map(|subscription| SubscribedStats {
                track: subscription.track,
                publisher: subscription.publisher,
                kind: subscription.kind,
                received: self
                    .subscriber
                    .as_ref()
                    .unwrap_or(&self.peer)
                    .receive_stats(&subscription.mid)
                    .cloned()
                    .unwrap_or_default(),
            });
        Stats {
            started: Some(self.started),
            joined: self.joined,
            connected: self.connected,
            signal_round_trip: self.heartbeat.round_trip(),
            published: published.collect(),
            subscribed: subscribed.collect(),
            encryption: self
                .encryption
                .as_ref()
                .map(|it| it.stats)
                .unwrap_or_default(),
        }
    }

    fn send(&mut self, message: signal_request::Message) {
        self.signals.push_back(SignalRequest {
            message: Some(message),
        });
    }

    /// Turns the events of the peer connections into events of the participant.
    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.next_peer_event() {
            match event {
                PeerEvent::Connected | PeerEvent::Reconnected => self.on_connected(now),
                PeerEvent::Disconnected if self.lost => {}
                PeerEvent::Disconnected => {
                    self.lost = true;
                    self.events.push_back(Event::ConnectionLost);
                }
                PeerEvent::Closed if self.phase == Phase::Left => {}
                PeerEvent::Closed => self.reconnect_fully(now),
                PeerEvent::ChannelOpen(channel) => {
                    self.events.push_back(Event::ChannelOpen(channel))
                }
                PeerEvent::Data {
                    channel: DataChannel::DataTrack,
                    payload,
                } => {
                    self.events.push_back(Event::DataTrack(payload));
                }
                PeerEvent::Data { channel, payload } => {
                    match DataPacket::decode(payload.as_slice()) {
                        Ok(packet) if self.is_repeated(channel, &packet) => {}
                        Ok(packet) => self.events.push_back(Event::Data {
                            channel,
                            packet: Box::new(packet),
                        }),
                        Err(error) => tracing::debug!(%error, "data packet dropped"),
                    }
                }
                PeerEvent::Packet { mid, packet } => {
                    if let Some(track) = self.track_on(&mid) {
                        self.events.push_back(Event::Packet { track, packet });
                    }
                }
                PeerEvent::Frame { mid, frame } => {
                    if let Some(track) = self.track_on(&mid)
                        && let Some(frame) = self.decrypt(track, frame)
                    {
                        self.events.push_back(Event::Frame { track, frame });
                    }
                }
                PeerEvent::KeyFrameRequested { mid, layer } => {
                    let cids = self.publications.iter().map(|publication| &publication.cid);
                    if let Some(cid) = cids
                        .into_iter()
                        .find(|cid| self.peer.mid_of(cid).as_ref() == Some(&mid))
                    {
                        self.events.push_back(Event::KeyFrameRequested {
                            cid: cid.clone(),
                            layer,
                        });
                    }
                }
            }
        }
    }

    fn next_peer_event(&mut self) -> Option<PeerEvent> {
        if let Some(event) = self.peer.poll_event() {
            return Some(event);
        }
        let subscriber = self.subscriber.as_mut()?;
        // We send over the channels of the other one.
        std::iter::from_fn(|| subscriber.poll_event())
            .find(|event| !matches!(event, PeerEvent::ChannelOpen(_)))
    }

    /// A peer connection is up, perhaps again; with two, the other may not be.
    fn on_connected(&mut self, now: Instant) {
        if !self.is_connected() {
            return;
        }
        let was_lost = std::mem::take(&mut self.lost);
        if self.connected.is_none() {
            self.connected = Some(now);
            self.events.push_back(Event::Connected);
        } else if was_lost {
            self.events.push_back(Event::ConnectionRestored);
        }
    }

    /// The peer connection on which we receive.
    fn receiving(&mut self) -> &mut PeerConnection {
        self.subscriber.as_mut().unwrap_or(&mut self.peer)
    }
}

/// The peer connections: the only one; or the one that sends, and the one that receives.
fn connections(
    options: &Options,
    local: SocketAddr,
    now: Instant,
) -> Result<(PeerConnection, Option<PeerConnection>), Error> {
    let mut config = options.peer.clone();
    let Some(receiving) = options.subscriber else {
        return Ok((PeerConnection::new(config, local, now)?, None));
    };
    (config.audio_sections, config.video_sections) = (0, 0);
    let subscriber = PeerConnection::new(config.clone(), receiving, now)?;
    let publisher = PeerConnection::new(config, local, now)?;
    Ok((publisher, Some(subscriber)))
}
