//! Stacks that share no code with the engine, for its tests: [`libsrtp`] of Cisco, and `PeerConnection`s of webrtc-rs.
//!
//! A crate of its own, so that neither the engine nor its own tests build or link what only this needs: crate `rtc`
//! with fifty others, and Debian's `libsrtp2-dev`.

pub mod libsrtp;
pub mod webrtc_rs;
