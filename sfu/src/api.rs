//! The boundary of the media engine: what goes in ([`Datagram`], [`Command`]) and what comes out
//! ([`SendBatch`], [`Event`]). Read this file first.
//!
//! A [`Shard`](crate::Shard) is a state machine. Its owner calls
//! `handle_datagram` for each datagram of a receive batch, then `flush` once; `handle_command` for each
//! command; `handle_timeout` when the instant of `poll_timeout` has come; and drains `poll_event` after each. Where a
//! participant is in rooms of several shards, the owner also carries what `drain_relayed` and `poll_request` have for other
//! shards to their `handle_relayed` and `handle_command`.
//! The shard never blocks, never asks a clock, and writes ciphertext straight into the owner's send buffer.

use std::net::SocketAddr;

use protocol::{DataTrackSid, ParticipantIdentity, ParticipantSid, RoomSid, TrackSid};

pub use crate::data_track::Handle as DataTrackHandle;

/// How a datagram travels between a client and us. Part of every path: the same addresses mean something else over
/// another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    /// As it is.
    Udp,
    /// In a frame (RFC 4571) of a connection that the client opened (RFC 6544).
    Tcp,
    /// Through an allocation of our own TURN server (RFC 8656): the client's address is the relayed one, which no
    /// socket has.
    Relay,
}

/// One received datagram, borrowed from the owner's receive buffer.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Where it came from.
    pub remote: SocketAddr,
    /// The local address it was sent to (one of [`Config::addresses`], or of [`Config::tcp_addresses`] over TCP).
    pub local: SocketAddr,
    /// How it came.
    pub protocol: TransportProtocol,
    /// Its bytes. The shard opens SRTP elsewhere: the buffer is never written.
    pub payload: &'a [u8],
}

/// Where a datagram goes, and from which of our addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The peer's address.
    pub remote: SocketAddr,
    /// Our address, as the peer knows it.
    pub local: SocketAddr,
    /// How it goes.
    pub protocol: TransportProtocol,
}

impl Datagram<'_> {
    /// The way it came, which is the way back.
    pub fn path(&self) -> Destination {
        Destination {
            remote: self.remote,
            local: self.local,
            protocol: self.protocol,
        }
    }
}

/// The send buffer, owned by the caller. Consecutive reservations for one destination become one GSO run.
pub trait SendBatch {
    /// Room for one datagram of at most `len` bytes to `to`, or `None` when the buffer is full (the datagram is
    /// then dropped and counted). The content of the slice is unspecified.
    fn reserve(&mut self, to: Destination, len: usize) -> Option<&mut [u8]>;
    /// The first `len` bytes of the last reservation are a datagram. A reservation that is not committed is not sent.
    fn commit(&mut self, len: usize);
}

/// What a shard needs to know at birth.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses under which this shard's socket is reachable: its ICE host candidates. Not empty.
    pub addresses: Vec<SocketAddr>,
    /// The addresses at which connections for this shard are taken: its passive TCP candidates (RFC 6544). May be empty.
    pub tcp_addresses: Vec<SocketAddr>,
    /// Which shard of the process this is. Its ufrags tell it, so that a port that the shards share can be sorted
    /// ([`stream_shard`](crate::stream_shard)).
    pub index: u16,
    /// Seed of the shard's random numbers (SSRCs, ICE credentials): from the operating system, or fixed in tests.
    pub seed: [u8; 32],
    /// DTLS certificate, shared by all peers of the process.
    pub certificate: Certificate,
    /// Peers that did not finish ICE and DTLS after this many milliseconds are closed.
    pub connect_timeout_ms: u32,
    /// A connected peer without a valid STUN check for this long is closed (RFC 7675 consent, milliseconds).
    pub consent_timeout_ms: u32,
    /// The most peers of one shard.
    pub max_peers: usize,
    /// The most tracks one peer may publish.
    pub max_tracks_per_peer: usize,
    /// Bytes of data packets that one peer may send per second in the long run, and twice as many at once. What is
    /// above is not read until it fits: its sender's SCTP window closes.
    pub max_data_rate: u32,
    /// Estimate what each subscriber's network carries, and send no more.
    pub congestion_control: bool,
    /// Voices of a room that are forwarded: the loudest. 0: all. [`Command::SetAudioTopN`] decides otherwise for a room.
    pub audio_top_n: usize,
}

