//! What can be read of records before there are keys: whose hello it is, and what is no part of a handshake.

use crate::srtp::DtlsRole;

/// Type, version, epoch, sequence number, length (RFC 6347, section 4.1).
const RECORD_HEADER: usize = 13;
/// Type, length, sequence, offset and length of the fragment (RFC 6347, section 4.2.2).
const MESSAGE_HEADER: usize = 12;

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
/// Of DTLS 1.3 (RFC 9147, section 7).
const ACK: u8 = 26;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// Messages in the clear of a client: ClientHello, Certificate, CertificateVerify, ClientKeyExchange.
const OF_CLIENTS: [u8; 4] = [CLIENT_HELLO, 11, 15, 16];
/// Of a server: ServerHello, HelloVerifyRequest, NewSessionTicket, Certificate, ServerKeyExchange, CertificateRequest,
/// ServerHelloDone, CertificateStatus.
const OF_SERVERS: [u8; 8] = [SERVER_HELLO, HELLO_VERIFY_REQUEST, 4, 11, 12, 13, 14, 22];

/// The message that a handshake begins with, and its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello<'a> {
    /// ClientHello.
    Client { random: [u8; 32] },
    /// ServerHello.
    Server { random: [u8; 32], sequence: u16 },
    /// HelloVerifyRequest, from the length of its cookie on.
    Retry { cookie: &'a [u8] },
}

/// A record, and what follows it.
struct Record<'a> {
    kind: u8,
    epoch: u16,
    body: &'a [u8],
    whole: &'a [u8],
    rest: &'a [u8],
}

/// The first record, unless it has the header of DTLS 1.3's protected records or is cut off.
fn first(datagram: &[u8]) -> Option<Record<'_>> {
    let header = datagram.first_chunk::<RECORD_HEADER>()?;
    let len = RECORD_HEADER + usize::from(u16::from_be_bytes([header[11], header[12]]));
    if header[0] & 0b1110_0000 == 0b0010_0000 {
        return None;
    }
    let (whole, rest) = datagram.split_at_checked(len)?;
    Some(Record {
        kind: header[0],
        epoch: u16::from_be_bytes([header[3], header[4]]),
        body: whole.get(RECORD_HEADER..)?,
        whole,
        rest,
    })
}

/// What of a datagram may be a handshake with somebody in `role`; `None`: all of it. Records in the clear of any other kind
/// are left out, and what is cut off.
pub fn plausible(datagram: &[u8], role: DtlsRole) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    let mut rest = datagram;
    while let Some(record) = first(rest) {
        if is_plausible(&record, role) {
            kept.extend_from_slice(record.whole);
        }
        rest = record.rest;
    }
    let is_protected = rest
        .first()
        .is_some_and(|first| first & 0b1110_0000 == 0b0010_0000);
    if is_protected {
        kept.extend_from_slice(rest);
    }
    (kept.len() != datagram.len()).then_some(kept)
}

fn is_plausible(record: &Record<'_>, role: DtlsRole) -> bool {
    let messages: &[u8] = match role {
        DtlsRole::Server => &OF_CLIENTS,
        DtlsRole::Client => &OF_SERVERS,
    };
    match (record.epoch, record.kind) {
        (0, CHANGE_CIPHER_SPEC) => record.body == [1],
        (0, ACK) => true,
        (0, HANDSHAKE) => are_messages(record.body, messages),
        (0, _) => false,
        _ => true,
    }
}

/// Whole fragments of these messages, and nothing behind them.
fn are_messages(mut body: &[u8], kinds: &[u8]) -> bool {
    let mut any = false;
    while let Some(header) = body.first_chunk::<MESSAGE_HEADER>() {
        let (len, offset, fragment) = (u24(&header[1..]), u24(&header[6..]), u24(&header[9..]));
        let end = MESSAGE_HEADER + fragment;
        if !kinds.contains(&header[0]) || offset + fragment > len || end > body.len() {
            return false;
        }
        any = true;
        body = &body[end..];
    }
    any && body.is_empty()
}

fn u24(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take(3)
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// The hello that a datagram begins with. The rest of one that comes in fragments has no name.
pub fn hello(datagram: &[u8]) -> Option<Hello<'_>> {
    let record = first(datagram).filter(|record| (record.epoch, record.kind) == (0, HANDSHAKE))?;
    let (header, body) = record.body.split_first_chunk::<MESSAGE_HEADER>()?;
    if u24(&header[6..]) != 0 {
        return None;
    }
    // Behind the version.
    let random = || body.get(2..)?.first_chunk::<32>().copied();
    match header[0] {
        CLIENT_HELLO => Some(Hello::Client { random: random()? }),
        SERVER_HELLO => Some(Hello::Server {
            random: random()?,
            sequence: u16::from_be_bytes([header[4], header[5]]),
        }),
        HELLO_VERIFY_REQUEST => Some(Hello::Retry {
            cookie: body.get(2..)?,
        }),
        _ => None,
    }
}
