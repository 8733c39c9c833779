//! Messages between a member, or who wants to be one, and the delivery service, as protobuf: one in each binary frame of the
//! WebSocket `/e2ee` (docs/security/e2ee.md). Bytes of MLS stay bytes here.

use prost::Message as _;

/// The longest message of the delivery service, in bytes: the tree of a group of 1,024 with hybrid keys fits.
pub const MAX_SERVER_BYTES: usize = 4 * 1024 * 1024;

/// The longest message of a client, in bytes: a commit that adds as many as one may add.
pub const MAX_CLIENT_BYTES: usize = 1024 * 1024;

/// The version of these messages.
pub const VERSION: u32 = 1;

/// A message of a client.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClientMessage {
    /// One of these.
    #[prost(
        oneof = "client_message::Message",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    )]
    pub message: Option<client_message::Message>,
}

/// What a client says.
pub mod client_message {
    use super::*;

    /// One of these.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Message {
        /// The first message of a connection. Answered by [`State`].
        #[prost(message, tag = "1")]
        Hello(Hello),
        /// The group is founded, as the state asked.
        #[prost(message, tag = "2")]
        Found(Found),
        /// Asks to be added.
        #[prost(message, tag = "3")]
        Join(Join),
        /// Asks for what is needed to come in from outside. Answered by [`GroupInfo`].
        #[prost(message, tag = "4")]
        Enter(Enter),
        /// A commit, from inside or outside. Its sender sees it as [`Entry`], or [`Rejected`].
        #[prost(message, tag = "5")]
        Commit(Commit),
        /// A proposal of a member to leave.
        #[prost(message, tag = "6")]
        Propose(Propose),
        /// A member says something to all members, in the present epoch. Of another one it is dropped: its sender sees the commit
        /// before it, and says it again.
        #[prost(message, tag = "7")]
        Say(Say),
        /// A member has the keys of an epoch.
        #[prost(message, tag = "8")]
        Ready(Ready),
        /// A member lets somebody in who waits without a ticket.
        #[prost(message, tag = "9")]
        Admit(Admit),
        /// A member does not take an entry, and has left the group for that.
        #[prost(message, tag = "10")]
        Complaint(Complaint),
    }
}

/// The first message of a connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The group that the client is a member of; empty: none (any more).
    #[prost(bytes = "vec", tag = "2")]
    pub group: Vec<u8>,
    /// The number of the first entry that it has not read.
    #[prost(uint64, tag = "3")]
    pub next: u64,
    /// Its signature key.
    #[prost(bytes = "vec", tag = "4")]
    pub key: Vec<u8>,
}

/// A founded group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Found {
    /// Its group information.
    #[prost(bytes = "vec", tag = "1")]
    pub group_info: Vec<u8>,
    /// Its tree.
    #[prost(bytes = "vec", tag = "2")]
    pub tree: Vec<u8>,
}

/// A wish to be added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Join {
    /// The key package.
    #[prost(bytes = "vec", tag = "1")]
    pub key_package: Vec<u8>,
    /// The ticket; empty: there is none yet.
    #[prost(bytes = "vec", tag = "2")]
    pub ticket: Vec<u8>,
}

/// A wish to come in from outside.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Enter {}

/// A commit.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Commit {
    /// The epoch that it ends.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The handshake message.
    #[prost(bytes = "vec", tag = "2")]
    pub message: Vec<u8>,
    /// The welcome of those whom it adds; empty: it adds nobody.
    #[prost(bytes = "vec", tag = "3")]
    pub welcome: Vec<u8>,
    /// The group information of the next epoch.
    #[prost(bytes = "vec", tag = "4")]
    pub group_info: Vec<u8>,
}

/// A proposal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Propose {
    /// The handshake message.
    #[prost(bytes = "vec", tag = "1")]
    pub message: Vec<u8>,
}

/// Something said, encrypted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Say {
    /// The message.
    #[prost(bytes = "vec", tag = "1")]
    pub message: Vec<u8>,
}

/// A member has the keys of an epoch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ready {
    /// The epoch.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
}

/// A ticket for somebody who waits.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Admit {
    /// The identity of who waits.
    #[prost(string, tag = "1")]
    pub identity: String,
    /// The ticket; empty: who waits is refused.
    #[prost(bytes = "vec", tag = "2")]
    pub ticket: Vec<u8>,
}

/// A member does not take an entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Complaint {
    /// The number of the entry.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The reason, for a log.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// A message of the delivery service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerMessage {
    /// One of these.
    #[prost(
        oneof = "server_message::Message",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    )]
    pub message: Option<server_message::Message>,
}

/// What the delivery service says.
pub mod server_message {
    use super::*;