/// A DTLS certificate with its private key, DER.
#[derive(Clone)]
pub struct Certificate {
    /// X.509 certificate.
    pub certificate: Vec<u8>,
    /// PKCS#8 private key.
    pub private_key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(…)")
    }
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// Layer of a simulcast or SVC video, lowest first; LiveKit's rids `q`, `h`, `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SpatialLayer {
    /// `q`, a quarter of the height.
    Low = 0,
    /// `h`, half of the height.
    Medium = 1,
    /// `f`, or the only layer there is.
    High = 2,
}

/// What a participant may do with media; enforced here again, since packets do not pass by the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerPermissions {
    /// May send data packets.
    pub can_publish_data: bool,
    /// Its data packets carry no sender, and nobody hears of it.
    pub hidden: bool,
    /// May send transcriptions and other packets reserved for agents.
    pub agent: bool,
}

/// A published track, as announced by `add_track`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTrack {
    /// Its sid.
    pub sid: TrackSid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The client's ids of the track: the track part of `a=msid` in its offer. None of a backup that is not sent yet.
    pub cids: Vec<String>,
    /// Stream part of the msid given to subscribers: `camera`, `screen`, or the name the client gave.
    pub stream: String,
    /// Sends silence or black on purpose.
    pub muted: bool,
    /// Opus: DTX wanted, stereo wanted.
    pub audio: AudioFeatures,
    /// The codec the client announced, for example `video/vp9`, which it may offer behind others. Empty when it named none.
    pub mime_type: String,
    /// Sizes of the announced layers (`VideoLayer`), used to map a subscriber's wanted size to a layer. May be empty.
    pub layers: Vec<LayerSize>,
    /// It is another track once more, in another codec.
    pub backup_of: Option<BackupOf>,
}

/// A backup is a picture in a second codec, for subscribers that cannot decode the first. It is a track of its own, with
/// a sid that no client sees; nobody subscribes to it, but who subscribes to the first track may get it instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupOf {
    /// The track, of the same publisher.
    pub track: TrackSid,
    /// As soon as it is sent to somebody, everybody gets it who can decode it, so that the publisher encodes once.
    pub for_all: bool,
}

/// Wishes for an Opus track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AudioFeatures {
    /// `stereo=1` is negotiated.
    pub stereo: bool,
    /// `usedtx=1` is negotiated.
    pub dtx: bool,
    /// Redundant encoding (RFC 2198) is negotiated.
    pub red: bool,
}

/// What a track is encoded with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrackCodec {
    /// For example `video/VP8`.
    pub mime_type: String,
    /// What was answered for it, which tells variants apart.
    pub fmtp: String,
    /// Payload type of RED (RFC 2198), where the publisher may send it.
    pub red: Option<u8>,
}

/// Announced size of one layer, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSize {
    /// Which layer.
    pub layer: SpatialLayer,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A subscriber's wish for one track (`track_setting`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackSetting {
    /// Send nothing of it.
    pub disabled: bool,
    /// The highest layer wanted.
    pub max_layer: SpatialLayer,
    /// The size wanted, pixels; 0 when unknown. When known it wins over `max_layer`.
    pub width: u32,
    /// See `width`.
    pub height: u32,
}

impl Default for TrackSetting {
    fn default() -> Self {
        Self {
            disabled: false,
            max_layer: SpatialLayer::High,
            width: 0,
            height: 0,
        }
    }
}

/// What a data packet's delivery promises: the data channel it travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataChannel {
    /// `_reliable`: ordered, retransmitted.
    Reliable,
    /// `_lossy`: unordered, never retransmitted.
    Lossy,
    /// `_data_track`: unordered, never retransmitted; packets of data tracks, which go to subscribers only.
    DataTrack,
}

