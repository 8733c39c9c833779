//! End-to-end encryption: who is in a meeting agrees on keys by MLS (RFC 9420) and encrypts its frames by SFrame (RFC 9605).
//! The server orders the messages of the group and forwards the frames; it can read neither, and it can let nobody in.
//!
//! Pure: no socket, no thread. Times are told from outside; randomness is the cryptographic library's.
//!
//! | module | what it is |
//! |---|---|
//! | [`group`] | the group as a member has it |
//! | [`public_group`] | the group as the delivery service has it |
//! | [`ordering`] | which commit comes next, and who makes it |
//! | [`policy`] | who may change it, checked by everybody |
//! | [`ticket`] | who may join |
//! | [`epochs`] | from one epoch to the next without a gap |
//! | [`key_id`], [`base_key`] | which key a frame has |
//! | [`codec`] | what stands in the clear before a frame |
//! | `frame_encryptor`, `frame_decryptor` | frames, where they are encrypted here and not in a browser |
//! | [`code`] | what people compare |
//! | [`messages`] | between a client and the delivery service |
//! | [`client`] | a client of the delivery service: from its messages to a group |
//! | [`newcomer`] | what the delivery service sees of who is added |

// The crate is pure. Its tests may take a first instant from the clock.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]

pub mod base_key;
pub mod client;
pub mod code;
pub mod codec;
pub mod epochs;
pub mod group;
pub mod identity;
pub mod key_id;
pub mod messages;
pub mod newcomer;
pub mod ordering;
pub mod policy;
pub mod profile;
pub mod public_group;
pub mod ticket;

#[cfg(feature = "frames")]
mod aead;
#[cfg(feature = "frames")]
pub mod frame;
#[cfg(feature = "frames")]
pub mod frame_decryptor;
#[cfg(feature = "frames")]
pub mod frame_encryptor;

mod nal;
