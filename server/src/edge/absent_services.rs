//! Services of LiveKit's API that are not here yet: egress, ingress, SIP. Applications ask for lists when they start,
//! and get empty ones; other calls are refused in words.

use protocol::{error::Error, json, livekit};

use super::twirp::{Call, Method, Reply, Right};

const EGRESS: &str = "livekit.Egress";
const INGRESS: &str = "livekit.Ingress";
const SIP: &str = "livekit.SIP";

const EGRESS_METHODS: [Method; 10] = [
    method("StartEgress", Right::RoomRecord),
    method("UpdateLayout", Right::RoomRecord),
    method("UpdateStream", Right::RoomRecord),
    method("ListEgress", Right::RoomRecord),
    method("StopEgress", Right::RoomRecord),
    method("StartRoomCompositeEgress", Right::RoomRecord),
    method("StartWebEgress", Right::RoomRecord),
    method("StartParticipantEgress", Right::RoomRecord),
    method("StartTrackCompositeEgress", Right::RoomRecord),
    method("StartTrackEgress", Right::RoomRecord),
];

const INGRESS_METHODS: [Method; 4] = [
    method("CreateIngress", Right::IngressAdmin),
    method("UpdateIngress", Right::IngressAdmin),
    method("ListIngress", Right::IngressAdmin),
    method("DeleteIngress", Right::IngressAdmin),
];

const SIP_METHODS: [Method; 17] = [
    method("CreateSIPTrunk", Right::SipAdmin),
    method("ListSIPTrunk", Right::SipAdmin),
    method("CreateSIPInboundTrunk", Right::SipAdmin),
    method("CreateSIPOutboundTrunk", Right::SipAdmin),
    method("UpdateSIPInboundTrunk", Right::SipAdmin),
    method("UpdateSIPOutboundTrunk", Right::SipAdmin),
    method("GetSIPInboundTrunk", Right::SipAdmin),
    method("GetSIPOutboundTrunk", Right::SipAdmin),
    method("ListSIPInboundTrunk", Right::SipAdmin),
    method("ListSIPOutboundTrunk", Right::SipAdmin),
    method("DeleteSIPTrunk", Right::SipAdmin),
    method("CreateSIPDispatchRule", Right::SipAdmin),
    method("UpdateSIPDispatchRule", Right::SipAdmin),
    method("ListSIPDispatchRule", Right::SipAdmin),
    method("DeleteSIPDispatchRule", Right::SipAdmin),
    method("CreateSIPParticipant", Right::SipCall),
    // LiveKit asks for a moderator's right beside this one; there is nobody to transfer in either case.
    method("TransferSIPParticipant", Right::SipCall),
];

/// A method whose requests are never decoded.
const fn method(name: &'static str, right: Right) -> Method {
    Method {
        name,
        right,
        long: &[],
        small: &[],
    }
}

/// The methods of one of these services.
pub(super) fn methods(service: &str) -> Option<&'static [Method]> {
    match service {
        EGRESS => Some(&EGRESS_METHODS),
        INGRESS => Some(&INGRESS_METHODS),
        SIP => Some(&SIP_METHODS),
        _ => None,
    }
}

/// Answers a call of one of these methods. All lists of these services are in a field of one name.
pub(super) fn carry_out(service: &str, method: &str, call: &Call) -> Result<Reply, Error> {
    if method.starts_with("List") {
        let none = livekit::ListSipDispatchRuleResponse::default();
        return call.reply(&none, json::ITEMS);
    }
    Err(Error::Unimplemented(match service {
        EGRESS => "this server has no egress service",
        INGRESS => "this server has no ingress service",
        _ => "this server has no SIP service",
    }))
}