/// What the control side asks of a shard. Every command about an unknown peer, room or track is ignored: it crossed
/// with an event that removed it.
#[derive(Debug, Clone)]
pub enum Command {
    /// A participant joined the room; its transport comes to life with its first [`Command::Offer`].
    AddPeer {
        /// The room; created when it is new.
        room: RoomSid,
        /// The participant.
        peer: ParticipantSid,
        /// Stamped on its data packets, and matched against `destination_identities`.
        identity: ParticipantIdentity,
        /// What it may do.
        permissions: PeerPermissions,
    },
    /// The participant has a second PeerConnection, on which it receives, and which we offer; what it sends comes on the
    /// first one (LiveKit's older protocol). Said before its first subscription.
    AddSubscriber {
        /// The participant.
        peer: ParticipantSid,
        /// This one is the primary: the participant is connected when it is, and may need no other.
        primary: bool,
    },
    /// The participant left: its transport is closed at once, its tracks vanish.
    RemovePeer {
        /// The participant.
        peer: ParticipantSid,
    },
    /// Permissions changed.
    SetPermissions {
        /// The participant.
        peer: ParticipantSid,
        /// What it may do now.
        permissions: PeerPermissions,
    },
    /// The client's SDP offer. Answered by [`Event::Answer`] or [`Event::NegotiationFailed`].
    Offer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id, echoed in the answer.
        id: u32,
        /// SDP.
        sdp: String,
    },
    /// Offer all subscriptions to a participant with a second PeerConnection ([`Event::Offer`]). From then on, changes are
    /// offered by themselves.
    OfferSubscriber {
        /// The participant.
        peer: ParticipantSid,
        /// Restart ICE: its network may have changed. An offer that is not answered is given up.
        restart_ice: bool,
    },
    /// The client's SDP answer to an [`Event::Offer`]. One to another than the last offer is ignored; for a bad one there is
    /// [`Event::NegotiationFailed`].
    Answer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id; 0 from clients that know none.
        id: u32,
        /// SDP.
        sdp: String,
    },
    /// A trickled candidate of the client (`candidateInit` JSON's `candidate` line). With ICE-lite it only informs.
    RemoteCandidate {
        /// The participant.
        peer: ParticipantSid,
        /// `candidate:…`.
        candidate: String,
    },
    /// `add_track` was accepted. May come before or after the offer that carries it. A backup is announced with its track,
    /// and once more when the publisher is about to send it.
    Publish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: PublishedTrack,
    },
    /// The track ends (by the client, or by a permission that was revoked).
    Unpublish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The publisher muted or unmuted; muted packets are not forwarded.
    SetMuted {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Muted now.
        muted: bool,
    },
    /// `peer` receives `track` from its next answer on; [`Event::NegotiationNeeded`] or [`Event::Offer`] follows where an
    /// offer is needed.
    Subscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track, published by another peer of the same room (in [`Command::Publish`] before this).
        track: TrackSid,
        /// Initial setting.
        setting: TrackSetting,
    },
    /// `peer` receives `track` no longer.
    Unsubscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The subscriber's wish changed.
    SetTrackSetting {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The wish.
        setting: TrackSetting,
    },
    /// So many voices of the room, the loudest, are forwarded from now on; 0: all. Sound of shared screens always is.
    SetAudioTopN {
        /// The room; ignored while nobody is in it.
        room: RoomSid,
        /// How many.
        limit: usize,
    },
    /// A data packet from the server (an encoded `DataPacket`, already stamped).
    SendData {
        /// The room.
        room: RoomSid,
        /// Receivers; empty means everybody.
        to: Vec<ParticipantSid>,
        /// Channel.
        channel: DataChannel,
        /// Encoded `livekit.DataPacket`.
        payload: Vec<u8>,
    },
    /// A participant came back and says up to which of each publisher's reliable data packets it got: it gets the later
    /// ones once more, as far as they are kept (30 s, and half a megabyte for each room).
    ReplayData {
        /// The participant.
        peer: ParticipantSid,
        /// Publishers, and the last sequence number of each.
        received: Vec<(ParticipantSid, u32)>,
    },
    /// Our descriptions name to this participant candidates of this protocol only, if there are any. Said before its first
    /// offer, and before ours. For tests of clients.
    RestrictCandidates {
        /// The participant.
        peer: ParticipantSid,
        /// UDP or TCP.
        protocol: TransportProtocol,
    },
    /// The network of this participant is taken to carry no more than this, however much it does. For tests of clients.
    LimitBandwidth {
        /// The participant.
        peer: ParticipantSid,
        /// Bits per second towards it; `None`: as much as it carries.
        limit: Option<u64>,
    },
    /// The participant publishes a data track.
    PublishData {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
        /// What names it in the publisher's packets.
        handle: DataTrackHandle,
    },
    /// The data track ends.
    UnpublishData {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
    },
    /// `peer` receives this data track of another peer of its room.
    SubscribeData {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
        /// What names it in the packets to this subscriber; no other track it receives has it.
        handle: DataTrackHandle,
    },
    /// `peer` receives this data track no longer.
    UnsubscribeData {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
    },
    /// The participant is about to acknowledge and to answer something: its next two reliable packets that are addressed
    /// to nobody but itself become [`Event::Reply`]. Counted, so that a participant cannot flood the control side.
    AwaitReply {
        /// The participant.
        peer: ParticipantSid,
    },
    /// From now on, copies of the packets of `track` go to a room of another shard (or of this one).
    Relay {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Its sid there ([`Command::PublishRelayed`]).
        relayed: TrackSid,
        /// [`Config::index`] of that shard.
        shard: u16,
    },
    /// No more copies.
    StopRelay {
        /// The track's sid in the other room.
        relayed: TrackSid,
    },
    /// From now on, copies of the packets of all data tracks of a participant go to a room of another shard (or of this
    /// one). They are the same there, under the same handles ([`Command::PublishData`]).
    RelayData {
        /// The publisher.
        peer: ParticipantSid,
        /// Its sid there ([`Command::AddRelayedPeer`]).
        relayed: ParticipantSid,
        /// [`Config::index`] of that shard; `None`: no more copies.
        shard: Option<u16>,
    },
    /// From the other shard: the layers that somebody there wants.
    RelayWanted {
        /// The track's sid there.
        relayed: TrackSid,
        /// Layers up to this one; `None`: nobody wants any.
        wanted: Option<SpatialLayer>,
    },
    /// From the other shard: somebody there needs a key frame.
    RelayKeyFrame {
        /// The track's sid there.
        relayed: TrackSid,
        /// Of this layer.
        layer: SpatialLayer,
    },
    /// From the other shard: packets were lost on the way there. Those that are kept go there once more, as far as they do
    /// not outweigh what went there.
    RelayMissing {
        /// The track's sid there.
        relayed: TrackSid,
        /// Of this layer.
        layer: SpatialLayer,
        /// Of this stream, which the layer may not have any more.
        ssrc: u32,
        /// Sequence numbers.
        seqs: Vec<u16>,
    },
    /// Somebody who is connected elsewhere is in the room too. What it publishes comes from the shard it is connected to
    /// ([`Shard::handle_relayed`](crate::Shard::handle_relayed)); it receives nothing. Answered by [`Event::Connected`] or
    /// [`Event::NegotiationFailed`].
    AddRelayedPeer {
        /// The room; created when it is new.
        room: RoomSid,
        /// The participant, by its sid in this room.
        peer: ParticipantSid,
        /// Who it is.
        identity: ParticipantIdentity,
        /// [`Config::index`] of the shard it is connected to.
        source: u16,
    },
    /// A track of a participant who is connected elsewhere. It can be subscribed to at once.
    PublishRelayed {
        /// The publisher.
        peer: ParticipantSid,
        /// The track, by its sid in this room.
        track: PublishedTrack,
        /// What it is encoded with.
        codec: TrackCodec,
    },
    /// The room ended; peers that are still in it are removed without further events.
    CloseRoom {
        /// The room.
        room: RoomSid,
    },
}

