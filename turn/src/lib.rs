//! A TURN server (RFC 8656) that relays to our own media addresses and nowhere else.
//!
//! Pure: no socket, no thread, no clock, no global randomness. Since all it relays to is in this process, the relayed
//! address of an allocation is no socket but a name: what a client sends through it is handed to the shard it is
//! addressed to, as a datagram from that name, and what the shard sends to the name goes back to the client. There is
//! no way through it to anything else, whatever a client asks for.
//!
//! An [`Association`] is the state of one client (its five-tuple). The owner hands it each message and acts on the
//! [`Outcome`]; allocations are given out by one [`Registry`].

// The crate is pure. Its tests may take a first instant from the clock.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]

pub mod association;
pub mod auth;
pub mod registry;
pub mod stun;

pub use association::{Association, Moment, Outcome, Refusal, Settings};
pub use registry::{AllocationError, Quotas, Registry};
