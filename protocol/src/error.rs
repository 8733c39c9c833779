//! The table of refusals: each error with its form over HTTP, in the Twirp API and on a signal connection.
//!
//! Statuses, codes and texts are those of livekit-server 1.13, which existing products parse.

use crate::{livekit::DisconnectReason, token::TokenError};

/// A refusal of a client's request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The token is not valid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An `Authorization` header that is not `Bearer …`.
    #[error("invalid authorization header. Must start with Bearer ")]
    AuthorizationHeader,
    /// No token, or one without a `video` claim, where a room is asked for.
    #[error("no permissions to access the room")]
    NoRoomPermission,
    /// The grant for this is missing, or is for another room.
    #[error("permissions denied")]
    PermissionDenied,
    /// A token without `sub`.
    #[error("identity cannot be empty")]
    NoIdentity,
    /// A token (or request) that names no room.
    #[error("no room name")]
    NoRoomName,
    /// A text is longer than allowed ([`crate::limits`]).
    #[error("{what} {max}")]
    TooLong {
        /// The kind of text, in words.
        what: &'static str,
        /// The limit, bytes.
        max: usize,
    },
    /// A request that can be read but means nothing.
    #[error("{0}")]
    InvalidArgument(&'static str),
    /// The `join_request` parameter is missing or unreadable.
    #[error(transparent)]
    JoinRequest(#[from] crate::signal::JoinRequestError),
    /// A parameter of the older protocol's join is unreadable.
    #[error(transparent)]
    JoinQuery(#[from] crate::join_query::JoinQueryError),
    /// A body that is not the message of the method.
    #[error("the {format} request could not be decoded")]
    Malformed {
        /// `json` or `protobuf`.
        format: &'static str,
    },
    /// A path of the API that does not exist, or a call that is not written as one.
    #[error("{0}")]
    BadRoute(String),
    /// The room does not exist, and is not to be created.
    #[error("requested room does not exist")]
    RoomNotFound,
    /// No participant of the room has that identity.
    #[error("participant does not exist")]
    ParticipantNotFound,
    /// No dispatch of an agent has that id.
    #[error("dispatch ID not found")]
    DispatchNotFound,
    /// The room has as many dispatches of agents as allowed, by number or by length.
    #[error("the room has as many agent dispatches as it may")]
    TooManyDispatches,
    /// `max_participants` are in the room.
    #[error("room is full")]
    RoomFull,
    /// The person publishes from as many devices as allowed (`room.max_companions`).
    #[error("this participant has as many companions as it may")]
    TooManyCompanions,
    /// The token was good once; a moderator has taken it back.
    #[error("token was revoked")]
    TokenRevoked,
    /// The API key has as many rooms open as allowed.
    #[error("this API key has as many rooms open as it may")]
    TooManyRooms,
    /// A remote unmute without `enable_remote_unmute`.
    #[error("remote unmute not enabled")]
    RemoteUnmute,
    /// The server is at a limit.
    #[error("server is at its limit: {0}")]
    Overloaded(&'static str),
    /// The request cannot be carried out now, but perhaps soon.
    #[error("{0}")]
    Unavailable(&'static str),
    /// A thing that there may be once is there already.
    #[error("{0}")]
    AlreadyExists(&'static str),
    /// The participant is forwarded from another room, and is governed there.
    #[error("participant is forwarded from another room")]
    Forwarded,
    /// A participant's method was called, and failed or did not answer.
    #[error("RpcError {code} {message}")]
    Rpc {
        /// Error code: LiveKit's, or the application's own.
        code: u32,
        /// Error text: LiveKit's, or the application's own.
        message: String,
    },
    /// The meeting is encrypted between participants, by what the client does not speak.
    #[error("this meeting is end-to-end encrypted (MLS), and the client does not support that")]
    Encrypted,
    /// The server is about to stop.
    #[error("server is shutting down")]
    ShuttingDown,
    /// The server does not offer this.
    #[error("not implemented: {0}")]
    Unimplemented(&'static str),
    /// The server has a bug.
    #[error("internal error")]
    Internal,
}

/// A Twirp error code (<https://twitchtv.github.io/twirp/docs/spec_v7.html#error-codes>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the specification's.
pub enum TwirpCode {
    AlreadyExists,
    BadRoute,
    Canceled,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Malformed,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
}

impl TwirpCode {
    /// The code as it travels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already_exists",
            Self::BadRoute => "bad_route",
            Self::Canceled => "canceled",
            Self::FailedPrecondition => "failed_precondition",
            Self::Internal => "internal",
            Self::InvalidArgument => "invalid_argument",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Unimplemented => "unimplemented",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// HTTP status.
    pub status: u16,
    /// Code of the Twirp API.
    pub code: TwirpCode,
    /// Reason in a `leave`, where a signal connection already exists.
    pub reason: DisconnectReason,
}

impl Error {
    /// The row of this error; its text is its `Display`.
    pub fn row(&self) -> Row {
        use DisconnectReason as Reason;
        use TwirpCode as Code;
        let (status, code, reason) = match self {
            Self::Token(_)
            | Self::AuthorizationHeader
            | Self::NoRoomPermission
            | Self::PermissionDenied => (401, Code::Unauthenticated, Reason::JoinFailure),
            Self::NoIdentity
            | Self::NoRoomName
            | Self::TooLong { .. }
            | Self::InvalidArgument(_)
            | Self::JoinRequest(_)
            | Self::JoinQuery(_) => (400, Code::InvalidArgument, Reason::JoinFailure),
            Self::Malformed { .. } => (400, Code::Malformed, Reason::JoinFailure),
            Self::BadRoute(_) => (404, Code::BadRoute, Reason::JoinFailure),
            Self::RoomNotFound | Self::ParticipantNotFound | Self::DispatchNotFound => {
                (404, Code::NotFound, Reason::StateMismatch)
            }
            Self::AlreadyExists(_) => (409, Code::AlreadyExists, Reason::UnknownReason),
            Self::Encrypted => (412, Code::FailedPrecondition, Reason::JoinFailure),
            Self::RemoteUnmute | Self::Forwarded => {
                (412, Code::FailedPrecondition, Reason::UnknownReason)
            }
            Self::RoomFull => (429, Code::ResourceExhausted, Reason::JoinFailure),
            Self::Rpc {
                code: 1400..=1499, ..
            } => (400, Code::InvalidArgument, Reason::UnknownReason),
            Self::Rpc {
                code: 1501..=1502, ..
            } => (408, Code::Canceled, Reason::UnknownReason),
            Self::Rpc { code: 1503, .. } => (503, Code::Unavailable, Reason::UnknownReason),
            Self::Rpc { .. } => (500, Code::Internal, Reason::UnknownReason),
            Self::Unavailable(_) => (503, Code::Unavailable, Reason::UnknownReason),
            Self::TokenRevoked => (401, Code::Unauthenticated, Reason::ParticipantRemoved),
            Self::TooManyRooms | Self::TooManyDispatches | Self::TooManyCompanions => {
                (429, Code::ResourceExhausted, Reason::JoinFailure)
            }
            Self::Overloaded(_) => (503, Code::Unavailable, Reason::JoinFailure),
            Self::ShuttingDown => (503, Code::Unavailable, Reason::ServerShutdown),
            Self::Unimplemented(_) => (501, Code::Unimplemented, Reason::UnknownReason),
            Self::Internal => (500, Code::Internal, Reason::UnknownReason),
        };
        Row {
            status,
            code,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_codes_and_texts_are_livekits() {
        let table = [
            (
                Error::Token(TokenError::Malformed),
                401,
                "unauthenticated",
                "invalid authorization token",
            ),
            (
                Error::PermissionDenied,
                401,
                "unauthenticated",
                "permissions denied",
            ),
            (
                Error::NoRoomPermission,
                401,
                "unauthenticated",
                "no permissions to access the room",
            ),
            (
                Error::NoIdentity,
                400,
                "invalid_argument",
                "identity cannot be empty",
            ),
            (Error::NoRoomName, 400, "invalid_argument", "no room name"),
            (
                Error::RoomNotFound,
                404,
                "not_found",
                "requested room does not exist",
            ),
            (
                Error::ParticipantNotFound,
                404,
                "not_found",
                "participant does not exist",
            ),
            (
                Error::RemoteUnmute,
                412,
                "failed_precondition",
                "remote unmute not enabled",
            ),
            (
                Error::AlreadyExists("there already"),
                409,
                "already_exists",
                "there already",
            ),
            (
                Error::Forwarded,
                412,
                "failed_precondition",
                "participant is forwarded from another room",
            ),
            (
                Error::Malformed { format: "json" },
                400,
                "malformed",
                "the json request could not be decoded",
            ),
            (
                Error::AuthorizationHeader,
                401,
                "unauthenticated",
                "invalid authorization header. Must start with Bearer ",
            ),
        ];
        for (error, status, code, text) in table {
            let row = error.row();
            assert_eq!((row.status, row.code.as_str()), (status, code));
            assert_eq!(error.to_string(), text);
        }
    }
}
