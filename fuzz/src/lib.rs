//! What strangers' bytes are run through. Each target is a plain function that must return, whatever it is given.
//!
//! `libfuzzer/` feeds them without end (`make fuzz TARGET=rtp SECONDS=60`); `tests/replay.rs` feeds them the committed
//! seeds in `seeds/`, among them every input that once failed, with the ordinary compiler in every test run.

mod control;
mod media;
mod relay;

pub use control::{api_request, data_packet, join_request, signal_request, token, worker_message};
pub use media::{
    data_track, dependency_descriptor, dtls, relayed, rtcp, rtp, sdp, srtp_open, stun_demux,
};
pub use relay::turn;

/// A target: whatever the bytes, it returns.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Target); 16] = [
    ("api_request", api_request),
    ("data_packet", data_packet),
    ("data_track", data_track),
    ("dependency_descriptor", dependency_descriptor),
    ("dtls", dtls),
    ("join_request", join_request),
    ("relayed", relayed),
    ("rtcp", rtcp),
    ("rtp", rtp),
    ("sdp", sdp),
    ("signal_request", signal_request),
    ("srtp_open", srtp_open),
    ("stun_demux", stun_demux),
    ("token", token),
    ("turn", turn),
    ("worker_message", worker_message),
];

pub use media::{ICE_OFFER, checks};

/// Cuts an input into parts: each is preceded by its length, two bytes, the most significant first; the last may be short.
fn parts(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (part, rest) = rest.split_at(len);
        data = rest;
        Some(part)
    })
}

/// Puts parts together again, for seeds.
pub fn join<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        joined.extend_from_slice(&(part.len() as u16).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}
