//! Random and mutated datagrams at a media port: what an outsider can send.

use std::{
    error::Error,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use crate::random::Random;

/// Options of `cargo xtask hammer`.
#[derive(Args)]
pub struct Options {
    /// The media address. Only loopback addresses are accepted.
    #[arg(long)]
    to: SocketAddr,
    /// How many datagrams.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Datagrams a second: above what the receiver takes from its socket, the kernel drops everyone's packets alike
    /// and nothing is learnt about the receiver.
    #[arg(long, default_value_t = 25_000)]
    rate: u64,
    /// From how many source ports.
    #[arg(long, default_value_t = 32)]
    sources: usize,
    /// Seed of everything that is sent.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A user name fragment of a real peer, so that STUN requests reach its MAC check.
    #[arg(long = "ufrag")]
    ufrags: Vec<String>,
    /// Genuine datagrams to mutate: files, one datagram each.
    #[arg(long = "sample")]
    samples: Vec<PathBuf>,
}

/// The longest datagram sent, bytes.
const MAX: usize = 1500;

/// Sends, and prints the counts by kind as one line of JSON.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if !options.to.ip().is_loopback() {
        return Err(format!("{} is not a loopback address", options.to).into());
    }
    let mut samples = templates(&options.ufrags);
    for path in &options.samples {
        samples.push(std::fs::read(path)?);
    }
    let sockets = (0..options.sources.max(1))
        .map(|_| {
            let socket = UdpSocket::bind(SocketAddr::new(options.to.ip(), 0))?;
            socket.connect(options.to)?;
            Ok(socket)
        })
        .collect::<std::io::Result<Vec<_>>>()?;

    let mut random = Random::new(options.seed);
    let mut datagram = Vec::with_capacity(MAX * 2);
    let mut kinds = [0u64; KINDS];
    let (mut sent, mut refused) = (0u64, 0u64);
    let start = Instant::now();
    while sent + refused < options.count {
        let kind = craft(&mut random, &samples, &mut datagram);
        let socket = &sockets[random.below(sockets.len())];
        // ECONNREFUSED: an earlier datagram met a closed port.
        match socket.send(&datagram) {
            Ok(_) => sent += 1,
            Err(_) => refused += 1,
        }
        kinds[kind] += 1;
        let due = Duration::from_secs_f64((sent + refused) as f64 / options.rate.max(1) as f64);
        if let Some(early) = due.checked_sub(start.elapsed())
            && early > Duration::from_millis(1)
        {
            thread::sleep(early);
        }
    }
    println!(
        "{}",
        json!({
            "sent": sent,
            "refused": refused,
            "seconds": start.elapsed().as_secs_f64(),
            "random": kinds[0], "typed": kinds[1], "mutated": kinds[2], "truncated": kinds[3],
        })
    );
    Ok(())
}

const KINDS: usize = 4;

/// Puts one datagram into `out` and says of what kind it is.
fn craft(random: &mut Random, samples: &[Vec<u8>], out: &mut Vec<u8>) -> usize {
    out.clear();
    let kind = random.below(KINDS);
    match kind {
        // Nothing but noise, of any length, none included.
        0 => noise(random, out, 0),
        // Noise whose first byte chooses the parser (RFC 7983): STUN, DTLS, RTP or RTCP, TURN channel.
        1 => {
            noise(random, out, 1);
            const FIRST: [u8; 8] = [0, 1, 20, 22, 63, 64, 128, 191];
            out[0] = FIRST[random.below(FIRST.len())];
            // RTCP packet types are told from RTP by the second byte (RFC 5761).
            if out.len() > 1 && out[0] >= 128 && random.chance(0.5) {
                out[1] = 192 + random.below(32) as u8;
            }
        }
        2 => {
            out.extend_from_slice(&samples[random.below(samples.len())]);
            mutate(random, out);
        }
        _ => {
            out.extend_from_slice(&samples[random.below(samples.len())]);
            out.truncate(random.below(out.len() + 1));
        }
    }
    kind
}

fn noise(random: &mut Random, out: &mut Vec<u8>, least: usize) {
    out.resize(least + random.below(MAX), 0);
    random.fill(out);
}

