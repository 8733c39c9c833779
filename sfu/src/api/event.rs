//! What a shard tells.

use protocol::{ParticipantSid, RoomSid, TrackSid};

use super::track::{SpatialLayer, TrackCodec};

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
    /// A published track has no section that we know a codec of, or its section lost the codec the track is encoded with: it
    /// cannot be received, nor will it be bound. The room answers with [`Command::Unpublish`](super::Command::Unpublish).
    TrackRefused {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// A subscription got no section, and is told so once. It gets one when there is one, or when its track has another codec.
    SubscriptionFailed {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Why.
        failure: SubscriptionFailure,
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
    /// should connect anew. Nothing more is tried for this peer. Or it reads reliable data so slowly that it missed some, and
    /// its channel must begin anew.
    Unreachable {
        /// The subscriber.
        peer: ParticipantSid,
    },
    /// To the [`Negotiator`](crate::Negotiator), and no further: the publisher sends another codec than its track's, though it
    /// may.
    OtherCodec {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// To the [`Negotiator`](crate::Negotiator), and no further: subscriptions have been waiting for sections.
    Unbound {
        /// The subscriber.
        peer: ParticipantSid,
    },
    /// To the [`Negotiator`](crate::Negotiator), and no further: a subscription does not arrive. It is over, and begins anew.
    Undelivered {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
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

/// Why a subscription has no section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriptionFailure {
    /// The client takes no codec in which there is the track.
    CodecUnsupported,
    /// Its descriptions have as many sections, or are as long, as they may be.
    TooManySections,
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
            | Self::TrackRefused { peer, .. }
            | Self::SubscriptionFailed { peer, .. }
            | Self::TrackActive { peer, .. }
            | Self::StreamStateChanged { peer, .. }
            | Self::WantedLayersChanged { peer, .. }
            | Self::QualityChanged { peer, .. }
            | Self::Unreachable { peer }
            | Self::TrackSubscribed { peer, .. }
            | Self::OtherCodec { peer, .. }
            | Self::Unbound { peer }
            | Self::Undelivered { peer, .. }
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
}
