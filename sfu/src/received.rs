//! A packet of a publisher, opened.

use crate::rtp::{AudioLevel, RtpTime};

/// The part of a packet that is needed after it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Received<'a> {
    /// SSRC of the packet's stream.
    pub ssrc: u32,
    /// Unwrapped sequence number.
    pub index: u64,
    /// Timestamp.
    pub time: RtpTime,
    /// Payload type; of a retransmission, its own.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Payload without padding.
    pub payload: &'a [u8],
    /// The Dependency Descriptor; empty where the packet has none.
    pub dependencies: &'a [u8],
    /// The audio level that the packet claims.
    pub voice: Option<AudioLevel>,
}
