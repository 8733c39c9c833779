//! The errors of a participant, by whose fault they are.

use protocol::TrackSid;

/// An error of the caller, of the server or of the network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The local address cannot be an ICE host candidate (unspecified, multicast).
    #[error("the local address {0} cannot be an ICE candidate")]
    LocalAddress(std::net::SocketAddr),
    /// Our bug or the caller's: an offer is out and has not been answered.
    #[error("an offer is already waiting for its answer")]
    OfferPending,
    /// The server answered although nothing was offered, or answered another offer.
    #[error("the server sent an answer nobody waits for")]
    UnexpectedAnswer,
    /// The server's SDP cannot be parsed or does not fit the offer.
    #[error("the server's answer is not acceptable: {0}")]
    Answer(String),
    /// The server's offer cannot be parsed or does not fit what was offered before.
    #[error("the server's offer is not acceptable: {0}")]
    Offer(String),
    /// The peer connection failed for good.
    #[error("the peer connection failed: {0}")]
    Connection(String),
    /// The caller named a section that does not exist, or does not send.
    #[error("no section of ours sends with mid {0}")]
    UnknownSection(String),
    /// The caller named a published track that does not exist.
    #[error("no published track has the id {0}")]
    UnknownPublication(String),
    /// The caller named a track that is not subscribed.
    #[error("the track {0} is not subscribed")]
    NotSubscribed(TrackSid),
    /// Frames are to be encrypted: packets that are finished already cannot be.
    #[error("frames are encrypted in this meeting: they are written whole")]
    Encrypted,
    /// The section exists but the server has not accepted it (yet).
    #[error("the section with mid {0} is not negotiated")]
    NotNegotiated(String),
    /// The data channel is not open yet, or its buffer is full.
    #[error("the data channel {0} does not take the packet: {1}")]
    DataChannel(&'static str, &'static str),
    /// The server's message cannot be decoded or breaks the protocol.
    #[error("the server broke the signal protocol: {0}")]
    Protocol(String),
    /// The server refused or ended the session.
    #[error("the server ended the session: {0}")]
    Refused(String),
    /// The WebSocket could not be opened or broke.
    #[error("signal connection to {url}: {reason}")]
    Signal {
        /// The server's URL without its query.
        url: String,
        /// The WebSocket layer's words.
        reason: String,
    },
    /// A socket could not be opened or used.
    #[error("media socket on {address}: {source}")]
    Socket {
        /// The local address.
        address: std::net::SocketAddr,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// Something did not happen in time.
    #[error("timed out waiting for {0}")]
    Timeout(&'static str),
    /// The client has ended; it takes no more commands.
    #[error("the client has ended")]
    Ended,
}
