//! Rooms and sessions as their participants experience them, in virtual time.

#![allow(clippy::disallowed_methods)] // The start of the virtual clock is a real instant.

mod agents;
mod backup;
mod coming_back;
mod costs;
mod data_tracks;
mod descriptions;
mod encryption;
mod forwarding;
mod joining;
mod limits;
mod media;
mod meeting;
mod moderation;
mod principals;
mod random;
mod recording;
mod remote_calls;
mod resuming;
mod simulating;
mod two_connections;
mod webhooks;
