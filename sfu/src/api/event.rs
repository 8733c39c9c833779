//! Reports of a shard to the control side. Order, and what may be lost: see [`Command`](super::Command).

use protocol::{ParticipantSid, RoomSid, TrackSid};

use super::track::{SpatialLayer, TrackCodec};

/// A report of a shard, or of the [`Negotiator`](crate::Negotiator), to the control side.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Our SDP answer to the client's offer.
    Answer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id.
        id: u32,
        /// SDP.
        sdp: String,
        /// Mid and track of each section that carries a track to or from the client.
        mid_to_track: Vec<(String, TrackSid)>,
        /// Sections the client must add (and offer again) before all its subscriptions fit. Zero and zero: none.
        missing: MediaSections,
    },
    /// Our SDP offer, to a participant with a second PeerConnection. At most one is open at a time: the next follows
    /// the answer.
    Offer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id, which the client's answer repeats.
        id: u32,
        /// SDP.
        sdp: String,
        /// Mid and track of each section that carries a track to the client.
        mid_to_track: Vec<(String, TrackSid)>,
    },
    /// The client's offer or answer was refused, and the peer is as it was before; or the shard takes no more peers,
    /// and the peer does not exist.
    NegotiationFailed {
        /// The participant.
        peer: ParticipantSid,
        /// The reason, for the log and for the client's `leave`.
        reason: String,
    },
    /// A subscription changed outside an offer: the client must offer again (`media_sections_requirement`; zero and
    /// zero asks for a plain renegotiation).
    NegotiationNeeded {
        /// The participant.
        peer: ParticipantSid,
        /// Number of sections that the client must add.
        missing: MediaSections,
    },
    /// The participant is connected: ICE and DTLS are up, for the first time or again after a [`Event::Disconnected`].
    /// With two PeerConnections: the primary is up, and the other is not lost. A participant who is connected to
    /// another shard counts as connected as soon as this shard has it.
    Connected {
        /// The participant.
        peer: ParticipantSid,
    },
    /// The transport is gone (with two PeerConnections, one of them). The peer still exists until
    /// [`MemberCommand::Remove`](super::MemberCommand::Remove): an ICE restart may revive it.
    Disconnected {
        /// The participant.
        peer: ParticipantSid,
        /// Why the transport is gone.
        reason: DisconnectReason,
    },
    /// The track is bound to a section of the publisher's offer: others may be told of it.
    TrackBound {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The section, in the publisher's offer.
        mid: String,
        /// The codec that the track is encoded with.
        codec: TrackCodec,
        /// The layers the section declares (empty for one stream without rid).
        layers: Vec<SpatialLayer>,
    },
    /// A bound track is sent no longer: its section of the publisher's new offer is inactive, rejected or carries
    /// another track. LiveKit clients unpublish in this way only; the room answers with
    /// [`TrackCommand::Unpublish`](super::TrackCommand::Unpublish).
    TrackUnbound {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// A published track cannot be received, and will not be bound: its section has no codec that we know, or has lost
    /// the codec that the track is encoded with. The room answers with
    /// [`TrackCommand::Unpublish`](super::TrackCommand::Unpublish).
    TrackRefused {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// A subscription got no section. Reported once; the subscription still gets a section when one is there, or when
    /// its track has another codec.
    SubscriptionFailed {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Why there is no section.
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
    /// The set of a picture's layers that anybody wants changed; the publisher need not send others. An increase is
    /// reported at once, a decrease after a while. Before the first report, every layer is wanted.
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
        /// Nothing of the picture is sent.
        paused: bool,
    },
    /// A participant's connection became better or worse. Every participant begins at [`Quality::Excellent`].
    QualityChanged {
        /// The participant.
        peer: ParticipantSid,
        /// The quality now.
        quality: Quality,
    },
    /// The client should connect anew; nothing more is tried for this peer. Either media does not arrive at it, and
    /// beginning its subscriptions anew did not help or was not possible; or it reads reliable data so slowly that it
    /// missed some, and its channel must begin anew.
    Unreachable {
        /// The subscriber.
        peer: ParticipantSid,
    },
    /// To the [`Negotiator`](crate::Negotiator), and no further: the publisher sends another codec than its track's;
    /// our answer allowed both.
    OtherCodec {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// To the [`Negotiator`](crate::Negotiator), and no further: subscriptions have waited so long for sections that
    /// the client should be asked again.
    Unbound {
        /// The subscriber.
        peer: ParticipantSid,
    },
    /// To the [`Negotiator`](crate::Negotiator), and no further: a subscription does not arrive. It ends, and begins
    /// anew with other SSRCs.
    Undelivered {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// A data packet that answers the server; see [`DataCommand::AwaitReply`](super::DataCommand::AwaitReply).
    Reply {
        /// The participant who sent it.
        peer: ParticipantSid,
        /// Encoded `livekit.DataPacket`, as the participant sent it.
        payload: Vec<u8>,
    },
    /// The participants who speak now, loudest first; empty once when nobody speaks any more.
    SpeakersChanged {
        /// The room.
        room: RoomSid,
        /// All participants who speak.
        speakers: Vec<Speaker>,
    },
}

/// Why a subscription has no section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriptionFailure {
    /// The client takes none of the codecs that the track is encoded with.
    CodecUnsupported,
    /// The client's descriptions have as many sections, or are as long, as they may be.
    TooManySections,
}

/// The quality of a participant's connection, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// The participant should send, and nothing arrives any more.
    Lost,
    /// Voices break, or pictures stand still.
    Poor,
    /// Degradation that people may notice.
    Good,
    /// Degradation that nobody notices, or none.
    Excellent,
}

impl Event {
    /// The participant that the event is about; `None` where it is about a whole room.
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

    /// The room that the event is about; `None` where it is about a participant.
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

/// The cause of the next wake-up that `poll_timeout` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// ICE, DTLS or SCTP of a peer.
    Transport,
    /// NACK, PLI, receiver reports or TWCC feedback are due.
    Feedback,
    /// Packets that waited for a subscriber's network are due.
    Pacing,
    /// There is more to do of work that concerns many.
    Backlog,
}
