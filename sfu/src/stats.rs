//! Counters of a shard. Plain numbers, read by the owner of the thread.

/// The reason why a packet went no further. Counted, never logged per packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// A datagram that is not STUN, DTLS or SRTP by its first byte, or is malformed.
    Malformed,
    /// STUN without a valid MAC, or for no peer of this shard.
    Stun,
    /// DTLS, SRTP or SRTCP from an address without a valid STUN check.
    NotValidated,
    /// SRTP before DTLS is done.
    NoKeys,
    /// SRTP with a wrong tag.
    Authentication,
    /// SRTP that was seen before, or is too old to tell.
    Replayed,
    /// RTP of a stream that no section of the offer explains.
    UnknownStream,
    /// RTP of a muted track.
    Muted,
    /// A packet older than what the receiver of a switched layer has already got.
    BeforeSwitch,
    /// The owner's send buffer was full.
    SendBufferFull,
    /// A data packet that is malformed or not allowed.
    Data,
    /// A NACK for a packet that is no longer kept.
    NotInHistory,
    /// A packet older than the history of its layer.
    TooOld,
    /// A data packet whose receiver is too slow, has no such channel open, or takes none of this length.
    DataUndelivered,
    /// A packet that would have waited too long for its receiver's network.
    NetworkTooSlow,
    /// A packet of a layer within the stream that the subscriber does not get.
    LayerNotWanted,
    /// A packet above what a peer may send of its kind: STUN checks, new addresses, feedback.
    TooMany,
    /// A repair that would have made repairs outweigh the stream they repair.
    TooManyRepairs,
    /// Sound of a room in which enough others are louder.
    NotAmongLoudest,
    /// A copy for a room of another shard, above what the owner takes.
    RelayFull,
    /// A packet whose number, and with it its nonce, belongs to another packet that went out already.
    NumberTaken,
    /// STUN from an address of another peer that is still there.
    PathTaken,
    /// Media of a participant who is not connected yet, or for a subscriber who has no path.
    NotConnected,
    /// A data packet for more receivers than one may name.
    TooManyReceivers,
    /// A packet of another codec than its track is bound with.
    OtherCodec,
}

/// Number of [`DropReason`]s.
const REASONS: usize = DropReason::OtherCodec as usize + 1;

/// Names of the [`DropReason`]s, as they appear in metrics.
pub const DROP_REASON_NAMES: [&str; REASONS] = [
    "malformed",
    "stun",
    "not_validated",
    "no_keys",
    "authentication",
    "replayed",
    "unknown_stream",
    "muted",
    "before_switch",
    "send_buffer_full",
    "data",
    "not_in_history",
    "too_old",
    "data_undelivered",
    "network_too_slow",
    "layer_not_wanted",
    "too_many",
    "too_many_repairs",
    "not_among_loudest",
    "relay_full",
    "number_taken",
    "path_taken",
    "not_connected",
    "too_many_receivers",
    "other_codec",
];

/// Number of repairs of media that did not arrive, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Looks at a participant whose subscriptions still wait for sections. The client is asked again where it does not
    /// know of them.
    pub asked: u64,
    /// Subscriptions of which nothing went out: the layer was chosen anew, and a key frame asked for.
    pub restarted: u64,
    /// Subscriptions that did not arrive: they were begun anew.
    pub resubscribed: u64,
    /// Clients that should connect anew, since other repairs did not help or were not possible.
    pub reconnected: u64,
    /// Publishers that sent nothing of a track they had announced: they were asked to offer again.
    pub silent_publishers: u64,
}

impl Repairs {
    /// The counters, with the names that metrics give them.
    pub fn by_kind(&self) -> [(&'static str, u64); 5] {
        [
            ("asked", self.asked),
            ("restarted", self.restarted),
            ("resubscribed", self.resubscribed),
            ("reconnected", self.reconnected),
            ("silent_publisher", self.silent_publishers),
        ]
    }
}

/// The counters of a shard since its start, and its present sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Bytes received, without UDP and IP headers.
    pub bytes_in: u64,
    /// RTP packets accepted from publishers.
    pub rtp_in: u64,
    /// RTP packets forwarded to subscribers, retransmissions not counted.
    pub rtp_out: u64,
    /// Bytes of the forwarded packets, with SRTP overhead.
    pub rtp_out_bytes: u64,
    /// Packets sent again because a subscriber asked (NACK).
    pub retransmitted: u64,
    /// Packets recovered from publishers by our NACKs.
    pub recovered: u64,
    /// Packets that we asked publishers for.
    pub nacked: u64,
    /// Bytes of padding sent to probe networks.
    pub padding_bytes: u64,
    /// Pictures that were paused because a network was too slow.
    pub paused: u64,
    /// Key frames that we asked publishers for.
    pub key_frame_requests: u64,
    /// Data packets received.
    pub data_in: u64,
    /// Data packets sent, counted per receiver.
    pub data_out: u64,
    /// Times that a data packet was kept back, since a receiver was not ready.
    pub data_held: u64,
    /// Receivers that were so slow that nobody waits for them.
    pub slow_readers: u64,
    /// Repairs of media that did not arrive.
    pub repairs: Repairs,
    /// Peers closed because of a bug of ours.
    pub panics: u64,
    /// Drops by [`DropReason`].
    pub dropped: [u64; REASONS],
    /// Number of addresses from which peers are heard now.
    pub paths: usize,
    /// Number of peers now.
    pub peers: usize,
    /// Number of rooms now.
    pub rooms: usize,
    /// Number of published tracks now.
    pub up_tracks: usize,
    /// Number of subscriptions now.
    pub down_tracks: usize,
}

impl Stats {
    /// Counts a drop.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// Number of drops for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}