/// One to eight changes: a bit, a byte, a length field's worth of 0xff, a piece cut out, a piece repeated.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(8) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => {
                let end = (at + 2).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
            3 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
                bytes.truncate(MAX);
            }
        }
    }
}

/// Well-formed beginnings of each protocol on the port.
fn templates(ufrags: &[String]) -> Vec<Vec<u8>> {
    let mut all = vec![
        stun_request("abcd:efgh"),
        client_hello(),
        rtp(111, 0x1234_5678, &[0xbe, 0xde, 0, 1, 0x10, 0x30, 0, 0]),
        rtp(
            96,
            0x8765_4321,
            &[0xbe, 0xde, 0, 2, 0x40, 0x71, 0x51, 1, 2, 3, 0, 0],
        ),
        // Receiver report, picture loss indication, generic NACK, transport-wide feedback (RFC 3550, 4585).
        vec![
            0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 9, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0,
            0, 0, 0, 0, 0,
        ],
        vec![0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
        vec![0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0xff, 0xff],
        vec![
            0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 2, 0, 0, 0, 0, 0x20, 2, 0, 0,
        ],
        // A TURN channel message, and a STUN response nobody asked for.
        vec![0x40, 0, 0, 4, 1, 2, 3, 4],
        vec![
            1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ];
    for ufrag in ufrags {
        all.push(stun_request(&format!("{ufrag}:wxyz")));
        all.push(stun_request(ufrag));
    }
    all
}

/// A binding request (RFC 8489) with USERNAME, PRIORITY, ICE-CONTROLLING, USE-CANDIDATE and a wrong MESSAGE-INTEGRITY.
fn stun_request(username: &str) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        attributes.extend_from_slice(&kind.to_be_bytes());
        attributes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        attributes.extend_from_slice(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    attribute(0x0006, username.as_bytes());
    attribute(0x0024, &[0x6e, 0x7f, 0x1e, 0xff]);
    attribute(0x802a, &[1; 8]);
    attribute(0x0025, &[]);
    attribute(0x0008, &[7; 20]);
    attribute(0x8028, &[7; 4]);
    let mut message = vec![0, 1];
    message.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    message.extend_from_slice(&[
        0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ]);
    message.extend_from_slice(&attributes);
    message
}

/// A DTLS 1.2 ClientHello (RFC 6347) that offers one suite and use_srtp.
fn client_hello() -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend_from_slice(&[5; 32]);
    body.extend_from_slice(&[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let extensions = [0, 14, 0, 5, 0, 2, 0, 7, 0, 0, 10, 0, 4, 0, 2, 0, 23];
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    let len = (body.len() as u32).to_be_bytes();
    let mut handshake = vec![
        1, len[1], len[2], len[3], 0, 0, 0, 0, 0, len[1], len[2], len[3],
    ];
    handshake.extend_from_slice(&body);
    let mut record = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend_from_slice(&(handshake.len() as u16).to_be_bytes());
    record.extend_from_slice(&handshake);
    record
}

/// An RTP packet (RFC 3550) with a header extension (RFC 8285) and a payload that is not authenticated.
fn rtp(payload_type: u8, ssrc: u32, extension: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90, payload_type, 0x12, 0x34, 0, 0, 0x10, 0];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(extension);
    packet.resize(packet.len() + 160, 0xa5);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_sends_the_same_datagrams() {
        let samples = templates(&["ufrag".to_owned()]);
        let run = |seed| {
            let mut random = Random::new(seed);
            let mut datagram = Vec::new();
            (0..2000)
                .map(|_| {
                    craft(&mut random, &samples, &mut datagram);
                    datagram.clone()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }

    #[test]
    fn every_kind_is_sent_and_none_is_longer_than_a_frame() {
        let samples = templates(&[]);
        let (mut random, mut datagram) = (Random::new(1), Vec::new());
        let mut kinds = [0; KINDS];
        for _ in 0..4000 {
            kinds[craft(&mut random, &samples, &mut datagram)] += 1;
            assert!(datagram.len() <= MAX);
        }
        assert!(kinds.iter().all(|&count| count > 800), "{kinds:?}");
    }

    #[test]
    fn the_stun_template_says_its_own_length() {
        let message = stun_request("abcde:f");
        assert_eq!(
            usize::from(u16::from_be_bytes([message[2], message[3]])) + 20,
            message.len()
        );
    }
}
