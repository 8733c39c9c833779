//! The one way out: every packet of a subscription goes through [`Connection::send`], and its consequences are in the
//! [`Outcome`].
//!
//! There are four occasions: a packet is forwarded as it comes, or after it waited for the network (`shard/forward.rs`,
//! `shard/congestion.rs`); one is sent again (`shard/feedback.rs`); a network is probed with padding. All spend the
//! same credit, and all are watched.

use std::time::Instant;

use super::Connection;
use crate::{
    api::SendBatch,
    down_track::{DownTrack, Egress},
    fanout::Shift,
    history::Packet,
    keys::DownTrackKey,
    rewrite::Input,
    stats::DropReason,
};

/// A packet to be sent.
#[derive(Debug, Clone, Copy)]
pub enum Outgoing<'a> {
    /// A packet of the publisher's.
    Forward {
        /// The packet.
        packet: &'a Packet<'a>,
        /// The packet's position in its stream.
        input: &'a Input,
        /// The packet is of a picture, and a decoder can start here.
        starts_key_frame: bool,
    },
    /// A packet that went out already.
    Again {
        /// The packet.
        packet: &'a Packet<'a>,
        /// The packet's layer is still sent; otherwise the packet goes without content.
        admitted: bool,
        /// The packet's position in its stream.
        input: &'a Input,
        /// The index under which the packet went out.
        out_index: u64,
    },
    /// Nothing but padding.
    Padding,
}

/// The outcome of sending a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Number of bytes that went out, or why none did.
    pub sent: Result<usize, DropReason>,
    /// The packet is the first of the subscription: the publisher is told.
    pub is_first: bool,
    /// A change that the fan-out must know of.
    pub shift: Option<Shift>,
}

impl Connection {
    /// Sends a packet of the subscription `key` on this connection, its subscriber's.
    #[inline]
    pub fn send(
        &mut self,
        key: DownTrackKey,
        down: &mut DownTrack,
        what: &Outgoing<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Outcome {
        let Self {
            transport,
            estimator,
            pacer,
            watch,
            ..
        } = self;
        let Some((sender, to)) = transport.sender() else {
            return Outcome {
                sent: Err(DropReason::NotConnected),
                is_first: false,
                shift: None,
            };
        };
        let mut egress = Egress {
            sender,
            to,
            estimator: estimator.as_deref_mut(),
            number: &mut watch.number,
            now,
        };
        let waited = down.filter.awaits_key_frame();
        let sent = match what {
            Outgoing::Forward { packet, input, .. } => {
                down.forward(packet, input, &mut egress, out)
            }
            Outgoing::Again {
                packet,
                admitted,
                input,
                out_index,
            } => down.retransmit(packet, *admitted, input, *out_index, &mut egress, out),
            Outgoing::Padding => down.pad(&mut egress, out),
        };
        if let Ok(bytes) = sent {
            pacer.spend(bytes);
            let is_known = down.delivery.is_proven();
            match what {
                Outgoing::Forward { .. } => {
                    if let Some(number) = down.follow(estimator.as_deref(), watch, now) {
                        watch.follow(number, key, is_known, now);
                    }
                }
                // Arrival of these packets does not prove that the stream itself arrives; silence about them counts.
                Outgoing::Again { .. } | Outgoing::Padding => {
                    if down.repairs_are_numbered() {
                        watch.sent(is_known, now);
                    }
                }
            }
        }
        let Outgoing::Forward {
            input,
            starts_key_frame,
            ..
        } = what
        else {
            return Outcome {
                sent,
                is_first: false,
                shift: None,
            };
        };
        let waits = down.filter.awaits_key_frame();
        let shift = if sent == Err(DropReason::BeforeSwitch) && !down.rewriter.is_in(input.source) {
            Some(Shift::Stranded)
        } else {
            (waits && (*starts_key_frame || !waited)).then_some(Shift::Rising)
        };
        let is_first = sent.is_ok() && !std::mem::replace(&mut down.announced, true);
        Outcome {
            sent,
            is_first,
            shift,
        }
    }
}