/// What a shard tells the control side.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Answer to an offer.
    Answer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id.
        id: u32,
        /// SDP.
        sdp: String,
        /// For each section that carries a track to or from the client: mid and track.
        mid_to_track: Vec<(String, TrackSid)>,
        /// Sections the client must add (and offer again) before all its subscriptions fit. Zero and zero: none.
        missing: MediaSections,
    },
    /// Our offer, to a participant with a second PeerConnection. There is one at a time: the next follows the answer.
    Offer {
        /// The participant.
        peer: ParticipantSid,
        /// For the answer.
        id: u32,
        /// SDP.
        sdp: String,
        /// For each section that carries a track to the client: mid and track.
        mid_to_track: Vec<(String, TrackSid)>,
    },
    /// The offer or answer was refused; the peer is as it was before. Or the shard takes no more peers.
    NegotiationFailed {
        /// The participant.
        peer: ParticipantSid,
        /// For the log and for the client's `leave`.
        reason: String,
    },
    /// A subscription changed outside an offer: the client must offer again (`media_sections_requirement`; zero and
    /// zero asks for a plain renegotiation).
    NegotiationNeeded {
        /// The participant.
        peer: ParticipantSid,
        /// How many sections it must add.
        missing: MediaSections,
    },
    /// ICE and DTLS are up (again after an ICE restart that had lost the connection). Of two PeerConnections: of the
    /// primary, and the other is not lost. Of somebody who is connected elsewhere: it is here.
    Connected {
        /// The participant.
        peer: ParticipantSid,
    },
    /// The transport (of two, one) is gone. The peer still exists until [`Command::RemovePeer`]: an ICE restart may revive it.
    Disconnected {
        /// The participant.
        peer: ParticipantSid,
        /// Why.
        reason: DisconnectReason,
    },
    /// The track is bound to a section of the publisher's offer: others may be told of it.
    TrackBound {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Section of the publisher's offer.
        mid: String,
        /// Its codec.
        codec: TrackCodec,
        /// The layers the section declares (empty for one stream without rid).
        layers: Vec<SpatialLayer>,
    },
    /// A bound track is sent no longer: its section of the publisher's new offer is inactive, rejected or carries another
    /// track. LiveKit clients unpublish in this way only; the room answers with [`Command::Unpublish`].
    TrackUnbound {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The first media packet of a track (or of one of its layers) arrived.
    TrackActive {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The layer.
        layer: SpatialLayer,
    },
    /// The first packet of `track` was sent to `subscriber`.
    TrackSubscribed {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The receiver.
        subscriber: ParticipantSid,
    },
    /// The layers of a picture that somebody wants changed: the publisher need not send others. More is said at once,
    /// less after a while. Until the first of these, everything is wanted.
    WantedLayersChanged {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Layers up to this one; `None`: nobody wants any.
        wanted: Option<SpatialLayer>,
    },
    /// The network of `peer` does not carry this picture any more, or carries it again.
    StreamStateChanged {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Nothing of it is sent.
        paused: bool,
    },
    /// A participant's connection became better or worse. Everybody begins [`Quality::Excellent`].
    QualityChanged {
        /// The participant.
        peer: ParticipantSid,
        /// How good it is now.
        quality: Quality,
    },
    /// Media does not arrive at this subscriber, and beginning its subscriptions anew did not help or could not: its client
    /// should connect anew. Nothing more is tried for this peer.
    Unreachable {
        /// The subscriber.
        peer: ParticipantSid,
    },
    /// A packet for the server; see [`Command::AwaitReply`].
    Reply {
        /// Who sent it.
        peer: ParticipantSid,
        /// Encoded `livekit.DataPacket`, as the participant sent it.
        payload: Vec<u8>,
    },
    /// Who speaks now, loudest first; also sent once when nobody speaks any more.
    SpeakersChanged {
        /// The room.
        room: RoomSid,
        /// All who speak.
        speakers: Vec<Speaker>,
    },
}

