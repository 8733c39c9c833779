//! The client against str0m and against scripted servers.

mod driver;
mod participant;
mod peer_connection;
mod support;
