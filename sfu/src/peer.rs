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

/// SSRCs one peer may send with. Each track has at most three layers with retransmissions; the rest is for streams that
/// were started anew.
pub const MAX_INCOMING: usize = 256;

/// Streams of one peer that begin anew under another SSRC, per second and at once.
pub const RESTARTS: (u32, u32) = (1, 64);

/// What an incoming SSRC stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// Media of a layer.
    Media {
        /// The track.
        up: UpTrackKey,
        /// Its layer.
        layer: u8,
    },
    /// Retransmissions of a layer (RFC 4588).
    Rtx {
        /// The track.
        up: UpTrackKey,
        /// Its layer.
        layer: u8,
    },
}

/// One PeerConnection of a participant.
pub struct Peer {
    /// Its sid.
    pub sid: ParticipantSid,
    /// Stamped on its data packets.
    pub identity: ParticipantIdentity,
    /// A name for whose participant it is, the same for all of that one in its room.
    pub principal: PeerKey,
    /// What it may do.
    pub permissions: PeerPermissions,
    /// Packets to itself that the control side still wants to read.
    pub awaited_replies: u32,
    /// When it was added.
    pub joined: Instant,
    /// Number of its last reliable data packet, 0 before the first. A client that comes back repeats what it is not sure
    /// about.
    pub last_reliable: u32,
    /// Reliable packets for it from before its data channel was open.
    pub waiting: WaitingData,
    /// How it reads reliable packets.
    pub reader: Reader,
    /// What it sent and others are not ready for.
    pub held: Option<Held>,
    /// It is about to be removed: nothing it sends waits for anybody.
    pub leaves: bool,
    /// Its room.
    pub router: RouterKey,
    /// The shard it is connected to, where that is not this room's: it has no transport, receives nothing, and its packets
    /// come from there.
    pub source: Option<u16>,
    /// Rooms elsewhere that get its data tracks: its sid there, and the shard.
    pub data_taps: Vec<(ParticipantSid, u16)>,
    /// The PeerConnection on which the participant receives, where that is another one than this.
    pub subscriber: Option<PeerKey>,
    /// The participant is connected when this one is.
    pub primary: bool,
    /// The participant has been connected: what it sends counts.
    pub is_there: bool,
    /// It was disconnected, and has not come back.
    pub lost: bool,
    /// Its ICE, DTLS and SRTP association.
    pub transport: Transport,
    /// Sections in which it sends, as of the last negotiation.
    pub sections: Vec<ReceiveSection>,
    /// Its published tracks.
    pub ups: Vec<UpTrackKey>,
    /// Its subscriptions.
    pub downs: Vec<DownTrackKey>,
    /// The same, by track.
    pub subscriptions: FxHashMap<TrackSid, DownTrackKey>,
    /// How often its streams may still begin anew: two SSRCs in turn would do so with each packet.
    pub restarts: Budget,
    /// What its SSRCs stand for.
    pub incoming: FxHashMap<u32, Incoming>,
    /// What its RTCP may still ask for.
    pub feedback: Budget,
    /// Its subscriptions by our SSRC, for its RTCP.
    pub outgoing: FxHashMap<u32, DownTrackKey>,
    /// Extension ids of its offers; the same in all bundled sections (RFC 8843 section 9).
    pub extensions: ExtensionMap,
    /// Arrivals, for transport-wide congestion control feedback.
    pub twcc: TwccRecorder,
    /// Some SSRC of it that takes transport-cc feedback.
    pub twcc_ssrc: u32,
    /// Its entry in the shard's timers.
    pub timer: Timer,
    /// When its next receiver report is due.
    pub next_receiver_report: Instant,
    /// Round trip time, from its receiver reports.
    pub rtt: Duration,
    /// What its network carries; there once a section says that it reports arrivals.
    pub estimator: Option<Box<BandwidthEstimator>>,
    /// It is given no more than this, whatever its network carries.
    pub bandwidth_limit: Option<Bitrate>,
    /// Packets that its network must wait for.
    pub pacer: Pacer,
    /// Bits per second that would give it all it wants.
    pub wanted_bitrate: Bitrate,
    /// It gets voices without redundancy, for want of room.
    pub primary_only: bool,
    /// When its estimate is next divided.
    pub next_allocation: Instant,
    /// Whether media arrives.
    pub watch: Watch,
    /// How good its connection is.
    pub quality: QualityMeter,
}

impl Peer {
    /// These are the sections in which it sends.
    pub fn set_sections(&mut self, sections: Vec<ReceiveSection>) {
        self.sections = sections;
        for section in &self.sections {
            set_extensions(&mut self.extensions, &section.extensions);
        }
    }

    /// Its network was too slow lately.
    pub fn is_congested(&self, now: Instant) -> bool {
        self.estimator
            .as_ref()
            .is_some_and(|estimator| estimator.is_congested(now))
    }

    /// The next packet of a picture must wait.
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