/// How good a participant's connection is, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// It should send, and nothing arrives any more.
    Lost,
    /// Voices break, or pictures stand still.
    Poor,
    /// One may notice it.
    Good,
    /// Nobody notices anything.
    Excellent,
}

impl Event {
    /// The participant it is about; `None` where it is about a whole room.
    pub fn peer(&self) -> Option<ParticipantSid> {
        match self {
            Self::SpeakersChanged { .. } => None,
            Self::Answer { peer, .. }
            | Self::Offer { peer, .. }
            | Self::NegotiationFailed { peer, .. }
            | Self::NegotiationNeeded { peer, .. }
            | Self::Connected { peer }
            | Self::Disconnected { peer, .. }
            | Self::TrackBound { peer, .. }
            | Self::TrackUnbound { peer, .. }
            | Self::TrackActive { peer, .. }
            | Self::StreamStateChanged { peer, .. }
            | Self::WantedLayersChanged { peer, .. }
            | Self::QualityChanged { peer, .. }
            | Self::Unreachable { peer }
            | Self::TrackSubscribed { peer, .. }
            | Self::Reply { peer, .. } => Some(*peer),
        }
    }

    /// The room it is about, where it is about no single participant.
    pub fn room(&self) -> Option<RoomSid> {
        match self {
            Self::SpeakersChanged { room, .. } => Some(*room),
            _ => None,
        }
    }
}

/// Number of media sections, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediaSections {
    /// Audio sections.
    pub audios: u32,
    /// Video sections.
    pub videos: u32,
}

/// Why a transport is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// ICE or DTLS did not finish in time.
    ConnectTimeout,
    /// No valid STUN check for too long (RFC 7675).
    ConsentLost,
    /// DTLS failed: no common profile, wrong certificate fingerprint, a fatal alert.
    DtlsFailed,
    /// The peer closed DTLS.
    ClosedByPeer,
    /// A bug of ours: the peer was closed to protect the others.
    Internal,
}

/// A participant who speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speaker {
    /// The participant.
    pub peer: ParticipantSid,
    /// Loudness, 0 (silent) to 1, in steps of 1/8.
    pub level: f32,
}

/// Why `poll_timeout` wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// ICE, DTLS or SCTP of a peer.
    Transport,
    /// NACK, PLI, receiver reports or TWCC feedback are due.
    Feedback,
    /// Packets waited for a subscriber's network.
    Pacing,
    /// Active speakers are due.
    Speakers,
    /// Nothing in particular: housekeeping.
    Housekeeping,
}
