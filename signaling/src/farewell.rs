//! What somebody hears whose stay ends.

use protocol::livekit::{
    DisconnectReason, LeaveRequest, leave_request::Action, signal_response::Message,
};

/// What a participant that is removed hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// A `leave` with this action.
    Leave(Action),
    /// Nothing: it knows, or it cannot hear.
    Silent,
}

pub(crate) fn leave(reason: DisconnectReason, action: Action) -> Message {
    Message::Leave(LeaveRequest {
        // For clients older than protocol 13.
        can_reconnect: action != Action::Disconnect,
        reason: reason.into(),
        action: action.into(),
        ..LeaveRequest::default()
    })
}
