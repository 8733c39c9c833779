//! The engine as clients and strangers meet it: real handshakes and media in virtual time.

#[path = "../attacker/mod.rs"]
mod attacker;
#[path = "../rig/mod.rs"]
mod rig;

mod backup;
mod crowd;
mod data_tracks;
mod dtls;
mod meeting;
mod negotiator;
mod nonces;
mod quality;
mod race;
mod relay;
mod replay;
mod replies;
mod saving;
mod security;
mod simulate;
mod slow_readers;
mod svc;
mod two_connections;
mod unheard;
mod voices;
