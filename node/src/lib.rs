//! The switchboard of one node: which room, session and shard gets what.
//!
//! The shell drives it with channels, locks and threads, the simulator with calls. What both do is here, what only one
//! of them does is carrying:
//!
//! - [`Directory`]: the open rooms by key and by sid, and what may be opened, where;
//! - [`HostedRoom`]: one room with its negotiator, its sessions and those whom it talks to;
//! - [`Mailbox`]: what waits for one session;
//! - [`HostedShard`]: one shard, and the rooms that its events are for;
//! - [`turn`]: what gets its turn on a media thread, and what waits for the next.
//!
//! Pure: no tokio, no socket, no clock, no lock, no global randomness.

// The crate is pure. Its tests may take a first instant from the clock.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]

mod directory;
mod draining;
mod hosted_room;
mod hosted_shard;
mod mailbox;
mod revoked;
mod room_key;
pub mod turn;

pub use directory::{Directory, Limits, Placement};
pub use hosted_room::{HostedRoom, Opening, Output};
pub use hosted_shard::HostedShard;
pub use mailbox::{Bounds, Line, Mail, Mailbox, Undelivered};
pub use room_key::{RoomKey, Tenant};
