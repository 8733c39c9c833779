//! A packet of a publisher, opened.

use crate::rtp::{AudioLevel, RtpTime};

/// The part of a packet that is needed after it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Received<'a> {
    /// Of its stream.
    pub ssrc: u32,
    /// Unwrapped sequence number.
    pub index: u64,
    /// Timestamp.
    pub time: RtpTime,
    /// Payload type; of a retransmission, its own.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Without padding.
    pub payload: &'a [u8],
    /// Its Dependency Descriptor, or empty.
    pub dependencies: &'a [u8],
    /// What it says of its level.
    pub voice: Option<AudioLevel>,
}
