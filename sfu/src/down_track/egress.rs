//! The way of a packet out: its header written, its payload sealed in place.

use std::time::Instant;

use crate::{
    api::Destination,
    bwe::BandwidthEstimator,
    codec::Codec,
    rewrite::Rewritten,
    rtp::{EgressHeader, SeqNo},
    sent_headers::Seal,
    srtp::SrtpSender,
    vp8, vp9,
};

/// The most bytes that a header extension adds besides its value: the head of the block, its own, and padding.
pub(super) const MAX_ELEMENT_OVERHEAD: usize = 4 + 2 + 3;

/// The longest Dependency Descriptor: what the length field of a two-byte element can say.
const MAX_DEPENDENCIES: usize = 255;

/// The path and the keys of a subscriber's packets.
pub struct Egress<'a> {
    /// Outbound keys.
    pub sender: &'a SrtpSender,
    /// The nominated path.
    pub to: Destination,
    /// The estimator, which numbers the packets and remembers them until their arrival is reported.
    pub estimator: Option<&'a mut BandwidthEstimator>,
    /// The next transport-wide number where there is no estimator. Only packets that are followed have one.
    pub number: &'a mut SeqNo,
    /// The instant at which the packets go.
    pub now: Instant,
}

/// A packet before it is sealed, but for its payload.
pub(super) struct Sent<'a> {
    pub header: &'a EgressHeader,
    /// SRTP packet index.
    pub index: u64,
    pub dependencies: Option<Dependencies>,
    pub transport_cc: Option<SeqNo>,
    /// Whether the packet names its section.
    pub mid: bool,
    /// Set for a packet that went out before: how it was sealed, which must be the same.
    pub again: Option<Seal>,
}

/// A packet that went out.
pub(super) struct Gone {
    /// Length of the packet, bytes.
    pub len: usize,
    pub seal: Seal,
}

/// A Dependency Descriptor to be sent.
pub(super) struct Dependencies {
    id: u8,
    len: usize,
    value: [u8; MAX_DEPENDENCIES],
}

impl Dependencies {
    /// A copy of a descriptor, for the header extension with this id; `None` where it does not fit.
    pub(super) fn new(id: u8, descriptor: &[u8]) -> Option<Self> {
        let mut value = [0; MAX_DEPENDENCIES];
        value
            .get_mut(..descriptor.len())?
            .copy_from_slice(descriptor);
        Some(Self {
            id,
            len: descriptor.len(),
            value,
        })
    }

    /// The descriptor.
    pub(super) fn descriptor(&mut self) -> &mut [u8] {
        &mut self.value[..self.len]
    }

    pub(super) fn element(&self) -> (u8, &[u8]) {
        (self.id, &self.value[..self.len])
    }
}

pub(super) fn rewrite_payload(codec: Codec, payload: &mut [u8], rewritten: &Rewritten) {
    match (codec, rewritten.picture) {
        (Codec::Vp8, Some(ids)) => vp8::rewrite(payload, ids),
        (Codec::Vp9, Some(ids)) => vp9::rewrite(payload, ids),
        _ => {}
    }
}
