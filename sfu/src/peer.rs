//! One PeerConnection of a participant: its transport, its negotiation, its streams. Most participants have one.

pub mod send;

use std::time::{Duration, Instant};

use protocol::{ParticipantIdentity, ParticipantSid, TrackSid, budget::Budget};
use rustc_hash::FxHashMap;

use crate::{
    api::{ExtensionIds, PeerPermissions, ReceiveSection},
    bwe::{BandwidthEstimator, Bitrate},
    delivery::Watch,
    keys::{DownTrackKey, PeerKey, RouterKey, UpTrackKey},
    pacer::Pacer,
    quality::QualityMeter,
    rtp::{Extension, ExtensionMap},
    slow_readers::{Held, Reader},
    timers::Timer,
    transport::Transport,
    twcc::TwccRecorder,
    waiting_data::WaitingData,
};

/// The most SSRCs that one peer may send with. Each track has at most three layers with retransmissions; the rest is
/// for streams that began anew.
pub const MAX_INCOMING: usize = 256;

/// The number of a peer's streams that may begin anew under another SSRC: per second, and at once.
pub const RESTARTS: (u32, u32) = (1, 64);

/// The meaning of an incoming SSRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// Media of a layer.
    Media {
        /// The track.
        up: UpTrackKey,
        /// The track's layer.
        layer: u8,
    },
    /// Retransmissions of a layer (RFC 4588).
    Rtx {
        /// The track.
        up: UpTrackKey,
        /// The track's layer.
        layer: u8,
    },
}

/// One PeerConnection of a participant.
pub struct Peer {
    /// The participant's sid.
    pub sid: ParticipantSid,
    /// The participant's identity, which is stamped on its data packets.
    pub identity: ParticipantIdentity,
    /// A key of the person behind the participant, the same for all participants of that person in the room.
    pub principal: PeerKey,
    /// Rights of the participant.
    pub permissions: PeerPermissions,
    /// Number of packets to itself that the control side still wants to read.
    pub awaited_replies: u32,
    /// When the peer was added.
    pub joined: Instant,
    /// Number of the participant's last reliable data packet, 0 before the first. A client that comes back repeats
    /// packets that it is not sure about.
    pub last_reliable: u32,
    /// Reliable packets for this peer from before its data channel was open.
    pub waiting: WaitingData,
    /// The peer as a reader of reliable packets.
    pub reader: Reader,
    /// Packets that the peer sent and others are not ready for.
    pub held: Option<Held>,
    /// The peer is about to be removed: nothing that it sends waits for anybody.
    pub leaves: bool,
    /// The peer's room.
    pub router: RouterKey,
    /// The shard that the participant is connected to, where that is not this room's. Such a peer has no transport,
    /// receives nothing, and its packets come from that shard.
    pub source: Option<u16>,
    /// Rooms elsewhere that get the peer's data tracks: the participant's sid there, and the shard.
    pub data_taps: Vec<(ParticipantSid, u16)>,
    /// The PeerConnection on which the participant receives. `None`: it receives on this one.
    pub subscriber: Option<PeerKey>,
    /// This PeerConnection is the primary: the participant is connected when this one is.
    pub primary: bool,
    /// The participant has been connected: packets that it sends count.
    pub is_there: bool,
    /// The transport was disconnected, and has not come back.
    pub lost: bool,
    /// ICE, DTLS and SRTP of this PeerConnection.
    pub transport: Transport,
    /// Sections in which the client sends, as of the last negotiation.
    pub sections: Vec<ReceiveSection>,
    /// Tracks that the participant publishes.
    pub ups: Vec<UpTrackKey>,
    /// Subscriptions of the participant.
    pub downs: Vec<DownTrackKey>,
    /// The same subscriptions, by track.
    pub subscriptions: FxHashMap<TrackSid, DownTrackKey>,
    /// The budget of streams that begin anew: two SSRCs in turn would do so with each packet.
    pub restarts: Budget,
    /// The meaning of each SSRC of the client.
    pub incoming: FxHashMap<u32, Incoming>,
    /// The budget of work that the client's RTCP asks for.
    pub feedback: Budget,
    /// Subscriptions by our SSRC, for the client's RTCP.
    pub outgoing: FxHashMap<u32, DownTrackKey>,
    /// Extension ids of the client's offers; the same in all bundled sections (RFC 8843 section 9).
    pub extensions: ExtensionMap,
    /// Arrivals, for transport-wide congestion control feedback.
    pub twcc: TwccRecorder,
    /// Some SSRC of the client that takes transport-cc feedback.
    pub twcc_ssrc: u32,
    /// The peer's entry in the shard's timers.
    pub timer: Timer,
    /// When the next receiver report to the client is due.
    pub next_receiver_report: Instant,
    /// Round trip time, from the client's receiver reports.
    pub rtt: Duration,
    /// The estimate of the client's network; there once a section says that the client reports arrivals.
    pub estimator: Option<Box<BandwidthEstimator>>,
    /// Upper limit of what is sent to this subscriber, bits per second; `None`: the estimate alone. Set by
    /// `Command::LimitBandwidth`.
    pub bandwidth_limit: Option<Bitrate>,
    /// Packets that wait for the client's network.
    pub pacer: Pacer,
    /// The bit rate at which the client would get everything it wants.
    pub wanted_bitrate: Bitrate,
    /// The client gets voices without redundancy, for want of room.
    pub primary_only: bool,
    /// When the estimate is next divided.
    pub next_allocation: Instant,
    /// The evidence that media arrives at the client.
    pub watch: Watch,
    /// The measurements of the connection's quality.
    pub quality: QualityMeter,
}

impl Peer {
    /// Sets the sections in which the client sends.
    pub fn set_sections(&mut self, sections: Vec<ReceiveSection>) {
        self.sections = sections;
        for section in &self.sections {
            set_extensions(&mut self.extensions, &section.extensions);
        }
    }

    /// Whether the client's network was too slow lately.
    pub fn is_congested(&self, now: Instant) -> bool {
        self.estimator
            .as_ref()
            .is_some_and(|estimator| estimator.is_congested(now))
    }

    /// Whether the next packet of a picture must wait.
    pub fn must_wait(&mut self, now: Instant) -> bool {
        if !self.pacer.is_empty() {
            return true;
        }
        let Some(bitrate) = self
            .estimator
            .as_ref()
            .filter(|estimator| estimator.is_congested(now))
            .and_then(|estimator| estimator.bitrate())
        else {
            return false;
        };
        self.pacer.refill(bitrate, now);
        !self.pacer.has_credit()
    }
}

fn set_extensions(map: &mut ExtensionMap, ids: &ExtensionIds) {
    let pairs = [
        (Extension::Mid, ids.mid),
        (Extension::Rid, ids.rid),
        (Extension::RepairedRid, ids.repaired_rid),
        (Extension::TransportCc, ids.transport_cc),
        (Extension::AbsSendTime, ids.abs_send_time),
        (Extension::AudioLevel, ids.audio_level),
        (Extension::DependencyDescriptor, ids.dependency_descriptor),
    ];
    for (extension, id) in pairs {
        if let Some(id) = id {
            map.set(extension, id);
        }
    }
}
