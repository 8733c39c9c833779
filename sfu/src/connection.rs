//! One PeerConnection of a [`Member`](crate::member::Member): its transport, and the streams on it.

pub mod send;

use std::time::Instant;

use protocol::{ParticipantSid, TrackSid, budget::Budget};
use rustc_hash::FxHashMap;

use crate::{
    api::{ExtensionIds, ReceiveSection},
    bwe::{BandwidthEstimator, Bitrate},
    delivery::Watch,
    keys::{DownTrackKey, MemberKey, UpTrackKey},
    pacer::Pacer,
    quality::QualityMeter,
    rtp::{Extension, ExtensionMap},
    slow_readers::{Held, Reader},
    timers::Timer,
    transport::Transport,
    twcc::TwccRecorder,
    waiting_data::WaitingData,
};

/// The most SSRCs that one client may send with. Each track has at most three layers with retransmissions; the rest is
/// for streams that began anew.
pub const MAX_INCOMING: usize = 256;

/// The work that may follow from one client's feedback, per second and at once: packets asked for, key frames, and
/// statuses of arrived packets by the dozen. A hundred watched pictures that lose a tenth of their packets need a
/// quarter of it.
const FEEDBACK: (u32, u32) = (20_000, 40_000);

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

/// One PeerConnection of a member.
pub struct Connection {
    /// The member.
    pub member: MemberKey,
    /// The member's sid, for events.
    pub sid: ParticipantSid,
    /// The member counts as connected when its primary connection is.
    pub is_primary: bool,
    /// The transport was disconnected, and has not come back.
    pub lost: bool,
    /// ICE, DTLS and SRTP of this PeerConnection.
    pub transport: Transport,
    /// The connection's entry in the shard's timers.
    pub timer: Timer,
    /// Extension ids of the client's offers; the same in all bundled sections (RFC 8843 section 9).
    pub extensions: ExtensionMap,
    /// The budget of work that the client's RTCP asks for.
    pub feedback: Budget,
    /// The evidence that media arrives at the client.
    pub watch: Watch,
    /// The measurements of the connection's quality.
    pub quality: QualityMeter,

    /// Sections in which the client sends, as of the last negotiation.
    pub sections: Vec<ReceiveSection>,
    /// The meaning of each SSRC of the client.
    pub incoming: FxHashMap<u32, Incoming>,
    /// Arrivals, for transport-wide congestion control feedback.
    pub twcc: TwccRecorder,
    /// Some SSRC of the client that takes transport-cc feedback.
    pub twcc_ssrc: u32,
    /// When the next receiver report to the client is due.
    pub next_receiver_report: Instant,
    /// A data packet that came on this connection and others are not ready for.
    pub held: Option<Held>,

    /// Subscriptions that are sent on this connection.
    pub downs: Vec<DownTrackKey>,
    /// The same subscriptions, by track.
    pub subscriptions: FxHashMap<TrackSid, DownTrackKey>,
    /// The same subscriptions, by our SSRC, for the client's RTCP.
    pub outgoing: FxHashMap<u32, DownTrackKey>,
    /// The estimate of the client's network; there once a section says that the client reports arrivals.
    pub estimator: Option<Box<BandwidthEstimator>>,
    /// Upper limit of what is sent to this subscriber, bits per second; `None`: the estimate alone. Set by
    /// `MemberCommand::LimitBandwidth`.
    pub bandwidth_limit: Option<Bitrate>,
    /// Packets that wait for the client's network.
    pub pacer: Pacer,
    /// The bit rate at which the client would get everything it wants.
    pub wanted_bitrate: Bitrate,
    /// The client gets voices without redundancy, for want of room.
    pub primary_only: bool,
    /// When the estimate is next divided.
    pub next_allocation: Instant,
    /// Reliable packets from before the client's data channel was open.
    pub waiting: WaitingData,
    /// The client as a reader of reliable packets.
    pub reader: Reader,
}

impl Connection {
    /// A connection that waits for its first description.
    pub fn new(member: MemberKey, sid: ParticipantSid, transport: Transport, now: Instant) -> Self {
        Self {
            member,
            sid,
            is_primary: true,
            lost: false,
            transport,
            timer: Timer::default(),
            extensions: ExtensionMap::default(),
            feedback: Budget::new(FEEDBACK.0, FEEDBACK.1, now),
            watch: Watch::new(now),
            quality: QualityMeter::default(),
            sections: Vec::new(),
            incoming: FxHashMap::default(),
            twcc: TwccRecorder::new(),
            twcc_ssrc: 0,
            next_receiver_report: now,
            held: None,
            downs: Vec::new(),
            subscriptions: FxHashMap::default(),
            outgoing: FxHashMap::default(),
            estimator: None,
            bandwidth_limit: None,
            pacer: Pacer::default(),
            wanted_bitrate: 0,
            primary_only: false,
            next_allocation: now,
            waiting: WaitingData::default(),
            reader: Reader::default(),
        }
    }

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
