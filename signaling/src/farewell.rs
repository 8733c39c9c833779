//! The last message to a participant whose stay ends.

use protocol::livekit::{
    DisconnectReason, LeaveRequest, leave_request::Action, signal_response::Message,
};

/// The last message to a participant that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// A `leave` with this action.
    Leave(Action),
    /// No message: the client knows, or cannot hear.
    Silent,
}

pub(crate) fn leave(reason: DisconnectReason, action: Action) -> Message {
    Message::Leave(LeaveRequest {
        // `can_reconnect` is for clients older than protocol 13.
        can_reconnect: action != Action::Disconnect,
        reason: reason.into(),
        action: action.into(),
        ..LeaveRequest::default()
    })
}
