//! Records before there are keys: their hellos, and the records that are no part of a handshake.

use crate::srtp::DtlsRole;

/// Length of a record's header, bytes: type, version, epoch, sequence number, length (RFC 6347, section 4.1).
const RECORD_HEADER: usize = 13;
/// Length of a message's header, bytes: type, length, sequence, offset and length of the fragment (RFC 6347, section
/// 4.2.2).
const MESSAGE_HEADER: usize = 12;

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
/// Content type of acknowledgements in DTLS 1.3 (RFC 9147, section 7).
const ACK: u8 = 26;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// Types of a client's messages in the clear: ClientHello, Certificate, CertificateVerify, ClientKeyExchange.
const OF_CLIENTS: [u8; 4] = [CLIENT_HELLO, 11, 15, 16];
/// Types of a server's messages in the clear: ServerHello, HelloVerifyRequest, NewSessionTicket, Certificate,
/// ServerKeyExchange, CertificateRequest, ServerHelloDone, CertificateStatus.
const OF_SERVERS: [u8; 8] = [SERVER_HELLO, HELLO_VERIFY_REQUEST, 4, 11, 12, 13, 14, 22];

/// The first message of a handshake, and its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello<'a> {
    /// ClientHello.
    Client { random: [u8; 32] },
    /// ServerHello.
    Server { random: [u8; 32], sequence: u16 },
    /// HelloVerifyRequest, from the length of its cookie on.
    Retry { cookie: &'a [u8] },
}

/// A record, and the bytes behind it.
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

/// The part of a datagram that may belong to a handshake with a peer in `role`; `None`: all of it. Records in the clear
/// of any other kind are left out, and those that are cut off.
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

/// Whether the body consists of whole fragments of these messages.
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

/// The hello that a datagram begins with. Later fragments of a hello are not recognised.
pub fn hello(datagram: &[u8]) -> Option<Hello<'_>> {
    let record = first(datagram).filter(|record| (record.epoch, record.kind) == (0, HANDSHAKE))?;
    let (header, body) = record.body.split_first_chunk::<MESSAGE_HEADER>()?;
    if u24(&header[6..]) != 0 {
        return None;
    }
    // The random number stands behind the version.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let len = u8::try_from(body.len()).expect("short");
        let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0, 0, len];
        record.extend(body);
        record
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u8::try_from(body.len()).expect("short");
        let mut message = vec![kind, 0, 0, len, 0, 1, 0, 0, 0, 0, 0, len];
        message.extend(body);
        message
    }

    #[test]
    fn of_a_datagram_only_what_may_be_a_handshake_is_left() {
        let certificate = record(HANDSHAKE, 0, &message(11, &[1; 40]));
        let finished = record(HANDSHAKE, 1, &[9; 40]);
        let good = [certificate, record(CHANGE_CIPHER_SPEC, 0, &[1]), finished].concat();
        let protected = [&good[..], &[0x2f, 1, 2, 3]].concat();
        for role in [DtlsRole::Client, DtlsRole::Server] {
            assert_eq!(plausible(&good, role), None);
            assert_eq!(plausible(&protected, role), None);
            let alert = record(21, 0, &[2, 40]);
            for forged in [&alert[..], &record(23, 0, &[1]), &record(22, 0, &[0; 30])] {
                assert_eq!(
                    plausible(&[forged, &good].concat(), role).as_ref(),
                    Some(&good)
                );
                assert_eq!(
                    plausible(&[&good, forged].concat(), role).as_ref(),
                    Some(&good)
                );
            }
            // Cut off.
            assert_eq!(
                plausible(&[&good, &alert[..14]].concat(), role).as_ref(),
                Some(&good)
            );
        }
        let request = record(HANDSHAKE, 0, &message(13, &[1; 8]));
        assert_eq!(plausible(&request, DtlsRole::Client), None);
        assert_eq!(plausible(&request, DtlsRole::Server), Some(Vec::new()));
    }

    #[test]
    fn a_hello_is_known_by_its_random_number() {
        let body = [&[0xfe, 0xfd][..], &[7; 32], &[0; 6]].concat();
        let random = [7; 32];
        let datagram = record(HANDSHAKE, 0, &message(CLIENT_HELLO, &body));
        assert_eq!(hello(&datagram), Some(Hello::Client { random }));
        let datagram = record(HANDSHAKE, 0, &message(SERVER_HELLO, &body));
        let sequence = 1;
        assert_eq!(hello(&datagram), Some(Hello::Server { random, sequence }));
        let datagram = record(
            HANDSHAKE,
            0,
            &message(HELLO_VERIFY_REQUEST, &[0xfe, 0xff, 2, 5, 6]),
        );
        assert_eq!(hello(&datagram), Some(Hello::Retry { cookie: &[2, 5, 6] }));
        assert_eq!(
            hello(&record(HANDSHAKE, 1, &message(CLIENT_HELLO, &body))),
            None
        );
    }

    proptest! {
        #[test]
        fn whatever_bytes_come_they_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 20u8..27) {
            let framed = record(kind, 0, &bytes[..bytes.len().min(180)]);
            for datagram in [&bytes, &framed] {
                for role in [DtlsRole::Client, DtlsRole::Server] {
                    let left = plausible(datagram, role);
                    prop_assert!(left.is_none_or(|left| left.len() < datagram.len()));
                }
                let _ = hello(datagram);
            }
        }
    }
}