    /// One of these.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Message {
        /// The answer to [`Hello`]: how things stand. It comes anew when the group is another one.
        #[prost(message, tag = "1")]
        State(State),
        /// The next entry of the group's log.
        #[prost(message, tag = "2")]
        Entry(Entry),
        /// Asks a member for a commit.
        #[prost(message, tag = "3")]
        CommitRequest(CommitRequest),
        /// A commit or a founded group was not taken.
        #[prost(message, tag = "4")]
        Rejected(Rejected),
        /// Who asked has been added.
        #[prost(message, tag = "5")]
        Welcome(Welcome),
        /// What is needed to come in from outside.
        #[prost(message, tag = "6")]
        GroupInfo(GroupInfo),
        /// All members who are awake have the keys of an epoch.
        #[prost(message, tag = "7")]
        Go(Go),
        /// Somebody waits whom this member may let in.
        #[prost(message, tag = "8")]
        Knock(Knock),
        /// A member lets the client in.
        #[prost(message, tag = "9")]
        Admitted(Admitted),
        /// The last message: the client has no place here.
        #[prost(message, tag = "10")]
        Refused(Refused),
    }
}

/// How things stand.
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// The group's id; where there is none yet, that of the one to found.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// The number of the profile.
    #[prost(uint32, tag = "2")]
    pub profile: u32,
    /// The key with which the delivery service proposes to remove who is gone.
    #[prost(bytes = "vec", tag = "3")]
    pub delivery_service: Vec<u8>,
    /// What the client is to do.
    #[prost(enumeration = "Standing", tag = "4")]
    pub standing: i32,
    /// It may found a group with moderators.
    #[prost(bool, tag = "5")]
    pub may_moderate: bool,
    /// The number of the next entry there will be.
    #[prost(uint64, tag = "6")]
    pub end: u64,
}

/// What a client is to do, who has just come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Standing {
    /// Wait: somebody else founds the group.
    Wait = 0,
    /// Found the group.
    Found = 1,
    /// Join the group.
    Join = 2,
    /// Read on: the entries that are missing follow.
    Member = 3,
    /// Come in anew, from outside: its leaf is still there, and the entries that are missing are not.
    Enter = 4,
}

/// An entry of the group's log: all members read the same ones in the same order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The message of MLS: a commit, a proposal, or something said.
    #[prost(bytes = "vec", tag = "2")]
    pub message: Vec<u8>,
}

/// Asks a member for a commit: to all proposals, and to these.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitRequest {
    /// The epoch that it is to end.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Those who are to be added.
    #[prost(message, repeated, tag = "2")]
    pub joins: Vec<Joining>,
}

/// Somebody who is to be added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Joining {
    /// The identity.
    #[prost(string, tag = "1")]
    pub identity: String,
    /// The key package.
    #[prost(bytes = "vec", tag = "2")]
    pub key_package: Vec<u8>,
    /// The ticket; empty in an open group, where the member that commits signs one.
    #[prost(bytes = "vec", tag = "3")]
    pub ticket: Vec<u8>,
}

/// A commit or a founded group was not taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rejected {
    /// The epoch that it was to end.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// What stood in the way.
    #[prost(enumeration = "Cause", tag = "2")]
    pub cause: i32,
    /// The reason, for a log.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// What stood in the way of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Cause {
    /// It is against a rule, or does not fit together. It will never be taken.
    Invalid = 0,
    /// Another one was taken before it.
    Late = 1,
    /// It leaves somebody in who is gone: a proposal came before it.
    Incomplete = 2,
    /// The group has had too many epochs of late.
    Busy = 3,
}

/// Who asked has been added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// The welcome, for this client alone.
    #[prost(bytes = "vec", tag = "1")]
    pub welcome: Vec<u8>,
    /// The tree.
    #[prost(bytes = "vec", tag = "2")]
    pub tree: Vec<u8>,
    /// The number of the next entry.
    #[prost(uint64, tag = "3")]
    pub next: u64,
}

/// What is needed to come in from outside.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupInfo {
    /// The epoch.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The group information.
    #[prost(bytes = "vec", tag = "2")]
    pub group_info: Vec<u8>,
    /// The tree.
    #[prost(bytes = "vec", tag = "3")]
    pub tree: Vec<u8>,
}

/// All members who are awake have the keys of an epoch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Go {
    /// The epoch.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
}

/// Somebody waits.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Knock {
    /// The identity.
    #[prost(string, tag = "1")]
    pub identity: String,
    /// The signature key.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
}

/// A member lets the client in, or does not.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Admitted {
    /// The ticket.
    #[prost(bytes = "vec", tag = "1")]
    pub ticket: Vec<u8>,
}

/// The client has no place here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    /// The reason, in words for whoever reads a log.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// The message in a frame of a client. `None`: there is none, or it is of a later version.
pub fn read_client(frame: &[u8]) -> Option<client_message::Message> {
    ClientMessage::decode(frame).ok()?.message
}

/// The message in a frame of the delivery service. `None`: there is none, or it is of a later version.
pub fn read_server(frame: &[u8]) -> Option<server_message::Message> {
    ServerMessage::decode(frame).ok()?.message
}

impl client_message::Message {
    /// Its frame.
    pub fn to_bytes(self) -> Vec<u8> {
        ClientMessage {
            message: Some(self),
        }
        .encode_to_vec()
    }
}

impl server_message::Message {
    /// Its frame.
    pub fn to_bytes(self) -> Vec<u8> {
        ServerMessage {
            message: Some(self),
        }
        .encode_to_vec()
    }
}
